/** What migrations could not bring about is found in the catalog, and said with its numbers. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkAdoption } from '../../../src/cli/doctor/postgres.ts';
import { migrateLatest, UNITS } from '../../../src/store/db/migrations.ts';
import { query } from '../../../src/store/db/query.ts';
import { EXPECTED_SCHEMA, schemaGaps } from '../../../src/store/db/schema-gaps.ts';
import { describeTables } from '../../../src/store/db/schema-shape.ts';
import { createTestDatabase, type TestDatabase, type TestDb } from '../../support/database.ts';
import { LEGACY_CAMEL } from '../../support/legacy-schema.ts';

let database: TestDatabase;
let db: TestDb;
beforeEach(async () => {
  database = await createTestDatabase({ empty: true });
  db = database.db;
});
afterEach(() => database.drop());

test('the file of the expected schema is what the migrations make; `-u` writes it', async () => {
  await migrateLatest(db);
  const tables = await describeTables(
    db,
    UNITS.flatMap((unit) => unit.tables),
  );
  const shapes = [...tables.values()].map((table) => ({
    ...table,
    foreignKeys: table.foreignKeys.map(({ column, table: to, target, onDelete }) => ({
      column,
      table: to,
      target,
      onDelete,
    })),
  }));
  // One line for each part, so that a change of the schema is a short difference.
  const lines = (parts: readonly unknown[]): string => parts.map((part) => `\n      ${JSON.stringify(part)}`).join(',');
  const text = shapes.map(
    ({ name, columns, keys, foreignKeys, indexes }) =>
      `  { "name": "${name}",\n    "columns": [${lines(columns)}],\n    "keys": [${lines(keys)}],\n` +
      `    "foreignKeys": [${lines(foreignKeys)}],\n    "indexes": [${lines(indexes)}] }`,
  );
  const file = `[\n${text.join(',\n')}\n]\n`;
  // A file that `-u` is about to write is read by the next run.
  const written = readFileSync(EXPECTED_SCHEMA, 'utf8') === file;
  await expect(file).toMatchFileSnapshot(fileURLToPath(EXPECTED_SCHEMA));
  if (!written) return;
  expect(await schemaGaps(db)).toEqual([]);
  expect(await checkAdoption(db)).toEqual([]);
});

const texts = async (): Promise<string[]> =>
  (await schemaGaps(db)).map(({ works, text }) => `${works ? 'works' : 'FAILS'} ${text}`);

describe('a database of the site', () => {
  test('of the earlier service has small differences only, each with its number (A8)', async () => {
    await db.raw(LEGACY_CAMEL);
    await migrateLatest(db);
    const found = await texts();
    expect(found.filter((text) => text.startsWith('FAILS'))).toEqual([]);
    expect(found.toSorted()).toMatchInlineSnapshot(`
      [
        "works the foreign key of servers.productId holds for new and changed rows only: 1 row names one that does not exist",
        "works users has no unique index users_email_address_unique, over (lower(btrim(email))): 1 value stands in more than one row",
        "works users has no unique index users_pterodactyl_id_unique, over ("pterodactylId") WHERE ("pterodactylId" IS NOT NULL): 1 value stands in more than one row",
      ]
    `);
  });

  test('with accounts that differ by spaces alone: they are named, and no rule is taken away (A12)', async () => {
    await db.raw(`create table users (id text primary key, email text not null unique);
      insert into users values ('a', 'ann@example.org'), ('b', ' ann@example.org '), ('c', 'bob@example.org')`);
    await migrateLatest(db);
    expect(await texts()).toContain(
      'works users has no unique index users_email_address_unique, over (lower(btrim(email))): 1 value stands in more than one row',
    );
    const check = (await checkAdoption(db)).find(({ detail }) => detail.includes('users_email_address_unique'));
    expect(check).toMatchObject({
      state: 'warning',
      advice: expect.stringMatching(/differ only in case or in spaces around them: a sign-in finds .*create unique/),
    });
    await expect(db.raw(`insert into users values ('d', 'Bob@example.org')`)).rejects.toMatchObject({
      constraint: 'users_email_lower_unique',
    });
    await db.raw(`delete from users where id = 'b'`);
    await db.raw(/then: (create unique index .*)$/.exec(check?.advice ?? '')?.[1] ?? '');
    expect((await texts()).filter((text) => text.includes('users_email'))).toEqual([]);
  });

  test('with ids as uuid, roles as an enum and a required column: migrate and doctor say what fails (A8)', async () => {
    await db.raw(`
      create type site_role as enum ('MEMBER', 'ADMIN');
      create table users (id uuid primary key default gen_random_uuid(), email text not null unique, password text,
        roles site_role[] default '{MEMBER}', tenant text not null);
      create table servers (id text primary key, name text, "ownerId" uuid references users (id), "pterodactylId" integer);
      insert into servers (id, name, "pterodactylId") values ('a', 'A', 7), ('b', 'B', 7), ('c', 'C', null);
      create table config (key text, value text); insert into config values ('a', '1'), ('a', '2'), ('b', '1')`);
    await migrateLatest(db);
    const found = await texts();
    expect(found).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^FAILS users.roles does not take PARTNER, .*: its type site_role\[\] refuses them$/),
        'FAILS users.id is uuid, not text: queries of this service fail',
        'FAILS servers.ownerId is uuid, not text: queries of this service fail',
        'FAILS users.tenant must have a value, and this service does not know the column',
        'FAILS config has no unique key over key: 1 value stands in more than one row',
        'works servers has no unique key over pterodactylId: 1 value stands in more than one row',
        'works sessions.userId has no foreign key to users',
      ]),
    );
    const checks = await checkAdoption(db);
    expect(checks.map(({ state }) => state)).toContain('failed');
    expect(checks[0]).toMatchObject({ name: 'Schema', state: 'failed' });
    expect(checks.find(({ detail }) => detail.startsWith('users.tenant'))?.advice).toContain('drop not null');
  });

  test('with views over columns: the columns that stayed, the limits that are not wider, and the views are named (A7)', async () => {
    await db.raw(`
      create table egg_variables (id integer primary key, "envVariable" text, env_variable text, name text);
      insert into egg_variables (id, "envVariable") values (1, 'PORT');
      create view variables as select id, "envVariable" from egg_variables;
      create table servers (id text primary key, name text, memory integer default 0);
      create view sizes as select id, memory from servers;
      create table users (id text primary key, email text unique, first_name text, "firstName" text);
      insert into users values ('u1', 'a@example.org', 'Ann', 'Anna'), ('u2', 'b@example.org', 'Bob', null)`);
    await migrateLatest(db);
    expect(await texts()).toEqual(
      expect.arrayContaining([
        'works egg_variables.envVariable stays beside env_variable, which this service uses; the view variables uses it',
        'works users.first_name stays beside firstName, which this service uses: 2 rows have another value in it',
        'works servers.memory is integer, not bigint: larger values are refused; the view sizes uses it',
      ]),
    );
  });

  test.each([
    [
      'a CHECK',
      "status text check (status in ('pending', 'running', 'done'))",
      /the constraint sync_logs_status_check refuses them/,
    ],
    ['an enum', 'status run_status', /its type run_status refuses them/],
  ])(
    'that takes other words for the status of a run, by %s, is refused before anything is applied (A9)',
    async (_by, column, why) => {
      await db.raw(`create type run_status as enum ('pending', 'running');
      create table sync_logs (id text primary key, type text, ${column}); insert into sync_logs values ('l1', 'full', 'running')`);
      const error = await migrateLatest(db).catch((refused: Error) => refused);
      expect(error).toMatchObject({ code: 'CONFLICT' });
      expect(String(error)).toMatch(/sync_logs.status does not take PENDING, RUNNING, COMPLETED, FAILED, CANCELLED/);
      expect(String(error)).toMatch(why);
      expect(String(error)).toContain('Nothing was applied');
      const tables = await query<{ name: string }>(
        db,
        `select tablename::text as name from pg_tables where schemaname = 'public'`,
      );
      expect(tables).toEqual([{ name: 'sync_logs' }]);
      // The remedy that it names is one.
      const remedy = /for example: (.*)\) and migrate/.exec(String(error))?.[1] ?? '';
      await db.raw(remedy);
      await migrateLatest(db, { units: ['7'] });
    },
  );
});

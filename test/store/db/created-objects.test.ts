/** What a migration created is remembered: `down` drops that and nothing of the site; our own tables are never adopted. */
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { AppError } from '../../../src/domain/errors.ts';
import { migrateLatest, OWN_TABLES, pendingMigrations, UNITS } from '../../../src/store/db/migrations.ts';
import { query } from '../../../src/store/db/query.ts';
import { planRollback, rollbackLast } from '../../../src/store/db/rollback.ts';
import { createTestDatabase, type TestDatabase, type TestDb } from '../../support/database.ts';
import { LEGACY_CAMEL } from '../../support/legacy-schema.ts';

let database: TestDatabase;
let db: TestDb;
beforeEach(async () => {
  database = await createTestDatabase({ empty: true });
  db = database.db;
});
afterEach(() => database.drop());

const names = async (): Promise<string[]> =>
  (
    await query<{ name: string }>(
      db,
      `select relname::text as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') order by 1`,
    )
  ).map(({ name }) => name);
const countOf = async (table: string): Promise<number> =>
  (await query<{ n: number }>(db, 'select count(*)::int as n from ??', [table]))[0]?.n ?? -1;

async function rollbackAll(options = {}): Promise<string[]> {
  const undone: string[] = [];
  for (let name = await rollbackLast(db, options); name !== undefined; name = await rollbackLast(db, options)) {
    undone.push(name);
  }
  return undone;
}

/** The state that the release before the record left: its book, no record. */
async function asEarlierRelease(): Promise<void> {
  await db.raw(`
    create table knex_migrations (id serial primary key, name varchar(255), batch integer, migration_time timestamptz);
    insert into knex_migrations (name, batch, migration_time)
      select name, batch, migration_time from nodebyte_migrations order by id;
    drop table nodebyte_migrations, nodebyte_migrations_lock, nodebyte_created_objects`);
}

describe('a table of the site under a name of our own tables', () => {
  it('stops the migration before anything is applied, and keeps its rows; renamed, it is no obstacle (A1)', async () => {
    await db.raw(`
      create table emails (id serial primary key, address text not null, body text);
      create index idx_emails_status on emails (body);
      insert into emails (address) select 'p' || n || '@example.org' from generate_series(1, 50) n`);
    await expect(migrateLatest(db)).rejects.toMatchObject({
      code: 'CONFLICT',
      publicMessage: expect.stringMatching(/the table emails \(.*nothing was applied.*rename/i),
    });
    expect(await names()).toEqual(['emails']);
    expect(await countOf('emails')).toBe(50);

    // The index keeps its name when the table is renamed; ours of that name would silently be left out.
    await db.raw('alter table emails rename to site_emails');
    await expect(migrateLatest(db)).rejects.toThrow(/the index idx_emails_status of site_emails/);
    await db.raw('alter index idx_emails_status rename to idx_site_emails');
    await migrateLatest(db);
    expect(await countOf('site_emails')).toBe(50);
    expect(await countOf('emails')).toBe(0);
    expect(await pendingMigrations(db)).toEqual([]);
  });

  it('is named, whichever of our tables it is, and whether it is a table, a view, a type or a function (A1)', async () => {
    const own = Object.values(OWN_TABLES).flat();
    const tables = own.filter((name) => !['outbox', 'rate_limits'].includes(name));
    await db.raw(`${tables.map((name) => `create table ${name} (id int);`).join('')}
      create view outbox as select 1 as id;
      create type rate_limits as enum ('a');
      create function take_rate_limit_tokens(json) returns int language sql as 'select 1'`);
    const before = await names();
    const error = await migrateLatest(db).catch((refused: Error) => refused);
    expect(error).toBeInstanceOf(AppError);
    for (const table of tables) expect(String(error)).toContain(`the table ${table}`);
    for (const one of ['the view outbox', 'the type rate_limits', 'the function take_rate_limit_tokens(json)']) {
      expect(String(error)).toContain(one);
    }
    expect(await names()).toEqual(before);
    await db.raw('create table nodebyte_migrations (id int)');
    await expect(migrateLatest(db)).rejects.toThrow('the table nodebyte_migrations');
  });

  it('with the shape of ours is ours: a dump without our records can be migrated again (A1)', async () => {
    await migrateLatest(db);
    await db.raw('drop table nodebyte_migrations, nodebyte_created_objects');
    await migrateLatest(db);
    expect(await pendingMigrations(db)).toEqual([]);
  });
});

describe('a rollback', () => {
  it('of every migration keeps all 3,600 rows of an adopted database, and its tables (A3)', async () => {
    await db.raw(LEGACY_CAMEL);
    await db.raw(
      `insert into users (id, email) select 'x' || n, 'x' || n || '@example.org' from generate_series(1, 3600) n`,
    );
    const tables = await names();
    const before = Object.fromEntries(await Promise.all(tables.map(async (t) => [t, await countOf(t)])));
    const applied = await migrateLatest(db);
    expect(await rollbackAll()).toEqual(applied.toReversed());
    const left = await names();
    expect(left.filter((name) => !name.startsWith('nodebyte_'))).toEqual(tables);
    expect(Object.fromEntries(await Promise.all(tables.map(async (t) => [t, await countOf(t)])))).toEqual(before);
    // Columns that the migrations added are gone; values of the site stay, under the names of the specification.
    const [user] = await query<Record<string, unknown>>(db, `select * from users where id = 'x1'`);
    expect(user).toMatchObject({ email: 'x1@example.org' });
    await migrateLatest(db);
  });

  it('brings back the indexes that the index of trimmed addresses replaced, and only those', async () => {
    const indexes = async () =>
      (
        await query<{ name: string }>(
          db,
          `select indexname as name from pg_indexes where tablename = 'users' and indexdef like '%lower(%email%' order by 1`,
        )
      ).map(({ name }) => name);
    await migrateLatest(db);
    expect(await indexes()).toEqual(['users_email_address_unique']);
    let undone: string | undefined;
    do undone = await rollbackLast(db);
    while (undone !== undefined && !undone.includes('trimmed_addresses'));
    expect(await indexes()).toEqual(['users_email_lower_unique']);
    await migrateLatest(db);
    expect(await indexes()).toEqual(['users_email_address_unique']);
  });

  it('leaves an index of the site over the address alone (A3)', async () => {
    await db.raw(`create table users (id text primary key, email text not null);
      create unique index users_email_lower_unique on users (lower(email))`);
    await migrateLatest(db);
    await rollbackAll();
    expect(await query(db, `select indexname as name from pg_indexes where tablename = 'users' order by 1`)).toEqual([
      { name: 'users_email_lower_unique' },
      { name: 'users_pkey' },
    ]);
  });

  it('drops added columns of a table that stays, and no column of the site of the same name (A3)', async () => {
    await db.raw(`create table users (id text primary key, email text not null, phone text);
      insert into users values ('u1', 'a@example.org', '123')`);
    await migrateLatest(db, { units: ['1'] });
    await rollbackAll();
    expect(await query(db, 'select * from users')).toEqual([{ id: 'u1', email: 'a@example.org', phone: '123' }]);
  });

  it('says what it will drop; a `down` that would drop more is refused (A3)', async () => {
    await db.raw('create table users (id text primary key, email text); create table config (key text, value text)');
    await migrateLatest(db, { units: ['1', '8'] });
    expect(await planRollback(db)).toEqual({
      name: UNITS[7]?.file,
      remembered: true,
      tables: [],
      columns: expect.arrayContaining(['config.createdAt', 'config.updatedAt']),
    });
    await expect(rollbackLast(db, { expected: 'another' })).rejects.toMatchObject({ code: 'CONFLICT' });
    // A `down` that goes wrong: the record says that the index is a table.
    await db.raw(`create table notes (id int); insert into notes values (1)`);
    await db.raw(`create function drop_notes() returns event_trigger language plpgsql as
      $$ begin if to_regclass('notes') is not null then drop table notes; end if; end $$;
      create event trigger drops on sql_drop execute function drop_notes()`);
    await expect(rollbackLast(db)).rejects.toThrow(/would drop notes, which it did not create/);
    await db.raw('drop event trigger drops');
    expect(await countOf('notes')).toBe(1);
  });

  it('of an earlier release, which kept no record, drops no row unless that is asked for (A3)', async () => {
    await migrateLatest(db, { units: ['1', '3', '8'] });
    await db.raw(`insert into users (id, email) values ('u1', 'a@example.org')`);
    await asEarlierRelease();
    expect(await planRollback(db)).toMatchObject({ name: UNITS[7]?.file, remembered: false });
    // Empty tables go.
    expect(await rollbackLast(db)).toBe(UNITS[7]?.file);
    expect(await rollbackLast(db)).toBe(UNITS[2]?.file);
    expect(await rollbackLast(db)).toBe(UNITS[1]?.file);
    await expect(rollbackLast(db)).rejects.toThrow(/They hold rows \(users 1\).*--drop-rows/);
    expect(await countOf('users')).toBe(1);
    expect(await rollbackLast(db, { dropRows: true })).toBe(UNITS[0]?.file);
    expect((await names()).filter((name) => !/^(nodebyte|knex)_/.test(name))).toEqual([]);
  });
});

describe('the record of applied migrations', () => {
  test('is taken over from knex_migrations; rows of the site stay where they are (A11)', async () => {
    await migrateLatest(db, { units: ['8'] });
    await asEarlierRelease();
    await db.raw(`
      insert into knex_migrations (name, batch, migration_time) values ('2024_site_own.js', 7, now());
      create table knex_migrations_lock (index serial primary key, is_locked integer);
      insert into knex_migrations_lock (is_locked) values (1)`);
    expect(await pendingMigrations(db)).not.toContain(UNITS[7]?.file);
    const applied = await migrateLatest(db);
    expect(applied).not.toContain(UNITS[7]?.file);
    const ours = await query<{ name: string }>(db, 'select name from nodebyte_migrations order by id');
    expect(ours.map(({ name }) => name)).toEqual([UNITS[7]?.file, ...applied]);
    // The former release still finds what it applied; the site's rows and its lock are untouched.
    const former = 'select name from knex_migrations order by id';
    expect(await query(db, former)).toEqual([{ name: UNITS[7]?.file }, { name: '2024_site_own.js' }]);
    expect(await query(db, 'select is_locked from knex_migrations_lock')).toEqual([{ is_locked: 1 }]);
    await rollbackAll({ dropRows: true });
    expect(await query(db, former)).toEqual([{ name: '2024_site_own.js' }]);
  });

  test('a record of the site alone is nothing of ours (A11)', async () => {
    await db.raw(`
      create table knex_migrations (id serial primary key, name varchar(255), batch integer, migration_time timestamptz);
      insert into knex_migrations (name, batch, migration_time) values ('2024_site_own.js', 7, now())`);
    await migrateLatest(db);
    await rollbackAll();
    expect(await query(db, 'select name from knex_migrations')).toEqual([{ name: '2024_site_own.js' }]);
  });
});

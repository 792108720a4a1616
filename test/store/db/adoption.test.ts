/** Databases of a site that differ from the specification: nothing is lost, and what could not be brought about is said. */
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkAdoption } from '../../../src/cli/doctor/postgres.ts';
import { createListener } from '../../../src/store/db/listener.ts';
import { migrateLatest, pendingMigrations } from '../../../src/store/db/migrations.ts';
import { query } from '../../../src/store/db/query.ts';
import { schemaWarning } from '../../../src/store/db/schemas.ts';
import { withDatabase } from '../../../src/store/db/with-database.ts';
import { listSyncLogs } from '../../../src/store/sync/log-store.ts';
import { createTestDatabase, openTestDb, type TestDatabase, type TestDb } from '../../support/database.ts';

let database: TestDatabase;
let db: TestDb;
beforeEach(async () => {
  database = await createTestDatabase({ empty: true });
  db = database.db;
});
afterEach(() => database.drop());

const columnsOf = async (table: string): Promise<Record<string, string>> =>
  Object.fromEntries(
    (
      await query<{ name: string; nullable: string }>(
        db,
        `select column_name as name, is_nullable as nullable from information_schema.columns
          where table_schema = current_schema() and table_name = ?`,
        [table],
      )
    ).map(({ name, nullable }) => [name, nullable]),
  );
const rows = (sql: string): Promise<Record<string, unknown>[]> => query(db, sql);

describe('a table with both names of a column', () => {
  test('keeps both where the specification lists no former name, whatever they hold (A2)', async () => {
    await db.raw(`
      create table users (
        id text primary key, email text not null, first_name text not null, "firstName" text,
        is_active boolean not null, "isActive" boolean default true,
        account_balance numeric(14,4) not null, "accountBalance" decimal(10,2) default 0, created_at timestamp not null default '2020-01-01',
        "createdAt" timestamp not null default '2021-01-01');
      insert into users (id, email, first_name, "firstName", is_active, account_balance) values
        ('u1', 'a@example.org', 'Ann', 'Anna', false, 12.3456), ('u2', 'b@example.org', 'Bob', null, true, 1)`);
    const before = await rows('select * from users order by id');
    await migrateLatest(db, { units: ['1'] });
    expect(await rows('select * from users order by id')).toMatchObject(before);
    expect(await columnsOf('users')).toMatchObject({ first_name: 'YES', is_active: 'YES', account_balance: 'YES' });
    // A row of this service, which does not know the other columns.
    await db.raw(`insert into users (id, email) values ('u3', 'c@example.org')`);
  });

  test('loses the former one where each of its values stands in the new one, or can be copied (A2)', async () => {
    await db.raw(`
      create table sync_logs (id text primary key, "syncType" varchar(20) not null, "recordsTotal" bigint, "errorMessage" text,
        type text, "itemsTotal" integer default 0, error text);
      insert into sync_logs (id, "syncType", "recordsTotal", "errorMessage", type, "itemsTotal", error) values
        ('l1', 'full', 7, 'interrupted', null, 0, null), ('l2', 'users', 3, 'boom', 'users', 3, null), ('l3', 'nodes', null, null, 'nodes', 4, 'x')`);
    await migrateLatest(db, { units: ['7'] });
    expect(await rows('select id, type, "itemsTotal", error from sync_logs order by id')).toEqual([
      { id: 'l1', type: 'full', itemsTotal: 7, error: 'interrupted' },
      { id: 'l2', type: 'users', itemsTotal: 3, error: 'boom' },
      { id: 'l3', type: 'nodes', itemsTotal: 4, error: 'x' },
    ]);
    const left = await columnsOf('sync_logs');
    for (const name of ['syncType', 'recordsTotal', 'errorMessage']) expect(left).not.toHaveProperty(name);
  });

  test.each([
    ['rows have different values', `"recordsTotal" integer not null, "itemsTotal" integer`, '7, 8', { itemsTotal: 8 }],
    [
      'the default was there before',
      `"itemsTotal" integer default 0, "recordsTotal" integer not null`,
      '7, 0',
      { itemsTotal: 0 },
    ],
    ['a value does not fit', `"recordsTotal" numeric not null, "itemsTotal" integer`, '7.5, null', { itemsTotal: 0 }],
  ])('keeps the former one when %s, and rows need no value in it (A2)', async (_why, columns, values, expected) => {
    await db.raw(`
      create table sync_logs (id text primary key, type text not null, ${columns});
      insert into sync_logs (id, type, "recordsTotal", "itemsTotal") values ('l1', 'full', ${values})`);
    await migrateLatest(db, { units: ['7'] });
    const [row] = await rows(`select "recordsTotal"::text as kept, "itemsTotal" from sync_logs`);
    expect(row?.['kept']).toBe(values.split(',')[0]);
    expect(row?.['itemsTotal'] ?? 0).toBe(expected.itemsTotal);
    expect(await columnsOf('sync_logs')).toMatchObject({ recordsTotal: 'YES' });
  });

  test('copies the values also where a view keeps the former column (A7)', async () => {
    await db.raw(`
      create table egg_variables (id integer primary key, egg_id integer, "envVariable" text not null, env_variable text, name text);
      insert into egg_variables (id, "envVariable") values (1, 'PORT');
      create view variables as select id, "envVariable" from egg_variables`);
    await migrateLatest(db, { units: ['2'] });
    expect(await rows('select id, env_variable, "envVariable" from egg_variables')).toEqual([
      { id: 1, env_variable: 'PORT', envVariable: 'PORT' },
    ]);
    expect(await columnsOf('egg_variables')).toMatchObject({ envVariable: 'YES' });
    expect(await rows('select * from variables')).toHaveLength(1);
  });

  test('of a game session keeps what the session says of its server; no session goes with a server (A6)', async () => {
    await db.raw(`
      create table servers (id text primary key, name text);
      insert into servers values ('sv1', 'One'), ('sv2', 'Two');
      create table hytale_game_sessions (id uuid primary key default gen_random_uuid(), account_id uuid not null, profile_uuid uuid not null,
        server_id text, session_token text not null, identity_token text not null, expires_at timestamp not null,
        "serverId" text references servers (id) on delete cascade);
      insert into hytale_game_sessions (account_id, profile_uuid, session_token, identity_token, expires_at, server_id, "serverId") values
        (gen_random_uuid(), gen_random_uuid(), '1', '1', '2030-01-01', 'nowhere', null),
        (gen_random_uuid(), gen_random_uuid(), '2', '2', '2030-01-01', 'sv2', 'sv1'),
        (gen_random_uuid(), gen_random_uuid(), '3', '3', '2030-01-01', null, 'sv1')`);
    await migrateLatest(db);
    await db.raw(`delete from servers where id = 'sv1'`);
    expect(
      await rows('select session_token as n, server_id, "serverId" from hytale_game_sessions order by session_token'),
    ).toEqual([
      { n: '1', server_id: 'nowhere', serverId: null },
      { n: '2', server_id: 'sv2', serverId: 'sv1' },
      { n: '3', server_id: null, serverId: 'sv1' },
    ]);
    // The row that names no server can be changed, and goes on.
    await db.raw(`update hytale_game_sessions set session_token = '9' where session_token = '1'`);
    expect(await pendingMigrations(db)).toEqual([]);
  });
});

describe('open runs of the earlier service', () => {
  test('are closed, and keep what they say of their begin and end (A5)', async () => {
    await db.raw(`
      create table sync_logs (id text primary key, type text not null, status text, error text, "startedAt" timestamp,
        "completedAt" timestamp, "createdAt" timestamp);
      insert into sync_logs values
        ('l1', 'full', 'RUNNING', 'the panel was away', '2025-01-01', '2025-01-02', '2025-01-01'),
        ('l2', 'full', 'pending', null, null, null, '2025-02-03'), ('l3', 'full', 'COMPLETED', null, null, '2025-03-04', null)`);
    await migrateLatest(db, { units: ['7'] });
    expect(
      await rows(
        `select id, status, error, "startedAt"::date::text as started, "completedAt"::date::text as ended from sync_logs order by id`,
      ),
    ).toEqual([
      { id: 'l1', status: 'FAILED', error: 'the panel was away', started: '2025-01-01', ended: '2025-01-02' },
      { id: 'l2', status: 'FAILED', error: 'interrupted', started: '2025-02-03', ended: expect.any(String) },
      { id: 'l3', status: 'COMPLETED', error: null, started: '2025-03-04', ended: '2025-03-04' },
    ]);
  });
});

test('metadata of a run that is no object is read as empty (A12)', async () => {
  await db.raw(`create table sync_logs (id text primary key, type text not null, status text, metadata jsonb);
    insert into sync_logs values ('l1', 'full', 'COMPLETED', '[]'), ('l2', 'full', 'COMPLETED', '"text"'),
      ('l3', 'full', 'COMPLETED', '7'), ('l4', 'full', 'COMPLETED', null), ('l5', 'full', 'COMPLETED', '{"a":1}')`);
  await migrateLatest(db, { units: ['7'] });
  const logs = await listSyncLogs(db, { limit: 9, offset: 0 });
  const read = Object.fromEntries(logs.map(({ id, metadata }) => [id, metadata]));
  expect(read).toEqual({ l1: {}, l2: {}, l3: {}, l4: {}, l5: { a: 1 } });
});

/** A URL of the same database with one more parameter. */
function urlWith(name: string, value: string): string {
  const url = new URL(database.url);
  url.searchParams.set(name, value);
  return url.href;
}

describe('a database URL that names a schema', () => {
  test.each([
    ['search_path', 'site'],
    ['schema', 'site'],
    ['options', '-c search_path=site -c timezone=Asia/Tokyo'],
    ['search_path', 'site, public'],
  ])('by %s=%s is obeyed by every connection, and times stay UTC (A4)', async (name, value) => {
    await db.raw(`create schema site; create table site.users (id text primary key, email text not null);
      insert into site.users values ('u1', 'a@example.org')`);
    const url = urlWith(name, value);
    await withDatabase({ connectionString: url, applicationName: 'test', max: 2 }, async (inSite) => {
      expect(await schemaWarning(inSite)).toBeUndefined();
      await migrateLatest(inSite, { units: ['1', '8'] });
      expect(
        await query(inSite, `select current_setting('timezone') as zone, current_setting('lock_timeout') as lock`),
      ).toEqual([{ zone: 'UTC', lock: '15s' }]);
    });
    const tables = `select table_schema as schema from information_schema.tables where table_name in ('users', 'sessions', 'config', 'nodebyte_migrations')`;
    expect(await rows(`${tables} and table_schema = 'public'`)).toEqual([]);
    expect(await rows(`${tables} and table_schema = 'site'`)).toHaveLength(4);
    const listener = createListener({ connectionString: url, log: pino({ enabled: false }) });
    await new Promise<void>((resolve) => listener.on('adopted', () => undefined, resolve));
    await listener.close();
  });

  test('that does not exist is refused, also when another follows; nothing is created (A4)', async () => {
    for (const value of ['site', 'site, public']) {
      const options = { connectionString: urlWith('search_path', value), applicationName: 'test', max: 1 };
      await expect(withDatabase(options, (other) => migrateLatest(other))).rejects.toThrow(
        /no schema site.*nothing was applied/,
      );
    }
    expect(await rows(`select 1 from pg_tables where schemaname in ('public', 'site')`)).toEqual([]);
  });

  test('is proposed when the tables of the site are in another schema than ours (A4)', async () => {
    await db.raw('create schema site; create table site.users (id text primary key, email text, password text)');
    expect(await schemaWarning(db)).toMatch(/in the schema public, and site.users exists.*\?schema=site/);
    await migrateLatest(db, { units: ['1'] });
    const [check] = await checkAdoption(db);
    expect(check).toMatchObject({ state: 'warning', detail: expect.stringContaining('site.users') });
  });
});

describe('a table that another process holds', () => {
  const patience = { lockTimeoutMs: 300, tries: 2, pauseMs: 10 };

  test('stops the migration soon, which says who holds it, without the statement (A10)', async () => {
    await db.raw('create table users (id text primary key, email text)');
    const holder = openTestDb({ connectionString: database.url, applicationName: 'site-report', max: 1 });
    const held = await holder.transaction();
    await held.raw(`select 'a secret value' from users`);
    const [own] = (await held.raw('select pg_backend_pid() as pid')).rows;
    const waits: string[] = [];
    const error = await migrateLatest(db, { patience, onWait: (reason) => waits.push(reason) }).catch((e: Error) => e);
    expect(error).toMatchObject({ code: 'CONFLICT' });
    expect(String(error)).toMatch(
      new RegExp(
        `users is locked by process ${own.pid} \\(site-report, role \\w+, idle in transaction, query began at 20`,
      ),
    );
    expect(String(error)).not.toContain('secret');
    expect(waits).toHaveLength(1);
    // The migration gave way: no reader waits behind it.
    expect(await rows('select count(*)::int as n from users')).toEqual([{ n: 0 }]);
    await held.rollback();
    await holder.destroy();
    expect(await migrateLatest(db, { units: ['1'], patience })).toHaveLength(1);
  });

  test('in the other order is a deadlock, after which the migration goes on (A12)', async () => {
    await db.raw(`create table users (id text primary key, email text);
      create table sessions (id text primary key, "sessionToken" text, "userId" text references users (id) on delete cascade, expires timestamp)`);
    const site = await db.transaction();
    await site.raw('lock table sessions in row exclusive mode');
    const migrated = migrateLatest(db, { units: ['1'] });
    await expect
      .poll(() => rows(`select 1 from pg_locks where not granted and relation = 'sessions'::regclass`), {
        timeout: 10_000,
      })
      .toHaveLength(1);
    // Either of the two is chosen as the victim.
    await site.raw('lock table users in row exclusive mode').catch(() => undefined);
    await site.rollback();
    expect(await migrated).toHaveLength(1);
  });
});

/** Indexes for searches: they need an extension that a role may not be allowed to create. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkSearch } from '../../../src/cli/doctor/postgres.ts';
import { migrateLatest, pendingMigrations } from '../../../src/store/db/migrations.ts';
import { query } from '../../../src/store/db/query.ts';
import { rollbackLast } from '../../../src/store/db/rollback.ts';
import { createTestDatabase, onServer, openTestDb, type TestDatabase, type TestDb } from '../../support/database.ts';

const MIGRATION = '20260101003800_list_indexes.ts';
const role = `searcher_${randomBytes(6).toString('hex')}`;
let database: TestDatabase;
/** Connected as a role that may create tables and nothing else. */
let db: TestDb;

beforeAll(async () => {
  database = await createTestDatabase({ empty: true });
  const url = new URL(database.url);
  const password = randomBytes(12).toString('hex');
  await onServer(`create role ${role} login password '${password}'`);
  await database.db.raw(`alter schema public owner to ${role}`);
  url.username = role;
  url.password = password;
  db = openTestDb({ connectionString: url.href, applicationName: 'test', max: 1 });
});
afterAll(async () => {
  await db.destroy();
  await database.drop();
  await onServer(`drop role ${role}`);
});

const indexes = async (): Promise<string[]> => {
  const rows = await query<{ name: string }>(
    db,
    `select indexname as name from pg_indexes where indexname like 'idx\\_%\\_list\\_%' order by 1`,
  );
  return rows.map(({ name }) => name);
};
const SEARCHES = ['idx_allocations_list_search', 'idx_servers_list_search', 'idx_users_list_search'];

test('without the right to create pg_trgm the migrations succeed, and the indexes come with the extension', async () => {
  await migrateLatest(db);
  expect(await pendingMigrations(db)).toEqual([]);
  const warning = { state: 'warning', detail: expect.stringContaining('pg_trgm') };
  expect(await checkSearch(db)).toMatchObject([{ ...warning, advice: expect.stringContaining('create extension') }]);
  expect(await indexes()).toHaveLength(10);

  // An operator creates it, in a schema that is not searched.
  await database.db.raw(`create schema extensions; grant usage on schema extensions to ${role};
    create extension pg_trgm schema extensions`);
  expect(await checkSearch(db)).toMatchObject([{ ...warning, advice: 'npm run db:migrate' }]);
  expect(await migrateLatest(db)).toEqual([]);
  expect(await checkSearch(db)).toEqual([]);
  expect(await indexes()).toEqual(expect.arrayContaining(SEARCHES));
  await db.raw('set enable_seqscan = off');
  const plan = await query<Record<string, string>>(
    db,
    `explain select id from users where email ilike '%example%' or username ilike '%example%'`,
  );
  expect(plan.map((line) => line['QUERY PLAN']).join('\n')).toContain('idx_users_list_search');
});

test('a rollback drops the indexes, those that came later too, and keeps the extension', async () => {
  for (let name = ''; name !== MIGRATION; ) name = (await rollbackLast(db, { dropRows: true })) ?? MIGRATION;
  expect(await indexes()).toEqual([]);
  expect(await query(db, `select 1 as one from pg_extension where extname = 'pg_trgm'`)).toHaveLength(1);
});

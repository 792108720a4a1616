/** Databases for tests: clones of the migrated template that test/run.ts made. */
import { randomBytes } from 'node:crypto';
import type { Knex } from 'knex';
import pg from 'pg';
import { createDb, type Database, type DbOptions, type Transaction } from '../../src/store/db/db.ts';

/** A pool with which tests may also send their own queries. */
export type TestDb = Database & Knex;

/** Opens a pool for a test. */
export const openTestDb = (options: DbOptions): TestDb => createDb(options) as TestDb;

/** A transaction that the test ends itself. */
export const openTransaction = async (db: TestDb): Promise<Transaction & Knex.Transaction> =>
  (await db.transaction()) as unknown as Transaction & Knex.Transaction;

export interface TestDatabase {
  /** Connection string to this database. */
  url: string;
  db: TestDb;
  /** Closes the pool and drops the database, also while it has other connections. */
  drop(): Promise<void>;
}

/** Connection string to the database `postgres` on the test run's server. */
export function adminDatabaseUrl(): string {
  const url = process.env['TEST_DATABASE_URL'];
  if (url === undefined || url === '')
    throw new Error('TEST_DATABASE_URL is not set: run the tests by `npm test` or test/run.ts');
  return url;
}

/** Connection string to another database on the same server. */
export function databaseUrl(name: string): string {
  const url = new URL(adminDatabaseUrl());
  url.pathname = `/${name}`;
  return url.toString();
}

/** Runs statements on the server's `postgres` database. */
export async function onServer(...statements: string[]): Promise<void> {
  const client = new pg.Client({ connectionString: adminDatabaseUrl() });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

/**
 * Creates a database for one test file. `empty`: without the schema of this service.
 * @throws {Error} when the migrations of the template failed.
 */
export async function createTestDatabase(options: { empty?: boolean; max?: number } = {}): Promise<TestDatabase> {
  const template = options.empty === true ? 'template1' : process.env['TEST_TEMPLATE'];
  if (template === undefined || template === '') {
    throw new Error('TEST_TEMPLATE is not set: the migrations failed, see the output of test/run.ts');
  }
  const name = `t_${process.pid}_${randomBytes(6).toString('hex')}`;
  // Copying the files costs less than writing each page to the journal.
  await onServer(`create database "${name}" template "${template}" strategy file_copy`);
  const url = databaseUrl(name);
  const db = openTestDb({ connectionString: url, applicationName: 'test', max: options.max ?? 5 });
  return {
    url,
    db,
    async drop() {
      await db.destroy();
      await onServer(`drop database if exists "${name}" with (force)`);
    },
  };
}

/** A database for the time of one piece of work: commands and the start of an installation. */
import pg from 'pg';
import { connectionSettings } from './connection.ts';
import { createDb, type Database, type DbOptions } from './db.ts';

/** Milliseconds within which a server must accept a connection, as for the pools. */
const CONNECT_TIMEOUT_MS = 15_000;

/**
 * Opens a pool, does the work and closes the pool.
 * @throws driver errors when the database cannot be reached.
 */
export async function withDatabase<T>(options: DbOptions, work: (db: Database) => Promise<T>): Promise<T> {
  // knex prints a refused connection to stdout, where a command may be writing JSON: this connection fails before it.
  const probe = new pg.Client({
    ...connectionSettings(options.connectionString),
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  await probe.connect();
  await probe.end();
  const db = createDb(options);
  try {
    return await work(db);
  } finally {
    await db.destroy();
  }
}

/** Name of the database that the driver connects to with this URL; empty when the URL names none. */
export const databaseName = (connectionString: string): string => new pg.Client({ connectionString }).database ?? '';

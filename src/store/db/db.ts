/**
 * Connections to PostgreSQL. A `Db` is opaque outside `store` and `migrations`: only `query.ts`, which those two may
 * import, turns it into something that runs SQL.
 */
import knexModule, { type Knex } from 'knex';
import pg from 'pg';
import { connectionSettings } from './connection.ts';

declare const opaque: unique symbol;
declare const open: unique symbol;

/** A pool or a transaction on it: stores take either. */
export interface Db {
  readonly [opaque]: true;
}

/** A transaction that is open. */
export interface Transaction extends Db {
  readonly [open]: true;
}

/** A pool of connections; its owner closes it. */
export interface Database extends Db {
  /** Waits for running statements, then closes all connections. */
  destroy(): Promise<void>;
}

// Plain TIMESTAMP columns hold UTC wall time (contract: data model); the driver would read them as local time.
pg.types.setTypeParser(1114, (value) => new Date(`${value.replace(' ', 'T')}Z`));
// The other direction: a Date parameter is written in UTC, not in the process's zone.
pg.defaults.parseInputDatesAsUTC = true;

export interface DbOptions {
  connectionString: string;
  /** Shown in pg_stat_activity. */
  applicationName: string;
  /** Maximum number of connections; default 10 (the contract's ceiling over all processes is 25). */
  max?: number;
  /** Milliseconds a statement may run; default 30 s. Long transactions raise it locally. */
  statementTimeoutMs?: number;
}

/** Makes a pool. Nothing connects until the first query. */
export function createDb(options: DbOptions): Database {
  const pool = knexModule({
    client: 'pg',
    connection: {
      ...connectionSettings(options.connectionString),
      application_name: options.applicationName,
      statement_timeout: options.statementTimeoutMs ?? 30_000,
      keepAlive: true,
    },
    pool: { min: 0, max: options.max ?? 10, idleTimeoutMillis: 30_000, acquireTimeoutMillis: 15_000 },
    acquireConnectionTimeout: 15_000,
  });
  return pool as unknown as Database;
}

/** Runs `work` in a transaction; inside one already, it takes part in that one. */
export async function inTransaction<T>(db: Db, work: (trx: Transaction) => Promise<T>): Promise<T> {
  const knex = db as unknown as Knex;
  if (knex.isTransaction === true) return work(db as Transaction);
  return knex.transaction((trx) => work(trx as unknown as Transaction));
}

/** Transactions on one connection, one after the other: temporary tables outlive each of them. */
export type Session = <T>(work: (trx: Transaction) => Promise<T>) => Promise<T>;

/** Gives `work` a connection of its own. Its temporary tables are dropped at the end. */
export async function inSession<T>(db: Db, work: (session: Session) => Promise<T>): Promise<T> {
  const knex = db as unknown as Knex;
  const connection: unknown = await knex.client.acquireConnection();
  try {
    return await work((step) =>
      knex.transaction((trx) => step(trx as unknown as Transaction), { connection } as Knex.TransactionConfig),
    );
  } finally {
    // A connection that was lost drops them itself.
    await knex
      .raw('discard temp')
      .connection(connection)
      .catch(() => undefined);
    await knex.client.releaseConnection(connection);
  }
}

/** Runs `work` so that its failure undoes only what it did, and the transaction can go on. @throws what `work` throws. */
export async function inSavepoint<T>(trx: Transaction, work: () => Promise<T>): Promise<T> {
  const knex = trx as unknown as Knex;
  await knex.raw('savepoint part');
  try {
    const result = await work();
    await knex.raw('release savepoint part');
    return result;
  } catch (error) {
    await knex.raw('rollback to savepoint part');
    throw error;
  }
}

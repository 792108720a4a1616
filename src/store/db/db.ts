import knexModule, { type Knex } from 'knex';
import pg from 'pg';

/** A pool or a transaction on it: stores take either. */
export type Db = Knex | Knex.Transaction;

// Plain TIMESTAMP columns hold UTC wall time (contract: data model); the driver would read them as local time.
pg.types.setTypeParser(1114, (value) => new Date(`${value.replace(' ', 'T')}Z`));
// The other direction: a Date parameter is written in UTC, not in the process's zone.
pg.defaults.parseInputDatesAsUTC = true;

export interface DbOptions {
  connectionString: string;
  /** Shown in pg_stat_activity. */
  applicationName: string;
  /** Connections at the most; default 10 (the contract's ceiling over all processes is 25). */
  max?: number;
  /** Milliseconds a statement may run; default 30 s. Long transactions raise it locally. */
  statementTimeoutMs?: number;
}

/** Makes a pool. Nothing connects until the first query. */
export function createDb(options: DbOptions): Knex {
  return knexModule({
    client: 'pg',
    connection: {
      connectionString: options.connectionString,
      application_name: options.applicationName,
      statement_timeout: options.statementTimeoutMs ?? 30_000,
      keepAlive: true,
      // Plain TIMESTAMP columns hold UTC wall time, also where a column default writes them.
      options: '-c timezone=UTC -c lock_timeout=15000',
    },
    pool: { min: 0, max: options.max ?? 10, idleTimeoutMillis: 30_000, acquireTimeoutMillis: 15_000 },
    acquireConnectionTimeout: 15_000,
  });
}

/** Runs `work` in a transaction; inside one already, it takes part in that one. */
export async function inTransaction<T>(db: Db, work: (trx: Knex.Transaction) => Promise<T>): Promise<T> {
  if ('isTransaction' in db && db.isTransaction === true) return work(db as Knex.Transaction);
  return db.transaction(work);
}

/** Rows of a raw query, typed by the caller, who listed the columns. */
export async function rows<T>(db: Db, sql: string, bindings: readonly unknown[] = []): Promise<T[]> {
  const result = (await db.raw(sql, bindings as Knex.RawBinding[])) as { rows: T[] };
  return result.rows;
}

/**
 * Statements that need no answer go to the server together: each is a round trip otherwise.
 * Without bindings: what is not ours travels by `set_config`.
 */
export const script = (statements: readonly string[]): string => statements.join(';\n');

/** Rows of the last statement of a script. */
export async function lastRows<T>(trx: Db, statements: readonly string[]): Promise<T[]> {
  const results = (await trx.raw(script(statements))) as { rows: T[] } | { rows: T[] }[];
  return (Array.isArray(results) ? results.at(-1) : results)?.rows ?? [];
}

/** A pattern for LIKE and ILIKE that finds the text anywhere; its `%`, `_` and `\` mean themselves. */
export const contains = (text: string): string => `%${text.replace(/[\\%_]/g, '\\$&')}%`;

/** SQLSTATE of a driver error, if it is one. */
export function sqlState(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

/** The connection to PostgreSQL was lost or refused: the statement may be tried again later. */
export function isConnectionFailure(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const state = sqlState(error);
  if (state !== undefined) return /^(08|57P0)/.test(state);
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (typeof code === 'string' && /^E(CONN|PIPE|TIMEDOUT|HOST|AI)/.test(code)) return true;
  return (
    typeof message === 'string' &&
    /Connection terminated|Connection ended|Timeout acquiring a connection|timeout exceeded when trying to connect/.test(
      message,
    )
  );
}

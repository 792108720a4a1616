/** Raw statements. Only `store` and `migrations` import this file, so all SQL of the product stands in those folders. */
import type { Knex } from 'knex';
import type { Db } from './db.ts';
import { isPreparedLost } from './sql-errors.ts';

/** The query builder behind a `Db`. */
export const knexOf = (db: Db | Knex): Knex => db as unknown as Knex;

/** Rows of a statement, typed by the caller, who listed the columns. */
export async function query<T>(db: Db | Knex, sql: string, bindings: readonly unknown[] = []): Promise<T[]> {
  const result = (await knexOf(db).raw(sql, bindings as Knex.RawBinding[])) as { rows: T[] };
  return result.rows;
}

/** Whether statements are still prepared by name; see {@link queryPrepared}. */
let byName = true;

/**
 * Rows of a statement that each connection prepares once: for one that runs all the time and is planned longer than it
 * runs. Behind a pooler that gives a client another connection for each transaction and does not know prepared statements,
 * such a statement is missing or there already; then this process prepares none any more. Not inside a transaction.
 * @param name the same text always has the same name.
 */
export async function queryPrepared<T>(
  db: Db,
  name: string,
  sql: string,
  bindings: readonly Knex.RawBinding[],
): Promise<T[]> {
  if (!byName) return query(db, sql, bindings);
  try {
    const result = (await knexOf(db).raw(sql, bindings).options({ name })) as { rows: T[] };
    return result.rows;
  } catch (error) {
    if (!isPreparedLost(error)) throw error;
    byName = false;
    return query(db, sql, bindings);
  }
}

/**
 * Runs a statement, or several without bindings, whose rows the caller does not need.
 * @returns number of rows the statement touched; 0 for several statements.
 */
export async function execute(db: Db | Knex, sql: string, bindings: readonly unknown[] = []): Promise<number> {
  const result = (await knexOf(db).raw(sql, bindings as Knex.RawBinding[])) as { rowCount?: number | null };
  return result.rowCount ?? 0;
}

/**
 * Several statements as one text, so that they take one round trip to the server. Such a text takes no bindings: values
 * travel by `set_config`.
 */
export const script = (statements: readonly string[]): string => statements.join(';\n');

/**
 * SQL expression: the transaction commits without waiting for the disk. What it wrote may be missing after a crash of
 * PostgreSQL, and the rest is whole (postgresql.org/docs/current/wal-async-commit.html).
 */
export const COMMIT_LATER = `set_config('synchronous_commit', 'off', true)`;

/** Rows of the last statement of a script. */
export async function lastRows<T>(trx: Db, statements: readonly string[]): Promise<T[]> {
  const results = (await knexOf(trx).raw(script(statements))) as { rows: T[] } | { rows: T[] }[];
  return (Array.isArray(results) ? results.at(-1) : results)?.rows ?? [];
}

/** A pattern for LIKE and ILIKE that finds the text at the begin; its `%`, `_` and `\` mean themselves. */
export const startsWith = (text: string): string => `${text.replace(/[\\%_]/g, '\\$&')}%`;

/** The same for a text anywhere. */
export const contains = (text: string): string => `%${startsWith(text)}`;

/** Raw statements. Only `store` and `migrations` import this file, so all SQL of the product stands in those folders. */
import type { Knex } from 'knex';
import type { Db } from './db.ts';

/** The query builder behind a `Db`. */
export const knexOf = (db: Db | Knex): Knex => db as unknown as Knex;

/** Rows of a statement, typed by the caller, who listed the columns. */
export async function query<T>(db: Db | Knex, sql: string, bindings: readonly unknown[] = []): Promise<T[]> {
  const result = (await knexOf(db).raw(sql, bindings as Knex.RawBinding[])) as { rows: T[] };
  return result.rows;
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

/** Rows of the last statement of a script. */
export async function lastRows<T>(trx: Db, statements: readonly string[]): Promise<T[]> {
  const results = (await knexOf(trx).raw(script(statements))) as { rows: T[] } | { rows: T[] }[];
  return (Array.isArray(results) ? results.at(-1) : results)?.rows ?? [];
}

/** A pattern for LIKE and ILIKE that finds the text anywhere; its `%`, `_` and `\` mean themselves. */
export const contains = (text: string): string => `%${text.replace(/[\\%_]/g, '\\$&')}%`;

/** Reads and rewrites the encrypted columns of any table, batch by batch. */
import type { Db, Transaction } from './db.ts';
import {
  ENCRYPTED_TABLES,
  type EncryptedColumn,
  type EncryptedTable,
  type EncryptedTableName,
} from './encrypted-columns.ts';
import { execute, query } from './query.ts';

/** The encrypted columns of one row. */
export interface EncryptedRow {
  key: string;
  /** In the order of the table's columns. */
  values: (string | null)[];
}

const tableOf = (name: EncryptedTableName): EncryptedTable => ENCRYPTED_TABLES[name];

/** The encrypted columns of a table, by their full names. */
export const columnsOf = (name: EncryptedTableName): EncryptedColumn[] =>
  tableOf(name).columns.map((column) => `${name}.${column}` as EncryptedColumn);

/** One rotation at a time, until the end of the transaction. */
export async function lockRotation(trx: Transaction): Promise<void> {
  // A command that hangs must not keep its locks for ever, and with them the writers that wait for them.
  await execute(
    trx,
    `set local lock_timeout = '30s'; set local statement_timeout = '2min'; set local idle_in_transaction_session_timeout = '30s'`,
  );
  await execute(trx, `select pg_advisory_xact_lock(hashtext('nodebyte-key-rotation'))`);
}

/**
 * Rows that hold a value, in the order of their keys, after the key `after`.
 * @param lock the rows stay as they are until the transaction ends. Other writers of these rows wait.
 */
export async function readEncrypted(
  db: Db,
  name: EncryptedTableName,
  page: { after: string | undefined; limit: number; lock: boolean },
): Promise<EncryptedRow[]> {
  const { key, keyType, only, columns } = tableOf(name);
  const after = page.after ?? null;
  const rows = await query<Record<string, string | null>>(
    db,
    `select t.??::text as key, ${columns.map((_, i) => `t.?? as c${i}`).join(', ')}
       from ?? t
      where (?::${keyType} is null or t.?? > ?::${keyType}) and (?::text[] is null or t.??::text = any(?::text[]))
        and (${columns.map(() => `t.?? <> ''`).join(' or ')})
      order by t.?? limit ? ${page.lock ? 'for update' : ''}`,
    [key, ...columns, name, after, key, after, ...onlyBindings(key, only), ...columns, key, page.limit],
  );
  return rows.map((row) => ({ key: row['key'] ?? '', values: columns.map((_, i) => row[`c${i}`] ?? null) }));
}

/** Rewrites rows in one statement; a value that is null stays as it is. */
export async function writeEncrypted(
  trx: Transaction,
  name: EncryptedTableName,
  rows: readonly EncryptedRow[],
): Promise<void> {
  if (rows.length === 0) return;
  const { key, keyType, columns } = tableOf(name);
  await execute(
    trx,
    `update ?? t set ${columns.map((_, i) => `?? = coalesce(n.c${i}, t.??)`).join(', ')}
       from unnest(?::${keyType}[], ${columns.map(() => '?::text[]').join(', ')})
         as n(key, ${columns.map((_, i) => `c${i}`).join(', ')})
      where t.?? = n.key`,
    [
      name,
      ...columns.flatMap((column) => [column, column]),
      rows.map((row) => row.key),
      ...columns.map((_, i) => rows.map((row) => row.values[i] ?? null)),
      key,
    ],
  );
}

/** Number of rows that hold nothing, by column. */
export async function countEmpty(db: Db, name: EncryptedTableName): Promise<number[]> {
  const { key, only, columns } = tableOf(name);
  const [row] = await query<Record<string, number>>(
    db,
    `select ${columns.map((_, i) => `count(*) filter (where coalesce(t.??, '') = '')::float8 as c${i}`).join(', ')}
       from ?? t where ?::text[] is null or t.??::text = any(?::text[])`,
    [...columns, name, ...onlyBindings(key, only)],
  );
  return columns.map((_, i) => row?.[`c${i}`] ?? 0);
}

const onlyBindings = (key: string, only: readonly string[] | undefined): [string[] | null, string, string[] | null] => {
  const keys = only === undefined ? null : [...only];
  return [keys, key, keys];
};

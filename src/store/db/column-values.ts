/** Whether the values of one column stand in another: what decides that a column under a former name may go. */
import type { Knex } from 'knex';
import type { Db } from './db.ts';
import { query } from './query.ts';

export interface KeptValues {
  /** Type of the new column, with its precision. */
  type: string;
  /** SQL condition: the row has a value in the old column, and the type of the new one holds it without loss. */
  lossless: string;
  /** SQL condition: the row has a value in the old column that the new one does not have. */
  differs: string;
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** Conditions over rows of `table`, which has both columns. Values are compared as texts: `json` has no equality. */
export async function keepsValues(db: Db | Knex, table: string, old: string, name: string): Promise<KeptValues> {
  const types = await query<{ name: string; type: string }>(
    db,
    `select a.attname as name, format_type(a.atttypid, a.atttypmod) as type from pg_attribute a
      where a.attrelid = to_regclass(?) and a.attname = any (?::text[]) and not a.attisdropped`,
    [quoted(table), [old, name]],
  );
  const typeOf = (column: string): string => types.find((one) => one.name === column)?.type ?? 'text';
  const [from, to] = [quoted(old), quoted(name)];
  const cast = `${from}::${typeOf(name)}`;
  const back = `(${cast})::${typeOf(old)}::text is not distinct from ${from}::text`;
  return {
    type: typeOf(name),
    lossless: `${from} is not null and ${back}`,
    differs: `${from} is not null and not (${back} and ${to}::text is not distinct from (${cast})::text)`,
  };
}

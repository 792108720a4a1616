/** The shape of tables, read from the catalog: what the migrations make, and what a database has. */
import type { Knex } from 'knex';
import type { Db } from './db.ts';
import { query } from './query.ts';

export interface ColumnShape {
  name: string;
  /** As format_type prints it, with precision. */
  type: string;
  notNull: boolean;
  /** A row may be written without it: it has a default, is an identity or is generated. */
  filled: boolean;
}

export interface ForeignKeyShape {
  column: string;
  table: string;
  target: string;
  onDelete: 'cascade' | 'set null' | 'other';
}

export interface IndexShape {
  name: string;
  unique: boolean;
  /** Method, columns and condition: the definition without names. */
  on: string;
}

export interface TableShape {
  name: string;
  columns: ColumnShape[];
  /** Columns of the primary key, of unique constraints and of unique indexes without condition, each sorted. */
  keys: string[][];
  foreignKeys: ForeignKeyShape[];
  /** Other indexes. */
  indexes: IndexShape[];
}

/** A foreign key of a database, with what the catalog says of it. */
export interface FoundForeignKey extends ForeignKeyShape {
  name: string;
  /** False: rows from before are not checked. */
  valid: boolean;
}

export interface FoundTable extends TableShape {
  foreignKeys: FoundForeignKey[];
}

const OF = 'c.oid = to_regclass(quote_ident(n.name))';

const COLUMNS = `
select n.name as "table", a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as "notNull",
       a.atthasdef or a.attidentity <> '' as filled
  from unnest(?::text[]) as n(name) join pg_class c on ${OF}
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by n.name, a.attname`;

const INDEXES = `
select n.name as "table", ic.relname as name, i.indisunique as unique,
       i.indisunique and i.indimmediate and i.indpred is null and i.indexprs is null as key,
       (select array_agg(a.attname::text order by a.attname) from pg_attribute a
         where a.attrelid = i.indrelid and a.attnum = any (i.indkey[0:i.indnkeyatts - 1])) as columns,
       regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING ', '') as "on"
  from unnest(?::text[]) as n(name) join pg_class c on ${OF}
  join pg_index i on i.indrelid = c.oid and i.indisvalid join pg_class ic on ic.oid = i.indexrelid
  join pg_am m on m.oid = ic.relam and m.amname = 'btree' order by n.name, ic.relname`;

const FOREIGN_KEYS = `
select n.name as "table", k.conname as name, k.convalidated as valid, a.attname as "column", t.relname as to_table,
       ta.attname as target, case k.confdeltype when 'c' then 'cascade' when 'n' then 'set null' else 'other' end as "onDelete"
  from unnest(?::text[]) as n(name) join pg_class c on ${OF}
  join pg_constraint k on k.conrelid = c.oid and k.contype = 'f' and cardinality(k.conkey) = 1
  join pg_attribute a on a.attrelid = c.oid and a.attnum = k.conkey[1] join pg_class t on t.oid = k.confrelid
  join pg_attribute ta on ta.attrelid = t.oid and ta.attnum = k.confkey[1] order by n.name, a.attname, k.conname`;

type OfTable<T> = T & { table: string };

/** The tables among `names` that exist, with their columns, keys and indexes. Search indexes (GIN) are left out. */
export async function describeTables(db: Db | Knex, names: readonly string[]): Promise<Map<string, FoundTable>> {
  const columns = await query<OfTable<ColumnShape>>(db, COLUMNS, [names]);
  const indexes = await query<OfTable<IndexShape & { key: boolean; columns: string[] }>>(db, INDEXES, [names]);
  const keys = await query<OfTable<Omit<FoundForeignKey, 'table'> & { to_table: string }>>(db, FOREIGN_KEYS, [names]);
  const found = new Map<string, FoundTable>();
  for (const { table, ...column } of columns) {
    const shape = found.get(table) ?? { name: table, columns: [], keys: [], foreignKeys: [], indexes: [] };
    shape.columns.push(column);
    found.set(table, shape);
  }
  for (const { table, key, columns: of, ...index } of indexes) {
    if (key) found.get(table)?.keys.push(of);
    else found.get(table)?.indexes.push(index);
  }
  for (const { table, to_table, ...key } of keys) found.get(table)?.foreignKeys.push({ ...key, table: to_table });
  return found;
}

/**
 * Table definitions in SQL. A missing table is created. A table of an earlier service is adopted: columns are renamed
 * and added, constraints are relaxed. Adoption never deletes a row and never fails because of one.
 */
import type { Knex } from 'knex';
import { query } from '../../src/store/db/query.ts';
import { isSchemaRefused } from '../../src/store/db/sql-errors.ts';

export interface ForeignKey {
  table: string;
  column: string;
  onDelete: 'cascade' | 'set null';
}

export interface Column {
  name: string;
  type: string;
  notNull: boolean;
  defaultSql: string | undefined;
  unique: boolean;
  primaryKey: boolean;
  references: ForeignKey | undefined;
}

export interface Table {
  name: string;
  /** The SQL inside the parentheses of CREATE TABLE. */
  body: string;
  columns: readonly Column[];
  /** Named UNIQUE constraints over several columns. */
  uniques: readonly { name: string; columns: readonly string[] }[];
  primaryKey: readonly string[];
  /** CREATE INDEX statements. */
  indexes: readonly string[];
}

const LINE =
  /^(?:"([A-Za-z0-9]+)"|([a-z_0-9]+))\s+(.+?)(\s+not null)?(?:\s+default\s+(.+?))?(\s+unique)?(\s+primary key)?(?:\s+references\s+(\w+)\s+\((\w+)\)\s+on delete\s+(cascade|set null))?$/;
const CONSTRAINT = /^constraint\s+(\w+)\s+unique\s+\((.+)\)$/;
const PRIMARY = /^primary key\s+\((.+)\)$/;

const unquote = (name: string): string => name.trim().replace(/^"(.*)"$/, '$1');
/** A quoted identifier. */
export const ident = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/**
 * Reads a table definition in SQL: one column or constraint per line, its parts in the order
 * `name type [not null] [default x] [unique] [primary key] [references t (c) on delete …]`.
 * @param indexes lines `[unique] name (columns) [where …]`
 */
export function defineTable(name: string, sql: string, indexes = ''): Table {
  const lines = sql
    .split('\n')
    .map((line) => line.trim().replace(/,$/, ''))
    .filter((line) => line !== '');
  const columns: Column[] = [];
  const uniques: { name: string; columns: string[] }[] = [];
  let primaryKey: string[] = [];
  for (const line of lines) {
    const constraint = CONSTRAINT.exec(line);
    const primary = PRIMARY.exec(line);
    if (constraint !== null) {
      uniques.push({ name: constraint[1] ?? '', columns: (constraint[2] ?? '').split(',').map(unquote) });
    } else if (primary !== null) {
      primaryKey = (primary[1] ?? '').split(',').map(unquote);
    } else {
      const column = parseColumn(name, line);
      if (column.primaryKey) primaryKey = [column.name];
      columns.push(column);
    }
  }
  return {
    name,
    body: lines.join(',\n'),
    columns,
    uniques,
    primaryKey,
    indexes: indexes
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '')
      .map((line) => {
        const unique = line.startsWith('unique ');
        const [, indexName = '', rest = ''] = /^(\w+)\s+(.+)$/.exec(unique ? line.slice(7) : line) ?? [];
        return `create ${unique ? 'unique ' : ''}index if not exists ${indexName} on ${ident(name)} ${rest}`;
      }),
  };
}

function parseColumn(table: string, line: string): Column {
  const match = LINE.exec(line);
  const name = match?.[1] ?? match?.[2];
  if (match === null || name === undefined) throw new Error(`table ${table}: cannot read "${line}"`);
  const [, , , type = '', notNull, defaultSql, unique, primaryKey, refTable, refColumn, onDelete] = match;
  return {
    name,
    type,
    notNull: notNull !== undefined || primaryKey !== undefined,
    defaultSql,
    unique: unique !== undefined,
    primaryKey: primaryKey !== undefined,
    references:
      refTable === undefined || refColumn === undefined
        ? undefined
        : { table: refTable, column: refColumn, onDelete: onDelete === 'set null' ? 'set null' : 'cascade' },
  };
}

/** Whether the search path has a table of this name. */
export async function tableExists(knex: Knex, name: string): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(knex, 'select to_regclass(?) is not null as found', [ident(name)]);
  return row?.found === true;
}

/**
 * Runs SQL inside a savepoint. `false` when the existing data or schema do not allow it; any other error is thrown.
 */
export async function attempt(knex: Knex, sql: string): Promise<boolean> {
  try {
    await knex.transaction(async (savepoint) => {
      await savepoint.raw(sql);
    });
    return true;
  } catch (error) {
    if (isSchemaRefused(error)) return false;
    throw error;
  }
}

/** PostgreSQL 13 and later have gen_random_uuid(); PostgreSQL 12 has it in the extension pgcrypto. */
export async function ensureUuidFunction(knex: Knex): Promise<void> {
  const [row] = await query<{ found: boolean }>(
    knex,
    "select exists (select 1 from pg_proc where proname = 'gen_random_uuid') as found",
  );
  if (row?.found !== true) await knex.raw('create extension if not exists pgcrypto');
}

/** Adopts a table of an earlier service. Every step checks the table first, so a second run changes nothing. */
import type { Knex } from 'knex';
import { keepsValues } from '../../src/store/db/column-values.ts';
import { isFormerName, otherNames, toSnake } from '../../src/store/db/former-names.ts';
import { query } from '../../src/store/db/query.ts';
import { attempt, type Column, type ForeignKey, ident, type Table } from './table.ts';

interface FoundColumn {
  name: string;
  notNull: boolean;
  sameType: boolean;
}

/** Changes an existing table to the shape of `table`: old names, missing columns, defaults, keys, indexes. */
export async function adoptTable(knex: Knex, table: Table): Promise<void> {
  await renameColumns(knex, table);
  await adjustColumns(knex, table);
  await ensureKeys(knex, table);
  for (const column of table.columns) {
    if (column.references !== undefined) await ensureForeignKey(knex, table.name, column.name, column.references);
  }
  // An index that existing rows or types do not allow is left out. The other steps do not depend on it.
  for (const index of table.indexes) await attempt(knex, index);
}

async function columnNames(knex: Knex, table: string): Promise<Set<string>> {
  const found = await query<{ name: string }>(
    knex,
    'select attname as name from pg_attribute where attrelid = to_regclass(?) and attnum > 0 and not attisdropped',
    [ident(table)],
  );
  return new Set(found.map((row) => row.name));
}

async function renameColumns(knex: Knex, table: Table): Promise<void> {
  const found = await columnNames(knex, table.name);
  const own = new Set(table.columns.map((column) => column.name));
  for (const column of table.columns) {
    for (const old of otherNames(table.name, column.name)) {
      if (own.has(old) || !found.has(old)) continue;
      if (found.has(column.name)) {
        await mergeColumn(knex, table.name, old, column);
      } else {
        await knex.raw(`alter table ${ident(table.name)} rename column ${ident(old)} to ${ident(column.name)}`);
        found.add(column.name);
      }
      found.delete(old);
    }
  }
}

/**
 * The table has both names of a column. The old one is dropped only when nothing is lost by it; otherwise it stays, may be
 * null, and `db migrate` and `doctor` name it (src/store/db/schema-gaps.ts).
 */
async function mergeColumn(knex: Knex, table: string, old: string, column: Column): Promise<void> {
  if (isFormerName(table, column.name, old)) {
    await copyValues(knex, table, old, column);
    if (await dropWithoutLoss(knex, table, old, column.name)) return;
    // Its values are superseded: a row must not go because of them.
    for (const key of await foreignKeys(knex, table, old)) {
      await attempt(knex, `alter table ${ident(table)} drop constraint ${ident(key.name)}`);
    }
  }
  await attempt(knex, `alter table ${ident(table)} alter column ${ident(old)} drop not null`);
}

/** Copies the values that only the old column has and that the type of the new one holds without loss. */
async function copyValues(knex: Knex, table: string, old: string, column: Column): Promise<void> {
  const [t, from, to] = [ident(table), ident(old), ident(column.name)];
  // A column that was added after the old one has its constant default in rows in which it was never written.
  const constant = column.defaultSql !== undefined && /^('.*'|-?\d+|true|false)$/.test(column.defaultSql);
  const added = constant && (await isAddedLater(knex, table, column.name, old));
  const empty = added ? `(${to} is null or ${to} = ${column.defaultSql})` : `${to} is null`;
  const kept = await keepsValues(knex, table, old, column.name);
  await attempt(knex, `update ${t} set ${to} = ${from}::${kept.type} where ${empty} and ${kept.lossless}`);
}

/** Drops the old column when each of its values stands in the new one. A view over it prevents that, too. */
async function dropWithoutLoss(knex: Knex, table: string, old: string, name: string): Promise<boolean> {
  const { differs } = await keepsValues(knex, table, old, name);
  const [t, from] = [ident(table), ident(old)];
  return attempt(
    knex,
    `do $$ begin
       if exists (select 1 from ${t} where ${differs}) then raise data_exception; end if;
       alter table ${t} drop column ${from};
     end $$`,
  );
}

async function isAddedLater(knex: Knex, table: string, name: string, old: string): Promise<boolean> {
  const [row] = await query<{ later: boolean }>(
    knex,
    `select max(attnum) filter (where attname = ?) > max(attnum) filter (where attname = ?) as later
       from pg_attribute where attrelid = to_regclass(?) and not attisdropped`,
    [name, old, ident(table)],
  );
  return row?.later === true;
}

const baseType = (type: string): string =>
  type
    .replace(/\([\d, ]+\)/, '')
    .replace('bigserial', 'bigint')
    .replace('serial', 'integer');

/** Where a row without a required time has others, it gets the earliest of them, not the time of the migration. */
const KNOWN_TIMES: Readonly<Record<string, string>> = {
  'sync_logs.startedAt': 'least("createdAt", "completedAt", "updatedAt")',
};

async function adjustColumns(knex: Knex, table: Table): Promise<void> {
  const t = ident(table.name);
  const found = await query<FoundColumn>(
    knex,
    `select a.attname as name, a.attnotnull as "notNull", a.atttypid = want.type::regtype::oid as "sameType"
       from unnest(?::text[], ?::text[]) as want(name, type)
       join pg_attribute a on a.attrelid = to_regclass(?) and a.attname = want.name and not a.attisdropped`,
    [table.columns.map((c) => c.name), table.columns.map((c) => baseType(c.type)), t],
  );
  const byName = new Map(found.map((column) => [column.name, column]));
  const [state] = await query<{ filled: boolean }>(knex, `select exists (select 1 from ${t}) as filled`);
  const changes: string[] = [];
  for (const column of table.columns) {
    const name = ident(column.name);
    const there = byName.get(column.name);
    if (there === undefined) {
      const parts = [`add column ${name} ${column.type}`];
      if (column.defaultSql !== undefined) parts.push(`default ${column.defaultSql}`);
      // Existing rows have no value for it, so the column stays nullable.
      if (column.notNull && (column.defaultSql !== undefined || state?.filled !== true)) parts.push('not null');
      changes.push(parts.join(' '));
      continue;
    }
    if (column.defaultSql !== undefined && there.sameType) {
      changes.push(`alter column ${name} set default ${column.defaultSql}`);
    }
    // This service never writes null to a column with a default, so an old NOT NULL can stay.
    if (
      !column.notNull &&
      there.notNull &&
      column.defaultSql === undefined &&
      !table.primaryKey.includes(column.name)
    ) {
      changes.push(`alter column ${name} drop not null`);
    }
  }
  if (changes.length > 0) await knex.raw(`alter table ${t} ${changes.join(', ')}`);
  for (const column of table.columns) {
    if (!column.notNull || byName.get(column.name)?.notNull !== false) continue;
    const name = ident(column.name);
    const known = KNOWN_TIMES[`${table.name}.${column.name}`];
    const value = known === undefined ? column.defaultSql : `coalesce(${known}, ${column.defaultSql})`;
    const fill = value === undefined ? '' : `update ${t} set ${name} = ${value} where ${name} is null;`;
    await attempt(knex, `${fill} alter table ${t} alter column ${name} set not null`);
  }
}

interface FoundKey {
  index: string;
  constraint: string | null;
  primary: boolean;
  /** False for a DEFERRABLE constraint, which neither a foreign key nor ON CONFLICT can use. */
  immediate: boolean;
  columns: string[];
}

async function uniqueKeys(knex: Knex, table: string): Promise<FoundKey[]> {
  return query<FoundKey>(
    knex,
    `select i.indexrelid::regclass::text as index, c.conname as constraint, i.indisprimary as primary,
            i.indimmediate as immediate,
            (select array_agg(a.attname::text order by a.attname) from pg_attribute a
              where a.attrelid = i.indrelid and a.attnum = any (i.indkey[0:i.indnkeyatts - 1])) as columns
       from pg_index i left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u')
      where i.indrelid = to_regclass(?) and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null`,
    [ident(table)],
  );
}

const sameColumns = (found: FoundKey, columns: readonly string[]): boolean =>
  [...columns].sort().join('\n') === [...found.columns].sort().join('\n');

/** Drops every unique constraint and unique index over exactly these columns. */
export async function dropUnique(knex: Knex, table: string, columns: readonly string[]): Promise<void> {
  for (const key of await uniqueKeys(knex, table)) {
    if (key.primary || !sameColumns(key, columns)) continue;
    if (key.constraint === null) await knex.raw(`drop index ${key.index}`);
    else await knex.raw(`alter table ${ident(table)} drop constraint ${ident(key.constraint)}`);
  }
}

async function ensureKeys(knex: Knex, table: Table): Promise<void> {
  const t = ident(table.name);
  const found = await uniqueKeys(knex, table.name);
  const list = (columns: readonly string[]): string => columns.map(ident).join(', ');
  if (table.primaryKey.length > 0 && !found.some((key) => key.primary)) {
    await attempt(knex, `alter table ${t} add primary key (${list(table.primaryKey)})`);
  }
  const wanted = [
    ...table.columns.filter((column) => column.unique).map((column) => ({ name: '', columns: [column.name] })),
    ...table.uniques,
  ];
  for (const { name, columns } of wanted) {
    const same = found.filter((key) => sameColumns(key, columns));
    if (same.some((key) => key.immediate)) continue;
    if (same.length > 0) await dropUnique(knex, table.name, columns);
    const unique = `unique (${list(columns)})`;
    const named = name !== '' && (await attempt(knex, `alter table ${t} add constraint ${ident(name)} ${unique}`));
    if (named || (await attempt(knex, `alter table ${t} add ${unique}`))) continue;
    // Existing rows contain duplicates, and no row may be deleted. Queries get an index that is not unique.
    const fallback = `idx_${table.name}_${columns.map(toSnake).join('_')}_dup`;
    await knex.raw(`create index if not exists ${ident(fallback)} on ${t} (${list(columns)})`);
  }
}

interface FoundForeignKey {
  name: string;
  onDelete: string;
}

/** Foreign keys of the column; only those that reference `target`, when one is named. */
async function foreignKeys(knex: Knex, table: string, column: string, target?: string): Promise<FoundForeignKey[]> {
  return query<FoundForeignKey>(
    knex,
    `select c.conname as name, c.confdeltype::text as "onDelete"
       from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
      where c.conrelid = to_regclass(?) and c.contype = 'f' and cardinality(c.conkey) = 1
        and a.attname = ? and (?::text is null or c.confrelid = to_regclass(?))`,
    [ident(table), column, target ?? null, target === undefined ? null : ident(target)],
  );
}

/** Drops every foreign key of the column that references `target`. */
export async function dropForeignKey(knex: Knex, table: string, column: string, target: string): Promise<void> {
  for (const key of await foreignKeys(knex, table, column, target)) {
    await knex.raw(`alter table ${ident(table)} drop constraint ${ident(key.name)}`);
  }
}

/**
 * Ensures a foreign key with the given action. Rows that reference a missing row stay; then the key is not
 * validated and checks only new and changed rows.
 */
export async function ensureForeignKey(knex: Knex, table: string, column: string, to: ForeignKey): Promise<void> {
  const found = await foreignKeys(knex, table, column, to.table);
  const action = to.onDelete === 'cascade' ? 'c' : 'n';
  if (found.length > 0 && found.every((key) => key.onDelete === action)) return;
  await dropForeignKey(knex, table, column, to.table);
  const t = ident(table);
  const name = ident(`${table}_${column}_fkey`);
  const added = await attempt(
    knex,
    `alter table ${t} add constraint ${name} foreign key (${ident(column)})
       references ${ident(to.table)} (${ident(to.column)}) on delete ${to.onDelete} not valid`,
  );
  if (added) await attempt(knex, `alter table ${t} validate constraint ${name}`);
}

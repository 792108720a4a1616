/**
 * A copy of the tables of this service in a schema of its own, for a rehearsal of migrations. It is made inside a transaction
 * that is rolled back, so nothing of it stays, also when the process is killed. The tables themselves are only read.
 */
import type { Transaction } from './db.ts';
import { inSavepoint } from './db.ts';
import { execute, query } from './query.ts';

const ident = (name: string): string => `"${name.replaceAll('"', '""')}"`;

export interface CopiedTable {
  name: string;
  /** Rows in the copy; null: only the structure was copied. */
  rows: number | null;
  bytes: number;
}

export interface SchemaCopy {
  /** Name of the schema. */
  schema: string;
  tables: CopiedTable[];
  /** Which table another one is about: an index; `table.column` and `table.constraint` of a foreign key. */
  belongsTo: ReadonlyMap<string, string>;
  /** What the copy lacks, in words. */
  lacks: string[];
}

interface SourceTable {
  oid: number;
  /** Name in the copy. */
  name: string;
  /** Quoted name with its schema. */
  source: string;
  /** A table of the site that references ours: only its foreign keys matter. */
  foreign: boolean;
  bytes: number;
  /** Columns with values of their own, quoted. */
  columns: string[];
  /** Triggers of the site. */
  triggers: string[];
}

const TABLES = `
with ours as (select c.oid from unnest(?::text[]) n join pg_class c on c.oid = to_regclass(quote_ident(n)) where c.relkind in ('r', 'p')),
     children as (select distinct k.conrelid as oid from pg_constraint k
                   where k.contype = 'f' and k.confrelid in (select oid from ours) and k.conrelid not in (select oid from ours))
select c.oid::int8::text as oid, s.is_foreign as "foreign", case when s.is_foreign then 'site_' || c.oid else c.relname end as name,
       format('%I.%I', n.nspname, c.relname) as source, pg_total_relation_size(c.oid)::float8 as bytes,
       (select coalesce(array_agg(quote_ident(a.attname) order by a.attnum), '{}') from pg_attribute a
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '') as columns,
       (select coalesce(array_agg(g.tgname::text), '{}') from pg_trigger g where g.tgrelid = c.oid and not g.tgisinternal) as triggers
  from (select oid, false as is_foreign from ours union all select oid, true from children) s
  join pg_class c on c.oid = s.oid join pg_namespace n on n.oid = c.relnamespace order by s.is_foreign, c.relname`;

/** Columns that take their values from a sequence of the table: the copy gets a sequence of its own. */
const SEQUENCES = `
select c.oid::int8::text as oid, a.attname as "column", s.relname as name, format('%I.%I', sn.nspname, s.relname) as source
  from unnest(?::int8[]) o join pg_class c on c.oid = o
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attidentity = '' and a.atthasdef
  join pg_depend d on d.refobjid = c.oid and d.refobjsubid = a.attnum and d.classid = 'pg_class'::regclass and d.deptype = 'a'
  join pg_class s on s.oid = d.objid and s.relkind = 'S' join pg_namespace sn on sn.oid = s.relnamespace`;

const INDEXES = `
select c.oid::int8::text as oid, ic.relname as name, i.indisunique as unique, k.conname as "constraint",
       coalesce(pg_get_constraintdef(k.oid), split_part(pg_get_indexdef(i.indexrelid), ' USING ', 2)) as definition
  from unnest(?::int8[]) o join pg_class c on c.oid = o join pg_index i on i.indrelid = c.oid and i.indisvalid
  join pg_class ic on ic.oid = i.indexrelid
  left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = c.oid and k.contype in ('p', 'u', 'x')
 order by i.indisprimary desc, ic.relname`;

const FOREIGN_KEYS = `
select k.conrelid::int8::text as oid, k.confrelid::int8::text as parent, k.conname as name, k.convalidated as valid,
       a.attname as "column", pg_get_constraintdef(k.oid) as definition
  from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1] where k.contype = 'f' and k.conrelid = any (?::int8[]) and k.confrelid = any (?::int8[]) order by k.oid`;

/** Views over the tables, views over these, and views that have the name of a table of ours. */
const VIEWS = `
with recursive used as (
  select o::oid as oid from unnest(?::int8[]) o
   union
  select to_regclass(quote_ident(n)) from unnest(?::text[]) n where to_regclass(quote_ident(n)) is not null
   union
  select r.ev_class from used u join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = u.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid)
select c.relname as name, c.relkind::text as kind, pg_get_viewdef(c.oid) as definition
  from used u join pg_class c on c.oid = u.oid and c.relkind in ('v', 'm') order by c.oid`;

interface Plan {
  tables: SourceTable[];
  sequences: { oid: string; column: string; name: string; source: string }[];
  indexes: { oid: string; name: string; unique: boolean; constraint: string | null; definition: string }[];
  foreignKeys: { oid: string; parent: string; name: string; column: string; valid: boolean; definition: string }[];
  views: { name: string; kind: string; definition: string }[];
}

/** Reads every definition while names mean the tables themselves. */
async function readPlan(trx: Transaction, names: readonly string[]): Promise<Plan> {
  const tables = await query<SourceTable>(trx, TABLES, [names]);
  const all = tables.map(({ oid }) => oid);
  const ours = tables.filter((table) => !table.foreign).map(({ oid }) => oid);
  return {
    tables,
    sequences: await query(trx, SEQUENCES, [ours]),
    indexes: await query(trx, INDEXES, [ours]),
    foreignKeys: await query(trx, FOREIGN_KEYS, [all, ours]),
    views: await query(trx, VIEWS, [ours, names]),
  };
}

/**
 * Copies the tables among `names` that exist, with keys, indexes, and the views over them. From then on, names mean the copy.
 * @param withRows tables whose rows are copied; those that they reference are copied, too.
 */
export async function copySchema(
  trx: Transaction,
  options: { schema: string; names: readonly string[]; withRows: ReadonlySet<string> },
): Promise<SchemaCopy> {
  const { schema, names } = options;
  const plan = await readPlan(trx, names);
  const nameOf = new Map(plan.tables.map(({ oid, name }) => [String(oid), name]));
  const filled = withParents(plan, options.withRows);
  const to = (name: string): string => `${ident(schema)}.${ident(name)}`;
  await execute(trx, `create schema ${ident(schema)}`);
  const tables: CopiedTable[] = [];
  for (const table of plan.tables) tables.push(await copyTable(trx, table, to(table.name), filled.has(table.name)));
  // In the site's own path as well: definitions may name its types and functions.
  await execute(trx, `select set_config('search_path', ? || ', ' || current_setting('search_path'), true)`, [
    ident(schema),
  ]);
  await copySequences(trx, plan, (oid) => to(nameOf.get(oid) ?? ''), to);
  for (const { oid, name, unique, constraint, definition } of plan.indexes) {
    const table = to(nameOf.get(oid) ?? '');
    const index = `create ${unique ? 'unique ' : ''}index ${ident(name)} on ${table} using ${definition}`;
    const sql = constraint === null ? index : `alter table ${table} add constraint ${ident(constraint)} ${definition}`;
    await execute(trx, sql.replaceAll('?', '\\?'));
  }
  for (const { oid, name, definition } of plan.foreignKeys) {
    await execute(trx, `alter table ${to(nameOf.get(oid) ?? '')} add constraint ${ident(name)} ${definition}`);
  }
  const lacks = [...(await copyViews(trx, plan, to)), ...triggersOf(plan)];
  // Nothing but the copy can be meant by a name now. PostgreSQL 12 has gen_random_uuid() in an extension.
  await copyUuidFunction(trx, schema);
  await execute(trx, `select set_config('search_path', ?, true)`, [ident(schema)]);
  const belongsTo = new Map(plan.indexes.map(({ oid, name }) => [name, nameOf.get(oid) ?? '']));
  for (const { oid, parent, name, column } of plan.foreignKeys) {
    for (const part of [name, column]) belongsTo.set(`${nameOf.get(oid)}.${part}`, nameOf.get(parent) ?? '');
  }
  return { schema, tables: tables.filter(({ name }) => names.includes(name)), belongsTo, lacks };
}

/** The tables that are filled: those asked for, and what their rows reference. */
function withParents({ tables, foreignKeys }: Plan, withRows: ReadonlySet<string>): Set<string> {
  const nameOf = new Map(tables.map(({ oid, name }) => [String(oid), name]));
  const filled = new Set(tables.filter(({ name, foreign }) => !foreign && withRows.has(name)).map(({ name }) => name));
  for (let before = -1; before !== filled.size; ) {
    before = filled.size;
    for (const { oid, parent } of foreignKeys) {
      const name = nameOf.get(parent);
      if (filled.has(nameOf.get(oid) ?? '') && name !== undefined) filled.add(name);
    }
  }
  return filled;
}

async function copyTable(trx: Transaction, table: SourceTable, to: string, filled: boolean): Promise<CopiedTable> {
  const parts = 'including defaults including constraints including generated including identity including storage';
  await execute(trx, `create table ${to} (like ${table.source} ${parts})`);
  if (!filled) return { name: table.name, rows: null, bytes: table.bytes };
  const columns = table.columns.join(', ');
  const rows = await execute(
    trx,
    `insert into ${to} (${columns}) overriding system value select ${columns} from ${table.source}`,
  );
  return { name: table.name, rows, bytes: table.bytes };
}

/** Without it, a new row in the copy would take its number from the sequence of the table itself. */
async function copySequences(
  trx: Transaction,
  { sequences }: Plan,
  tableOf: (oid: string) => string,
  to: (name: string) => string,
): Promise<void> {
  for (const { oid, column, name, source } of sequences) {
    await execute(
      trx,
      `create sequence ${to(name)} owned by ${tableOf(oid)}.${ident(column)};
       alter table ${tableOf(oid)} alter column ${ident(column)} set default nextval('${to(name).replaceAll("'", "''")}');
       select setval('${to(name).replaceAll("'", "''")}', s.last_value, s.is_called) from ${source} s`,
    );
  }
}

/** @returns the views that could not be copied, in words. */
async function copyViews(trx: Transaction, { views }: Plan, to: (name: string) => string): Promise<string[]> {
  const lacks: string[] = [];
  for (const { name, kind, definition } of views) {
    const query = definition.replace(/;\s*$/, '');
    const sql =
      kind === 'v'
        ? `create view ${to(name)} as ${query}`
        : `create materialized view ${to(name)} as ${query} with no data`;
    await inSavepoint(trx, () => execute(trx, sql.replaceAll('?', '\\?'))).catch(() => {
      lacks.push(`the view ${name} was not copied`);
    });
  }
  return lacks;
}

const triggersOf = ({ tables }: Plan): string[] =>
  tables
    .filter(({ foreign, triggers }) => !foreign && triggers.length > 0)
    .map(({ name, triggers }) => `triggers of ${name} did not run: ${triggers.join(', ')}`);

async function copyUuidFunction(trx: Transaction, schema: string): Promise<void> {
  const [found] = await query<{ source: string }>(
    trx,
    `select format('%I.%I', n.nspname, p.proname) as source from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where p.proname = 'gen_random_uuid' and to_regprocedure('pg_catalog.gen_random_uuid()') is null limit 1`,
  );
  if (found === undefined) return;
  await execute(
    trx,
    `create function ${ident(schema)}.gen_random_uuid() returns uuid language sql as 'select ${found.source}()'`,
  );
}

export interface PostponedKey {
  table: string;
  name: string;
  definition: string;
}

/**
 * Takes away the foreign keys of the copy that old rows break. They hold for new and changed rows, and PostgreSQL takes every
 * row as new in the transaction that wrote it.
 */
export async function postponeKeys(trx: Transaction, schema: string): Promise<PostponedKey[]> {
  const keys = await query<PostponedKey>(
    trx,
    `select k.conrelid::regclass::text as "table", k.conname as name, pg_get_constraintdef(k.oid) as definition
       from pg_constraint k where k.contype = 'f' and not k.convalidated and k.connamespace = to_regnamespace(?)`,
    [schema],
  );
  for (const { table, name } of keys) await execute(trx, `alter table ${table} drop constraint ${ident(name)}`);
  return keys;
}

/** Brings them back, where no migration has added them again. */
export async function returnKeys(trx: Transaction, keys: readonly PostponedKey[]): Promise<void> {
  for (const { table, name, definition } of keys) {
    await inSavepoint(trx, () =>
      execute(trx, `alter table ${table} add constraint ${ident(name)} ${definition}`),
    ).catch(() => undefined);
  }
}

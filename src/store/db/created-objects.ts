/**
 * What each migration created, so that its `down` drops that and nothing else. A shared table may be the site's: then `up`
 * added columns and indexes to it, and the table with its rows stays.
 *
 * Earlier releases wrote no such record. `isRemembered` tells their migrations apart.
 */
import type { Knex } from 'knex';
import type { Db, Transaction } from './db.ts';
import { execute, query } from './query.ts';

const TABLE = 'nodebyte_created_objects';

type Kind = 'table' | 'column' | 'index' | 'constraint' | 'foreign key' | 'trigger' | 'function';

/** A database object, by name. `table` is empty for a function. */
export interface CreatedObject {
  kind: Kind;
  table: string;
  name: string;
}

interface FoundObject extends CreatedObject {
  /** Stays the same when the object is renamed. */
  id: string;
}

/** The objects of the schema in which migrations create. Names in it are what `up` and `down` mean by them. */
export type Snapshot = ReadonlyMap<string, FoundObject>;

const OBJECTS = `
with schemas as (select oid from pg_namespace where nspname = any (current_schemas(false))),
     tables as (select oid, relname from pg_class where relnamespace in (select oid from schemas) and relkind in ('r', 'p'))
select 'table' as kind, 't' || oid as id, relname::text as "table", relname::text as name from tables
 union all
select 'column', 'a' || a.attrelid || '.' || a.attnum, t.relname, a.attname
  from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
 union all
select 'index', 'i' || i.indexrelid, t.relname, c.relname
  from tables t join pg_index i on i.indrelid = t.oid join pg_class c on c.oid = i.indexrelid
 where not exists (select 1 from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'))
 union all
select case k.contype when 'f' then 'foreign key' else 'constraint' end, 'k' || k.oid, t.relname, k.conname
  from tables t join pg_constraint k on k.conrelid = t.oid and k.contype in ('p', 'u', 'x', 'f', 'c')
 union all
select 'trigger', 'g' || g.oid, t.relname, g.tgname from tables t join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal
 union all
select 'function', 'f' || p.oid, '', p.oid::regprocedure::text
  from pg_proc p
 where p.pronamespace in (select oid from schemas)
   and not exists (select 1 from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')`;

/** The objects that exist now. */
export async function takeSnapshot(db: Db): Promise<Snapshot> {
  const found = await query<FoundObject>(db, OBJECTS);
  return new Map(found.map((object) => [object.id, object]));
}

/** Objects of `many` that `few` lacks. Parts of a table that is itself among them are left out. */
function difference(many: Snapshot, few: Snapshot): FoundObject[] {
  const only = [...many.values()].filter(({ id }) => !few.has(id));
  const tables = new Set(only.filter(({ kind }) => kind === 'table').map(({ table }) => table));
  return only.filter(({ kind, table }) => kind === 'table' || !tables.has(table));
}

/** Creates the record when it is missing. */
export async function ensureMemory(trx: Transaction): Promise<void> {
  await execute(
    trx,
    `create table if not exists ${TABLE} (
       migration text not null, kind text not null, table_name text not null, name text not null,
       created_at timestamptz not null default current_timestamp, primary key (migration, kind, table_name, name))`,
  );
}

/** Columns of the record, for the check that no table of the site has its name. */
export const MEMORY_SHAPE = {
  name: TABLE,
  columns: ['migration', 'kind', 'table_name', 'name'].map((name) => ({ name, type: 'text' })),
};

async function remember(trx: Transaction, migration: string, objects: readonly CreatedObject[]): Promise<void> {
  // The row of kind `migration` says that there is a record, also when the migration created nothing.
  const rows = [{ kind: 'migration', table: '', name: migration }, ...objects];
  await execute(
    trx,
    `insert into ${TABLE} (migration, kind, table_name, name)
     select ?, o.kind, o.table_name, o.name from unnest(?::text[], ?::text[], ?::text[]) as o (kind, table_name, name)
     on conflict do nothing`,
    [migration, rows.map((r) => r.kind), rows.map((r) => r.table), rows.map((r) => r.name)],
  );
}

/** Records what was created since `before`, as the work of the migration. */
export async function rememberCreated(trx: Transaction, migration: string, before: Snapshot): Promise<void> {
  await remember(trx, migration, difference(await takeSnapshot(trx), before));
}

/** Removes the record of a migration that was rolled back. */
export async function forgetCreated(trx: Transaction, migration: string): Promise<void> {
  await execute(trx, `delete from ${TABLE} where migration = ?`, [migration]);
}

async function memoryExists(db: Db): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(db, 'select to_regclass(?) is not null as found', [TABLE]);
  return row?.found === true;
}

/** Names of all tables and functions that migrations of ours created. */
export async function createdNames(db: Db): Promise<Set<string>> {
  if (!(await memoryExists(db))) return new Set();
  const rows = await query<{ name: string }>(
    db,
    `select name from ${TABLE} where kind in ('table', 'function', 'index')`,
  );
  return new Set(rows.map(({ name }) => name));
}

/** Whether a record of the migration exists. */
export async function isRemembered(db: Db, migration: string): Promise<boolean> {
  if (!(await memoryExists(db))) return false;
  const [row] = await query<{ found: boolean }>(
    db,
    `select exists (select 1 from ${TABLE} where migration = ? and kind = 'migration') as found`,
    [migration],
  );
  return row?.found === true;
}

/** What the migration created. */
export async function createdBy(db: Db | Knex, migration: string): Promise<CreatedObject[]> {
  return query<CreatedObject>(
    db,
    `select kind, table_name as "table", name from ${TABLE} where migration = ? and kind <> 'migration'
      order by kind, table_name, name`,
    [migration],
  );
}

/**
 * What a migration of an earlier release made, as far as its names tell: its tables, the foreign keys that reference them,
 * and `others`. The caller made sure that the tables may go.
 */
export async function rememberFormer(
  trx: Transaction,
  migration: string,
  tables: readonly string[],
  others: readonly CreatedObject[],
): Promise<void> {
  const keys = await query<{ table: string; name: string }>(
    trx,
    `select r.relname as "table", k.conname as name
       from pg_constraint k join pg_class r on r.oid = k.conrelid join pg_class t on t.oid = k.confrelid
      where k.contype = 'f' and t.oid in (select to_regclass(quote_ident(n)) from unnest(?::text[]) as n)
        and not r.relname = any (?::text[])`,
    [tables, tables],
  );
  await remember(trx, migration, [
    ...tables.map((name): CreatedObject => ({ kind: 'table', table: name, name })),
    ...keys.map((key): CreatedObject => ({ kind: 'foreign key', ...key })),
    ...others,
  ]);
}

/** Tables and columns of `before` that are gone and that the migration did not create. */
export async function lostObjects(
  trx: Transaction,
  before: Snapshot,
  created: readonly CreatedObject[],
): Promise<CreatedObject[]> {
  const dropped = difference(before, await takeSnapshot(trx));
  const ours = new Set(created.map(({ kind, table, name }) => `${kind} ${table} ${name}`));
  return dropped.filter(
    ({ kind, table, name }) => (kind === 'table' || kind === 'column') && !ours.has(`${kind} ${table} ${name}`),
  );
}

/** Names the migration that runs, for `dropCreated`; the end of the transaction forgets it. */
export async function nameRunning(trx: Transaction, migration: string): Promise<void> {
  await execute(trx, "select set_config('nodebyte.migration', ?, true)", [migration]);
}

/** How an object is dropped, in the order in which one can be dropped without the other. Never CASCADE. */
const DROP: Readonly<Record<Exclude<Kind, 'table'>, string>> = {
  trigger: 'drop trigger if exists :name: on :table:',
  'foreign key': 'alter table if exists :table: drop constraint if exists :name:',
  constraint: 'alter table if exists :table: drop constraint if exists :name:',
  index: 'drop index if exists :name:',
  column: 'alter table if exists :table: drop column if exists :name:',
  function: 'drop function if exists ',
};

/**
 * Drops what `up` of the running migration created, and nothing else: the `down` of most migrations.
 * @throws {Error} outside `db rollback`, where no migration is named.
 */
export async function dropCreated(knex: Knex): Promise<void> {
  const [running] = await query<{ name: string | null }>(
    knex,
    "select current_setting('nodebyte.migration', true) as name",
  );
  if (!running?.name) throw new Error('migrations are rolled back by `npm run db:rollback` alone');
  const created = await createdBy(knex, running.name);
  const ofKind = (kind: Kind): CreatedObject[] => created.filter((object) => object.kind === kind);
  for (const kind of ['trigger', 'foreign key', 'constraint', 'index', 'column'] as const) {
    for (const { table, name } of ofKind(kind)) await knex.raw(DROP[kind], { table, name });
  }
  const tables = ofKind('table').map(({ name }) => name);
  if (tables.length > 0) await knex.raw(`drop table if exists ${tables.map(() => '??').join(', ')}`, tables);
  // The name of a function is its signature as the catalog prints it, already quoted.
  for (const { name } of ofKind('function')) await knex.raw(`${DROP.function}${name}`);
}

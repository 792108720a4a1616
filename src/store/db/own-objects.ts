/**
 * Our own tables and functions are created, never adopted (ADR 11). Before anything is applied, a site's object with one
 * of their names stops the migration.
 */
import { AppError } from '../../domain/errors.ts';
import { createdNames, MEMORY_SHAPE } from './created-objects.ts';
import type { Db } from './db.ts';
import { BOOK } from './migration-book.ts';
import { query } from './query.ts';

/** What a migration will create. */
export interface OwnObjects {
  tables: readonly OwnTable[];
  functions: readonly OwnFunction[];
}

interface OwnTable {
  name: string;
  /** Not known = every table of this name that no migration created is a stranger. */
  columns?: readonly { name: string; type: string }[];
  /** Names of its indexes and unique constraints. */
  indexes: readonly string[];
}

export interface OwnFunction {
  /** As PostgreSQL prints it: `name(types)`. */
  signature: string;
  /** As pg_get_function_result prints it. */
  result: string;
}

const BOOK_SHAPE = {
  name: BOOK,
  columns: ['name', 'batch', 'migration_time'].map((name, n) => ({
    name,
    type: ['varchar', 'integer', 'timestamptz'][n] ?? '',
  })),
};

/**
 * The names that are taken by objects that this service did not create, each with what is wrong with it. A table with the
 * right shape is ours: it comes from a dump without the record.
 */
async function strangers(db: Db, own: OwnObjects): Promise<string[]> {
  const found: string[] = [];
  const note = (stranger: string | undefined): void => {
    if (stranger !== undefined) found.push(stranger);
  };
  for (const shape of [BOOK_SHAPE, MEMORY_SHAPE]) note(await strangeTable(db, { ...shape, indexes: [] }));
  // Without them nothing can be said about the others.
  if (found.length > 0) return found;
  const ours = await createdNames(db);
  for (const table of own.tables.filter(({ name }) => !ours.has(name))) {
    note(await strangeTable(db, table));
    for (const index of table.indexes) note(await strangeIndex(db, index, table.name));
  }
  for (const one of own.functions) if (!ours.has(one.signature)) note(await strangeFunction(db, one));
  return found;
}

const KINDS: Readonly<Record<string, string>> = {
  r: 'table',
  p: 'table',
  v: 'view',
  m: 'materialized view',
  f: 'foreign table',
  S: 'sequence',
  i: 'index',
  I: 'index',
  c: 'type',
};

async function strangeTable(db: Db, table: OwnTable): Promise<string | undefined> {
  const [relation] = await query<{ kind: string; relation: boolean }>(
    db,
    `select c.relkind::text as kind, true as relation from pg_class c where c.oid = to_regclass(quote_ident(?))
     union all select 'c', false from pg_type t where t.oid = to_regtype(quote_ident(?)) and t.typrelid = 0`,
    [table.name, table.name],
  );
  if (relation === undefined) return undefined;
  const kind = KINDS[relation.kind] ?? 'object';
  if (kind !== 'table' || table.columns === undefined) return `the ${kind} ${table.name}`;
  const different = await differences(db, table.name, table.columns);
  return different.length === 0 ? undefined : `the table ${table.name} (${different.join(', ')})`;
}

/** How the table differs from one that this service can use, three differences at most. */
async function differences(
  db: Db,
  table: string,
  columns: readonly { name: string; type: string }[],
): Promise<string[]> {
  const rows = await query<{ name: string; problem: string }>(
    db,
    `select coalesce(want.name, a.attname) as name,
            case when a.attname is null then 'is missing'
                 when want.name is null then 'is not ours and must have a value'
                 else 'is ' || format_type(a.atttypid, null) end as problem
       from unnest(?::text[], ?::text[]) as want(name, type)
       full join (select * from pg_attribute where attrelid = to_regclass(quote_ident(?)) and attnum > 0 and not attisdropped) a
              on a.attname = want.name
      where a.attname is null or a.atttypid <> want.type::regtype::oid
         or (want.name is null and a.attnotnull and not a.atthasdef and a.attidentity = '')
      order by want.name is null, 1`,
    [columns.map(({ name }) => name), columns.map(({ type }) => type), table],
  );
  const named = rows.slice(0, 3).map(({ name, problem }) => `column ${name} ${problem}`);
  return rows.length > 3 ? [...named, `${rows.length - 3} more`] : named;
}

async function strangeIndex(db: Db, index: string, table: string): Promise<string | undefined> {
  const [found] = await query<{ kind: string; owner: string | null }>(
    db,
    `select c.relkind::text as kind, i.indrelid::regclass::text as owner
       from pg_class c left join pg_index i on i.indexrelid = c.oid
      where c.oid = to_regclass(quote_ident(?)) and i.indrelid is distinct from to_regclass(quote_ident(?))`,
    [index, table],
  );
  if (found === undefined) return undefined;
  return `the ${KINDS[found.kind] ?? 'object'} ${index}${found.owner === null ? '' : ` of ${found.owner}`}`;
}

async function strangeFunction(db: Db, { signature, result }: OwnFunction): Promise<string | undefined> {
  const [found] = await query<{ same: boolean }>(
    db,
    'select pg_get_function_result(to_regprocedure(?)) = ? as same where to_regprocedure(?) is not null',
    [signature, result, signature],
  );
  return found === undefined || found.same ? undefined : `the function ${signature}`;
}

/**
 * Makes sure that the names of our own tables, their indexes and our functions are free or ours.
 * @throws {AppError} CONFLICT that names each taken name and what to do.
 */
export async function requireOwnNames(db: Db, own: OwnObjects): Promise<void> {
  const found = await strangers(db, own);
  if (found.length === 0) return;
  throw new AppError('CONFLICT', {
    publicMessage:
      `this database has ${found.join(', ')}, which this service did not create. It creates its own under ` +
      `${found.length === 1 ? 'that name' : 'those names'} and adopts none: nothing was applied. Rename yours ` +
      '(for example: alter table emails rename to site_emails) and migrate again',
  });
}

/**
 * The indexes by which lists find a text anywhere in a column. They need the extension pg_trgm, which a role may not be
 * allowed to create, or a server may not have. Without them a search reads the whole table and finds the same.
 */
import type { Knex } from 'knex';
import type { Db } from './db.ts';
import { knexOf, query } from './query.ts';

/** `operators` = the operator class of pg_trgm, with the schema of the extension. */
const INDEXES: readonly { name: string; on: (operators: string) => string }[] = [
  { name: 'idx_users_list_search', on: (o) => `users using gin (email ${o}, username ${o})` },
  { name: 'idx_servers_list_search', on: (o) => `servers using gin (name ${o}, description ${o})` },
  {
    name: 'idx_allocations_list_search',
    on: (o) => `allocations using gin (ip ${o}, alias ${o}, (port::text) ${o})`,
  },
];

/** Names of the indexes that are missing. */
async function missingIndexes(db: Db | Knex): Promise<string[]> {
  const rows = await query<{ name: string }>(
    db,
    'select n.name from unnest(?::text[]) as n(name) where to_regclass(quote_ident(n.name)) is null',
    [INDEXES.map(({ name }) => name)],
  );
  return rows.map(({ name }) => name);
}

/** The operator class of the installed extension; undefined without the extension. */
async function operatorClass(db: Db | Knex): Promise<string | undefined> {
  const [found] = await query<{ operators: string }>(
    db,
    `select quote_ident(n.nspname) || '.gin_trgm_ops' as operators
       from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm'`,
  );
  return found?.operators;
}

export type SearchIndexes = 'complete' | 'missing' | 'no extension';

/** Whether searches have their indexes; `missing`: the extension is there now, and `db migrate` adds them. */
export async function searchIndexes(db: Db): Promise<SearchIndexes> {
  if ((await missingIndexes(db)).length === 0) return 'complete';
  return (await operatorClass(db)) === undefined ? 'no extension' : 'missing';
}

/** Creates the extension when that is allowed, and with it the indexes that are missing. Never fails for lack of either. */
export async function ensureSearchIndexes(trx: Db | Knex): Promise<void> {
  // The server may not have it, may not list it as allowed, or may not let this role: each has an error of its own.
  if ((await operatorClass(trx)) === undefined) await tryInSavepoint(trx, 'create extension if not exists pg_trgm');
  const operators = await operatorClass(trx);
  if (operators === undefined) return;
  const missing = await missingIndexes(trx);
  for (const { name, on } of INDEXES) {
    // A column of a database of the site may have a type that the operator class does not take.
    if (missing.includes(name)) await tryInSavepoint(trx, `create index ${name} on ${on(operators)}`);
  }
}

async function tryInSavepoint(trx: Db | Knex, sql: string): Promise<void> {
  await knexOf(trx)
    .transaction((savepoint) => savepoint.raw(sql))
    .catch(() => undefined);
}

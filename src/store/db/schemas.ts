/** In which schema the tables are: the first one of the search path. The site's may be in another one. */
import { AppError } from '../../domain/errors.ts';
import { createdBy, isRemembered } from './created-objects.ts';
import type { Db } from './db.ts';
import { execute, query } from './query.ts';

/** Unit 01, which makes `users`. */
const USERS_UNIT = '20260101000100_schema_01_users_auth.ts';

/** Entries of the search path, as they are written, that name a schema which the database does not have. */
const MISSING = `
select btrim(s.entry) as entry, s.n
  from unnest(string_to_array(current_setting('search_path'), ',')) with ordinality as s(entry, n)
 where btrim(s.entry) not in ('', '""', '"$user"') and to_regnamespace(btrim(s.entry)) is null`;

/**
 * Makes sure that tables can be created where the search path says.
 * @throws {AppError} BAD_REQUEST when its first schema does not exist, since tables would be created in the next one.
 */
export async function requireSchema(db: Db): Promise<void> {
  const [missing] = await query<{ entry: string }>(
    db,
    `select m.entry from (${MISSING}) m where not exists (
       select 1 from unnest(string_to_array(current_setting('search_path'), ',')) with ordinality as s(entry, n)
        where s.n < m.n and to_regnamespace(btrim(s.entry)) is not null)`,
  );
  if (missing === undefined) return;
  throw new AppError('BAD_REQUEST', {
    publicMessage:
      `this database has no schema ${missing.entry}, which the database URL or the role names first in search_path: ` +
      `nothing was applied. Correct the URL, or create it: create schema ${missing.entry}`,
  });
}

/** Creates the schemas of the search path that are missing: for a database that was created a moment ago. */
export async function createSchemas(db: Db): Promise<void> {
  for (const { entry } of await query<{ entry: string }>(db, MISSING)) {
    await execute(db, `create schema if not exists ${entry}`);
  }
}

/**
 * Schemas outside the search path with a table `users` like that of the site, when ours is missing or was created by this
 * service: then the site's tables are probably there, and this service works beside them.
 */
export async function usersElsewhere(db: Db): Promise<string[]> {
  const [own] = await query<{ found: boolean }>(db, `select to_regclass('users') is not null as found`);
  const created = own?.found === true && (await isRemembered(db, USERS_UNIT)) ? await createdBy(db, USERS_UNIT) : [];
  const ours = created.some(({ kind, name }) => kind === 'table' && name === 'users');
  if (own?.found === true && !ours) return [];
  const rows = await query<{ schema: string }>(
    db,
    `select n.nspname as schema from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relname = 'users' and c.relkind in ('r', 'p') and n.nspname <> all (current_schemas(true))
        and 2 = (select count(*) from pg_attribute a
                  where a.attrelid = c.oid and a.attname in ('email', 'password') and not a.attisdropped)
      order by 1`,
  );
  return rows.map(({ schema }) => schema);
}

/** What to say about tables of the site in another schema; undefined: there are none. */
export async function schemaWarning(db: Db): Promise<string | undefined> {
  const elsewhere = await usersElsewhere(db);
  if (elsewhere.length === 0) return undefined;
  const [here] = await query<{ name: string }>(db, 'select current_schema() as name');
  return (
    `the tables of this service are in the schema ${here?.name}, and ${elsewhere.map((one) => `${one}.users`).join(', ')} ` +
    `exists, too. If the site's tables are there, add ?schema=${elsewhere[0]} to DATABASE_URL`
  );
}

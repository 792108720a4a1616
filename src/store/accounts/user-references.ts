/** Which users the rows of other tables refer to, the tables of the site included. */
import type { Db } from '../db/db.ts';
import { OWN_TABLES } from '../db/migrations.ts';
import { query } from '../db/query.ts';

/** Columns that hold the id of a user by contract. An adopted table may lack the foreign key. */
const USER_COLUMNS = [
  'userId',
  'user_id',
  'ownerId',
  'owner_id',
  'assignedToId',
  'createdById',
  'reviewedById',
  'performedById',
];

/**
 * SQL conditions over alias u, one per foreign key to users and per column of {@link USER_COLUMNS}. The tables of this
 * service are left out: their rows go with the user.
 */
async function referenceConditions(db: Db): Promise<string[]> {
  const found = await query<{ condition: string }>(
    db,
    `select format('exists (select 1 from %s r where %s)', k.conrelid::regclass,
              (select string_agg(format('r.%I = u.%I', own.attname, theirs.attname), ' and ')
                 from unnest(k.conkey, k.confkey) as c (own, theirs)
                 join pg_attribute own on own.attrelid = k.conrelid and own.attnum = c.own
                 join pg_attribute theirs on theirs.attrelid = k.confrelid and theirs.attnum = c.theirs)) as condition
       from pg_constraint k join pg_class t on t.oid = k.conrelid
      where k.contype = 'f' and k.confrelid = to_regclass('users') and t.relname <> all(?::text[])
     union
     select format('exists (select 1 from %s r where r.%I::text = u.id::text)', t.oid::regclass, a.attname)
       from pg_class t join pg_attribute a on a.attrelid = t.oid
      where t.relkind in ('r', 'p') and t.relnamespace = any(current_schemas(false)::regnamespace[]) and t.relname <> all(?::text[])
        and a.attname = any(?::text[]) and not a.attisdropped
        and not exists (select 1 from pg_constraint k where k.contype = 'f' and k.conrelid = t.oid
              and k.confrelid = to_regclass('users') and a.attnum = any(k.conkey))`,
    [OURS, OURS, USER_COLUMNS],
  );
  // A question mark would be read as a placeholder.
  return found.map(({ condition }) => condition.replaceAll('?', '\\?'));
}
const OURS = Object.values(OWN_TABLES).flat();

/** Those of the users that a row of another table refers to. */
export async function referencedUsers(db: Db, ids: readonly string[]): Promise<Set<string>> {
  if (ids.length === 0) return new Set();
  const conditions = await referenceConditions(db);
  const found = await query<{ id: string }>(
    db,
    `select u.id from users u where u.id = any(?::text[]) and (${conditions.join(' or ') || 'false'})`,
    [[...ids]],
  );
  return new Set(found.map(({ id }) => id));
}

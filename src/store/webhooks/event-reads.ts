/** What the routing of events reads: the webhooks that are on, and what events name only by an id. */
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** A webhook that is switched on. Columns that older databases leave empty have the defaults of the table here. */
export interface EnabledWebhook {
  id: string;
  name: string;
  type: string;
  scope: string;
}

/** The webhooks that are switched on. */
export const enabledWebhooks = (db: Db): Promise<EnabledWebhook[]> =>
  query(
    db,
    `select w.id, coalesce(w.name, '') as name, upper(coalesce(w.type::text, 'SYSTEM')) as type,
       coalesce(w.scope::text, 'ADMIN') as scope
     from discord_webhooks w where w.enabled order by w.id`,
  );

/** How a sync ended. */
export interface SyncOutcome {
  id: string;
  type: string;
  status: string;
  error: string | null;
  /** Seconds. */
  duration: number | null;
  itemsTotal: number | null;
  itemsSynced: number | null;
  itemsFailed: number | null;
  warnings: string[];
}

/** The outcomes of these syncs, as their log rows have them. */
export const syncOutcomes = (db: Db, logIds: readonly string[]): Promise<SyncOutcome[]> =>
  query(
    db,
    `select l.id, l.type, coalesce(l.status::text, '') as status, l.error,
       case when jsonb_typeof(l.metadata->'duration') = 'number' then (l.metadata->>'duration')::float8
         else l."durationSeconds"::float8 end as duration,
       l."itemsTotal", l."itemsSynced", l."itemsFailed",
       array(select w.value->>'message' from jsonb_array_elements(
           case when jsonb_typeof(l.metadata->'warnings') = 'array' then l.metadata->'warnings' else '[]' end
         ) with ordinality as w(value, n) where w.value->>'message' <> '' order by w.n) as warnings
     from sync_logs l where l.id = any(?::text[])`,
    [[...logIds]],
  );

/** The addresses of these accounts. */
export const addressesOf = (db: Db, userIds: readonly string[]): Promise<{ id: string; email: string }[]> =>
  query(db, `select u.id, u.email from users u where u.id = any(?::text[]) and u.email is not null`, [[...userIds]]);

/** How an account is called: its username, or else its first name; undefined if it has neither. */
export async function nameOfUser(db: Db, id: string): Promise<string | undefined> {
  const [user] = await query<{ name: string | null }>(
    db,
    `select coalesce(nullif(trim(u.username), ''), nullif(trim(u."firstName"), '')) as name from users u where u.id = ?`,
    [id],
  );
  return user?.name ?? undefined;
}

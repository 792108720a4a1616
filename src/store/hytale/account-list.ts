/** Reads of Hytale accounts, for administrators. No token is read. */
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import type { AccountStatus } from '../../domain/hytale/lifecycle.ts';
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';

export interface AccountRow {
  id: string;
  environment: HytaleEnvironment | null;
  status: AccountStatus;
  reason: string | null;
  /** Null: Hytale was not asked yet. */
  profiles: { uuid: string; username: string }[] | null;
  profileUuid: string | null;
  version: number;
  failures: number;
  nextAt: Date | null;
  accessExpiresAt: Date;
  /** When the refresh token was received, as far as it is known. */
  obtainedAt: Date;
  createdAt: Date;
  updatedAt: Date;
  sessions: number;
  /** Of them, those with the status `active`. */
  activeSessions: number;
}

export interface AccountFilter {
  /** Accounts of the other environment are not shown; one without an environment counts as this one's. */
  environment: HytaleEnvironment;
  id?: string | undefined;
  status?: AccountStatus | undefined;
  /** Part of the id, of the owner's name or of the name of a profile. */
  search?: string | undefined;
}

function conditionsOf({ environment, id, status, search }: AccountFilter): { sql: string; bindings: unknown[] } {
  const conditions = ['coalesce(t.environment, ?) = ?'];
  const bindings: unknown[] = [environment, environment];
  const add = (condition: string, ...values: unknown[]) => {
    conditions.push(condition);
    bindings.push(...values);
  };
  if (id !== undefined) add('t.account_id = ?::uuid', id);
  if (status !== undefined) add('t.status = ?', status);
  if (search !== undefined) {
    const pattern = contains(search);
    add(
      `(t.account_id::text ilike ?
        or jsonb_path_query_array(t.profiles, '$[*].username')::text ilike ?)`,
      pattern,
      pattern,
    );
  }
  return { sql: conditions.join(' and '), bindings };
}

/** One page of accounts, newest first. */
export function listAccounts(
  db: Db,
  { limit, offset, ...filter }: AccountFilter & { limit: number; offset: number },
): Promise<AccountRow[]> {
  const { sql, bindings } = conditionsOf(filter);
  return query(
    db,
    `select t.account_id as id, t.environment, t.status, t.reason,
       case when jsonb_typeof(t.profiles) = 'array' then t.profiles end as profiles, t.profile_uuid as "profileUuid",
       t.refresh_version as version, t.failures, t.next_at as "nextAt", t.access_token_expiry as "accessExpiresAt",
       coalesce(t.last_refreshed_at, t.created_at) as "obtainedAt", t.created_at as "createdAt", t.updated_at as "updatedAt",
       g.sessions, g.active as "activeSessions"
     from (select t.* from hytale_oauth_tokens t where ${sql} order by t.created_at desc, t.account_id limit ? offset ?) t
     cross join lateral (
       select count(*)::int as sessions, count(*) filter (where coalesce(s.status, 'active') = 'active')::int as active
       from hytale_game_sessions s where s.account_id = t.account_id) g
     order by t.created_at desc, t.account_id`,
    [...bindings, limit, offset],
  );
}

/** Number of accounts that a filter lets through. */
export async function countAccounts(db: Db, filter: AccountFilter): Promise<number> {
  const { sql, bindings } = conditionsOf(filter);
  const [row] = await query<{ n: number }>(
    db,
    `select count(*)::int as n from hytale_oauth_tokens t where ${sql}`,
    bindings,
  );
  return row?.n ?? 0;
}

/** Reads of game sessions, for administrators. No token is read. */
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import type { SessionStatus } from '../../domain/hytale/lifecycle.ts';
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';

export interface SessionRow {
  id: string;
  accountId: string;
  environment: HytaleEnvironment | null;
  profileUuid: string;
  profileName: string | null;
  serverId: string | null;
  serverName: string | null;
  /** A row of an adopted database may have another word. */
  status: string;
  reason: string | null;
  version: number;
  wantedVersion: number;
  failures: number;
  recreations: number;
  nextAt: Date | null;
  /** Null: it has no pair of tokens. */
  expiresAt: Date | null;
  refreshedAt: Date | null;
  linkedAt: Date | null;
  pushStatus: string;
  pushReason: string | null;
  pushedVersion: number | null;
  pushedVariables: string[] | null;
  pushedAt: Date | null;
  pushFailures: number;
  restartWanted: boolean;
  createdAt: Date;
  updatedAt: Date;
}

export interface SessionFilter {
  /** Sessions of the other environment are not shown; one without an environment counts as this one's. */
  environment: HytaleEnvironment;
  id?: string | undefined;
  status?: SessionStatus | undefined;
  accountId?: string | undefined;
  serverId?: string | undefined;
  /** Part of an id, or of the names of the server, the owner or the profile. */
  search?: string | undefined;
}

function conditionsOf(filter: SessionFilter): { sql: string; bindings: unknown[] } {
  const conditions = ['coalesce(s.environment, ?) = ?'];
  const bindings: unknown[] = [filter.environment, filter.environment];
  const add = (condition: string, ...values: unknown[]) => {
    conditions.push(condition);
    bindings.push(...values);
  };
  if (filter.id !== undefined) add('s.id = ?::uuid', filter.id);
  if (filter.status !== undefined) add(`coalesce(s.status, 'active') = ?`, filter.status);
  if (filter.accountId !== undefined) add('s.account_id = ?::uuid', filter.accountId);
  if (filter.serverId !== undefined) add('s.server_id = ?', filter.serverId);
  if (filter.search !== undefined) {
    const pattern = contains(filter.search);
    add(
      `(s.id::text ilike ? or s.account_id::text ilike ? or s.profile_uuid::text ilike ? or s.server_id ilike ?
        or v.name ilike ? or p.username ilike ?)`,
      ...Array.from({ length: 6 }, () => pattern),
    );
  }
  return { sql: conditions.join(' and '), bindings };
}

const FROM = `hytale_game_sessions s
  left join hytale_oauth_tokens t on t.account_id = s.account_id
  left join servers v on v.id = s.server_id
  left join lateral (
    select x.value ->> 'username' as username
    from jsonb_array_elements(case when jsonb_typeof(t.profiles) = 'array' then t.profiles end) x
    where x.value ->> 'uuid' = s.profile_uuid::text limit 1) p on true`;

/** One page of sessions, newest first. */
export function listSessions(
  db: Db,
  { limit, offset, ...filter }: SessionFilter & { limit: number; offset: number },
): Promise<SessionRow[]> {
  const { sql, bindings } = conditionsOf(filter);
  return query(
    db,
    `select s.id, s.account_id as "accountId", s.environment, s.profile_uuid as "profileUuid",
       p.username as "profileName", s.server_id as "serverId", v.name as "serverName", coalesce(s.status, 'active') as status,
       s.reason, s.version, s.wanted_version as "wantedVersion", s.failures, s.recreations, s.next_at as "nextAt",
       case when s.session_token <> '' then s.expires_at end as "expiresAt", s.refreshed_at as "refreshedAt",
       s.linked_at as "linkedAt", s.push_status as "pushStatus", s.push_reason as "pushReason",
       s.pushed_version as "pushedVersion", s.pushed_variables as "pushedVariables", s.pushed_at as "pushedAt",
       s.push_failures as "pushFailures", s.restart_wanted as "restartWanted", s.created_at as "createdAt",
       s.updated_at as "updatedAt"
     from ${FROM} where ${sql} order by s.created_at desc, s.id limit ? offset ?`,
    [...bindings, limit, offset],
  );
}

/** Number of sessions that a filter lets through. */
export async function countSessionRows(db: Db, filter: SessionFilter): Promise<number> {
  const { sql, bindings } = conditionsOf(filter);
  const [row] = await query<{ n: number }>(db, `select count(*)::int as n from ${FROM} where ${sql}`, bindings);
  return row?.n ?? 0;
}

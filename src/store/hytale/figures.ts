/** Counts of Hytale accounts, sessions and pushes, for metrics and `doctor`. */
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import { ACCOUNT_STATUSES, PUSH_STATUSES, SESSION_STATUSES } from '../../domain/hytale/lifecycle.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** Rows by status; each status of ours is there, also without rows. */
export interface HytaleFigures {
  accounts: Record<string, number>;
  sessions: Record<string, number>;
  /** Of sessions that are linked to a server. */
  pushes: Record<string, number>;
}

/** The figures of one environment. */
export async function hytaleFigures(db: Db, environment: HytaleEnvironment): Promise<HytaleFigures> {
  const rows = await query<{ what: keyof HytaleFigures; status: string; count: number }>(
    db,
    `select 'accounts' as what, a.status, count(*)::int as count from hytale_oauth_tokens a
      where coalesce(a.environment, ?) = ? group by a.status
     union all
     select 'sessions', coalesce(g.status, 'active'), count(*)::int from hytale_game_sessions g
      where coalesce(g.environment, ?) = ? group by 2
     union all
     select 'pushes', g.push_status, count(*)::int from hytale_game_sessions g
      where coalesce(g.environment, ?) = ? and g.server_id is not null group by g.push_status`,
    [environment, environment, environment, environment, environment, environment],
  );
  const none = (statuses: readonly string[]) => Object.fromEntries(statuses.map((status) => [status, 0]));
  const figures: HytaleFigures = {
    accounts: none(ACCOUNT_STATUSES),
    sessions: none(SESSION_STATUSES),
    pushes: none(PUSH_STATUSES),
  };
  for (const { what, status, count } of rows) figures[what][status] = count;
  return figures;
}

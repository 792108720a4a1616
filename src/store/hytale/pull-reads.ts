/** Reads which consoles of Hytale servers are pulled from the panel, and how the pulls go. */
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';
import { CAN_BE_ASKED } from '../inventory/server-status.ts';

/** A server with a game session, whose console is to be read. */
export interface ConsoleToPull {
  uuid: string;
  nodeId: number | null;
  /** The account whose session it has. */
  accountId: string;
  /** Pulls that failed in a row. */
  failures: number;
}

/** How the consoles of servers with a session are received. */
export interface ConsoleFigures {
  /** Servers by `sync_status`; each of these three is there. */
  states: Record<'success' | 'pending' | 'failed', number>;
  /** Servers whose lines were pushed within 15 minutes. */
  pushed: number;
  /** Seconds since the panel was asked for the console that waits longest; 0 when there is none. */
  oldestPullSeconds: number;
  /** The most frequent reason of those that failed; null: none did. */
  problem: string | null;
}

/** The figures of one environment. */
export async function consoleFigures(db: Db, environment: HytaleEnvironment): Promise<ConsoleFigures> {
  const [row] = await query<{
    success: number;
    pending: number;
    failed: number;
    pushed: number;
    oldest: number;
    problem: string | null;
  }>(
    db,
    `with servers_here as (
       select distinct on (s.uuid) s.uuid, coalesce(st.sync_status, 'pending') as status, st.error_message as reason, c.pulled_at,
         coalesce(c.pushed_at > now() - interval '15 minutes', false) as pushed, ${CAN_BE_ASKED} as asked
         from hytale_game_sessions g join servers s on s.id = g.server_id
         left join hytale_log_sync_state st on st.server_uuid = s.uuid
         left join hytale_consoles c on c.server_uuid = s.uuid
        where ${HAS_SESSION} order by s.uuid)
     select count(*) filter (where status = 'success')::int as success, count(*) filter (where status = 'failed')::int as failed,
       count(*) filter (where status not in ('success', 'failed'))::int as pending, count(*) filter (where pushed)::int as pushed,
       coalesce(max(extract(epoch from now() - pulled_at)) filter (where asked and not pushed), 0)::float8 as oldest,
       mode() within group (order by reason) filter (where status = 'failed') as problem
       from servers_here`,
    [environment, environment],
  );
  const { success = 0, pending = 0, failed = 0, pushed = 0, oldest = 0, problem = null } = row ?? {};
  return { states: { success, pending, failed }, pushed, oldestPullSeconds: oldest, problem };
}

/** SQL over `hytale_game_sessions g` and `servers s`: a session of this environment (two parameters) that goes on is linked to the server. */
export const HAS_SESSION = `coalesce(g.environment, ?) = ? and coalesce(g.status, 'active') <> 'ending' and s.uuid <> ''`;

/**
 * The consoles that are due, those that were asked for longest ago first. Not due are servers that the panel would refuse, those
 * whose lines are pushed, those that wait after a failure, and those of which somebody else has just asked.
 * @param before `pushed`: of a push after that, `asked`: of a pull after that.
 */
export async function consolesToPull(
  db: Db,
  environment: HytaleEnvironment,
  { now, pushed, asked, limit }: { now: Date; pushed: Date; asked: Date; limit: number },
): Promise<ConsoleToPull[]> {
  return query<ConsoleToPull>(
    db,
    `select uuid, "nodeId", "accountId", failures from (
       select distinct on (s.uuid) s.uuid, s."nodeId", g.account_id::text as "accountId", coalesce(c.failures, 0) as failures, c.pulled_at
         from hytale_game_sessions g
         join servers s on s.id = g.server_id
         left join hytale_consoles c on c.server_uuid = s.uuid
        where ${HAS_SESSION} and ${CAN_BE_ASKED} and coalesce(c.next_pull_at <= ?, true)
          and coalesce(c.pushed_at <= ?, true) and coalesce(c.pulled_at <= ?, true)
        order by s.uuid, coalesce(g.status, 'active') = 'active' desc, g.created_at desc nulls last, g.id
     ) due order by pulled_at nulls first, uuid limit ?`,
    [environment, environment, now, pushed, asked, limit],
  );
}

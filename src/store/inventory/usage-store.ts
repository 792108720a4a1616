/**
 * Live state and figures of servers, and the budget of the panel's client key. All processes share both: a server is read by
 * the process that claimed it, and the claims of a minute stay within a share of what the panel allows: one share for
 * figures, one for Hytale.
 */
import type { LiveFigures } from '../../domain/panel/live-figures.ts';
import { type Db, inTransaction } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { IS_UNREAD } from './server-status.ts';

/** Seconds for which a claim holds. A process that dies leaves its servers to others after that. */
export const CLAIM_SECONDS = 20;
/** The window of the panel's throttle. */
const WINDOW_SECONDS = 60;

/** SQL over `usage_budget b`. */
const PAUSED_MS = `greatest(0, coalesce(extract(epoch from b.paused_until - clock_timestamp()), 0) * 1000)::float8`;

export interface Claim {
  /** Servers that the caller alone reads now. */
  ids: string[];
  /** Requests per minute that the panel allows, as far as it has said. */
  limit: number | null;
  /** Milliseconds until the end of the panel's pause; 0 without one. */
  pausedMs: number;
}

/**
 * Claims those of the servers that are still to be read, as many as the budget allows.
 * @param panel digest of the panel's address and key
 * @param allowance requests of a minute, given the limit that the panel announced (null: none yet)
 */
export async function claimReads(
  db: Db,
  panel: string,
  ids: readonly string[],
  allowance: (limit: number | null) => number,
): Promise<Claim> {
  return inTransaction(db, async (trx) => {
    // The row is locked: claims of several processes take turns.
    const [budget] = await query<{ limit: number | null; spent: number; pausedMs: number }>(
      trx,
      `insert into usage_budget as b (panel) values (?) on conflict (panel) do update set asked = array(
         select a from unnest(b.asked) a where a > clock_timestamp() - interval '${WINDOW_SECONDS} seconds')
       returning b.request_limit as limit, cardinality(b.asked) as spent,
         ${PAUSED_MS} as "pausedMs"`,
      [panel],
    );
    const { limit = null, spent = 0, pausedMs = 0 } = budget ?? {};
    const left = Math.max(0, allowance(limit) - spent);
    if (pausedMs > 0 || left === 0) return { ids: [], limit, pausedMs };
    // In the order of the ids, as storeReads locks them. What somebody else read meanwhile is not claimed.
    const claimed = await query<{ id: string }>(
      trx,
      `insert into server_usage as lu (server_id, asked_until)
         select w.id, clock_timestamp() + interval '${CLAIM_SECONDS} seconds' from unnest(?::text[]) as w (id) order by w.id
       on conflict (server_id) do update set asked_until = excluded.asked_until where ${IS_UNREAD}
       returning lu.server_id as id`,
      [ids.slice(0, left)],
    );
    if (claimed.length > 0) {
      await execute(
        trx,
        'update usage_budget set asked = asked || array_fill(clock_timestamp(), array[?::int]) where panel = ?',
        [claimed.length, panel],
      );
    }
    return { ids: claimed.map(({ id }) => id), limit, pausedMs: 0 };
  });
}

/** What became of a claim of requests for Hytale. */
export interface RequestClaim {
  granted: boolean;
  /** Milliseconds until the requests could be granted, as far as it is known; 0 if they are. */
  waitMs: number;
  /** Milliseconds until the end of the panel's pause; 0 without one. */
  pausedMs: number;
}

/** Requests of Hytale that were granted in the window, over `usage_budget b`. */
const HYTALE_IN_WINDOW = `array(select a from unnest(b.hytale_asked) a
  where a > clock_timestamp() - interval '${WINDOW_SECONDS} seconds' order by a)`;

/**
 * Claims so many requests of the client key for Hytale, all or none.
 * @param panel digest of the panel's address and key
 * @param allowance requests of a minute up to which this claim may go, given the limit that the panel announced (null: none yet).
 * A claim for more than that is granted when no other was granted for a minute, if the allowance is not 0.
 */
export async function claimHytaleRequests(
  db: Db,
  panel: string,
  requests: number,
  allowance: (limit: number | null) => number,
): Promise<RequestClaim> {
  return inTransaction(db, async (trx) => {
    // The row is locked: claims of several processes take turns.
    const [budget] = await query<{ limit: number | null; spent: number; pausedMs: number }>(
      trx,
      `insert into usage_budget as b (panel) values (?) on conflict (panel) do update set hytale_asked = ${HYTALE_IN_WINDOW}
       returning b.request_limit as limit, cardinality(b.hytale_asked) as spent, ${PAUSED_MS} as "pausedMs"`,
      [panel],
    );
    const { limit = null, spent = 0, pausedMs = 0 } = budget ?? {};
    if (pausedMs > 0) return { granted: false, waitMs: pausedMs, pausedMs };
    const allowed = allowance(limit);
    if (allowed > 0 && (spent + requests <= allowed || spent === 0)) {
      await execute(
        trx,
        'update usage_budget set hytale_asked = hytale_asked || array_fill(clock_timestamp(), array[?::int]) where panel = ?',
        [requests, panel],
      );
      return { granted: true, waitMs: 0, pausedMs };
    }
    // So many of the oldest have to leave the window before.
    const tooMany = Math.min(spent, Math.max(1, spent + requests - allowed));
    const [wait] = await query<{ ms: number | null }>(
      trx,
      `select extract(epoch from b.hytale_asked[?::int] + interval '${WINDOW_SECONDS} seconds' - clock_timestamp())::float8 * 1000 as ms
         from usage_budget b where b.panel = ?`,
      [tooMany, panel],
    );
    return { granted: false, waitMs: Math.max(0, wait?.ms ?? WINDOW_SECONDS * 1000), pausedMs };
  });
}

/** What became of a claim: figures, or a pause after a failure. */
export interface ServerRead {
  id: string;
  figures?: LiveFigures;
  /** Milliseconds for which the server is not asked again. */
  pauseMs?: number;
}

/**
 * Stores results and gives the claims back. Figures that could not be read stay as they were.
 * @returns milliseconds until the end of the panel's pause, which another process may have begun; 0 without one.
 */
export async function storeReads(db: Db, panel: string, reads: readonly ServerRead[]): Promise<number> {
  const rows = reads.map(({ id, figures, pauseMs }) => ({ id, good: figures !== undefined, ...figures, pauseMs }));
  const [state] = await query<{ pausedMs: number }>(
    db,
    `with r as (
       select * from json_to_recordset(?::json) as x (id text, good boolean, state text, "memoryMb" int, "diskMb" int,
         "cpuPercent" float8, "pauseMs" float8)
     ), mine as (
       select u.server_id from server_usage u where u.server_id in (select r.id from r) order by u.server_id for update
     ), stored as (
     update server_usage u set asked_until = null,
       paused_until = clock_timestamp() + make_interval(secs => r."pauseMs" / 1000),
       read_at = case when r.good then clock_timestamp() else u.read_at end,
       state = case when r.good then r.state else u.state end,
       memory_mb = case when r.good then r."memoryMb" else u.memory_mb end,
       disk_mb = case when r.good then r."diskMb" else u.disk_mb end,
       cpu_percent = case when r.good then r."cpuPercent" else u.cpu_percent end
     from r join mine on mine.server_id = r.id where u.server_id = r.id
     )
     select coalesce((select ${PAUSED_MS} from usage_budget b where b.panel = ?), 0) as "pausedMs"`,
    [JSON.stringify(rows), panel],
  );
  return state?.pausedMs ?? 0;
}

/** No server of the node is asked about for so long, milliseconds. */
export async function pauseNode(db: Db, nodeId: number, pauseMs: number): Promise<void> {
  await execute(
    db,
    `insert into node_usage_pauses as p (node_id, paused_until)
       values (?, clock_timestamp() + make_interval(secs => ?::float8 / 1000))
     on conflict (node_id) do update set paused_until = greatest(p.paused_until, excluded.paused_until)`,
    [nodeId, pauseMs],
  );
}

/** The panel is not asked for so long, milliseconds. */
export async function pausePanel(db: Db, panel: string, pauseMs: number): Promise<void> {
  await execute(
    db,
    `update usage_budget set paused_until =
       greatest(paused_until, clock_timestamp() + make_interval(secs => ?::float8 / 1000)) where panel = ?`,
    [pauseMs, panel],
  );
}

/** Notes the limit that the panel announced, requests per minute. */
export async function noteRequestLimit(db: Db, panel: string, limit: number): Promise<void> {
  await execute(
    db,
    'update usage_budget set request_limit = ? where panel = ? and request_limit is distinct from ?::int',
    [limit, panel, limit],
  );
}

/** Deletes what is known of servers that are gone, ended pauses, and unused budgets. @returns number of rows. */
export async function purgeUsage(db: Db, batch: number): Promise<number> {
  const [deleted] = await query<{ n: number }>(
    db,
    `with usage as (
       delete from server_usage where server_id in (select u.server_id from server_usage u
         where not exists (select 1 from servers s where s.id = u.server_id) limit ?) returning 1
     ), nodes as (
       delete from node_usage_pauses where paused_until < now() returning 1
     ), budgets as (
       delete from usage_budget where coalesce(paused_until < now(), true)
         and not exists (select 1 from unnest(asked || hytale_asked) a where a > now() - interval '1 day') returning 1
     )
     select (select count(*) from usage)::int as n`,
    [batch],
  );
  return deleted?.n ?? 0;
}

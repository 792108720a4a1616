/**
 * What this service may spend of the requests that the panel allows its client key. Figures of servers have a quarter; Hytale,
 * which writes tokens to servers and reads their consoles, has another. What is left belongs to other users of the key.
 */
import { createHash } from 'node:crypto';
import type { Throttle } from '../../clients/panel/answers.ts';
import type { PanelAccess } from '../../clients/panel/provider.ts';
import type { Db } from '../../store/db/db.ts';
import { claimHytaleRequests, noteRequestLimit, pausePanel } from '../../store/inventory/usage-store.ts';

/** The part of the panel's limit that each of the two spends. */
const SHARE = 0.25;
/** Requests of a minute until the panel has said what it allows: one page of the dashboard. */
const FIRST_ALLOWANCE = 12;
/** Requests of a minute where the panel announces no limit. */
const UNANNOUNCED_ALLOWANCE = 60;
/** Below this part of its limit, at least {@link MIN_RESERVE} requests, the panel is left to others for a window. */
const RESERVE = 0.1;
const MIN_RESERVE = 5;
/** The panel's window, and the pause after an answer that names none. */
const WINDOW_MS = 60_000;
/** Of Hytale's share, pulls leave this part to pushes, and at least the requests of one push. */
const OF_PUSHES = 0.25;
const MIN_OF_PUSHES = 4;

/** Tells a panel and its client key from others; undefined without both. */
export function budgetKey({ panelUrl, panelClientApiKey }: PanelAccess): string | undefined {
  if (panelUrl === undefined || panelClientApiKey === undefined) return undefined;
  return createHash('sha256').update(`${panelUrl}\n${panelClientApiKey.reveal()}`).digest('base64url').slice(0, 22);
}

/** Requests of a minute for one of the two. @param limit the panel's; 0: it announces none; null: it was never asked. */
export function shareOf(limit: number | null): number {
  if (limit === null) return FIRST_ALLOWANCE;
  return limit === 0 ? UNANNOUNCED_ALLOWANCE : Math.max(1, Math.floor(limit * SHARE));
}

/** Milliseconds for which nothing is asked after an answer that says how little is left; 0: there is enough. */
export function pauseFor({ limit = 0, remaining }: Throttle): number {
  const reserve = Math.min(limit / 2, Math.max(limit * RESERVE, MIN_RESERVE));
  return remaining !== undefined && remaining < reserve ? WINDOW_MS : 0;
}

/** Who asks: a push of tokens, or a pull of a console. */
export type HytaleUse = 'push' | 'pull';

export type Taken =
  | { granted: true }
  /** `ms`: after so long it is worth to ask again. `paused`: the panel asked for a pause, or failed. */
  | { granted: false; ms: number; paused: boolean };

/** Hytale's share of the client key. It is in PostgreSQL, for all workers. */
export interface HytaleBudget {
  /**
   * Takes requests of this minute, all or none. Pushes have all of the share, pulls a part of it: while pushes wait, what becomes
   * free is too little for a pull, so pushes come first. Without a client key everything is granted, since nothing can be sent.
   */
  take(use: HytaleUse, requests: number): Promise<Taken>;
  /** Notes what an answer of the client API says of the limit; 0 where it announces none. */
  heed(throttle: Throttle): Promise<void>;
  /** No request is sent with this key for so long, milliseconds. */
  pause(ms: number): Promise<void>;
}

const allowanceOf =
  (use: HytaleUse) =>
  (limit: number | null): number => {
    const share = shareOf(limit);
    return use === 'push' ? share : share - Math.max(MIN_OF_PUSHES, Math.ceil(share * OF_PUSHES));
  };

/** @param settings the panel and its key, as they are now. */
export function createHytaleBudget(deps: { db: Db; settings: () => Promise<PanelAccess> }): HytaleBudget {
  const { db } = deps;
  const withPanel = async <T>(without: T, work: (panel: string) => Promise<T>): Promise<T> => {
    const panel = budgetKey(await deps.settings());
    return panel === undefined ? without : work(panel);
  };
  return {
    take: (use, requests) =>
      withPanel<Taken>({ granted: true }, async (panel) => {
        const { granted, waitMs, pausedMs } = await claimHytaleRequests(db, panel, requests, allowanceOf(use));
        return granted ? { granted } : { granted, ms: waitMs, paused: pausedMs > 0 };
      }),
    heed: (throttle) =>
      withPanel(undefined, async (panel) => {
        await noteRequestLimit(db, panel, throttle.limit ?? 0);
        const ms = pauseFor(throttle);
        if (ms > 0) await pausePanel(db, panel, ms);
      }),
    pause: (ms) => withPanel(undefined, (panel) => pausePanel(db, panel, ms)),
  };
}

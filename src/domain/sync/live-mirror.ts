/** When the live mirror may read the panel again: it spends at most a share of the requests that the panel allows. */
import type { AutoSync } from '../settings.ts';
import type { SyncStatus } from './targets.ts';

/** Minimum number of seconds from the start of a run to the start of the next one. */
export const MIN_MIRROR_SECONDS = 20;
/** Requests per minute of a panel that names no limit: what Pterodactyl allows an application key by default. */
const ASSUMED_LIMIT = 240;
/** Ended runs, newest first, by which is decided: beyond so many failures in a row every pause has the length of the interval. */
export const DECIDING_RUNS = 20;

/** A full sync as far as it matters for the next one. */
export interface MirrorRun {
  status: SyncStatus;
  /** Panel requests that it took; null: not known (yet). */
  requests: number | null;
  /** Requests per minute that the panel allows, as it said then; null: it did not say. */
  limit: number | null;
}

/** What the live mirror may spend. */
export interface MirrorBudget extends Pick<AutoSync, 'budgetShare' | 'intervalSeconds'> {
  /** Our own limit of requests per minute; undefined: none. */
  ownLimit: number | undefined;
}

/** Requests per minute that count as all of the panel's: what it says, and not more than our own limit. */
const limitOf = (said: number | null, own: number | undefined): number =>
  said === null ? (own ?? ASSUMED_LIMIT) : Math.min(said, own ?? said);

/** The last run of which the number of requests is known: a run that was killed, or is under way, is taken to be like it. */
const measured = (runs: readonly MirrorRun[]): { requests: number; limit: number | null } => {
  const known = runs.find(({ requests }) => requests !== null);
  return { requests: known?.requests ?? 0, limit: known?.limit ?? null };
};

/** Seconds in which the share of the panel's limit comes to as many requests as the newest run took. */
function secondsToEarn(runs: readonly MirrorRun[], { budgetShare, ownLimit }: MirrorBudget): number {
  const { requests, limit } = measured(runs);
  return (requests * 60) / (limitOf(limit, ownLimit) * (budgetShare / 100));
}

/**
 * Seconds from the start of the newest run to the earliest start of the next one. Each run is paid for before the next one
 * begins, so the average stays within the share over any number of runs; within a run only the pacer limits.
 * After failures the pause doubles, up to the interval; after a cancel, which is a person's, it is the interval.
 * @param runs newest first.
 */
export function secondsToNextRun(runs: readonly MirrorRun[], budget: MirrorBudget): number {
  const [newest] = runs;
  if (newest === undefined) return 0;
  const firstGood = runs.findIndex(({ status }) => status !== 'FAILED');
  const failures = firstGood === -1 ? runs.length : firstGood;
  const { intervalSeconds } = budget;
  const backOff = failures === 0 ? 0 : Math.min(intervalSeconds, MIN_MIRROR_SECONDS * 2 ** failures);
  const rest = newest.status === 'CANCELLED' ? intervalSeconds : backOff;
  return Math.max(MIN_MIRROR_SECONDS, secondsToEarn(runs, budget), rest);
}

/**
 * The part of the panel's limit (0 to 1) that runs like the newest one take when they begin so many seconds apart.
 * @returns null as long as no run is known.
 */
export function shareUsed(runs: readonly MirrorRun[], seconds: number, budget: MirrorBudget): number | null {
  if (runs.length === 0 || seconds <= 0) return null;
  const { requests, limit } = measured(runs);
  return (requests * 60) / (limitOf(limit, budget.ownLimit) * seconds);
}

/** What the live mirror decides by. Ages are in seconds. */
export interface MirrorState {
  /** Full syncs of the schedule, and completed ones of others, newest first. */
  runs: readonly MirrorRun[];
  /** Since the start of the newest of them. */
  newestAge: number;
  /** Since the start of the sync that runs now, of any target; null: none runs. */
  activeAge: number | null;
}

/** A sync that runs is looked at again after a quarter of its age, so its end is noticed soon, and the looks stay few. */
const LOOK_SECONDS = { min: 5, max: 30 };

/** @returns whether a run may start now, and in how many seconds to look again. */
export function nextStep(state: MirrorState, budget: MirrorBudget): { due: boolean; waitSeconds: number } {
  const { runs, newestAge, activeAge } = state;
  const untilNext = secondsToNextRun(runs, budget) - newestAge;
  if (activeAge !== null) {
    const look = Math.min(LOOK_SECONDS.max, Math.max(LOOK_SECONDS.min, activeAge / 4));
    return { due: false, waitSeconds: Math.max(untilNext, look) };
  }
  if (untilNext > 0) return { due: false, waitSeconds: untilNext };
  const started: MirrorRun = { status: 'RUNNING', requests: null, limit: null };
  return { due: true, waitSeconds: secondsToNextRun([started, ...runs], budget) };
}

/**
 * The pacer keeps the panel's budget of requests (ADR 6). It is pure: time comes in as an argument (milliseconds).
 *
 * The panel's window is fixed: 60 s from its first request, with no limit on bursts below the total. Each answer says how
 * many requests are left, also when other programs use the same key. A reserve is left for the key owner's other keys.
 */
export interface Pacer {
  /** Requests that may be sent now; 0 = wait (see `wakeAt`). */
  allowance(now: number): number;
  /** Lanes of the next batch; 0 = wait. Few batches of several lanes cost less than many, and two can overlap. */
  batchLanes(): number;
  /**
   * Pages per lane, 1 to 16: an even share of the pages left, so that all lanes stay busy to the end; fewer where the panel is
   * slow.
   */
  laneLength(pagesLeft: number): number;
  /** A lane of so many requests starts. Its token must be passed to `landed` or `released`. */
  launched(requests: number, now: number): LaneToken;
  /**
   * A lane has ended. `answers` are the throttle headers in the order of its requests; `retried` says that the panel
   * failed it at an earlier attempt.
   */
  landed(lane: LaneToken, answers: Answers, now: number, retried: boolean): void;
  /** A lane has failed without answers: all its requests count as spent. */
  released(lane: LaneToken): void;
  /** The panel answered 429: no request until the pause is over. */
  throttled(retryAfterMs: number, now: number): void;
  /** The panel fails: halves the number of lanes. */
  failing(): void;
  /** Time at which requests may be allowed without a further answer; undefined = only an answer helps. */
  wakeAt(now: number): number | undefined;
  /** Its state while nothing is in flight, as plain data: {@link createPacer} goes on from it. */
  snapshot(): PacerState;
  /** The panel's limit per minute, as its last answer said; undefined = it sends none. */
  limit(): number | undefined;
}

/** Throttle headers of the answers of a lane; absent where the panel sends none. */
type Answers = readonly { limit?: number | undefined; remaining?: number | undefined }[];

/** Requests that are sent one after the other: their number, their start, and their place in the order of events. */
export interface LaneToken {
  readonly requests: number;
  readonly at: number;
  readonly order: number;
}

export interface PacerOptions {
  /** Maximum number of lanes. */
  concurrency: number;
  /** Own limit, for a panel that sends no throttle headers; undefined = none. */
  requestsPerMinute?: number | undefined;
  /** Length of the panel's window in milliseconds; 60,000 by the panel's source (throttle per minute). */
  windowMs?: number | undefined;
}

/** Lanes of a batch, but for one that would be left over. */
const MAX_LANES = 4;
/** Maximum number of pages per lane of a batch. */
const MAX_LANE_PAGES = 16;
/** Maximum length of a lane, by what a page took: a longer one would send its last requests into a later window. */
const MAX_LANE_MS = 5_000;
/** Requests that are sent into a window of which no answer was seen. */
const PROBES = 4;
/** Good answers after which one more lane may start again. */
const RECOVERY_ANSWERS = 10;

/** Requests of a limit that are left for the owner's other keys. */
export const reserveOf = (limit: number): number => Math.max(5, Math.ceil(limit * 0.1));

interface Window {
  limit: number;
  /** The lowest number seen, less requests that were spent without an answer. */
  remaining: number;
  firstSeenAt: number;
  /** Order of events when `remaining` was last seen: lanes that started later are counted after it. */
  seenAt: number;
}

export interface PacerState {
  readonly maxConcurrency: number;
  readonly ownLimit: number | undefined;
  readonly windowMs: number;
  /** Lanes that may be in flight now; fewer than the maximum while the panel fails. */
  concurrency: number;
  lanes: number;
  /** Requests of the lanes in flight. */
  inFlight: number;
  good: number;
  pausedUntil: number;
  /** undefined = no answer was seen in this window. */
  window: Window | undefined;
  /** Number of events (launches and landings), by which their order is known. */
  order: number;
  /** Lanes up to here may have been counted in an older window: their numbers say nothing about this one. */
  staleUpTo: number;
  /** The panel sends no headers: only our own limit counts. */
  unlimited: boolean;
  /** Limit of the last answer that had one. */
  limit: number | undefined;
  /** Milliseconds per page of late lanes; 0 = none has ended. */
  pageMs: number;
  own: { startedAt: number; used: number };
}

/**
 * @param from state of a pacer that is continued.
 * @returns a pacer for one panel key. Every request with that key must be reported to it.
 */
export function createPacer(options: PacerOptions, from?: PacerState): Pacer {
  const state: PacerState = {
    maxConcurrency: options.concurrency,
    ownLimit: options.requestsPerMinute,
    windowMs: options.windowMs ?? 60_000,
    concurrency: options.concurrency,
    lanes: 0,
    inFlight: 0,
    good: 0,
    pausedUntil: 0,
    window: undefined,
    order: 0,
    staleUpTo: 0,
    unlimited: false,
    limit: undefined,
    pageMs: 0,
    own: { startedAt: 0, used: 0 },
    ...from,
  };
  return {
    allowance: (now) => allowance(state, now),
    batchLanes: () => batchLanes(state),
    laneLength: (pagesLeft) => laneLength(state, pagesLeft),
    launched: (requests, now) => launched(state, requests, now),
    landed: (lane, answers, now, retried) => landed(state, lane, answers, now, retried),
    released: (lane) => released(state, lane),
    throttled: (retryAfterMs, now) => throttled(state, retryAfterMs, now),
    failing: () => halve(state),
    wakeAt: (now) => wakeAt(state, now),
    snapshot: () => state,
    limit: () => state.limit,
  };
}

function batchLanes({ maxConcurrency, concurrency, lanes }: PacerState): number {
  const free = Math.max(0, concurrency - lanes);
  if (maxConcurrency < 4) return Math.min(1, free);
  const usual = Math.min(MAX_LANES, Math.ceil(maxConcurrency / 2));
  // One that would be left over joins the batch, and a single one waits for a second, unless few are allowed at all.
  if (free === 1 && lanes > 2) return 0;
  return free <= usual + 1 ? free : usual;
}

function laneLength({ maxConcurrency, pageMs }: PacerState, pagesLeft: number): number {
  const share = Math.ceil(pagesLeft / maxConcurrency);
  return Math.max(1, Math.min(share, MAX_LANE_PAGES, Math.floor(MAX_LANE_MS / Math.max(1, pageMs))));
}

function allowance(state: PacerState, now: number): number {
  expire(state, now);
  const { window, inFlight } = state;
  if (now < state.pausedUntil || batchLanes(state) === 0) return 0;
  if (state.unlimited) return ownLeft(state);
  if (window === undefined) return Math.min(Math.max(0, PROBES - inFlight), ownLeft(state));
  return Math.max(0, window.remaining - reserveOf(window.limit) - inFlight);
}

function wakeAt(state: PacerState, now: number): number | undefined {
  expire(state, now);
  const { window, ownLimit, windowMs } = state;
  if (now < state.pausedUntil) return state.pausedUntil;
  if (batchLanes(state) === 0) return undefined;
  if (state.unlimited || (window === undefined && ownLeft(state) === 0))
    return ownLimit === undefined ? undefined : state.own.startedAt + windowMs;
  return window === undefined ? undefined : window.firstSeenAt + windowMs;
}

function launched(state: PacerState, requests: number, now: number): LaneToken {
  expire(state, now);
  state.lanes += 1;
  state.inFlight += requests;
  state.own.used += requests;
  state.order += 1;
  return { requests, at: now, order: state.order };
}

function landed(state: PacerState, lane: LaneToken, answers: Answers, now: number, retried: boolean): void {
  expire(state, now);
  end(state, lane);
  state.order += 1;
  readAnswers(state, lane, answers, now);
  // A slow lane counts at once, and is forgotten by halves.
  if (answers.length > 0) state.pageMs = Math.max((now - lane.at) / answers.length, state.pageMs / 2);
  if (retried) {
    halve(state);
    return;
  }
  state.good += answers.length;
  if (state.good >= RECOVERY_ANSWERS && state.concurrency < state.maxConcurrency) {
    state.concurrency += 1;
    state.good = 0;
  }
}

function released(state: PacerState, lane: LaneToken): void {
  end(state, lane);
  // The panel counts failed requests as well (500, 403 and 404).
  spend(state, lane.requests);
}

function throttled(state: PacerState, retryAfterMs: number, now: number): void {
  state.pausedUntil = Math.max(state.pausedUntil, now + retryAfterMs);
  state.window = undefined;
  state.staleUpTo = state.order;
}

/** Drops windows that are over. */
function expire(state: PacerState, now: number): void {
  // The window began before its first answer was seen, so this is always late enough.
  if (state.window !== undefined && now >= state.window.firstSeenAt + state.windowMs) {
    state.window = undefined;
    state.staleUpTo = state.order;
  }
  if (now >= state.own.startedAt + state.windowMs) state.own = { startedAt: now, used: 0 };
}

function end(state: PacerState, lane: LaneToken): void {
  state.lanes -= 1;
  state.inFlight -= lane.requests;
}

function halve(state: PacerState): void {
  state.concurrency = Math.max(1, Math.floor(state.concurrency / 2));
  state.good = 0;
}

/** Counts requests as spent of which no numbers were seen. */
function spend(state: PacerState, requests: number): void {
  if (state.window !== undefined) state.window = { ...state.window, remaining: state.window.remaining - requests };
}

/** Requests left of our own limit. */
const ownLeft = ({ ownLimit, own }: PacerState): number =>
  ownLimit === undefined ? Number.POSITIVE_INFINITY : Math.max(0, ownLimit - own.used);

/** Reads the numbers of one lane, which are in the order in which the panel counted. */
function readAnswers(state: PacerState, lane: LaneToken, answers: Answers, now: number): void {
  const stale = lane.order <= state.staleUpTo;
  let before: number | undefined;
  for (const { limit, remaining } of answers) {
    const { window } = state;
    if (limit === undefined || remaining === undefined) {
      if (window === undefined && !stale) state.unlimited = true;
      continue;
    }
    state.unlimited = false;
    state.limit = limit;
    // Within a window the number only falls, so a higher number that was counted later belongs to a new window.
    const rolled =
      window !== undefined &&
      remaining > window.remaining &&
      (lane.order > window.seenAt || (before !== undefined && remaining > before));
    before = remaining;
    if (stale) continue;
    if (window === undefined || rolled) {
      if (rolled) state.staleUpTo = state.order;
      state.window = { limit, remaining, firstSeenAt: now, seenAt: state.order };
    } else if (remaining <= window.remaining) {
      state.window = { ...window, limit, remaining, seenAt: state.order };
    }
  }
  // Some requests of a stale lane may still have been counted in this window.
  if (stale) spend(state, lane.requests);
}

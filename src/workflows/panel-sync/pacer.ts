/**
 * The pacer keeps the panel's budget of requests (ADR 6). It is pure: time comes in as an argument (milliseconds).
 *
 * The panel's window is fixed: 60 s from its first request, with no limit on bursts below the total. Each answer says how
 * many requests are left, also when other programs use the same key. A reserve is left for the key owner's other keys.
 */
export interface Pacer {
  /** Requests that may be sent now; 0 = wait (see `wakeAt`). */
  allowance(now: number): number;
  /**
   * Pages per batch, 1 to 5: half of an even share of the pages left per batch in flight, so that all of them stay busy to
   * the end.
   */
  batchSize(pagesLeft: number): number;
  /** A batch of so many requests starts. Its token must be passed to `landed` or `released`. */
  launched(requests: number, now: number): BatchToken;
  /**
   * A batch has ended. `answers` are the throttle headers in the order of its requests; `retried` says that the panel
   * failed it at an earlier attempt.
   */
  landed(
    batch: BatchToken,
    answers: readonly { limit?: number | undefined; remaining?: number | undefined }[],
    now: number,
    retried: boolean,
  ): void;
  /** A batch has failed without answers: all its requests count as spent. */
  released(batch: BatchToken): void;
  /** The panel answered 429: no request until the pause is over. */
  throttled(retryAfterMs: number, now: number): void;
  /** The panel fails: halves the number of batches in flight. */
  failing(): void;
  /** Time at which requests may be allowed without a further answer; undefined = only an answer helps. */
  wakeAt(now: number): number | undefined;
}

/** One batch in flight: its number of requests, and its place in the order of events. */
export interface BatchToken {
  readonly requests: number;
  readonly order: number;
}

export interface PacerOptions {
  /** Maximum number of batches in flight. */
  concurrency: number;
  /** Own limit, for a panel that sends no throttle headers; undefined = none. */
  requestsPerMinute?: number | undefined;
  /** Length of the panel's window in milliseconds; 60,000 by the panel's source (throttle per minute). */
  windowMs?: number | undefined;
}

/** Maximum number of pages per batch: a longer batch would send its last requests into a later window. */
const MAX_BATCH_PAGES = 5;
/** Requests that are sent into a window of which no answer was seen. */
const PROBES = 4;
/** Good answers after which one more batch may be in flight again. */
const RECOVERY_ANSWERS = 10;

/** Requests of a limit that are left for the owner's other keys. */
export const reserveOf = (limit: number): number => Math.max(5, Math.ceil(limit * 0.1));

interface Window {
  limit: number;
  /** The lowest number seen, less requests that were spent without an answer. */
  remaining: number;
  firstSeenAt: number;
  /** Order of events when `remaining` was last seen: batches that started later are counted after it. */
  seenAt: number;
}

/** @returns a pacer for one panel key. Every request with that key must be reported to it. */
export function createPacer(options: PacerOptions): Pacer {
  const windowMs = options.windowMs ?? 60_000;
  const ownLimit = options.requestsPerMinute;
  let concurrency = options.concurrency;
  let batches = 0;
  let inFlight = 0;
  let good = 0;
  let pausedUntil = 0;
  /** undefined = no answer was seen in this window. */
  let window: Window | undefined;
  /** Number of events (launches and landings), by which their order is known. */
  let order = 0;
  /** Batches up to here may have been counted in an older window: their numbers say nothing about this one. */
  let staleUpTo = 0;
  /** The panel sends no headers: only our own limit counts. */
  let unlimited = false;
  let own = { startedAt: Number.NEGATIVE_INFINITY, used: 0 };

  const expire = (now: number) => {
    // The window began before its first answer was seen, so this is always late enough.
    if (window !== undefined && now >= window.firstSeenAt + windowMs) {
      window = undefined;
      staleUpTo = order;
    }
    if (now >= own.startedAt + windowMs) own = { startedAt: now, used: 0 };
  };
  const ended = (batch: BatchToken) => {
    batches -= 1;
    inFlight -= batch.requests;
  };
  const halve = () => {
    concurrency = Math.max(1, Math.floor(concurrency / 2));
    good = 0;
  };
  const ownLeft = () => (ownLimit === undefined ? Number.POSITIVE_INFINITY : Math.max(0, ownLimit - own.used));

  /** Reads the numbers of one batch, which are in the order in which the panel counted. */
  const read = (batch: BatchToken, answers: Parameters<Pacer['landed']>[1], now: number) => {
    const stale = batch.order <= staleUpTo;
    let before: number | undefined;
    for (const { limit, remaining } of answers) {
      if (limit === undefined || remaining === undefined) {
        if (window === undefined && !stale) unlimited = true;
        continue;
      }
      unlimited = false;
      // Within a window the number only falls, so a higher number that was counted later belongs to a new window.
      const rolled =
        window !== undefined &&
        remaining > window.remaining &&
        (batch.order > window.seenAt || (before !== undefined && remaining > before));
      before = remaining;
      if (stale) continue;
      if (window === undefined || rolled) {
        if (rolled) staleUpTo = order;
        window = { limit, remaining, firstSeenAt: now, seenAt: order };
      } else if (remaining <= window.remaining) {
        window = { ...window, limit, remaining, seenAt: order };
      }
    }
    // Some requests of a stale batch may still have been counted in this window.
    if (stale && window !== undefined) window = { ...window, remaining: window.remaining - batch.requests };
  };

  return {
    allowance(now) {
      expire(now);
      if (now < pausedUntil) return 0;
      if (batches >= concurrency) return 0;
      if (unlimited) return ownLeft();
      if (window === undefined) return Math.min(Math.max(0, PROBES - inFlight), ownLeft());
      return Math.max(0, window.remaining - reserveOf(window.limit) - inFlight);
    },
    batchSize: (pagesLeft) => Math.min(MAX_BATCH_PAGES, Math.max(1, Math.ceil(pagesLeft / (2 * options.concurrency)))),
    launched(requests, now) {
      expire(now);
      batches += 1;
      inFlight += requests;
      own.used += requests;
      order += 1;
      return { requests, order };
    },
    landed(batch, answers, now, retried) {
      expire(now);
      ended(batch);
      order += 1;
      read(batch, answers, now);
      if (retried) return halve();
      good += answers.length;
      if (good >= RECOVERY_ANSWERS && concurrency < options.concurrency) {
        concurrency += 1;
        good = 0;
      }
    },
    released(batch) {
      ended(batch);
      // The panel counts failed requests as well (500, 403 and 404).
      if (window !== undefined) window = { ...window, remaining: window.remaining - batch.requests };
    },
    throttled(retryAfterMs, now) {
      pausedUntil = Math.max(pausedUntil, now + retryAfterMs);
      window = undefined;
      staleUpTo = order;
    },
    failing: halve,
    wakeAt(now) {
      expire(now);
      if (now < pausedUntil) return pausedUntil;
      if (batches >= concurrency) return undefined;
      if (unlimited || (window === undefined && ownLeft() === 0))
        return ownLimit === undefined ? undefined : own.startedAt + windowMs;
      return window === undefined ? undefined : window.firstSeenAt + windowMs;
    },
  };
}

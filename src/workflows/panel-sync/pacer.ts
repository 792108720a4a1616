/**
 * The panel's budget, kept by the one sync that exists at a time. Pure: time comes in as an argument (milliseconds).
 *
 * The panel's window is fixed: 60 s from the first request in it, a burst is free until the limit. Every answer says
 * how much is left, whoever else draws from the same bucket; a reserve stays for the owner's other keys.
 */
export interface Pacer {
  /** Requests that may be sent now; 0 = wait (see `wakeAt`). */
  allowance(now: number): number;
  /** Pages of one grant, by those left of the run: half a lane's share, so that lanes stay busy to the end; 1 to 5. */
  grantSize(pagesLeft: number): number;
  /** A grant of so many requests goes out; its token comes back with `landed` or `released`. */
  launched(requests: number, now: number): GrantToken;
  /** A grant came back: `answers` are the throttle headers in the order of its requests, `retried` whether the panel had failed it before. */
  landed(
    grant: GrantToken,
    answers: readonly { limit?: number | undefined; remaining?: number | undefined }[],
    now: number,
    retried: boolean,
  ): void;
  /** A grant came back with nothing: what it spent is taken as spent. */
  released(grant: GrantToken): void;
  /** A 429: nothing is asked for until it is over. */
  throttled(retryAfterMs: number, now: number): void;
  /** The panel fails: half as much at once. */
  failing(): void;
  /** When an allowance may come without an answer; undefined = only an answer helps. */
  wakeAt(now: number): number | undefined;
}

/** One grant in flight: how many requests it may make, and when it went out in the order of events. */
export interface GrantToken {
  readonly requests: number;
  readonly order: number;
}

export interface PacerOptions {
  /** Requests in flight at the most. */
  concurrency: number;
  /** Own limit where the panel sends no headers; undefined = none. */
  requestsPerMinute?: number | undefined;
  /** Length of the panel's window; 60,000 ms by its source (throttle per minute). */
  windowMs?: number | undefined;
}

/** Pages an activity reads at the most: a longer one would send its last requests into a window it was not launched in. */
const MAX_GRANT = 5;
/** Requests sent into a window nothing is known of. */
const PROBES = 4;
/** Good answers after which one more request may be in flight again. */
const RECOVERY_ANSWERS = 10;

/** What is left to the owner's other keys, of a limit. */
export const reserveOf = (limit: number): number => Math.max(5, Math.ceil(limit * 0.1));

interface Window {
  limit: number;
  /** The least that was seen, less what was charged unseen. */
  remaining: number;
  firstSeenAt: number;
  /** Order of events when `remaining` was last seen: what went out later is counted after it. */
  seenAt: number;
}

/** @returns a pacer for one panel key; it must be told of every request that goes to that key's bucket. */
export function createPacer(options: PacerOptions): Pacer {
  const windowMs = options.windowMs ?? 60_000;
  const ownLimit = options.requestsPerMinute;
  let concurrency = options.concurrency;
  let grants = 0;
  let inFlight = 0;
  let good = 0;
  let pausedUntil = 0;
  /** undefined = no answer seen in this window. */
  let window: Window | undefined;
  /** Counts launches and landings: what came before what. */
  let order = 0;
  /** Grants up to here may have been counted in an older window: their numbers say nothing of this one. */
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
  const back = (grant: GrantToken) => {
    grants -= 1;
    inFlight -= grant.requests;
  };
  const halve = () => {
    concurrency = Math.max(1, Math.floor(concurrency / 2));
    good = 0;
  };
  const ownLeft = () => (ownLimit === undefined ? Number.POSITIVE_INFINITY : Math.max(0, ownLimit - own.used));

  /** Takes in the numbers of one grant, which are in the order in which the panel counted. */
  const read = (grant: GrantToken, answers: Parameters<Pacer['landed']>[1], now: number) => {
    const stale = grant.order <= staleUpTo;
    let before: number | undefined;
    for (const { limit, remaining } of answers) {
      if (limit === undefined || remaining === undefined) {
        if (window === undefined && !stale) unlimited = true;
        continue;
      }
      unlimited = false;
      // Within a window the number only falls, so a request that was counted after a lower one stands in a new window.
      const rolled =
        window !== undefined &&
        remaining > window.remaining &&
        (grant.order > window.seenAt || (before !== undefined && remaining > before));
      before = remaining;
      if (stale) continue;
      if (window === undefined || rolled) {
        if (rolled) staleUpTo = order;
        window = { limit, remaining, firstSeenAt: now, seenAt: order };
      } else if (remaining <= window.remaining) {
        window = { ...window, limit, remaining, seenAt: order };
      }
    }
    // Some of its requests may have been counted in this window all the same.
    if (stale && window !== undefined) window = { ...window, remaining: window.remaining - grant.requests };
  };

  return {
    allowance(now) {
      expire(now);
      if (now < pausedUntil) return 0;
      if (grants >= concurrency) return 0;
      if (unlimited) return ownLeft();
      if (window === undefined) return Math.min(Math.max(0, PROBES - inFlight), ownLeft());
      return Math.max(0, window.remaining - reserveOf(window.limit) - inFlight);
    },
    grantSize: (pagesLeft) => Math.min(MAX_GRANT, Math.max(1, Math.ceil(pagesLeft / (2 * options.concurrency)))),
    launched(requests, now) {
      expire(now);
      grants += 1;
      inFlight += requests;
      own.used += requests;
      order += 1;
      return { requests, order };
    },
    landed(grant, answers, now, retried) {
      expire(now);
      back(grant);
      order += 1;
      read(grant, answers, now);
      if (retried) return halve();
      good += answers.length;
      if (good >= RECOVERY_ANSWERS && concurrency < options.concurrency) {
        concurrency += 1;
        good = 0;
      }
    },
    released(grant) {
      back(grant);
      // A request that failed counts as well (the panel counts 500, 403 and 404).
      if (window !== undefined) window = { ...window, remaining: window.remaining - grant.requests };
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
      if (grants >= concurrency) return undefined;
      if (unlimited || (window === undefined && ownLeft() === 0))
        return ownLimit === undefined ? undefined : own.startedAt + windowMs;
      return window === undefined ? undefined : window.firstSeenAt + windowMs;
    },
  };
}

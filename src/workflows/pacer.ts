/**
 * The panel's budget, kept by the one sync that exists at a time. Pure: time comes in as an argument (milliseconds).
 *
 * The panel's window is fixed: 60 s from the first request in it, a burst is free until the limit. Every answer says
 * how much is left, whoever else draws from the same bucket; a reserve stays for the owner's other keys.
 */
export interface Pacer {
  /** Pages that may be asked for now; 0 = wait (see `wakeAt`). */
  allowance(now: number): number;
  /** Pages of one grant: small where few are left, so that lanes stay busy to the end. */
  grantSize(pagesLeft: number): number;
  launched(pages: number, now: number): void;
  /** A grant came back: `answers` are the throttle headers of its pages, `retried` whether the panel had failed it before. */
  landed(
    pages: number,
    answers: readonly { limit?: number | undefined; remaining?: number | undefined }[],
    now: number,
    retried: boolean,
  ): void;
  /** A grant came back with nothing (it failed, or it was cut short after its answers were landed). */
  released(pages: number): void;
  /** A 429: nothing is asked for until it is over. */
  throttled(retryAfterMs: number, now: number): void;
  /** The panel fails: half as much at once. */
  failing(): void;
  /** When an allowance may come without an answer; undefined = only an answer helps. */
  wakeAt(now: number): number | undefined;
}

export interface PacerOptions {
  /** Requests in flight at the most. */
  concurrency: number;
  /** Own limit where the panel sends no headers; undefined = none. */
  requestsPerMinute?: number | undefined;
  /** Length of the panel's window; 60,000 ms by its source (throttle per minute). */
  windowMs?: number | undefined;
}

/** Requests sent into a window nothing is known of. */
const PROBES = 4;
/** Good pages after which one more request may be in flight again. */
const RECOVERY_PAGES = 10;
/** The answer of a new window stands out from the old one by more than what may be in flight. */
const ROLL_MARGIN = 8;

export const reserveOf = (limit: number) => Math.max(5, Math.ceil(limit * 0.1));

export function createPacer(options: PacerOptions): Pacer {
  const windowMs = options.windowMs ?? 60_000;
  let concurrency = options.concurrency;
  let grants = 0;
  let inFlight = 0;
  let good = 0;
  let pausedUntil = 0;
  /** undefined = no answer seen in this window. */
  let window: { limit: number; remaining: number; firstSeenAt: number } | undefined;
  /** The panel sends no headers: only our own limit counts. */
  let unlimited = false;
  let own = { startedAt: Number.NEGATIVE_INFINITY, used: 0 };

  const expire = (now: number) => {
    // The window began before its first answer was seen, so this is always late enough.
    if (window !== undefined && now >= window.firstSeenAt + windowMs) window = undefined;
    if (now >= own.startedAt + windowMs) own = { startedAt: now, used: 0 };
  };

  return {
    allowance(now) {
      expire(now);
      if (now < pausedUntil) return 0;
      if (grants >= concurrency) return 0;
      if (unlimited) {
        if (options.requestsPerMinute === undefined) return Number.POSITIVE_INFINITY;
        return Math.max(0, options.requestsPerMinute - own.used);
      }
      if (window === undefined) return Math.max(0, PROBES - inFlight);
      return Math.max(0, window.remaining - reserveOf(window.limit) - inFlight);
    },
    grantSize: (pagesLeft) => (pagesLeft < 40 ? 1 : pagesLeft < 150 ? 3 : 5),
    launched(pages, now) {
      expire(now);
      grants += 1;
      inFlight += pages;
      own.used += pages;
    },
    landed(pages, answers, now, retried) {
      grants -= 1;
      inFlight -= pages;
      for (const { limit, remaining } of answers) {
        if (limit === undefined || remaining === undefined) {
          if (window === undefined) unlimited = true;
          continue;
        }
        unlimited = false;
        if (window === undefined || remaining > window.remaining + inFlight + ROLL_MARGIN) {
          window = { limit, remaining, firstSeenAt: now };
        } else {
          window = { ...window, limit, remaining: Math.min(window.remaining, remaining) };
        }
      }
      if (retried) {
        concurrency = Math.max(1, Math.floor(concurrency / 2));
        good = 0;
        return;
      }
      good += answers.length;
      if (good >= RECOVERY_PAGES && concurrency < options.concurrency) {
        concurrency += 1;
        good = 0;
      }
    },
    released(pages) {
      grants -= 1;
      inFlight -= pages;
    },
    throttled(retryAfterMs, now) {
      pausedUntil = Math.max(pausedUntil, now + retryAfterMs);
      window = undefined;
    },
    failing() {
      concurrency = Math.max(1, Math.floor(concurrency / 2));
      good = 0;
    },
    wakeAt(now) {
      expire(now);
      if (now < pausedUntil) return pausedUntil;
      if (grants >= concurrency) return undefined;
      if (unlimited) return options.requestsPerMinute === undefined ? undefined : own.startedAt + windowMs;
      return window === undefined ? undefined : window.firstSeenAt + windowMs;
    },
  };
}

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { lanesOf } from '../../../src/domain/sync/lanes.ts';
import { createPacer, type LaneToken, type PacerOptions, reserveOf } from '../../../src/workflows/panel-sync/pacer.ts';

/** The panel's throttle: a fixed window that opens with its first request. */
function createWindow(limit: number, windowMs: number) {
  let startedAt = Number.NEGATIVE_INFINITY;
  let used = 0;
  return {
    /** The throttle headers of an answer; undefined = refused. */
    hit(now: number): { limit: number; remaining: number } | undefined {
      if (now >= startedAt + windowMs) {
        startedAt = now;
        used = 0;
      }
      if (used >= limit) return undefined;
      used += 1;
      return { limit, remaining: limit - used };
    },
    endsAt: () => startedAt + windowMs,
  };
}

interface Model {
  pages: number;
  limit: number;
  windowMs?: number;
  concurrency?: number;
  /** Duration of the n-th request in milliseconds. */
  latency: (n: number) => number;
  /** Times at which other programs of the owner send a request. */
  others: number[];
}

interface Lane {
  token: LaneToken;
  answers: { limit: number; remaining: number }[];
  /** Requests left. */
  left: number;
}

/**
 * A sync of so many pages against the panel's throttle, event by event, as the reader drives the pacer: batches in
 * flight side by side, each with lanes side by side, the requests of a lane one after another, all numbers seen when the
 * batch lands.
 */
function simulate(model: Model) {
  const windowMs = model.windowMs ?? 60_000;
  const options: PacerOptions = { concurrency: model.concurrency ?? 8, windowMs };
  const pacer = createPacer(options);
  const panel = createWindow(model.limit, windowMs);
  const events: { at: number; n: number; run: () => void }[] = [];
  let sequence = 0;
  let now = 0;
  const at = (time: number, run: () => void) => {
    sequence += 1;
    events.push({ at: time, n: sequence, run });
  };
  let waiting = model.pages;
  let running = 0;
  let done = 0;
  let requests = 0;
  let refusedUs = 0;
  let refusedOthers = 0;
  let waits = 0;
  let peak = 0;
  let wakeAt: number | undefined;

  const step = (lane: Lane, end: (refused: boolean) => void): void => {
    if (lane.left === 0) {
      end(false);
      return;
    }
    const answer = panel.hit(now);
    requests += 1;
    at(now + model.latency(requests), () => {
      if (answer === undefined) {
        refusedUs += 1;
        end(true);
        return;
      }
      lane.answers.push(answer);
      lane.left -= 1;
      step(lane, end);
    });
  };
  const startBatch = (pages: number, lanes: number): void => {
    const batch = lanesOf(Array.from({ length: pages }), lanes).map(
      (lane): Lane => ({ token: pacer.launched(lane.length, now), answers: [], left: lane.length }),
    );
    running += batch.length;
    peak = Math.max(peak, running);
    let open = batch.length;
    let throttled = false;
    const end = (refused: boolean): void => {
      open -= 1;
      throttled ||= refused;
      if (open > 0) return;
      running -= batch.length;
      for (const { token, answers, left } of batch) {
        done += answers.length;
        waiting += left;
        pacer.landed(token, answers, now, false);
      }
      if (throttled) pacer.throttled(Math.max(1, panel.endsAt() - now), now);
      launch();
    };
    for (const lane of batch) step(lane, end);
  };
  const launch = () => {
    while (waiting > 0) {
      const allowed = pacer.allowance(now);
      if (allowed < 1) break;
      const lanes = pacer.batchLanes();
      const pages = Math.min(pacer.laneLength(waiting) * lanes, allowed, waiting);
      waiting -= pages;
      startBatch(pages, lanes);
    }
    const wake = waiting > 0 ? pacer.wakeAt(now) : undefined;
    if (wake === undefined || wake === wakeAt) return;
    wakeAt = wake;
    waits += 1;
    at(wake, launch);
  };
  for (const time of model.others)
    at(time, () => {
      if (panel.hit(now) === undefined) refusedOthers += 1;
    });
  at(0, launch);
  while (done < model.pages && events.length > 0) {
    events.sort((a, b) => a.at - b.at || a.n - b.n);
    const event = events.shift();
    if (event === undefined) break;
    now = event.at;
    event.run();
    if (requests > model.pages * 3) break;
  }
  return { ms: now, done, requests, refusedUs, refusedOthers, waits, peak };
}

/** Times of evenly spaced requests by others, beginning at `from`. */
const every = (perMinute: number, minutes: number, from = 0) =>
  Array.from({ length: Math.floor(perMinute * minutes) }, (_, i) => from + (i * 60_000) / perMinute);

describe('pacer', () => {
  test('13 requests need no wait', () => {
    const run = simulate({ pages: 13, limit: 240, latency: () => 100, others: [] });
    expect(run).toMatchObject({ done: 13, requests: 13, refusedUs: 0, waits: 0 });
    expect(run.ms).toBeLessThan(600);
  });

  test('712 pages at 240 requests per minute, 20 of them by others, end in about 3 minutes without a 429', () => {
    const run = simulate({ pages: 712, limit: 240, latency: () => 100, others: every(20, 10) });
    expect(run).toMatchObject({ done: 712, requests: 712, refusedUs: 0, refusedOthers: 0 });
    expect(run.ms).toBeGreaterThan(120_000);
    expect(run.ms).toBeLessThan(242_000);
  });

  test('a window that others opened earlier ends at its own time, not a minute after the first answer', () => {
    const run = simulate({ pages: 400, limit: 240, latency: () => 100, others: every(12, 5, -50_000) });
    expect(run).toMatchObject({ done: 400, refusedUs: 0 });
    expect(run.ms).toBeLessThan(72_000);
  });

  test('never more requests in flight than allowed', () => {
    expect(simulate({ pages: 200, limit: 1_000, concurrency: 3, latency: () => 50, others: [] }).peak).toBe(3);
  });

  test('property: never above the limit, whatever other programs use the key and however long answers take', () => {
    fc.assert(
      fc.property(
        fc.record({
          pages: fc.integer({ min: 1, max: 500 }),
          limit: fc.constantFrom(60, 128, 240, 256, 720),
          share: fc.double({ min: 0, max: 0.5, noNaN: true }),
          offset: fc.integer({ min: -59_000, max: 30_000 }),
          latencies: fc.array(fc.integer({ min: 5, max: 1_500 }), { minLength: 1, maxLength: 40 }),
          concurrency: fc.integer({ min: 1, max: 8 }),
        }),
        ({ pages, limit, share, offset, latencies, concurrency }) => {
          const others = every(limit * share, 30, offset);
          const run = simulate({
            pages,
            limit,
            concurrency,
            others,
            latency: (n) => latencies[n % latencies.length] ?? 1,
          });
          expect(run.done).toBe(pages);
          expect(run.refusedUs).toBe(0);
          // A tenth of the limit stays for others; a larger share is theirs only when their requests come first.
          if (limit * share <= reserveOf(limit) - 2) expect(run.refusedOthers).toBe(0);
        },
      ),
      { numRuns: 150 },
    );
  }, 60_000);

  test('a slow answer of an old window does not open a new one', () => {
    const pacer = createPacer({ concurrency: 8 });
    const slow = pacer.launched(1, 0);
    const quick = Array.from({ length: 4 }, () => pacer.launched(5, 0));
    for (const [i, token] of quick.entries()) {
      const remaining = 230 - i * 50;
      pacer.landed(token, [{ limit: 240, remaining }], 1_000, false);
    }
    // 80 left were seen; the slow request was counted when 239 were left.
    pacer.landed(slow, [{ limit: 240, remaining: 239 }], 20_000, false);
    expect(pacer.allowance(20_000)).toBe(80 - reserveOf(240));
  });

  test('a request that was sent after the lowest number and sees a higher one belongs to a new window', () => {
    const pacer = createPacer({ concurrency: 8 });
    pacer.landed(pacer.launched(1, 0), [{ limit: 240, remaining: 40 }], 100, false);
    const old = pacer.launched(1, 200);
    const next = pacer.launched(1, 200);
    pacer.landed(next, [{ limit: 240, remaining: 239 }], 300, false);
    expect(pacer.allowance(300)).toBe(239 - reserveOf(240) - 1);
    // A late answer of the old window says nothing about the new one, but its request may have been counted there.
    pacer.landed(old, [{ limit: 240, remaining: 38 }], 400, false);
    expect(pacer.allowance(400)).toBe(239 - 1 - reserveOf(240));
  });

  test('an unknown window gets four probes, and again once it has expired', () => {
    const pacer = createPacer({ concurrency: 8 });
    expect(pacer.allowance(0)).toBe(4);
    const token = pacer.launched(1, 0);
    expect(pacer.allowance(0)).toBe(3);
    pacer.landed(token, [{ limit: 240, remaining: 24 }], 50, false);
    expect(pacer.allowance(60)).toBe(0);
    expect(pacer.wakeAt(60)).toBe(60_050);
    expect(pacer.allowance(60_050)).toBe(4);
  });

  test('a reserve of a tenth, at least five, stays for the owner', () => {
    expect(reserveOf(240)).toBe(24);
    expect(reserveOf(20)).toBe(5);
    const pacer = createPacer({ concurrency: 8 });
    pacer.landed(pacer.launched(1, 0), [{ limit: 240, remaining: 30 }], 1, false);
    expect(pacer.allowance(1)).toBe(6);
  });

  test('a 429 pauses all requests for its time, and old numbers do not end the pause', () => {
    const pacer = createPacer({ concurrency: 8 });
    pacer.landed(pacer.launched(1, 0), [{ limit: 240, remaining: 200 }], 1, false);
    const inFlight = pacer.launched(1, 2);
    pacer.throttled(7_000, 10);
    expect(pacer.allowance(11)).toBe(0);
    pacer.landed(inFlight, [{ limit: 240, remaining: 3 }], 20, false);
    expect(pacer.allowance(7_009)).toBe(0);
    expect(pacer.wakeAt(7_009)).toBe(7_010);
    expect(pacer.allowance(7_010)).toBe(4);
    // A later, shorter pause does not shorten the longer one.
    pacer.throttled(10_000, 8_000);
    pacer.throttled(1_000, 8_000);
    expect(pacer.allowance(17_999)).toBe(0);
  });

  test('without headers there is no throttle', () => {
    const pacer = createPacer({ concurrency: 8 });
    pacer.landed(pacer.launched(1, 0), [{}], 1, false);
    expect(pacer.allowance(1)).toBe(Number.POSITIVE_INFINITY);
    expect(pacer.wakeAt(1)).toBeUndefined();
  });

  test('the own limit counts when the panel has none, from the first request on', () => {
    const pacer = createPacer({ concurrency: 8, requestsPerMinute: 3 });
    expect(pacer.allowance(0)).toBe(3);
    pacer.landed(pacer.launched(1, 0), [{}], 1, false);
    expect(pacer.allowance(1)).toBe(2);
    pacer.landed(pacer.launched(2, 1), [{}, {}], 2, false);
    expect(pacer.allowance(2)).toBe(0);
    expect(pacer.wakeAt(2)).toBe(60_000);
    expect(pacer.allowance(60_000)).toBe(3);
  });

  test('a failing panel halves the lanes in flight; ten good answers add one again', () => {
    const pacer = createPacer({ concurrency: 8 });
    const fill = () => {
      const tokens: LaneToken[] = [];
      while (pacer.allowance(1) >= 1)
        for (let lanes = pacer.batchLanes(); lanes > 0; lanes -= 1) tokens.push(pacer.launched(1, 1));
      return tokens;
    };
    pacer.landed(pacer.launched(1, 0), [{}], 1, false);
    pacer.failing();
    const four = fill();
    expect(four).toHaveLength(4);
    for (const [i, token] of four.entries()) pacer.landed(token, [{}], 1, i === 0);
    const two = fill();
    expect(two).toHaveLength(2);
    for (const token of two) pacer.landed(token, [{}], 1, false);
    for (let i = 0; i < 10; i += 1) pacer.landed(pacer.launched(1, 1), [{}], 1, false);
    expect(fill().length).toBeGreaterThan(2);
    for (let i = 0; i < 10; i += 1) pacer.failing();
    expect(pacer.allowance(1)).toBe(0);
  });

  test('requests of a lane that failed count as spent', () => {
    const pacer = createPacer({ concurrency: 8 });
    pacer.landed(pacer.launched(1, 0), [{ limit: 240, remaining: 100 }], 1, false);
    pacer.released(pacer.launched(5, 2));
    expect(pacer.allowance(3)).toBe(100 - 24 - 5);
  });

  test('lanes are short when few pages are left', () => {
    const { laneLength } = createPacer({ concurrency: 8 });
    expect([1, 8, 9, 64, 65, 1_000].map(laneLength)).toEqual([1, 1, 2, 8, 9, 16]);
  });

  test('lanes of a slow panel are short: about five seconds, until it is quick again', () => {
    const pacer = createPacer({ concurrency: 8 });
    const land = (pages: number, at: number, ms: number) =>
      pacer.landed(pacer.launched(pages, at), Array<object>(pages).fill({}), at + ms, false);
    land(2, 0, 1_000);
    expect(pacer.laneLength(1_000)).toBe(10);
    land(1, 1_000, 30_000);
    expect(pacer.laneLength(1_000)).toBe(1);
    for (let i = 0; i < 8; i += 1) land(1, 40_000 + i, 20);
    expect(pacer.laneLength(1_000)).toBe(16);
  });

  test('lanes go into two batches or more, none is left over, and a single one waits for a second', () => {
    /** Lanes of each batch that starts while nothing ends, and how many lanes stay free. */
    const batches = (concurrency: number) => {
      const pacer = createPacer({ concurrency });
      // Its answer has no headers, so only lanes limit what may start.
      pacer.landed(pacer.launched(1, 0), [{}], 1, false);
      const sizes: number[] = [];
      while (pacer.allowance(1) >= 1) {
        const lanes = pacer.batchLanes();
        sizes.push(lanes);
        for (let i = 0; i < lanes; i += 1) pacer.launched(1, 1);
      }
      return sizes;
    };
    expect(batches(1)).toEqual([1]);
    expect(batches(3)).toEqual([1, 1, 1]);
    expect(batches(4)).toEqual([2, 2]);
    expect(batches(5)).toEqual([3, 2]);
    expect(batches(8)).toEqual([4, 4]);
    expect(batches(9)).toEqual([4, 5]);
    expect(batches(16)).toEqual([4, 4, 4, 4]);

    const pacer = createPacer({ concurrency: 8 });
    const first = pacer.launched(1, 0);
    for (let i = 0; i < 7; i += 1) pacer.launched(1, 0);
    pacer.landed(first, [{}], 1, false);
    expect([pacer.batchLanes(), pacer.allowance(1), pacer.wakeAt(1)]).toEqual([0, 0, undefined]);
  });
});

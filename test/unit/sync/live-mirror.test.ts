import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type MirrorBudget,
  type MirrorRun,
  type MirrorState,
  nextStep,
  secondsToNextRun,
  shareUsed,
} from '../../../src/domain/sync/live-mirror.ts';

const HOUR = 3_600;
const budget: MirrorBudget = { budgetShare: 25, intervalSeconds: HOUR, ownLimit: undefined };
const run = (values: Partial<MirrorRun> = {}): MirrorRun => ({
  status: 'COMPLETED',
  requests: 14,
  limit: 240,
  ...values,
});
const failed = (n: number) => Array.from({ length: n }, () => run({ status: 'FAILED', requests: 0 }));

describe('the pause from the start of a run to the next', () => {
  test.each<[string, MirrorRun[], Partial<MirrorBudget>, number]>([
    ['nothing is known: at once', [], {}, 0],
    ['a small panel: every 20 seconds', [run()], {}, 20],
    ['30 requests of 240 a minute: every 30 seconds', [run({ requests: 30 })], {}, 30],
    ['700 requests: as often as a quarter of the limit pays for', [run({ requests: 700 })], {}, 700],
    ['a larger share: more often', [run({ requests: 700 })], { budgetShare: 50 }, 350],
    ['the limit that the panel names', [run({ requests: 700, limit: 720 })], {}, 234],
    ['no limit named: 240 a minute', [run({ requests: 700, limit: null })], {}, 700],
    ['no limit named: our own', [run({ requests: 700, limit: null })], { ownLimit: 100 }, 1_680],
    ['our own limit, where it is lower', [run({ requests: 700 })], { ownLimit: 100 }, 1_680],
    [
      'a run that was killed counts as the one before',
      [run({ requests: null, limit: null }), run({ requests: 700 })],
      {},
      700,
    ],
    ['one that is under way, too', [run({ status: 'RUNNING', requests: null }), run({ requests: 700 })], {}, 700],
    ['one failure', [...failed(1), run()], {}, 40],
    ['three failures', [...failed(3), run()], {}, 160],
    ['twenty failures: the interval', failed(20), {}, HOUR],
    ['a failure that was expensive', [run({ status: 'FAILED', requests: 700 }), run()], {}, 700],
    ['a cancel: a person wanted it to stop', [run({ status: 'CANCELLED' }), run()], {}, HOUR],
  ])('%s', (_, runs, change, seconds) => {
    expect(Math.ceil(secondsToNextRun(runs, { ...budget, ...change }))).toBe(seconds);
  });
});

const someRun = fc.record({
  status: fc.constantFrom<MirrorRun['status'][]>('COMPLETED', 'FAILED', 'CANCELLED'),
  requests: fc.integer({ min: 0, max: 20_000 }),
  limit: fc.option(fc.integer({ min: 10, max: 1_000 })),
  /** Seconds that it takes, and that the next look comes late. */
  takes: fc.double({ min: 0, max: 2_000, noNaN: true }),
  late: fc.double({ min: 0, max: 60, noNaN: true }),
});
const someBudget = fc.record({
  budgetShare: fc.integer({ min: 1, max: 90 }),
  intervalSeconds: fc.integer({ min: 60, max: 100_000 }),
  ownLimit: fc.option(fc.integer({ min: 1, max: 1_000 }), { nil: undefined }),
});

/** Lets the live mirror run against these runs. @returns when each began, and what it cost of its allowance in seconds. */
function live(coming: readonly (MirrorRun & { takes: number; late: number })[], spend: MirrorBudget) {
  const begun: { at: number; cost: number; endedAt: number }[] = [];
  const ended: MirrorRun[] = [];
  let now = 0;
  for (const one of coming) {
    for (let looks = 0; ; looks += 1) {
      if (looks > 10_000) throw new Error('it never starts');
      const last = begun.at(-1);
      const running = last !== undefined && now < last.endedAt;
      const runs = running ? [{ status: 'RUNNING' as const, requests: null, limit: null }, ...ended.slice(1)] : ended;
      const state: MirrorState = {
        runs,
        newestAge: last === undefined ? 0 : now - last.at,
        activeAge: running ? now - last.at : null,
      };
      const { due, waitSeconds } = nextStep(state, spend);
      if (due) {
        const limit = Math.min(one.limit ?? spend.ownLimit ?? 240, spend.ownLimit ?? Number.POSITIVE_INFINITY);
        begun.push({
          at: now,
          cost: ((one.requests ?? 0) * 60) / (limit * (spend.budgetShare / 100)),
          endedAt: now + one.takes,
        });
        ended.unshift(one);
        now += Math.max(1, waitSeconds) + one.late;
        break;
      }
      now += Math.max(1, waitSeconds);
    }
  }
  return { begun, now };
}

describe('the live mirror', () => {
  test('never spends more than its share over any window of runs, and runs never overlap', () => {
    fc.assert(
      fc.property(fc.array(someRun, { minLength: 2, maxLength: 25 }), someBudget, (coming, spend) => {
        const { begun } = live(coming, spend);
        for (let from = 0; from < begun.length; from += 1) {
          let cost = 0;
          for (let to = from; to + 1 < begun.length; to += 1) {
            cost += begun[to]?.cost ?? 0;
            const seconds = (begun[to + 1]?.at ?? 0) - (begun[from]?.at ?? 0);
            expect(cost).toBeLessThanOrEqual(seconds + 1e-6);
          }
        }
        for (const [n, { at }] of begun.entries()) {
          const before = begun[n - 1];
          if (before === undefined) continue;
          expect(at).toBeGreaterThanOrEqual(before.endedAt);
          expect(at - before.at).toBeGreaterThanOrEqual(20);
        }
      }),
    );
  });

  test('looks seldom: a run of half an hour is looked at less than seventy times, a wait once', () => {
    let looks = 0;
    for (let age = 0; age < 1_800; looks += 1) {
      const { due, waitSeconds } = nextStep({ runs: [], newestAge: age, activeAge: age }, budget);
      expect(due).toBe(false);
      age += waitSeconds;
    }
    expect(looks).toBeLessThan(70);
    expect(nextStep({ runs: [run({ requests: 700 })], newestAge: 100, activeAge: null }, budget)).toEqual({
      due: false,
      waitSeconds: 600,
    });
  });

  test('says which part of the limit its pace takes: within the share by its own pace, more by a shorter interval', () => {
    const runs = [run({ requests: 700 })];
    expect(shareUsed(runs, secondsToNextRun(runs, budget), budget)).toBeCloseTo(0.25);
    expect(shareUsed(runs, 60, budget)).toBeCloseTo(700 / 240);
    expect(shareUsed([], 20, budget)).toBeNull();
  });
});

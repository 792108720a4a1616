import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { progressOf, STEPS, type StagingSummary } from '../../../src/domain/sync/progress.ts';
import { type Listing, SYNC_TARGETS, sourcesOf } from '../../../src/domain/sync/targets.ts';

const PER_PAGE = 10;
const order = STEPS.map((s) => s.step as string);

/** Pages of every listing of a target, staged in a random order. */
const run = fc
  .record({
    target: fc.constantFrom(...SYNC_TARGETS),
    skipUsers: fc.boolean(),
    subusers: fc.boolean(),
    totals: fc.record({
      locations: fc.nat({ max: 45 }),
      nodes: fc.nat({ max: 45 }),
      nests: fc.nat({ max: 45 }),
      users: fc.nat({ max: 95 }),
      servers: fc.nat({ max: 95 }),
    }),
    seed: fc.array(fc.nat(), { minLength: 40, maxLength: 40 }),
  })
  .map(({ seed, ...rest }) => {
    const plans = sourcesOf(rest.target, rest);
    const pages = plans.flatMap(({ source }) =>
      Array.from({ length: Math.max(1, Math.ceil(rest.totals[source] / PER_PAGE)) }, (_, i) => ({
        source,
        page: i + 1,
      })),
    );
    const shuffled = pages
      .map((page, i) => ({ page, key: seed[i % seed.length] ?? 0 }))
      .sort((a, b) => a.key - b.key)
      .map((x) => x.page);
    return { ...rest, plans, pages: shuffled };
  });

/** The staged sums after each page. */
function* stagings(r: {
  totals: Record<Listing, number>;
  plans: ReturnType<typeof sourcesOf>;
  pages: { source: Listing; page: number }[];
}) {
  const staged = new Map<Listing, StagingSummary>();
  yield [];
  for (const { source, page } of r.pages) {
    const total = r.totals[source];
    const totalPages = Math.max(1, Math.ceil(total / PER_PAGE));
    const own = Math.min(PER_PAGE, Math.max(0, total - (page - 1) * PER_PAGE));
    const before = staged.get(source) ?? { source, pages: 0, totalPages, total, rows: {} };
    const rows = { ...before.rows };
    for (const entity of r.plans.find((p) => p.source === source)?.entities ?? [])
      rows[entity] = (rows[entity] ?? 0) + (entity === source ? own : own * 2);
    staged.set(source, { ...before, pages: before.pages + 1, rows });
    yield [...staged.values()];
  }
}

describe('progress while reading', () => {
  test('never falls, in whatever order the pages come; percentages and counts stay within bounds', () => {
    fc.assert(
      fc.property(run, (r) => {
        let last = { progress: 0, at: -1, processed: 0 };
        for (const staged of stagings(r)) {
          const p = progressOf(r.plans, staged);
          const at = order.indexOf(p.step);
          expect(at).toBeGreaterThanOrEqual(last.at);
          expect(p.progress).toBeGreaterThanOrEqual(last.progress);
          expect(p.progress).toBe(STEPS[at]?.progress);
          expect(p.percentage).toBeGreaterThanOrEqual(0);
          expect(p.percentage).toBeLessThanOrEqual(100);
          expect(Number.isInteger(p.percentage)).toBe(true);
          expect(p.runProcessed).toBeGreaterThanOrEqual(last.processed);
          expect(p.runTotal).toBeGreaterThanOrEqual(p.runProcessed);
          expect(p.lastMessage).not.toBe('');
          last = { progress: p.progress, at, processed: p.runProcessed };
        }
      }),
      { numRuns: 300 },
    );
  });

  test('a step is only shown when it belongs to the target', () => {
    fc.assert(
      fc.property(run, (r) => {
        const own = new Set<string>(r.plans.flatMap((p) => p.entities));
        const steps = [...stagings(r)].slice(0, -1).map((staged) => progressOf(r.plans, staged).step);
        expect(steps.filter((step) => !own.has(step))).toEqual([]);
      }),
    );
  });

  test('a full sync passes its steps in the order of the HTTP API', () => {
    const plans = sourcesOf('full', { skipUsers: false, subusers: true });
    const whole = (source: Listing): StagingSummary => ({
      source,
      pages: 1,
      totalPages: 1,
      total: 4,
      rows: { [source]: 4 },
    });
    expect(progressOf(plans, [])).toMatchObject({
      step: 'locations',
      progress: 0,
      lastMessage: 'Syncing locations...',
    });
    expect(progressOf(plans, [whole('locations')])).toMatchObject({ step: 'nests', progress: 45 });
    expect(progressOf(plans, [whole('locations'), whole('nests')])).toMatchObject({ step: 'users', progress: 60 });
    expect(
      progressOf(plans, [whole('locations'), whole('nests'), { ...whole('users'), totalPages: 3, total: 12 }]),
    ).toMatchObject({
      step: 'users',
      percentage: 33,
      itemsProcessed: 4,
      itemsTotal: 12,
      lastMessage: 'Processing page 1/3 (4/12 users)',
    });
    const all = [whole('locations'), whole('nests'), whole('users'), whole('servers')];
    expect(progressOf(plans, all)).toMatchObject({ step: 'databases', progress: 92, percentage: 100 });
  });
});

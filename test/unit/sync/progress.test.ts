import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  progressOf,
  STEPS,
  type StagingSummary,
  stepRead,
  stepsRead,
  writingProgress,
} from '../../../src/domain/sync/progress.ts';
import { listingRef } from '../../../src/domain/sync/source-ref.ts';
import { type Entity, type Listing, SYNC_TARGETS, sourcesOf } from '../../../src/domain/sync/targets.ts';
import { newSource, type SourceState } from '../../../src/workflows/panel-sync/sources.ts';
import { unread } from '../../../src/workflows/panel-sync/unread.ts';

const PER_PAGE = 10;
const order: readonly Entity[] = STEPS.map((s) => s.step);
/** The order in which the site's pages draw the steps. */
const DRAWN: readonly Entity[] = ['locations', 'nodes', 'allocations', 'nests', 'servers', 'databases', 'users'];

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
    return { ...rest, plans, entities: plans.flatMap((p) => p.entities), pages: shuffled };
  });
type Run = typeof run extends fc.Arbitrary<infer R> ? R : never;

/** What is staged after each page, and of what more will come. */
function* stagings(r: Run): Generator<{ staged: StagingSummary; left: Entity[] }> {
  const staged: StagingSummary = { listings: {}, rows: {} };
  const waiting = [...r.pages];
  const left = () => r.plans.flatMap((p) => (waiting.some(({ source }) => source === p.source) ? p.entities : []));
  yield { staged: structuredClone(staged), left: left() };
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const { source, page } = next;
    const total = r.totals[source];
    const own = Math.min(PER_PAGE, Math.max(0, total - (page - 1) * PER_PAGE));
    const pages = (staged.listings[source]?.pages ?? 0) + 1;
    staged.listings[source] = { pages, totalPages: Math.max(1, Math.ceil(total / PER_PAGE)), total };
    for (const entity of r.plans.find((p) => p.source === source)?.entities ?? [])
      staged.rows[entity] = (staged.rows[entity] ?? 0) + (entity === source ? own : own * 2);
    yield { staged: structuredClone(staged), left: left() };
  }
}

describe('progress while reading', () => {
  test('never falls, in whatever order the pages come; percentages and counts stay within bounds', () => {
    fc.assert(
      fc.property(run, (r) => {
        let last = { progress: 0, at: -1, processed: 0 };
        for (const { staged, left } of stagings(r)) {
          const p = progressOf(r.entities, staged, left);
          if (p === undefined) continue;
          const at = order.indexOf(p.step as Entity);
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
      { numRuns: 100 },
    );
  });

  test('a page never marks a step as done before it is read, and each end of a step has its own message and true counts', () => {
    fc.assert(
      fc.property(run, (r) => {
        for (const { staged, left } of stagings(r)) {
          const shown = [...stepsRead(r.entities, left), progressOf(r.entities, staged, left)?.step ?? []].flat();
          for (const step of shown) {
            const before = DRAWN.slice(0, Math.max(0, DRAWN.indexOf(step as Entity)));
            expect(before.filter((entity) => left.includes(entity))).toEqual([]);
            expect(r.entities).toContain(step);
          }
          for (const step of stepsRead(r.entities, left)) {
            const total = staged.listings[step as Listing]?.total ?? staged.rows[step] ?? 0;
            const end = stepRead(step, r.entities, staged);
            expect(end).toMatchObject({ step, percentage: 100, itemsTotal: total, itemsProcessed: total });
            expect(end.lastMessage).toMatch(new RegExp(`^✓ Synced ${total} ${step}( |$)`));
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  test('a full sync shows its present step with the numbers of that step', () => {
    const entities = sourcesOf('full', { skipUsers: false, subusers: true }).flatMap((p) => p.entities);
    const staged: StagingSummary = {
      listings: { users: { pages: 1, totalPages: 3, total: 12 }, servers: { pages: 2, totalPages: 2, total: 7 } },
      rows: { users: 4, servers: 7, nests: 5, eggs: 40, subusers: 9 },
    };
    expect(progressOf(entities, { listings: {}, rows: {} }, entities)).toMatchObject({
      step: 'locations',
      progress: 0,
      lastMessage: 'Syncing locations...',
    });
    expect(progressOf(entities, staged, ['nests', 'users'])).toMatchObject({ step: 'nests', progress: 45 });
    expect(progressOf(entities, staged, ['users'])).toMatchObject({
      step: 'users',
      percentage: 33,
      itemsProcessed: 4,
      itemsTotal: 12,
      lastMessage: 'Processing page 1/3 (4/12 users)',
    });
    expect(stepRead('nests', entities, staged).lastMessage).toBe('✓ Synced 5 nests and 40 eggs');
    expect(stepRead('subusers', entities, staged).lastMessage).toBe('✓ Synced 9 subusers across 7 servers');
    expect(progressOf(entities, staged, [])).toBeUndefined();
    expect(writingProgress(entities, 3)).toMatchObject({ step: 'users', progress: 92 });
  });
});

describe('what is still to be read', () => {
  const source = (change: Partial<SourceState>, ...args: Parameters<typeof newSource>) => ({
    ...newSource(...args),
    ...change,
  });

  test('is what open sources deliver, with their includes; a listing that is being checked is open', () => {
    const locations = source({}, listingRef('locations'), 'nodes.allocations');
    expect(unread([locations])).toEqual(['locations', 'nodes', 'allocations']);
    const users = source({ state: 'checking' }, listingRef('users'), '');
    expect(unread([{ ...locations, state: 'complete' }, users])).toEqual(['users']);
    expect(unread([{ ...users, state: 'incomplete' }])).toEqual([]);
  });

  test('where nodes are read one by one, allocations are unread until the last node is read', () => {
    const nodes = source({ children: true }, listingRef('nodes'), '');
    expect(unread([nodes])).toEqual(['nodes', 'allocations']);
    const children = [1, 2].map((id) => source({}, { kind: 'node', id }, ''));
    expect(unread([{ ...nodes, state: 'complete' }, ...children])).toEqual(['allocations']);
    expect(unread(children.map((child) => ({ ...child, state: 'complete' as const })))).toEqual([]);
  });
});

/** Token buckets: compared with a model, concurrent calls, a clock that goes back, deletion of full buckets. */
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { type Bucket, type BucketState, purgeBuckets, takeTokens } from '../../../src/store/rate-limit-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ max: 20 });
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.db.raw('delete from rate_limits');
});

/** Windows are hours, so the time that a test takes hardly counts. */
const HOUR = 3600;
const bucket = (identity: string, capacity: number, name = 'test'): Bucket => ({
  name,
  identity,
  capacity,
  windowSeconds: capacity * HOUR,
});
const take = async (...buckets: Bucket[]): Promise<BucketState> => {
  const [state] = await takeTokens(database.db, buckets);
  if (state === undefined) throw new Error('no state');
  return state;
};
const pass = (seconds: number) =>
  database.db.raw('update rate_limits set updated_at = updated_at - make_interval(secs => ?)', [seconds]);
const kept = () =>
  query<{ key: string; tokens: number }>(database.db, 'select r.key, r.tokens from rate_limits r order by r.key');

test('behaves like the model', async () => {
  const identities = ['a', 'b', 'c'];
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ take: fc.uniqueArray(fc.constantFrom(0, 1, 2), { minLength: 1 }) }) },
    // Never a whole hour: at the exact time of a token, the duration of the test would decide.
    { weight: 1, arbitrary: fc.record({ hours: fc.integer({ min: 0, max: 9 }).map((n) => n / 2 + 0.25) }) },
  );
  const capacities = fc.tuple(
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 1, max: 4 }),
  );
  await fc.assert(
    fc.asyncProperty(capacities, fc.array(step, { maxLength: 25 }), async (sizes, steps) => {
      await database.db.raw('delete from rate_limits');
      const buckets = identities.map((identity, i) => bucket(identity, sizes[i] ?? 1));
      const model = sizes.map((size) => ({ size, tokens: size }));
      for (const one of steps) {
        if ('hours' in one) {
          await pass(one.hours * HOUR);
          for (const m of model) m.tokens = Math.min(m.size, m.tokens + one.hours);
          continue;
        }
        const states = await takeTokens(
          database.db,
          one.take.flatMap((i) => buckets[i] ?? []),
        );
        const asked = one.take.flatMap((i) => model[i] ?? []);
        const allowed = asked.map((m) => m.tokens >= 1);
        if (allowed.every(Boolean)) for (const m of asked) m.tokens -= 1;
        expect(states.map((s) => s.allowed)).toEqual(allowed);
        // The duration of the test adds a little to the tokens and takes a little off the wait.
        states.forEach((state, i) => {
          const tokens = asked[i]?.tokens ?? 0;
          expect(state.capacity).toBe(asked[i]?.size);
          expect(state.remaining).toBe(Math.floor(tokens));
          const wait = tokens >= 1 ? 0 : (1 - tokens) * HOUR;
          expect(state.waitSeconds).toBeLessThanOrEqual(wait + 1e-6);
          expect(state.waitSeconds).toBeGreaterThan(wait - 300);
        });
      }
    }),
    { numRuns: 40 },
  );
});

test('the next token is there after the reported wait, and not before', async () => {
  for (const [capacity, windowSeconds] of [
    [10, 900],
    [5, 3600],
    [20, 3600],
    [600, 900],
    [7, 13],
    [1, 1],
  ] as const) {
    const one = { name: 'wait', identity: `${capacity}/${windowSeconds}`, capacity, windowSeconds };
    await take(one);
    await database.db.raw('update rate_limits set tokens = 0, updated_at = clock_timestamp()');
    const refused = await take(one);
    expect(refused.allowed).toBe(false);
    await pass(Math.ceil(refused.waitSeconds));
    expect((await take(one)).allowed).toBe(true);
  }
});

test('ten of fifty concurrent calls pass a bucket of ten', async () => {
  const states = await Promise.all(Array.from({ length: 50 }, () => take(bucket('crowd', 10))));
  expect(states.filter((s) => s.allowed)).toHaveLength(10);
  const left = states.filter((s) => s.allowed).map((s) => s.remaining);
  expect(left.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('concurrent calls on several buckets: as many pass as the smallest allows, and the others lose no more', async () => {
  const states = await Promise.all(
    Array.from({ length: 50 }, () => takeTokens(database.db, [bucket('wide', 100), bucket('narrow', 10)])),
  );
  expect(states.filter((s) => s.every((one) => one.allowed))).toHaveLength(10);
  const next = await take(bucket('wide', 100));
  expect(next.remaining).toBe(89);
});

test('concurrent calls with buckets in opposite orders do not deadlock', async () => {
  const buckets = ['a', 'b', 'c', 'd', 'e'].map((identity) => bucket(identity, 1000));
  const orders = [buckets, buckets.toReversed(), [...buckets.slice(2), ...buckets.slice(0, 2)]];
  const states = await Promise.all(
    Array.from({ length: 120 }, (_, i) => takeTokens(database.db, orders[i % orders.length] ?? [])),
  );
  expect(states.every((s) => s.every((one) => one.allowed))).toBe(true);
  expect((await take(bucket('a', 1000))).remaining).toBe(879);
});

test('returns states in the order of the buckets', async () => {
  const [a, b, c] = [bucket('z', 3), bucket('a', 1), bucket('m', 2)];
  const states = await takeTokens(database.db, [a, b, c]);
  expect(states.map((s) => s.capacity)).toEqual([3, 1, 2]);
  expect(states.map((s) => s.remaining)).toEqual([2, 0, 1]);
  expect(await takeTokens(database.db, [])).toEqual([]);
});

test('an empty bucket leaves the others unchanged', async () => {
  await take(bucket('own', 1));
  for (let i = 0; i < 20; i += 1) {
    const states = await takeTokens(database.db, [bucket('own', 1), bucket('victim', 5)]);
    expect(states.map((s) => s.allowed)).toEqual([false, true]);
  }
  expect((await take(bucket('victim', 5))).remaining).toBe(4);
});

test('a refused call writes nothing (S7)', async () => {
  await take(bucket('own', 1));
  const versions = () =>
    query<{ row: string }>(database.db, 'select r.xmin::text || r.ctid::text as row from rate_limits r');
  const before = await versions();
  expect((await take(bucket('own', 1), bucket('victim', 5))).allowed).toBe(false);
  expect(await versions()).toEqual(before);
});

test('a clock that goes back adds and takes no tokens', async () => {
  const one = bucket('clock', 3);
  await take(one);
  await take(one);
  await pass(-5 * HOUR);
  const state = await take(one);
  expect([state.allowed, state.remaining]).toEqual([true, 0]);
  expect((await take(one)).allowed).toBe(false);
  const [row] = await query<{ ahead: boolean }>(
    database.db,
    `select r.updated_at > now() + interval '4 hours' as ahead from rate_limits r`,
  );
  expect(row?.ahead).toBe(true);
});

test('names and identities have buckets of their own, and no identity is stored in clear', async () => {
  await take(bucket('ada@example.com', 1, 'login'));
  expect((await take(bucket('ada@example.com', 1, 'login'))).allowed).toBe(false);
  expect((await take(bucket('ada@example.com', 1, 'other'))).allowed).toBe(true);
  expect((await take(bucket('ada@example.co', 1, 'login'))).allowed).toBe(true);
  for (const odd of ['', ' ', '\u0000', '\uD800', 'x'.repeat(100_000), "' or 1=1 --"]) {
    expect((await take(bucket(odd, 1, 'odd'))).capacity).toBe(1);
  }
  for (const { key } of await kept()) expect(key).toMatch(/^[a-z]+:[\w-]{22}$/);
});

test('a changed limit applies at once', async () => {
  for (let i = 0; i < 5; i += 1) await take(bucket('grown', 10));
  expect((await take(bucket('grown', 3))).remaining).toBe(2);
  expect((await take(bucket('grown', 100))).remaining).toBe(1);
});

test('the purge deletes full buckets, in batches, and no other bucket', async () => {
  for (const identity of ['a', 'b', 'c']) await take(bucket(identity, 4));
  expect(await purgeBuckets(database.db, 100)).toBe(0);
  await pass(HOUR + 1);
  await take(bucket('busy', 4));
  await take(bucket('b', 4));
  await take(bucket('b', 4));
  expect(await purgeBuckets(database.db, 1)).toBe(1);
  expect(await purgeBuckets(database.db, 100)).toBe(1);
  expect(await purgeBuckets(database.db, 100)).toBe(0);
  expect(await kept()).toHaveLength(2);
  expect((await take(bucket('b', 4))).remaining).toBe(1);
});

test('the purge and concurrent calls do not disturb each other', async () => {
  for (let i = 0; i < 20; i += 1) await take(bucket(`old${i}`, 2));
  await pass(3 * HOUR);
  const [states] = await Promise.all([
    Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        takeTokens(database.db, [bucket(`old${i % 20}`, 2), bucket(`old${(i + 7) % 20}`, 2)]),
      ),
    ),
    Promise.all(Array.from({ length: 10 }, () => purgeBuckets(database.db, 5))),
  ]);
  // Four calls per bucket of two tokens.
  expect(states.filter((s) => s.every((one) => one.allowed)).length).toBeLessThanOrEqual(20);
  expect(states.filter((s) => s.every((one) => one.allowed)).length).toBeGreaterThan(0);
});

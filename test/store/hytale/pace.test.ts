/** Calls of Hytale that timers cause take turns over all workers. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { takeTurn } from '../../../src/store/hytale/pace-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database?.drop());

test('turns of an environment are at least so far apart for all processes together; time that passed without one is not saved up', async () => {
  const { db } = database;
  const moment = async () =>
    Number((await db.raw('select extract(epoch from clock_timestamp()) * 1000 as ms')).rows[0].ms);
  const lastTurn = async () =>
    Number(
      (
        await db.raw(
          `select extract(epoch from turn_at) * 1000 as ms from hytale_pace where environment = 'production'`,
        )
      ).rows[0].ms,
    );
  const before = await moment();
  const waits = await Promise.all(Array.from({ length: 31 }, () => takeTurn(db, 'production', 2)));
  expect(await lastTurn()).toBeGreaterThanOrEqual(before + 30 * 500);
  // Each waits for a turn of its own.
  const sorted = waits.toSorted((a, b) => a - b);
  expect(sorted[0]).toBe(0);
  expect(sorted.at(-1)).toBeGreaterThan(sorted[1] ?? 0);
  expect(await takeTurn(db, 'staging', 2)).toBe(0);
  await db.raw(`update hytale_pace set turn_at = now() - interval '1 hour'`);
  const late = await moment();
  expect(await takeTurn(db, 'production', 2)).toBe(0);
  await takeTurn(db, 'production', 2);
  expect(await lastTurn()).toBeGreaterThanOrEqual(late + 500);
});

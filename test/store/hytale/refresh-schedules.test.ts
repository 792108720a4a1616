/** No refresh token is spent twice, whatever fails, and however many processes act at the same time. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import {
  createScheduledAccount,
  judge,
  runSchedule,
  type ScheduledAccount,
  scheduleOf,
} from '../../support/hytale/schedules.ts';

let database: TestDatabase;
const accounts: ScheduledAccount[] = [];
const closing: (() => Promise<void>)[] = [];
beforeAll(async () => {
  database = await createTestDatabase({ max: 12 });
});
afterAll(async () => {
  for (const close of closing) await close();
  await database?.drop();
});

/** Schedules that run one after the other on one account, and accounts at the same time. */
const PER_ACCOUNT = 8;
const ACCOUNTS = 4;

test('random schedules with crashes at each await, faults, and several processes', async () => {
  await Promise.all(
    Array.from({ length: ACCOUNTS }, async () => {
      const { account, close } = await createScheduledAccount(database.db);
      closing.push(close);
      accounts.push(account);
      await fc.assert(
        fc.asyncProperty(scheduleOf(5), async (steps) => {
          await runSchedule(account, steps);
          expect(await judge(account)).toEqual([]);
        }),
        { numRuns: PER_ACCOUNT, endOnFailure: true },
      );
    }),
  );
  // The schedules did what they are for.
  const spent = accounts.flatMap(({ sim }) => sim.refreshTokens().filter(({ spent }) => spent > 0)).length;
  expect(spent).toBeGreaterThan(ACCOUNTS);
});

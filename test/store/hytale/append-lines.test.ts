/** Lines of a console that are pushed and pulled: each is stored once, in order, and a gap is named. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { appendPulled } from '../../../src/services/hytale/append-lines.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { addServer, judgeConsole, runConsole, stepsOf } from '../../support/hytale/console.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ max: 6 });
});
afterAll(() => database?.drop());

/** `CONSOLE_RUNS=2000` for a long run. */
const RUNS = Number(process.env['CONSOLE_RUNS'] ?? 30);

test('push and pull of one console, in any order, by clocks that differ', async () => {
  await fc.assert(
    fc.asyncProperty(stepsOf(24), fc.integer({ min: -600, max: 600 }), async (steps, skewSeconds) => {
      const uuid = randomUUID();
      await addServer(database.db, uuid);
      const run = await runConsole(database.db, uuid, steps, {
        skewMs: skewSeconds * 1_000,
        textOf: (n) => `[${n}] line`,
      });
      expect(await judgeConsole(database.db, uuid, run)).toEqual([]);
    }),
    { numRuns: RUNS },
  );
}, 600_000);

test('ids are compared as numbers: the line after 9 is 10', async () => {
  const uuid = randomUUID();
  await addServer(database.db, uuid);
  await database.db.raw(`select setval('hytale_server_logs_id_seq', 99999995)`);
  const lines = Array.from({ length: 8 }, (_, n) => `line ${n}`);
  const tail = { serverUuid: uuid, accountId: randomUUID(), lines, acceptGap: true };
  expect(await appendPulled(database.db, tail)).toEqual({ saved: 8, state: 'first' });
  expect(await appendPulled(database.db, tail)).toEqual({ saved: 0, state: 'unchanged' });
});

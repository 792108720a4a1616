/** kill -9 of workers, PostgreSQL and Temporal at ten random moments each, from the request to the end of the run. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createJournal, onFailure } from '../../support/journal.ts';
import type { Installation } from '../../support/processes.ts';
import { type Disturbable, expectEnd, startDisturbable } from '../../support/spoiled.ts';

const journal = createJournal();
let life: Disturbable;
let installation: Installation;
onFailure(() => installation);
beforeAll(async () => {
  life = await startDisturbable();
  installation = life.installation;
});
afterAll(async () => {
  journal.print();
  await installation?.stop();
});

const TIMES = 10;
const ROUNDS = Array.from({ length: TIMES }, (_, i) => i);

/**
 * One run, disturbed in the i-th tenth of the time that an undisturbed run takes. A run that was quicker and had ended by
 * then is repeated, and disturbed earlier.
 */
async function disturbed(i: number, what: string, disturb: () => Promise<void>): Promise<void> {
  let moment = ((i + journal.random()) / TIMES) * life.tookMs;
  for (let tries = 1; ; tries += 1) {
    await life.prepare();
    const began = Date.now();
    const logId = await life.request();
    await delay(Math.max(0, moment - (Date.now() - began)));
    const when = `${Date.now() - began} ms`;
    const where = await journal.peek(installation);
    if (where.startsWith('COMPLETED') && tries < 5) {
      moment *= 0.8;
      continue;
    }
    const hit = Date.now();
    await disturb();
    const log = await installation.ended(logId);
    journal.add(what, when, where, Date.now() - hit);
    await expectEnd(installation, log, life.undisturbed);
    return;
  }
}

describe('workers', () => {
  test.each(ROUNDS)('one of two is killed, the other finishes (%i)', async (i) => {
    await disturbed(i, 'one worker of two', async () => {
      const workers = installation.workers();
      await workers[Math.floor(journal.random() * workers.length)]?.kill();
    });
  });

  test.each([1, 4, 7])('all are killed, a new one finishes (%i)', async (i) => {
    await disturbed(i, 'all workers', async () => {
      await Promise.all(installation.workers().map((worker) => worker.kill()));
      expect(installation.workers()).toEqual([]);
      await installation.startWorker();
    });
  });
});

describe('PostgreSQL', () => {
  test.each(ROUNDS)('is killed and comes back (%i)', async (i) => {
    const all = i % 2 === 0;
    await disturbed(i, all ? 'PostgreSQL and its backends' : 'PostgreSQL', async () => {
      await installation.killPostgres(all);
      await delay(journal.random() * 3_000);
      await installation.restartPostgres();
    });
  });
});

describe('Temporal', () => {
  test.each(ROUNDS)('is killed and comes back (%i)', async (i) => {
    await disturbed(i, 'Temporal', async () => {
      await installation.killTemporal();
      await delay(journal.random() * 3_000);
      await installation.restartTemporal();
    });
  });

  test('and the other two are killed at once, and come back', async () => {
    await disturbed(5, 'all three', async () => {
      await Promise.all([
        ...installation.workers().map((worker) => worker.kill()),
        installation.killPostgres(true),
        installation.killTemporal(),
      ]);
      await Promise.all([installation.restartPostgres(), installation.restartTemporal()]);
      await installation.startWorker();
    });
  });
});

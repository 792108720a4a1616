/** kill -9 of workers, PostgreSQL and Temporal at ten random moments each, while mail is queued and sent. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, test } from 'vitest';
import { type MailInstallation, startMailInstallation } from '../support/mail-processes.ts';
import type { Installation } from '../support/processes.ts';
import { createJournal, onFailure } from './journal.ts';

const journal = createJournal();
let life: MailInstallation;
let installation: Installation | undefined;
onFailure(() => installation);
beforeAll(async () => {
  life = await startMailInstallation();
  installation = life.installation;
});
afterAll(async () => {
  journal.print();
  await life?.stop();
});
beforeEach(() => life.prepare(2));

const TIMES = 10;
const ROUNDS = Array.from({ length: TIMES }, (_, i) => i);
/** Mails of a round: queueing takes a second and a half, sending them half a second more. */
const MAILS = 24;
const PAUSE_MS = 60;
const ROUND_MS = 2_200;

/** Queues mails, disturbs in the i-th tenth of the time that takes, and expects each to be sent once. */
async function disturbed(i: number, what: string, disturb: (life: MailInstallation) => Promise<void>): Promise<void> {
  const moment = ((i + journal.random()) / TIMES) * ROUND_MS;
  const began = Date.now();
  const queueing = life.queueMany(MAILS, PAUSE_MS);
  await delay(moment);
  const where = `${life.catcher.mails().length} of ${MAILS} accepted`;
  const hit = Date.now();
  await disturb(life);
  await life.expectSentOnce(await queueing, 180_000);
  journal.add(what, `${hit - began} ms`, where, Date.now() - hit);
}

describe('workers', () => {
  test.each(ROUNDS)('one of two is killed (%i)', async (i) => {
    await disturbed(i, 'one worker of two', async ({ installation }) => {
      const workers = installation.workers();
      await workers[Math.floor(journal.random() * workers.length)]?.kill();
    });
  });

  test.each([1, 4, 7])('all are killed, a new one finishes (%i)', async (i) => {
    await disturbed(i, 'all workers', async ({ installation, startWorker }) => {
      await Promise.all(installation.workers().map((worker) => worker.kill()));
      await startWorker();
    });
  });
});

describe('PostgreSQL', () => {
  test.each(ROUNDS)('is killed and comes back (%i)', async (i) => {
    const all = i % 2 === 0;
    await disturbed(i, all ? 'PostgreSQL and its backends' : 'PostgreSQL', async ({ installation }) => {
      await installation.killPostgres(all);
      await delay(journal.random() * 3_000);
      await installation.restartPostgres();
    });
  });
});

describe('Temporal', () => {
  test.each(ROUNDS)('is killed and comes back (%i)', async (i) => {
    await disturbed(i, 'Temporal', async ({ installation }) => {
      await installation.killTemporal();
      await delay(journal.random() * 3_000);
      await installation.restartTemporal();
    });
  });

  test('and the other two are killed at once, and come back', async () => {
    await disturbed(5, 'all three', async ({ installation, startWorker }) => {
      await Promise.all([
        ...installation.workers().map((worker) => worker.kill()),
        installation.killPostgres(true),
        installation.killTemporal(),
      ]);
      await Promise.all([installation.restartPostgres(), installation.restartTemporal()]);
      await startWorker();
    });
  });
});

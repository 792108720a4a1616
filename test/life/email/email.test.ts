/**
 * kill -9 of workers, PostgreSQL and Temporal at ten random moments each, while emails are queued and sent; and a minute
 * without Temporal.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type EmailInstallation, startEmailInstallation } from '../../support/email-processes.ts';
import { createJournal, onFailure } from '../../support/journal.ts';
import { query } from '../../support/merge.ts';
import type { Installation } from '../../support/processes.ts';

const journal = createJournal();
let life: EmailInstallation;
let installation: Installation | undefined;
onFailure(() => installation);
beforeAll(async () => {
  life = await startEmailInstallation();
  installation = life.installation;
});
afterAll(async () => {
  journal.print();
  await life?.stop();
});
beforeEach(() => life.prepare(2));

const TIMES = 10;
const ROUNDS = Array.from({ length: TIMES }, (_, i) => i);
/** Number of emails per round: queueing takes 1.5 s, and sending 0.5 s more. */
const EMAILS = 24;
const PAUSE_MS = 60;
const ROUND_MS = 2_200;

const MINUTE_MS = 60_000;

/** Queues emails, calls `disturb` in the i-th tenth of that time, and expects each email to be sent once. */
async function disturbed(i: number, what: string, disturb: (life: EmailInstallation) => Promise<void>): Promise<void> {
  const moment = ((i + journal.random()) / TIMES) * ROUND_MS;
  const began = Date.now();
  const queueing = life.queueMany(EMAILS, PAUSE_MS);
  await delay(moment);
  const where = `${life.catcher.emails().length} of ${EMAILS} accepted`;
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

  test('is away for a minute, while emails are queued', async () => {
    const { installation, catcher } = life;
    const count = 60;
    const before = await life.queueMany(4);
    await expect.poll(() => catcher.emails().length, { timeout: 30_000 }).toBe(before.length);
    await life.expectSentOnce(before);
    await installation.killTemporal();
    const down = Date.now();
    const during = await life.queueMany(count, MINUTE_MS / count);
    // Every request is accepted, and no start is counted as an attempt.
    expect(during).toHaveLength(count);
    expect(
      await query(
        installation.db,
        `select o.status, o.attempts, count(*)::int as n from outbox o group by o.status, o.attempts order by o.status`,
      ),
    ).toEqual([
      { status: 'dispatched', attempts: 1, n: before.length },
      { status: 'pending', attempts: 0, n: count },
    ]);
    expect(catcher.emails()).toHaveLength(before.length);
    const away = Date.now() - down;
    await installation.restartTemporal();
    const back = Date.now();
    const after = await life.queueMany(4);
    await life.expectSentOnce([...before, ...during, ...after], 180_000);
    journal.add('Temporal, for a minute', `${away} ms`, `${count} queued meanwhile`, Date.now() - back);
  });

  test('and the two others are killed at once, and come back', async () => {
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

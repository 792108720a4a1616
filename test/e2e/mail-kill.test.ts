/**
 * Processes die while mail is on its way: none is lost, none is sent twice. (`npm run test:life` kills at many more
 * moments.)
 */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { query } from '../support/apply.ts';
import { type MailInstallation, startMailInstallation } from '../support/mail-processes.ts';

let life: MailInstallation;
beforeAll(async () => {
  life = await startMailInstallation();
});
afterAll(() => life?.stop());
beforeEach(() => life.prepare());

test('the worker is killed while mails are on their way to the provider; another sends each once', async () => {
  const { installation, catcher } = life;
  const ids = await life.queueMany(12);
  await expect.poll(() => catcher.mails().length, { timeout: 20_000, interval: 10 }).toBeGreaterThan(3);
  // The next mails are with the provider as soon as the first ones are marked.
  await expect
    .poll(() => query(installation.db, `select e.id from emails e where e.status = 'queued' and e.attempts > 0`), {
      interval: 5,
    })
    .not.toEqual([]);
  for (const worker of installation.workers()) await worker.kill();
  await life.startWorker();
  const mails = await life.expectSentOnce(ids);
  // The kill cost some mails an attempt: it was not too late.
  expect(Math.max(...mails.map((mail) => mail.attempts))).toBeGreaterThan(1);
});

test('mail that is queued while Temporal is away leaves when it is back', async () => {
  const { installation } = life;
  await installation.killTemporal();
  const ids = await life.queueMany(8);
  expect(ids).toHaveLength(8);
  expect(await query(installation.db, 'select distinct o.status, o.attempts from outbox o')).toEqual([
    { status: 'pending', attempts: 0 },
  ]);
  expect(life.catcher.mails()).toEqual([]);
  await installation.restartTemporal();
  await life.expectSentOnce(ids);
});

test('PostgreSQL is killed, its backends too, while mail is being sent, and comes back', async () => {
  const { installation, catcher } = life;
  const ids = await life.queueMany(12);
  await expect.poll(() => catcher.mails().length, { timeout: 20_000, interval: 10 }).toBeGreaterThan(3);
  await installation.killPostgres(true);
  await installation.restartPostgres();
  await life.expectSentOnce(ids);
});

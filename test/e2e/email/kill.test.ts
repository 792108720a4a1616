/**
 * Processes are killed while emails are on their way: no email is lost or sent twice. `npm run test:life` kills at many
 * more moments.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { idOfCaught, storedEmails } from '../../support/email.ts';
import { type EmailInstallation, startEmailInstallation } from '../../support/email-processes.ts';
import { query } from '../../support/merge.ts';

let life: EmailInstallation;
beforeAll(async () => {
  life = await startEmailInstallation();
});
afterAll(() => life?.stop());
beforeEach(() => life.prepare());

test('the worker is killed during requests to the provider; another worker sends each email once', async () => {
  const { installation, catcher } = life;
  // The provider accepts the first two and does not answer.
  catcher.fault({ kind: 'accept-hang' }, 2);
  const ids = await life.queueMany(12);
  await expect.poll(() => catcher.emails().length, { timeout: 20_000, interval: 10 }).toBeGreaterThan(3);
  const unanswered = new Map(
    catcher
      .emails()
      .slice(0, 2)
      .map((caught) => [idOfCaught(caught), caught.id]),
  );
  for (const worker of installation.workers()) await worker.kill();
  const cut = (await storedEmails(installation.db)).filter((email) => unanswered.has(email.id));
  expect(cut.map(({ status, attempts }) => [status, attempts])).toEqual([
    ['queued', 1],
    ['queued', 1],
  ]);
  await life.startWorker();
  const emails = await life.expectSentOnce(ids);
  const repeated = emails.filter((email) => unanswered.has(email.id));
  expect(repeated.map(({ attempts, providerId }) => [attempts, providerId])).toEqual(
    repeated.map((email) => [2, unanswered.get(email.id)]),
  );
});

test('emails that are queued while Temporal is away are sent once it is back', async () => {
  const { installation } = life;
  await installation.killTemporal();
  const ids = await life.queueMany(8);
  expect(ids).toHaveLength(8);
  expect(await query(installation.db, 'select distinct o.status, o.attempts from outbox o')).toEqual([
    { status: 'pending', attempts: 0 },
  ]);
  expect(life.catcher.emails()).toEqual([]);
  await installation.restartTemporal();
  await life.expectSentOnce(ids);
});

test('PostgreSQL is killed with its backends during attempts, and comes back', async () => {
  const { installation, catcher } = life;
  const ids = await life.queueMany(12);
  await expect.poll(() => catcher.emails().length, { timeout: 20_000, interval: 10 }).toBeGreaterThan(3);
  await installation.killPostgres(true);
  await installation.restartPostgres();
  await life.expectSentOnce(ids);
});

/** An installation of real processes. Its workers send emails to a catcher in the process of the test. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { type EmailCatcher, startEmailCatcher } from '../../simulators/email/simulator.ts';
import { caughtIds, emailsEnded, message, queueEmail, type StoredEmail } from './email.ts';
import { query } from './merge.ts';
import { type Installation, type ServiceProcess, startInstallation } from './processes.ts';
import { SMALL } from './stack.ts';

/** Milliseconds between a request and its acceptance. A worker that is killed meanwhile leaves an email that is sent but not marked. */
const LATENCY_MS = 400;

export interface EmailInstallation {
  installation: Installation;
  catcher: EmailCatcher;
  startWorker(): Promise<ServiceProcess>;
  /** Brings the installation to the start of a test: no emails, and this number of workers. */
  prepare(workers?: number): Promise<void>;
  /** Queues emails one after the other, `pauseMs` apart. @returns ids of those whose commit was acknowledged. */
  queueMany(count: number, pauseMs?: number): Promise<string[]>;
  /** Waits until no email is queued, and expects that each acknowledged email exists and that each email was sent once. */
  expectSentOnce(acknowledged: readonly string[], timeoutMs?: number): Promise<StoredEmail[]>;
  stop(): Promise<void>;
}

/** Starts everything except workers. */
export async function startEmailInstallation(): Promise<EmailInstallation> {
  const catcher = await startEmailCatcher({ latencyMs: LATENCY_MS, requestsPerSecond: 1000 });
  const installation = await startInstallation(SMALL).catch(async (error: unknown) => {
    await catcher.close();
    throw error;
  });
  const { db } = installation;
  const startWorker = () =>
    installation.startWorker({ RESEND_API_KEY: catcher.apiKey, RESEND_BASE_URL: catcher.url, LOG_LEVEL: 'warn' });
  return {
    installation,
    catcher,
    startWorker,
    async prepare(workers = 1) {
      const alive = installation.workers();
      for (const worker of alive.slice(workers)) await worker.kill();
      for (let i = alive.length; i < workers; i += 1) await startWorker();
      await query(db, 'truncate emails, outbox');
      catcher.clear();
    },
    async queueMany(count, pauseMs = 0) {
      const ids: string[] = [];
      for (let i = 0; i < count; i += 1) {
        await queueEmail(db, message(`reader-${i}@reader.example`)).then(
          (id) => ids.push(id),
          () => undefined,
        );
        if (pauseMs > 0) await delay(pauseMs);
      }
      return ids;
    },
    async expectSentOnce(acknowledged, timeoutMs = 90_000) {
      const emails = await emailsEnded(db, timeoutMs).catch(async (error: unknown) => {
        console.error(await installation.diagnosis());
        throw error;
      });
      const ids = emails.map((email) => email.id);
      expect(ids).toEqual(expect.arrayContaining([...acknowledged]));
      expect(emails.map(({ status, error, data }) => ({ status, error, data }))).toEqual(
        ids.map(() => ({ status: 'sent', error: null, data: null })),
      );
      expect(caughtIds(catcher)).toEqual(ids.sort());
      expect(await query(db, `select o.id from outbox o where o.status <> 'dispatched'`)).toEqual([]);
      return emails;
    },
    async stop() {
      await installation.stop();
      await catcher.close();
    },
  };
}

/** Emails for tests: accounts to write to, emails queued as the product queues them, and their rows. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from '@temporalio/client';
import type { CaughtEmail, EmailCatcher } from '../../simulators/email/contract.ts';
import type { EmailStatus } from '../../src/domain/email.ts';
import { inTransaction } from '../../src/store/db/db.ts';
import { createEncryption } from '../../src/store/db/encryption.ts';
import { createEmailStore, type EmailRequest } from '../../src/store/email/email-store.ts';
import type { TemporalGateway } from '../../src/temporal/connection.ts';
import { sendEmailId } from '../../src/workflows/contract.ts';
import type { TestDb } from './database.ts';
import { query } from './merge.ts';
import type { Stack } from './stack.ts';

/** A row of `emails` without its times. */
export interface StoredEmail {
  id: string;
  template: string;
  to: string;
  userId: string | null;
  status: EmailStatus;
  attempts: number;
  error: string | null;
  data: string | null;
  transport: string | null;
  providerId: string | null;
}

/** Stores data in clear, as without ENCRYPTION_KEY, so that tests can read it. */
export const plainEmails = createEmailStore(createEncryption({}));

/** Inserts an account. @returns its id. */
export async function account(
  db: TestDb,
  email: string,
  fields: { active?: boolean; verified?: boolean; name?: string } = {},
): Promise<string> {
  const id = randomUUID();
  await query(
    db,
    `insert into users (id, email, "firstName", "isActive", "emailVerified", "createdAt", "updatedAt")
     values (?, ?, ?, ?, case when ? then now() at time zone 'utc' end, now() at time zone 'utc', now() at time zone 'utc')`,
    [id, email, fields.name ?? 'Ada', fields.active ?? true, fields.verified ?? false],
  );
  return id;
}

/** An email without a link, for which no account is needed. */
export const message = (to: string): EmailRequest => ({
  template: 'message',
  to,
  subject: 'News',
  data: { message: `for ${to}` },
});

/** Queues one email in a transaction of its own. @returns its id. */
export const queueEmail = (db: TestDb, request: EmailRequest): Promise<string> =>
  inTransaction(db, (trx) => plainEmails.queue(trx, request));

/** All emails, in the order of their requests. */
export async function storedEmails(db: TestDb): Promise<StoredEmail[]> {
  const found = await query(
    db,
    `select e.id, e.template, e.recipient as "to", e.user_id as "userId", e.status, e.attempts, e.last_error as error,
       e.data, e.transport, e.provider_id as "providerId"
     from emails e left join outbox o on o.payload->>'emailId' = e.id::text order by o.seq, e.id`,
  );
  return found as unknown as StoredEmail[];
}

export async function storedEmail(db: TestDb, id: string): Promise<StoredEmail> {
  const email = (await storedEmails(db)).find((m) => m.id === id);
  if (email === undefined) throw new Error('the email is gone');
  return email;
}

/** `PENDING_ACTIVITY_STATE_SCHEDULED` of Temporal's API: it waits for its next attempt, or for a worker. */
const SCHEDULED = 1;

/** Ends the wait of an email for its next attempt. An attempt that has not ended yet would begin its wait after that. */
export async function endWait({ gateway, namespace }: Pick<Stack, 'gateway' | 'namespace'>, id: string): Promise<void> {
  const execution = { workflowId: sendEmailId(id) };
  const handle = gateway.client.workflow.getHandle(execution.workflowId);
  for (;;) {
    const { raw } = await handle.describe();
    if (raw.pendingActivities?.some(({ state }) => state === SCHEDULED)) break;
    await delay(40);
  }
  await gateway.client.workflowService.resetActivity({ namespace, execution, type: 'deliverEmail' });
}

/** Waits until no email is queued, also while the database is away. */
export async function emailsEnded(db: TestDb, timeoutMs = 60_000): Promise<StoredEmail[]> {
  const end = Date.now() + timeoutMs;
  let last: unknown;
  while (Date.now() < end) {
    try {
      const emails = await storedEmails(db);
      const waiting = emails.filter((m) => m.status === 'queued');
      if (waiting.length === 0) return emails;
      last = waiting.map(({ id, attempts, error }) => ({ id, attempts, error }));
    } catch (error) {
      last = error;
    }
    await delay(40);
  }
  throw new Error(`emails are still queued: ${last instanceof Error ? last.message : JSON.stringify(last)}`);
}

/** Id of a caught email: its key without the number of refusals. */
export const idOfCaught = ({ idempotencyKey }: Pick<CaughtEmail, 'idempotencyKey'>): string =>
  (idempotencyKey ?? '').replace(/:\d+$/, '');

/** Ids of the emails that the catcher accepted, sorted. An email that was sent twice is in it twice. */
export const caughtIds = (catcher: Pick<EmailCatcher, 'emails'>): string[] => catcher.emails().map(idOfCaught).sort();

/** The state of every outbox row, in the order of writing. */
export const outboxRows = (db: TestDb) =>
  query(db, 'select o.payload, o.status, o.attempts, o.last_error as error from outbox o order by o.seq');

/**
 * A gateway that records the id of every workflow it starts. `before` and `after` can throw in the server's place: before
 * the start, or after it.
 */
export function recordingGateway(
  gateway: TemporalGateway,
  faults: { before?: () => void; after?: () => void } = {},
): { gateway: TemporalGateway; starts: string[] } {
  const starts: string[] = [];
  const client = new Client({
    connection: gateway.client.connection,
    namespace: gateway.namespace,
    interceptors: {
      workflow: [
        {
          async startWithDetails(input, next) {
            faults.before?.();
            starts.push(input.options.workflowId);
            const started = await next(input);
            faults.after?.();
            return started;
          },
        },
      ],
    },
  });
  return { gateway: { ...gateway, client }, starts };
}

/**
 * Writes to `emails`: a new email, the course of its attempts, its end, and its deletion. The data that fills an email is
 * encrypted, because it can hold the token of a link. The rules are in `src/services/email` (ADR 8).
 */
import { normalizeEmail } from '../../domain/accounts/account.ts';
import {
  EMAIL_TEMPLATES,
  type EmailData,
  EmailDataSchema,
  type EmailStatus,
  type EmailTemplate,
} from '../../domain/email.ts';
import { AppError } from '../../domain/errors.ts';
import type { Db } from '../db/db.ts';
import type { Encryption } from '../db/encryption.ts';
import { execute, query } from '../db/query.ts';
import { enqueue } from '../outbox-store.ts';

/** Kind of the outbox rows that start the workflow `sendEmail`; their payload is `{ emailId }`. */
export const EMAIL_OUTBOX_KIND = 'email.send';

export interface EmailRequest {
  template: EmailTemplate;
  to: string;
  /** Absent: the account that has the address `to` at the first attempt. */
  userId?: string;
  /** Absent: the subject of the template. */
  subject?: string;
  data?: EmailData;
  /** Id of the email that this one repeats. */
  resentFrom?: string;
}

/** An email with its data decrypted. */
export interface StoredEmail {
  id: string;
  /** Undefined: a template that this release does not have. */
  template: EmailTemplate | undefined;
  to: string;
  userId: string | null;
  subject: string | null;
  /** `cleared`: the email ended and its data was deleted. `unreadable`: encrypted with a key that this process lacks. */
  data: EmailData | 'cleared' | 'unreadable';
  status: EmailStatus;
  /** Expiry of the token that an attempt issued; null if none was issued. */
  tokenExpiresAt: Date | null;
  tokenExpired: boolean;
  createdAt: Date;
}

export interface EmailStore {
  /** Inserts an email and its outbox row in the caller's transaction. @returns id of the email. */
  queue(trx: Db, request: EmailRequest): Promise<string>;
  /** Locks an email until the transaction ends. @returns undefined if it does not exist. */
  lock(trx: Db, id: string): Promise<StoredEmail | undefined>;
  /** Stores the data of an email with its link, the account of the link and the expiry of a token issued for it. */
  storeLink(trx: Db, id: string, link: { data: EmailData; userId?: string; expiresAt?: Date }): Promise<void>;
}

/** Creates the store; data is encrypted with the process's key. */
export function createEmailStore(encryption: Encryption): EmailStore {
  return {
    queue: (trx, request) => queueEmail(trx, encryption, request),
    lock: (trx, id) => lockEmail(trx, encryption, id),
    storeLink: (trx, id, link) => storeLink(trx, encryption, id, link),
  };
}

const encrypted = (encryption: Encryption, data: EmailData): string => encryption.encrypt(JSON.stringify(data));

function decrypted(encryption: Encryption, stored: string | null): StoredEmail['data'] {
  if (stored === null) return 'cleared';
  const clear = encryption.decrypt(stored);
  if ('unreadable' in clear) return 'unreadable';
  try {
    return EmailDataSchema.parse(JSON.parse(clear.value));
  } catch {
    // Without a key, `decrypt` returns encrypted text as if it were clear text.
    return 'unreadable';
  }
}

async function queueEmail(trx: Db, encryption: Encryption, request: EmailRequest): Promise<string> {
  const [row] = await query<{ id: string }>(
    trx,
    `insert into emails (template, recipient, user_id, subject, data, resent_from)
     values (?, ?, ?, ?, ?, ?::uuid) returning emails.id`,
    [
      request.template,
      request.to,
      request.userId ?? null,
      request.subject ?? null,
      encrypted(encryption, request.data ?? {}),
      request.resentFrom ?? null,
    ],
  );
  if (row === undefined) throw new AppError('INTERNAL_ERROR', { meta: { reason: 'insert without a row' } });
  await enqueue(trx, {
    kind: EMAIL_OUTBOX_KIND,
    dedupeKey: `${EMAIL_OUTBOX_KIND}:${row.id}`,
    payload: { emailId: row.id },
  });
  return row.id;
}

async function lockEmail(trx: Db, encryption: Encryption, id: string): Promise<StoredEmail | undefined> {
  const [row] = await query<Omit<StoredEmail, 'template' | 'data'> & { template: string; data: string | null }>(
    trx,
    `select e.id, e.template, e.recipient as "to", e.user_id as "userId", e.subject, e.data, e.status,
       e.token_expires_at as "tokenExpiresAt", coalesce(e.token_expires_at <= now(), false) as "tokenExpired",
       e.created_at as "createdAt"
     from emails e where e.id = ?::uuid for update`,
    [id],
  );
  if (row === undefined) return undefined;
  const template = EMAIL_TEMPLATES.find((known) => known === row.template);
  return { ...row, template, data: decrypted(encryption, row.data) };
}

async function storeLink(
  trx: Db,
  encryption: Encryption,
  id: string,
  link: { data: EmailData; userId?: string; expiresAt?: Date },
): Promise<void> {
  await execute(
    trx,
    `update emails set user_id = coalesce(?, user_id), data = ?, token_expires_at = ?, updated_at = now() where id = ?`,
    [link.userId ?? null, encrypted(encryption, link.data), link.expiresAt?.toISOString() ?? null, id],
  );
}

export interface Recipient {
  id: string;
  /** First name; empty if the account has none. */
  name: string;
  verified: boolean;
}

/**
 * Locks the active account that has the email's address now, so that it does not change before its token is stored. An
 * exact spelling wins over one that differs in case. @returns undefined if no active account has the address.
 */
export async function lockRecipient(
  trx: Db,
  email: Pick<StoredEmail, 'to' | 'userId'>,
): Promise<Recipient | undefined> {
  const [user] = await query<Recipient>(
    trx,
    `select u.id, coalesce(u."firstName", '') as name, u."emailVerified" is not null as verified
     from users u where lower(u.email) = ? and coalesce(u."isActive", true) and (?::text is null or u.id = ?)
     order by (u.email = ?) desc, u."createdAt", u.id limit 1 for update`,
    [normalizeEmail(email.to), email.userId, email.userId, email.to.trim()],
  );
  return user;
}

/** Counts an attempt. A failed email is queued again: its workflow was reset. */
export async function countAttempt(trx: Db, id: string): Promise<void> {
  await execute(trx, `update emails set status = 'queued', attempts = attempts + 1, updated_at = now() where id = ?`, [
    id,
  ]);
}

/** Ends an email without sending it and clears its data. */
export async function endEmail(db: Db, id: string, status: 'failed' | 'skipped', reason: string): Promise<void> {
  await execute(db, `update emails set status = ?, last_error = ?, data = null, updated_at = now() where id = ?`, [
    status,
    reason,
    id,
  ]);
}

/** Marks an email as accepted by the provider and clears its data. */
export async function markEmailSent(
  db: Db,
  id: string,
  sent: { transport: string; providerId: string | null },
): Promise<void> {
  await execute(
    db,
    `update emails set status = 'sent', last_error = null, data = null, transport = ?, provider_id = ?, sent_at = coalesce(sent_at, now()), updated_at = now()
     where id = ? and status <> 'sent'`,
    [sent.transport, sent.providerId, id],
  );
}

/** Stores the reason for which an attempt failed; the email stays queued. */
export async function noteEmailFailure(db: Db, id: string, reason: string): Promise<void> {
  await execute(db, `update emails set last_error = ?, updated_at = now() where id = ? and status = 'queued'`, [
    reason,
    id,
  ]);
}

/**
 * Marks an email as failed. Its data is kept until its link expires, so that its workflow can be reset.
 * @param reason undefined keeps the reason of the last attempt.
 */
export async function markEmailFailed(db: Db, id: string, reason: string | undefined): Promise<void> {
  await execute(
    db,
    `update emails set status = 'failed', last_error = coalesce(?, last_error, 'failed'), updated_at = now() where id = ? and status = 'queued'`,
    [reason ?? null, id],
  );
}

/**
 * Marks as failed what has been queued for 25 hours without an attempt: its workflow is gone, because a workflow gives up
 * after 23 hours. @returns number of rows.
 */
export async function failLostEmails(db: Db, batch: number): Promise<number> {
  const failed = await query<{ id: string }>(
    db,
    `update emails set status = 'failed', last_error = coalesce(last_error, 'it was never finished'), updated_at = now() where id in (
       select e.id from emails e where e.status = 'queued' and e.updated_at < now() - interval '25 hours' limit ? for update skip locked) returning id`,
    [batch],
  );
  return failed.length;
}

/** Clears the data of failed emails whose link expired or that failed a day ago. @returns number of rows. */
export async function clearDeadEmails(db: Db, batch: number): Promise<number> {
  const cleared = await query<{ id: string }>(
    db,
    `update emails set data = null, updated_at = now() where id in (
       select e.id from emails e where e.data is not null and e.status <> 'queued'
         and (e.token_expires_at <= now() or e.updated_at < now() - interval '1 day') limit ? for update skip locked) returning id`,
    [batch],
  );
  return cleared.length;
}

/** Deletes emails that ended and are older than `days`. @returns number of rows. */
export async function purgeEmails(db: Db, days: number, batch: number): Promise<number> {
  const deleted = await query<{ id: string }>(
    db,
    `delete from emails where id in (
       select e.id from emails e where e.created_at < now() - make_interval(days => ?) and e.status <> 'queued' order by e.created_at limit ?) returning id`,
    [days, batch],
  );
  return deleted.length;
}

/**
 * Writes to `emails`: a new email, the course of its attempts, its end, and its deletion. The data that fills an email is
 * encrypted, because it can hold the token of a link. The rules are in `src/services/email` (ADR 8).
 */
import { normalizeEmail } from '../../domain/accounts/account.ts';
import {
  EMAIL_TEMPLATES,
  type EmailContent,
  EmailContentSchema,
  type EmailData,
  EmailDataSchema,
  type EmailStatus,
  type EmailTemplate,
} from '../../domain/email.ts';
import { AppError } from '../../domain/errors.ts';
import { addressOf, EXACT_FIRST, spelledAs } from '../accounts/address.ts';
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
  attempts: number;
  /** Attempts that were certainly refused. */
  refusals: number;
  /** Attempts that may have been accepted, with what they sent; undefined if there is none. */
  doubt: { attempts: number; ageMs: number; content: EmailContent } | undefined;
}

export interface EmailStore {
  /** Inserts an email and its outbox row in the caller's transaction. @returns id of the email. */
  queue(trx: Db, request: EmailRequest): Promise<string>;
  /** Locks an email until the transaction ends. @returns undefined if it does not exist. */
  lock(trx: Db, id: string): Promise<StoredEmail | undefined>;
  /** Stores the data of an email with its link, the account of the link and the expiry of a token issued for it. */
  storeLink(trx: Db, id: string, link: { data: EmailData; userId?: string; expiresAt?: Date }): Promise<void>;
  /** Stores what an attempt is about to send: from here on it may have been accepted, until its refusal is noted. */
  beginSending(db: Db, id: string, content: EmailContent): Promise<void>;
}

/** Creates the store; data is encrypted with the process's key. */
export function createEmailStore(encryption: Encryption): EmailStore {
  return {
    queue: (trx, request) => queueEmail(trx, encryption, request),
    lock: (trx, id) => lockEmail(trx, encryption, id),
    storeLink: (trx, id, link) => storeLink(trx, encryption, id, link),
    beginSending: (db, id, content) => beginSending(db, encryption, id, content),
  };
}

const encrypted = (encryption: Encryption, data: EmailData): string =>
  encryption.encrypt('emails.data', JSON.stringify(data));

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

/** As {@link decrypted}, for what attempts in doubt sent. */
function contentOf(encryption: Encryption, stored: string): EmailContent | 'unreadable' {
  const clear = encryption.decrypt(stored);
  if ('unreadable' in clear) return 'unreadable';
  try {
    return EmailContentSchema.parse(JSON.parse(clear.value));
  } catch {
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
      // An address that a former service stored with spaces around it is no recipient for an email server.
      request.to.trim(),
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

interface LockedRow extends Omit<StoredEmail, 'template' | 'data' | 'doubt'> {
  template: string;
  data: string | null;
  doubts: number;
  doubtAgeMs: number;
  content: string | null;
}

async function lockEmail(trx: Db, encryption: Encryption, id: string): Promise<StoredEmail | undefined> {
  const [row] = await query<LockedRow>(
    trx,
    `select e.id, e.template, e.recipient as "to", e.user_id as "userId", e.subject, e.data, e.status,
       e.token_expires_at as "tokenExpiresAt", coalesce(e.token_expires_at <= now(), false) as "tokenExpired",
       e.created_at as "createdAt", e.attempts, e.refusals, e.doubts, e.content,
       coalesce(extract(epoch from now() - e.doubted_since) * 1000, 0)::float8 as "doubtAgeMs"
     from emails e where e.id = ?::uuid for update`,
    [id],
  );
  if (row === undefined) return undefined;
  const { doubts, doubtAgeMs, content, ...rest } = row;
  const template = EMAIL_TEMPLATES.find((known) => known === row.template);
  const sent = content === null || doubts === 0 ? undefined : contentOf(encryption, content);
  if (sent === 'unreadable') return { ...rest, template, data: 'unreadable', doubt: undefined };
  const doubt = sent && { attempts: doubts, ageMs: doubtAgeMs, content: sent };
  return { ...rest, template, data: decrypted(encryption, row.data), doubt };
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

async function beginSending(db: Db, encryption: Encryption, id: string, content: EmailContent): Promise<void> {
  await execute(
    db,
    `update emails set content = ?, doubts = doubts + 1, doubted_since = coalesce(doubted_since, now()), updated_at = now()
     where id = ?`,
    [encryption.encrypt('emails.content', JSON.stringify(content)), id],
  );
}

export interface Recipient {
  id: string;
  /** First name; empty if the account has none. */
  name: string;
  verified: boolean;
}

/**
 * Locks the active account that has the email's address now, so that it does not change before its token is stored. Of
 * several, {@link EXACT_FIRST} says which. @returns undefined if no active account has the address.
 */
export async function lockRecipient(
  trx: Db,
  email: Pick<StoredEmail, 'to' | 'userId'>,
): Promise<Recipient | undefined> {
  const [user] = await query<Recipient>(
    trx,
    `select u.id, coalesce(u."firstName", '') as name, u."emailVerified" is not null as verified
     from users u where ${addressOf('u')} = ? and coalesce(u."isActive", true) and (?::text is null or u.id = ?)
     order by ${EXACT_FIRST} limit 1 for update`,
    [normalizeEmail(email.to), email.userId, email.userId, ...spelledAs(email.to)],
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
  await execute(
    db,
    `update emails set status = ?, last_error = ?, data = null, content = null, held_since = null, updated_at = now() where id = ?`,
    [status, reason, id],
  );
}

/** Marks an email as accepted by the provider and clears its data. */
export async function markEmailSent(
  db: Db,
  id: string,
  sent: { transport: string; providerId: string | null },
): Promise<void> {
  await execute(
    db,
    `update emails set status = 'sent', last_error = null, data = null, content = null, held_since = null, transport = ?, provider_id = ?,
       sent_at = coalesce(sent_at, now()), updated_at = now()
     where id = ? and status <> 'sent'`,
    [sent.transport, sent.providerId, id],
  );
}

/**
 * Stores the reason for which an attempt failed; the email stays queued.
 * @param outcome `held`: it waits for the operator. `refused`: an attempt that began to send was certainly not accepted.
 * @returns milliseconds for which the email has been held; 0 if it is not.
 */
export async function noteEmailFailure(
  db: Db,
  id: string,
  reason: string,
  outcome: { held: boolean; refused: boolean },
): Promise<number> {
  const [row] = await query<{ heldMs: number }>(
    db,
    `update emails set last_error = ?, held_since = case when ?::boolean then coalesce(held_since, now()) end,
       doubts = case when ?::boolean then greatest(doubts - 1, 0) else doubts end,
       doubted_since = case when ?::boolean and doubts <= 1 then null else doubted_since end,
       content = case when ?::boolean and doubts <= 1 then null else content end,
       refusals = case when ?::boolean and doubts <= 1 then refusals + 1 else refusals end,
       updated_at = now()
     where id = ? and status = 'queued'
     returning coalesce(extract(epoch from now() - emails.held_since) * 1000, 0)::float8 as "heldMs"`,
    [reason, outcome.held, outcome.refused, outcome.refused, outcome.refused, outcome.refused, id],
  );
  return row?.heldMs ?? 0;
}

/**
 * Marks an email as failed. Its data is kept until its link expires, so that its workflow can be reset.
 * @param reason undefined keeps the reason of the last attempt.
 */
export async function markEmailFailed(db: Db, id: string, reason: string | undefined): Promise<void> {
  await execute(
    db,
    `update emails set status = 'failed', held_since = null, last_error = coalesce(?, last_error, 'failed'), updated_at = now() where id = ? and status = 'queued'`,
    [reason ?? null, id],
  );
}

/**
 * Marks as failed what has been queued for five days without an attempt: its workflow is gone, because a workflow gives up
 * after four days. @returns number of rows.
 */
export async function failLostEmails(db: Db, batch: number): Promise<number> {
  const failed = await query<{ id: string }>(
    db,
    `update emails set status = 'failed', held_since = null, last_error = coalesce(last_error, 'it was never finished'), updated_at = now() where id in (
       select e.id from emails e where e.status = 'queued' and e.updated_at < now() - interval '5 days' limit ? for update skip locked) returning id`,
    [batch],
  );
  return failed.length;
}

/**
 * Clears the data of failed emails whose link expired or that failed a day ago. The time of their failure stays.
 * @returns number of rows.
 */
export async function clearDeadEmails(db: Db, batch: number): Promise<number> {
  const cleared = await query<{ id: string }>(
    db,
    `update emails set data = null, content = null where id in (
       select e.id from emails e where (e.data is not null or e.content is not null) and e.status <> 'queued'
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

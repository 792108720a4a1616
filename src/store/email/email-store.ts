/**
 * Email that was asked for: what it is made of (encrypted), and what became of it. A token for a link is issued when the
 * email is made, not when it is asked for: so asking costs the same whether an account exists or not, nothing secret waits
 * in a queue, and a link lives as long as the email says.
 */
import { normalizeEmail } from '../../domain/accounts/account.ts';
import {
  EMAIL_TEMPLATES,
  type EmailData,
  type EmailStatus,
  type EmailTemplate,
  TOKEN_OF_TEMPLATE,
} from '../../domain/email.ts';
import { AppError } from '../../domain/errors.ts';
import { issueToken, ownerOfToken } from '../accounts/one-time-token-store.ts';
import { type Db, inTransaction } from '../db/db.ts';
import type { Encryption } from '../db/encryption.ts';
import { execute, query } from '../db/query.ts';
import { enqueue } from '../outbox-store.ts';

export const EMAIL_OUTBOX_KIND = 'mail.send';
/** How long an email that cannot be read here is left alone, milliseconds. */
const OTHER_KEY_MS = 60_000;

export interface EmailRequest {
  template: EmailTemplate;
  to: string;
  /** Absent: whoever has the address `to`, if anybody, when the email is made. */
  userId?: string;
  /** Absent: the template's own. */
  subject?: string;
  data?: EmailData;
  /** The email that is sent anew. */
  resentFrom?: string;
}

/** An email that is to be sent now, or why it is not. */
export type PreparedEmail =
  | {
      state: 'ready';
      template: EmailTemplate;
      to: string;
      subject: string | undefined;
      data: EmailData;
      /** When it was asked for: equal content at each attempt. */
      createdAt: Date;
    }
  | { state: 'done'; status: Exclude<EmailStatus, 'queued'> };

export interface EmailStore {
  /** Writes the email and its outbox row into the caller's transaction. @returns the email's id. */
  queue(trx: Db, request: EmailRequest): Promise<string>;
  /**
   * Makes the email: finds its account, issues the token its link needs. The same again gives the same.
   * @throws {AppError} EMAIL_NOT_CONFIGURED when its content was encrypted with an unknown key; nothing has changed then.
   */
  prepare(db: Db, id: string): Promise<PreparedEmail>;
  /** What a resend is made of. @throws {AppError} NOT_FOUND, CONFLICT when nothing is left of it. */
  requestOf(db: Db, id: string): Promise<EmailRequest>;
}

interface Stored {
  template: string;
  to: string;
  userId: string | null;
  subject: string | null;
  data: string | null;
  status: EmailStatus;
  dead: boolean;
  tokenExpiresAt: Date | null;
  createdAt: Date;
}

const STORED = `e.template, e.recipient as "to", e.user_id as "userId", e.subject, e.data, e.status,
  coalesce(e.token_expires_at <= now(), false) as dead, e.token_expires_at as "tokenExpiresAt", e.created_at as "createdAt"`;

interface Addressee {
  id: string;
  email: string;
  name: string;
  verified: boolean;
}

/** Makes the store; contents are encrypted with the process's key. */
export function createEmailStore(encryption: Encryption): EmailStore {
  const seal = (data: EmailData): string => encryption.encrypt(JSON.stringify(data));
  const unseal = (stored: string | null): EmailData | 'unreadable' | undefined => {
    if (stored === null) return undefined;
    const clear = encryption.decrypt(stored);
    if ('unreadable' in clear) return 'unreadable';
    try {
      return JSON.parse(clear.value) as EmailData;
    } catch {
      // Without a key what is encrypted passes for clear text.
      return 'unreadable';
    }
  };

  return {
    async queue(trx, request) {
      const [row] = await query<{ id: string }>(
        trx,
        `insert into emails (template, recipient, user_id, subject, data, resent_from)
         values (?, ?, ?, ?, ?, ?::uuid) returning emails.id`,
        [
          request.template,
          request.to,
          request.userId ?? null,
          request.subject ?? null,
          seal(request.data ?? {}),
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
    },

    prepare: (db, id) =>
      inTransaction(db, async (trx) => {
        const [email] = await query<Stored>(trx, `select ${STORED} from emails e where e.id = ? for update`, [id]);
        if (email === undefined) return { state: 'done', status: 'skipped' };
        if (email.status === 'sent' || email.status === 'skipped') return { state: 'done', status: email.status };
        const template = EMAIL_TEMPLATES.find((t) => t === email.template);
        let data = unseal(email.data);
        // A process with a wrong key must not cost an email that another one can read.
        if (data === 'unreadable') {
          throw new AppError('EMAIL_NOT_CONFIGURED', {
            detail: 'What the email is made of was encrypted with another key: check ENCRYPTION_KEY',
            retryAfterMs: OTHER_KEY_MS,
          });
        }
        if (template === undefined || data === undefined || email.dead) {
          const why = email.dead ? 'its link expired before it could be sent' : 'what it was made of is gone';
          await endEmail(trx, id, 'failed', why);
          return { state: 'done', status: 'failed' };
        }
        const link = await linkFor(trx, email, template, data);
        if ('skip' in link) {
          await skipEmail(trx, id, link.skip);
          return { state: 'done', status: 'skipped' };
        }
        if (link.data !== data) {
          data = link.data;
          await execute(
            trx,
            `update emails set user_id = coalesce(?, user_id), data = ?, token_expires_at = ?, updated_at = now() where id = ?`,
            [link.userId ?? null, seal(data), link.expiresAt?.toISOString() ?? null, id],
          );
        }
        await execute(
          trx,
          `update emails set status = 'queued', attempts = attempts + 1, updated_at = now() where id = ?`,
          [id],
        );
        return {
          state: 'ready',
          template,
          to: email.to,
          subject: email.subject ?? undefined,
          data,
          createdAt: email.createdAt,
        };
      }),

    async requestOf(db, id) {
      const [email] = await query<Stored>(db, `select ${STORED} from emails e where e.id = ?::uuid`, [id]);
      const template = EMAIL_TEMPLATES.find((t) => t === email?.template);
      if (email === undefined || template === undefined) throw new AppError('NOT_FOUND', { detail: 'Email not found' });
      const clear = unseal(email.data);
      const data = clear === 'unreadable' ? undefined : clear;
      const ours =
        TOKEN_OF_TEMPLATE[template] !== undefined && (email.userId !== null || (data !== undefined && !hasLink(data)));
      if (data === undefined && !ours) {
        throw new AppError('CONFLICT', { detail: 'What this email was made of is gone: send a new one' });
      }
      // A link is made anew: an old token is never sent twice.
      const { token: _token, id: _id, ...rest } = ours ? (data ?? {}) : {};
      return {
        template,
        to: email.to,
        ...(email.userId === null ? {} : { userId: email.userId }),
        ...(email.subject === null ? {} : { subject: email.subject }),
        data: ours ? rest : (data ?? {}),
        resentFrom: id,
      };
    },
  };
}

/** A link that the caller of the queue route made himself. */
const hasLink = (data: EmailData): boolean =>
  ['verifyUrl', 'resetUrl', 'magicLinkUrl'].some((key) => data[key] !== undefined);

type Link = { skip: string } | { data: EmailData; userId?: string; expiresAt?: Date };

/** What the email is made of, with what its link needs: the account's id, and a token if none was given. */
async function linkFor(trx: Db, email: Stored, template: EmailTemplate, data: EmailData): Promise<Link> {
  const needs = TOKEN_OF_TEMPLATE[template];
  if (needs === undefined || hasLink(data)) return { data };
  const given = data['token'] !== undefined;
  // Made by an earlier attempt; a newer email's token, or its use, has ended it since.
  if (given && email.tokenExpiresAt !== null) {
    const alive = (await ownerOfToken(trx, data['token'] ?? '', needs)) !== undefined;
    return alive ? { data } : { skip: 'its link was used or replaced meanwhile' };
  }
  // The page that verifies wants the account's id beside the token.
  if (given && (needs !== 'email_verification' || data['id'] !== undefined)) return { data };
  const user = await addressee(trx, email);
  if (given) return user === undefined ? { data } : { data: { ...data, id: user.id }, userId: user.id };
  const settled = needs === 'email_verification' && user?.verified === true;
  // A welcome needs no link where there is nothing to verify.
  if (template === 'welcome' && (user === undefined || settled)) return { data };
  if (user === undefined) return { skip: 'no active account has this address' };
  if (settled) return { skip: 'the address is verified already' };
  const { token, expiresAt } = await issueToken(trx, user.id, needs);
  return { data: { name: user.name, ...data, id: user.id, token }, userId: user.id, expiresAt };
}

/** The account a link is for: the one that has the email's address now. Its row stays as it is until the token is stored. */
async function addressee(trx: Db, email: Stored): Promise<Addressee | undefined> {
  const [user] = await query<Addressee>(
    trx,
    `select u.id, u.email, coalesce(u."firstName", '') as name, u."emailVerified" is not null as verified
     from users u where lower(u.email) = ? and coalesce(u."isActive", true) and (?::text is null or u.id = ?)
     order by (u.email = ?) desc, u."createdAt", u.id limit 1 for update`,
    [normalizeEmail(email.to), email.userId, email.userId, email.to.trim()],
  );
  return user;
}

/** The email is not to be sent, for this reason. */
export const skipEmail = (db: Db, id: string, why: string): Promise<void> => endEmail(db, id, 'skipped', why);

/** The email needs no sending any more. What it was made of goes. */
async function endEmail(trx: Db, id: string, status: EmailStatus, why: string): Promise<void> {
  await execute(trx, `update emails set status = ?, last_error = ?, data = null, updated_at = now() where id = ?`, [
    status,
    why,
    id,
  ]);
}

/** The provider took it; what it was made of goes. */
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

/** Notes why an attempt failed; the email stays queued. */
export async function noteEmailFailure(db: Db, id: string, why: string): Promise<void> {
  await execute(db, `update emails set last_error = ?, updated_at = now() where id = ? and status = 'queued'`, [
    why,
    id,
  ]);
}

/** Nobody tries any more. What it was made of stays while its link lives, so that its workflow can be replayed. */
export async function markEmailFailed(db: Db, id: string, why: string | undefined): Promise<void> {
  await execute(
    db,
    `update emails set status = 'failed', last_error = coalesce(?, last_error, 'failed'), updated_at = now() where id = ? and status = 'queued'`,
    [why ?? null, id],
  );
}

/** Emails whose workflow can only be gone (it gives up after 23 hours) count as failed. @returns how many. */
export async function failLostEmails(db: Db, batch: number): Promise<number> {
  const failed = await query<{ id: string }>(
    db,
    `update emails set status = 'failed', last_error = coalesce(last_error, 'it was never finished'), updated_at = now() where id in (
       select e.id from emails e where e.status = 'queued' and e.updated_at < now() - interval '25 hours' limit ? for update skip locked) returning id`,
    [batch],
  );
  return failed.length;
}

/** Clears what dead emails are made of: their link expired, or nobody tries any more since a day. @returns how many. */
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

/** Deletes emails older than `days` that nobody tries any more. @returns how many. */
export async function purgeEmails(db: Db, days: number, batch: number): Promise<number> {
  const deleted = await query<{ id: string }>(
    db,
    `delete from emails where id in (
       select e.id from emails e where e.created_at < now() - make_interval(days => ?) and e.status <> 'queued' order by e.created_at limit ?) returning id`,
    [days, batch],
  );
  return deleted.length;
}

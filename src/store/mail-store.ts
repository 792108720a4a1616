/**
 * Mail that was asked for: what it is made of (encrypted), and what became of it. A token for a link is issued when the
 * mail is made, not when it is asked for: so asking costs the same whether an account exists or not, nothing secret waits
 * in a queue, and a link lives as long as the mail says.
 */
import { normalizeEmail } from '../domain/account.ts';
import { AppError } from '../domain/errors.ts';
import {
  MAIL_TEMPLATES,
  type MailData,
  type MailStatus,
  type MailTemplate,
  TOKEN_OF_TEMPLATE,
} from '../domain/mail.ts';
import { type Db, inTransaction, rows } from './db.ts';
import type { Encryption } from './encryption.ts';
import { enqueue } from './outbox-store.ts';
import { issueToken } from './token-store.ts';

export const MAIL_OUTBOX_KIND = 'mail.send';
/** How long a mail that cannot be read here is left alone, milliseconds. */
const OTHER_KEY_MS = 60_000;

export interface MailRequest {
  template: MailTemplate;
  to: string;
  /** Absent: whoever has the address `to`, if anybody, when the mail is made. */
  userId?: string;
  /** Absent: the template's own. */
  subject?: string;
  data?: MailData;
  /** The mail that is sent anew. */
  resentFrom?: string;
}

/** A mail that is to be sent now, or why it is not. */
export type PreparedMail =
  | {
      state: 'ready';
      template: MailTemplate;
      to: string;
      subject: string | undefined;
      data: MailData;
      /** When it was asked for: equal content at each attempt. */
      createdAt: Date;
    }
  | { state: 'done'; status: Exclude<MailStatus, 'queued'> };

export interface MailRow {
  id: string;
  template: string;
  to: string;
  userId: string | null;
  subject: string | null;
  status: MailStatus;
  attempts: number;
  error: string | null;
  transport: string | null;
  resentFrom: string | null;
  createdAt: Date;
  sentAt: Date | null;
}

const ROW = `e.id, e.template, e.recipient as "to", e.user_id as "userId", e.subject, e.status, e.attempts, e.last_error as error,
  e.transport, e.resent_from as "resentFrom", e.created_at as "createdAt", e.sent_at as "sentAt"`;

export interface MailStore {
  /** Writes the mail and its outbox row into the caller's transaction. @returns the mail's id. */
  queue(trx: Db, request: MailRequest): Promise<string>;
  /**
   * Makes the mail: finds its account, issues the token its link needs. The same again gives the same.
   * @throws {AppError} MAIL_NOT_CONFIGURED when its content was encrypted with an unknown key; nothing has changed then.
   */
  prepare(db: Db, id: string): Promise<PreparedMail>;
  /** What a resend is made of. @throws {AppError} NOT_FOUND, CONFLICT when nothing is left of it. */
  requestOf(db: Db, id: string): Promise<MailRequest>;
}

interface Stored {
  template: string;
  to: string;
  userId: string | null;
  subject: string | null;
  data: string | null;
  status: MailStatus;
  dead: boolean;
  createdAt: Date;
}

interface Addressee {
  id: string;
  email: string;
  name: string;
  verified: boolean;
}

/** Makes the store; contents are encrypted with the process's key. */
export function createMailStore(encryption: Encryption): MailStore {
  const seal = (data: MailData): string => encryption.encrypt(JSON.stringify(data));
  const unseal = (stored: string | null): MailData | 'unreadable' | undefined => {
    if (stored === null) return undefined;
    const clear = encryption.decrypt(stored);
    if ('unreadable' in clear) return 'unreadable';
    try {
      return JSON.parse(clear.value) as MailData;
    } catch {
      // Without a key what is encrypted passes for clear text.
      return 'unreadable';
    }
  };

  return {
    async queue(trx, request) {
      const [row] = await rows<{ id: string }>(
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
        kind: MAIL_OUTBOX_KIND,
        dedupeKey: `${MAIL_OUTBOX_KIND}:${row.id}`,
        payload: { mailId: row.id },
      });
      return row.id;
    },

    prepare: (db, id) =>
      inTransaction(db, async (trx) => {
        const [mail] = await rows<Stored>(
          trx,
          `select e.template, e.recipient as "to", e.user_id as "userId", e.subject, e.data, e.status,
             coalesce(e.token_expires_at <= now(), false) as dead, e.created_at as "createdAt"
           from emails e where e.id = ? for update`,
          [id],
        );
        if (mail === undefined) return { state: 'done', status: 'skipped' };
        if (mail.status === 'sent' || mail.status === 'skipped') return { state: 'done', status: mail.status };
        const template = MAIL_TEMPLATES.find((t) => t === mail.template);
        let data = unseal(mail.data);
        // A process with a wrong key must not cost a mail that another one can read.
        if (data === 'unreadable') {
          throw new AppError('MAIL_NOT_CONFIGURED', {
            detail: 'What the mail is made of was encrypted with another key: check ENCRYPTION_KEY',
            retryAfterMs: OTHER_KEY_MS,
          });
        }
        if (template === undefined || data === undefined || mail.dead) {
          const why = mail.dead ? 'its link expired before it could be sent' : 'what it was made of is gone';
          await endMail(trx, id, 'failed', why);
          return { state: 'done', status: 'failed' };
        }
        const needs = TOKEN_OF_TEMPLATE[template];
        if (needs !== undefined && data['token'] === undefined && !hasLink(data)) {
          const user = await addressee(trx, mail);
          const why =
            user === undefined
              ? 'no active account has this address'
              : needs === 'email_verification' && user.verified
                ? 'the address is verified already'
                : undefined;
          if (user === undefined || why !== undefined) {
            await endMail(trx, id, 'skipped', why ?? '');
            return { state: 'done', status: 'skipped' };
          }
          const { token, expiresAt } = await issueToken(trx, user.id, needs);
          data = { name: user.name, ...data, id: user.id, token };
          await trx.raw(
            `update emails set user_id = ?, data = ?, token_expires_at = ?, updated_at = now() where id = ?`,
            [user.id, seal(data), expiresAt.toISOString(), id],
          );
        }
        await trx.raw(`update emails set status = 'queued', attempts = attempts + 1, updated_at = now() where id = ?`, [
          id,
        ]);
        return {
          state: 'ready',
          template,
          to: mail.to,
          subject: mail.subject ?? undefined,
          data,
          createdAt: mail.createdAt,
        };
      }),

    async requestOf(db, id) {
      const [mail] = await rows<Stored>(
        db,
        `select e.template, e.recipient as "to", e.user_id as "userId", e.subject, e.data, e.status, false as dead, e.created_at as "createdAt"
         from emails e where e.id::text = ?`,
        [id],
      );
      const template = MAIL_TEMPLATES.find((t) => t === mail?.template);
      if (mail === undefined || template === undefined) throw new AppError('NOT_FOUND', { detail: 'E-mail not found' });
      const clear = unseal(mail.data);
      const data = clear === 'unreadable' ? undefined : clear;
      const ours =
        TOKEN_OF_TEMPLATE[template] !== undefined && (mail.userId !== null || (data !== undefined && !hasLink(data)));
      if (data === undefined && !ours) {
        throw new AppError('CONFLICT', { detail: 'What this e-mail was made of is gone: send a new one' });
      }
      // A link is made anew: an old token is never sent twice.
      const { token: _token, id: _id, ...rest } = ours ? (data ?? {}) : {};
      return {
        template,
        to: mail.to,
        ...(mail.userId === null ? {} : { userId: mail.userId }),
        ...(mail.subject === null ? {} : { subject: mail.subject }),
        data: ours ? rest : (data ?? {}),
        resentFrom: id,
      };
    },
  };
}

/** A link that the caller of the queue route made himself. */
const hasLink = (data: MailData): boolean =>
  ['verifyUrl', 'resetUrl', 'magicLinkUrl'].some((key) => data[key] !== undefined);

/** The account a link is for: the one that has the mail's address now. Its row stays as it is until the token is stored. */
async function addressee(trx: Db, mail: Stored): Promise<Addressee | undefined> {
  const [user] = await rows<Addressee>(
    trx,
    `select u.id, u.email, coalesce(u."firstName", '') as name, u."emailVerified" is not null as verified
     from users u where lower(u.email) = ? and coalesce(u."isActive", true) and (?::text is null or u.id = ?)
     order by (u.email = ?) desc, u."createdAt", u.id limit 1 for update`,
    [normalizeEmail(mail.to), mail.userId, mail.userId, mail.to.trim()],
  );
  return user;
}

/** The mail needs no sending any more. What it was made of goes. */
async function endMail(trx: Db, id: string, status: MailStatus, why: string): Promise<void> {
  await trx.raw(`update emails set status = ?, last_error = ?, data = null, updated_at = now() where id = ?`, [
    status,
    why,
    id,
  ]);
}

/** The provider took it; what it was made of goes. */
export async function markMailSent(
  db: Db,
  id: string,
  sent: { transport: string; providerId: string | null },
): Promise<void> {
  await db.raw(
    `update emails set status = 'sent', last_error = null, data = null, transport = ?, provider_id = ?, sent_at = coalesce(sent_at, now()), updated_at = now()
     where id = ? and status <> 'sent'`,
    [sent.transport, sent.providerId, id],
  );
}

/** Notes why an attempt failed; the mail stays queued. */
export async function noteMailFailure(db: Db, id: string, why: string): Promise<void> {
  await db.raw(`update emails set last_error = ?, updated_at = now() where id = ? and status = 'queued'`, [why, id]);
}

/** Nobody tries any more. What it was made of stays while its link lives, so that its workflow can be replayed. */
export async function markMailFailed(db: Db, id: string, why: string | undefined): Promise<void> {
  await db.raw(
    `update emails set status = 'failed', last_error = coalesce(?, last_error, 'failed'), updated_at = now() where id = ? and status = 'queued'`,
    [why ?? null, id],
  );
}

/** One mail as administrators see it. */
export async function findMail(db: Db, id: string): Promise<MailRow | undefined> {
  const [mail] = await rows<MailRow>(db, `select ${ROW} from emails e where e.id::text = ?`, [id]);
  return mail;
}

/** A page of mails, newest first; `search` looks in the address and the subject. */
export async function listMails(
  db: Db,
  query: { status?: MailStatus; search?: string; limit: number; offset: number },
): Promise<{ mails: MailRow[]; total: number }> {
  const pattern = query.search === undefined ? null : `%${query.search.replace(/[\\%_]/g, '\\$&')}%`;
  const where = `(?::text is null or e.status = ?) and (?::text is null or e.recipient ilike ? or e.subject ilike ?)`;
  const bindings = [query.status ?? null, query.status ?? null, pattern, pattern, pattern];
  const [count] = await rows<{ n: number }>(db, `select count(*)::int as n from emails e where ${where}`, bindings);
  const mails = await rows<MailRow>(
    db,
    `select ${ROW} from emails e where ${where} order by e.created_at desc, e.id desc limit ? offset ?`,
    [...bindings, query.limit, query.offset],
  );
  return { mails, total: count?.n ?? 0 };
}

/** Mails by status. */
export async function countMails(db: Db): Promise<{ status: MailStatus; count: number }[]> {
  return rows(db, `select e.status, count(*)::int as count from emails e group by e.status order by e.status`);
}

/** Mails whose workflow can only be gone (it gives up after 23 hours) count as failed. @returns how many. */
export async function failLostMails(db: Db, batch: number): Promise<number> {
  const failed = await rows<{ id: string }>(
    db,
    `update emails set status = 'failed', last_error = coalesce(last_error, 'it was never finished'), updated_at = now() where id in (
       select e.id from emails e where e.status = 'queued' and e.updated_at < now() - interval '25 hours' limit ? for update skip locked) returning id`,
    [batch],
  );
  return failed.length;
}

/** Clears what dead mails are made of: their link expired, or nobody tries any more since a day. @returns how many. */
export async function clearDeadMails(db: Db, batch: number): Promise<number> {
  const cleared = await rows<{ id: string }>(
    db,
    `update emails set data = null, updated_at = now() where id in (
       select e.id from emails e where e.data is not null and e.status <> 'queued'
         and (e.token_expires_at <= now() or e.updated_at < now() - interval '1 day') limit ? for update skip locked) returning id`,
    [batch],
  );
  return cleared.length;
}

/** Deletes mails older than `days` that nobody tries any more. @returns how many. */
export async function purgeMails(db: Db, days: number, batch: number): Promise<number> {
  const deleted = await rows<{ id: string }>(
    db,
    `delete from emails where id in (
       select e.id from emails e where e.created_at < now() - make_interval(days => ?) and e.status <> 'queued' order by e.created_at limit ?) returning id`,
    [days, batch],
  );
  return deleted.length;
}

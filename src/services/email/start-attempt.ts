/**
 * The start of an attempt to send an email (ADR 8). The token of a link is issued here, at the first attempt, and not
 * when the email is requested. So a request costs the same whether or not an account exists, no secret waits in a queue,
 * and a link lives as long as the email says.
 */
import {
  type EmailContent,
  type EmailData,
  type EmailStatus,
  type EmailTemplate,
  hasLink,
  type OneTimeTokenType,
  TOKEN_OF_TEMPLATE,
} from '../../domain/email.ts';
import { AppError } from '../../domain/errors.ts';
import { issueToken, ownerOfToken } from '../../store/accounts/one-time-token-store.ts';
import { findRegistration } from '../../store/accounts/pending-account-store.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import {
  countAttempt,
  type EmailStore,
  endEmail,
  lockRecipient,
  type StoredEmail,
} from '../../store/email/email-store.ts';
import { accountEvent, recordSecurityEvent } from '../audit/security-events.ts';

/** Milliseconds until the next attempt when this process lacks the key of an email's data; another process may have it. */
const OTHER_KEY_MS = 60_000;

export interface AttemptDeps {
  db: Db;
  emails: EmailStore;
  /** Origin of the api, for the link "This was not me"; undefined if it is not configured. */
  apiUrl?: string | undefined;
}

/** An email to send now, or how it ended. */
export type EmailAttempt =
  | {
      state: 'ready';
      template: EmailTemplate;
      to: string;
      subject: string | undefined;
      data: EmailData;
      /** Time of the request. It is the same at each attempt, and so is content that is made from it. */
      createdAt: Date;
      /** Idempotency key. A refused attempt gives the next one a key of its own, because the refusal may be kept under it. */
      key: string;
      /** What an earlier attempt sent that may have been accepted: it is sent as it was. */
      content: EmailContent | undefined;
      /** Attempts, this one included. */
      attempts: number;
    }
  | { state: 'done'; status: Exclude<EmailStatus, 'queued'> };

/** Attempts that may all have been accepted, where the receiver has no key to know them by. */
const MAX_DOUBTS = 3;

/**
 * Starts an attempt, in one transaction: issues the token that the email's link needs, or ends the email if it must not
 * be sent any more, and counts the attempt. A further attempt returns the same data.
 * @param keyLifetimeMs milliseconds for which the receiver knows a key; 0: it knows none.
 * @throws {AppError} EMAIL_NOT_CONFIGURED if the data was encrypted with another key. Nothing has changed then.
 */
export function startAttempt(deps: AttemptDeps, id: string, keyLifetimeMs: number): Promise<EmailAttempt> {
  return inTransaction(deps.db, async (trx): Promise<EmailAttempt> => {
    const email = await deps.emails.lock(trx, id);
    if (email === undefined) return { state: 'done', status: 'skipped' };
    if (email.status === 'sent' || email.status === 'skipped') return { state: 'done', status: email.status };
    const { template, data } = email;
    // Before any verdict: a process with a wrong key must not fail an email that another process can send.
    if (data === 'unreadable') throw otherKey();
    if (email.tokenExpired) return end(trx, id, 'failed', 'its link expired before it could be sent');
    if (template === undefined) return end(trx, id, 'failed', 'this release does not have its template');
    if (data === 'cleared') return end(trx, id, 'failed', 'its data was cleared');
    if (maySendTwice(email.doubt, keyLifetimeMs)) return end(trx, id, 'failed', IN_DOUBT);
    const link = await linkOf(trx, email, template, data, deps.apiUrl !== undefined);
    if ('skip' in link) return end(trx, id, 'skipped', link.skip);
    if (link.data !== data) await deps.emails.storeLink(trx, id, link);
    await countAttempt(trx, id);
    return {
      state: 'ready',
      template,
      to: email.to,
      subject: email.subject ?? undefined,
      data: link.data,
      createdAt: email.createdAt,
      key: email.refusals === 0 ? id : `${id}:${email.refusals}`,
      content: email.doubt?.content,
      attempts: email.attempts + 1,
    };
  });
}

const IN_DOUBT =
  'an attempt may have been accepted, its answer was lost, and a further one could send the email twice: send it again if it did not arrive';

/** An email in doubt is tried again while the receiver would recognise it, and else only a few times. */
function maySendTwice(doubt: StoredEmail['doubt'], keyLifetimeMs: number): boolean {
  if (doubt === undefined) return false;
  return keyLifetimeMs > 0 ? doubt.ageMs > keyLifetimeMs : doubt.attempts >= MAX_DOUBTS;
}

const otherKey = (): AppError =>
  new AppError('EMAIL_NOT_CONFIGURED', {
    publicMessage: 'The data of the email was encrypted with another key: check ENCRYPTION_KEY',
    retryAfterMs: OTHER_KEY_MS,
  });

async function end(trx: Db, id: string, status: 'failed' | 'skipped', reason: string): Promise<EmailAttempt> {
  await endEmail(trx, id, status, reason);
  return { state: 'done', status };
}

/** The data of an email with its link; `skip` is the reason for which the email is not sent. */
type Link = { skip: string } | { data: EmailData; userId?: string; expiresAt?: Date };

/** Adds to the data what the link needs: the id of the account, and a token if the data has none. */
async function linkOf(
  trx: Db,
  email: StoredEmail,
  template: EmailTemplate,
  data: EmailData,
  withDenial: boolean,
): Promise<Link> {
  const type = TOKEN_OF_TEMPLATE[template];
  if (type === undefined || hasLink(data)) return { data };
  const token = data['token'];
  if (token === undefined) {
    const link = await issueLink(trx, email, type, data, withDenial);
    // A welcome is sent without a link if there is nothing to verify.
    return 'skip' in link && template === 'welcome' ? { data } : link;
  }
  if (email.tokenExpiresAt !== null) {
    // An earlier attempt issued it. A later email of this kind, or the use of the link, has deleted it since.
    const alive = (await ownerOfToken(trx, token, type)) !== undefined;
    return alive ? { data } : { skip: 'its link was used or replaced meanwhile' };
  }
  // The caller of the queue route gave the token. The page that verifies an address also needs the id of the account.
  if (type !== 'email_verification' || data['id'] !== undefined) return { data };
  const user = await lockRecipient(trx, email);
  return user === undefined ? { data } : { data: { ...data, id: user.id }, userId: user.id };
}

/** Issues a token for the account that has the address; `skip` if there is no such account or nothing to verify. */
async function issueLink(
  trx: Db,
  email: StoredEmail,
  type: OneTimeTokenType,
  data: EmailData,
  withDenial: boolean,
): Promise<Link> {
  const user = await lockRecipient(trx, email);
  if (user === undefined) return { skip: 'no active account has this address' };
  if (type === 'email_verification' && user.verified) return { skip: 'the address is verified already' };
  const { token, expiresAt } = await issueToken(trx, user.id, type);
  if (type === 'password_reset') {
    const event = accountEvent('password-reset-requested', user.id, { actor: { type: 'anonymous' } });
    await recordSecurityEvent({ db: trx }, event);
  }
  const registration = email.template === 'email-verification' ? await registrationData(trx, user.id, withDenial) : {};
  return { data: { name: user.name, ...data, id: user.id, token, ...registration }, userId: user.id, expiresAt };
}

/** What a verification email says about an account without any sign-in: when it was opened, and how to deny it. */
async function registrationData(trx: Db, userId: string, withDenial: boolean): Promise<EmailData> {
  const registration = await findRegistration(trx, userId);
  if (registration?.deniable !== true) return {};
  return {
    openedOn: registration.openedAt.toISOString().slice(0, 10),
    ...(registration.lapses ? { lapses: 'yes' } : {}),
    ...(withDenial ? { denialToken: (await issueToken(trx, userId, 'account_denial')).token } : {}),
  };
}

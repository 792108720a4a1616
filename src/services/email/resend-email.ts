/** Sends an email again at the request of an administrator. */
import type { Logger } from 'pino';
import type { AuditOrigin } from '../../domain/audit.ts';
import { type EmailData, hasLink, TOKEN_OF_TEMPLATE } from '../../domain/email.ts';
import { AppError } from '../../domain/errors.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { findRecentResend } from '../../store/email/email-list.ts';
import type { EmailRequest, EmailStore, StoredEmail } from '../../store/email/email-store.ts';
import { recordChange } from '../audit/record-change.ts';

/** A second request within this time is a double click, and sends no second email. */
const DOUBLE_CLICK_SECONDS = 10;

/**
 * Queues a copy of an email; a request within ten seconds of another returns the copy of the other.
 * @param action what the audit records: that an email was sent again, or that a failed run was retried.
 * @returns id of the copy; `repeated`: another request made it.
 * @throws {AppError} NOT_FOUND; CONFLICT if the data of the email was cleared.
 */
export function resendEmail(
  deps: { db: Db; emails: EmailStore; log?: Logger },
  id: string,
  by: AuditOrigin,
  action: 'email-resent' | 'run-retried' = 'email-resent',
): Promise<{ id: string; repeated: boolean }> {
  return inTransaction(deps.db, async (trx) => {
    // Two requests at once: the lock makes the second wait for the first, and then find its copy.
    const original = await deps.emails.lock(trx, id);
    if (original === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'Email not found' });
    const recent = await findRecentResend(trx, id, DOUBLE_CLICK_SECONDS);
    if (recent !== undefined) return { id: recent, repeated: true };
    const request = copyOf(original);
    const copy = await deps.emails.queue(trx, request);
    const retried = action === 'run-retried';
    const details = { ...(retried ? { kind: 'email' } : {}), template: request.template, copy };
    const target = { type: retried ? 'run' : 'email', id } as const;
    await recordChange({ trx, log: deps.log }, by, { action, target, details });
    return { id: copy, repeated: false };
  });
}

/**
 * The request for a copy. A link of ours is made again for the copy: its token is never sent twice, so such an email can
 * be sent again also after its data was cleared. Any other email needs its data.
 * @throws {AppError} NOT_FOUND if this release does not have its template; CONFLICT if its data was cleared.
 */
export function copyOf(email: StoredEmail): EmailRequest {
  const { template } = email;
  if (template === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'Email not found' });
  const data = typeof email.data === 'string' ? undefined : email.data;
  const linkOfOurs =
    TOKEN_OF_TEMPLATE[template] !== undefined && (email.userId !== null || (data !== undefined && !hasLink(data)));
  if (data === undefined && !linkOfOurs) {
    throw new AppError('CONFLICT', { publicMessage: 'The data of this email was cleared: send a new one' });
  }
  return {
    template,
    to: email.to,
    ...(email.userId === null ? {} : { userId: email.userId }),
    ...(email.subject === null ? {} : { subject: email.subject }),
    data: linkOfOurs ? withoutToken(data ?? {}) : (data ?? {}),
    resentFrom: email.id,
  };
}

function withoutToken(data: EmailData): EmailData {
  const { token: _token, id: _id, denialToken: _denialToken, ...rest } = data;
  return rest;
}

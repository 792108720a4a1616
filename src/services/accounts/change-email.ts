/** A signed-in user's change of address. */
import { isEmail, normalizeEmail } from '../../domain/accounts/account.ts';
import { AppError } from '../../domain/errors.ts';
import { deleteTokens, forgetUsed } from '../../store/accounts/one-time-token-store.ts';
import type { SessionIdentity } from '../../store/accounts/session-store.ts';
import { findAuthUser, storeEmail } from '../../store/accounts/user-store.ts';
import { inTransaction } from '../../store/db/db.ts';
import { accountEvent, recordSecurityEvent } from '../audit/security-events.ts';
import type { AccountDeps } from './deps.ts';
import { endEverything } from './end-everything.ts';
import type { RequestOrigin } from './networks.ts';
import { confirmPassword, lockConfirmed, wrongPassword } from './passwords.ts';

/**
 * Changes the address, which has to be verified again; the verified old address is notified. All other sessions and all
 * open links end. A repeat of a change that was made has no effect and no error.
 * @throws {AppError} VALIDATION_ERROR for `newEmail`; FORBIDDEN when the password is wrong; CONFLICT.
 */
export async function changeEmail(
  deps: Pick<AccountDeps, 'db' | 'emails' | 'log'>,
  userId: string,
  change: { newEmail: string; currentPassword: string; keep: SessionIdentity },
  origin: RequestOrigin,
): Promise<void> {
  // The address is checked as it was sent: the lower case of a look-alike can be a plain letter.
  if (!isEmail(change.newEmail)) throw invalidNewEmail('Invalid email address');
  const newEmail = normalizeEmail(change.newEmail);
  const confirmed = await confirmPassword(deps.db, userId, change.currentPassword);
  if (!confirmed.right) throw await wrongPassword(deps, 'email-changed', userId, origin);
  await inTransaction(deps.db, async (trx) => {
    await lockConfirmed(trx, userId, confirmed);
    const user = await findAuthUser(trx, userId);
    if (user === undefined) throw new AppError('UNAUTHORIZED', { publicMessage: 'User not found' });
    if (normalizeEmail(user.email) === newEmail) {
      if (user.emailVerified === null) return;
      throw invalidNewEmail('This is your email address already');
    }
    await storeEmail(trx, userId, newEmail);
    // Another session may be of the person from whom the new address is to be hidden.
    await endEverything(trx, userId, change);
    await recordSecurityEvent({ db: trx, log: deps.log }, accountEvent('email-changed', userId, { origin }));
    // A token in an email to the old address must not verify the new one.
    await deleteTokens(trx, userId, ['email_verification', 'account_denial']);
    await forgetUsed(trx, userId);
    await deps.emails.queue(trx, {
      template: 'email-verification',
      to: newEmail,
      userId,
      subject: 'Verify your new email address',
    });
    // An address that was never verified may be a stranger's, so it gets no notice.
    if (user.emailVerified === null) return;
    // Without the user's id: the account no longer has this address.
    await deps.emails.queue(trx, {
      template: 'email-changed',
      to: user.email,
      data: { name: user.firstName ?? '', newEmail: masked(newEmail) },
    });
  });
}

const invalidNewEmail = (sentence: string): AppError =>
  new AppError('VALIDATION_ERROR', {
    publicMessage: sentence,
    details: [{ path: 'body.newEmail', message: sentence }],
  });

/** `j***@example.com`: its owner recognises it, a reader of the old mailbox learns little. */
const masked = (email: string): string => `${email.slice(0, 1)}***${email.slice(email.lastIndexOf('@'))}`;

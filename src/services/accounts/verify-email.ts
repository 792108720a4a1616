/** Verification of an address: sending the link, and using it. */
import type { AuthUser } from '../../domain/accounts/account.ts';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { lockToken, rememberUsed, wasUsed } from '../../store/accounts/one-time-token-store.ts';
import { lockUser } from '../../store/accounts/user-store.ts';
import { inTransaction } from '../../store/db/db.ts';
import { wasJustQueued } from '../../store/email/email-list.ts';
import { takeTokens } from '../../store/rate-limit-store.ts';
import { recordChange } from '../audit/record-change.ts';
import type { AccountDeps } from './deps.ts';
import { lockManaged, requireManageable } from './managed-user.ts';
import { proveAddress } from './prove-address.ts';

/** Verification emails that an account gets in an hour. */
export const VERIFICATION_LIMIT = { name: 'verification-email', max: 3, windowSeconds: 3600 };
/** The same request again within this time is a repeat of the site, whose answer was lost. */
const REPEAT = { name: 'resend-verification-repeat', capacity: 1, windowSeconds: 5 };

/** Queues a verification email. @returns its id. */
const queueVerification = (deps: Pick<AccountDeps, 'db' | 'emails'>, user: AuthUser): Promise<string> =>
  inTransaction(deps.db, (trx) =>
    deps.emails.queue(trx, { template: 'email-verification', to: user.email, userId: user.id }),
  );

/** Queues a verification email within the account's limit; beyond it nothing happens. */
export async function sendVerificationWithinLimit(
  deps: Pick<AccountDeps, 'db' | 'emails'>,
  user: AuthUser,
): Promise<void> {
  const { name, max, windowSeconds } = VERIFICATION_LIMIT;
  const [bucket] = await takeTokens(deps.db, [{ name, identity: user.id, capacity: max, windowSeconds }]);
  if (bucket?.allowed === true) await queueVerification(deps, user);
}

/**
 * Queues a verification email that its user asked for. A repeat within seconds sends nothing, because a second email
 * would end the link of the first.
 * @throws {AppError} ALREADY_VERIFIED.
 */
export async function resendVerification(deps: Pick<AccountDeps, 'db' | 'emails'>, user: AuthUser): Promise<void> {
  if (user.emailVerified !== null) throw new AppError('ALREADY_VERIFIED', { publicMessage: 'Email already verified' });
  const [first] = await takeTokens(deps.db, [{ ...REPEAT, identity: user.id }]);
  if (first?.allowed === true) await queueVerification(deps, user);
}

/**
 * Queues a verification email at the request of an administrator, within the account's limit. An account without a password
 * gets the link to set one, which verifies the address as well. A repeat within seconds sends nothing.
 * @throws {AppError} NOT_FOUND; FORBIDDEN; CONFLICT when there is nothing to verify; RATE_LIMITED.
 */
export async function resendVerificationTo(
  deps: Pick<AccountDeps, 'db' | 'emails' | 'log'>,
  id: string,
  by: AuditOrigin,
): Promise<void> {
  await inTransaction(deps.db, async (trx) => {
    const managed = await lockManaged(trx, id, by);
    const { user } = managed;
    requireManageable(managed, by);
    if (user.emailVerified !== null) throw new AppError('CONFLICT', { publicMessage: 'Email already verified' });
    if (!user.isActive) throw new AppError('CONFLICT', { publicMessage: 'This account is disabled: enable it first' });
    const template = user.hasPassword ? 'email-verification' : 'set-password';
    // The user's lock makes a request at the same moment wait, and then find the email.
    if (await wasJustQueued(trx, id, template, REPEAT.windowSeconds)) return;
    const { name, max: capacity, windowSeconds } = VERIFICATION_LIMIT;
    const [bucket] = await takeTokens(trx, [{ name, identity: id, capacity, windowSeconds }]);
    if (bucket?.allowed !== true) {
      const retryAfterMs = Math.ceil(bucket?.waitSeconds ?? windowSeconds) * 1000;
      const publicMessage = `An account gets at most ${capacity} verification emails in an hour`;
      throw new AppError('RATE_LIMITED', { retryAfterMs, publicMessage });
    }
    await deps.emails.queue(trx, { template, to: user.email, userId: id });
    const change = { action: 'verification-resent', target: { type: 'user', id }, details: { template } } as const;
    await recordChange({ trx, log: deps.log }, by, change);
  });
}

/**
 * Verifies an address by the token of an email, which is used up. For a day it is no error to send the token again: the
 * site's page sends it on every load, and once more when an answer was lost. Where the proof removes the password, an
 * email offers to set a new one.
 * @throws {AppError} INVALID_LINK_TOKEN, TOKEN_EXPIRED; ALREADY_VERIFIED where another link has verified the address.
 */
export async function verifyEmail(
  deps: Pick<AccountDeps, 'db' | 'emails'>,
  { userId, token }: { userId: string; token: string },
): Promise<void> {
  await inTransaction(deps.db, async (trx) => {
    const user = await lockUser(trx, userId);
    const found = await lockToken(trx, token, 'email_verification');
    const good = found !== undefined && found.userId === userId && user !== undefined;
    if (!good || found.expired) {
      if (user === undefined || user.emailVerified === null) {
        throw new AppError(good ? 'TOKEN_EXPIRED' : 'INVALID_LINK_TOKEN');
      }
      if (await wasUsed(trx, userId, token)) return;
      throw new AppError('ALREADY_VERIFIED');
    }
    const passwordRemoved = await proveAddress(trx, user, 'verification-link');
    await rememberUsed(trx, userId, token);
    if (!passwordRemoved) return;
    const data = { passwordRemoved: 'yes' };
    await deps.emails.queue(trx, { template: 'password-reset', to: user.email, userId, data });
  });
}

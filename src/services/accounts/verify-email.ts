/** Verification of an address: sending the link, and using it. */
import type { AuthUser } from '../../domain/accounts/account.ts';
import { AppError } from '../../domain/errors.ts';
import { deleteTokens, lockToken } from '../../store/accounts/one-time-token-store.ts';
import { findAuthUser, lockPasswordHash, markEmailVerified } from '../../store/accounts/user-store.ts';
import { inTransaction } from '../../store/db/db.ts';
import { takeTokens } from '../../store/rate-limit-store.ts';
import type { AccountDeps } from './deps.ts';

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
 * Verifies an address by the token of an email, which is used up.
 * @throws {AppError} INVALID_LINK_TOKEN, TOKEN_EXPIRED; ALREADY_VERIFIED for a repeat, since the site's page sends the
 * token again on every load.
 */
export async function verifyEmail(
  deps: Pick<AccountDeps, 'db'>,
  { userId, token }: { userId: string; token: string },
): Promise<void> {
  await inTransaction(deps.db, async (trx) => {
    // The lock of a write at once: the row is written below.
    await lockPasswordHash(trx, userId);
    const user = await findAuthUser(trx, userId);
    const found = await lockToken(trx, token, 'email_verification');
    const good = found !== undefined && found.userId === userId && user !== undefined;
    if (!good || found.expired) {
      if (user !== undefined && user.emailVerified !== null) throw new AppError('ALREADY_VERIFIED');
      throw new AppError(good ? 'TOKEN_EXPIRED' : 'INVALID_LINK_TOKEN');
    }
    await markEmailVerified(trx, userId);
    await deleteTokens(trx, userId, ['email_verification']);
  });
}

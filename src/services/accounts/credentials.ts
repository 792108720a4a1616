/** Signing in with an email address and a password. */
import type { AuthUser } from '../../domain/accounts/account.ts';
import { PASSWORD_MAX_BYTES } from '../../domain/accounts/password-policy.ts';
import { AppError } from '../../domain/errors.ts';
import {
  findAuthUser,
  findByEmail,
  lockPasswordHash,
  recordSignIn,
  replacePasswordHash,
} from '../../store/accounts/user-store.ts';
import { inTransaction, type Transaction } from '../../store/db/db.ts';
import { logSecurityEvent, recordRefusal, signInEvent, signInRefused } from '../audit/security-events.ts';
import type { AccountDeps } from './deps.ts';
import { readEmail } from './email-address.ts';
import { type RequestOrigin, recordSignInFrom } from './networks.ts';
import { noticeSignIn } from './notices.ts';
import { hashPassword, isWeakHash, verifyPassword } from './password-hash.ts';
import { issuePair, openSession, type TokenPair } from './sessions.ts';
import { sendVerificationWithinLimit } from './verify-email.ts';

export interface Credentials {
  email: string;
  password: string;
}

/** What {@link signIn} and {@link validateCredentials} may refuse with. */
export const CREDENTIAL_ERRORS = [
  'MISSING_FIELDS',
  'INVALID_EMAIL',
  'INVALID_CREDENTIALS',
  'EMAIL_NOT_VERIFIED',
  'ACCOUNT_DISABLED',
] as const;

/**
 * Signs in: checks the credentials and opens a session.
 * @throws {AppError} {@link CREDENTIAL_ERRORS}, TOKEN_GENERATION_FAILED, SESSION_CREATION_FAILED.
 */
export async function signIn(
  deps: AccountDeps,
  credentials: Credentials,
  origin: RequestOrigin,
): Promise<{ user: AuthUser; pair: TokenPair }> {
  const checked = await checkCredentials(deps, credentials, origin);
  const event = signInEvent(checked.user.id, 'password', origin);
  const pair = await issuePair(deps, checked.user);
  try {
    await inTransaction(deps.db, async (trx) => {
      await confirm(trx, checked);
      await noticeSignIn(trx, deps, checked.user, await recordSignInFrom(trx, checked.user.id, event, origin), origin);
      await openSession(trx, checked.user, pair);
    });
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('SESSION_CREATION_FAILED', { cause: error });
  }
  logSecurityEvent(deps.log, event);
  return { user: checked.user, pair };
}

/** Checks credentials as {@link signIn} does, without a session. @throws {AppError} {@link CREDENTIAL_ERRORS}. */
export async function validateCredentials(
  deps: AccountDeps,
  credentials: Credentials,
  origin: RequestOrigin,
): Promise<AuthUser> {
  const checked = await checkCredentials(deps, credentials, origin);
  const event = signInEvent(checked.user.id, 'validate', origin);
  await inTransaction(deps.db, async (trx) => {
    await confirm(trx, checked);
    // The caller may be a server that asks for its visitors: its network says nothing of theirs.
    await recordSignIn(trx, checked.user.id, event);
  });
  logSecurityEvent(deps.log, event);
  return checked.user;
}

interface CheckedCredentials {
  user: AuthUser;
  password: string;
  /** The hash that the password was compared with. */
  stored: string | null;
  /** A stronger hash to store in its place. */
  stronger: string | undefined;
}

async function checkCredentials(
  deps: AccountDeps,
  { email, password }: Credentials,
  origin: RequestOrigin,
): Promise<CheckedCredentials> {
  if (email.trim() === '' || password === '') throw new AppError('MISSING_FIELDS');
  readEmail(email, 'MISSING_FIELDS');
  const user = await findByEmail(deps.db, email);
  const right = await verifyPassword(password, user?.password, origin.network);
  if (user === undefined || !right) {
    await recordRefusal(deps, signInRefused(user?.id, 'wrong-credentials', origin));
    throw new AppError('INVALID_CREDENTIALS');
  }
  if (!user.isActive) {
    await recordRefusal(deps, signInRefused(user.id, 'disabled', origin));
    throw new AppError('ACCOUNT_DISABLED');
  }
  if (user.emailVerified === null) {
    await recordRefusal(deps, signInRefused(user.id, 'not-verified', origin));
    await sendVerificationWithinLimit(deps, user);
    throw new AppError('EMAIL_NOT_VERIFIED');
  }
  const stored = user.password;
  // bcrypt reads 72 bytes: an older, longer password still signs in, but a new hash would not cover all of it.
  const weak = stored !== null && isWeakHash(stored) && Buffer.byteLength(password) <= PASSWORD_MAX_BYTES;
  return { user, password, stored, stronger: weak ? await hashPassword(password, origin.network) : undefined };
}

/**
 * First in the transaction that acts on checked credentials: refuses when the account was changed since the check,
 * and stores a stronger hash where the present one is weak.
 */
async function confirm(trx: Transaction, checked: CheckedCredentials): Promise<void> {
  const { user, password, stored, stronger } = checked;
  // The lock of a write at once: two sign-ins that first share the row and then write it would wait for each other.
  const present = await lockPasswordHash(trx, user.id);
  // Another hash may be one of the same password: another sign-in has just stored the stronger one.
  if (present !== stored && !(await verifyPassword(password, present))) throw new AppError('INVALID_CREDENTIALS');
  const now = await findAuthUser(trx, user.id);
  if (now?.isActive !== true) throw new AppError('ACCOUNT_DISABLED');
  // The address was changed while the password was being checked.
  if (now.email !== user.email || now.emailVerified === null) throw new AppError('INVALID_CREDENTIALS');
  if (stronger !== undefined && stored !== null) await replacePasswordHash(trx, user.id, stronger, stored);
}

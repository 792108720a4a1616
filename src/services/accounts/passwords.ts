/** Passwords: setting, changing and replacing one. {@link setPassword} holds what a new password ends. */
import { passwordProblem } from '../../domain/accounts/password-policy.ts';
import { AppError } from '../../domain/errors.ts';
import type { SessionIdentity } from '../../store/accounts/session-store.ts';
import {
  lockManagedUsers,
  lockPasswordHash,
  type ManagedUser,
  markEmailVerified,
  storePasswordHash,
} from '../../store/accounts/user-store.ts';
import { type Db, inTransaction, type Transaction } from '../../store/db/db.ts';
import { OPERATOR, recordChange } from '../audit/record-change.ts';
import { accountEvent, recordRefusal } from '../audit/security-events.ts';
import type { AccountDeps } from './deps.ts';
import { endEverything } from './end-everything.ts';
import type { RequestOrigin } from './networks.ts';
import { recordNewPassword } from './notices.ts';
import { hashPassword, verifyPassword } from './password-hash.ts';

/**
 * Sets or removes (null) a user's password. The only place that does: everything that signs in without the new password
 * ends with it. The caller holds the user's lock.
 * @param options `keep`: the caller's own session, which goes on.
 */
export async function setPassword(
  trx: Transaction,
  userId: string,
  hash: string | null,
  options: { keep?: SessionIdentity } = {},
): Promise<void> {
  await storePasswordHash(trx, userId, hash);
  await endEverything(trx, userId, options);
}

/** @throws {AppError} the first rule of the password policy that is broken. */
export function requireGoodPassword(password: string): void {
  const problem = passwordProblem(password);
  if (problem !== undefined) throw new AppError(problem.code);
}

/** The account was changed while its password was being checked, so the check says nothing about it any more. */
const changedMeanwhile = (): AppError =>
  new AppError('CONFLICT', { publicMessage: 'The account was changed at the same time: try again' });

export interface ConfirmedPassword {
  right: boolean;
  /** The hash that the password was compared with. */
  hash: string | null;
}

/** Compares a password with the stored one of a user. */
export async function confirmPassword(db: Db, userId: string, password: string): Promise<ConfirmedPassword> {
  const hash = await lockPasswordHash(db, userId);
  return { right: await verifyPassword(password, hash), hash };
}

/**
 * Locks the user for a change that a confirmed password allows.
 * @throws {AppError} CONFLICT when the password was changed since it was confirmed.
 */
export async function lockConfirmed(trx: Transaction, userId: string, confirmed: ConfirmedPassword): Promise<void> {
  if ((await lockPasswordHash(trx, userId)) !== confirmed.hash) throw changedMeanwhile();
}

/** The refusal of a change whose password is wrong. It is recorded, because a stolen session may be guessing. */
export async function wrongPassword(
  deps: Pick<AccountDeps, 'db' | 'log'>,
  action: 'password-changed' | 'email-changed',
  userId: string,
  origin: RequestOrigin,
): Promise<AppError> {
  await recordRefusal(
    deps,
    accountEvent(action, userId, { outcome: 'refused', actor: { type: 'user', id: userId }, origin }),
  );
  return new AppError('FORBIDDEN', { publicMessage: 'Current password is incorrect' });
}

/**
 * Changes the password of a signed-in user and ends all other sessions. A repeat of a change that was made has no
 * effect and no error: the site sends a change again when its answer was lost.
 * @throws {AppError} FORBIDDEN when the current password is wrong; CONFLICT.
 */
export async function changePassword(
  deps: Pick<AccountDeps, 'db' | 'emails' | 'log'>,
  userId: string,
  change: { currentPassword: string; newPassword: string; keep: SessionIdentity },
  origin: RequestOrigin,
): Promise<void> {
  const confirmed = await confirmPassword(deps.db, userId, change.currentPassword);
  if (!confirmed.right) {
    if (await verifyPassword(change.newPassword, confirmed.hash)) return;
    throw await wrongPassword(deps, 'password-changed', userId, origin);
  }
  const hash = await hashPassword(change.newPassword);
  await inTransaction(deps.db, async (trx) => {
    await lockConfirmed(trx, userId, confirmed);
    await setPassword(trx, userId, hash, { keep: change.keep });
    await recordNewPassword(trx, deps, userId, { action: 'password-changed', origin });
  });
}

/**
 * Replaces the password of another user, as an operator.
 * @param password clear text that the password policy allows.
 * @param options `verify`: the address counts as verified from now on.
 * @throws {AppError} NOT_FOUND
 */
export async function replacePassword(
  deps: Pick<AccountDeps, 'db' | 'emails'>,
  id: string,
  password: string,
  options: { verify?: boolean } = {},
): Promise<ManagedUser> {
  // Hashed before the transaction, because it takes long and the row would be locked meanwhile.
  const hash = await hashPassword(password);
  return inTransaction(deps.db, async (trx) => {
    const [user] = await lockManagedUsers(trx, [id], { systemAdministrators: false });
    if (user === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'User not found' });
    await setPassword(trx, id, hash);
    const verifies = options.verify === true && user.emailVerified === null;
    const emailVerified = verifies ? await markEmailVerified(trx, id) : user.emailVerified;
    if (verifies) {
      const details = { proof: 'operator', passwordRemoved: false };
      await recordChange({ trx }, OPERATOR, { action: 'email-verified', target: { type: 'user', id }, details });
    }
    await recordNewPassword(trx, deps, id, { action: 'password-changed', actor: { type: 'cli' } });
    return { ...user, emailVerified: emailVerified ?? null };
  });
}

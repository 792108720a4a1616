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
import type { AccountDeps } from './deps.ts';
import { endEverything } from './end-everything.ts';
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

/**
 * Changes the password of a signed-in user and ends all other sessions. A repeat of a change that was made has no
 * effect and no error: the site sends a change again when its answer was lost.
 * @throws {AppError} FORBIDDEN when the current password is wrong; CONFLICT.
 */
export async function changePassword(
  deps: Pick<AccountDeps, 'db'>,
  userId: string,
  change: { currentPassword: string; newPassword: string; keep: SessionIdentity },
): Promise<void> {
  const confirmed = await confirmPassword(deps.db, userId, change.currentPassword);
  if (!confirmed.right) {
    if (await verifyPassword(change.newPassword, confirmed.hash)) return;
    throw new AppError('FORBIDDEN', { publicMessage: 'Current password is incorrect' });
  }
  const hash = await hashPassword(change.newPassword);
  await inTransaction(deps.db, async (trx) => {
    await lockConfirmed(trx, userId, confirmed);
    await setPassword(trx, userId, hash, { keep: change.keep });
  });
}

/**
 * Replaces the password of another user, as an operator.
 * @param password clear text that the password policy allows.
 * @param options `verify`: the address counts as verified from now on.
 * @throws {AppError} NOT_FOUND
 */
export async function replacePassword(
  db: Db,
  id: string,
  password: string,
  options: { verify?: boolean } = {},
): Promise<ManagedUser> {
  // Hashed before the transaction, because it takes long and the row would be locked meanwhile.
  const hash = await hashPassword(password);
  return inTransaction(db, async (trx) => {
    const [user] = await lockManagedUsers(trx, id, { systemAdministrators: false });
    if (user === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'User not found' });
    await setPassword(trx, id, hash);
    if (options.verify !== true) return user;
    return { ...user, emailVerified: (await markEmailVerified(trx, id)) ?? null };
  });
}

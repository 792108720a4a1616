/** The record of limits that lock callers out of an account. */
import type { Logger } from 'pino';
import { findByEmail } from '../../store/accounts/user-store.ts';
import type { Db } from '../../store/db/db.ts';
import { takeTokens } from '../../store/rate-limit-store.ts';
import { accountEvent, recordRefusal } from '../audit/security-events.ts';
import type { RequestOrigin } from './networks.ts';

/** The account whose password was being guessed: as the caller named it, or the signed-in user. */
export type LockedAccount = { email: string } | { userId: string };

/**
 * Records that a limit refused to check a password, once per account, limit and window, so that further refusals cost
 * little. An address without an account costs the same. A failure is logged: the caller is refused all the same.
 */
export async function recordLockout(
  deps: { db: Db; log: Logger },
  limit: { name: string; windowSeconds: number },
  account: LockedAccount,
  origin: RequestOrigin,
): Promise<void> {
  try {
    const identity = `${limit.name} ${'email' in account ? account.email : account.userId}`;
    const once = { name: 'audit-lockout', identity, capacity: 1, windowSeconds: limit.windowSeconds };
    const [first] = await takeTokens(deps.db, [once]);
    if (first?.allowed !== true) return;
    const userId = 'email' in account ? (await findByEmail(deps.db, account.email))?.id : account.userId;
    const event = accountEvent('lockout', userId, { outcome: 'refused', origin, details: { limit: limit.name } });
    await recordRefusal(deps, event);
  } catch (error) {
    deps.log.error({ err: error, limit: limit.name }, 'a lockout could not be recorded');
  }
}

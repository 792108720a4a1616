/** The end of everything that signs in to an account. */
import { deleteTokens } from '../../store/accounts/one-time-token-store.ts';
import { endSessions, type SessionIdentity } from '../../store/accounts/session-store.ts';
import type { Transaction } from '../../store/db/db.ts';

/**
 * Ends the sessions and access tokens of a user, and the open links that sign in or set a password. Open streams end at
 * their next ping. The caller holds the user's lock.
 * @param options `keep`: the caller's own session, which goes on with its tokens.
 * @returns number of sessions that ended.
 */
export async function endEverything(
  trx: Transaction,
  userId: string,
  options: { keep?: SessionIdentity } = {},
): Promise<number> {
  const ended = await endSessions(trx, userId, options.keep);
  await deleteTokens(trx, userId, ['password_reset', 'set_password', 'magic_link']);
  return ended;
}

/** "This was not me": the reader of a verification email did not register the account. */
import { ONE_TIME_TOKEN_TYPES } from '../../domain/email.ts';
import { deleteTokens, lockToken } from '../../store/accounts/one-time-token-store.ts';
import { removeUnusedAccounts } from '../../store/accounts/pending-account-store.ts';
import { lockUser } from '../../store/accounts/user-store.ts';
import { inTransaction } from '../../store/db/db.ts';
import { recordSecurityEvent } from '../audit/security-events.ts';
import type { AccountDeps } from './deps.ts';
import { forgetNetworks } from './networks.ts';
import { setPassword } from './passwords.ts';

/** `removed`: the account is gone. `secured`: it stays, without a password. `invalid`: the link works no more. */
export type Denial = 'removed' | 'secured' | 'invalid';

/**
 * Removes an account whose address was never proven. An account that is needed, because it is a panel customer's or other
 * rows refer to it, stays and loses its password, its links and its sessions. The link does not prove the address: it
 * gives nothing to its reader.
 */
export function denyAccount(
  deps: Pick<AccountDeps, 'db' | 'log'>,
  { userId, token }: { userId: string; token: string },
): Promise<Denial> {
  return inTransaction(deps.db, async (trx) => {
    const user = await lockUser(trx, userId);
    const found = await lockToken(trx, token, 'account_denial');
    if (user === undefined || found === undefined || found.userId !== userId || found.expired) return 'invalid';
    if (user.emailVerified !== null) return 'invalid';
    const [removed] = await removeUnusedAccounts(trx, [userId]);
    if (removed === undefined) {
      await setPassword(trx, userId, null);
      await forgetNetworks(trx, userId);
      await deleteTokens(trx, userId, ONE_TIME_TOKEN_TYPES);
    }
    const denial = removed === undefined ? 'secured' : 'removed';
    await recordSecurityEvent(
      { db: trx, log: deps.log },
      {
        action: 'account-denied',
        outcome: 'success',
        actor: { type: 'anonymous' },
        target: { type: 'user', id: userId },
        details: { denial },
      },
    );
    return denial;
  });
}

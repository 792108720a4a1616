/** A new password by the link of an email. */
import { AppError } from '../../domain/errors.ts';
import { lockToken } from '../../store/accounts/one-time-token-store.ts';
import { lockUser } from '../../store/accounts/user-store.ts';
import { inTransaction, type Transaction } from '../../store/db/db.ts';
import type { AccountDeps } from './deps.ts';
import { type RequestOrigin, rememberNetwork } from './networks.ts';
import { recordNewPassword } from './notices.ts';
import { hashPassword } from './password-hash.ts';
import { requireGoodPassword, setPassword } from './passwords.ts';
import { proveAddress } from './prove-address.ts';

/**
 * Sets a new password by the token of a reset link, or of a link for a first password, which is used up. The link was read in the mailbox, so it also proves
 * the address. The site does not send this request again by itself, so a used token is refused like an unknown one.
 * @param reset `userId` may be empty; if given, it must be the owner of the token.
 * @throws {AppError} INVALID_LINK_TOKEN, TOKEN_EXPIRED, or a code of the password policy.
 */
export async function resetPassword(
  deps: Pick<AccountDeps, 'db' | 'emails' | 'log'>,
  reset: { token: string; userId: string; password: string },
  origin: RequestOrigin,
): Promise<void> {
  requireGoodPassword(reset.password);
  const ownerOf = async (trx: Transaction): Promise<string> => {
    const found = await lockToken(trx, reset.token, 'password_reset', 'set_password');
    if (found === undefined || (reset.userId !== '' && reset.userId !== found.userId)) {
      throw new AppError('INVALID_LINK_TOKEN');
    }
    if (found.expired) throw new AppError('TOKEN_EXPIRED');
    return found.userId;
  };
  // The first check saves the costly hash; the second one, under the user's lock, decides.
  const owner = await inTransaction(deps.db, ownerOf);
  const hash = await hashPassword(reset.password, origin.network);
  await inTransaction(deps.db, async (trx) => {
    const user = await lockUser(trx, owner);
    await setPassword(trx, await ownerOf(trx), hash);
    if (user !== undefined) await proveAddress(trx, user, 'reset-link');
    // So that the owner can sign in from here at once, also while strangers use up the account's limit.
    await rememberNetwork(trx, owner, origin);
    await recordNewPassword(trx, deps, owner, { action: 'password-reset', origin });
  });
}

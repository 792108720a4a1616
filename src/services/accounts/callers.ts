/** Who an access token stands for: what the token says, and what the database says of its session and its user. */
import type { AuthUser } from '../../domain/accounts/account.ts';
import { findTokenUser, findTokenUsers, type TokenUser } from '../../store/accounts/user-store.ts';
import type { Db } from '../../store/db/db.ts';
import type { TokenProblem, VerifiedToken } from './access-tokens.ts';
import type { AccountDeps } from './deps.ts';

/** Why a token is refused. `ended`: its session has ended. */
export type CallerProblem = TokenProblem | 'unknownUser' | 'disabled' | 'ended';

export interface SignedInCaller {
  user: AuthUser;
  token: VerifiedToken;
}

/** The caller that an access token stands for now. One statement. */
export async function findCaller(
  deps: Pick<AccountDeps, 'db' | 'tokens'>,
  accessToken: string,
): Promise<SignedInCaller | { problem: CallerProblem }> {
  const token = await deps.tokens.verify(accessToken);
  if ('problem' in token) return token;
  const user = standing(await findTokenUser(deps.db, token));
  return 'problem' in user ? user : { user, token };
}

/** The users of tokens that were verified before, as they are now; undefined for a token that is good no more. */
export async function findCallersAgain(db: Db, tokens: readonly VerifiedToken[]): Promise<(AuthUser | undefined)[]> {
  const nowSeconds = Date.now() / 1000;
  const found = await findTokenUsers(db, tokens);
  return found.map((one, index) => {
    const user = standing(one);
    const expired = (tokens[index]?.expiresAt ?? 0) <= nowSeconds;
    return expired || 'problem' in user ? undefined : user;
  });
}

function standing(found: TokenUser | undefined): AuthUser | { problem: CallerProblem } {
  if (found === undefined) return { problem: 'unknownUser' };
  const { tokenLives, ...user } = found;
  if (!user.isActive) return { problem: 'disabled' };
  return tokenLives ? user : { problem: 'ended' };
}

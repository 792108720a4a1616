/** Sessions: pairs of tokens are issued, exchanged and ended here. */
import { randomUUID } from 'node:crypto';
import type { AuthUser } from '../../domain/accounts/account.ts';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import {
  endFamily,
  endSessions,
  type FoundSession,
  insertSession,
  lockSession,
  ownerOfSession,
  rotateSession,
} from '../../store/accounts/session-store.ts';
import { lockUser, lockUsers } from '../../store/accounts/user-store.ts';
import { inTransaction, type Transaction } from '../../store/db/db.ts';
import { recordChange } from '../audit/record-change.ts';
import { accountEvent, recordSecurityEvent } from '../audit/security-events.ts';
import { newRefreshToken } from './access-tokens.ts';
import { findCaller } from './callers.ts';
import type { AccountDeps } from './deps.ts';
import { endEverything } from './end-everything.ts';
import { lockManaged, requireManageable } from './managed-user.ts';
import type { RequestOrigin } from './networks.ts';

/** Uses in a row, within the grace period, after which a used token is taken for a copy: more than any browser makes. */
const MAX_SUCCESSORS = 10;
/** Life of a refresh token: 90 days. */
export const REFRESH_TTL_SECONDS = 90 * 86_400;

export interface TokenPair {
  accessToken: string;
  /** 64 hex digits. */
  refreshToken: string;
  /** Family of the session, which the access token names. */
  sessionId: string;
  /** Unix seconds. */
  issuedAt: number;
  /** Seconds that the session lives. */
  lifetimeSeconds: number;
}

/** Makes a pair of tokens for a new session, which the caller stores. @throws {AppError} TOKEN_GENERATION_FAILED. */
export const issuePair = (deps: Pick<AccountDeps, 'tokens'>, user: AuthUser): Promise<TokenPair> =>
  makePair(deps, user, { id: randomUUID(), refreshToken: newRefreshToken() });

async function makePair(
  { tokens }: Pick<AccountDeps, 'tokens'>,
  user: AuthUser,
  session: { id: string; refreshToken: string },
): Promise<TokenPair> {
  const issuedAt = Math.floor(Date.now() / 1000);
  return {
    accessToken: await tokens.sign(user, { id: session.id, issuedAt }),
    refreshToken: session.refreshToken,
    sessionId: session.id,
    issuedAt,
    // An access token ends with its session, so the session lives as long as the token, whatever JWT_ACCESS_TTL says.
    lifetimeSeconds: Math.max(REFRESH_TTL_SECONDS, tokens.accessTtlSeconds),
  };
}

/** Stores the session of a pair. */
export const openSession = (trx: Transaction, user: AuthUser, pair: TokenPair): Promise<void> =>
  insertSession(trx, { ...pair, familyId: pair.sessionId, userId: user.id });

/**
 * Exchanges a refresh token for a new pair. A used token has one successor, so two tabs that send the same token hold the
 * same one afterwards (ADR 12). A token that was used before, and not a moment ago, may be stolen: it ends every session
 * that followed from the same sign-in, with its access tokens.
 * @throws {AppError} INVALID_REFRESH_TOKEN, USER_NOT_FOUND, ACCOUNT_DISABLED, TOKEN_GENERATION_FAILED.
 */
export async function refreshSession(
  deps: Pick<AccountDeps, 'db' | 'tokens' | 'log'>,
  refreshToken: string,
  origin: RequestOrigin,
): Promise<TokenPair> {
  // A refusal is thrown after the commit: the end of a family must not be rolled back with it.
  const outcome = await inTransaction(deps.db, async (trx) => {
    const owner = await ownerOfSession(trx, refreshToken);
    const user = owner === undefined ? undefined : await lockUser(trx, owner);
    const session = await lockSession(trx, refreshToken);
    if (session === undefined) return 'INVALID_REFRESH_TOKEN';
    const next = session.state === 'spent' ? undefined : await nextToken(deps, trx, refreshToken, session);
    if (next === undefined) {
      await endFamily(trx, session);
      const about = { outcome: 'refused', origin } as const;
      await recordSecurityEvent({ db: trx, log: deps.log }, accountEvent('token-reuse', session.userId, about));
      return 'INVALID_REFRESH_TOKEN';
    }
    if (user === undefined) return 'USER_NOT_FOUND';
    if (!user.isActive) return 'ACCOUNT_DISABLED';
    const pair = await makePair(deps, user, { id: session.familyId, refreshToken: next.refreshToken });
    if (!next.stored) await rotateSession(trx, session, refreshToken, pair);
    return pair;
  });
  if (typeof outcome === 'string') throw new AppError(outcome);
  return outcome;
}

/**
 * The token to hand out for a token that is fresh or was used a moment ago, and whether its session is stored already.
 * Successors that were used in turn are skipped: the slower tab gets the one that can be used next. Undefined: there are
 * too many of them.
 */
async function nextToken(
  { tokens }: Pick<AccountDeps, 'tokens'>,
  trx: Transaction,
  used: string,
  session: FoundSession,
): Promise<{ refreshToken: string; stored: boolean } | undefined> {
  let refreshToken = tokens.successorOf(used);
  if (session.state === 'fresh') return { refreshToken, stored: false };
  for (let step = 0; step < MAX_SUCCESSORS; step += 1) {
    const found = await lockSession(trx, refreshToken);
    // A release before this one, or another secret, made the successor.
    if (found === undefined) return { refreshToken, stored: false };
    if (found.state === 'fresh') return { refreshToken, stored: true };
    refreshToken = tokens.successorOf(refreshToken);
  }
  return undefined;
}

/**
 * Ends the session of a refresh token and, for a signed-in caller, all sessions of the user. Unknown tokens are no
 * error.
 * @param given `refreshToken` may be empty; `accessToken` absent.
 */
export async function signOut(
  deps: Pick<AccountDeps, 'db' | 'tokens' | 'log'>,
  given: { refreshToken: string; accessToken: string | undefined },
  origin: RequestOrigin,
): Promise<void> {
  const caller = given.accessToken === undefined ? undefined : await findCaller(deps, given.accessToken);
  const signedIn = caller !== undefined && 'user' in caller ? caller.user.id : undefined;
  await inTransaction(deps.db, async (trx) => {
    const owner = await ownerOfSession(trx, given.refreshToken);
    await lockUsers(
      trx,
      [owner, signedIn].filter((id) => id !== undefined),
    );
    const session = await lockSession(trx, given.refreshToken);
    if (session !== undefined) await endFamily(trx, session);
    if (signedIn !== undefined) await endSessions(trx, signedIn);
    for (const userId of new Set([session?.userId, signedIn].filter((id) => id !== undefined))) {
      await recordSecurityEvent({ db: trx, log: deps.log }, accountEvent('sign-out', userId, { origin }));
    }
  });
}

/**
 * Signs a user out everywhere, at the request of an administrator: sessions, access tokens and open links end. An event is
 * recorded, also when only tokens without a session can have ended, but not for a repeat that ends nothing.
 * @returns number of sessions that ended.
 * @throws {AppError} NOT_FOUND; FORBIDDEN.
 */
export async function signOutUser(
  deps: Pick<AccountDeps, 'db'> & Partial<Pick<AccountDeps, 'log'>>,
  id: string,
  by: AuditOrigin,
): Promise<number> {
  return inTransaction(deps.db, async (trx) => {
    const managed = await lockManaged(trx, id, by);
    requireManageable(managed, by);
    const sessions = await endEverything(trx, id);
    if (sessions > 0 || !managed.user.justSignedOut) {
      const change = { action: 'sessions-ended', target: { type: 'user', id }, details: { sessions } } as const;
      await recordChange({ trx, log: deps.log }, by, change);
    }
    return sessions;
  });
}

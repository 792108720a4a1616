/** Requests about accounts. */
import type { Profile } from '../../clients/hytale/answers.ts';
import { AppError } from '../../domain/errors.ts';
import { inTransaction } from '../../store/db/db.ts';
import {
  closeAccount,
  noteAccountRequester,
  type StoredAccount,
  storeProfiles,
} from '../../store/hytale/account-store.ts';
import { insertHytaleAudit } from '../../store/hytale/audit-store.ts';
import { opened } from '../../store/hytale/secrets.ts';
import { accountOf, askAccount, type HytaleServiceDeps, reach, record } from './ask.ts';
import type { AccountTokens, Requester } from './hytale.ts';
import { outageResult, resultError } from './upstream-error.ts';

/** Renews the tokens of an account now. */
export async function refreshAccount(
  deps: HytaleServiceDeps,
  accountId: string,
  who: Requester,
): Promise<AccountTokens> {
  const { version } = await accountOf(deps, accountId);
  await inTransaction(deps.db, async (trx) => {
    await noteAccountRequester(trx, accountId, who);
    await record(deps, trx, who, 'hytale-account-refreshed', { type: 'hytale-account', id: accountId });
  });
  await askAccount(deps, accountId, { what: 'refresh', ifVersion: version });
  return tokensOf(deps, await accountOf(deps, accountId));
}

/** The tokens of an account in clear. @throws {AppError} INTERNAL_ERROR when they were encrypted with another key. */
export function tokensOf(deps: Pick<HytaleServiceDeps, 'encryption' | 'now'>, account: StoredAccount): AccountTokens {
  const accessToken = opened(deps.encryption, account.accessToken);
  const refreshToken = opened(deps.encryption, account.refreshToken);
  if (accessToken === undefined || refreshToken === undefined) {
    throw new AppError('INTERNAL_ERROR', { meta: { reason: 'tokens cannot be read', accountId: account.accountId } });
  }
  const { accountId, profileUuid, tokenType, scope } = account;
  const left = Math.floor((account.accessExpiresAt.getTime() - deps.now()) / 1_000);
  return { accountId, profileUuid, accessToken, refreshToken, expiresInSeconds: Math.max(0, left), tokenType, scope };
}

/** Asks Hytale for the profiles of an account, and keeps them. */
export async function profiles(
  deps: HytaleServiceDeps,
  accountId: string,
): Promise<{ owner: string; profiles: Profile[] }> {
  const found = await askProfiles(deps, accountId);
  const { profileUuid, profiles: kept } = await accountOf(deps, accountId);
  if (JSON.stringify(kept) !== JSON.stringify(found.profiles)) {
    const still = found.profiles.some(({ uuid }) => uuid === profileUuid);
    await storeProfiles(deps.db, accountId, found.profiles, still ? profileUuid : null);
  }
  return found;
}

/** A token that is old or not accepted is renewed once. */
async function askProfiles(
  deps: HytaleServiceDeps,
  accountId: string,
): Promise<{ owner: string; profiles: Profile[] }> {
  for (let renewed = false; ; renewed = true) {
    const account = await accountOf(deps, accountId);
    if (account.status === 'reauth_required') throw new AppError('REAUTH_REQUIRED');
    const token = opened(deps.encryption, account.accessToken);
    const old = account.accessExpiresAt.getTime() <= deps.now();
    const result =
      token === undefined || old ? ({ outcome: 'unauthorized' } as const) : await deps.client.profiles(token);
    if (result.outcome === 'ok') return { owner: result.owner, profiles: result.profiles };
    if (result.outcome === 'unavailable') {
      const { detail: why, retryAfterMs } = result;
      throw resultError({ result: outageResult(result), why, retryAfterMs }) ?? new AppError('HYTALE_ERROR');
    }
    if (result.outcome === 'refused') throw new AppError('HYTALE_NOT_FOUND');
    if (renewed) throw new AppError('REAUTH_REQUIRED');
    await askAccount(deps, accountId, { what: 'refresh', ifVersion: account.version });
  }
}

/** Selects the profile for which sessions are created. */
export async function selectProfile(
  deps: HytaleServiceDeps,
  accountId: string,
  profileUuid: string,
  who: Requester,
): Promise<void> {
  const wanted = profileUuid.toLowerCase();
  const stored = await accountOf(deps, accountId);
  const has = (list: readonly Profile[] | null) => list?.some(({ uuid }) => uuid.toLowerCase() === wanted) === true;
  // Only Hytale knows profiles that were added since the account was signed in.
  const known = has(stored.profiles) ? (stored.profiles ?? []) : (await profiles(deps, accountId)).profiles;
  if (!has(known)) throw new AppError('HYTALE_NOT_FOUND');
  await inTransaction(deps.db, async (trx) => {
    const account = await accountOf(deps, accountId, { trx, lock: true });
    if (account.profileUuid === wanted) return;
    await storeProfiles(trx, accountId, known, wanted);
    const { ipAddress, userAgent } = who;
    await insertHytaleAudit(trx, { event: 'PROFILE_SELECTED', accountId, profileUuid: wanted, ipAddress, userAgent });
    const target = { type: 'hytale-account', id: accountId } as const;
    await record(deps, trx, who, 'hytale-profile-selected', target, { profile: wanted });
  });
}

/** Ends all sessions of an account and deletes its tokens; returns when its workflow knows of it. */
export async function disconnect(deps: HytaleServiceDeps, accountId: string, who: Requester): Promise<void> {
  await inTransaction(deps.db, async (trx) => {
    const account = await accountOf(deps, accountId, { trx, lock: true });
    if (account.status === 'closing') return;
    await closeAccount(trx, accountId);
    await noteAccountRequester(trx, accountId, who);
    await record(deps, trx, who, 'hytale-account-disconnected', { type: 'hytale-account', id: accountId });
  });
  await reach(() => deps.engine.wake.account(accountId));
}

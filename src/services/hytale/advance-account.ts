/**
 * One step of an account. Only this function spends refresh tokens, and only the workflow of the account calls it. A refresh
 * token is good for one use: a lease on the row keeps a second attempt away while the first may still be under way, and the
 * answer is stored before anything else happens.
 */
import type { RefreshResult, Unavailable } from '../../clients/hytale/answers.ts';
import { accountRefreshAt, LATER_RETRY_MS, REFRESH_TOKEN_LIFE_MS, retryWait } from '../../domain/hytale/lifecycle.ts';
import { type Db, inTransaction, type Transaction } from '../../store/db/db.ts';
import {
  deleteAccount,
  findAccount,
  noteRefreshFailed,
  requireSignIn,
  type StoredAccount,
  setAccountNextAt,
  storeRefreshed,
  takeLease,
} from '../../store/hytale/account-store.ts';
import { insertHytaleAudit } from '../../store/hytale/audit-store.ts';
import { opened } from '../../store/hytale/secrets.ts';
import { countSessions, markAllEnding } from '../../store/hytale/session-store.ts';
import { emitEvents } from '../../store/webhooks/event-store.ts';
import type { AccountWish } from '../../workflows/contract.ts';
import type { HytaleDeps } from './deps.ts';
import { keepAnswer } from './keep-answer.ts';
import { type HytaleStep, over, waiting } from './step.ts';
import { outageResult } from './upstream-error.ts';

export interface AccountStepInput {
  accountId: string;
  wish: AccountWish;
}

/** The client's 30 s for one request, and some for the way to it. */
const LEASE_MS = 40_000;
/** How often an account is tried again whose refreshes are refused because of our configuration. */
const MISCONFIGURED_RETRY_MS = 60 * 60_000;
/** How often an account that is being disconnected looks whether its sessions have ended. */
const CLOSING_LOOK_MS = 15_000;

/** Does what is due for an account, or what is wished, and says what it waits for. @throws errors of the database. */
export async function advanceAccount(deps: HytaleDeps, { accountId, wish }: AccountStepInput): Promise<HytaleStep> {
  const account = await findAccount(deps.db, deps.environment, accountId);
  if (account === undefined) {
    return over({ id: accountId, status: 'gone', version: 0, why: 'the account is not signed in here' });
  }
  if (account.status === 'closing') return close(deps, account);
  const now = deps.now();
  const wanted = wish.what === 'refresh' && (wish.ifVersion === undefined || wish.ifVersion === account.version);
  if (account.status === 'reauth_required') return waiting(signInAgain(account), now, null);
  if (!wanted) {
    const dueAt = account.nextAt?.getTime() ?? (await firstDueAt(deps, account));
    const done = wish.what === 'refresh' ? ({ result: 'done' } as const) : {};
    if (now < dueAt) return waiting({ ...facts(account), ...done, why: account.reason ?? UNTIL_DUE }, now, dueAt);
  }
  return refresh(deps, account);
}

const UNTIL_DUE = 'waits until its tokens are renewed';
const SIGN_IN_AGAIN = 'the account must be signed in again';

const facts = ({ accountId: id, status, version }: StoredAccount) => ({ id, status, version });

const signInAgain = (account: StoredAccount) => ({
  ...facts(account),
  status: 'reauth_required',
  result: 'reauth_required' as const,
  why: account.reason ?? SIGN_IN_AGAIN,
});

/** A row of the earlier service says when its access token expires, and not when it is renewed. */
async function firstDueAt(deps: HytaleDeps, account: StoredAccount): Promise<number> {
  const at = dueAtOf(deps, account.accessExpiresAt.getTime(), account.obtainedAt.getTime());
  await setAccountNextAt(deps.db, account.accountId, account.version, new Date(at));
  return at;
}

const dueAtOf = (deps: HytaleDeps, accessExpiresAt: number, obtainedAt: number): number =>
  accountRefreshAt({ accessExpiresAt, obtainedAt }, deps.random());

/** Spends the refresh token of the version that was read, once. */
async function refresh(deps: HytaleDeps, account: StoredAccount): Promise<HytaleStep> {
  const { accountId, version } = account;
  await deps.turn?.();
  const now = deps.now();
  const token = opened(deps.encryption, account.refreshToken);
  if (token === undefined) return withoutToken(deps, account);
  // Hytale refuses a token of this age. A call would only tell the same.
  if (now - Math.max(account.obtainedAt.getTime(), account.updatedAt.getTime()) > REFRESH_TOKEN_LIFE_MS) {
    return demandSignIn(deps, account, 'its refresh token has expired');
  }
  const until = now + (deps.leaseMs ?? LEASE_MS);
  const lease = { accountId, version, now: new Date(now), until: new Date(until) };
  // It also shows before the call that the database can take the answer.
  if (!(await takeLease(deps.db, lease))) return afterOther(deps, account);
  const result = await deps.client.refreshToken(token);
  return keepAnswer(() => inTransaction(deps.db, (trx) => note(deps, trx, account, result)));
}

/** Another attempt holds the lease, or has stored newer tokens. */
async function afterOther(deps: HytaleDeps, before: StoredAccount): Promise<HytaleStep> {
  const account = await findAccount(deps.db, deps.environment, before.accountId);
  const now = deps.now();
  if (account === undefined) return over({ ...facts(before), why: 'the account was deleted' });
  if (account.version !== before.version)
    return waiting({ ...facts(account), result: 'done', why: UNTIL_DUE }, now, now);
  const why = 'an attempt to renew its tokens was interrupted: waits until its answer cannot come any more';
  return waiting({ ...facts(account), result: 'unavailable', why }, now, account.leaseUntil?.getTime() ?? now);
}

async function withoutToken(deps: HytaleDeps, account: StoredAccount): Promise<HytaleStep> {
  if (account.refreshToken === '') return demandSignIn(deps, account, 'there is no refresh token');
  const now = deps.now();
  const why = 'its tokens were encrypted with another key: check ENCRYPTION_KEY';
  return waiting({ ...facts(account), result: 'unavailable', why }, now, now + LATER_RETRY_MS);
}

/** Notes what became of a refresh, in one transaction with its audit. */
async function note(
  deps: HytaleDeps,
  trx: Transaction,
  account: StoredAccount,
  result: RefreshResult,
): Promise<HytaleStep> {
  switch (result.outcome) {
    case 'ok':
      return noteTokens(deps, trx, account, result);
    case 'rejected': {
      const lost = account.sentVersion === account.version;
      const reason = lost
        ? `${result.detail}. The answer to an earlier attempt was lost, and with it the new token`
        : result.detail;
      return noteSignInRequired(deps, trx, account, reason);
    }
    case 'misconfigured':
      return noteMisconfigured(deps, trx, account, result.detail);
    case 'unavailable':
      return noteUnavailable(deps, trx, account, result);
  }
}

async function noteTokens(
  deps: HytaleDeps,
  trx: Transaction,
  account: StoredAccount,
  { tokens }: Extract<RefreshResult, { outcome: 'ok' }>,
): Promise<HytaleStep> {
  const { accountId, version } = account;
  const now = deps.now();
  const accessExpiresAt = now + tokens.expiresInSeconds * 1_000;
  const dueAt = dueAtOf(deps, accessExpiresAt, now);
  const stored = await storeRefreshed(trx, deps.encryption, accountId, version, {
    ...tokens,
    accessExpiresAt: new Date(accessExpiresAt),
    obtainedAt: new Date(now),
    nextAt: new Date(dueAt),
  });
  if (stored) {
    await insertHytaleAudit(trx, {
      event: 'TOKEN_REFRESHED',
      accountId,
      profileUuid: account.profileUuid,
      details: { version: version + 1, rotated: tokens.refreshToken !== null },
      ipAddress: account.ipAddress,
      userAgent: account.userAgent,
    });
  }
  const newer = stored ? { version: version + 1, status: 'active' } : {};
  return waiting({ ...facts(account), ...newer, result: 'done', why: UNTIL_DUE }, now, stored ? dueAt : now);
}

async function noteMisconfigured(
  deps: HytaleDeps,
  trx: Transaction,
  account: StoredAccount,
  detail: string,
): Promise<HytaleStep> {
  const now = deps.now();
  const at = now + MISCONFIGURED_RETRY_MS;
  const failed = { status: 'misconfigured', reason: detail, lost: false, failures: account.failures + 1 } as const;
  const noted = await noteRefreshFailed(trx, account.accountId, account.version, { ...failed, nextAt: new Date(at) });
  if (noted && account.status !== 'misconfigured') await report(trx, account, 'hytale.misconfigured', detail);
  return waiting({ ...facts(account), status: 'misconfigured', result: 'misconfigured', why: detail }, now, at);
}

async function noteUnavailable(
  deps: HytaleDeps,
  trx: Transaction,
  account: StoredAccount,
  result: Unavailable,
): Promise<HytaleStep> {
  const now = deps.now();
  const failures = account.failures + 1;
  const at = now + retryWait(failures, result.retryAfterMs);
  await noteRefreshFailed(trx, account.accountId, account.version, {
    status: account.status,
    reason: result.detail,
    // A token that may be spent stays noted until an answer comes.
    lost: result.lost || account.sentVersion === account.version,
    nextAt: new Date(at),
    failures,
  });
  const failed = { result: outageResult(result), why: result.detail, retryAfterMs: result.retryAfterMs };
  return waiting({ ...facts(account), ...failed }, now, at);
}

const demandSignIn = (deps: HytaleDeps, account: StoredAccount, reason: string): Promise<HytaleStep> =>
  inTransaction(deps.db, (trx) => noteSignInRequired(deps, trx, account, reason));

/** The account stays with its tokens and sessions; only a new login helps. */
async function noteSignInRequired(
  deps: HytaleDeps,
  trx: Transaction,
  account: StoredAccount,
  reason: string,
): Promise<HytaleStep> {
  await markSignInRequired(trx, account, reason);
  return waiting(signInAgain({ ...account, reason }), deps.now(), null);
}

/** Marks an account as one that must be signed in again, and reports it: once for each version of its tokens. */
export async function markSignInRequired(
  trx: Transaction,
  account: Pick<StoredAccount, 'accountId' | 'version' | 'profileUuid' | 'profiles'>,
  reason: string,
): Promise<void> {
  const { accountId, version, profileUuid } = account;
  if (!(await requireSignIn(trx, accountId, version, reason))) return;
  await insertHytaleAudit(trx, { event: 'AUTH_FAILED', accountId, profileUuid, details: { reason } });
  await report(trx, account, 'hytale.reauth_required', reason);
}

const report = (
  trx: Db,
  { accountId, version, profiles }: Pick<StoredAccount, 'accountId' | 'version' | 'profiles'>,
  event: 'hytale.reauth_required' | 'hytale.misconfigured',
  reason: string,
): Promise<unknown> =>
  emitEvents(trx, [
    {
      event,
      key: `${accountId}:${version}`,
      data: { account: accountId, profiles: (profiles ?? []).map(({ username }) => username).join(', '), reason },
    },
  ]);

/** Ends all sessions of an account, then deletes its tokens. */
async function close(deps: HytaleDeps, account: StoredAccount): Promise<HytaleStep> {
  const { accountId } = account;
  for (const id of await markAllEnding(deps.db, accountId)) await deps.wake.session(id);
  const closed = await inTransaction(deps.db, async (trx) => {
    // The row is locked first, so that no session is added between the look and the end.
    const row = await findAccount(trx, deps.environment, accountId, { lock: true });
    if (row === undefined) return true;
    if (row.status !== 'closing' || (await countSessions(trx, accountId)) > 0) return false;
    if (await deleteAccount(trx, accountId)) {
      const { ipAddress, userAgent, profileUuid } = account;
      await insertHytaleAudit(trx, { event: 'TOKEN_DELETED', accountId, profileUuid, ipAddress, userAgent });
    }
    return true;
  });
  if (closed) return over({ ...facts(account), status: 'closed', result: 'done', why: 'it is disconnected' });
  const now = deps.now();
  return waiting({ ...facts(account), why: 'waits until its sessions have ended' }, now, now + CLOSING_LOOK_MS);
}

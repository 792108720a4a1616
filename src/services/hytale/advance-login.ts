/** One step of a device login (RFC 8628): ask for a code, poll at the interval, find out whose the tokens are, keep them. */
import type { PollResult, ProfilesResult, TokenSet } from '../../clients/hytale/answers.ts';
import { accountRefreshAt, LOGIN_LIFE_MS, type LoginStatus, POLL_SECONDS } from '../../domain/hytale/lifecycle.ts';
import { inTransaction, type Transaction } from '../../store/db/db.ts';
import { findAccount, storeSignedIn } from '../../store/hytale/account-store.ts';
import { insertHytaleAudit } from '../../store/hytale/audit-store.ts';
import {
  beginPoll,
  endLogin,
  findLogin,
  noteLogin,
  type StoredLogin,
  storeApproved,
  storeCode,
} from '../../store/hytale/login-store.ts';
import { opened } from '../../store/hytale/secrets.ts';
import { releaseWaiting } from '../../store/hytale/session-store.ts';
import type { HytaleResult } from '../../workflows/contract.ts';
import type { HytaleDeps } from './deps.ts';
import { keepAnswer } from './keep-answer.ts';
import { type HytaleStep, over, waiting } from './step.ts';
import { outageResult } from './upstream-error.ts';

/** Attempts to get a code. A person waits for it. */
const CODE_ATTEMPTS = 3;
const CODE_RETRY_MS = 2_000;
/** First wait after a failed look at the profiles; it doubles up to a minute. */
const PROFILES_RETRY_MS = 2_000;
const MAX_RETRY_MS = 60_000;

/** Does what is due for a login, and says what it waits for. @throws errors of the database. */
export async function advanceLogin(deps: HytaleDeps, { loginId }: { loginId: string }): Promise<HytaleStep> {
  const login = await findLogin(deps.db, deps.environment, loginId);
  if (login === undefined) return over({ id: loginId, status: 'gone', version: 0, why: 'the login was deleted' });
  const now = deps.now();
  if (login.nextAt !== null && now < login.nextAt.getTime() && !isExpired(login, now)) {
    return waiting({ ...facts(login), why: login.reason ?? WAITS_FOR_PERSON }, now, nextOf(login));
  }
  switch (login.status) {
    case 'requested':
      return requestCode(deps, login);
    case 'pending':
      return isExpired(login, now) ? expire(deps, login) : poll(deps, login);
    case 'approved':
      return complete(deps, login);
    default:
      return afterEnd(deps, login);
  }
}

const WAITS_FOR_PERSON = 'waits until a person approves it';
const facts = ({ id, status }: StoredLogin) => ({ id, status, version: 0 });

const isExpired = ({ status, expiresAt }: StoredLogin, now: number): boolean =>
  status === 'pending' && expiresAt !== null && now >= expiresAt.getTime();

/** The next poll, or the end of the code if that comes first. */
const nextOf = ({ nextAt, expiresAt, status }: StoredLogin): number =>
  Math.min(
    nextAt?.getTime() ?? 0,
    status === 'pending' ? (expiresAt?.getTime() ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY,
  );

async function requestCode(deps: HytaleDeps, login: StoredLogin): Promise<HytaleStep> {
  const result = await deps.client.requestDeviceCode();
  const now = deps.now();
  if (result.outcome === 'refused') {
    return end(
      deps,
      login,
      'failed',
      { error: result.error ?? 'invalid_request', reason: result.detail },
      'misconfigured',
    );
  }
  if (result.outcome === 'unavailable') {
    const failures = login.failures + 1;
    if (failures >= CODE_ATTEMPTS) {
      return end(deps, login, 'failed', { error: 'server_error', reason: result.detail }, outageResult(result));
    }
    const at = now + Math.max(CODE_RETRY_MS, result.retryAfterMs ?? 0);
    await noteLogin(deps.db, login.id, { status: 'requested', failures, reason: result.detail, nextAt: new Date(at) });
    return waiting({ ...facts(login), result: outageResult(result), why: result.detail }, now, at);
  }
  const { outcome: _, ...code } = result;
  const intervalSeconds = Math.min(Math.max(code.intervalSeconds, POLL_SECONDS.min), POLL_SECONDS.max);
  const at = now + intervalSeconds * 1_000;
  const expiresAt = now + Math.min(code.expiresInSeconds * 1_000, LOGIN_LIFE_MS);
  await keepAnswer(() =>
    storeCode(deps.db, deps.encryption, login.id, {
      ...code,
      intervalSeconds,
      expiresAt: new Date(expiresAt),
      nextAt: new Date(at),
    }),
  );
  return waiting({ ...facts(login), status: 'pending', result: 'done', why: WAITS_FOR_PERSON }, now, at);
}

async function poll(deps: HytaleDeps, login: StoredLogin): Promise<HytaleStep> {
  const code = opened(deps.encryption, login.deviceCode);
  if (code === undefined) {
    return end(
      deps,
      login,
      'failed',
      { error: 'server_error', reason: 'its device code cannot be read' },
      'unavailable',
    );
  }
  // Before the call: an interrupted poll, too, keeps the interval.
  const begun = await beginPoll(deps.db, login.id, new Date(deps.now() + login.intervalSeconds * 1_000));
  if (!begun) return afterEnd(deps, (await findLogin(deps.db, deps.environment, login.id)) ?? login);
  const result = await deps.client.pollToken(code);
  switch (result.outcome) {
    case 'ok':
      return keepAnswer(() => approve(deps, login, result.tokens));
    case 'expired':
      return expire(deps, login);
    case 'denied':
      return end(deps, login, 'denied', { error: 'access_denied', reason: result.detail }, 'refused');
    case 'misconfigured':
      return end(deps, login, 'failed', { error: result.error, reason: result.detail }, 'misconfigured');
    case 'refused': {
      const lost = login.failures > 0 ? '. The answer to an earlier poll was lost: start again' : '';
      const why = { error: result.error ?? 'invalid_grant', reason: `${result.detail}${lost}` };
      return end(deps, login, 'failed', why, 'refused');
    }
    default:
      return pollAgain(deps, login, result);
  }
}

/** The login goes on: at the interval, at a slower one, or after a pause that grows with the failures. */
async function pollAgain(
  deps: HytaleDeps,
  login: StoredLogin,
  result: Extract<PollResult, { outcome: 'pending' | 'slow_down' | 'unavailable' }>,
): Promise<HytaleStep> {
  const now = deps.now();
  const slower = result.outcome === 'slow_down' ? POLL_SECONDS.slowDown : 0;
  const intervalSeconds = Math.min(login.intervalSeconds + slower, POLL_SECONDS.max);
  const failed = result.outcome === 'unavailable';
  const failures = failed ? login.failures + 1 : 0;
  const pause = failed ? Math.min(intervalSeconds * 2 ** failures * 1_000, MAX_RETRY_MS) : 0;
  const at = now + Math.max(intervalSeconds * 1_000, pause, failed ? (result.retryAfterMs ?? 0) : 0);
  const reason = failed ? result.detail : null;
  await noteLogin(deps.db, login.id, {
    status: 'pending',
    intervalSeconds,
    failures,
    reason,
    nextAt: new Date(at),
  });
  const next = nextOf({ ...login, nextAt: new Date(at) });
  return waiting({ ...facts(login), why: reason ?? WAITS_FOR_PERSON }, now, next);
}

/** The device code is spent. Whose the tokens are is not known yet, so they stay with the login. */
async function approve(deps: HytaleDeps, login: StoredLogin, tokens: TokenSet): Promise<HytaleStep> {
  const now = deps.now();
  await storeApproved(deps.db, deps.encryption, login.id, {
    ...tokens,
    accessExpiresAt: new Date(now + tokens.expiresInSeconds * 1_000),
    nextAt: new Date(now),
  });
  return waiting({ ...facts(login), status: 'approved', why: 'looks up the account' }, now, now);
}

const expire = (deps: HytaleDeps, login: StoredLogin): Promise<HytaleStep> =>
  end(deps, login, 'expired', { error: 'expired_token', reason: 'it was not approved in time' }, 'refused');

async function complete(deps: HytaleDeps, login: StoredLogin): Promise<HytaleStep> {
  const access = opened(deps.encryption, login.accessToken);
  const refresh = opened(deps.encryption, login.refreshToken);
  if (access === undefined || refresh === undefined) {
    const reason =
      refresh === undefined && access !== undefined ? 'Hytale sent no refresh token' : 'its tokens cannot be read';
    return end(deps, login, 'failed', { error: 'server_error', reason }, 'refused');
  }
  const result = await deps.client.profiles(access);
  if (result.outcome === 'unavailable') return lookAgain(deps, login, result);
  if (result.outcome !== 'ok') {
    return end(deps, login, 'failed', { error: 'server_error', reason: result.detail }, 'refused');
  }
  if (login.accountId !== null && login.accountId !== result.owner.toLowerCase()) {
    const reason = `it was approved by another account (${result.owner}) than the one that was named`;
    return end(deps, login, 'denied', { error: 'access_denied', reason }, 'refused');
  }
  const outcome = await inTransaction(deps.db, (trx) => keepTokens(deps, trx, login, result, { access, refresh }));
  if (outcome === 'other environment') {
    const reason = 'this account belongs to the other environment of Hytale here';
    return end(deps, login, 'failed', { error: 'server_error', reason }, 'refused');
  }
  return afterEnd(deps, (await findLogin(deps.db, deps.environment, login.id)) ?? login);
}

/** Looks again later, while the access token lives. */
async function lookAgain(
  deps: HytaleDeps,
  login: StoredLogin,
  result: Extract<ProfilesResult, { outcome: 'unavailable' }>,
): Promise<HytaleStep> {
  const now = deps.now();
  const failures = login.failures + 1;
  const at = now + Math.max(Math.min(PROFILES_RETRY_MS * 2 ** (failures - 1), MAX_RETRY_MS), result.retryAfterMs ?? 0);
  if (at >= (login.accessExpiresAt?.getTime() ?? 0)) {
    return end(deps, login, 'failed', { error: 'server_error', reason: result.detail }, outageResult(result));
  }
  await noteLogin(deps.db, login.id, { status: 'approved', failures, reason: result.detail, nextAt: new Date(at) });
  return waiting({ ...facts(login), result: outageResult(result), why: result.detail }, now, at);
}

/** Moves the tokens to the account. One profile is selected by itself; of several, a person chooses. */
async function keepTokens(
  deps: HytaleDeps,
  trx: Transaction,
  login: StoredLogin,
  { owner, profiles }: Extract<ProfilesResult, { outcome: 'ok' }>,
  tokens: { access: NonNullable<ReturnType<typeof opened>>; refresh: NonNullable<ReturnType<typeof opened>> },
): Promise<'kept' | 'ended before' | 'other environment'> {
  const accountId = owner.toLowerCase();
  const locked = await findLogin(trx, deps.environment, login.id, { lock: true });
  if (locked?.status !== 'approved') return 'ended before';
  const before = await findAccount(trx, deps.environment, accountId, { lock: true });
  const kept = profiles.find(({ uuid }) => uuid === before?.profileUuid)?.uuid ?? null;
  const profileUuid = kept ?? (profiles.length === 1 ? (profiles[0]?.uuid ?? null) : null);
  const obtainedAt = deps.now();
  const accessExpiresAt = login.accessExpiresAt?.getTime() ?? obtainedAt;
  const { ipAddress, userAgent } = login;
  const stored = await storeSignedIn(
    trx,
    deps.encryption,
    { environment: deps.environment, accountId, profiles, profileUuid, ipAddress, userAgent },
    {
      accessToken: tokens.access,
      refreshToken: tokens.refresh,
      tokenType: 'Bearer',
      scope: login.scope ?? '',
      accessExpiresAt: new Date(accessExpiresAt),
      obtainedAt: new Date(obtainedAt),
      nextAt: new Date(accountRefreshAt({ accessExpiresAt, obtainedAt }, deps.random())),
    },
  );
  if (!stored) return 'other environment';
  await endLogin(trx, login.id, { status: 'completed', error: null, reason: null, ownerId: accountId });
  const details = { login: login.id, profiles: profiles.length, again: before !== undefined };
  await insertHytaleAudit(trx, { event: 'TOKEN_CREATED', accountId, profileUuid, details, ipAddress, userAgent });
  if (profileUuid !== null && profileUuid !== before?.profileUuid) {
    const by = { details: { by: 'the only profile' }, ipAddress, userAgent };
    await insertHytaleAudit(trx, { event: 'PROFILE_SELECTED', accountId, profileUuid, ...by });
  }
  return 'kept';
}

/** A completed login wakes its account, and the sessions that waited for it. Also after a crash in between. */
async function afterEnd(deps: HytaleDeps, login: StoredLogin): Promise<HytaleStep> {
  if (login.status === 'completed' && login.ownerId !== null) {
    await deps.wake.account(login.ownerId);
    for (const id of await releaseWaiting(deps.db, login.ownerId, new Date(deps.now()))) await deps.wake.session(id);
  }
  const why = login.reason ?? (login.status === 'completed' ? 'the account is signed in' : login.status);
  return over({ ...facts(login), result: login.status === 'completed' ? 'done' : 'refused', why });
}

async function end(
  deps: HytaleDeps,
  login: StoredLogin,
  status: LoginStatus,
  { error, reason }: { error: string; reason: string },
  result: HytaleResult,
): Promise<HytaleStep> {
  await inTransaction(deps.db, async (trx) => {
    if (!(await endLogin(trx, login.id, { status, error, reason }))) return;
    // A login without a named account belongs to no account.
    if (login.accountId === null) return;
    const { accountId, ipAddress, userAgent } = login;
    const details = { login: login.id, error, reason };
    await insertHytaleAudit(trx, { event: 'AUTH_FAILED', accountId, details, ipAddress, userAgent });
  });
  return over({ ...facts(login), status, result, why: reason });
}

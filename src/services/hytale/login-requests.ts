/** Requests about device logins. */
import { randomUUID } from 'node:crypto';
import { AppError } from '../../domain/errors.ts';
import { inTransaction } from '../../store/db/db.ts';
import { endLogin, findLogin, findLoginByCode, insertLogin, type StoredLogin } from '../../store/hytale/login-store.ts';
import { opened } from '../../store/hytale/secrets.ts';
import { tokensOf } from './account-requests.ts';
import { ANSWER_MS, accountOf, type HytaleServiceDeps, reach, record } from './ask.ts';
import type { LoginView, PollAnswer, Requester, StartedLogin } from './hytale.ts';
import { resultError } from './upstream-error.ts';

/** Starts a login, and waits until Hytale has given its code. */
export async function startLogin(
  deps: HytaleServiceDeps,
  accountId: string | null,
  who: Requester,
): Promise<StartedLogin> {
  const id = randomUUID();
  const { ipAddress, userAgent, by } = who;
  const { environment } = deps;
  await inTransaction(deps.db, async (trx) => {
    const requestedBy = by.actor.id ?? by.actor.type;
    await insertLogin(trx, { id, environment, accountId, requestedBy, ipAddress, userAgent });
    await record(deps, trx, who, 'hytale-login-started', { type: 'hytale-login', id }, { account: accountId });
  });
  const view = await reach(() => deps.engine.code(id, ANSWER_MS)).catch(async (error: unknown) => {
    // The code reached no one, so it will never be approved.
    await endLogin(deps.db, id, {
      status: 'cancelled',
      error: 'server_error',
      reason: 'its code did not come in time',
    });
    throw error;
  });
  const login = await loginOf(deps, id);
  const deviceCode = opened(deps.encryption, login.deviceCode);
  if (deviceCode === undefined || login.status !== 'pending') {
    throw resultError(view) ?? new AppError('HYTALE_ERROR', { meta: { reason: login.reason, login: id } });
  }
  const { verificationUriComplete, intervalSeconds } = login;
  return {
    loginId: id,
    deviceCode,
    userCode: login.userCode ?? '',
    verificationUri: login.verificationUri ?? '',
    verificationUriComplete,
    expiresInSeconds: login.expiresInSeconds ?? 0,
    intervalSeconds,
  };
}

/** What became of the login of a device code, from its row. */
export async function pollLogin(deps: HytaleServiceDeps, deviceCode: string, accountId: string): Promise<PollAnswer> {
  const login = await findLoginByCode(deps.db, deps.environment, deviceCode, accountId);
  if (login === undefined) {
    return { state: 'failed', error: 'invalid_grant', description: 'The device code is not known for this account' };
  }
  if (['requested', 'pending', 'approved'].includes(login.status)) return { state: 'pending' };
  if (login.status !== 'completed') {
    return { state: 'failed', error: login.error ?? 'access_denied', description: login.reason ?? login.status };
  }
  // A granted code answers again while it would live, so that an answer that got lost costs no second login.
  if (login.expiresAt === null || login.expiresAt.getTime() <= deps.now()) {
    return { state: 'failed', error: 'expired_token', description: 'The device code has expired' };
  }
  return { state: 'granted', tokens: tokensOf(deps, await accountOf(deps, login.ownerId ?? accountId)) };
}

export async function showLogin(deps: HytaleServiceDeps, loginId: string): Promise<LoginView> {
  const login = await loginOf(deps, loginId);
  const { status, reason, expiresAt, verificationUriComplete, intervalSeconds } = login;
  return {
    loginId,
    status,
    reason,
    expiresAt,
    accountId: login.ownerId,
    userCode: login.userCode ?? '',
    verificationUri: login.verificationUri ?? '',
    verificationUriComplete,
    intervalSeconds,
  };
}

/** Cancels a login that has not ended. Its workflow sees that at its next step. */
export async function cancelLogin(deps: HytaleServiceDeps, loginId: string, who: Requester): Promise<void> {
  await loginOf(deps, loginId);
  await inTransaction(deps.db, async (trx) => {
    const end = { status: 'cancelled', error: 'access_denied', reason: 'it was cancelled' } as const;
    if (!(await endLogin(trx, loginId, end))) return;
    await record(deps, trx, who, 'hytale-login-cancelled', { type: 'hytale-login', id: loginId });
  });
}

async function loginOf(deps: HytaleServiceDeps, loginId: string): Promise<StoredLogin> {
  const login = await findLogin(deps.db, deps.environment, loginId);
  if (login === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'Login not found' });
  return login;
}

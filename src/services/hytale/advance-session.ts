/**
 * One step of a game session: create it, renew its pair, replace it, or end it. The game server may renew the same session
 * itself, so a refused renewal is no alarm: a new session is created.
 */
import type { Unavailable } from '../../clients/hytale/answers.ts';
import { retryWait, SESSION_REFRESH_ATTEMPTS, sessionRefreshAt } from '../../domain/hytale/lifecycle.ts';
import { findAccount, type StoredAccount } from '../../store/hytale/account-store.ts';
import { opened } from '../../store/hytale/secrets.ts';
import {
  findSession,
  markEnding,
  noteSession,
  type StoredSession,
  setSessionNextAt,
  wantFreshPair,
} from '../../store/hytale/session-store.ts';
import type { HytaleResult, SessionWish } from '../../workflows/contract.ts';
import { createSession } from './create-session.ts';
import type { HytaleDeps } from './deps.ts';
import { endSession } from './end-session.ts';
import { checkPair, keepPair } from './session-pair.ts';
import { over, type SessionStep, waiting } from './step.ts';
import { outageResult } from './upstream-error.ts';

export interface SessionStepInput {
  sessionId: string;
  wish: SessionWish;
}

/** Does what is due for a session, or what is wished, and says what it waits for. @throws errors of the database. */
export async function advanceSession(deps: HytaleDeps, { sessionId, wish }: SessionStepInput): Promise<SessionStep> {
  if (wish.what === 'renew') await wantFreshPair(deps.db, sessionId, { ifVersion: wish.ifVersion });
  const session = await findSession(deps.db, deps.environment, sessionId);
  if (session === undefined) {
    return { ...over({ id: sessionId, status: 'gone', version: 0, why: 'the session has ended' }), push: false };
  }
  // Its server was deleted: it is not used any more.
  const left = session.serverId === null && session.linkedAt !== null;
  if (left) await markEnding(deps.db, session.id);
  if (left || session.status === 'ending') return { ...(await endSession(deps, session)), push: false };
  const account = await findAccount(deps.db, deps.environment, session.accountId);
  const step = await stepOf(deps, session, account, wish);
  const server = session.serverId === null ? 'no server' : `server ${session.serverId}`;
  const about = `account ${session.accountId}, profile ${session.profileUuid}, ${server}`;
  return { ...step, about, push: await pushIsDue(deps, session.id) };
}

async function pushIsDue(deps: HytaleDeps, id: string): Promise<boolean> {
  const session = await findSession(deps.db, deps.environment, id);
  if (session === undefined || session.serverId === null || session.status !== 'active') return false;
  return session.restartWanted || (session.pushStatus !== 'none' && session.pushedVersion !== session.version);
}

type Step = Omit<SessionStep, 'push'>;

async function stepOf(
  deps: HytaleDeps,
  session: StoredSession,
  account: StoredAccount | undefined,
  wish: SessionWish,
): Promise<Step> {
  const asked = wish.what !== 'look';
  if (mustCreate(session)) {
    return !asked && isPutOff(session, deps.now())
      ? waitFor(deps, session, session.nextAt)
      : createSession(deps, session, account, { asked });
  }
  const refreshes = wish.what === 'refresh' && (wish.ifVersion === undefined || wish.ifVersion === session.version);
  const dueAt = session.nextAt ?? (await firstDueAt(deps, session));
  const due = deps.now() >= dueAt.getTime();
  return refreshes || due ? renew(deps, session, account, asked) : waitFor(deps, session, dueAt);
}

/** There is no pair that could be renewed, or it is to be replaced. */
const mustCreate = ({ status, sessionToken, identityToken, version, wantedVersion }: StoredSession): boolean =>
  status !== 'active' || sessionToken === '' || identityToken === '' || wantedVersion > Math.max(version, 1);

/** An attempt has failed, and the next one has its time. */
const isPutOff = ({ nextAt, failures }: StoredSession, now: number): boolean =>
  failures > 0 && nextAt !== null && now < nextAt.getTime();

const facts = ({ id, status, version }: StoredSession) => ({ id, status, version });

function waitFor(deps: HytaleDeps, session: StoredSession, at: Date | null): Step {
  const result = RESULTS[session.status] ?? 'unavailable';
  const why = session.reason ?? UNTIL_DUE;
  return waiting({ ...facts(session), result, why }, deps.now(), at?.getTime() ?? null);
}
const RESULTS: Readonly<Partial<Record<StoredSession['status'], HytaleResult>>> = {
  active: 'none',
  limited: 'session_limit',
  lapsed: 'reauth_required',
  failed: 'refused',
};
const UNTIL_DUE = 'waits until its tokens are renewed';

/** A row of the earlier service says when its pair expires, and not when it is renewed. */
async function firstDueAt(deps: HytaleDeps, session: StoredSession): Promise<Date> {
  const now = deps.now();
  const expiresAt = session.expiresAt.getTime();
  const at = new Date(expiresAt <= now ? now : sessionRefreshAt({ expiresAt, now }, deps.random()));
  await setSessionNextAt(deps.db, session.id, session.version, at);
  return at;
}

/** Renews the pair by its own token. */
async function renew(
  deps: HytaleDeps,
  session: StoredSession,
  account: StoredAccount | undefined,
  asked: boolean,
): Promise<Step> {
  const token = opened(deps.encryption, session.sessionToken);
  if (token === undefined) return createSession(deps, session, account, { asked });
  await deps.turn?.();
  const ready = await deps.verifier.ready();
  if (!ready.ok) return renewLater(deps, session, account, asked, { detail: ready.detail, httpStatus: null });
  const result = await deps.client.refreshSession(token);
  if (result.outcome === 'rejected') return createSession(deps, session, account, { asked });
  if (result.outcome === 'unavailable') return renewLater(deps, session, account, asked, result);
  const checked = await checkPair(deps, session.profileUuid, result.pair);
  if (checked.state === 'unknown') {
    return renewLater(deps, session, account, asked, { detail: checked.detail, httpStatus: null });
  }
  if (checked.state === 'invalid') {
    deps.log.error({ sessionId: session.id, detail: checked.detail }, 'Hytale sent tokens that are not valid');
    return createSession(deps, session, account, { asked });
  }
  const at = await keepPair(deps, session, result.pair, { expiresAt: checked.expiresAt, created: false, asked });
  const newer = at === undefined ? {} : { version: session.version + 1 };
  const now = deps.now();
  return waiting({ ...facts(session), ...newer, result: 'done', why: UNTIL_DUE }, now, at ?? now);
}

/** After three attempts, a new session is the way. */
async function renewLater(
  deps: HytaleDeps,
  session: StoredSession,
  account: StoredAccount | undefined,
  asked: boolean,
  failed: Pick<Unavailable, 'detail' | 'httpStatus' | 'retryAfterMs'>,
): Promise<Step> {
  const failures = session.failures + 1;
  if (failures >= SESSION_REFRESH_ATTEMPTS) return createSession(deps, { ...session, failures }, account, { asked });
  const now = deps.now();
  const at = now + retryWait(failures, failed.retryAfterMs);
  const { id, version, status } = session;
  await noteSession(deps.db, id, version, { status, reason: failed.detail, failures, nextAt: new Date(at) });
  const result = outageResult(failed);
  return waiting({ ...facts(session), result, why: failed.detail, retryAfterMs: failed.retryAfterMs }, now, at);
}

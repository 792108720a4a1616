/** The creation of a game session at Hytale, for a session without a pair and in place of one that is not accepted any more. */
import type { NewSessionResult, Unavailable } from '../../clients/hytale/answers.ts';
import { LIMITED_RETRY_MS, MIN_ACCESS_LEFT_MS, retryWait, type SessionStatus } from '../../domain/hytale/lifecycle.ts';
import { inTransaction } from '../../store/db/db.ts';
import type { StoredAccount } from '../../store/hytale/account-store.ts';
import { opened } from '../../store/hytale/secrets.ts';
import {
  countLive,
  dropFreshPair,
  findSession,
  noteSession,
  type StoredSession,
} from '../../store/hytale/session-store.ts';
import type { HytaleResult, HytaleView } from '../../workflows/contract.ts';
import { markSignInRequired } from './advance-account.ts';
import type { HytaleDeps } from './deps.ts';
import { endAtHytale } from './end-session.ts';
import { checkPair, keepPair } from './session-pair.ts';
import { over, type SessionStep, waiting } from './step.ts';
import { outageResult } from './upstream-error.ts';

/** How often a session that Hytale refuses without saying why is tried again: sessions that it still counts end within an hour. */
const FORBIDDEN_RETRY_MS = 60 * 60_000;

type Step = Omit<SessionStep, 'push'>;
type Created = Extract<NewSessionResult, { outcome: 'ok' }>;

/** The attempt to create one session. */
interface Attempt {
  deps: HytaleDeps;
  session: StoredSession;
  account: StoredAccount;
  asked: boolean;
}

/** Creates the session, or says what stands in the way. */
export async function createSession(
  deps: HytaleDeps,
  session: StoredSession,
  account: StoredAccount | undefined,
  { asked }: { asked: boolean },
): Promise<Step> {
  if (account === undefined) return stop(deps, session, 'reauth_required', 'its account is not signed in here');
  if (account.status === 'reauth_required') {
    return stop(deps, session, 'reauth_required', 'its account must be signed in again');
  }
  const attempt = { deps, session, account, asked };
  if (!isUsable(account, deps.now())) return renewAccount(attempt);
  const access = opened(deps.encryption, account.accessToken);
  if (access === undefined)
    return later(attempt, { detail: 'the tokens of its account cannot be read', httpStatus: null });
  // A session that could not be checked would be lost, and would count against the limit.
  await deps.turn?.();
  const ready = await deps.verifier.ready();
  if (!ready.ok) return later(attempt, { detail: ready.detail, httpStatus: null });
  // The pair is refused or replaced: its session still counts against the limit of the account.
  if (session.sessionToken !== '' && !isRenewal(session)) await endAtHytale(deps, session);
  let result = await deps.client.newSession(access, session.profileUuid);
  if (result.outcome === 'forbidden' && !result.auth && isRenewal(session) && endsEarlier(session)) {
    // At the limit, the end of the pair that is replaced makes room for the new one.
    await endAtHytale(deps, session);
    result = await deps.client.newSession(access, session.profileUuid);
  }
  return result.outcome === 'ok' ? keep(attempt, result) : refused(attempt, result);
}

/** Whether the access token has enough of its life left for a call. One that was just received is used, however short it lives. */
const isUsable = ({ accessExpiresAt, obtainedAt }: StoredAccount, now: number): boolean =>
  accessExpiresAt.getTime() - now >= MIN_ACCESS_LEFT_MS || now - obtainedAt.getTime() < MIN_ACCESS_LEFT_MS;

/** A fresh pair beside a session that works: the server may still use the one before. */
const isRenewal = ({ status, version, wantedVersion }: StoredSession): boolean =>
  status === 'active' && wantedVersion > Math.max(version, 1);

/** Whether the earlier pair is not used any more: its server restarts, or its caller gets the new one. */
const endsEarlier = ({ restartWanted, serverId }: StoredSession): boolean => restartWanted || serverId === null;

const facts = ({ id, status, version }: StoredSession) => ({ id, status, version });

async function keep(attempt: Attempt, { pair }: Created): Promise<Step> {
  const { deps, session, asked } = attempt;
  const checked = await checkPair(deps, session.profileUuid, pair);
  if (checked.state !== 'valid') {
    // It is never used, and it counts against the limit.
    await deps.client.endSession(pair.sessionToken);
    if (checked.state === 'invalid') {
      deps.log.error({ sessionId: session.id, detail: checked.detail }, 'Hytale sent tokens that are not valid');
    }
    const failed = { detail: checked.detail, httpStatus: null };
    return later(attempt, failed, checked.state === 'invalid' ? 'invalid_tokens' : 'unavailable');
  }
  const at = await keepPair(deps, session, pair, { expiresAt: checked.expiresAt, created: true, asked });
  const now = deps.now();
  if (at === undefined) {
    await deps.client.endSession(pair.sessionToken);
    return waiting({ ...facts(session), result: 'done', why: 'a newer pair is there' }, now, now);
  }
  if (isRenewal(session) && endsEarlier(session)) await endAtHytale(deps, session);
  const newer = { id: session.id, status: 'active', version: session.version + 1 };
  return waiting({ ...newer, result: 'done', why: 'waits until its tokens are renewed' }, now, at);
}

/** What each refusal means, and what is done about it. */
async function refused(attempt: Attempt, result: Exclude<NewSessionResult, Created>): Promise<Step> {
  switch (result.outcome) {
    case 'unavailable':
      return later(attempt, result, outageResult(result));
    case 'no_profile':
      return halt(attempt, 'no_profile', 'the account has no such profile: select another one');
    case 'refused':
      return halt(attempt, 'refused', result.detail);
    case 'unauthorized':
      return withNewToken(attempt, () => signInAgain(attempt, result.detail));
    case 'forbidden': {
      if (result.limit) return limited(attempt);
      const decide = async (): Promise<Step> => {
        if (result.auth) return signInAgain(attempt, result.detail);
        const live = await countLive(attempt.deps.db, attempt.account.accountId, new Date(attempt.deps.now()));
        return live >= attempt.deps.sessionLimit ? limited(attempt) : forbidden(attempt, result.detail);
      };
      // Hytale answers by 403 for a bad token too: only a refusal of a fresh token means something else. A session that
      // waits since such a refusal needs no fresh token for each further attempt.
      const waits = ['limited', 'failed'].includes(attempt.session.status);
      return waits && !result.auth ? decide() : withNewToken(attempt, decide);
    }
  }
}

/** The account's tokens are renewed once; what is refused with the fresh ones is decided by `otherwise`. */
async function withNewToken(attempt: Attempt, otherwise: () => Promise<Step>): Promise<Step> {
  const { deps, session, account } = attempt;
  const before = session.authRefusedVersion;
  if (before !== null && before < account.version) return otherwise();
  const { id, version, status, reason, failures, nextAt } = session;
  const note = { status, reason, failures, nextAt, authRefusedVersion: account.version };
  await noteSession(deps.db, id, version, note);
  return renewAccount(attempt);
}

function renewAccount({ deps, session, account }: Attempt): Step {
  const now = deps.now();
  const renewal = { renewAccount: { accountId: account.accountId, ifVersion: account.version } };
  return { ...waiting({ ...facts(session), why: 'waits for new tokens of its account' }, now, now), ...renewal };
}

/** Not even a fresh token is accepted: a person must sign in. The refresh token is kept. */
async function signInAgain({ deps, session, account }: Attempt, detail: string): Promise<Step> {
  const reason = `a fresh token is refused: ${detail}`;
  await inTransaction(deps.db, (trx) => markSignInRequired(trx, account, reason));
  return stop(deps, session, 'reauth_required', 'its account must be signed in again');
}

async function limited(attempt: Attempt): Promise<Step> {
  const { deps, session } = attempt;
  if (isKept(attempt)) return giveUpRenewal(attempt, 'session_limit', AT_LIMIT);
  const now = deps.now();
  const at = now + LIMITED_RETRY_MS;
  const why = AT_LIMIT;
  await note(deps, session, { status: 'limited', reason: why, failures: session.failures + 1, nextAt: new Date(at) });
  return waiting({ ...facts(session), status: 'limited', result: 'session_limit', why }, now, at);
}

/** A limit that is lower than ours, or a licence: it can pass without anybody's doing. */
async function forbidden(attempt: Attempt, why: string): Promise<Step> {
  const { deps, session } = attempt;
  if (isKept(attempt)) return giveUpRenewal(attempt, 'forbidden', why);
  const now = deps.now();
  const at = now + FORBIDDEN_RETRY_MS;
  await note(deps, session, { status: 'failed', reason: why, failures: session.failures + 1, nextAt: new Date(at) });
  const { id, version } = session;
  return waiting({ id, version, status: 'failed', result: 'forbidden', why }, now, at);
}

/** What follows for a session from the renewal of its account's tokens that it waited for. */
export async function afterRenewal(
  deps: HytaleDeps,
  sessionId: string,
  account: Pick<HytaleView, 'result' | 'why' | 'retryAfterMs'>,
): Promise<SessionStep> {
  const session = await findSession(deps.db, deps.environment, sessionId);
  if (session === undefined) {
    return { ...over({ id: sessionId, status: 'gone', version: 0, why: 'the session has ended' }), push: false };
  }
  const now = deps.now();
  if (account.result === 'done') return { ...waiting({ ...facts(session), why: account.why }, now, now), push: false };
  if (account.result === 'reauth_required' || account.result === 'gone') {
    return { ...(await stop(deps, session, 'reauth_required', account.why)), push: false };
  }
  const failed = { detail: account.why, httpStatus: null, retryAfterMs: account.retryAfterMs };
  return { ...(await later({ deps, session }, failed, account.result)), push: false };
}

/** A later attempt can succeed. */
async function later(
  { deps, session }: Pick<Attempt, 'deps' | 'session'>,
  failed: Pick<Unavailable, 'detail' | 'httpStatus' | 'retryAfterMs'>,
  result: HytaleResult = 'unavailable',
): Promise<Step> {
  const now = deps.now();
  const failures = session.failures + 1;
  const at = now + retryWait(failures, failed.retryAfterMs);
  const status = lives(deps, session) ? session.status : 'requested';
  await note(deps, session, { status, reason: failed.detail, failures, nextAt: new Date(at) });
  return waiting({ ...facts(session), status, result, why: failed.detail, retryAfterMs: failed.retryAfterMs }, now, at);
}

const AT_LIMIT = 'the account has as many sessions as Hytale allows';

/** The pair that was to be replaced lives: it stays, and is renewed as before. */
const isKept = ({ deps, session }: Attempt): boolean => isRenewal(session) && lives(deps, session);

async function giveUpRenewal({ deps, session }: Attempt, result: HytaleResult, why: string): Promise<Step> {
  await dropFreshPair(deps.db, session.id, session.version, why);
  const now = deps.now();
  return waiting({ ...facts(session), result, why }, now, now);
}

/** Only somebody who acts can help. */
async function halt(attempt: Attempt, result: HytaleResult, why: string): Promise<Step> {
  const { deps, session } = attempt;
  if (isKept(attempt)) return giveUpRenewal(attempt, result, why);
  await note(deps, session, { status: 'failed', reason: why, failures: session.failures + 1, nextAt: null });
  return waiting({ ...facts(session), status: 'failed', result, why }, deps.now(), null);
}

/** Its account must be signed in first. A pair that still lives is good until it expires. */
async function stop(deps: HytaleDeps, session: StoredSession, result: HytaleResult, why: string): Promise<Step> {
  const alive = lives(deps, session);
  const status: SessionStatus = alive ? 'active' : session.sessionToken === '' ? 'requested' : 'lapsed';
  const nextAt = alive ? session.expiresAt : null;
  await note(deps, session, { status, reason: why, failures: session.failures, nextAt });
  return waiting({ ...facts(session), status, result, why }, deps.now(), nextAt?.getTime() ?? null);
}

const lives = (deps: HytaleDeps, { sessionToken, expiresAt }: StoredSession): boolean =>
  sessionToken !== '' && expiresAt.getTime() > deps.now();

const note = (
  deps: HytaleDeps,
  session: StoredSession,
  change: { status: SessionStatus; reason: string; failures: number; nextAt: Date | null },
): Promise<unknown> => noteSession(deps.db, session.id, session.version, change);

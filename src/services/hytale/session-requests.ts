/** Requests about game sessions. */
import { AppError, isAppError } from '../../domain/errors.ts';
import { MIN_HANDOUT_MS } from '../../domain/hytale/lifecycle.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { opened } from '../../store/hytale/secrets.ts';
import {
  findSession,
  insertSession,
  lockSessionCreations,
  markEnding,
  noteSessionRequester,
  otherSessionOf,
  type StoredSession,
  serverExists,
  sessionsOfAccount,
  setServer,
  wantFreshPair,
} from '../../store/hytale/session-store.ts';
import { accountOf, askSession, type HytaleServiceDeps, reach, record } from './ask.ts';
import type { NewPair, Requester, SessionChoice } from './hytale.ts';

const target = (id: string) => ({ type: 'hytale-session', id }) as const;

/**
 * A session of a server, or of none. One that is there already gets a fresh pair: its container was created again, or its caller
 * has lost the tokens.
 */
export async function newSession(
  deps: HytaleServiceDeps,
  choice: Omit<SessionChoice, 'sessionId'>,
  who: Requester,
): Promise<NewPair> {
  const account = await accountOf(deps, choice.accountId);
  const profileUuid = choice.profileUuid ?? account.profileUuid;
  if (profileUuid === null) {
    throw new AppError('BAD_REQUEST', { publicMessage: 'profile_uuid is required or must be selected first' });
  }
  if (account.status === 'reauth_required') throw new AppError('REAUTH_REQUIRED');
  const { serverId = null } = choice;
  if (serverId !== null && !(await serverExists(deps.db, serverId))) {
    throw new AppError('NOT_FOUND', { publicMessage: 'Server not found' });
  }
  const begun = await begin(deps, { ...choice, profileUuid: profileUuid.toLowerCase(), serverId }, who);
  try {
    await askSession(deps, begun.id, { what: 'renew', ifVersion: begun.version });
    return await pairOf(deps, begun.id);
  } catch (error) {
    // A session of a server is tried again by its workflow. A later pair of one of no server would reach no caller.
    if (begun.version === 0 && serverId === null) await abandon(deps, begun.id);
    throw error;
  }
}

/** Finds or adds the row, under a lock, so that a repeated request finds the row of the first one. */
async function begin(
  deps: HytaleServiceDeps,
  wanted: { accountId: string; profileUuid: string; serverId: string | null },
  who: Requester,
): Promise<{ id: string; version: number }> {
  const { accountId, profileUuid, serverId } = wanted;
  return inTransaction(deps.db, async (trx) => {
    await lockSessionCreations(trx, accountId);
    // The account is locked, so that it is not being disconnected meanwhile.
    const { status } = await accountOf(deps, accountId, { trx, lock: true });
    if (status === 'closing') throw new AppError('CONFLICT', { publicMessage: 'The account is being disconnected' });
    const found = (await sessionsOfAccount(trx, deps.environment, accountId)).find(
      (session) =>
        session.profileUuid === profileUuid && session.serverId === serverId && (serverId !== null || isFree(session)),
    );
    if (found !== undefined) {
      await noteSessionRequester(trx, found.id, who);
      await record(deps, trx, who, 'hytale-session-renewed', target(found.id), { server: serverId });
      return { id: found.id, version: found.version };
    }
    if (serverId !== null) await refuseSecond(deps, trx, serverId, wanted);
    const { ipAddress, userAgent } = who;
    const id = await insertSession(trx, { environment: deps.environment, ...wanted, ipAddress, userAgent });
    await record(deps, trx, who, 'hytale-session-created', target(id), { account: accountId, server: serverId });
    return { id, version: 0 };
  });
}

/** A server has one set of variables. @throws {AppError} CONFLICT when it has a session of another account or profile. */
async function refuseSecond(
  deps: HytaleServiceDeps,
  trx: Db,
  serverId: string,
  own: { accountId: string; profileUuid: string },
): Promise<void> {
  if ((await otherSessionOf(trx, deps.environment, serverId, own)) === undefined) return;
  throw new AppError('CONFLICT', {
    publicMessage:
      'The server has a game session of another account or profile: end it, or link it to no server, first',
  });
}

/** Of no server, and never of one that is gone. */
const isFree = ({ serverId, linkedAt }: StoredSession): boolean => serverId === null && linkedAt === null;

async function abandon(deps: HytaleServiceDeps, id: string): Promise<void> {
  await markEnding(deps.db, id);
  // The watch takes it up if Temporal is away now.
  await deps.engine.wake
    .session(id)
    .catch((error: unknown) => deps.log.warn({ err: error }, 'a session was not woken'));
}

async function pairOf(deps: HytaleServiceDeps, id: string): Promise<NewPair> {
  const session = await sessionOf(deps, id);
  const sessionToken = opened(deps.encryption, session.sessionToken);
  const identityToken = opened(deps.encryption, session.identityToken);
  if (sessionToken === undefined || identityToken === undefined || session.status !== 'active') {
    throw new AppError('HYTALE_ERROR', { meta: { reason: session.reason, sessionId: id } });
  }
  if (session.expiresAt.getTime() - deps.now() < MIN_HANDOUT_MS) {
    throw new AppError('HYTALE_ERROR', { publicMessage: 'The tokens of the session have too little time left' });
  }
  return { sessionId: id, sessionToken, identityToken, expiresAt: session.expiresAt.toISOString() };
}

export async function refreshSession(deps: HytaleServiceDeps, choice: SessionChoice, who: Requester): Promise<void> {
  const { id, version } = await chosenSession(deps, choice);
  await inTransaction(deps.db, async (trx) => {
    await noteSessionRequester(trx, id, who);
    await record(deps, trx, who, 'hytale-session-refreshed', target(id));
  });
  await askSession(deps, id, { what: 'refresh', ifVersion: version });
}

/** Ends a session; returns when it has ended, at Hytale too as far as that can be reached. */
export async function endOneSession(deps: HytaleServiceDeps, id: string, who: Requester): Promise<void> {
  await inTransaction(deps.db, async (trx) => {
    await noteSessionRequester(trx, id, who);
    if (await markEnding(trx, id)) await record(deps, trx, who, 'hytale-session-ended', target(id));
  });
  await askSession(deps, id, { what: 'look' }).catch((error: unknown) => {
    // Somebody else has ended it meanwhile.
    if (!isAppError(error, 'SESSION_NOT_FOUND')) throw error;
  });
}

/** A fresh pair. With `restart` the server is restarted once it has been pushed. */
export async function renewSession(
  deps: HytaleServiceDeps,
  id: string,
  { restart }: { restart: boolean },
  who: Requester,
): Promise<void> {
  const { version, serverId } = await sessionOf(deps, id);
  if (restart && serverId === null) {
    throw new AppError('CONFLICT', { publicMessage: 'The session is linked to no server that could be restarted' });
  }
  await inTransaction(deps.db, async (trx) => {
    await noteSessionRequester(trx, id, who);
    await wantFreshPair(trx, id, { restart, ifVersion: version });
    await record(deps, trx, who, 'hytale-session-renewed', target(id), { restart });
  });
  await askSession(deps, id, { what: 'renew', ifVersion: version });
}

/** Links a session to a server, or to none; its pair is pushed to the new one. */
export async function linkSession(
  deps: HytaleServiceDeps,
  id: string,
  serverId: string | null,
  who: Requester,
): Promise<void> {
  const { accountId } = await sessionOf(deps, id);
  if (serverId !== null && !(await serverExists(deps.db, serverId))) {
    throw new AppError('NOT_FOUND', { publicMessage: 'Server not found' });
  }
  await inTransaction(deps.db, async (trx) => {
    await lockSessionCreations(trx, accountId);
    const session = await findSession(trx, deps.environment, id, { lock: true });
    if (session === undefined || session.serverId === serverId) return;
    const others = (await sessionsOfAccount(trx, deps.environment, accountId)).filter(
      (other) => other.id !== id && other.profileUuid === session.profileUuid,
    );
    if (others.some((other) => (serverId === null ? isFree(other) : other.serverId === serverId))) {
      const which =
        serverId === null
          ? 'The profile has a session of no server already'
          : 'The server has a session of this profile already';
      throw new AppError('CONFLICT', { publicMessage: which });
    }
    if (serverId !== null) await refuseSecond(deps, trx, serverId, session);
    await setServer(trx, id, serverId);
    await noteSessionRequester(trx, id, who);
    await record(deps, trx, who, 'hytale-session-linked', target(id), { before: session.serverId, after: serverId });
  });
  await reach(() => deps.engine.wake.session(id));
}

/** @throws {AppError} SESSION_NOT_FOUND. */
export async function sessionOf(deps: HytaleServiceDeps, id: string): Promise<StoredSession> {
  const session = await findSession(deps.db, deps.environment, id);
  if (session === undefined) throw new AppError('SESSION_NOT_FOUND');
  return session;
}

/**
 * The session that a caller means. The routes of the existing service name an account and perhaps a profile: that is the
 * session of no server, else the only one.
 * @throws {AppError} SESSION_NOT_FOUND, CONFLICT.
 */
export async function chosenSession(deps: HytaleServiceDeps, choice: SessionChoice): Promise<StoredSession> {
  const account = await accountOf(deps, choice.accountId);
  const all = await sessionsOfAccount(deps.db, deps.environment, choice.accountId);
  const { sessionId, serverId } = choice;
  const named = sessionId !== undefined || serverId !== undefined;
  const profileUuid = (choice.profileUuid ?? (named ? undefined : (account.profileUuid ?? undefined)))?.toLowerCase();
  if (profileUuid === undefined && !named) {
    throw new AppError('BAD_REQUEST', { publicMessage: 'profile_uuid is required or must be selected first' });
  }
  const fitting = all.filter(
    (session) =>
      (profileUuid === undefined || session.profileUuid === profileUuid) &&
      (sessionId === undefined || session.id === sessionId.toLowerCase()) &&
      (serverId === undefined || session.serverId === serverId),
  );
  const free = named ? [] : fitting.filter(isFree);
  const meant = free.length > 0 ? free : fitting;
  const [only] = meant;
  if (only === undefined) throw new AppError('SESSION_NOT_FOUND');
  if (meant.length === 1) return only;
  throw new AppError('CONFLICT', {
    publicMessage: 'Several game sessions fit: name one by session_id or server_id',
    details: [
      { path: 'session_id', message: 'id of the session' },
      { path: 'server_id', message: 'id of its server' },
    ],
  });
}

/**
 * Brings the tokens of a game session to the startup variables of its server, and restarts the server where that was asked
 * for. Each call is one attempt with the pair that the row has now; a process that ends in between repeats it, which does no
 * harm. What became of it is noted for the pair that was sent.
 */
import type { Logger } from 'pino';
import type { PanelClient } from '../../clients/panel/client.ts';
import { AppError } from '../../domain/errors.ts';
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import { LATER_RETRY_MS, MIN_HANDOUT_MS } from '../../domain/hytale/lifecycle.ts';
import type { Secret } from '../../domain/secret.ts';
import type { Db } from '../../store/db/db.ts';
import type { Encryption } from '../../store/db/encryption.ts';
import { findSessionToPush, type SessionToPush } from '../../store/hytale/push-reads.ts';
import { endRestartWish, forgetPushed, noteNotPushed, notePushed } from '../../store/hytale/push-store.ts';
import { opened } from '../../store/hytale/secrets.ts';
import type { HytaleBudget } from '../inventory/client-budget.ts';
import { type FailedWrite, isNotEditable, type Refusal, refusalOf } from './push-refusal.ts';

export interface PushDeps {
  db: Db;
  encryption: Encryption;
  environment: HytaleEnvironment;
  /** @throws {AppError} PANEL_NOT_CONFIGURED. */
  panel: () => Promise<PanelClient>;
  /** What the requests with the client key are taken from. */
  budget: HytaleBudget;
  /** Names of the variables that get each token; of them, those that the egg has. */
  variables: { readonly session: readonly string[]; readonly identity: readonly string[] };
  /** Unix milliseconds. */
  now(): number;
  /** From 0 to 1: spreads the sessions that wait for the budget. */
  random(): number;
  log: Logger;
}

/** `stale`: the pair has too little time left to be handed to a server; a fresh one is to be fetched. */
export type PushStep = { state: 'done' } | { state: 'wait'; ms: number; why: string } | { state: 'stale'; why: string };

/** Where the server of a session is at the panel. */
type Server = NonNullable<SessionToPush['server']>;

const DONE: PushStep = { state: 'done' };
/** Pause when this process lacks the key of the tokens; another process may have it. */
const OTHER_KEY_MS = 60_000;
const NOT_IN_MIRROR = 'The server of this session is not known as a server of the panel: run a sync';
const UNREADABLE = 'The tokens of this session were encrypted with another key: check ENCRYPTION_KEY';
/** Sessions that wait for the budget ask again within this time, so that they do not ask all at once. */
const SPREAD_MS = 20_000;
const NO_BUDGET =
  'The requests of this minute that Hytale may make with the client API key are used up: the push goes on by itself. If it waits often, raise the rate limit of the client API at the panel';
const PAUSED = 'The panel asked for a pause, or failed a moment ago: the push goes on by itself';
const MOVED = 'the session changed while its pair was pushed';

/** One attempt to bring a session's present pair to its server. @throws errors of the database. */
export async function pushSession(deps: PushDeps, { sessionId }: { sessionId: string }): Promise<PushStep> {
  const names = [...deps.variables.session, ...deps.variables.identity];
  const session = await findSessionToPush(deps.db, sessionId, deps.environment, names);
  if (session === undefined || session.status !== 'active' || session.version === 0) return DONE;
  if (session.serverId === null) {
    if (session.pushStatus !== 'none')
      await noteNotPushed(deps.db, session, { status: 'none', reason: null, failures: 0 });
    return DONE;
  }
  if (session.pushedVersion === session.version && !session.restartWanted) return DONE;
  const { server } = session;
  if (server === null) return hold(deps, session, { status: 'pending', reason: NOT_IN_MIRROR, ms: LATER_RETRY_MS });
  if (session.variables.length === 0) return nothingToSet(deps, session);
  if (session.expiresAt.getTime() - deps.now() < MIN_HANDOUT_MS) return tooOld(deps, session);
  if (session.pushedVersion === session.version) return restart(deps, session, server);
  const step = await pushPair(deps, session, server);
  if (step !== undefined || !session.restartWanted) return step ?? DONE;
  return restart(deps, { ...session, pushedVersion: session.version, pushFailures: 0 }, server);
}

/** The egg has none of the variables: nothing is pushed, so a restart would be for nothing. */
async function nothingToSet(deps: PushDeps, session: SessionToPush): Promise<PushStep> {
  const reason = `The egg of the server has none of the variables ${namesOf(deps, ['session', 'identity'])}: add one for each token, and run a sync`;
  if (!(await noteNotPushed(deps.db, session, { status: 'none', reason, failures: 0 }))) return moved(deps, session);
  if (session.restartWanted) await endRestartWish(deps.db, session, reason);
  return DONE;
}

const namesOf = ({ variables }: PushDeps, kinds: readonly ('session' | 'identity')[]): string =>
  kinds.flatMap((kind) => variables[kind]).join(', ');

/** A fresh pair is needed. Where one is asked for already, it is waited for. */
async function tooOld(deps: PushDeps, session: SessionToPush): Promise<PushStep> {
  const why = 'The pair has less than ten minutes left: a fresh one is pushed as soon as it is there';
  if (session.wantedVersion > session.version) {
    return hold(deps, session, { status: 'pending', reason: why, ms: LATER_RETRY_MS });
  }
  return { state: 'stale', why };
}

/** @returns undefined: the pair is at the server, and that is noted. */
async function pushPair(deps: PushDeps, session: SessionToPush, server: Server): Promise<PushStep | undefined> {
  const sessionToken = opened(deps.encryption, session.sessionToken);
  const identityToken = opened(deps.encryption, session.identityToken);
  if (sessionToken === undefined || identityToken === undefined) {
    return hold(deps, session, { status: 'pending', reason: UNREADABLE, ms: OTHER_KEY_MS });
  }
  const values = new Map<string, Secret>();
  for (const { name } of session.variables) {
    values.set(name, deps.variables.session.includes(name) ? sessionToken : identityToken);
  }
  const open = session.variables.every((variable) => variable.open);
  const held = open ? await heldByBudget(deps, session, values.size) : undefined;
  if (held !== undefined) return held;
  const failed = await setVariables(deps, server, values, { open });
  if (failed !== undefined) return refused(deps, session, failed);
  const note = { variables: [...values.keys()], reason: missing(deps, session), at: new Date(deps.now()) };
  return (await notePushed(deps.db, session, note)) ? undefined : moved(deps, session);
}

/** Which token has no variable; null: both have one. */
function missing(deps: PushDeps, { variables }: SessionToPush): string | null {
  for (const kind of ['session', 'identity'] as const) {
    if (variables.some(({ name }) => deps.variables[kind].includes(name))) continue;
    return `The egg of the server has no variable for the ${kind} token: add ${namesOf(deps, [kind]).replaceAll(', ', ' or ')}, and run a sync`;
  }
  return null;
}

/** Sets the variables as users do; all at once as an administrator, if users may not edit one of them. */
async function setVariables(
  deps: PushDeps,
  server: Server,
  values: ReadonlyMap<string, Secret>,
  asSeen: { open: boolean },
): Promise<FailedWrite | undefined> {
  let { open } = asSeen;
  for (const [name, value] of open ? values : []) {
    const failed = await tried({ api: 'client', name }, async () => {
      const { throttle } = await (await deps.panel()).setVariable(server.uuid, name, value);
      await deps.budget.heed(throttle);
    });
    open = !isNotEditable(failed?.error);
    if (!open) break;
    if (failed !== undefined) return failed;
  }
  if (open) return undefined;
  return tried({ api: 'application' }, async () => (await deps.panel()).updateStartup(server.panelId, values));
}

/** @throws errors that are not of the panel. */
async function tried(
  about: Omit<FailedWrite, 'error'>,
  write: () => Promise<unknown>,
): Promise<FailedWrite | undefined> {
  try {
    await write();
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return { ...about, error };
    throw error;
  }
}

/** Restarts the server, which reads its variables when it starts. */
async function restart(deps: PushDeps, session: SessionToPush, server: Server): Promise<PushStep> {
  if (session.wantedVersion > session.version) {
    return { state: 'wait', ms: LATER_RETRY_MS, why: 'the server is restarted with a fresh pair, which is waited for' };
  }
  const held = await heldByBudget(deps, session, 1);
  if (held !== undefined) return held;
  const failed = await tried({ api: 'client' }, async () => (await deps.panel()).power(server.uuid, 'restart'));
  if (failed !== undefined) return refused(deps, session, failed);
  await endRestartWish(deps.db, session, missing(deps, session));
  return DONE;
}

/** Takes requests of the budget. @returns undefined: they may be sent. Else what is waited for; that is no failure. */
async function heldByBudget(deps: PushDeps, session: SessionToPush, requests: number): Promise<PushStep | undefined> {
  const taken = await deps.budget.take('push', requests);
  if (taken.granted) return undefined;
  const ms = Math.round(taken.ms + deps.random() * SPREAD_MS);
  const reason = taken.paused ? PAUSED : NO_BUDGET;
  return hold(deps, session, { status: 'pending', reason, ms }, session.pushFailures);
}

async function refused(deps: PushDeps, session: SessionToPush, failed: FailedWrite): Promise<PushStep> {
  const { code, meta, retryAfterMs } = failed.error;
  if (failed.api === 'client' && code === 'PANEL_RATE_LIMITED') await deps.budget.pause(retryAfterMs ?? SPREAD_MS);
  const refusal = refusalOf(failed, session.variables, session.pushFailures + 1);
  deps.log.warn(
    { sessionId: session.id, serverId: session.serverId, code, status: meta?.['status'], variable: failed.name },
    'the tokens of a game session could not be pushed to its server',
  );
  return hold(deps, session, refusal);
}

/** Notes why it did not succeed, and waits. A session whose server must only be restarted stays pushed. */
async function hold(
  deps: PushDeps,
  session: SessionToPush,
  { status, reason, ms }: Refusal,
  failures = session.pushFailures + 1,
): Promise<PushStep> {
  const pushed = session.pushedVersion === session.version;
  const noted = await noteNotPushed(deps.db, session, {
    status: pushed ? 'pushed' : status,
    reason: pushed ? `The tokens are pushed, but the server is not restarted yet. ${reason}` : reason,
    failures,
  });
  return noted ? { state: 'wait', ms, why: reason } : moved(deps, session);
}

/** An older pair may have arrived at the server after a newer one: the present one is pushed again. */
async function moved(deps: PushDeps, { id }: SessionToPush): Promise<PushStep> {
  await forgetPushed(deps.db, id);
  return { state: 'wait', ms: 0, why: MOVED };
}

/**
 * Rows whose workflow does not run get one: rows of an adopted database, rows whose workflow somebody ended in Temporal, and
 * all of them after the loss of Temporal's store. What they then do takes its turn. A workflow whose row has nothing
 * to do yet waits until it has: a look at ten thousand rows would keep those waiting that are due.
 */
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import { DEAD_SESSION_MS } from '../../domain/hytale/lifecycle.ts';
import type { Db } from '../../store/db/db.ts';
import { accountsToRun, type RunningRow, takeForeignRows } from '../../store/hytale/account-store.ts';
import { openLogins } from '../../store/hytale/login-store.ts';
import { markDead, sessionsToRun } from '../../store/hytale/session-store.ts';
import type { HytaleEngine, HytaleKind } from '../../temporal/hytale-engine.ts';
import { hytaleAccountId, hytaleLoginId, hytaleSessionId } from '../../workflows/contract.ts';

interface WatchDeps {
  db: Db;
  environment: HytaleEnvironment;
  engine: HytaleEngine;
  log: Logger;
}

/** Workflows that are being started at the same time. */
const STARTS_AT_ONCE = 8;
/** Rows that are marked in one statement. */
const BATCH = 500;

/**
 * Starts what does not run. @returns numbers of rows that were taken over, and of workflows that were started.
 * @throws errors of the database and of Temporal; what was started until then stays.
 */
export async function watchHytale(deps: WatchDeps, signal?: AbortSignal): Promise<Record<string, number>> {
  const { db, environment, engine, log } = deps;
  const taken = await takeForeignRows(db, environment);
  // The list of running workflows is some moments old. A start of one that runs does nothing.
  const running = await engine.running();
  const started = {
    accounts: await startMissing(deps, 'account', await accountsToRun(db, environment), running, signal),
    sessions: await startMissing(deps, 'session', await sessionsToRun(db, environment), running, signal),
    logins: await startMissing(deps, 'login', await openLogins(db, environment), running, signal),
  };
  const total = started.accounts + started.sessions + started.logins;
  if (taken + total > 0) log.info({ taken, ...started }, 'Hytale accounts and sessions were taken up');
  return { taken, ...started };
}

/** Starts the workflows of rows that have none, in their order. @returns how many. */
async function startMissing(
  { engine }: WatchDeps,
  kind: HytaleKind,
  rows: readonly RunningRow[],
  running: ReadonlySet<string>,
  signal?: AbortSignal,
): Promise<number> {
  const missing = rows.filter(({ id }) => !running.has(WORKFLOW_ID[kind](id)));
  const limit = pLimit(STARTS_AT_ONCE);
  const started = await limit.map(
    missing,
    async ({ id, dueAt }) => signal?.aborted !== true && (await engine.start(kind, id, dueAt ?? undefined)),
  );
  return started.filter(Boolean).length;
}

const WORKFLOW_ID = { account: hytaleAccountId, session: hytaleSessionId, login: hytaleLoginId } as const;

/** Ends sessions of no server whose pair died hours ago. @returns how many. */
export async function endDeadSessions(deps: WatchDeps, now: number): Promise<number> {
  const before = new Date(now - DEAD_SESSION_MS);
  let total = 0;
  for (let ids: string[] | undefined; ids === undefined || ids.length === BATCH; total += ids.length) {
    ids = await markDead(deps.db, deps.environment, before, BATCH);
    for (const id of ids) await deps.engine.wake.session(id);
  }
  return total;
}

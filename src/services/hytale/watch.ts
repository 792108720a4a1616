/**
 * Rows whose workflow does not run get one: rows of an adopted database, rows whose workflow somebody ended in Temporal, and
 * all of them after the loss of Temporal's store. Workflows are started one after the other; what they then do is limited
 * by their queue.
 */
import type { Logger } from 'pino';
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import { DEAD_SESSION_MS } from '../../domain/hytale/lifecycle.ts';
import type { Db } from '../../store/db/db.ts';
import { accountIds, takeForeignRows } from '../../store/hytale/account-store.ts';
import { openLogins } from '../../store/hytale/login-store.ts';
import { markDead, sessionIds } from '../../store/hytale/session-store.ts';
import type { HytaleEngine } from '../../temporal/hytale-engine.ts';
import { hytaleAccountId, hytaleLoginId, hytaleSessionId } from '../../workflows/contract.ts';

interface WatchDeps {
  db: Db;
  environment: HytaleEnvironment;
  engine: HytaleEngine;
  log: Logger;
}

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
  const started = { accounts: 0, sessions: 0, logins: 0 };
  for (const id of await accountIds(db, environment)) {
    if (signal?.aborted) break;
    if (!running.has(hytaleAccountId(id)) && (await engine.start('account', id))) started.accounts += 1;
  }
  for (const id of await sessionIds(db, environment)) {
    if (signal?.aborted) break;
    if (!running.has(hytaleSessionId(id)) && (await engine.start('session', id))) started.sessions += 1;
  }
  for (const id of await openLogins(db, environment)) {
    if (signal?.aborted) break;
    if (!running.has(hytaleLoginId(id)) && (await engine.start('login', id))) started.logins += 1;
  }
  const total = started.accounts + started.sessions + started.logins;
  if (taken + total > 0) log.info({ taken, ...started }, 'Hytale accounts and sessions were taken up');
  return { taken, ...started };
}

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

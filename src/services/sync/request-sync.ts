/** Requests a sync: writes its PENDING row and starts its workflow, or joins the same request that runs already. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { AuditAction, AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import type { SyncStatus } from '../../domain/sync/targets.ts';
import type { Transaction } from '../../store/db/db.ts';
import {
  type ActiveRun,
  findRun,
  insertPendingLog,
  type SyncRequest,
  withdrawPendingLog,
} from '../../store/sync/run-store.ts';
import { isNamespaceMissing, isUnreachable } from '../../temporal/connection.ts';
import { PANEL_SYNC_ID } from '../../workflows/contract.ts';
import { recordChange } from '../audit/record-change.ts';
import { type RunToStart, type SyncDeps, startRun } from './start-run.ts';
import { watchSync } from './watch.ts';

export interface RequestSync extends Pick<SyncRequest, 'target' | 'requestedBy'> {
  dryRun?: boolean | undefined;
  skipUsers?: boolean | undefined;
  /** `cli`, `scheduler` or the id of a user; absent: `api`. Temporal gets this word, and not `requestedBy`. */
  requester?: string | undefined;
  /** Who is recorded in the audit; absent: the schedule, which is not. */
  by?: AuditOrigin | undefined;
  /** Id of the failed sync that this one repeats: the audit then records a retry of that run. */
  retryOf?: string | undefined;
  /** From a caller who may repeat the request: the same id is the same request. */
  id?: string | undefined;
}

export interface SyncTicket {
  syncLogId: string;
  /** Opaque; the run id where it is known. */
  taskId: string;
  status: SyncStatus;
  /** The same request was running already. */
  joined: boolean;
}

/** Pauses between tries to start while the run before is between closing its row and its end. */
const BETWEEN_RUNS_MS = [100, 300, 1_000];
const RETRY_AFTER_MS = 5_000;
/** Tries to insert the row while the active row that stands in the way keeps disappearing. */
const MAX_INSERTS = 3;

/**
 * Starts a sync, or joins the running one if it was requested with the same options.
 * @throws {AppError} SYNC_RUNNING for another request; SERVICE_UNAVAILABLE when Temporal cannot be reached and the
 * request was withdrawn.
 */
export async function requestSync(deps: SyncDeps, input: RequestSync): Promise<SyncTicket> {
  const request: SyncRequest = {
    target: input.target,
    dryRun: input.dryRun ?? false,
    skipUsers: input.skipUsers ?? false,
    requestedBy: input.requestedBy,
    requester: input.requester ?? 'api',
  };
  const id = input.id ?? randomUUID();
  const joined = await insertOrFind(deps, id, request, {
    repeatable: input.id !== undefined,
    record: recordRequest(deps, input, { id, ...request }),
  });
  return joined === undefined ? startPending(deps, { id, ...request }, input.by) : join(deps, joined);
}

/** Records what becomes of a request, in the transaction that changes its row. */
const recorder =
  (
    { log }: Pick<SyncDeps, 'log'>,
    action: AuditAction,
    { target, dryRun, skipUsers }: RunToStart,
    by: AuditOrigin | undefined,
  ) =>
  async (trx: Transaction, id: string): Promise<void> => {
    if (by === undefined) return;
    const details = { target, dryRun, skipUsers };
    await recordChange({ trx, log }, by, { action, target: { type: 'sync', id }, details });
  };

/** Records the request, in the transaction that inserts its row. */
function recordRequest({ log }: SyncDeps, { by, retryOf }: RequestSync, run: RunToStart) {
  if (retryOf === undefined) return recorder({ log }, 'sync-requested', run, by);
  const { target, dryRun, skipUsers } = run;
  return async (trx: Transaction, id: string): Promise<void> => {
    if (by === undefined) return;
    const details = { kind: 'sync', sync: id, target, dryRun, skipUsers };
    await recordChange({ trx, log }, by, { action: 'run-retried', target: { type: 'run', id: retryOf }, details });
  };
}

/**
 * Inserts the PENDING row.
 * @returns undefined when the row was inserted; otherwise the run to join.
 * @throws {AppError} SYNC_RUNNING.
 */
async function insertOrFind(
  deps: SyncDeps,
  id: string,
  request: SyncRequest,
  options: { repeatable: boolean; record: ReturnType<typeof recorder> },
): Promise<ActiveRun | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    if (await insertPendingLog(deps.db, id, request, options.record)) return undefined;
    const repeated = options.repeatable ? await findRun(deps.db, id) : undefined;
    if (repeated !== undefined) return repeated;
    const running = await findRun(deps.db);
    if (running !== undefined) {
      if (isSameRequest(running, request) && !running.cancelling) return running;
      // The row may be left over from a run that no longer exists: check once, then refuse.
      if (attempt === 1 && (await watchSync(deps).catch(() => 'nothing')) === 'closed') continue;
      throw new AppError('SYNC_RUNNING', {
        publicMessage: running.cancelling
          ? 'A sync is being cancelled, try again in a moment'
          : `Another sync is running (${running.target})`,
      });
    }
    if (attempt >= MAX_INSERTS) throw new AppError('SYNC_RUNNING');
  }
}

const isSameRequest = (run: ActiveRun, request: SyncRequest): boolean =>
  run.target === request.target && run.dryRun === request.dryRun && run.skipUsers === request.skipUsers;

/** Starts the run of the row that this request inserted; takes the row back when it cannot be started. */
async function startPending(deps: SyncDeps, run: RunToStart, by: AuditOrigin | undefined): Promise<SyncTicket> {
  const { id } = run;
  try {
    let runId = await startRun(deps, run);
    for (const pause of BETWEEN_RUNS_MS) {
      if (runId !== undefined) break;
      await delay(pause);
      const now = await findRun(deps.db, id);
      if (now === undefined || now.status !== 'PENDING') break;
      runId = await startRun(deps, run);
    }
    return { syncLogId: id, taskId: runId ?? PANEL_SYNC_ID, status: 'PENDING', joined: false };
  } catch (error) {
    if (!isUnreachable(error)) deps.log.error({ err: error, logId: id }, 'a sync could not be started');
    if (!(await withdrawPendingLog(deps.db, id, recorder(deps, 'sync-withdrawn', run, by)))) {
      return { syncLogId: id, taskId: PANEL_SYNC_ID, status: 'RUNNING', joined: false };
    }
    throw engineUnavailable(deps, error);
  }
}

/** The 503 of a start that failed: it says whether Temporal is away or has no such namespace. */
function engineUnavailable({ temporal }: SyncDeps, cause: unknown): AppError {
  return new AppError('SERVICE_UNAVAILABLE', {
    publicMessage: isNamespaceMissing(cause)
      ? `The workflow engine has no namespace "${temporal.namespace}"`
      : 'The workflow engine cannot be reached',
    retryAfterMs: RETRY_AFTER_MS,
    cause,
  });
}

async function join(deps: SyncDeps, run: ActiveRun): Promise<SyncTicket> {
  let taskId = run.workflowRunId;
  if (run.status === 'PENDING') {
    try {
      taskId = (await startRun(deps, run)) ?? null;
    } catch (error) {
      // The request that inserted the row decides whether to withdraw it; this one only helped.
      deps.log.warn({ err: error, logId: run.id }, 'a pending sync could not be started by a joining request');
      if (isUnreachable(error) || isNamespaceMissing(error)) throw engineUnavailable(deps, error);
    }
  }
  return { syncLogId: run.id, taskId: taskId ?? PANEL_SYNC_ID, status: run.status, joined: true };
}

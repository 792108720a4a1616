/**
 * The one way to start and to cancel a sync, for API, CLI, schedule and watch. The PENDING row is the intent; the
 * workflow is only its executor, so nothing accepted is lost and nothing withdrawn runs.
 */

import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client';
import type { Logger } from 'pino';
import { AppError } from '../../domain/errors.ts';
import type { SyncStatus } from '../../domain/sync/targets.ts';
import type { Db } from '../../store/db/db.ts';
import {
  type ActiveRun,
  closeAbandonedRun,
  findRun,
  findStaleRun,
  insertPendingLog,
  listSyncLogs,
  markCancelled,
  type SyncRequest,
  withdrawPendingLog,
} from '../../store/sync/log-store.ts';
import { grpcCode, isUnreachable, type TemporalGateway } from '../../temporal/connection.ts';
import { PANEL_SYNC_ID, type PanelSyncInput, QUEUE, SEARCH_ATTRIBUTES } from '../../workflows/contract.ts';
import type { panelSync } from '../../workflows/index.ts';

export interface RequestSync extends Pick<SyncRequest, 'target' | 'requestedBy'> {
  dryRun?: boolean | undefined;
  skipUsers?: boolean | undefined;
  /** Given by a caller who may repeat the request: the same id is the same request. */
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

export interface SyncLauncher {
  /**
   * Starts a sync, or joins the one that was asked for in the same words.
   * @throws {AppError} SYNC_RUNNING (another request), SERVICE_UNAVAILABLE (Temporal away and the request withdrawn).
   */
  requestSync(request: RequestSync): Promise<SyncTicket>;
  /**
   * Cancels the active sync, or the one named. Once this returns nothing more is written.
   * @throws {AppError} NOT_FOUND, BAD_REQUEST when it is over already.
   */
  cancelSync(id?: string): Promise<{ syncLogId: string }>;
  /** Hands a cancel that is marked already to the run; one that cannot be handed over is only logged. */
  requestCancel(runId: string): Promise<void>;
  /** Starts what was left PENDING, repeats cancels, closes rows whose run is gone. @returns what was done. */
  watch(): Promise<'nothing' | 'started' | 'cancelled' | 'closed'>;
}

/** A start is answered within this or withdrawn. */
const START_DEADLINE_MS = 3_000;
const CALL_DEADLINE_MS = 2_000;
/** The old run is between closing its row and its end. */
const BETWEEN_RUNS_MS = [100, 300, 1_000];
const RETRY_AFTER_MS = 5_000;
/** Ages at which the watch takes a row for left behind. */
const STALE_PENDING_SECONDS = 10;
const STALE_CANCEL_SECONDS = 5;

export function createSyncLauncher(deps: { db: Db; temporal: TemporalGateway; log: Logger }): SyncLauncher {
  const { db, temporal, log } = deps;

  /** @returns the run id, or undefined when a run is there already. */
  async function start(
    run: Pick<ActiveRun, 'id' | 'dryRun' | 'skipUsers' | 'requestedBy' | 'target'>,
  ): Promise<string | undefined> {
    const input: PanelSyncInput = {
      logId: run.id,
      target: run.target as PanelSyncInput['target'],
      dryRun: run.dryRun,
      skipUsers: run.skipUsers,
      requestedBy: run.requestedBy,
    };
    const launch = async (attributes: boolean) => {
      const handle = await temporal.within(START_DEADLINE_MS, () =>
        temporal.client.workflow.start<typeof panelSync>('panelSync', {
          workflowId: PANEL_SYNC_ID,
          taskQueue: QUEUE.core,
          args: [input],
          workflowIdReusePolicy: 'ALLOW_DUPLICATE',
          workflowIdConflictPolicy: 'FAIL',
          staticSummary: `${run.dryRun ? 'Preview of a' : 'A'} ${run.target} sync`,
          staticDetails: `Log \`${run.id}\`, requested by \`${run.requestedBy}\`${run.skipUsers ? ', without users' : ''}`,
          memo: { logId: run.id },
          ...(attributes
            ? {
                typedSearchAttributes: [
                  { key: SEARCH_ATTRIBUTES.syncType, value: run.target },
                  { key: SEARCH_ATTRIBUTES.requestedBy, value: run.requestedBy },
                ],
              }
            : {}),
        }),
      );
      return handle.firstExecutionRunId;
    };
    try {
      return await launch(true);
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return undefined;
      // 3 = INVALID_ARGUMENT: the attributes are not registered there; a sync does not need them.
      if (grpcCode(error) !== 3) throw error;
      log.warn('search attributes are not registered; the sync starts without them');
      try {
        return await launch(false);
      } catch (again) {
        if (again instanceof WorkflowExecutionAlreadyStartedError) return undefined;
        throw again;
      }
    }
  }

  const sameRequest = (run: ActiveRun, request: SyncRequest) =>
    run.target === request.target && run.dryRun === request.dryRun && run.skipUsers === request.skipUsers;

  async function join(run: ActiveRun): Promise<SyncTicket> {
    let taskId = run.workflowRunId;
    if (run.status === 'PENDING') {
      try {
        taskId = (await start(run)) ?? null;
      } catch (error) {
        // Whoever inserted the row decides whether it is withdrawn; a joiner only helps.
        log.warn({ err: error, logId: run.id }, 'a pending sync could not be started by a joiner');
        if (isUnreachable(error))
          throw new AppError('SERVICE_UNAVAILABLE', { retryAfterMs: RETRY_AFTER_MS, cause: error });
      }
    }
    return { syncLogId: run.id, taskId: taskId ?? PANEL_SYNC_ID, status: run.status, joined: true };
  }

  async function requestSync(input: RequestSync): Promise<SyncTicket> {
    const request: SyncRequest = {
      target: input.target,
      dryRun: input.dryRun ?? false,
      skipUsers: input.skipUsers ?? false,
      requestedBy: input.requestedBy,
    };
    const id = input.id ?? randomUUID();
    for (let attempt = 0; ; attempt += 1) {
      if (await insertPendingLog(db, id, request)) break;
      const repeated = input.id === undefined ? undefined : await findRun(db, id);
      if (repeated !== undefined) return join(repeated);
      const running = await findRun(db);
      if (running !== undefined) {
        if (sameRequest(running, request) && !running.cancelling) return join(running);
        // The row may be left over from a run that is gone: look once, then answer.
        if (attempt === 0 && (await watch().catch(() => 'nothing')) === 'closed') continue;
        throw new AppError('SYNC_RUNNING', {
          detail: running.cancelling
            ? 'A sync is being cancelled, try again in a moment'
            : `Another sync is running (${running.target})`,
        });
      }
      if (attempt >= 2) throw new AppError('SYNC_RUNNING');
    }
    const run = { id, ...request };
    try {
      let runId = await start(run);
      for (const pause of BETWEEN_RUNS_MS) {
        if (runId !== undefined) break;
        await delay(pause);
        const now = await findRun(db, id);
        if (now === undefined || now.status !== 'PENDING') break;
        runId = await start(run);
      }
      return { syncLogId: id, taskId: runId ?? PANEL_SYNC_ID, status: 'PENDING', joined: false };
    } catch (error) {
      if (!isUnreachable(error)) log.error({ err: error, logId: id }, 'a sync could not be started');
      if (!(await withdrawPendingLog(db, id)))
        return { syncLogId: id, taskId: PANEL_SYNC_ID, status: 'RUNNING', joined: false };
      throw new AppError('SERVICE_UNAVAILABLE', {
        detail: 'The workflow engine cannot be reached',
        retryAfterMs: RETRY_AFTER_MS,
        cause: error,
      });
    }
  }

  async function cancelWorkflow(runId?: string): Promise<void> {
    try {
      await temporal.within(CALL_DEADLINE_MS, () => temporal.client.workflow.getHandle(PANEL_SYNC_ID, runId).cancel());
    } catch (error) {
      // Not an error for the caller: page writes, the apply's last statement and closeRun read the mark.
      if (!(error instanceof WorkflowNotFoundError))
        log.warn({ err: error }, 'the cancel could not be handed to the workflow engine');
    }
  }

  async function cancelSync(id?: string): Promise<{ syncLogId: string }> {
    const marked = await markCancelled(db, id);
    if (marked === undefined) {
      const known = id === undefined ? undefined : await findRun(db, id);
      if (id !== undefined && known === undefined) throw new AppError('NOT_FOUND', { detail: 'No sync found' });
      throw new AppError(id === undefined && !(await anyLog()) ? 'NOT_FOUND' : 'BAD_REQUEST', {
        detail: id === undefined && !(await anyLog()) ? 'No sync found' : 'Cannot cancel a sync that is not running',
      });
    }
    if (!marked.closed) await cancelWorkflow();
    return { syncLogId: marked.id };
  }

  async function anyLog(): Promise<boolean> {
    return (await listSyncLogs(db, { limit: 1, offset: 0 })).length > 0;
  }

  async function watch(): Promise<'nothing' | 'started' | 'cancelled' | 'closed'> {
    const stale = await findStaleRun(db, {
      pendingSeconds: STALE_PENDING_SECONDS,
      cancelSeconds: STALE_CANCEL_SECONDS,
    });
    if (stale === undefined) return 'nothing';
    if (stale.status === 'PENDING') {
      if (!stale.stalePending) return 'nothing';
      return (await start(stale)) === undefined ? 'nothing' : 'started';
    }
    const current = await describeRun(undefined);
    const opened = stale.workflowRunId === null ? undefined : await describeRun(stale.workflowRunId);
    // A reset carries the same log on under another run id.
    const alive = opened?.open === true || (current?.open === true && current.logId === stale.id);
    if (!alive) {
      const closed = await closeAbandonedRun(db, stale.id, stale.workflowRunId);
      if (closed) log.warn({ logId: stale.id }, 'a sync whose run is gone was closed as failed');
      return closed ? 'closed' : 'nothing';
    }
    if (stale.staleCancel) {
      await cancelWorkflow();
      return 'cancelled';
    }
    return 'nothing';
  }

  async function describeRun(runId: string | undefined): Promise<{ open: boolean; logId: unknown } | undefined> {
    try {
      const found = await temporal.within(CALL_DEADLINE_MS, () =>
        temporal.client.workflow.getHandle(PANEL_SYNC_ID, runId).describe(),
      );
      return { open: found.status.name === 'RUNNING', logId: found.memo?.['logId'] };
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  }

  return { requestSync, cancelSync, requestCancel: cancelWorkflow, watch };
}

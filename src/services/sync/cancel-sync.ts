/** Cancels a sync. The mark on the row decides; the workflow is notified so that it ends early. */
import { WorkflowNotFoundError } from '@temporalio/client';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { listSyncLogs } from '../../store/sync/log-store.ts';
import { findRun, markCancelled } from '../../store/sync/run-store.ts';
import { PANEL_SYNC_ID } from '../../workflows/contract.ts';
import { recordChange } from '../audit/record-change.ts';
import type { SyncDeps } from './start-run.ts';

const CALL_DEADLINE_MS = 2_000;

/**
 * Cancels the active sync, or the one with this id. Once this returns, the sync writes nothing more.
 * @throws {AppError} NOT_FOUND; BAD_REQUEST when it has ended already.
 */
export async function cancelSync(
  deps: SyncDeps,
  id: string | undefined,
  by: AuditOrigin,
): Promise<{ syncLogId: string }> {
  const marked = await markCancelled(deps.db, id, (trx, logId) =>
    recordChange({ trx, log: deps.log }, by, { action: 'sync-cancelled', target: { type: 'sync', id: logId } }),
  );
  if (marked === undefined) {
    const known =
      id === undefined
        ? (await listSyncLogs(deps.db, { limit: 1, offset: 0 })).length > 0
        : (await findRun(deps.db, id)) !== undefined;
    if (!known) throw new AppError('NOT_FOUND', { publicMessage: 'No sync found' });
    throw new AppError('BAD_REQUEST', { publicMessage: 'Cannot cancel a sync that is not running' });
  }
  if (!marked.closed) await cancelWorkflow(deps);
  return { syncLogId: marked.id };
}

/**
 * Sends the cancel of a marked row to its workflow; without a run id, to the present run. A cancel that cannot be sent
 * is only logged: page writes, the last statement of the merge and closing the run all read the mark.
 */
export async function cancelWorkflow({ temporal, log }: SyncDeps, runId?: string): Promise<void> {
  try {
    await temporal.within(CALL_DEADLINE_MS, () => temporal.client.workflow.getHandle(PANEL_SYNC_ID, runId).cancel());
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) {
      log.warn({ err: error }, 'the cancel could not be sent to the workflow engine');
    }
  }
}

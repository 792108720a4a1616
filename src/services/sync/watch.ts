/** Looks after the active row when the process that should have done so is gone. */
import { WorkflowFailedError, WorkflowNotFoundError } from '@temporalio/client';
import { closeAbandonedRun, findStaleRun, requeueRun, type StaleRun } from '../../store/sync/stale-run-store.ts';
import { PANEL_SYNC_ID } from '../../workflows/contract.ts';
import { cancelWorkflow } from './cancel-sync.ts';
import { type SyncDeps, startRun } from './start-run.ts';

const CALL_DEADLINE_MS = 2_000;
/** Ages in seconds at which a PENDING row counts as not started, and a cancel as not received. */
const STALE_PENDING_SECONDS = 10;
const STALE_CANCEL_SECONDS = 5;

export type WatchOutcome = 'nothing' | 'started' | 'restarted' | 'cancelled' | 'closed';

/**
 * Starts a row that was left PENDING, repeats a cancel that did not arrive, and closes a row whose run no longer exists. A
 * run that could not continue with the workflow code of a new release is started again, once, under its row.
 * @returns the action that was taken.
 * @throws errors of the Temporal client when the server cannot be reached.
 */
export async function watchSync(deps: SyncDeps): Promise<WatchOutcome> {
  const stale = await findStaleRun(deps.db, {
    pendingSeconds: STALE_PENDING_SECONDS,
    cancelSeconds: STALE_CANCEL_SECONDS,
  });
  if (stale === undefined) return 'nothing';
  if (stale.status === 'PENDING') {
    if (!stale.stalePending) return 'nothing';
    return (await startRun(deps, stale)) === undefined ? 'nothing' : 'started';
  }
  const runs = await runsOf(deps, stale);
  if (!runs.some(({ open }) => open)) {
    if ((await endedByRelease(deps, runs[0])) && (await requeueRun(deps.db, stale.id, stale.workflowRunId))) {
      deps.log.info({ logId: stale.id }, 'a sync that an update interrupted is started again');
      // Should this start fail, the row is PENDING and the next watch starts it.
      return (await startRun(deps, stale)) === undefined ? 'nothing' : 'restarted';
    }
    const closed = await closeAbandonedRun(deps.db, stale.id, stale.workflowRunId);
    if (closed) deps.log.warn({ logId: stale.id }, 'a sync whose run no longer exists was closed as failed');
    return closed ? 'closed' : 'nothing';
  }
  if (!stale.staleCancel) return 'nothing';
  await cancelWorkflow(deps);
  return 'cancelled';
}

interface WorkflowRun {
  id: string;
  open: boolean;
  failed: boolean;
}

/**
 * The workflow runs of a row, the newest first: the present run, if it is of this row, and the run that opened the row. They
 * differ when the run went on in a new one, because its history had become long, and after a reset.
 */
async function runsOf(deps: SyncDeps, { id, workflowRunId }: StaleRun): Promise<WorkflowRun[]> {
  const present = await describeRun(deps, undefined);
  const opened = workflowRunId === null ? undefined : await describeRun(deps, workflowRunId);
  return [present?.logId === id ? present : undefined, opened].filter((run) => run !== undefined);
}

async function describeRun(
  { temporal }: SyncDeps,
  runId: string | undefined,
): Promise<(WorkflowRun & { logId: unknown }) | undefined> {
  try {
    const found = await temporal.within(CALL_DEADLINE_MS, () =>
      temporal.client.workflow.getHandle(PANEL_SYNC_ID, runId).describe(),
    );
    const { name } = found.status;
    return { id: found.runId, open: name === 'RUNNING', failed: name === 'FAILED', logId: found.memo?.['logId'] };
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}

/** Failures by which the SDK ends a run whose history does not fit the workflow code (see workflowFailureErrorTypes). */
const OTHER_CODE = /nondeterminism|determinismviolation|TMPRL1100/i;

/** Whether the run ended because a release brought other workflow code. */
async function endedByRelease({ temporal }: SyncDeps, run: WorkflowRun | undefined): Promise<boolean> {
  if (run?.failed !== true) return false;
  try {
    const handle = temporal.client.workflow.getHandle(PANEL_SYNC_ID, run.id, { followRuns: false });
    await temporal.within(CALL_DEADLINE_MS, () => handle.result());
    return false;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    if (!(error instanceof WorkflowFailedError)) throw error;
    for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
      const type = 'type' in cause && typeof cause.type === 'string' ? cause.type : '';
      if (OTHER_CODE.test(`${type} ${cause.message}`)) return true;
    }
    return false;
  }
}

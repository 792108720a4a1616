/** Starts the workflow of a log row. */
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import type { Logger } from 'pino';
import type { Db } from '../../store/db/db.ts';
import type { ActiveRun } from '../../store/sync/run-store.ts';
import { grpcCode, type TemporalGateway } from '../../temporal/connection.ts';
import {
  PANEL_SYNC_ID,
  type PanelSyncInput,
  type PanelSyncWorkflow,
  QUEUE,
  SEARCH_ATTRIBUTES,
} from '../../workflows/contract.ts';

/** What the sync services work with. */
export interface SyncDeps {
  db: Db;
  temporal: TemporalGateway;
  log: Logger;
}

/** Milliseconds within which a start is answered; after that the request is withdrawn. */
const START_DEADLINE_MS = 3_000;
/** gRPC INVALID_ARGUMENT: here, a search attribute that is not registered or has another type. */
const INVALID_ARGUMENT = 3;

export type RunToStart = Pick<ActiveRun, 'id' | 'dryRun' | 'skipUsers' | 'requester' | 'target'>;

/**
 * Starts the workflow for a PENDING row. All syncs share one workflow id (ADR 2), so no two run at once.
 * @returns the run id, or undefined when a run exists already.
 * @throws errors of the Temporal client when the server cannot be reached.
 */
export async function startRun(deps: SyncDeps, run: RunToStart): Promise<string | undefined> {
  try {
    return await startOnce(deps, run, { searchAttributes: true });
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return undefined;
    if (grpcCode(error) !== INVALID_ARGUMENT) throw error;
  }
  deps.log.warn('search attributes cannot be used, see the log of the worker; the sync starts without them');
  try {
    return await startOnce(deps, run, { searchAttributes: false });
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return undefined;
    throw error;
  }
}

async function startOnce(
  { temporal }: SyncDeps,
  run: RunToStart,
  options: { searchAttributes: boolean },
): Promise<string> {
  const input: PanelSyncInput = {
    logId: run.id,
    target: run.target as PanelSyncInput['target'],
    dryRun: run.dryRun,
    skipUsers: run.skipUsers,
    requestedBy: run.requester,
  };
  const handle = await temporal.within(START_DEADLINE_MS, () =>
    temporal.client.workflow.start<PanelSyncWorkflow>('panelSync', {
      workflowId: PANEL_SYNC_ID,
      taskQueue: QUEUE.core,
      args: [input],
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      workflowIdConflictPolicy: 'FAIL',
      staticSummary: `${run.dryRun ? 'Preview of a' : 'A'} ${run.target} sync`,
      staticDetails: `Log \`${run.id}\`, requested by \`${run.requester}\`${run.skipUsers ? ', without users' : ''}`,
      memo: { logId: run.id },
      ...(options.searchAttributes
        ? {
            typedSearchAttributes: [
              { key: SEARCH_ATTRIBUTES.syncType, value: run.target },
              { key: SEARCH_ATTRIBUTES.requestedBy, value: run.requester },
            ],
          }
        : {}),
    }),
  );
  return handle.firstExecutionRunId;
}

/** Starts, wakes and ends the workflow of the live mirror, as the settings want it. */
import { WorkflowNotFoundError } from '@temporalio/client';
import { CHANGED_SIGNAL, LIVE_MIRROR_ID, LIVE_MIRROR_TYPE, QUEUE } from '../workflows/contract.ts';
import type { TemporalGateway } from './connection.ts';

const CALL_DEADLINE_MS = 5_000;

const HOW = {
  workflowId: LIVE_MIRROR_ID,
  taskQueue: QUEUE.core,
  workflowIdReusePolicy: 'ALLOW_DUPLICATE',
  workflowIdConflictPolicy: 'USE_EXISTING',
  staticSummary: 'The live mirror: full syncs within its share of what the panel allows',
} as const;

/** Starts the live mirror unless it runs: for the watch, since somebody may have ended it in Temporal. */
export const startLiveMirror = (temporal: TemporalGateway): Promise<void> =>
  temporal.within(CALL_DEADLINE_MS, async () => {
    await temporal.client.workflow.start(LIVE_MIRROR_TYPE, { ...HOW, args: [] });
  });

/** After a change of the settings: starts the live mirror, or lets it look at them now; one that is not wanted ends then. */
export const wakeLiveMirror = (temporal: TemporalGateway, wanted: boolean): Promise<void> =>
  temporal.within(CALL_DEADLINE_MS, async () => {
    const { workflow } = temporal.client;
    if (wanted) {
      await workflow.signalWithStart(LIVE_MIRROR_TYPE, { ...HOW, args: [], signal: CHANGED_SIGNAL, signalArgs: [] });
      return;
    }
    try {
      await workflow.getHandle(LIVE_MIRROR_ID).signal(CHANGED_SIGNAL);
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
  });

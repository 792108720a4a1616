/** Cancels a workflow whose end is already decided in the database. */
import { WorkflowNotFoundError } from '@temporalio/client';
import type { TemporalGateway } from './connection.ts';

const DEADLINE_MS = 2_000;

/** Asks a workflow to end; one that ended, or was never started, is no error. @throws errors of the Temporal client. */
export async function cancelWorkflow(temporal: TemporalGateway, workflowId: string): Promise<void> {
  try {
    await temporal.within(DEADLINE_MS, () => temporal.client.workflow.getHandle(workflowId).cancel());
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
}

/** Starts a workflow at most once, under an id that is derived from the row that asks for it. */
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { QUEUE } from '../workflows/contract.ts';
import { grpcCode, isNamespaceMissing, type TemporalGateway } from './connection.ts';

/** The workflow that carries out a row. */
export interface Dispatch {
  workflowType: string;
  workflowId: string;
  args: unknown[];
  staticSummary: string;
}

/** Deadline of one start, during which the transaction of the relay stays open. */
const START_DEADLINE_MS = 5_000;
/** gRPC code INVALID_ARGUMENT. */
const INVALID_ARGUMENT = 3;

/** Temporal refused the arguments. */
export const isRefusedStart = (error: unknown): boolean => grpcCode(error) === INVALID_ARGUMENT;

/** Temporal refused the arguments, or our own code threw: other rows can still be started. */
export const isFaultOfRow = (error: unknown): boolean =>
  isRefusedStart(error) || (grpcCode(error) === undefined && !isNamespaceMissing(error));

/** @returns the run id; null if the workflow was started before, by a relay that ended before it marked the row. */
export async function startWorkflow(
  temporal: TemporalGateway,
  { workflowType, workflowId, args, staticSummary }: Dispatch,
  memo: Record<string, unknown>,
): Promise<string | null> {
  try {
    const handle = await temporal.within(START_DEADLINE_MS, () =>
      temporal.client.workflow.start(workflowType, {
        workflowId,
        taskQueue: QUEUE.core,
        args,
        staticSummary,
        memo,
        workflowIdReusePolicy: 'REJECT_DUPLICATE',
      }),
    );
    return handle.firstExecutionRunId;
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return null;
    throw error;
  }
}

/** Why a workflow failed, where a list of runs can read it: Temporal's lists have the memo, and not the failure. */
import { rootCause } from '@temporalio/common';
import { isCancellation, upsertMemo } from '@temporalio/workflow';
import { FAILURE_MEMO } from './contract.ts';

/** Does the work of a workflow. If it fails, the memo gets the reason. */
export async function notingFailure<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const reason = rootCause(error);
    if (!isCancellation(error) && reason !== undefined) upsertMemo({ [FAILURE_MEMO]: reason });
    throw error;
  }
}

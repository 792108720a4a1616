/** One email: delivered, tried again by the provider's words, and marked with how it ended. */
import {
  ActivityFailure,
  CancellationScope,
  CancelledFailure,
  isCancellation,
  proxyActivities,
} from '@temporalio/workflow';
import type { EmailActivities } from '../activities/email.ts';
import { QUEUE, type SendEmailInput, type SendEmailResult } from './contract.ts';

const deliveryActs = proxyActivities<Pick<EmailActivities, 'deliverEmail'>>({
  taskQueue: QUEUE.outbound,
  startToCloseTimeout: '1m',
  heartbeatTimeout: '15s',
  // A provider knows an email by its id for 24 hours (Resend); a later attempt could be a second email.
  scheduleToCloseTimeout: '23h',
  // Called off in the middle of an attempt, the email may still leave: only the attempt's end says what became of it.
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '5s', backoffCoefficient: 2, maximumInterval: '10m' },
});
const rowActs = proxyActivities<Pick<EmailActivities, 'failEmail'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '10s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '15s' },
});

/** The cancel, also when the last attempt failed by itself before it heard of it; else the error as it is. */
const endOf = (error: unknown): unknown =>
  error instanceof ActivityFailure && error.retryState === 'CANCEL_REQUESTED' && !isCancellation(error)
    ? new CancelledFailure('The email was called off', [], error)
    : error;

export async function sendEmail(input: SendEmailInput): Promise<SendEmailResult> {
  try {
    return await deliveryActs.deliverEmail({ emailId: input.emailId });
  } catch (failure) {
    const error = endOf(failure);
    await CancellationScope.nonCancellable(() =>
      rowActs.failEmail({ emailId: input.emailId, ...(isCancellation(error) ? { reason: 'cancelled' } : {}) }),
    );
    throw error;
  }
}

/** One email: it is delivered, with retries as the provider asks, or marked as failed. */
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
  // An SMTP server may take ten minutes to confirm an email (RFC 5321 4.5.3.2.6). A heartbeat notices a lost worker sooner.
  startToCloseTimeout: '15m',
  heartbeatTimeout: '15s',
  // Four days, as RFC 5321 4.5.4.1 says: greylisting, and a fault that the operator corrects after a weekend.
  scheduleToCloseTimeout: '4d',
  // A cancelled attempt may still send the email: only its end says which of the two happened.
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '5s', backoffCoefficient: 2, maximumInterval: '10m' },
});
const rowActs = proxyActivities<Pick<EmailActivities, 'failEmail'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '10s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '15s' },
});

/**
 * Delivers the email. If no attempt succeeds, or if the workflow is cancelled, the email is marked as failed and the
 * workflow ends with the error.
 */
export async function sendEmail(input: SendEmailInput): Promise<SendEmailResult> {
  try {
    return await deliveryActs.deliverEmail({ emailId: input.emailId });
  } catch (failure) {
    const error = asCancellation(failure);
    await CancellationScope.nonCancellable(() =>
      rowActs.failEmail({ emailId: input.emailId, ...(isCancellation(error) ? { reason: 'cancelled' } : {}) }),
    );
    throw error;
  }
}

/**
 * The error as it is, with one exception: an attempt that failed by itself after the workflow was cancelled counts as
 * cancelled, although the activity did not notice the cancellation.
 */
const asCancellation = (error: unknown): unknown =>
  error instanceof ActivityFailure && error.retryState === 'CANCEL_REQUESTED' && !isCancellation(error)
    ? new CancelledFailure('The email was cancelled', [], error)
    : error;

/** One mail: delivered, tried again by the provider's words, and marked with how it ended. */
import { CancellationScope, isCancellation, proxyActivities } from '@temporalio/workflow';
import type { MailActivities } from '../activities/mail.ts';
import { QUEUE, type SendEmailInput, type SendEmailResult } from './contract.ts';

const mailActs = proxyActivities<Pick<MailActivities, 'deliverMail'>>({
  taskQueue: QUEUE.outbound,
  startToCloseTimeout: '1m',
  heartbeatTimeout: '15s',
  // A provider knows a mail by its id for 24 hours (Resend); a later attempt could be a second mail.
  scheduleToCloseTimeout: '23h',
  retry: { initialInterval: '5s', backoffCoefficient: 2, maximumInterval: '10m' },
});
const rowActs = proxyActivities<Pick<MailActivities, 'failMail'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '10s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '15s' },
});

export async function sendEmail(input: SendEmailInput): Promise<SendEmailResult> {
  try {
    return await mailActs.deliverMail({ mailId: input.mailId });
  } catch (error) {
    await CancellationScope.nonCancellable(() =>
      rowActs.failMail({ mailId: input.mailId, ...(isCancellation(error) ? { reason: 'cancelled' } : {}) }),
    );
    throw error;
  }
}

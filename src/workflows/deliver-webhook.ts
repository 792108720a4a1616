/** One message for one webhook: it is sent, again and again where that can help, until it arrives or is given up. */
import {
  ApplicationFailure,
  CancellationScope,
  continueAsNew,
  defineQuery,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import type { WebhookActivities } from '../activities/webhooks.ts';
import {
  DELIVERY_QUERY,
  type DeliverWebhookInput,
  type DeliverWebhookResult,
  type DeliveryView,
  QUEUE,
} from './contract.ts';

const attemptActs = proxyActivities<Pick<WebhookActivities, 'attemptDelivery'>>({
  taskQueue: QUEUE.webhooks,
  // A request has ten seconds, and its answer waits for a database that is away. A heartbeat notices a lost worker sooner.
  startToCloseTimeout: '3m',
  heartbeatTimeout: '15s',
  // A cancelled attempt may still send the message: only its end says which of the two happened.
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  // What the receiver answers is a result. These are failures of ours, such as a database that is away.
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s' },
});
const rowActs = proxyActivities<Pick<WebhookActivities, 'cancelDelivery'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '10s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '15s' },
});

const deliveryQuery = defineQuery<DeliveryView>(DELIVERY_QUERY);

/**
 * Delivers a message. When and how often it is tried is decided by the receiver's answers and the row of the delivery; the
 * workflow waits. A delivery that failed fails the workflow with its reason; a reset of the workflow queues it again.
 */
export async function deliverWebhook(input: DeliverWebhookInput): Promise<DeliverWebhookResult> {
  const { deliveryId, continued = false } = input;
  const view: DeliveryView = { deliveryId, waiting: null, until: null };
  setHandler(deliveryQuery, () => view);
  try {
    for (;;) {
      Object.assign(view, { waiting: null, until: null });
      setCurrentDetails('Sends the message');
      const step = await attemptActs.attemptDelivery({ deliveryId, continued });
      if (step.state === 'done') {
        if (step.status === 'failed') throw ApplicationFailure.nonRetryable(step.reason ?? 'failed', 'DELIVERY_FAILED');
        return { status: step.status };
      }
      Object.assign(view, { waiting: step.why, until: new Date(Date.now() + step.ms).toISOString() });
      setCurrentDetails(`Waits until ${view.until}: ${step.why}`);
      if (step.ms > 0) await sleep(step.ms, { summary: step.why.slice(0, 200) });
      if (workflowInfo().continueAsNewSuggested) break;
    }
  } catch (error) {
    if (isCancellation(error)) await CancellationScope.nonCancellable(() => rowActs.cancelDelivery({ deliveryId }));
    throw error;
  }
  return continueAsNew<typeof deliverWebhook>({ deliveryId, continued: true });
}

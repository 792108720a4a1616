/** Activities of `deliverWebhook`: the input is an id, the output what follows. URLs and messages never pass through Temporal. */
import { Context } from '@temporalio/activity';
import { type AttemptDeps, attemptDelivery } from '../services/webhooks/attempt-delivery.ts';
import type { DeliveryStep } from '../services/webhooks/delivery-step.ts';
import { endDelivery } from '../store/webhooks/delivery-store.ts';
import { withHeartbeat } from './failures.ts';

export type WebhookActivityDeps = AttemptDeps;

/** Creates the activities. */
export function createWebhookActivities(deps: WebhookActivityDeps) {
  return {
    /**
     * Makes one attempt to deliver a message, or says why there is none now. A request that was begun is finished although
     * the workflow is cancelled: its answer tells whether the message arrived.
     */
    attemptDelivery: (input: { deliveryId: string; continued: boolean }): Promise<DeliveryStep> =>
      withHeartbeat(() =>
        attemptDelivery(deps, { ...input, runId: Context.current().info.workflowExecution?.runId ?? '' }),
      ),

    /** Marks a delivery as cancelled, unless it ended before. */
    cancelDelivery: async (input: { deliveryId: string }): Promise<void> => {
      await endDelivery(deps.db, input.deliveryId, 'cancelled', 'its workflow was cancelled');
    },
  };
}

export type WebhookActivities = ReturnType<typeof createWebhookActivities>;

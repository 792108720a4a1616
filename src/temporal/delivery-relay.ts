/**
 * The relay's part for webhooks: events become deliveries, and of the deliveries of each webhook the oldest is started, so
 * that its messages arrive in order. The end of a delivery wakes the relay for the next one.
 */
import { WorkflowNotFoundError } from '@temporalio/client';
import type { Logger } from 'pino';
import { SERVICE_EVENTS } from '../domain/events.ts';
import { DELIVERY_HOURS } from '../domain/webhooks.ts';
import { type Db, inSavepoint, type Transaction } from '../store/db/db.ts';
import { dueRows, markDispatched, type OutboxRow, postpone, skipOldRows } from '../store/outbox-store.ts';
import {
  type DeliveryHead,
  dueDeliveries,
  endDelivery,
  markChecked,
  markStarted,
  silentDeliveries,
} from '../store/webhooks/delivery-store.ts';
import { deliverWebhookId } from '../workflows/contract.ts';
import type { TemporalGateway } from './connection.ts';
import { type Dispatch, isRefusedStart, startWorkflow } from './start-workflow.ts';

/** Writes the deliveries of events. Throws nothing for a single event: it names those that it cannot route. */
export type RouteEvents = (
  trx: Transaction,
  events: readonly OutboxRow[],
) => Promise<{ failed: readonly { id: string; reason: string }[] }>;

interface Deps {
  db: Db;
  temporal: TemporalGateway;
  log: Logger;
  routeEvents: RouteEvents;
}

/** Milliseconds that Temporal has to describe a workflow. */
const DESCRIBE_DEADLINE_MS = 2_000;

/** Routes one batch of events. Those that are too old to be reported are skipped. @returns number of events. */
export async function relayEvents(deps: Deps, trx: Transaction, limit: number): Promise<number> {
  const skipped = await skipOldRows(trx, SERVICE_EVENTS, DELIVERY_HOURS);
  if (skipped > 0) deps.log.warn({ skipped, hours: DELIVERY_HOURS }, 'old events were skipped');
  const events = await dueRows(trx, SERVICE_EVENTS, limit);
  if (events.length === 0) return 0;
  const { failed } = await routeTogether(deps, trx, events);
  for (const { id, reason } of failed) {
    deps.log.error({ outboxId: id, reason }, 'an event cannot be routed');
    await postpone(trx, id, reason);
  }
  const bad = new Set(failed.map(({ id }) => id));
  await markDispatched(
    trx,
    events.filter(({ id }) => !bad.has(id)).map(({ id }) => id),
  );
  return events.length;
}

/** Routes the events together; if that fails, one by one, so that one of them does not hold up the others. */
async function routeTogether(deps: Deps, trx: Transaction, events: readonly OutboxRow[]) {
  try {
    return await inSavepoint(trx, () => deps.routeEvents(trx, events));
  } catch (error) {
    if (events.length === 1) {
      deps.log.error({ err: error }, 'an event cannot be routed');
      const reason = error instanceof Error ? error.name : 'error';
      return { failed: events.map(({ id }) => ({ id, reason })) };
    }
  }
  const failed: { id: string; reason: string }[] = [];
  for (const event of events) failed.push(...(await routeTogether(deps, trx, [event])).failed);
  return { failed };
}

const dispatchOf = ({ id, webhookName, event }: DeliveryHead): Dispatch => ({
  workflowType: 'deliverWebhook',
  workflowId: deliverWebhookId(id),
  args: [{ deliveryId: id }],
  staticSummary: `${event} to ${webhookName}`.slice(0, 200).toWellFormed(),
});

/**
 * Starts the oldest delivery of each webhook.
 * @returns how many were due, and the failure of Temporal that ended it early.
 */
export async function startDueDeliveries(
  deps: Deps,
  trx: Transaction,
  limit: number,
  isClosed: () => boolean,
): Promise<{ taken: number; failure?: unknown }> {
  const due = await dueDeliveries(trx, limit);
  const started: { id: string; runId: string | null }[] = [];
  let failure: unknown;
  for (const delivery of due) {
    if (isClosed()) break;
    try {
      const runId = await startWorkflow(deps.temporal, dispatchOf(delivery), { deliveryId: delivery.id });
      started.push({ id: delivery.id, runId });
    } catch (error) {
      if (!isRefusedStart(error)) {
        failure = error;
        break;
      }
      deps.log.error({ err: error, deliveryId: delivery.id }, 'a delivery cannot be started');
      await endDelivery(trx, delivery.id, 'failed', 'its workflow could not be started');
    }
  }
  await markStarted(trx, started);
  return { taken: due.length, failure };
}

/**
 * Looks for the workflows of deliveries that give no sign of life. What Temporal has lost is started again; what ended
 * there without an end here, because somebody terminated it, counts as failed, so that the next message gets its turn.
 * @throws the failure of Temporal.
 */
export async function findSilentDeliveries(deps: Deps, limit: number): Promise<void> {
  for (const delivery of await silentDeliveries(deps.db, limit)) {
    const state = await stateOf(deps.temporal, delivery.id);
    if (state === 'running') await markChecked(deps.db, delivery.id);
    else if (state === 'missing') {
      const runId = await startWorkflow(deps.temporal, dispatchOf(delivery), { deliveryId: delivery.id });
      await markStarted(deps.db, [{ id: delivery.id, runId }]);
    } else {
      deps.log.warn({ deliveryId: delivery.id }, 'the workflow of a delivery ended without the delivery');
      await endDelivery(deps.db, delivery.id, 'failed', 'its workflow was terminated in Temporal');
    }
  }
}

async function stateOf(temporal: TemporalGateway, id: string): Promise<'running' | 'missing' | 'ended'> {
  try {
    const { status } = await temporal.within(DESCRIBE_DEADLINE_MS, () =>
      temporal.client.workflow.getHandle(deliverWebhookId(id)).describe(),
    );
    return status.name === 'RUNNING' || status.name === 'PAUSED' ? 'running' : 'ended';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'missing';
    throw error;
  }
}

/** Cancels a delivery that waits, at the request of an administrator. */
import type { Logger } from 'pino';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { endDelivery, findDelivery } from '../../store/webhooks/delivery-store.ts';
import { deliverWebhookId } from '../../workflows/contract.ts';
import { recordChange } from '../audit/record-change.ts';
import { unknownDelivery } from './resend-delivery.ts';

export interface CancelDeps {
  db: Db;
  log: Logger;
  /** Asks a workflow to end, within a few seconds. */
  cancelWorkflow(workflowId: string): Promise<void>;
}

/**
 * Cancels a queued delivery. Its row decides, so it works while Temporal is away; a message that is on its way and arrives
 * still counts as delivered. A second request finds it cancelled.
 * @throws {AppError} NOT_FOUND; CONFLICT if it ended otherwise.
 */
export async function cancelDelivery(deps: CancelDeps, id: string, by: AuditOrigin): Promise<void> {
  const cancelled = await inTransaction(deps.db, async (trx) => {
    const delivery = await findDelivery(trx, id, { lock: true });
    if (delivery === undefined) throw unknownDelivery();
    if (delivery.status === 'cancelled') return false;
    if (delivery.status !== 'queued') throw new AppError('CONFLICT', { publicMessage: 'This delivery has ended' });
    const { webhookId: webhook, event } = delivery;
    await endDelivery(
      trx,
      id,
      'cancelled',
      by.actor.type === 'user' ? 'an administrator cancelled it' : 'it was cancelled',
    );
    await recordChange({ trx, log: deps.log }, by, {
      action: 'webhook-cancelled',
      target: { type: 'delivery', id },
      details: { webhook, event },
    });
    return true;
  });
  if (cancelled) await endWorkflow(deps, id);
}

async function endWorkflow({ cancelWorkflow, log }: CancelDeps, id: string): Promise<void> {
  try {
    await cancelWorkflow(deliverWebhookId(id));
  } catch (error) {
    log.warn({ err: error, deliveryId: id }, 'the workflow of a cancelled delivery could not be cancelled');
  }
}

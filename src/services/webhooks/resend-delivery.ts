/** Sends the message of an ended delivery again, at the request of an administrator. */
import type { Logger } from 'pino';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { readUuid } from '../../domain/uuid.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { lockWebhook } from '../../store/webhooks/attempt-store.ts';
import { findDeliveryRow, findRecentCopy } from '../../store/webhooks/delivery-list.ts';
import { findDelivery, queueDeliveries } from '../../store/webhooks/delivery-store.ts';
import { recordChange } from '../audit/record-change.ts';

/** A second request within this time is a double click, and sends no second message. */
const DOUBLE_CLICK_SECONDS = 10;

/** A delivery does not exist. */
export const unknownDelivery = (): AppError => new AppError('NOT_FOUND', { publicMessage: 'Delivery not found' });

/** A text that can be the id of a delivery. @throws {AppError} NOT_FOUND for any other. */
export function requireDeliveryId(text: string): string {
  if (readUuid(text) === undefined) throw unknownDelivery();
  return text;
}

/** Why an ended delivery cannot be sent again; null if it can. */
export function resendObstacle(webhook: { webhookExists: boolean; webhookEnabled: boolean }): string | null {
  if (!webhook.webhookExists) return 'Its webhook was deleted';
  return webhook.webhookEnabled ? null : 'Its webhook is switched off';
}

/**
 * Queues a copy of a delivery: it goes last, and has 24 hours from now. A request within ten seconds of another returns the
 * copy of the other.
 * @param action what the audit records: that a message was sent again, or that a failed run was retried.
 * @throws {AppError} NOT_FOUND; CONFLICT if the delivery has not ended, or its webhook is switched off or was deleted.
 */
export async function resendDelivery(
  deps: { db: Db; log: Logger },
  id: string,
  by: AuditOrigin,
  action: 'webhook-resent' | 'run-retried' = 'webhook-resent',
): Promise<{ id: string; repeated: boolean }> {
  return inTransaction(deps.db, async (trx) => {
    const known = await findDeliveryRow(trx, id);
    if (known === undefined) throw unknownDelivery();
    // The row of the webhook before those of its deliveries: the order of every writer. Then it stays as it is.
    await lockWebhook(trx, known.webhookId);
    // A second request waits here for the first, and then finds its copy.
    await findDelivery(trx, id, { lock: true });
    const delivery = await findDeliveryRow(trx, id);
    if (delivery === undefined) throw unknownDelivery();
    const recent = await findRecentCopy(trx, id, DOUBLE_CLICK_SECONDS);
    if (recent !== undefined) return { id: recent, repeated: true };
    const obstacle = delivery.status === 'queued' ? 'It has not ended' : resendObstacle(delivery);
    if (obstacle !== null) throw new AppError('CONFLICT', { publicMessage: obstacle });
    const { webhookId, webhookName, event, origin, data, occurredAt } = delivery;
    const [copy = ''] = await queueDeliveries(trx, [
      { webhookId, webhookName, event, origin, data, occurredAt, resentFrom: id },
    ]);
    const retried = action === 'run-retried';
    const details = { ...(retried ? { kind: 'webhook' } : {}), webhook: webhookId, event, copy };
    const target = { type: retried ? 'run' : 'delivery', id } as const;
    await recordChange({ trx, log: deps.log }, by, { action, target, details });
    return { id: copy, repeated: false };
  });
}

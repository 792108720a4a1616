/** A delivery to a webhook, for recipes. */
import { randomUUID } from 'node:crypto';
import type { Db } from '../../../src/store/db/db.ts';
import { query } from '../../../src/store/db/query.ts';
import { endDelivery, queueDeliveries } from '../../../src/store/webhooks/delivery-store.ts';

/** Stores a webhook with one delivery. @returns its id */
export async function makeDelivery(db: Db, { ended }: { ended: boolean }): Promise<string> {
  const webhookId = randomUUID();
  await query(db, `insert into discord_webhooks (id, name, "webhookUrl") values (?, 'Alerts', ?)`, [
    webhookId,
    `https://discord.com/api/webhooks/1/marker-webhook-token-${webhookId}`,
  ]);
  const [id = ''] = await queueDeliveries(db, [
    { webhookId, webhookName: 'Alerts', event: 'test.event', origin: 'request', data: {}, occurredAt: new Date() },
  ]);
  if (ended) await endDelivery(db, id, 'failed', 'refused');
  return id;
}

/** Writes to `webhook_deliveries`: new deliveries, their turn in the order of a webhook, and their end. */
import { randomUUID } from 'node:crypto';
import type { EventData, EventOrigin } from '../../domain/events.ts';
import { DELIVERY_HOURS, type DeliveryStatus } from '../../domain/webhooks.ts';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

export interface DeliveryToQueue {
  webhookId: string;
  webhookName: string;
  event: string;
  origin: EventOrigin;
  data: EventData;
  occurredAt: Date;
  /** Id of the delivery that this one repeats; its time to arrive begins now. */
  resentFrom?: string;
}

/** Seconds without a sign of life after which the workflow of a delivery is looked for. */
const SILENT_SECONDS = 60;

/** Wakes the relay at the commit. */
export const wakeRelay = (trx: Db): Promise<unknown> => execute(trx, `select pg_notify('outbox', '')`);

/** Adds deliveries at the end of the order of their webhooks. @returns their ids, in this order. */
export async function queueDeliveries(trx: Db, deliveries: readonly DeliveryToQueue[]): Promise<string[]> {
  if (deliveries.length === 0) return [];
  const rows = deliveries.map((delivery) => ({ ...delivery, id: randomUUID() }));
  await execute(
    trx,
    `insert into webhook_deliveries (id, webhook_id, webhook_name, event, origin, data, occurred_at, resent_from, gives_up_at)
     select (e.value->>'id')::uuid, e.value->>'webhookId', e.value->>'webhookName', e.value->>'event', e.value->>'origin',
       e.value->'data', (e.value->>'occurredAt')::timestamptz, (e.value->>'resentFrom')::uuid,
       case when e.value->>'resentFrom' is null then (e.value->>'occurredAt')::timestamptz else now() end
         + make_interval(hours => ${DELIVERY_HOURS})
     from jsonb_array_elements(?::jsonb) with ordinality as e(value, n) order by e.n`,
    [JSON.stringify(rows)],
  );
  await wakeRelay(trx);
  return rows.map(({ id }) => id);
}

/** A delivery whose turn it is. */
export interface DeliveryHead {
  id: string;
  webhookName: string;
  event: string;
}

/** The oldest queued delivery of each webhook, one look into the index per webhook. */
const HEADS = `
  with recursive webhook(id) as (
    (select q.webhook_id from webhook_deliveries q where q.status = 'queued' order by q.webhook_id limit 1)
    union all
    select (select q.webhook_id from webhook_deliveries q where q.status = 'queued' and q.webhook_id > webhook.id
            order by q.webhook_id limit 1)
    from webhook where webhook.id is not null
  )
  select h.* from webhook cross join lateral (
    select d.id, d.webhook_name as "webhookName", d.event, d.started_at, d.checked_at, d.updated_at
    from webhook_deliveries d where d.status = 'queued' and d.webhook_id = webhook.id order by d.seq limit 1) h
  where webhook.id is not null`;

/** Deliveries whose turn it is and whose workflow was not started yet. */
export const dueDeliveries = (trx: Db, limit: number): Promise<DeliveryHead[]> =>
  query(
    trx,
    `select h.id, h."webhookName", h.event from (${HEADS}) h where h.started_at is null order by h.id limit ?`,
    [limit],
  );

/** Deliveries whose workflow was started and that have given no sign of life for a minute. */
export const silentDeliveries = (trx: Db, limit: number): Promise<DeliveryHead[]> =>
  query(
    trx,
    `select h.id, h."webhookName", h.event from (${HEADS}) h
     where greatest(h.started_at, h.checked_at, h.updated_at) < now() - make_interval(secs => ${SILENT_SECONDS})
       and h.started_at is not null order by h.id limit ?`,
    [limit],
  );

/** Marks deliveries whose workflow was started. @param started `runId`: null if the workflow was found running. */
export async function markStarted(trx: Db, started: readonly { id: string; runId: string | null }[]): Promise<void> {
  if (started.length === 0) return;
  await execute(
    trx,
    `update webhook_deliveries d set started_at = coalesce(d.started_at, now()), checked_at = now(), run_id = coalesce(s."runId", d.run_id)
     from json_to_recordset(?::json) as s (id uuid, "runId" text) where d.id = s.id`,
    [JSON.stringify(started)],
  );
}

/** Notes that the workflow of a delivery was found running. */
export const markChecked = (trx: Db, id: string): Promise<unknown> =>
  execute(trx, `update webhook_deliveries set checked_at = now() where id = ?::uuid`, [id]);

/** A delivery with what its webhook is now. */
export interface DeliveryInTurn {
  id: string;
  status: DeliveryStatus;
  runId: string | null;
  event: string;
  origin: EventOrigin;
  data: EventData;
  occurredAt: Date;
  reason: string | null;
  attempts: number;
  /** Its time to arrive is over. */
  late: boolean;
  /** Another delivery of the webhook comes first. */
  behind: boolean;
  webhookId: string;
  /** Null: the webhook was deleted. The URL is as stored: encrypted, or clear in databases of the existing service. */
  webhook: { enabled: boolean; url: string; scope: string; plain: boolean; channel: string } | null;
}

interface InTurnRow extends Omit<DeliveryInTurn, 'webhook'> {
  present: boolean;
  enabled: boolean;
  url: string;
  scope: string;
  plain: boolean;
  channel: string;
}

/** Reads a delivery. @param lock keeps it as it is until the transaction ends. */
export async function findDelivery(
  db: Db,
  id: string,
  options: { lock: boolean },
): Promise<DeliveryInTurn | undefined> {
  const [row] = await query<InTurnRow>(
    db,
    `select d.id, d.status, d.run_id as "runId", d.event, d.origin, d.data, d.occurred_at as "occurredAt", d.reason,
       d.attempts, d.gives_up_at <= now() as late, d.webhook_id as "webhookId",
       exists (select 1 from webhook_deliveries q where q.status = 'queued' and q.webhook_id = d.webhook_id and q.seq < d.seq) as behind,
       w.id is not null as present, coalesce(w.enabled, false) as enabled, coalesce(w."webhookUrl", '') as url,
       coalesce(w.scope::text, 'ADMIN') as scope, coalesce(s.plain, false) as plain,
       coalesce(s.channel_id, 'webhook:' || d.webhook_id) as channel
     from webhook_deliveries d left join discord_webhooks w on w.id = d.webhook_id
     left join webhook_states s on s.webhook_id = d.webhook_id
     where d.id = ?::uuid${options.lock ? ' for update of d' : ''}`,
    [id],
  );
  if (row === undefined) return undefined;
  const { present, enabled, url, scope, plain, channel, ...delivery } = row;
  return { ...delivery, webhook: present ? { enabled, url, scope, plain, channel } : null };
}

/** Queues an ended delivery again, at the end of its webhook's order: its workflow was reset. */
export const queueAgain = (trx: Db, id: string, runId: string): Promise<unknown> =>
  execute(
    trx,
    `update webhook_deliveries set status = 'queued', reason = null, ended_at = null, run_id = ?, started_at = now(),
       seq = nextval(pg_get_serial_sequence('webhook_deliveries', 'seq')), updated_at = now(),
       gives_up_at = now() + make_interval(hours => ${DELIVERY_HOURS})
     where id = ?::uuid`,
    [runId, id],
  );

/** Counts an attempt. */
export const countDeliveryAttempt = (trx: Db, id: string, runId: string): Promise<unknown> =>
  execute(
    trx,
    `update webhook_deliveries set attempts = attempts + 1, run_id = ?, updated_at = now() where id = ?::uuid`,
    [runId, id],
  );

/** Notes why a delivery waits. */
export const noteWait = (trx: Db, id: string, reason: string): Promise<unknown> =>
  execute(
    trx,
    `update webhook_deliveries set reason = ?, updated_at = now() where id = ?::uuid and status = 'queued'`,
    [reason, id],
  );

/**
 * Ends a queued delivery and wakes the relay, for the next one of its webhook. A message that arrived counts as delivered
 * whatever was said before.
 * @returns false if it had ended before.
 */
export async function endDelivery(
  trx: Db,
  id: string,
  status: Exclude<DeliveryStatus, 'queued'>,
  reason: string | null,
): Promise<boolean> {
  const ended = await execute(
    trx,
    `update webhook_deliveries set status = ?, reason = ?, ended_at = now(), updated_at = now()
     where id = ?::uuid and ${status === 'delivered' ? `status <> 'delivered'` : `status = 'queued'`}`,
    [status, reason, id],
  );
  if (ended > 0) await wakeRelay(trx);
  return ended > 0;
}

/** Ends every queued delivery of a webhook. @returns how many. */
export async function endQueued(
  trx: Db,
  webhookId: string,
  status: 'failed' | 'skipped',
  reason: string,
): Promise<number> {
  return execute(
    trx,
    `update webhook_deliveries set status = ?, reason = ?, ended_at = now(), updated_at = now()
     where webhook_id = ? and status = 'queued'`,
    [status, reason, webhookId],
  );
}

/**
 * The end of what nothing delivers any more, and the deletion of what is over, in small batches. Each leaves rows that
 * another transaction holds for the next time, so that no two of them wait for each other.
 */
import { DELIVERY_HOURS } from '../../domain/webhooks.ts';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { wakeRelay } from './delivery-store.ts';

/**
 * Ends queued deliveries whose webhook was deleted or is switched off, which happens when its row was changed by hand, and
 * those whose time was over an hour ago. Their own workflow does the same when their turn comes. @returns how many.
 */
export async function endAbandoned(db: Db, batch: number): Promise<number> {
  const ended = await execute(
    db,
    `update webhook_deliveries d set status = e.status, reason = e.reason, ended_at = now(), updated_at = now()
     from (select q.id,
         case when coalesce(w.enabled, false) then 'failed' else 'skipped' end as status,
         case when w.id is null then 'the webhook was deleted' when not coalesce(w.enabled, false) then 'the webhook is switched off'
           else 'it did not arrive within ${DELIVERY_HOURS} hours' || coalesce('; at last: ' || q.reason, '') end as reason
       from webhook_deliveries q left join discord_webhooks w on w.id = q.webhook_id
       where q.status = 'queued' and (not coalesce(w.enabled, false) or q.gives_up_at < now() - interval '1 hour')
       order by q.seq limit ? for update of q skip locked) e
     where d.id = e.id`,
    [batch],
  );
  if (ended > 0) await wakeRelay(db);
  return ended;
}

/** Deletes deliveries that ended more than `days` ago, with their attempts. @returns number of deliveries. */
export async function purgeDeliveries(db: Db, days: number, batch: number): Promise<number> {
  const [row] = await query<{ n: number }>(
    db,
    `with gone as (
       delete from webhook_deliveries where id in (
         select d.id from webhook_deliveries d where d.ended_at < now() - make_interval(days => ?) order by d.ended_at limit ?
         for update skip locked)
       and status <> 'queued' returning id),
     attempts as (delete from webhook_attempts a using gone where a.delivery_id = gone.id)
     select count(*)::int as n from gone`,
    [days, batch],
  );
  return row?.n ?? 0;
}

/** Deletes attempts without a delivery, which are tests of webhooks, that began more than `days` ago. @returns how many. */
export const purgeTests = (db: Db, days: number, batch: number): Promise<number> =>
  execute(
    db,
    `delete from webhook_attempts where id in (
       select a.id from webhook_attempts a where a.started_at < now() - make_interval(days => ?)
         and not exists (select 1 from webhook_deliveries d where d.id = a.delivery_id)
       order by a.started_at limit ? for update of a skip locked)`,
    [days, batch],
  );

/** Deletes pauses that are over, and what is known of webhooks that were deleted. @returns how many. */
export async function purgeStates(db: Db, batch: number): Promise<number> {
  const pauses = await execute(
    db,
    `delete from webhook_pauses where scope in (select p.scope from webhook_pauses p where p.until < now() limit ? for update skip locked)`,
    [batch],
  );
  if (pauses === batch) return pauses;
  const states = await execute(
    db,
    `delete from webhook_states where webhook_id in (select s.webhook_id from webhook_states s
       where not exists (select 1 from discord_webhooks w where w.id = s.webhook_id) limit ? for update of s skip locked)`,
    [batch],
  );
  return states;
}

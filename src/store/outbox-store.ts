/** The outbox: effects that were decided in a transaction and are carried out after it. */
import type { Db } from './db/db.ts';
import { execute, query } from './db/query.ts';

export interface OutboxRow {
  id: string;
  kind: string;
  payload: Record<string, unknown>;
  attempts: number;
}

/** Applies to one relay at a time over all workers, so that rows leave in their order; the number only has to be ours. */
const RELAY_LOCK = 7_305_110_002;
/** Times a row that cannot be dispatched for a reason of its own is tried before it counts as failed. */
const MAX_ATTEMPTS = 20;

/** Writes an effect beside what caused it. The same `dedupeKey` again writes nothing. */
export async function enqueue(
  trx: Db,
  effect: { kind: string; dedupeKey: string; payload: Record<string, unknown> },
): Promise<void> {
  await execute(
    trx,
    `insert into outbox (kind, dedupe_key, payload) values (?, ?, ?::jsonb) on conflict (dedupe_key) do nothing`,
    [effect.kind, effect.dedupeKey, JSON.stringify(effect.payload)],
  );
  // Delivered with the commit.
  await execute(trx, `select pg_notify('outbox', '')`);
}

/** Takes part in the relaying, until the transaction ends; false while another relay does. */
export async function lockRelay(trx: Db): Promise<boolean> {
  const [row] = await query<{ mine: boolean }>(trx, `select pg_try_advisory_xact_lock(${RELAY_LOCK}) as mine`);
  return row?.mine === true;
}

/** Rows of these kinds that are due, oldest first. */
export async function dueRows(trx: Db, kinds: readonly string[], limit: number): Promise<OutboxRow[]> {
  return query(
    trx,
    `select o.id, o.kind, o.payload, o.attempts from outbox o
     where o.status = 'pending' and o.available_at <= now() and o.kind = any(?::text[]) order by o.seq limit ?`,
    [[...kinds], limit],
  );
}

/** The effects of these rows are on their way. */
export async function markDispatched(trx: Db, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await execute(
    trx,
    `update outbox set status = 'dispatched', attempts = attempts + 1, dispatched_at = now(), last_error = null where id = any(?::uuid[])`,
    [[...ids]],
  );
}

/** A row that could not be dispatched for a reason of its own waits, longer each time, and in the end counts as failed. */
export async function postpone(trx: Db, id: string, reason: string): Promise<void> {
  await execute(
    trx,
    `update outbox set attempts = attempts + 1, last_error = ?, available_at = now() + make_interval(secs => least(600, power(2, attempts))),
       status = case when attempts + 1 >= ${MAX_ATTEMPTS} then 'failed' else status end where id = ?`,
    [reason, id],
  );
}

export interface OutboxBacklog {
  kind: string;
  pending: number;
  failed: number;
  /** Seconds the oldest pending row has been waiting; 0 when none is. */
  oldestSeconds: number;
}

/** What waits, by kind. */
export async function outboxBacklog(db: Db): Promise<OutboxBacklog[]> {
  return query(
    db,
    `select o.kind, (count(*) filter (where o.status = 'pending'))::int as pending,
       (count(*) filter (where o.status = 'failed'))::int as failed,
       coalesce(extract(epoch from now() - min(o.created_at) filter (where o.status = 'pending')), 0)::float8 as "oldestSeconds"
     from outbox o where o.status in ('pending', 'failed') group by o.kind order by o.kind`,
  );
}

/** Deletes rows older than `days`, whatever their state: what nothing consumed expires with the logs. @returns how many. */
export async function purgeOutbox(db: Db, days: number, batch: number): Promise<number> {
  const deleted = await query<{ id: string }>(
    db,
    `delete from outbox where id in (select o.id from outbox o where o.created_at < now() - make_interval(days => ?) order by o.created_at limit ?) returning id`,
    [days, batch],
  );
  return deleted.length;
}

/** The outbox: effects that a transaction decides and that the relay carries out after the commit (ADR 9). */
import type { Db } from './db/db.ts';
import { execute, query } from './db/query.ts';

export interface OutboxRow {
  id: string;
  kind: string;
  payload: Record<string, unknown>;
  attempts: number;
  createdAt: Date;
}

/** Key of the advisory lock that lets one relay work at a time, over all workers. No other lock of the project has it. */
const RELAY_LOCK = 7_305_110_002;
/** Maximum number of attempts for a row that is itself at fault. After that it counts as failed. */
const MAX_ATTEMPTS = 20;

/** Writes an effect in the transaction of its cause. A second row with the same `dedupeKey` is not written. */
export async function enqueue(
  trx: Db,
  effect: { kind: string; dedupeKey: string; payload: Record<string, unknown> },
): Promise<void> {
  await execute(
    trx,
    `insert into outbox (kind, dedupe_key, payload) values (?, ?, ?::jsonb) on conflict (dedupe_key) do nothing`,
    [effect.kind, effect.dedupeKey, JSON.stringify(effect.payload)],
  );
  // PostgreSQL delivers the notification at the commit.
  await execute(trx, `select pg_notify('outbox', '')`);
}

/** As {@link enqueue}, for several effects in this order. */
export async function enqueueAll(
  trx: Db,
  effects: readonly { kind: string; dedupeKey: string; payload: Record<string, unknown> }[],
): Promise<void> {
  if (effects.length === 0) return;
  await execute(
    trx,
    `insert into outbox (kind, dedupe_key, payload)
     select e.value->>'kind', e.value->>'dedupeKey', e.value->'payload'
     from jsonb_array_elements(?::jsonb) with ordinality as e(value, n) order by e.n
     on conflict (dedupe_key) do nothing`,
    [JSON.stringify(effects)],
  );
  await execute(trx, `select pg_notify('outbox', '')`);
}

/** Takes the relay's lock until the transaction ends. @returns false if another relay has it. */
export async function lockRelay(trx: Db): Promise<boolean> {
  const [row] = await query<{ locked: boolean }>(trx, `select pg_try_advisory_xact_lock(${RELAY_LOCK}) as locked`);
  return row?.locked === true;
}

/** Pending rows of these kinds that are due, in the order of writing. */
export async function dueRows(trx: Db, kinds: readonly string[], limit: number): Promise<OutboxRow[]> {
  return query(
    trx,
    `select o.id, o.kind, o.payload, o.attempts, o.created_at as "createdAt" from outbox o
     where o.status = 'pending' and o.available_at <= now() and o.kind = any(?::text[]) order by o.seq limit ?`,
    [[...kinds], limit],
  );
}

/** Marks rows whose workflow was started. */
export async function markDispatched(trx: Db, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await execute(
    trx,
    `update outbox set status = 'dispatched', attempts = attempts + 1, dispatched_at = now(), last_error = null where id = any(?::uuid[])`,
    [[...ids]],
  );
}

/**
 * Marks pending rows of these kinds as skipped that are older than `hours`, which is too late to report them.
 * @returns how many.
 */
export async function skipOldRows(trx: Db, kinds: readonly string[], hours: number): Promise<number> {
  return execute(
    trx,
    `update outbox set status = 'skipped', last_error = 'older than ' || ?::int || ' hours'
     where status = 'pending' and kind = any(?::text[]) and created_at < now() - make_interval(hours => ?::int)`,
    [hours, [...kinds], hours],
  );
}

/** Delays a row that is itself at fault, by 1 s at first and up to 10 minutes, or marks it as failed after its last attempt. */
export async function postpone(trx: Db, id: string, reason: string): Promise<void> {
  await execute(
    trx,
    `update outbox set attempts = attempts + 1, last_error = ?, available_at = now() + make_interval(secs => least(600, power(2, attempts))),
       status = case when attempts + 1 >= ${MAX_ATTEMPTS} then 'failed' else status end where id = ?`,
    [reason, id],
  );
}

/** Locks a row until the transaction ends. @returns undefined if it does not exist. */
export async function lockOutboxRow(
  trx: Db,
  id: string,
): Promise<{ kind: string; status: string; failed: boolean } | undefined> {
  const [row] = await query<{ kind: string; status: string; failed: boolean }>(
    trx,
    `select o.kind, o.status, o.status <> 'dispatched' and (o.status = 'failed' or o.last_error is not null) as failed
     from outbox o where o.id = ?::uuid for update`,
    [id],
  );
  return row;
}

/** Makes a row due now, with all attempts before it, and wakes the relay. */
export async function makeDue(trx: Db, id: string): Promise<void> {
  await execute(
    trx,
    `update outbox set status = 'pending', attempts = 0, last_error = null, available_at = now() where id = ?::uuid`,
    [id],
  );
  await execute(trx, `select pg_notify('outbox', '')`);
}

export interface OutboxBacklog {
  kind: string;
  pending: number;
  failed: number;
  /** Age of the oldest pending row in seconds; 0 if there is none. */
  oldestSeconds: number;
}

/** Number of pending and failed rows by kind. */
export async function outboxBacklog(db: Db): Promise<OutboxBacklog[]> {
  return query(
    db,
    `select o.kind, (count(*) filter (where o.status = 'pending'))::int as pending,
       (count(*) filter (where o.status = 'failed'))::int as failed,
       coalesce(extract(epoch from now() - min(o.created_at) filter (where o.status = 'pending')), 0)::float8 as "oldestSeconds"
     from outbox o where o.status in ('pending', 'failed') group by o.kind order by o.kind`,
  );
}

/** Deletes rows older than `days`, also pending ones: no release consumed them. @returns number of rows. */
export async function purgeOutbox(db: Db, days: number, batch: number): Promise<number> {
  const deleted = await query<{ id: string }>(
    db,
    `delete from outbox where id in (select o.id from outbox o where o.created_at < now() - make_interval(days => ?) order by o.created_at limit ?) returning id`,
    [days, batch],
  );
  return deleted.length;
}

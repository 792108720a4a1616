/** Reads of deliveries and their attempts, for administrators, `/metrics` and `doctor`. */
import type { EventData, EventOrigin } from '../../domain/events.ts';
import type { AttemptOutcome, DeliveryStatus } from '../../domain/webhooks.ts';
import type { Db } from '../db/db.ts';
import { contains, query, startsWith } from '../db/query.ts';

export interface DeliveryRow {
  id: string;
  webhookId: string;
  /** As the webhook is called now; if it was deleted, as it was called then. */
  webhookName: string;
  /** The webhook was not deleted. */
  webhookExists: boolean;
  webhookEnabled: boolean;
  event: string;
  origin: EventOrigin;
  status: DeliveryStatus;
  reason: string | null;
  attempts: number;
  createdAt: Date;
  occurredAt: Date;
  startedAt: Date | null;
  endedAt: Date | null;
  givesUpAt: Date;
  runId: string | null;
  resentFrom: string | null;
  /** The latest delivery that repeats this one. */
  resentAs: string | null;
  /** What a queued delivery waits for, where that is not its own next attempt. */
  olderId: string | null;
  pausedUntil: Date | null;
  pauseReason: string | null;
}

export interface DeliveryFilter {
  status?: DeliveryStatus | undefined;
  webhookId?: string | undefined;
  /** Begin of the name of the event. */
  event?: string | undefined;
  origin?: EventOrigin | undefined;
  /** Part of the names of webhook and event, or of the reason. */
  search?: string | undefined;
}

function conditionsOf(filter: DeliveryFilter): { sql: string; bindings: unknown[] } {
  const conditions: string[] = [];
  const bindings: unknown[] = [];
  const add = (condition: string, ...values: unknown[]) => {
    conditions.push(condition);
    bindings.push(...values);
  };
  if (filter.status !== undefined) add('d.status = ?', filter.status);
  if (filter.webhookId !== undefined) add('d.webhook_id = ?', filter.webhookId);
  if (filter.event !== undefined) add('d.event like ?', startsWith(filter.event));
  if (filter.origin !== undefined) add('d.origin = ?', filter.origin);
  if (filter.search !== undefined) {
    const pattern = contains(filter.search);
    add('(d.webhook_name ilike ? or d.event ilike ? or d.reason ilike ?)', pattern, pattern, pattern);
  }
  return { sql: conditions.length === 0 ? 'true' : conditions.join(' and '), bindings };
}

/** @param cut SQL: the ids of the deliveries that are wanted. */
const ROWS = (cut: string, columns = ''): string => `
  select d.id, d.webhook_id as "webhookId", coalesce(w.name, d.webhook_name) as "webhookName",
    w.id is not null as "webhookExists", coalesce(w.enabled, false) as "webhookEnabled", d.event, d.origin, d.status, d.reason,
    d.attempts, d.created_at as "createdAt", d.occurred_at as "occurredAt", d.started_at as "startedAt", d.ended_at as "endedAt",
    d.gives_up_at as "givesUpAt", d.run_id as "runId", d.resent_from as "resentFrom", copy.id as "resentAs",
    older.id as "olderId", p.until as "pausedUntil", p.reason as "pauseReason"${columns}
  from (${cut}) cut join webhook_deliveries d on d.id = cut.id
  left join discord_webhooks w on w.id = d.webhook_id
  left join webhook_states s on s.webhook_id = d.webhook_id
  left join lateral (
    select r.id from webhook_deliveries r where r.resent_from = d.id order by r.created_at desc, r.id desc limit 1) copy on true
  left join lateral (
    select q.id from webhook_deliveries q where d.status = 'queued' and q.status = 'queued' and q.webhook_id = d.webhook_id
      and q.seq < d.seq order by q.seq limit 1) older on true
  left join lateral (
    select x.until, x.reason from webhook_pauses x where d.status = 'queued' and x.until > now()
      and x.scope in ('all', 'webhook:' || d.webhook_id, 'channel:' || s.channel_id) order by x.until desc limit 1) p on true`;

/** One page of deliveries, newest first. */
export function listDeliveries(
  db: Db,
  { limit, offset, ...filter }: DeliveryFilter & { limit: number; offset: number },
): Promise<DeliveryRow[]> {
  const { sql, bindings } = conditionsOf(filter);
  const cut = `select d.id from webhook_deliveries d where ${sql} order by d.created_at desc, d.id desc limit ? offset ?`;
  return query(db, `${ROWS(cut)} order by d.created_at desc, d.id desc`, [...bindings, limit, offset]);
}

/** Number of deliveries that a filter lets through. */
export async function countDeliveries(db: Db, filter: DeliveryFilter): Promise<number> {
  const { sql, bindings } = conditionsOf(filter);
  const [row] = await query<{ n: number }>(
    db,
    `select count(*)::int as n from webhook_deliveries d where ${sql}`,
    bindings,
  );
  return row?.n ?? 0;
}

export interface AttemptRow {
  id: string;
  number: number;
  startedAt: Date;
  endedAt: Date | null;
  outcome: AttemptOutcome;
  httpStatus: number | null;
  discordCode: number | null;
  detail: string | null;
}

/** One delivery with what it tells; undefined if it does not exist. */
export async function findDeliveryRow(db: Db, id: string): Promise<(DeliveryRow & { data: EventData }) | undefined> {
  const [row] = await query<DeliveryRow & { data: EventData }>(db, ROWS('select ?::uuid as id', ', d.data'), [id]);
  return row;
}

/** The attempts of a delivery, the first one first. */
export const listAttempts = (db: Db, deliveryId: string): Promise<AttemptRow[]> =>
  query(
    db,
    `select a.id, a.number, a.started_at as "startedAt", a.ended_at as "endedAt", a.outcome, a.http_status as "httpStatus",
       a.discord_code as "discordCode", a.detail
     from webhook_attempts a where a.delivery_id = ?::uuid order by a.number`,
    [deliveryId],
  );

/** Id of the latest copy of a delivery that is younger than `seconds`. */
export async function findRecentCopy(db: Db, id: string, seconds: number): Promise<string | undefined> {
  const [recent] = await query<{ id: string }>(
    db,
    `select d.id from webhook_deliveries d where d.resent_from = ?::uuid and d.created_at > now() - make_interval(secs => ?)
     order by d.created_at desc, d.id desc limit 1`,
    [id, seconds],
  );
  return recent?.id;
}

/** What an operator should know of deliveries. */
export interface DeliveryFigures {
  queued: number;
  /** Failed within the last 24 hours. */
  failed: number;
  /** Seconds since the oldest queued delivery was written; 0 without one. */
  oldestSeconds: number;
  /** Webhooks that are switched off, by whomever. */
  switchedOff: number;
  pauses: number;
}

/** The figures of deliveries, in one statement. */
export async function deliveryFigures(db: Db): Promise<DeliveryFigures> {
  const [row] = await query<DeliveryFigures>(
    db,
    `select q.n as queued, q.seconds as "oldestSeconds",
       (select count(*)::int from webhook_deliveries f where f.status = 'failed' and f.ended_at > now() - interval '1 day') as failed,
       (select count(*)::int from discord_webhooks w where not coalesce(w.enabled, false)) as "switchedOff",
       (select count(*)::int from webhook_pauses p where p.until > now()) as pauses
     from (select count(*)::int as n, greatest(coalesce(extract(epoch from now() - min(d.created_at)), 0), 0)::float8 as seconds
       from webhook_deliveries d where d.status = 'queued') q`,
  );
  if (row === undefined) throw new Error('figures without a row');
  return row;
}

/** The delivery that waits longest; undefined when none waits. */
export async function oldestQueued(db: Db): Promise<DeliveryRow | undefined> {
  const [row] = await query<DeliveryRow>(
    db,
    ROWS(`select d.id from webhook_deliveries d where d.status = 'queued' order by d.created_at, d.seq limit 1`),
  );
  return row;
}

/** Pauses in force. */
export const pausesInForce = (db: Db): Promise<{ scope: string; until: Date; reason: string }[]> =>
  query(db, `select p.scope, p.until, p.reason from webhook_pauses p where p.until > now() order by p.scope`);

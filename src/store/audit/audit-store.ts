/** Writes to `audit_events`, which is append-only: rows are added, and deleted when their retention is over. */
import type { AuditEvent } from '../../domain/audit.ts';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

/** A statement with its values. */
export interface Statement {
  sql: string;
  bindings: readonly unknown[];
}

/**
 * The insertion of an event, for a statement that does it together with the change that the event is about
 * (`with event as (…) update …`), so that the change costs no further round trip.
 */
export const auditInsert = (event: AuditEvent): Statement => ({
  sql: `insert into audit_events (action, outcome, actor_type, actor_id, target_type, target_id, network, request_id, details)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?::jsonb)`,
  bindings: [
    event.action,
    event.outcome,
    event.actor.type,
    event.actor.id ?? null,
    event.target?.type ?? null,
    event.target?.id ?? null,
    event.network ?? null,
    event.requestId ?? null,
    JSON.stringify(event.details ?? {}),
  ],
});

/** Adds an event. */
export async function insertAuditEvent(db: Db, event: AuditEvent): Promise<void> {
  const { sql, bindings } = auditInsert(event);
  await execute(db, sql, bindings);
}

/** Whether events can be recorded: there is no table before its migration, or only one of the site under this name. */
export async function auditTableExists(db: Db): Promise<boolean> {
  const [row] = await query<{ exists: boolean }>(
    db,
    `select exists (select 1 from pg_trigger
       where tgrelid = to_regclass('audit_events') and tgname = 'audit_events_append_only') as exists`,
  );
  return row?.exists === true;
}

/** Deletes events that are older; 0 days: none, they are kept. @returns how many. */
export async function purgeAuditEvents(db: Db, days: number, batch: number): Promise<number> {
  if (days === 0) return 0;
  const deleted = await query<{ id: string }>(
    db,
    `delete from audit_events where id in (
       select a.id from audit_events a where a.at < now() - make_interval(days => ?) order by a.at limit ?) returning id`,
    [days, batch],
  );
  return deleted.length;
}

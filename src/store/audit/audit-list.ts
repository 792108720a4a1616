/** Reads of `audit_events`. */
import type { AuditAction, AuditEvent, AuditTarget } from '../../domain/audit.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** A user whom an event names by id, as the account is now. */
export interface AuditUser {
  email: string;
  username: string | null;
}

/** An event as it is stored, with the accounts that it names; null for an account that was deleted. */
export interface StoredAuditEvent extends Pick<AuditEvent, 'details'> {
  id: string;
  at: Date;
  action: string;
  outcome: string;
  actorType: string;
  actorId: string | null;
  actor: AuditUser | null;
  targetType: string | null;
  targetId: string | null;
  target: AuditUser | null;
  network: string | null;
  requestId: string | null;
  position: AuditPosition;
}

/** Where an event stands in the list. A `Date` would lose the microseconds of `at`. */
export interface AuditPosition {
  at: string;
  id: string;
}

/** What is not given does not filter. */
export interface AuditFilter {
  actions?: readonly string[] | undefined;
  outcome?: string | undefined;
  actorType?: string | undefined;
  actorId?: string | undefined;
  targetType?: string | undefined;
  targetId?: string | undefined;
  /** Events that are about this user or that the user caused. */
  userId?: string | undefined;
  /** At this time or later. */
  from?: Date | undefined;
  /** Before this time. */
  before?: Date | undefined;
  requestId?: string | undefined;
  network?: string | undefined;
}

/** A page of the events of a filter: at most `limit`, after the one that stands at `after`. */
export interface AuditPageQuery extends AuditFilter {
  limit: number;
  after?: AuditPosition | undefined;
}

interface Condition {
  sql: string;
  bindings: readonly unknown[];
}

function conditions({ after, ...filter }: AuditPageQuery): Condition[] {
  const equal = (column: string, value: string | undefined): Condition[] =>
    value === undefined ? [] : [{ sql: `a.${column} = ?`, bindings: [value] }];
  return [
    ...(filter.actions === undefined ? [] : [{ sql: 'a.action = any(?::text[])', bindings: [[...filter.actions]] }]),
    ...equal('outcome', filter.outcome),
    ...equal('actor_type', filter.actorType),
    ...equal('actor_id', filter.actorId),
    // The second condition is that of the index.
    ...(filter.targetType === undefined
      ? []
      : [{ sql: 'a.target_type = ? and a.target_id is not null', bindings: [filter.targetType] }]),
    ...equal('target_id', filter.targetId),
    ...equal('request_id', filter.requestId),
    ...equal('network', filter.network),
    ...(filter.from === undefined ? [] : [{ sql: 'a.at >= ?', bindings: [filter.from] }]),
    ...(filter.before === undefined ? [] : [{ sql: 'a.at < ?', bindings: [filter.before] }]),
    ...(after === undefined
      ? []
      : [{ sql: '(a.at, a.id) < (?::timestamptz, ?::bigint)', bindings: [after.at, after.id] }]),
  ];
}

/** The newest events of the filter, as a statement that reads as many rows of an index as it returns. */
function newest({ userId, ...page }: AuditPageQuery): Condition {
  const select = (more: readonly Condition[]): Condition => {
    const all = [...conditions(page), ...more];
    const where = all.length === 0 ? '' : `where ${all.map(({ sql }) => sql).join(' and ')}`;
    return {
      sql: `(select a.* from audit_events a ${where} order by a.at desc, a.id desc limit ?)`,
      bindings: [...all.flatMap(({ bindings }) => bindings), page.limit],
    };
  };
  if (userId === undefined) return select([]);
  // Each side has its index. An event of a user about the same user is on the first side only.
  const about = select([{ sql: `a.target_type = 'user' and a.target_id = ?`, bindings: [userId] }]);
  const by = select([
    {
      sql: `a.actor_type = 'user' and a.actor_id = ? and (a.target_type, a.target_id) is distinct from ('user'::text, ?::text)`,
      bindings: [userId, userId],
    },
  ]);
  return { sql: `(${about.sql} union all ${by.sql})`, bindings: [...about.bindings, ...by.bindings] };
}

/** A page of the events, newest first. Users are looked up for its events alone: a plain join would read all of them. */
export async function listAuditEvents(db: Db, page: AuditPageQuery): Promise<StoredAuditEvent[]> {
  const events = newest(page);
  return query<StoredAuditEvent>(
    db,
    `select e.id, e.at, e.action, e.outcome, e.actor_type as "actorType", e.actor_id as "actorId",
            e.target_type as "targetType", e.target_id as "targetId", e.network, e.request_id as "requestId", e.details,
            json_build_object('at', to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'id', e.id::text) as position,
            case when actor.id is not null then json_build_object('email', actor.email, 'username', actor.username) end as actor,
            case when target.id is not null then json_build_object('email', target.email, 'username', target.username) end as target
       from ${events.sql} e
       left join lateral (select u.id, u.email, u.username from users u
         where e.actor_type = 'user' and u.id = e.actor_id limit 1) actor on true
       left join lateral (select u.id, u.email, u.username from users u
         where e.target_type = 'user' and u.id = e.target_id limit 1) target on true
      order by e.at desc, e.id desc limit ?`,
    [...events.bindings, page.limit],
  );
}

/** Whether such an event was recorded of this target within the last `seconds`. */
export async function happenedLately(
  db: Db,
  event: { action: AuditAction; target: AuditTarget; seconds: number },
): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(
    db,
    `select exists (select 1 from audit_events a where a.target_type = ? and a.target_id = ? and a.action = ?
       and a.outcome = 'success' and a.at > now() - make_interval(secs => ?)) as found`,
    [event.target.type, event.target.id, event.action, event.seconds],
  );
  return row?.found === true;
}

/** Reads of `audit_events`. */
import type { AuditEvent } from '../../domain/audit.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** An event as it is stored. */
export interface StoredAuditEvent extends Pick<AuditEvent, 'details'> {
  id: string;
  at: Date;
  action: string;
  outcome: string;
  actorType: string;
  actorId: string | null;
  targetType: string | null;
  targetId: string | null;
  network: string | null;
  requestId: string | null;
}

/** The newest events, newest first; with `userId` those that are about this user or that the user caused. */
export function listAuditEvents(
  db: Db,
  filter: { userId?: string | undefined; limit: number },
): Promise<StoredAuditEvent[]> {
  const about = `(a.target_type = 'user' and a.target_id = ?) or (a.actor_type = 'user' and a.actor_id = ?)`;
  return query<StoredAuditEvent>(
    db,
    `select a.id, a.at, a.action, a.outcome, a.actor_type as "actorType", a.actor_id as "actorId",
            a.target_type as "targetType", a.target_id as "targetId", a.network, a.request_id as "requestId", a.details
       from audit_events a ${filter.userId === undefined ? '' : `where ${about}`} order by a.at desc, a.id desc limit ?`,
    [...(filter.userId === undefined ? [] : [filter.userId, filter.userId]), filter.limit],
  );
}

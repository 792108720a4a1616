/** Reads of `hytale_audit_logs`. */
import type { HytaleEvent } from '../../domain/hytale/lifecycle.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

export interface HytaleAuditRow {
  id: string;
  accountId: string;
  profileId: string | null;
  /** A row of an adopted database may have another word. */
  eventType: string;
  details: string | null;
  ipAddress: string | null;
  userAgent: string | null;
  createdAt: Date;
}

export interface HytaleAuditFilter {
  accountId: string;
  profileId?: string | undefined;
  eventType?: HytaleEvent | undefined;
  /** At this time or later. */
  since?: Date | undefined;
  /** Before this time. */
  until?: Date | undefined;
  /** Id of an entry: those that stand after it in the list. */
  before?: string | undefined;
  limit: number;
}

/** The entries of an account, newest first. */
export function listHytaleAudit(db: Db, filter: HytaleAuditFilter): Promise<HytaleAuditRow[]> {
  const conditions = ['a.account_id = ?::uuid'];
  const bindings: unknown[] = [filter.accountId];
  const add = (condition: string, value: unknown) => {
    if (value === undefined) return;
    conditions.push(condition);
    bindings.push(value);
  };
  add('a.profile_id = ?::uuid', filter.profileId);
  add('a.event_type = ?', filter.eventType);
  add('a.created_at >= ?', filter.since);
  add('a.created_at < ?', filter.until);
  add(
    '(a.created_at, a.id) < (select b.created_at, b.id from hytale_audit_logs b where b.id = ?::uuid)',
    filter.before,
  );
  return query(
    db,
    `select a.id, a.account_id as "accountId", a.profile_id as "profileId", a.event_type as "eventType", a.details,
       host(a.ip_address) as "ipAddress", a.user_agent as "userAgent", a.created_at as "createdAt"
     from hytale_audit_logs a where ${conditions.join(' and ')} order by a.created_at desc, a.id desc limit ?`,
    [...bindings, filter.limit],
  );
}

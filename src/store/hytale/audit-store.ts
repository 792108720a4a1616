/** Writes to `hytale_audit_logs`: what happened to the tokens and sessions of Hytale. Never a token. */
import type { HytaleEvent } from '../../domain/hytale/lifecycle.ts';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

export interface HytaleAuditEntry {
  event: HytaleEvent;
  accountId: string;
  profileUuid?: string | null | undefined;
  /** Words, ids and numbers. */
  details?: Readonly<Record<string, string | number | boolean | null>> | undefined;
  /** Who caused it; absent: a timer. */
  ipAddress?: string | null | undefined;
  userAgent?: string | null | undefined;
}

/** Adds an entry in the transaction of what it tells. */
export const insertHytaleAudit = (trx: Db, entry: HytaleAuditEntry): Promise<unknown> =>
  execute(
    trx,
    `insert into hytale_audit_logs (account_id, profile_id, event_type, details, ip_address, user_agent)
     values (?, ?, ?, ?, ?, ?)`,
    [
      entry.accountId,
      entry.profileUuid ?? null,
      entry.event,
      entry.details === undefined ? null : JSON.stringify(entry.details),
      entry.ipAddress ?? null,
      entry.userAgent ?? null,
    ],
  );

/** Deletes entries that are older; 0 days: none. @returns number of rows. */
export async function purgeHytaleAudit(db: Db, days: number, batch: number): Promise<number> {
  if (days === 0) return 0;
  const deleted = await query<{ id: string }>(
    db,
    `delete from hytale_audit_logs where id in (
       select id from hytale_audit_logs where created_at < now() - make_interval(days => ?) order by created_at limit ?)
     returning id`,
    [days, batch],
  );
  return deleted.length;
}

/** List reads of `emails` for administrators and `/metrics`. */
import { EMAIL_STATUSES, type EmailStatus, type EmailTemplate } from '../../domain/email.ts';
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';

export interface EmailRow {
  id: string;
  template: string;
  to: string;
  userId: string | null;
  subject: string | null;
  status: EmailStatus;
  attempts: number;
  error: string | null;
  transport: string | null;
  resentFrom: string | null;
  createdAt: Date;
  sentAt: Date | null;
}

const ROW = `e.id, e.template, e.recipient as "to", e.user_id as "userId", e.subject, e.status, e.attempts, e.last_error as error,
  e.transport, e.resent_from as "resentFrom", e.created_at as "createdAt", e.sent_at as "sentAt"`;

/** One email; undefined if it does not exist. */
export async function findEmail(db: Db, id: string): Promise<EmailRow | undefined> {
  const [email] = await query<EmailRow>(db, `select ${ROW} from emails e where e.id = ?::uuid`, [id]);
  return email;
}

/** One page of emails, newest first; `search` matches part of the address or of the subject. */
export async function listEmails(
  db: Db,
  filter: { status?: EmailStatus | undefined; search?: string | undefined; limit: number; offset: number },
): Promise<{ emails: EmailRow[]; total: number }> {
  const pattern = filter.search === undefined ? null : contains(filter.search);
  const where = `(?::text is null or e.status = ?) and (?::text is null or e.recipient ilike ? or e.subject ilike ?)`;
  const bindings = [filter.status ?? null, filter.status ?? null, pattern, pattern, pattern];
  const [count] = await query<{ n: number }>(db, `select count(*)::int as n from emails e where ${where}`, bindings);
  const emails = await query<EmailRow>(
    db,
    `select ${ROW} from emails e where ${where} order by e.created_at desc, e.id desc limit ? offset ?`,
    [...bindings, filter.limit, filter.offset],
  );
  return { emails, total: count?.n ?? 0 };
}

/** Number of emails by status, zeros included. */
export async function countEmails(db: Db): Promise<Record<EmailStatus, number>> {
  const rows = await query<{ status: EmailStatus; count: number }>(
    db,
    `select e.status, count(*)::int as count from emails e group by e.status`,
  );
  const counts: Record<EmailStatus, number> = { queued: 0, sent: 0, failed: 0, skipped: 0 };
  for (const status of EMAIL_STATUSES) counts[status] = rows.find((row) => row.status === status)?.count ?? 0;
  return counts;
}

/** Id of the latest copy of an email that is younger than `seconds`; undefined if there is none. */
export async function findRecentResend(db: Db, id: string, seconds: number): Promise<string | undefined> {
  const [recent] = await query<{ id: string }>(
    db,
    `select e.id from emails e where e.resent_from = ?::uuid and e.created_at > now() - make_interval(secs => ?)
     order by e.created_at desc, e.id desc limit 1`,
    [id, seconds],
  );
  return recent?.id;
}

/** Whether an email of this template was requested for the account within `seconds`. */
export async function wasJustQueued(
  db: Db,
  userId: string,
  template: EmailTemplate,
  seconds: number,
): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(
    db,
    `select exists (select 1 from emails e where e.user_id = ? and e.template = ?
       and e.created_at > now() - make_interval(secs => ?)) as found`,
    [userId, template, seconds],
  );
  return row?.found === true;
}

/** Emails that wait for the operator, with the reason of the latest; undefined if there is none. */
export async function heldEmails(db: Db): Promise<{ count: number; since: Date; reason: string } | undefined> {
  const [held] = await query<{ count: number; since: Date | null; reason: string | null }>(
    db,
    `select count(*)::int as count, min(e.held_since) as since,
       (array_agg(e.last_error order by e.updated_at desc))[1] as reason
     from emails e where e.status = 'queued' and e.held_since is not null`,
  );
  if (held === undefined || held.since === null) return undefined;
  return { count: held.count, since: held.since, reason: held.reason ?? '' };
}

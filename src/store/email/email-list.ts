/** Emails as administrators see them: lists, counts, sending one anew. */
import type { EmailStatus } from '../../domain/email.ts';
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';

/** Seconds in which asking again means the same email. */
const DOUBLE_CLICK_SECONDS = 10;

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

/** One email as administrators see it. */
export async function findEmail(db: Db, id: string): Promise<EmailRow | undefined> {
  const [email] = await query<EmailRow>(db, `select ${ROW} from emails e where e.id = ?::uuid`, [id]);
  return email;
}

/** A page of emails, newest first; `search` looks in the address and the subject. */
export async function listEmails(
  db: Db,
  filter: { status?: EmailStatus; search?: string; limit: number; offset: number },
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

/** Emails by status. */
export async function countEmails(db: Db): Promise<{ status: EmailStatus; count: number }[]> {
  return query(db, `select e.status, count(*)::int as count from emails e group by e.status order by e.status`);
}

/**
 * Locks an email until the transaction ends and looks for what was made of it a moment ago.
 * @returns id of the recent copy; undefined when there is none, or no such email.
 */
export async function lockRecentResend(trx: Db, id: string): Promise<string | undefined> {
  const [original] = await query<{ id: string }>(trx, `select e.id from emails e where e.id = ?::uuid for update`, [
    id,
  ]);
  if (original === undefined) return undefined;
  const [recent] = await query<{ id: string }>(
    trx,
    `select e.id from emails e where e.resent_from = ? and e.created_at > now() - make_interval(secs => ${DOUBLE_CLICK_SECONDS})
     order by e.created_at desc, e.id desc limit 1`,
    [original.id],
  );
  return recent?.id;
}

/** Sending a mail anew, once for a double click. */
import { type Db, rows } from './db.ts';

/** Seconds in which asking again means the same mail. */
const DOUBLE_CLICK_SECONDS = 10;

/**
 * Locks a mail until the transaction ends and looks for what was made of it a moment ago.
 * @returns id of the recent copy; undefined when there is none, or no such mail.
 */
export async function lockRecentResend(trx: Db, id: string): Promise<string | undefined> {
  const [original] = await rows<{ id: string }>(trx, `select e.id from emails e where e.id::text = ? for update`, [id]);
  if (original === undefined) return undefined;
  const [recent] = await rows<{ id: string }>(
    trx,
    `select e.id from emails e where e.resent_from = ? and e.created_at > now() - make_interval(secs => ${DOUBLE_CLICK_SECONDS})
     order by e.created_at desc, e.id desc limit 1`,
    [original.id],
  );
  return recent?.id;
}

/** The fence of a merge: only the run that the log row is open for writes, and not after a cancel. */
import { AppError } from '../../../domain/errors.ts';
import type { Db } from '../../db/db.ts';
import { query } from '../../db/query.ts';
import type { MergeOutcome } from './scope.ts';

/**
 * The row must be RUNNING; it is held until the transaction ends.
 * @returns the outcome that is stored under this key, instead of merging twice; an outcome `cancelled` when a cancel is
 * marked; undefined when the merge may go on.
 * @throws {AppError} RUN_CLOSED
 */
export async function fence(trx: Db, input: { logId: string; key: string }): Promise<MergeOutcome | undefined> {
  const [row] = await query<{ cancelled: boolean; appliedKey: string | null; applied: MergeOutcome | null }>(
    trx,
    `select l."cancelledAt" is not null as cancelled, r.applied_key as "appliedKey", r.applied
     from sync_logs l left join sync_runs r on r.log_id = l.id where l.id = ? and l.status = 'RUNNING' for key share of l`,
    [input.logId],
  );
  if (row === undefined) throw new AppError('RUN_CLOSED');
  if (row.appliedKey === input.key && row.applied !== null) return row.applied;
  return row.cancelled ? { status: 'cancelled', counts: {}, warnings: [] } : undefined;
}

/** Locks the row, so that no cancel can be marked between this look and the commit. */
export async function isCancelled(trx: Db, logId: string): Promise<boolean> {
  const [row] = await query<{ cancelled: boolean }>(
    trx,
    `select "cancelledAt" is not null as cancelled from sync_logs where id = ? for update`,
    [logId],
  );
  return row?.cancelled === true;
}

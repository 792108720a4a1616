/**
 * What the watch does with a run that makes no progress: one that was not started, whose cancel did not arrive, or whose workflow run
 * is gone. The states of a run are in run-store.ts.
 */
import type { SyncCounts, SyncWarning } from '../../domain/sync/targets.ts';
import { type Db, inTransaction } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { insertSyncEvent } from './outcome-events.ts';
import { ACTIVE_LIST, type ActiveRun, finishLog, itemsOf, lockLog, RUN_COLUMNS } from './run-store.ts';

export interface StaleRun extends ActiveRun {
  stalePending: boolean;
  staleCancel: boolean;
}

/** The active run, and whether it is old enough for the watch to act on it. Ages are in seconds. */
export async function findStaleRun(
  db: Db,
  ages: { pendingSeconds: number; cancelSeconds: number },
): Promise<StaleRun | undefined> {
  const [row] = await query<StaleRun>(
    db,
    `select ${RUN_COLUMNS},
       l.status = 'PENDING' and l."startedAt" < (now() at time zone 'utc') - make_interval(secs => ?) as "stalePending",
       coalesce(l."cancelledAt" < (now() at time zone 'utc') - make_interval(secs => ?), false) as "staleCancel"
     from sync_logs l left join sync_runs r on r.log_id = l.id where l.status in (${ACTIVE_LIST}) limit 1`,
    [ages.pendingSeconds, ages.cancelSeconds],
  );
  return row;
}

/**
 * Ends a RUNNING row whose workflow run does not exist any more. What the run had merged stays written, so its counts and
 * warnings are kept in the row.
 * @returns false when the row has changed in the meantime.
 */
export async function closeAbandonedRun(db: Db, id: string, workflowRunId: string | null): Promise<boolean> {
  return inTransaction(db, async (trx) => {
    await lockLog(trx, id);
    const [row] = await query<{ type: string; dryRun: boolean; cancelling: boolean; applied: Partial<Outcome> | null }>(
      trx,
      `select l.type, l."cancelledAt" is not null as cancelling, coalesce((r.options->>'dryRun')::boolean, false) as "dryRun", r.applied
       from sync_logs l left join sync_runs r on r.log_id = l.id
       where l.id = ? and l.status = 'RUNNING' and r.workflow_run_id is not distinct from ?`,
      [id, workflowRunId],
    );
    if (row === undefined) return false;
    const status = row.cancelling ? 'CANCELLED' : 'FAILED';
    const error = row.cancelling ? null : 'the run was terminated';
    const { counts = {}, warnings = [] } = row.applied ?? {};
    await finishLog(trx, {
      id,
      status,
      closedBy: 'watch',
      error,
      failedStep: 'terminated',
      metadata: {
        ...(Object.keys(counts).length > 0 ? { counts } : {}),
        ...(warnings.length > 0 ? { warnings } : {}),
        applied: row.applied !== null && !row.dryRun,
      },
      items: row.applied === null ? undefined : itemsOf(counts),
    });
    await insertSyncEvent(trx, {
      logId: id,
      type: row.type,
      status,
      runId: workflowRunId ?? 'watch',
      dryRun: row.dryRun,
    });
    return true;
  });
}

/** What a merge leaves in `sync_runs.applied`. */
interface Outcome {
  counts: SyncCounts;
  warnings: SyncWarning[];
}

/**
 * Puts a RUNNING row back to PENDING whose workflow run ended because a release brought other workflow code: the same
 * request is started again, under the same row. At most once per row, and not while it is being cancelled.
 * @returns false when the row has changed in the meantime, is being cancelled, or was put back before.
 */
export async function requeueRun(db: Db, id: string, workflowRunId: string | null): Promise<boolean> {
  return inTransaction(db, async (trx) => {
    await lockLog(trx, id);
    const requeued = await query<{ id: string }>(
      trx,
      `update sync_runs r set workflow_run_id = null, options = r.options || '{"requeued": true}'
       from sync_logs l where l.id = r.log_id and l.id = ? and l.status = 'RUNNING' and l."cancelledAt" is null
         and r.workflow_run_id is not distinct from ? and not coalesce((r.options->>'requeued')::boolean, false)
       returning r.log_id as id`,
      [id, workflowRunId],
    );
    if (requeued.length === 0) return false;
    await execute(
      trx,
      `update sync_logs set status = 'PENDING', "updatedAt" = now() at time zone 'utc',
         metadata = coalesce(metadata, '{}') || jsonb_build_object('step', 'queued', 'lastMessage', 'Sync queued again after an update of the backend',
           'lastUpdated', extract(epoch from clock_timestamp()), 'version', coalesce((metadata->>'version')::int, 0) + 1)
       where id = ?`,
      [id],
    );
    // Nothing that the ended run staged may be merged by the next one.
    await execute(trx, `delete from sync_pages where log_id = ?`, [id]);
    await execute(trx, `delete from sync_missing where log_id = ?`, [id]);
    await execute(trx, `select pg_notify('sync_log', ?)`, [id]);
    return true;
  });
}

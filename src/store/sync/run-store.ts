/** The row of a run while it lives: opening, progress, closing. Only a RUNNING row is ever written to. */
import { AppError } from '../../domain/errors.ts';
import { doneMessage, type Progress, progressOf } from '../../domain/sync/progress.ts';
import type { SourcePlan } from '../../domain/sync/targets.ts';
import { type Db, inTransaction } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { finishLog, insertSyncEvent, lockLog } from './log-store.ts';
import { stageSummary } from './staging-store.ts';

export type OpenResult = 'opened' | 'withdrawn';

/**
 * Opens the row for a workflow run: PENDING becomes RUNNING; a row that this run opened before is found open again.
 * A row that was closed is opened once more only for a reset (another run id) or on a live workflow's own demand
 * (`reopen`); other active rows then end as superseded.
 */
export async function openRun(db: Db, input: { logId: string; runId: string; reopen: boolean }): Promise<OpenResult> {
  return inTransaction(db, async (trx) => {
    await lockLog(trx, input.logId);
    const [row] = await query<{ status: string; runId: string | null }>(
      trx,
      `select l.status, r.workflow_run_id as "runId" from sync_logs l left join sync_runs r on r.log_id = l.id where l.id = ?`,
      [input.logId],
    );
    if (row === undefined) return 'withdrawn';
    if (row.status === 'RUNNING' && row.runId === input.runId) return 'opened';
    if (row.status !== 'PENDING' && row.status !== 'RUNNING') {
      if (row.runId === null || (row.runId === input.runId && !input.reopen)) return 'withdrawn';
      await supersedeOthers(trx, input.logId);
    }
    await execute(trx, `delete from sync_pages where log_id = ?`, [input.logId]);
    await execute(trx, `delete from sync_failures where log_id = ?`, [input.logId]);
    await execute(
      trx,
      `update sync_logs set status = 'RUNNING', error = null, "completedAt" = null, "durationSeconds" = null, "cancelledAt" = null,
         "startedAt" = case when status = 'PENDING' then "startedAt" else now() at time zone 'utc' end,
         "itemsTotal" = 0, "itemsSynced" = 0, "itemsFailed" = 0, "updatedAt" = now() at time zone 'utc',
         metadata = (coalesce(metadata, '{}') - 'error' - 'failed_step' - 'completed_at' - 'duration' - 'counts' - 'warnings' - 'applied')
           || jsonb_build_object('step', 'starting', 'progress', 0, 'percentage', 0, 'itemsTotal', 0, 'itemsProcessed', 0,
             'started_at', floor(extract(epoch from clock_timestamp())), 'lastMessage', 'Sync started',
             'lastUpdated', extract(epoch from clock_timestamp()), 'version', coalesce((metadata->>'version')::int, 0) + 1)
       where id = ?`,
      [input.logId],
    );
    await execute(
      trx,
      `insert into sync_runs (log_id, workflow_run_id, opened_at) values (?, ?, now())
       on conflict (log_id) do update set workflow_run_id = excluded.workflow_run_id, opened_at = now(), applied_key = null, applied = null,
         options = sync_runs.options - 'closedBy'`,
      [input.logId, input.runId],
    );
    await execute(trx, `select pg_notify('sync_log', ?)`, [input.logId]);
    return 'opened';
  });
}

async function supersedeOthers(trx: Db, logId: string): Promise<void> {
  const others = await query<{ id: string; type: string; dryRun: boolean; runId: string | null }>(
    trx,
    `select l.id, l.type, r.workflow_run_id as "runId", coalesce((r.options->>'dryRun')::boolean, false) as "dryRun"
     from sync_logs l left join sync_runs r on r.log_id = l.id
     where l.status in ('PENDING', 'RUNNING') and l.id <> ? for update of l`,
    [logId],
  );
  // At most one row can be active (sync_logs_one_active).
  for (const other of others) {
    await finishLog(trx, { id: other.id, status: 'FAILED', closedBy: 'reset', error: 'superseded by a reset' });
    await insertSyncEvent(trx, {
      logId: other.id,
      type: other.type,
      status: 'FAILED',
      runId: other.runId ?? 'pending',
      dryRun: other.dryRun,
    });
  }
}

/** Progress writes are at most one in this many milliseconds, whatever the size of the run. */
export const PROGRESS_INTERVAL_MS = 250;

/**
 * Recomputes progress from the stage and writes it, unless that was done a moment ago (`force` writes anyway). With the
 * listing that was just `finished` the message tells what its steps brought.
 */
export async function writeProgress(
  db: Db,
  run: { logId: string; plans: readonly SourcePlan[]; force: boolean; finished?: string | undefined },
): Promise<void> {
  const staged = await stageSummary(db, run.logId);
  const progress = progressOf(run.plans, staged);
  // One answer can finish several steps: they are told in one update.
  const done = run.plans.find((p) => p.source === run.finished)?.entities.flatMap((e) => doneMessage(e, staged)) ?? [];
  const lastMessage = done.length > 0 ? done.join(', ') : progress.lastMessage;
  await writeProgressRow(db, run.logId, { ...progress, lastMessage }, run.force ? 0 : PROGRESS_INTERVAL_MS);
}

/** Writes a given progress; it never goes back, and a closed row is left alone. */
export async function writeProgressRow(
  db: Db,
  logId: string,
  progress: Progress,
  minIntervalMs: number,
): Promise<void> {
  const patch = {
    step: progress.step,
    percentage: progress.percentage,
    itemsTotal: progress.itemsTotal,
    itemsProcessed: progress.itemsProcessed,
    lastMessage: progress.lastMessage,
  };
  await execute(
    db,
    `with told as (
       update sync_logs set "itemsTotal" = greatest("itemsTotal", ?), "itemsSynced" = greatest("itemsSynced", ?), "updatedAt" = clock_timestamp() at time zone 'utc',
         metadata = coalesce(metadata, '{}') || ?::jsonb || jsonb_build_object('progress', greatest((metadata->>'progress')::int, ?),
           'lastUpdated', extract(epoch from clock_timestamp()), 'version', coalesce((metadata->>'version')::int, 0) + 1)
       where id = ? and status = 'RUNNING' and "cancelledAt" is null
         and "updatedAt" <= (clock_timestamp() at time zone 'utc') - make_interval(secs => ?::float8 / 1000)
         and coalesce((metadata->>'progress')::int, 0) <= ?
       returning id
     ) select pg_notify('sync_log', told.id) from told`,
    [
      progress.runTotal,
      progress.runProcessed,
      JSON.stringify(patch),
      progress.progress,
      logId,
      minIntervalMs,
      progress.progress,
    ],
  );
}

export interface CloseRun {
  logId: string;
  runId: string;
  outcome: 'COMPLETED' | 'FAILED' | 'CANCELLED';
  error?: string | undefined;
  failedStep?: string | undefined;
  metadata: Record<string, unknown>;
  items?: { total: number; synced: number; failed: number } | undefined;
}

/**
 * Ends the row of a run, once. A cancel that was asked for wins over a completion, and says whether the mirror was
 * written before it (`applied`).
 * @throws {AppError} RUN_CLOSED when somebody else ended it.
 */
export async function closeRun(db: Db, input: CloseRun): Promise<'COMPLETED' | 'FAILED' | 'CANCELLED'> {
  return inTransaction(db, async (trx) => {
    await lockLog(trx, input.logId);
    const [row] = await query<{
      status: 'PENDING' | 'RUNNING' | 'COMPLETED' | 'FAILED' | 'CANCELLED';
      type: string;
      cancelling: boolean;
      runId: string | null;
      closedBy: string | null;
      dryRun: boolean;
      applied: unknown;
    }>(
      trx,
      `select l.status, l.type, l."cancelledAt" is not null as cancelling, r.workflow_run_id as "runId", r.options->>'closedBy' as "closedBy",
         coalesce((r.options->>'dryRun')::boolean, false) as "dryRun", r.applied
       from sync_logs l left join sync_runs r on r.log_id = l.id where l.id = ?`,
      [input.logId],
    );
    if (row === undefined) throw new AppError('RUN_CLOSED');
    if (row.status !== 'RUNNING') {
      if (row.closedBy === input.runId && row.status !== 'PENDING') return row.status;
      throw new AppError('RUN_CLOSED');
    }
    if (row.runId !== input.runId) throw new AppError('RUN_CLOSED');
    const status = row.cancelling ? 'CANCELLED' : input.outcome;
    const written = row.applied !== null && !row.dryRun;
    await finishLog(trx, {
      id: input.logId,
      status,
      closedBy: input.runId,
      error: status === 'FAILED' ? (input.error ?? 'Sync failed') : null,
      failedStep: input.failedStep,
      metadata: { ...input.metadata, ...(status === 'COMPLETED' ? {} : { applied: written }) },
      items: input.items,
    });
    await insertSyncEvent(trx, { logId: input.logId, type: row.type, status, runId: input.runId, dryRun: row.dryRun });
    return status;
  });
}

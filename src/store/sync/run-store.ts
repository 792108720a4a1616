/**
 * The state machine of a run: each transition of its log row, from the request to the end. Only an active row changes.
 *
 * | from | to | by |
 * | --- | --- | --- |
 * | (none) | PENDING | a request: {@link insertPendingLog} |
 * | PENDING | (deleted) | a start that Temporal did not take: {@link withdrawPendingLog} |
 * | PENDING | CANCELLED | a cancel: {@link markCancelled} |
 * | PENDING, closed (reset) | RUNNING | the workflow: {@link openRun} |
 * | RUNNING | RUNNING | progress (progress-store.ts); a cancel only marks the row |
 * | RUNNING | COMPLETED, FAILED, CANCELLED | the workflow: {@link closeRun} |
 * | RUNNING | FAILED, CANCELLED | the watch, when the workflow run is gone: `closeAbandonedRun` (stale-run-store.ts) |
 * | RUNNING | PENDING | the watch, once, when a release ended the workflow run: `requeueRun` (stale-run-store.ts) |
 * | PENDING, RUNNING | FAILED | {@link openRun} of a reset run, which supersedes it |
 *
 * List reads are in log-store.ts.
 */
import { AppError } from '../../domain/errors.ts';
import { ACTIVE_STATUSES, type SyncCounts, type SyncStatus, type SyncTarget } from '../../domain/sync/targets.ts';
import { type Db, inTransaction, type Transaction } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { isUniqueViolation } from '../db/sql-errors.ts';
import { insertSyncEvent } from './outcome-events.ts';

/** SQL: the statuses of an active row. */
export const ACTIVE_LIST = ACTIVE_STATUSES.map((s) => `'${s}'`).join(',');

/** Options of a requested sync. They are stored beside the log row, to be compared with the next request. */
export interface SyncRequest {
  target: SyncTarget;
  dryRun: boolean;
  skipUsers: boolean;
  /** Stands in the log row. A program says it, so it can be any text. */
  requestedBy: string;
  /** Who asked, as Temporal may know it: `api`, `cli`, `scheduler` or the id of a user; never a text from outside. */
  requester: string;
}

export interface ActiveRun {
  id: string;
  status: SyncStatus;
  target: string;
  dryRun: boolean;
  skipUsers: boolean;
  workflowRunId: string | null;
  requester: string;
  /** A cancel is marked. */
  cancelling: boolean;
}

/** Writes what is recorded of a change to the row with this id, in the transaction of the change. */
type WriteEvent = (trx: Transaction, id: string) => Promise<void>;
const NOT_RECORDED: WriteEvent = async () => undefined;

/**
 * Inserts the PENDING row that is the intent of a sync (ADR 3).
 * @param record writes the audit event, in the transaction of the row
 * @returns false when another row is active (the unique index `sync_logs_one_active` decides, ADR 2) or the id exists.
 */
export async function insertPendingLog(
  db: Db,
  id: string,
  request: SyncRequest,
  record: WriteEvent = NOT_RECORDED,
): Promise<boolean> {
  const metadata = {
    requested_by: request.requestedBy,
    skip_users: request.skipUsers,
    ...(request.dryRun ? { dry_run: true } : {}),
    step: 'queued',
    progress: 0,
    version: 1,
    lastMessage: 'Sync queued',
    lastUpdated: Date.now() / 1000,
  };
  const options = {
    target: request.target,
    dryRun: request.dryRun,
    skipUsers: request.skipUsers,
    requester: request.requester,
  };
  try {
    return await inTransaction(db, async (trx) => {
      await execute(trx, `set local statement_timeout = '2s'`);
      await execute(trx, `set local lock_timeout = '2s'`);
      const inserted = await query<{ id: string }>(
        trx,
        `insert into sync_logs (id, type, status, metadata, "startedAt", "createdAt", "updatedAt")
         values (?, ?, 'PENDING', ?::jsonb, now() at time zone 'utc', now() at time zone 'utc', now() at time zone 'utc')
         on conflict (id) do nothing returning id`,
        [id, request.target, JSON.stringify(metadata)],
      );
      if (inserted.length === 0) return false;
      await execute(trx, `insert into sync_runs (log_id, options) values (?, ?::jsonb)`, [id, JSON.stringify(options)]);
      await execute(trx, `select pg_notify('sync_log', ?)`, [id]);
      await record(trx, id);
      return true;
    });
  } catch (error) {
    if (isUniqueViolation(error)) return false;
    throw error;
  }
}

/**
 * Deletes a PENDING row whose start could not be handed to Temporal.
 * @returns false when the row is not PENDING any more, or is being cancelled.
 */
export async function withdrawPendingLog(db: Db, id: string, record: WriteEvent = NOT_RECORDED): Promise<boolean> {
  return inTransaction(db, async (trx) => {
    const deleted = await query<{ id: string }>(
      trx,
      `delete from sync_logs where id = ? and status = 'PENDING' and "cancelledAt" is null returning id`,
      [id],
    );
    if (deleted.length > 0) await record(trx, id);
    return deleted.length > 0;
  });
}

/** SQL over the aliases l (`sync_logs`) and r (`sync_runs`): the columns of {@link ActiveRun}. */
export const RUN_COLUMNS = `l.id, l.status, l.type as target, l."cancelledAt" is not null as cancelling, r.workflow_run_id as "workflowRunId",
  coalesce((r.options->>'dryRun')::boolean, false) as "dryRun", coalesce((r.options->>'skipUsers')::boolean, false) as "skipUsers",
  coalesce(r.options->>'requester', 'api') as requester`;

/** The active run with its options; with an id that run, whatever its status. */
export async function findRun(db: Db, id?: string): Promise<ActiveRun | undefined> {
  const [row] = await query<ActiveRun>(
    db,
    `select ${RUN_COLUMNS} from sync_logs l left join sync_runs r on r.log_id = l.id
     where ${id === undefined ? `l.status in (${ACTIVE_LIST})` : 'l.id = ?'} limit 1`,
    id === undefined ? [] : [id],
  );
  return row;
}

/**
 * Locks a log row until the transaction ends. The lock is a statement of its own, before the row is read: a statement
 * that waits for the row sees the row's new version, but the old versions of the rows that it joins.
 */
export async function lockLog(trx: Db, id: string): Promise<void> {
  await execute(trx, 'select l.id from sync_logs l where l.id = ? for update', [id]);
}

export type OpenResult = 'opened' | 'withdrawn';

/**
 * Opens the row for a workflow run: PENDING becomes RUNNING. A row that this run has opened before is left as it is. A
 * closed row is opened again only for a reset (another run id) or when the running workflow requests it (`reopen`);
 * another active row then ends as superseded.
 * @param input `panel`: fingerprint of the panel that the run reads, see {@link runPanel}.
 * @returns `withdrawn` when there is nothing to run: the row is gone, or closed for good.
 */
export async function openRun(
  db: Db,
  input: { logId: string; runId: string; reopen: boolean; panel?: string },
): Promise<OpenResult> {
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
    await execute(trx, `delete from sync_missing where log_id = ?`, [input.logId]);
    await execute(trx, `delete from sync_failures where log_id = ?`, [input.logId]);
    await execute(
      trx,
      `update sync_logs set status = 'RUNNING', error = null, "completedAt" = null, "durationSeconds" = null, "cancelledAt" = null,
         "startedAt" = case when status = 'PENDING' then "startedAt" else now() at time zone 'utc' end,
         "itemsTotal" = 0, "itemsSynced" = 0, "itemsFailed" = 0, "updatedAt" = now() at time zone 'utc',
         metadata = (coalesce(metadata, '{}') - 'error' - 'failed_step' - 'completed_at' - 'duration' - 'counts' - 'warnings' - 'applied' - 'steps_read'
             - 'requests' - 'limit' - 'repeats')
           || jsonb_build_object('step', 'starting', 'progress', 0, 'percentage', 0, 'itemsTotal', 0, 'itemsProcessed', 0,
             'started_at', floor(extract(epoch from clock_timestamp())), 'lastMessage', 'Sync started',
             'lastUpdated', extract(epoch from clock_timestamp()), 'version', coalesce((metadata->>'version')::int, 0) + 1)
       where id = ?`,
      [input.logId],
    );
    await execute(
      trx,
      `insert into sync_runs (log_id, workflow_run_id, panel, opened_at) values (?, ?, ?, now())
       on conflict (log_id) do update set workflow_run_id = excluded.workflow_run_id, panel = excluded.panel, opened_at = now(), applied_key = null,
         applied = null, options = sync_runs.options - 'closedBy'`,
      [input.logId, input.runId, input.panel ?? null],
    );
    await execute(trx, `select pg_notify('sync_log', ?)`, [input.logId]);
    return 'opened';
  });
}

/** Fingerprint of the panel that the run of a log row was opened for; undefined when there is none. */
export async function runPanel(db: Db, logId: string): Promise<string | undefined> {
  const [run] = await query<{ panel: string | null }>(db, 'select panel from sync_runs where log_id = ?', [logId]);
  return run?.panel ?? undefined;
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

/**
 * Marks a cancel, of the active run or of the given one. A row that no run has opened becomes CANCELLED at once. The lock
 * (`no key update`) is compatible with the key share that a merge holds until its commit: a cancel must not wait for the
 * merge that it cancels.
 * @param record called unless the row was marked before
 * @returns the row that is being cancelled; undefined when none is active.
 */
export async function markCancelled(
  db: Db,
  id?: string,
  record: WriteEvent = NOT_RECORDED,
): Promise<{ id: string; closed: boolean } | undefined> {
  return inTransaction(db, async (trx) => {
    const [row] = await query<{ id: string; status: string; type: string; dryRun: boolean; cancelling: boolean }>(
      trx,
      `select l.id, l.status, l.type, l."cancelledAt" is not null as cancelling, coalesce((r.options->>'dryRun')::boolean, false) as "dryRun"
       from sync_logs l left join sync_runs r on r.log_id = l.id
       where l.status in (${ACTIVE_LIST}) and (?::text is null or l.id = ?::text) for no key update of l`,
      [id ?? null, id ?? null],
    );
    if (row === undefined) return undefined;
    if (!row.cancelling) await record(trx, row.id);
    if (row.status === 'PENDING') {
      await finishLog(trx, { id: row.id, status: 'CANCELLED', closedBy: 'cancel', error: null });
      await insertSyncEvent(trx, {
        logId: row.id,
        type: row.type,
        status: 'CANCELLED',
        runId: 'pending',
        dryRun: row.dryRun,
      });
      return { id: row.id, closed: true };
    }
    await execute(
      trx,
      `update sync_logs set "cancelledAt" = coalesce("cancelledAt", now() at time zone 'utc'), "updatedAt" = now() at time zone 'utc',
         metadata = coalesce(metadata, '{}') || jsonb_build_object('lastMessage', 'Cancelling...', 'lastUpdated', extract(epoch from clock_timestamp()),
           'version', coalesce((metadata->>'version')::int, 0) + 1)
       where id = ?`,
      [row.id],
    );
    await execute(trx, `select pg_notify('sync_log', ?)`, [row.id]);
    return { id: row.id, closed: false };
  });
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
 * Ends the row of a run, once. A marked cancel wins over a completion; the metadata key `applied` then says whether the
 * mirror was written before.
 * @throws {AppError} RUN_CLOSED when another run, the watch or a reset ended the row.
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

/** Totals of a run for the columns of its log row. */
export function itemsOf(counts: SyncCounts): { total: number; synced: number; failed: number } {
  const totals = Object.values(counts);
  const failed = totals.reduce((n, c) => n + c.failed, 0);
  const synced = totals.reduce((n, c) => n + c.created + c.updated + c.unchanged, 0);
  return { total: synced + failed, synced, failed };
}

interface FinishLog {
  id: string;
  status: 'COMPLETED' | 'FAILED' | 'CANCELLED';
  /** Workflow run id, or `cancel`, `watch` or `reset`. */
  closedBy: string;
  /** Public sentence; null when nothing failed. */
  error: string | null;
  failedStep?: string | undefined;
  /** Replaces equal keys of the stored metadata. */
  metadata?: Record<string, unknown>;
  items?: { total: number; synced: number; failed: number } | undefined;
}

/** The one place that ends a log row: status, times, error, metadata; staging is emptied, listeners are notified. */
export async function finishLog(trx: Db, finish: FinishLog): Promise<void> {
  const message =
    finish.status === 'COMPLETED'
      ? 'Sync completed'
      : finish.status === 'CANCELLED'
        ? 'Sync cancelled'
        : `Sync failed: ${finish.error ?? 'unknown error'}`;
  const metadata = {
    ...finish.metadata,
    lastMessage: message,
    completed_at: Math.floor(Date.now() / 1000),
    ...(finish.status === 'COMPLETED' ? { step: 'completed', progress: 100, percentage: 100 } : {}),
    ...(finish.status === 'FAILED' ? { failed_step: finish.failedStep ?? 'starting', error: finish.error } : {}),
  };
  await execute(
    trx,
    `update sync_logs set status = ?, error = ?, "completedAt" = now() at time zone 'utc', "updatedAt" = now() at time zone 'utc',
       "cancelledAt" = case when ? = 'CANCELLED' then coalesce("cancelledAt", now() at time zone 'utc') else "cancelledAt" end,
       "durationSeconds" = round(extract(epoch from (now() at time zone 'utc') - "startedAt"))::int,
       "itemsTotal" = coalesce(?::int, "itemsTotal"), "itemsSynced" = coalesce(?::int, "itemsSynced"), "itemsFailed" = coalesce(?::int, "itemsFailed"),
       metadata = coalesce(metadata, '{}') || ?::jsonb || jsonb_build_object('duration', round(extract(epoch from (now() at time zone 'utc') - "startedAt")::numeric, 3),
         'lastUpdated', extract(epoch from clock_timestamp()), 'version', coalesce((metadata->>'version')::int, 0) + 1)
     where id = ?`,
    [
      finish.status,
      finish.error,
      finish.status,
      finish.items?.total ?? null,
      finish.items?.synced ?? null,
      finish.items?.failed ?? null,
      JSON.stringify(metadata),
      finish.id,
    ],
  );
  await execute(
    trx,
    `update sync_runs set options = options || jsonb_build_object('closedBy', ?::text) where log_id = ?`,
    [finish.closedBy, finish.id],
  );
  // With pages left in staging, a reset next week would merge the panel of last week.
  await execute(trx, `delete from sync_pages where log_id = ?`, [finish.id]);
  await execute(trx, `delete from sync_missing where log_id = ?`, [finish.id]);
  await execute(trx, `select pg_notify('sync_log', ?)`, [finish.id]);
}

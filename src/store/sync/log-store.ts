/** Sync logs: the rows that say what was asked for, how far it is and how it ended. */
import { ACTIVE_STATUSES, readStatus, type SyncStatus, type SyncTarget } from '../../domain/sync/targets.ts';
import { type Db, inTransaction } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { isUniqueViolation } from '../db/sql-errors.ts';
import { enqueue } from '../outbox-store.ts';

export interface SyncLog {
  id: string;
  type: string;
  status: SyncStatus;
  itemsTotal: number;
  itemsSynced: number;
  itemsFailed: number;
  error: string | null;
  metadata: Record<string, unknown>;
  startedAt: Date;
  completedAt: Date | null;
  durationSeconds: number | null;
  cancelledAt: Date | null;
}

const COLUMNS = `l.id, l.type, l.status, l."itemsTotal", l."itemsSynced", l."itemsFailed", l.error, l.metadata,
  l."startedAt", l."completedAt", l."durationSeconds", l."cancelledAt"`;

interface Row extends Omit<SyncLog, 'status' | 'metadata' | 'itemsTotal' | 'itemsSynced' | 'itemsFailed'> {
  status: string | null;
  metadata: Record<string, unknown> | null;
  itemsTotal: number | null;
  itemsSynced: number | null;
  itemsFailed: number | null;
}
const toLog = (row: Row): SyncLog => ({
  ...row,
  status: readStatus(row.status),
  itemsTotal: row.itemsTotal ?? 0,
  itemsSynced: row.itemsSynced ?? 0,
  itemsFailed: row.itemsFailed ?? 0,
  metadata: row.metadata ?? {},
});

const activeList = ACTIVE_STATUSES.map((s) => `'${s}'`).join(',');

/** Newest first; `limit` and `offset` are the caller's, already bounded. */
export async function listSyncLogs(
  db: Db,
  filter: { limit: number; offset: number; type?: string | undefined },
): Promise<SyncLog[]> {
  const found = await query<Row>(
    db,
    `select ${COLUMNS} from sync_logs l where (?::text is null or l.type = ?::text)
     order by l."startedAt" desc, l.id desc limit ? offset ?`,
    [filter.type ?? null, filter.type ?? null, filter.limit, filter.offset],
  );
  return found.map(toLog);
}

export async function getSyncLog(db: Db, id: string): Promise<SyncLog | undefined> {
  const [row] = await query<Row>(db, `select ${COLUMNS} from sync_logs l where l.id = ?`, [id]);
  return row === undefined ? undefined : toLog(row);
}

/** The newest log of each type. */
export async function latestSyncLogs(db: Db): Promise<SyncLog[]> {
  const found = await query<Row>(
    db,
    `select distinct on (l.type) ${COLUMNS} from sync_logs l order by l.type, l."startedAt" desc, l.id desc`,
  );
  return found.map(toLog);
}

/** The one log that is PENDING or RUNNING. */
export async function activeSyncLog(db: Db): Promise<SyncLog | undefined> {
  const [row] = await query<Row>(
    db,
    `select ${COLUMNS} from sync_logs l where l.status in (${activeList}) order by l."startedAt" desc limit 1`,
  );
  return row === undefined ? undefined : toLog(row);
}

/** When the last full sync that completed was over. */
export async function lastCompletedFullSync(db: Db): Promise<Date | undefined> {
  const [row] = await query<{ at: Date | null }>(
    db,
    `select max(coalesce(l."completedAt", l."updatedAt")) as at from sync_logs l
     where l.type = 'full' and upper(l.status) = 'COMPLETED' and coalesce(l.metadata->>'dry_run', 'false') <> 'true'`,
  );
  return row?.at ?? undefined;
}

/** Records a run set aside, by entity and panel id. */
export async function syncFailures(
  db: Db,
  logId: string,
  limit: number,
): Promise<{ entity: string; panelId: string; code: string; detail: string }[]> {
  return query(
    db,
    `select f.entity, f.panel_id as "panelId", f.code, f.detail from sync_failures f
     where f.log_id = ? order by f.entity, length(f.panel_id), f.panel_id, f.code limit ?`,
    [logId, limit],
  );
}

/** What a start asked for; kept beside the log so that a joiner can be compared with it. */
export interface SyncRequest {
  target: SyncTarget;
  dryRun: boolean;
  skipUsers: boolean;
  requestedBy: string;
}

export interface ActiveRun {
  id: string;
  status: SyncStatus;
  target: string;
  dryRun: boolean;
  skipUsers: boolean;
  workflowRunId: string | null;
  requestedBy: string;
  /** The cancel was asked for. */
  cancelling: boolean;
}

/**
 * Writes the PENDING row that is the intent of a sync. False when another one is active (the unique index
 * `sync_logs_one_active` decides, however many copies of the api ask at once) or the same id is there already.
 */
export async function insertPendingLog(db: Db, id: string, request: SyncRequest): Promise<boolean> {
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
    requestedBy: request.requestedBy,
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
      return true;
    });
  } catch (error) {
    if (isUniqueViolation(error)) return false;
    throw error;
  }
}

const RUN_COLUMNS = `l.id, l.status, l.type as target, l."cancelledAt" is not null as cancelling, r.workflow_run_id as "workflowRunId",
  coalesce((r.options->>'dryRun')::boolean, false) as "dryRun", coalesce((r.options->>'skipUsers')::boolean, false) as "skipUsers",
  coalesce(r.options->>'requestedBy', 'unknown') as "requestedBy"`;

/** The active run with its options, or one by id, whatever its status. */
export async function findRun(db: Db, id?: string): Promise<ActiveRun | undefined> {
  const [row] = await query<ActiveRun>(
    db,
    `select ${RUN_COLUMNS} from sync_logs l left join sync_runs r on r.log_id = l.id
     where ${id === undefined ? `l.status in (${activeList})` : 'l.id = ?'} limit 1`,
    id === undefined ? [] : [id],
  );
  return row;
}

/** Takes a PENDING row back when its start could not be handed over. False: it is running (or gone) already. */
export async function withdrawPendingLog(db: Db, id: string): Promise<boolean> {
  const deleted = await query<{ id: string }>(
    db,
    `delete from sync_logs where id = ? and status = 'PENDING' and "cancelledAt" is null returning id`,
    [id],
  );
  return deleted.length > 0;
}

/**
 * Marks a cancel. A row that no run has opened becomes CANCELLED at once. Without an id: whatever is active. The lock
 * passes the key share that an apply holds until its commit: a cancel must not wait for what it cancels.
 * @returns the row that is being cancelled; undefined when none is active.
 */
export async function markCancelled(db: Db, id?: string): Promise<{ id: string; closed: boolean } | undefined> {
  return inTransaction(db, async (trx) => {
    const [row] = await query<{ id: string; status: string; runId: string | null; type: string; dryRun: boolean }>(
      trx,
      `select l.id, l.status, l.type, r.workflow_run_id as "runId", coalesce((r.options->>'dryRun')::boolean, false) as "dryRun"
       from sync_logs l left join sync_runs r on r.log_id = l.id
       where l.status in (${activeList}) and (?::text is null or l.id = ?::text) for no key update of l`,
      [id ?? null, id ?? null],
    );
    if (row === undefined) return undefined;
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

export interface FinishLog {
  id: string;
  status: 'COMPLETED' | 'FAILED' | 'CANCELLED';
  /** Workflow run id, or who else closed it: `cancel`, `watch`, `reset`. */
  closedBy: string;
  /** Public sentence; null when nothing failed. */
  error: string | null;
  failedStep?: string | undefined;
  /** Merged over what the row's metadata holds. */
  metadata?: Record<string, unknown>;
  items?: { total: number; synced: number; failed: number } | undefined;
}

/** The one place that ends a log row: status, times, error, metadata, stage emptied, listeners told. */
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
  // A kept stage would let a reset next week apply last week's panel.
  await execute(trx, `delete from sync_pages where log_id = ?`, [finish.id]);
  await execute(trx, `select pg_notify('sync_log', ?)`, [finish.id]);
}

/**
 * The event of an ended run, for whoever delivers it. Partial runs tell only of failures, previews of nothing.
 * The key makes it one per outcome and workflow run.
 */
export async function insertSyncEvent(
  trx: Db,
  event: { logId: string; type: string; status: 'COMPLETED' | 'FAILED' | 'CANCELLED'; runId: string; dryRun: boolean },
): Promise<void> {
  if (event.dryRun) return;
  if (event.type !== 'full' && event.status !== 'FAILED') return;
  const kind = `sync.${event.status.toLowerCase()}`;
  await enqueue(trx, {
    kind,
    dedupeKey: `${kind}:${event.logId}:${event.runId}`,
    payload: { log_id: event.logId, type: event.type, status: event.status },
  });
}

/** Deletes finished logs that started more than `days` ago, in batches; active ones stay. @returns how many. */
export async function purgeSyncLogs(db: Db, days: number, batch: number): Promise<number> {
  const deleted = await query<{ id: string }>(
    db,
    `delete from sync_logs where id in (
       select l.id from sync_logs l where l."startedAt" < (now() at time zone 'utc') - make_interval(days => ?)
         and l.status not in (${activeList}) order by l."startedAt" limit ?) returning id`,
    [days, batch],
  );
  return deleted.length;
}

/**
 * Locks a log row until the transaction ends. First and by itself: a statement that waits for the row sees the new version
 * of it, but the old ones of what it joins to it.
 */
export async function lockLog(trx: Db, id: string): Promise<void> {
  await execute(trx, 'select l.id from sync_logs l where l.id = ? for update', [id]);
}

export interface StaleRun extends ActiveRun {
  stalePending: boolean;
  staleCancel: boolean;
}

/** The active run, with its age judged: whatever the watch may have to look after. */
export async function findStaleRun(
  db: Db,
  ages: { pendingSeconds: number; cancelSeconds: number },
): Promise<StaleRun | undefined> {
  const [row] = await query<StaleRun>(
    db,
    `select ${RUN_COLUMNS},
       l.status = 'PENDING' and l."startedAt" < (now() at time zone 'utc') - make_interval(secs => ?) as "stalePending",
       coalesce(l."cancelledAt" < (now() at time zone 'utc') - make_interval(secs => ?), false) as "staleCancel"
     from sync_logs l left join sync_runs r on r.log_id = l.id where l.status in (${activeList}) limit 1`,
    [ages.pendingSeconds, ages.cancelSeconds],
  );
  return row;
}

/** Ends a RUNNING row whose workflow run does not exist any more. False: it moved on meanwhile. */
export async function closeAbandonedRun(db: Db, id: string, workflowRunId: string | null): Promise<boolean> {
  return inTransaction(db, async (trx) => {
    await lockLog(trx, id);
    const [row] = await query<{ type: string; dryRun: boolean; cancelling: boolean }>(
      trx,
      `select l.type, l."cancelledAt" is not null as cancelling, coalesce((r.options->>'dryRun')::boolean, false) as "dryRun"
       from sync_logs l left join sync_runs r on r.log_id = l.id
       where l.id = ? and l.status = 'RUNNING' and r.workflow_run_id is not distinct from ?`,
      [id, workflowRunId],
    );
    if (row === undefined) return false;
    const status = row.cancelling ? 'CANCELLED' : 'FAILED';
    const error = row.cancelling ? null : 'the run was terminated';
    await finishLog(trx, { id, status, closedBy: 'watch', error, failedStep: 'terminated' });
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

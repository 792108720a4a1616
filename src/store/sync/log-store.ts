/** Reads of sync logs: lists, single logs, rejected records; and their purge. Transitions are in run-store.ts. */
import { ACTIVE_STATUSES, readStatus, type SyncStatus } from '../../domain/sync/targets.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

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
  metadata: unknown;
  itemsTotal: number | null;
  itemsSynced: number | null;
  itemsFailed: number | null;
}
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const toLog = (row: Row): SyncLog => ({
  ...row,
  status: readStatus(row.status),
  itemsTotal: row.itemsTotal ?? 0,
  itemsSynced: row.itemsSynced ?? 0,
  itemsFailed: row.itemsFailed ?? 0,
  // The column of a site may hold any JSON.
  metadata: isObject(row.metadata) ? row.metadata : {},
});

const activeList = ACTIVE_STATUSES.map((s) => `'${s}'`).join(',');

/** Newest first. The caller has bounded `limit` and `offset`. */
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

/** When the last completed full sync ended; previews do not count. */
export async function lastCompletedFullSync(db: Db): Promise<Date | undefined> {
  const [row] = await query<{ at: Date | null }>(
    db,
    `select max(coalesce(l."completedAt", l."updatedAt")) as at from sync_logs l
     where l.type = 'full' and upper(l.status) = 'COMPLETED' and coalesce(l.metadata->>'dry_run', 'false') <> 'true'`,
  );
  return row?.at ?? undefined;
}

/** Rejected records of a run, by entity and panel id. */
export async function rejectedRecords(
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

/** Deletes at most `batch` logs that started more than `days` ago; active ones stay. @returns how many. */
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

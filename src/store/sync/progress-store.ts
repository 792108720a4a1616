/** Writes how far a run is to its log row. */
import { type Progress, progressOf, type Step, stepRead, stepsRead } from '../../domain/sync/progress.ts';
import type { Entity } from '../../domain/sync/targets.ts';
import type { Db } from '../db/db.ts';
import { COMMIT_LATER, execute, query } from '../db/query.ts';
import { stagingSummary } from './staging-store.ts';

/** Minimum milliseconds between two progress writes, whatever the size of the run. */
export const PROGRESS_INTERVAL_MS = 250;

/** What a run reads, and of what more may come. */
export interface ReadingRun {
  logId: string;
  /** Entities of the run's target. */
  entities: readonly Entity[];
  unread: readonly Entity[];
}

/**
 * Computes progress from the staged pages and writes it. Each step that is read whole is written once, one after the other,
 * with a message of its own; the present step at most once per {@link PROGRESS_INTERVAL_MS}, unless `force` is set.
 */
export async function writeProgress(db: Db, run: ReadingRun & { force: boolean }): Promise<void> {
  const { logId, entities, unread } = run;
  const staged = await stagingSummary(db, logId);
  const read = stepsRead(entities, unread);
  const written = read.length === 0 ? [] : await writtenSteps(db, logId);
  const left = read.filter((step) => !written.includes(step));
  // One answer can end several steps.
  for (const step of left) await writeProgressRow(db, logId, stepRead(step, entities, staged), 0, step);
  const progress = left.length === 0 ? progressOf(entities, staged, unread) : undefined;
  if (progress !== undefined) await writeProgressRow(db, logId, progress, run.force ? 0 : PROGRESS_INTERVAL_MS);
}

/** Steps of which the end was written. */
async function writtenSteps(db: Db, logId: string): Promise<string[]> {
  const [row] = await query<{ steps: string[] }>(
    db,
    `select coalesce(l.metadata->'steps_read', '[]') as steps from sync_logs l where l.id = ?`,
    [logId],
  );
  return row?.steps ?? [];
}

/**
 * Writes a progress. It never goes back, and a closed row is not touched.
 * @param read the step of which this is the end: it is written once.
 */
export async function writeProgressRow(
  db: Db,
  logId: string,
  progress: Progress,
  minIntervalMs: number,
  read?: Step,
): Promise<void> {
  const patch = {
    step: progress.step,
    percentage: progress.percentage,
    itemsTotal: progress.itemsTotal,
    itemsProcessed: progress.itemsProcessed,
    lastMessage: progress.lastMessage,
  };
  const steps = JSON.stringify(read === undefined ? [] : [read]);
  await execute(
    db,
    `with updated as (
       update sync_logs set "itemsTotal" = greatest("itemsTotal", ?), "itemsSynced" = greatest("itemsSynced", ?), "updatedAt" = clock_timestamp() at time zone 'utc',
         metadata = coalesce(metadata, '{}') || ?::jsonb || jsonb_build_object('progress', greatest((metadata->>'progress')::int, ?),
           'steps_read', coalesce(metadata->'steps_read', '[]') || ?::jsonb,
           'lastUpdated', extract(epoch from clock_timestamp()), 'version', coalesce((metadata->>'version')::int, 0) + 1)
       where id = ? and status = 'RUNNING' and "cancelledAt" is null
         and "updatedAt" <= (clock_timestamp() at time zone 'utc') - make_interval(secs => ?::float8 / 1000)
         and coalesce((metadata->>'progress')::int, 0) <= ?
         and (?::jsonb = '[]' or not coalesce(metadata->'steps_read', '[]') @> ?::jsonb)
       returning id
     ) select pg_notify('sync_log', updated.id), ${COMMIT_LATER} from updated`,
    [
      progress.runTotal,
      progress.runProcessed,
      JSON.stringify(patch),
      progress.progress,
      steps,
      logId,
      minIntervalMs,
      progress.progress,
      steps,
      steps,
    ],
  );
}

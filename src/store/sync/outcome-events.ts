/** Which ends of runs are reported, for the outbox; and which log rows say nothing that a newer one does not say. */
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { enqueue } from '../outbox-store.ts';

/**
 * Writes the event of an ended run to the outbox: one per outcome and workflow run. Runs of a single target report
 * failures only, previews nothing, and a scheduled run nothing that the one before it reported. Of completed scheduled runs
 * that report nothing, only the newest log row is kept.
 */
export async function insertSyncEvent(
  trx: Db,
  event: { logId: string; type: string; status: 'COMPLETED' | 'FAILED' | 'CANCELLED'; runId: string; dryRun: boolean },
): Promise<void> {
  if (event.dryRun) return;
  if (event.type !== 'full' && event.status !== 'FAILED') return;
  const before = await repeatedRun(trx, event.logId);
  if (before !== undefined) {
    if (event.status === 'COMPLETED') await standFor(trx, event.logId, before);
    return;
  }
  const kind = `sync.${event.status.toLowerCase()}`;
  await enqueue(trx, {
    kind,
    dedupeKey: `${kind}:${event.logId}:${event.runId}`,
    payload: { log_id: event.logId, type: event.type, status: event.status },
  });
}

/** SQL over the metadata of a log: the distinct codes of its warnings, in order. */
const warningCodes = (metadata: string): string => `
  array(select distinct w.value->>'code' from jsonb_array_elements(
    case when jsonb_typeof(${metadata}->'warnings') = 'array' then ${metadata}->'warnings' else '[]' end) w order by 1)`;

/** SQL: whether the log `alias` is of a run that the service started by itself and that changed nothing. */
const unchangedScheduled = (alias: string): string => `
  ${alias}.metadata->>'requested_by' = 'scheduler' and not exists (
    select 1 from jsonb_each(case when jsonb_typeof(${alias}.metadata->'counts') = 'object' then ${alias}.metadata->'counts' else '{}' end) c
    where coalesce((c.value->>'created')::int, 0) + coalesce((c.value->>'updated')::int, 0) + coalesce((c.value->>'pruned')::int, 0) > 0)`;

interface RepeatedRun {
  id: string;
  /** Whether its row, too, says nothing that the one before it does not say. */
  isRepeat: boolean;
  startedAt: string;
  /** The runs that its own row stands for. */
  repeats: { count: number; since: string };
}

/**
 * The run before an ended run, if that one was started by the schedule, changed nothing, and ended as the run of its target
 * before it did: a message about each would hide those that matter. A cancellation is always reported: somebody did it.
 */
async function repeatedRun(trx: Db, logId: string): Promise<RepeatedRun | undefined> {
  const [row] = await query<RepeatedRun>(
    trx,
    `select p.id, to_char(p."startedAt", 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "startedAt",
       coalesce(jsonb_typeof(p.metadata->'repeats') = 'object' and p.status = 'COMPLETED' and ${unchangedScheduled('p')}, false) as "isRepeat",
       jsonb_build_object('count', coalesce((p.metadata->'repeats'->>'count')::int, 0), 'since', p.metadata->'repeats'->>'since') as repeats
     from sync_logs l cross join lateral (
       select p.id, p.status, p.error, p.metadata, p."startedAt" from sync_logs p
       where p.type = l.type and p.id <> l.id and p."completedAt" is not null and p."startedAt" <= l."startedAt"
         and coalesce(p.metadata->>'dry_run', '') <> 'true'
       order by p."startedAt" desc, p."completedAt" desc limit 1) p
     where l.id = ? and l.status <> 'CANCELLED' and ${unchangedScheduled('l')}
       and upper(p.status) = l.status and coalesce(p.error, '') = coalesce(l.error, '')
       and ${warningCodes('p.metadata')} = ${warningCodes('l.metadata')}`,
    [logId],
  );
  return row;
}

/**
 * Notes on a log how many runs like it came directly before, and since when. The row of the one before is deleted if that was
 * noted on it, too: a mirror that is renewed every 20 seconds would fill the list of syncs with rows that say the same. A run
 * that was reported keeps its row, which the report reads.
 */
async function standFor(trx: Db, logId: string, before: RepeatedRun): Promise<void> {
  const repeats = before.isRepeat
    ? { count: before.repeats.count + 1, since: before.repeats.since }
    : { count: 1, since: before.startedAt };
  await execute(
    trx,
    `update sync_logs set metadata = metadata || jsonb_build_object('repeats', ?::jsonb) where id = ?`,
    [JSON.stringify(repeats), logId],
  );
  if (!before.isRepeat) return;
  // A row that a reset is opening again is left alone.
  await execute(
    trx,
    `delete from sync_logs where id in (
       select l.id from sync_logs l where l.id = ? and l."completedAt" is not null for update skip locked)`,
    [before.id],
  );
}

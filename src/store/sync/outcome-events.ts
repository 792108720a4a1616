/** Which ends of runs are reported, for the outbox. */
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';
import { enqueue } from '../outbox-store.ts';

/**
 * Writes the event of an ended run to the outbox: one per outcome and workflow run. Runs of a single target report
 * failures only, previews nothing, and a scheduled run nothing that the one before it reported.
 */
export async function insertSyncEvent(
  trx: Db,
  event: { logId: string; type: string; status: 'COMPLETED' | 'FAILED' | 'CANCELLED'; runId: string; dryRun: boolean },
): Promise<void> {
  if (event.dryRun) return;
  if (event.type !== 'full' && event.status !== 'FAILED') return;
  if (await repeatsTheOneBefore(trx, event.logId)) return;
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

/**
 * Whether an ended run was started by the schedule, changed nothing, and ended as the run of its target before it did: a
 * message about each would hide those that matter. A cancellation is always reported: somebody did it.
 */
async function repeatsTheOneBefore(trx: Db, logId: string): Promise<boolean> {
  const [row] = await query<{ repeats: boolean }>(
    trx,
    `select exists (
       select 1 from sync_logs l cross join lateral (
         select p.status, p.error, p.metadata from sync_logs p
         where p.type = l.type and p.id <> l.id and p."completedAt" is not null and p."startedAt" <= l."startedAt"
           and coalesce(p.metadata->>'dry_run', '') <> 'true'
         order by p."startedAt" desc, p."completedAt" desc limit 1) p
       where l.id = ? and l.metadata->>'requested_by' = 'scheduler' and l.status <> 'CANCELLED'
         and upper(p.status) = l.status and coalesce(p.error, '') = coalesce(l.error, '')
         and ${warningCodes('p.metadata')} = ${warningCodes('l.metadata')}
         and not exists (
           select 1 from jsonb_each(case when jsonb_typeof(l.metadata->'counts') = 'object' then l.metadata->'counts' else '{}' end) c
           where coalesce((c.value->>'created')::int, 0) + coalesce((c.value->>'updated')::int, 0) + coalesce((c.value->>'pruned')::int, 0) > 0)
     ) as repeats`,
    [logId],
  );
  return row?.repeats === true;
}

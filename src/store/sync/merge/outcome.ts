/** What a merge did: its counts, the records that it rejected, and where both are stored. */
import {
  ENTITIES,
  type Entity,
  type EntityCounts,
  type SyncCounts,
  type SyncWarning,
} from '../../../domain/sync/targets.ts';
import { type Db, inTransaction } from '../../db/db.ts';
import { execute, query } from '../../db/query.ts';
import { fence } from './fence.ts';
import type { MergeInput, MergeOutcome, RejectedRow } from './scope.ts';

/** Rejected records of an entity that a run keeps; `counts.failed` is their true number. */
export const KEPT_REJECTS = 1_000;

/** Adds the records that the mapping rejected to those that the plan rejected. */
export async function rejectUnmapped(trx: Db, entities: readonly Entity[]): Promise<void> {
  await execute(
    trx,
    `insert into rejected_records select r.entity, case when r.id = 0 then r.server || '/unknown' else r.id::text end, r.code, r.detail from rejected_by_mapping r where r.entity = any(?::text[])
       union all select distinct p.entity, 'unknown', 'INVALID_RECORD', 'id: cannot be read' from staged_pages p
         where p.unreadable > 0 and p.entity = any(?::text[])
       union all select 'servers', d.panel_id::text, 'DUPLICATE_ROW', 'pterodactylId: another row has it too; this one is left as it is' from duplicate_servers d where 'servers' = any(?::text[])
     on conflict do nothing`,
    [[...entities], [...entities], [...entities]],
  );
}

/**
 * Counts the plan. A record counts once: as created or updated also when one of its columns could not be written; as failed
 * when nothing of it was.
 */
export async function countPlan(trx: Db, entities: readonly Entity[]): Promise<SyncCounts> {
  const counted = await query<EntityCounts & { entity: Entity }>(
    trx,
    ENTITIES.filter((e) => entities.includes(e))
      .map(
        (
          e,
        ) => `select '${e}' as entity, c.created, c.updated + ${e === 'users' ? '(select count(*) from unlinked_users)::int' : '0'} as updated,
          t.unchanged - c.changes as unchanged, (select count(*) from deleted_${e})::int as pruned, r.failed
        from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_${e}) c,
          (select (select count(*) from target_${e} target where not target.rejected)::int
             - (select count(*) from rejected_records x join target_${e} target on target.panel_id = x.panel_id
                where x.entity = '${e}' and not target.rejected and not exists (select 1 from change_${e} y where y.panel_id = x.panel_id))::int as unchanged) t,
          (select count(*)::int as failed from rejected_records x where x.entity = '${e}' and x.code <> 'DUPLICATE_ROW'
             and not exists (select 1 from change_${e} y where y.panel_id = x.panel_id)) r`,
      )
      .join(' union all '),
  );
  const counts: SyncCounts = {};
  for (const { entity, ...numbers } of counted) counts[entity] = numbers;
  return counts;
}

/** Says of each entity how many of its records were rejected, and why. Unreadable subusers have a warning of their own. */
export async function warnOfRejected(trx: Db, entities: readonly Entity[]): Promise<SyncWarning[]> {
  const found = await query<{ entity: Entity; n: number; codes: string }>(
    trx,
    `select x.entity, sum(x.n)::int as n, string_agg(x.code || ' ' || x.n, ', ' order by x.code) as codes
     from (select r.entity, r.code, count(*) as n from rejected_records r
       where not (r.entity = 'subusers' and r.code = 'INVALID_RECORD') group by 1, 2) x group by 1`,
  );
  return entities.flatMap((entity) =>
    found
      .filter((one) => one.entity === entity)
      .map(({ n, codes }) => ({
        code: 'SET_ASIDE',
        entity,
        message: `${n} ${entity} could not be stored as the panel has them (${codes}); the rejected records of the run name them`,
      })),
  );
}

/** Stores the rejected records in the log, the first {@link KEPT_REJECTS} of each entity. */
async function storeRejected(trx: Db, logId: string, rejected: readonly RejectedRow[]): Promise<void> {
  await execute(
    trx,
    `insert into sync_failures (log_id, entity, panel_id, code, detail)
     select ?, x.entity, x."panelId", x.code, x.detail from json_to_recordset(?::json) as x (entity text, "panelId" text, code text, detail text) on conflict do nothing`,
    [logId, JSON.stringify(rejected)],
  );
}

/** The rejected records that the log keeps. */
export const rejectedRows = (trx: Db): Promise<RejectedRow[]> =>
  query<RejectedRow>(
    trx,
    `select r.entity, r.panel_id as "panelId", r.code, r.detail from (
       select x.*, row_number() over (partition by x.entity order by length(x.panel_id), x.panel_id) as place from rejected_records x) r
     where r.place <= ${KEPT_REJECTS}`,
  );

/** Stores what the merge did, in its transaction. */
export async function storeOutcome(
  trx: Db,
  input: MergeInput,
  outcome: MergeOutcome,
  rejected: readonly RejectedRow[],
): Promise<void> {
  if (rejected.length > 0) await storeRejected(trx, input.logId, rejected);
  await execute(trx, `update sync_runs set applied_key = ?, applied = ?::jsonb where log_id = ?`, [
    input.key,
    JSON.stringify(outcome),
    input.logId,
  ]);
}

/** A preview writes its own log only: counts and the records that it would reject. */
export async function storePreview(
  db: Db,
  input: MergeInput,
  outcome: MergeOutcome,
  rejected: readonly RejectedRow[],
): Promise<void> {
  await inTransaction(db, async (trx) => {
    if ((await fence(trx, input)) !== undefined) return;
    await storeOutcome(trx, input, outcome, rejected);
  });
}

/** Counts of accounts that were written before the rest of this merge, in transactions of their own. */
export async function withUsersFirst(trx: Db, input: MergeInput, counts: SyncCounts): Promise<void> {
  const [row] = await query<{ changed: number; unlinked: number }>(
    trx,
    `select (r.users_first->>'changed')::int as changed, (r.users_first->>'unlinked')::int as unlinked
     from sync_runs r where r.log_id = ? and r.users_first->>'key' = ?`,
    [input.logId, input.key],
  );
  const users = counts.users;
  if (row === undefined || users === undefined) return;
  users.unchanged = Math.max(0, users.unchanged - row.changed);
  users.updated += row.changed + row.unlinked;
}

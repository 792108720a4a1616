/** The second half of the plan: which rows of `target_x` differ from the mirror, entity by entity. */
import { isListing } from '../../../domain/sync/source-ref.ts';
import { ENTITIES, type Entity } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { execute, lastRows, script } from '../../db/query.ts';
import { conflictOf, resolveConflicts } from './conflicts.ts';
import { type MergeScope, type RejectedRow, rejectRefused, serverMap, targetRows, USER_MAP } from './match.ts';
import { MIRROR, type MirrorSpec } from './tables.ts';

/** Empty `target_x` and `change_x` of an entity that this merge does not write: later steps then need no cases. */
function emptyTables(entity: Entity): string[] {
  const { table } = MIRROR[entity];
  return [
    `create temp table target_${entity} on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected from ${table} t where false`,
    `create temp table change_${entity} on commit drop as select target.*, ''::text as op, 0 as n from target_${entity} target`,
  ];
}

/** `change_x`: the rows that differ; `op` is `c` (create) or `u` (update). */
function changedRows({ entity, table, owned }: MirrorSpec): string {
  const list = (alias: string) => owned.map((c) => `${alias}.${c}`).join(', ');
  return `create temp table change_${entity} on commit drop as
       select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
       from target_${entity} target left join ${table} t on t.id = target.id
       where not target.rejected and (not target.found or (${list('t')}) is distinct from (${list('target')}))`;
}

/** Tables of the ids that exist after this merge, for children to refer to. */
const KNOWN: Partial<Record<Entity, string>> = {
  locations: 'known_locations',
  nodes: 'known_nodes',
  nests: 'known_nests',
  eggs: 'known_eggs',
};

/** Rows that later entities may refer to: today's rows without the deleted ones, and the created rows. */
function knownRows(entity: Entity): string[] {
  const name = KNOWN[entity];
  if (name === undefined) return [];
  const { table, isOtherPanelRow } = MIRROR[entity];
  return [
    `create temp table ${name} on commit drop as
       select t.id from ${table} t where not exists (select 1 from deleted_${entity} deleted where deleted.id = t.id)
         ${isOtherPanelRow === undefined ? '' : `and (${isOtherPanelRow}) is not true`}
       union all select change.id from change_${entity} change where change.op = 'c'`,
  ];
}

/** Whether all panel users were read. */
export const usersAreComplete = ({ sources }: MergeScope): boolean =>
  sources.some(({ source, complete }) => isListing(source, 'users') && complete);

/**
 * Fills `target_x` and `change_x` of each entity, parents first. `deleted_x` exist already, `deleted_subusers` empty.
 * @param refused records that the database refused at an earlier attempt of the same merge.
 */
export async function planChanges(trx: Db, scope: MergeScope, refused: readonly RejectedRow[]): Promise<void> {
  let pending = [`create temp table run_facts on commit drop as select ${usersAreComplete(scope)} as users_complete`];
  for (const entity of ENTITIES) {
    if (entity === 'servers') pending.push(...USER_MAP);
    if (entity === 'allocations') pending.push(...serverMap(scope));
    if (!scope.entities.includes(entity)) {
      pending.push(...emptyTables(entity), ...knownRows(entity));
      continue;
    }
    pending.push(...targetRows(entity));
    const refusedHere = refused.filter((record) => record.entity === entity);
    if (refusedHere.length > 0) {
      await execute(trx, script(pending));
      await rejectRefused(trx, entity, refusedHere);
      pending = [];
    }
    const spec = MIRROR[entity];
    pending.push(changedRows(spec));
    if (spec.unique.length > 0) {
      const conflicts = spec.unique.map((key) => conflictOf(spec, key)).join(' or ');
      const [found] = await lastRows<{ conflict: boolean }>(trx, [...pending, `select ${conflicts} as conflict`]);
      if (found?.conflict === true) await resolveConflicts(trx, spec);
      pending = [];
    }
    pending.push(...knownRows(entity));
  }
  if (pending.length > 0) await execute(trx, script(pending));
}

/** The second half of the plan: which rows of `target_x` differ from the mirror, entity by entity. */
import { ENTITIES, type Entity } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { execute, lastRows, script } from '../../db/query.ts';
import { isContested, resolveConflicts } from './conflicts.ts';
import { mapServers, matchServers } from './match-servers.ts';
import { mapUsers, matchUsers } from './match-users.ts';
import { listingOf, type MergeScope, type RejectedRow } from './scope.ts';
import { MIRROR, type MirrorSpec } from './tables.ts';
import { rejectRefused, targetRows } from './targets.ts';

/** Empty `target_x` and `change_x` of an entity that this merge does not write: later steps then need no cases. */
function emptyTables(entity: Entity): string[] {
  const { table } = MIRROR[entity];
  return [
    `create temp table target_${entity} on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected, false as differs from ${table} t where false`,
    `create temp table change_${entity} on commit drop as select target.*, ''::text as op, 0 as n from target_${entity} target`,
  ];
}

/** `change_x`: the rows that differ; `op` is `c` (create) or `u` (update), `n` numbers them. */
function changedRows({ entity }: MirrorSpec): string {
  return `create temp table change_${entity} on commit drop as
       select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
       from target_${entity} target where not target.rejected and (not target.found or target.differs)`;
}

/** Tables of the ids that exist after this merge, for children to refer to: rows of this panel, and created ones. */
const KNOWN: Partial<Record<Entity, { name: string; ours: string }>> = {
  locations: { name: 'known_locations', ours: 'true' },
  nodes: { name: 'known_nodes', ours: `t."panelType" = 'pterodactyl'` },
  nests: { name: 'known_nests', ours: 'true' },
  eggs: { name: 'known_eggs', ours: `t."panelType" = 'pterodactyl'` },
};

function knownRows(entity: Entity): string[] {
  const known = KNOWN[entity];
  if (known === undefined) return [];
  return [
    `create temp table ${known.name} on commit drop as
       select t.id from ${MIRROR[entity].table} t where ${known.ours} and not exists (select 1 from deleted_${entity} deleted where deleted.id = t.id)
       union select target.id from target_${entity} target where not target.rejected`,
    `analyze ${known.name}`,
  ];
}

/** Whether all panel users were read. */
export const usersAreComplete = (scope: MergeScope): boolean => listingOf(scope, 'users')?.complete === true;

/**
 * Fills `target_x` and `change_x` of each entity, parents first. `deleted_x` and `gone_users` exist already,
 * `deleted_subusers` is empty.
 * @param refused records that the database refused at an earlier attempt of the same merge.
 */
export async function planChanges(trx: Db, scope: MergeScope, refused: readonly RejectedRow[]): Promise<void> {
  let pending: string[] = [];
  for (const entity of ENTITIES) {
    if (entity === 'users') pending.push(...matchUsers(usersAreComplete(scope)));
    if (entity === 'servers') pending.push(...mapUsers(), ...matchServers());
    if (entity === 'allocations') pending.push(...mapServers(scope));
    if (!scope.entities.includes(entity)) {
      pending.push(...emptyTables(entity), ...knownRows(entity));
      continue;
    }
    pending.push(...targetRows(entity, scope));
    const refusedHere = refused.filter((record) => record.entity === entity);
    if (refusedHere.length > 0) {
      await execute(trx, script(pending));
      await rejectRefused(trx, entity, refusedHere);
      pending = [];
    }
    const spec = MIRROR[entity];
    pending.push(changedRows(spec));
    if (spec.unique.length > 0) {
      const contested = spec.unique.map((key) => isContested(spec, key)).join(' or ');
      const [found] = await lastRows<{ contested: boolean }>(trx, [...pending, `select ${contested} as contested`]);
      if (found?.contested === true) await resolveConflicts(trx, spec);
      pending = [];
    }
    pending.push(...knownRows(entity));
  }
  if (pending.length > 0) await execute(trx, script(pending));
}

/**
 * Rows to delete: `deleted_x`. A row is deleted only if a sync wrote it, no record of this run is it, and the panel proves
 * that it is gone: a listing that came whole in one answer does not contain it, or the panel denied it when it was asked for
 * it by name (several pages cannot prove absence). The prune guard must allow it, and nothing of others may hang on it.
 */
import { mayPrune } from '../../../domain/sync/prune-guard.ts';
import type { Entity, SyncWarning } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { execute, lastRows, query } from '../../db/query.ts';
import { listingOf, type MergeScope, provesAbsence } from './scope.ts';
import { MIRROR } from './tables.ts';

/** SQL over alias t: no record of this run, stored or rejected, is the row. */
const unread = (entity: Entity, column = 'id', key = 'id') =>
  `not exists (select 1 from staged_${entity} s where s.${key} = t.${column})
   and not exists (select 1 from rejected_by_mapping r where r.entity = '${entity}' and r.id = t.${column})`;

/** SQL over alias t: the panel was asked for the row, and denied it. */
const denied = (entity: Entity, column = 'id') =>
  `exists (select 1 from missing_rows m where m.entity = '${entity}' and m.panel_id = t.${column} and not m.alive)`;

/** SQL: ids of the parents whose list of this entity was read whole. */
const whole = (entity: Entity) => `select w.parent_id from whole_lists w where w.entity = '${entity}'`;

/** When a row is gone: SQL conditions over alias t. */
interface Gone {
  /** No record of this run is the row: few rows of a mirror that is in step. */
  unread: string;
  /** The panel proves that there is none. */
  proved: string;
}

/** When a row of the entity is gone. Undefined when none can be. */
function gone(entity: Entity, scope: MergeScope, withoutId: ReadonlySet<string>): Gone | undefined {
  if (!scope.entities.includes(entity)) return undefined;
  // A record whose id cannot be read may be any row that lacks; of such rows only the denied ones are gone.
  const proof = (condition: string) => (withoutId.has(entity) ? 'false' : condition);
  const listed = (absent: boolean, column = 'id') =>
    absent && !withoutId.has(entity) ? 'true' : denied(entity, column);
  switch (entity) {
    case 'locations':
    case 'nests':
      return { unread: unread(entity), proved: listed(provesAbsence(listingOf(scope, entity))) };
    case 'nodes': {
      const read = listingOf(scope, 'nodes') ?? listingOf(scope, 'locations');
      return {
        unread: unread('nodes'),
        proved: listed(provesAbsence(read) && !read?.missingIncludes.includes('nodes')),
      };
    }
    case 'allocations':
      return {
        unread: unread('allocations'),
        proved: `(t."nodeId" in (select deleted.id from deleted_nodes deleted) or ${proof(`t."nodeId" in (${whole('allocations')})`)} or ${denied('allocations')})`,
      };
    case 'eggs':
      return {
        unread: unread('eggs'),
        proved: `(t."nestId" in (select deleted.id from deleted_nests deleted) or ${proof(`t."nestId" in (${whole('eggs')})`)})`,
      };
    case 'egg_variables':
      return {
        unread: unread('egg_variables'),
        proved: `(t.egg_id in (select deleted.id from deleted_eggs deleted)
          or ${proof(`t.egg_id in (select s.id from staged_eggs s where s."nestId" in (${whole('egg_variables')}))`)})`,
      };
    case 'servers':
      return {
        unread: unread('servers', '"pterodactylId"', '"panelId"'),
        proved: `not exists (select 1 from staged_servers s where s.uuid = t.uuid)
          and ${listed(provesAbsence(listingOf(scope, 'servers')), '"pterodactylId"')}`,
      };
    case 'databases':
      if (listingOf(scope, 'servers')?.missingIncludes.includes('databases') !== false || withoutId.has(entity))
        return undefined;
      return {
        unread: unread('databases', '"pterodactylId"', '"panelId"'),
        proved: `t."serverId" in (select v.id from servers v join staged_servers s on s."panelId" = v."pterodactylId")`,
      };
    // Users are never deleted; subusers are planned once the owners are known (subuser-deletions.ts).
    case 'users':
    case 'subusers':
      return undefined;
  }
}

/** SQL over alias v: the server is not this panel's. */
const OTHERS_SERVER = `(v."panelType" is distinct from 'pterodactyl' or v."pterodactylId" is null)`;

/**
 * SQL over alias t: rows of others hang on the row and would go with it. They were not written by a sync, so the row stays.
 */
const IN_USE: Partial<Record<Entity, string>> = {
  eggs: `(exists (select 1 from egg_properties p where p.egg_id = t.id)
    or exists (select 1 from egg_variables e join server_variables x on x."eggVariableId" = e.id join servers v on v.id = x."serverId"
       where e.egg_id = t.id and ${OTHERS_SERVER}))`,
  egg_variables: `exists (select 1 from server_variables x join servers v on v.id = x."serverId" where x."eggVariableId" = t.id and ${OTHERS_SERVER})`,
};

const PARENT_OF: Partial<Record<Entity, Entity[]>> = {
  allocations: ['nodes'],
  eggs: ['nests'],
  egg_variables: ['eggs', 'nests'],
};
/** Parents before children: the rows of a parent that goes, go too. */
const ORDER: Entity[] = [
  'locations',
  'nodes',
  'nests',
  'eggs',
  'egg_variables',
  'servers',
  'allocations',
  'databases',
  'users',
  'subusers',
];
/** Listings that prove nothing when they are empty; an empty include of a parent that was read whole is an answer. */
const LISTED: Entity[] = ['locations', 'nests', 'servers'];

function deletedRows(entity: Entity, scope: MergeScope, withoutId: ReadonlySet<string>): string[] {
  const { table, isPanelRow } = MIRROR[entity];
  const of = gone(entity, scope, withoutId);
  const inUse = IN_USE[entity];
  return [
    `create temp table deleted_${entity} on commit drop as ${
      of === undefined
        ? `select t.id from ${table} t where false`
        : `with unread as materialized (select t.* from ${table} t where ${of.unread}) select t.id from unread t where ${isPanelRow} and ${of.proved}`
    }`,
    ...(inUse === undefined
      ? []
      : [
          `with kept as (delete from deleted_${entity} deleted using ${table} t where t.id = deleted.id and ${inUse} returning deleted.id)
             insert into rows_in_use select '${entity}', k.id from kept k`,
        ]),
  ];
}

/** `gone_users`: accounts whose panel user is gone. */
function goneUsers(scope: MergeScope, withoutId: ReadonlySet<string>): string {
  const proof =
    provesAbsence(listingOf(scope, 'users')) && !withoutId.has('users') ? 'true' : denied('users', '"pterodactylId"');
  const where = scope.entities.includes('users')
    ? `t."pterodactylId" is not null and ${unread('users', '"pterodactylId"', '"panelId"')}
       and not exists (select 1 from staged_users s where s.uuid = t."pterodactylUuid") and ${proof}`
    : 'false';
  return `create temp table gone_users on commit drop as select t.id from users t where ${where}`;
}

/**
 * Fills `gone_users` and each `deleted_x` except `deleted_subusers`, as far as the prune guard allows it.
 * @param withoutId entities of which a record had no readable id.
 */
export async function planDeletions(
  trx: Db,
  scope: MergeScope,
  allowMass: boolean,
  withoutId: ReadonlySet<string>,
): Promise<SyncWarning[]> {
  const [planned] = await lastRows<{ found: boolean; users: boolean; inUse: boolean }>(trx, [
    // Lists that were read whole: in one answer, or with the record that lists them.
    `create temp table whole_lists on commit drop as
       select distinct p.entity, p.parent_id from staged_pages p
       where p.parent_id is not null and not p.has_gaps and p.entity in ('allocations', 'eggs', 'egg_variables')
         and (p.source <> 'node' or (p.complete and p.pages <= 1))
         and (p.entity <> 'egg_variables' or p.missing::text not like '%"variables"%')`,
    'create temp table rows_in_use (entity text, id int) on commit drop',
    goneUsers(scope, withoutId),
    ...ORDER.flatMap((entity) => deletedRows(entity, scope, withoutId)),
    `select ${ORDER.map((entity) => `exists (select 1 from deleted_${entity})`).join(' or ')} as found,
       exists (select 1 from gone_users) as users, exists (select 1 from rows_in_use) as "inUse"`,
  ]);
  const warnings = scope.entities.filter((entity) => withoutId.has(entity)).map(recordWithoutId);
  if (planned?.users === true) warnings.push(...(await guardUsers(trx, scope, allowMass)));
  if (planned?.inUse === true) warnings.push(...(await warnOfRowsInUse(trx)));
  if (planned?.found === true) warnings.push(...(await guardDeletions(trx, scope, allowMass)));
  return warnings;
}

/** Empties `gone_users` if so many are gone that the answer is not believed. */
async function guardUsers(trx: Db, scope: MergeScope, allowMass: boolean): Promise<SyncWarning[]> {
  const [count] = await query<{ gone: number; present: number; staged: number }>(
    trx,
    `select (select count(*) from gone_users)::int as gone, (select count(*) from users t where t."pterodactylId" is not null)::int as present,
       (select count(*) from staged_users)::int as staged`,
  );
  const emptyListing = count?.staged === 0 && listingOf(scope, 'users') !== undefined;
  if (count === undefined || mayPrune(count.gone, count.present, { emptyListing, allowMass })) return [];
  await execute(trx, 'delete from gone_users');
  const message = `${count.gone} users are not on the panel any more but their accounts stay linked (more than half of all, or an empty listing); set sync_allow_mass_prune to allow it`;
  return [{ code: 'PRUNE_REFUSED', entity: 'users', message }];
}

/** Names the rows that stay because rows of others hang on them. */
async function warnOfRowsInUse(trx: Db): Promise<SyncWarning[]> {
  const kept = await query<{ entity: Entity; ids: number[]; n: number }>(
    trx,
    `select r.entity, (array_agg(r.id order by r.id))[1:20] as ids, count(*)::int as n from rows_in_use r group by r.entity order by r.entity`,
  );
  return kept.map(({ entity, ids, n }) => ({
    code: 'KEPT_IN_USE',
    entity,
    message: `${n} ${entity} left the panel but were kept, since rows that no sync wrote hang on them (ids ${ids.join(', ')}${n > ids.length ? ', …' : ''})`,
  }));
}

/** Empties each `deleted_x` that the prune guard refuses, and keeps the parents of what stays. */
async function guardDeletions(trx: Db, scope: MergeScope, allowMass: boolean): Promise<SyncWarning[]> {
  const warnings: SyncWarning[] = [];
  const refuse = async (entity: Entity, why: string) => {
    const kept = await query<{ id: unknown }>(trx, `delete from deleted_${entity} returning id`);
    if (kept.length > 0) warnings.push(pruneRefused(entity, kept.length, why));
  };
  // Children first: a parent whose children stay must stay as well, since its deletion cascades to them.
  for (const entity of ['egg_variables', 'eggs', 'nests', 'allocations', 'nodes', 'servers', 'databases'] as const) {
    if (!(await guardRefuses(trx, entity, allowMass, scope))) continue;
    await refuse(entity, 'more than half of the rows, or an empty listing');
    for (const parent of PARENT_OF[entity] ?? []) await refuse(parent, `its ${entity} were refused`);
    if (entity === 'nodes')
      await execute(
        trx,
        `delete from deleted_allocations deleted using allocations t where t.id = deleted.id and t."nodeId" not in (${whole('allocations')}) and not ${denied('allocations')}`,
      );
    if (entity === 'nests')
      await execute(
        trx,
        `delete from deleted_eggs deleted using eggs t where t.id = deleted.id and t."nestId" not in (${whole('eggs')})`,
      );
    if (entity === 'nests' || entity === 'eggs')
      await execute(
        trx,
        `delete from deleted_egg_variables deleted using egg_variables t where t.id = deleted.id and t.egg_id not in (select s.id from staged_eggs s) and t.egg_id not in (select e.id from deleted_eggs e)`,
      );
  }
  // A location is deleted only when no node is left in it, a nest only when no egg is: rows of other panels stay.
  await execute(
    trx,
    `delete from deleted_locations deleted where exists (
       select 1 from nodes n left join staged_nodes s on s.id = n.id
       where coalesce(s."locationId", n."locationId") = deleted.id and not exists (select 1 from deleted_nodes x where x.id = n.id));
     delete from deleted_nests deleted where exists (
       select 1 from eggs e left join staged_eggs s on s.id = e.id
       where coalesce(s."nestId", e."nestId") = deleted.id and not exists (select 1 from deleted_eggs x where x.id = e.id))`,
  );
  if (await guardRefuses(trx, 'locations', allowMass, scope))
    await refuse('locations', 'more than half of the rows, or an empty listing');
  return warnings;
}

/** Asks the prune guard. @returns true when the rows of `deleted_x` must not be deleted. */
export async function guardRefuses(trx: Db, entity: Entity, allowMass: boolean, scope: MergeScope): Promise<boolean> {
  if (!scope.entities.includes(entity)) return false;
  const { table, isPanelRow } = MIRROR[entity];
  const [count] = await query<{ gone: number; present: number; staged: number; parents: number }>(
    trx,
    `select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_${entity})::int as gone, (select count(*) from ${table} t where ${isPanelRow})::int as present,
       (select count(*) from staged_${entity})::int + (select count(*) from rejected_by_mapping r where r.entity = '${entity}')::int as staged`,
  );
  if (count === undefined || count.gone === 0) return false;
  // Nodes come as an include of locations. Of an empty listing of locations, the empty nodes prove nothing either.
  const nodesListed = listingOf(scope, 'nodes') !== undefined || count.parents === 0;
  const listed = LISTED.includes(entity) || (entity === 'nodes' && nodesListed);
  return !mayPrune(count.gone, count.present, { emptyListing: listed && count.staged === 0, allowMass });
}

const recordWithoutId = (entity: Entity): SyncWarning => ({
  code: 'RECORD_UNREADABLE',
  entity,
  message: `the panel sent ${entity} without a readable id; what is stored was deleted only where the panel denied it`,
});

export const pruneRefused = (entity: Entity, gone: number, why: string): SyncWarning => ({
  code: 'PRUNE_REFUSED',
  entity,
  message: `${gone} ${entity} are not on the panel any more but were kept (${why}); set sync_allow_mass_prune to allow it`,
});

/** Foreign keys whose deletion cascades from the parent to its children. */
const CASCADES: { parent: Entity; child: Entity; column: string }[] = [
  { parent: 'eggs', child: 'egg_variables', column: 'egg_id' },
  { parent: 'nests', child: 'eggs', column: '"nestId"' },
  { parent: 'nodes', child: 'allocations', column: '"nodeId"' },
  { parent: 'locations', child: 'nodes', column: '"locationId"' },
];

/**
 * Keeps each parent in which a child stays, whatever the reason (a rejected move, a list that could not be read). Runs
 * after all entities are planned, children first, since a child that is kept keeps its parent.
 */
export async function keepParents(trx: Db, scope: MergeScope): Promise<void> {
  for (const { parent, child, column } of CASCADES) {
    if (!scope.entities.includes(parent) || !scope.entities.includes(child)) continue;
    await execute(
      trx,
      `delete from deleted_${parent} deleted using ${MIRROR[child].table} t left join change_${child} change on change.id = t.id and change.op = 'u'
       where coalesce(change.${column}, t.${column}) = deleted.id and not exists (select 1 from deleted_${child} x where x.id = t.id)`,
    );
  }
}

/**
 * Rows to delete: `deleted_x`. A row is deleted only if its list was read whole and consistently and does not contain it,
 * it is not the row of a rejected record, the panel confirmed that it is gone (where the list had several pages, which
 * cannot prove absence), and the prune guard allows it.
 */
import { mayPrune } from '../../../domain/sync/prune-guard.ts';
import { isListing, type SourceRef, sourceColumns } from '../../../domain/sync/source-ref.ts';
import type { ConfirmedEntity, Entity, Listing, SyncWarning } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { execute, lastRows, query } from '../../db/query.ts';
import type { MergeScope } from './match.ts';
import { MIRROR } from './tables.ts';

const notStaged = (entity: Entity, column = 'id', key = 'id') =>
  `not exists (select 1 from staged_${entity} s where s.${key} = t.${column})
   and not exists (select 1 from rejected_by_mapping r where r.entity = '${entity}' and r.id = t.${column})`;

/** SQL condition over alias t: the row is a candidate for deletion. Undefined when no row of the entity is one. */
function candidates(entity: Entity, scope: MergeScope, withoutId: ReadonlySet<string>): string | undefined {
  if (!scope.entities.includes(entity) || withoutId.has(entity)) return undefined;
  const source = (listing: Listing) => scope.sources.find((s) => isListing(s.source, listing));
  const confirmed = (column: string, pages: number) =>
    pages > 1
      ? `and exists (select 1 from confirmations c where c.entity = '${entity}' and c.id = t.${column} and not c.alive)`
      : '';
  switch (entity) {
    case 'locations': {
      const read = source('locations');
      return read?.complete === true ? `${notStaged('locations')} ${confirmed('id', read.pages)}` : undefined;
    }
    case 'nodes': {
      const read = source('nodes') ?? source('locations');
      if (read?.complete !== true || (isListing(read.source, 'locations') && read.missingIncludes.includes('nodes')))
        return undefined;
      return `${notStaged('nodes')} ${confirmed('id', read.pages)}`;
    }
    case 'allocations':
      return `(t."nodeId" in (select deleted.id from deleted_nodes deleted) or t."nodeId" in (select w.parent_id from whole_lists w where w.entity = 'allocations'))
        and ${notStaged('allocations')}`;
    case 'nests': {
      const read = source('nests');
      return read?.complete === true ? `${notStaged('nests')} ${confirmed('id', read.pages)}` : undefined;
    }
    case 'eggs':
      return `(t."nestId" in (select deleted.id from deleted_nests deleted) or t."nestId" in (select w.parent_id from whole_lists w where w.entity = 'eggs'))
        and ${notStaged('eggs')}`;
    case 'egg_variables':
      return `(t.egg_id in (select deleted.id from deleted_eggs deleted)
          or t.egg_id in (select s.id from staged_eggs s where s."nestId" in (select w.parent_id from whole_lists w where w.entity = 'egg_variables')))
        and ${notStaged('egg_variables')}`;
    case 'servers': {
      const read = source('servers');
      if (read?.complete !== true) return undefined;
      return `${notStaged('servers', '"pterodactylId"', '"panelId"')} and not exists (select 1 from staged_servers s where s.uuid = t.uuid) ${confirmed('"pterodactylId"', read.pages)}`;
    }
    case 'databases':
      if (source('servers')?.missingIncludes.includes('databases') !== false) return undefined;
      return `t."serverId" in (select v.id from servers v join staged_servers s on s."panelId" = v."pterodactylId")
        and ${notStaged('databases', '"pterodactylId"', '"panelId"')}`;
    // Users are never deleted; subusers are planned once the owners are known (planSubuserDeletions).
    case 'users':
    case 'subusers':
      return undefined;
  }
}

const PARENT_OF: Partial<Record<Entity, Entity[]>> = {
  allocations: ['nodes'],
  eggs: ['nests'],
  egg_variables: ['eggs', 'nests'],
};
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

/**
 * Fills each `deleted_x` except `deleted_subusers`, as far as the prune guard allows it.
 * @param withoutId entities of which a record had no readable id: no row of them is deleted.
 */
export async function planDeletions(
  trx: Db,
  scope: MergeScope,
  allowMass: boolean,
  withoutId: ReadonlySet<string>,
): Promise<SyncWarning[]> {
  const [planned] = await lastRows<{ found: boolean }>(trx, [
    // Lists that were read whole: in one answer, or in all pages of a verified listing.
    `create temp table whole_lists on commit drop as
       select distinct p.entity, p.parent_id from staged_pages p
       where p.parent_id is not null and not p.has_gaps and p.entity in ('allocations', 'eggs', 'egg_variables')
         and (p.source <> 'node' or p.complete)
         and (p.entity <> 'egg_variables' or p.missing::text not like '%"variables"%')`,
    ...ORDER.map((entity) => {
      const { table, isPanelRow } = MIRROR[entity];
      const where = candidates(entity, scope, withoutId);
      return `create temp table deleted_${entity} on commit drop as select t.id from ${table} t where ${where === undefined ? 'false' : `${isPanelRow} and ${where}`}`;
    }),
    `select ${ORDER.map((entity) => `exists (select 1 from deleted_${entity})`).join(' or ')} as found`,
  ]);
  const warnings = scope.entities.filter((entity) => withoutId.has(entity)).map(recordWithoutId);
  if (planned?.found === true) warnings.push(...(await guardDeletions(trx, scope, allowMass)));
  return warnings;
}

/** Empties each `deleted_x` that the prune guard refuses, and keeps the parents of what stays. */
async function guardDeletions(trx: Db, scope: MergeScope, allowMass: boolean): Promise<SyncWarning[]> {
  const warnings: SyncWarning[] = [];
  const refuse = async (entity: Entity, why: string) => {
    const kept = await query<{ id: unknown }>(trx, `delete from deleted_${entity} returning id`);
    if (kept.length > 0) warnings.push(refused(entity, kept.length, why));
  };
  // Children first: a parent whose children stay must stay as well, since its deletion cascades to them.
  for (const entity of ['egg_variables', 'eggs', 'nests', 'allocations', 'nodes', 'servers', 'databases'] as const) {
    if (!(await guardRefuses(trx, entity, allowMass, scope))) continue;
    await refuse(entity, 'more than half of the rows, or an empty listing');
    for (const parent of PARENT_OF[entity] ?? []) await refuse(parent, `its ${entity} were refused`);
    if (entity === 'nodes')
      await execute(
        trx,
        `delete from deleted_allocations deleted using allocations t where t.id = deleted.id and t."nodeId" not in (select w.parent_id from whole_lists w where w.entity = 'allocations')`,
      );
    if (entity === 'nests')
      await execute(
        trx,
        `delete from deleted_eggs deleted using eggs t where t.id = deleted.id and t."nestId" not in (select w.parent_id from whole_lists w where w.entity = 'eggs')`,
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
async function guardRefuses(trx: Db, entity: Entity, allowMass: boolean, scope: MergeScope): Promise<boolean> {
  if (!scope.entities.includes(entity)) return false;
  const { table, isPanelRow } = MIRROR[entity];
  const [count] = await query<{ gone: number; present: number; staged: number; parents: number }>(
    trx,
    `select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_${entity})::int as gone, (select count(*) from ${table} t where ${isPanelRow})::int as present,
       (select count(*) from staged_${entity})::int + (select count(*) from rejected_by_mapping r where r.entity = '${entity}')::int as staged`,
  );
  if (count === undefined || count.gone === 0) return false;
  // Nodes come as an include of locations. Of an empty listing of locations, the empty nodes prove nothing either.
  const nodesListed = scope.sources.some((s) => isListing(s.source, 'nodes')) || count.parents === 0;
  const listed = LISTED.includes(entity) || (entity === 'nodes' && nodesListed);
  return !mayPrune(count.gone, count.present, { emptyListing: listed && count.staged === 0, allowMass });
}

const recordWithoutId = (entity: Entity): SyncWarning => ({
  code: 'RECORD_UNREADABLE',
  entity,
  message: `the panel sent ${entity} without a readable id; none of what is stored was deleted`,
});

const refused = (entity: Entity, gone: number, why: string): SyncWarning => ({
  code: 'PRUNE_REFUSED',
  entity,
  message: `${gone} ${entity} are not on the panel any more but were kept (${why}); set sync_allow_mass_prune to allow it`,
});

/** SQL over alias t: the subuser is in the plan. */
const LISTED_SUBUSER = `select 1 from target_subusers target where target."serverId" = t."serverId" and target."userId" = t."userId"`;

/**
 * Fills `deleted_subusers`: of servers whose subusers were read, those that are neither listed nor the owner; and of every
 * server, the rows of former owners. The owner row follows the server, whatever happens to its subusers.
 */
export async function planSubuserDeletions(trx: Db, scope: MergeScope, allowMass: boolean): Promise<SyncWarning[]> {
  const warnings = await protectedLists(trx);
  // A rejected record does not tell its user, so each row of its server may be the one that it belongs to.
  await execute(
    trx,
    `insert into deleted_subusers select t.id from server_subusers t
     join read_subusers r on r.id = t."serverId"
     where not t."isOwner" and not exists (${LISTED_SUBUSER})
       and not exists (select 1 from rejected_by_mapping x where x.entity = 'subusers' and x.server = r."panelId")`,
  );
  if (await guardRefuses(trx, 'subusers', allowMass, scope)) {
    const gone = await query<{ id: string }>(trx, `delete from deleted_subusers returning id`);
    warnings.push(refused('subusers', gone.length, 'more than half of the rows'));
  }
  await execute(
    trx,
    `insert into deleted_subusers select t.id from server_subusers t
     join moved_owners o on o.id = t."serverId"
     where t."isOwner" and t."userId" <> o."ownerId" and not exists (${LISTED_SUBUSER} and not target.rejected)`,
  );
  return warnings;
}

/** Servers that one warning names. */
const NAMED_SERVERS = 20;

/** Names the servers of which a subuser could not be read: in this run no person loses access to them. */
async function protectedLists(trx: Db): Promise<SyncWarning[]> {
  const servers = await query<{ id: number }>(
    trx,
    `select distinct r.server as id from rejected_by_mapping r where r.entity = 'subusers' and r.server is not null order by 1`,
  );
  if (servers.length === 0) return [];
  const named = servers.slice(0, NAMED_SERVERS).map(({ id }) => id);
  const more = servers.length > named.length ? ` and ${servers.length - named.length} more` : '';
  return [
    {
      code: 'RECORD_UNREADABLE',
      entity: 'subusers',
      message: `a subuser of the servers ${named.join(', ')}${more} (ids on the panel) could not be read; no subuser of these servers was deleted`,
    },
  ];
}

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

/** Mirrored rows that a complete source does not contain, in the order of their panel ids: the panel must confirm them. */
export async function deletionCandidates(
  db: Db,
  filter: {
    logId: string;
    entity: ConfirmedEntity;
    source: SourceRef;
    pass: number;
    after: number;
    limit: number;
  },
): Promise<{ id: number; uuid: string | null }[]> {
  const { entity } = filter;
  const id = entity === 'servers' ? `t."pterodactylId"` : 't.id';
  return query(
    db,
    `with staged as (
       select i.id from sync_pages p, unnest(p.ids) as i (id) where p.log_id = ? and p.source = ? and p.pass = ? and p.entity = ?
     )
     select ${id} as id, ${entity === 'locations' ? 'null::text' : 't.uuid'} as uuid from ${MIRROR[entity].table} t
     where ${MIRROR[entity].isPanelRow} and ${id} > ? and not exists (select 1 from staged s where s.id = ${id}) order by ${id} limit ?`,
    [filter.logId, sourceColumns(filter.source).source, filter.pass, entity, filter.after, filter.limit],
  );
}

/** Rows of this panel, and how many of them are not staged: the numbers that the prune guard decides on. */
export async function countCandidates(
  db: Db,
  filter: { logId: string; entity: ConfirmedEntity; source: SourceRef; pass: number },
): Promise<{ gone: number; present: number }> {
  const [present] = await query<{ n: number }>(
    db,
    `select count(*)::int as n from ${MIRROR[filter.entity].table} t where ${MIRROR[filter.entity].isPanelRow}`,
  );
  const gone = await deletionCandidates(db, { ...filter, after: 0, limit: 1_000_000 });
  return { gone: gone.length, present: present?.n ?? 0 };
}

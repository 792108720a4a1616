/**
 * What is gone from the panel: `g_<entity>`. A row counts as gone only if its list was read whole and consistently,
 * it is not among the records set aside, and, where several pages cannot prove absence, the panel denied knowing it.
 */
import { mayPrune } from '../../../domain/sync/prune-guard.ts';
import type { Entity, SyncWarning } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { execute, lastRows, query } from '../../db/query.ts';
import { type ApplyScope, isIncomplete } from './match.ts';
import { MIRROR } from './tables.ts';

const notStaged = (entity: Entity, column = 'id', key = 'id') =>
  `not exists (select 1 from s_${entity} s where s.${key} = t.${column})
   and not exists (select 1 from rejected r where r.entity = '${entity}' and r.id = t.${column})`;

/** Candidates of one entity, as a condition over its table's alias t; undefined when nothing may be pruned. */
function candidates(entity: Entity, scope: ApplyScope, unreadable: ReadonlySet<string>): string | undefined {
  if (!scope.entities.includes(entity) || unreadable.has(entity)) return undefined;
  const source = (name: string) => scope.sources.find((s) => s.source === name);
  const denied = (column: string, pages: number) =>
    pages > 1
      ? `and exists (select 1 from alive a where a.entity = '${entity}' and a.id = t.${column} and not a.alive)`
      : '';
  switch (entity) {
    case 'locations': {
      const read = source('locations');
      return read?.complete === true ? `${notStaged('locations')} ${denied('id', read.pages)}` : undefined;
    }
    case 'nodes': {
      const read = source('nodes') ?? source('locations');
      if (read?.complete !== true || (read.source === 'locations' && read.missing.includes('nodes'))) return undefined;
      return `${notStaged('nodes')} ${denied('id', read.pages)}`;
    }
    case 'allocations':
      return `(t."nodeId" in (select g.id from g_nodes g) or t."nodeId" in (select w.part from whole w where w.entity = 'allocations'))
        and ${notStaged('allocations')}`;
    case 'nests': {
      const read = source('nests');
      return read?.complete === true ? `${notStaged('nests')} ${denied('id', read.pages)}` : undefined;
    }
    case 'eggs':
      return `(t."nestId" in (select g.id from g_nests g) or t."nestId" in (select w.part from whole w where w.entity = 'eggs'))
        and ${notStaged('eggs')}`;
    case 'egg_variables':
      return `(t.egg_id in (select g.id from g_eggs g)
          or t.egg_id in (select s.id from s_eggs s where s."nestId" in (select w.part from whole w where w.entity = 'egg_variables')))
        and ${notStaged('egg_variables')}`;
    case 'servers': {
      const read = source('servers');
      if (read?.complete !== true) return undefined;
      return `${notStaged('servers', '"pterodactylId"', 'pid')} and not exists (select 1 from s_servers s where s.uuid = t.uuid) ${denied('"pterodactylId"', read.pages)}`;
    }
    case 'databases':
      if (source('servers')?.missing.includes('databases') !== false) return undefined;
      return `t."serverId" in (select v.id from servers v join s_servers s on s.pid = v."pterodactylId")
        and ${notStaged('databases', '"pterodactylId"', 'pid')}`;
    // Users are never pruned; subusers are known only when the final owners are (goneSubusers).
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
/** Listings whose emptiness is no proof; an empty include of a parent read in full is an answer. */
const LISTED: Entity[] = ['locations', 'nests', 'servers'];

/**
 * Fills every `g_<entity>` but subusers, and applies the brake.
 * @param unreadable entities of which a record had no readable id: nothing of them is gone.
 */
export async function planGone(
  trx: Db,
  scope: ApplyScope,
  allowMass: boolean,
  unreadable: ReadonlySet<string>,
): Promise<SyncWarning[]> {
  const [gone] = await lastRows<{ found: boolean }>(trx, [
    // Lists that came whole: one answer, or all pages of a listing that was verified. A negative part is a list with gaps.
    `create temp table whole on commit drop as
       select distinct p.entity, p.part from stage p
       where p.part > 0 and p.entity in ('allocations', 'eggs', 'egg_variables')
         and not (p.source like 'node:%' and ${isIncomplete('p.source')})
         and (p.entity <> 'egg_variables' or p.missing::text not like '%"variables"%')`,
    ...ORDER.map((entity) => {
      const { table, mine } = MIRROR[entity];
      const where = candidates(entity, scope, unreadable);
      return `create temp table g_${entity} on commit drop as select t.id from ${table} t where ${where === undefined ? 'false' : `${mine} and ${where}`}`;
    }),
    `select ${ORDER.map((entity) => `exists (select 1 from g_${entity})`).join(' or ')} as found`,
  ]);
  const warnings = scope.entities.filter((entity) => unreadable.has(entity)).map(unreadableRecord);
  if (gone?.found !== true) return warnings;
  const refuse = async (entity: Entity, why: string) => {
    const kept = await query<{ id: unknown }>(trx, `delete from g_${entity} returning id`);
    if (kept.length > 0) warnings.push(refused(entity, kept.length, why));
  };
  // Children first: a parent whose children stay must stay as well, its deletion would take them along.
  for (const entity of ['egg_variables', 'eggs', 'nests', 'allocations', 'nodes', 'servers', 'databases'] as const) {
    if (!(await brake(trx, entity, allowMass, scope))) continue;
    await refuse(entity, 'more than half of the rows, or an empty listing');
    for (const parent of PARENT_OF[entity] ?? []) await refuse(parent, `its ${entity} were refused`);
    if (entity === 'nodes')
      await execute(
        trx,
        `delete from g_allocations g using allocations t where t.id = g.id and t."nodeId" not in (select w.part from whole w where w.entity = 'allocations')`,
      );
    if (entity === 'nests')
      await execute(
        trx,
        `delete from g_eggs g using eggs t where t.id = g.id and t."nestId" not in (select w.part from whole w where w.entity = 'eggs')`,
      );
    if (entity === 'nests' || entity === 'eggs')
      await execute(
        trx,
        `delete from g_egg_variables g using egg_variables t where t.id = g.id and t.egg_id not in (select s.id from s_eggs s) and t.egg_id not in (select e.id from g_eggs e)`,
      );
  }
  // A location goes only when no node is left in it, a nest only when no egg is: other panels' rows survive.
  await execute(
    trx,
    `delete from g_locations g where exists (
       select 1 from nodes n left join s_nodes s on s.id = n.id
       where coalesce(s."locationId", n."locationId") = g.id and not exists (select 1 from g_nodes x where x.id = n.id));
     delete from g_nests g where exists (
       select 1 from eggs e left join s_eggs s on s.id = e.id
       where coalesce(s."nestId", e."nestId") = g.id and not exists (select 1 from g_eggs x where x.id = e.id))`,
  );
  if (await brake(trx, 'locations', allowMass, scope))
    await refuse('locations', 'more than half of the rows, or an empty listing');
  return warnings;
}

/** True when pruning what `g_<entity>` holds must be refused. */
async function brake(trx: Db, entity: Entity, allowMass: boolean, scope: ApplyScope): Promise<boolean> {
  if (!scope.entities.includes(entity)) return false;
  const { table, mine } = MIRROR[entity];
  const [count] = await query<{ gone: number; present: number; staged: number; parents: number }>(
    trx,
    `select (select count(*) from s_locations)::int as parents, (select count(*) from g_${entity})::int as gone, (select count(*) from ${table} t where ${mine})::int as present,
       (select count(*) from s_${entity})::int + (select count(*) from rejected r where r.entity = '${entity}')::int as staged`,
  );
  if (count === undefined || count.gone === 0) return false;
  // Nodes come as an include of locations: of none at all, where that listing was empty.
  const nodesListed = scope.sources.some((s) => s.source === 'nodes') || count.parents === 0;
  const listed = LISTED.includes(entity) || (entity === 'nodes' && nodesListed);
  return !mayPrune(count.gone, count.present, { emptyListing: listed && count.staged === 0, allowMass });
}

const unreadableRecord = (entity: Entity): SyncWarning => ({
  code: 'RECORD_UNREADABLE',
  entity,
  message: `the panel sent ${entity} without a readable id; none of what is stored was deleted`,
});

const refused = (entity: Entity, gone: number, why: string): SyncWarning => ({
  code: 'PRUNE_REFUSED',
  entity,
  message: `${gone} ${entity} are not on the panel any more but were kept (${why}); set sync_allow_mass_prune to allow it`,
});

/** Subusers of servers whose lists were read that are neither listed nor the owner: `g_subusers`. */
export async function goneSubusers(trx: Db, scope: ApplyScope, allowMass: boolean): Promise<SyncWarning[]> {
  // A record that was set aside keeps its panel id, not its user: it cannot be told which row it speaks of.
  const [bad] = await query<{ n: number }>(
    trx,
    `select (select coalesce(sum(p.unreadable), 0) from stage p where p.entity = 'subusers')::int
       + (select count(*) from rejected r where r.entity = 'subusers')::int as n`,
  );
  if ((bad?.n ?? 0) > 0) return [];
  await execute(
    trx,
    `insert into g_subusers select t.id from server_subusers t
     join read_subusers r on r.id = t."serverId"
     where not (t."isOwner" and r."ownerId" is null)
       and not exists (select 1 from f_subusers f where f."serverId" = t."serverId" and f."userId" = t."userId")`,
  );
  if (!(await brake(trx, 'subusers', allowMass, scope))) return [];
  const gone = await query<{ id: string }>(trx, `delete from g_subusers returning id`);
  return [refused('subusers', gone.length, 'more than half of the rows')];
}

/** Parents with the children that their deletion would take along. */
const CASCADES: { parent: Entity; child: Entity; column: string }[] = [
  { parent: 'eggs', child: 'egg_variables', column: 'egg_id' },
  { parent: 'nests', child: 'eggs', column: '"nestId"' },
  { parent: 'nodes', child: 'allocations', column: '"nodeId"' },
  { parent: 'locations', child: 'nodes', column: '"locationId"' },
];

/**
 * Once all is planned: a parent in which a child stays is not deleted, whatever made it stay (a move that was set aside,
 * a list that could not be read). Children first, as a kept child keeps its parent.
 */
export async function keepParents(trx: Db, scope: ApplyScope): Promise<void> {
  for (const { parent, child, column } of CASCADES) {
    if (!scope.entities.includes(parent) || !scope.entities.includes(child)) continue;
    await execute(
      trx,
      `delete from g_${parent} g using ${MIRROR[child].table} t left join p_${child} p on p.id = t.id and p.op = 'u'
       where coalesce(p.${column}, t.${column}) = g.id and not exists (select 1 from g_${child} x where x.id = t.id)`,
    );
  }
}

/** Panel ids (and uuids) of mirrored rows that a complete source does not contain: whom to ask about. */
export async function goneCandidates(
  db: Db,
  filter: {
    logId: string;
    entity: 'servers' | 'nodes' | 'locations' | 'nests';
    source: string;
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
     where ${MIRROR[entity].mine} and ${id} > ? and not exists (select 1 from staged s where s.id = ${id}) order by ${id} limit ?`,
    [filter.logId, filter.source, filter.pass, entity, filter.after, filter.limit],
  );
}

/** Rows of an entity that are the panel's, and how many of them the stage lacks: would the brake let the prune through? */
export async function countGone(
  db: Db,
  filter: { logId: string; entity: 'servers' | 'nodes' | 'locations' | 'nests'; source: string; pass: number },
): Promise<{ gone: number; present: number }> {
  const [present] = await query<{ n: number }>(
    db,
    `select count(*)::int as n from ${MIRROR[filter.entity].table} t where ${MIRROR[filter.entity].mine}`,
  );
  const gone = await goneCandidates(db, { ...filter, after: 0, limit: 1_000_000 });
  return { gone: gone.length, present: present?.n ?? 0 };
}

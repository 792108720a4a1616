/**
 * Which row each panel server is. By its uuid; by the panel's id where the row has no uuid yet. A row of another uuid under
 * a known id is another server: it keeps its data and loses its panel id. Rows of other panels are never matched.
 */
import type { MergeScope } from './scope.ts';
import { listingOf } from './scope.ts';
import { ident, newOr, type TargetQuery, withoutLoops } from './tables.ts';

/** SQL: the row may be this panel's. */
const mayBeOurs = (alias: string): string => `(${alias}."panelType" = 'pterodactyl' or ${alias}."panelType" is null)`;

const MATCHED = `create temp table matched_servers on commit drop as
  with same_uuid as (
    select s."panelId", t.id, t."pterodactylId" = s."panelId" as same_id, t."createdAt" from staged_servers s join servers t on t.uuid = s.uuid
    where ${mayBeOurs('t')}
  ), by_uuid as (
    select distinct on (o.id) o."panelId", o.id from (
      select distinct on (u."panelId") u.* from same_uuid u order by u."panelId", u.same_id desc nulls last, u."createdAt", u.id
    ) o order by o.id, o."panelId"
  ), by_id as (
    select distinct on (s."panelId") s."panelId", t.id from staged_servers s join servers t on t."pterodactylId" = s."panelId"
    where t.uuid is null and ${mayBeOurs('t')} and not exists (select 1 from by_uuid b where b."panelId" = s."panelId")
    order by s."panelId", t."createdAt", t.id
  )
  select b."panelId", b.id from by_uuid b union all select b."panelId", b.id from by_id b`;

/** `released_servers`: rows whose panel id was given to another server. */
const RELEASED = `create temp table released_servers on commit drop as
  select t.id, t."pterodactylId" as panel_id from servers t join staged_servers s on s."panelId" = t."pterodactylId"
  where t.uuid is not null and t.uuid <> s.uuid and ${mayBeOurs('t')} and not exists (select 1 from matched_servers m where m.id = t.id)`;

/** `duplicate_servers`: further rows with the panel id of a server, where the database has no unique key of it. */
const DUPLICATE = `create temp table duplicate_servers on commit drop as
  select t.id, t."pterodactylId" as panel_id from servers t join matched_servers m on m."panelId" = t."pterodactylId"
  where t.id <> m.id and ${mayBeOurs('t')} and not exists (select 1 from matched_servers o where o.id = t.id)
    and not exists (select 1 from released_servers r where r.id = t.id)`;

/** What the panel says of an owner who was read counts, also when that person has no account here: then the server has no owner. */
const OWNER = `case when o.id is not null then o.id
    when s."user" is not null and (exists (select 1 from staged_users x where x."panelId" = s."user")
      or exists (select 1 from rejected_by_mapping r where r.entity = 'users' and r.id = s."user")) then null
    else t."ownerId" end`;

/** Columns of a server that are as the panel has them. */
const OF_PANEL = [
  'uuid',
  'uuidShort',
  'externalId',
  'name',
  'description',
  'status',
  'isSuspended',
  'memory',
  'disk',
  'cpu',
];

/** `target_servers`. */
export const TARGET_SERVERS: TargetQuery = {
  columns: {
    id: newOr('m.id'),
    panel_id: 's."panelId"::text',
    found: 'm.id is not null',
    ...Object.fromEntries(OF_PANEL.map((name) => [ident(name), `s.${ident(name)}`])),
    '"createdAt"': 's."createdAt"',
    '"pterodactylId"': 's."panelId"',
    '"ownerId"': OWNER,
    '"nodeId"': 'kn.id',
    '"eggId"': 'ke.id',
    '"nestId"': 'kq.id',
    '"primaryAllocationId"': 's.allocation',
    '"panelType"': `'pterodactyl'::text`,
  },
  from: `staged_servers s left join matched_servers m on m."panelId" = s."panelId" left join servers t on t.id = m.id
    left join user_map o on o."panelId" = s."user" left join known_nodes kn on kn.id = s.node
    left join known_eggs ke on ke.id = s.egg left join known_nests kq on kq.id = s.nest`,
  was: 't',
};

/** Before the servers are planned. */
export const matchServers = (): string[] => [MATCHED, 'analyze matched_servers', ...withoutLoops(RELEASED, DUPLICATE)];

/**
 * After the servers are planned: panel id of a server → row and owner; which servers' children were read whole; which have
 * the row of a former owner.
 */
export function mapServers(scope: MergeScope): string[] {
  // A rejected server may already be mirrored; its children are still synced.
  const earlier = `(select distinct on (r.id) r.id as "panelId", t.id, t."ownerId" from rejected_by_mapping r join servers t on t."pterodactylId" = r.id
    where r.entity = 'servers' and ${mayBeOurs('t')} and not exists (select 1 from staged_servers s where s."panelId" = r.id)
      and not exists (select 1 from matched_servers m where m.id = t.id)
    order by r.id, t."createdAt", t.id)`;
  const read = listingOf(scope, 'servers');
  const lists = (include: string) => read !== undefined && !read.missingIncludes.includes(include);
  const links = scope.entities.includes('servers') && lists('allocations');
  return [
    scope.entities.includes('servers')
      ? `create temp table server_map on commit drop as
           select target."pterodactylId" as "panelId", target.id, case when target.rejected then t."ownerId" else target."ownerId" end as "ownerId"
           from target_servers target left join servers t on t.id = target.id where not target.rejected or target.found
           union all ${earlier}`
      : `create temp table server_map on commit drop as
           select m."panelId", t.id, t."ownerId" from matched_servers m join servers t on t.id = m.id
           union all ${earlier}`,
    'analyze server_map',
    `create temp table read_links on commit drop as select m.id from server_map m where ${links}`,
    `create temp table link_map on commit drop as select l.id, m.id as server from staged_links l left join server_map m on m."panelId" = l.server`,
    `create temp table read_subusers on commit drop as
       select m."panelId", m.id, m."ownerId" from server_map m
       where (${lists('subusers')} and exists (select 1 from staged_pages p where p.source = 'servers' and p.entity = 'subusers'))
         or m."panelId" in (select p.parent_id from staged_pages p where p.source = 'client' and p.entity = 'subusers')`,
    `create temp table moved_owners on commit drop as
       select distinct m.id, m."ownerId" from server_subusers t join server_map m on m.id = t."serverId"
       where t."isOwner" and t."userId" is distinct from m."ownerId"`,
    'analyze link_map',
    'analyze read_links',
    'analyze read_subusers',
  ];
}

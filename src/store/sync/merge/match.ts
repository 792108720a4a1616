/**
 * The first half of the plan (ADR 1): which row of the mirror each staged record is, and what the row will hold. The
 * plan lives in temporary tables of the merge's transaction, for each entity x:
 *
 * | table | rows |
 * | --- | --- |
 * | `staged_x` | records as they were staged |
 * | `target_x` | each row as it will be after the merge |
 * | `change_x` | the rows of `target_x` that are inserted or updated |
 * | `deleted_x` | ids of mirrored rows that are deleted |
 *
 * `rejected_records` holds what is not written, for all entities; `rejected_by_mapping` what was rejected before staging.
 */
import type { StagedEntity } from '../../../domain/sync/columns.ts';
import { isListing, type SourceRef, sourceColumns } from '../../../domain/sync/source-ref.ts';
import type { Entity } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { execute, lastRows } from '../../db/query.ts';
import { ident, MIRROR, neverUsed, recordColumns, STAGED } from './tables.ts';

export interface MergedSource {
  source: SourceRef;
  pass: number;
  /** Read whole and consistent: rows that it does not contain may be deleted. */
  complete: boolean;
  /** Pages it had: several pages cannot prove absence, so the panel must have confirmed it. */
  pages: number;
  /** Includes that did not come back as lists: the key lacks the right. */
  missingIncludes: string[];
}

export interface MergeScope {
  logId: string;
  /** Entities that this merge writes. */
  entities: readonly Entity[];
  sources: readonly MergedSource[];
}

/** A rejected record as the log keeps it. */
export interface RejectedRow {
  entity: Entity;
  /** Id on the panel, or what identifies the record without one. */
  panelId: string;
  code: string;
  detail: string;
}

/** Stores what the scripts read by current_setting(); the values hold until the transaction ends. */
async function setScope(trx: Db, scope: MergeScope): Promise<void> {
  const sources = scope.sources.map(({ source, pass, complete }) => ({ ...sourceColumns(source), pass, complete }));
  await execute(trx, `select set_config('merge.log_id', ?, true), set_config('merge.sources', ?, true)`, [
    scope.logId,
    JSON.stringify(sources),
  ]);
}
const LOG_ID = `current_setting('merge.log_id')`;
/** SQL: the page p is of the source m that is merged. */
const OF_MERGED_SOURCE = `m.source = p.source and coalesce(m."sourceId", -1) = coalesce(p.source_id, -1) and m.pass = p.pass`;

/**
 * Expands the staged pages into `staged_x`; of a record that was read twice, the newest page wins.
 * @returns entities of which a record had no readable id.
 */
export async function expandStaging(trx: Db, scope: MergeScope): Promise<Set<string>> {
  await setScope(trx, scope);
  const staged = Object.entries(STAGED) as [StagedEntity, (typeof STAGED)[StagedEntity]][];
  const withoutId = await lastRows<{ entity: string }>(trx, [
    `create temp table merged_sources on commit drop as
       select * from json_to_recordset(current_setting('merge.sources')::json) as x (source text, "sourceId" int, pass int, complete boolean)`,
    `create temp table staged_pages on commit drop as
       select p.source, m.complete, p.page, p.entity, p.parent_id, p.has_gaps, p.rows, p.unreadable, p.rejects, p.missing, p.fetched_at
       from sync_pages p join merged_sources m on ${OF_MERGED_SOURCE} where p.log_id = ${LOG_ID}`,
    `create temp table rejected_records (entity text, panel_id text, code text, detail text, primary key (entity, panel_id)) on commit drop`,
    `create temp table rejected_by_mapping on commit drop as
       select distinct on (r.entity, r.id, r.server) r.entity, r.id, r.server, r.code, r.detail
       from staged_pages p, json_to_recordset(p.rejects) as r (entity text, id int, server int, code text, detail text)`,
    `create temp table confirmations on commit drop as
       select w.entity, w.panel_id as id, w.alive from sync_missing w where w.log_id = ${LOG_ID}`,
    ...staged.map(
      ([entity, { identity }]) => `create temp table staged_${entity} on commit drop as
         select distinct on (${identity}) x.*
         from sync_pages p join merged_sources m on ${OF_MERGED_SOURCE}, json_to_recordset(p.body) as x (${recordColumns(entity)})
         where p.log_id = ${LOG_ID} and p.entity = '${entity}' and p.rows > 0
         order by ${identity}, p.fetched_at desc, p.page desc`,
    ),
    // The planner needs row counts and a few values only; the default target samples 30,000 rows of each table.
    'set local default_statistics_target = 10',
    ...staged.map(([entity, { joins }]) => `analyze staged_${entity} (${joins.map(ident).join(', ')})`),
    'select distinct p.entity from staged_pages p where p.unreadable > 0',
  ]);
  return new Set(withoutId.map((r) => r.entity));
}

/**
 * SQL: the account may be matched to the panel user of its address. Either the address was verified, or the account has
 * no password and was never signed in to, so it has no owner yet. Otherwise a person could register or type an address
 * and receive the servers of its owner.
 */
const unclaimed = (alias: string): string =>
  `(${alias}."emailVerified" is not null or (${alias}.password is null and ${alias}."lastLoginAt" is null
    and not exists (select 1 from sessions o where o."userId" = ${alias}.id)))`;

/** SQL: the account is an administrator's. The panel lets a user type any address, so an address never matches it. */
const isAdministrator = (alias: string): string =>
  `(coalesce(${alias}."isSystemAdmin", false) or coalesce(${alias}.roles && '{ADMINISTRATOR,SUPER_ADMIN}'::text[], false))`;

/** `target_x` as a query over `staged_x`, in the columns of the mirrored table. Parents are planned before children. */
const TARGET: Record<Entity, string> = {
  locations: `select s.*, s.id::text as panel_id, t.id is not null as found from staged_locations s left join locations t on t.id = s.id`,
  nodes: `select s.*, s.id::text as panel_id, t.id is not null as found from staged_nodes s left join nodes t on t.id = s.id`,
  nests: `select s.*, s.id::text as panel_id, t.id is not null as found from staged_nests s left join nests t on t.id = s.id`,
  eggs: `select s.*, s.id::text as panel_id, t.id is not null as found from staged_eggs s left join eggs t on t.id = s.id`,
  egg_variables: `select s.*, s.id::text as panel_id, t.id is not null as found from staged_egg_variables s left join egg_variables t on t.id = s.id`,
  // Matched by panel id, else by the address of a row that no existing panel user owns (the oldest such row). A match by
  // address is provisional: the row moves to the panel user that has its verified address when the present one has not.
  users: `with moved as (
      select distinct u.id from panel_address_matches a join users u on u.id = a.user_id and u."pterodactylId" = a.panel_user_id
        join staged_users present on present."panelId" = a.panel_user_id and lower(present.email) <> lower(u.email)
        join staged_users other on lower(other.email) = lower(u.email)
      where u."emailVerified" is not null and not ${isAdministrator('u')}
        and not exists (select 1 from users o where o."pterodactylId" = other."panelId")
    ), by_id as (
      select distinct on (s."panelId") s."panelId", u.id from staged_users s join users u on u."pterodactylId" = s."panelId"
      where not exists (select 1 from moved m where m.id = u.id) order by s."panelId", u."createdAt", u.id
    ), rest as (
      select s."panelId", lower(s.email) as address from staged_users s where not exists (select 1 from by_id b where b."panelId" = s."panelId")
    ), free as (
      select distinct on (lower(u.email)) lower(u.email) as address, u.id from users u
      where lower(u.email) in (select r.address from rest r)
        and ${unclaimed('u')} and not ${isAdministrator('u')}
        and (u."pterodactylId" is null or exists (select 1 from moved m where m.id = u.id) or ((select users_complete from run_facts)
          and not exists (select 1 from staged_users x where x."panelId" = u."pterodactylId")
          and not exists (select 1 from rejected_by_mapping r where r.entity = 'users' and r.id = u."pterodactylId")))
      order by lower(u.email), u."createdAt", u.id
    ), by_address as (
      select distinct on (f.id) r."panelId", f.id from rest r join free f on f.address = r.address order by f.id, r."panelId"
    ), matched as (select b.*, false as by_address from by_id b union all select b.*, true from by_address b)
    select coalesce(m.id, gen_random_uuid()::text) as id, s."panelId"::text as panel_id, m.id is not null as found, s."panelId" as "pterodactylId", s.admin as "isPterodactylAdmin",
      case when u.id is null or ${neverUsed('u')} then s.email else u.email end as email,
      case when u.id is null or ${neverUsed('u')} then s.username else coalesce(u.username, s.username) end as username,
      case when u.id is null or ${neverUsed('u')} then s."firstName" else coalesce(u."firstName", s."firstName") end as "firstName",
      case when u.id is null or ${neverUsed('u')} then s."lastName" else coalesce(u."lastName", s."lastName") end as "lastName",
      coalesce(m.by_address, false) as by_address, exists (select 1 from moved v where v.id = m.id) as moved
    from staged_users s left join matched m on m."panelId" = s."panelId" left join users u on u.id = m.id`,
  // Matched by panel id, else by the uuid of a row whose panel id is not staged (a panel that was restored).
  servers: `with by_id as (
      select s."panelId", t.id from staged_servers s join servers t on t."pterodactylId" = s."panelId"
    ), by_uuid as (
      select s."panelId", t.id from staged_servers s join servers t on t.uuid = s.uuid
      where not exists (select 1 from by_id b where b."panelId" = s."panelId")
        and (t."pterodactylId" is null or (not exists (select 1 from staged_servers x where x."panelId" = t."pterodactylId")
          and not exists (select 1 from rejected_by_mapping r where r.entity = 'servers' and r.id = t."pterodactylId")))
    ), matched as (select * from by_id union all (select distinct on (b.id) b."panelId", b.id from by_uuid b order by b.id, b."panelId"))
    select coalesce(m.id, gen_random_uuid()::text) as id, s."panelId"::text as panel_id, m.id is not null as found, s."panelId" as "pterodactylId", s.uuid, s."uuidShort", s."externalId",
      s.name, s.description, s.status, s."isSuspended", s.memory, s.disk, s.cpu, coalesce(o.id, t."ownerId") as "ownerId",
      kn.id as "nodeId", ke.id as "eggId", kq.id as "nestId", s.allocation as "primaryAllocationId", 'pterodactyl'::text as "panelType"
    from staged_servers s left join matched m on m."panelId" = s."panelId" left join servers t on t.id = m.id
      left join user_map o on o."panelId" = s."user" left join known_nodes kn on kn.id = s.node
      left join known_eggs ke on ke.id = s.egg left join known_nests kq on kq.id = s.nest`,
  // The server comes from the servers' include. A server that was read and does not list the allocation has lost it.
  allocations: `select s.*, s.id::text as panel_id, t.id is not null as found,
      case when l.server is not null then l.server when not s."isAssigned" then null
        when t."serverId" is null then null
        when exists (select 1 from read_links r where r.id = t."serverId") or exists (select 1 from deleted_servers deleted where deleted.id = t."serverId") then null
        else t."serverId" end as "serverId"
    from staged_allocations s left join allocations t on t.id = s.id left join link_map l on l.id = s.id`,
  databases: `select coalesce(t.id, gen_random_uuid()::text) as id, s."panelId"::text as panel_id, t.id is not null as found, m.id as "serverId", s."panelId" as "pterodactylId",
      s."databaseName", s.username, coalesce(s.host, t.host, '') as host, case when s.host is null then coalesce(t.port, 3306) else s.port end as port,
      s."hostId", s."maxConnections"
    from staged_databases s left join server_databases t on t."pterodactylId" = s."panelId" left join server_map m on m."panelId" = s.server`,
  // Each server whose subusers were read gets a row for its owner; an owner who is listed as subuser stays the owner. The
  // row of a former owner is replaced by one of the present owner even when the subusers were not read.
  subusers: `with wanted as (
      select m.id as "serverId", coalesce(u.id, e.id) as "userId", s.permissions, false as "isOwner",
        case when s."panelId" > 0 then s."panelId"::text else s.server || '/' || coalesce(s."user"::text, 'unknown') end as panel_id
      from staged_subusers s join server_map m on m."panelId" = s.server left join user_map u on u."panelId" = s."user"
        left join lateral (select x.id from users x where lower(x.email) = lower(s.email) and ${unclaimed('x')} order by x."createdAt", x.id limit 1) e on s.email is not null
      where s.email is null or e.id is not null
      union all
      select m.id, m."ownerId", '{*}'::text[], true, m."panelId" || '/owner' from server_map m
      where m."ownerId" is not null and m.id in (select r.id from read_subusers r union all select o.id from moved_owners o)
    ), one as (
      select distinct on (w."serverId", coalesce(w."userId", w.panel_id)) w.* from wanted w order by w."serverId", coalesce(w."userId", w.panel_id), w."isOwner" desc, w.panel_id
    )
    select coalesce(t.id, gen_random_uuid()::text) as id, o.panel_id, t.id is not null as found, o."serverId", o."userId", o.permissions, o."isOwner",
      case when o."isOwner" then 'owner' when t.id is null or t."isOwner" or t."accessLevel" = 'owner' then 'user' else t."accessLevel" end as "accessLevel"
    from one o left join server_subusers t on t."serverId" = o."serverId" and t."userId" = o."userId"`,
};

/** SQL over alias target that finds orphans: rows without their parent are rejected. */
const ORPHAN: Partial<Record<Entity, { where: string; detail: string }>> = {
  nodes: {
    where: `not exists (select 1 from known_locations k where k.id = target."locationId")`,
    detail: 'locationId: no such location',
  },
  eggs: {
    where: `not exists (select 1 from known_nests k where k.id = target."nestId")`,
    detail: 'nestId: no such nest',
  },
  egg_variables: {
    where: `not exists (select 1 from known_eggs k where k.id = target.egg_id)`,
    detail: 'egg_id: no such egg',
  },
  allocations: {
    where: `not exists (select 1 from known_nodes k where k.id = target."nodeId")`,
    detail: 'nodeId: no such node',
  },
  databases: { where: `target."serverId" is null`, detail: 'serverId: no such server' },
  subusers: { where: `target."userId" is null`, detail: 'userId: no such user' },
};

/** `target_x` of one entity; orphans and rows of another panel are rejected. */
export function targetRows(entity: Entity): string[] {
  const { table, isOtherPanelRow } = MIRROR[entity];
  const orphan = ORPHAN[entity];
  return [
    `create temp table target_${entity} on commit drop as select x.*, false as rejected from (${TARGET[entity]}) x`,
    ...(isOtherPanelRow === undefined
      ? []
      : [
          `with marked as (update target_${entity} target set rejected = true from ${table} t where not target.rejected and t.id = target.id and ${isOtherPanelRow} returning target.panel_id)
       insert into rejected_records select '${entity}', m.panel_id, 'KEY_TAKEN', 'id: held by a row of another panel' from marked m on conflict do nothing`,
        ]),
    ...(orphan === undefined
      ? []
      : [
          `with marked as (update target_${entity} target set rejected = true where not target.rejected and ${orphan.where} returning target.panel_id)
       insert into rejected_records select '${entity}', m.panel_id, 'PARENT_MISSING', '${orphan.detail}' from marked m on conflict do nothing`,
        ]),
  ];
}

/** Rejects the rows that the database refused at an earlier attempt. */
export async function rejectRefused(trx: Db, entity: Entity, refused: readonly RejectedRow[]): Promise<void> {
  await execute(
    trx,
    `with refused as (select * from json_to_recordset(?::json) as x ("panelId" text, code text, detail text)),
       marked as (update target_${entity} target set rejected = true from refused r where not target.rejected and target.panel_id = r."panelId" returning target.panel_id, r.code, r.detail)
     insert into rejected_records select '${entity}', m.panel_id, m.code, m.detail from marked m on conflict do nothing`,
    [JSON.stringify(refused)],
  );
}

/** Panel id of a user → local id: from the rows of this run, and from the mirror for users that were not read. */
export const USER_MAP = [
  `create temp table user_map on commit drop as
       select target."pterodactylId" as "panelId", target.id from target_users target where not target.rejected or target.found
       union all
       (select distinct on (u."pterodactylId") u."pterodactylId", u.id from users u
        where u."pterodactylId" is not null and not exists (select 1 from target_users target where target."pterodactylId" = u."pterodactylId")
        order by u."pterodactylId", u."createdAt", u.id)`,
  'analyze user_map',
];

/** Panel id of a server → local id and owner; the servers whose children were read whole; those with the row of a former owner. */
export function serverMap(scope: MergeScope): string[] {
  // A rejected server may already be mirrored; its children are still synced.
  const earlier = `select r.id as "panelId", t.id, t."ownerId" from rejected_by_mapping r join servers t on t."pterodactylId" = r.id
    where r.entity = 'servers' and not exists (select 1 from staged_servers s where s."panelId" = r.id)`;
  const lists = (include: string) =>
    scope.sources.some((s) => isListing(s.source, 'servers') && !s.missingIncludes.includes(include));
  const links = scope.entities.includes('servers') && lists('allocations');
  return [
    scope.entities.includes('servers')
      ? `create temp table server_map on commit drop as
           select target."pterodactylId" as "panelId", target.id, case when target.rejected then t."ownerId" else target."ownerId" end as "ownerId"
           from target_servers target left join servers t on t.id = target.id where not target.rejected or target.found
           union all ${earlier}`
      : `create temp table server_map on commit drop as
           select s."panelId", t.id, t."ownerId" from staged_servers s join servers t on t."pterodactylId" = s."panelId"
           union all ${earlier}`,
    'analyze server_map',
    `create temp table read_links on commit drop as select m.id from server_map m where ${links}`,
    'create temp table link_map on commit drop as select l.id, m.id as server from staged_links l join server_map m on m."panelId" = l.server',
    `create temp table read_subusers on commit drop as
       select m."panelId", m.id, m."ownerId" from server_map m where (${lists('subusers')} and exists (select 1 from staged_pages p where p.source = 'servers' and p.entity = 'subusers'))
         or m."panelId" in (select p.parent_id from staged_pages p where p.source = 'client' and p.entity = 'subusers')`,
    `create temp table moved_owners on commit drop as
       select distinct m.id, m."ownerId" from server_subusers t join server_map m on m.id = t."serverId"
       where t."isOwner" and t."userId" <> m."ownerId"`,
    'analyze link_map',
    'analyze read_links',
    'analyze read_subusers',
  ];
}

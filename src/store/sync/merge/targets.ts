/**
 * `target_x`: each row of an entity as it will be after the merge, as a query over what was staged and matched. Parents are
 * planned before children. Orphans, and records whose row belongs to another panel, are rejected.
 */
import { columnsWith, type StagedEntity } from '../../../domain/sync/columns.ts';
import type { Entity } from '../../../domain/sync/targets.ts';
import { addressOf } from '../../accounts/address.ts';
import type { Db } from '../../db/db.ts';
import { execute } from '../../db/query.ts';
import { TARGET_SERVERS } from './match-servers.ts';
import { TARGET_USERS, unclaimed } from './match-users.ts';
import { listingOf, type MergeScope, type RejectedRow } from './scope.ts';
import { ident, MIRROR, newOr, type TargetQuery, withoutLoops } from './tables.ts';

/** Rows whose id is the panel's: the record itself, with the columns that the plan computes. */
const byId = (entity: StagedEntity & Entity, computed: Record<string, string> = {}): TargetQuery => ({
  columns: {
    id: 's.id',
    panel_id: 's.id::text',
    found: 't.id is not null',
    ...Object.fromEntries(columnsWith(entity, 'owned').map((name) => [ident(name), `s.${ident(name)}`])),
    ...computed,
  },
  from: `staged_${entity} s left join ${MIRROR[entity].table} t on t.id = s.id`,
  was: 't',
});

/**
 * The server of an allocation comes from the servers' include; a server that was read and does not list it has lost it.
 * `isAssigned` moves with the server: an allocation that no server lists is free, whatever an older answer said.
 */
function allocations(scope: MergeScope): TargetQuery {
  const read = scope.entities.includes('servers') ? listingOf(scope, 'servers') : undefined;
  const whole = read?.complete === true && !read.missingIncludes.includes('allocations');
  return {
    columns: {
      id: 'a.id',
      panel_id: 'a.id::text',
      found: 'a.found',
      ip: 'a.ip',
      port: 'a.port',
      alias: 'a.alias',
      notes: 'a.notes',
      '"isAssigned"': `case when a.server is not null then true when not a."isAssigned" then false when a.listed then true
        when a.had_server or ${whole} then false else true end`,
      '"nodeId"': 'a."nodeId"',
      '"serverId"': 'a.server',
    },
    from: `(
      select s.*, t.id is not null as found, t as was, l.id is not null as listed, t."serverId" is not null as had_server,
        case when l.server is not null then l.server when not s."isAssigned" then null
          when t."serverId" is null then null
          when exists (select 1 from read_links r where r.id = t."serverId") or exists (select 1 from deleted_servers deleted where deleted.id = t."serverId") then null
          else t."serverId" end as server
      from staged_allocations s left join allocations t on t.id = s.id left join link_map l on l.id = s.id
    ) a`,
    was: '(a.was)',
  };
}

/** A database that the site recorded without the panel's id is found by its server and name. */
const DATABASES: TargetQuery = {
  tables: `records as (
    select s.*, m.id as "serverId" from staged_databases s left join server_map m on m."panelId" = s.server
  ), by_id as (
    select distinct on (r."panelId") r."panelId", t.id from records r join server_databases t on t."pterodactylId" = r."panelId"
    order by r."panelId", t."createdAt", t.id
  ), by_name as (
    select distinct on (n.id) n."panelId", n.id from (
      select distinct on (r."panelId") r."panelId", t.id from records r
        join server_databases t on t."serverId" = r."serverId" and t."databaseName" = r."databaseName"
      where t."pterodactylId" is null and not exists (select 1 from by_id b where b."panelId" = r."panelId")
      order by r."panelId", t."createdAt", t.id
    ) n order by n.id, n."panelId"
  ), matched as (select b."panelId", b.id from by_id b union all select b."panelId", b.id from by_name b)`,
  columns: {
    id: newOr('m.id'),
    panel_id: 'r."panelId"::text',
    found: 'm.id is not null',
    '"databaseName"': 'r."databaseName"',
    username: 'r.username',
    host: `coalesce(r.host, t.host, '')`,
    port: 'case when r.host is null then coalesce(t.port, 3306) else r.port end',
    '"hostId"': 'r."hostId"',
    '"maxConnections"': 'r."maxConnections"',
    '"serverId"': 'r."serverId"',
    '"pterodactylId"': 'r."panelId"',
  },
  from: 'records r left join matched m on m."panelId" = r."panelId" left join server_databases t on t.id = m.id',
  was: 't',
};

/** What makes a subuser one. Text is compared by its bytes: they need no order of a language, which is slow to compare. */
const SERVER_AND_PERSON = `w."serverId" collate "C", coalesce(w."userId", w.panel_id) collate "C"`;

/**
 * Each server whose subusers were read gets a row for its owner; an owner who is listed as subuser stays the owner. The row
 * of a former owner is replaced by one of the present owner even when the subusers were not read.
 */
const SUBUSERS: TargetQuery = {
  tables: `wanted as (
    select m.id as "serverId", coalesce(u.id, e.id) as "userId", s.permissions, false as "isOwner",
      case when s."panelId" > 0 then s."panelId"::text else s.server || '/' || coalesce(s."user"::text, 'unknown') end as panel_id
    from staged_subusers s join server_map m on m."panelId" = s.server left join user_map u on u."panelId" = s."user"
      left join lateral (select x.id from users x where ${addressOf('x')} = ${addressOf('s')} and ${unclaimed('x')} order by x."createdAt", x.id limit 1) e on s.email is not null
    where s.email is null or e.id is not null
    union all
    select m.id, m."ownerId", '{*}'::text[], true, m."panelId" || '/owner' from server_map m
    where m."ownerId" is not null and m.id in (select r.id from read_subusers r union all select o.id from moved_owners o)
  ), one as (
    select distinct on (${SERVER_AND_PERSON}) w.* from wanted w order by ${SERVER_AND_PERSON}, w."isOwner" desc, w.panel_id
  )`,
  columns: {
    id: newOr('t.id'),
    panel_id: 'o.panel_id',
    found: 't.id is not null',
    permissions: 'o.permissions',
    '"serverId"': 'o."serverId"',
    '"userId"': 'o."userId"',
    '"isOwner"': 'o."isOwner"',
    '"accessLevel"': `case when o."isOwner" then 'owner' when t.id is null or t."isOwner" or t."accessLevel" = 'owner' then 'user' else t."accessLevel" end`,
  },
  from: 'one o left join server_subusers t on t."serverId" = o."serverId" and t."userId" = o."userId"',
  was: 't',
};

function targetOf(entity: Entity, scope: MergeScope): TargetQuery {
  switch (entity) {
    case 'nodes':
    case 'eggs':
      return byId(entity, { '"panelType"': `'pterodactyl'::text` });
    case 'users':
      return TARGET_USERS;
    case 'servers':
      return TARGET_SERVERS;
    case 'allocations':
      return allocations(scope);
    case 'databases':
      return DATABASES;
    case 'subusers':
      return SUBUSERS;
    default:
      return byId(entity);
  }
}

/** `target_x`; `differs`: an owned column is not as the mirror has it. */
function createTarget(entity: Entity, { tables, columns, from, was }: TargetQuery): string[] {
  const { owned } = MIRROR[entity];
  const select = Object.entries(columns).map(([name, sql]) => `${sql} as ${name}`);
  const create = `create temp table target_${entity} on commit drop as ${tables === undefined ? '' : `with ${tables} `}select ${select.join(', ')}, false as rejected,
      (${owned.map((name) => `${was}.${name}`).join(', ')}) is distinct from (${owned.map((name) => columns[name]).join(', ')}) as differs
    from ${from}`;
  // Others look single rows up where there are few.
  return entity === 'users' || entity === 'servers' ? withoutLoops(create) : [create];
}

/**
 * SQL, as the FROM of an update with `where`: rows of another panel, or of the site, that have the id of a record. A row
 * without a panel is this panel's if it has the same uuid.
 */
const OTHERS_ROW: Partial<Record<Entity, { from: string; where: string }>> = {
  nodes: {
    from: 'nodes t',
    where: `t."panelType" is distinct from 'pterodactyl' and not (t."panelType" is null and t.uuid = target.uuid)`,
  },
  eggs: {
    from: 'eggs t',
    where: `t."panelType" is distinct from 'pterodactyl' and not (t."panelType" is null and t.uuid = target.uuid)`,
  },
  egg_variables: {
    from: 'eggs e join egg_variables t on t.egg_id = e.id',
    where: `e."panelType" is distinct from 'pterodactyl' and not exists (select 1 from known_eggs k where k.id = e.id)`,
  },
  allocations: {
    from: 'nodes n join allocations t on t."nodeId" = n.id',
    where: `n."panelType" is distinct from 'pterodactyl' and not exists (select 1 from known_nodes k where k.id = n.id)`,
  },
};

/** SQL over alias target that finds orphans: records without their parent. */
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

/** Rejects the rows of `target_x` that the update finds. */
const reject = (entity: Entity, update: string, code: string, detail: string): string =>
  `with marked as (update target_${entity} target set rejected = true ${update} returning target.panel_id)
     insert into rejected_records select '${entity}', m.panel_id, '${code}', '${detail}' from marked m on conflict do nothing`;

/** `target_x` of one entity; orphans and rows of others are rejected. */
export function targetRows(entity: Entity, scope: MergeScope): string[] {
  const others = OTHERS_ROW[entity];
  const orphan = ORPHAN[entity];
  return [
    ...createTarget(entity, targetOf(entity, scope)),
    ...(others === undefined
      ? []
      : [
          reject(
            entity,
            `from ${others.from} where not target.rejected and t.id = target.id and ${others.where}`,
            'KEY_TAKEN',
            'id: held by a row of another panel',
          ),
        ]),
    ...(orphan === undefined
      ? []
      : [reject(entity, `where not target.rejected and ${orphan.where}`, 'PARENT_MISSING', orphan.detail)]),
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

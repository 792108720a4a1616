/**
 * From the stage to a plan, all in temporary tables of the apply's transaction:
 * `s_x` what was staged, `f_x` how each row shall end, `g_x` what is gone, `p_x` what is to be written, `aside` what is not.
 */
import type { StagedEntity } from '../../../domain/panel/records.ts';
import { ENTITIES, type Entity } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { execute, lastRows, query, script } from '../../db/query.ts';
import { MIRROR, type MirrorSpec, neverUsed, STAGED, type UniqueKey } from './tables.ts';

export interface AppliedSource {
  /** As staged: `locations`, `node:7`, `client:1` … */
  source: string;
  pass: number;
  /** Read whole and consistent: what it does not contain may count as gone. */
  complete: boolean;
  /** Pages it had: several cannot prove absence, so candidates must have been asked for. */
  pages: number;
  /** Includes that the panel did not give as lists. */
  missing: string[];
}

export interface ApplyScope {
  logId: string;
  /** Entities that this apply writes. */
  entities: readonly Entity[];
  sources: readonly AppliedSource[];
}

export interface Exclusion {
  entity: Entity;
  panelId: string;
  code: string;
  detail: string;
}

const unique = (key: UniqueKey, alias: string) => key.columns(alias).join(', ');
const isNot = (alias: string) => `not ${alias}.aside`;

/** What the scripts read by current_setting(), for this transaction. */
async function setScope(trx: Db, scope: ApplyScope): Promise<void> {
  const sources = JSON.stringify(scope.sources.map(({ source, pass }) => ({ source, pass })));
  const incomplete = JSON.stringify(scope.sources.filter((s) => !s.complete).map((s) => s.source));
  await execute(
    trx,
    `select set_config('apply.log_id', ?, true), set_config('apply.sources', ?, true), set_config('apply.incomplete', ?, true)`,
    [scope.logId, sources, incomplete],
  );
}
const LOG_ID = `current_setting('apply.log_id')`;
/** Sources that were not read whole: a condition over a text. */
export const isIncomplete = (source: string): string =>
  `${source} in (select json_array_elements_text(current_setting('apply.incomplete')::json))`;

/**
 * Reads the stage into `s_<entity>`; where a record was read twice, the newest page wins.
 * @returns entities of which a record had no readable id.
 */
export async function expandStage(trx: Db, scope: ApplyScope): Promise<Set<string>> {
  await setScope(trx, scope);
  const staged = Object.entries(STAGED) as [StagedEntity, (typeof STAGED)[StagedEntity]][];
  const unreadable = await lastRows<{ entity: string }>(trx, [
    `create temp table src on commit drop as
       select * from json_to_recordset(current_setting('apply.sources')::json) as x (source text, pass int)`,
    `create temp table stage on commit drop as
       select p.source, p.page, p.entity, p.part, p.rows, p.unreadable, p.rejects, p.missing, p.fetched_at
       from sync_pages p join src on src.source = p.source and src.pass = p.pass where p.log_id = ${LOG_ID}`,
    `create temp table aside (entity text, panel_id text, code text, detail text, primary key (entity, panel_id)) on commit drop`,
    `create temp table rejected on commit drop as
       select distinct on (r.entity, r.id) r.entity, r.id, r.code, r.detail
       from stage p, json_to_recordset(p.rejects) as r (entity text, id int, code text, detail text)`,
    `create temp table alive on commit drop as
       select distinct p.entity, x.id, x.alive from sync_pages p, json_to_recordset(p.body) as x (id int, alive boolean)
       where p.log_id = ${LOG_ID} and p.source = 'gone'`,
    ...staged.map(([entity, { key, columns }]) => {
      const identity = key.replace(/\b(id|pid|server|email)\b|"user"/g, 'x.$&');
      return `create temp table s_${entity} on commit drop as
         select distinct on (${identity}) x.*
         from sync_pages p join src on src.source = p.source and src.pass = p.pass, json_to_recordset(p.body) as x (${columns})
         where p.log_id = ${LOG_ID} and p.entity = '${entity}' and p.rows > 0
         order by ${identity}, p.fetched_at desc, p.page desc`;
    }),
    // Row counts and a few values are all the planner needs; the default target samples 30,000 rows of each table.
    'set local default_statistics_target = 10',
    ...staged.map(([entity, { joins }]) => `analyze s_${entity} (${joins})`),
    'select distinct p.entity from stage p where p.unreadable > 0',
  ]);
  return new Set(unreadable.map((r) => r.entity));
}

/** Tables that every entity has, also one this apply does not write: later steps then need no cases. */
function emptyTables(entity: Entity): string[] {
  const { table } = MIRROR[entity];
  return [
    `create temp table f_${entity} on commit drop as select t.*, t.id::text as panel_id, true as found, false as aside from ${table} t where false`,
    `create temp table p_${entity} on commit drop as select f.*, ''::text as op, 0 as n from f_${entity} f`,
  ];
}

/**
 * An account may be taken for the panel user of its address: the address was proven, or nobody has signed in with it yet
 * (who does must prove it first). Somebody who is signed in and has typed an address must not get its owner's servers.
 */
const unclaimed = (alias: string): string =>
  `(${alias}."emailVerified" is not null or (${alias}."lastLoginAt" is null and not exists (select 1 from sessions o where o."userId" = ${alias}.id)))`;

/** How each staged row shall end, in terms of its table: `f_<entity>`. Parents are planned before. */
const FINAL: Record<Entity, string> = {
  locations: `select s.*, s.id::text as panel_id, t.id is not null as found from s_locations s left join locations t on t.id = s.id`,
  nodes: `select s.*, s.id::text as panel_id, t.id is not null as found from s_nodes s left join nodes t on t.id = s.id`,
  nests: `select s.*, s.id::text as panel_id, t.id is not null as found from s_nests s left join nests t on t.id = s.id`,
  eggs: `select s.*, s.id::text as panel_id, t.id is not null as found from s_eggs s left join eggs t on t.id = s.id`,
  egg_variables: `select s.*, s.id::text as panel_id, t.id is not null as found from s_egg_variables s left join egg_variables t on t.id = s.id`,
  // By panel id, else by the address of a row that no living panel user owns (the oldest such row).
  users: `with by_id as (
      select distinct on (s.pid) s.pid, u.id from s_users s join users u on u."pterodactylId" = s.pid order by s.pid, u."createdAt", u.id
    ), rest as (
      select s.pid, lower(s.email) as address from s_users s where not exists (select 1 from by_id b where b.pid = s.pid)
    ), free as (
      select distinct on (lower(u.email)) lower(u.email) as address, u.id from users u
      where lower(u.email) in (select r.address from rest r)
        and ${unclaimed('u')}
        and (u."pterodactylId" is null or ((select users_complete from facts)
          and not exists (select 1 from s_users x where x.pid = u."pterodactylId")
          and not exists (select 1 from rejected r where r.entity = 'users' and r.id = u."pterodactylId")))
      order by lower(u.email), u."createdAt", u.id
    ), by_address as (
      select distinct on (f.id) r.pid, f.id from rest r join free f on f.address = r.address order by f.id, r.pid
    ), matched as (select * from by_id union all select * from by_address)
    select coalesce(m.id, gen_random_uuid()::text) as id, s.pid::text as panel_id, m.id is not null as found, s.pid as "pterodactylId", s.admin as "isPterodactylAdmin",
      case when u.id is null or ${neverUsed('u')} then s.email else u.email end as email,
      case when u.id is null or ${neverUsed('u')} then s.username else coalesce(u.username, s.username) end as username,
      case when u.id is null or ${neverUsed('u')} then s."firstName" else coalesce(u."firstName", s."firstName") end as "firstName",
      case when u.id is null or ${neverUsed('u')} then s."lastName" else coalesce(u."lastName", s."lastName") end as "lastName"
    from s_users s left join matched m on m.pid = s.pid left join users u on u.id = m.id`,
  // By panel id, else by uuid of a row whose panel id is not staged (a panel that was restored).
  servers: `with by_id as (
      select s.pid, t.id from s_servers s join servers t on t."pterodactylId" = s.pid
    ), by_uuid as (
      select s.pid, t.id from s_servers s join servers t on t.uuid = s.uuid
      where not exists (select 1 from by_id b where b.pid = s.pid)
        and (t."pterodactylId" is null or (not exists (select 1 from s_servers x where x.pid = t."pterodactylId")
          and not exists (select 1 from rejected r where r.entity = 'servers' and r.id = t."pterodactylId")))
    ), matched as (select * from by_id union all (select distinct on (b.id) b.pid, b.id from by_uuid b order by b.id, b.pid))
    select coalesce(m.id, gen_random_uuid()::text) as id, s.pid::text as panel_id, m.id is not null as found, s.pid as "pterodactylId", s.uuid, s."uuidShort", s."externalId",
      s.name, s.description, s.status, s."isSuspended", s.memory, s.disk, s.cpu, coalesce(o.id, t."ownerId") as "ownerId",
      kn.id as "nodeId", ke.id as "eggId", kq.id as "nestId", 'pterodactyl'::text as "panelType"
    from s_servers s left join matched m on m.pid = s.pid left join servers t on t.id = m.id
      left join user_map o on o.pid = s."user" left join known_nodes kn on kn.id = s.node
      left join known_eggs ke on ke.id = s.egg left join known_nests kq on kq.id = s.nest`,
  // The server comes from the servers' include; one that was read and does not list the allocation has lost it.
  allocations: `select s.*, s.id::text as panel_id, t.id is not null as found,
      case when l.server is not null then l.server when not s."isAssigned" then null
        when t."serverId" is null then null
        when exists (select 1 from read_links r where r.id = t."serverId") or exists (select 1 from g_servers g where g.id = t."serverId") then null
        else t."serverId" end as "serverId"
    from s_allocations s left join allocations t on t.id = s.id left join link_map l on l.id = s.id`,
  databases: `select coalesce(t.id, gen_random_uuid()::text) as id, s.pid::text as panel_id, t.id is not null as found, m.id as "serverId", s.pid as "pterodactylId",
      s."databaseName", s.username, coalesce(s.host, t.host, '') as host, case when s.host is null then coalesce(t.port, 3306) else s.port end as port,
      s."hostId", s."maxConnections"
    from s_databases s left join server_databases t on t."pterodactylId" = s.pid left join server_map m on m.pid = s.server`,
  // Owner rows are made for every server whose subusers were read; an owner who is listed as subuser stays the owner.
  subusers: `with wanted as (
      select m.id as "serverId", coalesce(u.id, e.id) as "userId", s.permissions, false as "isOwner",
        case when s.pid > 0 then s.pid::text else s.server || '/' || coalesce(s."user"::text, 'unknown') end as panel_id
      from s_subusers s join server_map m on m.pid = s.server left join user_map u on u.pid = s."user"
        left join lateral (select x.id from users x where lower(x.email) = lower(s.email) and ${unclaimed('x')} order by x."createdAt", x.id limit 1) e on s.email is not null
      where s.email is null or e.id is not null
      union all
      select m.id, m."ownerId", '{*}'::text[], true, m.pid || '/owner' from server_map m
      where m."ownerId" is not null and exists (select 1 from read_subusers r where r.pid = m.pid)
    ), one as (
      select distinct on (w."serverId", coalesce(w."userId", w.panel_id)) w.* from wanted w order by w."serverId", coalesce(w."userId", w.panel_id), w."isOwner" desc, w.panel_id
    )
    select coalesce(t.id, gen_random_uuid()::text) as id, o.panel_id, t.id is not null as found, o."serverId", o."userId", o.permissions, o."isOwner",
      case when o."isOwner" then 'owner' when t.id is null or t."isOwner" or t."accessLevel" = 'owner' then 'user' else t."accessLevel" end as "accessLevel"
    from one o left join server_subusers t on t."serverId" = o."serverId" and t."userId" = o."userId"`,
};

/** What must hold of a final row's parents, or it is set aside: SQL that finds the orphans over alias f. */
const ORPHAN: Partial<Record<Entity, { where: string; detail: string }>> = {
  nodes: {
    where: `not exists (select 1 from known_locations k where k.id = f."locationId")`,
    detail: 'locationId: no such location',
  },
  eggs: { where: `not exists (select 1 from known_nests k where k.id = f."nestId")`, detail: 'nestId: no such nest' },
  egg_variables: {
    where: `not exists (select 1 from known_eggs k where k.id = f.egg_id)`,
    detail: 'egg_id: no such egg',
  },
  allocations: {
    where: `not exists (select 1 from known_nodes k where k.id = f."nodeId")`,
    detail: 'nodeId: no such node',
  },
  databases: { where: `f."serverId" is null`, detail: 'serverId: no such server' },
  subusers: { where: `f."userId" is null`, detail: 'userId: no such user' },
};

/** Rows that exist after this apply, for children to refer to. */
const KNOWN: Partial<Record<Entity, string>> = {
  locations: 'known_locations',
  nodes: 'known_nodes',
  nests: 'known_nests',
  eggs: 'known_eggs',
};

/** Final rows of one entity; orphans and rows of another panel are set aside. */
function finalRows(entity: Entity): string[] {
  const { table, foreign } = MIRROR[entity];
  const orphan = ORPHAN[entity];
  return [
    `create temp table f_${entity} on commit drop as select x.*, false as aside from (${FINAL[entity]}) x`,
    ...(foreign === undefined
      ? []
      : [
          `with marked as (update f_${entity} f set aside = true from ${table} t where ${isNot('f')} and t.id = f.id and ${foreign} returning f.panel_id)
       insert into aside select '${entity}', m.panel_id, 'KEY_TAKEN', 'id: held by a row of another panel' from marked m on conflict do nothing`,
        ]),
    ...(orphan === undefined
      ? []
      : [
          `with marked as (update f_${entity} f set aside = true where ${isNot('f')} and ${orphan.where} returning f.panel_id)
       insert into aside select '${entity}', m.panel_id, 'PARENT_MISSING', '${orphan.detail}' from marked m on conflict do nothing`,
        ]),
  ];
}

/** What the database refused before is set aside from the start. */
async function excludeRows(trx: Db, entity: Entity, exclusions: readonly Exclusion[]): Promise<void> {
  await execute(
    trx,
    `with no as (select * from json_to_recordset(?::json) as x ("panelId" text, code text, detail text)),
       marked as (update f_${entity} f set aside = true from no where not f.aside and f.panel_id = no."panelId" returning f.panel_id, no.code, no.detail)
     insert into aside select '${entity}', m.panel_id, m.code, m.detail from marked m on conflict do nothing`,
    [JSON.stringify(exclusions)],
  );
}

/** `p_<entity>`: what differs, as `c`reate or `u`pdate. */
function changedRows({ entity, table, owned }: MirrorSpec): string {
  const list = (alias: string) => owned.map((c) => `${alias}.${c}`).join(', ');
  return `create temp table p_${entity} on commit drop as
       select f.*, case when f.found then 'u' else 'c' end as op, row_number() over (order by f.id)::int as n
       from f_${entity} f left join ${table} t on t.id = f.id
       where ${isNot('f')} and (not f.found or (${list('t')}) is distinct from (${list('f')}))`;
}

/** Takes rows whose unique value is not free out of the plan again. */
async function resolveConflicts(trx: Db, spec: MirrorSpec): Promise<void> {
  for (const key of spec.unique) {
    // Each round may free or block further values; a chain is never longer than the rows that change.
    for (let round = 0; round < 50; round += 1) {
      if (!(await mayConflict(trx, spec, key)) || (await setAsideConflicts(trx, spec, key)) === 0) break;
    }
  }
}

/** Is any wanted value wanted twice, or held by another row? Two hash passes; the full judgement is seldom needed. */
const conflictOf = ({ entity, table }: MirrorSpec, key: UniqueKey): string =>
  `(exists (select 1 from p_${entity} p group by ${unique(key, 'p')} having count(*) > 1)
    or exists (select 1 from p_${entity} p join ${table} t on (${unique(key, 't')}) = (${unique(key, 'p')}) where t.id <> p.id))`;

async function mayConflict(trx: Db, spec: MirrorSpec, key: UniqueKey): Promise<boolean> {
  const [found] = await query<{ conflict: boolean }>(trx, `select ${conflictOf(spec, key)} as conflict`);
  return found?.conflict === true;
}

async function setAsideConflicts(trx: Db, spec: MirrorSpec, key: UniqueKey): Promise<number> {
  const { entity, table } = spec;
  const parkable = key.park !== undefined;
  // Who holds a wanted value in the end: those that have it today and do not give it up (rank 0: not written at all), else
  // the lower id.
  const [result] = await query<{ n: number }>(
    trx,
    `with changed as (
       select distinct ${key
         .columns('p')
         .map((c, i) => `${c} as k${i}`)
         .join(', ')} from p_${entity} p left join ${table} t on t.id = p.id
       where p.op = 'c' or (${unique(key, 't')}) is distinct from (${unique(key, 'p')})
     ), holders as (
       select t.id::text as id, ${key
         .columns('t')
         .map((c, i) => `${c} as k${i}`)
         .join(', ')}, 0 as rank, 0::bigint as pid
       from ${table} t join changed c on ${key
         .columns('t')
         .map((k, i) => `${k} = c.k${i}`)
         .join(' and ')}
       where ${
         parkable
           ? `not exists (select 1 from g_${entity} g where g.id = t.id) and not exists (select 1 from p_${entity} p where p.id = t.id)`
           : `not exists (select 1 from p_${entity} p where p.id = t.id and (${unique(key, 'p')}) is not distinct from (${unique(key, 't')}))`
       }
       union all
       select p.id::text, ${unique(key, 'p')}, case when (${unique(key, 't')}) is not distinct from (${unique(key, 'p')}) then 1 else 2 end, p."${'panel_id'}"::bigint
       from p_${entity} p join changed c on ${key
         .columns('p')
         .map((k, i) => `${k} = c.k${i}`)
         .join(' and ')} left join ${table} t on t.id = p.id
     ), ranked as (
       select h.id, h.rank, row_number() over (partition by ${key
         .columns('h')
         .map((_, i) => `h.k${i}`)
         .join(', ')} order by h.rank, h.pid) as place from holders h
     ), losers as (
       select r.id from ranked r where r.place > 1 and r.rank > 1
     ), removed as (
       delete from p_${entity} p using losers l where p.id::text = l.id returning p.panel_id
     ), marked as (
       update f_${entity} f set aside = true from removed r where f.panel_id = r.panel_id returning f.panel_id
     ), told as (
       insert into aside select '${entity}', m.panel_id, '${key.code}', '${key.detail}' from marked m on conflict do nothing
     ) select count(*)::int as n from removed`,
  );
  return result?.n ?? 0;
}

/** Rows that later entities may refer to: today's, less the gone, plus the created. */
function knownRows(entity: Entity): string[] {
  const name = KNOWN[entity];
  if (name === undefined) return [];
  const { table, foreign } = MIRROR[entity];
  return [
    `create temp table ${name} on commit drop as
       select t.id from ${table} t where not exists (select 1 from g_${entity} g where g.id = t.id)
         ${foreign === undefined ? '' : `and (${foreign}) is not true`}
       union all select p.id from p_${entity} p where p.op = 'c'`,
  ];
}

/** Panel user id → local id: the rows of this run, and for the rest what is stored. */
const USER_MAP = [
  `create temp table user_map on commit drop as
       select f."pterodactylId" as pid, f.id from f_users f where ${isNot('f')} or f.found
       union all
       (select distinct on (u."pterodactylId") u."pterodactylId", u.id from users u
        where u."pterodactylId" is not null and not exists (select 1 from f_users f where f."pterodactylId" = u."pterodactylId")
        order by u."pterodactylId", u."createdAt", u.id)`,
  'analyze user_map',
];

/** Panel server id → local id and owner, and which servers' children were read whole. */
function serverMap(scope: ApplyScope): string[] {
  // A record that was set aside may have a row of earlier runs: its children are as good as anybody's.
  const earlier = `select r.id as pid, t.id, t."ownerId" from rejected r join servers t on t."pterodactylId" = r.id
    where r.entity = 'servers' and not exists (select 1 from s_servers s where s.pid = r.id)`;
  const lists = (include: string) => scope.sources.some((s) => s.source === 'servers' && !s.missing.includes(include));
  const links = scope.entities.includes('servers') && lists('allocations');
  return [
    scope.entities.includes('servers')
      ? `create temp table server_map on commit drop as
           select f."pterodactylId" as pid, f.id, case when f.aside then t."ownerId" else f."ownerId" end as "ownerId"
           from f_servers f left join servers t on t.id = f.id where ${isNot('f')} or f.found
           union all ${earlier}`
      : `create temp table server_map on commit drop as
           select s.pid, t.id, t."ownerId" from s_servers s join servers t on t."pterodactylId" = s.pid
           union all ${earlier}`,
    'analyze server_map',
    `create temp table read_links on commit drop as select m.id from server_map m where ${links}`,
    'create temp table link_map on commit drop as select l.id, m.id as server from s_links l join server_map m on m.pid = l.server',
    `create temp table read_subusers on commit drop as
       select m.pid, m.id, m."ownerId" from server_map m where (${lists('subusers')} and exists (select 1 from stage p where p.source = 'servers' and p.entity = 'subusers'))
         or m.pid in (select p.part from stage p where p.source like 'client:%' and p.entity = 'subusers')`,
    'analyze link_map',
    'analyze read_links',
    'analyze read_subusers',
  ];
}

/** Plans the entities in order, parents first; `g_<entity>` are there already but for subusers. */
export async function planAll(trx: Db, scope: ApplyScope, exclusions: readonly Exclusion[]): Promise<void> {
  const users = scope.sources.find((s) => s.source === 'users');
  let pending = [`create temp table facts on commit drop as select ${users?.complete === true} as users_complete`];
  for (const entity of ENTITIES) {
    if (entity === 'servers') pending.push(...USER_MAP);
    if (entity === 'allocations') pending.push(...serverMap(scope));
    if (!scope.entities.includes(entity)) {
      pending.push(...emptyTables(entity), ...knownRows(entity));
      continue;
    }
    pending.push(...finalRows(entity));
    const refused = exclusions.filter((e) => e.entity === entity);
    if (refused.length > 0) {
      await execute(trx, script(pending));
      await excludeRows(trx, entity, refused);
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

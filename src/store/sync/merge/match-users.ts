/**
 * Which account each panel user is. By the panel's uuid; by the panel's id where the account has no uuid yet, once; else by
 * the address of an account that no present panel user owns. An id is given again after a restore, a uuid never.
 */
import { addressOf } from '../../accounts/address.ts';
import { neverUsed, newOr, type TargetQuery, withoutLoops } from './tables.ts';

/**
 * SQL: the account may be matched to the panel user of its address. Either the address was verified, or the account has
 * no password and was never signed in to, so it has no owner yet. Otherwise a person could register or type an address
 * and receive the servers of its owner.
 */
export const unclaimed = (alias: string): string =>
  `(${alias}."emailVerified" is not null or (${alias}.password is null and ${alias}."lastLoginAt" is null
    and not exists (select 1 from sessions o where o."userId" = ${alias}.id)))`;

/** SQL: the account is an administrator's. The panel lets a user type any address, so an address never matches it. */
const isAdministrator = (alias: string): string =>
  `(coalesce(${alias}."isSystemAdmin", false) or coalesce(${alias}.roles && '{ADMINISTRATOR,SUPER_ADMIN}'::text[], false))`;

/**
 * `matched_users`: panel id, account, and how it was found. A match by address is provisional: the account moves to the
 * panel user that has its verified address when the present one has not.
 */
const matched = (complete: boolean): string => `create temp table matched_users on commit drop as
  with moved as (
    select distinct u.id from panel_address_matches a join users u on u.id = a.user_id and u."pterodactylId" = a.panel_user_id
      join staged_users present on present."panelId" = a.panel_user_id and ${addressOf('present')} <> ${addressOf('u')}
      join staged_users other on ${addressOf('other')} = ${addressOf('u')}
    where u."emailVerified" is not null and not ${isAdministrator('u')}
      and not exists (select 1 from users o where o."pterodactylId" = other."panelId")
  ), by_uuid as (
    select s."panelId", u.id from staged_users s join users u on u."pterodactylUuid" = s.uuid
    where not exists (select 1 from moved m where m.id = u.id)
  ), without_uuid as materialized (
    select s.* from staged_users s where not exists (select 1 from by_uuid b where b."panelId" = s."panelId")
  ), by_id as (
    select distinct on (s."panelId") s."panelId", u.id from without_uuid s join users u on u."pterodactylId" = s."panelId"
    where (u."pterodactylUuid" is null or s.uuid is null)
      and not exists (select 1 from by_uuid b where b.id = u.id)
      and not exists (select 1 from moved m where m.id = u.id)
    order by s."panelId", u."createdAt", u.id
  ), identified as (
    select b."panelId", b.id, true as by_uuid from by_uuid b union all select b."panelId", b.id, false from by_id b
  ), rest as (
    select s."panelId", ${addressOf('s')} as address from without_uuid s
    where not exists (select 1 from by_id b where b."panelId" = s."panelId")
  ), free as (
    select distinct on (${addressOf('u')}) ${addressOf('u')} as address, u.id from users u
    where ${addressOf('u')} in (select r.address from rest r)
      and ${unclaimed('u')} and not ${isAdministrator('u')}
      and not exists (select 1 from identified i where i.id = u.id)
      and (u."pterodactylId" is null
        or exists (select 1 from moved m where m.id = u.id)
        or exists (select 1 from gone_users g where g.id = u.id)
        or (${complete} and not exists (select 1 from staged_users x where x."panelId" = u."pterodactylId")
          and not exists (select 1 from rejected_by_mapping r where r.entity = 'users' and r.id = u."pterodactylId"))
        or exists (select 1 from staged_users x where x."panelId" = u."pterodactylId" and x.uuid <> u."pterodactylUuid"))
    order by ${addressOf('u')}, u."createdAt", u.id
  ), by_address as (
    select distinct on (f.id) r."panelId", f.id from rest r join free f on f.address = r.address order by f.id, r."panelId"
  )
  select i."panelId", i.id, i.by_uuid, false as by_address, false as moved from identified i
  union all select b."panelId", b.id, false, true, exists (select 1 from moved m where m.id = b.id) from by_address b`;

/** What a name becomes: an account that was used keeps its own, and only a missing one is filled. */
const nameFor = (column: string) =>
  `case when u.id is null or ${neverUsed('u')} then s.${column} else coalesce(u.${column}, s.${column}) end`;

/** `target_users`: an account that was used keeps its address and names. */
export const TARGET_USERS: TargetQuery = {
  columns: {
    id: newOr('m.id'),
    panel_id: 's."panelId"::text',
    found: 'm.id is not null',
    email: `case when u.id is null or ${neverUsed('u')} then s.email else u.email end`,
    username: nameFor('username'),
    '"firstName"': nameFor('"firstName"'),
    '"lastName"': nameFor('"lastName"'),
    '"pterodactylId"': 's."panelId"',
    '"pterodactylUuid"': 'coalesce(s.uuid, u."pterodactylUuid")',
    '"isPterodactylAdmin"': 's.admin',
    by_address: 'coalesce(m.by_address, false)',
    moved: 'coalesce(m.moved, false)',
  },
  from: 'staged_users s left join matched_users m on m."panelId" = s."panelId" left join users u on u.id = m.id',
  was: 'u',
};

/**
 * `unlinked_users`: accounts that lose their panel user. It is gone from the panel, or its id was given to another user:
 * the uuid differs, or the id's record was found to be another account by its uuid.
 */
const UNLINKED = `create temp table unlinked_users on commit drop as
  select u.id, u."pterodactylId" as panel_id, not exists (select 1 from gone_users g where g.id = u.id) as reused
  from users u left join staged_users s on s."panelId" = u."pterodactylId"
    left join matched_users m on m."panelId" = u."pterodactylId" and s."panelId" is not null
  where u."pterodactylId" is not null and not exists (select 1 from matched_users own where own.id = u.id)
    and (u.id in (select g.id from gone_users g) or s.uuid <> u."pterodactylUuid" or m.by_uuid)`;

/** The account of a panel id: from the users of this run, and from the mirror for those that were not read. */
const USER_MAP = `create temp table user_map on commit drop as
  select target."pterodactylId" as "panelId", target.id from target_users target where not target.rejected
  union all
  (select distinct on (u."pterodactylId") u."pterodactylId", u.id from users u
   where u."pterodactylId" is not null and not exists (select 1 from target_users target where target."pterodactylId" = u."pterodactylId")
     and not exists (select 1 from unlinked_users x where x.id = u.id)
   order by u."pterodactylId", u."createdAt", u.id)`;

/**
 * Before the users are planned; `gone_users` exists.
 * @param complete all panel users were read.
 */
export const matchUsers = (complete: boolean): string[] => [
  matched(complete),
  'analyze matched_users',
  ...withoutLoops(UNLINKED),
];

/** After the users are planned. */
export const mapUsers = (): string[] => [USER_MAP, 'analyze user_map'];

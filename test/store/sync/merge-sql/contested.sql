set local lock_timeout = '30s';
 set local statement_timeout = '10min';
 set local idle_in_transaction_session_timeout = '15s';
set local work_mem = '64MB';
 set local jit = off;

select pg_backend_pid() as "backendPid", now()::text as started;

select pg_advisory_xact_lock(7305110001);

select l."cancelledAt" is not null as cancelled, r.applied_key as "appliedKey", r.applied
from sync_logs l left join sync_runs r on r.log_id = l.id where l.id = $1 and l.status = 'RUNNING' for key share of l;

select set_config('merge.log_id', $1, true), set_config('merge.sources', $2, true);

create temp table merged_sources on commit drop as
select * from json_to_recordset(current_setting('merge.sources')::json)
as x (source text, "sourceId" int, pass int, complete boolean, pages int);
create temp table staged_pages on commit drop as
select p.source, m.complete, m.pages, p.page, p.entity, p.parent_id, p.has_gaps, p.rows, p.unreadable, p.rejects, p.missing, p.fetched_at
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass where p.log_id = current_setting('merge.log_id');
create temp table rejected_records (entity text, panel_id text, code text, detail text, primary key (entity, panel_id)) on commit drop;
create temp table rejected_by_mapping on commit drop as
select distinct on (r.entity, r.id, r.server) r.entity, r.id, r.server, r.code, r.detail
from staged_pages p, json_to_recordset(p.rejects) as r (entity text, id int, server int, code text, detail text);
create temp table missing_rows on commit drop as
select m.entity, m.panel_id, m.alive from sync_missing m where m.log_id = current_setting('merge.log_id');
create temp table staged_locations on commit drop as
select distinct on (x.id) x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x (id integer, "shortCode" text, description text)
where p.log_id = current_setting('merge.log_id') and p.entity = 'locations' and p.rows > 0
order by x.id, p.fetched_at desc, p.page desc;
create temp table staged_nodes on commit drop as
select distinct on (x.id) x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x (id integer, uuid text, name text, description text, fqdn text, scheme text, "behindProxy" boolean, memory bigint, "memoryOverallocate" integer, disk bigint, "diskOverallocate" integer, "isPublic" boolean, "isMaintenanceMode" boolean, "daemonListenPort" integer, "daemonSftpPort" integer, "daemonBase" text, "locationId" integer)
where p.log_id = current_setting('merge.log_id') and p.entity = 'nodes' and p.rows > 0
order by x.id, p.fetched_at desc, p.page desc;
create temp table staged_nests on commit drop as
select distinct on (x.id) x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x (id integer, uuid text, name text, description text, author text)
where p.log_id = current_setting('merge.log_id') and p.entity = 'nests' and p.rows > 0
order by x.id, p.fetched_at desc, p.page desc;
create temp table staged_eggs on commit drop as
select distinct on (x.id) x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x (id integer, uuid text, name text, description text, author text, "nestId" integer)
where p.log_id = current_setting('merge.log_id') and p.entity = 'eggs' and p.rows > 0
order by x.id, p.fetched_at desc, p.page desc;
create temp table staged_egg_variables on commit drop as
select distinct on (x.id) x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x (id integer, egg_id integer, name text, description text, env_variable text, default_value text, user_viewable boolean, user_editable boolean, rules text)
where p.log_id = current_setting('merge.log_id') and p.entity = 'egg_variables' and p.rows > 0
order by x.id, p.fetched_at desc, p.page desc;
create temp table staged_users on commit drop as
select distinct on (x."panelId") x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x ("panelId" integer, uuid text, admin boolean, email text, username text, "firstName" text, "lastName" text)
where p.log_id = current_setting('merge.log_id') and p.entity = 'users' and p.rows > 0
order by x."panelId", p.fetched_at desc, p.page desc;
create temp table staged_servers on commit drop as
select distinct on (x."panelId") x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x ("panelId" integer, uuid text, "uuidShort" text, "externalId" text, name text, description text, status text, "isSuspended" boolean, memory bigint, disk bigint, cpu bigint, "user" integer, node integer, allocation integer, egg integer, nest integer, "createdAt" timestamp)
where p.log_id = current_setting('merge.log_id') and p.entity = 'servers' and p.rows > 0
order by x."panelId", p.fetched_at desc, p.page desc;
create temp table staged_links on commit drop as
select distinct on (x.id) x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x (id integer, server integer)
where p.log_id = current_setting('merge.log_id') and p.entity = 'links' and p.rows > 0
order by x.id, p.fetched_at desc, p.page desc;
create temp table staged_allocations on commit drop as
select distinct on (x.id) x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x (id integer, ip text, port integer, alias text, notes text, "isAssigned" boolean, "nodeId" integer)
where p.log_id = current_setting('merge.log_id') and p.entity = 'allocations' and p.rows > 0
order by x.id, p.fetched_at desc, p.page desc;
create temp table staged_databases on commit drop as
select distinct on (x."panelId") x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x ("panelId" integer, server integer, "databaseName" text, username text, host text, port integer, "hostId" integer, "maxConnections" integer)
where p.log_id = current_setting('merge.log_id') and p.entity = 'databases' and p.rows > 0
order by x."panelId", p.fetched_at desc, p.page desc;
create temp table staged_subusers on commit drop as
select distinct on (x.server, coalesce(x."user"::text, lower(x.email))) x.*
from sync_pages p join merged_sources m on m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass, json_to_recordset(p.body) as x ("panelId" integer, server integer, "user" integer, email text, permissions text[])
where p.log_id = current_setting('merge.log_id') and p.entity = 'subusers' and p.rows > 0
order by x.server, coalesce(x."user"::text, lower(x.email)), p.fetched_at desc, p.page desc;
set local default_statistics_target = 10;
analyze staged_locations (id);
analyze staged_nodes (id, "locationId");
analyze staged_nests (id);
analyze staged_eggs (id, "nestId");
analyze staged_egg_variables (id, egg_id);
analyze staged_users ("panelId");
analyze staged_servers ("panelId");
analyze staged_links (id, server);
analyze staged_allocations (id, "nodeId");
analyze staged_databases ("panelId", server);
analyze staged_subusers (server, "user");
analyze missing_rows;
select distinct p.entity from staged_pages p where p.unreadable > 0;

select 'users' as entity, (select count(*) from staged_users)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'users')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'users')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'users') as example;

create temp table whole_lists on commit drop as
select distinct p.entity, p.parent_id from staged_pages p
where p.parent_id is not null and not p.has_gaps and p.entity in ('allocations', 'eggs', 'egg_variables')
and (p.source <> 'node' or (p.complete and p.pages <= 1))
and (p.entity <> 'egg_variables' or p.missing::text not like '%"variables"%');
create temp table rows_in_use (entity text, id int) on commit drop;
create temp table gone_users on commit drop as select t.id from users t where t."pterodactylId" is not null and not exists (select 1 from staged_users s where s."panelId" = t."pterodactylId")
and not exists (select 1 from rejected_by_mapping r where r.entity = 'users' and r.id = t."pterodactylId")
and not exists (select 1 from staged_users s where s.uuid = t."pterodactylUuid") and true;
create temp table deleted_locations on commit drop as select t.id from locations t where false;
create temp table deleted_nodes on commit drop as select t.id from nodes t where false;
create temp table deleted_nests on commit drop as select t.id from nests t where false;
create temp table deleted_eggs on commit drop as select t.id from eggs t where false;
with kept as (delete from deleted_eggs deleted using eggs t where t.id = deleted.id and (exists (select 1 from egg_properties p where p.egg_id = t.id)
or exists (select 1 from egg_variables e join server_variables x on x."eggVariableId" = e.id join servers v on v.id = x."serverId"
where e.egg_id = t.id and (v."panelType" is distinct from 'pterodactyl' or v."pterodactylId" is null))) returning deleted.id)
insert into rows_in_use select 'eggs', k.id from kept k;
create temp table deleted_egg_variables on commit drop as select t.id from egg_variables t where false;
with kept as (delete from deleted_egg_variables deleted using egg_variables t where t.id = deleted.id and exists (select 1 from server_variables x join servers v on v.id = x."serverId" where x."eggVariableId" = t.id and (v."panelType" is distinct from 'pterodactyl' or v."pterodactylId" is null)) returning deleted.id)
insert into rows_in_use select 'egg_variables', k.id from kept k;
create temp table deleted_servers on commit drop as select t.id from servers t where false;
create temp table deleted_allocations on commit drop as select t.id from allocations t where false;
create temp table deleted_databases on commit drop as select t.id from server_databases t where false;
create temp table deleted_users on commit drop as select t.id from users t where false;
create temp table deleted_subusers on commit drop as select t.id from server_subusers t where false;
select exists (select 1 from deleted_locations) or exists (select 1 from deleted_nodes) or exists (select 1 from deleted_nests) or exists (select 1 from deleted_eggs) or exists (select 1 from deleted_egg_variables) or exists (select 1 from deleted_servers) or exists (select 1 from deleted_allocations) or exists (select 1 from deleted_databases) or exists (select 1 from deleted_users) or exists (select 1 from deleted_subusers) as found,
exists (select 1 from gone_users) as users, exists (select 1 from rows_in_use) as "inUse";

create temp table target_locations on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected, false as differs from locations t where false;
create temp table change_locations on commit drop as select target.*, ''::text as op, 0 as n from target_locations target;
create temp table known_locations on commit drop as
select t.id from locations t where true and not exists (select 1 from deleted_locations deleted where deleted.id = t.id)
union select target.id from target_locations target where not target.rejected;
analyze known_locations;
create temp table target_nodes on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected, false as differs from nodes t where false;
create temp table change_nodes on commit drop as select target.*, ''::text as op, 0 as n from target_nodes target;
create temp table known_nodes on commit drop as
select t.id from nodes t where t."panelType" = 'pterodactyl' and not exists (select 1 from deleted_nodes deleted where deleted.id = t.id)
union select target.id from target_nodes target where not target.rejected;
analyze known_nodes;
create temp table target_nests on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected, false as differs from nests t where false;
create temp table change_nests on commit drop as select target.*, ''::text as op, 0 as n from target_nests target;
create temp table known_nests on commit drop as
select t.id from nests t where true and not exists (select 1 from deleted_nests deleted where deleted.id = t.id)
union select target.id from target_nests target where not target.rejected;
analyze known_nests;
create temp table target_eggs on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected, false as differs from eggs t where false;
create temp table change_eggs on commit drop as select target.*, ''::text as op, 0 as n from target_eggs target;
create temp table known_eggs on commit drop as
select t.id from eggs t where t."panelType" = 'pterodactyl' and not exists (select 1 from deleted_eggs deleted where deleted.id = t.id)
union select target.id from target_eggs target where not target.rejected;
analyze known_eggs;
create temp table target_egg_variables on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected, false as differs from egg_variables t where false;
create temp table change_egg_variables on commit drop as select target.*, ''::text as op, 0 as n from target_egg_variables target;
create temp table matched_users on commit drop as
with moved as (
select distinct u.id from panel_address_matches a join users u on u.id = a.user_id and u."pterodactylId" = a.panel_user_id
join staged_users present on present."panelId" = a.panel_user_id and lower(btrim(present.email)) <> lower(btrim(u.email))
join staged_users other on lower(btrim(other.email)) = lower(btrim(u.email))
where u."emailVerified" is not null and not (coalesce(u."isSystemAdmin", false) or coalesce(u.roles && '{ADMINISTRATOR,SUPER_ADMIN}'::text[], false))
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
select s."panelId", lower(btrim(s.email)) as address from without_uuid s
where not exists (select 1 from by_id b where b."panelId" = s."panelId")
), free as (
select distinct on (lower(btrim(u.email))) lower(btrim(u.email)) as address, u.id from users u
where lower(btrim(u.email)) in (select r.address from rest r)
and (u."emailVerified" is not null or (u.password is null and u."lastLoginAt" is null
and not exists (select 1 from sessions o where o."userId" = u.id))) and not (coalesce(u."isSystemAdmin", false) or coalesce(u.roles && '{ADMINISTRATOR,SUPER_ADMIN}'::text[], false))
and not exists (select 1 from identified i where i.id = u.id)
and (u."pterodactylId" is null
or exists (select 1 from moved m where m.id = u.id)
or exists (select 1 from gone_users g where g.id = u.id)
or (true and not exists (select 1 from staged_users x where x."panelId" = u."pterodactylId")
and not exists (select 1 from rejected_by_mapping r where r.entity = 'users' and r.id = u."pterodactylId"))
or exists (select 1 from staged_users x where x."panelId" = u."pterodactylId" and x.uuid <> u."pterodactylUuid"))
order by lower(btrim(u.email)), u."createdAt", u.id
), by_address as (
select distinct on (f.id) r."panelId", f.id from rest r join free f on f.address = r.address order by f.id, r."panelId"
)
select i."panelId", i.id, i.by_uuid, false as by_address, false as moved from identified i
union all select b."panelId", b.id, false, true, exists (select 1 from moved m where m.id = b.id) from by_address b;
analyze matched_users;
set local enable_nestloop = off;
create temp table unlinked_users on commit drop as
select u.id, u."pterodactylId" as panel_id, not exists (select 1 from gone_users g where g.id = u.id) as reused
from users u left join staged_users s on s."panelId" = u."pterodactylId"
left join matched_users m on m."panelId" = u."pterodactylId" and s."panelId" is not null
where u."pterodactylId" is not null and not exists (select 1 from matched_users own where own.id = u.id)
and (u.id in (select g.id from gone_users g) or s.uuid <> u."pterodactylUuid" or m.by_uuid);
set local enable_nestloop = on;
set local enable_nestloop = off;
create temp table target_users on commit drop as select coalesce(m.id, gen_random_uuid()::text) as id, s."panelId"::text as panel_id, m.id is not null as found, case when u.id is null or (u.password is null and u."emailVerified" is null and u."lastLoginAt" is null) then s.email else u.email end as email, case when u.id is null or (u.password is null and u."emailVerified" is null and u."lastLoginAt" is null) then s.username else coalesce(u.username, s.username) end as username, case when u.id is null or (u.password is null and u."emailVerified" is null and u."lastLoginAt" is null) then s."firstName" else coalesce(u."firstName", s."firstName") end as "firstName", case when u.id is null or (u.password is null and u."emailVerified" is null and u."lastLoginAt" is null) then s."lastName" else coalesce(u."lastName", s."lastName") end as "lastName", s."panelId" as "pterodactylId", coalesce(s.uuid, u."pterodactylUuid") as "pterodactylUuid", s.admin as "isPterodactylAdmin", coalesce(m.by_address, false) as by_address, coalesce(m.moved, false) as moved, false as rejected,
(u.email, u.username, u."firstName", u."lastName", u."pterodactylId", u."pterodactylUuid", u."isPterodactylAdmin") is distinct from (case when u.id is null or (u.password is null and u."emailVerified" is null and u."lastLoginAt" is null) then s.email else u.email end, case when u.id is null or (u.password is null and u."emailVerified" is null and u."lastLoginAt" is null) then s.username else coalesce(u.username, s.username) end, case when u.id is null or (u.password is null and u."emailVerified" is null and u."lastLoginAt" is null) then s."firstName" else coalesce(u."firstName", s."firstName") end, case when u.id is null or (u.password is null and u."emailVerified" is null and u."lastLoginAt" is null) then s."lastName" else coalesce(u."lastName", s."lastName") end, s."panelId", coalesce(s.uuid, u."pterodactylUuid"), s.admin) as differs
from staged_users s left join matched_users m on m."panelId" = s."panelId" left join users u on u.id = m.id;
set local enable_nestloop = on;
create temp table change_users on commit drop as
select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
from target_users target where not target.rejected and (not target.found or target.differs);
select (exists (select 1 from change_users change where (lower(btrim(change.email))) is not null group by lower(btrim(change.email)) having count(*) > 1)
or exists (select 1 from change_users change join users t on (lower(btrim(t.email))) = (lower(btrim(change.email))) where t.id <> change.id)) or (exists (select 1 from change_users change where (change."pterodactylId") is not null group by change."pterodactylId" having count(*) > 1)
or exists (select 1 from change_users change join users t on (t."pterodactylId") = (change."pterodactylId") where t.id <> change.id)) or (exists (select 1 from change_users change where (change."pterodactylUuid") is not null group by change."pterodactylUuid" having count(*) > 1)
or exists (select 1 from change_users change join users t on (t."pterodactylUuid") = (change."pterodactylUuid") where t.id <> change.id)) as contested;

create temp table losing on commit drop as
with recursive wanted as (
select change.id, change.op, change.panel_id, lower(btrim(change.email)) as k0
from change_users change left join users t on t.id = change.id
where (lower(btrim(change.email))) is not null and (change.op = 'c' or (lower(btrim(t.email))) is distinct from (lower(btrim(change.email))))
), ranked as (
select w.id, row_number() over (partition by w.k0 order by w.panel_id::bigint) as place from wanted w
), held as (
select w.id, t.id as holder, x.id is not null as moves
from wanted w join users t on lower(btrim(t.email)) = w.k0 and t.id <> w.id left join wanted x on x.id = t.id
where not (exists (select 1 from deleted_users deleted where deleted.id = t.id) or exists (select 1 from unlinked_users u where u.id = t.id))
), lost as (
(select r.id from ranked r where r.place > 1 union select h.id from held h where not h.moves)
union select h.id from held h join lost l on l.id = h.holder
) select l.id, w.op, w.panel_id from lost l join wanted w on w.id = l.id;
insert into rejected_records select 'users', l.panel_id, 'EMAIL_TAKEN', 'email: held by another account' from losing l on conflict do nothing;
update target_users target set rejected = true from losing l where l.op = 'c' and target.id = l.id;
delete from change_users change using losing l where l.op = 'c' and change.id = l.id;
update target_users target set email = t.email from losing l join users t on t.id = l.id where l.op = 'u' and target.id = l.id;
update change_users change set email = t.email from losing l join users t on t.id = l.id where l.op = 'u' and change.id = l.id;
delete from change_users change using losing l, users t where l.op = 'u' and change.id = l.id and t.id = change.id and not ((t.email, t.username, t."firstName", t."lastName", t."pterodactylId", t."pterodactylUuid", t."isPterodactylAdmin") is distinct from (change.email, change.username, change."firstName", change."lastName", change."pterodactylId", change."pterodactylUuid", change."isPterodactylAdmin"));
drop table losing;

create temp table losing on commit drop as
with recursive wanted as (
select change.id, change.op, change.panel_id, change."pterodactylId" as k0
from change_users change left join users t on t.id = change.id
where (change."pterodactylId") is not null and (change.op = 'c' or (t."pterodactylId") is distinct from (change."pterodactylId"))
), ranked as (
select w.id, row_number() over (partition by w.k0 order by w.panel_id::bigint) as place from wanted w
), held as (
select w.id, t.id as holder, x.id is not null as moves
from wanted w join users t on t."pterodactylId" = w.k0 and t.id <> w.id left join wanted x on x.id = t.id
where not (exists (select 1 from deleted_users deleted where deleted.id = t.id) or exists (select 1 from unlinked_users u where u.id = t.id))
), lost as (
(select r.id from ranked r where r.place > 1 union select h.id from held h where not h.moves)
union select h.id from held h join lost l on l.id = h.holder
) select l.id, w.op, w.panel_id from lost l join wanted w on w.id = l.id;
insert into rejected_records select 'users', l.panel_id, 'KEY_TAKEN', 'pterodactylId: held by another account' from losing l on conflict do nothing;
update target_users target set rejected = true from losing l where l.op = 'c' and target.id = l.id;
delete from change_users change using losing l where l.op = 'c' and change.id = l.id;
update target_users target set "pterodactylId" = t."pterodactylId" from losing l join users t on t.id = l.id where l.op = 'u' and target.id = l.id;
update change_users change set "pterodactylId" = t."pterodactylId" from losing l join users t on t.id = l.id where l.op = 'u' and change.id = l.id;
delete from change_users change using losing l, users t where l.op = 'u' and change.id = l.id and t.id = change.id and not ((t.email, t.username, t."firstName", t."lastName", t."pterodactylId", t."pterodactylUuid", t."isPterodactylAdmin") is distinct from (change.email, change.username, change."firstName", change."lastName", change."pterodactylId", change."pterodactylUuid", change."isPterodactylAdmin"));
drop table losing;

create temp table losing on commit drop as
with recursive wanted as (
select change.id, change.op, change.panel_id, change."pterodactylUuid" as k0
from change_users change left join users t on t.id = change.id
where (change."pterodactylUuid") is not null and (change.op = 'c' or (t."pterodactylUuid") is distinct from (change."pterodactylUuid"))
), ranked as (
select w.id, row_number() over (partition by w.k0 order by w.panel_id::bigint) as place from wanted w
), held as (
select w.id, t.id as holder, x.id is not null as moves
from wanted w join users t on t."pterodactylUuid" = w.k0 and t.id <> w.id left join wanted x on x.id = t.id
where not (exists (select 1 from deleted_users deleted where deleted.id = t.id) or exists (select 1 from unlinked_users u where u.id = t.id))
), lost as (
(select r.id from ranked r where r.place > 1 union select h.id from held h where not h.moves)
union select h.id from held h join lost l on l.id = h.holder
) select l.id, w.op, w.panel_id from lost l join wanted w on w.id = l.id;
insert into rejected_records select 'users', l.panel_id, 'KEY_TAKEN', 'pterodactylUuid: held by another account' from losing l on conflict do nothing;
update target_users target set rejected = true from losing l where l.op = 'c' and target.id = l.id;
delete from change_users change using losing l where l.op = 'c' and change.id = l.id;
update target_users target set "pterodactylUuid" = t."pterodactylUuid" from losing l join users t on t.id = l.id where l.op = 'u' and target.id = l.id;
update change_users change set "pterodactylUuid" = t."pterodactylUuid" from losing l join users t on t.id = l.id where l.op = 'u' and change.id = l.id;
delete from change_users change using losing l, users t where l.op = 'u' and change.id = l.id and t.id = change.id and not ((t.email, t.username, t."firstName", t."lastName", t."pterodactylId", t."pterodactylUuid", t."isPterodactylAdmin") is distinct from (change.email, change.username, change."firstName", change."lastName", change."pterodactylId", change."pterodactylUuid", change."isPterodactylAdmin"));
drop table losing;

create temp table user_map on commit drop as
select target."pterodactylId" as "panelId", target.id from target_users target where not target.rejected
union all
(select distinct on (u."pterodactylId") u."pterodactylId", u.id from users u
where u."pterodactylId" is not null and not exists (select 1 from target_users target where target."pterodactylId" = u."pterodactylId")
and not exists (select 1 from unlinked_users x where x.id = u.id)
order by u."pterodactylId", u."createdAt", u.id);
analyze user_map;
create temp table matched_servers on commit drop as
with same_uuid as (
select s."panelId", t.id, t."pterodactylId" = s."panelId" as same_id, t."createdAt" from staged_servers s join servers t on t.uuid = s.uuid
where (t."panelType" = 'pterodactyl' or t."panelType" is null)
), by_uuid as (
select distinct on (o.id) o."panelId", o.id from (
select distinct on (u."panelId") u.* from same_uuid u order by u."panelId", u.same_id desc nulls last, u."createdAt", u.id
) o order by o.id, o."panelId"
), by_id as (
select distinct on (s."panelId") s."panelId", t.id from staged_servers s join servers t on t."pterodactylId" = s."panelId"
where t.uuid is null and (t."panelType" = 'pterodactyl' or t."panelType" is null) and not exists (select 1 from by_uuid b where b."panelId" = s."panelId")
order by s."panelId", t."createdAt", t.id
)
select b."panelId", b.id from by_uuid b union all select b."panelId", b.id from by_id b;
analyze matched_servers;
set local enable_nestloop = off;
create temp table released_servers on commit drop as
select t.id, t."pterodactylId" as panel_id from servers t join staged_servers s on s."panelId" = t."pterodactylId"
where t.uuid is not null and t.uuid <> s.uuid and (t."panelType" = 'pterodactyl' or t."panelType" is null) and not exists (select 1 from matched_servers m where m.id = t.id);
create temp table duplicate_servers on commit drop as
select t.id, t."pterodactylId" as panel_id from servers t join matched_servers m on m."panelId" = t."pterodactylId"
where t.id <> m.id and (t."panelType" = 'pterodactyl' or t."panelType" is null) and not exists (select 1 from matched_servers o where o.id = t.id)
and not exists (select 1 from released_servers r where r.id = t.id);
set local enable_nestloop = on;
create temp table target_servers on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected, false as differs from servers t where false;
create temp table change_servers on commit drop as select target.*, ''::text as op, 0 as n from target_servers target;
create temp table server_map on commit drop as
select m."panelId", t.id, t."ownerId" from matched_servers m join servers t on t.id = m.id
union all (select distinct on (r.id) r.id as "panelId", t.id, t."ownerId" from rejected_by_mapping r join servers t on t."pterodactylId" = r.id
where r.entity = 'servers' and (t."panelType" = 'pterodactyl' or t."panelType" is null) and not exists (select 1 from staged_servers s where s."panelId" = r.id)
and not exists (select 1 from matched_servers m where m.id = t.id)
order by r.id, t."createdAt", t.id);
analyze server_map;
create temp table read_links on commit drop as select m.id from server_map m where false;
create temp table link_map on commit drop as select l.id, m.id as server from staged_links l left join server_map m on m."panelId" = l.server;
create temp table read_subusers on commit drop as
select m."panelId", m.id, m."ownerId" from server_map m
where (false and exists (select 1 from staged_pages p where p.source = 'servers' and p.entity = 'subusers'))
or m."panelId" in (select p.parent_id from staged_pages p where p.source = 'client' and p.entity = 'subusers');
create temp table moved_owners on commit drop as
select distinct m.id, m."ownerId" from server_subusers t join server_map m on m.id = t."serverId"
where t."isOwner" and t."userId" is distinct from m."ownerId";
analyze link_map;
analyze read_links;
analyze read_subusers;
create temp table target_allocations on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected, false as differs from allocations t where false;
create temp table change_allocations on commit drop as select target.*, ''::text as op, 0 as n from target_allocations target;
create temp table target_databases on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected, false as differs from server_databases t where false;
create temp table change_databases on commit drop as select target.*, ''::text as op, 0 as n from target_databases target;
create temp table target_subusers on commit drop as select t.*, t.id::text as panel_id, true as found, false as rejected, false as differs from server_subusers t where false;
create temp table change_subusers on commit drop as select target.*, ''::text as op, 0 as n from target_subusers target;

select 'users' as entity, (select count(*) from target_users target where target.found)::int as known, count(*)::int as other, coalesce((array_agg(o.id order by o.id))[1:20], '{}') as ids from (select u.panel_id as id from unlinked_users u where u.reused) o;

select count(*)::int as n from change_users change where change.moved;

insert into rejected_records select r.entity, case when r.id = 0 then r.server || '/unknown' else r.id::text end, r.code, r.detail from rejected_by_mapping r where r.entity = any($1::text[])
union all select distinct p.entity, 'unknown', 'INVALID_RECORD', 'id: cannot be read' from staged_pages p
where p.unreadable > 0 and p.entity = any($2::text[])
union all select 'servers', d.panel_id::text, 'DUPLICATE_ROW', 'pterodactylId: another row has it too;
 this one is left as it is' from duplicate_servers d where 'servers' = any($3::text[])
on conflict do nothing;

select x.entity, sum(x.n)::int as n, string_agg(x.code || ' ' || x.n, ', ' order by x.code) as codes
from (select r.entity, r.code, count(*) as n from rejected_records r
where not (r.entity = 'subusers' and r.code = 'INVALID_RECORD') group by 1, 2) x group by 1;

select 'users' as entity, c.created, c.updated + (select count(*) from unlinked_users)::int as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_users)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_users) c,
(select (select count(*) from target_users target where not target.rejected)::int
- (select count(*) from rejected_records x join target_users target on target.panel_id = x.panel_id
where x.entity = 'users' and not target.rejected and not exists (select 1 from change_users y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'users' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_users y where y.panel_id = x.panel_id)) r;

select (r.users_first->>'changed')::int as changed, (r.users_first->>'unlinked')::int as unlinked
from sync_runs r where r.log_id = $1 and r.users_first->>'key' = $2;

update users t set "pterodactylId" = null, "isPterodactylAdmin" = false, "updatedAt" = now() at time zone 'utc', "lastSyncedAt" = now() at time zone 'utc'
from unlinked_users u where u.id = t.id;
update servers t set "pterodactylId" = null, "updatedAt" = now() at time zone 'utc', "lastSyncedAt" = now() at time zone 'utc'
from released_servers r where r.id = t.id;

update users t set email = '~' || t.id from change_users change
where (lower(btrim(change.email))) = (lower(btrim(t.email))) and change.id <> t.id
and (t.password is null and t."emailVerified" is null and t."lastLoginAt" is null)
and (exists (select 1 from change_users own where own.id = t.id) or exists (select 1 from deleted_users deleted where deleted.id = t.id));

update users t set "pterodactylId" = null from change_users change
where (change."pterodactylId") = (t."pterodactylId") and change.id <> t.id
and (exists (select 1 from change_users own where own.id = t.id) or exists (select 1 from deleted_users deleted where deleted.id = t.id));

update users t set "pterodactylUuid" = null from change_users change
where (change."pterodactylUuid") = (t."pterodactylUuid") and change.id <> t.id
and (exists (select 1 from change_users own where own.id = t.id) or exists (select 1 from deleted_users deleted where deleted.id = t.id));

update users t set email = case when (t.password is null and t."emailVerified" is null and t."lastLoginAt" is null) then change.email else t.email end, username = case when (t.password is null and t."emailVerified" is null and t."lastLoginAt" is null) then change.username else coalesce(t.username, change.username) end, "firstName" = case when (t.password is null and t."emailVerified" is null and t."lastLoginAt" is null) then change."firstName" else coalesce(t."firstName", change."firstName") end, "lastName" = case when (t.password is null and t."emailVerified" is null and t."lastLoginAt" is null) then change."lastName" else coalesce(t."lastName", change."lastName") end, "pterodactylId" = change."pterodactylId", "pterodactylUuid" = change."pterodactylUuid", "isPterodactylAdmin" = change."isPterodactylAdmin", "updatedAt" = now() at time zone 'utc', "lastSyncedAt" = now() at time zone 'utc' from change_users change where change.op = 'u' and t.id = change.id;

insert into users (id, email, username, "firstName", "lastName", "pterodactylId", "pterodactylUuid", "isPterodactylAdmin", "isMigrated", "isActive", "createdAt", "updatedAt", "lastSyncedAt") select change.id, change.email, change.username, change."firstName", change."lastName", change."pterodactylId", change."pterodactylUuid", change."isPterodactylAdmin", false, true, now() at time zone 'utc', now() at time zone 'utc', now() at time zone 'utc' from change_users change where change.op = 'c' order by change.id;

select count(*)::int as n from change_users where op = 'u';

insert into panel_address_matches (user_id, panel_user_id)
select change.id, change."pterodactylId" from change_users change where change.by_address on conflict do nothing;

insert into panel_address_matches (user_id, panel_user_id)
select u.id, s."panelId" from users u join staged_users s on lower(btrim(s.email)) = lower(btrim(u.email))
where u."emailVerified" is null and u.password is not null and u."pterodactylId" is distinct from s."panelId"
and lower(btrim(s.email)) = lower(btrim(u.email)) and not exists (select 1 from panel_address_matches a where a.user_id = u.id and a.panel_user_id = s."panelId")
order by u.id for no key update of u
on conflict do nothing;

delete from panel_address_matches a using users u where u.id = a.user_id and u."pterodactylId" is distinct from a.panel_user_id
and not exists (select 1 from staged_users s where s."panelId" = a.panel_user_id and u."emailVerified" is null and u.password is not null and u."pterodactylId" is distinct from s."panelId"
and lower(btrim(s.email)) = lower(btrim(u.email)));

set constraints all immediate;

select "cancelledAt" is not null as cancelled from sync_logs where id = $1 for update;

select r.entity, r.panel_id as "panelId", r.code, r.detail from (
select x.*, row_number() over (partition by x.entity order by length(x.panel_id), x.panel_id) as place from rejected_records x) r
where r.place <= 1000;

insert into sync_failures (log_id, entity, panel_id, code, detail)
select $1, x.entity, x."panelId", x.code, x.detail from json_to_recordset($2::json) as x (entity text, "panelId" text, code text, detail text) on conflict do nothing;

update sync_runs set applied_key = $1, applied = $2::jsonb where log_id = $3;

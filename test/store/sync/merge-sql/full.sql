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

select 'locations' as entity, (select count(*) from staged_locations)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'locations')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'locations')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'locations') as example union all select 'nodes' as entity, (select count(*) from staged_nodes)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'nodes')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'nodes')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'nodes') as example union all select 'allocations' as entity, (select count(*) from staged_allocations)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'allocations')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'allocations')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'allocations') as example union all select 'nests' as entity, (select count(*) from staged_nests)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'nests')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'nests')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'nests') as example union all select 'eggs' as entity, (select count(*) from staged_eggs)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'eggs')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'eggs')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'eggs') as example union all select 'egg_variables' as entity, (select count(*) from staged_egg_variables)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'egg_variables')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'egg_variables')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'egg_variables') as example union all select 'users' as entity, (select count(*) from staged_users)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'users')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'users')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'users') as example union all select 'servers' as entity, (select count(*) from staged_servers)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'servers')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'servers')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'servers') as example union all select 'databases' as entity, (select count(*) from staged_databases)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'databases')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'databases')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'databases') as example union all select 'subusers' as entity, (select count(*) from staged_subusers)::int as readable,
(select count(*) from rejected_by_mapping r where r.entity = 'subusers')::int
+ (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = 'subusers')::int as unreadable,
(select min(r.detail) from rejected_by_mapping r where r.entity = 'subusers') as example;

create temp table whole_lists on commit drop as
select distinct p.entity, p.parent_id from staged_pages p
where p.parent_id is not null and not p.has_gaps and p.entity in ('allocations', 'eggs', 'egg_variables')
and (p.source <> 'node' or (p.complete and p.pages <= 1))
and (p.entity <> 'egg_variables' or p.missing::text not like '%"variables"%');
create temp table rows_in_use (entity text, id int) on commit drop;
create temp table gone_users on commit drop as select t.id from users t where t."pterodactylId" is not null and not exists (select 1 from staged_users s where s."panelId" = t."pterodactylId")
and not exists (select 1 from rejected_by_mapping r where r.entity = 'users' and r.id = t."pterodactylId")
and not exists (select 1 from staged_users s where s.uuid = t."pterodactylUuid") and true;
create temp table deleted_locations on commit drop as with unread as materialized (select t.* from locations t where not exists (select 1 from staged_locations s where s.id = t.id)
and not exists (select 1 from rejected_by_mapping r where r.entity = 'locations' and r.id = t.id)) select t.id from unread t where true and true;
create temp table deleted_nodes on commit drop as with unread as materialized (select t.* from nodes t where not exists (select 1 from staged_nodes s where s.id = t.id)
and not exists (select 1 from rejected_by_mapping r where r.entity = 'nodes' and r.id = t.id)) select t.id from unread t where t."panelType" = 'pterodactyl' and true;
create temp table deleted_nests on commit drop as with unread as materialized (select t.* from nests t where not exists (select 1 from staged_nests s where s.id = t.id)
and not exists (select 1 from rejected_by_mapping r where r.entity = 'nests' and r.id = t.id)) select t.id from unread t where true and true;
create temp table deleted_eggs on commit drop as with unread as materialized (select t.* from eggs t where not exists (select 1 from staged_eggs s where s.id = t.id)
and not exists (select 1 from rejected_by_mapping r where r.entity = 'eggs' and r.id = t.id)) select t.id from unread t where t."panelType" = 'pterodactyl' and (t."nestId" in (select deleted.id from deleted_nests deleted) or t."nestId" in (select w.parent_id from whole_lists w where w.entity = 'eggs'));
with kept as (delete from deleted_eggs deleted using eggs t where t.id = deleted.id and (exists (select 1 from egg_properties p where p.egg_id = t.id)
or exists (select 1 from egg_variables e join server_variables x on x."eggVariableId" = e.id join servers v on v.id = x."serverId"
where e.egg_id = t.id and (v."panelType" is distinct from 'pterodactyl' or v."pterodactylId" is null))) returning deleted.id)
insert into rows_in_use select 'eggs', k.id from kept k;
create temp table deleted_egg_variables on commit drop as with unread as materialized (select t.* from egg_variables t where not exists (select 1 from staged_egg_variables s where s.id = t.id)
and not exists (select 1 from rejected_by_mapping r where r.entity = 'egg_variables' and r.id = t.id)) select t.id from unread t where exists (select 1 from eggs e where e.id = t.egg_id and e."panelType" = 'pterodactyl') and (t.egg_id in (select deleted.id from deleted_eggs deleted)
or t.egg_id in (select s.id from staged_eggs s where s."nestId" in (select w.parent_id from whole_lists w where w.entity = 'egg_variables')));
with kept as (delete from deleted_egg_variables deleted using egg_variables t where t.id = deleted.id and exists (select 1 from server_variables x join servers v on v.id = x."serverId" where x."eggVariableId" = t.id and (v."panelType" is distinct from 'pterodactyl' or v."pterodactylId" is null)) returning deleted.id)
insert into rows_in_use select 'egg_variables', k.id from kept k;
create temp table deleted_servers on commit drop as with unread as materialized (select t.* from servers t where not exists (select 1 from staged_servers s where s."panelId" = t."pterodactylId")
and not exists (select 1 from rejected_by_mapping r where r.entity = 'servers' and r.id = t."pterodactylId")) select t.id from unread t where t."panelType" = 'pterodactyl' and t."pterodactylId" is not null and not exists (select 1 from staged_servers s where s.uuid = t.uuid)
and true;
create temp table deleted_allocations on commit drop as with unread as materialized (select t.* from allocations t where not exists (select 1 from staged_allocations s where s.id = t.id)
and not exists (select 1 from rejected_by_mapping r where r.entity = 'allocations' and r.id = t.id)) select t.id from unread t where exists (select 1 from nodes n where n.id = t."nodeId" and n."panelType" = 'pterodactyl') and (t."nodeId" in (select deleted.id from deleted_nodes deleted) or t."nodeId" in (select w.parent_id from whole_lists w where w.entity = 'allocations') or exists (select 1 from missing_rows m where m.entity = 'allocations' and m.panel_id = t.id and not m.alive));
create temp table deleted_databases on commit drop as with unread as materialized (select t.* from server_databases t where not exists (select 1 from staged_databases s where s."panelId" = t."pterodactylId")
and not exists (select 1 from rejected_by_mapping r where r.entity = 'databases' and r.id = t."pterodactylId")) select t.id from unread t where t."pterodactylId" is not null and t."serverId" in (select v.id from servers v join staged_servers s on s."panelId" = v."pterodactylId");
create temp table deleted_users on commit drop as select t.id from users t where false;
create temp table deleted_subusers on commit drop as select t.id from server_subusers t where false;
select exists (select 1 from deleted_locations) or exists (select 1 from deleted_nodes) or exists (select 1 from deleted_nests) or exists (select 1 from deleted_eggs) or exists (select 1 from deleted_egg_variables) or exists (select 1 from deleted_servers) or exists (select 1 from deleted_allocations) or exists (select 1 from deleted_databases) or exists (select 1 from deleted_users) or exists (select 1 from deleted_subusers) as found,
exists (select 1 from gone_users) as users, exists (select 1 from rows_in_use) as "inUse";

select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_egg_variables)::int as gone, (select count(*) from egg_variables t where exists (select 1 from eggs e where e.id = t.egg_id and e."panelType" = 'pterodactyl'))::int as present,
(select count(*) from staged_egg_variables)::int + (select count(*) from rejected_by_mapping r where r.entity = 'egg_variables')::int as staged;

select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_eggs)::int as gone, (select count(*) from eggs t where t."panelType" = 'pterodactyl')::int as present,
(select count(*) from staged_eggs)::int + (select count(*) from rejected_by_mapping r where r.entity = 'eggs')::int as staged;

select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_nests)::int as gone, (select count(*) from nests t where true)::int as present,
(select count(*) from staged_nests)::int + (select count(*) from rejected_by_mapping r where r.entity = 'nests')::int as staged;

select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_allocations)::int as gone, (select count(*) from allocations t where exists (select 1 from nodes n where n.id = t."nodeId" and n."panelType" = 'pterodactyl'))::int as present,
(select count(*) from staged_allocations)::int + (select count(*) from rejected_by_mapping r where r.entity = 'allocations')::int as staged;

select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_nodes)::int as gone, (select count(*) from nodes t where t."panelType" = 'pterodactyl')::int as present,
(select count(*) from staged_nodes)::int + (select count(*) from rejected_by_mapping r where r.entity = 'nodes')::int as staged;

select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_servers)::int as gone, (select count(*) from servers t where t."panelType" = 'pterodactyl' and t."pterodactylId" is not null)::int as present,
(select count(*) from staged_servers)::int + (select count(*) from rejected_by_mapping r where r.entity = 'servers')::int as staged;

select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_databases)::int as gone, (select count(*) from server_databases t where t."pterodactylId" is not null)::int as present,
(select count(*) from staged_databases)::int + (select count(*) from rejected_by_mapping r where r.entity = 'databases')::int as staged;

delete from deleted_locations deleted where exists (
select 1 from nodes n left join staged_nodes s on s.id = n.id
where coalesce(s."locationId", n."locationId") = deleted.id and not exists (select 1 from deleted_nodes x where x.id = n.id));
delete from deleted_nests deleted where exists (
select 1 from eggs e left join staged_eggs s on s.id = e.id
where coalesce(s."nestId", e."nestId") = deleted.id and not exists (select 1 from deleted_eggs x where x.id = e.id));

select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_locations)::int as gone, (select count(*) from locations t where true)::int as present,
(select count(*) from staged_locations)::int + (select count(*) from rejected_by_mapping r where r.entity = 'locations')::int as staged;

create temp table target_locations on commit drop as select s.id as id, s.id::text as panel_id, t.id is not null as found, s."shortCode" as "shortCode", s.description as description, false as rejected,
(t."shortCode", t.description) is distinct from (s."shortCode", s.description) as differs
from staged_locations s left join locations t on t.id = s.id;
create temp table change_locations on commit drop as
select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
from target_locations target where not target.rejected and (not target.found or target.differs);
select (exists (select 1 from change_locations change where (change."shortCode") is not null group by change."shortCode" having count(*) > 1)
or exists (select 1 from change_locations change join locations t on (t."shortCode") = (change."shortCode") where t.id <> change.id)) as contested;

create temp table losing on commit drop as
with recursive wanted as (
select change.id, change.op, change.panel_id, change."shortCode" as k0
from change_locations change left join locations t on t.id = change.id
where (change."shortCode") is not null and (change.op = 'c' or (t."shortCode") is distinct from (change."shortCode"))
), ranked as (
select w.id, row_number() over (partition by w.k0 order by w.panel_id::bigint) as place from wanted w
), held as (
select w.id, t.id as holder, x.id is not null as moves
from wanted w join locations t on t."shortCode" = w.k0 and t.id <> w.id left join wanted x on x.id = t.id
where not (exists (select 1 from deleted_locations deleted where deleted.id = t.id))
), lost as (
(select r.id from ranked r where r.place > 1 union select h.id from held h where not h.moves)
union select h.id from held h join lost l on l.id = h.holder
) select l.id, w.op, w.panel_id from lost l join wanted w on w.id = l.id;
insert into rejected_records select 'locations', l.panel_id, 'KEY_TAKEN', 'shortCode: held by another location' from losing l on conflict do nothing;
update target_locations target set rejected = true from losing l where l.op = 'c' and target.id = l.id;
delete from change_locations change using losing l where l.op = 'c' and change.id = l.id;
update target_locations target set "shortCode" = t."shortCode" from losing l join locations t on t.id = l.id where l.op = 'u' and target.id = l.id;
update change_locations change set "shortCode" = t."shortCode" from losing l join locations t on t.id = l.id where l.op = 'u' and change.id = l.id;
delete from change_locations change using losing l, locations t where l.op = 'u' and change.id = l.id and t.id = change.id and not ((t."shortCode", t.description) is distinct from (change."shortCode", change.description));
drop table losing;

create temp table known_locations on commit drop as
select t.id from locations t where true and not exists (select 1 from deleted_locations deleted where deleted.id = t.id)
union select target.id from target_locations target where not target.rejected;
analyze known_locations;
create temp table target_nodes on commit drop as select s.id as id, s.id::text as panel_id, t.id is not null as found, s.uuid as uuid, s.name as name, s.description as description, s.fqdn as fqdn, s.scheme as scheme, s."behindProxy" as "behindProxy", s.memory as memory, s."memoryOverallocate" as "memoryOverallocate", s.disk as disk, s."diskOverallocate" as "diskOverallocate", s."isPublic" as "isPublic", s."isMaintenanceMode" as "isMaintenanceMode", s."daemonListenPort" as "daemonListenPort", s."daemonSftpPort" as "daemonSftpPort", s."daemonBase" as "daemonBase", s."locationId" as "locationId", 'pterodactyl'::text as "panelType", false as rejected,
(t.uuid, t.name, t.description, t.fqdn, t.scheme, t."behindProxy", t.memory, t."memoryOverallocate", t.disk, t."diskOverallocate", t."isPublic", t."isMaintenanceMode", t."daemonListenPort", t."daemonSftpPort", t."daemonBase", t."locationId", t."panelType") is distinct from (s.uuid, s.name, s.description, s.fqdn, s.scheme, s."behindProxy", s.memory, s."memoryOverallocate", s.disk, s."diskOverallocate", s."isPublic", s."isMaintenanceMode", s."daemonListenPort", s."daemonSftpPort", s."daemonBase", s."locationId", 'pterodactyl'::text) as differs
from staged_nodes s left join nodes t on t.id = s.id;
with marked as (update target_nodes target set rejected = true from nodes t where not target.rejected and t.id = target.id and t."panelType" is distinct from 'pterodactyl' and not (t."panelType" is null and t.uuid = target.uuid) returning target.panel_id)
insert into rejected_records select 'nodes', m.panel_id, 'KEY_TAKEN', 'id: held by a row of another panel' from marked m on conflict do nothing;
with marked as (update target_nodes target set rejected = true where not target.rejected and not exists (select 1 from known_locations k where k.id = target."locationId") returning target.panel_id)
insert into rejected_records select 'nodes', m.panel_id, 'PARENT_MISSING', 'locationId: no such location' from marked m on conflict do nothing;
create temp table change_nodes on commit drop as
select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
from target_nodes target where not target.rejected and (not target.found or target.differs);
select (exists (select 1 from change_nodes change where (change.uuid) is not null group by change.uuid having count(*) > 1)
or exists (select 1 from change_nodes change join nodes t on (t.uuid) = (change.uuid) where t.id <> change.id)) as contested;

create temp table known_nodes on commit drop as
select t.id from nodes t where t."panelType" = 'pterodactyl' and not exists (select 1 from deleted_nodes deleted where deleted.id = t.id)
union select target.id from target_nodes target where not target.rejected;
analyze known_nodes;
create temp table target_nests on commit drop as select s.id as id, s.id::text as panel_id, t.id is not null as found, s.uuid as uuid, s.name as name, s.description as description, s.author as author, false as rejected,
(t.uuid, t.name, t.description, t.author) is distinct from (s.uuid, s.name, s.description, s.author) as differs
from staged_nests s left join nests t on t.id = s.id;
create temp table change_nests on commit drop as
select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
from target_nests target where not target.rejected and (not target.found or target.differs);
select (exists (select 1 from change_nests change where (change.uuid) is not null group by change.uuid having count(*) > 1)
or exists (select 1 from change_nests change join nests t on (t.uuid) = (change.uuid) where t.id <> change.id)) as contested;

create temp table known_nests on commit drop as
select t.id from nests t where true and not exists (select 1 from deleted_nests deleted where deleted.id = t.id)
union select target.id from target_nests target where not target.rejected;
analyze known_nests;
create temp table target_eggs on commit drop as select s.id as id, s.id::text as panel_id, t.id is not null as found, s.uuid as uuid, s.name as name, s.description as description, s.author as author, s."nestId" as "nestId", 'pterodactyl'::text as "panelType", false as rejected,
(t.uuid, t.name, t.description, t.author, t."nestId", t."panelType") is distinct from (s.uuid, s.name, s.description, s.author, s."nestId", 'pterodactyl'::text) as differs
from staged_eggs s left join eggs t on t.id = s.id;
with marked as (update target_eggs target set rejected = true from eggs t where not target.rejected and t.id = target.id and t."panelType" is distinct from 'pterodactyl' and not (t."panelType" is null and t.uuid = target.uuid) returning target.panel_id)
insert into rejected_records select 'eggs', m.panel_id, 'KEY_TAKEN', 'id: held by a row of another panel' from marked m on conflict do nothing;
with marked as (update target_eggs target set rejected = true where not target.rejected and not exists (select 1 from known_nests k where k.id = target."nestId") returning target.panel_id)
insert into rejected_records select 'eggs', m.panel_id, 'PARENT_MISSING', 'nestId: no such nest' from marked m on conflict do nothing;
create temp table change_eggs on commit drop as
select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
from target_eggs target where not target.rejected and (not target.found or target.differs);
select (exists (select 1 from change_eggs change where (change.uuid) is not null group by change.uuid having count(*) > 1)
or exists (select 1 from change_eggs change join eggs t on (t.uuid) = (change.uuid) where t.id <> change.id)) as contested;

create temp table known_eggs on commit drop as
select t.id from eggs t where t."panelType" = 'pterodactyl' and not exists (select 1 from deleted_eggs deleted where deleted.id = t.id)
union select target.id from target_eggs target where not target.rejected;
analyze known_eggs;
create temp table target_egg_variables on commit drop as select s.id as id, s.id::text as panel_id, t.id is not null as found, s.egg_id as egg_id, s.name as name, s.description as description, s.env_variable as env_variable, s.default_value as default_value, s.user_viewable as user_viewable, s.user_editable as user_editable, s.rules as rules, false as rejected,
(t.egg_id, t.name, t.description, t.env_variable, t.default_value, t.user_viewable, t.user_editable, t.rules) is distinct from (s.egg_id, s.name, s.description, s.env_variable, s.default_value, s.user_viewable, s.user_editable, s.rules) as differs
from staged_egg_variables s left join egg_variables t on t.id = s.id;
with marked as (update target_egg_variables target set rejected = true from eggs e join egg_variables t on t.egg_id = e.id where not target.rejected and t.id = target.id and e."panelType" is distinct from 'pterodactyl' and not exists (select 1 from known_eggs k where k.id = e.id) returning target.panel_id)
insert into rejected_records select 'egg_variables', m.panel_id, 'KEY_TAKEN', 'id: held by a row of another panel' from marked m on conflict do nothing;
with marked as (update target_egg_variables target set rejected = true where not target.rejected and not exists (select 1 from known_eggs k where k.id = target.egg_id) returning target.panel_id)
insert into rejected_records select 'egg_variables', m.panel_id, 'PARENT_MISSING', 'egg_id: no such egg' from marked m on conflict do nothing;
create temp table change_egg_variables on commit drop as
select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
from target_egg_variables target where not target.rejected and (not target.found or target.differs);
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
set local enable_nestloop = off;
create temp table target_servers on commit drop as select coalesce(m.id, gen_random_uuid()::text) as id, s."panelId"::text as panel_id, m.id is not null as found, s.uuid as uuid, s."uuidShort" as "uuidShort", s."externalId" as "externalId", s.name as name, s.description as description, s.status as status, s."isSuspended" as "isSuspended", s.memory as memory, s.disk as disk, s.cpu as cpu, s."createdAt" as "createdAt", s."panelId" as "pterodactylId", case when o.id is not null then o.id
when s."user" is not null and (exists (select 1 from staged_users x where x."panelId" = s."user")
or exists (select 1 from rejected_by_mapping r where r.entity = 'users' and r.id = s."user")) then null
else t."ownerId" end as "ownerId", kn.id as "nodeId", ke.id as "eggId", kq.id as "nestId", s.allocation as "primaryAllocationId", 'pterodactyl'::text as "panelType", false as rejected,
(t.uuid, t."uuidShort", t."externalId", t.name, t.description, t.status, t."isSuspended", t.memory, t.disk, t.cpu, t."pterodactylId", t."ownerId", t."nodeId", t."eggId", t."nestId", t."primaryAllocationId", t."panelType") is distinct from (s.uuid, s."uuidShort", s."externalId", s.name, s.description, s.status, s."isSuspended", s.memory, s.disk, s.cpu, s."panelId", case when o.id is not null then o.id
when s."user" is not null and (exists (select 1 from staged_users x where x."panelId" = s."user")
or exists (select 1 from rejected_by_mapping r where r.entity = 'users' and r.id = s."user")) then null
else t."ownerId" end, kn.id, ke.id, kq.id, s.allocation, 'pterodactyl'::text) as differs
from staged_servers s left join matched_servers m on m."panelId" = s."panelId" left join servers t on t.id = m.id
left join user_map o on o."panelId" = s."user" left join known_nodes kn on kn.id = s.node
left join known_eggs ke on ke.id = s.egg left join known_nests kq on kq.id = s.nest;
set local enable_nestloop = on;
create temp table change_servers on commit drop as
select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
from target_servers target where not target.rejected and (not target.found or target.differs);
select (exists (select 1 from change_servers change where (change.uuid) is not null group by change.uuid having count(*) > 1)
or exists (select 1 from change_servers change join servers t on (t.uuid) = (change.uuid) where t.id <> change.id)) or (exists (select 1 from change_servers change where (change."pterodactylId") is not null group by change."pterodactylId" having count(*) > 1)
or exists (select 1 from change_servers change join servers t on (t."pterodactylId") = (change."pterodactylId") where t.id <> change.id)) as contested;

create temp table server_map on commit drop as
select target."pterodactylId" as "panelId", target.id, case when target.rejected then t."ownerId" else target."ownerId" end as "ownerId"
from target_servers target left join servers t on t.id = target.id where not target.rejected or target.found
union all (select distinct on (r.id) r.id as "panelId", t.id, t."ownerId" from rejected_by_mapping r join servers t on t."pterodactylId" = r.id
where r.entity = 'servers' and (t."panelType" = 'pterodactyl' or t."panelType" is null) and not exists (select 1 from staged_servers s where s."panelId" = r.id)
and not exists (select 1 from matched_servers m where m.id = t.id)
order by r.id, t."createdAt", t.id);
analyze server_map;
create temp table read_links on commit drop as select m.id from server_map m where true;
create temp table link_map on commit drop as select l.id, m.id as server from staged_links l left join server_map m on m."panelId" = l.server;
create temp table read_subusers on commit drop as
select m."panelId", m.id, m."ownerId" from server_map m
where (true and exists (select 1 from staged_pages p where p.source = 'servers' and p.entity = 'subusers'))
or m."panelId" in (select p.parent_id from staged_pages p where p.source = 'client' and p.entity = 'subusers');
create temp table moved_owners on commit drop as
select distinct m.id, m."ownerId" from server_subusers t join server_map m on m.id = t."serverId"
where t."isOwner" and t."userId" is distinct from m."ownerId";
analyze link_map;
analyze read_links;
analyze read_subusers;
create temp table target_allocations on commit drop as select a.id as id, a.id::text as panel_id, a.found as found, a.ip as ip, a.port as port, a.alias as alias, a.notes as notes, case when a.server is not null then true when not a."isAssigned" then false when a.listed then true
when a.had_server or true then false else true end as "isAssigned", a."nodeId" as "nodeId", a.server as "serverId", false as rejected,
((a.was).ip, (a.was).port, (a.was).alias, (a.was).notes, (a.was)."isAssigned", (a.was)."nodeId", (a.was)."serverId") is distinct from (a.ip, a.port, a.alias, a.notes, case when a.server is not null then true when not a."isAssigned" then false when a.listed then true
when a.had_server or true then false else true end, a."nodeId", a.server) as differs
from (
select s.*, t.id is not null as found, t as was, l.id is not null as listed, t."serverId" is not null as had_server,
case when l.server is not null then l.server when not s."isAssigned" then null
when t."serverId" is null then null
when exists (select 1 from read_links r where r.id = t."serverId") or exists (select 1 from deleted_servers deleted where deleted.id = t."serverId") then null
else t."serverId" end as server
from staged_allocations s left join allocations t on t.id = s.id left join link_map l on l.id = s.id
) a;
with marked as (update target_allocations target set rejected = true from nodes n join allocations t on t."nodeId" = n.id where not target.rejected and t.id = target.id and n."panelType" is distinct from 'pterodactyl' and not exists (select 1 from known_nodes k where k.id = n.id) returning target.panel_id)
insert into rejected_records select 'allocations', m.panel_id, 'KEY_TAKEN', 'id: held by a row of another panel' from marked m on conflict do nothing;
with marked as (update target_allocations target set rejected = true where not target.rejected and not exists (select 1 from known_nodes k where k.id = target."nodeId") returning target.panel_id)
insert into rejected_records select 'allocations', m.panel_id, 'PARENT_MISSING', 'nodeId: no such node' from marked m on conflict do nothing;
create temp table change_allocations on commit drop as
select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
from target_allocations target where not target.rejected and (not target.found or target.differs);
select (exists (select 1 from change_allocations change where (change."nodeId", change.ip, change.port) is not null group by change."nodeId", change.ip, change.port having count(*) > 1)
or exists (select 1 from change_allocations change join allocations t on (t."nodeId", t.ip, t.port) = (change."nodeId", change.ip, change.port) where t.id <> change.id)) as contested;

create temp table target_databases on commit drop as with records as (
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
), matched as (select b."panelId", b.id from by_id b union all select b."panelId", b.id from by_name b) select coalesce(m.id, gen_random_uuid()::text) as id, r."panelId"::text as panel_id, m.id is not null as found, r."databaseName" as "databaseName", r.username as username, coalesce(r.host, t.host, '') as host, case when r.host is null then coalesce(t.port, 3306) else r.port end as port, r."hostId" as "hostId", r."maxConnections" as "maxConnections", r."serverId" as "serverId", r."panelId" as "pterodactylId", false as rejected,
(t."databaseName", t.username, t.host, t.port, t."hostId", t."maxConnections", t."serverId", t."pterodactylId") is distinct from (r."databaseName", r.username, coalesce(r.host, t.host, ''), case when r.host is null then coalesce(t.port, 3306) else r.port end, r."hostId", r."maxConnections", r."serverId", r."panelId") as differs
from records r left join matched m on m."panelId" = r."panelId" left join server_databases t on t.id = m.id;
with marked as (update target_databases target set rejected = true where not target.rejected and target."serverId" is null returning target.panel_id)
insert into rejected_records select 'databases', m.panel_id, 'PARENT_MISSING', 'serverId: no such server' from marked m on conflict do nothing;
create temp table change_databases on commit drop as
select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
from target_databases target where not target.rejected and (not target.found or target.differs);
create temp table target_subusers on commit drop as with wanted as (
select m.id as "serverId", coalesce(u.id, e.id) as "userId", s.permissions, false as "isOwner",
case when s."panelId" > 0 then s."panelId"::text else s.server || '/' || coalesce(s."user"::text, 'unknown') end as panel_id
from staged_subusers s join server_map m on m."panelId" = s.server left join user_map u on u."panelId" = s."user"
left join lateral (select x.id from users x where lower(btrim(x.email)) = lower(btrim(s.email)) and (x."emailVerified" is not null or (x.password is null and x."lastLoginAt" is null
and not exists (select 1 from sessions o where o."userId" = x.id))) order by x."createdAt", x.id limit 1) e on s.email is not null
where s.email is null or e.id is not null
union all
select m.id, m."ownerId", '{*}'::text[], true, m."panelId" || '/owner' from server_map m
where m."ownerId" is not null and m.id in (select r.id from read_subusers r union all select o.id from moved_owners o)
), one as (
select distinct on (w."serverId" collate "C", coalesce(w."userId", w.panel_id) collate "C") w.* from wanted w order by w."serverId" collate "C", coalesce(w."userId", w.panel_id) collate "C", w."isOwner" desc, w.panel_id
) select coalesce(t.id, gen_random_uuid()::text) as id, o.panel_id as panel_id, t.id is not null as found, o.permissions as permissions, o."serverId" as "serverId", o."userId" as "userId", o."isOwner" as "isOwner", case when o."isOwner" then 'owner' when t.id is null or t."isOwner" or t."accessLevel" = 'owner' then 'user' else t."accessLevel" end as "accessLevel", false as rejected,
(t.permissions, t."serverId", t."userId", t."isOwner", t."accessLevel") is distinct from (o.permissions, o."serverId", o."userId", o."isOwner", case when o."isOwner" then 'owner' when t.id is null or t."isOwner" or t."accessLevel" = 'owner' then 'user' else t."accessLevel" end) as differs
from one o left join server_subusers t on t."serverId" = o."serverId" and t."userId" = o."userId";
with marked as (update target_subusers target set rejected = true where not target.rejected and target."userId" is null returning target.panel_id)
insert into rejected_records select 'subusers', m.panel_id, 'PARENT_MISSING', 'userId: no such user' from marked m on conflict do nothing;
create temp table change_subusers on commit drop as
select target.*, case when target.found then 'u' else 'c' end as op, row_number() over (order by target.id)::int as n
from target_subusers target where not target.rejected and (not target.found or target.differs);

select 'nodes' as entity, (select count(*) from target_nodes target where target.found)::int as known, count(*)::int as other, coalesce((array_agg(o.id order by o.id))[1:20], '{}') as ids from (select change.id from change_nodes change join nodes t on t.id = change.id
where change.op = 'u' and change.uuid <> t.uuid and t.uuid not in (select s.uuid from staged_nodes s)) o union all select 'nests' as entity, (select count(*) from target_nests target where target.found)::int as known, count(*)::int as other, coalesce((array_agg(o.id order by o.id))[1:20], '{}') as ids from (select change.id from change_nests change join nests t on t.id = change.id
where change.op = 'u' and change.uuid <> t.uuid and t.uuid not in (select s.uuid from staged_nests s)) o union all select 'eggs' as entity, (select count(*) from target_eggs target where target.found)::int as known, count(*)::int as other, coalesce((array_agg(o.id order by o.id))[1:20], '{}') as ids from (select change.id from change_eggs change join eggs t on t.id = change.id
where change.op = 'u' and change.uuid <> t.uuid and t.uuid not in (select s.uuid from staged_eggs s)) o union all select 'users' as entity, (select count(*) from target_users target where target.found)::int as known, count(*)::int as other, coalesce((array_agg(o.id order by o.id))[1:20], '{}') as ids from (select u.panel_id as id from unlinked_users u where u.reused) o union all select 'servers' as entity, (select count(*) from target_servers target where target.found)::int as known, count(*)::int as other, coalesce((array_agg(o.id order by o.id))[1:20], '{}') as ids from (select r.panel_id as id from released_servers r) o;

select count(*)::int as n from change_users change where change.moved;

select distinct r.server as id from rejected_by_mapping r where r.entity = 'subusers' and r.server is not null order by 1;

insert into deleted_subusers select t.id from server_subusers t
join read_subusers r on r.id = t."serverId"
where t."lastSyncedAt" is not null and not t."isOwner" and not exists (select 1 from target_subusers target where target."serverId" = t."serverId" and target."userId" = t."userId")
and not exists (select 1 from rejected_by_mapping x where x.entity = 'subusers' and x.server = r."panelId");

select (select count(*) from staged_locations)::int as parents, (select count(*) from deleted_subusers)::int as gone, (select count(*) from server_subusers t where t."lastSyncedAt" is not null)::int as present,
(select count(*) from staged_subusers)::int + (select count(*) from rejected_by_mapping r where r.entity = 'subusers')::int as staged;

insert into deleted_subusers select t.id from server_subusers t
join moved_owners o on o.id = t."serverId"
where t."isOwner" and t."userId" is distinct from o."ownerId" and not exists (select 1 from target_subusers target where target."serverId" = t."serverId" and target."userId" = t."userId" and not target.rejected);

delete from deleted_eggs deleted using egg_variables t left join change_egg_variables change on change.id = t.id and change.op = 'u'
where coalesce(change.egg_id, t.egg_id) = deleted.id and not exists (select 1 from deleted_egg_variables x where x.id = t.id);

delete from deleted_nests deleted using eggs t left join change_eggs change on change.id = t.id and change.op = 'u'
where coalesce(change."nestId", t."nestId") = deleted.id and not exists (select 1 from deleted_eggs x where x.id = t.id);

delete from deleted_nodes deleted using allocations t left join change_allocations change on change.id = t.id and change.op = 'u'
where coalesce(change."nodeId", t."nodeId") = deleted.id and not exists (select 1 from deleted_allocations x where x.id = t.id);

delete from deleted_locations deleted using nodes t left join change_nodes change on change.id = t.id and change.op = 'u'
where coalesce(change."locationId", t."locationId") = deleted.id and not exists (select 1 from deleted_nodes x where x.id = t.id);

insert into rejected_records select r.entity, case when r.id = 0 then r.server || '/unknown' else r.id::text end, r.code, r.detail from rejected_by_mapping r where r.entity = any($1::text[])
union all select distinct p.entity, 'unknown', 'INVALID_RECORD', 'id: cannot be read' from staged_pages p
where p.unreadable > 0 and p.entity = any($2::text[])
union all select 'servers', d.panel_id::text, 'DUPLICATE_ROW', 'pterodactylId: another row has it too;
 this one is left as it is' from duplicate_servers d where 'servers' = any($3::text[])
on conflict do nothing;

select x.entity, sum(x.n)::int as n, string_agg(x.code || ' ' || x.n, ', ' order by x.code) as codes
from (select r.entity, r.code, count(*) as n from rejected_records r
where not (r.entity = 'subusers' and r.code = 'INVALID_RECORD') group by 1, 2) x group by 1;

select 'locations' as entity, c.created, c.updated + 0 as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_locations)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_locations) c,
(select (select count(*) from target_locations target where not target.rejected)::int
- (select count(*) from rejected_records x join target_locations target on target.panel_id = x.panel_id
where x.entity = 'locations' and not target.rejected and not exists (select 1 from change_locations y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'locations' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_locations y where y.panel_id = x.panel_id)) r union all select 'nodes' as entity, c.created, c.updated + 0 as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_nodes)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_nodes) c,
(select (select count(*) from target_nodes target where not target.rejected)::int
- (select count(*) from rejected_records x join target_nodes target on target.panel_id = x.panel_id
where x.entity = 'nodes' and not target.rejected and not exists (select 1 from change_nodes y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'nodes' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_nodes y where y.panel_id = x.panel_id)) r union all select 'nests' as entity, c.created, c.updated + 0 as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_nests)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_nests) c,
(select (select count(*) from target_nests target where not target.rejected)::int
- (select count(*) from rejected_records x join target_nests target on target.panel_id = x.panel_id
where x.entity = 'nests' and not target.rejected and not exists (select 1 from change_nests y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'nests' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_nests y where y.panel_id = x.panel_id)) r union all select 'eggs' as entity, c.created, c.updated + 0 as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_eggs)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_eggs) c,
(select (select count(*) from target_eggs target where not target.rejected)::int
- (select count(*) from rejected_records x join target_eggs target on target.panel_id = x.panel_id
where x.entity = 'eggs' and not target.rejected and not exists (select 1 from change_eggs y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'eggs' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_eggs y where y.panel_id = x.panel_id)) r union all select 'egg_variables' as entity, c.created, c.updated + 0 as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_egg_variables)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_egg_variables) c,
(select (select count(*) from target_egg_variables target where not target.rejected)::int
- (select count(*) from rejected_records x join target_egg_variables target on target.panel_id = x.panel_id
where x.entity = 'egg_variables' and not target.rejected and not exists (select 1 from change_egg_variables y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'egg_variables' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_egg_variables y where y.panel_id = x.panel_id)) r union all select 'users' as entity, c.created, c.updated + (select count(*) from unlinked_users)::int as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_users)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_users) c,
(select (select count(*) from target_users target where not target.rejected)::int
- (select count(*) from rejected_records x join target_users target on target.panel_id = x.panel_id
where x.entity = 'users' and not target.rejected and not exists (select 1 from change_users y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'users' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_users y where y.panel_id = x.panel_id)) r union all select 'servers' as entity, c.created, c.updated + 0 as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_servers)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_servers) c,
(select (select count(*) from target_servers target where not target.rejected)::int
- (select count(*) from rejected_records x join target_servers target on target.panel_id = x.panel_id
where x.entity = 'servers' and not target.rejected and not exists (select 1 from change_servers y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'servers' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_servers y where y.panel_id = x.panel_id)) r union all select 'allocations' as entity, c.created, c.updated + 0 as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_allocations)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_allocations) c,
(select (select count(*) from target_allocations target where not target.rejected)::int
- (select count(*) from rejected_records x join target_allocations target on target.panel_id = x.panel_id
where x.entity = 'allocations' and not target.rejected and not exists (select 1 from change_allocations y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'allocations' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_allocations y where y.panel_id = x.panel_id)) r union all select 'databases' as entity, c.created, c.updated + 0 as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_databases)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_databases) c,
(select (select count(*) from target_databases target where not target.rejected)::int
- (select count(*) from rejected_records x join target_databases target on target.panel_id = x.panel_id
where x.entity = 'databases' and not target.rejected and not exists (select 1 from change_databases y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'databases' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_databases y where y.panel_id = x.panel_id)) r union all select 'subusers' as entity, c.created, c.updated + 0 as updated,
t.unchanged - c.changes as unchanged, (select count(*) from deleted_subusers)::int as pruned, r.failed
from (select count(*) filter (where op = 'c')::int as created, count(*) filter (where op = 'u')::int as updated, count(*)::int as changes from change_subusers) c,
(select (select count(*) from target_subusers target where not target.rejected)::int
- (select count(*) from rejected_records x join target_subusers target on target.panel_id = x.panel_id
where x.entity = 'subusers' and not target.rejected and not exists (select 1 from change_subusers y where y.panel_id = x.panel_id))::int as unchanged) t,
(select count(*)::int as failed from rejected_records x where x.entity = 'subusers' and x.code <> 'DUPLICATE_ROW'
and not exists (select 1 from change_subusers y where y.panel_id = x.panel_id)) r;

select (r.users_first->>'changed')::int as changed, (r.users_first->>'unlinked')::int as unlinked
from sync_runs r where r.log_id = $1 and r.users_first->>'key' = $2;

create temp table server_events on commit drop as
with changed as (
select c.id, c.name, c.op, c."ownerId" as owner, c."nodeId" as node, t."ownerId" as old_owner, t."nodeId" as old_node,
coalesce(c."isSuspended", false) as suspended, coalesce(t."isSuspended", false) as was_suspended
from change_servers c left join servers t on t.id = c.id
), events as (
select 'server.created' as event, c.* from changed c where c.op = 'c'
union all select 'server.suspended', c.* from changed c where c.op = 'u' and c.suspended and not c.was_suspended
union all select 'server.unsuspended', c.* from changed c where c.op = 'u' and not c.suspended and c.was_suspended
union all select 'server.owner_changed', c.* from changed c where c.op = 'u' and c.owner <> c.old_owner
union all select 'server.node_changed', c.* from changed c where c.op = 'u' and c.node <> c.old_node
union all select 'server.deleted', t.id, t.name, 'd', t."ownerId", t."nodeId", null, null, false, false
from servers t join deleted_servers d on d.id = t.id
)
select e.event, e.id as server, coalesce(e.name, '') as name, e.owner, e.node,
case when p.id is not null then coalesce(nullif(trim(p.username), ''), nullif(trim(p."firstName"), ''), 'unknown') end as previous_owner, m.name as previous_node
from events e left join users p on p.id = e.old_owner left join nodes m on m.id = e.old_node
where exists (select 1 from servers t where t."panelType" = 'pterodactyl' and t."pterodactylId" is not null);

update users t set "pterodactylId" = null, "isPterodactylAdmin" = false, "updatedAt" = now() at time zone 'utc', "lastSyncedAt" = now() at time zone 'utc'
from unlinked_users u where u.id = t.id;
update servers t set "pterodactylId" = null, "updatedAt" = now() at time zone 'utc', "lastSyncedAt" = now() at time zone 'utc'
from released_servers r where r.id = t.id;

update locations t set "shortCode" = '~' || t.id from change_locations change
where (change."shortCode") = (t."shortCode") and change.id <> t.id
and (exists (select 1 from change_locations own where own.id = t.id) or exists (select 1 from deleted_locations deleted where deleted.id = t.id));

update servers t set "pterodactylId" = null from change_servers change
where (change."pterodactylId") = (t."pterodactylId") and change.id <> t.id
and (exists (select 1 from change_servers own where own.id = t.id) or exists (select 1 from deleted_servers deleted where deleted.id = t.id));

update allocations t set port = -t.id from change_allocations change
where (change."nodeId", change.ip, change.port) = (t."nodeId", t.ip, t.port) and change.id <> t.id
and (exists (select 1 from change_allocations own where own.id = t.id) or exists (select 1 from deleted_allocations deleted where deleted.id = t.id));

update locations t set "shortCode" = change."shortCode", description = change.description, "updatedAt" = now() at time zone 'utc' from change_locations change where change.op = 'u' and t.id = change.id;

insert into locations (id, "shortCode", description, "createdAt", "updatedAt") select change.id, change."shortCode", change.description, now() at time zone 'utc', now() at time zone 'utc' from change_locations change where change.op = 'c' order by change.id;

select count(*)::int as n from change_locations where op = 'u';

update servers t set uuid = change.uuid, "uuidShort" = change."uuidShort", "externalId" = change."externalId", name = change.name, description = change.description, status = change.status, "isSuspended" = change."isSuspended", memory = change.memory, disk = change.disk, cpu = change.cpu, "pterodactylId" = change."pterodactylId", "ownerId" = change."ownerId", "nodeId" = change."nodeId", "eggId" = change."eggId", "nestId" = change."nestId", "primaryAllocationId" = change."primaryAllocationId", "panelType" = change."panelType", "updatedAt" = now() at time zone 'utc', "lastSyncedAt" = now() at time zone 'utc' from change_servers change where change.op = 'u' and t.id = change.id;

insert into servers (id, uuid, "uuidShort", "externalId", name, description, status, "isSuspended", memory, disk, cpu, "pterodactylId", "ownerId", "nodeId", "eggId", "nestId", "primaryAllocationId", "panelType", "createdAt", "updatedAt", "lastSyncedAt") select change.id, change.uuid, change."uuidShort", change."externalId", change.name, change.description, change.status, change."isSuspended", change.memory, change.disk, change.cpu, change."pterodactylId", change."ownerId", change."nodeId", change."eggId", change."nestId", change."primaryAllocationId", change."panelType", coalesce(change."createdAt", now() at time zone 'utc'), now() at time zone 'utc', now() at time zone 'utc' from change_servers change where change.op = 'c' order by change.id;

select count(*)::int as n from change_servers where op = 'u';

update allocations t set ip = change.ip, port = change.port, alias = change.alias, notes = change.notes, "isAssigned" = change."isAssigned", "nodeId" = change."nodeId", "serverId" = change."serverId", "updatedAt" = now() at time zone 'utc' from change_allocations change where change.op = 'u' and t.id = change.id;

insert into allocations (id, ip, port, alias, notes, "isAssigned", "nodeId", "serverId", "createdAt", "updatedAt") select change.id, change.ip, change.port, change.alias, change.notes, change."isAssigned", change."nodeId", change."serverId", now() at time zone 'utc', now() at time zone 'utc' from change_allocations change where change.op = 'c' order by change.id;

select count(*)::int as n from change_allocations where op = 'u';

savepoint entity_databases;

update server_databases t set "databaseName" = change."databaseName", username = change.username, host = change.host, port = change.port, "hostId" = change."hostId", "maxConnections" = change."maxConnections", "serverId" = change."serverId", "pterodactylId" = change."pterodactylId", "updatedAt" = now() at time zone 'utc' from change_databases change where change.op = 'u' and t.id = change.id;

insert into server_databases (id, "databaseName", username, host, port, "hostId", "maxConnections", "serverId", "pterodactylId", "createdAt", "updatedAt") select change.id, change."databaseName", change.username, change.host, change.port, change."hostId", change."maxConnections", change."serverId", change."pterodactylId", now() at time zone 'utc', now() at time zone 'utc' from change_databases change where change.op = 'c' order by change.id;

select count(*)::int as n from change_databases where op = 'u';

release savepoint entity_databases;

savepoint entity_subusers;

update server_subusers t set permissions = change.permissions, "serverId" = change."serverId", "userId" = change."userId", "isOwner" = change."isOwner", "accessLevel" = change."accessLevel", "lastSyncedAt" = now() at time zone 'utc' from change_subusers change where change.op = 'u' and t.id = change.id;

insert into server_subusers (id, permissions, "serverId", "userId", "isOwner", "accessLevel", "addedAt", "lastSyncedAt") select change.id, change.permissions, change."serverId", change."userId", change."isOwner", change."accessLevel", now() at time zone 'utc', now() at time zone 'utc' from change_subusers change where change.op = 'c' order by change.id;

select count(*)::int as n from change_subusers where op = 'u';

release savepoint entity_subusers;

savepoint deletion;

delete from server_subusers t using deleted_subusers deleted where t.id = deleted.id;

release savepoint deletion;

savepoint deletion;

delete from servers t using deleted_servers deleted where t.id = deleted.id;

release savepoint deletion;

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

update sync_runs set applied_key = $1, applied = $2::jsonb where log_id = $3;

/** Databases of the earlier service, with rows that make their adoption difficult. */

const STD = `"createdAt" timestamp(3) not null default current_timestamp, "updatedAt" timestamp(3) not null default current_timestamp`;

/** Accounts, panel mirror and servers, which both variants have, with the earlier service's constraints. */
const COMMON = `
create table users (
  id text primary key, email text not null unique, password text, username text, "firstName" text, "lastName" text,
  roles text[] default '{MEMBER}', "isPterodactylAdmin" boolean default false, "isSystemAdmin" boolean default false,
  "pterodactylId" integer, "isMigrated" boolean, "emailVerified" timestamp, "isActive" boolean default true,
  "accountBalance" decimal(10,2) default 0, ${STD}, "lastLoginAt" timestamp);
insert into users (id, email, "pterodactylId", "accountBalance") values
  ('u1', 'ann@example.org', 1, 12.50), ('u2', 'Ann@Example.org', 2, 0), ('u3', 'bob@example.org', 2, 0), ('u4', 'cy@example.org', null, 0);
create table sessions (
  id text primary key, "sessionToken" text not null unique, "userId" text not null references users(id) on delete cascade,
  expires timestamp not null, "createdAt" timestamp not null default current_timestamp);
insert into sessions values ('s1', repeat('a', 64), 'u1', '2030-01-01', '2025-01-01');
create table verification_tokens (
  identifier text not null, token text not null unique, expires timestamp not null,
  constraint verification_tokens_unique unique (identifier, token));
insert into verification_tokens values ('u1', 'tok', '2030-01-01');
create table locations (id integer primary key, "shortCode" text not null unique deferrable initially deferred, description text not null default '', ${STD});
insert into locations (id, "shortCode") values (1, 'fra'), (2, 'lon');
create table nodes (
  id integer primary key, uuid text not null unique, name text not null, fqdn text not null, memory bigint not null,
  disk bigint not null, "locationId" integer not null references locations(id) on delete cascade,
  "createdAt" timestamp default current_timestamp, "updatedAt" timestamp);
insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId") values (1, 'n-1', 'one', 'one.example', 4000000000, 9, 1), (2, 'n-2', 'two', 'two.example', 2, 2, 2);
create table nests (id integer primary key, uuid text not null unique, name text not null, description text, author text, ${STD});
insert into nests (id, uuid, name) values (1, 'ne-1', 'Games');
create table eggs (
  id integer primary key, uuid text not null unique, name text not null, description text, author text,
  "panelType" text default 'pterodactyl', "nestId" integer not null references nests(id) on delete cascade, ${STD});
insert into eggs (id, uuid, name, "nestId") values (1, 'e-1', 'Egg', 1);
create table servers (
  id text primary key, "serverType" text not null default 'game_server', "pterodactylId" integer unique,
  "virtfusionId" integer unique, uuid text unique, "uuidShort" text, "externalId" text, "panelType" text default 'pterodactyl',
  "eggId" integer references eggs(id) on delete set null, name text not null, description text, status text default 'installing',
  "isSuspended" boolean default false, memory integer not null, disk integer not null, cpu integer not null,
  "productId" text, "ownerId" text not null references users(id) on delete cascade, "nodeId" integer references nodes(id) on delete restrict,
  config jsonb, ${STD});
create unique index "servers_externalId_key" on servers ("externalId");
insert into servers (id, uuid, "pterodactylId", name, "externalId", memory, disk, cpu, "ownerId", "nodeId", "productId") values
  ('sv1', 'uuid-1', 11, 'First', 'x-1', 1024, 2048, 100, 'u1', 1, 'gone'), ('sv2', 'uuid-2', 12, 'Second', 'x-2', 1, 1, 1, 'u3', 2, null);
create table allocations (
  id integer primary key, ip text not null, port integer not null, alias text, notes text, "isAssigned" boolean default false,
  "nodeId" integer not null references nodes(id) on delete cascade, "serverId" text references servers(id) on delete set null,
  ${STD}, constraint allocations_unique unique (ip, port));
insert into allocations (id, ip, port, "nodeId", "serverId") values (1, '10.0.0.1', 25565, 1, 'sv1'), (2, '10.0.0.1', 25566, 2, null);
create table server_databases (
  id text primary key, "serverId" text not null references servers(id) on delete cascade, host text not null, port integer default 3306,
  "databaseName" text not null, username text not null, password text not null, "maxConnections" integer default 100, ${STD});
insert into server_databases (id, "serverId", host, "databaseName", username, password) values ('d1', 'sv1', 'db', 's1_x', 'u', 'p');
create table config (id text primary key, key text not null unique, value text not null, description text, "isPublic" boolean default false, ${STD});
insert into config (id, key, value) values ('c1', 'site_name', 'Old');
`;

/** Without the web site's upgrade: old names in sync_logs, camelCase in the Hytale tables and egg_variables. */
export const LEGACY_CAMEL = `${COMMON}
create table egg_variables (
  id integer primary key, "eggId" integer not null references eggs(id) on delete cascade, name text not null, description text,
  "envVariable" text not null, "defaultValue" text, "userViewable" boolean default true, "userEditable" boolean default true,
  rules text, ${STD});
insert into egg_variables (id, "eggId", name, "envVariable", "defaultValue", "userEditable") values (1, 1, 'Port', 'PORT', '80', false);
create table sync_logs (
  id text primary key, "syncType" text not null, status text, "recordsTotal" integer, "recordsSynced" integer default 0,
  "recordsFailed" integer default 0, "startedAt" timestamp not null default current_timestamp, "completedAt" timestamp,
  "errorMessage" text, metadata jsonb);
create index idx_sync_logs_sync_type on sync_logs ("syncType");
insert into sync_logs (id, "syncType", status, "recordsTotal", "recordsSynced", "errorMessage", metadata) values
  ('l1', 'full', 'RUNNING', 7, 3, null, '{"step":"nodes"}'), ('l2', 'users', 'in_progress', null, 0, null, null),
  ('l3', 'nodes', 'cancelling', 1, 0, null, null), ('l4', 'full', 'COMPLETED', 9, 9, null, null),
  ('l5', 'full', 'Pending', 0, 0, null, null), ('l6', 'full', 'FAILED', 5, 1, 'boom', null);
create table hytale_oauth_tokens (
  id uuid primary key default gen_random_uuid(), "accountId" uuid not null unique, "accessToken" text not null, "refreshToken" text not null,
  "accessTokenExpiry" timestamp not null, "profileUuid" uuid, scope text not null default 'openid offline auth:server',
  "createdAt" timestamp not null default current_timestamp, "updatedAt" timestamp not null default current_timestamp, "lastRefreshedAt" timestamp);
insert into hytale_oauth_tokens ("accountId", "accessToken", "refreshToken", "accessTokenExpiry") values
  ('00000000-0000-0000-0000-000000000001', 'at', 'rt', '2026-01-01');
create table hytale_game_sessions (
  id uuid primary key default gen_random_uuid(), "accountId" uuid not null, "profileUuid" uuid not null, "serverId" text references servers(id) on delete cascade,
  "sessionToken" text not null, "identityToken" text not null, "expiresAt" timestamp not null,
  "createdAt" timestamp not null default current_timestamp, "updatedAt" timestamp not null default current_timestamp,
  constraint hytale_game_sessions_account_profile_key unique ("accountId", "profileUuid"));
create index idx_hytale_game_sessions_server_id on hytale_game_sessions ("serverId");
insert into hytale_game_sessions ("accountId", "profileUuid", "serverId", "sessionToken", "identityToken", "expiresAt", "createdAt") values
  ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', 'sv1', 'st', 'it', '0001-01-01', '2026-02-03 04:05:06');
create table hytale_audit_logs (
  id uuid primary key default gen_random_uuid(), "accountId" uuid not null references hytale_oauth_tokens("accountId") on delete cascade, "profileId" uuid,
  "eventType" varchar(50) not null, details text, "ipAddress" inet, "userAgent" text, "createdAt" timestamptz not null default current_timestamp,
  constraint check_valid_event_type check ("eventType" in ('TOKEN_CREATED', 'LEGACY_WORD')));
insert into hytale_audit_logs ("accountId", "eventType", "ipAddress") values ('00000000-0000-0000-0000-000000000001', 'LEGACY_WORD', '10.1.2.3');
create table hytale_server_logs (
  id bigserial primary key, "serverUuid" text not null references servers(uuid) on delete cascade, "accountId" varchar(255) not null,
  "logLine" text not null, "logTimestamp" timestamptz default now(), "createdAt" timestamptz default now());
insert into hytale_server_logs ("serverUuid", "accountId", "logLine") values ('uuid-1', 'a', 'hello');
create table server_subusers (
  id text primary key, "serverId" text not null references servers(id) on delete cascade, "userId" text not null references users(id) on delete cascade,
  permissions text[] default '{}', "isOwner" boolean default false, constraint server_subusers_unique unique ("serverId", "userId"));
insert into server_subusers (id, "serverId", "userId", permissions) values ('su1', 'sv1', 'u3', '{control.start}');
`;

/** With schema files that were executed by hand: snake_case names, both session columns, rows without a parent. */
export const LEGACY_SNAKE = `${COMMON}
create table egg_variables (
  id integer primary key, egg_id integer not null references eggs(id) on delete cascade, name text not null, description text,
  env_variable text not null, default_value text, user_viewable boolean default true, user_editable boolean default true, rules text,
  created_at timestamp not null default current_timestamp, updated_at timestamp not null default current_timestamp);
insert into egg_variables (id, egg_id, name, env_variable, default_value, user_editable) values (1, 1, 'Port', 'PORT', '80', false);
create table sync_logs (
  id text primary key, type text not null, status text default 'pending', "recordsTotal" integer, "itemsTotal" integer default 0,
  "itemsSynced" integer default 0, "itemsFailed" integer default 0, "errorMessage" text, "startedAt" timestamp not null default current_timestamp, "completedAt" timestamp, "durationSeconds" integer,
  error text, metadata jsonb, ${STD});
insert into sync_logs (id, type, status, "itemsTotal", "recordsTotal", "itemsSynced", "errorMessage") values
  ('l1', 'full', 'RUNNING', 0, 7, 3, null), ('l2', 'users', 'RUNNING', 0, null, 0, null), ('l3', 'nodes', 'pending', 0, 1, 0, null),
  ('l4', 'full', 'COMPLETED', 9, 8, 9, null), ('l5', 'full', 'in-progress', 0, null, 0, null), ('l6', 'full', 'FAILED', 5, 5, 1, 'boom');
create table hytale_oauth_tokens (
  id uuid primary key default gen_random_uuid(), account_id uuid not null unique, access_token text not null, refresh_token text not null,
  access_token_expiry timestamp not null, profile_uuid uuid, scope text not null default 'openid offline auth:server',
  created_at timestamp not null default current_timestamp, updated_at timestamp not null default current_timestamp, last_refreshed_at timestamp);
insert into hytale_oauth_tokens (account_id, access_token, refresh_token, access_token_expiry) values
  ('00000000-0000-0000-0000-000000000001', 'at', 'rt', '2026-01-01');
create table hytale_game_sessions (
  id uuid primary key default gen_random_uuid(), account_id uuid not null, profile_uuid uuid not null, server_id text,
  session_token text not null, identity_token text not null, expires_at timestamp not null,
  created_at timestamp not null default current_timestamp, updated_at timestamp not null default current_timestamp,
  "serverId" text references servers(id) on delete cascade,
  constraint hytale_game_sessions_account_profile_key unique (account_id, profile_uuid));
create index idx_hytale_game_sessions_server_id on hytale_game_sessions ("serverId");
insert into hytale_game_sessions (account_id, profile_uuid, server_id, "serverId", session_token, identity_token, expires_at, created_at) values
  ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000a', null, 'sv1', 'st', 'it', '0001-01-01', '2026-02-03 04:05:06'),
  ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000b', 'nowhere', null, 'st2', 'it2', '2026-05-05', '2026-02-03 04:05:06'),
  ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-00000000000c', 'sv2', 'sv1', 'st3', 'it3', '2026-05-05', '2026-02-03 04:05:06');
`;

import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { dropUnique, ensureForeignKey } from './schema/adopt.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable, tableExists } from './schema/table.ts';

const TABLES = [
  // memory and disk in MB, cpu in per cent (0 = no limit). Unit 04 adds the foreign key of "productId".
  // Deleting a user keeps their servers, because the panel still runs them.
  defineTable(
    'servers',
    `
    id text primary key
    "serverType" text not null default 'game_server'
    "pterodactylId" integer unique
    "virtfusionId" integer unique
    uuid text unique
    "uuidShort" text
    "externalId" text
    "panelType" text default 'pterodactyl'
    "eggId" integer references eggs (id) on delete set null
    "nestId" integer references nests (id) on delete set null
    name text not null
    description text
    status text default 'installing'
    "isSuspended" boolean default false
    memory integer default 0
    disk integer default 0
    cpu integer default 0
    "productId" text
    "ownerId" text references users (id) on delete set null
    "nodeId" integer references nodes (id) on delete set null
    config jsonb default '{}'
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    "installedAt" timestamp
    "lastSyncedAt" timestamp
    `,
    `
    idx_servers_uuid (uuid)
    idx_servers_pterodactyl_id ("pterodactylId")
    idx_servers_virtfusion_id ("virtfusionId")
    idx_servers_server_type ("serverType")
    idx_servers_panel_type ("panelType")
    idx_servers_owner_id ("ownerId")
    idx_servers_node_id ("nodeId")
    idx_servers_product_id ("productId")
    idx_servers_status (status)
    idx_servers_owner_type ("ownerId", "serverType")
    `,
  ),
  defineTable(
    'server_variables',
    `
    id text primary key
    "serverId" text not null references servers (id) on delete cascade
    "eggVariableId" integer not null references egg_variables (id) on delete cascade
    "variableValue" text not null
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    `
    idx_server_variables_server_id ("serverId")
    idx_server_variables_egg_variable_id ("eggVariableId")
    `,
  ),
  defineTable(
    'server_properties',
    `
    id text primary key
    "serverId" text not null references servers (id) on delete cascade
    key text not null
    value text not null
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    constraint server_properties_unique unique ("serverId", key)
    `,
    'idx_server_properties_server_id ("serverId")',
  ),
  // The panel's listing does not return passwords.
  defineTable(
    'server_databases',
    `
    id text primary key
    "serverId" text not null references servers (id) on delete cascade
    host text not null
    port integer default 3306
    "databaseName" text not null
    username text not null
    password text
    "maxConnections" integer default 100
    "pterodactylId" integer unique
    "hostId" integer
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    'idx_server_databases_server_id ("serverId")',
  ),
  defineTable(
    'server_backups',
    `
    id text primary key
    "serverId" text not null references servers (id) on delete cascade
    "fileName" text not null
    "fileSize" bigint
    "isSuccessful" boolean default true
    "failureReason" text
    locked boolean default false
    "createdAt" timestamp not null default current_timestamp
    "completedAt" timestamp
    "deletedAt" timestamp
    `,
    `
    idx_server_backups_server_id ("serverId")
    idx_server_backups_created_at ("createdAt")
    `,
  ),
];

/** Servers, and their variables, properties, databases and backups. */
export async function up(knex: Knex): Promise<void> {
  // An external id is the customer's own label; nothing makes it unique.
  if (await tableExists(knex, 'servers')) await dropUnique(knex, 'servers', ['externalId']);
  await ensureTables(knex, TABLES);
  await ensureForeignKey(knex, 'allocations', 'serverId', { table: 'servers', column: 'id', onDelete: 'set null' });
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

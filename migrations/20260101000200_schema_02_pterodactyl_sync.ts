import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { dropUnique } from './schema/adopt.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable, tableExists } from './schema/table.ts';

const TABLES = [
  // The unique constraint of the short code is not deferrable. The sync releases a code before another row gets it.
  defineTable(
    'locations',
    `
    id integer primary key
    "shortCode" text not null unique
    description text
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    'idx_locations_short_code ("shortCode")',
  ),
  // memory and disk in MB
  defineTable(
    'nodes',
    `
    id integer primary key
    uuid text not null unique
    name text not null
    description text
    fqdn text not null
    scheme text default 'https'
    "behindProxy" boolean default false
    "panelType" text default 'pterodactyl'
    memory bigint not null
    "memoryOverallocate" integer default 0
    disk bigint not null
    "diskOverallocate" integer default 0
    "isPublic" boolean default true
    "isMaintenanceMode" boolean default false
    "daemonListenPort" integer default 8080
    "daemonSftpPort" integer default 2022
    "daemonBase" text default '/var/lib/pterodactyl/volumes'
    "locationId" integer not null references locations (id) on delete cascade
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    `
    idx_nodes_uuid (uuid)
    idx_nodes_panel_type ("panelType")
    idx_nodes_location_id ("locationId")
    `,
  ),
  // Unit 03 adds the foreign key of "serverId", because it creates the referenced table.
  defineTable(
    'allocations',
    `
    id integer primary key
    ip text not null
    port integer not null
    alias text
    notes text
    "isAssigned" boolean default false
    "nodeId" integer not null references nodes (id) on delete cascade
    "serverId" text
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    constraint allocations_unique unique ("nodeId", ip, port)
    `,
    `
    idx_allocations_node_id ("nodeId")
    idx_allocations_server_id ("serverId")
    idx_allocations_ip_port (ip, port)
    `,
  ),
  defineTable(
    'nests',
    `
    id integer primary key
    uuid text not null unique
    name text not null
    description text
    author text
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    'idx_nests_uuid (uuid)',
  ),
  defineTable(
    'eggs',
    `
    id integer primary key
    uuid text not null unique
    name text not null
    description text
    author text
    "panelType" text default 'pterodactyl'
    "nestId" integer not null references nests (id) on delete cascade
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    `
    idx_eggs_uuid (uuid)
    idx_eggs_nest_id ("nestId")
    idx_eggs_panel_type ("panelType")
    `,
  ),
  defineTable(
    'egg_variables',
    `
    id integer primary key
    egg_id integer not null references eggs (id) on delete cascade
    name text not null
    description text
    env_variable text not null
    default_value text
    user_viewable boolean default true
    user_editable boolean default true
    rules text
    created_at timestamp not null default current_timestamp
    updated_at timestamp not null default current_timestamp
    `,
    'idx_egg_variables_egg_id (egg_id)',
  ),
  defineTable(
    'egg_properties',
    `
    id text primary key
    egg_id integer not null references eggs (id) on delete cascade
    key text not null
    value text not null
    panel_type text
    created_at timestamp not null default current_timestamp
    updated_at timestamp not null default current_timestamp
    constraint egg_properties_unique unique (egg_id, key, panel_type)
    `,
    `
    idx_egg_properties_egg_id (egg_id)
    idx_egg_properties_key (key)
    `,
  ),
];

/** The mirror of the panel's locations, nodes, allocations, nests and eggs. */
export async function up(knex: Knex): Promise<void> {
  // Nodes can have the same private addresses, so an address and port are unique per node only.
  if (await tableExists(knex, 'allocations')) await dropUnique(knex, 'allocations', ['ip', 'port']);
  await ensureTables(knex, TABLES);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

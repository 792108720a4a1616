import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

const TABLES = [
  defineTable(
    'server_subusers',
    `
    id text primary key
    "serverId" text not null references servers (id) on delete cascade
    "userId" text not null references users (id) on delete cascade
    permissions text[] default '{}'
    "accessLevel" text default 'user'
    "accessConfig" jsonb default '{}'
    "isOwner" boolean default false
    "addedAt" timestamp default current_timestamp
    "lastSyncedAt" timestamp
    constraint server_subusers_unique unique ("serverId", "userId")
    `,
    `
    idx_server_subusers_server ("serverId")
    idx_server_subusers_user ("userId")
    idx_server_subusers_owner ("isOwner") where "isOwner"
    idx_server_subusers_access_level ("accessLevel")
    `,
  ),
];

/** The users who may use a server: its owner and its subusers. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

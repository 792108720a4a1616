import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

const TABLES = [
  defineTable(
    'hytale_server_logs',
    `
    id bigserial primary key
    server_uuid text not null references servers (uuid) on delete cascade
    account_id varchar(255) not null
    log_line text not null
    log_timestamp timestamptz default current_timestamp
    created_at timestamptz default current_timestamp
    `,
    `
    idx_hytale_server_logs_server_uuid (server_uuid desc)
    idx_hytale_server_logs_created_at (created_at desc)
    idx_hytale_server_logs_server_created (server_uuid desc, created_at desc)
    idx_hytale_server_logs_account_id (account_id)
    `,
  ),
  defineTable(
    'hytale_log_sync_state',
    `
    id serial primary key
    server_uuid text not null unique references servers (uuid) on delete cascade
    last_sync_time timestamptz default current_timestamp
    last_line_id bigint default 0
    sync_status varchar(50) default 'pending'
    error_message text
    updated_at timestamptz default current_timestamp
    `,
    `
    idx_hytale_log_sync_state_server_uuid (server_uuid)
    idx_hytale_log_sync_state_status (sync_status)
    `,
  ),
];

/** Console lines of Hytale servers, and the position up to which they were read. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

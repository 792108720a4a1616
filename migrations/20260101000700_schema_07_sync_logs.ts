import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { closeInterruptedRuns } from './schema/sync-log-adoption.ts';
import { defineTable } from './schema/table.ts';

const TABLES = [
  defineTable(
    'sync_logs',
    `
    id text primary key
    type text not null
    status text default 'pending'
    "itemsTotal" integer default 0
    "itemsSynced" integer default 0
    "itemsFailed" integer default 0
    "startedAt" timestamp not null default current_timestamp
    "completedAt" timestamp
    "cancelledAt" timestamp
    "durationSeconds" integer
    error text
    metadata jsonb
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    `
    idx_sync_logs_type (type)
    idx_sync_logs_status (status)
    idx_sync_logs_created_at ("createdAt")
    idx_sync_logs_started_at ("startedAt")
    `,
  ),
];

/** One row per sync run. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw('drop index if exists idx_sync_logs_sync_type');
  await ensureTables(knex, TABLES);
  await closeInterruptedRuns(knex);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

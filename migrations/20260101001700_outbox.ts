import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable, ensureUuidFunction } from './schema/table.ts';

export const TABLES = [
  // Effects: decided in a transaction, executed after its commit. The payload contains only ids and states.
  defineTable(
    'outbox',
    `
    id uuid not null default gen_random_uuid() primary key
    kind text not null
    dedupe_key text not null unique
    payload jsonb not null default '{}'
    status text not null default 'pending'
    attempts integer not null default 0
    last_error text
    created_at timestamptz not null default current_timestamp
    available_at timestamptz not null default current_timestamp
    dispatched_at timestamptz
    `,
    'idx_outbox_status_available_at (status, available_at)',
  ),
];

/** Effects that wait to be dispatched. */
export async function up(knex: Knex): Promise<void> {
  await ensureUuidFunction(knex);
  await ensureTables(knex, TABLES);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

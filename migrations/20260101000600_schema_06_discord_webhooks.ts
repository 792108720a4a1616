import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

const TABLES = [
  defineTable(
    'discord_webhooks',
    `
    id text primary key
    name text not null
    "webhookUrl" text not null
    type text not null default 'SYSTEM'
    scope text not null default 'ADMIN'
    description text
    enabled boolean not null default true
    "testSuccessAt" timestamp
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    `
    idx_discord_webhooks_type (type)
    idx_discord_webhooks_scope (scope)
    idx_discord_webhooks_enabled (enabled)
    `,
  ),
];

/** Discord webhooks. The URL of a webhook is a secret. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

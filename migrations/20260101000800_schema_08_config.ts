import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable, ensureUuidFunction } from './schema/table.ts';

const TABLES = [
  defineTable(
    'config',
    `
    id text default gen_random_uuid()::text primary key
    key text not null unique
    value text not null
    description text
    "isPublic" boolean default false
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    `
    idx_config_key (key)
    `,
  ),
];

/** Settings that are stored in the database. */
export async function up(knex: Knex): Promise<void> {
  await ensureUuidFunction(knex);
  await ensureTables(knex, TABLES);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

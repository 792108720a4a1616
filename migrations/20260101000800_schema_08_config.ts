import type { Knex } from 'knex';
import { dropTables, ensureTables } from './schema/ensure.ts';
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

/** Drops the tables with all rows, also tables that were adopted. */
export async function down(knex: Knex): Promise<void> {
  await dropTables(knex, TABLES);
}

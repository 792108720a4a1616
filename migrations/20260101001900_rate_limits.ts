import type { Knex } from 'knex';
import { dropTables, ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

const TABLES = [
  // Token buckets, one row a limiter and identity; keys are digests of bounded length, never an address in clear.
  defineTable(
    'rate_limits',
    `
    key text not null primary key
    tokens double precision not null
    capacity double precision not null
    refill_per_second double precision not null
    allowed boolean not null default true
    updated_at timestamptz not null default current_timestamp
    `,
    'idx_rate_limits_updated_at (updated_at)',
  ),
];

/** Rate limits shared by all copies of the api. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops the table: every bucket is full again. */
export async function down(knex: Knex): Promise<void> {
  await dropTables(knex, TABLES);
}

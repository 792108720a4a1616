import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

// No foreign keys: a sync that deletes servers never waits for a reader, and rows without a server are purged.
export const TABLES = [
  // What the node of a server said last. `asked_until`: a process reads it now; `paused_until`: it is not asked before.
  defineTable(
    'server_usage',
    `
    server_id text primary key
    state text
    memory_mb integer
    cpu_percent double precision
    disk_mb integer
    read_at timestamptz
    asked_until timestamptz
    paused_until timestamptz
    `,
  ),
  // Nodes whose daemon does not answer: their servers are not asked before that time.
  defineTable(
    'node_usage_pauses',
    `
    node_id integer primary key
    paused_until timestamptz not null
    `,
  ),
  // What all processes together ask of one panel, known by a digest of its address and client key: the limit that it
  // announced, the requests of the last minute, and the end of a pause.
  defineTable(
    'usage_budget',
    `
    panel text primary key
    request_limit integer
    asked timestamptz[] not null default '{}'
    paused_until timestamptz
    `,
  ),
];

/** Live state and figures of servers, and what is spent on reading them. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops the tables: every live state is unknown again. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

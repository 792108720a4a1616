import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

// No foreign keys: a sync that deletes servers never waits for a writer of lines; rows without a server are purged.
export const TABLES = [
  // What is known of the console of a server beside its lines. A transaction that stores lines locks this row, so lines are stored by one
  // at a time. `pushed_at`, `pulled_at`: when the node daemon sent lines last, and when the panel was asked last. `pulled_since_id`: the
  // first of the last stored lines that were pulled, with times that are ours; null: the last line was pushed.
  // `clock_ahead_ms`: how far the clock of the node was ahead of ours at least. `untimed_digest`, `untimed_at`: the last batch of lines
  // without times, by which its repetition is known.
  defineTable(
    'hytale_consoles',
    `
    server_uuid text primary key
    pushed_at timestamptz
    pulled_at timestamptz
    pulled_since_id bigint
    clock_ahead_ms double precision
    untimed_digest text
    untimed_at timestamptz
    failures integer not null default 0
    next_pull_at timestamptz
    `,
  ),
  // Between two lines of a server, lines are missing. `after_id`: the line before; null: it is not known any more.
  defineTable(
    'hytale_log_gaps',
    `
    id bigserial primary key
    server_uuid text not null
    after_id bigint
    before_id bigint not null
    reason text not null
    found_at timestamptz not null default current_timestamp
    `,
    `
    idx_hytale_log_gaps_server (server_uuid, before_id desc)
    idx_hytale_log_gaps_found (found_at)
    `,
  ),
  // When the last turn to call Hytale is: calls that timers cause take turns, so that an outage does not end in a flood.
  defineTable(
    'hytale_pace',
    `
    environment text primary key
    turn_at timestamptz not null
    `,
  ),
];

// The order of the lists: the time of a line, then its id. Of the present indexes of the site, none has that time.
const ORDER = `
update hytale_server_logs set log_timestamp = coalesce(created_at, now()) where log_timestamp is null;
create index if not exists idx_hytale_server_logs_line_order on hytale_server_logs (server_uuid, log_timestamp desc, id desc);`;

// Requests of the last minute that pulls of consoles and pushes of tokens made with the client key of the panel.
const BUDGET = `alter table usage_budget add column if not exists hytale_asked timestamptz[] not null default '{}';`;

/** Consoles of Hytale servers: where their stored lines end, what is missing, and what reading them costs the panel. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
  await knex.raw(ORDER);
  await knex.raw(BUDGET);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

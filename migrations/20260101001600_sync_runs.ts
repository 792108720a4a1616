import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { closeInterruptedRuns } from './schema/sync-log-adoption.ts';
import { defineTable } from './schema/table.ts';

export const TABLES = [
  // One row per page that was read from the panel. Not UNLOGGED: crash recovery empties an unlogged table, and a prune
  // with an empty staging table would delete the mirror. `json`, not `jsonb`: it is written once and read once.
  defineTable(
    'sync_pages',
    `
    log_id text not null references sync_logs (id) on delete cascade
    source text not null
    page integer not null
    entity text not null
    source_id integer
    parent_id integer
    has_gaps boolean not null default false
    pass integer not null
    rows integer not null
    total integer
    per_page integer
    body json not null
    rejects json not null default '[]'
    unreadable integer not null default 0
    missing json not null default '[]'
    fetched_at timestamptz not null default current_timestamp
    `,
  ),
  // The request of a run, the workflow run that executes it, and the result of its last merge.
  defineTable(
    'sync_runs',
    `
    log_id text primary key references sync_logs (id) on delete cascade
    options jsonb not null default '{}'
    workflow_run_id text
    opened_at timestamptz
    applied_key text
    applied jsonb
    `,
  ),
  // Rejected records. `detail` names a column and a rule, never the value.
  defineTable(
    'sync_failures',
    `
    log_id text not null references sync_logs (id) on delete cascade
    entity text not null
    panel_id text not null
    code text not null
    detail text
    primary key (log_id, entity, panel_id, code)
    `,
  ),
];

/** Working tables of the sync, and the rule that at most one run is active. */
export async function up(knex: Knex): Promise<void> {
  await closeInterruptedRuns(knex);
  await knex.raw(`
    create unique index if not exists sync_logs_one_active on sync_logs ((true)) where status in ('PENDING', 'RUNNING')`);
  // With half-full pages the many progress updates of a row stay on its page and need no index writes (HOT updates).
  await knex.raw('alter table sync_logs set (fillfactor = 50)');
  await ensureTables(knex, TABLES);
}

/** Drops the working tables. The logs stay. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
  await knex.raw('alter table sync_logs reset (fillfactor)');
}

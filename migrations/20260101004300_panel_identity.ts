import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { attempt, defineTable } from './schema/table.ts';

export const TABLES = [
  // Rows of the mirror that a listing of the panel did not contain. `alive`: what the panel said of the row; null: it was not asked yet.
  // `parent_id`: of an allocation, its node. `uuid`, `port`: by what the panel is asked.
  defineTable(
    'sync_missing',
    `
    log_id text not null references sync_logs (id) on delete cascade
    entity text not null
    panel_id integer not null
    parent_id integer
    uuid text
    port integer
    alive boolean
    primary key (log_id, entity, panel_id)
    `,
  ),
  // Ways to read a listing that worked after the usual one had failed: the next run begins with them. `panel` is the fingerprint of the
  // panel's address and keys.
  defineTable(
    'sync_fallbacks',
    `
    panel text not null
    listing text not null
    way text not null
    noted_at timestamptz not null default current_timestamp
    primary key (panel, listing)
    `,
  ),
];

const LIMITS = ['memory', 'disk', 'cpu'];

/** What a sync recognizes rows by: the panel's uuid of a user, the panel that a run reads; and limits beyond int4. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`alter table users add column if not exists "pterodactylUuid" text`);
  await knex.raw(
    `create unique index if not exists users_pterodactyl_uuid_unique on users ("pterodactylUuid") where "pterodactylUuid" is not null`,
  );
  // A view of the site over a column forbids the change: then the database refuses servers with larger limits.
  for (const column of LIMITS) await attempt(knex, `alter table servers alter column ${column} type bigint`);
  await knex.raw('alter table sync_runs add column if not exists panel text');
  await ensureTables(knex, TABLES);
}

/** Drops what was added. Limits go back to int4 where all values fit. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
  for (const column of LIMITS) await attempt(knex, `alter table servers alter column ${column} type integer`);
}

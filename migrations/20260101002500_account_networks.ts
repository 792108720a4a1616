import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

export const TABLES = [
  // The networks from which an account was signed in to, as keyed digests: without the key they say nothing of a person.
  defineTable(
    'account_networks',
    `
    user_id text not null references users (id) on delete cascade
    digest text not null
    first_seen timestamptz not null default current_timestamp
    last_seen timestamptz not null default current_timestamp
    primary key (user_id, digest)
    `,
    'idx_account_networks_last_seen (last_seen)',
  ),
];

/** The networks that an account is known from. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops the table: every network is unknown again. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

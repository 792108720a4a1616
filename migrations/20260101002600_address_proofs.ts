import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

export const TABLES = [
  // Accounts that were registered on the site and whose address was never proven. Only these lapse: accounts from before
  // this table have no row.
  defineTable(
    'pending_accounts',
    `
    user_id text primary key references users (id) on delete cascade
    registered_at timestamptz not null default current_timestamp
    `,
    'idx_pending_accounts_registered_at (registered_at)',
  ),
  // Digests of verification links that were used a short time ago, so that the site may send one again.
  defineTable(
    'used_tokens',
    `
    token text primary key
    user_id text not null references users (id) on delete cascade
    used_at timestamptz not null default current_timestamp
    `,
    `
    idx_used_tokens_user_id (user_id)
    idx_used_tokens_used_at (used_at)
    `,
  ),
  // Panel users that have the address of an account: those that got the account by it, and those that wait until the
  // address of the account is proven.
  defineTable(
    'panel_address_matches',
    `
    user_id text not null references users (id) on delete cascade
    panel_user_id integer not null
    matched_at timestamptz not null default current_timestamp
    primary key (user_id, panel_user_id)
    `,
  ),
];

/** What is remembered about the proof of an address. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops the tables. Accounts and their panel users stay as they are. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

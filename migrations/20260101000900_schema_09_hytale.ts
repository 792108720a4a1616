import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable, ensureUuidFunction } from './schema/table.ts';

const TABLES = [
  defineTable(
    'hytale_oauth_tokens',
    `
    id uuid default gen_random_uuid() primary key
    account_id uuid not null unique
    access_token text not null
    refresh_token text not null
    access_token_expiry timestamp not null
    profile_uuid uuid
    scope text not null default 'openid offline auth:server'
    created_at timestamp not null default current_timestamp
    updated_at timestamp not null default current_timestamp
    last_refreshed_at timestamp
    `,
    `
    idx_hytale_oauth_tokens_account_id (account_id)
    idx_hytale_oauth_tokens_access_token_expiry (access_token_expiry)
    `,
  ),
  // Unit 13 adds the foreign key and the index of server_id.
  defineTable(
    'hytale_game_sessions',
    `
    id uuid default gen_random_uuid() primary key
    account_id uuid not null
    profile_uuid uuid not null
    server_id text
    session_token text not null
    identity_token text not null
    expires_at timestamp not null
    status text default 'active'
    ip_address inet
    user_agent text
    created_at timestamp not null default current_timestamp
    updated_at timestamp not null default current_timestamp
    constraint hytale_game_sessions_account_profile_key unique (account_id, profile_uuid)
    `,
    `
    idx_hytale_game_sessions_account_id (account_id)
    idx_hytale_game_sessions_expires_at (expires_at)
    `,
  ),
];

/** Hytale provider accounts and game sessions. */
export async function up(knex: Knex): Promise<void> {
  await ensureUuidFunction(knex);
  await ensureTables(knex, TABLES);
  // The earlier service stored the zero date. A session lives one hour.
  await knex.raw(
    "update hytale_game_sessions set expires_at = coalesce(created_at, now() at time zone 'utc') + interval '1 hour' where expires_at < timestamp '0002-01-01'",
  );
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

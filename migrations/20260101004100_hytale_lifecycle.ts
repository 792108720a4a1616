import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable, ensureUuidFunction } from './schema/table.ts';

export const TABLES = [
  // One device login. `account_id`: the account that the caller named; null: any account can approve it. `owner_id`: the account that
  // approved it. `code_hash`: SHA-256 of the device code, by which a caller asks. The tokens wait here until the owner is known.
  defineTable(
    'hytale_logins',
    `
    id uuid not null default gen_random_uuid() primary key
    environment text not null
    account_id uuid
    owner_id uuid
    status text not null default 'requested'
    code_hash text
    device_code text not null default ''
    user_code text
    verification_uri text
    verification_uri_complete text
    interval_seconds integer not null default 5
    expires_in_seconds integer
    expires_at timestamptz
    next_at timestamptz
    polls integer not null default 0
    failures integer not null default 0
    error text
    reason text
    access_token text not null default ''
    refresh_token text not null default ''
    access_expires_at timestamptz
    scope text
    requested_by text not null
    ip_address inet
    user_agent text
    created_at timestamptz not null default current_timestamp
    updated_at timestamptz not null default current_timestamp
    ended_at timestamptz
    `,
    `
    idx_hytale_logins_code (code_hash) where code_hash is not null
    idx_hytale_logins_created (created_at desc, id desc)
    `,
  ),
];

// `environment` is null in rows of the earlier service: the first worker takes them for its own. `ip_address` and `user_agent`:
// who asked last, for the audit of what the workflow then does.
const COLUMNS = `
alter table hytale_oauth_tokens
  add column if not exists environment text,
  add column if not exists status text not null default 'active',
  add column if not exists reason text,
  add column if not exists profiles jsonb,
  add column if not exists token_type text not null default 'Bearer',
  add column if not exists refresh_version integer not null default 1,
  add column if not exists refresh_lease_until timestamptz,
  add column if not exists refresh_sent_version integer,
  add column if not exists failures integer not null default 0,
  add column if not exists next_at timestamptz,
  add column if not exists ip_address inet,
  add column if not exists user_agent text;
alter table hytale_game_sessions
  add column if not exists environment text,
  add column if not exists reason text,
  add column if not exists version integer not null default 0,
  add column if not exists wanted_version integer not null default 1,
  add column if not exists failures integer not null default 0,
  add column if not exists recreations integer not null default 0,
  add column if not exists auth_refused_version integer,
  add column if not exists next_at timestamptz,
  add column if not exists refreshed_at timestamptz,
  add column if not exists linked_at timestamptz,
  add column if not exists push_status text not null default 'none',
  add column if not exists push_reason text,
  add column if not exists pushed_version integer,
  add column if not exists pushed_variables text[],
  add column if not exists pushed_at timestamptz,
  add column if not exists push_failures integer not null default 0,
  add column if not exists restart_wanted boolean not null default false;
create index if not exists idx_hytale_game_sessions_status on hytale_game_sessions (account_id, status);`;

// Several sessions may live on one profile: one for each server, and one of none. No key says so, because an adopted
// database can have rows that it would refuse: creations take turns instead.
const SEVERAL_PER_PROFILE =
  'alter table hytale_game_sessions drop constraint if exists hytale_game_sessions_account_profile_key';

/**
 * The lifecycle of Hytale accounts and game sessions: states, versions of their tokens, next steps. `version` of a session
 * counts its pairs; `wanted_version` is above it while a fresh pair is wanted. `refresh_sent_version` of an account is the
 * version of the refresh token that was sent last.
 */
export async function up(knex: Knex): Promise<void> {
  await ensureUuidFunction(knex);
  await ensureTables(knex, TABLES);
  await knex.raw(COLUMNS);
  await knex.raw(`
    update hytale_game_sessions set version = 1, linked_at = case when server_id is null then null else now() end
     where session_token <> '' and version = 0;
    update hytale_game_sessions set status = 'active' where status is null or status in ('created', 'terminated');`);
  await knex.raw(SEVERAL_PER_PROFILE);
}

/** Drops what `up` created, where one profile has one session again; the other sessions keep the rows of both. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
  const { rows } = await knex.raw<{ rows: unknown[] }>(
    'select 1 from hytale_game_sessions group by account_id, profile_uuid having count(*) > 1 limit 1',
  );
  if (rows.length > 0) return;
  await knex.raw(
    'alter table hytale_game_sessions add constraint hytale_game_sessions_account_profile_key unique (account_id, profile_uuid)',
  );
}

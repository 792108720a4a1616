import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { query } from '../src/store/db/query.ts';
import { dropForeignKey } from './schema/adopt.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable, ensureUuidFunction } from './schema/table.ts';

// No foreign key on account_id: audit rows outlive their account, and AUTH_FAILED happens before an account exists.
const TABLES = [
  defineTable(
    'hytale_audit_logs',
    `
    id uuid default gen_random_uuid() primary key
    account_id uuid not null
    profile_id uuid
    event_type varchar(50) not null
    details text
    ip_address inet
    user_agent text
    created_at timestamptz not null default current_timestamp
    `,
    `
    idx_hytale_audit_account_id (account_id)
    idx_hytale_audit_event_type (event_type)
    idx_hytale_audit_created_at (created_at desc)
    idx_hytale_audit_account_created (account_id, created_at desc)
    `,
  ),
];

const EVENT_TYPES = [
  'TOKEN_CREATED',
  'TOKEN_REFRESHED',
  'TOKEN_DELETED',
  'AUTH_FAILED',
  'SESSION_CREATED',
  'SESSION_REFRESHED',
  'SESSION_DELETED',
  'PROFILE_SELECTED',
];

/** The audit trail of Hytale accounts. */
export async function up(knex: Knex): Promise<void> {
  await ensureUuidFunction(knex);
  await ensureTables(knex, TABLES);
  await dropForeignKey(knex, 'hytale_audit_logs', 'account_id', 'hytale_oauth_tokens');
  const found = await query<{ definition: string }>(
    knex,
    `select pg_get_constraintdef(oid) as definition from pg_constraint
      where conrelid = to_regclass('hytale_audit_logs') and conname = 'check_valid_event_type'`,
  );
  if (found.some(({ definition }) => EVENT_TYPES.every((type) => definition.includes(`'${type}'`)))) return;
  // Not validated, because old rows may contain other values.
  await knex.raw(
    `alter table hytale_audit_logs drop constraint if exists check_valid_event_type;
     alter table hytale_audit_logs add constraint check_valid_event_type
       check (event_type in (${EVENT_TYPES.map((type) => `'${type}'`).join(', ')})) not valid`,
  );
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

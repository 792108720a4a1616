import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

export const TABLES = [
  // `data` is the encrypted template data; its links carry one-time tokens. It is cleared when the email was sent.
  defineTable(
    'emails',
    `
    id uuid not null default gen_random_uuid() primary key
    template text not null
    recipient text not null
    user_id text
    subject text
    data text
    status text not null default 'queued'
    attempts integer not null default 0
    last_error text
    transport text
    provider_id text
    resent_from uuid
    token_expires_at timestamptz
    created_at timestamptz not null default current_timestamp
    updated_at timestamptz not null default current_timestamp
    sent_at timestamptz
    `,
    `
    idx_emails_created_at (created_at desc, id desc)
    idx_emails_status (status, created_at desc)
    idx_emails_user_id (user_id)
    idx_emails_resent_from (resent_from) where resent_from is not null
    `,
  ),
];

/** Requested emails and their state. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/**
 * The time before which no access token without a session is accepted, and the index by which each request looks for
 * the session of its token.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`alter table users add column if not exists "tokensValidFrom" timestamp;
    create index if not exists idx_sessions_family_id on sessions ("familyId");`);
}

/** Drops both. A release that does not know the column accepts ended tokens again. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

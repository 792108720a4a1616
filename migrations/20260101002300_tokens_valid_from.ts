import type { Knex } from 'knex';

/**
 * The time before which no access token without a session is accepted, and the index by which each request looks for
 * the session of its token.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`alter table users add column if not exists "tokensValidFrom" timestamp;
    create index if not exists idx_sessions_family_id on sessions ("familyId");`);
}

/** Drops both. Tokens that were ended are accepted again by a release that does not know the column. */
export async function down(knex: Knex): Promise<void> {
  await knex.raw(
    `drop index if exists idx_sessions_family_id; alter table users drop column if exists "tokensValidFrom"`,
  );
}

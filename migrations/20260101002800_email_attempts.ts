import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/**
 * What the attempts of an email have left: since when it waits for the operator; how many attempts may have been accepted
 * without an answer, since when, and what they sent (encrypted); how many were certainly refused.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    alter table emails
      add column if not exists held_since timestamptz,
      add column if not exists doubts integer not null default 0,
      add column if not exists doubted_since timestamptz,
      add column if not exists content text,
      add column if not exists refusals integer not null default 0`);
}

/** Drops the columns. An attempt that was accepted without an answer may then be repeated with other content. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

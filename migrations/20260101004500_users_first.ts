import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/**
 * Counts of the accounts that a merge wrote before the rest, with the key of the merge: `{key, changed, unlinked}`. Without
 * them, a merge that is repeated after a crash would report these accounts as unchanged.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw('alter table sync_runs add column if not exists users_first jsonb');
}

/** Drops the column. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

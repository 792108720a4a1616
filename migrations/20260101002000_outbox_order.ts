import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/** Adds a number to the rows, so that they are dispatched in the order of writing. Times may be equal. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`alter table outbox add column if not exists seq bigint generated always as identity;
    create index if not exists idx_outbox_pending on outbox (seq) where status = 'pending';`);
}

/** Drops the number. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/** Stores a page's record ids beside its body, so that the check for a complete listing need not read the bodies. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`alter table sync_pages add column if not exists ids integer[] not null default '{}'`);
}

/** Drops the column. A running sync reads its listings again. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/**
 * The id of a server's primary allocation, as the panel names it. No foreign key: the panel may name an allocation that is
 * not mirrored.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`alter table servers add column if not exists "primaryAllocationId" integer`);
}

/** Drops the column: the allocation with the lowest id is shown again. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

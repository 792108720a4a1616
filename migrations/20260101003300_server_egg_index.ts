import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/** The index by which the servers of an egg are counted. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw('create index if not exists idx_servers_egg_id on servers ("eggId")');
}

/** Drops the index. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

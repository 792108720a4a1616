import type { Knex } from 'knex';

/** Ids of a page's own records beside its body: whether a listing is whole is asked without reading every body. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`alter table sync_pages add column if not exists ids integer[] not null default '{}'`);
}

/** Drops the column; a sync that is running reads its listings again. */
export async function down(knex: Knex): Promise<void> {
  await knex.raw('alter table sync_pages drop column if exists ids');
}

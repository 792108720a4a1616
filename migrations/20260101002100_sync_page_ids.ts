import type { Knex } from 'knex';

/** Stores a page's record ids beside its body, so that the check for a complete listing need not read the bodies. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`alter table sync_pages add column if not exists ids integer[] not null default '{}'`);
}

/** Drops the column. A running sync reads its listings again. */
export async function down(knex: Knex): Promise<void> {
  await knex.raw('alter table sync_pages drop column if exists ids');
}

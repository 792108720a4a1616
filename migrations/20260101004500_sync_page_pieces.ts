import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/**
 * Stores how many records a listing had when a fallback of it was noted; and lets a page be staged beside its parts, which
 * are pages of another size.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw('alter table sync_fallbacks add column if not exists total integer not null default 0');
  await knex.raw('update sync_pages set per_page = 0 where per_page is null');
  await knex.raw(`create unique index if not exists sync_pages_piece_key on sync_pages
    (log_id, source, coalesce(source_id, -1), per_page, page, entity, coalesce(parent_id, -1))`);
  await knex.raw('drop index if exists sync_pages_key');
}

/** Keeps whole pages only. A running sync reads the others again. */
export async function down(knex: Knex): Promise<void> {
  await knex.raw(`delete from sync_pages p using sync_pages whole where whole.log_id = p.log_id and whole.source = p.source
    and whole.source_id is not distinct from p.source_id and whole.per_page > p.per_page`);
  await knex.raw(`create unique index if not exists sync_pages_key on sync_pages
    (log_id, source, coalesce(source_id, -1), page, entity, coalesce(parent_id, -1))`);
  await dropCreated(knex);
}

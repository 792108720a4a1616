import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/**
 * A staged page says in columns what it is of: `source_id`: node, nest or batch that a source reads, null for a listing;
 * `parent_id`: node, nest or server whose list the rows are, null where they are of several; `has_gaps`: that list is not
 * whole. Answers about missing rows stand in sync_missing.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`alter table sync_pages add column if not exists source_id integer, add column if not exists parent_id integer,
    add column if not exists has_gaps boolean not null default false`);
  // A database of an earlier release has `part`: the parent's id, negative for a list with gaps, 0 for none.
  await knex.raw(`do $$ begin
    if exists (select 1 from pg_attribute where attrelid = 'sync_pages'::regclass and attname = 'part' and not attisdropped) then
      delete from sync_pages where source = 'gone';
      update sync_pages set parent_id = abs(part), has_gaps = part < 0 where part <> 0;
      update sync_pages set source_id = split_part(source, ':', 2)::integer, source = split_part(source, ':', 1) where source like '%:%';
      alter table sync_pages drop constraint if exists sync_pages_pkey, drop column part;
    end if;
  end $$`);
  await knex.raw(`create unique index if not exists sync_pages_key on sync_pages
    (log_id, source, coalesce(source_id, -1), page, entity, coalesce(parent_id, -1))`);
}

/** Names sources and lists as before. */
export async function down(knex: Knex): Promise<void> {
  await knex.raw('alter table sync_pages add column part integer not null default 0');
  await knex.raw(
    `update sync_pages set part = case when has_gaps then -parent_id else parent_id end where parent_id is not null`,
  );
  await knex.raw(`update sync_pages set source = source || ':' || source_id where source_id is not null`);
  await knex.raw('alter table sync_pages add primary key (log_id, source, page, entity, part)');
  await dropCreated(knex);
}

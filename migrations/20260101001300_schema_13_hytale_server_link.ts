import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureForeignKey } from './schema/adopt.ts';

/** Adds the foreign key from Hytale game sessions to servers. Unit 09 has merged the two columns of older databases. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(
    `update hytale_game_sessions g set server_id = null
      where g.server_id is not null and not exists (select 1 from servers s where s.id::text = g.server_id::text)`,
  );
  await ensureForeignKey(knex, 'hytale_game_sessions', 'server_id', {
    table: 'servers',
    column: 'id',
    onDelete: 'set null',
  });
  await knex.raw('create index if not exists idx_hytale_game_sessions_server_id on hytale_game_sessions (server_id)');
}

/** Drops the foreign key. The column belongs to unit 09 and keeps its values. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

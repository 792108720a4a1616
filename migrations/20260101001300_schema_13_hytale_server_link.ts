import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureForeignKey } from './schema/adopt.ts';

/** Adds the foreign key from Hytale game sessions to servers. Unit 09 has merged the two columns of older databases. */
export async function up(knex: Knex): Promise<void> {
  // A session that names a server which is gone keeps what it says: the key holds for new and changed rows.
  await ensureForeignKey(knex, 'hytale_game_sessions', 'server_id', {
    table: 'servers',
    column: 'id',
    onDelete: 'set null',
  });
  // The former column, where it had to stay, keeps its index, under another name.
  await knex.raw(
    `do $$ begin
       if exists (select 1 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
                   where i.indexrelid = to_regclass('idx_hytale_game_sessions_server_id') and a.attname = 'serverId') then
         alter index idx_hytale_game_sessions_server_id rename to idx_hytale_game_sessions_former_server_id;
       end if;
     end $$`,
  );
  await knex.raw('create index if not exists idx_hytale_game_sessions_server_id on hytale_game_sessions (server_id)');
}

/** Drops the foreign key. The column belongs to unit 09 and keeps its values. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}

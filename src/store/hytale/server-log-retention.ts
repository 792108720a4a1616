/** Deletes what is left of consoles: lines past their retention, gaps without lines, consoles without a server. */
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

export interface DeletedLines {
  rows: number;
  /** When the last of them was stored; null: there was none. */
  reached: Date | null;
}

/**
 * Deletes lines that were stored more than `days` ago, the oldest first.
 * @param batch maximum number of rows
 * @param from what the batch before reached: without it, each batch would read all entries of the index that the batches before have
 *   deleted, while an old transaction, such as a backup, keeps them.
 */
export async function purgeServerLogs(
  db: Db,
  { days, batch, from }: { days: number; batch: number; from: Date | null },
): Promise<DeletedLines> {
  const [row] = await query<DeletedLines>(
    db,
    `with deleted as (
       delete from hytale_server_logs where id = any (array(
         select l.id from hytale_server_logs l
          where l.created_at < now() - make_interval(days => ?) and l.created_at >= coalesce(?::timestamptz, '-infinity')
          order by l.created_at limit ?))
       returning created_at)
     select count(*)::int as rows, max(created_at) as reached from deleted`,
    [days, from, batch],
  );
  return row ?? { rows: 0, reached: null };
}

/**
 * Gives lines that do not say when they were stored a time from which their retention counts. This service stores none; a row of
 * another writer may have an explicit null. @returns number of rows.
 */
export const dateServerLogs = (db: Db, batch: number): Promise<number> =>
  execute(
    db,
    `update hytale_server_logs set created_at = least(log_timestamp, now()) where id = any (array(
       select l.id from hytale_server_logs l where l.created_at is null limit ?))`,
    [batch],
  );

/** Deletes gaps whose end is not stored any more. @returns number of rows. */
export const purgeLogGaps = (db: Db, batch: number): Promise<number> =>
  execute(
    db,
    `delete from hytale_log_gaps where id = any (array(
       select g.id from hytale_log_gaps g
        where not exists (select 1 from hytale_server_logs l where l.id = g.before_id) limit ?))`,
    [batch],
  );

/** Deletes what is known of consoles whose server is gone. @returns number of rows. */
export const purgeConsoles = (db: Db, batch: number): Promise<number> =>
  execute(
    db,
    `delete from hytale_consoles where server_uuid = any (array(
       select c.server_uuid from hytale_consoles c
        where not exists (select 1 from servers s where s.uuid = c.server_uuid) limit ?))`,
    [batch],
  );

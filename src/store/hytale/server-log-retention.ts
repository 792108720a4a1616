/** Deletes what is left of consoles: lines past their retention, gaps without lines, consoles without a server. */
import type { Db } from '../db/db.ts';
import { execute } from '../db/query.ts';

/**
 * Deletes lines that were stored more than `days` ago, the oldest first.
 * @param batch maximum number of rows
 * @returns number of rows; fewer than `batch` when no such row is left.
 */
export const purgeServerLogs = (db: Db, days: number, batch: number): Promise<number> =>
  execute(
    db,
    `delete from hytale_server_logs where id = any (array(
       select l.id from hytale_server_logs l where l.created_at < now() - make_interval(days => ?) order by l.created_at limit ?))`,
    [days, batch],
  );

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

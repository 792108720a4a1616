/** What the panel said of rows that a listing did not contain (`sync_missing`). */
import { AppError } from '../../domain/errors.ts';
import type { Entity } from '../../domain/sync/targets.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/**
 * Stores answers of the panel.
 * @param input `alive`: the panel knows the row.
 * @returns `cancelled` when the run is being cancelled: nothing was stored.
 * @throws {AppError} RUN_CLOSED when the log row is not RUNNING any more.
 */
export async function storeAnswers(
  db: Db,
  input: { logId: string; entity: Entity; answers: readonly { panelId: number; alive: boolean }[] },
): Promise<'stored' | 'cancelled'> {
  const [result] = await query<{ open: boolean | null }>(
    db,
    `with fence as (
       select "cancelledAt" is null as open from sync_logs where id = ? and status = 'RUNNING' for key share
     ), stored as (
       insert into sync_missing (log_id, entity, panel_id, alive)
       select ?, ?, x."panelId", x.alive from json_to_recordset(?::json) as x ("panelId" int, alive boolean), fence where fence.open
       on conflict (log_id, entity, panel_id) do update set alive = excluded.alive
     ) select (select open from fence) as open`,
    [input.logId, input.logId, input.entity, JSON.stringify(input.answers)],
  );
  if (result?.open === null || result === undefined) throw new AppError('RUN_CLOSED');
  return result.open ? 'stored' : 'cancelled';
}

/** Writes what became of the pulls of consoles. Lines are stored by {@link ./server-log-store.ts}. */
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import type { Db } from '../db/db.ts';
import { execute } from '../db/query.ts';
import { HAS_SESSION } from './pull-reads.ts';

/** Takes a console for one pull. @returns false: the server is gone, or its console was taken after `asked`. */
export async function takeConsole(
  db: Db,
  serverUuid: string,
  { now, asked }: { now: Date; asked: Date },
): Promise<boolean> {
  const taken = await execute(
    db,
    `insert into hytale_consoles as c (server_uuid, pulled_at) select s.uuid, ? from servers s where s.uuid = ?
     on conflict (server_uuid) do update set pulled_at = excluded.pulled_at where coalesce(c.pulled_at <= ?, true)`,
    [now, serverUuid, asked],
  );
  return taken > 0;
}

/** The console was read. */
export const endPullFailures = (db: Db, serverUuid: string): Promise<unknown> =>
  execute(
    db,
    `update hytale_consoles set failures = 0, next_pull_at = null
      where server_uuid = ? and (failures > 0 or next_pull_at is not null)`,
    [serverUuid],
  );

/** The console could not be read. It is asked for again at `nextAt`. */
export const countPullFailure = (db: Db, serverUuid: string, nextAt: Date): Promise<unknown> =>
  execute(db, 'update hytale_consoles set failures = failures + 1, next_pull_at = ? where server_uuid = ?', [
    nextAt,
    serverUuid,
  ]);

/** Why the lines of these servers are not received. `pending`: it passes by itself. Servers that are gone are passed over. */
export const noteNotPulled = (
  db: Db,
  serverUuids: readonly string[],
  { status, reason, now }: { status: 'pending' | 'failed'; reason: string; now: Date },
): Promise<unknown> =>
  execute(
    db,
    `insert into hytale_log_sync_state as st (server_uuid, last_sync_time, sync_status, error_message, updated_at)
       select s.uuid, null, ?, ?, ? from servers s where s.uuid = any(?::text[]) order by s.uuid
     on conflict (server_uuid) do update set sync_status = excluded.sync_status, error_message = excluded.error_message,
       updated_at = excluded.updated_at`,
    [status, reason, now, serverUuids],
  );

/** Servers with a session of which nothing was heard since `since` are pending, unless it is said why. @returns how many. */
export const markSilent = (
  db: Db,
  environment: HytaleEnvironment,
  { now, since }: { now: Date; since: Date },
): Promise<number> =>
  execute(
    db,
    `insert into hytale_log_sync_state as st (server_uuid, last_sync_time, sync_status, updated_at)
       select distinct s.uuid, null::timestamptz, 'pending', ?::timestamptz
         from hytale_game_sessions g join servers s on s.id = g.server_id
         left join hytale_log_sync_state o on o.server_uuid = s.uuid
        where ${HAS_SESSION} and (o.server_uuid is null
          or coalesce(o.sync_status, 'success') in ('success', 'syncing') and coalesce(o.last_sync_time < ?, true))
        order by 1
     on conflict (server_uuid) do update set sync_status = 'pending', error_message = null, updated_at = excluded.updated_at
       where coalesce(st.last_sync_time < ?, true)`,
    [now, environment, environment, since, since],
  );

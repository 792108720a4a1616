/**
 * Writes to `hytale_server_logs`, `hytale_consoles`, `hytale_log_gaps` and `hytale_log_sync_state`. The lines of a server are
 * in the order of (log_timestamp, id). Ids are text: they are 64 bits wide.
 */
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

/** What the console of a server is known by. */
export interface StoredConsole {
  pushedAt: Date | null;
  /** From this id on the lines were pulled, and none of them was pushed. */
  pulledSinceId: string | null;
  clockAheadMs: number | null;
  untimedDigest: string | null;
  untimedAt: Date | null;
}

export interface StoredLine {
  id: string;
  accountId: string;
  line: string;
  at: Date;
  createdAt: Date;
}
export type LineToStore = Omit<StoredLine, 'id'>;

export interface StoredGap {
  /** Null: the line before is not known any more. */
  afterId: string | null;
  beforeId: string;
  reason: string;
  foundAt: Date;
}

/** The console of a server, locked until the transaction ends. @returns undefined: the server is not known. */
export async function lockConsole(trx: Db, serverUuid: string): Promise<StoredConsole | undefined> {
  await execute(
    trx,
    `insert into hytale_consoles (server_uuid) select uuid from servers where uuid = ? on conflict do nothing`,
    [serverUuid],
  );
  const [row] = await query<StoredConsole>(
    trx,
    `select pushed_at as "pushedAt", pulled_since_id as "pulledSinceId", clock_ahead_ms as "clockAheadMs",
       untimed_digest as "untimedDigest", untimed_at as "untimedAt"
     from hytale_consoles c
     where server_uuid = ? and exists (select from servers s where s.uuid = c.server_uuid) for update`,
    [serverUuid],
  );
  return row;
}

const LINE = `id::text, account_id as "accountId", log_line as line, log_timestamp as at,
  coalesce(created_at, log_timestamp) as "createdAt"`;

/** The last lines of a server, oldest first. @param options `sinceId`: none with a lower id; `beforeId`: only lower ones. */
export async function lastLines(
  db: Db,
  serverUuid: string,
  limit: number,
  { sinceId = null, beforeId = null }: { sinceId?: string | null; beforeId?: string | null } = {},
): Promise<StoredLine[]> {
  const rows = await query<StoredLine>(
    db,
    // Without the alias "id" would be the text of the list, and 9 come after 10.
    `select ${LINE} from hytale_server_logs l
      where server_uuid = ? and log_timestamp is not null
        and (?::bigint is null or id >= ?::bigint) and (?::bigint is null or id < ?::bigint)
      order by l.log_timestamp desc, l.id desc limit ?`,
    [serverUuid, sinceId, sinceId, beforeId, beforeId, limit],
  );
  return rows.reverse();
}

/**
 * Which of these lines are stored already: of equal ones (time and text), as many as are stored.
 * @param beforeId only stored lines with a lower id count; null: all.
 * @returns their places, from 0.
 */
export async function storedAlready(
  db: Db,
  serverUuid: string,
  lines: readonly Pick<LineToStore, 'line' | 'at'>[],
  beforeId: string | null,
): Promise<Set<number>> {
  // One look into the index per moment, however many lines the server has between the first and the last one.
  const rows = await query<{ place: number }>(
    db,
    `with sent as (
       select at, line, place, row_number() over (partition by at, line order by place) as nth
         from unnest(?::timestamptz[], ?::text[]) with ordinality as sent (at, line, place)),
     stored as (
       select at, held.line, count(*) as times from (select distinct at from sent) moments
         cross join lateral (select log_line as line from hytale_server_logs
                              where server_uuid = ? and log_timestamp = moments.at
                                and (?::bigint is null or id < ?::bigint) offset 0) held
        group by at, held.line)
     select place::int - 1 as place from sent join stored using (at, line) where nth <= times`,
    [timesOf(lines), lines.map(({ line }) => line), serverUuid, beforeId, beforeId],
  );
  return new Set(rows.map(({ place }) => place));
}

/** Adds lines in their order. @returns their ids, ascending. */
export async function insertLines(trx: Db, serverUuid: string, lines: readonly LineToStore[]): Promise<string[]> {
  if (lines.length === 0) return [];
  const rows = await query<{ id: string }>(
    trx,
    `insert into hytale_server_logs (server_uuid, account_id, log_line, log_timestamp, created_at)
     select ?, account, line, at, created
       from unnest(?::text[], ?::text[], ?::timestamptz[], ?::timestamptz[]) with ordinality
         as sent (account, line, at, created, place)
      order by place
     returning id::text`,
    [serverUuid, ...columnsOf(lines)],
  );
  return rows.map(({ id }) => id);
}

/** Gives rows another content. */
export async function overwriteLines(trx: Db, serverUuid: string, lines: readonly StoredLine[]): Promise<void> {
  if (lines.length === 0) return;
  await execute(
    trx,
    `update hytale_server_logs l
        set account_id = sent.account, log_line = sent.line, log_timestamp = sent.at, created_at = sent.created
       from unnest(?::bigint[], ?::text[], ?::text[], ?::timestamptz[], ?::timestamptz[]) as sent (id, account, line, at, created)
      where l.id = sent.id and l.server_uuid = ?`,
    [lines.map(({ id }) => id), ...columnsOf(lines), serverUuid],
  );
}

/** Moves lines of these ids that are later to this time. @param ids `before`: null for no bound. */
export const moveBack = (
  trx: Db,
  serverUuid: string,
  ids: { since: string; before: string | null },
  at: Date,
): Promise<unknown> =>
  execute(
    trx,
    `update hytale_server_logs set log_timestamp = ?
      where server_uuid = ? and log_timestamp > ? and id >= ?::bigint and (?::bigint is null or id < ?::bigint)`,
    [at, serverUuid, at, ids.since, ids.before, ids.before],
  );

/** The gaps before these lines. */
export const gapsBefore = (db: Db, serverUuid: string, lineIds: readonly string[]): Promise<StoredGap[]> =>
  query<StoredGap>(
    db,
    `select after_id::text as "afterId", before_id::text as "beforeId", reason, found_at as "foundAt"
       from hytale_log_gaps where server_uuid = ? and before_id = any(?::bigint[]) order by before_id`,
    [serverUuid, lineIds],
  );

async function insertGaps(trx: Db, serverUuid: string, gaps: readonly StoredGap[]): Promise<void> {
  if (gaps.length === 0) return;
  await execute(
    trx,
    `insert into hytale_log_gaps (server_uuid, after_id, before_id, reason, found_at)
     select ?, * from unnest(?::bigint[], ?::bigint[], ?::text[], ?::timestamptz[])`,
    [
      serverUuid,
      gaps.map(({ afterId }) => afterId),
      gaps.map(({ beforeId }) => beforeId),
      gaps.map(({ reason }) => reason),
      gaps.map(({ foundAt }) => foundAt.toISOString()),
    ],
  );
}

/** Puts these gaps in the place of those before lines of these ids. */
export async function replaceGaps(
  trx: Db,
  serverUuid: string,
  lineIds: readonly string[],
  gaps: readonly StoredGap[],
): Promise<void> {
  await execute(trx, 'delete from hytale_log_gaps where server_uuid = ? and before_id = any(?::bigint[])', [
    serverUuid,
    lineIds,
  ]);
  await insertGaps(trx, serverUuid, gaps);
}

/** Notes a push, also one that brought nothing new. */
export const notePush = (
  trx: Db,
  serverUuid: string,
  { pushedAt, pulledSinceId, clockAheadMs, untimedDigest, untimedAt }: StoredConsole,
): Promise<unknown> =>
  execute(
    trx,
    `update hytale_consoles
        set pushed_at = ?, pulled_since_id = ?, clock_ahead_ms = ?, untimed_digest = ?, untimed_at = ? where server_uuid = ?`,
    [pushedAt, pulledSinceId, clockAheadMs, untimedDigest, untimedAt, serverUuid],
  );

/** Notes a pull, also one that brought nothing new. */
export const notePull = (
  trx: Db,
  serverUuid: string,
  { at, pulledSinceId }: { at: Date; pulledSinceId: string | null },
): Promise<unknown> =>
  execute(trx, 'update hytale_consoles set pulled_at = ?, pulled_since_id = ? where server_uuid = ?', [
    at,
    pulledSinceId,
    serverUuid,
  ]);

/** Notes that the lines of a server were received. @param lastLineId null: the one before stays. */
export const noteReceived = (trx: Db, serverUuid: string, at: Date, lastLineId: string | null): Promise<unknown> =>
  execute(
    trx,
    `insert into hytale_log_sync_state as s (server_uuid, last_sync_time, last_line_id, sync_status, error_message, updated_at)
     values (?, ?, coalesce(?::bigint, 0), 'success', null, ?)
     on conflict (server_uuid) do update set last_sync_time = excluded.last_sync_time,
       last_line_id = coalesce(?::bigint, s.last_line_id, 0), sync_status = 'success', error_message = null,
       updated_at = excluded.updated_at`,
    [serverUuid, at, lastLineId, at, lastLineId],
  );

/** Notes that the lines of a server could not be received. A server that is not known is passed over. */
export const noteNotReceived = (db: Db, serverUuid: string, at: Date, message: string): Promise<unknown> =>
  execute(
    db,
    `insert into hytale_log_sync_state as s (server_uuid, last_sync_time, sync_status, error_message, updated_at)
     select uuid, null, 'failed', ?, ? from servers where uuid = ?
     on conflict (server_uuid) do update set sync_status = 'failed', error_message = excluded.error_message,
       updated_at = excluded.updated_at`,
    [message, at, serverUuid],
  );

const timesOf = (lines: readonly Pick<LineToStore, 'at'>[]): string[] => lines.map(({ at }) => at.toISOString());

const columnsOf = (lines: readonly LineToStore[]): string[][] => [
  lines.map(({ accountId }) => accountId),
  lines.map(({ line }) => line),
  timesOf(lines),
  lines.map(({ createdAt }) => createdAt.toISOString()),
];

/**
 * Reads of `hytale_server_logs` for the lists. Their order is that of `idx_hytale_server_logs_line_order`: the time of a line,
 * then its id (ADR 16). A line without a time, which this service never stores, stands where the newest lines stand.
 */
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';

export interface ServerLogRow {
  id: string;
  line: string;
  /** When the line was written; where that is not known, when it was stored. */
  at: Date | null;
}

/** Where a line stands. A `Date` would lose the microseconds of `at`. */
export interface LinePosition {
  id: string;
  at: string | null;
}

/** The lines of one server; what is not given does not limit. */
export interface LineRange {
  serverUuid: string;
  /** At this time or later. */
  since?: Date | undefined;
  /** Before this time. */
  until?: Date | undefined;
  /** Older than this line. */
  before?: LinePosition | undefined;
  /** Newer than this line. */
  after?: LinePosition | undefined;
}

export interface LinePage extends LineRange {
  /** `desc`: newest first. */
  order: 'asc' | 'desc';
  limit: number;
  offset: number;
}

interface Sql {
  sql: string;
  bindings: readonly unknown[];
}

/** Conditions on `l`, each of which the index can take. */
function within(range: LineRange): Sql {
  const conditions = ['l.server_uuid = ?'];
  const bindings: unknown[] = [range.serverUuid];
  const add = (condition: string, ...values: unknown[]) => {
    conditions.push(condition);
    bindings.push(...values);
  };
  if (range.since !== undefined) add('l.log_timestamp >= ?', range.since);
  if (range.until !== undefined) add('l.log_timestamp < ?', range.until);
  const { before, after } = range;
  if (before !== undefined && before.at === null) add('(l.log_timestamp is not null or l.id < ?)', before.id);
  if (before !== undefined && before.at !== null) {
    add('(l.log_timestamp, l.id) < (?::timestamptz, ?::bigint)', before.at, before.id);
  }
  if (after !== undefined && after.at === null) add('l.log_timestamp is null and l.id > ?', after.id);
  if (after !== undefined && after.at !== null) {
    add('(l.log_timestamp, l.id) > (?::timestamptz, ?::bigint)', after.at, after.id);
  }
  return { sql: conditions.join(' and '), bindings };
}

const orderOf = (order: LinePage['order']): string => `l.log_timestamp ${order}, l.id ${order}`;

/** A page of lines. Lines that `offset` skips are counted in the index and not read. */
export function listServerLogs(db: Db, page: LinePage): Promise<ServerLogRow[]> {
  const { sql, bindings } = within(page);
  const order = orderOf(page.order);
  // No join: to plan one, PostgreSQL looks for the ends of the primary key, among all that the retention has just deleted.
  const skipping = `l.id = any (array(
    select l.id from hytale_server_logs l where ${sql} order by ${order} offset ? limit ?))`;
  const deep = page.offset > 0;
  return query(
    db,
    `select l.id, l.log_line as line, coalesce(l.log_timestamp, l.created_at) as at
       from hytale_server_logs l where ${deep ? skipping : sql} order by ${order} limit ?`,
    [...bindings, ...(deep ? [page.offset, page.limit] : []), page.limit],
  );
}

export interface SearchedLine extends ServerLogRow {
  /** Whether the line is one of the page. */
  matches: boolean;
  /** Whether the search stopped at this line. */
  stop: boolean;
}

/**
 * The lines of a page that hold a text, in any case, among the first `scan` lines of the range; `offset` and `limit` count
 * lines that match. The line at which the search stops comes too, as the last row, whether it matches or not. The statement
 * ends as soon as the page is full.
 */
export function searchServerLogs(db: Db, page: LinePage & { search: string; scan: number }): Promise<SearchedLine[]> {
  const { sql, bindings } = within(page);
  const order = orderOf(page.order);
  // Letters of ASCII are folded twice as fast by the rules of "C" (ADR 16).
  const text = /^[ -~]*$/.test(page.search) ? 'l.log_line collate "C"' : 'l.log_line';
  // Each level has the order of the index, so nothing is sorted, and no level reads further than its limit asks for.
  return query(
    db,
    `select l.id, l.log_line as line, coalesce(l.log_timestamp, l.created_at) as at,
            l.matches and l.found > ? as matches, l.read = ? as stop
       from (select l.*, row_number() over (order by ${order}) as found
               from (select l.id, l.log_line, l.log_timestamp, l.created_at, ${text} ilike ? as matches,
                            row_number() over (order by ${order}) as read
                       from (select l.id, l.log_line, l.log_timestamp, l.created_at
                               from hytale_server_logs l where ${sql} order by ${order} limit ?) l) l
              where l.matches or l.read = ?) l
      where l.found > ? or l.read = ?
      order by ${order} limit ?`,
    [
      page.offset,
      page.scan,
      contains(page.search),
      ...bindings,
      page.scan,
      page.scan,
      page.offset,
      page.scan,
      page.limit,
    ],
  );
}

/** Number of lines of a range. */
export async function countServerLogs(db: Db, range: LineRange): Promise<number> {
  const { sql, bindings } = within(range);
  const [row] = await query<{ n: number }>(
    db,
    `select count(*)::float8 as n from hytale_server_logs l where ${sql}`,
    bindings,
  );
  return row?.n ?? 0;
}

/** Where the line of this server stands; undefined when the server has no such line. */
export async function findLine(db: Db, serverUuid: string, id: string): Promise<LinePosition | undefined> {
  const [row] = await query<LinePosition>(
    db,
    `select l.id, l.log_timestamp::text as at from hytale_server_logs l where l.id = ?::bigint and l.server_uuid = ?`,
    [id, serverUuid],
  );
  return row;
}

export interface LogGap {
  /** The line before the gap; null: it is not stored any more. */
  afterId: string | null;
  beforeId: string;
  reason: string;
  foundAt: Date;
}

/** The gaps that end at one of these lines of the server. */
export function listGaps(db: Db, serverUuid: string, lineIds: readonly string[]): Promise<LogGap[]> {
  return query(
    db,
    `select (select a.id from hytale_server_logs a where a.id = g.after_id) as "afterId", g.before_id as "beforeId", g.reason,
            g.found_at as "foundAt"
       from hytale_log_gaps g where g.server_uuid = ? and g.before_id = any(?::bigint[]) order by g.before_id desc, g.id`,
    [serverUuid, [...lineIds]],
  );
}

export interface LogSyncState {
  lastSyncTime: Date | null;
  syncStatus: string | null;
  errorMessage: string | null;
}

/** When lines of the server last arrived, and what prevents it; undefined before the first lines. */
export async function readSyncState(db: Db, serverUuid: string): Promise<LogSyncState | undefined> {
  const [row] = await query<LogSyncState>(
    db,
    `select s.last_sync_time as "lastSyncTime", s.sync_status as "syncStatus", s.error_message as "errorMessage"
       from hytale_log_sync_state s where s.server_uuid = ?`,
    [serverUuid],
  );
  return row;
}

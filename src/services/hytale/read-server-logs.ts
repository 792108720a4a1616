/** Pages of the stored console of a server: cursors, a search that ends in time, gaps, and how old the lines are. */
import type { Db } from '../../store/db/db.ts';
import {
  findLine,
  type LinePage,
  type LinePosition,
  type LogGap,
  type LogSyncState,
  listGaps,
  listServerLogs,
  readSyncState,
  type ServerLogRow,
  searchServerLogs,
} from '../../store/hytale/server-log-list.ts';
import { refusal } from '../audit/read-audit.ts';

/** Maximum number of lines that one request searches: 50 ms at most (ADR 16). */
export const SEARCHED_LINES = 10_000;

export interface ServerLogQuery extends Omit<LinePage, 'before' | 'after'> {
  /** Text that a line holds, in any case. */
  search?: string | undefined;
  /** Id of a line: only lines that are older. Empty: no limit, as in `after`. */
  before: string;
  /** Id of a line: only lines that are newer. */
  after: string;
}

export interface ServerLogPage {
  lines: ServerLogRow[];
  /** Id of the line at which the next page goes on; null at the end. */
  next: string | null;
  /** False: the search stopped after {@link SEARCHED_LINES} lines and goes on at `next`. */
  searchComplete: boolean;
  /** The gaps before lines of the page. */
  gaps: LogGap[];
  state: LogSyncState | undefined;
}

/** Reads a page of the lines of a server. @throws {AppError} VALIDATION_ERROR for a cursor that is no line of this server. */
export async function readServerLogs(db: Db, request: ServerLogQuery): Promise<ServerLogPage> {
  const page = {
    ...request,
    before: await cursorIn(db, request, 'before'),
    after: await cursorIn(db, request, 'after'),
  };
  const found = await (request.search === undefined ? plainPage(db, page) : searchPage(db, page, request.search));
  const ids = found.lines.map(({ id }) => id);
  return {
    ...found,
    gaps: ids.length === 0 ? [] : await listGaps(db, request.serverUuid, ids),
    state: await readSyncState(db, request.serverUuid),
  };
}

async function cursorIn(db: Db, request: ServerLogQuery, field: 'before' | 'after'): Promise<LinePosition | undefined> {
  const id = request[field].trim();
  if (id === '') return undefined;
  const line = /^\d{1,18}$/.test(id) ? await findLine(db, request.serverUuid, id) : undefined;
  if (line === undefined) throw refusal(field, 'is not the id of a stored line of this server');
  return line;
}

type Lines = Pick<ServerLogPage, 'lines' | 'next' | 'searchComplete'>;

/** One line more than the page has is read, to know whether there is a next page. */
async function plainPage(db: Db, page: LinePage): Promise<Lines> {
  return cut(await listServerLogs(db, { ...page, limit: page.limit + 1 }), page.limit);
}

async function searchPage(db: Db, page: LinePage, search: string): Promise<Lines> {
  const rows = await searchServerLogs(db, { ...page, search, scan: SEARCHED_LINES, limit: page.limit + 1 });
  const found = cut(
    rows.filter(({ matches }) => matches),
    page.limit,
  );
  const stop = rows.find((row) => row.stop);
  return found.next === null && stop !== undefined ? { ...found, next: stop.id, searchComplete: false } : found;
}

function cut(rows: readonly ServerLogRow[], limit: number): Lines {
  const lines = rows.slice(0, limit);
  return { lines, next: rows.length > limit ? (lines.at(-1)?.id ?? null) : null, searchComplete: true };
}

/** `/api/v1/hytale/server-logs`: the stored console of a Hytale server, as lists. */
import { z } from 'zod';
import { readTime } from '../../../services/audit/read-audit.ts';
import { readServerLogs, SEARCHED_LINES, type ServerLogPage } from '../../../services/hytale/read-server-logs.ts';
import { requireServerAccess } from '../../../services/inventory/server-access.ts';
import { countServerLogs } from '../../../store/hytale/server-log-list.ts';
import type { Caller, Services } from '../../context.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import { clampedInteger, Offset, queryText, searchText, wordFilter } from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { hytaleArea, inBothSpellings, required, SHORT } from './shapes.ts';

const PATH = '/api/v1/hytale/server-logs';
const area = {
  ...hytaleArea,
  auth: 'hytaleReader',
  method: 'get',
  description: 'A user sees the servers that the user owns or shares; any other server is answered with 404.',
  errors: ['VALIDATION_ERROR', 'NOT_FOUND'],
} as const;

const LineId = z.int().meta({ description: 'Id of a line' });
const PageSchema = z.object({
  success: z.literal(true),
  data: z.array(
    z
      .object({
        id: LineId,
        line: z.string(),
        timestamp: IsoDate.nullable().meta({ description: 'When the line was written' }),
      })
      .meta({ id: 'HytaleServerLogLine' }),
  ),
  next: LineId.nullable().meta({
    description: 'The next page: `before` this line, or `after` it with `order=asc`; null at the end',
  }),
  search_complete: z.boolean().meta({
    description: `false: the search stopped after ${SEARCHED_LINES} lines, and goes on at \`next\``,
  }),
  gaps: z
    .array(
      z.object({
        after_id: LineId.nullable().meta({ description: 'The line before the gap; null: it is not stored any more' }),
        before_id: LineId,
        reason: z.string(),
        found_at: IsoDate,
      }),
    )
    .meta({ description: 'Where lines are missing: before which lines of the page' }),
  state: z
    .object({
      last_sync_time: IsoDate.nullable(),
      sync_status: z.string().nullable().meta({ description: 'pending, syncing, success, failed' }),
      error_message: z.string().nullable(),
    })
    .nullable()
    .meta({ description: 'When lines arrived last; null before the first lines' }),
});

const optionalId = (id: string | null): number | null => (id === null ? null : Number(id));

const toWire = ({ lines, next, searchComplete, gaps, state }: ServerLogPage): z.input<typeof PageSchema> => ({
  success: true,
  data: lines.map(({ id, line, at }) => ({ id: Number(id), line, timestamp: at?.toISOString() ?? null })),
  next: optionalId(next),
  search_complete: searchComplete,
  gaps: gaps.map((gap) => ({
    after_id: optionalId(gap.afterId),
    before_id: Number(gap.beforeId),
    reason: gap.reason,
    found_at: gap.foundAt.toISOString(),
  })),
  state:
    state === undefined
      ? null
      : {
          last_sync_time: state.lastSyncTime?.toISOString() ?? null,
          sync_status: state.syncStatus,
          error_message: state.errorMessage,
        },
});

const RANGE = {
  server_uuid: queryText({}).meta({ description: 'UUID of the server; required' }),
  since: queryText({}).meta({ description: 'A day, or a time with its zone; earlier lines are left out' }),
  until: queryText({}).meta({ description: 'A day, which counts whole, or a time; later lines are left out' }),
};

/** The lines that the caller asks for and may see. @throws {AppError} VALIDATION_ERROR, NOT_FOUND */
async function rangeFor(
  query: z.output<z.ZodObject<typeof RANGE>>,
  { caller, deps }: { caller: Caller; deps: Services },
) {
  const serverUuid = required('server_uuid', query.server_uuid, 'server_uuid query parameter is required');
  const range = {
    serverUuid,
    since: readTime('since', query.since),
    until: readTime('until', query.until, { end: true }),
  };
  await requireServerAccess(deps.db, caller.kind === 'user' ? caller.user : undefined, serverUuid);
  return range;
}

const list = defineRoute({
  ...area,
  path: PATH,
  operationId: 'listHytaleServerLogs',
  summary: 'Console lines of a server, newest first',
  query: z.object({
    ...RANGE,
    limit: clampedInteger({ min: 1, max: 1000, fallback: 100 }),
    offset: Offset,
    search: searchText(
      `Part of the line, in any case. One request searches ${SEARCHED_LINES} lines; \`search_complete\` says whether these were all`,
    ),
    order: wordFilter(['asc', 'desc'], '`asc`: oldest first'),
    before: queryText({}).meta({ description: 'Id of a line: only older ones' }),
    after: queryText({}).meta({ description: 'Id of a line: only newer ones' }),
  }),
  responses: { 200: PageSchema },
  failureMessage: 'Failed to fetch server logs',
  async handler({ input: { query }, ...call }) {
    const { limit, offset, search, before, after, order = 'desc' } = query;
    const range = await rangeFor(query, call);
    const page = await readServerLogs(call.deps.db, { ...range, limit, offset, search, before, after, order });
    return { status: 200, body: toWire(page) };
  },
});

const count = defineRoute({
  ...area,
  path: `${PATH}/count`,
  operationId: 'countHytaleServerLogs',
  summary: 'Number of console lines of a server',
  query: z.object(RANGE),
  responses: {
    200: z.object({ success: z.literal(true), data: z.object({ server_uuid: z.string(), total_logs: Count }) }),
  },
  failureMessage: 'Failed to count server logs',
  async handler({ input: { query }, ...call }) {
    const { db, totals } = call.deps;
    const range = await rangeFor(query, call);
    const total = await totals.of('hytale-server-logs', { ...range }, () => countServerLogs(db, range));
    return { status: 200, body: { success: true, data: { server_uuid: range.serverUuid, total_logs: total } } };
  },
});

export const hytaleServerLogListRoutes: Route[] = [
  ...inBothSpellings(list, { operationId: 'listHytaleServerLogsShort', path: `${SHORT}/server-logs` }),
  ...inBothSpellings(count, { operationId: 'countHytaleServerLogsShort', path: `${SHORT}/server-logs/count` }),
];

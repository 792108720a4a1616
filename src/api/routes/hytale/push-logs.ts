/** `POST /api/v1/hytale/server-logs`: node daemons send console lines of their servers. */
import { z } from 'zod';
import { MAX_LINE_BYTES, MAX_PUSHED_LINES } from '../../../domain/hytale/console.ts';
import { appendPushed, type PushedLine } from '../../../services/hytale/append-lines.ts';
import { Count } from '../../http/envelopes.ts';
import { BodyText, documentedAs } from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { PUSH_LIMIT } from './limits.ts';
import { fault, hytaleArea, inBothSpellings, required, SHORT } from './shapes.ts';

const MAX_ACCOUNT_LENGTH = 255;
const WHO = 'server_uuid and account_id are required';

const Logs = z
  .array(z.unknown())
  .nullish()
  .transform((logs) => logs ?? [])
  .meta({
    description: 'In the order of the console',
    ...documentedAs({
      type: 'array',
      minItems: 1,
      maxItems: MAX_PUSHED_LINES,
      items: {
        type: 'object',
        required: ['line'],
        properties: {
          line: { type: 'string', description: `At most ${MAX_LINE_BYTES} bytes of UTF-8` },
          timestamp: {
            type: 'string',
            format: 'date-time',
            description: 'When it was printed, by the clock of the node; send milliseconds',
          },
        },
      },
    }),
  });

/** RFC 3339, 5.6. */
const TIME = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(?:([0-5]\d(?:\.\d+)?)|60(?:\.\d+)?)([Zz]|[+-]\d\d:\d\d)$/;

/** @returns undefined without a time. @throws {AppError} VALIDATION_ERROR. */
function timeIn(field: string, value: unknown): Date | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  const [, day, minute, second = '59.999', zone] = (typeof value === 'string' ? TIME.exec(value) : null) ?? [];
  const at = new Date(`${day}T${minute}${second}${zone?.toUpperCase()}`);
  if (Number.isNaN(at.getTime())) throw fault(field, `${field} must be a time with its zone, as in RFC 3339`);
  return at;
}

/** @throws {AppError} VALIDATION_ERROR that names the entry. */
function lineIn(entry: unknown, index: number): PushedLine {
  const { line, timestamp } = (entry ?? {}) as { line?: unknown; timestamp?: unknown };
  const field = `logs[${index}].line`;
  if (typeof line !== 'string') throw fault(field, `${field} must be a text`);
  if (Buffer.byteLength(line) > MAX_LINE_BYTES) throw fault(field, `${field} is longer than ${MAX_LINE_BYTES} bytes`);
  return { line, at: timeIn(`logs[${index}].timestamp`, timestamp) };
}

/** @throws {AppError} VALIDATION_ERROR. */
function linesIn(logs: readonly unknown[]): PushedLine[] {
  if (logs.length === 0) throw fault('logs', 'At least one log entry is required');
  if (logs.length > MAX_PUSHED_LINES) throw fault('logs', `logs must have at most ${MAX_PUSHED_LINES} entries`);
  return logs.map(lineIn);
}

/** @throws {AppError} VALIDATION_ERROR. */
function accountOf(text: string): string {
  if (text.length <= MAX_ACCOUNT_LENGTH) return text;
  throw fault('account_id', `account_id must have at most ${MAX_ACCOUNT_LENGTH} characters`);
}

const push = defineRoute({
  ...hytaleArea,
  auth: 'hytaleNode',
  method: 'post',
  path: '/api/v1/hytale/server-logs',
  operationId: 'pushHytaleServerLogs',
  summary: 'Console lines of a server, from its node daemon',
  description:
    'Also with HYTALE_LOG_PUSH_KEY, which opens nothing else. A batch may be sent again: a line that is stored with its time and text is not stored again.',
  limits: PUSH_LIMIT,
  bodyLimitBytes: 4 * 1024 * 1024,
  bodyReading: { gzip: true, repaired: true },
  body: z.object({
    server_uuid: BodyText.meta({ description: 'UUID of the server' }),
    account_id: BodyText.meta({ description: `Hytale account; at most ${MAX_ACCOUNT_LENGTH} characters` }),
    logs: Logs,
  }),
  responses: {
    201: z.object({
      success: z.literal(true),
      data: z.object({
        saved_count: Count,
        server_uuid: z.string(),
        repeated_count: Count.meta({ description: 'Lines that were stored already' }),
      }),
    }),
  },
  errors: ['VALIDATION_ERROR', 'NOT_FOUND'],
  failureMessage: 'Failed to store logs',
  audit: { none: 'console lines are data of the server, and a node sends them all the time' },
  async handler({ input: { body }, deps }) {
    const serverUuid = required('server_uuid', body.server_uuid, WHO);
    const accountId = accountOf(required('account_id', body.account_id, WHO));
    const { saved, repeated } = await appendPushed(deps.db, { serverUuid, accountId, lines: linesIn(body.logs) });
    const data = { saved_count: saved, server_uuid: serverUuid, repeated_count: repeated };
    return { status: 201, body: { success: true, data } };
  },
});

export const hytalePushRoutes: Route[] = inBothSpellings(push, {
  operationId: 'pushHytaleServerLogsShort',
  path: `${SHORT}/server-logs`,
});

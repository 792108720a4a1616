/** `/api/admin/runs*`: runs of every kind, why they failed, and their retries. */
import { z } from 'zod';
import { AppError } from '../../../domain/errors.ts';
import { RETRY_WAYS, RUN_KINDS, RUN_STATUSES, type Run } from '../../../domain/runs.ts';
import { readCursor, writeCursor } from '../../../services/runs/cursor.ts';
import { changedBy } from '../../context.ts';
import { IsoDate } from '../../http/envelopes.ts';
import { clampedInteger, documentedAs, wordFilter } from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';

const tags = ['Admin: runs'];
const NOTE = 'Temporal cannot be reached: scheduled syncs and maintenance are not listed';

const RunSchema = z
  .object({
    kind: z.enum(RUN_KINDS),
    id: z.string(),
    name: z.string().meta({
      description: 'Target of a sync, template of an email, event of a delivery, kind of an effect or of a job',
    }),
    status: z.enum(RUN_STATUSES),
    startedAt: IsoDate.nullable(),
    endedAt: IsoDate.nullable(),
    reason: z.string().nullable().meta({ description: 'Why it failed or waits, without secrets and addresses' }),
    workflowId: z.string().nullable(),
    runId: z.string().nullable().meta({ description: 'Run id of the workflow, where it is known' }),
    link: z
      .string()
      .nullable()
      .meta({ description: 'Page of the workflow in the Temporal UI; null without TEMPORAL_UI_URL' }),
    retry: z.object({
      possible: z.boolean(),
      how: z.enum([...new Set(Object.values(RETRY_WAYS))]),
      obstacle: z.string().nullable().meta({ description: 'Why it is not possible' }),
      as: z.string().nullable().meta({ description: 'Id of the run that repeats this one' }),
    }),
  })
  .meta({
    id: 'Run',
    description:
      'A sync, an email, a delivery to a webhook, an effect that waits to be dispatched, or a job of a schedule',
  });

function toWireRun(run: Run, link: string | null): z.input<typeof RunSchema> {
  const { kind, id, name, status, reason, workflowId, runId, retry } = run;
  const startedAt = run.startedAt?.toISOString() ?? null;
  const endedAt = run.endedAt?.toISOString() ?? null;
  return { kind, id, name, status, startedAt, endedAt, reason, workflowId, runId, link, retry };
}

/** Failed runs unless another status is named; `all` and other words do not filter. */
const StatusFilter = z
  .string()
  .optional()
  .transform((text) => {
    const word = text?.trim().toLowerCase() || 'failed';
    return RUN_STATUSES.find((status) => status === word);
  })
  .meta(documentedAs({ type: 'string', enum: ['all', ...RUN_STATUSES], default: 'failed' }));

const CursorText = z
  .string()
  .optional()
  .transform((text, ctx) => {
    if (text === undefined || text === '') return undefined;
    const cursor = readCursor(text);
    if (cursor !== undefined) return cursor;
    ctx.addIssue({ code: 'custom', message: 'must be `nextCursor` of a page' });
    return z.NEVER;
  })
  .meta({ description: '`nextCursor` of the page before', ...documentedAs({ type: 'string' }) });

const RunPath = z.object({ kind: z.string().max(50), id: z.string().min(1).max(200) });

/** @throws {AppError} NOT_FOUND for a kind that does not exist. */
function readKind(text: string) {
  const kind = RUN_KINDS.find((known) => known === text);
  if (kind === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'Unknown kind of run' });
  return kind;
}

export const runRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path: '/api/admin/runs',
    operationId: 'listRuns',
    summary: 'Runs of every kind, newest first; failed ones unless `status` says otherwise',
    description:
      'When Temporal cannot be reached, the runs that only Temporal knows are missing, and `note` says so. Effects that were dispatched are not listed: the workflow is.',
    tags,
    auth: 'admin',
    query: z.object({
      kind: wordFilter(RUN_KINDS, 'Other words do not filter'),
      status: StatusFilter,
      cursor: CursorText,
      limit: clampedInteger({ min: 1, max: 100, fallback: 25 }),
    }),
    responses: {
      200: z.object({
        success: z.literal(true),
        runs: z.array(RunSchema),
        nextCursor: z.string().nullable().meta({ description: 'null at the end' }),
        note: z.string().nullable(),
      }),
    },
    errors: [],
    failureMessage: 'Failed to fetch runs',
    async handler({ input: { query }, deps: { runs } }) {
      const { kind, status, cursor, limit } = query;
      const page = await runs.list({ kind, status, after: cursor, limit });
      const listed = page.runs.map((run) => toWireRun(run, runs.linkOf(run)));
      const nextCursor = page.next === undefined ? null : writeCursor(page.next);
      return { status: 200, body: { success: true, runs: listed, nextCursor, note: page.complete ? null : NOTE } };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/admin/runs/:kind/:id',
    operationId: 'getRun',
    summary: 'One run, with the reason that its history has',
    tags,
    auth: 'admin',
    params: RunPath,
    responses: { 200: z.object({ success: z.literal(true), run: RunSchema }) },
    errors: ['NOT_FOUND', 'SERVICE_UNAVAILABLE'],
    failureMessage: 'Failed to fetch run',
    async handler({ input: { params }, deps: { runs } }) {
      const run = await runs.find(readKind(params.kind), params.id);
      return { status: 200, body: { success: true, run: toWireRun(run, runs.linkOf(run)) } };
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/admin/runs/:kind/:id/retry',
    operationId: 'retryRun',
    summary: 'Do a failed run again',
    description:
      'A sync is requested again with its target and options, once; an email or the message of a delivery is sent again; an effect is dispatched at once; the schedule of a job starts it now. Nothing is reset. The same request within ten seconds does nothing more and is answered alike.',
    tags,
    auth: 'admin',
    params: RunPath,
    responses: {
      202: z.object({
        success: z.literal(true),
        message: z.string(),
        kind: z.enum(RUN_KINDS),
        id: z.string().nullable().meta({
          description: 'Id of the run that repeats it; null for a job, which its schedule starts in a moment',
        }),
        repeated: z.boolean().meta({ description: 'It was retried before: nothing was done now' }),
      }),
    },
    errors: ['NOT_FOUND', 'CONFLICT', 'SYNC_RUNNING', 'SERVICE_UNAVAILABLE'],
    failureMessage: 'Failed to retry run',
    audit: 'run-retried',
    async handler({ input: { params }, deps, ...call }) {
      const { kind, id, repeated } = await deps.runs.retry(readKind(params.kind), params.id, changedBy(call));
      const message = repeated ? 'This run was retried before' : 'The run is retried';
      return { status: 202, body: { success: true, message, kind, id, repeated } };
    },
  }),
];

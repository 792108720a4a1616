/** `/api/v1/sync/*`: the sync for programs with an API key. Here the metadata of a log is JSON text. */
import { z } from 'zod';
import { AppError } from '../../../domain/errors.ts';
import { API_TARGETS } from '../../../domain/sync/targets.ts';
import { getSyncLog, latestSyncLogs, listSyncLogs } from '../../../store/sync/log-store.ts';
import { type Caller, changedBy } from '../../context.ts';
import { envelope, ok } from '../../http/envelopes.ts';
import { BodyFlag, clampedInteger, documentedAs, Offset, PathId } from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { StartedSchema, SyncLogTextSchema, TypeFilter, toStarted, toTextLog } from './shapes.ts';

const tags = ['Sync'];
const started = { 202: envelope(StartedSchema) };
const TriggerBody = z.object({
  skip_users: BodyFlag,
  dry_run: BodyFlag,
  requested_by: z
    .unknown()
    .optional()
    .meta({
      description: 'Name of the program that starts the sync, for the log',
      ...documentedAs({ type: 'string' }),
    }),
});

/** Maximum characters of the name that a program gives itself. */
const NAME_LIMIT = 200;

/** Who starts the sync: the signed-in user by id, else `api`; only the log row has the name that the program gives itself. */
function requestedFrom(caller: Caller, name: unknown): { requestedBy: string; requester: string } {
  if (caller.kind === 'user') return { requestedBy: caller.user.id, requester: caller.user.id };
  // Control characters, invisible ones, and those that change the direction of text.
  const text = typeof name === 'string' ? name.toWellFormed().replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ') : '';
  const shown = [...text.trim()].slice(0, NAME_LIMIT).join('');
  return { requestedBy: shown === '' ? 'api' : shown, requester: 'api' };
}

const triggers: Route[] = API_TARGETS.map((target) =>
  defineRoute({
    method: 'post',
    path: `/api/v1/sync/${target}`,
    operationId: `start${target[0]?.toUpperCase()}${target.slice(1)}Sync`,
    summary: target === 'full' ? 'Start a full sync' : `Sync ${target} only`,
    description:
      'Only one sync runs at a time. The same request is answered with the running sync, a different one with 409.',
    tags,
    auth: 'apiKeyOrAdmin',
    lenientBody: true,
    body: TriggerBody,
    responses: started,
    errors: ['SYNC_RUNNING', 'SERVICE_UNAVAILABLE'],
    failureMessage: 'Failed to create sync log',
    audit: 'sync-requested',
    async handler({ input, caller, origin, deps }) {
      const run = await deps.launcher.requestSync({
        target,
        dryRun: input.body.dry_run,
        skipUsers: input.body.skip_users,
        ...requestedFrom(caller, input.body.requested_by),
        by: changedBy({ caller, origin }),
      });
      const name = target === 'full' ? 'Full' : target;
      return { status: 202, body: ok(toStarted(run), `${name} sync has been queued`) };
    },
  }),
);

export const syncRoutes: Route[] = [
  ...triggers,
  defineRoute({
    method: 'post',
    path: '/api/v1/sync/cancel/:id',
    operationId: 'cancelSyncById',
    summary: 'Cancel a sync',
    tags,
    auth: 'apiKeyOrAdmin',
    params: PathId,
    responses: { 200: envelope(z.null()) },
    errors: ['BAD_REQUEST', 'NOT_FOUND'],
    failureMessage: 'Failed to request cancellation',
    audit: 'sync-cancelled',
    async handler({ input, deps, ...call }) {
      await deps.launcher.cancelSync(input.params.id, changedBy(call));
      return { status: 200, body: ok(null, 'Cancellation requested') };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/sync/status/:id',
    operationId: 'getSyncStatus',
    summary: 'One sync log',
    tags,
    auth: 'apiKeyOrAdmin',
    params: PathId,
    responses: { 200: envelope(SyncLogTextSchema) },
    errors: ['NOT_FOUND'],
    failureMessage: 'Failed to fetch sync log',
    async handler({ input, deps }) {
      const log = await getSyncLog(deps.db, input.params.id);
      if (log === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'Sync log not found' });
      return { status: 200, body: ok(toTextLog(log)) };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/sync/logs',
    operationId: 'listSyncLogs',
    summary: 'Sync logs, newest first',
    tags,
    auth: 'apiKeyOrAdmin',
    query: z.object({
      limit: clampedInteger({ min: 1, max: 100, fallback: 20 }),
      offset: Offset,
      type: TypeFilter,
    }),
    responses: {
      200: envelope(z.object({ logs: z.array(SyncLogTextSchema), limit: z.int(), offset: z.int() })),
    },
    errors: [],
    failureMessage: 'Failed to fetch sync logs',
    async handler({ input: { query }, deps }) {
      const { limit, offset, type } = query;
      const logs = await listSyncLogs(deps.db, { limit, offset, ...(type === undefined ? {} : { type }) });
      return { status: 200, body: ok({ logs: logs.map(toTextLog), limit, offset }) };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/sync/latest',
    operationId: 'getLatestSyncs',
    summary: 'The newest log of each type',
    tags,
    auth: 'apiKeyOrAdmin',
    responses: { 200: envelope(z.record(z.string(), SyncLogTextSchema)) },
    errors: [],
    failureMessage: 'Failed to fetch latest syncs',
    async handler({ deps }) {
      const logs = await latestSyncLogs(deps.db);
      return { status: 200, body: ok(Object.fromEntries(logs.map((log) => [log.type, toTextLog(log)]))) };
    },
  }),
];

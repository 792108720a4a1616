/** `/api/admin/sync*`: the sync for administrators: state, start, cancel, logs, schedule, live progress. */
import { z } from 'zod';
import { AppError } from '../../../domain/errors.ts';
import { AUTO_SYNC_MODES, type AutoSync, BUDGET_SHARE, MIN_SYNC_INTERVAL_SECONDS } from '../../../domain/settings.ts';
import { API_TARGETS, type SyncTarget } from '../../../domain/sync/targets.ts';
import { saveAutoSync } from '../../../services/settings/auto-sync.ts';
import type { Db } from '../../../store/db/db.ts';
import { inventoryCounts } from '../../../store/inventory/statistics.ts';
import {
  activeSyncLog,
  getSyncLog,
  lastCompletedFullSync,
  listSyncLogs,
  rejectedRecords,
  type SyncLog,
} from '../../../store/sync/log-store.ts';
import { changedBy, signedIn, userOf } from '../../context.ts';
import { Count, IsoDate, ok } from '../../http/envelopes.ts';
import {
  BodyFlag,
  clampedInteger,
  documentedAs,
  Offset,
  OptionalFlag,
  optionalInteger,
  PathId,
} from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { MirrorSchema, toMirror } from './mirror.ts';
import { StartedSchema, SyncLogSchema, TypeFilter, toApiLog, toStarted } from './shapes.ts';

const tags = ['Admin: sync'];
/** Maximum number of rejected records in one answer. */
const MAX_FAILURES = 1000;

const CountsSchema = z.object({
  users: Count,
  migratedUsers: Count,
  servers: Count,
  nodes: Count,
  locations: Count,
  allocations: Count,
  nests: Count,
  eggs: Count,
  eggVariables: Count,
  serverDatabases: Count,
});

/** The target of a request; the dashboard says `all` for `full`. Absent and empty mean `full`. */
function readTarget(text: string | null | undefined): SyncTarget {
  const wanted = text === undefined || text === null || text === '' ? 'full' : text;
  const target = API_TARGETS.find((t) => t === (wanted === 'all' ? 'full' : wanted));
  if (target === undefined) {
    throw new AppError('VALIDATION_ERROR', {
      publicMessage: `Invalid sync type. Valid types: ${API_TARGETS.join(', ')}`,
    });
  }
  return target;
}

const TargetText = z
  .string()
  .nullish()
  .meta(documentedAs({ type: 'string', enum: [...API_TARGETS, 'all'] }));

const OptionalSeconds = optionalInteger({ minimum: MIN_SYNC_INTERVAL_SECONDS });
const OptionalShare = optionalInteger({ minimum: BUDGET_SHARE.min, maximum: BUDGET_SHARE.max });
const OptionalMode = z
  .enum(AUTO_SYNC_MODES)
  .nullish()
  .transform((mode) => mode ?? undefined)
  .meta(documentedAs({ type: 'string', enum: [...AUTO_SYNC_MODES] }));
const AutoSyncShape = z.object({
  autoSyncEnabled: z.boolean(),
  autoSyncInterval: z.int(),
  autoSyncMode: z.enum(AUTO_SYNC_MODES),
  autoSyncBudgetShare: z.int().meta({ description: 'Percent' }),
});

/** The setting under both of its names. */
function toAutoSync({ enabled, intervalSeconds, mode, budgetShare }: AutoSync) {
  const shown = { autoSyncEnabled: enabled, autoSyncInterval: intervalSeconds };
  const stored = { auto_sync_enabled: enabled ? 'true' : 'false', sync_interval: intervalSeconds } as const;
  return {
    ...ok({ ...shown, autoSyncMode: mode, autoSyncBudgetShare: budgetShare }),
    settings: { ...stored, auto_sync_mode: mode, auto_sync_budget_share: budgetShare },
  };
}

const StateSchema = z.object({
  lastSync: IsoDate.nullable().meta({ description: 'When the last full sync completed' }),
  isSyncing: z.boolean(),
  lastRunning: IsoDate.nullable().meta({ description: 'Start of the running sync' }),
  latest: SyncLogSchema.nullable(),
});

/** Counts per entity that the sync noted in its metadata; none before it has any. */
function countsOf({ metadata: { counts } }: SyncLog): Record<string, unknown> {
  return typeof counts === 'object' && counts !== null && !Array.isArray(counts) ? { ...counts } : {};
}

async function syncState(db: Db): Promise<z.input<typeof StateSchema>> {
  const [active, lastSync, [latest]] = await Promise.all([
    activeSyncLog(db),
    lastCompletedFullSync(db),
    listSyncLogs(db, { limit: 1, offset: 0 }),
  ]);
  return {
    lastSync: lastSync?.toISOString() ?? null,
    isSyncing: active !== undefined,
    lastRunning: active?.startedAt.toISOString() ?? null,
    latest: latest === undefined ? null : toApiLog(latest),
  };
}

export const adminSyncRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path: '/api/admin/sync',
    operationId: 'getSyncState',
    summary: 'State of the sync and counts of what is mirrored',
    tags,
    auth: 'admin',
    responses: {
      200: z.object({
        success: z.literal(true),
        status: StateSchema,
        counts: CountsSchema,
        mirror: MirrorSchema,
        availableTargets: z.array(z.enum(API_TARGETS)),
      }),
    },
    errors: [],
    failureMessage: 'Failed to fetch sync status',
    async handler({ deps }) {
      const [status, counts, mirror] = await Promise.all([syncState(deps.db), inventoryCounts(deps.db), deps.mirror()]);
      const availableTargets = API_TARGETS.slice();
      return { status: 200, body: { success: true, status, counts, mirror: toMirror(mirror), availableTargets } };
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/admin/sync',
    operationId: 'startSync',
    summary: 'Start a sync',
    description:
      'Only one sync runs at a time. The same request is answered with the running sync, a different one with 409.',
    tags,
    auth: 'admin',
    body: z.object({
      type: TargetText.meta({ description: 'What to sync; default full' }),
      target: TargetText.meta({ description: 'Other name of `type`; `all` is `full`' }),
      dry_run: BodyFlag,
      skip_users: BodyFlag,
    }),
    responses: {
      202: z.object({ success: z.literal(true), ...StartedSchema.shape, message: z.string() }),
    },
    errors: ['SYNC_RUNNING', 'SERVICE_UNAVAILABLE'],
    failureMessage: 'Failed to create sync log',
    audit: 'sync-requested',
    async handler({ input: { body }, caller, origin, deps }) {
      const run = await deps.launcher.requestSync({
        target: readTarget(body.type || body.target),
        dryRun: body.dry_run,
        skipUsers: body.skip_users,
        requestedBy: userOf(caller).id,
        requester: userOf(caller).id,
        by: changedBy({ caller, origin }),
      });
      return { status: 202, body: { success: true, ...toStarted(run), message: 'Sync has been queued' } };
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/admin/sync/cancel',
    operationId: 'cancelSync',
    summary: 'Cancel the running sync, or the one with this id',
    tags,
    auth: 'admin',
    body: z.object({
      id: z.string().max(200).nullish(),
      sync_log_id: z.string().max(200).nullish(),
    }),
    responses: {
      200: z.object({ success: z.literal(true), sync_log_id: z.string(), message: z.string() }),
    },
    errors: ['NOT_FOUND', 'BAD_REQUEST'],
    failureMessage: 'Failed to cancel sync',
    audit: 'sync-cancelled',
    async handler({ input: { body }, deps, ...call }) {
      const id = body.sync_log_id || body.id || undefined;
      const { syncLogId } = await deps.launcher.cancelSync(id, changedBy(call));
      return { status: 200, body: { success: true, sync_log_id: syncLogId, message: 'Sync cancellation requested' } };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/admin/sync/logs',
    operationId: 'listAdminSyncLogs',
    summary: 'Sync logs, newest first',
    tags,
    auth: 'admin',
    query: z.object({
      limit: clampedInteger({ min: 1, max: 500, fallback: 20 }),
      offset: Offset,
      type: TypeFilter,
    }),
    responses: {
      200: z.object({ success: z.literal(true), logs: z.array(SyncLogSchema), limit: z.int(), offset: z.int() }),
    },
    errors: [],
    failureMessage: 'Failed to fetch sync logs',
    async handler({ input: { query }, deps }) {
      const { limit, offset, type } = query;
      const logs = await listSyncLogs(deps.db, { limit, offset, ...(type === undefined ? {} : { type }) });
      return { status: 200, body: { success: true, logs: logs.map(toApiLog), limit, offset } };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/admin/sync/logs/:id',
    operationId: 'getSyncLog',
    summary: 'One sync log with its rejected records',
    tags,
    auth: 'admin',
    params: PathId,
    responses: {
      200: z.object({
        success: z.literal(true),
        log: SyncLogSchema,
        counts: z.record(z.string(), z.unknown()).meta({ description: 'Per entity: created, updated, unchanged, …' }),
        failures: z
          .array(z.object({ entity: z.string(), panelId: z.string(), code: z.string(), detail: z.string() }))
          .meta({ description: `The first ${MAX_FAILURES} rejected records` }),
        failuresTotal: Count.meta({
          description: 'How many records were rejected; of a kind, at most 1,000 are stored',
        }),
      }),
    },
    errors: ['NOT_FOUND'],
    failureMessage: 'Failed to fetch sync log',
    async handler({ input, deps }) {
      const log = await getSyncLog(deps.db, input.params.id);
      if (log === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'Sync log not found' });
      const failures = await rejectedRecords(deps.db, log.id, MAX_FAILURES);
      const failuresTotal = Math.max(log.itemsFailed, failures.length);
      return {
        status: 200,
        body: { success: true, log: toApiLog(log), counts: countsOf(log), failures, failuresTotal },
      };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/admin/sync/settings',
    operationId: 'getSyncSettings',
    summary: 'The schedule',
    tags,
    auth: 'admin',
    responses: {
      200: z.object({
        success: z.literal(true),
        data: AutoSyncShape,
        message: z.string(),
        settings: z
          .object({
            auto_sync_enabled: z.enum(['true', 'false']),
            sync_interval: z.int(),
            auto_sync_mode: z.enum(AUTO_SYNC_MODES),
            auto_sync_budget_share: z.int(),
          })
          .meta({ description: 'The same values under the names of the settings table; the flag is text' }),
        mirror: MirrorSchema,
      }),
    },
    errors: [],
    failureMessage: 'Failed to fetch settings',
    async handler({ deps }) {
      const [setting, mirror] = await Promise.all([deps.settings.autoSync(), deps.mirror()]);
      return { status: 200, body: { ...toAutoSync(setting), mirror: toMirror(mirror) } };
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/admin/sync/settings',
    operationId: 'saveSyncSettings',
    summary: 'Change the schedule',
    description: `Absent fields stay as they are. The interval is in seconds, at least ${MIN_SYNC_INTERVAL_SECONDS}. In mode \`auto\` the mirror is renewed as often as the share of the panel's limit allows (${BUDGET_SHARE.min} to ${BUDGET_SHARE.max} percent).`,
    tags,
    auth: 'admin',
    invalid: { code: 'VALIDATION_ERROR', publicMessage: 'Invalid request body' },
    body: z.object({
      autoSyncEnabled: OptionalFlag,
      autoSyncInterval: OptionalSeconds,
      auto_sync_enabled: OptionalFlag,
      sync_interval: OptionalSeconds,
      autoSyncMode: OptionalMode,
      auto_sync_mode: OptionalMode,
      autoSyncBudgetShare: OptionalShare,
      auto_sync_budget_share: OptionalShare,
    }),
    responses: { 200: z.object({ success: z.literal(true), data: z.null(), message: z.string() }) },
    errors: [],
    audit: 'settings-changed',
    failureMessage: 'Failed to update settings',
    async handler(call) {
      const { body } = call.input;
      const change = {
        enabled: body.autoSyncEnabled ?? body.auto_sync_enabled,
        intervalSeconds: body.autoSyncInterval ?? body.sync_interval,
        mode: body.autoSyncMode ?? body.auto_sync_mode,
        budgetShare: body.autoSyncBudgetShare ?? body.auto_sync_budget_share,
      };
      await saveAutoSync(call.deps, change, changedBy(call));
      return { status: 200, body: ok(null, 'Settings updated successfully') };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/admin/sync/stream/:id',
    operationId: 'streamSync',
    summary: 'Live progress of a sync as server-sent events',
    description:
      'Events: `connected`, `update` at each change, `done` once at the end. Send the access token in `token` (EventSource sends no headers) or in the Authorization header. With `Last-Event-ID` the state of that event is not sent again.',
    tags,
    auth: 'adminQueryToken',
    params: PathId,
    query: z.object({ token: z.string().optional() }),
    responses: { 200: { contentType: 'text/event-stream', description: 'The event stream' } },
    errors: ['NOT_FOUND', 'SERVICE_UNAVAILABLE'],
    async handler({ input, caller, deps, koa }) {
      const headers = { 'Cache-Control': 'no-cache', 'X-Accel-Buffering': 'no' };
      if (koa.method === 'HEAD') return { status: 200, raw: '', headers };
      const lastEventId = koa.get('Last-Event-ID');
      const { token } = signedIn(caller);
      const raw = await deps.streams.open(input.params.id, token, lastEventId === '' ? undefined : lastEventId);
      return { status: 200, raw, headers };
    },
  }),
];

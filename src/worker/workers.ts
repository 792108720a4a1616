/**
 * The Temporal workers of one process, one per task queue: workflows and work on the database on `core`, calls of the
 * panel on `panel`, sending of email on `outbound`, of webhooks on `webhooks`, calls of Hytale on `hytale`. Every worker knows all activities; a workflow chooses the queue.
 */
import { type NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import type { Logger } from 'pino';
import { createEmailActivities, type EmailActivityDeps } from '../activities/email.ts';
import { createFailureInterceptor } from '../activities/failures.ts';
import { createHytaleActivities, type HytaleActivityDeps } from '../activities/hytale.ts';
import { createLiveMirrorActivities } from '../activities/live-mirror.ts';
import { createMaintenanceActivities } from '../activities/maintenance.ts';
import { createClientSubuserActivities } from '../activities/sync/client-subusers.ts';
import { type ConfirmActivityDeps, createConfirmActivities } from '../activities/sync/confirm-deletions.ts';
import { createEggActivities } from '../activities/sync/eggs.ts';
import { createMergeActivities } from '../activities/sync/merge.ts';
import { createPageActivities } from '../activities/sync/read-pages.ts';
import { createRunActivities, type RunActivityDeps } from '../activities/sync/run.ts';
import { createWayActivities } from '../activities/sync/ways.ts';
import { createWebhookActivities, type WebhookActivityDeps } from '../activities/webhooks.ts';
import type { AutoSync } from '../domain/settings.ts';
import { createHytaleBudget } from '../services/inventory/client-budget.ts';
import type { SyncLauncher } from '../services/sync/launcher.ts';
import { QUEUE } from '../workflows/contract.ts';

export interface WorkersDeps extends RunActivityDeps, ConfirmActivityDeps {
  connection: NativeConnection;
  namespace: string;
  launcher: SyncLauncher;
  /** The setting of automatic syncs as it is stored now. */
  autoSync: () => Promise<AutoSync>;
  keepLiveMirror: () => Promise<void>;
  log: Logger;
  report: (error: unknown, context: Record<string, string | number | undefined>) => void;
  /** File of the workflow bundle. */
  bundlePath: string;
  retentionDays: number;
  /** Days after which audit events are deleted; 0: never. */
  auditRetentionDays: number;
  /** Days after which console lines of Hytale servers are deleted. */
  hytaleLogRetentionDays: number;
  email: Omit<EmailActivityDeps, 'db'>;
  webhooks: Omit<WebhookActivityDeps, 'db' | 'log'>;
  hytale: Omit<HytaleActivityDeps, 'db' | 'log' | 'panel' | 'budget'>;
}

/** At a shutdown, running activities have this long to finish; then they are cancelled and run again on another worker. */
const GRACE = '20s';

const CANNOT_REPLAY = ['NondeterminismError', 'DeterminismViolationError'];

/** Makes the workers. The caller runs each of them and shuts each of them down. */
export async function createWorkers(deps: WorkersDeps): Promise<Worker[]> {
  const interceptor = createFailureInterceptor({ log: deps.log, report: deps.report });
  const budget = createHytaleBudget({ db: deps.db, settings: deps.settings });
  const activities = {
    ...createRunActivities(deps),
    ...createPageActivities(deps),
    ...createEggActivities(deps),
    ...createWayActivities(deps),
    ...createConfirmActivities(deps),
    ...createClientSubuserActivities(deps),
    ...createMergeActivities(deps),
    ...createMaintenanceActivities(deps),
    ...createLiveMirrorActivities({ ...deps, requestsPerMinute: deps.options.requestsPerMinute }),
    ...createEmailActivities({ ...deps.email, db: deps.db }),
    ...createHytaleActivities({ ...deps.hytale, db: deps.db, log: deps.log, panel: deps.panel, budget }),
    ...createWebhookActivities({ ...deps.webhooks, db: deps.db, log: deps.log }),
  };
  const common = {
    connection: deps.connection,
    namespace: deps.namespace,
    activities,
    interceptors: { activity: [interceptor] },
    shutdownGraceTime: GRACE,
    shutdownForceTime: '30s',
    // An activity learns of a cancel from the answer to a heartbeat. The SDK's default holds heartbeats back for 80 % of
    // the heartbeat timeout.
    maxHeartbeatThrottleInterval: '500ms',
    defaultHeartbeatThrottleInterval: '500ms',
  } satisfies Partial<WorkerOptions>;
  return Promise.all([
    Worker.create({
      ...common,
      taskQueue: QUEUE.core,
      workflowBundle: { codePath: deps.bundlePath },
      maxCachedWorkflows: 100,
      // A worker that was killed leaves the tasks of its workflows to others after this time. The SDK's default is 10 s, by which
      // the renewals of sessions would be late.
      stickyQueueScheduleToStartTimeout: '3s',
      // A sync that was started by code that is no longer deployed can never continue, and would block every later one:
      // it ends as failed (the watch closes its row), and the next sync reads everything again. So does a live mirror, which the
      // watch starts again.
      workflowFailureErrorTypes: { '*': [], panelSync: CANNOT_REPLAY, liveMirror: CANNOT_REPLAY },
      maxConcurrentActivityTaskExecutions: 20,
      // Each renewal of a game session takes two workflow tasks.
      maxConcurrentWorkflowTaskPolls: 10,
      // Only one sync runs at a time: few pollers leave the cores to the server.
      maxConcurrentActivityTaskPolls: 2,
    }),
    Worker.create({
      ...common,
      taskQueue: QUEUE.panel,
      // The pages of a sync, and beside them pushes and pulls: a server whose node does not answer must not hold up a sync.
      maxConcurrentActivityTaskExecutions: Math.max(8, deps.options.concurrency) + 8,
      maxConcurrentActivityTaskPolls: 4,
    }),
    Worker.create({
      ...common,
      taskQueue: QUEUE.outbound,
      // Email providers allow a few requests per second; they would answer more at once with 429.
      maxConcurrentActivityTaskExecutions: 4,
      maxConcurrentActivityTaskPolls: 2,
    }),
    Worker.create({
      ...common,
      taskQueue: QUEUE.webhooks,
      // One per webhook at most is under way: a receiver that does not answer holds one place for ten seconds.
      maxConcurrentActivityTaskExecutions: 100,
      maxConcurrentActivityTaskPolls: 2,
    }),
    Worker.create({
      ...common,
      taskQueue: QUEUE.hytale,
      maxConcurrentActivityTaskExecutions: 100,
      // Eleven renewals a second waited for five seconds when two pollers took them one after the other.
      maxConcurrentActivityTaskPolls: 10,
    }),
  ]);
}

/** The Temporal workers of one process: workflows and database work on `core`, panel calls on `panel`. */

import { type NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import type { Logger } from 'pino';
import type { SyncLauncher } from '../services/sync/launcher.ts';
import type { Db } from '../store/db/db.ts';
import { QUEUE } from '../workflows/contract.ts';
import { createEmailActivities, type EmailActivityDeps } from './email.ts';
import { createFailureInterceptor } from './failures.ts';
import { createMaintenanceActivities } from './maintenance.ts';
import { createSyncActivities, type SyncActivityDeps } from './sync/run.ts';

export interface WorkersDeps extends SyncActivityDeps {
  connection: NativeConnection;
  namespace: string;
  db: Db;
  launcher: SyncLauncher;
  log: Logger;
  report: (error: unknown, context: Record<string, string | number | undefined>) => void;
  /** File of the workflow bundle. */
  bundlePath: string;
  retentionDays: number;
  email: Omit<EmailActivityDeps, 'db'>;
}

/** Grace for activities in flight at a shutdown; then they are called off and run again elsewhere. */
const GRACE = '20s';

/** Makes the workers; `run` each, `shutdown` each. */
export async function createWorkers(deps: WorkersDeps): Promise<Worker[]> {
  const interceptor = createFailureInterceptor({ log: deps.log, report: deps.report });
  const activities = {
    ...createSyncActivities(deps),
    ...createMaintenanceActivities(deps),
    ...createEmailActivities({ ...deps.email, db: deps.db }),
  };
  const common = {
    connection: deps.connection,
    namespace: deps.namespace,
    activities,
    interceptors: { activity: [interceptor] },
    shutdownGraceTime: GRACE,
    shutdownForceTime: '30s',
    // A cancel is heard with a heartbeat's answer; by default those are held back for 0.8 of the timeout.
    maxHeartbeatThrottleInterval: '500ms',
    defaultHeartbeatThrottleInterval: '500ms',
  } satisfies Partial<WorkerOptions>;
  return Promise.all([
    Worker.create({
      ...common,
      taskQueue: QUEUE.core,
      workflowBundle: { codePath: deps.bundlePath },
      maxCachedWorkflows: 100,
      // A sync that was begun by code that is no longer deployed can never go on, and would block every later one: it
      // ends as failed (the watch closes its row), and the next sync reads everything anew.
      workflowFailureErrorTypes: { '*': [], panelSync: ['NondeterminismError', 'DeterminismViolationError'] },
      maxConcurrentActivityTaskExecutions: 20,
      // The only workflow with many tasks is one sync at a time: few pollers keep the server's share of the cores small.
      maxConcurrentWorkflowTaskPolls: 2,
      maxConcurrentActivityTaskPolls: 2,
    }),
    Worker.create({
      ...common,
      taskQueue: QUEUE.panel,
      maxConcurrentActivityTaskExecutions: Math.max(8, deps.options.concurrency),
      maxConcurrentActivityTaskPolls: 4,
    }),
    Worker.create({
      ...common,
      taskQueue: QUEUE.outbound,
      // Providers allow a few requests a second; more at once would only be told to wait.
      maxConcurrentActivityTaskExecutions: 4,
      maxConcurrentActivityTaskPolls: 2,
    }),
  ]);
}

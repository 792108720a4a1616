/** The activities of a sync, grouped by kind of call: each group has its timeouts and its retry policy. */
import { ActivityCancellationType, proxyActivities } from '@temporalio/workflow';
import type { MaintenanceActivities } from '../../activities/maintenance.ts';
import type { ClientSubuserActivities } from '../../activities/sync/client-subusers.ts';
import type { ConfirmActivities } from '../../activities/sync/confirm-deletions.ts';
import type { EggActivities } from '../../activities/sync/eggs.ts';
import type { MergeActivities } from '../../activities/sync/merge.ts';
import type { PageActivities } from '../../activities/sync/read-pages.ts';
import type { RunActivities } from '../../activities/sync/run.ts';
import type { WayActivities } from '../../activities/sync/ways.ts';
import { QUEUE } from '../contract.ts';

const DATABASE_RETRY = { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '15s' } as const;
const PANEL_RETRY = {
  initialInterval: '1s',
  backoffCoefficient: 2,
  maximumInterval: '30s',
  maximumAttempts: 30,
} as const;

/** The log row and other small writes: retried until PostgreSQL answers. */
export const rowActivities = proxyActivities<
  RunActivities & WayActivities & Pick<MaintenanceActivities, 'requestCancel'>
>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '10s',
  retry: DATABASE_RETRY,
});

export const checkActivities = proxyActivities<Pick<ConfirmActivities, 'verifySource'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '30s',
  heartbeatTimeout: '10s',
  cancellationType: ActivityCancellationType.TRY_CANCEL,
  retry: DATABASE_RETRY,
});

export const pageActivities = proxyActivities<PageActivities & EggActivities & ClientSubuserActivities>({
  taskQueue: QUEUE.panel,
  // Sixteen requests that each end just before their own timeout. A worker that died is noticed by its heartbeats.
  startToCloseTimeout: '9m',
  heartbeatTimeout: '10s',
  // The fence drops late writes, so the workflow need not wait for the end of a page that is being cancelled.
  cancellationType: ActivityCancellationType.TRY_CANCEL,
  retry: PANEL_RETRY,
});

export const confirmActivities = proxyActivities<Pick<ConfirmActivities, 'confirmDeletions'>>({
  taskQueue: QUEUE.panel,
  startToCloseTimeout: '2m',
  heartbeatTimeout: '10s',
  cancellationType: ActivityCancellationType.TRY_CANCEL,
  retry: PANEL_RETRY,
});

export const mergeActivities = proxyActivities<MergeActivities>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '15m',
  heartbeatTimeout: '15s',
  // The run may only be closed when it is known whether the merge committed.
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 20 },
});

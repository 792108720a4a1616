/** The tick of the auto-sync schedule: requests a full sync, as the API and the CLI do, and does not wait for its end. */
import { proxyActivities, uuid4 } from '@temporalio/workflow';
import type { MaintenanceActivities } from '../activities/maintenance.ts';
import { QUEUE, type ScheduledSyncResult } from './contract.ts';
import { notingFailure } from './failure-note.ts';

const acts = proxyActivities<Pick<MaintenanceActivities, 'requestScheduledSync'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '30s',
  retry: { initialInterval: '2s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 10 },
});

export async function scheduledSync(): Promise<ScheduledSyncResult> {
  // The id is created here, so that a retried activity requests the same row again.
  return notingFailure(() => acts.requestScheduledSync({ logId: uuid4() }));
}

/** The tick of the auto-sync schedule: asks for a full sync the same way as everybody else, and does not wait for it. */
import { proxyActivities, uuid4 } from '@temporalio/workflow';
import type { MaintenanceActivities } from '../activities/maintenance.ts';
import { QUEUE, type ScheduledSyncResult } from './contract.ts';

const acts = proxyActivities<Pick<MaintenanceActivities, 'requestScheduledSync'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '30s',
  retry: { initialInterval: '2s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 10 },
});

export async function scheduledSync(): Promise<ScheduledSyncResult> {
  // Made here, so that a retried activity asks for the same row again.
  return acts.requestScheduledSync({ logId: uuid4() });
}

/** Maintenance by schedule: one workflow, one kind per schedule. */
import { proxyActivities } from '@temporalio/workflow';
import type { HytaleActivities } from '../activities/hytale.ts';
import type { MaintenanceActivities } from '../activities/maintenance.ts';
import { type MaintenanceKind, QUEUE } from './contract.ts';
import { notingFailure } from './failure-note.ts';

type Acts = Pick<MaintenanceActivities, 'watchSync' | 'purgePastRetention' | 'purgeExpiredData'> &
  Pick<HytaleActivities, 'watchHytale' | 'endDeadSessions'>;

const acts = proxyActivities<Acts>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '5m',
  heartbeatTimeout: '15s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 5 },
});

/** Its requests go to the panel. A run ends before the next one is due; what it did not read is due then. */
const panel = proxyActivities<Pick<HytaleActivities, 'pullConsoles'>>({
  taskQueue: QUEUE.panel,
  startToCloseTimeout: '5m',
  heartbeatTimeout: '15s',
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 3 },
});

export async function maintenance(kind: MaintenanceKind): Promise<Record<string, number | string>> {
  return notingFailure(async () => {
    switch (kind) {
      case 'sync-watch':
        return acts.watchSync();
      case 'hytale-watch':
        return acts.watchHytale();
      case 'hytale-logs':
        return panel.pullConsoles();
      case 'hytale-sessions':
        return acts.endDeadSessions();
      case 'retention':
        return acts.purgePastRetention();
      case 'expired-data':
        return acts.purgeExpiredData();
    }
  });
}

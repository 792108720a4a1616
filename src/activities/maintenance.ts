/** Activities of schedules: the tick of the auto-sync, the watch over left-over rows, retention. */
import type { Knex } from 'knex';
import { isAppError } from '../domain/errors.ts';
import { purgeOutbox, purgeSyncLogs } from '../store/sync-store.ts';
import type { SyncLauncher } from '../temporal/launch.ts';
import type { ScheduledSyncResult } from '../workflows/contract.ts';
import { withHeartbeat } from './failures.ts';

/** Rows a statement deletes at the most, so that no lock is held for long. */
const BATCH = 500;

export function createMaintenanceActivities(deps: { db: Knex; launcher: SyncLauncher; retentionDays: number }) {
  const { db, launcher, retentionDays } = deps;
  return {
    /** Asks for a full sync; one that is running already is reason enough to skip this tick. */
    async requestScheduledSync(input: { logId: string }): Promise<ScheduledSyncResult> {
      try {
        const ticket = await launcher.requestSync({ target: 'full', requestedBy: 'scheduler', id: input.logId });
        return ticket.joined && ticket.syncLogId !== input.logId
          ? { outcome: 'skipped', logId: ticket.syncLogId }
          : { outcome: 'started', logId: ticket.syncLogId };
      } catch (error) {
        if (isAppError(error, 'SYNC_RUNNING')) return { outcome: 'skipped', logId: null };
        throw error;
      }
    },

    async watchSync(): Promise<{ did: string }> {
      return { did: await launcher.watch() };
    },

    /** Asks a run whose row is marked as cancelled to end: whoever marked it may be gone. */
    async requestCancel(input: { runId: string }): Promise<void> {
      await launcher.requestCancel(input.runId);
    },

    /** Deletes finished sync logs and outbox rows past the retention. */
    async purgeLogs(): Promise<{ syncLogs: number; outbox: number }> {
      return withHeartbeat(async (signal) => {
        const drain = async (purge: () => Promise<number>) => {
          let total = 0;
          for (let deleted = BATCH; deleted === BATCH && !signal.aborted; ) {
            deleted = await purge();
            total += deleted;
          }
          return total;
        };
        const syncLogs = await drain(() => purgeSyncLogs(db, retentionDays, BATCH));
        const outbox = await drain(() => purgeOutbox(db, retentionDays, BATCH));
        return { syncLogs, outbox };
      });
    },
  };
}

export type MaintenanceActivities = ReturnType<typeof createMaintenanceActivities>;

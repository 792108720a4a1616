/** Activities of schedules: the tick of the auto-sync, the watch over left-over rows, retention. */

import { isAppError } from '../domain/errors.ts';
import type { SyncLauncher } from '../services/sync/launcher.ts';
import { purgeTokens } from '../store/accounts/one-time-token-store.ts';
import { purgeSessions } from '../store/accounts/session-store.ts';
import type { Db } from '../store/db/db.ts';
import { clearDeadEmails, failLostEmails, purgeEmails } from '../store/email/email-store.ts';
import { purgeOutbox } from '../store/outbox-store.ts';
import { purgeBuckets } from '../store/rate-limit-store.ts';
import { purgeSyncLogs } from '../store/sync/log-store.ts';
import type { ScheduledSyncResult } from '../workflows/contract.ts';
import { withHeartbeat } from './failures.ts';

/** Rows a statement deletes at the most, so that no lock is held for long. */
const BATCH = 500;

/** Deletes batch after batch until there is nothing left. @returns how many rows. */
async function drain(signal: AbortSignal, purge: () => Promise<number>): Promise<number> {
  let total = 0;
  for (let deleted = BATCH; deleted === BATCH && !signal.aborted; ) {
    deleted = await purge();
    total += deleted;
  }
  return total;
}

export function createMaintenanceActivities(deps: { db: Db; launcher: SyncLauncher; retentionDays: number }) {
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

    /** Deletes finished sync logs, outbox rows and mails past the retention. */
    async purgeLogs(): Promise<{ syncLogs: number; outbox: number; mails: number }> {
      return withHeartbeat(async (signal) => {
        const syncLogs = await drain(signal, () => purgeSyncLogs(db, retentionDays, BATCH));
        const outbox = await drain(signal, () => purgeOutbox(db, retentionDays, BATCH));
        const mails = await drain(signal, () => purgeEmails(db, retentionDays, BATCH));
        return { syncLogs, outbox, mails };
      });
    },

    /** Deletes what time has made worthless: sessions, one-time tokens, full buckets, contents of dead mails. */
    async purgeExpired(): Promise<{ sessions: number; tokens: number; buckets: number; mails: number; lost: number }> {
      return withHeartbeat(async (signal) => {
        const sessions = await drain(signal, () => purgeSessions(db, BATCH));
        const tokens = await drain(signal, () => purgeTokens(db, BATCH));
        const buckets = await drain(signal, () => purgeBuckets(db, BATCH));
        const lost = await drain(signal, () => failLostEmails(db, BATCH));
        const mails = await drain(signal, () => clearDeadEmails(db, BATCH));
        return { sessions, tokens, buckets, mails, lost };
      });
    },
  };
}

export type MaintenanceActivities = ReturnType<typeof createMaintenanceActivities>;

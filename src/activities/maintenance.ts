/** Activities of schedules: the tick of the auto-sync, the watch over left-over rows, and the purges. */
import type { SyncLauncher } from '../services/sync/launcher.ts';
import { requestScheduledSync } from '../services/sync/scheduled-sync.ts';
import { purgeNetworks } from '../store/accounts/network-store.ts';
import { purgeTokens, purgeUsed } from '../store/accounts/one-time-token-store.ts';
import { purgePendingAccounts } from '../store/accounts/pending-account-store.ts';
import { purgeSessions } from '../store/accounts/session-store.ts';
import { purgeAuditEvents } from '../store/audit/audit-store.ts';
import type { Db } from '../store/db/db.ts';
import { clearDeadEmails, failLostEmails, purgeEmails } from '../store/email/email-store.ts';
import { purgeHytaleAudit } from '../store/hytale/audit-store.ts';
import { purgeLogins } from '../store/hytale/login-store.ts';
import {
  type DeletedLines,
  dateServerLogs,
  purgeConsoles,
  purgeLogGaps,
  purgeServerLogs,
} from '../store/hytale/server-log-retention.ts';
import { purgeUsage } from '../store/inventory/usage-store.ts';
import { purgeOutbox } from '../store/outbox-store.ts';
import { purgeBuckets } from '../store/rate-limit-store.ts';
import { purgeSyncLogs } from '../store/sync/log-store.ts';
import { endAbandoned, purgeDeliveries, purgeStates, purgeTests } from '../store/webhooks/delivery-retention.ts';
import { withHeartbeat } from './failures.ts';

export interface MaintenanceActivityDeps {
  db: Db;
  launcher: SyncLauncher;
  /** Starts the live mirror if the settings want it and it does not run. */
  keepLiveMirror: () => Promise<void>;
  /** Days after which finished sync logs, outbox rows, emails and deliveries are deleted. */
  retentionDays: number;
  /** Days after which audit events are deleted; 0: never. */
  auditRetentionDays: number;
  /** Days after which console lines of Hytale servers are deleted. */
  hytaleLogRetentionDays: number;
}

/** Days after which a network without a sign-in is no longer known: twice the life of a session. */
const KNOWN_NETWORK_DAYS = 180;
/** Maximum number of rows per statement, so that no lock is held for long. */
const BATCH_ROWS = 500;

/** Handles at most {@link BATCH_ROWS} rows. @returns how many. */
type Purge = (db: Db, days: Days) => Promise<number>;
type Days = Pick<MaintenanceActivityDeps, 'retentionDays' | 'auditRetentionDays' | 'hytaleLogRetentionDays'>;

/** What the retention deletes, by its name in the result. */
const PAST_RETENTION = {
  syncLogs: (db, days) => purgeSyncLogs(db, days.retentionDays, BATCH_ROWS),
  outbox: (db, days) => purgeOutbox(db, days.retentionDays, BATCH_ROWS),
  emails: (db, days) => purgeEmails(db, days.retentionDays, BATCH_ROWS),
  webhookDeliveries: (db, days) => purgeDeliveries(db, days.retentionDays, BATCH_ROWS),
  webhookTests: (db, days) => purgeTests(db, days.retentionDays, BATCH_ROWS),
  hytaleLogins: (db, days) => purgeLogins(db, days.retentionDays, BATCH_ROWS),
  hytaleAudit: (db, days) => purgeHytaleAudit(db, days.auditRetentionDays, BATCH_ROWS),
  auditEvents: (db, days) => purgeAuditEvents(db, days.auditRetentionDays, BATCH_ROWS),
  hytaleUndatedLines: (db) => dateServerLogs(db, BATCH_ROWS),
  hytaleConsoles: (db) => purgeConsoles(db, BATCH_ROWS),
} satisfies Record<string, Purge>;

/** What expires by itself, by its name in the result. Lost emails end as failed; the contents of ended ones are cleared.
 * Deliveries that nothing will send end, too. */
const EXPIRED = {
  sessions: (db) => purgeSessions(db, BATCH_ROWS),
  tokens: (db) => purgeTokens(db, BATCH_ROWS),
  networks: (db) => purgeNetworks(db, KNOWN_NETWORK_DAYS, BATCH_ROWS),
  usedTokens: (db) => purgeUsed(db, BATCH_ROWS),
  pendingAccounts: (db) => purgePendingAccounts(db, BATCH_ROWS),
  buckets: (db) => purgeBuckets(db, BATCH_ROWS),
  serverUsage: (db) => purgeUsage(db, BATCH_ROWS),
  lostEmails: (db) => failLostEmails(db, BATCH_ROWS),
  emailContents: (db) => clearDeadEmails(db, BATCH_ROWS),
  abandonedDeliveries: (db) => endAbandoned(db, BATCH_ROWS),
  webhookStates: (db) => purgeStates(db, BATCH_ROWS),
} satisfies Record<string, Purge>;

/** Runs each purge of a table until no row is left. @returns rows per purge. */
async function purgeAll<Name extends string>(
  deps: MaintenanceActivityDeps,
  purges: Record<Name, Purge>,
  signal: AbortSignal,
): Promise<Record<Name, number>> {
  const totals: Partial<Record<Name, number>> = {};
  for (const name of Object.keys(purges) as Name[]) {
    let total = 0;
    for (let rows = BATCH_ROWS; rows === BATCH_ROWS && !signal.aborted; ) {
      rows = await purges[name](deps.db, deps);
      total += rows;
    }
    totals[name] = total;
  }
  return totals as Record<Name, number>;
}

/** Deletes console lines, which are millions: each batch begins where the one before ended. Then gaps without lines. */
async function purgeConsoleLines(deps: MaintenanceActivityDeps, signal: AbortSignal) {
  let hytaleLines = 0;
  let from: Date | null = null;
  for (let rows = BATCH_ROWS; rows === BATCH_ROWS && !signal.aborted; ) {
    const deleted: DeletedLines = await purgeServerLogs(deps.db, {
      days: deps.hytaleLogRetentionDays,
      batch: BATCH_ROWS,
      from,
    });
    from = deleted.reached;
    rows = deleted.rows;
    hytaleLines += rows;
  }
  return { hytaleLines, ...(await purgeAll(deps, { hytaleLogGaps: (db) => purgeLogGaps(db, BATCH_ROWS) }, signal)) };
}

export function createMaintenanceActivities(deps: MaintenanceActivityDeps) {
  const { launcher } = deps;
  return {
    /** The tick of the auto-sync. */
    requestScheduledSync: (input: { logId: string }) => requestScheduledSync(launcher, input.logId),

    /** Starts what was left PENDING, repeats cancels, closes rows whose run is gone (ADR 3); keeps the live mirror going. */
    watchSync: async (): Promise<{ did: string }> => {
      const did = await launcher.watch();
      await deps.keepLiveMirror();
      return { did };
    },

    /** Requests the cancel of a run whose row is marked, since the process that marked it may be gone. */
    requestCancel: (input: { runId: string }): Promise<void> => launcher.requestCancel(input.runId),

    /** Deletes what is older than its retention: finished sync logs, outbox rows, emails, deliveries, audit events, console lines. */
    purgePastRetention: () =>
      withHeartbeat(async (signal) => ({
        ...(await purgeAll(deps, PAST_RETENTION, signal)),
        ...(await purgeConsoleLines(deps, signal)),
      })),

    /** Deletes expired sessions, one-time tokens, full rate-limit buckets; ends lost emails and deliveries, clears ended ones. */
    purgeExpiredData: () => withHeartbeat((signal) => purgeAll(deps, EXPIRED, signal)),
  };
}

export type MaintenanceActivities = ReturnType<typeof createMaintenanceActivities>;

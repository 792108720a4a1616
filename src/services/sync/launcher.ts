/**
 * Starting, cancelling and watching syncs, for the API, the CLI, the schedule and the maintenance workflow alike. The
 * PENDING log row is the intent and the workflow only its executor (ADR 3), so an accepted request is never lost and a
 * withdrawn one never runs.
 */
import type { AuditOrigin } from '../../domain/audit.ts';
import { cancelSync, cancelWorkflow } from './cancel-sync.ts';
import { type RequestSync, requestSync, type SyncTicket } from './request-sync.ts';
import type { SyncDeps } from './start-run.ts';
import { type WatchOutcome, watchSync } from './watch.ts';

export interface SyncLauncher {
  /** {@link requestSync} */
  requestSync(request: RequestSync): Promise<SyncTicket>;
  /** {@link cancelSync} */
  cancelSync(id: string | undefined, by: AuditOrigin): Promise<{ syncLogId: string }>;
  /** {@link cancelWorkflow} */
  requestCancel(runId: string): Promise<void>;
  /** {@link watchSync} */
  watch(): Promise<WatchOutcome>;
}

/** Makes the launcher; it holds nothing but its dependencies. */
export const createSyncLauncher = (deps: SyncDeps): SyncLauncher => ({
  requestSync: (request) => requestSync(deps, request),
  cancelSync: (id, by) => cancelSync(deps, id, by),
  requestCancel: (runId) => cancelWorkflow(deps, runId),
  watch: () => watchSync(deps),
});

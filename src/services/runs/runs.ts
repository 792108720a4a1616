/** The runs of every kind, for the API and the CLI: lists, one run, and retries. */
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import type { Run, RunKind } from '../../domain/runs.ts';
import type { RunDeps } from './deps.ts';
import { findRunOf, listRuns, type RunFilter, type RunPage } from './list-runs.ts';
import { type RetryTicket, retryRun, withEngine } from './retry-run.ts';
import { linkOfWorkflow } from './ui-link.ts';

export interface Runs {
  /** {@link listRuns} */
  list(filter: RunFilter): Promise<RunPage>;
  /** @throws {AppError} NOT_FOUND; SERVICE_UNAVAILABLE for a kind that only Temporal knows. */
  find(kind: RunKind, id: string): Promise<Run>;
  /** {@link retryRun} */
  retry(kind: RunKind, id: string, by: AuditOrigin): Promise<RetryTicket>;
  /** The page of the run's workflow in the Temporal UI; null without a workflow or a configured address. */
  linkOf(run: Pick<Run, 'workflowId' | 'runId'>): string | null;
}

/** Makes the service; it holds nothing but its dependencies. */
export const createRuns = (deps: RunDeps): Runs => ({
  list: (filter) => listRuns(deps, filter),
  async find(kind, id) {
    const run = await withEngine(() => findRunOf(deps, kind, id));
    if (run === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'Run not found' });
    return run;
  },
  retry: async (kind, id, by) => retryRun(deps, kind, id, by),
  linkOf: (run) => linkOfWorkflow(deps.ui, run.workflowId, run.runId),
});

/** Lists runs of every kind: rows of the database and workflows of Temporal, merged by time. */
import { EMAIL_TEMPLATES } from '../../domain/email.ts';
import {
  comparePlaces,
  isEngineKind,
  RETRY_WAYS,
  RUN_KINDS,
  type Run,
  type RunCursor,
  type RunKind,
  type RunStatus,
  type StoredKind,
  shownReason,
} from '../../domain/runs.ts';
import { SYNC_TARGETS } from '../../domain/sync/targets.ts';
import { findStoredRun, listStoredRuns, type StoredRun } from '../../store/runs/run-list.ts';
import type { EngineRun } from '../../temporal/engine-runs.ts';
import { deliverWebhookId, PANEL_SYNC_ID, sendEmailId } from '../../workflows/contract.ts';
import { isRunId, type RunDeps } from './deps.ts';

export interface RunFilter {
  kind?: RunKind | undefined;
  /** Undefined: every status. */
  status?: RunStatus | undefined;
  after?: RunCursor | undefined;
  limit: number;
}

export interface RunPage {
  runs: Run[];
  /** Where the next page begins; undefined on the last one. */
  next: RunCursor | undefined;
  /** Whether Temporal could be asked. Without it the page lacks the kinds that only Temporal knows. */
  complete: boolean;
}

/** One page of runs, newest first. */
export async function listRuns({ db, engine, log }: RunDeps, filter: RunFilter): Promise<RunPage> {
  const kinds: readonly RunKind[] = filter.kind === undefined ? RUN_KINDS : [filter.kind];
  // One more than the page tells whether there is a next one.
  const wanted = { status: filter.status, after: filter.after, limit: filter.limit + 1 };
  const ofEngine = kinds.filter(isEngineKind);
  const stored = kinds.filter((kind): kind is StoredKind => !isEngineKind(kind));
  let complete = true;
  const [rows, workflows] = await Promise.all([
    listStoredRuns(db, { ...wanted, kinds: stored }),
    ofEngine.length === 0
      ? []
      : engine.list({ ...wanted, kinds: ofEngine }).catch((error: unknown) => {
          log.warn({ err: error }, 'runs of schedules could not be listed');
          complete = false;
          return [];
        }),
  ]);
  const merged = [...rows.map(ofRow), ...workflows.map(ofWorkflow)].sort(comparePlaces);
  const runs = merged.slice(0, filter.limit);
  const last = runs.at(-1);
  return { runs, next: merged.length > runs.length ? last : undefined, complete };
}

/** One run; undefined if it does not exist. @throws errors of the Temporal client for the kinds that only it knows. */
export async function findRunOf({ db, engine }: RunDeps, kind: RunKind, id: string): Promise<Run | undefined> {
  if (!isRunId(kind, id)) return undefined;
  if (isEngineKind(kind)) {
    const workflow = await engine.find(kind, id);
    return workflow === undefined ? undefined : ofWorkflow(workflow);
  }
  const row = await findStoredRun(db, kind, id);
  return row === undefined ? undefined : ofRow(row);
}

/** Workflow ids of the kinds that have rows; an effect that waits has no workflow. */
const WORKFLOW_ID: Record<StoredKind, (id: string) => string | null> = {
  sync: () => PANEL_SYNC_ID,
  email: sendEmailId,
  webhook: deliverWebhookId,
  outbox: () => null,
};

function ofRow(row: StoredRun): Run {
  const name = row.name ?? '';
  const obstacle = row.status !== 'failed' ? 'It did not fail' : obstacleOf(row, name);
  // A sync that never began has no run of its own: the link would show another one's. A delivery that never began has none.
  const unstarted = ['sync', 'webhook'].includes(row.kind) && row.runId === null;
  return {
    kind: row.kind,
    id: row.id,
    name,
    status: row.status,
    startedAt: row.startedAt,
    endedAt: row.endedAt,
    at: row.at,
    reason: shownReason(row.reason),
    workflowId: unstarted ? null : WORKFLOW_ID[row.kind](row.id),
    runId: row.runId,
    retry: { possible: obstacle === null, how: RETRY_WAYS[row.kind], obstacle, as: row.retriedAs },
  };
}

/** Why a failed run cannot be repeated; null if it can. */
function obstacleOf(row: StoredRun, name: string): string | null {
  if (row.kind === 'sync') {
    if (row.retriedAs !== null) return 'It was retried already: see the run that repeats it';
    return SYNC_TARGETS.some((target) => target === name) ? null : 'Its target is not known';
  }
  if (row.kind === 'outbox') return null;
  if (row.kind === 'webhook') return row.repeatable ? null : 'Its webhook was deleted or is switched off';
  if (!EMAIL_TEMPLATES.some((template) => template === name)) return 'Its template is not known';
  return row.repeatable ? null : 'The data of this email was cleared: send a new one';
}

function ofWorkflow({ scheduleId, ...run }: EngineRun): Run {
  let obstacle: string | null = null;
  if (run.status !== 'failed') obstacle = 'It did not fail';
  else if (scheduleId === null) obstacle = 'No schedule started it';
  return {
    ...run,
    reason: shownReason(run.reason),
    runId: run.id,
    retry: { possible: obstacle === null, how: RETRY_WAYS[run.kind], obstacle, as: null },
  };
}

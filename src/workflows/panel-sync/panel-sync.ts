/**
 * The sync: read everything, check it, merge it in one transaction (ADR 1). One sync at a time, by the fixed workflow id
 * (ADR 2); cancellable everywhere; resumable after any crash. This file decides the order, the activities do the work.
 */
import {
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  defineQuery,
  isCancellation,
  patched,
  setHandler,
  TemporalFailure,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { OpenRunResult } from '../../activities/sync/run.ts';
import { isListing } from '../../domain/sync/source-ref.ts';
import {
  type Entity,
  type SourcePlan,
  type SyncCounts,
  type SyncStatus,
  sourcesOf,
} from '../../domain/sync/targets.ts';
import {
  type PanelSyncInput,
  type PanelSyncResult,
  PROGRESS_QUERY,
  SEARCH_ATTRIBUTES,
  type SyncProgressView,
} from '../contract.ts';
import { checkActivities, mergeActivities, pageActivities, rowActivities } from './activities.ts';
import { syncClientSubusers } from './client-subusers.ts';
import { confirmDeletions } from './confirm-deletions.ts';
import { createPacer, type Pacer } from './pacer.ts';
import { failureMessage, failureType, ReadFailed, readSources } from './read-sources.ts';
import { newRunState, progressView, type RunState, showDetails, showEnding } from './run-state.ts';
import { mergeSources, sourcesFor } from './sources.ts';

export const progressQuery = defineQuery<SyncProgressView>(PROGRESS_QUERY);

/** Maximum number of reopens of a closed row. Beyond it, assume that another run owns the row. */
const MAX_REOPEN = 5;
/** A cancel is a mark on the row and a request to the workflow. They are less than this apart, unless one was lost. */
const CANCEL_ARRIVES_MS = 1_000;
/** Marks runs that set search attributes at their start only. */
const NO_UPSERT = 'search-attributes-at-start-only';
/** Warnings that are kept in the log row. */
const MAX_WARNINGS = 200;

/** How reading and merging ended. */
type Ending = { outcome: 'COMPLETED' } | { outcome: 'CANCELLED' } | { outcome: 'FAILED'; error: unknown };

export async function panelSync(input: PanelSyncInput): Promise<PanelSyncResult> {
  const { runId } = workflowInfo();
  const state = newRunState();
  setHandler(progressQuery, () => progressView(input, state));

  let counts: SyncCounts = {};
  for (let opened = 1; ; opened += 1) {
    // Not cancellable, so that a run that was cancelled before it began still ends its row.
    const open = await CancellationScope.nonCancellable(() =>
      rowActivities.openRun({ logId: input.logId, runId, reopen: opened > 1 }),
    );
    if (open.result === 'withdrawn')
      return { status: 'WITHDRAWN', logId: input.logId, counts: {}, warnings: [], requests: state.requests };
    let ending: Ending;
    try {
      counts = await readAndMerge(input, open, state, `${runId}:${opened}`);
      ending = { outcome: 'COMPLETED' };
    } catch (error) {
      ending = endingOf(error, state);
    }
    const mayReopen = opened <= MAX_REOPEN && ending.outcome !== 'CANCELLED';
    // A reset run finds its row closed and its staged pages deleted: it opens the row again and reads everything again.
    if (ending.outcome === 'FAILED' && failureType(ending.error) === 'RUN_CLOSED' && mayReopen) continue;
    let status: SyncStatus = ending.outcome;
    try {
      status = await close(input, runId, state, counts, ending);
    } catch (closing) {
      if (failureType(closing) !== 'RUN_CLOSED') throw closing;
      if (mayReopen) continue;
      // Another run, the watch or a reset closed the row: its status stands.
    }
    const error = ending.outcome === 'FAILED' ? failureMessage(ending.error) : undefined;
    showEnding(state, { status, error, counts });
    if (status === 'CANCELLED') return cancelled(runId);
    if (ending.outcome === 'FAILED') throw asFailure(ending.error);
    return { status, logId: input.logId, counts, warnings: state.warnings, requests: state.requests };
  }
}

async function readAndMerge(
  input: PanelSyncInput,
  open: OpenRunResult,
  state: RunState,
  key: string,
): Promise<SyncCounts> {
  const plans = sourcesOf(input.target, { skipUsers: input.skipUsers, subusers: open.subusers });
  const pacer = createPacer({ concurrency: open.concurrency, requestsPerMinute: open.requestsPerMinute ?? undefined });
  Object.assign(state, { phase: 'reading', sources: sourcesFor(plans), warnings: [], waiting: null, failedStep: null });
  showDetails(state);
  await read(input, open, state, pacer);

  state.phase = 'checking';
  await confirmDeletions(input.logId, open.panel, state, pacer);
  warnOfRights(state, plans);

  state.phase = 'writing';
  state.failedStep = 'merging';
  showDetails(state);
  const counts = await merge(input, open, state, plans, key);
  state.failedStep = null;
  // Runs of earlier releases set an attribute here. A run that was started before the upgrade repeats that in a replay.
  if (!patched(NO_UPSERT)) upsertFormerAttribute(counts);
  return counts;
}

/** Reads all sources, within the panel's budget (ADR 6). */
const read = (input: PanelSyncInput, open: OpenRunResult, state: RunState, pacer: Pacer): Promise<void> =>
  readSources(state.sources, {
    request: { logId: input.logId, target: input.target, skipUsers: input.skipUsers, subusers: open.subusers },
    activities: { stagePages: pageActivities.stagePages, verifySource: checkActivities.verifySource },
    pacer,
    warnings: state.warnings,
    onWait: (reason) => {
      state.waiting = reason;
      showDetails(state);
    },
    onSource: () => showDetails(state),
    onRequests: (answered) => {
      state.requests += answered;
      state.limit = pacer.limit() ?? state.limit;
    },
  });

/** Merges what was read, in one transaction; subusers of the client API follow in a second one. */
async function merge(
  input: PanelSyncInput,
  open: OpenRunResult,
  state: RunState,
  plans: readonly SourcePlan[],
  key: string,
): Promise<SyncCounts> {
  const planned = new Set<Entity>(plans.flatMap((p) => p.entities));
  const subusersByClient =
    planned.has('subusers') &&
    state.sources.some((s) => isListing(s.source, 'servers') && s.missingIncludes.includes('subusers'));
  if (subusersByClient) planned.delete('subusers');
  const sources = mergeSources(state.sources);
  const outcome = await mergeActivities.mergeRun({
    logId: input.logId,
    key,
    panel: open.panel,
    entities: [...planned],
    sources,
    dryRun: input.dryRun,
  });
  if (outcome.status === 'cancelled') throw new CancelledFailure('the cancel was requested');
  state.warnings.push(...outcome.warnings);
  if (!subusersByClient) return outcome.counts;
  return { ...outcome.counts, ...(await syncClientSubusers(input, open, state, sources, key)) };
}

/** Right of the panel's application key by which it reads an include. */
const RIGHTS: Record<string, string> = {
  nodes: 'nodes',
  allocations: 'allocations',
  eggs: 'eggs',
  variables: 'eggs',
  databases: 'server_databases',
  subusers: 'users',
};

/** Warns of each include that the key may not read. A missing right is no empty list: nothing is deleted because of it. */
function warnOfRights(state: RunState, plans: readonly SourcePlan[]): void {
  const withSubusers = plans.some((p) => p.entities.includes('subusers'));
  for (const source of state.sources) {
    for (const include of source.missingIncludes) {
      if (include === 'host' || (include === 'subusers' && !withSubusers)) continue;
      state.warnings.push({
        code: 'RIGHT_MISSING',
        message: `the panel key may not read ${include} (right "${RIGHTS[include] ?? include}"); what is stored of them was kept`,
      });
    }
  }
}

/** Only for the replay of histories that have this command. It is never sent again: a wrong type would fail the task for ever. */
function upsertFormerAttribute(counts: SyncCounts): void {
  if (workflowInfo().typedSearchAttributes.get(SEARCH_ATTRIBUTES.syncType) === undefined) return;
  const value = Object.values(counts).reduce((n, c) => n + c.created + c.updated + c.unchanged, 0);
  upsertSearchAttributes([{ key: { name: 'ItemsSynced', type: 'INT' }, value }]);
}

function endingOf(error: unknown, state: RunState): Ending {
  if (error instanceof ReadFailed) state.failedStep = error.step;
  const cause = error instanceof ReadFailed ? error.error : error;
  return isCancellation(cause) ? { outcome: 'CANCELLED' } : { outcome: 'FAILED', error: cause };
}

/** Closes the row, also while the run is being cancelled. @returns the status that the row ended with. */
function close(input: PanelSyncInput, runId: string, state: RunState, counts: SyncCounts, ending: Ending) {
  return CancellationScope.nonCancellable(() => {
    state.phase = 'closing';
    return rowActivities.closeRun({
      logId: input.logId,
      runId,
      outcome: ending.outcome,
      code: ending.outcome === 'FAILED' ? (failureType(ending.error) ?? 'INTERNAL_ERROR') : null,
      message: ending.outcome === 'FAILED' ? (failureMessage(ending.error) ?? null) : null,
      failedStep: state.failedStep,
      dryRun: input.dryRun,
      counts,
      warnings: state.warnings.slice(0, MAX_WARNINGS),
      requests: state.requests,
      limit: state.limit,
    });
  });
}

/**
 * How the run fails: with the sentence of its log row, since the Temporal UI shows the outermost message only. A plain error
 * would fail the workflow task, which Temporal repeats for ever; the row is closed, so the run must end.
 */
function asFailure(error: unknown): TemporalFailure {
  const cause = error instanceof TemporalFailure ? error : undefined;
  const message = failureMessage(error);
  if (cause !== undefined && message === undefined) return cause;
  return ApplicationFailure.create({
    message: message ?? 'An internal error of the workflow',
    type: failureType(error) ?? 'INTERNAL_ERROR',
    nonRetryable: true,
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * Ends the run as cancelled. Temporal shows a run as cancelled only after a cancel request. The mark on the row may be
 * seen before the request arrives, and the request may be lost with its sender: wait for it, and make it if need be.
 */
async function cancelled(runId: string): Promise<never> {
  const scope = CancellationScope.current();
  const requested = () => scope.consideredCancelled;
  await CancellationScope.nonCancellable(async () => {
    if (requested() || (await condition(requested, CANCEL_ARRIVES_MS))) return;
    await rowActivities.requestCancel({ runId });
    await condition(requested, CANCEL_ARRIVES_MS);
  });
  throw new CancelledFailure('the sync was cancelled');
}

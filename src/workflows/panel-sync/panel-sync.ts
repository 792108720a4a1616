/**
 * The sync: read everything, check it, merge it in one transaction (ADR 1). One sync at a time, by the fixed workflow id
 * (ADR 2); cancellable everywhere; resumable after any crash. This file decides the order, the activities do the work.
 */
import {
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  ContinueAsNew,
  condition,
  continueAsNew,
  defineQuery,
  isCancellation,
  setHandler,
  TemporalFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { StagePagesInput } from '../../activities/sync/read-pages.ts';
import type { OpenRunResult } from '../../activities/sync/run.ts';
import { isListing, sourceName } from '../../domain/sync/source-ref.ts';
import {
  type Entity,
  type Listing,
  type SourcePlan,
  type SyncCounts,
  type SyncStatus,
  sourcesOf,
} from '../../domain/sync/targets.ts';
import { type PanelSyncInput, type PanelSyncResult, PROGRESS_QUERY, type SyncProgressView } from '../contract.ts';
import { checkActivities, mergeActivities, pageActivities, rowActivities } from './activities.ts';
import { type ClientReading, syncClientSubusers } from './client-subusers.ts';
import { confirmDeletions } from './confirm-deletions.ts';
import { beginWith, isAbsent, rightOf, workedWays } from './fallbacks.ts';
import { createPacer, type Pacer, type PacerState } from './pacer.ts';
import { failureMessage, failureType, ReadFailed } from './read-failures.ts';
import { readSources } from './read-sources.ts';
import {
  newRunState,
  type PackedState,
  packState,
  progressView,
  type RunState,
  showDetails,
  showEnding,
  unpackState,
} from './run-state.ts';
import { mergeSources, sourcesFor } from './sources.ts';

export const progressQuery = defineQuery<SyncProgressView>(PROGRESS_QUERY);

/** Maximum number of reopens of a closed row. Beyond it, assume that another run owns the row. */
const MAX_REOPEN = 5;
/** A cancel is a mark on the row and a request to the workflow. They are less than this apart, unless one was lost. */
const CANCEL_ARRIVES_MS = 1_000;
/** Events of a history after which the rest is done in a new run. The server ends a run of 51,200. */
const MAX_EVENTS = 10_000;
/** Warnings that are kept in the log row. */
const MAX_WARNINGS = 200;

/** How reading and merging ended. */
type Ending = { outcome: 'COMPLETED' } | { outcome: 'CANCELLED' } | { outcome: 'FAILED'; error: unknown };

/** A run that goes on in a new workflow run, because its history had become long: plain data. */
export interface GoingOn {
  /** Run id of the first execution: the identity of the run in rows, fences and the outbox. */
  runId: string;
  opened: number;
  open: OpenRunResult;
  state: PackedState;
  pacer: PacerState;
  /** The rest of the mirror is merged, and subusers are being read by the client API. */
  client: { counts: SyncCounts; reading: ClientReading } | null;
}

/** A run, from the opening of its row on. */
interface Run {
  input: PanelSyncInput;
  open: OpenRunResult;
  state: RunState;
  pacer: Pacer;
  /** Key of the merge. */
  key: string;
}

/** What a part of a run ends with: the counts, or what a new run goes on with. */
type Outcome = { counts: SyncCounts } | { goOn: GoingOn['client'] };

export async function panelSync(input: PanelSyncInput, going?: GoingOn): Promise<PanelSyncResult> {
  const runId = going?.runId ?? workflowInfo().runId;
  const state = going === undefined ? newRunState() : unpackState(going.state);
  setHandler(progressQuery, () => progressView(input, state));

  let counts: SyncCounts = {};
  /** Where the run goes on. A row that is opened again is read from its start. */
  let from = going;
  for (let opened = going?.opened ?? 1; ; opened += 1) {
    // Not cancellable, so that a run that was cancelled before it began still ends its row.
    const open =
      from?.open ??
      (await CancellationScope.nonCancellable(() =>
        rowActivities.openRun({ logId: input.logId, runId, reopen: opened > 1 }),
      ));
    if (open.result === 'withdrawn')
      return { status: 'WITHDRAWN', logId: input.logId, counts: {}, warnings: [], requests: state.requests };
    let ending: Ending;
    try {
      const options = { concurrency: open.concurrency, requestsPerMinute: open.requestsPerMinute ?? undefined };
      const pacer = createPacer(options, from?.pacer);
      const outcome = await readAndMerge({ input, open, state, pacer, key: `${runId}:${opened}` }, from);
      if ('goOn' in outcome) {
        const next = { runId, opened, open, state: packState(state), pacer: pacer.snapshot(), client: outcome.goOn };
        return await continueAsNew<typeof panelSync>(input, next);
      }
      counts = outcome.counts;
      ending = { outcome: 'COMPLETED' };
    } catch (error) {
      if (error instanceof ContinueAsNew) throw error;
      ending = endingOf(error, state);
    }
    from = undefined;
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
    if (status === 'CANCELLED') return cancelled();
    if (ending.outcome === 'FAILED') throw asFailure(ending.error);
    return { status, logId: input.logId, counts, warnings: state.warnings, requests: state.requests };
  }
}

async function readAndMerge(run: Run, from: GoingOn | undefined): Promise<Outcome> {
  const { input, open, state } = run;
  if (from?.client != null) return readClientSubusers(run, from.client.counts, from.client.reading);
  const plans = sourcesOf(input.target, { skipUsers: input.skipUsers, subusers: open.subusers });
  if (from === undefined) {
    Object.assign(state, {
      phase: 'reading',
      sources: sourcesFor(plans),
      warnings: [],
      waiting: null,
      failedStep: null,
    });
    beginWith(open.ways, state.sources);
  }
  showDetails(state);
  if ((await read(run)) === 'full') return { goOn: null };
  const ways = workedWays(state.sources);
  if (ways.length > 0) await rowActivities.rememberWays({ panel: open.panel, ways });

  state.phase = 'checking';
  await confirmDeletions(input.logId, open.panel, state, run.pacer);
  warnOfRights(state, plans);

  state.phase = 'writing';
  state.failedStep = 'merging';
  showDetails(state);
  return merge(run, plans);
}

/** Whether the history is so long that the run must go on in a new one. */
const isFull = ({ maxEvents }: PanelSyncInput): boolean =>
  workflowInfo().historyLength > (maxEvents ?? MAX_EVENTS) || workflowInfo().continueAsNewSuggested;

/** Maximum number of page numbers in a name. Temporal admits 400 bytes (dynamic configuration `limit.userMetadataSummarySize`). */
const MAX_NUMBERS = 16;

/** A batch as a person calls it, such as `servers, pages 3-10`. */
function batchName({ source, pages }: StagePagesInput): string {
  const [first, last] = [Math.min(...pages), Math.max(...pages)];
  if (first === last) return `${sourceName(source)}, page ${first}`;
  if (last - first + 1 === pages.length) return `${sourceName(source)}, pages ${first}-${last}`;
  return pages.length <= MAX_NUMBERS
    ? `${sourceName(source)}, pages ${pages.join(', ')}`
    : `${sourceName(source)}, ${pages.length} pages from ${first} to ${last}`;
}

/** Reads all sources, within the panel's budget (ADR 6). */
const read = ({ input, open, state, pacer }: Run): Promise<'read' | 'full'> =>
  readSources(state.sources, {
    request: {
      logId: input.logId,
      panel: open.panel,
      target: input.target,
      skipUsers: input.skipUsers,
      subusers: open.subusers,
    },
    activities: {
      // What the bars of the timeline in the Temporal UI are called.
      stagePages: (batch) => pageActivities.stagePages.executeWithOptions({ summary: batchName(batch) }, [batch]),
      eggsToAsk: pageActivities.eggsToAsk,
      stageEggs: pageActivities.stageEggs,
      verifySource: (checked) =>
        checkActivities.verifySource.executeWithOptions({ summary: sourceName(checked.source) }, [checked]),
    },
    pacer,
    warnings: state.warnings,
    isFull: () => isFull(input),
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
async function merge(run: Run, plans: readonly SourcePlan[]): Promise<Outcome> {
  const { input, open, state, key } = run;
  const planned = new Set<Entity>(plans.flatMap((p) => entitiesOf(p, state)));
  const subusersByClient =
    planned.has('subusers') &&
    state.sources.some((s) => isListing(s.source, 'servers') && s.missingIncludes.includes('subusers'));
  if (subusersByClient) planned.delete('subusers');
  const outcome = await mergeActivities.mergeRun({
    logId: input.logId,
    key,
    panel: open.panel,
    entities: [...planned],
    sources: mergeSources(state.sources),
    dryRun: input.dryRun,
  });
  if (outcome.status === 'cancelled') throw new CancelledFailure('the cancel was requested');
  state.warnings.push(...outcome.warnings);
  state.failedStep = null;
  return subusersByClient ? readClientSubusers(run, outcome.counts, null) : { counts: outcome.counts };
}

/** The entities of a listing that is not there are left alone. Without locations, nodes and allocations may still come. */
function entitiesOf(plan: SourcePlan, state: RunState): readonly Entity[] {
  const read = (listing: Listing) => state.sources.some((s) => isListing(s.source, listing) && !isAbsent(s));
  if (read(plan.source)) return plan.entities;
  return plan.source === 'locations' && read('nodes') ? plan.entities.filter((entity) => entity !== plan.source) : [];
}

/** Reads and merges the subusers by the client API. @param counts of the first merge. */
async function readClientSubusers(run: Run, counts: SyncCounts, from: ClientReading | null): Promise<Outcome> {
  const context = { ...run, key: `${run.key}:client`, isFull: () => isFull(run.input) };
  const read = await syncClientSubusers(context, from);
  return 'goOn' in read ? { goOn: { counts, reading: read.goOn } } : { counts: { ...counts, ...read.counts } };
}

/** Warns of each include that the key may not read. A missing right is no empty list: nothing is deleted because of it. */
function warnOfRights(state: RunState, plans: readonly SourcePlan[]): void {
  const withSubusers = plans.some((p) => p.entities.includes('subusers'));
  // Allocations are an include of two listings.
  const said = new Set<string>();
  for (const source of state.sources) {
    for (const include of source.missingIncludes) {
      if (said.has(include) || include === 'host' || (include === 'subusers' && !withSubusers)) continue;
      said.add(include);
      state.warnings.push({
        code: 'RIGHT_MISSING',
        message: `the panel key may not read ${include} (right "${rightOf(include)}"); what is stored of them was kept`,
      });
    }
  }
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
async function cancelled(): Promise<never> {
  const scope = CancellationScope.current();
  const requested = () => scope.consideredCancelled;
  await CancellationScope.nonCancellable(async () => {
    if (requested() || (await condition(requested, CANCEL_ARRIVES_MS))) return;
    await rowActivities.requestCancel({ runId: workflowInfo().runId });
    await condition(requested, CANCEL_ARRIVES_MS);
  });
  throw new CancelledFailure('the sync was cancelled');
}

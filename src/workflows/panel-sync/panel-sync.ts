/**
 * The sync: read everything, check it, apply it in one transaction. One at a time (fixed workflow id), cancellable
 * everywhere, resumable after any crash. What happens is in the activities; this decides when.
 */
import {
  ActivityCancellationType,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  defineQuery,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  sleep,
  TemporalFailure,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { MaintenanceActivities } from '../../activities/maintenance.ts';
import type { OpenRunResult, SyncActivities } from '../../activities/sync/run.ts';
import { clientSource } from '../../domain/sync/source-ref.ts';
import {
  type Entity,
  type SyncCounts,
  type SyncStatus,
  type SyncWarning,
  sourcesOf,
} from '../../domain/sync/targets.ts';
import {
  type PanelSyncInput,
  type PanelSyncResult,
  PROGRESS_QUERY,
  QUEUE,
  SEARCH_ATTRIBUTES,
  type SyncProgressView,
} from '../contract.ts';
import { createPacer, type Pacer } from './pacer.ts';
import { failureType, ReadFailed, readSources } from './read-sources.ts';
import { itemsOf, pagesOf, type SourceState, sourcesFor } from './sources.ts';

export const progressQuery = defineQuery<SyncProgressView>(PROGRESS_QUERY);

const OWN_DATABASE = { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '15s' } as const;
const rowActs = proxyActivities<
  Pick<SyncActivities, 'openRun' | 'closeRun'> & Pick<MaintenanceActivities, 'requestCancel'>
>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '10s',
  retry: OWN_DATABASE,
});
const checkActs = proxyActivities<Pick<SyncActivities, 'verifyStage'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '30s',
  heartbeatTimeout: '10s',
  cancellationType: ActivityCancellationType.TRY_CANCEL,
  retry: OWN_DATABASE,
});
const PANEL_RETRY = {
  initialInterval: '1s',
  backoffCoefficient: 2,
  maximumInterval: '30s',
  maximumAttempts: 30,
} as const;
const pageActs = proxyActivities<Pick<SyncActivities, 'stagePages' | 'stageClientSubusers'>>({
  taskQueue: QUEUE.panel,
  startToCloseTimeout: '3m',
  heartbeatTimeout: '10s',
  // The fence drops late writes, so nobody needs to wait for a page that is being called off.
  cancellationType: ActivityCancellationType.TRY_CANCEL,
  retry: PANEL_RETRY,
});
const askActs = proxyActivities<Pick<SyncActivities, 'confirmGone'>>({
  taskQueue: QUEUE.panel,
  startToCloseTimeout: '1m',
  heartbeatTimeout: '10s',
  cancellationType: ActivityCancellationType.TRY_CANCEL,
  retry: PANEL_RETRY,
});
const applyActs = proxyActivities<Pick<SyncActivities, 'applyStage'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '15m',
  heartbeatTimeout: '15s',
  // Whether it committed must be known before the run is closed.
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 20 },
});

/** Times a run takes its row back after somebody closed it (a reset, the watch); more would be a fight. */
const MAX_REOPEN = 5;
/** A cancel's two halves, the mark and the request, are not further apart than this unless one was lost. */
const CANCEL_ARRIVES_MS = 1_000;
/** Pause between batches of the client API (contract: 2 s). */
const BATCH_PAUSE = '2s';

interface RunState {
  phase: SyncProgressView['phase'];
  sources: SourceState[];
  warnings: SyncWarning[];
  requests: number;
  waiting: string | null;
  failedStep: string | null;
}

export async function panelSync(input: PanelSyncInput): Promise<PanelSyncResult> {
  const { runId } = workflowInfo();
  const state: RunState = { phase: 'opening', sources: [], warnings: [], requests: 0, waiting: null, failedStep: null };
  setHandler(progressQuery, () => view(input, state));

  let counts: SyncCounts = {};
  const close = (outcome: 'COMPLETED' | 'FAILED' | 'CANCELLED', code: string | null) =>
    CancellationScope.nonCancellable(() => {
      state.phase = 'closing';
      return rowActs.closeRun({
        logId: input.logId,
        runId,
        outcome,
        code,
        failedStep: state.failedStep,
        dryRun: input.dryRun,
        counts,
        warnings: state.warnings.slice(0, 200),
      });
    });

  for (let opened = 1; ; opened += 1) {
    // Shielded, so that a run that was cancelled before it began still ends its row.
    const open = await CancellationScope.nonCancellable(() =>
      rowActs.openRun({ logId: input.logId, runId, reopen: opened > 1 }),
    );
    if (open.result === 'withdrawn')
      return { status: 'WITHDRAWN', logId: input.logId, counts: {}, warnings: [], requests: state.requests };
    let ending: Ending;
    try {
      counts = await readAndApply(input, open, state, `${runId}:${opened}`);
      ending = { outcome: 'COMPLETED' };
    } catch (error) {
      if (error instanceof ReadFailed) state.failedStep = error.step;
      const cause = error instanceof ReadFailed ? error.error : error;
      ending = isCancellation(cause) ? { outcome: 'CANCELLED' } : { outcome: 'FAILED', error: cause };
    }
    const mayReopen = opened <= MAX_REOPEN && ending.outcome !== 'CANCELLED';
    // A reset run finds its row closed, and its stage gone with it: it takes the row back and reads afresh.
    if (ending.outcome === 'FAILED' && failureType(ending.error) === 'RUN_CLOSED' && mayReopen) continue;
    let status: SyncStatus = ending.outcome;
    try {
      status = await close(ending.outcome, ending.outcome === 'FAILED' ? codeOf(ending.error) : null);
    } catch (closing) {
      if (failureType(closing) !== 'RUN_CLOSED') throw closing;
      if (mayReopen) continue;
      // Closed by somebody else: its status stands.
    }
    if (status === 'CANCELLED') return cancelled(runId);
    if (ending.outcome === 'FAILED') throw asFailure(ending.error);
    return { status, logId: input.logId, counts, warnings: state.warnings, requests: state.requests };
  }
}

type Ending = { outcome: 'COMPLETED' } | { outcome: 'CANCELLED' } | { outcome: 'FAILED'; error: unknown };

const codeOf = (error: unknown) => failureType(error) ?? 'INTERNAL_ERROR';

/** A plain error would fail the workflow task, which is tried for ever: the row is closed, so the run must end too. */
const asFailure = (error: unknown) =>
  error instanceof TemporalFailure
    ? error
    : ApplicationFailure.nonRetryable('An internal error of the workflow', 'INTERNAL_ERROR');

/**
 * Ends the run as cancelled. The mark on the row may be seen before the request arrives here (or the request may be
 * lost with its sender): a run counts as cancelled only once it is asked to, so that is waited for and, if need be, done.
 */
async function cancelled(runId: string): Promise<never> {
  const scope = CancellationScope.current();
  const asked = () => scope.consideredCancelled;
  await CancellationScope.nonCancellable(async () => {
    if (asked() || (await condition(asked, CANCEL_ARRIVES_MS))) return;
    await rowActs.requestCancel({ runId });
    await condition(asked, CANCEL_ARRIVES_MS);
  });
  throw new CancelledFailure('the sync was cancelled');
}

async function readAndApply(
  input: PanelSyncInput,
  open: OpenRunResult,
  state: RunState,
  key: string,
): Promise<SyncCounts> {
  const plans = sourcesOf(input.target, { skipUsers: input.skipUsers, subusers: open.subusers });
  const pacer = createPacer({ concurrency: open.concurrency, requestsPerMinute: open.requestsPerMinute ?? undefined });
  Object.assign(state, { phase: 'reading', sources: sourcesFor(plans), warnings: [], waiting: null, failedStep: null });
  describe(state);

  await readSources(state.sources, {
    request: { logId: input.logId, target: input.target, skipUsers: input.skipUsers, subusers: open.subusers },
    activities: { stagePages: pageActs.stagePages, verifyStage: checkActs.verifyStage },
    pacer,
    warnings: state.warnings,
    onWait: (reason) => {
      state.waiting = reason;
      describe(state);
    },
    onSource: () => describe(state),
    onRequests: (answered) => {
      state.requests += answered;
    },
  });

  state.phase = 'checking';
  await confirm(input, state, pacer);
  warnOfRights(
    state,
    plans.flatMap((p) => p.entities),
  );

  state.phase = 'writing';
  state.failedStep = 'applying';
  describe(state);
  const subusersByClient = plans.some((p) => p.entities.includes('subusers')) && lacks(state, 'servers', 'subusers');
  const entities = [...new Set(plans.flatMap((p) => p.entities))].filter(
    (e) => !(e === 'subusers' && subusersByClient),
  );
  const sources = applied(state);
  const outcome = await applyActs.applyStage({ logId: input.logId, key, entities, sources, dryRun: input.dryRun });
  if (outcome.status === 'cancelled') throw new CancelledFailure('the cancel was asked for');
  state.warnings.push(...outcome.warnings);
  const counts = { ...outcome.counts };
  if (subusersByClient) Object.assign(counts, await lateSubusers(input, open, state, sources, key));
  state.failedStep = null;
  const synced = Object.values(counts).reduce((n, c) => n + c.created + c.updated + c.unchanged, 0);
  if (workflowInfo().typedSearchAttributes.get(SEARCH_ATTRIBUTES.syncType) !== undefined) {
    upsertSearchAttributes([{ key: SEARCH_ATTRIBUTES.itemsSynced, value: synced }]);
  }
  return counts;
}

const lacks = (state: RunState, source: string, include: string) =>
  state.sources.some((s) => s.source === source && s.missing.includes(include));

const applied = (state: RunState) =>
  state.sources
    .filter((s) => s.state === 'complete' || s.state === 'incomplete')
    .map((s) => ({
      source: s.source,
      pass: s.pass,
      complete: s.state === 'complete',
      pages: s.pagesTotal,
      missing: s.missing,
    }));

/** A right that is missing is not an empty list: nothing is deleted on it, and somebody is told. */
function warnOfRights(state: RunState, entities: readonly Entity[]): void {
  const right: Record<string, string> = {
    nodes: 'nodes',
    allocations: 'allocations',
    eggs: 'eggs',
    variables: 'eggs',
    databases: 'server_databases',
    subusers: 'users',
  };
  for (const source of state.sources) {
    for (const include of source.missing) {
      if (include === 'host' || (include === 'subusers' && !entities.includes('subusers'))) continue;
      state.warnings.push({
        code: 'RIGHT_MISSING',
        message: `the panel key may not read ${include} (right "${right[include] ?? include}"); what is stored of them was kept`,
      });
    }
  }
}

/**
 * Several pages cannot prove absence: each candidate is asked for before it may be pruned. When the panel cannot answer
 * that, nobody is pruned for it.
 */
async function confirm(input: PanelSyncInput, state: RunState, pacer: Pacer): Promise<void> {
  let lot = 0;
  for (const source of state.sources) {
    for (const { entity } of source.gone) {
      state.failedStep = entity;
      try {
        for (let after: number | null = 0; after !== null; ) {
          lot += 1;
          after = await confirmLot(input, state, pacer, {
            entity,
            source: source.source,
            pass: source.pass,
            after,
            lot,
          });
        }
      } catch (error) {
        if (failureType(error) !== 'PANEL_UNAVAILABLE') throw error;
        state.warnings.push({
          code: 'CONFIRM_FAILED',
          entity,
          message: `the panel could not say whether missing ${entity} are gone; those it did not deny were kept`,
        });
      }
    }
  }
}

/** Asks for one lot of candidates. @returns where the next lot begins; null after the last. */
async function confirmLot(
  input: PanelSyncInput,
  state: RunState,
  pacer: Pacer,
  ask: Omit<Parameters<SyncActivities['confirmGone']>[0], 'logId'>,
): Promise<number | null> {
  for (let allowed = false; !allowed; ) {
    const now = Date.now();
    allowed = pacer.allowance(now) >= 1;
    if (allowed) break;
    const wait = Math.max(1, (pacer.wakeAt(now) ?? now + 1_000) - now);
    await sleep(wait, { summary: `panel window, ${Math.ceil(wait / 1_000)} s` });
  }
  const token = pacer.launched(1, Date.now());
  const answer = await askActs.confirmGone({ logId: input.logId, ...ask }).catch((error: unknown) => {
    pacer.released(token);
    throw error;
  });
  pacer.landed(token, answer.answers, Date.now(), false);
  state.requests += answer.answers.length;
  if (answer.stopped?.kind === 'cancelled') throw new CancelledFailure('the cancel was asked for');
  if (answer.stopped?.kind === 'throttled') pacer.throttled(answer.stopped.retryAfterMs, Date.now());
  return answer.next;
}

/** The client API in the place of an include the key may not read. Its failure is a warning. */
async function lateSubusers(
  input: PanelSyncInput,
  open: OpenRunResult,
  state: RunState,
  sources: ReturnType<typeof applied>,
  key: string,
): Promise<SyncCounts> {
  if (!open.clientKey) {
    state.warnings.push({
      code: 'SUBUSERS_SKIPPED',
      entity: 'subusers',
      message: '⊘ Skipped - client API key not configured',
    });
    return {};
  }
  const servers = state.sources.find((s) => s.source === 'servers');
  try {
    const late: ReturnType<typeof applied> = [];
    let after: number | null = 0;
    for (let batch = 1; after !== null; batch += 1) {
      if (batch > 1) await sleep(BATCH_PAUSE, { summary: 'pause between batches of the client API' });
      const answer: Awaited<ReturnType<SyncActivities['stageClientSubusers']>> = await pageActs.stageClientSubusers({
        logId: input.logId,
        pass: servers?.pass ?? 1,
        after,
        batch,
        size: open.batchSize,
      });
      if (answer.stopped?.kind === 'cancelled') throw new CancelledFailure('the cancel was asked for');
      if (answer.stopped?.kind === 'throttled')
        await sleep(answer.stopped.retryAfterMs, { summary: 'the client API asks to wait' });
      else late.push({ source: clientSource(batch), pass: 1, complete: true, pages: 1, missing: [] });
      after = answer.next;
    }
    const outcome = await applyActs.applyStage({
      logId: input.logId,
      key: `${key}:late`,
      entities: ['subusers'],
      sources: [...sources, ...late],
      dryRun: input.dryRun,
    });
    if (outcome.status === 'cancelled') throw new CancelledFailure('the cancel was asked for');
    state.warnings.push(...outcome.warnings);
    return outcome.counts;
  } catch (error) {
    if (isCancellation(error) || failureType(error) === 'RUN_CLOSED') throw error;
    state.warnings.push({
      code: 'SUBUSERS_FAILED',
      entity: 'subusers',
      message: `subusers could not be read by the client API (${failureType(error) ?? 'error'})`,
    });
    return {};
  }
}

function view(input: PanelSyncInput, state: RunState): SyncProgressView {
  return {
    logId: input.logId,
    target: input.target,
    phase: state.phase,
    sources: state.sources.map((s) => ({
      source: s.source,
      pass: s.pass,
      pagesDone: pagesOf(s),
      pagesTotal: s.pagesTotal,
      items: itemsOf(s),
      complete: s.state === 'complete',
    })),
    requests: state.requests,
    waiting: state.waiting,
    warnings: state.warnings,
  };
}

/** What the Temporal UI shows of a running sync. */
function describe(state: RunState): void {
  const lines = state.sources
    .slice(0, 20)
    .map((s) => `- ${s.source}: page ${pagesOf(s)} of ${s.pagesTotal || '?'}, ${itemsOf(s)} records, ${s.state}`);
  setCurrentDetails(
    [`**${state.phase}**${state.waiting === null ? '' : ` (waiting: ${state.waiting})`}`, '', ...lines].join('\n'),
  );
}

/**
 * The sync: read everything, check it, apply it in one transaction. One at a time (fixed workflow id), cancellable
 * everywhere, resumable after any crash. What happens is in the activities; this decides when.
 */
import {
  ActivityCancellationType,
  CancellationScope,
  CancelledFailure,
  defineQuery,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { OpenRunResult, SyncActivities } from '../activities/sync.ts';
import { type Entity, type SyncCounts, type SyncWarning, sourcesOf } from '../domain/sync.ts';
import {
  type PanelSyncInput,
  type PanelSyncResult,
  PROGRESS_QUERY,
  QUEUE,
  SEARCH_ATTRIBUTES,
  type SyncProgressView,
} from './contract.ts';
import { createPacer, type Pacer } from './pacer.ts';
import { failureType, ReadFailed, readSources, type SourceState, sourcesFor } from './reader.ts';

export const progressQuery = defineQuery<SyncProgressView>(PROGRESS_QUERY);

const OWN_DATABASE = { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '15s' } as const;
const rowActs = proxyActivities<Pick<SyncActivities, 'openRun' | 'closeRun'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '10s',
  retry: OWN_DATABASE,
});
const checkActs = proxyActivities<Pick<SyncActivities, 'verifyStage'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '30s',
  heartbeatTimeout: '10s',
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

  try {
    for (let opened = 1; ; opened += 1) {
      const open = await rowActs.openRun({ logId: input.logId, runId, reopen: opened > 1 });
      if (open.result === 'withdrawn')
        return { status: 'WITHDRAWN', logId: input.logId, counts: {}, warnings: [], requests: 0 };
      try {
        counts = await readAndApply(input, open, state, `${runId}:${opened}`);
        const status = await close('COMPLETED', null);
        if (status === 'CANCELLED') throw new CancelledFailure('the sync was cancelled');
        return { status, logId: input.logId, counts, warnings: state.warnings, requests: state.requests };
      } catch (error) {
        const cause = error instanceof ReadFailed ? error.error : error;
        // A reset run finds its row closed, and its stage gone with it: it takes the row back and reads afresh.
        if (failureType(cause) === 'RUN_CLOSED' && opened <= MAX_REOPEN && !isCancellation(cause)) continue;
        if (error instanceof ReadFailed) state.failedStep = error.step;
        throw cause;
      }
    }
  } catch (error) {
    const cancelled = isCancellation(error);
    try {
      await close(cancelled ? 'CANCELLED' : 'FAILED', cancelled ? null : (failureType(error) ?? 'INTERNAL_ERROR'));
    } catch (closing) {
      // Closed by somebody else: its status stands.
      if (failureType(closing) !== 'RUN_CLOSED') throw closing;
    }
    throw error;
  }
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

/** Several pages cannot prove absence: each candidate is asked for before it may be pruned. */
async function confirm(input: PanelSyncInput, state: RunState, pacer: Pacer): Promise<void> {
  let lot = 0;
  for (const source of state.sources) {
    for (const { entity } of source.gone) {
      let after: number | null = 0;
      while (after !== null) {
        const wait =
          pacer.allowance(Date.now()) >= 1 ? 0 : (pacer.wakeAt(Date.now()) ?? Date.now() + 1_000) - Date.now();
        if (wait > 0) await sleep(wait, { summary: `panel window, ${Math.ceil(wait / 1_000)} s` });
        pacer.launched(1, Date.now());
        lot += 1;
        const answer: Awaited<ReturnType<SyncActivities['confirmGone']>> = await askActs.confirmGone({
          logId: input.logId,
          entity,
          source: source.source,
          pass: source.pass,
          after,
          lot,
        });
        pacer.landed(1, answer.answers, Date.now(), false);
        state.requests += answer.answers.length;
        if (answer.stopped?.kind === 'cancelled') throw new CancelledFailure('the cancel was asked for');
        if (answer.stopped?.kind === 'throttled') pacer.throttled(answer.stopped.retryAfterMs, Date.now());
        after = answer.next;
      }
    }
  }
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
      else late.push({ source: `client:${batch}`, pass: 1, complete: true, pages: 1, missing: [] });
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
      pagesDone: s.done.length,
      pagesTotal: s.pagesTotal,
      items: s.items,
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
    .map((s) => `- ${s.source}: page ${s.done.length} of ${s.pagesTotal || '?'}, ${s.items} records, ${s.state}`);
  setCurrentDetails(
    [`**${state.phase}**${state.waiting === null ? '' : ` (waiting: ${state.waiting})`}`, '', ...lines].join('\n'),
  );
}

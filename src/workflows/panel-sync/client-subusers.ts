/** Subusers by the client API, where the application key lacks the right to read them as an include. */
import { CancelledFailure, isCancellation, sleep } from '@temporalio/workflow';
import type { OpenRunResult } from '../../activities/sync/run.ts';
import { isListing } from '../../domain/sync/source-ref.ts';
import type { SyncCounts } from '../../domain/sync/targets.ts';
import type { PanelSyncInput } from '../contract.ts';
import { mergeActivities, pageActivities } from './activities.ts';
import { failureType } from './read-sources.ts';
import type { RunState } from './run-state.ts';
import type { MergeSource } from './sources.ts';

/** Pause between batches of the client API (contract: 2 s). */
const BATCH_PAUSE = '2s';

/**
 * Reads and merges the subusers of all servers, after the rest of the mirror was merged.
 * @param sources sources of the first merge, `key` its key.
 * @returns counts of the subusers; none when they could not be read, which is a warning and no failure.
 */
export async function syncClientSubusers(
  input: PanelSyncInput,
  open: OpenRunResult,
  state: RunState,
  sources: readonly MergeSource[],
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
  try {
    const pass = state.sources.find((s) => isListing(s.source, 'servers'))?.pass ?? 1;
    const batches = await stageBatches(input.logId, pass, open.batchSize);
    const outcome = await mergeActivities.mergeRun({
      logId: input.logId,
      key: `${key}:client`,
      panel: open.panel,
      entities: ['subusers'],
      sources: [...sources, ...batches],
      dryRun: input.dryRun,
    });
    if (outcome.status === 'cancelled') throw new CancelledFailure('the cancel was requested');
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

/** Stages the subusers of all servers, batch by batch. @returns the staged sources. */
async function stageBatches(logId: string, pass: number, size: number): Promise<MergeSource[]> {
  const staged: MergeSource[] = [];
  let after: number | null = 0;
  for (let batch = 1; after !== null; batch += 1) {
    if (batch > 1) await sleep(BATCH_PAUSE, { summary: 'pause between batches of the client API' });
    const answer: Awaited<ReturnType<typeof pageActivities.stageClientSubusers>> =
      await pageActivities.stageClientSubusers({ logId, pass, after, batch, size });
    if (answer.stopped?.kind === 'cancelled') throw new CancelledFailure('the cancel was requested');
    if (answer.stopped?.kind === 'throttled')
      await sleep(answer.stopped.retryAfterMs, { summary: 'the client API asks to wait' });
    else staged.push({ source: { kind: 'client', batch }, pass: 1, complete: true, pages: 1, missingIncludes: [] });
    after = answer.next;
  }
  return staged;
}

/** Subusers by the client API, where the application key lacks the right to read them as an include. */
import { CancelledFailure, isCancellation, sleep } from '@temporalio/workflow';
import type { StageClientSubusersInput } from '../../activities/sync/client-subusers.ts';
import type { OpenRunResult } from '../../activities/sync/run.ts';
import { isListing } from '../../domain/sync/source-ref.ts';
import type { SyncCounts } from '../../domain/sync/targets.ts';
import type { PanelSyncInput } from '../contract.ts';
import { mergeActivities, pageActivities } from './activities.ts';
import { failureType } from './read-failures.ts';
import type { RunState } from './run-state.ts';
import { mergeSources } from './sources.ts';

/** Pause between batches of the client API (contract: 2 s). */
const BATCH_PAUSE = '2s';

/** How far the subusers are read: plain data. */
export type ClientReading = Pick<StageClientSubusersInput, 'after' | 'batch'>;

interface ClientContext {
  input: PanelSyncInput;
  open: OpenRunResult;
  state: RunState;
  /** Key of the merge. */
  key: string;
  /** Whether the history is so long that the rest must be read in a new run. */
  isFull: () => boolean;
}

/**
 * Reads and merges the subusers of all servers, after the rest of the mirror was merged.
 * @param from where to begin; null: at the first server.
 * @returns counts of the subusers (none when they could not be read, which is a warning and no failure), or where a new run
 * must go on.
 */
export async function syncClientSubusers(
  context: ClientContext,
  from: ClientReading | null,
): Promise<{ counts: SyncCounts } | { goOn: ClientReading }> {
  const { input, open, state, key } = context;
  if (!open.clientKey) {
    state.warnings.push({
      code: 'SUBUSERS_SKIPPED',
      entity: 'subusers',
      message: '⊘ Skipped - client API key not configured',
    });
    return { counts: {} };
  }
  try {
    const read = await stageBatches(context, from ?? { after: null, batch: 1 });
    if (!read.whole) return { goOn: read.at };
    const client = {
      source: { kind: 'client' },
      pass: 1,
      complete: true,
      pages: read.at.batch,
      missingIncludes: [],
    } as const;
    const outcome = await mergeActivities.mergeRun({
      logId: input.logId,
      key,
      panel: open.panel,
      entities: ['subusers'],
      sources: [...mergeSources(state.sources), { ...client, missingIncludes: [] }],
      dryRun: input.dryRun,
    });
    if (outcome.status === 'cancelled') throw new CancelledFailure('the cancel was requested');
    state.warnings.push(...outcome.warnings);
    return { counts: outcome.counts };
  } catch (error) {
    if (isCancellation(error) || failureType(error) === 'RUN_CLOSED') throw error;
    state.warnings.push({
      code: 'SUBUSERS_FAILED',
      entity: 'subusers',
      message: `subusers could not be read by the client API (${failureType(error) ?? 'error'})`,
    });
    return { counts: {} };
  }
}

/** Stages the subusers of all servers, batch by batch, until the history is too long. */
async function stageBatches(
  { input, open, state, isFull }: ClientContext,
  from: ClientReading,
): Promise<{ whole: boolean; at: ClientReading }> {
  const pass = state.sources.find((s) => isListing(s.source, 'servers'))?.pass ?? 1;
  let { after, batch } = from;
  for (;;) {
    if (isFull()) return { whole: false, at: { after, batch } };
    if (batch > 1) await sleep(BATCH_PAUSE, { summary: 'pause between batches of the client API' });
    const answer: Awaited<ReturnType<typeof pageActivities.stageClientSubusers>> =
      await pageActivities.stageClientSubusers({
        logId: input.logId,
        panel: open.panel,
        pass,
        after,
        batch,
        size: open.batchSize,
      });
    if (answer.stopped?.kind === 'cancelled') throw new CancelledFailure('the cancel was requested');
    if (answer.stopped?.kind === 'throttled') {
      await sleep(answer.stopped.retryAfterMs, { summary: 'the client API asks to wait' });
      continue;
    }
    // One request per server: they count for the share of the live mirror, too.
    state.requests += answer.servers;
    if (answer.next === null) return { whole: true, at: { after, batch } };
    after = answer.next;
    batch += 1;
  }
}

/**
 * Confirms deletions with the panel. A listing of several pages cannot prove that a row is gone, so each row that it did
 * not contain is looked up before it may be deleted.
 */
import { CancelledFailure, sleep } from '@temporalio/workflow';
import type { ConfirmDeletionsInput } from '../../activities/sync/confirm-deletions.ts';
import { confirmActivities } from './activities.ts';
import type { Pacer } from './pacer.ts';
import { failureType } from './read-sources.ts';
import type { RunState } from './run-state.ts';

/** Confirms all candidates. Where the panel cannot answer, unconfirmed rows are kept and a warning says so. */
export async function confirmDeletions(logId: string, state: RunState, pacer: Pacer): Promise<void> {
  let batch = 0;
  for (const { source, pass, candidates } of state.sources) {
    for (const { entity } of candidates) {
      state.failedStep = entity;
      try {
        for (let after: number | null = 0; after !== null; ) {
          batch += 1;
          after = await confirmBatch(state, pacer, { logId, entity, source, pass, after, batch });
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

/** Looks up one batch of candidates. @returns where the next batch begins; null after the last. */
async function confirmBatch(state: RunState, pacer: Pacer, input: ConfirmDeletionsInput): Promise<number | null> {
  for (let allowed = false; !allowed; ) {
    const now = Date.now();
    allowed = pacer.allowance(now) >= 1;
    if (allowed) break;
    const wait = Math.max(1, (pacer.wakeAt(now) ?? now + 1_000) - now);
    await sleep(wait, { summary: `panel window, ${Math.ceil(wait / 1_000)} s` });
  }
  const token = pacer.launched(1, Date.now());
  const answer = await confirmActivities.confirmDeletions(input).catch((error: unknown) => {
    pacer.released(token);
    throw error;
  });
  pacer.landed(token, answer.answers, Date.now(), false);
  state.requests += answer.answers.length;
  if (answer.stopped?.kind === 'cancelled') throw new CancelledFailure('the cancel was requested');
  if (answer.stopped?.kind === 'throttled') pacer.throttled(answer.stopped.retryAfterMs, Date.now());
  return answer.next;
}

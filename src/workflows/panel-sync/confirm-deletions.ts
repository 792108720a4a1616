/**
 * Confirms deletions with the panel. A listing of several pages cannot prove that a row is gone, so each row that it did
 * not contain is asked for before it may be deleted. That needs no listing that stood still while it was read.
 */
import { ActivityFailure, CancelledFailure, sleep, TimeoutFailure } from '@temporalio/workflow';
import type { ConfirmDeletionsInput, ConfirmDeletionsResult } from '../../activities/sync/confirm-deletions.ts';
import type { ConfirmedEntity } from '../../domain/sync/targets.ts';
import { confirmActivities } from './activities.ts';
import type { Pacer } from './pacer.ts';
import { failureType } from './read-failures.ts';
import { type RunState, showDetails } from './run-state.ts';

/** Requests per batch: no more than rows. */
const MAX_REQUESTS = 25;
/** Requests per entity and run: the next run asks for the rest, so a mirror full of old rows holds no run up for long. */
const MAX_REQUESTS_PER_ENTITY = 500;

/**
 * Asks for all candidates. Where the panel cannot answer, unconfirmed rows are kept and a warning says so.
 * @param panel fingerprint of the panel that was read.
 */
export async function confirmDeletions(logId: string, panel: string, state: RunState, pacer: Pacer): Promise<void> {
  const entities = new Set(state.sources.flatMap(({ candidates }) => candidates.map(({ entity }) => entity)));
  if (entities.size > 0) showDetails(state);
  for (const entity of entities) {
    state.failedStep = entity;
    const kept = await askFor(entity, { logId, panel }, state, pacer);
    if (kept !== null) state.warnings.push({ code: 'CONFIRM_FAILED', entity, message: kept });
  }
}

/** Asks for the missing rows of one entity. @returns why some were kept without an answer; null when all have one. */
async function askFor(
  entity: ConfirmedEntity,
  of: { logId: string; panel: string },
  state: RunState,
  pacer: Pacer,
): Promise<string | null> {
  let unknown = 0;
  let requests = 0;
  let place: { after: number | null; singly: boolean } = { after: 0, singly: false };
  try {
    for (let batch = 1; place.after !== null; batch += 1) {
      if (requests >= MAX_REQUESTS_PER_ENTITY)
        return `too many ${entity} are missing to ask the panel for each in one run; those not asked for were kept, the next run asks for them`;
      const { after, singly } = place;
      const answer: ConfirmDeletionsResult = await askBatch(state, pacer, { ...of, entity, after, batch, singly });
      unknown += answer.unknown;
      requests += answer.answers.length;
      place = { after: answer.next, singly: answer.singly };
    }
  } catch (error) {
    if (!isNoAnswer(error)) throw error;
    return `the panel could not say whether missing ${entity} are gone; those it did not deny were kept`;
  }
  return unknown === 0
    ? null
    : `of ${unknown} missing ${entity} the panel gave no answer that can be believed; they were kept`;
}

/** The panel did not answer, or not in time: the rows are kept, and the run goes on. */
export const isNoAnswer = (error: unknown): boolean =>
  failureType(error) === 'PANEL_UNAVAILABLE' ||
  (error instanceof ActivityFailure && error.cause instanceof TimeoutFailure);

/** Asks for one batch of rows, with as many requests as the panel's budget allows now. */
async function askBatch(
  state: RunState,
  pacer: Pacer,
  input: Omit<ConfirmDeletionsInput, 'requests'>,
): Promise<ConfirmDeletionsResult> {
  const requests = Math.min(MAX_REQUESTS, await allowance(pacer));
  const token = pacer.launched(requests, Date.now());
  const answer = await confirmActivities.confirmDeletions({ ...input, requests }).catch((error: unknown) => {
    pacer.released(token);
    throw error;
  });
  pacer.landed(token, answer.answers, Date.now(), false);
  state.requests += answer.answers.length;
  if (answer.stopped?.kind === 'cancelled') throw new CancelledFailure('the cancel was requested');
  if (answer.stopped?.kind === 'throttled') pacer.throttled(answer.stopped.retryAfterMs, Date.now());
  return answer;
}

/** Waits until the pacer allows a request. @returns how many it allows. */
async function allowance(pacer: Pacer): Promise<number> {
  for (;;) {
    const now = Date.now();
    const allowed = pacer.allowance(now);
    if (allowed >= 1) return allowed;
    const wait = Math.max(1, (pacer.wakeAt(now) ?? now + 1_000) - now);
    await sleep(wait, { summary: `panel window, ${Math.ceil(wait / 1_000)} s` });
  }
}

/** A device login: it gets a code, waits at the interval of Hytale until a person approves it, and keeps the tokens. */
import {
  allHandlersFinished,
  CancellationScope,
  condition,
  defineQuery,
  defineUpdate,
  isCancellation,
  setCurrentDetails,
  setHandler,
  sleep,
} from '@temporalio/workflow';
import { CODE_UPDATE, HYTALE_QUERY, type HytaleLoginInput, type HytaleView } from '../contract.ts';
import { asked, rows } from './activities.ts';
import { type Step, viewOf } from './entity.ts';

/** Ends with what became of it. Polls: at most one in five seconds, for a quarter of an hour. */
export async function hytaleLogin({ loginId }: HytaleLoginInput): Promise<HytaleView> {
  let last: Step | undefined;
  setHandler(defineQuery<HytaleView | undefined>(HYTALE_QUERY), () => last && viewOf(last));
  setHandler(defineUpdate<HytaleView>(CODE_UPDATE), async () => {
    await condition(() => last !== undefined && last.status !== 'requested');
    return viewOf(last as Step);
  });
  try {
    for (;;) {
      const step = await asked.advanceLogin({ loginId });
      last = step;
      setCurrentDetails(`**${step.status}**\n\n${step.why}`);
      if (step.over) break;
      if (step.ms !== null && step.ms > 0) await sleep(step.ms, { summary: step.why.slice(0, 200) });
    }
  } catch (error) {
    if (isCancellation(error)) await CancellationScope.nonCancellable(() => rows.cancelLogin({ loginId }));
    throw error;
  }
  await condition(allHandlersFinished);
  return viewOf(last as Step);
}

/**
 * The live mirror (ADR 18): one workflow for as long as the settings want it. It starts a full sync whenever one is due, and
 * waits in between. What is due is decided by the log rows, so a run of this workflow has nothing to hand over to the next.
 */
import {
  condition,
  continueAsNew,
  defineSignal,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  uuid4,
  workflowInfo,
} from '@temporalio/workflow';
import type { LiveMirrorActivities } from '../activities/live-mirror.ts';
import { CHANGED_SIGNAL, type MirrorTick, QUEUE } from './contract.ts';

const acts = proxyActivities<LiveMirrorActivities>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '30s',
  // Without end: after an outage the mirror goes on by itself.
  retry: { initialInterval: '2s', backoffCoefficient: 2, maximumInterval: '30s' },
});

/** Looks of a run. At about eleven events each, a history stays short enough to be replayed at once. */
const LOOKS_PER_RUN = 100;

export async function liveMirror(): Promise<{ ended: string }> {
  let changed = false;
  setHandler(defineSignal(CHANGED_SIGNAL), () => {
    changed = true;
  });
  for (let looks = 1; ; looks += 1) {
    changed = false;
    // The id is created here, so that a repeated activity requests the same row.
    const tick = await acts.tickMirror({ logId: uuid4() });
    if (tick.did === 'ended') return { ended: tick.why };
    setCurrentDetails(detailsOf(tick, Date.now()));
    await condition(() => changed, Math.max(1_000, tick.waitMs), { summary: tick.why.slice(0, 200) });
    if (looks >= LOOKS_PER_RUN || workflowInfo().continueAsNewSuggested) return continueAsNew<typeof liveMirror>();
  }
}

/** What an administrator reads in Temporal's interface. */
const detailsOf = ({ did, why, waitMs }: MirrorTick, now: number): string =>
  `**${did}**: ${why}\n\nNext look: ${new Date(now + waitMs).toISOString()}`;

/** The activities of the Hytale workflows, by the queue that carries them. */
import { proxyActivities } from '@temporalio/workflow';
import type { HytaleActivities } from '../../activities/hytale.ts';
import { QUEUE } from '../contract.ts';

type Steps = Pick<HytaleActivities, 'advanceLogin' | 'advanceAccount' | 'advanceSession'>;

/** What Hytale answers is a result. These are failures of ours, such as a database that is away. */
const RETRY = { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s' } as const;
/** A request has 30 s, and its answer waits for a database that is away. A heartbeat notices a lost worker sooner. */
const STEP = { startToCloseTimeout: '4m', heartbeatTimeout: '15s', retry: RETRY } as const;
// A cancelled step may still spend a token: only its end says which of the two happened.
const FINISHED = { cancellationType: 'WAIT_CANCELLATION_COMPLETED' } as const;

/** Steps that a timer causes: thousands can be due at once, so they do not share a queue with what somebody waits for. */
export const timed = proxyActivities<Steps>({ taskQueue: QUEUE.hytale, ...STEP, ...FINISHED });
/** Steps that somebody waits for. */
export const asked = proxyActivities<Steps>({ taskQueue: QUEUE.outbound, ...STEP, ...FINISHED });
/** Calls of the panel: a panel that does not answer holds up no renewal. */
export const panel = proxyActivities<Pick<HytaleActivities, 'pushSession'>>({
  taskQueue: QUEUE.panel,
  ...STEP,
  ...FINISHED,
});
/** Waits for another workflow. Its queue must not be the one on which that workflow acts. */
export const others = proxyActivities<Pick<HytaleActivities, 'renewAccount'>>({
  taskQueue: QUEUE.hytale,
  startToCloseTimeout: '5m',
  heartbeatTimeout: '15s',
  retry: RETRY,
});
/** Work on the database. */
export const rows = proxyActivities<Pick<HytaleActivities, 'cancelLogin' | 'endCancelled'>>({
  taskQueue: QUEUE.core,
  startToCloseTimeout: '30s',
  retry: RETRY,
});

/** A game session: created, renewed before it expires, pushed to its server, ended. */
import { CancellationScope, condition, continueAsNew, isCancellation } from '@temporalio/workflow';
import { type HytaleSessionInput, type HytaleView, nextRun, type SessionWish } from '../contract.ts';
import { asked, others, panel, rows, timed } from './activities.ts';
import { live, type Step } from './entity.ts';

interface SessionStep extends Step {
  renewAccount?: { accountId: string; ifVersion: number };
  push: boolean;
}

/** How often the tokens of the account are renewed for one step: because they are old, and because they are refused. */
const RENEWALS = 2;

/** Lives until the session is ended. Cancelled in Temporal, it ends the session. */
export async function hytaleSession(input: HytaleSessionInput): Promise<HytaleView> {
  const { sessionId } = input;
  try {
    return await liveSession(input);
  } catch (error) {
    if (isCancellation(error)) {
      await CancellationScope.nonCancellable(async () => {
        await rows.endCancelled({ sessionId });
        await asked.advanceSession({ sessionId, wish: { what: 'look' } });
      });
    }
    throw error;
  }
}

function liveSession(input: HytaleSessionInput): Promise<HytaleView> {
  const { sessionId } = input;
  let lookAgain: () => void = () => undefined;
  /** Version of a pair that is too old to be handed to a server. */
  let tooOld: number | undefined;
  const pusher = createPusher(sessionId, (version) => {
    tooOld = version;
    lookAgain();
  });
  return live<SessionWish, SessionStep>({
    input,
    step: (wish, awaited) => {
      const wished = wish ?? (tooOld === undefined ? undefined : ({ what: 'renew', ifVersion: tooOld } as const));
      tooOld = undefined;
      return advance(awaited ? asked : timed, sessionId, wished ?? { what: 'look' });
    },
    wishes: ['look', 'refresh', 'renew'],
    onStart: (look) => {
      lookAgain = look;
    },
    after: (step) => {
      if (step.over) pusher.stop();
      else if (step.push) pusher.push(step.version);
    },
    // The step at once finds out what is still to be pushed.
    again: (dueAt, view) =>
      continueAsNew<typeof hytaleSession>({ sessionId, ...nextRun(pusher.idle() ? dueAt : undefined, view) }),
  });
}

/** One step. If the account's tokens must be renewed first, it waits for that. */
async function advance(by: typeof asked, sessionId: string, wish: SessionWish): Promise<SessionStep> {
  let step: SessionStep = await by.advanceSession({ sessionId, wish });
  for (let n = 0; step.renewAccount !== undefined && n < RENEWALS; n += 1) {
    step = await others.renewAccount({ sessionId, ...step.renewAccount });
    if (step.ms === 0) step = await by.advanceSession({ sessionId, wish });
  }
  return step;
}

/** Pushes pairs to the server until the present one is there, beside the steps. @param onStale a pair has too little left. */
function createPusher(sessionId: string, onStale: (version: number) => void) {
  let running = false;
  let wanted: number | undefined;
  let stopped = false;
  const run = async (): Promise<void> => {
    while (wanted !== undefined && !stopped) {
      const version = wanted;
      wanted = undefined;
      const pushed = await panel.pushSession({ sessionId });
      if (pushed.state === 'stale') onStale(version);
      if (pushed.state !== 'wait') continue;
      const summary = `push: ${pushed.why}`.slice(0, 200);
      await condition(() => wanted !== undefined || stopped, pushed.ms, { summary });
      wanted ??= version;
    }
  };
  return {
    push(version: number): void {
      wanted = version;
      if (running) return;
      running = true;
      run().then(
        () => {
          running = false;
        },
        // Only a cancellation ends it: activities are tried again without end.
        () => undefined,
      );
    },
    stop(): void {
      stopped = true;
    },
    idle: (): boolean => !running,
  };
}

/** Activities of the Hytale workflows: the input is an id and a wish, the output what follows. Tokens never pass through Temporal. */
import { setTimeout } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { CALLS_PER_SECOND } from '../domain/hytale/lifecycle.ts';
import { type AccountStepInput, advanceAccount } from '../services/hytale/advance-account.ts';
import { advanceLogin } from '../services/hytale/advance-login.ts';
import { advanceSession, type SessionStepInput } from '../services/hytale/advance-session.ts';
import { afterRenewal } from '../services/hytale/create-session.ts';
import type { HytaleDeps } from '../services/hytale/deps.ts';
import { pullConsoles } from '../services/hytale/pull-consoles.ts';
import { type PushDeps, type PushStep, pushSession } from '../services/hytale/push-session.ts';
import type { HytaleStep, SessionStep } from '../services/hytale/step.ts';
import { endDeadSessions, watchHytale } from '../services/hytale/watch.ts';
import { endLogin } from '../store/hytale/login-store.ts';
import { takeTurn } from '../store/hytale/pace-store.ts';
import { markEnding } from '../store/hytale/session-store.ts';
import type { HytaleEngine } from '../temporal/hytale-engine.ts';
import { type HytaleView, QUEUE } from '../workflows/contract.ts';
import { withHeartbeat } from './failures.ts';

export interface HytaleActivityDeps extends Omit<HytaleDeps, 'wake'>, Pick<PushDeps, 'panel' | 'variables' | 'budget'> {
  engine: HytaleEngine;
  /** Shows work as a transaction of Sentry. */
  trace<T>(about: { transaction: string; operation: string; description: string }, work: () => Promise<T>): Promise<T>;
}

/** Names of the transactions of the existing service. */
const ACCOUNTS = { transaction: 'worker.refresh_oauth_tokens', operation: 'refresh_oauth_token' };
const SESSIONS = { transaction: 'worker.refresh_game_sessions', operation: 'refresh_game_session' };
const CLEANUP = { transaction: 'worker.cleanup_expired_sessions', operation: 'delete_session' };

/** Milliseconds for which a session waits for the tokens of its account. */
const RENEWAL_MS = 240_000;

/** Creates the activities. */
export function createHytaleActivities({ engine, trace, ...deps }: HytaleActivityDeps) {
  const all = { ...deps, wake: engine.wake };
  const inTurn = {
    ...all,
    turn: async () => setTimeout(await takeTurn(all.db, all.environment, CALLS_PER_SECOND)),
  };
  /** What somebody waits for does not wait for its turn. */
  const stepDeps = (): HytaleDeps => (Context.current().info.taskQueue === QUEUE.hytale ? inTurn : all);
  return {
    /** One step of a device login. */
    advanceLogin: (input: { loginId: string }): Promise<HytaleStep> => withHeartbeat(() => advanceLogin(all, input)),

    /** One step of an account. A call that was begun is finished although the workflow is cancelled: it can have spent a token. */
    advanceAccount: (input: AccountStepInput): Promise<HytaleStep> =>
      trace({ ...ACCOUNTS, description: input.accountId }, () =>
        withHeartbeat(() => advanceAccount(stepDeps(), input)),
      ),

    /** One step of a game session. */
    advanceSession: (input: SessionStepInput): Promise<SessionStep> =>
      trace({ ...SESSIONS, description: input.sessionId }, () =>
        withHeartbeat(() => advanceSession(stepDeps(), input)),
      ),

    /** Lets the account of a session renew its tokens, waits for that, and says what follows for the session. */
    renewAccount: (input: { sessionId: string; accountId: string; ifVersion: number }): Promise<SessionStep> =>
      withHeartbeat(async () => {
        const { sessionId, accountId, ifVersion } = input;
        const answer = await engine.act('account', accountId, { what: 'refresh', ifVersion }, RENEWAL_MS);
        const view: Pick<HytaleView, 'result' | 'why' | 'retryAfterMs'> =
          'refused' in answer ? { result: 'gone', why: answer.refused } : answer;
        return afterRenewal(all, sessionId, view);
      }),

    /** Sets the variables of the server of a session. */
    pushSession: (input: { sessionId: string }): Promise<PushStep> => withHeartbeat(() => pushSession(all, input)),

    /** Marks a login as cancelled, unless it has ended. */
    cancelLogin: async ({ loginId }: { loginId: string }): Promise<void> => {
      await endLogin(all.db, loginId, { status: 'cancelled', error: 'access_denied', reason: 'it was cancelled' });
    },

    /** Marks a session as one that is being ended: its workflow was cancelled. */
    endCancelled: async ({ sessionId }: { sessionId: string }): Promise<void> => {
      await markEnding(all.db, sessionId);
    },

    /** Starts the workflows of rows that have none. */
    watchHytale: (): Promise<Record<string, number>> =>
      withHeartbeat((signal) => watchHytale({ ...all, engine }, signal)),

    /** Reads the consoles of servers with a session from the panel, and stores what is new. */
    pullConsoles: (): Promise<Record<string, number>> => withHeartbeat((signal) => pullConsoles(all, signal)),

    /** Ends sessions of no server that died hours ago. */
    endDeadSessions: (): Promise<Record<string, number>> =>
      trace({ ...CLEANUP, description: 'all' }, () =>
        withHeartbeat(async () => ({ ended: await endDeadSessions({ ...all, engine }, all.now()) })),
      ),
  };
}

export type HytaleActivities = ReturnType<typeof createHytaleActivities>;

/** The answer of a step: what was done, and what is to be waited for. Workflows pass it on; no token is in it. */
import type { HytaleResult, HytaleView } from '../../workflows/contract.ts';

export interface HytaleStep extends HytaleView {
  /** Milliseconds until the next step; null: until somebody acts. */
  ms: number | null;
  /** Nothing is left to do: the workflow ends. */
  over: boolean;
}

export interface SessionStep extends HytaleStep {
  /** The account's tokens are to be renewed first, unless they have another version by now. */
  renewAccount?: { accountId: string; ifVersion: number };
  /** There is a pair for the variables of the server. */
  push: boolean;
}

/** What a step says about itself. */
interface StepFacts {
  id: string;
  status: string;
  version: number;
  result?: HytaleResult;
  why: string;
  retryAfterMs?: number | undefined;
}

/** A step after which there is something to wait for. @param at Unix milliseconds of the next step; null: somebody must act. */
export const waiting = (facts: StepFacts, now: number, at: number | null): HytaleStep => ({
  result: 'none',
  ...facts,
  ms: at === null ? null : Math.max(0, at - now),
  until: at === null ? null : new Date(at).toISOString(),
  over: false,
});

/** The last step. */
export const over = (facts: StepFacts): HytaleStep => ({ result: 'gone', ...facts, ms: null, until: null, over: true });

/**
 * Activities that read the eggs of a nest one by one, so that an egg that breaks the panel's list (a known bug with
 * inherited configuration) leaves the others readable. The list has gaps, so no egg of the nest is deleted.
 */
import { activityInfo } from '@temporalio/activity';
import type { Throttle } from '../../clients/panel/answers.ts';
import type { PanelClient } from '../../clients/panel/client.ts';
import { isAppError } from '../../domain/errors.ts';
import type { PanelItem } from '../../domain/panel/envelope.ts';
import { mapEggs } from '../../domain/panel/records.ts';
import type { Db } from '../../store/db/db.ts';
import { eggsToAsk, stagePage } from '../../store/sync/staging-store.ts';
import { withHeartbeat } from '../failures.ts';
import { answersOtherwise, mayBeBroken, panelFailure, type Stopped, throttled } from './panel-failures.ts';
import { type PanelOfRunDeps, panelOfRun } from './panel-of-run.ts';

export interface EggActivityDeps extends PanelOfRunDeps {
  db: Db;
}

export interface StageEggsInput {
  logId: string;
  /** Fingerprint of the panel that the run reads. */
  panel: string;
  nestId: number;
  pass: number;
  /** Number of the batch within the nest, from 1. */
  page: number;
  eggs: number[];
}

export interface StageEggsResult {
  /** Eggs found. */
  rows: number;
  /** Eggs for which the panel has no answer. */
  failed: number[];
  /** Eggs that were not asked for, because the batch was stopped. */
  left: number[];
  answers: Throttle[];
  retried: boolean;
  stopped: Stopped;
}

type EggAnswer =
  | { kind: 'found'; item: PanelItem; throttle: Throttle }
  | { kind: 'failed' | 'not there'; throttle: Throttle }
  | { kind: 'stopped'; stopped: Stopped };

/** Asks for one egg, twice where the panel fails while it answers other requests. @throws {AppError} in an outage. */
async function ask(client: PanelClient, nestId: number, egg: number, signal: AbortSignal): Promise<EggAnswer> {
  for (let again = false; ; again = true) {
    try {
      const { item, throttle } = await client.get(`/nests/${nestId}/eggs/${egg}`, { include: 'variables' }, { signal });
      // Old panels print an egg under any nest.
      const { nest } = item.attributes;
      return nest === undefined || nest === nestId
        ? { kind: 'found', item, throttle }
        : { kind: 'not there', throttle };
    } catch (error) {
      if (isAppError(error, 'PANEL_RATE_LIMITED')) return { kind: 'stopped', stopped: throttled(error) };
      if (isAppError(error, 'PANEL_NOT_FOUND')) return { kind: 'not there', throttle: {} };
      if (signal.aborted || !mayBeBroken(error)) throw error;
      if (!(await answersOtherwise(client, { kind: 'nest', id: nestId }, signal))) throw error;
      if (again) return { kind: 'failed', throttle: {} };
    }
  }
}

async function stageEggs(deps: EggActivityDeps, input: StageEggsInput, signal: AbortSignal): Promise<StageEggsResult> {
  const client = await panelOfRun(deps, input.panel);
  const { logId, nestId, pass, page, eggs } = input;
  const { attempt } = activityInfo();
  const result: StageEggsResult = { rows: 0, failed: [], left: [], answers: [], retried: attempt > 1, stopped: null };
  const items: PanelItem[] = [];
  for (const [index, egg] of eggs.entries()) {
    const answer = await ask(client, nestId, egg, signal).catch((error: unknown) => {
      throw panelFailure(error, attempt, page);
    });
    if (answer.kind === 'stopped') {
      result.stopped = answer.stopped;
      result.left = eggs.slice(index);
      break;
    }
    result.answers.push(answer.throttle);
    if (answer.kind === 'failed') result.failed.push(egg);
    if (answer.kind === 'found') items.push(answer.item);
  }
  const mapped = mapEggs(items, nestId);
  const parts = mapped.parts.map((part) => ({ ...part, gaps: true }));
  const source = { kind: 'nest', id: nestId } as const;
  const staged = { logId, source, pass, page, total: 0, perPage: 0, mapped: { ...mapped, parts } };
  if ((await stagePage(deps.db, staged)) === 'cancelled') result.stopped = { kind: 'cancelled' };
  result.rows = items.length;
  return result;
}

export function createEggActivities(deps: EggActivityDeps) {
  return {
    /** Ids of the eggs to ask for. */
    eggsToAsk: ({ logId, nestId }: { logId: string; nestId: number }): Promise<number[]> =>
      eggsToAsk(deps.db, logId, nestId),
    /** Asks for some eggs of a nest and stages those that it has. */
    stageEggs: (input: StageEggsInput): Promise<StageEggsResult> =>
      withHeartbeat((signal) => stageEggs(deps, input, signal)),
  };
}

export type EggActivities = ReturnType<typeof createEggActivities>;

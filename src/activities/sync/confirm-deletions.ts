/** Activities that decide what is missing from the panel: whether a source is whole, and what the panel says of a row. */
import { activityInfo } from '@temporalio/activity';
import type { Throttle } from '../../clients/panel/answers.ts';
import type { PanelClient } from '../../clients/panel/client.ts';
import { isAppError } from '../../domain/errors.ts';
import { mayPrune } from '../../domain/sync/prune-guard.ts';
import type { SourceRef } from '../../domain/sync/source-ref.ts';
import type { ConfirmedEntity } from '../../domain/sync/targets.ts';
import type { RuntimeSettings } from '../../services/settings/runtime-settings.ts';
import type { Db } from '../../store/db/db.ts';
import { countCandidates, deletionCandidates } from '../../store/sync/merge/candidates.ts';
import { storeAnswers } from '../../store/sync/missing-store.ts';
import { type SourceVerdict, verifySource } from '../../store/sync/staging-store.ts';
import { withHeartbeat } from '../failures.ts';
import { panelFailure, type Stopped, throttled } from './panel-reader.ts';

export interface ConfirmActivityDeps {
  db: Db;
  /** Settings as they are now. */
  settings: () => Promise<RuntimeSettings>;
  /** A client for the panel that is configured now. */
  panel: () => Promise<PanelClient>;
}

export interface VerifySourceInput {
  logId: string;
  source: SourceRef;
  pass: number;
  /** Entities of the source whose missing rows the panel must confirm. */
  confirm: ConfirmedEntity[];
}

/** Rows that a source does not contain; `refused`: so many that the prune guard keeps them all. */
export interface DeletionCandidates {
  entity: ConfirmedEntity;
  count: number;
  refused: boolean;
}

export interface ConfirmDeletionsInput {
  logId: string;
  entity: ConfirmedEntity;
  source: SourceRef;
  pass: number;
  /** Panel id after which the batch begins. */
  after: number;
  /** Number of the batch within the run, from 1. */
  batch: number;
}

export interface ConfirmDeletionsResult {
  checked: number;
  alive: number;
  /** Panel id after which the next batch begins; null after the last batch. */
  next: number | null;
  answers: Throttle[];
  stopped: Stopped;
}

/** Rows per batch. `filter[uuid]` takes a list, and 25 uuids stay below 1 KiB of query. */
const BATCH_SIZE = 25;

async function verify(
  deps: ConfirmActivityDeps,
  input: VerifySourceInput,
): Promise<SourceVerdict & { candidates: DeletionCandidates[] }> {
  const verdict = await verifySource(deps.db, input);
  const candidates: DeletionCandidates[] = [];
  if (!verdict.complete || verdict.pages < 2) return { ...verdict, candidates };
  const { allowMassPrune } = await deps.settings();
  // At most two entities, two statements each.
  for (const entity of input.confirm) {
    const { gone, present } = await countCandidates(deps.db, { ...input, entity });
    if (gone === 0) continue;
    const options = { emptyListing: verdict.distinct === 0, allowMass: allowMassPrune };
    candidates.push({ entity, count: gone, refused: !mayPrune(gone, present, options) });
  }
  return { ...verdict, candidates };
}

async function confirm(
  deps: ConfirmActivityDeps,
  input: ConfirmDeletionsInput,
  signal: AbortSignal,
): Promise<ConfirmDeletionsResult> {
  const client = await deps.panel();
  const candidates = await deletionCandidates(deps.db, { ...input, limit: BATCH_SIZE });
  if (candidates.length === 0) return { checked: 0, alive: 0, next: null, answers: [], stopped: null };
  const answers: Throttle[] = [];
  let alive: Set<number>;
  try {
    alive = await aliveOf(client, input.entity, candidates, answers, signal);
  } catch (error) {
    if (!isAppError(error, 'PANEL_RATE_LIMITED')) throw panelFailure(error, activityInfo().attempt, 1);
    return { checked: 0, alive: 0, next: input.after, answers, stopped: throttled(error) };
  }
  const outcome = await storeAnswers(deps.db, {
    logId: input.logId,
    entity: input.entity,
    answers: candidates.map(({ id }) => ({ panelId: id, alive: alive.has(id) })),
  });
  return {
    checked: candidates.length,
    alive: alive.size,
    next: candidates.length < BATCH_SIZE ? null : (candidates.at(-1)?.id ?? null),
    answers,
    stopped: outcome === 'cancelled' ? { kind: 'cancelled' } : null,
  };
}

/** Panel ids of the candidates that the panel still knows. `answers` receives the throttle headers of each request. */
async function aliveOf(
  client: PanelClient,
  entity: ConfirmedEntity,
  candidates: { id: number; uuid: string | null }[],
  answers: Throttle[],
  signal: AbortSignal,
): Promise<Set<number>> {
  const alive = new Set<number>();
  if (entity === 'servers' || entity === 'nodes') {
    const uuids = candidates.flatMap((c) => (c.uuid === null ? [] : [c.uuid]));
    const answer = await client.list(`/${entity}`, { perPage: 100, filter: { uuid: uuids.join(',') } }, { signal });
    answers.push(answer.throttle);
    for (const item of answer.items) if (typeof item.attributes['id'] === 'number') alive.add(item.attributes['id']);
    return alive;
  }
  // Locations and nests have no such filter. There are few of them, seldom more than one page.
  for (const { id } of candidates) {
    try {
      const answer = await client.get(`/${entity}/${id}`, {}, { signal });
      answers.push(answer.throttle);
      alive.add(id);
    } catch (error) {
      if (!isAppError(error, 'PANEL_NOT_FOUND')) throw error;
    }
  }
  return alive;
}

export function createConfirmActivities(deps: ConfirmActivityDeps) {
  return {
    /** Whether a source is whole and consistent, and how many mirrored rows it does not contain. */
    verifySource: (input: VerifySourceInput) => withHeartbeat(() => verify(deps, input)),
    /** Looks up one batch of rows that a listing of several pages did not contain; rows that the panel knows are kept. */
    confirmDeletions: (input: ConfirmDeletionsInput) => withHeartbeat((signal) => confirm(deps, input, signal)),
  };
}

export type ConfirmActivities = ReturnType<typeof createConfirmActivities>;

/** Activities that decide what is missing from the panel: whether a source is whole, and what the panel says of a row. */
import { activityInfo } from '@temporalio/activity';
import type { Throttle } from '../../clients/panel/answers.ts';
import { isAppError } from '../../domain/errors.ts';
import { mayPrune } from '../../domain/sync/prune-guard.ts';
import type { SourceRef } from '../../domain/sync/source-ref.ts';
import type { ConfirmedEntity } from '../../domain/sync/targets.ts';
import type { Db } from '../../store/db/db.ts';
import {
  findMissing,
  forgetMissing,
  forgetRenumbered,
  type MissingOf,
  nextQuestions,
  type Question,
  storeAnswers,
} from '../../store/sync/missing-store.ts';
import { type SourceVerdict, verifySource } from '../../store/sync/source-check.ts';
import { withHeartbeat } from '../failures.ts';
import { FINAL_ATTEMPT, panelFailure, type Stopped, throttled } from './panel-failures.ts';
import { type PanelOfRunDeps, panelOfRun } from './panel-of-run.ts';
import { type Asking, ask } from './panel-questions.ts';

export interface ConfirmActivityDeps extends PanelOfRunDeps {
  db: Db;
}

export interface VerifySourceInput {
  logId: string;
  source: SourceRef;
  pass: number;
  /** Entities of the source whose missing rows the panel must confirm. */
  confirm: ConfirmedEntity[];
}

/** Rows that a source does not contain; `refused`: so many that the prune guard keeps them all, unasked. */
export interface DeletionCandidates {
  entity: ConfirmedEntity;
  count: number;
  refused: boolean;
}

export interface ConfirmDeletionsInput {
  logId: string;
  /** Fingerprint of the panel that was read. */
  panel: string;
  entity: ConfirmedEntity;
  /** Panel id after which the batch begins. */
  after: number;
  /** Number of the batch within the run, from 1. */
  batch: number;
  /** Maximum number of requests. */
  requests: number;
  /** The panel's answers to filters were not believed before: each row is asked for by its id. */
  singly: boolean;
}

export interface ConfirmDeletionsResult {
  /** Rows that the panel knows, does not know, and of which it said nothing that can be believed. */
  alive: number;
  gone: number;
  unknown: number;
  /** Panel id after which the next batch begins; null after the last batch. */
  next: number | null;
  /** As in the input, for the next batch. */
  singly: boolean;
  answers: Throttle[];
  stopped: Stopped;
}

/** Rows per batch. `filter[uuid]` takes a list, and 25 uuids stay below 1 KiB of query. */
const BATCH_SIZE = 25;
/** Milliseconds after which a batch sends no further request: one request takes at most half a minute, the activity two. */
const BATCH_TIME_MS = 45_000;

/**
 * Entities of a source whose missing rows are asked for. A listing in one page needs no question: it proves absence itself.
 * Allocations come with their node in one piece, except for a node that is read by itself, in several pages.
 */
function askedEntities({ source, confirm }: VerifySourceInput, verdict: SourceVerdict): ConfirmedEntity[] {
  const severalPages = verdict.pages > 1 || verdict.unreadable > 0;
  const readable = verdict.complete ? severalPages : verdict.reason !== 'missing' && verdict.reason !== 'ignored';
  if (!readable) return [];
  if (source.kind === 'node') return ['allocations'];
  return confirm.filter((entity) => entity !== 'allocations' && !verdict.missingIncludes.includes(entity));
}

async function verify(
  deps: ConfirmActivityDeps,
  input: VerifySourceInput,
): Promise<SourceVerdict & { candidates: DeletionCandidates[] }> {
  const verdict = await verifySource(deps.db, input);
  const { allowMassPrune } = await deps.settings();
  const options = { emptyListing: verdict.distinct === 0, allowMass: allowMassPrune };
  const candidates: DeletionCandidates[] = [];
  // At most two entities.
  for (const entity of askedEntities(input, verdict)) {
    const found = await candidatesOf(deps.db, { ...input, entity }, options);
    if (found.count > 0) candidates.push(found);
  }
  return { ...verdict, candidates };
}

async function candidatesOf(
  db: Db,
  of: MissingOf,
  options: { emptyListing: boolean; allowMass: boolean },
): Promise<DeletionCandidates> {
  const { missing, present } = await findMissing(db, of);
  if (mayPrune(missing, present, options)) return { entity: of.entity, count: missing, refused: false };
  // The ids may have shifted, as when a panel was imported again.
  const count = await forgetRenumbered(db, of);
  const refused = !mayPrune(count, present, options);
  if (refused) await forgetMissing(db, of);
  return { entity: of.entity, count, refused };
}

async function confirm(
  deps: ConfirmActivityDeps,
  input: ConfirmDeletionsInput,
  signal: AbortSignal,
): Promise<ConfirmDeletionsResult> {
  const client = await panelOfRun(deps, input.panel);
  const { logId, entity, singly } = input;
  const questions = await nextQuestions(deps.db, { ...input, limit: BATCH_SIZE });
  const limits = { requests: input.requests, until: Date.now() + BATCH_TIME_MS, signal };
  const asking: Asking = { client, entity, limits, answers: new Map(), throttle: [], singly };
  const paused = await askOrStop(asking, questions);
  const known = [...asking.answers].flatMap(([panelId, alive]) => (alive === null ? [] : [{ panelId, alive }]));
  const outcome = known.length === 0 ? 'stored' : await storeAnswers(deps.db, { logId, entity, answers: known });
  const alive = known.filter((answer) => answer.alive).length;
  return {
    alive,
    gone: known.length - alive,
    unknown: asking.answers.size - known.length,
    next: nextAfter(asking, questions),
    singly: asking.singly,
    answers: asking.throttle,
    stopped: outcome === 'cancelled' ? { kind: 'cancelled' } : paused,
  };
}

/** Asks; what was answered before a failure is kept, and the next batch begins with the question that failed. */
async function askOrStop(asking: Asking, questions: readonly Question[]): Promise<Stopped> {
  try {
    await ask(asking, questions);
    return null;
  } catch (error) {
    if (isAppError(error, 'PANEL_RATE_LIMITED')) return throttled(error);
    if (asking.limits.signal.aborted || !isAppError(error, 'PANEL_UNAVAILABLE')) throw error;
    if (asking.answers.size > 0) return null;
    const { attempt } = activityInfo();
    if (asking.singly || attempt < FINAL_ATTEMPT.fallback) throw panelFailure(error, attempt, 1);
    // One record may break the answer about all of them.
    asking.singly = true;
    return null;
  }
}

/** Where the next batch begins: before the first question without an answer. */
function nextAfter(asking: Asking, questions: readonly Question[]): number | null {
  const open = questions.find(({ panelId }) => !asking.answers.has(panelId));
  if (open !== undefined) return open.panelId - 1;
  return questions.length < BATCH_SIZE ? null : (questions.at(-1)?.panelId ?? null);
}

export function createConfirmActivities(deps: ConfirmActivityDeps) {
  return {
    /** Whether a source is whole and consistent, and how many mirrored rows it does not contain. */
    verifySource: (input: VerifySourceInput) => withHeartbeat(() => verify(deps, input)),
    /** Asks the panel for one batch of rows that a listing of several pages did not contain; rows that it does not deny are kept. */
    confirmDeletions: (input: ConfirmDeletionsInput) => withHeartbeat((signal) => confirm(deps, input, signal)),
  };
}

export type ConfirmActivities = ReturnType<typeof createConfirmActivities>;

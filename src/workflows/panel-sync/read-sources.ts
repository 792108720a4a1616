/**
 * Reads sources side by side: first pages first, then batches of pages as the pacer allows, until each source is whole or
 * has used up its retries and fallbacks. State is plain data; every effect is an activity.
 */
import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  isCancellation,
} from '@temporalio/workflow';
import type { VerifySourceInput } from '../../activities/sync/confirm-deletions.ts';
import type { StagePagesInput, StagePagesResult } from '../../activities/sync/read-pages.ts';
import type { SourceRef } from '../../domain/sync/source-ref.ts';
import type { SyncWarning } from '../../domain/sync/targets.ts';
import type { Pacer } from './pacer.ts';
import {
  addChildren,
  addStaged,
  fallBack,
  judge,
  needsNoCheck,
  type SourceState,
  splitOf,
  type Verdict,
} from './sources.ts';
import { unread } from './unread.ts';

/** Activities that the reader calls. A cancel must end their promises at once (TRY_CANCEL). */
export interface ReaderActivities {
  stagePages: (input: StagePagesInput) => Promise<StagePagesResult>;
  verifySource: (input: VerifySourceInput) => Promise<Verdict>;
}

export interface ReaderContext {
  request: Pick<StagePagesInput, 'logId' | 'target' | 'skipUsers' | 'subusers'>;
  activities: ReaderActivities;
  pacer: Pacer;
  warnings: SyncWarning[];
  /** Called with the reason when the reader begins to wait for the panel's window, and with null when it goes on. */
  onWait: (reason: string | null) => void;
  /** Called for each source that ends. */
  onSource: (source: SourceState) => void;
  /** Called with the number of requests that the panel answered. */
  onRequests: (answered: number) => void;
}

/** What an activity failed with, if it said so itself. */
function failureOf(error: unknown): ApplicationFailure | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  return cause instanceof ApplicationFailure ? cause : undefined;
}

/** The code of an activity's failure. */
export const failureType = (error: unknown): string | undefined => failureOf(error)?.type ?? undefined;

/** The public sentence of an activity's failure. */
export const failureMessage = (error: unknown): string | undefined => failureOf(error)?.message;

/** Page at which a batch failed, when the failure is one that a fallback may avoid. */
function failedPage(error: unknown): number | undefined {
  const failure = failureOf(error);
  if (failure?.type !== 'PANEL_UNAVAILABLE') return undefined;
  const [detail] = failure.details ?? [];
  if (typeof detail !== 'object' || detail === null || !('page' in detail) || !('fallback' in detail)) return undefined;
  return detail.fallback === true && typeof detail.page === 'number' ? detail.page : undefined;
}

/** The error that ended the reading, and the step at which it did. */
export class ReadFailed extends Error {
  readonly error: unknown;
  readonly step: string;
  constructor(error: unknown, step: string) {
    super('a source could not be read');
    this.error = error;
    this.step = step;
  }
}

/** The step of the HTTP API at which a source is read. */
function stepOf(source: SourceRef): string {
  switch (source.kind) {
    case 'listing':
      return source.listing;
    case 'node':
      return 'nodes';
    case 'nest':
      return 'nests';
    case 'client':
      return 'subusers';
  }
}

/** The state of one call of {@link readSources}. */
interface Reading {
  sources: SourceState[];
  context: ReaderContext;
  /** The first error without a remedy. */
  failure: ReadFailed | undefined;
  /** Number of activities that have ended, by which a wait notices one. */
  version: number;
  /** Activities in flight. */
  running: number;
}

/**
 * Reads every source to its end. Fallbacks may add sources. When it returns or throws, no activity is in flight.
 * @throws {ReadFailed} for errors without a remedy: a refused key, an answer that is not understood, a listing that the
 * panel cannot serve, RUN_CLOSED, a cancel that an activity found. A cancel of the workflow is thrown as it is.
 */
export async function readSources(sources: SourceState[], context: ReaderContext): Promise<void> {
  const reading: Reading = { sources, context, failure: undefined, version: 0, running: 0 };
  const scope = new CancellationScope();
  try {
    await scope.run(async () => {
      while (isOpen(reading)) {
        checkRead(reading);
        launchBatches(reading);
        if (isOpen(reading)) await waitForNext(reading);
        if (reading.failure !== undefined) throw reading.failure;
      }
    });
  } finally {
    // What follows (a reopened row, the end of the run) must find the pacer and staging unused.
    scope.cancel();
    await CancellationScope.nonCancellable(() => condition(() => reading.running === 0));
  }
}

const isOpen = ({ sources }: Reading): boolean => sources.some((s) => s.state === 'reading' || s.state === 'checking');

const fail = (reading: Reading, error: unknown, source: SourceState): void => {
  reading.failure ??= new ReadFailed(error, stepOf(source.source));
};

/** Ends each source whose pages are all read, or starts its check. */
function checkRead(reading: Reading): void {
  for (const source of reading.sources) {
    if (source.state !== 'reading' || source.waiting.length > 0 || source.inFlight > 0) continue;
    addChildren(source, reading.sources);
    if (needsNoCheck(source)) {
      source.state = 'complete';
      reading.context.onSource(source);
    } else {
      source.state = 'checking';
      void verify(reading, source);
    }
  }
}

async function verify(reading: Reading, source: SourceState): Promise<void> {
  const { context } = reading;
  reading.running += 1;
  try {
    const { logId } = context.request;
    const { pass, confirm } = source;
    const verdict = await context.activities.verifySource({ logId, source: source.source, pass, confirm });
    judge(source, verdict, context.warnings);
    if (source.state !== 'reading') context.onSource(source);
  } catch (error) {
    fail(reading, error, source);
  } finally {
    reading.running -= 1;
    reading.version += 1;
  }
}

/** Starts as many batches as the pacer allows. */
function launchBatches(reading: Reading): void {
  for (const source of reading.sources) {
    while (source.state === 'reading' && source.waiting.length > 0) {
      const allowed = reading.context.pacer.allowance(Date.now());
      if (allowed < 1) return;
      const { pages, split } = nextBatch(reading, source, allowed);
      void readBatch(reading, source, pages, split);
    }
  }
}

/** The next batch of a source: several whole pages, or one page in parts. */
function nextBatch(reading: Reading, source: SourceState, allowed: number): { pages: number[]; split: number } {
  const split = splitOf(source, source.waiting[0] ?? 1);
  if (split > 1) return { pages: source.waiting.splice(0, 1), split };
  const left = reading.sources.reduce((n, s) => n + s.waiting.length, 0);
  const most = Math.min(reading.context.pacer.batchSize(left), allowed);
  const firstInParts = source.waiting.findIndex((page) => splitOf(source, page) > 1);
  const count = firstInParts === -1 ? most : Math.min(most, firstInParts);
  return { pages: source.waiting.splice(0, count), split };
}

async function readBatch(reading: Reading, source: SourceState, pages: number[], split: number): Promise<void> {
  const { context } = reading;
  const { pacer } = context;
  const { pass } = source;
  const token = pacer.launched(pages.length * split, Date.now());
  source.inFlight += 1;
  reading.running += 1;
  try {
    const result = await context.activities.stagePages({
      ...context.request,
      source: source.source,
      include: source.include,
      pass,
      pages,
      perPage: source.perPage,
      split,
      mayBeStaged: pages.some((page) => source.mayBeStaged.includes(page)),
      unread: unread(reading.sources),
    });
    pacer.landed(token, result.answers, Date.now(), result.retried);
    context.onRequests(result.answers.length);
    context.warnings.push(...result.warnings);
    // When the source was restarted meanwhile, the pages of its earlier pass do not count.
    if (source.pass === pass && source.state === 'reading') addStaged(source, pages, result);
    if (result.stopped?.kind === 'throttled') pacer.throttled(result.stopped.retryAfterMs, Date.now());
    if (result.stopped?.kind === 'cancelled') fail(reading, new CancelledFailure('the cancel was requested'), source);
  } catch (error) {
    pacer.released(token);
    handleFailure(reading, source, pages, pass, error);
  } finally {
    source.inFlight -= 1;
    reading.running -= 1;
    reading.version += 1;
  }
}

/** Chooses a fallback for a batch that failed, or ends the reading. */
function handleFailure(reading: Reading, source: SourceState, pages: number[], pass: number, error: unknown): void {
  const { context } = reading;
  const page = isCancellation(error) ? undefined : failedPage(error);
  if (page === undefined) {
    fail(reading, error, source);
    return;
  }
  context.pacer.failing();
  if (source.pass !== pass || source.state !== 'reading') return;
  source.waiting.unshift(...pages);
  source.mayBeStaged.push(...pages);
  if (!fallBack(source, page, reading.sources, context.warnings)) fail(reading, error, source);
  else if (source.state !== 'reading') context.onSource(source);
}

/** Waits for an activity to end or, when pages wait for the pacer, for the panel's next window. */
async function waitForNext(reading: Reading): Promise<void> {
  const { sources, context, version } = reading;
  const moved = () => reading.version !== version;
  const now = Date.now();
  const pagesWait = sources.some((s) => s.state === 'reading' && s.waiting.length > 0);
  const wakeAt = pagesWait ? context.pacer.wakeAt(now) : undefined;
  if (wakeAt === undefined) return condition(moved);
  const reason = `panel window, ${Math.ceil((wakeAt - now) / 1_000)} s`;
  if (reading.running === 0) context.onWait(reason);
  await condition(moved, Math.max(1, wakeAt - now), { summary: reason });
  context.onWait(null);
}

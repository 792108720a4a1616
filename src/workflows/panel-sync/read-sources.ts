/**
 * Reads sources side by side: first pages first, then batches of pages as the pacer allows, until each source is whole or
 * has used up its retries and fallbacks. State is plain data; every effect is an activity.
 */
import {
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  isCancellation,
} from '@temporalio/workflow';
import type { VerifySourceInput } from '../../activities/sync/confirm-deletions.ts';
import type { StageEggsInput, StageEggsResult } from '../../activities/sync/eggs.ts';
import type { StagePagesInput, StagePagesResult } from '../../activities/sync/read-pages.ts';
import { lanesOf } from '../../domain/sync/lanes.ts';
import type { SyncWarning } from '../../domain/sync/targets.ts';
import { drop, fallBack, isAbsent, isBeyondRepair, rightOf, setAbsent, shrink, warnOfEggs } from './fallbacks.ts';
import type { Pacer } from './pacer.ts';
import { failedPage, ReadFailed, stepOf } from './read-failures.ts';
import {
  addChildren,
  addStaged,
  isOpen,
  judge,
  needsNoCheck,
  type Piece,
  type SourceState,
  takePieces,
  type Verdict,
  waitingOf,
} from './sources.ts';
import { unread } from './unread.ts';

/** Activities that the reader calls. A cancel must end their promises at once (TRY_CANCEL). */
export interface ReaderActivities {
  stagePages: (input: StagePagesInput) => Promise<StagePagesResult>;
  eggsToAsk: (input: { logId: string; nestId: number }) => Promise<number[]>;
  stageEggs: (input: StageEggsInput) => Promise<StageEggsResult>;
  verifySource: (input: VerifySourceInput) => Promise<Verdict>;
}

export interface ReaderContext {
  request: Pick<StagePagesInput, 'logId' | 'panel' | 'target' | 'skipUsers' | 'subusers'>;
  activities: ReaderActivities;
  pacer: Pacer;
  warnings: SyncWarning[];
  /** Whether the history is so long that the rest must be read in a new run. */
  isFull: () => boolean;
  /** Called with the reason when the reader begins to wait for the panel's window, and with null when it goes on. */
  onWait: (reason: string | null) => void;
  /** Called for each source that ends. */
  onSource: (source: SourceState) => void;
  /** Called with the number of requests that the panel answered. */
  onRequests: (answered: number) => void;
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
  /** No batch is started any more: the rest is read in a new run. */
  full: boolean;
}

/**
 * Reads every source to its end. Fallbacks may add sources. When it returns or throws, no activity is in flight.
 * @returns `full` when it stopped because the history is too long; the sources say where to go on.
 * @throws {ReadFailed} for errors without a remedy: a refused key, an answer that is not understood, a listing that the
 * panel cannot serve, RUN_CLOSED, a cancel that an activity found. A cancel of the workflow is thrown as it is.
 */
export async function readSources(sources: SourceState[], context: ReaderContext): Promise<'read' | 'full'> {
  const reading: Reading = { sources, context, failure: undefined, version: 0, running: 0, full: false };
  const scope = new CancellationScope();
  try {
    await scope.run(async () => {
      while (sources.some(isOpen)) {
        reading.full ||= context.isFull();
        if (reading.full && reading.running === 0) return;
        if (!reading.full) {
          checkRead(reading);
          launchBatches(reading);
        }
        if (sources.some(isOpen)) await waitForNext(reading);
        if (reading.failure !== undefined) throw reading.failure;
      }
      refuseIfAllAbsent(sources);
    });
    return sources.some(isOpen) ? 'full' : 'read';
  } finally {
    // What follows (a reopened row, the end of the run) must find the pacer and staging unused.
    scope.cancel();
    await CancellationScope.nonCancellable(() => condition(() => reading.running === 0));
  }
}

const fail = (reading: Reading, error: unknown, source: SourceState): void => {
  reading.failure ??= new ReadFailed(error, stepOf(source.source));
};

/** A panel that refuses or lacks every listing is none that this key can read. */
function refuseIfAllAbsent(sources: readonly SourceState[]): void {
  const [first] = sources;
  if (first === undefined || !sources.every(isAbsent)) return;
  const { source } = first;
  const forbidden = sources.some((s) => s.state === 'forbidden');
  const alone = sources.length === 1 && forbidden && source.kind === 'listing';
  const message = forbidden ? 'The panel refused the API key' : 'The panel does not know this object';
  throw new ReadFailed(
    ApplicationFailure.nonRetryable(
      alone ? `${message} for ${source.listing}: it lacks the right "${rightOf(source.listing)}"` : message,
      forbidden ? 'PANEL_AUTH' : 'PANEL_NOT_FOUND',
    ),
    stepOf(source),
  );
}

/** Ends each source whose pages are all read, or starts its check. */
function checkRead(reading: Reading): void {
  for (const source of reading.sources) {
    if (source.state !== 'reading' || source.inFlight > 0 || waitingOf(source) > 0 || source.singly === 'wanted')
      continue;
    addChildren(source, reading.sources);
    if (needsNoCheck(source)) {
      source.state = 'complete';
      warnOfEggs(source);
      finish(reading, source);
    } else {
      source.state = 'checking';
      void run(reading, source, () => verify(reading, source));
    }
  }
}

/** Reports a source that was read to its end. */
function finish({ context }: Reading, source: SourceState): void {
  context.warnings.push(...source.notes);
  source.notes = [];
  context.onSource(source);
}

/** Runs one activity with what follows it. An error without a remedy ends the reading. */
async function run(reading: Reading, source: SourceState, work: () => Promise<void>): Promise<void> {
  reading.running += 1;
  source.inFlight += 1;
  try {
    await work();
  } catch (error) {
    fail(reading, error, source);
  } finally {
    source.inFlight -= 1;
    reading.running -= 1;
    reading.version += 1;
  }
}

async function verify(reading: Reading, source: SourceState): Promise<void> {
  const { context } = reading;
  const { logId } = context.request;
  const { pass, confirm } = source;
  const verdict = await context.activities.verifySource({ logId, source: source.source, pass, confirm });
  judge(source, verdict, context.warnings);
  if (source.state !== 'reading') finish(reading, source);
}

/** Starts as many batches as the pacer allows. */
function launchBatches(reading: Reading): void {
  const { pacer } = reading.context;
  for (const source of reading.sources) {
    while (waitingOf(source) > 0) {
      const allowed = pacer.allowance(Date.now());
      if (allowed < 1) return;
      const left = reading.sources.reduce((n, s) => n + waitingOf(s), 0);
      const length = pacer.laneLength(left);
      if (source.singly === 'yes') {
        const eggs = source.ids.splice(0, Math.min(length, allowed));
        void run(reading, source, () => askForEggs(reading, source, eggs));
      } else {
        const lanes = pacer.batchLanes();
        const batch = nextBatch(source, Math.min(length * lanes, allowed));
        void run(reading, source, () => readBatch(reading, source, batch, lanes));
      }
    }
  }
  launchEggs(reading);
}

/** The next pieces of a source, all of one size. */
function nextBatch(source: SourceState, most: number): Piece[] {
  const pieces = shrink(source, takePieces(source, most, Date.now()));
  const batch = pieces.slice(0, most);
  source.again.unshift(...pieces.slice(most));
  return batch;
}

async function readBatch(reading: Reading, source: SourceState, batch: Piece[], lanes: number): Promise<void> {
  const { context } = reading;
  const { pacer } = context;
  const { pass } = source;
  const tokens = lanesOf(batch, lanes).map((lane) => pacer.launched(lane.length, Date.now()));
  let result: StagePagesResult;
  try {
    result = await context.activities.stagePages({
      ...context.request,
      source: source.source,
      include: source.include,
      pass,
      pages: batch.map(({ page }) => page),
      lanes: tokens.length,
      perPage: batch[0]?.size ?? source.perPage,
      part: batch.some(({ part }) => part),
      total: source.total,
      mayBeStaged: batch.some(({ mayBeStaged }) => mayBeStaged),
      unread: unread(reading.sources),
    });
  } catch (error) {
    for (const token of tokens) pacer.released(token);
    handleFailure(reading, source, batch, pass, error);
    return;
  }
  for (const [i, token] of tokens.entries())
    pacer.landed(token, result.answers[i] ?? [], Date.now(), result.retried && i === 0);
  context.onRequests(result.answers.flat().length);
  heedStop(reading, source, result.stopped);
  // When the source was restarted meanwhile, the pages of its earlier pass do not count.
  if (source.pass !== pass || source.state !== 'reading') return;
  if (result.absent !== null) {
    setAbsent(source, result.absent, reading.sources, context.warnings);
    context.onSource(source);
    return;
  }
  source.notes.push(...result.warnings);
  addStaged(source, batch, result, Date.now());
  if (isBeyondRepair(source)) {
    const message = result.pages.find((p) => p.failure !== undefined)?.failure;
    giveUp(reading, source, ApplicationFailure.nonRetryable(message, 'PANEL_UNAVAILABLE'));
  }
}

function heedStop(reading: Reading, source: SourceState, stopped: StagePagesResult['stopped']): void {
  if (stopped?.kind === 'throttled') reading.context.pacer.throttled(stopped.retryAfterMs, Date.now());
  if (stopped?.kind === 'cancelled') fail(reading, new CancelledFailure('the cancel was requested'), source);
}

/** Chooses a fallback for a batch that failed, or ends the reading. */
function handleFailure(reading: Reading, source: SourceState, batch: Piece[], pass: number, error: unknown): void {
  const page = isCancellation(error) ? undefined : failedPage(error);
  if (page === undefined) {
    fail(reading, error, source);
    return;
  }
  reading.context.pacer.failing();
  if (source.pass !== pass || source.state !== 'reading') return;
  const failed = batch.find((piece) => piece.page === page) ?? batch[0];
  source.again.unshift(...batch.filter((p) => p !== failed).map((p) => ({ ...p, mayBeStaged: true })));
  if (failed !== undefined && !fallBack(source, failed, reading.sources)) giveUp(reading, source, error);
}

/** Ends a source that has no other way, or the run where it cannot do without it. */
function giveUp(reading: Reading, source: SourceState, error: unknown): void {
  if (drop(source, reading.context.warnings)) reading.context.onSource(source);
  else fail(reading, error, source);
}

/** Eggs are asked for last: by then, other listings say which ids there are. */
function launchEggs(reading: Reading): void {
  const { sources, context } = reading;
  if (sources.some((s) => isOpen(s) && s.singly === 'no')) return;
  for (const source of sources) {
    const { source: ref } = source;
    if (source.singly !== 'wanted' || source.inFlight > 0 || ref.kind !== 'nest') continue;
    void run(reading, source, async () => {
      source.ids = await context.activities.eggsToAsk({ logId: context.request.logId, nestId: ref.id });
      source.singly = 'yes';
    });
  }
}

async function askForEggs(reading: Reading, source: SourceState, eggs: number[]): Promise<void> {
  const { context } = reading;
  const { pacer } = context;
  if (source.source.kind !== 'nest') return;
  const token = pacer.launched(eggs.length, Date.now());
  let result: StageEggsResult;
  try {
    result = await context.activities.stageEggs({
      logId: context.request.logId,
      panel: context.request.panel,
      nestId: source.source.id,
      pass: source.pass,
      page: source.nextPage++,
      eggs,
    });
  } catch (error) {
    pacer.released(token);
    throw error;
  }
  pacer.landed(token, result.answers, Date.now(), result.retried);
  context.onRequests(result.answers.length);
  source.items += result.rows;
  source.failedIds.push(...result.failed);
  source.ids.unshift(...result.left);
  heedStop(reading, source, result.stopped);
}

/** Waits for an activity to end or, when pages wait for the pacer, for the panel's next window. */
async function waitForNext(reading: Reading): Promise<void> {
  const { sources, context, version } = reading;
  const moved = () => reading.version !== version;
  const now = Date.now();
  const pagesWait = !reading.full && sources.some((s) => waitingOf(s) > 0);
  const wakeAt = pagesWait ? context.pacer.wakeAt(now) : undefined;
  if (wakeAt === undefined) return condition(moved);
  const reason = `panel window, ${Math.ceil((wakeAt - now) / 1_000)} s`;
  if (reading.running === 0) context.onWait(reason);
  await condition(moved, Math.max(1, wakeAt - now), { summary: reason });
  context.onWait(null);
}

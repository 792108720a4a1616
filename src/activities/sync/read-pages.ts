/** Activity that reads a batch of pages and stages them. */
import { activityInfo, Context } from '@temporalio/activity';
import pLimit, { type LimitFunction } from 'p-limit';
import type { Throttle } from '../../clients/panel/answers.ts';
import type { PanelClient } from '../../clients/panel/client.ts';
import { AppError, isAppError } from '../../domain/errors.ts';
import { lanesOf } from '../../domain/sync/lanes.ts';
import { isListing, primaryEntity, type SourceRef, sourceName } from '../../domain/sync/source-ref.ts';
import { type Entity, type SyncTarget, type SyncWarning, sourcesOf } from '../../domain/sync/targets.ts';
import type { Db } from '../../store/db/db.ts';
import {
  type EncodedPage,
  encodePage,
  flushPages,
  type StagedPageInfo,
  stagedPages,
  stageEncoded,
} from '../../store/sync/staging-store.ts';
import { withHeartbeat } from '../failures.ts';
import {
  answersOtherwise,
  brokenPage,
  FINAL_ATTEMPT,
  isTooLarge,
  mayBeBroken,
  panelFailure,
  type Stopped,
  throttled,
} from './panel-failures.ts';
import { type PanelOfRunDeps, panelOfRun } from './panel-of-run.ts';
import { emptyList, type PageRequest, type ReadPage, readPage, unprintablePage } from './panel-reader.ts';
import { createProgressReport, type ReportProgress } from './run.ts';

export interface PageActivityDeps extends PanelOfRunDeps {
  db: Db;
}

export interface StagePagesInput {
  logId: string;
  /** Fingerprint of the panel that the run reads. */
  panel: string;
  target: SyncTarget;
  skipUsers: boolean;
  subusers: boolean;
  source: SourceRef;
  include: string;
  pass: number;
  pages: number[];
  /** Requests that run side by side. Absent only in an activity that is in flight while a deployment replaces the release before. */
  lanes?: number;
  perPage: number;
  /** The pages are parts of one that the panel failed to serve: a failure needs no further attempts to be believed. */
  part: boolean;
  /** Records of the source by its newest answer; 0 before the first. */
  total: number;
  /** Some of the pages may be staged already, by a batch that failed at a later page. */
  mayBeStaged: boolean;
  /**
   * Entities that were not read whole when the batch began. Absent only in an activity that is in flight while a deployment
   * replaces the release before.
   */
  unread?: Entity[];
}

export interface StagePagesResult {
  pages: StagedPageInfo[];
  /** Of each lane, in the order of its requests. */
  answers: Throttle[][];
  /** The panel failed this batch at an earlier attempt. */
  retried: boolean;
  stopped: Stopped;
  /** The panel has no such listing (`missing`), or its key may not read it; then nothing was staged. */
  absent: 'missing' | 'forbidden' | null;
  warnings: SyncWarning[];
}

/** No panel has so many pages (2,000,000 records); an answer that claims more is not believed. */
const MAX_PAGES = 20_000;
const MAX_RECORDS = 2_000_000;
const tooManyPages = (source: SourceRef) =>
  new AppError('PANEL_CONTRACT', {
    details: [
      { path: `${sourceName(source)}: meta.pagination`, message: 'says that there are more pages than any panel has' },
    ],
  });

/** Pages that are stored at once, over all batches of a process: more only take the processors of the database from others. */
const STORED_AT_ONCE = 3;

interface StagingDeps extends PageActivityDeps {
  inTurn: LimitFunction;
}

/** A batch that is being read. */
interface Batch {
  deps: StagingDeps;
  client: PanelClient;
  input: StagePagesInput;
  /** Pages that are staged already. */
  known: StagedPageInfo[];
  attempt: number;
  signal: AbortSignal;
  result: StagePagesResult;
  /** A lane failed: no other one begins a further request. */
  failed: boolean;
}

/** Whether only the end of a batch waits for the disk: only the batch must outlive a crash of PostgreSQL. */
const commitsLater = ({ pages }: StagePagesInput): boolean => pages.length > 1;

/** Reads and stages the pages of a batch, in lanes side by side; a retry skips pages that are staged. */
async function readBatch(
  deps: StagingDeps,
  report: ReportProgress,
  input: StagePagesInput,
  signal: AbortSignal,
): Promise<StagePagesResult> {
  const { attempt } = activityInfo();
  const client = await panelOfRun(deps, input.panel);
  const plans = sourcesOf(input.target, { skipUsers: input.skipUsers, subusers: input.subusers });
  const entities = plans.flatMap((plan) => plan.entities);
  const { logId, source, pass, pages, include, perPage } = input;
  const result: StagePagesResult = {
    pages: [],
    answers: [],
    retried: attempt > 1,
    stopped: null,
    absent: null,
    warnings: [],
  };
  const key = { logId, source, pass };
  const known =
    attempt === 1 && !input.mayBeStaged ? [] : await stagedPages(deps.db, { ...key, pages, size: perPage, include });
  const batch: Batch = { deps, client, input, known, attempt, signal, result, failed: false };
  const reading = lanesOf(pages, input.lanes ?? 1).map((lane) =>
    readLane(batch, lane).catch((error: unknown) => {
      batch.failed = true;
      throw error;
    }),
  );
  for (const lane of await Promise.allSettled(reading)) if (lane.status === 'rejected') throw lane.reason;
  // Pages of an earlier attempt may not have reached the disk either.
  if (known.length > 0 || commitsLater(input)) await flushPages(deps.db, logId);
  await report({ logId, entities, unread: input.unread ?? entities });
  return result;
}

/** Reads and stages the pages of one lane, one request after the other. @throws its failure. */
async function readLane(batch: Batch, pages: readonly number[]): Promise<void> {
  const { deps, known, result } = batch;
  const answers: Throttle[] = [];
  result.answers.push(answers);
  // The next page is requested while this one is being stored.
  let storing: Promise<'staged' | 'cancelled'> | undefined;
  const settle = async (): Promise<'staged' | 'cancelled'> => {
    const outcome = await storing;
    storing = undefined;
    if (outcome === 'cancelled') result.stopped = { kind: 'cancelled' };
    return outcome ?? 'staged';
  };
  try {
    for (const page of pages) {
      if (result.stopped !== null || batch.failed) break;
      const staged = known.find((k) => k.page === page);
      if (staged !== undefined) {
        result.pages.push(staged);
        continue;
      }
      const outcome = await readToStore(batch, page);
      if (outcome.encoded === undefined) {
        result.stopped ??= outcome.stopped;
        result.absent = outcome.absent;
        break;
      }
      result.warnings.push(...outcome.warnings);
      answers.push(...outcome.answers);
      if ((await settle()) === 'cancelled') break;
      const { encoded } = outcome;
      storing = deps.inTurn(() => stageEncoded(deps.db, encoded));
      // settle() sees its failure; without this line it would count as unhandled while a request runs.
      storing.catch(() => undefined);
      result.pages.push(outcome.info);
    }
  } finally {
    await settle();
  }
}

type PageToStore =
  | { encoded: EncodedPage; info: StagedPageInfo; answers: Throttle[]; warnings: SyncWarning[] }
  | ({ encoded: undefined } & Pick<Unread, 'stopped' | 'absent'>);

/** Reads one page and encodes it, so that nothing keeps its records alive while the next one is read. */
async function readToStore({ client, input, attempt, signal }: Batch, page: number): Promise<PageToStore> {
  const outcome = await readOrTell(client, input, page, attempt, signal);
  if (outcome.read === undefined) return { encoded: undefined, stopped: outcome.stopped, absent: outcome.absent };
  const { read, info, warnings } = outcome;
  const { logId, source, pass, perPage } = input;
  const { total, mapped, throttle } = read;
  if (read.totalPages > MAX_PAGES && (perPage >= 50 || total > MAX_RECORDS)) throw tooManyPages(source);
  return {
    encoded: encodePage({
      logId,
      source,
      pass,
      page,
      total,
      perPage: read.perPage,
      mapped,
      commitLater: commitsLater(input),
    }),
    info: { ...stagedPage(input, page, read), ...info },
    answers: throttle,
    warnings,
  };
}

/** What the workflow needs to know of a page that was read. */
function stagedPage(input: StagePagesInput, page: number, { mapped, total, perPage }: ReadPage): StagedPageInfo {
  // Eggs of a nest are not counted: their list is not paged and states no total.
  const own = input.source.kind === 'nest' ? undefined : primaryEntity(input.source);
  const primary = mapped.parts.filter((part) => part.entity === own);
  const rejected = mapped.rejected.filter((record) => record.entity === own).length;
  const bare = input.include === '' && (isListing(input.source, 'nodes') || isListing(input.source, 'nests'));
  return {
    page,
    rows: primary.reduce((n, part) => n + part.rows.length, 0) + rejected,
    total,
    perPage,
    missingIncludes: mapped.missingIncludes,
    rejected: mapped.rejected.length,
    unprintable: 0,
    ...(bare ? { ids: primary.flatMap((part) => part.rows.map((row) => Number(row['id']))) } : {}),
  };
}

/** Why a page was not read. */
interface Unread {
  read: undefined;
  stopped: Stopped;
  absent: StagePagesResult['absent'];
}
type ReadOutcome = { read: ReadPage; info: Partial<StagedPageInfo>; warnings: SyncWarning[] } | Unread;

const ended = (stopped: Stopped, absent: StagePagesResult['absent'] = null): ReadOutcome => ({
  read: undefined,
  stopped,
  absent,
});
const readWell = (read: ReadPage): ReadOutcome => ({ read, info: {}, warnings: [] });

/** Reads one page, or tells why it cannot be read. A 429 is a result and no failure (ADR 6). */
async function readOrTell(
  client: PanelClient,
  input: StagePagesInput,
  page: number,
  attempt: number,
  signal: AbortSignal,
): Promise<ReadOutcome> {
  const { source, include, perPage } = input;
  const request: PageRequest = { source, include, page, perPage };
  try {
    return readWell(await readPage(client, request, signal));
  } catch (error) {
    if (signal.aborted) throw error;
    if (isAppError(error, 'PANEL_RATE_LIMITED')) return ended(throttled(error));
    // Deleted after it was listed.
    if (source.kind !== 'listing' && isAppError(error, 'PANEL_NOT_FOUND')) return readWell(emptyList(request));
    const absent = page === 1 && source.kind === 'listing' ? absenceOf(error) : null;
    if (absent !== null) return ended(null, absent);
    if (!mayBeBroken(error)) throw panelFailure(error, attempt, page);
    if (!isTooLarge(error)) {
      if (attempt < (input.part ? FINAL_ATTEMPT.part : FINAL_ATTEMPT.fallback)) throw error;
      if (!(await answersOtherwise(client, source, signal))) throw panelFailure(error, attempt, page);
    }
    return readBroken(client, input, request, error, signal);
  }
}

/** A listing that is not there, or not for this key, is an answer; a key that is refused altogether is none. */
function absenceOf(error: unknown): StagePagesResult['absent'] {
  if (isAppError(error, 'PANEL_NOT_FOUND')) return 'missing';
  return isAppError(error, 'PANEL_AUTH') && error.meta?.['status'] === 403 ? 'forbidden' : null;
}

/**
 * A page that failed while the panel answers other requests. It is read once more, since the panel may have recovered
 * between the two; a single record that fails again is rejected.
 * @throws {ApplicationFailure} with which the workflow chooses a fallback.
 */
async function readBroken(
  client: PanelClient,
  input: StagePagesInput,
  request: PageRequest,
  failure: AppError,
  signal: AbortSignal,
): Promise<ReadOutcome> {
  const { source, page } = request;
  if (!isTooLarge(failure)) {
    try {
      return readWell(await readPage(client, request, signal));
    } catch (error) {
      if (isAppError(error, 'PANEL_RATE_LIMITED')) return ended(throttled(error));
      if (!mayBeBroken(error)) throw panelFailure(error, 1, page);
    }
  }
  if (!input.part || input.perPage > 1) throw brokenPage(failure.message, page);
  const { read, id } = await unprintablePage(client, request, input.total, signal);
  const which = id === undefined ? `at place ${page} of ${sourceName(source)}` : `${id} of ${sourceName(source)}`;
  const message = `the panel cannot print the record ${which}; what is stored of it was kept`;
  const warning = { code: 'RECORD_UNREADABLE', entity: primaryEntity(source), message };
  return { read, info: { unprintable: 1, failure: failure.message }, warnings: [warning] };
}

/** Attempts that ended without an end of their own (the process died), after which a page counts as broken. */
const MAX_LOST = 3;

/** What an attempt tells the next: `lost`: attempts before it that were lost in a row. */
interface AttemptNote {
  running: boolean;
  lost: number;
}

/** Number of attempts in a row, up to now, that were lost. */
export function lostAttempts(note: unknown): number {
  const { running, lost } = (typeof note === 'object' && note !== null ? note : {}) as Partial<AttemptNote>;
  return running === true ? (lost ?? 0) + 1 : 0;
}

/** Reads a batch; a page whose answer seems to end the process is not requested for ever. */
async function stage(deps: StagingDeps, report: ReportProgress, input: StagePagesInput) {
  const { heartbeatDetails } = activityInfo();
  const lost = lostAttempts(heartbeatDetails);
  if (lost >= MAX_LOST) throw brokenPage('The worker ended each time while it read this page', input.pages[0] ?? 1);
  const note: AttemptNote = { running: true, lost };
  try {
    return await withHeartbeat((signal) => readBatch(deps, report, input, signal), note);
  } catch (error) {
    Context.current().heartbeat({ running: false, lost: 0 } satisfies AttemptNote);
    throw error;
  }
}

export function createPageActivities(deps: PageActivityDeps) {
  const report = createProgressReport(deps.db);
  const staging = { ...deps, inTurn: pLimit(STORED_AT_ONCE) };
  return {
    /** Reads and stages a batch of pages of one source. */
    stagePages: (input: StagePagesInput): Promise<StagePagesResult> => stage(staging, report, input),
  };
}

export type PageActivities = ReturnType<typeof createPageActivities>;

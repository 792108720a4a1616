/** Activity that reads a batch of pages and stages them. */
import { activityInfo } from '@temporalio/activity';
import type { Throttle } from '../../clients/panel/answers.ts';
import type { PanelClient } from '../../clients/panel/client.ts';
import { AppError, isAppError } from '../../domain/errors.ts';
import { isListing, primaryEntity, type SourceRef, sourceName } from '../../domain/sync/source-ref.ts';
import { type Entity, type SyncTarget, type SyncWarning, sourcesOf } from '../../domain/sync/targets.ts';
import type { Db } from '../../store/db/db.ts';
import { knownEggIds, type StagedPageInfo, stagedPages, stagePage } from '../../store/sync/staging-store.ts';
import { withHeartbeat } from '../failures.ts';
import {
  FINAL_ATTEMPT,
  panelFailure,
  type ReadPage,
  readEggsSingly,
  readPage,
  type Stopped,
  throttled,
} from './panel-reader.ts';
import { createProgressReport, type ReportProgress } from './run.ts';

export interface PageActivityDeps {
  db: Db;
  /** A client for the panel that is configured now. */
  panel: () => Promise<PanelClient>;
}

export interface StagePagesInput {
  logId: string;
  target: SyncTarget;
  skipUsers: boolean;
  subusers: boolean;
  source: SourceRef;
  include: string;
  pass: number;
  pages: number[];
  perPage: number;
  /** Number of parts in which each page is requested. */
  split: number;
  /** Some of the pages may be staged already, by a batch that failed at a later page. */
  mayBeStaged: boolean;
  /** Entities that were not read whole when the batch began. Absent in workflow histories of earlier releases. */
  unread?: Entity[];
}

export interface StagePagesResult {
  pages: StagedPageInfo[];
  answers: Throttle[];
  /** The panel failed this batch at an earlier attempt. */
  retried: boolean;
  stopped: Stopped;
  warnings: SyncWarning[];
}

/** No panel has so many pages (2,000,000 records); an answer that claims more is not believed. */
const MAX_PAGES = 20_000;
const tooManyPages = (source: SourceRef) =>
  new AppError('PANEL_CONTRACT', {
    details: [
      { path: `${sourceName(source)}: meta.pagination`, message: 'says that there are more pages than any panel has' },
    ],
  });

/** Reads and stages the pages of a batch, one request at a time; a retry skips pages that are staged. */
async function readBatch(
  deps: PageActivityDeps,
  report: ReportProgress,
  input: StagePagesInput,
  signal: AbortSignal,
): Promise<StagePagesResult> {
  const { attempt } = activityInfo();
  const client = await deps.panel();
  const plans = sourcesOf(input.target, { skipUsers: input.skipUsers, subusers: input.subusers });
  const entities = plans.flatMap((plan) => plan.entities);
  const result: StagePagesResult = { pages: [], answers: [], retried: attempt > 1, stopped: null, warnings: [] };
  const { logId, source, pass, pages, include } = input;
  const key = { logId, source, pass };
  const known = attempt === 1 && !input.mayBeStaged ? [] : await stagedPages(deps.db, { ...key, pages, include });
  // The next page is requested while this one is being stored.
  let storing: Promise<'staged' | 'cancelled'> | undefined;
  const settle = async () => {
    const outcome = await storing;
    storing = undefined;
    if (outcome === 'cancelled') result.stopped = { kind: 'cancelled' };
  };
  try {
    for (const page of pages) {
      const staged = known.find((k) => k.page === page);
      if (staged !== undefined) {
        result.pages.push(staged);
        continue;
      }
      const { read, warnings, stopped } = await readOrFallBack(deps.db, client, input, page, attempt, signal);
      if (read === undefined) {
        result.stopped = stopped;
        break;
      }
      result.warnings.push(...warnings);
      result.answers.push(...read.throttle);
      if (read.totalPages > MAX_PAGES) throw tooManyPages(source);
      await settle();
      if (result.stopped !== null) break;
      storing = stagePage(deps.db, { ...key, page, total: read.total, perPage: read.perPage, mapped: read.mapped });
      // settle() sees its failure; without this line it would count as unhandled while a request runs.
      storing.catch(() => undefined);
      result.pages.push(stagedPage(input, page, read));
    }
  } finally {
    await settle();
  }
  await report({ logId, entities, unread: input.unread ?? entities });
  return result;
}

/** What the workflow needs to know of a page that was read. */
function stagedPage(input: StagePagesInput, page: number, { mapped, total, totalPages, perPage }: ReadPage) {
  // Eggs of a nest are not counted: their list is not paged and states no total.
  const own = input.source.kind === 'nest' ? undefined : primaryEntity(input.source);
  const primary = mapped.parts.filter((part) => part.entity === own);
  const rejected = mapped.rejected.filter((record) => record.entity === own).length;
  const bare = input.include === '' && (isListing(input.source, 'nodes') || isListing(input.source, 'nests'));
  return {
    page,
    rows: primary.reduce((n, part) => n + part.rows.length, 0) + rejected,
    total,
    totalPages,
    perPage,
    missingIncludes: mapped.missingIncludes,
    rejected: mapped.rejected.length,
    ...(bare ? { ids: primary.flatMap((part) => part.rows.map((row) => Number(row['id']))) } : {}),
  } satisfies StagedPageInfo;
}

type ReadOutcome =
  | { read: ReadPage; warnings: SyncWarning[]; stopped: null }
  | { read: undefined; warnings: SyncWarning[]; stopped: Stopped };

/** Reads one page. A 429 is a result and no failure (ADR 6). */
async function readOrFallBack(
  db: Db,
  client: PanelClient,
  input: StagePagesInput,
  page: number,
  attempt: number,
  signal: AbortSignal,
): Promise<ReadOutcome> {
  const { source, include, perPage, split } = input;
  try {
    const read = await readPage(client, { source, include, page, perPage, split }, signal);
    return { read, warnings: [], stopped: null };
  } catch (error) {
    if (isAppError(error, 'PANEL_RATE_LIMITED')) return { read: undefined, warnings: [], stopped: throttled(error) };
    if (source.kind !== 'nest' || !isAppError(error, 'PANEL_UNAVAILABLE') || attempt < FINAL_ATTEMPT.fallback)
      throw panelFailure(error, attempt, page);
    return readEggs(db, client, input.logId, source.id, signal);
  }
}

/** Reads a nest whose eggs cannot be listed egg by egg, at the last attempt. */
async function readEggs(
  db: Db,
  client: PanelClient,
  logId: string,
  nestId: number,
  signal: AbortSignal,
): Promise<ReadOutcome> {
  const { mapped, failed, throttle } = await readEggsSingly(
    client,
    nestId,
    await knownEggIds(db, logId, nestId),
    signal,
  );
  const message =
    failed.length === 0
      ? `the panel cannot list the eggs of nest ${nestId}; known eggs were read one by one`
      : `the panel cannot answer for eggs ${failed.join(', ')} of nest ${nestId}; they were kept as they are`;
  return {
    read: { mapped, total: 0, perPage: 0, totalPages: 1, throttle },
    warnings: [{ code: 'EGGS_INCOMPLETE', entity: 'eggs', message }],
    stopped: null,
  };
}

export function createPageActivities(deps: PageActivityDeps) {
  const report = createProgressReport(deps.db);
  return {
    /** Reads and stages a batch of pages of one source. */
    stagePages: (input: StagePagesInput): Promise<StagePagesResult> =>
      withHeartbeat((signal) => readBatch(deps, report, input, signal)),
  };
}

export type PageActivities = ReturnType<typeof createPageActivities>;

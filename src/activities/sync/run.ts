/** Activities of a run's log row: open, progress, close. Ids and counts go in and out, never rows. */
import { AppError, ERRORS, type ErrorCode } from '../../domain/errors.ts';
import type { Listing, SyncCounts, SyncWarning } from '../../domain/sync/targets.ts';
import type { RuntimeSettings } from '../../services/settings/runtime-settings.ts';
import { panelFingerprint } from '../../services/sync/panel-fingerprint.ts';
import type { Db } from '../../store/db/db.ts';
import { PROGRESS_INTERVAL_MS, type ReadingRun, writeProgress } from '../../store/sync/progress-store.ts';
import { closeRun, itemsOf, type OpenResult, openRun, runPanel } from '../../store/sync/run-store.ts';
import { rememberedWays } from './ways.ts';

export interface RunActivityDeps {
  db: Db;
  /** Settings as they are now. */
  settings: () => Promise<RuntimeSettings>;
  options: {
    /** Maximum number of batches of pages in flight. */
    concurrency: number;
    /** Own limit for a panel that sends no throttle headers; undefined = none. */
    requestsPerMinute: number | undefined;
    subusers: boolean;
    /** Servers per batch of the client API. */
    subusersBatchSize: number;
  };
}

export interface OpenRunResult {
  result: OpenResult;
  /** Fingerprint of the panel that the run reads: each activity that calls the panel, and the merge, check it. */
  panel: string;
  /** Whether subusers are synced. */
  subusers: boolean;
  /** Whether the client API may serve subusers where the application key lacks the right. */
  clientKey: boolean;
  batchSize: number;
  concurrency: number;
  requestsPerMinute: number | null;
  /** Ways to begin with, of listings that could be read only so lately. */
  ways: Partial<Record<Listing, string>>;
}

export interface CloseRunInput {
  logId: string;
  runId: string;
  outcome: 'COMPLETED' | 'FAILED' | 'CANCELLED';
  code: string | null;
  /** Sentence of the failure. Absent only in an activity that is in flight while a deployment replaces the release before. */
  message?: string | null;
  failedStep: string | null;
  dryRun: boolean;
  counts: SyncCounts;
  warnings: SyncWarning[];
  /** Panel requests that were answered. Absent, as the limit is, in the same case as the message. */
  requests?: number;
  /** The panel's limit of requests per minute; null = it sends none. */
  limit?: number | null;
}

async function open(
  deps: RunActivityDeps,
  input: { logId: string; runId: string; reopen: boolean },
): Promise<OpenRunResult> {
  const settings = await deps.settings();
  const present = panelFingerprint(settings);
  const result = await openRun(deps.db, { ...input, panel: present });
  // A run that opened its row before keeps the panel of that time.
  const panel = (await runPanel(deps.db, input.logId)) ?? present;
  return {
    result,
    panel,
    ways: await rememberedWays(deps.db, panel),
    subusers: deps.options.subusers,
    clientKey: settings.panelClientApiKey !== undefined,
    batchSize: deps.options.subusersBatchSize,
    concurrency: deps.options.concurrency,
    requestsPerMinute: deps.options.requestsPerMinute ?? null,
  };
}

async function close(deps: RunActivityDeps, input: CloseRunInput): Promise<'COMPLETED' | 'FAILED' | 'CANCELLED'> {
  const totals = Object.values(input.counts);
  return closeRun(deps.db, {
    logId: input.logId,
    runId: input.runId,
    outcome: input.outcome,
    error: input.outcome === 'FAILED' ? publicText(input.code, input.message ?? undefined) : undefined,
    failedStep: input.failedStep ?? undefined,
    metadata: {
      ...(totals.length > 0 ? { counts: input.counts } : {}),
      ...(input.warnings.length > 0 ? { warnings: input.warnings } : {}),
      // By these, the live mirror decides when it may read the panel again.
      ...(input.requests === undefined ? {} : { requests: input.requests }),
      ...(input.limit == null ? {} : { limit: input.limit }),
    },
    items: totals.length > 0 ? itemsOf(input.counts) : undefined,
  });
}

/**
 * Sentence of a failure for the log row: for a failure of the panel, and for changes that the database refuses, its own, which
 * says what happened; otherwise that of its code. Unknown codes get a general sentence.
 */
function publicText(code: string | null, message: string | undefined): string {
  if (code !== null && /^(PANEL_|ADDRESS_REFUSED|DATABASE_REFUSED)/.test(code) && message) return message;
  if (code !== null && code in ERRORS) return ERRORS[code as ErrorCode].title;
  return new AppError('INTERNAL_ERROR').message;
}

export function createRunActivities(deps: RunActivityDeps) {
  return {
    /** Opens the log row for a workflow run. */
    openRun: (input: { logId: string; runId: string; reopen: boolean }): Promise<OpenRunResult> => open(deps, input),
    /** Ends the log row. @returns the status that it ended with: a marked cancel wins over the outcome. */
    closeRun: (input: CloseRunInput): Promise<'COMPLETED' | 'FAILED' | 'CANCELLED'> => close(deps, input),
  };
}

export type RunActivities = ReturnType<typeof createRunActivities>;

/** A report of progress while a run reads. */
export type ReportProgress = (run: ReadingRun) => Promise<void>;

/**
 * Writes progress when a step may have ended, else at most once per {@link PROGRESS_INTERVAL_MS} and process: the sum over
 * the staged pages costs more than the write.
 */
export function createProgressReport(db: Db): ReportProgress {
  let last = { logId: '', unread: '', at: 0 };
  return async (run) => {
    const { logId } = run;
    const unread = run.unread.join();
    const force = last.logId !== logId || last.unread !== unread;
    if (!force && Date.now() - last.at < PROGRESS_INTERVAL_MS) return;
    last = { logId, unread, at: Date.now() };
    await writeProgress(db, { ...run, force });
  };
}

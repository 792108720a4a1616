/**
 * Reads sources side by side: first pages first, then grants of pages through the pacer, until each source is whole
 * or has had its chances. State is plain data; every effect is an activity.
 */
import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  isCancellation,
} from '@temporalio/workflow';
import type { StagePagesInput, StagePagesResult } from '../../activities/sync/read-pages.ts';
import { parseSource } from '../../domain/sync/source-ref.ts';
import type { SyncWarning } from '../../domain/sync/targets.ts';
import type { Pacer } from './pacer.ts';
import {
  type AskedEntity,
  addChildren,
  fallBack,
  judge,
  needsNoCheck,
  type SourceState,
  splitOf,
  takeIn,
  type Verdict,
} from './sources.ts';

/** Activities as the reader needs them; cancelling one must end its promise at once (TRY_CANCEL). */
export interface ReaderActivities {
  stagePages: (input: StagePagesInput) => Promise<StagePagesResult>;
  verifyStage: (input: { logId: string; source: string; pass: number; ask: AskedEntity[] }) => Promise<Verdict>;
}

export interface ReaderContext {
  request: Pick<StagePagesInput, 'logId' | 'target' | 'skipUsers' | 'subusers'>;
  activities: ReaderActivities;
  pacer: Pacer;
  warnings: SyncWarning[];
  /** Told when it starts and stops waiting for the panel's window, and of each source that ends. */
  onWait: (reason: string | null) => void;
  onSource: (source: SourceState) => void;
  onRequests: (answered: number) => void;
}

/** The code of an activity's failure. */
export function failureType(error: unknown): string | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  return cause instanceof ApplicationFailure ? (cause.type ?? undefined) : undefined;
}

/** The page that a grant stumbled over, when the panel's failure is one that another way of asking may avoid. */
function stumbledAt(error: unknown): number | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (!(cause instanceof ApplicationFailure) || cause.type !== 'PANEL_UNAVAILABLE') return undefined;
  const [detail] = cause.details ?? [];
  if (typeof detail !== 'object' || detail === null || !('page' in detail) || !('fallback' in detail)) return undefined;
  return detail.fallback === true && typeof detail.page === 'number' ? detail.page : undefined;
}

/** Carries what ended the reading, and at which step. */
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
function stepOf(source: string): string {
  const ref = parseSource(source);
  if (ref?.kind === 'node') return 'nodes';
  return ref?.kind === 'nest' ? 'nests' : source;
}

/**
 * Reads every source to its end; nothing is in flight any more when it returns or throws. Sources may be added on the
 * way (fallbacks).
 * @throws {ReadFailed} what cannot be ridden out: a refused key, an answer that is not understood, a listing that the
 * panel cannot serve, RUN_CLOSED, a cancel that an activity found; a cancel of the workflow as it is.
 */
export async function readSources(sources: SourceState[], context: ReaderContext): Promise<void> {
  const { pacer } = context;
  let failure: ReadFailed | undefined;
  let version = 0;
  let running = 0;
  const open = () => sources.some((s) => s.state === 'reading' || s.state === 'checking');
  const fail = (error: unknown, source: SourceState) => {
    failure ??= new ReadFailed(error, stepOf(source.source));
  };

  const grant = async (source: SourceState, pages: number[], split: number): Promise<void> => {
    const { pass } = source;
    const token = pacer.launched(pages.length * split, Date.now());
    source.inFlight += 1;
    running += 1;
    try {
      const result = await context.activities.stagePages({
        ...context.request,
        source: source.source,
        include: source.include,
        pass,
        pages,
        perPage: source.perPage,
        split,
        again: pages.some((page) => source.again.includes(page)),
      });
      pacer.landed(token, result.answers, Date.now(), result.retried);
      context.onRequests(result.answers.length);
      context.warnings.push(...result.warnings);
      // A source that was started over meanwhile has no use for the pages of its earlier pass.
      if (source.pass === pass && source.state === 'reading') takeIn(source, pages, result);
      if (result.stopped?.kind === 'throttled') pacer.throttled(result.stopped.retryAfterMs, Date.now());
      if (result.stopped?.kind === 'cancelled') fail(new CancelledFailure('the cancel was asked for'), source);
    } catch (error) {
      pacer.released(token);
      const page = isCancellation(error) ? undefined : stumbledAt(error);
      if (page === undefined) return fail(error, source);
      pacer.failing();
      if (source.pass !== pass || source.state !== 'reading') return;
      source.waiting.unshift(...pages);
      source.again.push(...pages);
      if (!fallBack(source, page, sources, context.warnings)) fail(error, source);
      else if (source.state !== 'reading') context.onSource(source);
    } finally {
      source.inFlight -= 1;
      running -= 1;
      version += 1;
    }
  };

  const verify = async (source: SourceState): Promise<void> => {
    running += 1;
    try {
      const { logId } = context.request;
      const { pass, ask } = source;
      judge(
        source,
        await context.activities.verifyStage({ logId, source: source.source, pass, ask }),
        context.warnings,
      );
      if (source.state !== 'reading') context.onSource(source);
    } catch (error) {
      fail(error, source);
    } finally {
      running -= 1;
      version += 1;
    }
  };

  /** The next pages of a source that fit into one grant: whole ones together, a page in parts alone. */
  const next = (source: SourceState, allowed: number): { pages: number[]; split: number } => {
    const split = splitOf(source, source.waiting[0] ?? 1);
    if (split > 1) return { pages: source.waiting.splice(0, 1), split };
    const left = sources.reduce((n, s) => n + s.waiting.length, 0);
    const most = Math.min(pacer.grantSize(left), allowed);
    const whole = source.waiting.findIndex((page) => splitOf(source, page) > 1);
    return { pages: source.waiting.splice(0, whole === -1 ? most : Math.min(most, whole)), split };
  };

  const launch = () => {
    for (const source of sources) {
      while (source.state === 'reading' && source.waiting.length > 0) {
        const allowed = pacer.allowance(Date.now());
        if (allowed < 1) return;
        const { pages, split } = next(source, allowed);
        void grant(source, pages, split);
      }
    }
  };

  /** Waits for something to come back, or for the panel's window where pages wait for it. */
  const wait = async () => {
    const seen = version;
    const moved = () => version !== seen;
    const now = Date.now();
    const hungry = sources.some((s) => s.state === 'reading' && s.waiting.length > 0);
    const wakeAt = hungry ? pacer.wakeAt(now) : undefined;
    if (wakeAt === undefined) return condition(moved);
    const reason = `panel window, ${Math.ceil((wakeAt - now) / 1_000)} s`;
    if (running === 0) context.onWait(reason);
    await condition(moved, Math.max(1, wakeAt - now), { summary: reason });
    context.onWait(null);
  };

  const scope = new CancellationScope();
  try {
    await scope.run(async () => {
      while (open()) {
        for (const source of sources) {
          if (source.state !== 'reading' || source.waiting.length > 0 || source.inFlight > 0) continue;
          addChildren(source, sources);
          if (needsNoCheck(source)) {
            source.state = 'complete';
            context.onSource(source);
          } else {
            source.state = 'checking';
            void verify(source);
          }
        }
        launch();
        if (open()) await wait();
        if (failure !== undefined) throw failure;
      }
    });
  } finally {
    // Whoever goes on after this (a closed row taken back, the end of the run) has the pacer and the stage to itself.
    scope.cancel();
    await CancellationScope.nonCancellable(() => condition(() => running === 0));
  }
}

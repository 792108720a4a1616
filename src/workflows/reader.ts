/**
 * Reads sources side by side: first pages first, then grants of pages through the pacer, until each source is whole
 * or has had its chances. State is plain data; every effect is an activity.
 */
import { ActivityFailure, ApplicationFailure, CancelledFailure, condition, isCancellation } from '@temporalio/workflow';
import type { StagePagesInput, StagePagesResult } from '../activities/sync.ts';
import type { SourcePlan, SyncWarning } from '../domain/sync.ts';
import type { Pacer } from './pacer.ts';

/** Entities whose disappearance from a listing of several pages is asked about before it is believed. */
export type AskedEntity = 'servers' | 'nodes' | 'locations' | 'nests';

export interface SourceState {
  source: string;
  include: string;
  pass: number;
  /** Pages it has by its newest answer; 0 before the first. */
  pagesTotal: number;
  perPage: number;
  total: number;
  items: number;
  waiting: number[];
  done: number[];
  inFlight: number;
  /** Parts a page is asked for in, once the panel failed to serve it whole. */
  split: number;
  missing: string[];
  /** Ids of its records, where a fallback goes on with them. */
  ids: number[];
  state: 'reading' | 'checking' | 'complete' | 'incomplete' | 'failed';
  /** Times that pages were found missing from the stage. */
  gaps: number;
  ask: AskedEntity[];
  gone: { entity: AskedEntity; count: number }[];
}

export interface ReaderActivities {
  stagePages: (input: StagePagesInput) => Promise<StagePagesResult>;
  verifyStage: (input: { logId: string; source: string; pass: number; ask: AskedEntity[] }) => Promise<{
    complete: boolean;
    reason: 'complete' | 'moved' | 'ignored' | 'missing';
    missingPages: number[];
    total: number;
    distinct: number;
    gone: { entity: AskedEntity; count: number }[];
  }>;
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

/** Pages asked for at a time; the answer's own size is believed. */
const PER_PAGE = 100;
/** Nodes carry all their allocations: where one listing of everything failed, small pages may not. */
const NODES_PER_PAGE = 5;
/** A listing that moves while it is read is read again, at most twice (sync-engine section 6). */
const MAX_PASSES = 3;
/** Parts of a page that cannot be served whole; each divides the one before it, so offsets stay aligned. */
const SPLITS = [1, 2, 4, 20];
const MAX_GAPS = 5;

const ASK: Record<string, AskedEntity[]> = {
  locations: ['locations', 'nodes'],
  nodes: ['nodes'],
  nests: ['nests'],
  servers: ['servers'],
};

export function newSource(source: string, include: string, perPage = PER_PAGE): SourceState {
  return {
    source,
    include,
    pass: 1,
    pagesTotal: 0,
    perPage,
    total: 0,
    items: 0,
    waiting: [1],
    done: [],
    inFlight: 0,
    split: 1,
    missing: [],
    ids: [],
    state: 'reading',
    gaps: 0,
    ask: ASK[source] ?? [],
    gone: [],
  };
}

export const sourcesFor = (plans: readonly SourcePlan[]): SourceState[] =>
  plans.map((p) => newSource(p.source, p.include));

/** Starts a source over: nothing it read counts any more. */
function restart(source: SourceState, pass: number): void {
  Object.assign(source, {
    pass,
    pagesTotal: 0,
    total: 0,
    items: 0,
    waiting: [1],
    done: [],
    missing: [],
    ids: [],
    state: 'reading',
    gone: [],
  });
}

export function failureType(error: unknown): string | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  return cause instanceof ApplicationFailure ? (cause.type ?? undefined) : undefined;
}

/**
 * Reads every source to its end. Sources may be added on the way (fallbacks).
 * @throws what cannot be ridden out: a cancel, a refused key, an answer that is not understood, a listing that the
 * panel cannot serve, RUN_CLOSED.
 */
export async function readSources(sources: SourceState[], context: ReaderContext): Promise<void> {
  const { pacer } = context;
  let failure: { error: unknown; step: string } | undefined;
  let version = 0;
  let running = 0;
  const open = () => sources.some((s) => s.state === 'reading' || s.state === 'checking');

  const fail = (error: unknown, source: SourceState) => {
    failure ??= {
      error,
      step: source.source.startsWith('node') ? 'nodes' : source.source.startsWith('nest') ? 'nests' : source.source,
    };
  };

  const grant = async (source: SourceState, pages: number[]): Promise<void> => {
    const { pass } = source;
    try {
      const result = await context.activities.stagePages({
        ...context.request,
        source: source.source,
        include: source.include,
        pass,
        pages,
        perPage: source.perPage,
        split: source.split,
      });
      pacer.landed(pages.length, result.answers, Date.now(), result.retried);
      context.onRequests(result.answers.length);
      context.warnings.push(...result.warnings);
      if (source.pass === pass && source.state === 'reading') landed(source, pages, result);
      if (result.stopped?.kind === 'throttled') pacer.throttled(result.stopped.retryAfterMs, Date.now());
      if (result.stopped?.kind === 'cancelled') fail(new CancelledFailure('the cancel was asked for'), source);
    } catch (error) {
      pacer.released(pages.length);
      if (failureType(error) !== 'PANEL_UNAVAILABLE' || isCancellation(error)) return fail(error, source);
      pacer.failing();
      source.waiting.push(...pages);
      if (!fallBack(source, sources, context)) fail(error, source);
    } finally {
      source.inFlight -= 1;
      running -= 1;
      version += 1;
    }
  };

  const verify = async (source: SourceState): Promise<void> => {
    try {
      const verdict = await context.activities.verifyStage({
        logId: context.request.logId,
        source: source.source,
        pass: source.pass,
        ask: source.ask,
      });
      source.gone = verdict.gone;
      judge(source, verdict, context.warnings);
      if (source.state !== 'reading') context.onSource(source);
    } catch (error) {
      fail(error, source);
    } finally {
      running -= 1;
      version += 1;
    }
  };

  const launch = () => {
    for (const source of sources) {
      while (source.state === 'reading' && source.waiting.length > 0) {
        const allowed = pacer.allowance(Date.now());
        if (allowed < 1) return;
        const left = sources.reduce((n, s) => n + s.waiting.length, 0);
        const pages = source.waiting.splice(0, Math.min(pacer.grantSize(left), allowed, source.split > 1 ? 1 : 5));
        pacer.launched(pages.length, Date.now());
        source.inFlight += 1;
        running += 1;
        void grant(source, pages);
        // Until its first answer nothing is known of how many pages there are.
        if (source.pagesTotal === 0) break;
      }
    }
  };

  while (open() && failure === undefined) {
    for (const source of sources) {
      if (source.state !== 'reading' || source.waiting.length > 0 || source.inFlight > 0) continue;
      if (needsNoCheck(source)) {
        source.state = 'complete';
        context.onSource(source);
      } else {
        source.state = 'checking';
        running += 1;
        void verify(source);
      }
      addChildren(source, sources);
    }
    launch();
    if (!open() || failure !== undefined) break;
    const seen = version;
    const now = Date.now();
    const wakeAt = pacer.wakeAt(now);
    if (running === 0 && wakeAt !== undefined) {
      const seconds = Math.ceil((wakeAt - now) / 1_000);
      context.onWait(`panel window, ${seconds} s`);
      await condition(() => version !== seen, Math.max(1, wakeAt - now));
      context.onWait(null);
    } else {
      await condition(() => version !== seen);
    }
  }
  if (failure !== undefined) throw Object.assign(new ReadFailed(), failure);
}

/** Carries what ended the reading, and at which step. */
export class ReadFailed extends Error {
  error: unknown;
  step = 'starting';
}

function landed(source: SourceState, asked: number[], result: StagePagesResult): void {
  for (const page of result.pages) {
    if (!source.done.includes(page.page)) {
      source.done.push(page.page);
      source.items += page.rows;
    }
    source.perPage = page.perPage === 0 ? source.perPage : page.perPage;
    source.total = page.total;
    source.missing = [...new Set([...source.missing, ...page.missing])];
    source.ids.push(...(page.ids ?? []));
    // Rows added meanwhile come last: the extra pages are read too.
    for (let next = source.pagesTotal + 1; next <= page.totalPages; next += 1) {
      if (!source.done.includes(next) && !source.waiting.includes(next) && !asked.includes(next))
        source.waiting.push(next);
    }
    source.pagesTotal = Math.max(source.pagesTotal, page.totalPages);
  }
  const got = new Set(result.pages.map((p) => p.page));
  source.waiting.unshift(...asked.filter((page) => !got.has(page)));
}

/** A single answer that holds as many records as it says is whole; several pages, or odd numbers, are checked. */
const needsNoCheck = (source: SourceState) =>
  source.source.startsWith('nest:') || (source.pagesTotal === 1 && source.items === source.total);

function judge(
  source: SourceState,
  verdict: { complete: boolean; reason: string; missingPages: number[]; total: number; distinct: number },
  warnings: SyncWarning[],
): void {
  const incomplete = (code: string, message: string) => {
    source.state = 'incomplete';
    warnings.push({ code, message });
  };
  if (verdict.complete) {
    source.state = 'complete';
  } else if (verdict.reason === 'ignored') {
    incomplete('PAGES_IGNORED', `the panel answers every page of ${source.source} alike; nothing of it is pruned`);
  } else if (verdict.reason === 'missing') {
    source.gaps += 1;
    if (source.gaps > MAX_GAPS)
      return incomplete('SOURCE_INCOMPLETE', `pages of ${source.source} stay missing; nothing of it is pruned`);
    source.state = 'reading';
    source.done = source.done.filter((page) => !verdict.missingPages.includes(page));
    source.waiting.push(...verdict.missingPages);
    source.pagesTotal = Math.max(source.pagesTotal, ...verdict.missingPages);
  } else if (source.pass < MAX_PASSES) {
    restart(source, source.pass + 1);
  } else {
    incomplete(
      'SOURCE_MOVED',
      `${source.source} changed at each of ${MAX_PASSES} readings (${verdict.distinct} of ${verdict.total} read); nothing of it is pruned`,
    );
  }
}

/** What can still be done about a source the panel fails to serve (pterodactyl/api: caveats 3-5). False: nothing. */
function fallBack(source: SourceState, sources: SourceState[], context: ReaderContext): boolean {
  const drop = (code: string, entity: SyncWarning['entity'], message: string) => {
    source.state = 'failed';
    source.waiting = [];
    context.warnings.push({ code, ...(entity === undefined ? {} : { entity }), message });
    context.onSource(source);
    return true;
  };
  if (source.source === 'locations' && source.include !== '') {
    source.include = '';
    restart(source, source.pass + 1);
    sources.push(newSource('nodes', 'allocations', NODES_PER_PAGE));
    return true;
  }
  if ((source.source === 'nodes' || source.source === 'nests') && source.include !== '') {
    source.include = '';
    source.perPage = PER_PAGE;
    restart(source, source.pass + 1);
    return true;
  }
  if (source.source.startsWith('node:')) {
    return drop(
      'NODE_FAILED',
      'allocations',
      `the allocations of node ${source.source.slice(5)} cannot be read; they were kept as they are`,
    );
  }
  if (source.source.startsWith('nest:')) {
    return drop(
      'NEST_FAILED',
      'eggs',
      `the eggs of nest ${source.source.slice(5)} cannot be read; they were kept as they are`,
    );
  }
  const next = SPLITS[SPLITS.indexOf(source.split) + 1];
  if ((source.source === 'users' || source.source === 'servers') && next !== undefined) {
    source.split = next;
    return true;
  }
  return false;
}

/** A bare listing in place of a failed include goes on record by record. */
function addChildren(source: SourceState, sources: SourceState[]): void {
  if (source.include !== '' || source.ids.length === 0) return;
  const child = source.source === 'nodes' ? 'node' : source.source === 'nests' ? 'nest' : undefined;
  // A target that wants nodes or nests alone starts with pass 1; only a fallback restarted the source.
  if (child === undefined || source.pass === 1) return;
  for (const id of source.ids) {
    const name = `${child}:${id}`;
    if (!sources.some((s) => s.source === name)) sources.push(newSource(name, '', PER_PAGE));
  }
}

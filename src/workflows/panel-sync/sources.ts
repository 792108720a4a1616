/** What a sync knows of each listing it reads: pages, passes, and what can still be done when the panel fails one. */
import type { StagePagesResult } from '../../activities/sync/read-pages.ts';
import { nestSource, nodeSource, parseSource } from '../../domain/sync/source-ref.ts';
import type { SourcePlan, SyncWarning } from '../../domain/sync/targets.ts';

/** Entities whose disappearance from a listing of several pages is asked about before it is believed. */
export type AskedEntity = 'servers' | 'nodes' | 'locations' | 'nests';

/** Plain data: the state of one listing, or of a fallback of one (`node:<id>`, `nest:<id>`). */
export interface SourceState {
  source: string;
  include: string;
  /** Raised each time it is started over; older pages do not count any more. */
  pass: number;
  /** Times it was started over because it changed while it was read. */
  moves: number;
  /** Pages it has by its newest answer; 0 before the first. */
  pagesTotal: number;
  perPage: number;
  total: number;
  waiting: number[];
  /** Records of each page that is staged. */
  done: Record<number, number>;
  inFlight: number;
  /** Parts a page is asked for in, once the panel failed to serve it whole. */
  split: Record<number, number>;
  /** Pages that an earlier grant may have staged already. */
  again: number[];
  missing: string[];
  /** Ids of its records, where a fallback goes on with them. */
  ids: number[];
  /** Its records are gone on with one by one. */
  children: boolean;
  state: 'reading' | 'checking' | 'complete' | 'incomplete' | 'failed';
  /** Times that pages were found missing from the stage. */
  gaps: number;
  ask: AskedEntity[];
  gone: { entity: AskedEntity; count: number }[];
}

/** What verifyStage says of a source. */
export interface Verdict {
  complete: boolean;
  reason: 'complete' | 'moved' | 'ignored' | 'missing';
  missingPages: number[];
  total: number;
  distinct: number;
  /** Rows that the listing did not contain; `refused`: so many that none is pruned. */
  gone: { entity: AskedEntity; count: number; refused: boolean }[];
}

/** Pages asked for at a time; the answer's own size is believed. */
const PER_PAGE = 100;
/** Nodes carry all their allocations: where one listing of everything failed, small pages may not. */
const NODES_PER_PAGE = 5;
/** A listing that moves while it is read is read again, at most twice. */
const MAX_MOVES = 2;
/** Parts of a page that cannot be served whole. */
const SPLITS = [1, 2, 4, 20];
const MAX_GAPS = 5;

const ASKED: readonly AskedEntity[] = ['servers', 'nodes', 'locations', 'nests'];

export function newSource(
  source: string,
  include: string,
  options: { perPage?: number; ask?: AskedEntity[] } = {},
): SourceState {
  return {
    source,
    include,
    pass: 1,
    moves: 0,
    pagesTotal: 0,
    perPage: options.perPage ?? PER_PAGE,
    total: 0,
    waiting: [1],
    done: {},
    inFlight: 0,
    split: {},
    again: [],
    missing: [],
    ids: [],
    children: false,
    state: 'reading',
    gaps: 0,
    ask: options.ask ?? [],
    gone: [],
  };
}

/** The listings of a plan, nothing read of them yet. */
export const sourcesFor = (plans: readonly SourcePlan[]): SourceState[] =>
  plans.map((p) => newSource(p.source, p.include, { ask: ASKED.filter((entity) => p.entities.includes(entity)) }));

/** Records staged of a source. */
export const itemsOf = (source: SourceState): number => Object.values(source.done).reduce((a, b) => a + b, 0);
/** Pages staged of a source. */
export const pagesOf = (source: SourceState): number => Object.keys(source.done).length;
/** Parts in which a page is asked for. */
export const splitOf = (source: SourceState, page: number): number => source.split[page] ?? 1;

/** Starts a source over: nothing it read counts any more. */
function restart(
  source: SourceState,
  change: Partial<Pick<SourceState, 'include' | 'perPage' | 'children'>> = {},
): void {
  Object.assign(source, {
    ...change,
    pass: source.pass + 1,
    pagesTotal: 0,
    total: 0,
    waiting: [1],
    done: {},
    again: [],
    missing: [],
    ids: [],
    state: 'reading',
    gone: [],
  });
}

/** Takes in what a grant brought; pages it did not get to are asked for again. */
export function takeIn(source: SourceState, asked: readonly number[], result: StagePagesResult): void {
  for (const page of result.pages) {
    source.done[page.page] = page.rows;
    source.perPage = page.perPage === 0 ? source.perPage : page.perPage;
    source.total = page.total;
    source.missing = [...new Set([...source.missing, ...page.missing])];
    source.ids.push(...(page.ids ?? []));
    // Rows added meanwhile come last: the extra pages are read too.
    for (let next = source.pagesTotal + 1; next <= page.totalPages; next += 1) {
      if (source.done[next] === undefined && !source.waiting.includes(next) && !asked.includes(next))
        source.waiting.push(next);
    }
    source.pagesTotal = Math.max(source.pagesTotal, page.totalPages);
  }
  const got = new Set(result.pages.map((p) => p.page));
  source.waiting.unshift(...asked.filter((page) => !got.has(page)));
}

/** A single answer that holds as many records as it says is whole; several pages, or odd numbers, are checked. */
export const needsNoCheck = (source: SourceState): boolean =>
  parseSource(source.source)?.kind === 'nest' || (source.pagesTotal === 1 && itemsOf(source) === source.total);

/** Draws the conclusion from a check: whole, read again, or read without being whole (nothing of it is pruned). */
export function judge(source: SourceState, verdict: Verdict, warnings: SyncWarning[]): void {
  const incomplete = (code: string, message: string) => {
    source.state = 'incomplete';
    warnings.push({ code, message });
  };
  // A prune that will be refused asks nothing; unasked, nobody is pruned.
  source.gone = verdict.gone.filter((g) => !g.refused);
  for (const { entity, count } of verdict.gone.filter((g) => g.refused)) {
    warnings.push({
      code: 'PRUNE_REFUSED',
      entity,
      message: `${count} ${entity} are not on the panel any more but were kept (more than half of all); set sync_allow_mass_prune to allow it`,
    });
  }
  if (verdict.complete) {
    source.state = 'complete';
  } else if (verdict.reason === 'ignored') {
    incomplete('PAGES_IGNORED', `the panel answers every page of ${source.source} alike; nothing of it is pruned`);
  } else if (verdict.reason === 'missing') {
    source.gaps += 1;
    if (source.gaps > MAX_GAPS) {
      incomplete('SOURCE_INCOMPLETE', `pages of ${source.source} stay missing; nothing of it is pruned`);
    } else {
      source.state = 'reading';
      for (const page of verdict.missingPages) delete source.done[page];
      source.waiting.push(...verdict.missingPages);
      source.pagesTotal = Math.max(source.pagesTotal, ...verdict.missingPages);
    }
  } else if (source.moves < MAX_MOVES) {
    source.moves += 1;
    restart(source);
  } else {
    incomplete(
      'SOURCE_MOVED',
      `${source.source} changed at each of ${MAX_MOVES + 1} readings (${verdict.distinct} of ${verdict.total} read); nothing of it is pruned`,
    );
  }
}

/**
 * What can still be done about a page the panel fails to serve (its known weak spots: eggs with a broken parent, nodes
 * with very many allocations, pages that take too long). False: nothing.
 */
export function fallBack(source: SourceState, page: number, sources: SourceState[], warnings: SyncWarning[]): boolean {
  const drop = (code: string, entity: SyncWarning['entity'], message: string) => {
    source.state = 'failed';
    source.waiting = [];
    warnings.push({ code, ...(entity === undefined ? {} : { entity }), message });
    return true;
  };
  if (source.source === 'locations' && source.include !== '') {
    restart(source, { include: '' });
    // Whoever lists the nodes asks about those that are missing.
    const ask = source.ask.filter((entity) => entity === 'nodes');
    source.ask = source.ask.filter((entity) => entity !== 'nodes');
    sources.push(newSource('nodes', 'allocations', { perPage: NODES_PER_PAGE, ask }));
    return true;
  }
  if ((source.source === 'nodes' || source.source === 'nests') && source.include !== '') {
    restart(source, { include: '', perPage: PER_PAGE, children: true });
    return true;
  }
  const ref = parseSource(source.source);
  if (ref?.kind === 'node') {
    return drop(
      'NODE_FAILED',
      'allocations',
      `the allocations of node ${ref.id} cannot be read; they were kept as they are`,
    );
  }
  if (ref?.kind === 'nest') {
    return drop('NEST_FAILED', 'eggs', `the eggs of nest ${ref.id} cannot be read; they were kept as they are`);
  }
  const next = SPLITS[SPLITS.indexOf(splitOf(source, page)) + 1];
  if ((source.source === 'users' || source.source === 'servers') && next !== undefined) {
    source.split[page] = next;
    return true;
  }
  return false;
}

/** A bare listing in place of a failed include goes on record by record. */
export function addChildren(source: SourceState, sources: SourceState[]): void {
  if (!source.children) return;
  const childSource = source.source === 'nodes' ? nodeSource : nestSource;
  const known = new Set(sources.map((s) => s.source));
  for (const id of source.ids) {
    const name = childSource(id);
    if (!known.has(name)) sources.push(newSource(name, ''));
    known.add(name);
  }
}

/** The state of each source that a sync reads: its pages and passes, and the fallbacks when the panel fails a page. */
import type { StagePagesResult } from '../../activities/sync/read-pages.ts';
import { isListing, listingRef, type SourceRef, sourceName } from '../../domain/sync/source-ref.ts';
import {
  CONFIRMED_ENTITIES,
  type ConfirmedEntity,
  type SourcePlan,
  type SyncWarning,
} from '../../domain/sync/targets.ts';

/** Plain data: the state of one listing, or of one of its fallbacks (one node, one nest). */
export interface SourceState {
  source: SourceRef;
  include: string;
  /** Number of the pass, from 1. It rises with each restart; pages of earlier passes do not count. */
  pass: number;
  /** Number of restarts because the listing changed while it was read. */
  moves: number;
  /** Pages of the listing by its newest answer; 0 before the first. */
  pagesTotal: number;
  perPage: number;
  total: number;
  /** Pages to read. */
  waiting: number[];
  /** Number of records of each staged page. */
  done: Record<number, number>;
  /** Batches in flight. */
  inFlight: number;
  /** Number of parts of each page that the panel failed to serve whole. */
  split: Record<number, number>;
  /** Pages that a batch may have staged before it failed at a later page. */
  mayBeStaged: number[];
  /** Includes that did not come back as lists: the key lacks the right. */
  missingIncludes: string[];
  /** Ids of its records, where a fallback continues with each of them. */
  ids: number[];
  /** A fallback: each of its records becomes a source of its own. */
  children: boolean;
  state: 'reading' | 'checking' | 'complete' | 'incomplete' | 'failed';
  /** Number of checks that found pages missing from staging. */
  gaps: number;
  /** Entities whose missing rows the panel must confirm. */
  confirm: ConfirmedEntity[];
  /** Rows to confirm, by entity. */
  candidates: { entity: ConfirmedEntity; count: number }[];
}

/** What the workflow uses of the verdict of verifySource. */
export interface Verdict {
  complete: boolean;
  reason: 'complete' | 'moved' | 'ignored' | 'missing';
  missingPages: number[];
  total: number;
  distinct: number;
  /** Rows that the listing did not contain; `refused`: so many that the prune guard keeps them all. */
  candidates: { entity: ConfirmedEntity; count: number; refused: boolean }[];
}

/** Records per page. The panel may answer with fewer: then its own page size counts. */
const PER_PAGE = 100;
/** Each node comes with all its allocations: small pages may succeed where one large listing failed. */
const NODES_PER_PAGE = 5;
/** Maximum number of restarts of a listing that changes while it is read. */
const MAX_MOVES = 2;
/** Numbers of parts that are tried for a page that the panel cannot serve whole. */
const SPLITS = [1, 2, 4, 20];
/** Maximum number of checks with missing pages; after it the source counts as incomplete. */
const MAX_GAPS = 5;

/** A source of which no page was read. */
export function newSource(
  source: SourceRef,
  include: string,
  options: { perPage?: number; confirm?: ConfirmedEntity[] } = {},
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
    mayBeStaged: [],
    missingIncludes: [],
    ids: [],
    children: false,
    state: 'reading',
    gaps: 0,
    confirm: options.confirm ?? [],
    candidates: [],
  };
}

/** The listings of a plan, none of them read yet. */
export const sourcesFor = (plans: readonly SourcePlan[]): SourceState[] =>
  plans.map((p) =>
    newSource(listingRef(p.source), p.include, {
      confirm: CONFIRMED_ENTITIES.filter((entity) => p.entities.includes(entity)),
    }),
  );

/** A source as the merge needs it. */
export interface MergeSource {
  source: SourceRef;
  pass: number;
  complete: boolean;
  pages: number;
  missingIncludes: string[];
}

/** The sources that were read to their end, whole or not. */
export const mergeSources = (sources: readonly SourceState[]): MergeSource[] =>
  sources
    .filter((s) => s.state === 'complete' || s.state === 'incomplete')
    .map((s) => ({
      source: s.source,
      pass: s.pass,
      complete: s.state === 'complete',
      pages: s.pagesTotal,
      missingIncludes: s.missingIncludes,
    }));

/** Records staged of a source. */
export const itemsOf = (source: SourceState): number => Object.values(source.done).reduce((a, b) => a + b, 0);
/** Pages staged of a source. */
export const pagesOf = (source: SourceState): number => Object.keys(source.done).length;
/** Number of parts in which a page is requested. */
export const splitOf = (source: SourceState, page: number): number => source.split[page] ?? 1;

/** Restarts a source: nothing that was read of it counts any more. */
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
    mayBeStaged: [],
    missingIncludes: [],
    ids: [],
    state: 'reading',
    candidates: [],
  });
}

/** Adds the pages that a batch staged; pages that it did not reach are read again. */
export function addStaged(source: SourceState, batch: readonly number[], result: StagePagesResult): void {
  for (const page of result.pages) {
    source.done[page.page] = page.rows;
    source.perPage = page.perPage === 0 ? source.perPage : page.perPage;
    source.total = page.total;
    source.missingIncludes = [...new Set([...source.missingIncludes, ...page.missingIncludes])];
    source.ids.push(...(page.ids ?? []));
    // Rows that were added meanwhile come last, on further pages.
    for (let next = source.pagesTotal + 1; next <= page.totalPages; next += 1) {
      if (source.done[next] === undefined && !source.waiting.includes(next) && !batch.includes(next))
        source.waiting.push(next);
    }
    source.pagesTotal = Math.max(source.pagesTotal, page.totalPages);
  }
  const got = new Set(result.pages.map((p) => p.page));
  source.waiting.unshift(...batch.filter((page) => !got.has(page)));
}

/** A single page with as many records as its total is whole. Several pages, or other numbers, must be checked. */
export const needsNoCheck = (source: SourceState): boolean =>
  source.source.kind === 'nest' || (source.pagesTotal === 1 && itemsOf(source) === source.total);

/** Applies a verdict: the source is complete, is read again, or ends incomplete (then nothing of it is deleted). */
export function judge(source: SourceState, verdict: Verdict, warnings: SyncWarning[]): void {
  const incomplete = (code: string, message: string) => {
    source.state = 'incomplete';
    warnings.push({ code, message });
  };
  // Skip the confirmation when the prune guard will refuse anyway. Unconfirmed rows are never deleted.
  source.candidates = verdict.candidates.filter((c) => !c.refused);
  for (const { entity, count } of verdict.candidates.filter((c) => c.refused)) {
    warnings.push({
      code: 'PRUNE_REFUSED',
      entity,
      message: `${count} ${entity} are not on the panel any more but were kept (more than half of all); set sync_allow_mass_prune to allow it`,
    });
  }
  if (verdict.complete) {
    source.state = 'complete';
  } else if (verdict.reason === 'ignored') {
    incomplete(
      'PAGES_IGNORED',
      `the panel answers every page of ${sourceName(source.source)} alike; nothing of it is pruned`,
    );
  } else if (verdict.reason === 'missing') {
    source.gaps += 1;
    if (source.gaps > MAX_GAPS) {
      incomplete('SOURCE_INCOMPLETE', `pages of ${sourceName(source.source)} stay missing; nothing of it is pruned`);
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
      `${sourceName(source.source)} changed at each of ${MAX_MOVES + 1} readings (${verdict.distinct} of ${verdict.total} read); nothing of it is pruned`,
    );
  }
}

/**
 * Chooses another way to read a source of which the panel fails a page. Known cases: eggs with a broken parent, nodes with
 * very many allocations, pages that take too long.
 * @returns false when there is no other way.
 */
export function fallBack(source: SourceState, page: number, sources: SourceState[], warnings: SyncWarning[]): boolean {
  const drop = (code: string, entity: SyncWarning['entity'], message: string) => {
    source.state = 'failed';
    source.waiting = [];
    warnings.push({ code, ...(entity === undefined ? {} : { entity }), message });
    return true;
  };
  const ref = source.source;
  if (isListing(ref, 'locations') && source.include !== '') {
    restart(source, { include: '' });
    // The new source lists the nodes, so the missing nodes are confirmed for it.
    const confirm = source.confirm.filter((entity) => entity === 'nodes');
    source.confirm = source.confirm.filter((entity) => entity !== 'nodes');
    sources.push(newSource(listingRef('nodes'), 'allocations', { perPage: NODES_PER_PAGE, confirm }));
    return true;
  }
  if ((isListing(ref, 'nodes') || isListing(ref, 'nests')) && source.include !== '') {
    restart(source, { include: '', perPage: PER_PAGE, children: true });
    return true;
  }
  if (ref.kind === 'node') {
    return drop(
      'NODE_FAILED',
      'allocations',
      `the allocations of node ${ref.id} cannot be read; they were kept as they are`,
    );
  }
  if (ref.kind === 'nest') {
    return drop('NEST_FAILED', 'eggs', `the eggs of nest ${ref.id} cannot be read; they were kept as they are`);
  }
  const next = SPLITS[SPLITS.indexOf(splitOf(source, page)) + 1];
  if ((isListing(ref, 'users') || isListing(ref, 'servers')) && next !== undefined) {
    source.split[page] = next;
    return true;
  }
  return false;
}

/** Adds a source per record of a listing that was read without its failed include. */
export function addChildren(source: SourceState, sources: SourceState[]): void {
  if (!source.children) return;
  const kind = isListing(source.source, 'nodes') ? 'node' : 'nest';
  const known = new Set(sources.map((s) => sourceName(s.source)));
  for (const id of source.ids) {
    const child = { kind, id } as const;
    if (!known.has(sourceName(child))) sources.push(newSource(child, ''));
    known.add(sourceName(child));
  }
}

/** The state of each source that a sync reads: its pages and passes, and what its verdict means. */
import type { StagePagesResult } from '../../activities/sync/read-pages.ts';
import { isListing, listingRef, type SourceRef, sourceName } from '../../domain/sync/source-ref.ts';
import {
  CONFIRMED_ENTITIES,
  type ConfirmedEntity,
  type SourcePlan,
  type SyncWarning,
} from '../../domain/sync/targets.ts';

/** Records to read with one request: page `page` of pages of `size` records. */
export interface Piece {
  page: number;
  size: number;
  /** Part of a page that the panel failed to serve. */
  part: boolean;
  /** A batch may have staged it before it failed at a later page. */
  mayBeStaged: boolean;
}

/** Plain data: the state of one listing, or of one of its fallbacks (one node, one nest). */
export interface SourceState {
  source: SourceRef;
  include: string;
  /** Number of the pass, from 1. It rises with each restart; pages of earlier passes do not count. */
  pass: number;
  /** Number of restarts because the listing lacked records. */
  moves: number;
  /** Pages of the listing by its newest answer; 0 before the first. */
  pagesTotal: number;
  perPage: number;
  total: number;
  /** First page that was not requested yet. */
  nextPage: number;
  /** Pieces to read before further pages: pages that failed, parts of them, pages that staging lacks. */
  again: Piece[];
  /** When its first page was read, Unix milliseconds; 0 = not yet, or too long ago to matter. */
  firstReadAt: number;
  /** Batches in flight. */
  inFlight: number;
  /** Records staged, and places of records that the pages read so far cover. */
  items: number;
  covered: number;
  /** Whole pages that the panel failed to serve. */
  broken: number;
  /** Records that could not be read and whose id is not known. */
  unreadable: number;
  /** Records that the panel cannot print. */
  unprintable: number;
  /** Includes that did not come back as lists: the key lacks the right. */
  missingIncludes: string[];
  /** Ids of its records, where a fallback continues with each of them; of a nest that is read egg by egg: eggs to ask for. */
  ids: number[];
  /** A fallback: each of its records becomes a source of its own. */
  children: boolean;
  /** Of a node: its list was requested in one page. */
  inOnePage: boolean;
  /** Of a nest: its eggs are asked for one by one. `wanted`: which ids is not known yet. */
  singly: 'no' | 'wanted' | 'yes';
  /** Of a nest that is read egg by egg: eggs for which the panel has no answer. */
  failedIds: number[];
  /** Warnings of it, for the case that it is read to its end. */
  notes: SyncWarning[];
  /** How it is read instead of the usual way; null = the usual way. */
  way: string | null;
  /** The way is remembered from an earlier run. */
  remembered: boolean;
  /** `absent`: the panel has no such listing, or the key may not read it (`forbidden`). */
  state: 'reading' | 'checking' | 'complete' | 'incomplete' | 'failed' | 'absent' | 'forbidden';
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
  reason: 'complete' | 'moved' | 'lacking' | 'ignored' | 'missing';
  missingPages: { page: number; size: number }[];
  total: number;
  distinct: number;
  /** Records without a readable id. */
  unreadable: number;
  /** Rows that the listing did not contain; `refused`: so many that the prune guard keeps them all. */
  candidates: { entity: ConfirmedEntity; count: number; refused: boolean }[];
}

/** Records per page. The panel may answer with fewer: then its own page size counts. */
export const PER_PAGE = 100;
/** Maximum number of restarts of a listing that lacks records. */
const MAX_MOVES = 2;
/** Maximum number of checks with missing pages; after it the source counts as incomplete. */
const MAX_GAPS = 5;
/** Allocations of a node that are requested in one page, so that rows can be deleted without a question for each. */
const MAX_IN_ONE_PAGE = 5_000;
/** A pause after which the first page says nothing about the others any more: it is read again with them. */
const FIRST_PAGE_HOLDS_MS = 15_000;

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
    nextPage: 1,
    again: [],
    firstReadAt: 0,
    inFlight: 0,
    items: 0,
    covered: 0,
    broken: 0,
    unreadable: 0,
    unprintable: 0,
    missingIncludes: [],
    ids: [],
    children: false,
    inOnePage: false,
    singly: 'no',
    failedIds: [],
    notes: [],
    way: null,
    remembered: false,
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

/** The sources that were read to their end, whole or not. One page with an unreadable record proves as little as several. */
export const mergeSources = (sources: readonly SourceState[]): MergeSource[] =>
  sources
    .filter((s) => s.state === 'complete' || s.state === 'incomplete')
    .map((s) => ({
      source: s.source,
      pass: s.pass,
      complete: s.state === 'complete',
      pages: s.unreadable > 0 ? Math.max(2, s.pagesTotal) : s.pagesTotal,
      missingIncludes: s.missingIncludes,
    }));

export const isOpen = ({ state }: SourceState): boolean => state === 'reading' || state === 'checking';

/** Pages staged of a source. */
export function pagesOf(source: SourceState): number {
  if (source.pagesTotal === 0) return 0;
  // Parts of a page count as what they cover; the last page may be covered by fewer of them.
  return source.covered >= source.total
    ? source.pagesTotal
    : Math.min(source.pagesTotal, Math.floor(source.covered / source.perPage));
}

/** Requests that its known pages still need. */
export function waitingOf(source: SourceState): number {
  if (source.state !== 'reading') return 0;
  if (source.singly !== 'no') return source.ids.length;
  return source.again.length + Math.max(0, lastKnownPage(source) - source.nextPage + 1);
}

/** Before the first answer, one page is known of. */
const lastKnownPage = ({ pagesTotal }: SourceState) => Math.max(1, pagesTotal);

/** Takes the next pages to request, at most `most`: all of one size. */
export function takePieces(source: SourceState, most: number, now: number): Piece[] {
  if (source.nextPage === 2 && source.pagesTotal > 1 && source.firstReadAt > 0) {
    if (now - source.firstReadAt > FIRST_PAGE_HOLDS_MS)
      source.again.push({ page: 1, size: source.perPage, part: false, mayBeStaged: false });
    source.firstReadAt = 0;
  }
  const [first] = source.again;
  if (first !== undefined) {
    const alike = source.again.findIndex((p) => p.size !== first.size || p.part !== first.part);
    return source.again.splice(0, Math.min(most, alike === -1 ? source.again.length : alike));
  }
  const pieces: Piece[] = [];
  for (; source.nextPage <= lastKnownPage(source) && pieces.length < most; source.nextPage += 1)
    pieces.push({ page: source.nextPage, size: source.perPage, part: false, mayBeStaged: false });
  return pieces;
}

/** What a restart may change. */
type Change = Partial<Pick<SourceState, 'include' | 'perPage' | 'children' | 'inOnePage' | 'singly'>>;

/** Restarts a source: nothing that was read of it counts any more. */
export function restart(source: SourceState, change: Change = {}): void {
  const fresh = newSource(source.source, source.include);
  Object.assign(source, {
    ...fresh,
    ...change,
    pass: source.pass + 1,
    moves: source.moves,
    perPage: change.perPage ?? source.perPage,
    children: change.children ?? source.children,
    inOnePage: change.inOnePage ?? source.inOnePage,
    inFlight: source.inFlight,
    broken: source.broken,
    way: source.way,
    remembered: source.remembered,
    confirm: source.confirm,
    gaps: source.gaps,
  });
}

/** Adds the pages that a batch staged; those that it did not reach are read again. */
export function addStaged(source: SourceState, batch: readonly Piece[], result: StagePagesResult, now: number): void {
  const got = new Set<number>();
  for (const page of result.pages) {
    got.add(page.page);
    const piece = batch.find((p) => p.page === page.page);
    source.items += page.rows;
    source.covered += page.perPage === 0 ? 1 : page.perPage;
    // The panel may serve fewer records per page than it was asked for.
    if (piece?.part === false) source.perPage = page.perPage;
    source.total = page.total;
    source.unprintable += page.unprintable;
    source.missingIncludes = [...new Set([...source.missingIncludes, ...page.missingIncludes])];
    source.ids.push(...(page.ids ?? []));
    // Rows that were added meanwhile come last, on further pages.
    const pages = source.perPage === 0 ? 1 : Math.ceil(page.total / source.perPage);
    if (source.pagesTotal === 0 && piece?.part === false) source.firstReadAt = now;
    source.pagesTotal = Math.max(1, source.pagesTotal, pages);
  }
  source.again.unshift(...batch.filter((p) => !got.has(p.page)));
  readInOnePage(source);
}

/** The list of a node has no order, so several pages cannot prove that a row is gone. One large page can. */
function readInOnePage(source: SourceState): void {
  if (source.source.kind !== 'node' || source.inOnePage || source.broken > 0) return;
  if (source.pagesTotal < 2 || source.total > MAX_IN_ONE_PAGE) return;
  restart(source, { inOnePage: true, perPage: Math.ceil((source.total + 1) / PER_PAGE) * PER_PAGE });
}

/** A single page with as many records as its total is whole. Several pages, or other numbers, must be checked. */
export const needsNoCheck = (source: SourceState): boolean =>
  source.source.kind === 'nest' ||
  (source.pagesTotal === 1 && source.items === source.total && source.unprintable === 0);

/** Applies a verdict: the source is complete, is read again, or ends incomplete (then what it lacks proves nothing). */
export function judge(source: SourceState, verdict: Verdict, warnings: SyncWarning[]): void {
  const name = sourceName(source.source);
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
  source.unreadable = verdict.unreadable;
  if (verdict.complete) {
    source.state = 'complete';
  } else if (verdict.reason === 'ignored') {
    incomplete('PAGES_IGNORED', `the panel answers every page of ${name} alike; nothing of it is pruned`);
  } else if (verdict.reason === 'missing') {
    source.gaps += 1;
    if (source.gaps > MAX_GAPS) {
      incomplete('SOURCE_INCOMPLETE', `pages of ${name} stay missing; nothing of it is pruned`);
    } else {
      source.state = 'reading';
      const pieces = verdict.missingPages.map((p) => ({ ...p, part: false, mayBeStaged: false }));
      source.again.push(...pieces);
      source.covered = Math.max(0, source.covered - pieces.reduce((n, p) => n + p.size, 0));
    }
  } else if (verdict.reason === 'lacking' && source.moves < MAX_MOVES) {
    source.moves += 1;
    restart(source);
  } else {
    incomplete(
      'SOURCE_MOVED',
      `${name} changed while it was read (${verdict.distinct} of ${verdict.total} read); what slipped from page to page is read by the next sync`,
    );
  }
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

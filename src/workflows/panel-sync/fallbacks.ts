/**
 * Other ways to read a source that the panel fails to serve: without its include, smaller pages, node by node, nest by
 * nest, egg by egg. A way that worked is remembered for the next run.
 */
import type { WorkedWay } from '../../activities/sync/ways.ts';
import { isListing, listingRef } from '../../domain/sync/source-ref.ts';
import type { Listing, SyncWarning } from '../../domain/sync/targets.ts';
import { newSource, PER_PAGE, type Piece, restart, type SourceState } from './sources.ts';

/** Each node comes with all its allocations: small pages may succeed where one large listing failed. */
const NODES_PER_PAGE = 5;
/** Whole pages of a listing that may fail before all its further pages are read in parts. */
const BROKEN_PAGES = 3;
/** Records per page of a listing whose whole pages fail. */
const SMALL_PAGE = 25;
/** Records of one source that may be rejected because the panel cannot print them. */
const MAX_UNPRINTABLE = 20;
/** The same where nothing at all could be read: then it is no matter of single records. */
const MAX_UNPRINTABLE_OF_NOTHING = 5;

/** Names of the ways, as they are remembered. */
const WITHOUT_NODES = 'without-nodes';
const BY_NODE = 'by-node';
const BY_NEST = 'by-nest';
const SMALL_PAGES = `pages-of-${SMALL_PAGE}`;

/** Right of the panel's application key by which it reads a listing or an include. */
const RIGHTS: Readonly<Record<string, string>> = {
  variables: 'eggs',
  databases: 'server_databases',
  subusers: 'users',
};
export const rightOf = (name: string): string => RIGHTS[name] ?? name;

/**
 * Chooses another way to read a source of which the panel fails a piece, while it serves other requests. Known cases: eggs
 * with a broken parent, nodes with very many allocations, pages that take too long, records that cannot be printed.
 * @returns false when there is no other way.
 */
export function fallBack(source: SourceState, piece: Piece, sources: SourceState[]): boolean {
  const ref = source.source;
  if (isListing(ref, 'locations') && source.include !== '') {
    source.way = WITHOUT_NODES;
    restart(source, { include: '' });
    addNodes(source, sources, NODES_PER_PAGE);
    return true;
  }
  if ((isListing(ref, 'nodes') || isListing(ref, 'nests')) && source.include !== '') {
    source.way = isListing(ref, 'nodes') ? BY_NODE : BY_NEST;
    restart(source, { include: '', perPage: PER_PAGE, children: true });
    return true;
  }
  if (ref.kind === 'nest') {
    if (source.singly !== 'no') return false;
    restart(source, { singly: 'wanted' });
    return true;
  }
  if (piece.size < 2) return false;
  if (!piece.part) source.broken += 1;
  source.again.unshift(...partsOf(piece, source.total));
  return true;
}

/** A page in parts of a size by which it can be divided, from its first record on. */
function partsOf({ page, size }: Piece, total: number): Piece[] {
  let count = 2;
  while (size % count !== 0) count += 1;
  const first = (page - 1) * count + 1;
  const parts = Array.from({ length: count }, (_, i) => ({
    page: first + i,
    size: size / count,
    part: true,
    mayBeStaged: false,
  }));
  return parts.filter((part) => total === 0 || (part.page - 1) * part.size < total);
}

/** After several whole pages failed, further pages are read in small ones from the start. */
export function shrink(source: SourceState, pieces: Piece[]): Piece[] {
  if (source.broken < BROKEN_PAGES || !isPaged(source) || source.perPage <= SMALL_PAGE) return pieces;
  if (source.perPage % SMALL_PAGE !== 0) return pieces;
  source.way = SMALL_PAGES;
  const count = source.perPage / SMALL_PAGE;
  return pieces.flatMap((piece) =>
    piece.part || piece.size !== source.perPage
      ? [piece]
      : Array.from({ length: count }, (_, i) => ({
          page: (piece.page - 1) * count + 1 + i,
          size: SMALL_PAGE,
          part: true,
          mayBeStaged: piece.mayBeStaged,
        })).filter((part) => (part.page - 1) * part.size < source.total),
  );
}

const isPaged = ({ source }: SourceState) => isListing(source, 'users') || isListing(source, 'servers');

/** Whether so many records cannot be printed that it is no matter of single records. */
export const isBeyondRepair = ({ unprintable, items }: SourceState): boolean =>
  unprintable >= MAX_UNPRINTABLE || (items <= unprintable && unprintable >= MAX_UNPRINTABLE_OF_NOTHING);

/** Ends a source that cannot be read, where the run can do without it. @returns false where it cannot. */
export function drop(source: SourceState, warnings: SyncWarning[]): boolean {
  const ref = source.source;
  if (ref.kind !== 'node' && ref.kind !== 'nest') return false;
  source.state = 'failed';
  source.again = [];
  warnings.push(
    ref.kind === 'node'
      ? {
          code: 'NODE_FAILED',
          entity: 'allocations',
          message: `the allocations of node ${ref.id} cannot be read; they were kept as they are`,
        }
      : {
          code: 'NEST_FAILED',
          entity: 'eggs',
          message: `the eggs of nest ${ref.id} cannot be read; they were kept as they are`,
        },
  );
  return true;
}

/** Says what of a nest could not be read, after its eggs were asked for one by one. */
export function warnOfEggs(source: SourceState): void {
  if (source.source.kind !== 'nest' || source.singly !== 'yes') return;
  const { id } = source.source;
  const failed = [...source.failedIds].sort((a, b) => a - b);
  source.notes.push({
    code: 'EGGS_INCOMPLETE',
    entity: 'eggs',
    message:
      failed.length === 0
        ? `the panel cannot list the eggs of nest ${id}; they were read one by one`
        : `the panel cannot answer for eggs ${failed.join(', ')} of nest ${id}; they were kept as they are`,
  });
}

/**
 * Ends a listing that the panel does not have (`missing`), or that its key may not read (`forbidden`): nothing of its
 * entities is touched. Nodes then come by their own listing.
 */
export function setAbsent(
  source: SourceState,
  absent: 'missing' | 'forbidden',
  sources: SourceState[],
  warnings: SyncWarning[],
): void {
  if (source.source.kind !== 'listing') return;
  const { listing } = source.source;
  source.state = absent === 'missing' ? 'absent' : 'forbidden';
  source.again = [];
  warnings.push(
    absent === 'missing'
      ? {
          code: 'LISTING_MISSING',
          entity: listing,
          message: `the panel has no listing of ${listing} (404); what is stored of them was kept`,
        }
      : {
          code: 'RIGHT_MISSING',
          entity: listing,
          message: `the panel key may not read ${listing} (right "${rightOf(listing)}"); what is stored of them was kept`,
        },
  );
  if (listing === 'locations' && source.include !== '') addNodes(source, sources, PER_PAGE);
}

/** Whether a listing could not be read at all. */
export const isAbsent = ({ state }: SourceState): boolean => state === 'absent' || state === 'forbidden';

/** The nodes that do not come with their locations. The new source lists them, so missing ones are confirmed for it. */
function addNodes(locations: SourceState, sources: SourceState[], perPage: number): SourceState {
  const confirm = locations.confirm.filter((entity) => entity === 'nodes');
  locations.confirm = locations.confirm.filter((entity) => entity !== 'nodes');
  const nodes = newSource(listingRef('nodes'), 'allocations', { perPage, confirm });
  sources.push(nodes);
  return nodes;
}

/** Begins the listings in the ways that worked for an earlier run. */
export function beginWith(ways: Readonly<Partial<Record<Listing, string>>>, sources: SourceState[]): void {
  const remember = (source: SourceState, way: string, change: Partial<SourceState>) =>
    Object.assign(source, { ...change, way, remembered: true });
  for (const source of [...sources]) {
    const { source: ref, include } = source;
    if (isListing(ref, 'locations') && include !== '' && ways.locations === WITHOUT_NODES) {
      const nodes = addNodes(source, sources, NODES_PER_PAGE);
      remember(source, WITHOUT_NODES, { include: '' });
      if (ways.nodes === BY_NODE) remember(nodes, BY_NODE, { include: '', perPage: PER_PAGE, children: true });
    } else if (isListing(ref, 'nodes') && include !== '' && ways.nodes === BY_NODE) {
      remember(source, BY_NODE, { include: '', children: true });
    } else if (isListing(ref, 'nests') && include !== '' && ways.nests === BY_NEST) {
      remember(source, BY_NEST, { include: '', children: true });
    } else if (isPaged(source) && ref.kind === 'listing' && ways[ref.listing] === SMALL_PAGES) {
      remember(source, SMALL_PAGES, { perPage: SMALL_PAGE });
    }
  }
}

/** The ways by which listings were read to their end, other than the usual ones. */
export const workedWays = (sources: readonly SourceState[]): WorkedWay[] =>
  sources.flatMap((s) =>
    s.source.kind === 'listing' && s.way !== null && (s.state === 'complete' || s.state === 'incomplete')
      ? [{ listing: s.source.listing, way: s.way, total: s.total, remembered: s.remembered }]
      : [],
  );

/**
 * What a run reads: a listing, or one of its parts. Workflows, activities and the store pass it as this type; as columns it
 * stands in `sync_pages`, in words in progress and warnings. Pure and without zod.
 */
import type { Entity, Listing } from './targets.ts';

export type SourceRef =
  | { kind: 'listing'; listing: Listing }
  /** Allocations of one node. */
  | { kind: 'node'; id: number }
  /** Eggs of one nest. */
  | { kind: 'nest'; id: number }
  /** Subusers, read by the client API: each page holds those of one batch of servers. */
  | { kind: 'client' };

export const listingRef = (listing: Listing): SourceRef => ({ kind: 'listing', listing });

export const isListing = (ref: SourceRef, listing: Listing): boolean =>
  ref.kind === 'listing' && ref.listing === listing;

/** A source as the columns `source` and `source_id` hold it: a listing by its name, others by their kind and their id, if any. */
export function sourceColumns(ref: SourceRef): { source: string; sourceId: number | null } {
  switch (ref.kind) {
    case 'listing':
      return { source: ref.listing, sourceId: null };
    case 'client':
      return { source: ref.kind, sourceId: null };
    default:
      return { source: ref.kind, sourceId: ref.id };
  }
}

/** A source in words: `servers`, `node 7`. No two sources have the same. */
export function sourceName(ref: SourceRef): string {
  const { source, sourceId } = sourceColumns(ref);
  return sourceId === null ? source : `${source} ${sourceId}`;
}

/** Entity whose records a source lists itself; its other entities are children that came as includes. */
export function primaryEntity(ref: SourceRef): Entity {
  switch (ref.kind) {
    case 'listing':
      return ref.listing;
    case 'node':
      return 'allocations';
    case 'nest':
      return 'eggs';
    case 'client':
      return 'subusers';
  }
}

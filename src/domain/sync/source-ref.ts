/**
 * Names of the sources of a run, as `sync_pages.source` and the workflow hold them: a listing (`servers`), one of its
 * fallbacks (`node:7`, `nest:3`), a batch of the client API (`client:2`), or the answers about missing rows (`gone`).
 */
import { type Entity, LISTINGS, type Listing } from './targets.ts';

export type SourceRef =
  | { kind: 'listing'; listing: Listing }
  /** Allocations of one node. */
  | { kind: 'node'; id: number }
  /** Eggs of one nest. */
  | { kind: 'nest'; id: number }
  /** Subusers of one batch of servers, read by the client API; batches count from 1. */
  | { kind: 'client'; batch: number };

/** Source of the panel's answers about rows that a listing did not contain. It is staged, but never merged. */
export const CONFIRMATIONS = 'gone';

export const nodeSource = (nodeId: number): string => `node:${nodeId}`;
export const nestSource = (nestId: number): string => `nest:${nestId}`;
export const clientSource = (batch: number): string => `client:${batch}`;

const isListing = (source: string): source is Listing => (LISTINGS as readonly string[]).includes(source);

/** @returns undefined for {@link CONFIRMATIONS} and for a name that no source has. */
export function parseSource(source: string): SourceRef | undefined {
  if (isListing(source)) return { kind: 'listing', listing: source };
  const [, kind, digits] = /^(node|nest|client):(\d+)$/.exec(source) ?? [];
  const number = Number(digits);
  switch (kind) {
    case 'node':
    case 'nest':
      return { kind, id: number };
    case 'client':
      return { kind, batch: number };
    default:
      return undefined;
  }
}

/** Entity whose records a source lists itself; its other entities are children that came as includes. */
export function primaryEntity(source: string): Entity | undefined {
  const ref = parseSource(source);
  switch (ref?.kind) {
    case 'listing':
      return ref.listing;
    case 'node':
      return 'allocations';
    case 'nest':
      return 'eggs';
    case 'client':
      return 'subusers';
    default:
      return undefined;
  }
}

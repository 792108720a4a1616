/** What a merge is given, and what it rejects. */
import type { SourceRef } from '../../../domain/sync/source-ref.ts';
import type { Entity, Listing, SyncCounts, SyncWarning } from '../../../domain/sync/targets.ts';

export interface MergedSource {
  source: SourceRef;
  pass: number;
  /** Read whole and consistent. */
  complete: boolean;
  /** Pages it had: several pages cannot prove absence, so the panel must have denied a row that is deleted. */
  pages: number;
  /** Includes that did not come back as lists: the key lacks the right. */
  missingIncludes: string[];
}

export interface MergeScope {
  logId: string;
  /** Entities that this merge writes. */
  entities: readonly Entity[];
  sources: readonly MergedSource[];
}

/** A rejected record as the log keeps it. */
export interface RejectedRow {
  entity: Entity;
  /** Id on the panel, or what identifies the record without one. */
  panelId: string;
  code: string;
  detail: string;
}

export interface MergeInput extends MergeScope {
  /** Workflow run id and number of the merge: the same key again returns the stored outcome. */
  key: string;
  dryRun: boolean;
  /** Lets large deletions pass the prune guard (never the deletion of all rows for an empty listing). */
  allowMassPrune: boolean;
}

export interface MergeOutcome {
  status: 'merged' | 'cancelled';
  counts: SyncCounts;
  warnings: SyncWarning[];
}

export const listingOf = ({ sources }: MergeScope, listing: Listing): MergedSource | undefined =>
  sources.find(({ source }) => source.kind === 'listing' && source.listing === listing);

/** Whether a listing came whole in one answer: then what it lacks is not on the panel. */
export const provesAbsence = (read: MergedSource | undefined): boolean => read?.complete === true && read.pages <= 1;

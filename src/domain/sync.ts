/**
 * What a sync is: targets, sources, entities, steps, progress, statuses. Pure, without zod, so that workflow code may
 * import it.
 */

/** Targets on the wire. `subusers` can be started from the CLI only. */
export const WIRE_TARGETS = ['full', 'locations', 'nodes', 'allocations', 'nests', 'servers', 'databases', 'users'] as const;
export const SYNC_TARGETS = [...WIRE_TARGETS, 'subusers'] as const;
export type SyncTarget = (typeof SYNC_TARGETS)[number];

export const SYNC_STATUSES = ['PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED'] as const;
export type SyncStatus = (typeof SYNC_STATUSES)[number];
export const ACTIVE_STATUSES: readonly SyncStatus[] = ['PENDING', 'RUNNING'];

/** Status of a stored row; rows of the existing service hold other spellings. */
export function readStatus(stored: string | null): SyncStatus {
  switch (stored?.toUpperCase()) {
    case 'PENDING':
      return 'PENDING';
    case 'RUNNING':
    case 'IN_PROGRESS':
    case 'CANCELLING':
      return 'RUNNING';
    case 'COMPLETED':
    case 'SUCCESS':
      return 'COMPLETED';
    case 'CANCELLED':
    case 'CANCELED':
      return 'CANCELLED';
    default:
      return 'FAILED';
  }
}

/** Tables of the mirror, parents before children: the order of writing; pruning goes the other way. */
export const ENTITIES = [
  'locations',
  'nodes',
  'nests',
  'eggs',
  'egg_variables',
  'users',
  'servers',
  'allocations',
  'databases',
  'subusers',
] as const;
export type Entity = (typeof ENTITIES)[number];

export interface EntityCounts {
  created: number;
  updated: number;
  unchanged: number;
  pruned: number;
  failed: number;
}
export type SyncCounts = Partial<Record<Entity, EntityCounts>>;

export interface SyncWarning {
  /** Stable word, e.g. `PRUNE_REFUSED`, `RIGHT_MISSING`, `SOURCE_MOVED`. */
  code: string;
  entity?: Entity;
  message: string;
}

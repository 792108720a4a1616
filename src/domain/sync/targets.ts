/**
 * What a sync is about: targets, statuses, entities, and the panel listings that a target reads. Pure and without zod,
 * so that workflow code may import it.
 */

/** Targets that the HTTP API accepts. `subusers` can be started from the CLI only. */
export const API_TARGETS = [
  'full',
  'locations',
  'nodes',
  'allocations',
  'nests',
  'servers',
  'databases',
  'users',
] as const;
export const SYNC_TARGETS = [...API_TARGETS, 'subusers'] as const;
export type SyncTarget = (typeof SYNC_TARGETS)[number];

export const SYNC_STATUSES = ['PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED'] as const;
export type SyncStatus = (typeof SYNC_STATUSES)[number];
export const ACTIVE_STATUSES: readonly SyncStatus[] = ['PENDING', 'RUNNING'];

/** Spellings of stored statuses, in upper case: ours, and others that the existing service wrote. */
export const STATUS_SPELLINGS: Readonly<Record<string, SyncStatus>> = {
  PENDING: 'PENDING',
  RUNNING: 'RUNNING',
  IN_PROGRESS: 'RUNNING',
  CANCELLING: 'RUNNING',
  COMPLETED: 'COMPLETED',
  SUCCESS: 'COMPLETED',
  CANCELLED: 'CANCELLED',
  CANCELED: 'CANCELLED',
};

/** Status of a stored row. What is not known failed. */
export function readStatus(stored: string | null): SyncStatus {
  const spelling = stored?.toUpperCase() ?? '';
  return Object.hasOwn(STATUS_SPELLINGS, spelling) ? (STATUS_SPELLINGS[spelling] ?? 'FAILED') : 'FAILED';
}

/** Tables of the mirror, parents before children: the order of writing. Rows are deleted in the reverse order. */
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

/**
 * Entities whose disappearance from a listing of several pages must be confirmed by the panel before rows are deleted, or,
 * of users, before an account is unlinked.
 */
export const CONFIRMED_ENTITIES = [
  'servers',
  'nodes',
  'locations',
  'nests',
  'users',
  'allocations',
] as const satisfies readonly Entity[];
export type ConfirmedEntity = (typeof CONFIRMED_ENTITIES)[number];

/** Rows of one entity, by what the sync did with them. `failed` counts rejected records. */
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

/** Listings of the panel that a sync reads. */
export const LISTINGS = ['locations', 'nodes', 'nests', 'users', 'servers'] as const;
export type Listing = (typeof LISTINGS)[number];

/** One listing with the includes that a target needs. */
export interface SourcePlan {
  source: Listing;
  include: string;
  /** Entities that are written from the pages of this listing. */
  entities: readonly Entity[];
}

const SERVERS_ALL = 'allocations,databases.host,subusers';

/**
 * The listings that a target reads: the plan with the fewest requests, one listing per family with its includes. A
 * single target reads the smallest listing with the one include that it needs, and writes only its own entities.
 */
export function sourcesOf(target: SyncTarget, options: { skipUsers: boolean; subusers: boolean }): SourcePlan[] {
  switch (target) {
    case 'full':
      return [
        { source: 'locations', include: 'nodes.allocations', entities: ['locations', 'nodes', 'allocations'] },
        { source: 'nests', include: 'eggs.variables', entities: ['nests', 'eggs', 'egg_variables'] },
        ...(options.skipUsers ? [] : [{ source: 'users', include: '', entities: ['users'] } as const]),
        options.subusers
          ? { source: 'servers', include: SERVERS_ALL, entities: ['servers', 'databases', 'subusers'] }
          : { source: 'servers', include: 'allocations,databases.host', entities: ['servers', 'databases'] },
      ];
    case 'locations':
      return [{ source: 'locations', include: '', entities: ['locations'] }];
    case 'nodes':
      return [{ source: 'nodes', include: '', entities: ['nodes'] }];
    case 'allocations':
      return [{ source: 'nodes', include: 'allocations', entities: ['allocations'] }];
    case 'nests':
      return [{ source: 'nests', include: 'eggs.variables', entities: ['nests', 'eggs', 'egg_variables'] }];
    case 'users':
      return [{ source: 'users', include: '', entities: ['users'] }];
    case 'servers':
      return [{ source: 'servers', include: 'allocations', entities: ['servers'] }];
    case 'databases':
      return [{ source: 'servers', include: 'databases.host', entities: ['databases'] }];
    case 'subusers':
      return [{ source: 'servers', include: 'subusers', entities: ['subusers'] }];
  }
}

/**
 * What a sync is: targets, sources, entities, steps, progress, statuses. Pure, without zod, so that workflow code may
 * import it.
 */

/** Targets on the wire. `subusers` can be started from the CLI only. */
export const WIRE_TARGETS = [
  'full',
  'locations',
  'nodes',
  'allocations',
  'nests',
  'servers',
  'databases',
  'users',
] as const;
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

/** Listings of the panel that a sync reads. */
export type Listing = 'locations' | 'nodes' | 'nests' | 'users' | 'servers';

/** One listing with the includes a target needs; `entities` are what its pages are good for. */
export interface SourcePlan {
  source: Listing;
  include: string;
  entities: readonly Entity[];
}

const SERVERS_ALL = 'allocations,databases.host,subusers';

/**
 * The listings a target reads: the plan with the fewest requests, one listing per family with its includes. Single
 * targets read the smallest listing with the one include they need, and write only their own entities.
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

/** Steps on the wire, in their order, with the fixed `progress` at their start. */
export const STEPS = [
  { step: 'locations', progress: 0 },
  { step: 'nodes', progress: 15 },
  { step: 'allocations', progress: 30 },
  { step: 'nests', progress: 45 },
  { step: 'users', progress: 60 },
  { step: 'servers', progress: 75 },
  { step: 'subusers', progress: 85 },
  { step: 'databases', progress: 92 },
] as const;
export type Step = (typeof STEPS)[number]['step'];

/** What is staged of one listing, summed over its pages: the truth that progress is computed from. */
export interface StageSummary {
  source: Listing;
  /** Pages staged in the newest pass. */
  pages: number;
  /** Pages the listing has, by its newest answer; 0 before the first. */
  totalPages: number;
  /** Records of the listing itself, by its newest answer. */
  total: number;
  /** Rows staged per entity. */
  rows: Partial<Record<Entity, number>>;
}

export interface Progress {
  step: Step | 'completed';
  progress: number;
  percentage: number;
  itemsTotal: number;
  itemsProcessed: number;
  lastMessage: string;
  /** Totals of the run, for the columns of the log row. */
  runTotal: number;
  runProcessed: number;
}

const percent = (done: number, total: number) => (total === 0 ? 0 : Math.min(100, Math.floor((done * 100) / total)));
const PRIMARY: Record<Listing, Entity> = {
  locations: 'locations',
  nodes: 'nodes',
  nests: 'nests',
  users: 'users',
  servers: 'servers',
};

/**
 * Progress of a run while it reads: the first step, in wire order, whose listing is not whole. When all are whole the
 * run is about to write, which shows as the last step.
 */
export function progressOf(plans: readonly SourcePlan[], staged: readonly StageSummary[]): Progress {
  const find = (source: Listing) => staged.find((s) => s.source === source);
  const runProcessed = staged.reduce((sum, s) => sum + Object.values(s.rows).reduce((a, b) => a + b, 0), 0);
  const runTotal = Math.max(
    runProcessed,
    plans.reduce((sum, p) => {
      const s = find(p.source);
      if (s === undefined) return sum;
      const children = p.entities.reduce((n, e) => n + (e === PRIMARY[p.source] ? 0 : (s.rows[e] ?? 0)), 0);
      return sum + s.total + children;
    }, 0),
  );
  for (const { step, progress } of STEPS) {
    const plan = plans.find((p) => p.entities.includes(step));
    if (plan === undefined) continue;
    const s = find(plan.source);
    const whole = s !== undefined && s.totalPages > 0 && s.pages >= s.totalPages;
    if (whole) continue;
    const processed = s?.rows[step] ?? 0;
    const total = step === PRIMARY[plan.source] ? (s?.total ?? 0) : 0;
    return {
      step,
      progress,
      percentage: percent(processed, total),
      itemsTotal: total,
      itemsProcessed: processed,
      lastMessage: readingMessage(step, s, processed, total),
      runTotal,
      runProcessed,
    };
  }
  const last = plans.at(-1)?.entities.at(-1) ?? 'databases';
  const step = STEPS.find((s) => s.step === (plans.length > 1 ? 'databases' : last))?.step ?? 'databases';
  return {
    step,
    progress: STEPS.find((s) => s.step === step)?.progress ?? 92,
    percentage: 100,
    itemsTotal: runTotal,
    itemsProcessed: runProcessed,
    lastMessage: 'Comparing with the database',
    runTotal,
    runProcessed,
  };
}

function readingMessage(step: Step, s: StageSummary | undefined, processed: number, total: number): string {
  if (s === undefined || s.totalPages === 0) return `Syncing ${step}...`;
  switch (step) {
    case 'users':
      return `Processing page ${s.pages}/${s.totalPages} (${processed}/${total} users)`;
    case 'servers':
      return `Processing server ${processed}/${total}`;
    case 'allocations':
      return `Fetching allocations from ${s.rows.nodes ?? 0} nodes`;
    case 'databases':
      return `Scanning databases across ${s.total} servers`;
    case 'subusers':
      return `Syncing subusers for ${s.total} servers`;
    default:
      return `Fetched ${total} ${step} from panel`;
  }
}

/** What a finished step says; entities that are no step of their own say nothing. */
export function doneMessage(entity: Entity, staged: readonly StageSummary[]): string[] {
  const count = (of: Entity) => staged.reduce((n, s) => n + (s.rows[of] ?? 0), 0);
  switch (entity) {
    case 'eggs':
    case 'egg_variables':
      return [];
    case 'nests':
      return [`✓ Synced ${count('nests')} nests and ${count('eggs')} eggs`];
    case 'subusers':
      return [`✓ Synced ${count('subusers')} subusers across ${count('servers')} servers`];
    default:
      return [`✓ Synced ${count(entity)} ${entity}`];
  }
}

/** Rows at or below this count are never protected by the brake. */
export const BRAKE_MIN_ROWS = 20;
/** Share of a table above which a prune is refused unless mass prunes are allowed. */
export const BRAKE_SHARE = 0.5;

/**
 * May `gone` of `present` rows be pruned? An empty listing while rows exist is refused whatever the numbers.
 */
export function mayPrune(
  gone: number,
  present: number,
  options: { emptyListing: boolean; allowMass: boolean },
): boolean {
  if (gone === 0) return true;
  if (options.emptyListing) return false;
  if (options.allowMass || present <= BRAKE_MIN_ROWS) return true;
  return gone <= present * BRAKE_SHARE;
}

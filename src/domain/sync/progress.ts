/** Progress of a run: computed from what is staged and what is still to be read. Pure and without zod. */
import type { Entity, Listing } from './targets.ts';

/**
 * Steps as the HTTP API shows them, each with the `progress` (percent) at its start. The order is that of the site's pages,
 * which mark each step before the present one as done. They do not draw `subusers`.
 */
export const STEPS = [
  { step: 'locations', progress: 0 },
  { step: 'nodes', progress: 15 },
  { step: 'allocations', progress: 30 },
  { step: 'nests', progress: 45 },
  { step: 'servers', progress: 60 },
  { step: 'databases', progress: 75 },
  { step: 'users', progress: 85 },
  { step: 'subusers', progress: 92 },
] as const satisfies readonly { step: Entity; progress: number }[];
export type Step = (typeof STEPS)[number]['step'];
/** `progress` while the merge writes. */
const WRITING = 92;

/** What is staged of a run: each source in its newest pass. */
export interface StagingSummary {
  listings: Partial<Record<Listing, StagedListing>>;
  /** Rows per entity, from listings and from the lists of single nodes, nests and servers. */
  rows: Partial<Record<Entity, number>>;
}

export interface StagedListing {
  /** Pages that are staged. */
  pages: number;
  /** Pages of the listing by its newest answer. */
  totalPages: number;
  /** Records of the listing by its newest answer. */
  total: number;
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

const stepsOf = (entities: readonly Entity[]) => STEPS.filter(({ step }) => entities.includes(step));

/** The present step: the first that is not read whole. Undefined when everything is read. */
const presentStep = (entities: readonly Entity[], unread: readonly Entity[]) =>
  stepsOf(entities).find(({ step }) => unread.includes(step));

/** Steps that are read whole, as are all steps before them. */
export function stepsRead(entities: readonly Entity[], unread: readonly Entity[]): Step[] {
  const steps = stepsOf(entities).map(({ step }) => step);
  const present = presentStep(entities, unread);
  return present === undefined ? steps : steps.slice(0, steps.indexOf(present.step));
}

/**
 * Progress of the present step. @param unread entities of which more may come. @returns undefined when everything is read.
 */
export function progressOf(
  entities: readonly Entity[],
  staged: StagingSummary,
  unread: readonly Entity[],
): Progress | undefined {
  const present = presentStep(entities, unread);
  if (present === undefined) return undefined;
  const { step, progress } = present;
  const itemsProcessed = staged.rows[step] ?? 0;
  const itemsTotal = totalOf(step, staged);
  return {
    step,
    progress,
    percentage: percent(itemsProcessed, itemsTotal),
    itemsTotal,
    itemsProcessed,
    lastMessage: readingMessage(step, staged),
    ...runTotals(entities, staged),
  };
}

/** Progress at the end of a step: what was read. */
export function stepRead(step: Step, entities: readonly Entity[], staged: StagingSummary): Progress {
  const read = staged.rows[step] ?? 0;
  return {
    step,
    progress: STEPS.find((s) => s.step === step)?.progress ?? WRITING,
    percentage: 100,
    itemsTotal: read,
    itemsProcessed: read,
    lastMessage: readMessage(step, staged),
    ...runTotals(entities, staged),
  };
}

/** Progress while the merge writes: of the last step that the pages draw. */
export function writingProgress(entities: readonly Entity[], changes: number): Progress {
  const steps = stepsOf(entities).map(({ step }) => step);
  return {
    step: steps.findLast((step) => step !== 'subusers') ?? 'subusers',
    progress: WRITING,
    percentage: 0,
    itemsTotal: changes,
    itemsProcessed: 0,
    lastMessage: `Writing ${changes} changes`,
    runTotal: 0,
    runProcessed: 0,
  };
}

/** Records of a step by the newest answer; 0 where no listing states it. */
const totalOf = (entity: Entity, { listings }: StagingSummary): number =>
  (listings as Partial<Record<Entity, StagedListing>>)[entity]?.total ?? 0;

function runTotals(entities: readonly Entity[], staged: StagingSummary): { runTotal: number; runProcessed: number } {
  const rows = (entity: Entity) => staged.rows[entity] ?? 0;
  return {
    runTotal: entities.reduce((sum, entity) => sum + Math.max(rows(entity), totalOf(entity, staged)), 0),
    runProcessed: entities.reduce((sum, entity) => sum + rows(entity), 0),
  };
}

function readingMessage(step: Step, staged: StagingSummary): string {
  const { listings, rows } = staged;
  const read = rows[step] ?? 0;
  switch (step) {
    case 'users':
      return listings.users === undefined
        ? 'Syncing users...'
        : `Processing page ${listings.users.pages}/${listings.users.totalPages} (${read}/${listings.users.total} users)`;
    case 'servers':
      return listings.servers === undefined
        ? 'Syncing servers...'
        : `Processing server ${read}/${listings.servers.total}`;
    case 'allocations':
      return `Fetching allocations from ${rows.nodes ?? 0} nodes`;
    case 'databases':
      return `Scanning databases across ${totalOf('servers', staged)} servers`;
    case 'subusers':
      return `Syncing subusers for ${totalOf('servers', staged)} servers`;
    default:
      return read === 0 ? `Syncing ${step}...` : `Fetched ${read} ${step} from panel`;
  }
}

function readMessage(step: Step, { rows }: StagingSummary): string {
  const count = (entity: Entity) => rows[entity] ?? 0;
  switch (step) {
    case 'nests':
      return `✓ Synced ${count('nests')} nests and ${count('eggs')} eggs`;
    case 'subusers':
      return `✓ Synced ${count('subusers')} subusers across ${count('servers')} servers`;
    default:
      return `✓ Synced ${count(step)} ${step}`;
  }
}

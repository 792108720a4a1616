/** Progress of a run: computed from what is staged, never counted along the way. Pure and without zod. */
import type { Entity, Listing, SourcePlan } from './targets.ts';

/** Steps as the HTTP API shows them, in their order, each with the `progress` (percent) at its start. */
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

/** What is staged of one listing, summed over its pages. Progress is computed from this. */
export interface StagingSummary {
  source: Listing;
  /** Pages staged in the newest pass. */
  pages: number;
  /** Pages of the listing by its newest answer; 0 before the first. */
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

/**
 * Progress of a run while it reads: the first step, in the order of {@link STEPS}, whose listing is not whole. When all
 * listings are whole the run is about to write, which is shown as the last step.
 */
export function progressOf(plans: readonly SourcePlan[], staged: readonly StagingSummary[]): Progress {
  const find = (source: Listing) => staged.find((s) => s.source === source);
  const runProcessed = staged.reduce((sum, s) => sum + Object.values(s.rows).reduce((a, b) => a + b, 0), 0);
  const runTotal = Math.max(
    runProcessed,
    plans.reduce((sum, p) => {
      const s = find(p.source);
      if (s === undefined) return sum;
      const children = p.entities.reduce((n, e) => n + (e === p.source ? 0 : (s.rows[e] ?? 0)), 0);
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
    const total = step === plan.source ? (s?.total ?? 0) : 0;
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

function readingMessage(step: Step, s: StagingSummary | undefined, processed: number, total: number): string {
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

/** Messages of a finished step; entities that are no step of their own have none. */
export function doneMessage(entity: Entity, staged: readonly StagingSummary[]): string[] {
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

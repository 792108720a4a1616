/** What the demo shows: the progress of the sync, its result, and where to look afterwards. */
import { ENTITIES } from '../../domain/sync/targets.ts';
import { sleep } from '../../embedded/process.ts';
import { printable, type Terminal, table } from '../support/terminal.ts';
import type { DemoApi, DemoEvent, DemoLog, DemoUsage } from './api.ts';

const POLL_MS = 250;

/**
 * Follows one sync to its end and shows its progress.
 * @param check is called before each look; what it throws ends the following
 */
export async function followSync(api: DemoApi, id: string, terminal: Terminal, check: () => void): Promise<DemoLog> {
  const progress = terminal.progress();
  try {
    for (;;) {
      check();
      const log = await api.syncLog(id);
      const label = log.message ?? log.step ?? log.status.toLowerCase();
      const items = log.itemsTotal > 0 ? `  ${log.itemsSynced}/${log.itemsTotal}` : '';
      progress.update(log.percentage, terminal.live ? `${label}${items}` : label);
      if (!['PENDING', 'RUNNING'].includes(log.status)) return log;
      await sleep(POLL_MS);
    }
  } finally {
    progress.done();
  }
}

/** Counts of the API under the words of the table. */
const COLUMNS = {
  created: 'created',
  updated: 'updated',
  unchanged: 'unchanged',
  pruned: 'pruned',
  failed: 'rejected',
};

/** Prints how a sync ended and what is in the database. */
export function printResult(
  log: DemoLog,
  inventory: Record<string, number>,
  seconds: number,
  terminal: Terminal,
): void {
  const how = log.status === 'COMPLETED' ? terminal.good('completed') : terminal.bad(log.status.toLowerCase());
  terminal.line(`Sync ${how} in ${seconds.toFixed(1)} s${log.error === undefined ? '' : `: ${printable(log.error)}`}`);
  // In the order of writing, parents first; entities that this list does not know come last.
  const ranks = new Map<string, number>(ENTITIES.map((entity, rank) => [entity, rank]));
  const rank = (entity: string): number => ranks.get(entity) ?? ENTITIES.length;
  const rows = Object.entries(log.counts)
    .toSorted(([a], [b]) => rank(a) - rank(b))
    .map(([entity, counts]) => [
      printable(entity).replaceAll('_', ' '),
      ...Object.keys(COLUMNS).map((name) => String(counts[name] ?? 0)),
    ]);
  terminal.line();
  for (const line of table(['entity', ...Object.values(COLUMNS)], rows)) terminal.line(`  ${line}`);
  if (log.counts['subusers'] !== undefined) {
    terminal.line(
      terminal.dim("  subusers: one row for each server's owner and for each person the server is shared with"),
    );
  }
  for (const warning of log.warnings) terminal.line(`  warning: ${printable(warning)}`);
  terminal.line();
  const stored = Object.entries(inventory).map(([name, count]) => `${count} ${printable(name)}`);
  terminal.line(`In PostgreSQL now: ${stored.join(', ')}`);
}

/** Milliseconds between two looks at the usage, and for how long it is looked at. */
const USAGE_POLL_MS = 5_000;
const USAGE_SHOWN_MS = 70_000;

/**
 * Prints what a running server uses, and again whenever that has changed, for a minute.
 * @param goesOn is asked before each look
 */
export async function followUsage(api: DemoApi, terminal: Terminal, goesOn: () => boolean): Promise<void> {
  let last = '';
  for (let passed = 0; passed < USAGE_SHOWN_MS && goesOn(); passed += USAGE_POLL_MS) {
    const line = usageLine(await api.serverUsage());
    if (line !== last) terminal.line(line);
    last = line;
    await sleep(USAGE_POLL_MS);
  }
}

function usageLine(usage: DemoUsage | undefined): string {
  if (usage === undefined) return 'No server runs';
  const { name, status, memory, disk, cpu } = usage;
  return `Usage of ${printable(name)} (${printable(status)}): memory ${memory} MB, disk ${disk} MB, cpu ${cpu} %`;
}

/** Prints who changed what, from which values to which. */
export function printEvents(events: readonly DemoEvent[], terminal: Terminal): void {
  for (const { action, actor, target, details } of events) {
    const of = target === undefined ? '' : ` of ${target}`;
    const { before, after } = details;
    terminal.line(printable(`Audit: ${action}${of} by ${actor}: ${valuesOf(before)} → ${valuesOf(after)}`));
  }
}

/** A value, a list, or values by field, as a person reads them. */
function valuesOf(value: unknown): string {
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value !== 'object' || value === null) return String(value ?? '-');
  return Object.entries(value)
    .map(([field, one]) => `${field} ${String(one)}`)
    .join(', ');
}

/** Prints titles and values in two columns. */
export function printPlaces(places: Readonly<Record<string, string>>, terminal: Terminal): void {
  const width = Math.max(...Object.keys(places).map((title) => title.length));
  terminal.line();
  for (const [title, value] of Object.entries(places)) {
    terminal.line(`${terminal.strong(title)}${' '.repeat(width - title.length)}   ${value}`);
  }
  terminal.line();
}

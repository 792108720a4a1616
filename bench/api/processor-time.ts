/**
 * Processor time of processes, from Linux's /proc. Beside other work on a machine it tells more than answers per second:
 * waiting for a processor is not in it.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Milliseconds of one tick of /proc (USER_HZ is 100 on every Linux that Node supports). */
const TICK_MS = 10;

interface Stat {
  parent: number;
  ms: number;
}

function readStat(pid: number | string): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name of the program is in parentheses and may hold blanks: what follows begins with the state.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { parent: Number(fields[1]), ms: (Number(fields[11]) + Number(fields[12])) * TICK_MS };
  } catch {
    return undefined;
  }
}

/** Milliseconds that a process has run. Undefined where there is no /proc. */
export const processorMs = (pid: number): number | undefined => readStat(pid)?.ms;

/** The process that started `pid`. */
export const parentOf = (pid: number): number => readStat(pid)?.parent ?? 0;

/** Milliseconds by process of all that `parent` started: those of one PostgreSQL. */
export function childrenMs(parent: number): ReadonlyMap<string, number> | undefined {
  if (readStat(parent) === undefined) return undefined;
  const times = new Map<string, number>();
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? readStat(name) : undefined;
    if (stat?.parent === parent) times.set(name, stat.ms);
  }
  return times;
}

/** What the processes of the second reading have run since the first; of one that has ended meanwhile nothing is known. */
export function sumSince(
  before: ReadonlyMap<string, number> | undefined,
  after: ReadonlyMap<string, number> | undefined,
): number | undefined {
  if (before === undefined || after === undefined) return undefined;
  return [...after].reduce((sum, [pid, ms]) => sum + ms - (before.get(pid) ?? 0), 0);
}

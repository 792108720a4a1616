/** What the node of a server says about it, through the panel: the state that it is in now, and what it uses. */

const STATES = ['running', 'offline', 'starting', 'stopping'] as const;
export type LiveState = (typeof STATES)[number];

/** Null: not known. */
export interface LiveFigures {
  state: LiveState | null;
  /** MB of 1024 * 1024 bytes, like the limits. */
  memoryMb: number | null;
  diskMb: number | null;
  /** Per cent of a core. */
  cpuPercent: number | null;
}

const MB = 1024 * 1024;
/** The columns are integers. */
const MAX_MB = 2_147_483_647;
/** A thousand cores. */
const MAX_PERCENT = 100_000;

const amount = (value: unknown, max: number): number | null =>
  typeof value === 'number' && value >= 0 && value <= max ? value : null;

function megabytes(bytes: unknown): number | null {
  const found = amount(bytes, MAX_MB * MB);
  return found === null ? null : Math.round(found / MB);
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** Reads the attributes of the panel's object `stats`. Whatever is not a plausible value is unknown. */
export function readLiveFigures(attributes: Record<string, unknown>): LiveFigures {
  const { current_state: word, resources } = attributes;
  const used = isRecord(resources) ? resources : {};
  const cpu = amount(used['cpu_absolute'], MAX_PERCENT);
  return {
    state: STATES.find((state) => state === word) ?? null,
    memoryMb: megabytes(used['memory_bytes']),
    diskMb: megabytes(used['disk_bytes']),
    cpuPercent: cpu === null ? null : Math.round(cpu * 100) / 100,
  };
}

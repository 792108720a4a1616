/** One finding of `doctor`. */
import { messageOf } from '../../process.ts';
import { printable } from '../support/terminal.ts';

/** `idle`: not running now, but it would be started. `failed`: needed and not usable. */
export type CheckState = 'ok' | 'idle' | 'warning' | 'failed';

export interface Check {
  name: string;
  state: CheckState;
  detail: string;
  /** What to do about it. */
  advice?: string;
}

/** Milliseconds within which a service must answer. */
export const PROBE_TIMEOUT_MS = 5_000;

/** Message and code of an error, as one line for a terminal. */
export function probeError(error: unknown): string {
  const text = messageOf(error) || (error instanceof Error ? error.name : '');
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return printable(code === undefined || text.includes(code) ? text : `${text} (${code})`);
}

/** Lowest major version of Node that runs TypeScript files as they are (ADR 5). */
const NODE_MAJOR = 24;

export function checkNode(): Check {
  const check = { name: 'Node.js', detail: process.version };
  if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR) return { ...check, state: 'ok' };
  return { ...check, state: 'failed', advice: 'run it through an npm script: the lockfile brings Node 24' };
}

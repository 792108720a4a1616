/** Log files of the embedded servers. */
import { readFileSync, statSync } from 'node:fs';

const LIMIT_BYTES = 10 * 1024 * 1024;

/** Whether a log file is so large that the next start of its server empties it; false when there is none. */
export function isLogFull(file: string): boolean {
  return (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > LIMIT_BYTES;
}

/** The last lines of a log file, for error messages; empty when it cannot be read. */
export function lastLines(file: string, count: number): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  } catch {
    return '';
  }
}

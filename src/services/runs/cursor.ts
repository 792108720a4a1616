/** A place in the list of runs, as text for the next request. */
import { RUN_KINDS, type RunCursor } from '../../domain/runs.ts';
import { isRunId } from './deps.ts';

export const writeCursor = ({ at, kind, id }: RunCursor): string =>
  Buffer.from(`${at.getTime()} ${kind} ${id}`).toString('base64url');

/** Milliseconds since 1970 that a date of PostgreSQL and of Temporal can be. */
const LAST_MS = 253_402_300_799_000;

/** @returns undefined for a text that {@link writeCursor} does not write. */
export function readCursor(text: string): RunCursor | undefined {
  const [, ms = '', word = '', id = ''] =
    /^(\d{1,15}) (\S+) (.{1,200})$/.exec(Buffer.from(text, 'base64url').toString()) ?? [];
  const kind = RUN_KINDS.find((known) => known === word);
  if (kind === undefined || !isRunId(kind, id) || Number(ms) > LAST_MS) return undefined;
  return { at: new Date(Number(ms)), kind, id };
}

/**
 * Adds lines to the stored console of a Hytale server, whether its node daemon pushed them or they were pulled from the panel.
 * Each line is stored once. Lines of one server are stored by one transaction at a time.
 */
import { createHash } from 'node:crypto';
import { AppError, isAppError } from '../../domain/errors.ts';
import { comparable, overlap, storableLine } from '../../domain/hytale/console.ts';
import { isEvidence } from '../../domain/hytale/line-placement.ts';
import { type Db, inTransaction, type Transaction } from '../../store/db/db.ts';
import { isConnectionFailure, isForeignKeyViolation } from '../../store/db/sql-errors.ts';
import {
  insertLines,
  lastLines,
  lockConsole,
  noteNotReceived,
  notePull,
  notePush,
  noteReceived,
  replaceGaps,
  type StoredConsole,
  storedAlready,
} from '../../store/hytale/server-log-store.ts';
import { storePushed, type TimedLine } from './place-lines.ts';
import { storeAround } from './store-around.ts';

/** A server whose daemon pushed within this time is not pulled. */
export const PUSHED_RECENTLY_MS = 15 * 60_000;
/** The same batch without times within this time is a repetition. */
const UNTIMED_REPEAT_MS = 60_000;
/**
 * A time that is further ahead of ours counts as none, because all later lines would have to follow it. So does one before 1970:
 * daemons write the year 1 or 1970 for a time that they do not have.
 */
const MAX_AHEAD_MS = 24 * 60 * 60_000;
/** A batch whose last line is older was kept back, so it says nothing about the clock of the node. */
const MAX_BEHIND_MS = 15 * 60_000;

export interface PushedLine {
  line: string;
  /** When it was printed, by the clock of the node. */
  at: Date | undefined;
}

/**
 * Adds lines that a node daemon sent, in the order of the console. A line has the daemon's time; one without gets that of the
 * line before. A line that is stored with this time and text is a repetition; of equal ones in a batch, as many as are stored.
 * A batch without any time is a repetition if it is the last such batch within a minute. A line that was pulled before is
 * stored once, as it was pushed.
 * @param now by our clock.
 * @returns `repeated`: how many of the lines were stored already.
 * @throws {AppError} NOT_FOUND: the server is not known.
 */
export async function appendPushed(
  db: Db,
  batch: { serverUuid: string; accountId: string; lines: readonly PushedLine[] },
  now = new Date(),
): Promise<{ saved: number; repeated: number }> {
  const { serverUuid } = batch;
  const work = onConsole(db, serverUuid, async (trx, stored) => {
    const timed = readTimes(batch.lines, now);
    const digest = timed === undefined ? digestOf(batch.lines) : undefined;
    const lines = timed ?? (await timesOfOurs(trx, serverUuid, batch.lines, now));
    const known =
      timed === undefined
        ? new Set(isRepeated(stored, digest, now) ? lines.keys() : [])
        : await storedAlready(trx, serverUuid, timed, stored.pulledSinceId);
    const clockAheadMs = timed === undefined ? stored.clockAheadMs : clockAhead(stored, timed, now);
    const { pulledSinceId, lastId } = await storePushed(
      trx,
      { ...batch, lines, timed: timed !== undefined, known, pulledSinceId: stored.pulledSinceId, clockAheadMs },
      now,
    );
    const untimed =
      known.size > 0 ? {} : { untimedDigest: digest ?? null, untimedAt: digest === undefined ? null : now };
    await notePush(trx, serverUuid, { ...stored, ...untimed, pushedAt: now, pulledSinceId, clockAheadMs });
    await noteReceived(trx, serverUuid, now, lastId);
    return { saved: lines.length - known.size, repeated: known.size };
  });
  return work.catch(async (error: unknown): Promise<never> => {
    // While the database is away, nothing can be noted either.
    if (!isAppError(error) && !isConnectionFailure(error)) {
      await noteNotReceived(db, serverUuid, now, 'Pushed lines could not be stored').catch(() => undefined);
    }
    throw error;
  });
}

/**
 * `first`: nothing was stored. `joined`: new lines follow the stored ones. `unchanged`: all were stored. `gap`: they do not
 * meet the stored ones; stored with `acceptGap` only. `pushed`: the daemon pushed a short time ago, so nothing was stored.
 */
export type PulledState = 'first' | 'joined' | 'unchanged' | 'gap' | 'pushed';

/**
 * Adds the end of a console, oldest line first: what follows the longest overlap with the stored lines. Its times are ours, as
 * the clock of the node would show them. An overlap of blank lines alone joins nothing: they are not stored again, and a gap
 * is named.
 * @param now by our clock.
 * @throws {AppError} NOT_FOUND: the server is not known.
 */
export async function appendPulled(
  db: Db,
  tail: { serverUuid: string; accountId: string; lines: readonly string[]; acceptGap: boolean },
  now = new Date(),
): Promise<{ saved: number; state: PulledState }> {
  const { serverUuid, accountId } = tail;
  return onConsole(db, serverUuid, async (trx, stored) => {
    if (stored.pushedAt !== null && now.getTime() - stored.pushedAt.getTime() < PUSHED_RECENTLY_MS) {
      return { saved: 0, state: 'pushed' };
    }
    const lines = tail.lines.map(storableLine);
    // One more than the tail can hold: a gap is named after it.
    const end = await lastLines(trx, serverUuid, lines.length + 1);
    const last = end.at(-1);
    const at = new Date(Math.max(last?.at.getTime() ?? 0, now.getTime() + (stored.clockAheadMs ?? 0)));
    const { known, state } = joinTail(end, lines);
    const { pulledSinceId } = stored;
    if (state === 'gap') {
      const around = await storeAround(trx, { serverUuid, accountId, lines, at, pulledSinceId }, end, now);
      if (around !== undefined) {
        await notePull(trx, serverUuid, { at: now, pulledSinceId: around.pulledSinceId });
        await noteReceived(trx, serverUuid, now, around.lastId);
        return { saved: around.saved, state: around.saved === 0 ? 'unchanged' : 'joined' };
      }
      if (!tail.acceptGap) return { saved: 0, state };
    }
    const ids = await insertLines(
      trx,
      serverUuid,
      lines.slice(known).map((line) => ({ accountId, line, at, createdAt: now })),
    );
    const [firstId] = ids;
    // The tail holds the lines of the overlap together, so that nothing is missing between them.
    const together = end.slice(end.length - known).slice(1);
    const gap = { afterId: last?.id ?? null, beforeId: firstId ?? '', reason: 'pull', foundAt: now };
    await replaceGaps(
      trx,
      serverUuid,
      state === 'gap' ? [] : together.map(({ id }) => id),
      state === 'gap' && firstId !== undefined ? [gap] : [],
    );
    await notePull(trx, serverUuid, { at: now, pulledSinceId: pulledSinceId ?? firstId ?? null });
    await noteReceived(trx, serverUuid, now, ids.at(-1) ?? null);
    return { saved: ids.length, state };
  });
}

/** How many lines of the tail are stored, and what that means. */
function joinTail(end: readonly { line: string }[], tail: readonly string[]): { known: number; state: PulledState } {
  const texts = tail.map(comparable);
  const known = overlap(
    end.map(({ line }) => comparable(line)),
    texts,
  );
  if (known === tail.length) return { known, state: 'unchanged' };
  if (end.length === 0) return { known, state: 'first' };
  return { known, state: isEvidence(texts.slice(0, known)) ? 'joined' : 'gap' };
}

/** Runs `work` in a transaction that has the console of the server for itself. @throws {AppError} NOT_FOUND. */
async function onConsole<T>(
  db: Db,
  serverUuid: string,
  work: (trx: Transaction, stored: StoredConsole) => Promise<T>,
): Promise<T> {
  const unknown = (cause?: unknown) => new AppError('NOT_FOUND', { publicMessage: 'Server not found', cause });
  try {
    return await inTransaction(db, async (trx) => {
      const stored = await lockConsole(trx, serverUuid);
      if (stored === undefined) throw unknown();
      return work(trx, stored);
    });
  } catch (error) {
    // A sync has deleted the server meanwhile.
    throw isForeignKeyViolation(error) ? unknown(error) : error;
  }
}

/** The lines with their times; one without has that of its neighbour. @returns undefined: none of them has a time. */
function readTimes(lines: readonly PushedLine[], now: Date): TimedLine[] | undefined {
  const usable = ({ at }: PushedLine) =>
    at !== undefined && at.getTime() > 0 && at.getTime() - now.getTime() <= MAX_AHEAD_MS;
  let at = lines.find(usable)?.at;
  if (at === undefined) return undefined;
  const timed: TimedLine[] = [];
  for (const sent of lines) {
    if (usable(sent)) at = sent.at ?? at;
    timed.push({ line: storableLine(sent.line), at });
  }
  return timed;
}

/** Lines without times are as old as they are here, and follow those that are stored. */
async function timesOfOurs(trx: Db, serverUuid: string, lines: readonly PushedLine[], now: Date): Promise<TimedLine[]> {
  const [last] = await lastLines(trx, serverUuid, 1);
  const at = new Date(Math.max(now.getTime(), last?.at.getTime() ?? 0));
  return lines.map(({ line }) => ({ line: storableLine(line), at }));
}

const digestOf = (lines: readonly PushedLine[]): string =>
  createHash('sha256')
    .update(JSON.stringify(lines.map(({ line }) => line)))
    .digest('hex');

const isRepeated = ({ untimedDigest, untimedAt }: StoredConsole, digest: string | undefined, now: Date): boolean =>
  digest !== undefined &&
  digest === untimedDigest &&
  untimedAt !== null &&
  now.getTime() - untimedAt.getTime() < UNTIMED_REPEAT_MS;

/** How far the clock of the node is ahead at least, in milliseconds: a line arrives after it was printed. */
function clockAhead({ clockAheadMs }: StoredConsole, lines: readonly TimedLine[], now: Date): number | null {
  const measured = lines.reduce((most, { at }) => Math.max(most, at.getTime() - now.getTime()), -Infinity);
  return measured < -MAX_BEHIND_MS ? clockAheadMs : Math.max(measured, clockAheadMs ?? measured);
}

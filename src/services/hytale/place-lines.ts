/** Stores a stretch of a console before, among or after the lines that were pulled last. */
import { comparable } from '../../domain/hytale/console.ts';
import { type Placement, placeStretch, type Stretch } from '../../domain/hytale/line-placement.ts';
import type { Transaction } from '../../store/db/db.ts';
import {
  gapsBefore,
  insertLines,
  type LineToStore,
  lastLines,
  moveBack,
  overwriteLines,
  replaceGaps,
  type StoredGap,
  type StoredLine,
} from '../../store/hytale/server-log-store.ts';

/** Of a longer run of pulled lines, so many last ones are compared with a batch. */
const RUN_LINES = 2_000;

export interface TimedLine {
  line: string;
  at: Date;
}

interface Of {
  serverUuid: string;
  accountId: string;
  /** Id of the first of the pulled lines at the end; null: there are none. */
  pulledSinceId: string | null;
}

/** The pulled lines at the end of the stored console. */
interface Run {
  run: readonly StoredLine[];
  gaps: readonly StoredGap[];
  /** The line before the run. */
  previous: StoredLine | undefined;
  /** All of them are in `run`. */
  whole: boolean;
}

/**
 * Stores what of a pushed batch is new. A pulled line that the batch holds becomes the pushed one.
 * @param batch `timed`: the times are the daemon's. `known`: places of lines that are stored already, as pushed ones.
 * @returns where the pulled lines at the end begin now, and the highest id that was given (null: none).
 */
export async function storePushed(
  trx: Transaction,
  batch: Of & {
    lines: readonly TimedLine[];
    timed: boolean;
    known: ReadonlySet<number>;
    clockAheadMs: number | null;
  },
  now: Date,
): Promise<{ pulledSinceId: string | null; lastId: string | null }> {
  const { pulledSinceId, known } = batch;
  const fresh = [...batch.lines.entries()].filter(([place]) => !known.has(place));
  if (fresh.length === 0) return { pulledSinceId, lastId: null };
  const found = await readRun(trx, batch);
  // What comes before a line that was pushed already comes before the run.
  const lastKnown = Math.max(-1, ...known);
  const early = fresh.filter(([place]) => place < lastKnown).map(([, line]) => line);
  const rest = fresh.filter(([place]) => place > lastKnown).map(([, line]) => line);
  const [first] = rest;
  const printedAt = (line: TimedLine | undefined) =>
    batch.timed && line !== undefined ? line.at.getTime() - (batch.clockAheadMs ?? 0) : now.getTime();
  const { previous } = found;
  const isOld = found.whole && batch.timed && previous !== undefined && first !== undefined && first.at <= previous.at;
  const placement = place(found, {
    texts: rest.map(({ line }) => comparable(line)),
    firstAt: printedAt(first),
    lastAt: printedAt(rest.at(-1)),
    beginsBefore: known.size > 0 || isOld || first === undefined,
  });
  const added = batch.timed ? rest : timesOfRun(rest, found.run, placement);
  const { ids, laterIds } = await write(trx, batch, { ...found, early, added, placement }, now);
  return { pulledSinceId: laterIds[0] ?? null, lastId: ids.at(-1) ?? null };
}

async function readRun(trx: Transaction, { serverUuid, pulledSinceId }: Of): Promise<Run> {
  if (pulledSinceId === null) return { run: [], gaps: [], previous: undefined, whole: true };
  const run = await lastLines(trx, serverUuid, RUN_LINES, { sinceId: pulledSinceId });
  const ids = run.map(({ id }) => id);
  const gaps = await gapsBefore(trx, serverUuid, ids);
  const [previous] = await lastLines(trx, serverUuid, 1, { beforeId: ids[0] ?? pulledSinceId });
  return { run, gaps, previous, whole: previous === undefined || BigInt(previous.id) < BigInt(pulledSinceId) };
}

function place({ run, gaps, previous, whole }: Run, stretch: Stretch): Placement {
  const starts = new Set(gaps.map(({ beforeId }) => beforeId));
  const lines = run.map(({ id, line, createdAt }, index) => ({
    text: comparable(line),
    gap: starts.has(id) || (index === 0 && previous === undefined),
    readAt: createdAt.getTime(),
  }));
  return placeStretch(lines, stretch, whole);
}

interface Placed extends Run {
  placement: Placement;
  /** Lines that come before all others. */
  early: readonly TimedLine[];
  added: readonly TimedLine[];
}

/**
 * Writes the lines. The order of ids is the order of the console: the rows of lines that the stretch holds, or that come after
 * it, get another content, and further rows are added.
 * @returns ids from the first written line on, and those of the run's lines after the stretch.
 */
async function write(
  trx: Transaction,
  of: Of,
  placed: Placed,
  now: Date,
): Promise<{ ids: string[]; laterIds: string[] }> {
  const { serverUuid, accountId, pulledSinceId } = of;
  const { run, placement, early, added } = placed;
  const [first] = added;
  if (first !== undefined && pulledSinceId !== null) {
    await moveBack(trx, serverUuid, { since: pulledSinceId, before: run[placement.before]?.id ?? null }, first.at);
  }
  const end = added.at(-1)?.at.getTime() ?? 0;
  const later = run.slice(placement.after).map((line) => ({ ...line, at: new Date(Math.max(line.at.getTime(), end)) }));
  const content: LineToStore[] = [...early, ...added].map((line) => ({ ...line, accountId, createdAt: now }));
  content.push(...later);
  const slots = run.slice(placement.before).map(({ id }) => id);
  await overwriteLines(
    trx,
    serverUuid,
    slots.flatMap((id, i) => (content[i] === undefined ? [] : [{ ...content[i], id }])),
  );
  const ids = [...slots, ...(await insertLines(trx, serverUuid, content.slice(slots.length)))];
  await replaceGaps(trx, serverUuid, slots, gapsOf(placed, ids, now));
  return { ids, laterIds: ids.slice(early.length + added.length) };
}

/** The gaps before the stretch and those of the run's lines after it. */
function gapsOf(
  { run, gaps, previous, placement, early, added }: Placed,
  ids: readonly string[],
  now: Date,
): StoredGap[] {
  const { before, after, gapBefore, same } = placement;
  const known = new Map(gaps.map((gap) => [gap.beforeId, gap]));
  const found: StoredGap[] = [];
  const note = (beforeId: string | undefined, afterId: string | null, from: StoredGap | undefined) => {
    if (beforeId === undefined) return;
    found.push({ afterId, beforeId, reason: from?.reason ?? 'push', foundAt: from?.foundAt ?? now });
  };
  if (gapBefore) note(ids[early.length], run[before - 1]?.id ?? previous?.id ?? null, known.get(run[before]?.id ?? ''));
  // Nothing was stored before the run, and the stretch does not reach it.
  const isFirst = after === 0 && same.size === 0 && previous === undefined;
  for (const [index, { id }] of run.slice(after).entries()) {
    const at = early.length + added.length + index;
    const gap = known.get(id);
    if (gap !== undefined || (isFirst && index === 0)) note(ids[at], ids[at - 1] ?? null, gap);
  }
  return found;
}

/** Lines without times have those of the run where they are its lines, and fit in between; what follows the run keeps its time. */
function timesOfRun(rest: readonly TimedLine[], run: readonly StoredLine[], { same, after }: Placement): TimedLine[] {
  const [firstSame] = same.values();
  let at = firstSame === undefined ? run[after]?.at : run[firstSame]?.at;
  let left = same.size;
  return rest.map(({ line, at: own }, place) => {
    const index = same.get(place);
    if (index !== undefined) {
      left -= 1;
      at = run[index]?.at ?? at;
    }
    return { line, at: index === undefined && left === 0 && after === run.length ? own : (at ?? own) };
  });
}

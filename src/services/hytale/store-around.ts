/**
 * Stores a tail that holds the stored end in its middle: it reaches further back than the reading before, or shows lines that the
 * node daemon has lost.
 */
import { comparable } from '../../domain/hytale/console.ts';
import { alignTail, type Match } from '../../domain/hytale/line-placement.ts';
import type { Transaction } from '../../store/db/db.ts';
import {
  gapsBefore,
  insertLines,
  type LineToStore,
  overwriteLines,
  replaceGaps,
  type StoredLine,
} from '../../store/hytale/server-log-store.ts';

interface Tail {
  serverUuid: string;
  accountId: string;
  lines: readonly string[];
  /** The time of lines after the stored end. */
  at: Date;
  pulledSinceId: string | null;
}

/**
 * Stores what of the tail is new, where it stands. Ids are given again from the first stored line on that the tail holds, so that their
 * order is that of the console.
 * @param end the last stored lines.
 * @returns undefined: the tail does not hold the stored end.
 */
export async function storeAround(
  trx: Transaction,
  tail: Tail,
  end: readonly StoredLine[],
  now: Date,
): Promise<{ saved: number; lastId: string | null; pulledSinceId: string | null } | undefined> {
  const matches = alignTail(
    end.map(({ line }) => comparable(line)),
    tail.lines.map(comparable),
  );
  const [first] = matches;
  if (first === undefined) return undefined;
  const { content, places } = merged(tail, end, matches, now);
  const slots = end.slice(first.from).map(({ id }) => id);
  slots.sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1));
  await overwriteLines(
    trx,
    tail.serverUuid,
    slots.flatMap((id, i) => (content[i] === undefined ? [] : [{ ...content[i], id }])),
  );
  const ids = [...slots, ...(await insertLines(trx, tail.serverUuid, content.slice(slots.length)))];
  await nameGap(trx, tail.serverUuid, { end, first, slots, ids }, now);
  const saved = content.length - slots.length;
  return { saved, lastId: ids.at(-1) ?? null, pulledSinceId: pulledSince(tail, end, first.from, { ids, places }) };
}

/** Stored and new lines together. `places`: where the stored ones are, from the first on that the tail holds. */
function merged(tail: Tail, end: readonly StoredLine[], matches: readonly Match[], now: Date) {
  const content: LineToStore[] = [];
  const places: number[] = [];
  const add = (from: number, to: number, at: Date) => {
    for (const line of tail.lines.slice(from, to))
      content.push({ accountId: tail.accountId, line, at, createdAt: now });
  };
  let read = 0;
  for (const { from, to, at } of matches) {
    // As late as the line that follows.
    add(read, at, end[from]?.at ?? tail.at);
    for (const line of end.slice(from, to)) {
      places.push(content.length);
      content.push(line);
    }
    read = at + to - from;
  }
  add(read, tail.lines.length, tail.at);
  return { content, places };
}

/** Nothing is missing inside the tail. Before it there may be, unless it begins with a stored line. */
async function nameGap(
  trx: Transaction,
  serverUuid: string,
  at: { end: readonly StoredLine[]; first: Match; slots: readonly string[]; ids: readonly string[] },
  now: Date,
): Promise<void> {
  const { from, at: lead } = at.first;
  const previous = at.end[from - 1];
  const known = await gapsBefore(trx, serverUuid, [at.end[from]?.id ?? '0']);
  const [beforeId] = at.ids;
  const isGap = beforeId !== undefined && previous !== undefined && (lead > 0 || known.length > 0);
  const gap = { reason: 'pull', foundAt: now, ...known[0], afterId: previous?.id ?? null, beforeId: beforeId ?? '' };
  await replaceGaps(trx, serverUuid, at.slots, isGap ? [gap] : []);
}

/** The pulled lines at the end begin after the last one that was pushed. */
function pulledSince(
  { pulledSinceId }: Tail,
  end: readonly StoredLine[],
  from: number,
  { ids, places }: { ids: readonly string[]; places: readonly number[] },
): string | null {
  const begin = pulledSinceId === null ? end.length : end.findIndex(({ id }) => id === pulledSinceId);
  // They begin before these lines.
  if (begin === -1 || begin < from) return pulledSinceId;
  const lastPushed = places[begin - 1 - from];
  return ids[lastPushed === undefined ? 0 : lastPushed + 1] ?? null;
}

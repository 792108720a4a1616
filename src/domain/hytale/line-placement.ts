/**
 * Where a pushed batch stands among the lines that were pulled last. A line can arrive both ways, and the times of pulled lines
 * are our estimates, so only the texts tell which lines are the same.
 */

/** A line that was pulled; `text` as it is compared (`comparable`). */
export interface PulledLine {
  text: string;
  /** Lines are missing before it, or nothing is known of what came before. */
  gap: boolean;
  /** When it was read, Unix milliseconds. */
  readAt: number;
}

export interface Stretch {
  /** As they are compared, in order, without lines that are stored already. */
  texts: readonly string[];
  /** When its first line was printed at the latest by our clock, Unix milliseconds. */
  firstAt: number;
  /** The same of its last line. */
  lastAt: number;
  /** It begins before the run: it follows a pushed line, or is older than the last one. */
  beginsBefore: boolean;
}

/** `run` up to `before` comes before the batch, up to `after` it holds lines of the batch, and the rest comes after it. */
export interface Placement {
  before: number;
  after: number;
  /** For lines of the batch that were pulled: index in the batch → index in the run. */
  same: ReadonlyMap<number, number>;
  /** Lines may be missing before the batch. */
  gapBefore: boolean;
}

/** Lines `from` to `to` (exclusive) of what is stored; `at`: where the first of them stands in the batch or the tail. */
export interface Match {
  from: number;
  to: number;
  at: number;
}

/** Lines that follow one another without a gap. */
interface Segment {
  from: number;
  to: number;
}

/**
 * Places a batch. It is one stretch of the console; the run is one or several. They are laid on each other where most lines
 * agree. If none do, the time decides whether the batch comes after the run, or before the first stretch that was read later.
 * @param whole the run begins after a pushed line or with the first stored one; false: it is the end of a longer run.
 */
export function placeStretch(run: readonly PulledLine[], batch: Stretch, whole: boolean): Placement {
  const segments = segmentsOf(run);
  const texts = run.map(({ text }) => text);
  const matches = matchesOf(segments, texts, batch, batch.lastAt >= (run.at(-1)?.readAt ?? 0));
  const [first] = matches;
  const last = matches.at(-1);
  if (first === undefined || last === undefined) return withoutMatch(run, segments, batch, whole);
  const inside = !segments.some(({ from }) => from === first.from);
  const same = new Map<number, number>();
  for (const { from, to, at } of matches) for (let i = from; i < to; i += 1) same.set(at + i - from, i);
  return {
    before: first.from,
    after: last.to,
    same,
    gapBefore: inside ? !isEvidence(texts.slice(first.from, first.to)) : gapAtStart(run, first.from, batch, whole),
  };
}

/** Between two pushes nothing is missing: that is the daemon's promise. Before other stretches of the run a gap stays one. */
const gapAtStart = (run: readonly PulledLine[], at: number, batch: Stretch, whole: boolean): boolean =>
  !batch.beginsBefore && (at > 0 || !whole) && (run[at]?.gap ?? true);

function withoutMatch(
  run: readonly PulledLine[],
  segments: readonly Segment[],
  batch: Stretch,
  whole: boolean,
): Placement {
  const none = new Map<number, number>();
  if (batch.beginsBefore) return { before: 0, after: 0, same: none, gapBefore: false };
  // Whatever was printed after the reading is in none of its lines.
  const later = segments.find(({ from }) => run[from]?.gap === true && batch.firstAt < (run[from]?.readAt ?? 0));
  if (later === undefined) return { before: run.length, after: run.length, same: none, gapBefore: run.length > 0 };
  return { before: later.from, after: later.from, same: none, gapBefore: gapAtStart(run, later.from, batch, whole) };
}

/**
 * The longest agreement, and what agrees on both sides of it where the batch reaches further than its segment.
 * @param later the batch ends after the last line of the run was read.
 */
function matchesOf(
  segments: readonly Segment[],
  texts: readonly string[],
  { texts: batch }: Stretch,
  later: boolean,
): Match[] {
  const numbers = numberer();
  const run = texts.map(numbers);
  const sent = batch.map(numbers);
  const anchor = longest(segments, run, sent, texts, later);
  if (anchor === undefined) return [];
  const matches = [anchor.match];
  for (let next = anchor.segment + 1, end = anchor.match; ; next += 1) {
    const segment = segments[next];
    const rest = end.at + end.to - end.from;
    if (segment === undefined || end.to !== segments[next - 1]?.to || rest >= sent.length) break;
    const match = slide(run, segment, sent, { first: rest, last: sent.length - 1 });
    if (match === undefined || !isEvidence(texts.slice(match.from, match.to))) break;
    matches.push(match);
    end = match;
  }
  for (let next = anchor.segment - 1, begin = anchor.match; ; next -= 1) {
    const segment = segments[next];
    if (segment === undefined || begin.from !== segments[next + 1]?.from || begin.at === 0) break;
    const size = segment.to - segment.from;
    const match = slide(run, segment, sent, { first: 1 - size, last: begin.at - size });
    if (match === undefined || !isEvidence(texts.slice(match.from, match.to))) break;
    matches.unshift(match);
    begin = match;
  }
  return matches;
}

/** Of equally long ones, that of the later segment. Blank lines alone agree only where the batch continues the run, and is later. */
function longest(
  segments: readonly Segment[],
  run: readonly number[],
  sent: readonly number[],
  texts: readonly string[],
  later: boolean,
) {
  let best: { match: Match; segment: number } | undefined;
  for (const [index, segment] of segments.entries()) {
    const match = slide(run, segment, sent, { first: 1 - (segment.to - segment.from), last: sent.length - 1 });
    if (match === undefined) continue;
    const continues = later && match.at === 0 && match.to === run.length;
    if (!continues && !isEvidence(texts.slice(match.from, match.to))) continue;
    if (best === undefined || match.to - match.from >= best.match.to - best.match.from)
      best = { match, segment: index };
  }
  return best;
}

/** The longest agreement of a segment with the batch, if its first line stands at one of these places of the batch. */
function slide(
  run: readonly number[],
  { from, to }: Segment,
  sent: readonly number[],
  places: { first: number; last: number },
): Match | undefined {
  let best: Match | undefined;
  for (let place = places.first; place <= places.last; place += 1) {
    const start = from + Math.max(0, -place);
    const end = Math.min(to, from + sent.length - place);
    if (end - start <= (best === undefined ? 0 : best.to - best.from)) continue;
    let i = start;
    while (i < end && run[i] === sent[place + i - from]) i += 1;
    if (i === end) best = { from: start, to: end, at: place + start - from };
  }
  return best;
}

function segmentsOf(run: readonly PulledLine[]): Segment[] {
  const starts = run.flatMap(({ gap }, index) => (gap || index === 0 ? [index] : []));
  return starts.map((from, index) => ({ from, to: starts[index + 1] ?? run.length }));
}

/** Equal texts have equal numbers, so that long lines are compared once. */
function numberer(): (text: string) => number {
  const numbers = new Map<string, number>();
  return (text) => {
    const number = numbers.get(text) ?? numbers.size;
    numbers.set(text, number);
    return number;
  };
}

/**
 * Where the stored end stands in a tail that does not begin in it: its last lines, then those before them, and so on, with lines
 * between them that are stored nowhere.
 * @returns from the last blocks on; empty: the tail does not hold the end.
 */
export function alignTail(end: readonly string[], tail: readonly string[]): Match[] {
  const numbers = numberer();
  const [held, read] = [end.map(numbers), tail.map(numbers)];
  const matches: Match[] = [];
  let [to, left] = [end.length, tail.length];
  while (to > 0 && left > 0) {
    let best: Match | undefined;
    for (let place = left; place > 0; place -= 1) {
      let size = 0;
      while (size < Math.min(to, place) && held[to - 1 - size] === read[place - 1 - size]) size += 1;
      if (size > (best === undefined ? 0 : to - best.from)) best = { from: to - size, to, at: place - size };
    }
    if (best === undefined || !isDistinct(end.slice(best.from, best.to))) break;
    matches.unshift(best);
    [to, left] = [best.from, best.at];
  }
  return matches;
}

/** A time of its own, or three lines: a console that was started again prints some lines as before. */
const isDistinct = (texts: readonly string[]): boolean =>
  texts.some((text) => /\d\d:\d\d/.test(text)) || texts.filter((text) => isEvidence([text])).length >= 3;

/** Blank lines, dots and rules are printed again and again: that they agree says nothing. */
export const isEvidence = (texts: readonly string[]): boolean => texts.some((text) => /[\p{L}\p{N}]/u.test(text));

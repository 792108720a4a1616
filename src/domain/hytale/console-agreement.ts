/**
 * What two readings of one console's tail agree about. A node daemon sends its tail line by line, does not say where it ends, and
 * sends lines that are printed meanwhile in between. A stretch that two readings hold in the same order is free of such lines.
 */
import { comparable } from './console.ts';

/** Lines of a reading that are looked at, counted from its end: the work grows with the product of both. A daemon sends 150 at most by default. */
export const MAX_TAIL_LINES = 2_000;

/**
 * The longest run of lines that both readings hold, oldest first; of equally long ones, the newest. Without lines that are printed
 * during a reading it is the common part of both tails. A line that was printed during one reading is behind the other's tail or
 * in its order, so it ends a run unless it is at its place; only where the same text is printed at the same place of both tails
 * could a run hold a line that is not at its place.
 * @returns the run as the later reading has it; undefined if it is shorter than half of the shorter reading, or one alone is empty.
 */
export function agreed(earlier: readonly string[], later: readonly string[]): string[] | undefined {
  // A reading that was too late is empty.
  if ((earlier.length === 0) !== (later.length === 0)) return undefined;
  const newest = later.slice(-MAX_TAIL_LINES);
  const { end, length } = longestRun(earlier.slice(-MAX_TAIL_LINES).map(comparable), newest.map(comparable));
  if (length < Math.min(earlier.length, newest.length) / 2) return undefined;
  return newest.slice(end - length, end);
}

/** The longest run of `b` that is also in `a`: its length, and the index after its last line in `b`. */
function longestRun(a: readonly string[], b: readonly string[]): { end: number; length: number } {
  let best = { end: b.length, length: 0 };
  // For each line of `b`: how long the run is that ends there and at the line of `a` before.
  let before = new Uint32Array(b.length + 1);
  for (const line of a) {
    const here = new Uint32Array(b.length + 1);
    for (const [j, other] of b.entries()) {
      if (other !== line) continue;
      const length = (before[j] ?? 0) + 1;
      here[j + 1] = length;
      if (length > best.length || (length === best.length && j + 1 > best.end)) best = { end: j + 1, length };
    }
    before = here;
  }
  return best;
}

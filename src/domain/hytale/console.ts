/** Lines of a game server's console: what of them can be stored, and how two stretches of one console are joined. */

/** The most lines of one push, and the most bytes (UTF-8) of one line. */
export const MAX_PUSHED_LINES = 1_000;
export const MAX_LINE_BYTES = 16 * 1024;

/** Escape sequences of terminals (ECMA-48): CSI and OSC. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences begin with one
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\))/g;

/** A line by which it is compared: colours and blanks at its end are often lost on one of two ways. */
export const comparable = (line: string): string => line.replace(ESCAPES, '').trimEnd();

/**
 * The longest overlap of two stretches: how many of the first lines of `next` are the last lines of `end`, in order. 0: they do
 * not meet. Takes time in proportion to their lengths (the prefix function of Knuth, Morris and Pratt).
 */
export function overlap(end: readonly string[], next: readonly string[]): number {
  const prefixes = prefixFunction(next);
  let matched = 0;
  // What is longer than `next` cannot overlap.
  for (const line of end.slice(Math.max(0, end.length - next.length))) {
    while (matched > 0 && (matched === next.length || next[matched] !== line)) matched = prefixes[matched - 1] ?? 0;
    if (next[matched] === line) matched += 1;
  }
  return matched;
}

/** For each line, the length of the longest prefix that ends there and is not the whole. */
function prefixFunction(lines: readonly string[]): number[] {
  const lengths = [0];
  for (let i = 1; i < lines.length; i += 1) {
    let length = lengths[i - 1] ?? 0;
    while (length > 0 && lines[i] !== lines[length]) length = lengths[length - 1] ?? 0;
    lengths.push(lines[i] === lines[length] ? length + 1 : 0);
  }
  return lengths;
}

/** A line as PostgreSQL can hold it: NUL and half surrogate pairs become U+FFFD. At most MAX_LINE_BYTES bytes of it are kept. */
export function storableLine(line: string): string {
  const text = line.replaceAll('\0', '\uFFFD').toWellFormed();
  // Each UTF-16 unit has at least one byte, and at most three.
  if (text.length * 3 <= MAX_LINE_BYTES) return text;
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(MAX_LINE_BYTES));
  return text.slice(0, read);
}

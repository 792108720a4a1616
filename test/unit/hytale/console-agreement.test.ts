import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { agreed, MAX_TAIL_LINES } from '../../../src/domain/hytale/console-agreement.ts';

/** Where the lines of `live` are sent between those of a tail: before so many of its lines, in order. */
const mixed = (tail: readonly string[], live: readonly string[], places: readonly number[]): string[] => {
  const at = live.map((_, n) => (places[n] ?? 0) % (tail.length + 1)).sort((a, b) => a - b);
  const sent: string[] = [];
  for (let n = 0; n <= tail.length; n += 1) {
    sent.push(...live.filter((_, i) => at[i] === n));
    const line = tail[n];
    if (line !== undefined) sent.push(line);
  }
  return sent;
};
const holds = (console: readonly string[], block: readonly string[]): boolean =>
  block.length === 0 || console.some((_, n) => block.every((line, i) => console[n + i] === line));

/** A console, a moment of each reading, how many lines are printed during each, and where they come between those of the tail. */
const READINGS = fc.record({
  lines: fc.integer({ min: 0, max: 60 }),
  kept: fc.integer({ min: 1, max: 40 }),
  printed: fc.tuple(fc.nat(4), fc.nat(6), fc.nat(4)),
  places: fc.tuple(
    fc.array(fc.nat(), { minLength: 4, maxLength: 4 }),
    fc.array(fc.nat(), { minLength: 4, maxLength: 4 }),
  ),
});
type Readings = typeof READINGS extends fc.Arbitrary<infer R> ? R : never;

/** What the two readings bring, and the console as it is afterwards. */
function read({ lines, kept, printed, places }: Readings, text: (n: number) => string) {
  const [duringFirst, between, duringSecond] = printed;
  const all = Array.from({ length: lines + duringFirst + between + duringSecond }, (_, n) => text(n));
  const reading = (at: number, live: number, where: readonly number[]): string[] =>
    mixed(all.slice(Math.max(0, at - kept), at), all.slice(at, at + live), where);
  const second = lines + duringFirst + between;
  return { all, a: reading(lines, duringFirst, places[0]), b: reading(second, duringSecond, places[1]) };
}

describe('two readings of one console', () => {
  test('what they agree about is a stretch of the console, wherever other lines are sent in between', () => {
    fc.assert(
      fc.property(READINGS, (readings) => {
        const { all, a, b } = read(readings, (n) => `line ${n}`);
        const block = agreed(a, b);
        if (block === undefined) return;
        expect(holds(all, block)).toBe(true);
        expect(block.length).toBeGreaterThanOrEqual(Math.min(a.length, b.length) / 2);
      }),
      { numRuns: 300 },
    );
  });

  test('also when the console repeats itself, if nothing is printed during one of them', () => {
    fc.assert(
      fc.property(
        READINGS,
        fc.boolean(),
        fc.array(fc.nat(2), { minLength: 100, maxLength: 100 }),
        (readings, which, texts) => {
          const [first, between, second] = readings.printed;
          const printed: [number, number, number] = which ? [0, between, second] : [first, between, 0];
          const { all, a, b } = read({ ...readings, printed }, (n) => `text ${texts[n]}`);
          const block = agreed(a, b);
          if (block !== undefined) expect(holds(all, block)).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('a quiet console is read whole; of a busy one the common part', () => {
    const tail = Array.from({ length: 150 }, (_, n) => `line ${n}`);
    expect(agreed(tail, tail)).toEqual(tail);
    expect(agreed(tail, [...tail.slice(3), 'a', 'b', 'c'])).toEqual(tail.slice(3));
    expect(agreed(tail, [...tail.slice(0, 100), 'live', ...tail.slice(100)])).toEqual(tail.slice(0, 100));
    expect(agreed([], [])).toEqual([]);
    expect(agreed([], ['first'])).toBeUndefined();
    expect(agreed(['last'], [])).toBeUndefined();
  });

  test('less than half of the shorter one is not believed', () => {
    const lines = ['a', 'b', 'c', 'd'];
    expect(agreed(lines, ['x', 'a', 'b', 'y'])).toEqual(['a', 'b']);
    expect(agreed(lines, ['x', 'a', 'y', 'z'])).toBeUndefined();
    expect(agreed(lines, ['x', 'y', 'z'])).toBeUndefined();
  });

  test('colours and blanks at the end are no difference; the later reading gives the text; of two runs the newer one', () => {
    expect(agreed(['\u001b[32mdone\u001b[0m ', 'x'], ['done', '\u001b[1mx'])).toEqual(['done', '\u001b[1mx']);
    expect(agreed(['a', 'b'], ['a ', 'x', 'b  '])).toEqual(['b  ']);
  });

  test('of a tail that has no end, the end is compared', () => {
    const endless = Array.from({ length: 3 * MAX_TAIL_LINES }, (_, n) => `line ${n % 700}`);
    expect(agreed(endless, endless)).toEqual(endless.slice(-MAX_TAIL_LINES));
  });
});

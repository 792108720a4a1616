/** Totals of lists: shared by callers, a second old at most, bounded. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createListTotals } from '../../../src/services/list-totals.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('concurrent callers and those of the next second share one count; after a second it is counted again', async () => {
  const totals = createListTotals();
  const answers: ((total: number) => void)[] = [];
  const count = vi.fn(() => new Promise<number>((resolve) => answers.push(resolve)));
  const ofAll = () => totals.of('users', { search: 'a' }, count);
  const both = Promise.all([ofAll(), ofAll()]);
  answers[0]?.(7);
  expect(await both).toEqual([7, 7]);
  // The second begins with the count, not with its end.
  vi.advanceTimersByTime(999);
  expect(await ofAll()).toBe(7);
  expect(count).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(1);
  const again = ofAll();
  answers[1]?.(8);
  expect(await again).toBe(8);
  expect(count).toHaveBeenCalledTimes(2);
});

test('each list and each filter has a total of its own', async () => {
  const totals = createListTotals();
  expect(await totals.of('users', { search: 'a' }, async () => 1)).toBe(1);
  expect(await totals.of('users', { search: 'b' }, async () => 2)).toBe(2);
  expect(await totals.of('users', {}, async () => 3)).toBe(3);
  expect(await totals.of('servers', {}, async () => 4)).toBe(4);
  expect(await totals.of('users', { search: 'a' }, async () => 5)).toBe(1);
});

test('a failed count fails its callers and is not kept', async () => {
  const totals = createListTotals();
  const failing = async (): Promise<number> => {
    throw new Error('no database');
  };
  const both = await Promise.allSettled([totals.of('users', {}, failing), totals.of('users', {}, failing)]);
  expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(await totals.of('users', {}, async () => 9)).toBe(9);
});

test('at most 500 totals are kept: the oldest goes first', async () => {
  const totals = createListTotals();
  for (let n = 0; n <= 500; n += 1) await totals.of('users', { search: n }, async () => n);
  expect(await totals.of('users', { search: 500 }, async () => -1)).toBe(500);
  expect(await totals.of('users', { search: 1 }, async () => -1)).toBe(1);
  expect(await totals.of('users', { search: 0 }, async () => -1)).toBe(-1);
});

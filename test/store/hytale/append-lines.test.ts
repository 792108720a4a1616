/** Lines of a console that are pushed and pulled: each is stored once, in order, and a gap is named. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { appendPulled, appendPushed } from '../../../src/services/hytale/append-lines.ts';
import { createTestDatabase, openTransaction, type TestDatabase } from '../../support/database.ts';
import {
  ACCOUNT,
  addServer,
  judgeConsole,
  judgeRepeated,
  runConsole,
  stepsOf,
  storedGaps,
  storedLines,
  storedTexts,
} from '../../support/hytale/console.ts';

let database: TestDatabase;
let server: string;
beforeAll(async () => {
  database = await createTestDatabase({ max: 12 });
});
afterAll(() => database?.drop());
beforeEach(async () => {
  server = randomUUID();
  await addServer(database.db, server);
});

const START = Date.UTC(2026, 0, 1);
const MINUTE = 60_000;
const minute = (minutes: number) => new Date(START + minutes * MINUTE);
const texts = () => storedTexts(database.db, server);
/** Pushes lines that were printed one millisecond after the other from this minute on. */
const push = (at: number, lines: readonly string[], arrivedAt = at) =>
  appendPushed(
    database.db,
    {
      serverUuid: server,
      accountId: ACCOUNT,
      lines: lines.map((line, i) => ({ line, at: new Date(minute(at).getTime() + i) })),
    },
    minute(arrivedAt),
  );
const pushUntimed = (at: number, lines: readonly string[]) =>
  appendPushed(
    database.db,
    { serverUuid: server, accountId: ACCOUNT, lines: lines.map((line) => ({ line, at: undefined })) },
    minute(at),
  );
const pull = (at: number, lines: readonly string[], acceptGap = false) =>
  appendPulled(database.db, { serverUuid: server, accountId: ACCOUNT, lines, acceptGap }, minute(at));
/** The texts around each gap. */
async function gaps(): Promise<(string | undefined)[][]> {
  const lines = new Map((await storedLines(database.db, server)).map(({ id, log_line }) => [id, log_line]));
  return (await storedGaps(database.db, server)).map(({ after_id, before_id, reason }) => [
    lines.get(after_id ?? ''),
    lines.get(before_id),
    reason,
  ]);
}

/** `CONSOLE_RUNS=2000` for a long run. */
const RUNS = Number(process.env['CONSOLE_RUNS'] ?? 30);

test('push and pull of one console, in any order, by clocks that differ', async () => {
  await fc.assert(
    fc.asyncProperty(stepsOf(24), fc.integer({ min: -600, max: 600 }), async (steps, skewSeconds) => {
      const uuid = randomUUID();
      await addServer(database.db, uuid);
      const run = await runConsole(database.db, uuid, steps, {
        skewMs: skewSeconds * 1_000,
        textOf: (n) => `[12:00:00] line ${n}`,
      });
      expect(await judgeConsole(database.db, uuid, run)).toEqual([]);
    }),
    { numRuns: RUNS },
  );
}, 3_600_000);

test('the same with lines that are printed again and again', async () => {
  await fc.assert(
    fc.asyncProperty(
      stepsOf(24),
      fc.integer({ min: 2, max: 5 }),
      fc.integer({ min: 6, max: 12 }),
      async (steps, every, tailLines) => {
        const uuid = randomUUID();
        await addServer(database.db, uuid);
        const textOf = (n: number) => (n % every === 0 ? `[12:00:00] line ${n}` : n % 2 === 0 ? '.' : '');
        const run = await runConsole(database.db, uuid, steps, { skewMs: 0, textOf, tailLines });
        expect(await judgeRepeated(database.db, uuid, run)).toEqual([]);
      },
    ),
    { numRuns: RUNS },
  );
}, 3_600_000);

describe('a pulled console', () => {
  test('continues at the overlap, whatever colours and blanks say', async () => {
    expect(await pull(0, ['a', 'b', 'c'])).toEqual({ saved: 3, state: 'first' });
    expect(await pull(5, ['a', 'b', 'c'])).toEqual({ saved: 0, state: 'unchanged' });
    expect(await pull(10, ['b', '\u001b[32mc\u001b[0m ', 'd'])).toEqual({ saved: 1, state: 'joined' });
    expect(await pull(15, [])).toEqual({ saved: 0, state: 'unchanged' });
    expect(await texts()).toEqual(['a', 'b', 'c', 'd']);
    expect(await gaps()).toEqual([]);
  });

  test('of a server that was started again has a gap, once it is accepted', async () => {
    await pull(0, ['a', 'b', 'stopped']);
    expect(await pull(5, ['started', 'x'])).toEqual({ saved: 0, state: 'gap' });
    expect(await texts()).toEqual(['a', 'b', 'stopped']);
    expect(await pull(5, ['started', 'x'], true)).toEqual({ saved: 2, state: 'gap' });
    expect(await pull(10, ['started', 'x', 'y'])).toEqual({ saved: 1, state: 'joined' });
    expect(await texts()).toEqual(['a', 'b', 'stopped', 'started', 'x', 'y']);
    expect(await gaps()).toEqual([['stopped', 'started', 'pull']]);
  });

  test('with blank lines alone in the overlap has a gap, and they are stored once', async () => {
    await pull(0, ['a', '', '']);
    expect(await pull(5, ['', 'b'])).toEqual({ saved: 0, state: 'gap' });
    expect(await pull(5, ['', 'b'], true)).toEqual({ saved: 1, state: 'gap' });
    expect(await texts()).toEqual(['a', '', '', 'b']);
    expect(await gaps()).toEqual([['', 'b', 'pull']]);
  });

  test('that shows lines which a daemon lost, or that were not read before, gets them in their places', async () => {
    await push(0, ['12:00 a']);
    await push(1, ['12:03 d']);
    expect(await pull(20, ['12:01 b', '12:02 c', '12:03 d', '12:05 f'])).toEqual({ saved: 3, state: 'joined' });
    expect(await texts()).toEqual(['12:00 a', '12:01 b', '12:02 c', '12:03 d', '12:05 f']);
    expect(await gaps()).toEqual([['12:00 a', '12:01 b', 'pull']]);
    expect(await push(20, ['12:05 f', '12:06 g'])).toEqual({ saved: 2, repeated: 0 });
    expect(await texts()).toEqual(['12:00 a', '12:01 b', '12:02 c', '12:03 d', '12:05 f', '12:06 g']);
    expect(await gaps()).toEqual([['12:00 a', '12:01 b', 'pull']]);
  });

  test('is left alone for 15 minutes after a push, also after one that only repeats', async () => {
    await push(0, ['a']);
    await push(0, ['a'], 10);
    expect(await pull(24.9, ['a', 'b'])).toEqual({ saved: 0, state: 'pushed' });
    expect(await pull(25, ['a', 'b'])).toEqual({ saved: 1, state: 'joined' });
  });

  test('has the times of the clock of the node, as far as it is known, and never goes back', async () => {
    await push(10, ['a'], 0);
    await pull(20, ['a', 'b']);
    await push(60, ['c'], 50);
    await pull(70, ['c', 'd']);
    const times = (await storedLines(database.db, server)).map(({ log_timestamp }) => log_timestamp);
    expect(times).toEqual([minute(10), minute(30), minute(60), minute(80)]);
  });
});

describe('a push after pulls', () => {
  test('replaces the pulled lines that it holds, so that its repetition adds nothing', async () => {
    await push(0, ['a', 'b']);
    await pull(20, ['a', 'b', 'c', 'd']);
    // The clock of the node says an earlier time than ours.
    expect(await push(15, ['\u001b[1mc\u001b[0m', 'd', 'e'], 30)).toEqual({ saved: 3, repeated: 0 });
    expect(await push(15, ['\u001b[1mc\u001b[0m', 'd', 'e'], 31)).toEqual({ saved: 0, repeated: 3 });
    expect(await texts()).toEqual(['a', 'b', '\u001b[1mc\u001b[0m', 'd', 'e']);
    expect(await gaps()).toEqual([]);
  });

  test('of an outage fills its gap batch by batch, before the pulled lines', async () => {
    await push(0, ['a']);
    await pull(20, ['y', 'z'], true);
    await pull(25, ['z', 'end']);
    expect(await gaps()).toEqual([['a', 'y', 'pull']]);
    await push(1, ['b', 'c'], 30);
    expect(await texts()).toEqual(['a', 'b', 'c', 'y', 'z', 'end']);
    expect(await gaps()).toEqual([['c', 'y', 'pull']]);
    await push(19, ['x', 'y', 'z'], 30);
    expect(await texts()).toEqual(['a', 'b', 'c', 'x', 'y', 'z', 'end']);
    expect(await gaps()).toEqual([]);
    await push(25, ['end', 'on'], 30);
    expect(await texts()).toEqual(['a', 'b', 'c', 'x', 'y', 'z', 'end', 'on']);
    expect(await push(19, ['x', 'y', 'z'], 31)).toEqual({ saved: 0, repeated: 3 });
  });

  test('that knows none of the pulled lines comes after them, and names a gap', async () => {
    await push(0, ['a']);
    await pull(20, ['a', 'b']);
    await push(30, ['x', 'y'], 30);
    expect(await texts()).toEqual(['a', 'b', 'x', 'y']);
    expect(await gaps()).toEqual([['b', 'x', 'push']]);
  });

  test('covers several stretches with gaps between, and names none any more', async () => {
    await push(0, ['a']);
    await pull(20, ['c', 'd'], true);
    await pull(25, ['f'], true);
    await pull(30, ['h', 'i'], true);
    expect(await gaps()).toHaveLength(3);
    await push(0, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'], 40);
    expect(await texts()).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']);
    expect(await gaps()).toEqual([]);
  });

  test('without times replaces them as well', async () => {
    await pull(0, ['b', 'c']);
    await pushUntimed(20, ['a', 'b', 'c', 'd']);
    expect(await texts()).toEqual(['a', 'b', 'c', 'd']);
    const times = (await storedLines(database.db, server)).map(({ log_timestamp }) => log_timestamp);
    expect(times).toEqual([minute(0), minute(0), minute(0), minute(20)]);
  });
});

describe('times', () => {
  test('a batch without times is repeated within a minute, and not by a batch that differs', async () => {
    expect(await pushUntimed(0, ['.', '.'])).toEqual({ saved: 2, repeated: 0 });
    expect(await pushUntimed(0.5, ['.', '.'])).toEqual({ saved: 0, repeated: 2 });
    expect(await pushUntimed(0.9, ['.', '.'])).toEqual({ saved: 0, repeated: 2 });
    // The minute begins with the batch that was stored.
    expect(await pushUntimed(1, ['.', '.'])).toEqual({ saved: 2, repeated: 0 });
    expect(await pushUntimed(1.1, ['.'])).toEqual({ saved: 1, repeated: 0 });
    expect(await pushUntimed(1.2, ['.', '.'])).toEqual({ saved: 2, repeated: 0 });
    expect(await texts()).toHaveLength(7);
  });

  test('that are missing, too far ahead or before 1970 are those of the line before', async () => {
    const lines = [
      { line: 'a', at: new Date('0001-01-01T00:00:00Z') },
      { line: 'b', at: minute(1) },
      { line: 'c', at: undefined },
      { line: 'd', at: new Date('2099-01-01T00:00:00Z') },
      { line: 'e', at: new Date(0) },
    ];
    const batch = { serverUuid: server, accountId: ACCOUNT, lines };
    expect(await appendPushed(database.db, batch, minute(2))).toEqual({ saved: 5, repeated: 0 });
    expect(await appendPushed(database.db, batch, minute(9))).toEqual({ saved: 0, repeated: 5 });
    const stored = await storedLines(database.db, server);
    expect(stored.map(({ log_line, log_timestamp }) => [log_line, log_timestamp])).toEqual(
      ['a', 'b', 'c', 'd', 'e'].map((line) => [line, minute(1)]),
    );
  });
});

describe('at the same time', () => {
  test('pushes and pulls of one console wait for each other', async () => {
    const lines = Array.from({ length: 300 }, (_, n) => `line ${n}`);
    await push(0, lines.slice(0, 10));
    await pull(20, lines.slice(5, 60));
    const answers = await Promise.all([
      push(21, lines.slice(30, 200), 40),
      pull(40, lines.slice(20, 120)),
      push(21, lines.slice(30, 200), 40),
      pull(40, lines.slice(40, 120)),
      push(21, lines.slice(30, 200), 40),
    ]);
    expect(await texts()).toEqual(lines.slice(0, 200));
    expect(await gaps()).toEqual([]);
    expect(answers).toHaveLength(5);
  });

  test('a server that is deleted in the middle is not known', async () => {
    await push(0, ['a']);
    const deletion = await openTransaction(database.db);
    await deletion.raw('delete from servers where uuid = ?', [server]);
    const pushed = push(1, ['b']);
    const pulled = pull(20, ['a', 'c']);
    const both = Promise.allSettled([pushed, pulled]);
    await deletion.commit();
    const unknown = { code: 'NOT_FOUND', publicMessage: 'Server not found' };
    expect(await both).toMatchObject([{ reason: unknown }, { reason: unknown }]);
    await expect(push(2, ['d'])).rejects.toMatchObject(unknown);
    expect(await texts()).toEqual([]);
  });
});

test('ids are compared as numbers: the line after 9 is 10', async () => {
  await database.db.raw(`select setval('hytale_server_logs_id_seq', 99999995)`);
  const lines = Array.from({ length: 8 }, (_, n) => `line ${n}`);
  expect(await pull(0, lines)).toEqual({ saved: 8, state: 'first' });
  expect(await pull(5, lines)).toEqual({ saved: 0, state: 'unchanged' });
});

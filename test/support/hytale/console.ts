/**
 * The console of a game server, a daemon that pushes it by a clock of its own, and pulls of its end. What is stored in the end is
 * judged by what was delivered: each line once and in order, and a gap named where lines are missing.
 */
import fc from 'fast-check';
import { appendPulled, appendPushed, PUSHED_RECENTLY_MS } from '../../../src/services/hytale/append-lines.ts';
import type { TestDb } from '../database.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
export const ACCOUNT = '0f8e6a10-2b51-4c52-9c9d-1f7c6f3f0a01';

/** A server that the mirror has. */
export async function addServer(db: TestDb, uuid: string): Promise<void> {
  await db.raw(`insert into servers (id, uuid, name) values (?, ?, 'console')`, [`id-${uuid}`, uuid]);
}

export interface Stored {
  id: string;
  log_line: string;
  log_timestamp: Date;
}
/** The stored lines in the order of the lists, oldest first. */
export const storedLines = async (db: TestDb, uuid: string): Promise<Stored[]> =>
  (
    await db.raw(
      `select id, log_line, log_timestamp from hytale_server_logs where server_uuid = ? order by log_timestamp, id`,
      [uuid],
    )
  ).rows;
export const storedTexts = async (db: TestDb, uuid: string): Promise<string[]> =>
  (await storedLines(db, uuid)).map(({ log_line }) => log_line);
export const storedGaps = async (
  db: TestDb,
  uuid: string,
): Promise<{ after_id: string | null; before_id: string; reason: string }[]> =>
  (
    await db.raw('select after_id, before_id, reason from hytale_log_gaps where server_uuid = ? order by before_id', [
      uuid,
    ])
  ).rows;

export type Step =
  | { do: 'print'; lines: number }
  | { do: 'wait'; minutes: number }
  /** From `back` lines before the first line that was not pushed, `lines` lines. `twice`: the answer is lost. `race`: both at once. */
  | { do: 'push'; back: number; lines: number; twice: boolean; race: boolean }
  /** A batch from long ago once more. */
  | { do: 'repeat'; which: number }
  /** The daemon starts again with the next line. */
  | { do: 'forget' }
  | { do: 'pull'; lines: number }
  /** The console starts from nothing. */
  | { do: 'restart' };

export const stepsOf = (maxLength: number): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.record({ do: fc.constant('print' as const), lines: fc.integer({ min: 1, max: 8 }) }) },
      {
        weight: 2,
        arbitrary: fc.record({ do: fc.constant('wait' as const), minutes: fc.integer({ min: 1, max: 20 }) }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          do: fc.constant('push' as const),
          back: fc.constantFrom(0, 0, 0, 1, 3, 9),
          lines: fc.integer({ min: 1, max: 14 }),
          twice: fc.boolean(),
          race: fc.boolean(),
        }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('repeat' as const), which: fc.nat(20) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('forget' as const) }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constant('pull' as const), lines: fc.integer({ min: 1, max: 12 }) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
    ),
    { maxLength },
  );

interface Printed {
  text: string;
  /** Unix milliseconds, by our clock. */
  at: number;
}

/**
 * Runs the steps on a server.
 * @param skewMs how far the daemon's clock is ahead.
 * @param textOf the text of the nth line.
 * @param tailLines what each pull reads, as a daemon with its one setting; default: what the step says.
 */
export async function runConsole(
  db: TestDb,
  uuid: string,
  steps: readonly Step[],
  { skewMs, textOf, tailLines }: { skewMs: number; textOf: (n: number) => string; tailLines?: number },
) {
  let now = Date.UTC(2026, 0, 1);
  const printed: Printed[] = [];
  /** Numbers of lines that were delivered together. */
  const stretches: { from: number; to: number; pushed: boolean }[] = [];
  let started = 0;
  let cursor = 0;
  let forgotten = 0;
  let lastPush = -Infinity;
  const batches: { from: number; to: number }[] = [];
  const print = () => {
    now += 1;
    printed.push({ text: textOf(printed.length), at: now });
  };
  const push = async (from: number, to: number) => {
    lastPush = now;
    const lines = printed.slice(from, to).map(({ text, at }) => ({ line: text, at: new Date(at + skewMs) }));
    return appendPushed(db, { serverUuid: uuid, accountId: ACCOUNT, lines }, new Date(now));
  };
  const pull = async (lines: number) => {
    const from = Math.max(started, printed.length - lines);
    const tail = { serverUuid: uuid, accountId: ACCOUNT, lines: printed.slice(from).map(({ text }) => text) };
    let answer = await appendPulled(db, { ...tail, acceptGap: false }, new Date(now));
    if (answer.state === 'gap') answer = await appendPulled(db, { ...tail, acceptGap: true }, new Date(now));
    if ((answer.state === 'pushed') !== now - lastPush < PUSHED_RECENTLY_MS) throw new Error('pulled, or not, wrongly');
    if (answer.state !== 'pushed') stretches.push({ from, to: printed.length, pushed: false });
  };
  // The first push comes at once, so that the clock of the node is known.
  print();
  await push(0, 1);
  stretches.push({ from: 0, to: 1, pushed: true });
  cursor = 1;
  for (const step of steps) {
    now += SECOND;
    if (step.do === 'print') for (let i = 0; i < step.lines; i += 1) print();
    else if (step.do === 'wait') now += step.minutes * MINUTE;
    else if (step.do === 'forget') cursor = forgotten = printed.length;
    else if (step.do === 'restart') started = printed.length;
    else if (step.do === 'pull') await pull(tailLines ?? step.lines);
    else if (step.do === 'repeat') {
      const batch = batches[step.which % Math.max(1, batches.length)];
      if (batch !== undefined) await push(batch.from, batch.to);
    } else {
      const from = Math.max(batches.at(-1)?.from ?? 0, forgotten, cursor - step.back);
      const to = Math.min(printed.length, from + step.lines);
      if (to <= cursor) continue;
      if (step.race) await Promise.all([push(from, to), push(from, to)]);
      else await push(from, to);
      if (step.twice) await push(from, to);
      stretches.push({ from, to, pushed: true });
      batches.push({ from, to });
      cursor = to;
    }
  }
  return { printed, stretches, now };
}

/** What is wrong with the stored lines; for texts that are all different. */
export async function judgeConsole(
  db: TestDb,
  uuid: string,
  { printed, stretches }: Awaited<ReturnType<typeof runConsole>>,
): Promise<string[]> {
  const numbers = new Map(printed.map(({ text }, n) => [text, n]));
  const stored = await storedLines(db, uuid);
  const order = stored.map(({ log_line }) => numbers.get(log_line) ?? -1);
  const delivered = printed.map((_, n) => n).filter((n) => stretches.some(({ from, to }) => from <= n && n < to));
  const wrong: string[] = [];
  if (order.join() !== delivered.join()) wrong.push(`stored: ${order.join()}; delivered: ${delivered.join()}`);
  const gaps = await storedGaps(db, uuid);
  const wasPushed = (n: number) => stretches.some(({ from, to, pushed }) => pushed && from <= n && n < to);
  for (const [i, { id }] of stored.entries()) {
    if (i === 0) continue;
    const [a = -1, b = -1] = [order[i - 1], order[i]];
    const gap = gaps.filter(({ before_id }) => before_id === id);
    if (gap.length > 1) wrong.push(`gap before ${b} twice`);
    if (gap[0] !== undefined && gap[0].after_id !== stored[i - 1]?.id)
      wrong.push(`gap before ${b} is after another line`);
    // That nothing is missing between two pushes is the daemon's promise.
    if (b !== a + 1 && gap.length === 0 && !(wasPushed(a) && wasPushed(b))) wrong.push(`no gap between ${a} and ${b}`);
    const together = stretches.some(({ from, to }) => from <= a && b < to);
    if (gap.length > 0 && b === a + 1 && together) wrong.push(`a gap between ${a} and ${b}`);
  }
  const ids = new Set(stored.map(({ id }) => id));
  for (const { before_id } of gaps) if (!ids.has(before_id)) wrong.push(`a gap before no line`);
  if (gaps.some(({ before_id }) => before_id === stored[0]?.id)) wrong.push('a gap before the first line');
  return wrong;
}

/**
 * What is wrong with the stored lines where many texts are equal. Without pulls the times decide, so all are stored once. An overlap
 * of blank lines and dots says nothing, so with pulls only the other lines are.
 */
export async function judgeRepeated(
  db: TestDb,
  uuid: string,
  { printed, stretches }: Awaited<ReturnType<typeof runConsole>>,
): Promise<string[]> {
  const delivered = printed.filter((_, n) => stretches.some(({ from, to }) => from <= n && n < to));
  const judged = (texts: readonly string[]) =>
    stretches.every(({ pushed }) => pushed) ? texts : texts.filter((text) => text !== '' && text !== '.');
  const stored = judged(await storedTexts(db, uuid)).join('|');
  const wanted = judged(delivered.map(({ text }) => text)).join('|');
  return stored === wanted ? [] : [`stored: ${stored}; delivered: ${wanted}`];
}

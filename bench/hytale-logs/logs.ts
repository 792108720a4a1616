/**
 * `npm run bench:hytale-logs`: stores 10 million console lines in a PostgreSQL of its own, reads them through the real api, and
 * deletes days while writers push. It starts and stops everything that it needs; about 7 GB of disk and 15 minutes on two cores.
 *
 * Options: `-- --lines 10000000 --seconds 5 --batches 500,2000 --json`. `--held` deletes a day more while the transaction of another
 * program stays open.
 */
import { parseArgs } from 'node:util';
import { cleanUp, prepare, say, startEntry } from '../api/stack.ts';
import { type CaseRow, describeCase, measureCases, searchWhole } from './cases.ts';
import { fillLines, SIZE, sizesOf } from './lines.ts';
import { type Deletion, measureDeletion, measurePushes, type Pushes } from './writes.ts';

const { values } = parseArgs({
  options: {
    lines: { type: 'string', default: '10000000' },
    seconds: { type: 'string', default: '5' },
    batches: { type: 'string', default: '500' },
    held: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const lines = Number(values.lines);
const seconds = Number(values.seconds);

interface Result {
  lines: number;
  fillSeconds: number;
  /** MiB of the table and of each index. */
  sizes: Record<string, number>;
  reads: CaseRow[];
  wholeSearch: { requests: number; seconds: number };
  pushes: Pushes[];
  deletions: Deletion[];
}

async function measure(): Promise<Result> {
  const stack = await prepare(SIZE);
  const chunks = await fillLines(stack.env['DATABASE_URL'] ?? '', lines, say);
  const sizes = await sizesOf(stack.db);
  const api = await startEntry('../../src/api/server.ts', stack.env);
  const reads = await measureCases(stack, api, seconds);
  const wholeSearch = await searchWhole(stack, api.url);
  await api.stop();
  const pushes = [await measurePushes(stack, 20, seconds), await measurePushes(stack, 1_000, seconds)];
  const deletions: Deletion[] = [];
  for (const batch of values.batches.split(',')) deletions.push(await measureDeletion(stack, Number(batch)));
  if (values.held) deletions.push(await measureDeletion(stack, deletions[0]?.batch ?? 500, true));
  const fillSeconds = chunks.reduce((sum, ms) => sum + ms, 0) / 1000;
  return { lines, fillSeconds, sizes, reads, wholeSearch, pushes, deletions };
}

/** Prints what the lines about the progress did not say. */
function print({ fillSeconds, sizes, reads, wholeSearch, pushes }: Result): void {
  process.stdout.write(
    `filled ${lines} lines: ${Math.round(lines / fillSeconds)} lines/s; MiB: ${JSON.stringify(sizes)}\n`,
  );
  process.stdout.write(`${'read'.padEnd(36)}      n  p50 ms  p99 ms  max ms  cpu ms: api + database\n`);
  for (const row of reads) process.stdout.write(`${describeCase(row)}\n`);
  process.stdout.write(
    `absent text, to the end of the big server: ${wholeSearch.requests} requests, ${wholeSearch.seconds.toFixed(1)} s\n`,
  );
  for (const { lines: size, linesPerSecond, p50, p99 } of pushes) {
    process.stdout.write(
      `pushes of ${size}: ${linesPerSecond.toFixed(0)} lines/s, p50 ${p50.toFixed(1)} p99 ${p99.toFixed(1)} ms\n`,
    );
  }
}

try {
  const result = await measure();
  if (values.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  else print(result);
  const errors = [...result.reads, ...result.pushes, ...result.deletions.map(({ pushes }) => pushes)].flatMap(
    ({ errors }) => errors,
  );
  if (errors.length > 0) {
    say(`errors: ${errors.slice(0, 3).join('; ')}`);
    process.exitCode = 1;
  }
} finally {
  await cleanUp();
}

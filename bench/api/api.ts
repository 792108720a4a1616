/**
 * `npm run bench:api`: measures the requests of the web site against the real api process over a database of size M.
 * The same run measures their floors: `node:http` alone, and for sign-ins a password comparison alone. It starts and
 * stops everything that it needs. Exit code 1: an answer was not the expected one.
 *
 * Options: `-- --seconds 5 --concurrency 1,16 --only login,refresh --json`, or instead `-- --timing --logins 200`, or
 * `-- --attack --megabits 40 --seconds 20`.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import bcrypt from 'bcrypt';
import { Pool } from 'undici';
import { type AttackRow, measureAttacks } from './attack.ts';
import { type Case, createCases } from './cases.ts';
import { PASSWORD, SIZES, type SizeName } from './data.ts';
import { measureLists } from './lists.ts';
import { drive, expectAnswer, type Figures, httpLane, type Lane } from './load.ts';
import { printAttacks, printLists, printRows, printTiming, type Row } from './print.ts';
import { cleanUp, isEnding, prepare, profiled, requireRunning, type Stack, say, startEntry } from './stack.ts';
import { recordStatements } from './statements.ts';
import { MAX_LOGINS, measureTiming, type TimingRow } from './timing.ts';

/** Seconds per case that are not measured, in which code is compiled and connections are opened. */
const WARM_UP_SECONDS = 1;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    concurrency: { type: 'string' },
    only: { type: 'string' },
    lists: { type: 'boolean', default: false },
    sizes: { type: 'string', default: 'M,L' },
    repeat: { type: 'string', default: '1' },
    exact: { type: 'boolean', default: false },
    profile: { type: 'string' },
    timing: { type: 'boolean', default: false },
    logins: { type: 'string', default: '200' },
    attack: { type: 'boolean', default: false },
    megabits: { type: 'string', default: '40' },
    json: { type: 'boolean', default: false },
  },
});

/** @throws {Error} unless the text is a number above 0 and at most `max`. */
function readNumber(text: string, option: string, max: number): number {
  const value = Number(text);
  if (!(value > 0 && value <= max)) throw new Error(`--${option}: a number above 0 and up to ${max}, not ${text}`);
  return value;
}
const seconds = readNumber(values.seconds, 'seconds', 600);
const megabits = readNumber(values.megabits, 'megabits', 1000);
const logins = Math.ceil(readNumber(values.logins, 'logins', MAX_LOGINS));
const repeat = Math.ceil(readNumber(values.repeat, 'repeat', 100));
const concurrencies = (values.concurrency ?? (values.lists ? '32' : '1,16'))
  .split(',')
  .map((text) => Math.ceil(readNumber(text, 'concurrency', 256)));

/** Runs the callers, first without measuring. Errors of the warm-up count too. */
async function warmAndDrive(lanes: readonly Lane[]): Promise<Figures> {
  const warm = await drive(lanes, Math.min(WARM_UP_SECONDS, seconds));
  if (warm.errors.length > 0) return warm;
  return drive(lanes, seconds);
}

async function overHttp(url: string, concurrency: number, open: Case['open']): Promise<Figures> {
  const pool = new Pool(url, { connections: concurrency, pipelining: 1 });
  try {
    const exchanges = await Promise.all(Array.from({ length: concurrency }, open));
    return await warmAndDrive(exchanges.map((exchange) => httpLane(pool, exchange)));
  } finally {
    await pool.destroy();
  }
}

/** Requests to the bare server, sent in the same way as to the api. */
const bareExchange: Case['open'] = async () => ({
  next: () => ({ method: 'GET', path: '/', headers: {} }),
  check: (status, body) => expectAnswer(status === 200 && body.success === true, 'the bare server', status, body),
});

/** Password comparisons in this process, which has as many threads as the api. */
function overBcrypt(concurrency: number, hash: string): Promise<Figures> {
  const lane: Lane = async () => {
    const at = performance.now();
    if (!(await bcrypt.compare(PASSWORD, hash))) throw new Error('the password does not match its hash');
    return performance.now() - at;
  };
  return warmAndDrive(Array.from({ length: concurrency }, () => lane));
}

/** The cases that `--only` names. @throws {Error} for an unknown name. */
function chosen(cases: readonly Case[]): Case[] {
  if (values.only === undefined) return [...cases];
  const wanted = values.only.split(',').map((name) => name.trim());
  const unknown = wanted.find((name) => !cases.some((one) => one.name === name));
  if (unknown !== undefined) {
    throw new Error(`--only: no case is named "${unknown}"; there are ${cases.map(({ name }) => name).join(', ')}`);
  }
  return cases.filter(({ name }) => wanted.includes(name));
}

async function measure(stack: Stack): Promise<Row[]> {
  const cases = chosen(await createCases(stack));
  const statements = await recordStatements(stack.env, cases);
  const { url: apiUrl } = await startEntry('../../src/api/server.ts', profiled(stack.env, values.profile));
  const { url: bareUrl } = await startEntry('./bare-server.ts', {});
  const floors = {
    http: { what: 'node:http alone', run: (concurrency: number) => overHttp(bareUrl, concurrency, bareExchange) },
    bcrypt: { what: 'bcrypt.compare alone', run: (concurrency: number) => overBcrypt(concurrency, stack.filled.hash) },
  };
  const rows: Row[] = [];
  const add = (row: Row): void => {
    requireRunning();
    rows.push(row);
    say(`${row.what}, ${row.concurrency} at once: ${row.perSecond.toFixed(1)}/s`);
    const [first] = row.errors;
    if (first !== undefined) say(`  ${row.errors.length} error(s), the first: ${first}`);
  };
  for (const concurrency of concurrencies) {
    for (const kind of ['http', 'bcrypt'] as const) {
      const casesOfKind = cases.filter(({ floor }) => floor === kind);
      if (casesOfKind.length === 0) continue;
      const floor = await floors[kind].run(concurrency);
      add({ name: `floor-${kind}`, what: floors[kind].what, concurrency, ...floor });
      for (const { name, what, open } of casesOfKind) {
        const figures = await overHttp(apiUrl, concurrency, open);
        const ofFloor = figures.perSecond / floor.perSecond;
        add({
          name,
          what,
          concurrency,
          statements: statements.get(name)?.second.length ?? Number.NaN,
          ofFloor,
          ...figures,
        });
      }
    }
  }
  return rows;
}

async function timing(stack: Stack): Promise<TimingRow[]> {
  const { url } = await startEntry('../../src/api/server.ts', stack.env);
  const pool = new Pool(url, { connections: 1 });
  try {
    return await measureTiming(pool, logins);
  } finally {
    await pool.destroy();
  }
}

async function underAttack(stack: Stack): Promise<AttackRow[]> {
  const startApi = async () => {
    await stack.db.raw('delete from rate_limits');
    return startEntry('../../src/api/server.ts', stack.env);
  };
  return measureAttacks(startApi, await createCases(stack), { seconds, megabits });
}

/** The sizes of `--sizes`. @throws {Error} for an unknown one. */
function chosenSizes(): SizeName[] {
  return values.sizes.split(',').map((name) => {
    const size = (Object.keys(SIZES) as SizeName[]).find((one) => one === name.trim());
    if (size === undefined) throw new Error(`--sizes: M, L or both, not ${name}`);
    return size;
  });
}

/** Prints the rows as JSON or as a table. */
function output<R>(rows: readonly R[], print: (rows: readonly R[]) => void): readonly R[] {
  if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else print(rows);
  return rows;
}

async function main(): Promise<void> {
  say(`Node ${process.version}, ${availableParallelism()} processors`);
  if (values.timing) return void output(await timing(await prepare(SIZES.M)), printTiming);
  if (values.attack) return void output(await underAttack(await prepare(SIZES.M)), printAttacks);
  if (!values.lists) return fail(output(await measure(await prepare(SIZES.M)), printRows));
  const rows = await measureLists({
    sizes: chosenSizes(),
    only: values.only?.split(','),
    seconds,
    concurrency: concurrencies[0] ?? 32,
    repeat,
    exact: values.exact,
    profileInto: values.profile,
  });
  return fail(output(rows, printLists));
}

/** The exit code, when an answer was wrong. */
function fail(rows: readonly Figures[]): void {
  if (rows.some(({ errors, n }) => errors.length > 0 || n === 0)) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  // After a signal errors are expected, and they are not printed.
  if (!isEnding()) {
    say(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
} finally {
  await cleanUp();
}

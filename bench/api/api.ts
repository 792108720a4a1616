/**
 * `npm run bench:api`: measures the requests of the web site against the real api process over a database of size M.
 * The same run measures their floors: `node:http` alone, and for sign-ins a password comparison alone. It starts and
 * stops everything that it needs. Exit code 1: an answer was not the expected one.
 *
 * Options: `-- --seconds 5 --concurrency 1,16 --only login,refresh --json`, or instead `-- --timing --logins 200`, or
 * `-- --attack --megabits 40 --seconds 20`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import bcrypt from 'bcrypt';
import { Pool } from 'undici';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { startPostgres } from '../../src/embedded/postgres/postgres.ts';
import type { ReadyMessage } from '../../src/embedded/process-group.ts';
import { migrateLatest } from '../../src/store/db/migrations.ts';
import type { TestDb } from '../../test/support/database.ts';
import { openTestDb } from '../../test/support/database.ts';
import { type AttackRow, measureAttacks } from './attack.ts';
import { type Case, createCases } from './cases.ts';
import { type Filled, fillDatabase, PASSWORD } from './data.ts';
import { drive, expectAnswer, type Figures, httpLane, type Lane } from './load.ts';
import { countStatements } from './statements.ts';
import { MAX_LOGINS, measureTiming, type TimingRow } from './timing.ts';

/** Seconds per case that are not measured, in which code is compiled and connections are opened. */
const WARM_UP_SECONDS = 1;
/** Milliseconds between SIGTERM and SIGKILL. The api gives running requests 10 s. */
const END_MS = 15_000;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    concurrency: { type: 'string', default: '1,16' },
    only: { type: 'string' },
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
const concurrencies = values.concurrency.split(',').map((text) => Math.ceil(readNumber(text, 'concurrency', 256)));

interface Row extends Figures {
  name: string;
  what: string;
  concurrency: number;
  /** SQL statements per request. Missing for a floor. */
  statements?: number;
  /** `perSecond` divided by the floor's. Missing for a floor. */
  ofFloor?: number;
}

const folder = mkdtempSync(path.join(tmpdir(), 'nodebyte-bench-api-'));
chmodSync(folder, 0o711);
const say = (line: string) => process.stderr.write(`${line}\n`);
const cleanups: (() => Promise<unknown> | unknown)[] = [];
let cleaning: Promise<void> | undefined;
function cleanUp(): Promise<void> {
  cleaning ??= (async () => {
    for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) {
      try {
        await cleanup();
      } catch (error) {
        say(String(error));
      }
    }
    rmSync(folder, { recursive: true, force: true });
  })();
  return cleaning;
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void cleanUp().finally(() => process.exit(130)));
}
// PostgreSQL would not end with this process.
process.once('uncaughtException', (error) => {
  say(error.stack ?? String(error));
  void cleanUp().finally(() => process.exit(1));
});

/** Starts an entry that sends its URL over IPC. It gets `env` only, not the environment of this process. */
async function startEntry(
  file: string,
  env: Record<string, string>,
): Promise<{ url: string; stop: () => Promise<void> }> {
  const child = spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url))], {
    env,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const stop = () => endChild(child);
  cleanups.push(stop);
  const url = await new Promise<string>((resolve, reject) => {
    child.once('message', (message) => resolve((message as ReadyMessage).url ?? ''));
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${file} ended with ${code} before it was ready`)));
  });
  return { url, stop };
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), END_MS);
  await ended;
  clearTimeout(late);
}

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

interface Stack {
  env: Record<string, string>;
  db: TestDb;
  filled: Filled;
  cases: Case[];
}

/** A filled database, the environment of the api, and the cases. */
async function prepare(): Promise<Stack> {
  const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
  const postgres = await startPostgres({ dataDir: path.join(folder, 'postgres'), cacheDir, log: say });
  cleanups.push(() => postgres.stop());
  const jwtSecret = randomBytes(32).toString('hex');
  const env = {
    ENV: 'production',
    BACKEND_HOST: '127.0.0.1',
    BACKEND_PORT: '0',
    DATABASE_URL: postgres.url,
    // Nothing listens on port 1, and the system never assigns it. The measured requests do not need Temporal.
    TEMPORAL_ADDRESS: '127.0.0.1:1',
    JWT_SECRET: jwtSecret,
    BACKEND_API_KEY: randomBytes(32).toString('hex'),
    ENCRYPTION_KEY: randomBytes(32).toString('hex'),
    TRUSTED_PROXY_HOPS: '1',
  };
  const db = openTestDb({ connectionString: postgres.url, applicationName: 'bench', max: 4 });
  cleanups.push(() => db.destroy());
  await migrateLatest(db, {});
  const filled = await fillDatabase(db);
  say('the database is filled');
  return { env, db, filled, cases: await createCases(db, filled, jwtSecret) };
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
  const cases = chosen(stack.cases);
  const statements = await countStatements(stack.env, cases);
  const { url: apiUrl } = await startEntry('../../src/api/server.ts', stack.env);
  const { url: bareUrl } = await startEntry('./bare-server.ts', {});
  const floors = {
    http: { what: 'node:http alone', run: (concurrency: number) => overHttp(bareUrl, concurrency, bareExchange) },
    bcrypt: { what: 'bcrypt.compare alone', run: (concurrency: number) => overBcrypt(concurrency, stack.filled.hash) },
  };
  const rows: Row[] = [];
  const add = (row: Row): void => {
    if (cleaning !== undefined) throw new Error('interrupted');
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
        add({ name, what, concurrency, statements: statements.get(name) ?? Number.NaN, ofFloor, ...figures });
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
  return measureAttacks(startApi, stack.cases, { seconds, megabits });
}

/** Prints a table: the first column is aligned to the left, the others to the right. */
function print(head: readonly string[], lines: readonly (readonly string[])[]): void {
  const all = [head, ...lines];
  const widths = head.map((_, i) => Math.max(...all.map((cells) => cells[i]?.length ?? 0)));
  const pad = (cell: string, i: number) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0));
  for (const cells of all) process.stdout.write(`${cells.map(pad).join('  ')}\n`);
}

const ms = (value: number): string => value.toFixed(value < 10 ? 2 : 1);

function printRows(rows: readonly Row[]): void {
  print(
    ['name', 'at once', 'n', 'req/s', 'p50 ms', 'p99 ms', 'max ms', 'errors', 'statements', 'of floor'],
    rows.map((r) => [
      r.name,
      String(r.concurrency),
      String(r.n),
      r.perSecond.toFixed(1),
      ms(r.p50),
      ms(r.p99),
      ms(r.max),
      String(r.errors.length),
      r.statements === undefined ? '-' : String(r.statements),
      r.ofFloor === undefined ? '-' : `${(r.ofFloor * 100).toFixed(1)} %`,
    ]),
  );
}

function printTiming(rows: readonly TimingRow[]): void {
  print(
    ['account', 'n', 'mean ms', 'p50 ms', 'p90 ms', 'p99 ms', 'median above the first'],
    rows.map((r) => [
      r.kind,
      String(r.n),
      r.mean.toFixed(2),
      r.p50.toFixed(2),
      r.p90.toFixed(2),
      r.p99.toFixed(2),
      `${r.above >= 0 ? '+' : ''}${r.above.toFixed(2)} ms`,
    ]),
  );
}

function printAttacks(rows: readonly AttackRow[]): void {
  print(
    ['attack', 'request', 'n', 'p50 ms', 'p99 ms', 'max ms', 'refused'],
    rows.map((r) => [r.attack, r.name, String(r.n), ms(r.p50), ms(r.p99), ms(r.max), String(r.refused)]),
  );
}

try {
  say(`Node ${process.version}, ${availableParallelism()} processors`);
  const stack = await prepare();
  if (values.timing) {
    const rows = await timing(stack);
    if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    else printTiming(rows);
  } else if (values.attack) {
    const rows = await underAttack(stack);
    if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    else printAttacks(rows);
  } else {
    const rows = await measure(stack);
    if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    else printRows(rows);
    if (rows.some(({ errors, n }) => errors.length > 0 || n === 0)) process.exitCode = 1;
  }
} catch (error) {
  // After a signal errors are expected, and they are not printed.
  if (cleaning === undefined) {
    say(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
} finally {
  await cleanUp();
}

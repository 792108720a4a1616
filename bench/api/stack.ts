/** What a measurement runs on: a folder, a database, processes of their own, and an end that stops all of them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { startPostgres } from '../../src/embedded/postgres/postgres.ts';
import type { ReadyMessage } from '../../src/embedded/process-group.ts';
import { migrateLatest } from '../../src/store/db/migrations.ts';
import type { TestDb } from '../../test/support/database.ts';
import { openTestDb } from '../../test/support/database.ts';
import { type Filled, fillDatabase, type Size } from './data.ts';

/** Milliseconds between SIGTERM and SIGKILL. The api gives running requests 10 s. */
const END_MS = 15_000;

/** Prints a line about the progress. */
export const say = (line: string) => process.stderr.write(`${line}\n`);

export const folder = mkdtempSync(path.join(tmpdir(), 'nodebyte-bench-api-'));
chmodSync(folder, 0o711);
const cleanups: (() => Promise<unknown> | unknown)[] = [];
let cleaning: Promise<void> | undefined;

/** Stops everything that was started and removes the folder. Idempotent. */
export function cleanUp(): Promise<void> {
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

/** Whether the end has begun: then errors are expected. */
export const isEnding = (): boolean => cleaning !== undefined;

/** @throws {Error} when the end has begun. */
export function requireRunning(): void {
  if (isEnding()) throw new Error('interrupted');
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void cleanUp().finally(() => process.exit(130)));
}
// PostgreSQL would not end with this process.
process.once('uncaughtException', (error) => {
  say(error.stack ?? String(error));
  void cleanUp().finally(() => process.exit(1));
});

export interface Entry {
  url: string;
  pid: number;
  stop(): Promise<void>;
}

/** Starts an entry that sends its URL over IPC. It gets `env` only, not the environment of this process. */
export async function startEntry(file: string, env: Record<string, string>): Promise<Entry> {
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
  return { url, pid: child.pid ?? 0, stop };
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), END_MS);
  await ended;
  clearTimeout(late);
}

export interface Stack {
  /** Environment of the measured api. */
  env: Record<string, string>;
  jwtSecret: string;
  db: TestDb;
  filled: Filled;
}

let databaseUrl: Promise<URL> | undefined;
async function startDatabase(): Promise<URL> {
  const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
  const postgres = await startPostgres({ dataDir: path.join(folder, 'postgres'), cacheDir, log: say });
  cleanups.push(() => postgres.stop());
  return new URL(postgres.url);
}

/** A migrated and filled database of its own on the one server of this run, and the environment of an api on it. */
export async function prepare(size: Size): Promise<Stack> {
  databaseUrl ??= startDatabase();
  const url = new URL(await databaseUrl);
  const server = openTestDb({ connectionString: url.href, applicationName: 'bench', max: 1 });
  url.pathname = `/bench_${randomBytes(4).toString('hex')}`;
  await server.raw(`create database ${url.pathname.slice(1)} encoding 'UTF8' template template0`);
  await server.destroy();
  const jwtSecret = randomBytes(32).toString('hex');
  const env = {
    ENV: 'production',
    BACKEND_HOST: '127.0.0.1',
    BACKEND_PORT: '0',
    DATABASE_URL: url.href,
    // Nothing listens on port 1, and the system never assigns it. The measured requests do not need Temporal.
    TEMPORAL_ADDRESS: '127.0.0.1:1',
    JWT_SECRET: jwtSecret,
    BACKEND_API_KEY: randomBytes(32).toString('hex'),
    ENCRYPTION_KEY: randomBytes(32).toString('hex'),
    TRUSTED_PROXY_HOPS: '1',
  };
  const db = openTestDb({ connectionString: url.href, applicationName: 'bench', max: 4 });
  cleanups.push(() => db.destroy());
  await migrateLatest(db, {});
  const filled = await fillDatabase(db, size);
  say(`the database is filled: ${size.users} users, ${size.servers} servers, ${size.allocations} allocations`);
  return { env, jwtSecret, db, filled };
}

/** The environment of an api that writes a CPU profile into the folder when it ends. */
export const profiled = (env: Record<string, string>, into: string | undefined): Record<string, string> =>
  into === undefined ? env : { ...env, NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${path.resolve(into)}` };

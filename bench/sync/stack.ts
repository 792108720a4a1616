/**
 * What a measurement of the sync runs on: a folder, PostgreSQL with its defaults, a Temporal dev server on a file, the
 * simulated panel and one worker, each in a process of its own; and an end that stops all of them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import pino from 'pino';
import { loadConfig } from '../../src/config.ts';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { startPostgres } from '../../src/embedded/postgres/postgres.ts';
import { type ReadyMessage, WORKER_ENV, WORKER_NODE_FLAGS } from '../../src/embedded/process-group.ts';
import { startTemporal } from '../../src/embedded/temporal/temporal.ts';
import { createSyncLauncher } from '../../src/services/sync/launcher.ts';
import { createDb, type Database } from '../../src/store/db/db.ts';
import { createListener } from '../../src/store/db/listener.ts';
import { migrateLatest } from '../../src/store/db/migrations.ts';
import { getSyncLog, type SyncLog } from '../../src/store/sync/log-store.ts';
import { createTemporalGateway, type TemporalGateway } from '../../src/temporal/connection.ts';
import { PANEL_SYNC_ID } from '../../src/workflows/contract.ts';
import { sizeOf } from './sizes.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'nodebyte-bench-'));
chmodSync(folder, 0o711);
const cleanups: (() => Promise<unknown> | unknown)[] = [];

/** Prints a line about the progress. */
export const say = (line: string) => process.stderr.write(`${line}\n`);

/** Stops everything that was started and removes the folder. */
export async function cleanUp(): Promise<void> {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  rmSync(folder, { recursive: true, force: true });
}

export interface Services {
  temporalAddress: string;
  /** Creates a migrated database. @returns its connection string. */
  createDatabase(name: string): Promise<string>;
  dropDatabase(name: string): Promise<void>;
}

export async function startServices(): Promise<Services> {
  const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
  const postgres = await startPostgres({ dataDir: path.join(folder, 'postgres'), cacheDir, log: say });
  cleanups.push(() => postgres.stop());
  const temporal = await startTemporal({ dataDir: path.join(folder, 'temporal'), cacheDir, headless: true, log: say });
  cleanups.push(() => temporal.stop());
  const urlOf = (name: string) => {
    const url = new URL(postgres.url);
    url.pathname = `/${name}`;
    return url.toString();
  };
  const admin = new pg.Client({ connectionString: urlOf('postgres') });
  await admin.connect();
  cleanups.push(() => admin.end());
  await admin.query('create database bench_template');
  const template = createDb({ connectionString: urlOf('bench_template'), applicationName: 'bench' });
  await migrateLatest(template, {});
  await template.destroy();
  return {
    temporalAddress: temporal.address,
    async createDatabase(name) {
      await admin.query(`create database ${name} template bench_template`);
      return urlOf(name);
    },
    async dropDatabase(name) {
      await admin.query(`drop database ${name} with (force)`);
    },
  };
}

export interface Panel {
  url: string;
  key: string;
  /** Forgets the requests that were answered. */
  clearRequests(): Promise<void>;
  /** The requests that were answered since then. */
  requests(): Promise<{ status: number }[]>;
  stop(): void;
}

/** Starts the simulated panel. @param limit requests per minute that it admits; 0: any number. */
export async function startPanel(size: string, latencyMs: number, limit: number): Promise<Panel> {
  const options = { latency: latencyMs, limit, ...sizeOf(size) };
  const simulator = spawn(
    process.execPath,
    // A panel of size 10L takes 2 GB.
    [
      '--max-old-space-size=8192',
      'simulators/panel/main.ts',
      ...Object.entries(options).flatMap(([k, v]) => [`--${k}`, String(v)]),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  cleanups.push(() => simulator.kill('SIGKILL'));
  const { url, keys } = await firstLine<{ url: string; keys: { full: string } }>(simulator);
  return {
    url,
    key: keys.full,
    async clearRequests() {
      await fetch(`${url}/__sim/requests`, { method: 'DELETE' });
    },
    async requests() {
      const answer = (await (await fetch(`${url}/__sim/requests`)).json()) as
        | { status: number }[]
        | { requests: { status: number }[] };
      return Array.isArray(answer) ? answer : answer.requests;
    },
    stop: () => simulator.kill('SIGKILL'),
  };
}

/** The first line that a child prints, which is JSON. */
async function firstLine<T>(child: ChildProcess): Promise<T> {
  if (child.stdout === null) throw new Error('no output');
  for await (const line of createInterface({ input: child.stdout })) return JSON.parse(line) as T;
  throw new Error('the process ended before it was ready');
}

export interface Installation {
  db: Database;
  gateway: TemporalGateway;
  /** Starts the worker as `npm run start:worker` does; resolves when it polls. */
  startWorker(): Promise<WorkerProcess>;
  /** Starts an api. @returns its URL. */
  startApi(): Promise<string>;
  /** Runs a full sync. @throws {Error} unless it ends as COMPLETED. */
  runSync(options?: { dryRun: boolean }): Promise<SyncLog>;
  /**
   * Waits for the end of the run in Temporal, shortly after that of its row. A worker that stops in between leaves the last task
   * to the next worker, and until that one gets it, no other run can start.
   */
  runEnded(): Promise<void>;
  close(): Promise<void>;
}

/** The product on a database, with a panel. */
export function installationOn(databaseUrl: string, services: Services, panel: Panel): Installation {
  const db = createDb({ connectionString: databaseUrl, applicationName: 'bench', max: 2, statementTimeoutMs: 600_000 });
  const gateway = createTemporalGateway({ ...loadConfig({}).temporal, address: services.temporalAddress });
  // Looking again and again would take time from what is measured.
  const listener = createListener({ connectionString: databaseUrl, log: pino({ level: 'silent' }) });
  const launcher = createSyncLauncher({ db, temporal: gateway, log: pino({ level: 'silent' }) });
  const env = {
    DATABASE_URL: databaseUrl,
    TEMPORAL_ADDRESS: services.temporalAddress,
    PTERODACTYL_URL: panel.url,
    PTERODACTYL_API_KEY: panel.key,
    LOG_LEVEL: 'error',
  };
  return {
    db,
    gateway,
    startWorker: () => startWorker(env),
    startApi: () => startApi(env),
    async runSync({ dryRun } = { dryRun: false }) {
      let wake = () => {};
      const stop = listener.on('sync_log', () => wake());
      const { syncLogId } = await launcher.requestSync({ target: 'full', requestedBy: 'bench', dryRun });
      let log: SyncLog | undefined;
      for (;;) {
        const changed = new Promise<void>((resolve) => {
          wake = resolve;
        });
        log = await getSyncLog(db, syncLogId);
        if (log !== undefined && log.status !== 'PENDING' && log.status !== 'RUNNING') break;
        await Promise.race([changed, delay(500)]);
      }
      stop();
      if (log.status !== 'COMPLETED') throw new Error(`the sync ended as ${log.status}: ${log.error ?? ''}`);
      return log;
    },
    async runEnded() {
      await gateway.client.workflow.getHandle(PANEL_SYNC_ID).result();
    },
    async close() {
      await listener.close();
      await gateway.close();
      await db.destroy();
    },
  };
}

export interface WorkerProcess {
  /** Starts to measure the peak of its resident memory again (Linux, proc(5)). */
  resetPeak(): void;
  peakMiB(): number;
  stop(): Promise<void>;
}

/** Starts a process of the product. `message` is what it sends when it is ready. */
async function startEntry(entry: string, nodeFlags: readonly string[], env: Record<string, string>) {
  const child = spawn(process.execPath, [...nodeFlags, entry], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  cleanups.push(() => child.kill('SIGKILL'));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const message = await Promise.race([
    new Promise<ReadyMessage>((resolve) => child.once('message', (sent) => resolve(sent as ReadyMessage))),
    ended.then((code) => Promise.reject(new Error(`${entry} ended with ${code} before it was ready`))),
  ]);
  return { child, ended, message };
}

async function startApi(env: Record<string, string>): Promise<string> {
  const { message } = await startEntry('src/api/server.ts', [], {
    ...env,
    ENV: 'production',
    BACKEND_HOST: '127.0.0.1',
    BACKEND_PORT: '0',
    JWT_SECRET: randomBytes(32).toString('hex'),
    BACKEND_API_KEY: randomBytes(32).toString('hex'),
    ENCRYPTION_KEY: randomBytes(32).toString('hex'),
    // Callers have changing addresses, so that no limit refuses them.
    TRUSTED_PROXY_HOPS: '1',
  });
  return message.url ?? '';
}

async function startWorker(env: Record<string, string>): Promise<WorkerProcess> {
  const { child, ended } = await startEntry('src/worker.ts', WORKER_NODE_FLAGS, { ...WORKER_ENV, ...env });
  return {
    resetPeak: () => writeFileSync(`/proc/${child.pid}/clear_refs`, '5'),
    peakMiB: () =>
      Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? 0) / 1024),
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

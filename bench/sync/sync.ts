/**
 * `npm run bench`: measures full syncs of three sizes, with and without latency, and the floor (bench/sync/floor.ts) on
 * the same machine in the same run. It starts and stops everything that it needs.
 *
 * Options: `-- --sizes S,M,L --latencies 0,20 --repeat 3 --throttled --json`. Several repetitions give their medians.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import pg from 'pg';
import pino from 'pino';
import { loadConfig } from '../../src/config.ts';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { startPostgres } from '../../src/embedded/postgres/postgres.ts';
import { WORKER_ENV, WORKER_NODE_FLAGS } from '../../src/embedded/process-group.ts';
import { startTemporal } from '../../src/embedded/temporal/temporal.ts';
import { createSyncLauncher } from '../../src/services/sync/launcher.ts';
import { createDb } from '../../src/store/db/db.ts';
import { migrateLatest } from '../../src/store/db/migrations.ts';
import { getSyncLog } from '../../src/store/sync/log-store.ts';
import { createTemporalGateway } from '../../src/temporal/connection.ts';

const SIZES: Record<string, Record<string, number>> = {
  S: {
    locations: 2,
    nodes: 5,
    allocations: 1_000,
    nests: 3,
    eggs: 15,
    users: 500,
    servers: 500,
    databases: 200,
    subusers: 300,
  },
  M: {
    locations: 3,
    nodes: 20,
    allocations: 10_000,
    nests: 5,
    eggs: 40,
    users: 5_000,
    servers: 5_000,
    databases: 2_000,
    subusers: 3_000,
  },
  L: {
    locations: 5,
    nodes: 100,
    allocations: 100_000,
    nests: 8,
    eggs: 80,
    users: 50_000,
    servers: 20_000,
    databases: 8_000,
    subusers: 12_000,
  },
};

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: 'S,M,L' },
    latencies: { type: 'string', default: '0,20' },
    repeat: { type: 'string', default: '1' },
    throttled: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

interface Row {
  size: string;
  latencyMs: number;
  what: string;
  seconds: number;
  requests: number;
  rows: number;
  peakRssMiB: number;
  floorSeconds: number;
  ratio: number;
  throttled: number;
}

const folder = mkdtempSync(path.join(tmpdir(), 'nodebyte-bench-'));
chmodSync(folder, 0o711);
const say = (line: string) => process.stderr.write(`${line}\n`);
const cleanups: (() => Promise<unknown> | unknown)[] = [];

/** The first line that a child prints, which is JSON. */
async function started<T>(child: ChildProcess): Promise<T> {
  if (child.stdout === null) throw new Error('no output');
  for await (const line of createInterface({ input: child.stdout })) return JSON.parse(line) as T;
  throw new Error('the process ended before it was ready');
}

function workerProcess(env: Record<string, string>): { child: ChildProcess; ready: Promise<void> } {
  const child = spawn(process.execPath, [...WORKER_NODE_FLAGS, 'src/worker.ts'], {
    env: { ...process.env, ...WORKER_ENV, ...env },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  return { child, ready: new Promise((resolve) => child.on('message', () => resolve())) };
}

/** Resets the peak of a process's resident memory (Linux, proc(5)). */
const resetPeak = (processId: number) => writeFileSync(`/proc/${processId}/clear_refs`, '5');
const peakMiB = (processId: number) =>
  Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${processId}/status`, 'utf8'))?.[1] ?? 0) / 1024);

async function measure(): Promise<Row[]> {
  const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
  const postgres = await startPostgres({ dataDir: path.join(folder, 'postgres'), cacheDir, log: say });
  cleanups.push(() => postgres.stop());
  const temporal = await startTemporal({ dataDir: path.join(folder, 'temporal'), cacheDir, headless: true, log: say });
  cleanups.push(() => temporal.stop());
  const database = (name: string) => {
    const url = new URL(postgres.url);
    url.pathname = `/${name}`;
    return url.toString();
  };
  const admin = new pg.Client({ connectionString: database('postgres') });
  await admin.connect();
  cleanups.push(() => admin.end());
  await admin.query('create database bench_template');
  const template = createDb({ connectionString: database('bench_template'), applicationName: 'bench' });
  await migrateLatest(template, {});
  await template.destroy();

  const rows: Row[] = [];
  for (const size of values.sizes.split(',')) {
    const sizes = SIZES[size];
    if (sizes === undefined) throw new Error(`unknown size ${size}`);
    const limits = values.throttled ? [240] : values.latencies.split(',').map(() => 0);
    for (const [index, latency] of values.latencies.split(',').map(Number).entries()) {
      if (values.throttled && index > 0) continue;
      const latencyMs = values.throttled ? 0 : latency;
      for (let repetition = 1; repetition <= Number(values.repeat); repetition += 1) {
        const names = {
          ours: `bench_${size}_${latencyMs}_${repetition}_ours`.toLowerCase(),
          floor: `bench_${size}_${latencyMs}_${repetition}_floor`.toLowerCase(),
        };
        for (const name of Object.values(names)) await admin.query(`create database ${name} template bench_template`);
        const simulator = spawn(
          process.execPath,
          [
            'simulators/panel/main.ts',
            '--latency',
            String(latencyMs),
            '--limit',
            String(limits[index] ?? 0),
            ...Object.entries(sizes).flatMap(([k, v]) => [`--${k}`, String(v)]),
          ],
          { stdio: ['ignore', 'pipe', 'inherit'] },
        );
        cleanups.push(() => simulator.kill('SIGKILL'));
        const panel = await started<{ url: string; keys: { full: string } }>(simulator);
        // The simulator has cached every page before the first measurement, so both programs meet the same panel.
        const floor = async () => {
          const { stdout } = await promisify(execFile)(process.execPath, [
            'bench/sync/floor.ts',
            database(names.floor),
            panel.url,
            panel.keys.full,
          ]);
          return JSON.parse(stdout) as { seconds: number; requests: number; rows: number };
        };
        if (!values.throttled) {
          await admin.query(`create database bench_warm template bench_template`);
          await promisify(execFile)(process.execPath, [
            'bench/sync/floor.ts',
            database('bench_warm'),
            panel.url,
            panel.keys.full,
          ]);
          await admin.query('drop database bench_warm');
        }
        const worker = workerProcess({
          DATABASE_URL: database(names.ours),
          TEMPORAL_ADDRESS: temporal.address,
          PTERODACTYL_URL: panel.url,
          PTERODACTYL_API_KEY: panel.keys.full,
          LOG_LEVEL: 'error',
        });
        cleanups.push(() => worker.child.kill('SIGKILL'));
        await worker.ready;
        const db = createDb({ connectionString: database(names.ours), applicationName: 'bench', max: 2 });
        const gateway = createTemporalGateway({ ...loadConfig({}).temporal, address: temporal.address });
        const launcher = createSyncLauncher({ db, temporal: gateway, log: pino({ level: 'silent' }) });
        const workerPid = worker.child.pid ?? 0;
        const runSync = async (dryRun: boolean) => {
          const { syncLogId } = await launcher.requestSync({ target: 'full', requestedBy: 'bench', dryRun });
          let log = await getSyncLog(db, syncLogId);
          while (log === undefined || log.status === 'PENDING' || log.status === 'RUNNING') {
            await delay(10);
            log = await getSyncLog(db, syncLogId);
          }
          if (log.status !== 'COMPLETED') throw new Error(`the sync ended as ${log.status}: ${log.error ?? ''}`);
          return log;
        };
        // A preview warms up the worker: it reads and plans everything and writes nothing.
        if (!values.throttled) await runSync(true);
        for (const what of ['first', 'unchanged']) {
          const base = values.throttled ? { seconds: Number.NaN, requests: 0, rows: 0 } : await floor();
          await fetch(`${panel.url}/__sim/requests`, { method: 'DELETE' });
          resetPeak(workerPid);
          const at = performance.now();
          const log = await runSync(false);
          const seconds = (performance.now() - at) / 1_000;
          const answered = (await (await fetch(`${panel.url}/__sim/requests`)).json()) as
            | { status: number }[]
            | { requests: { status: number }[] };
          const requests = Array.isArray(answered) ? answered : answered.requests;
          rows.push({
            size,
            latencyMs,
            what: values.throttled ? `${what}, 240/min` : what,
            seconds,
            requests: requests.length,
            rows: log.itemsSynced,
            peakRssMiB: peakMiB(workerPid),
            floorSeconds: base.seconds,
            ratio: seconds / base.seconds,
            throttled: requests.filter((r) => r.status === 429).length,
          });
          say(
            `${size} ${latencyMs} ms ${what}: ${seconds.toFixed(2)} s (floor ${base.seconds.toFixed(2)} s), peak ${peakMiB(workerPid)} MiB`,
          );
        }
        const ended = new Promise((resolve) => worker.child.once('exit', resolve));
        worker.child.kill('SIGTERM');
        await ended;
        await gateway.close();
        await db.destroy();
        simulator.kill('SIGKILL');
        for (const name of Object.values(names)) await admin.query(`drop database ${name} with (force)`);
      }
    }
  }
  return medians(rows);
}

const median = (numbers: number[]): number => {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = Number.NaN, high = Number.NaN] = [sorted[middle - (sorted.length % 2 === 0 ? 1 : 0)], sorted[middle]];
  return (low + high) / 2;
};

/** One row for all repetitions of a run: medians, the highest memory peak, the sum of the 429 answers. */
function medians(rows: Row[]): Row[] {
  const groups = Map.groupBy(rows, (r) => `${r.size} ${r.latencyMs} ${r.what}`);
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const of = (read: (row: Row) => number) => median(group.map(read));
    return {
      ...first,
      seconds: of((r) => r.seconds),
      floorSeconds: of((r) => r.floorSeconds),
      ratio: of((r) => r.ratio),
      requests: of((r) => r.requests),
      peakRssMiB: Math.max(...group.map((r) => r.peakRssMiB)),
      throttled: group.reduce((n, r) => n + r.throttled, 0),
    };
  });
}

try {
  const rows = await measure();
  if (values.json) {
    process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  } else {
    const cells = (r: Row) => [
      r.size,
      `${r.latencyMs} ms`,
      r.what,
      r.seconds.toFixed(2),
      Number.isNaN(r.floorSeconds) ? '-' : r.floorSeconds.toFixed(2),
      Number.isNaN(r.ratio) ? '-' : r.ratio.toFixed(2),
      String(r.requests),
      String(r.throttled),
      String(r.rows),
      `${r.peakRssMiB} MiB`,
    ];
    const all = [
      ['size', 'latency', 'run', 'seconds', 'floor', 'ratio', 'requests', '429s', 'rows', 'peak RSS'],
      ...rows.map(cells),
    ];
    const widths = all[0]?.map((_, i) => Math.max(...all.map((c) => c[i]?.length ?? 0))) ?? [];
    for (const line of all)
      process.stdout.write(`${line.map((cell, i) => cell.padStart(widths[i] ?? 0)).join('  ')}\n`);
  }
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup();
  rmSync(folder, { recursive: true, force: true });
}

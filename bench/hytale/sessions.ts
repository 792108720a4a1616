/**
 * `npm run bench:hytale`: many game sessions at once, each renewed when it is due, and how late that happens. It starts and
 * stops everything that it needs: PostgreSQL, Temporal, one worker or several, and a simulated Hytale.
 *
 * Options: `-- --sessions 10000 --life 1200 --minutes 30 --workers 1 --kill 0 --pause 5 --json`. `--life`: seconds for which a
 * pair is good; it is renewed five minutes before its end. `--kill 900`: after so many seconds, one worker is killed (kill -9);
 * `--pause` seconds later another one is started.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { startHytaleSimulator } from '../../simulators/hytale/simulator.ts';
import { Secret } from '../../src/domain/secret.ts';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { startPostgres } from '../../src/embedded/postgres/postgres.ts';
import { WORKER_ENV, WORKER_NODE_FLAGS } from '../../src/embedded/process-group.ts';
import { startTemporal } from '../../src/embedded/temporal/temporal.ts';
import { createDb } from '../../src/store/db/db.ts';
import { createEncryption } from '../../src/store/db/encryption.ts';
import { migrateLatest } from '../../src/store/db/migrations.ts';
import { beginTimes, lateness, recordRenewals } from './lateness.ts';
import { createMeter } from './meter.ts';
import { seedSessions } from './seed.ts';

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '10000' },
    life: { type: 'string', default: '1200' },
    minutes: { type: 'string', default: '30' },
    workers: { type: 'string', default: '1' },
    kill: { type: 'string', default: '0' },
    pause: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
});
const SESSIONS = Number(values.sessions);
const LIFE_SECONDS = Number(values.life);
const KILL_AFTER_SECONDS = Number(values.kill);
/** Sessions of one account, as many as Hytale allows by default. */
const PER_ACCOUNT = 100;

const folder = mkdtempSync(path.join(tmpdir(), 'nodebyte-bench-'));
chmodSync(folder, 0o711);
const say = (line: string) => process.stderr.write(`${line}\n`);
const cleanups: (() => Promise<unknown> | unknown)[] = [];

async function startWorker(env: Record<string, string>): Promise<ChildProcess> {
  const child = spawn(process.execPath, [...WORKER_NODE_FLAGS, 'src/worker.ts'], {
    env: { ...process.env, ...WORKER_ENV, ...env },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  cleanups.push(() => child.kill('SIGKILL'));
  await new Promise((resolve) => child.once('message', resolve));
  return child;
}

const pidOf = (child: ChildProcess): number => child.pid ?? 0;

async function measure() {
  const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
  const postgres = await startPostgres({ dataDir: path.join(folder, 'postgres'), cacheDir, log: say });
  cleanups.push(() => postgres.stop());
  const temporal = await startTemporal({ dataDir: path.join(folder, 'temporal'), cacheDir, headless: true, log: say });
  cleanups.push(() => temporal.stop());
  const hytale = await startHytaleSimulator({ lives: { session: LIFE_SECONDS }, sessionLimit: PER_ACCOUNT });
  cleanups.push(() => hytale.close());
  const db = createDb({ connectionString: postgres.url, applicationName: 'bench', max: 4 });
  cleanups.push(() => db.destroy());
  await migrateLatest(db, {});
  await recordRenewals(db);

  const key = randomBytes(32).toString('base64');
  say(`adds ${SESSIONS} sessions …`);
  const seed = { sessions: SESSIONS, perAccount: PER_ACCOUNT, lifeSeconds: LIFE_SECONDS };
  await seedSessions(db, createEncryption({ key: new Secret(key) }), hytale, seed);
  const start = () =>
    startWorker({
      DATABASE_URL: postgres.url,
      TEMPORAL_ADDRESS: temporal.address,
      ENCRYPTION_KEY: key,
      HYTALE_OAUTH_BASE_URL: hytale.hosts.oauth,
      HYTALE_ACCOUNT_DATA_BASE_URL: hytale.hosts.accountData,
      HYTALE_SESSIONS_BASE_URL: hytale.hosts.sessions,
      HYTALE_ISSUER: hytale.issuer,
      LOG_LEVEL: 'error',
    });
  const workers = await Promise.all(Array.from({ length: Number(values.workers) }, start));

  const connection = await Connection.connect({ address: temporal.address });
  cleanups.push(() => connection.close());
  const client = new Client({ connection });
  const startedAt = performance.now();
  const running = async () => (await client.workflow.count(`WorkflowType = 'hytaleSession'`)).count;
  while ((await running()) < SESSIONS) await delay(1_000);
  const startSeconds = (performance.now() - startedAt) / 1_000;
  say(`all workflows run after ${startSeconds.toFixed(0)} s`);

  await beginTimes(db);
  const meter = createMeter({ workers: workers.map(pidOf), temporal: temporal.pid, postgres: postgres.pid });
  const until = performance.now() + Number(values.minutes) * 60_000;
  let killAt = KILL_AFTER_SECONDS > 0 ? performance.now() + KILL_AFTER_SECONDS * 1_000 : Number.POSITIVE_INFINITY;
  let killed = 0;
  for (let seconds = 0; performance.now() < until; seconds += 1) {
    if (performance.now() >= killAt) {
      workers[0]?.kill('SIGKILL');
      killed += 1;
      killAt = Number.POSITIVE_INFINITY;
      await delay(Number(values.pause) * 1_000);
      const next = await start();
      meter.replaceWorker(pidOf(workers[0] as ChildProcess), pidOf(next));
    }
    meter.sample();
    if (seconds % 60 === 0) say(`${seconds} s: ${JSON.stringify(await lateness(db))}`);
    await delay(1_000);
  }
  const refreshes = hytale.requests('session-refresh');
  return {
    sessions: SESSIONS,
    lifeSeconds: LIFE_SECONDS,
    minutes: Number(values.minutes),
    workers: Number(values.workers),
    killed,
    startSeconds,
    ...(await lateness(db)),
    refused: refreshes.filter(({ status }) => status >= 400).length,
    created: hytale.requests('session-new').length,
    ...meter.figures(),
  };
}

try {
  const result = await measure();
  if (values.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  else for (const [name, value] of Object.entries(result)) process.stdout.write(`${name}: ${JSON.stringify(value)}\n`);
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup();
  rmSync(folder, { recursive: true, force: true });
}

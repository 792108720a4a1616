/**
 * `npm run bench:webhooks`: delivers many events to many webhooks, each in a channel of its own, within the limits that
 * Discord documents, and compares the time with the least that these limits allow. It starts and stops everything that it
 * needs: PostgreSQL, Temporal, one worker, and the simulated Discord with its real limits and windows.
 *
 * Options: `-- --events 1000 --webhooks 20 --latency 50 --kill 0 --json`. The default takes about 35 minutes: a channel takes
 * 30 messages a minute. With `--kill 7` two workers run, and every 7 seconds one of them is killed (kill -9) and another one
 * started.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { DiscordSimulator } from '../../simulators/discord/contract.ts';
import { startDiscordSimulator } from '../../simulators/discord/simulator.ts';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { startPostgres } from '../../src/embedded/postgres/postgres.ts';
import { WORKER_ENV, WORKER_NODE_FLAGS } from '../../src/embedded/process-group.ts';
import { startTemporal } from '../../src/embedded/temporal/temporal.ts';
import { createDb, type Database } from '../../src/store/db/db.ts';
import { migrateLatest } from '../../src/store/db/migrations.ts';
import { execute, query } from '../../src/store/db/query.ts';
import { queueDeliveries } from '../../src/store/webhooks/delivery-store.ts';

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '1000' },
    webhooks: { type: 'string', default: '20' },
    latency: { type: 'string', default: '50' },
    kill: { type: 'string', default: '0' },
    json: { type: 'boolean', default: false },
  },
});
const EVENTS = Number(values.events);
const WEBHOOKS = Number(values.webhooks);

/** A channel takes 30 messages in 60 s, a webhook 5 in 2 s (simulators/discord/limits.ts has the sources). */
function leastSeconds(): number {
  const channel = Math.max(Math.ceil(EVENTS / 30) - 1, 0) * 60;
  const rest = EVENTS - 30 * (channel / 60);
  return channel + Math.max(Math.ceil(rest / 5) - 1, 0) * 2;
}

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

const peakMiB = (processId: number) =>
  Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${processId}/status`, 'utf8'))?.[1] ?? 0) / 1024);

/** Keeps one more worker running, and kills it again and again. */
function killWorkers(start: () => Promise<ChildProcess>, seconds: number): { stop(): Promise<number> } {
  let killed = 0;
  let stopped = false;
  const work = async () => {
    while (!stopped) {
      const victim = await start();
      await delay(seconds * 1_000);
      if (stopped) break;
      victim.kill('SIGKILL');
      killed += 1;
    }
  };
  const done = work();
  return {
    async stop() {
      stopped = true;
      await done;
      return killed;
    },
  };
}

/** Adds the webhooks, and each event for each of them, in the order of the events. */
async function queueAll(db: Database, discord: DiscordSimulator): Promise<void> {
  const webhooks = Array.from({ length: WEBHOOKS }, (_, n) => discord.createWebhook({ name: `bench ${n}` }));
  for (const { id, name, url } of webhooks) {
    await execute(db, `insert into discord_webhooks (id, name, "webhookUrl", type) values (?, ?, ?, 'CUSTOM')`, [
      id,
      name,
      url,
    ]);
  }
  for (let event = 0; event < EVENTS; event += 1) {
    await queueDeliveries(
      db,
      webhooks.map(({ id, name }) => ({
        webhookId: id,
        webhookName: name,
        event: 'bench',
        origin: 'request' as const,
        data: { name: String(event) },
        occurredAt: new Date(),
      })),
    );
  }
}

/** Waits until nothing is queued, and says how far it is every half minute. */
async function allEnded(db: Database): Promise<void> {
  for (let seconds = 0; ; seconds += 0.5) {
    const [row] = await query<{ queued: number }>(
      db,
      `select count(*)::int as queued from webhook_deliveries d where d.status = 'queued'`,
    );
    if (row?.queued === 0) return;
    if (seconds % 30 === 0) say(`${seconds} s: ${row?.queued} deliveries wait`);
    await delay(500);
  }
}

/** Messages that came twice, and places where a webhook's messages first came in another order than that of its deliveries. */
async function compare(db: Database, discord: DiscordSimulator) {
  const queued = await query<{ id: string; webhookId: string; status: string }>(
    db,
    `select d.id, d.webhook_id as "webhookId", d.status from webhook_deliveries d order by d.seq`,
  );
  let outOfOrder = 0;
  let doubles = 0;
  for (const [webhook, deliveries] of Map.groupBy(queued, ({ webhookId }) => webhookId)) {
    const arrived = discord.messages({ webhook }).map(({ deliveryId }) => deliveryId);
    const firsts = [...new Set(arrived)];
    doubles += arrived.length - firsts.length;
    outOfOrder += deliveries.filter(({ id }, n) => firsts[n] !== id).length;
  }
  return { delivered: queued.filter(({ status }) => status === 'delivered').length, doubles, outOfOrder };
}

async function measure() {
  const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
  const postgres = await startPostgres({ dataDir: path.join(folder, 'postgres'), cacheDir, log: say });
  cleanups.push(() => postgres.stop());
  const temporal = await startTemporal({ dataDir: path.join(folder, 'temporal'), cacheDir, headless: true, log: say });
  cleanups.push(() => temporal.stop());
  const discord = await startDiscordSimulator({ latencyMs: Number(values.latency) });
  cleanups.push(() => discord.close());
  const db = createDb({ connectionString: postgres.url, applicationName: 'bench', max: 4 });
  cleanups.push(() => db.destroy());
  await migrateLatest(db, {});
  await queueAll(db, discord);
  const start = () =>
    startWorker({
      DATABASE_URL: postgres.url,
      TEMPORAL_ADDRESS: temporal.address,
      DISCORD_WEBHOOK_HOSTS: discord.host,
      LOG_LEVEL: 'error',
    });
  const worker = await start();
  const kills = Number(values.kill) > 0 ? killWorkers(start, Number(values.kill)) : undefined;
  await allEnded(db);
  const killed = await kills?.stop();
  const requests = discord.requests().map(({ at }) => at);
  const { limited, most } = discord.counts();
  const attempts = await query<{ outcome: string; n: number }>(
    db,
    `select a.outcome, count(*)::int as n from webhook_attempts a group by a.outcome order by a.outcome`,
  );
  return {
    events: EVENTS,
    webhooks: WEBHOOKS,
    killed: killed ?? 0,
    // From the first request to the last one, which is what the limits govern.
    seconds: (Math.max(...requests) - Math.min(...requests)) / 1_000,
    leastSeconds: leastSeconds(),
    limited,
    most,
    attempts: Object.fromEntries(attempts.map(({ outcome, n }) => [outcome, n])),
    ...(await compare(db, discord)),
    workerPeakMiB: killed === undefined ? peakMiB(worker.pid ?? 0) : Number.NaN,
  };
}

try {
  const result = await measure();
  if (values.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  else {
    const { seconds, leastSeconds: least } = result;
    process.stdout.write(
      `${result.events} events to ${result.webhooks} webhooks: ${seconds.toFixed(1)} s, the limits allow ${least} s (${(seconds / least).toFixed(2)})\n` +
        `workers killed ${result.killed}; delivered ${result.delivered}, doubles ${result.doubles}, out of order ${result.outOfOrder}\n` +
        `429 answers: ${JSON.stringify(result.limited)}; most requests in a window: ${JSON.stringify(result.most)}\n` +
        `attempts: ${JSON.stringify(result.attempts)}; peak memory of the worker ${result.workerPeakMiB} MiB\n`,
    );
  }
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup();
  rmSync(folder, { recursive: true, force: true });
}

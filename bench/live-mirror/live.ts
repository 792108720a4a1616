/**
 * `npm run bench:live`: lets the live mirror follow a simulated panel that changes every second, and measures how old the mirror
 * is and what that takes of the panel's limit. It starts and stops everything that it needs.
 *
 * Options: `-- --size S --minutes 10 --limit 240 --share 25 --latency 20`.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { mirrorStatus } from '../../src/services/sync/live-mirror.ts';
import type { Db } from '../../src/store/db/db.ts';
import { query } from '../../src/store/db/query.ts';
import { printTable } from '../sync/print.ts';
import { cleanUp, installationOn, type Panel, say, startPanel, startServices } from '../sync/stack.ts';

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: 'S' },
    minutes: { type: 'string', default: '10' },
    limit: { type: 'string', default: '240' },
    share: { type: 'string', default: '25' },
    latency: { type: 'string', default: '20' },
  },
});
const limit = Number(values.limit);
const seconds = Number(values.minutes) * 60;

/** The server whose name says when it was changed last. */
const MARKED = 1;

/** Changes the panel: the name of the marked server, and one of a hundred users. */
async function changePanel({ url }: Panel, n: number): Promise<void> {
  const changes = [
    { op: 'update', entity: 'servers', id: MARKED, values: { name: `changed ${Date.now()}` } },
    { op: 'update', entity: 'users', id: 2 + (n % 100), values: { first_name: `Name ${n}` } },
  ];
  const answer = await fetch(`${url}/__sim/mutate`, { method: 'POST', body: JSON.stringify(changes) });
  if (!answer.ok) throw new Error(`the panel could not be changed: ${answer.status}`);
}

/** Seconds since the change of the marked server that the mirror shows; undefined: it was made before the measurement. */
async function lagOf(db: Db, since: number): Promise<number | undefined> {
  const [row] = await query<{ name: string }>(db, `select s.name from servers s where s."pterodactylId" = ?`, [MARKED]);
  const at = /^changed (\d+)$/.exec(row?.name ?? '')?.[1];
  return at === undefined || Number(at) < since ? undefined : (Date.now() - Number(at)) / 1_000;
}

/** Stores the settings as another program would, before the worker starts. */
async function turnOn(db: Db): Promise<void> {
  const settings = { auto_sync_enabled: 'true', auto_sync_mode: 'auto', auto_sync_budget_share: values.share };
  for (const [key, value] of Object.entries(settings)) {
    await query(db, `insert into config (id, key, value) values (?, ?, ?) returning id`, [key, key, value]);
  }
}

const percentile = (sorted: readonly number[], part: number): string =>
  (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN).toFixed(1);

async function measure(): Promise<void> {
  const services = await startServices();
  const panel = await startPanel(values.size, Number(values.latency), limit);
  const { db, startWorker, close } = installationOn(await services.createDatabase('bench_live'), services, panel);
  await turnOn(db);
  const autoSync = async () =>
    ({ enabled: true, mode: 'auto', intervalSeconds: 3_600, budgetShare: Number(values.share) }) as const;
  const ageNow = async () => (await mirrorStatus({ db, autoSync, requestsPerMinute: undefined })).ageSeconds;
  await changePanel(panel, 0);
  const worker = await startWorker();
  say('the first sync fills the mirror');
  while ((await ageNow()) === null) await delay(200);

  say(`the panel changes every second for ${values.minutes} minutes`);
  await panel.clearRequests();
  worker.resetPeak();
  const since = Date.now();
  const ages: number[] = [];
  const lags: number[] = [];
  for (const [began, n] = [performance.now(), { value: 0 }]; performance.now() - began < seconds * 1_000; ) {
    n.value += 1;
    await changePanel(panel, n.value);
    ages.push((await ageNow()) ?? Number.NaN);
    const lag = await lagOf(db, since);
    if (lag !== undefined) lags.push(lag);
    await delay(Math.max(0, n.value * 1_000 - (performance.now() - began)));
  }
  const requests = (await panel.requests()).filter(({ status }) => status > 0);
  const rows = await query<{ status: string; runs: number }>(
    db,
    `select l.status, count(*)::int as runs from sync_logs l group by l.status order by l.status`,
  );
  for (const list of [ages, lags]) list.sort((a, b) => a - b);
  printTable([
    ['size', 'minutes', 'age p50', 'age max', 'change p50', 'change max', 'requests', 'of limit', '429s', 'peak RSS'],
    [
      values.size,
      values.minutes,
      ...[ages, lags].flatMap((list) => [`${percentile(list, 0.5)} s`, `${percentile(list, 1)} s`]),
      String(requests.length),
      `${((100 * requests.length) / (limit * (seconds / 60))).toFixed(1)} %`,
      String(requests.filter(({ status }) => status === 429).length),
      `${worker.peakMiB()} MiB`,
    ],
  ]);
  say(`log rows: ${rows.map(({ status, runs }) => `${runs} ${status}`).join(', ')}`);
  await worker.stop();
  await close();
}

try {
  await measure();
} finally {
  await cleanUp();
}

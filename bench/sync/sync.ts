/**
 * `npm run bench`: measures full syncs of three sizes, with and without latency, and the floor (bench/sync/floor.ts) on
 * the same machine in the same run. It starts and stops everything that it needs.
 *
 * Options: `-- --sizes S,M,L --latencies 0,20 --repeat 3 --fresh-worker --throttled --json`. Several repetitions give their
 * medians. With `--fresh-worker` a worker is started right before each measured run, and none runs a preview first.
 */
import { execFile } from 'node:child_process';
import { parseArgs, promisify } from 'node:util';
import { printTable } from './print.ts';
import {
  cleanUp,
  type Installation,
  installationOn,
  type Panel,
  type Services,
  say,
  startPanel,
  startServices,
  type WorkerProcess,
} from './stack.ts';

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: 'S,M,L' },
    latencies: { type: 'string', default: '0,20' },
    repeat: { type: 'string', default: '1' },
    'fresh-worker': { type: 'boolean', default: false },
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

interface Floor {
  seconds: number;
  requests: number;
  rows: number;
}

/** Downloads and writes everything once by the floor, in a process of its own. */
async function runFloor(databaseUrl: string, panel: Panel): Promise<Floor> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    'bench/sync/floor.ts',
    databaseUrl,
    panel.url,
    panel.key,
  ]);
  return JSON.parse(stdout) as Floor;
}

/** The floor of a run that the panel's limit slows down is not measured. */
const NO_FLOOR: Floor = { seconds: Number.NaN, requests: 0, rows: 0 };

/** One repetition: a fresh database, a first sync into it and the same again. */
async function measureOnce(
  services: Services,
  { size, latencyMs, repetition }: { size: string; latencyMs: number; repetition: number },
): Promise<Row[]> {
  const prefix = `bench_${size}_${latencyMs}_${repetition}`.toLowerCase();
  const names = { ours: `${prefix}_ours`, floor: `${prefix}_floor`, warm: `${prefix}_warm` };
  const [ours, floor] = [await services.createDatabase(names.ours), await services.createDatabase(names.floor)];
  const panel = await startPanel(size, latencyMs, values.throttled ? 240 : 0);
  // The simulator has cached every page before the first measurement, so both programs meet the same panel.
  if (!values.throttled) {
    await runFloor(await services.createDatabase(names.warm), panel);
    await services.dropDatabase(names.warm);
  }
  const installation = installationOn(ours, services, panel);
  let worker: WorkerProcess | undefined;
  if (!values['fresh-worker']) {
    worker = await installation.startWorker();
    // A preview warms up the worker: it reads and plans everything and writes nothing.
    if (!values.throttled) await installation.runSync({ dryRun: true });
  }
  const rows: Row[] = [];
  for (const what of ['first', 'unchanged']) {
    const base = values.throttled ? NO_FLOOR : await runFloor(floor, panel);
    if (values['fresh-worker']) {
      await worker?.stop();
      worker = await installation.startWorker();
    }
    if (worker === undefined) throw new Error('no worker');
    const row = await measureRun(installation, worker, panel);
    rows.push({
      ...row,
      size,
      latencyMs,
      what: values.throttled ? `${what}, 240/min` : what,
      floorSeconds: base.seconds,
      ratio: row.seconds / base.seconds,
    });
    say(
      `${size} ${latencyMs} ms ${what}: ${row.seconds.toFixed(2)} s (floor ${base.seconds.toFixed(2)} s), peak ${row.peakRssMiB} MiB`,
    );
  }
  await worker?.stop();
  await installation.close();
  panel.stop();
  for (const name of [names.ours, names.floor]) await services.dropDatabase(name);
  return rows;
}

/** Seconds from the request of a sync to the end of its log row, and what it cost. */
async function measureRun(installation: Installation, worker: WorkerProcess, panel: Panel) {
  await panel.clearRequests();
  worker.resetPeak();
  const at = performance.now();
  const log = await installation.runSync();
  const seconds = (performance.now() - at) / 1_000;
  await installation.runEnded();
  const requests = await panel.requests();
  return {
    seconds,
    requests: requests.length,
    rows: log.itemsSynced,
    peakRssMiB: worker.peakMiB(),
    throttled: requests.filter((r) => r.status === 429).length,
  };
}

async function measure(): Promise<Row[]> {
  const services = await startServices();
  const rows: Row[] = [];
  for (const size of values.sizes.split(',')) {
    // At a limit of requests the latency does not matter.
    for (const latencyMs of values.throttled ? [0] : values.latencies.split(',').map(Number)) {
      for (let repetition = 1; repetition <= Number(values.repeat); repetition += 1) {
        rows.push(...(await measureOnce(services, { size, latencyMs, repetition })));
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

const cellsOf = (r: Row): string[] => [
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
const HEAD = ['size', 'latency', 'run', 'seconds', 'floor', 'ratio', 'requests', '429s', 'rows', 'peak RSS'];

try {
  const rows = await measure();
  if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else printTable([HEAD, ...rows.map(cellsOf)]);
} finally {
  await cleanUp();
}

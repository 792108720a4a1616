/**
 * An installation of real processes that a test may kill: a PostgreSQL with its usual durability, a Temporal with its
 * file, and workers as `npm run start:worker` runs them. Each can be restarted with its data. The simulated panel and
 * the launcher run in the test's own process, so that a test can act at a certain request.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { BeforeRequest, PanelSimulator, PanelSimulatorOptions } from '../../simulators/panel/contract.ts';
import { startPanelSimulator } from '../../simulators/panel/simulator.ts';
import { loadConfig } from '../../src/config.ts';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { discardPostgres, type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres/postgres.ts';
import { freePort, isAlive, waitUntil } from '../../src/embedded/process.ts';
import { discardTemporal, startTemporal } from '../../src/embedded/temporal/temporal.ts';
import { createSyncLauncher, type SyncLauncher } from '../../src/services/sync/launcher.ts';
import { migrateLatest } from '../../src/store/db/migrations.ts';
import { getSyncLog, type SyncLog } from '../../src/store/sync/log-store.ts';
import { createTemporalGateway, type TemporalGateway } from '../../src/temporal/connection.ts';
import { PANEL_SYNC_ID } from '../../src/workflows/contract.ts';
import type { TestDb } from './database.ts';
import { openTestDb } from './database.ts';
import { quiet } from './stack.ts';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** Keys of the api processes. */
export const LIFE_API_KEY = 'life-test-api-key-0123456789abcdef0123456789';

/** A child process of the test: a worker or an api. */
export interface ServiceProcess {
  readonly processId: number;
  /** The name of a worker in Temporal's histories. */
  readonly identity: string;
  /** URL of an api. */
  readonly url: string | undefined;
  alive(): boolean;
  /** Sends SIGKILL; resolves when the process has ended. */
  kill(): Promise<void>;
  /** Sends SIGTERM; resolves with its exit code. */
  terminate(): Promise<number | null>;
  /** Sends SIGSTOP. */
  freeze(): void;
  /** Sends SIGCONT. */
  thaw(): void;
}

/** A Temporal server that a test may kill and start again. */
export interface TemporalServer {
  /** host:port */
  address: string;
  namespace: string;
  pid(): number;
  /** Sends SIGKILL. */
  kill(): Promise<void>;
  restart(): Promise<void>;
}

export interface Installation {
  readonly sim: PanelSimulator;
  readonly db: TestDb;
  readonly databaseUrl: string;
  readonly gateway: TemporalGateway;
  readonly launcher: SyncLauncher;
  /** Workers that were started and not killed by the test. */
  workers(): ServiceProcess[];
  startWorker(env?: Record<string, string>): Promise<ServiceProcess>;
  startApi(): Promise<ServiceProcess>;
  /** Starts or kills workers until there are `count`. */
  haveWorkers(count: number): Promise<ServiceProcess[]>;
  /** Sends SIGKILL to the postmaster, and with `all` also to every backend. */
  killPostgres(all: boolean): Promise<void>;
  restartPostgres(): Promise<void>;
  killTemporal(): Promise<void>;
  restartTemporal(): Promise<void>;
  freezeTemporal(): void;
  thawTemporal(): void;
  /**
   * Runs `act` at the n-th panel request from now, of those that `matches` picks; default: all. The panel answers this and
   * later ones after `act` has ended.
   */
  atRequest<T>(n: number, act: () => Promise<T>, matches?: (request: BeforeRequest) => boolean): Promise<T>;
  /** The worker with the most activities of the running sync. */
  busiestWorker(): Promise<ServiceProcess>;
  /** Waits until a row has ended, also while the database is not reachable. */
  ended(logId: string, timeoutMs?: number): Promise<SyncLog>;
  /** Waits until no workflow of the sync is running. */
  settled(timeoutMs?: number): Promise<void>;
  /** For a failing test: pending activities of the run, and the last log lines of the processes. */
  diagnosis(): Promise<string>;
  stop(): Promise<void>;
}

/** A panel whose sync takes one to two seconds (about 70 requests of 20 ms), so that a test can disturb it. */
export const MEDIUM: PanelSimulatorOptions = {
  locations: 6,
  nodes: 12,
  allocations: 3_000,
  nests: 6,
  eggs: 24,
  users: 1_500,
  servers: 1_500,
  databases: 300,
  subusers: 400,
  perPageMax: 50,
  latencyMs: 20,
  limit: 0,
};

function childrenOf(parent: number): number[] {
  try {
    return readdirSync('/proc')
      .map(Number)
      .filter((processId) => processId > 0 && parentOf(processId) === parent);
  } catch {
    // Without /proc only the postmaster is killed. Its backends end by themselves.
    return [];
  }
}

function parentOf(processId: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${processId}/stat`, 'utf8');
    // proc(5): field 4 is the parent. The name in field 2 may contain blanks and brackets.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}

const signal = (processId: number, name: NodeJS.Signals): void => {
  try {
    process.kill(processId, name);
  } catch {
    // The process has ended.
  }
};

/** Starts a dev server that keeps its port and its data when it is killed. */
async function startDevServer(dataDir: string, cacheDir: string, log: (line: string) => void): Promise<TemporalServer> {
  const port = await freePort();
  const cliPath = process.env['TEMPORAL_CLI_PATH'];
  const start = () => startTemporal({ dataDir, cacheDir, port, headless: true, ...(cliPath ? { cliPath } : {}), log });
  let running = await start();
  return {
    address: running.address,
    namespace: 'default',
    pid: () => running.pid,
    kill: () => running.kill(),
    async restart() {
      running = await start();
    },
  };
}

/**
 * Starts all services except workers.
 * @param given a Temporal server that is running, and stays; default: a dev server of this installation.
 */
export async function startInstallation(
  panel: PanelSimulatorOptions = MEDIUM,
  given?: TemporalServer,
): Promise<Installation> {
  // With this name and this file the next test run finds and removes the folder of a killed run.
  const folder = mkdtempSync(join(tmpdir(), 'nodebyte-test-'));
  chmodSync(folder, 0o711);
  writeFileSync(join(folder, 'owner'), String(process.pid));
  const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
  const lines: string[] = [];
  const log = (line: string) => lines.push(line);
  const children = new Set<ChildProcess>();
  let postgres: EmbeddedPostgres | undefined;
  let devServer: TemporalServer | undefined;
  const killAll = () => {
    for (const child of children) child.kill('SIGKILL');
    if (devServer !== undefined) signal(devServer.pid(), 'SIGKILL');
    if (postgres !== undefined) signal(postgres.pid, 'SIGQUIT');
  };
  process.once('exit', killAll);

  const postgresPort = await freePort();
  const launchPostgres = async (): Promise<EmbeddedPostgres> => {
    postgres = await startPostgres({
      dataDir: join(folder, 'postgres'),
      cacheDir,
      port: postgresPort,
      settings: { max_connections: '100' },
      log,
    });
    return postgres;
  };
  const launchTemporal = async (): Promise<TemporalServer> => {
    if (given !== undefined) return given;
    devServer = await startDevServer(join(folder, 'temporal'), cacheDir, log);
    return devServer;
  };

  const remove = async () => {
    process.off('exit', killAll);
    for (const child of children) child.kill('SIGKILL');
    const { pid } = given ?? devServer ?? {};
    if (pid !== undefined) signal(pid(), 'SIGCONT');
    if (given === undefined) await discardTemporal(join(folder, 'temporal'));
    await discardPostgres(join(folder, 'postgres'));
    rmSync(folder, { recursive: true, force: true });
  };

  const cleanUp: (() => Promise<unknown>)[] = [];
  try {
    const started = await Promise.allSettled([launchPostgres(), launchTemporal(), startPanelSimulator(panel)]);
    const [pgStart, temporalStart, simStart] = started;
    if (simStart.status === 'fulfilled') cleanUp.push(() => simStart.value.close());
    for (const start of started) if (start.status === 'rejected') throw start.reason;
    if (pgStart.status !== 'fulfilled' || temporalStart.status !== 'fulfilled' || simStart.status !== 'fulfilled')
      throw new Error('the services did not start');
    const { url } = pgStart.value;
    const temporal = temporalStart.value;
    const { address, namespace } = temporal;
    const sim = simStart.value;

    const migrating = openTestDb({
      connectionString: url,
      applicationName: 'test-migrate',
      statementTimeoutMs: 120_000,
    });
    await migrateLatest(migrating, {}).finally(() => migrating.destroy());
    const db = openTestDb({ connectionString: url, applicationName: 'test', max: 8 });
    const config = loadConfig({ TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: namespace });
    const gateway = createTemporalGateway({ ...config.temporal, address });
    const launcher = createSyncLauncher({ db, temporal: gateway, log: quiet });
    cleanUp.push(
      () => gateway.close(),
      () => db.destroy(),
    );
    const logFile = join(folder, 'services.log');

    const start = async (entry: string, env: Record<string, string>): Promise<ServiceProcess> => {
      const output = openSync(logFile, 'a', 0o600);
      const child = spawn(process.execPath, [join(ROOT, 'src', entry)], {
        cwd: folder,
        stdio: ['ignore', output, output, 'ipc'],
        env: {
          PATH: process.env['PATH'],
          HOME: process.env['HOME'],
          LOG_LEVEL: 'info',
          CACHE_DIR: cacheDir,
          DATABASE_URL: url,
          TEMPORAL_ADDRESS: address,
          TEMPORAL_NAMESPACE: namespace,
          PTERODACTYL_URL: sim.url,
          PTERODACTYL_API_KEY: sim.keys.full,
          PANEL_CONCURRENCY: '8',
          // The smallest pool that is accepted: every promise holds with it.
          DATABASE_POOL_MAX: '4',
          ...env,
        },
      });
      closeSync(output);
      children.add(child);
      const gone = new Promise<number | null>((resolve) => {
        child.once('exit', (code) => {
          children.delete(child);
          resolve(code);
        });
      });
      let listening: string | undefined;
      const ready = new Promise<void>((resolve, reject) => {
        child.once('message', (message: unknown) => {
          if (typeof message === 'object' && message !== null && 'url' in message) listening = String(message.url);
          resolve();
        });
        void gone.then((code) => reject(new Error(`${entry} ended with ${code}: ${tail(logFile, 20)}`)));
        child.once('error', reject);
      });
      await ready;
      const processId = child.pid ?? 0;
      const ended = () => child.exitCode !== null || child.signalCode !== null;
      return {
        processId,
        identity: `${processId}@${hostname()}`,
        url: listening,
        alive: () => !ended(),
        async kill() {
          child.kill('SIGKILL');
          await gone;
        },
        terminate() {
          child.kill('SIGTERM');
          return gone;
        },
        freeze: () => signal(processId, 'SIGSTOP'),
        thaw: () => signal(processId, 'SIGCONT'),
      };
    };

    const workers: ServiceProcess[] = [];
    const alive = () => workers.filter((w) => w.alive());
    const startWorker = async (env: Record<string, string> = {}) => {
      const worker = await start('worker.ts', env);
      workers.push(worker);
      return worker;
    };
    const describe = () => gateway.client.workflow.getHandle(PANEL_SYNC_ID).describe();

    return {
      sim,
      db,
      databaseUrl: url,
      gateway,
      launcher,
      workers: alive,
      startWorker,
      startApi: () =>
        start('api/server.ts', {
          BACKEND_PORT: '0',
          BACKEND_HOST: '127.0.0.1',
          BACKEND_API_KEY: LIFE_API_KEY,
          JWT_SECRET: 'life-test-secret-0123456789abcdef',
        }),
      async haveWorkers(count) {
        for (const worker of alive().slice(count)) await worker.kill();
        await Promise.all(Array.from({ length: Math.max(0, count - alive().length) }, () => startWorker()));
        return alive();
      },
      async killPostgres(all) {
        const postmaster = postgres?.pid ?? 0;
        // First the postmaster: otherwise it would see its backends end and restart them in order.
        const backends = all ? childrenOf(postmaster) : [];
        signal(postmaster, 'SIGKILL');
        for (const backend of backends) signal(backend, 'SIGKILL');
        await waitUntil(() => !isAlive(postmaster), 5_000, 10);
      },
      async restartPostgres() {
        await launchPostgres();
      },
      killTemporal: () => temporal.kill(),
      restartTemporal: () => temporal.restart(),
      freezeTemporal: () => signal(temporal.pid(), 'SIGSTOP'),
      thawTemporal: () => signal(temporal.pid(), 'SIGCONT'),
      async atRequest(n, act, matches = () => true) {
        let received = 0;
        const reached = Promise.withResolvers<void>();
        const done = Promise.withResolvers<void>();
        const off = sim.on('before', async (request) => {
          if (!matches(request)) return;
          received += 1;
          if (received < n) return;
          reached.resolve();
          await done.promise;
        });
        const timer = setTimeout(
          () => reached.reject(new Error(`the panel received ${received} requests, not ${n}`)),
          60_000,
        );
        try {
          await reached.promise;
          return await act();
        } finally {
          clearTimeout(timer);
          off();
          done.resolve();
        }
      },
      async busiestWorker() {
        for (let i = 0; i < 100; i += 1) {
          const { raw } = await describe();
          const names = (raw.pendingActivities ?? []).map((a) => a.lastWorkerIdentity);
          const held = (w: ServiceProcess) => names.filter((name) => name === w.identity).length;
          const [most] = alive().sort((a, b) => held(b) - held(a));
          if (most !== undefined && held(most) > 0) return most;
          await delay(20);
        }
        throw new Error('no worker holds an activity');
      },
      async ended(logId, timeoutMs = 90_000) {
        const end = Date.now() + timeoutMs;
        let last = 'unknown';
        while (Date.now() < end) {
          try {
            const row = await getSyncLog(db, logId);
            if (row === undefined) throw new Error('the sync log is gone');
            if (row.status !== 'PENDING' && row.status !== 'RUNNING') return row;
            last = `${row.status} ${JSON.stringify(row.metadata)}`;
          } catch (error) {
            if (error instanceof Error && error.message === 'the sync log is gone') throw error;
            last = String(error);
          }
          await delay(25);
        }
        throw new Error(`the sync has not ended within ${timeoutMs} ms: ${last}\n${tail(logFile, 30)}`);
      },
      async settled(timeoutMs = 30_000) {
        const end = Date.now() + timeoutMs;
        let status = 'unknown';
        while (Date.now() < end) {
          status = await gateway
            .within(1_000, async () => (await describe()).status.name)
            .catch((error: unknown) =>
              error instanceof Error && error.name === 'WorkflowNotFoundError' ? 'NONE' : 'UNREACHABLE',
            );
          if (status !== 'RUNNING' && status !== 'UNREACHABLE') return;
          await delay(50);
        }
        throw new Error(`the workflow does not end: ${status}`);
      },
      async diagnosis() {
        const pending = await gateway
          .within(2_000, async () => (await describe()).raw)
          .then(
            (raw) =>
              JSON.stringify([raw.workflowExecutionInfo?.status, raw.pendingWorkflowTask, raw.pendingActivities]),
            String,
          );
        const alive = workers.filter((w) => w.alive()).map((w) => w.identity);
        return [...lines.slice(-10), `workers: ${alive.join(', ')}`, pending, tail(logFile, 60)].join('\n');
      },
      async stop() {
        for (const worker of alive()) worker.thaw();
        for (const child of children) child.kill('SIGKILL');
        for (const close of cleanUp.splice(0)) await close().catch(() => undefined);
        await remove();
      },
    };
  } catch (error) {
    for (const close of cleanUp.splice(0)) await close().catch(() => undefined);
    await remove();
    throw error;
  }
}

const tail = (file: string, count: number): string => {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  } catch {
    return '';
  }
};

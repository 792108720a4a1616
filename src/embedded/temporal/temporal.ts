/** The embedded Temporal: a dev server of our own, with its file in the data folder. Not for heavy production use. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Connection } from '@temporalio/client';
import {
  commandLine,
  EmbeddedError,
  endProcess,
  freePort,
  isAlive,
  isPortFree,
  type ProgressLog,
  sleep,
  waitUntil,
  writePrivateFile,
} from '../process.ts';
import { findTemporalCli } from './cli.ts';

export interface StartTemporalOptions {
  /** Folder of this server alone: its database file, log and the note of what runs. Made when missing. */
  dataDir: string;
  /** Where a downloaded CLI is kept. */
  cacheDir: string;
  /** TEMPORAL_CLI_PATH. */
  cliPath?: string;
  /** gRPC port; default: a free one. */
  port?: number;
  /** Port of the web UI; default: a free one. */
  uiPort?: number;
  /** No web UI. */
  headless?: boolean;
  /** Namespace that must exist besides `default`. */
  namespace?: string;
  log: ProgressLog;
}

export interface EmbeddedTemporal {
  /** host:port of the gRPC frontend. */
  address: string;
  /** Address of the web UI; undefined when headless. */
  uiUrl: string | undefined;
  pid: number;
  /** It was running already: left by a killed parent. */
  adopted: boolean;
  /** SIGTERM, then SIGKILL after 10 s. Idempotent. */
  stop(): Promise<void>;
  /** SIGKILL, for tests of recovery. */
  kill(): Promise<void>;
}

/** Attributes that runs of this product carry; the worker registers them too, for servers that are not ours. */
export const SEARCH_ATTRIBUTES = { SyncType: 'Keyword', RequestedBy: 'Keyword', ItemsSynced: 'Int' } as const;

const NOTE = 'server.json';
const DATABASE_FILE = 'temporal.db';

interface Note {
  pid: number;
  port: number;
  uiPort: number | undefined;
}

function readNote(file: string): Note | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    const { pid, port, uiPort } = value as Record<string, unknown>;
    if (typeof pid !== 'number' || typeof port !== 'number' || pid <= 0) return undefined;
    return { pid, port, uiPort: typeof uiPort === 'number' ? uiPort : undefined };
  } catch {
    return undefined;
  }
}

/** Two servers on one file would ruin it, and a noted process id may be someone else's by now: the file decides. */
async function isOurs(pid: number, dbFile: string): Promise<boolean> {
  if (!isAlive(pid)) return false;
  const line = await commandLine(pid);
  return line === undefined || line.includes(dbFile);
}

/** Health SERVING and a namespace that can be described: only then do starts succeed. */
async function isServing(address: string, namespace: string, deadlineMs = 2_000): Promise<boolean> {
  let connection: Connection | undefined;
  try {
    connection = await Connection.connect({ address, connectTimeout: deadlineMs });
    const open = connection;
    return await open.withDeadline(Date.now() + deadlineMs, async () => {
      const health = await open.healthService.check({ service: 'temporal.api.workflowservice.v1.WorkflowService' });
      if (health.status !== 1) return false;
      await open.workflowService.describeNamespace({ namespace });
      return true;
    });
  } catch {
    return false;
  } finally {
    await connection?.close();
  }
}

function serverArguments(
  options: StartTemporalOptions,
  dbFile: string,
  port: number,
  uiPort: number | undefined,
  metricsPort: number,
): string[] {
  const dynamic = {
    // One history shard, whose queue readers are limited to 20 polls a second unless told otherwise: 50 ms a hop.
    'history.transferProcessorMaxPollRPS': 2000,
    'history.timerProcessorMaxPollRPS': 2000,
    'history.visibilityProcessorMaxPollRPS': 2000,
    // One node needs no spread of task queues; more partitions only add hops.
    'matching.numTaskqueueReadPartitions': 1,
    'matching.numTaskqueueWritePartitions': 1,
  };
  return [
    'server',
    'start-dev',
    '--ip',
    '127.0.0.1',
    '--port',
    String(port),
    ...(uiPort === undefined ? ['--headless'] : ['--ui-port', String(uiPort), '--ui-disable-news-fetch']),
    '--metrics-port',
    String(metricsPort),
    '--log-level',
    'warn',
    '--db-filename',
    dbFile,
    '--sqlite-pragma',
    'journal_mode=WAL',
    '--sqlite-pragma',
    'synchronous=NORMAL',
    ...Object.entries(dynamic).flatMap(([key, value]) => ['--dynamic-config-value', `${key}=${value}`]),
    ...Object.entries(SEARCH_ATTRIBUTES).flatMap(([name, type]) => ['--search-attribute', `${name}=${type}`]),
    ...(options.namespace === undefined || options.namespace === 'default' ? [] : ['--namespace', options.namespace]),
  ];
}

const lastLines = (file: string, count: number): string => {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  } catch {
    return '';
  }
};

const LOG_LIMIT_BYTES = 10 * 1024 * 1024;

/**
 * Starts the dev server of `dataDir`, or adopts the healthy one that is noted there.
 * @throws {EmbeddedError} with what was tried and the end of the server's log.
 */
export async function startTemporal(options: StartTemporalOptions): Promise<EmbeddedTemporal> {
  const dataDir = resolve(options.dataDir);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const namespace = options.namespace ?? 'default';
  const noteFile = join(dataDir, NOTE);
  const dbFile = join(dataDir, DATABASE_FILE);
  const logFile = join(dataDir, 'server.log');

  const handle = (note: Note, adopted: boolean): EmbeddedTemporal => ({
    address: `127.0.0.1:${note.port}`,
    uiUrl: note.uiPort === undefined ? undefined : `http://127.0.0.1:${note.uiPort}`,
    pid: note.pid,
    adopted,
    async stop() {
      if (!(await isOurs(note.pid, dbFile))) return;
      await endProcess(note.pid, 10_000);
      if (readNote(noteFile)?.pid === note.pid) rmSync(noteFile, { force: true });
    },
    async kill() {
      process.kill(note.pid, 'SIGKILL');
      await waitUntil(() => !isAlive(note.pid), 5_000);
    },
  });
  const noted = readNote(noteFile);
  if (noted !== undefined && (await isOurs(noted.pid, dbFile))) {
    const headless = noted.uiPort === undefined;
    const asWanted =
      headless === (options.headless ?? false) && (options.port === undefined || options.port === noted.port);
    if (asWanted && (await waitUntil(() => isServing(`127.0.0.1:${noted.port}`, namespace), 10_000, 200))) {
      return handle(noted, true);
    }
    options.log(`Temporal (process ${noted.pid}) is not as it should be: starting it anew`);
    await endProcess(noted.pid, 10_000);
  }
  rmSync(noteFile, { force: true });

  const cli = await findTemporalCli(options);
  let failure = '';
  for (let attempt = 1; attempt <= 4; attempt += 1) {
    const port = options.port ?? (await freePort());
    const uiPort = options.headless === true ? undefined : (options.uiPort ?? (await freePort()));
    const metricsPort = await freePort();
    const truncate = existsSync(logFile) && statSync(logFile).size > LOG_LIMIT_BYTES;
    const output = openSync(logFile, truncate ? 'w' : 'a', 0o600);
    // A process group of its own: Ctrl-C at the terminal must reach our process alone, which stops this one last.
    const child = spawn(cli, serverArguments(options, dbFile, port, uiPort, metricsPort), {
      detached: true,
      stdio: ['ignore', output, output],
      cwd: dataDir,
      windowsHide: true,
    });
    closeSync(output);
    let ended: string | undefined;
    child.once('error', (error) => {
      ended = error.message;
    });
    child.once('exit', (code, signal) => {
      ended ??= signal === null ? `exit code ${code}` : `ended by ${signal}`;
    });
    const { pid } = child;
    if (pid !== undefined) {
      const note: Note = { pid, port, uiPort };
      await writePrivateFile(noteFile, `${JSON.stringify(note)}\n`);
      child.unref();
      const address = `127.0.0.1:${port}`;
      const ready = await waitUntil(
        async () => ended !== undefined || (await isServing(address, namespace)),
        60_000,
        50,
      );
      if (ready && ended === undefined) return handle(note, false);
      failure = ended ?? 'not ready within 60 s';
      if (ended === undefined) await endProcess(pid, 5_000);
      rmSync(noteFile, { force: true });
    } else {
      await sleep(50);
      failure = ended ?? 'cannot be started';
    }
    // A given port that is taken stays taken. One that was found free, or that the server chose for its own parts, was
    // lost to another process in between.
    if (options.port !== undefined && !(await isPortFree(options.port, '127.0.0.1'))) break;
  }
  throw new EmbeddedError(
    `the Temporal dev server did not start: ${failure}\nProgram: ${cli}\nThe end of its log (${logFile}):\n${lastLines(logFile, 15)}`,
  );
}

/** Ends the server that is noted in `dataDir`, if it still runs, and removes the folder with all its runs. */
export async function discardTemporal(dataDir: string): Promise<void> {
  const folder = resolve(dataDir);
  const noted = readNote(join(folder, NOTE));
  if (noted !== undefined && (await isOurs(noted.pid, join(folder, DATABASE_FILE)))) await endProcess(noted.pid, 5_000);
  rmSync(folder, { recursive: true, force: true });
}

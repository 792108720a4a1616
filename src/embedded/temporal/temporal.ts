/** The embedded Temporal (ADR 4): a dev server with its database file in the data folder. Not for production load. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { lastLines } from '../log-file.ts';
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
import { isServing, spawnDevServer } from './dev-server.ts';

export interface StartTemporalOptions {
  /** Folder of this server alone, created when missing: its database file, log and the note of the running server. */
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
  /** It was running already: a killed parent left it. */
  adopted: boolean;
  /** SIGTERM, then SIGKILL after 10 s. Idempotent. */
  stop(): Promise<void>;
  /** SIGKILL, for tests of recovery. */
  kill(): Promise<void>;
}

/** What `server.json` notes about the running server. */
interface Note {
  pid: number;
  port: number;
  uiPort: number | undefined;
}

interface Files {
  note: string;
  database: string;
  log: string;
}

const MAX_ATTEMPTS = 4;

const filesIn = (dataDir: string): Files => ({
  note: join(dataDir, 'server.json'),
  database: join(dataDir, 'temporal.db'),
  log: join(dataDir, 'server.log'),
});

const addressOf = ({ port }: Note): string => `127.0.0.1:${port}`;

/**
 * Starts the dev server of `dataDir`, or adopts the healthy one that is noted there.
 * @throws {EmbeddedError} with what was tried and the end of the server's log.
 */
export async function startTemporal(options: StartTemporalOptions): Promise<EmbeddedTemporal> {
  const dataDir = resolve(options.dataDir);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const files = filesIn(dataDir);
  const running = await adopt(options, files);
  if (running !== undefined) return handleOf(running, files, true);
  rmSync(files.note, { force: true });
  const cli = await findTemporalCli(options);
  return handleOf(await start(cli, options, dataDir, files), files, false);
}

/** Ends the server that is noted in `dataDir`, if it still runs, and removes the folder with all its runs. */
export async function discardTemporal(dataDir: string): Promise<void> {
  const folder = resolve(dataDir);
  const files = filesIn(folder);
  const noted = readNote(files.note);
  if (noted !== undefined && (await isOurServer(noted.pid, files))) await endProcess(noted.pid, 5_000);
  rmSync(folder, { recursive: true, force: true });
}

function handleOf(note: Note, files: Files, adopted: boolean): EmbeddedTemporal {
  return {
    address: addressOf(note),
    uiUrl: note.uiPort === undefined ? undefined : `http://127.0.0.1:${note.uiPort}`,
    pid: note.pid,
    adopted,
    async stop() {
      if (!(await isOurServer(note.pid, files))) return;
      await endProcess(note.pid, 10_000);
      if (readNote(files.note)?.pid === note.pid) rmSync(files.note, { force: true });
    },
    async kill() {
      process.kill(note.pid, 'SIGKILL');
      await waitUntil(() => !isAlive(note.pid), 5_000);
    },
  };
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

/**
 * Whether the process is the server of this database file. The command line decides: a noted process id may have been
 * reused, and two servers on one file would corrupt it.
 */
async function isOurServer(pid: number, files: Files): Promise<boolean> {
  if (!isAlive(pid)) return false;
  const line = await commandLine(pid);
  return line === undefined || line.includes(files.database);
}

/** The noted server, if it runs as the options want it; one that runs otherwise is ended. */
async function adopt(options: StartTemporalOptions, files: Files): Promise<Note | undefined> {
  const noted = readNote(files.note);
  if (noted === undefined || !(await isOurServer(noted.pid, files))) return undefined;
  const headless = noted.uiPort === undefined;
  const asWanted =
    headless === (options.headless ?? false) && (options.port === undefined || options.port === noted.port);
  const namespace = options.namespace ?? 'default';
  if (asWanted && (await waitUntil(() => isServing(addressOf(noted), namespace), 10_000, 200))) return noted;
  options.log(`Temporal (process ${noted.pid}) does not answer, or has other options: starting it again`);
  await endProcess(noted.pid, 10_000);
  return undefined;
}

async function start(cli: string, options: StartTemporalOptions, dataDir: string, files: Files): Promise<Note> {
  let failure = '';
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
    const result = await startOnce(cli, options, dataDir, files);
    if (typeof result !== 'string') return result;
    failure = result;
    // When the given port is in use, another attempt does not help. A port that was chosen here or by the server itself
    // may have been taken by another process in the meantime.
    if (options.port !== undefined && !(await isPortFree(options.port, '127.0.0.1'))) break;
  }
  throw new EmbeddedError(
    `the Temporal dev server did not start: ${failure}\nProgram: ${cli}\nThe end of its log (${files.log}):\n${lastLines(files.log, 15)}`,
  );
}

/** One attempt. @returns the running server, or why it does not run. */
async function startOnce(
  cli: string,
  options: StartTemporalOptions,
  dataDir: string,
  files: Files,
): Promise<Note | string> {
  const namespace = options.namespace ?? 'default';
  const port = options.port ?? (await freePort());
  const uiPort = options.headless === true ? undefined : (options.uiPort ?? (await freePort()));
  const metricsPort = await freePort();
  const { child, ended } = spawnDevServer({
    cli,
    dataDir,
    databaseFile: files.database,
    logFile: files.log,
    port,
    uiPort,
    metricsPort,
    namespace,
  });
  if (child.pid === undefined) {
    await sleep(50);
    return ended() ?? 'cannot be started';
  }
  const note: Note = { pid: child.pid, port, uiPort };
  await writePrivateFile(files.note, `${JSON.stringify(note)}\n`);
  child.unref();
  const endedOrServing = async (): Promise<boolean> =>
    ended() !== undefined || (await isServing(addressOf(note), namespace));
  const ready = await waitUntil(endedOrServing, 60_000, 50);
  const failure = ended();
  if (ready && failure === undefined) return note;
  if (failure === undefined) await endProcess(note.pid, 5_000);
  rmSync(files.note, { force: true });
  return failure ?? 'not ready within 60 s';
}

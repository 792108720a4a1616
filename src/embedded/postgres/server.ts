/** The PostgreSQL server process of one cluster: found, started and stopped with pg_ctl. */
import { chmodSync, existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { platform } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { isLogFull, lastLines } from '../log-file.ts';
import {
  type CommandResult,
  commandLine,
  EmbeddedError,
  freePort,
  isAlive,
  isPortFree,
  type ProgressLog,
  runCommand,
  sleep,
  waitUntil,
} from '../process.ts';
import { postgresProgram } from './binaries.ts';
import type { Cluster } from './cluster.ts';
import { asUser, giveTo } from './service-user.ts';

export interface PostgresServer {
  /** Process id of the postmaster. */
  pid: number;
  port: number;
}

export interface StartServerOptions {
  /** Default: a free one. */
  port?: number;
  /** Server settings for this start, e.g. `{ fsync: 'off' }`. */
  settings?: Record<string, string>;
}

const MAX_ATTEMPTS = 5;

/** The server noted in the cluster's folder, if that process is a server of this cluster. */
export async function findServer(clusterFolder: string): Promise<PostgresServer | undefined> {
  let lines: string[];
  try {
    lines = readFileSync(join(clusterFolder, 'postmaster.pid'), 'utf8').split('\n');
  } catch {
    return undefined;
  }
  const pid = Number(lines[0]);
  const port = Number(lines[3]);
  if (!Number.isInteger(pid) || pid <= 0 || !isAlive(pid)) return undefined;
  const line = await commandLine(pid);
  // Process ids are reused; the folder in the command line proves that the process belongs to this cluster.
  if (line !== undefined && !(line.includes('postgres') && line.includes(clusterFolder))) return undefined;
  return Number.isInteger(port) && port > 0 ? { pid, port } : undefined;
}

/**
 * The server that runs already, if it answers. A killed parent leaves one behind; one that does not answer is stopped.
 */
export async function adoptServer(
  cluster: Cluster,
  password: string,
  log: ProgressLog,
): Promise<PostgresServer | undefined> {
  const running = await findServer(cluster.folder);
  if (running === undefined) return undefined;
  const url = connectionUrl(running.port, password, 'postgres');
  const answers = (): Promise<boolean> =>
    queryOnce(url, 'select 1').then(
      () => true,
      () => false,
    );
  // It may still be starting or recovering.
  if (await waitUntil(answers, 15_000, 100)) return running;
  log(`PostgreSQL (process ${running.pid}) does not answer: starting it again`);
  await stopServer(cluster);
  return undefined;
}

/**
 * Starts the server on 127.0.0.1 and waits until it accepts connections.
 * @throws {EmbeddedError} with the end of the server's log.
 */
export async function startServer(cluster: Cluster, options: StartServerOptions): Promise<PostgresServer> {
  prepareLogFile(cluster);
  let failure = '';
  // Another process may take the free port first, and children of a killed postmaster need a moment to end.
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
    removeStaleLock(cluster.folder);
    const result = await pgCtlStart(cluster, options.port ?? (await freePort()), options.settings);
    const started = await findServer(cluster.folder);
    if (result.code === 0 && started !== undefined) return started;
    await stopServer(cluster);
    failure = result.stderr.trim() || result.failure || `exit code ${result.code}`;
    // Another attempt does not help when another process listens on the given port.
    if (options.port !== undefined && !(await isPortFree(options.port, '127.0.0.1'))) break;
    if (attempt < MAX_ATTEMPTS) await sleep(500 * attempt);
  }
  throw new EmbeddedError(
    `PostgreSQL did not start${options.port === undefined ? '' : ` on port ${options.port}`}: ${failure}\n` +
      `The end of its log (${cluster.logFile}):\n${lastLines(cluster.logFile, 15)}`,
  );
}

/** Milliseconds that the process may exist after its lock file is gone. */
const PROCESS_END_MS = 5_000;

/** Stops the server: open transactions are rolled back; after 30 s without writing a checkpoint. Idempotent. */
export async function stopServer(cluster: Cluster): Promise<void> {
  const running = await findServer(cluster.folder);
  if (running === undefined) return;
  const fast = await pgCtl(cluster, ['stop', '-m', 'fast', '-w', '-t', '30'], 40_000);
  if (fast.code !== 0 && (await findServer(cluster.folder)) !== undefined) {
    await pgCtl(cluster, ['stop', '-m', 'immediate', '-w', '-t', '10'], 20_000);
  }
  // pg_ctl waits for the lock file to go; the process ends a moment after it.
  await waitUntil(() => !isAlive(running.pid), PROCESS_END_MS, 10);
}

function pgCtl(cluster: Cluster, args: string[], timeoutMs: number): Promise<CommandResult> {
  return runCommand(postgresProgram(cluster.binaries, 'pg_ctl'), ['-D', cluster.folder, ...args], {
    ...asUser(cluster.user),
    timeoutMs,
  });
}

function pgCtlStart(cluster: Cluster, port: number, given: Record<string, string> = {}): Promise<CommandResult> {
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', ...given };
  const words = Object.entries(settings).map(([key, value]) => `-c ${shellWord(`${key}=${value}`)}`);
  const args = ['start', '-w', '-t', '90', '-l', cluster.logFile, '-o', `-p ${port} ${words.join(' ')}`];
  return pgCtl(cluster, args, 100_000);
}

/** A value as one word of the command line that pg_ctl passes to a shell (cmd.exe on Windows). */
const shellWord = (text: string): string =>
  platform() === 'win32' ? `"${text.replaceAll('"', '\\"')}"` : `'${text.replaceAll("'", `'\\''`)}'`;

function prepareLogFile({ logFile, user }: Cluster): void {
  if (isLogFull(logFile)) truncateSync(logFile);
  if (!existsSync(logFile)) writeFileSync(logFile, '', { mode: 0o600 });
  giveTo(user, logFile);
  chmodSync(logFile, 0o600);
}

/**
 * PostgreSQL refuses to start over a lock file whose process id now belongs to an unrelated process. The file is removed
 * in that case only: when the process is dead, PostgreSQL itself decides, and checks for remaining backends.
 */
function removeStaleLock(clusterFolder: string): void {
  const file = join(clusterFolder, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
  if (Number.isInteger(pid) && isAlive(pid)) rmSync(file, { force: true });
}

export const connectionUrl = (port: number, password: string, database: string): string =>
  `postgres://postgres:${password}@127.0.0.1:${port}/${database}`;

/** Runs one statement on a connection of its own. */
export async function queryOnce(url: string, sql: string, values: string[] = []): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql, values)).rows;
  } finally {
    await client.end();
  }
}

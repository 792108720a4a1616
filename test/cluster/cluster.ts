/**
 * A Temporal cluster as an operator runs one: all services of the server, with PostgreSQL for its histories and for what
 * its lists are searched by (SQL visibility), and the web UI. The server has its own defaults, and the database its own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import pg from 'pg';
import { lastLines } from '../../src/embedded/log-file.ts';
import { discardPostgres, startPostgres } from '../../src/embedded/postgres/postgres.ts';
import { freePort, isAlive, isPortFree, runCommand, waitUntil } from '../../src/embedded/process.ts';
import { isServing } from '../../src/embedded/temporal/dev-server.ts';
import type { ClusterPrograms } from './programs.ts';

export interface Cluster {
  /** host:port of the frontend. */
  address: string;
  /** Address of the web UI. */
  uiUrl: string;
  connection: Connection;
  /** Registers a namespace, and waits until workflows can be started in it. */
  createNamespace(name: string): Promise<void>;
  /** Process id of the server. */
  serverPid(): number;
  /** SIGKILL of the server. */
  killServer(): Promise<void>;
  restartServer(): Promise<void>;
  /** SIGKILL of the server's PostgreSQL. */
  killPostgres(): Promise<void>;
  restartPostgres(): Promise<void>;
  /** Connection string of the database of SQL visibility. */
  visibilityUrl: string;
  stop(): Promise<void>;
}

const DATABASES = { temporal: 'temporal', temporal_visibility: 'visibility' } as const;
/** A system's own namespace: it exists from the first start on. */
const SYSTEM_NAMESPACE = 'temporal-system';
const START_MS = 90_000;

export async function startCluster(options: {
  programs: ClusterPrograms;
  /** Folder of this cluster alone. PostgreSQL must be able to enter it. */
  folder: string;
  cacheDir: string;
  log: (line: string) => void;
}): Promise<Cluster> {
  const { programs, folder, cacheDir, log } = options;
  const dataDir = join(folder, 'postgres');
  const children = new Set<ChildProcess>();
  const postgresPort = await freePort();
  const launchPostgres = () => startPostgres({ dataDir, cacheDir, port: postgresPort, log });
  let postgres = await launchPostgres();
  const killAll = () => {
    for (const child of children) child.kill('SIGKILL');
    if (isAlive(postgres.pid)) process.kill(postgres.pid, 'SIGQUIT');
  };
  process.once('exit', killAll);
  const stop = async () => {
    process.off('exit', killAll);
    for (const child of children) child.kill('SIGKILL');
    await discardPostgres(dataDir);
  };

  /** Starts a program with its output in a file of the folder. */
  const start = (program: string, args: string[], name: string): ChildProcess => {
    const output = openSync(join(folder, `${name}.log`), 'a', 0o600);
    const child = spawn(program, args, { cwd: folder, stdio: ['ignore', output, output] });
    closeSync(output);
    children.add(child);
    child.once('exit', () => children.delete(child));
    return child;
  };

  let connection: Connection | undefined;
  try {
    const url = new URL(postgres.url);
    await createSchema(programs.sqlTool, url);
    const ports = await writeServerConfig(folder, url);
    const address = `127.0.0.1:${ports.frontend}`;
    let server: ChildProcess;
    const startServer = async () => {
      server = start(programs.server, ['--root', folder, '--env', 'cluster', '--allow-no-auth', 'start'], 'server');
      const up = await waitUntil(() => server.exitCode !== null || isServing(address, SYSTEM_NAMESPACE), START_MS, 250);
      if (!up || server.exitCode !== null)
        throw new Error(`the Temporal server did not start:\n${lastLines(join(folder, 'server.log'), 20)}`);
    };
    await startServer();
    const uiPort = await freePort();
    writeUiConfig(folder, uiPort, address);
    start(programs.ui, ['--root', folder, '--config', 'config', '--env', 'ui', 'start'], 'ui');
    const uiUrl = `http://127.0.0.1:${uiPort}`;
    if (
      !(await waitUntil(
        () =>
          fetch(uiUrl).then(
            (r) => r.ok,
            () => false,
          ),
        30_000,
        250,
      ))
    )
      throw new Error(`the web UI did not start:\n${lastLines(join(folder, 'ui.log'), 20)}`);
    connection = await Connection.connect({ address });
    const open = connection;
    const visibility = new URL(url);
    visibility.pathname = '/temporal_visibility';
    return {
      address,
      uiUrl,
      connection,
      visibilityUrl: visibility.toString(),
      createNamespace: (name) => createNamespace(open, name),
      serverPid: () => server.pid ?? 0,
      async killServer() {
        server.kill('SIGKILL');
        await waitUntil(() => server.exitCode !== null || server.signalCode !== null, 5_000, 10);
      },
      restartServer: startServer,
      killPostgres: () => postgres.kill(),
      async restartPostgres() {
        postgres = await launchPostgres();
      },
      async stop() {
        await open.close();
        await stop();
      },
    };
  } catch (error) {
    await connection?.close();
    await stop();
    throw error;
  }
}

/** Creates both databases, and their tables in the newest version that the tool knows. */
async function createSchema(sqlTool: string, url: URL): Promise<void> {
  const admin = new pg.Client({ connectionString: url.toString() });
  await admin.connect();
  try {
    for (const database of Object.keys(DATABASES)) await admin.query(`create database ${database}`);
  } finally {
    await admin.end();
  }
  for (const [database, schema] of Object.entries(DATABASES)) {
    const on = ['--plugin', 'postgres12', '--endpoint', url.hostname, '--port', url.port, '--database', database];
    const tool = async (...args: string[]) => {
      const env = { ...process.env, SQL_USER: url.username, SQL_PASSWORD: decodeURIComponent(url.password) };
      const { code, stdout, stderr } = await runCommand(sqlTool, [...on, ...args], { env, timeoutMs: 120_000 });
      if (code !== 0) throw new Error(`temporal-sql-tool ${args.join(' ')} failed: ${stdout}${stderr}`);
    };
    await tool('setup-schema', '--version', '0.0');
    await tool('update-schema', '--schema-name', `postgresql/v12/${schema}`);
  }
}

/** A free port that fits into the two bytes with a sign that the server's table of members has for it. */
async function lowPort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_768);
    if (await isPortFree(port, '127.0.0.1')) return port;
  }
}

const SERVICES = ['frontend', 'history', 'matching', 'worker'] as const;

/** Writes the configuration of the server (JSON is YAML). @returns the gRPC port of each service. */
async function writeServerConfig(folder: string, url: URL): Promise<Record<(typeof SERVICES)[number], number>> {
  const sql = (databaseName: string) => ({
    sql: {
      pluginName: 'postgres12',
      databaseName,
      connectAddr: url.host,
      connectProtocol: 'tcp',
      user: url.username,
      password: decodeURIComponent(url.password),
      maxConns: 20,
      maxIdleConns: 20,
      maxConnLifetime: '1h',
    },
  });
  const ports = {} as Record<(typeof SERVICES)[number], number>;
  const services: Record<string, unknown> = {};
  for (const name of SERVICES) {
    ports[name] = await lowPort();
    services[name] = {
      rpc: {
        grpcPort: ports[name],
        membershipPort: await lowPort(),
        bindOnLocalHost: true,
        ...(name === 'frontend' ? { httpPort: await freePort() } : {}),
      },
    };
  }
  mkdirSync(join(folder, 'config'), { recursive: true });
  writeFileSync(
    join(folder, 'config', 'cluster.yaml'),
    JSON.stringify({
      log: { stdout: true, level: 'warn' },
      persistence: {
        defaultStore: 'main',
        visibilityStore: 'visibility',
        numHistoryShards: 4,
        datastores: { main: sql('temporal'), visibility: sql('temporal_visibility') },
      },
      global: { membership: { maxJoinDuration: '30s', broadcastAddress: '127.0.0.1' } },
      services,
      clusterMetadata: {
        enableGlobalNamespace: false,
        failoverVersionIncrement: 10,
        masterClusterName: 'active',
        currentClusterName: 'active',
        clusterInformation: {
          active: {
            enabled: true,
            initialFailoverVersion: 1,
            rpcName: 'frontend',
            rpcAddress: `127.0.0.1:${ports.frontend}`,
          },
        },
      },
      dcRedirectionPolicy: { policy: 'noop' },
    }),
    { mode: 0o600 },
  );
  return ports;
}

function writeUiConfig(folder: string, port: number, temporalGrpcAddress: string): void {
  writeFileSync(
    join(folder, 'config', 'ui.yaml'),
    JSON.stringify({ temporalGrpcAddress, host: '127.0.0.1', port, enableUi: true, disableWriteActions: false }),
  );
}

async function createNamespace(connection: Connection, namespace: string): Promise<void> {
  await connection.workflowService.registerNamespace({
    namespace,
    workflowExecutionRetentionPeriod: msToTs('1 day'),
  });
  // The server caches namespaces. Until the next refresh of its cache, calls fail with "not found".
  for (const end = Date.now() + 60_000; ; await delay(200)) {
    try {
      await connection.workflowService.listWorkflowExecutions({ namespace, pageSize: 1 });
      return;
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}

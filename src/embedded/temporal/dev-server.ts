/** The process of Temporal's dev server: its arguments, one start of it, and whether it serves. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { Connection } from '@temporalio/client';
import { SEARCH_ATTRIBUTES } from '../../workflows/contract.ts';
import { isLogFull } from '../log-file.ts';

const DYNAMIC_CONFIG = {
  // The dev server has one history shard. By default its queue readers poll 20 times per second, which costs 50 ms for
  // each step of a workflow.
  'history.transferProcessorMaxPollRPS': 2000,
  'history.timerProcessorMaxPollRPS': 2000,
  'history.visibilityProcessorMaxPollRPS': 2000,
  // On one node, more partitions of a task queue only add latency.
  'matching.numTaskqueueReadPartitions': 1,
  'matching.numTaskqueueWritePartitions': 1,
} as const;

export interface DevServerOptions {
  /** Path of the Temporal CLI. */
  cli: string;
  /** Working directory. */
  dataDir: string;
  databaseFile: string;
  logFile: string;
  port: number;
  /** Undefined: no web UI. */
  uiPort: number | undefined;
  metricsPort: number;
  /** Namespace that must exist besides `default`. */
  namespace: string;
}

function serverArguments(options: DevServerOptions): string[] {
  const { port, uiPort, metricsPort, databaseFile, namespace } = options;
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
    databaseFile,
    '--sqlite-pragma',
    'journal_mode=WAL',
    '--sqlite-pragma',
    'synchronous=NORMAL',
    ...Object.entries(DYNAMIC_CONFIG).flatMap(([key, value]) => ['--dynamic-config-value', `${key}=${value}`]),
    ...Object.values(SEARCH_ATTRIBUTES).flatMap(({ name }) => ['--search-attribute', `${name}=Keyword`]),
    ...(namespace === 'default' ? [] : ['--namespace', namespace]),
  ];
}

/** Starts the process; `ended` says how it ended, undefined while it runs. */
export function spawnDevServer(options: DevServerOptions): { child: ChildProcess; ended(): string | undefined } {
  const output = openSync(options.logFile, isLogFull(options.logFile) ? 'w' : 'a', 0o600);
  // In a process group of its own, Ctrl-C at the terminal reaches only our process, which stops this one last.
  const child = spawn(options.cli, serverArguments(options), {
    detached: true,
    stdio: ['ignore', output, output],
    cwd: options.dataDir,
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
  return { child, ended: () => ended };
}

/** Whether workflows can be started: health is SERVING and the namespace can be described. */
export async function isServing(address: string, namespace: string, timeoutMs = 2_000): Promise<boolean> {
  let connection: Connection | undefined;
  try {
    connection = await Connection.connect({ address, connectTimeout: timeoutMs });
    const open = connection;
    return await open.withDeadline(Date.now() + timeoutMs, async () => {
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

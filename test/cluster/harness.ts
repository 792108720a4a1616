/** What the checks of a real cluster share: the cluster, installations on it, and the table of what was seen. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach } from 'vitest';
import type { PanelSimulatorOptions } from '../../simulators/panel/contract.ts';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { runCommand } from '../../src/embedded/process.ts';
import { findTemporalCli } from '../../src/embedded/temporal/cli.ts';
import { type Installation, startInstallation, type TemporalServer } from '../support/processes.ts';
import { throwawayParent } from '../throwaway.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { clusterPrograms } from './programs.ts';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export interface ClusterUnderTest extends Cluster {
  /** Runs a command of Temporal's own CLI, as an administrator does. @returns its output. */
  temporal(namespace: string, ...args: string[]): Promise<string>;
  /** The product on this cluster: database, panel, and processes as they are started. */
  install(namespace: string, panel?: PanelSimulatorOptions): Promise<Installation>;
  discard(): Promise<void>;
}

export async function startClusterUnderTest(): Promise<ClusterUnderTest> {
  const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
  const programs = await clusterPrograms(cacheDir, (line) => console.info(line));
  const cli = await findTemporalCli({ cacheDir, log: () => undefined });
  // With this name and this file the next test run finds and removes the folder of a killed run.
  const folder = mkdtempSync(join(throwawayParent(), 'nodebyte-test-'));
  chmodSync(folder, 0o711);
  writeFileSync(join(folder, 'owner'), String(process.pid));
  const cluster = await startCluster({ programs, folder, cacheDir, log: () => undefined });
  const installations: Installation[] = [];
  return {
    ...cluster,
    async temporal(namespace, ...args) {
      const at = ['--address', cluster.address, '--namespace', namespace];
      const { code, stdout, stderr } = await runCommand(cli, [...args, ...at]);
      if (code !== 0) throw new Error(`temporal ${args.join(' ')}: ${stderr || stdout}`);
      return stdout;
    },
    async install(namespace, panel) {
      const server: TemporalServer = {
        address: cluster.address,
        namespace,
        pid: cluster.serverPid,
        kill: cluster.killServer,
        restart: cluster.restartServer,
      };
      const installation = await startInstallation(panel, server);
      installations.push(installation);
      return installation;
    },
    async discard() {
      for (const installation of installations) await installation.stop();
      await cluster.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Runs a command of the product's own CLI. @returns all that it printed. */
export async function runCli(
  { databaseUrl, sim, gateway }: Installation,
  address: string,
  ...args: string[]
): Promise<string> {
  const { stdout, stderr } = await runCommand(process.execPath, [join(ROOT, 'src', 'cli.ts'), ...args], {
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      DATABASE_URL: databaseUrl,
      TEMPORAL_ADDRESS: address,
      TEMPORAL_NAMESPACE: gateway.namespace,
      PTERODACTYL_URL: sim.url,
      PTERODACTYL_API_KEY: sim.keys.full,
    },
  });
  return stdout + stderr;
}

/** Waits until `look` returns something else than undefined. */
export async function eventually<T>(look: () => Promise<T | undefined>, what: string, timeoutMs = 30_000): Promise<T> {
  for (const end = Date.now() + timeoutMs; ; await delay(200)) {
    const seen = await look().catch(() => undefined);
    if (seen !== undefined) return seen;
    if (Date.now() > end) throw new Error(`not seen within ${timeoutMs} ms: ${what}`);
  }
}

export interface Report {
  /** Notes what a check saw. */
  saw(check: string, what: string): void;
  /** Prints a table of all checks. */
  print(): void;
}

/** Collects what the checks of a file saw. A check that fails is in the table, too. */
export function createReport(): Report {
  const lines: [check: string, result: string, seen: string][] = [];
  let seen: [string, string][] = [];
  afterEach(({ task }) => {
    const result = task.result?.state === 'fail' ? 'FAILED' : 'ok';
    if (seen.length === 0) seen.push([task.name, '']);
    for (const [check, what] of seen) lines.push([check, result, what]);
    seen = [];
  });
  return {
    saw: (check, what) => seen.push([check, what]),
    print() {
      const widths = [0, 1].map((i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
      const text = lines.map((line) =>
        line
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join('  ')
          .trimEnd(),
      );
      console.info(text.join('\n'));
    },
  };
}

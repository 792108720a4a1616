/** The programs of a Temporal cluster, built from their Go modules once and kept in the cache folder. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const SERVER = { module: 'go.temporal.io/server', version: 'v1.29.1' } as const;
const UI = { module: 'github.com/temporalio/ui-server/v2', version: 'v2.54.1' } as const;

export interface ClusterPrograms {
  /** `temporal-server`: frontend, history, matching and worker. */
  server: string;
  /** `temporal-sql-tool`: creates and updates the schema. */
  sqlTool: string;
  /** `ui-server` */
  ui: string;
}

interface Program {
  module: string;
  version: string;
  /** Package inside the module, whose last part is the name that `go install` gives to the program. */
  command: string;
}

const PROGRAMS: Record<keyof ClusterPrograms, Program> = {
  sqlTool: { ...SERVER, command: 'cmd/tools/sql' },
  server: { ...SERVER, command: 'cmd/server' },
  ui: { ...UI, command: 'cmd/server' },
};

/**
 * Builds what is missing. It takes about 11 minutes on two cores and 2 GB of memory; Go reads its proxy from the environment
 * (GOPROXY).
 * @throws {Error} when Go is missing or a module cannot be fetched or built.
 */
export async function clusterPrograms(cacheDir: string, log: (line: string) => void): Promise<ClusterPrograms> {
  const paths = {} as Record<keyof ClusterPrograms, string>;
  for (const [name, program] of Object.entries(PROGRAMS) as [keyof ClusterPrograms, Program][]) {
    const target = join(cacheDir, `temporal-cluster-${program.version.slice(1)}`, name);
    paths[name] = target;
    if (existsSync(target)) continue;
    mkdirSync(join(target, '..'), { recursive: true, mode: 0o700 });
    log(`building ${program.module}/${program.command}@${program.version}, which takes minutes`);
    await install(program, target);
  }
  return paths;
}

async function install({ module, version, command }: Program, target: string): Promise<void> {
  const bin = mkdtempSync(`${target}-`);
  try {
    const child = spawn('go', ['install', `${module}/${command}@${version}`], {
      cwd: bin,
      stdio: ['ignore', 'inherit', 'inherit'],
      // One compiler at a time: each takes up to 1 GB.
      env: { ...process.env, GOBIN: bin, GOFLAGS: `${process.env['GOFLAGS'] ?? ''} -p=1`.trim() },
    });
    const code = await new Promise((resolve, reject) => {
      child.once('error', (error) =>
        reject(new Error(`go cannot be run (Go 1.25 or newer is needed): ${error.message}`)),
      );
      child.once('exit', resolve);
    });
    if (code !== 0) throw new Error(`go install ${module}/${command}@${version} ended with ${code}`);
    // At its final name, a program is complete.
    renameSync(join(bin, command.split('/').at(-1) ?? ''), target);
  } finally {
    rmSync(bin, { recursive: true, force: true });
  }
}

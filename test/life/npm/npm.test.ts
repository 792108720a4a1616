/** `npm start` and the other scripts under a real npm: a signal to npm alone, or its death, ends everything (O-1). */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { discardPostgres } from '../../../src/embedded/postgres/postgres.ts';
import { freePort, isAlive, waitUntil } from '../../../src/embedded/process.ts';
import { discardTemporal } from '../../../src/embedded/temporal/temporal.ts';
import { createTestDatabase } from '../../support/database.ts';
import { createTestNamespace, temporalAddress } from '../../support/temporal.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodebyte-npm-'));
  chmodSync(folder, 0o711);
});
const dataDirs: string[] = [];
const seen = new Set<number>();
afterAll(async () => {
  for (const pid of seen) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  for (const dir of dataDirs) {
    await discardTemporal(join(dir, 'temporal'));
    await discardPostgres(join(dir, 'postgres'));
  }
  rmSync(folder, { recursive: true, force: true });
});

/** Process ids below `root`, itself included. */
function family(root: number): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n');
  const parents = lines.map((line) => line.trim().split(/\s+/).map(Number));
  const found = [root];
  for (const pid of found) for (const [child = 0, parent] of parents) if (parent === pid) found.push(child);
  return found;
}

function runNpm(args: readonly string[], env: Record<string, string>): { npm: ChildProcess; output: () => string } {
  const npm = spawn('npm', args, {
    // A new process group, as a service manager gives it; the signal goes to npm alone.
    env: { ...process.env, CACHE_DIR: cacheFolder(process.env['CACHE_DIR'] || undefined), LOG_LEVEL: 'info', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let text = '';
  for (const stream of [npm.stdout, npm.stderr]) stream?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { npm, output: () => text };
}

/** Sends the signal to npm, and waits until npm, what it started and `others` are gone. */
async function endsWithNpm(npm: ChildProcess, signal: NodeJS.Signals, others: readonly number[]): Promise<void> {
  const all = [...family(npm.pid ?? 0), ...others];
  for (const pid of all) seen.add(pid);
  npm.kill(signal);
  await waitUntil(() => !all.some(isAlive), 60_000, 200);
  expect(all.filter(isAlive)).toEqual([]);
}

const embeddedIds = (dataDir: string): number[] => [
  Number.parseInt(readFileSync(join(dataDir, 'postgres/cluster/postmaster.pid'), 'utf8'), 10),
  Number(JSON.parse(readFileSync(join(dataDir, 'temporal/server.json'), 'utf8')).pid),
];

test.each([
  ['start', [], 'Ctrl-C stops everything', 'SIGTERM'],
  ['start', [], 'Ctrl-C stops everything', 'SIGKILL'],
  ['demo', ['--', '--servers', '60'], 'Ctrl-C', 'SIGTERM'],
  ['demo', ['--', '--servers', '60'], 'Ctrl-C', 'SIGKILL'],
] as const)('npm run %s %j, then %s: %s to npm ends everything (O-1)', async (script, args, ready, signal) => {
  const home = join(folder, `${script}-${signal}`);
  const dataDir = script === 'demo' ? join(home, 'demo') : home;
  dataDirs.push(dataDir);
  const env = { DATA_DIR: home, BACKEND_PORT: String(await freePort()), BACKEND_HOST: '127.0.0.1', ENV: 'development' };
  const { npm, output } = runNpm(['run', script, ...args], env);
  await waitUntil(() => output().includes(ready) || npm.exitCode !== null, 180_000);
  expect(output()).toContain(ready);
  await endsWithNpm(npm, signal, embeddedIds(dataDir));
});

test.each([
  ['start:api', 'SIGTERM'],
  ['start:api', 'SIGKILL'],
  ['start:worker', 'SIGTERM'],
  ['start:worker', 'SIGKILL'],
] as const)('npm run %s: %s to npm ends everything (O-1)', async (script, signal) => {
  const database = await createTestDatabase();
  const namespace = await createTestNamespace('npm');
  try {
    const { npm, output } = runNpm(['run', script], {
      DATABASE_URL: database.url,
      TEMPORAL_ADDRESS: temporalAddress(),
      TEMPORAL_NAMESPACE: namespace,
      JWT_SECRET: 'a secret of a test that is long enough',
      BACKEND_PORT: String(await freePort()),
      BACKEND_HOST: '127.0.0.1',
      ENV: 'development',
    });
    const ready = script === 'start:api' ? 'listening' : 'polling';
    await waitUntil(() => output().includes(ready) || npm.exitCode !== null, 60_000);
    expect(output()).toContain(ready);
    await endsWithNpm(npm, signal, []);
  } finally {
    await database.drop();
  }
});

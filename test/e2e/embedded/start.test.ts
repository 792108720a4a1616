/** `npm start` and `npm run demo` as real processes with their own folder; signals go to the process group. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { discardPostgres } from '../../../src/embedded/postgres/postgres.ts';
import { freePort, isAlive, waitUntil } from '../../../src/embedded/process.ts';
import { discardTemporal } from '../../../src/embedded/temporal/temporal.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodebyte-start-'));
  chmodSync(folder, 0o711);
});
const started: ChildProcess[] = [];
afterAll(async () => {
  for (const child of started) if (child.pid !== undefined && child.exitCode === null) child.kill('SIGKILL');
  for (const dir of ['data', 'demo/demo', 'twice/demo']) {
    await discardTemporal(join(folder, dir, 'temporal'));
    await discardPostgres(join(folder, dir, 'postgres'));
  }
  rmSync(folder, { recursive: true, force: true });
});

interface Run {
  child: ChildProcess;
  /** Its complete output. */
  output(): string;
  exit: Promise<number | null>;
  /** Sends SIGINT to the process group, as Ctrl-C in a terminal does. */
  interrupt(): void;
}

function run(entry: string, args: readonly string[], env: Record<string, string>): Run {
  const child = spawn(process.execPath, [entry, ...args], {
    env: { ...process.env, CACHE_DIR: cacheFolder(process.env['CACHE_DIR'] || undefined), LOG_LEVEL: 'info', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  started.push(child);
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return {
    child,
    output: () => text,
    exit: new Promise((resolve) => {
      child.once('exit', (code) => resolve(code));
    }),
    interrupt: () => void process.kill(-(child.pid ?? 0), 'SIGINT'),
  };
}

/** Process ids of the embedded services of a data folder. */
function serviceProcessIds(dataDir: string): number[] {
  const postmaster = Number.parseInt(readFileSync(join(dataDir, 'postgres/cluster/postmaster.pid'), 'utf8'), 10);
  const temporal: unknown = JSON.parse(readFileSync(join(dataDir, 'temporal/server.json'), 'utf8'));
  const server = typeof temporal === 'object' && temporal !== null && 'pid' in temporal ? Number(temporal.pid) : 0;
  return [postmaster, server];
}

const prints = (process: Run, text: string, timeoutMs = 90_000): Promise<boolean> =>
  waitUntil(() => process.output().includes(text) || process.child.exitCode !== null, timeoutMs).then(() =>
    process.output().includes(text),
  );

test('npm start serves, refuses a second start, recovers after a kill, and stops in order at Ctrl-C', async () => {
  const port = await freePort();
  const dataDir = join(folder, 'data');
  const env = { DATA_DIR: dataDir, BACKEND_PORT: String(port), BACKEND_HOST: '127.0.0.1', ENV: 'development' };
  const first = run('src/start.ts', [], env);
  expect(await prints(first, 'Ctrl-C stops everything'), first.output()).toBe(true);
  expect((await fetch(`http://127.0.0.1:${port}/health/ready`)).status).toBe(200);
  expect((await fetch(`http://127.0.0.1:${port}/docs`)).status).toBe(200);

  const second = run('src/start.ts', [], { ...env, BACKEND_PORT: String(await freePort()) });
  expect(await second.exit).toBe(1);
  expect(second.output()).toContain(`in use by "npm start", process ${first.child.pid}`);
  const busy = run('src/start.ts', [], env);
  expect(await busy.exit).toBe(1);
  expect(busy.output()).toContain('BACKEND_PORT');

  // A kill of the parent leaves the services running, and the next start adopts them. Api and worker end by themselves.
  const processIds = serviceProcessIds(dataDir);
  first.child.kill('SIGKILL');
  await first.exit;
  expect(processIds.every(isAlive)).toBe(true);
  expect(
    await waitUntil(
      () =>
        fetch(`http://127.0.0.1:${port}/health/live`).then(
          () => false,
          () => true,
        ),
      30_000,
      200,
    ),
  ).toBe(true);
  const third = run('src/start.ts', [], env);
  expect(await prints(third, 'Ctrl-C stops everything'), third.output()).toBe(true);
  expect(serviceProcessIds(dataDir)).toEqual(processIds);

  third.interrupt();
  expect(await third.exit, third.output()).toBe(0);
  expect(processIds.some(isAlive)).toBe(false);
  const output = third.output();
  const at = (text: string): number => output.lastIndexOf(text);
  expect(at('stopping')).toBeGreaterThan(at('Ctrl-C stops everything'));
  expect(readdirSync(dataDir).sort()).toEqual(['postgres', 'secrets.json', 'temporal']);
});

const SMALL = [
  '--servers',
  '60',
  '--users',
  '40',
  '--allocations',
  '200',
  '--nodes',
  '3',
  '--databases',
  '10',
  '--subusers',
  '10',
  '--latency',
  '0',
];

test('npm run demo -- --once runs a full sync, prints its counts, exits with 0 and leaves no process', async () => {
  const demo = run('src/cli.ts', ['demo', '--once', ...SMALL], {
    DATA_DIR: join(folder, 'demo'),
    ENV: 'production',
    BACKEND_PORT: String(await freePort()),
  });
  expect(await demo.exit, demo.output()).toBe(0);
  expect(demo.output()).toContain('Sync completed');
  expect(demo.output()).toMatch(/\n {2}servers +60 +0 +0 +0 +0\n/);
  expect(demo.output()).toMatch(/\n {2}allocations +200 +0 +0 +0 +0\n/);
  // The messages of the demo reach a simulated Discord; what one of its channels refuses is sent again.
  expect(demo.output()).toMatch(/\n {2}sync\.completed +operations +delivered\n/);
  expect(demo.output()).toMatch(/\n {2}support\.ticket_created +support +failed: /);
  expect(demo.output()).toContain('Sent again by the administrator: support.ticket_created to support: delivered\n');
  // An account of the simulated Hytale signs in, and the tokens of its session come to the variables of a server.
  expect(demo.output()).toMatch(/\n {2}game session for .+: active, its tokens are on the panel\n/);
  for (const name of ['HYTALE_SESSION_TOKEN', 'HYTALE_IDENTITY_TOKEN']) {
    expect(demo.output()).toMatch(new RegExp(`\\n {2}${name} on the simulated panel: \\d{3} characters\\n`));
  }
  // The console of that server is read from the daemon of the simulated panel.
  expect(demo.output()).toMatch(/\n {2}console of .+: [1-9]\d* lines stored\n/);
  const log = readFileSync(join(folder, 'demo/demo/demo.log'), 'utf8');
  for (const text of [demo.output(), log]) expect(text).not.toMatch(/\beyJ|\bory_/);
  expect(existsSync(join(folder, 'demo/demo/postgres/cluster/postmaster.pid'))).toBe(false);
  expect(existsSync(join(folder, 'demo/demo/temporal/server.json'))).toBe(false);
});

test('a demo starts with an empty database after a killed one, and ends at Ctrl-C', async () => {
  const env = { DATA_DIR: join(folder, 'twice'), BACKEND_PORT: String(await freePort()) };
  const first = run('src/cli.ts', ['demo', ...SMALL], env);
  expect(await prints(first, 'Ctrl-C stops everything'), first.output()).toBe(true);
  const processIds = serviceProcessIds(join(folder, 'twice/demo'));
  first.child.kill('SIGKILL');
  await first.exit;
  const second = run('src/cli.ts', ['demo', ...SMALL], env);
  expect(await prints(second, 'Ctrl-C stops everything'), second.output()).toBe(true);
  expect(processIds.some(isAlive)).toBe(false);
  expect(second.output()).toMatch(/\n {2}servers +60 +0 +0 +0 +0\n/);
  const now = serviceProcessIds(join(folder, 'twice/demo'));
  second.interrupt();
  expect(await second.exit, second.output()).toBe(0);
  expect(now.some(isAlive)).toBe(false);
});

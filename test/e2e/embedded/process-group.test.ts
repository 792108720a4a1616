/** The parent process of api and worker: readiness, restarts, the order of stopping. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isAlive, waitUntil } from '../../../src/embedded/process.ts';
import { GroupFailure, startProcessGroup } from '../../../src/embedded/process-group.ts';

const quiet = (): void => undefined;
let folder = '';
const fresh = (name: string): string => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodebyte-embedded-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('process group', () => {
  const script = (name: string, text: string): string => {
    const file = fresh(name);
    writeFileSync(file, text);
    return file;
  };
  const member = (name: string, entry: string, drainMs = 5_000) => ({ name, entry, env: { ...process.env }, drainMs });
  const SERVING = (trace: string, name: string) => `
    const fs = require('node:fs');
    const end = (how) => { fs.appendFileSync(${JSON.stringify(trace)}, '${name} ' + how + '\\n'); process.exit(0); };
    process.on('SIGTERM', () => setTimeout(() => end('SIGTERM'), 100));
    process.on('disconnect', () => end('disconnect'));
    process.send({ ready: true, url: 'http://${name}' });
    setInterval(() => {}, 1000);`;

  test('is ready when all members are ready, stops them in order, and restarts a killed member', async () => {
    const trace = fresh('trace');
    const group = startProcessGroup(
      [member('a', script('a.cjs', SERVING(trace, 'a'))), member('b', script('b.cjs', SERVING(trace, 'b')))],
      { log: quiet },
    );
    const messages = await group.ready;
    expect(messages.get('a')).toEqual({ ready: true, url: 'http://a' });
    const before = group.pid('b');
    if (before !== undefined) process.kill(before, 'SIGKILL');
    expect(await waitUntil(() => group.pid('b') !== undefined && group.pid('b') !== before, 10_000)).toBe(true);
    // The new member sets its signal handlers shortly after its start.
    await waitUntil(() => false, 500);
    await group.stop();
    expect(readFileSync(trace, 'utf8')).toBe('a SIGTERM\nb SIGTERM\n');
  });

  test('fails when a member ends five times within a minute, and at once when a member refuses its configuration', async () => {
    const started = startProcessGroup([member('x', script('x.cjs', 'process.exit(3)'))], { log: quiet });
    expect(await started.failed).toBe(1);
    await expect(started.ready).rejects.toBeInstanceOf(GroupFailure);
    const begin = Date.now();
    const configured = startProcessGroup([member('y', script('y.cjs', 'process.exit(78)'))], { log: quiet });
    expect(await configured.failed).toBe(78);
    expect(Date.now() - begin).toBeLessThan(3_000);
  }, 30_000);

  test('kills a member that does not end; members end when their parent is killed', async () => {
    const stubborn = script(
      'stubborn.cjs',
      `process.on('SIGTERM', () => {}); process.send({ ready: true }); setInterval(() => {}, 1000);`,
    );
    const group = startProcessGroup([member('stubborn', stubborn, 300)], { log: quiet });
    await group.ready;
    const memberId = group.pid('stubborn');
    await group.stop();
    expect(memberId !== undefined && isAlive(memberId)).toBe(false);

    const trace = fresh('orphan-trace');
    const child = script('orphan.cjs', SERVING(trace, 'orphan'));
    const parent = script(
      'parent.mjs',
      `import { startProcessGroup } from ${JSON.stringify(join(process.cwd(), 'src/embedded/process-group.ts'))};
       const g = startProcessGroup([{ name: 'c', entry: ${JSON.stringify(child)}, env: process.env, drainMs: 1000 }], { log() {} });
       await g.ready; console.log('ready'); setInterval(() => {}, 1000);`,
    );
    const running: ChildProcess = spawn(process.execPath, [parent], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => running.stdout?.once('data', resolve));
    running.kill('SIGKILL');
    const traced = (): string => {
      try {
        return readFileSync(trace, 'utf8');
      } catch {
        return '';
      }
    };
    expect(await waitUntil(() => traced() === 'orphan disconnect\n', 5_000)).toBe(true);
  });
});

describe('a process that npm started', () => {
  const PARENT = JSON.stringify(join(process.cwd(), 'src/embedded/parent.ts'));

  test.each([
    ['npm is killed', 'npm', 'SIGKILL'],
    ['the shell between them gets the SIGTERM that npm passes on', 'shell', 'SIGTERM'],
  ] as const)('notices that %s (O-1)', async (_what, victim, signal) => {
    const trace = fresh(`npm-${victim}`);
    const child = fresh(`child-${victim}.mjs`);
    writeFileSync(
      child,
      `import { appendFileSync } from 'node:fs';
       import { watchNpm } from ${PARENT};
       await watchNpm(() => { appendFileSync(${JSON.stringify(trace)}, 'gone'); process.exit(); }, 50);
       console.log(process.pid, process.ppid);
       setInterval(() => {}, 1000);`,
    );
    // The command after node keeps the shell from replacing itself by node.
    const npm = fresh(`npm-${victim}.cjs`);
    writeFileSync(
      npm,
      `require('node:child_process').spawn('sh', ['-c', ${JSON.stringify(`"${process.execPath}" "${child}"; true`)}],
         { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, npm_lifecycle_event: 'start' } });
       setInterval(() => {}, 1000);`,
    );
    const running = spawn(process.execPath, [npm], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ids = await new Promise<string>((resolve) => running.stdout?.once('data', (data) => resolve(String(data))));
    const [node = 0, shell = 0] = ids.trim().split(' ').map(Number);
    try {
      if (victim === 'npm') running.kill(signal);
      else process.kill(shell, signal);
      expect(await waitUntil(() => !isAlive(node), 10_000)).toBe(true);
      expect(readFileSync(trace, 'utf8')).toBe('gone');
    } finally {
      running.kill('SIGKILL');
      if (isAlive(node)) process.kill(node, 'SIGKILL');
    }
  });
});

import { execFile } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Harness, json, startHarness } from './harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());

function cli(args: readonly string[], input = ''): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['src/cli.ts', 'user', 'create', ...args],
      { env: { PATH: process.env['PATH'], DATABASE_URL: harness.database.url } },
      (error, stdout, stderr) => resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
    );
    child.stdin?.end(input);
  });
}
const login = (email: string, password: string) => harness.get('/api/v1/auth/login', json({ email, password }));

test('a first administrator with a made password can sign in and use the administration', async () => {
  const made = await cli(['--email', 'Root@Example.com', '--admin', '--json']);
  expect(made).toMatchObject({ code: 0, stderr: '' });
  const { id, email, admin, password } = JSON.parse(made.stdout);
  expect([email, admin]).toEqual(['root@example.com', true]);
  const signedIn = await (await login(email, password)).json();
  expect(signedIn.user).toMatchObject({ id, isSystemAdmin: true, roles: ['SUPER_ADMIN'] });
  const state = await harness.get('/api/admin/sync', { headers: { Authorization: `Bearer ${signedIn.accessToken}` } });
  expect(state.status).toBe(200);
});

test('a password from standard input is not printed', async () => {
  const made = await cli(['--email', 'a@example.com', '--password-stdin'], 'Given-pass-1\n');
  expect(made.code).toBe(0);
  expect(made.stdout).not.toContain('Given-pass-1');
  expect((await login('a@example.com', 'Given-pass-1')).status).toBe(200);
});

test.each([
  [['--email', 'a@example.com', '--password', 'Given-pass-1'], 'already exists'],
  [['--email', 'A@EXAMPLE.com', '--password', 'Given-pass-1'], 'already exists'],
  [['--email', 'nothing'], 'no e-mail address'],
  [['--email', 'b@example.com', '--password', 'short'], '8 characters'],
  [['--email', 'b@example.com', '-d', 'postgres://x@127.0.0.1:1/x'], 'ECONNREFUSED'],
])('%j fails with a reason', async (args, reason) => {
  const failed = await cli(args);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain(reason);
  expect(failed.stderr).not.toMatch(/insert|Given-pass|\$2b/);
});

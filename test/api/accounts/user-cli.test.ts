import { execFile } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Harness, json, makeUser, PASSWORD, startHarness } from '../../support/api/harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());

const cli = (args: readonly string[], input = '') => user(['create', ...args], input);
function user(args: readonly string[], input = ''): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['src/cli.ts', 'user', ...args],
      { env: { PATH: process.env['PATH'], DATABASE_URL: harness.database.url } },
      (error, stdout, stderr) => resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
    );
    child.stdin?.end(input);
  });
}
const login = (email: string, password: string) => harness.get('/api/v1/auth/login', json({ email, password }));

test('a first administrator with a generated password can sign in and use the admin routes', async () => {
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
  [['--email', 'nothing'], 'not an email address'],
  [['--email', 'b@example.com', '--password', 'short'], '8 characters'],
  [['--email', 'b@example.com', '-d', 'postgres://x@127.0.0.1:1/x'], 'ECONNREFUSED'],
])('user create %j fails with a reason', async (args, reason) => {
  const failed = await cli(args);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain(reason);
  expect(failed.stderr).not.toMatch(/insert|Given-pass|\$2b/);
});

test('adding and removing the role SUPER_ADMIN opens and closes the admin routes', async () => {
  await makeUser(harness, { roles: ['SUPER_ADMIN'], isSystemAdmin: true });
  const { id, email, token } = await makeUser(harness);
  const state = async () =>
    (await harness.get('/api/admin/sync', { headers: { Authorization: `Bearer ${token}` } })).status;
  const given = await user(['roles', email.toUpperCase(), '--add', 'super_admin, PARTNER', '--json']);
  expect(given).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(given.stdout)).toEqual({ id, email, roles: ['MEMBER', 'SUPER_ADMIN', 'PARTNER'], admin: true });
  expect(await state()).toBe(200);
  const taken = await user(['roles', id, '--remove', 'SUPER_ADMIN']);
  expect(taken).toEqual({ code: 0, stdout: `${email} (${id}): MEMBER, PARTNER\n`, stderr: '' });
  expect(await state()).toBe(403);
  expect((await user(['roles', id, '--set', 'SPONSOR'])).stdout).toContain(': SPONSOR\n');
});

test('a disabled user is signed out and cannot sign in until enabled', async () => {
  const { id, email } = await makeUser(harness);
  expect((await login(email, PASSWORD)).status).toBe(200);
  const sessions = async () => (await harness.database.db('sessions').where({ userId: id })).length;
  expect(await sessions()).toBe(1);
  expect(await user(['disable', email])).toEqual({ code: 0, stdout: `disabled ${email} (${id})\n`, stderr: '' });
  expect(await sessions()).toBe(0);
  expect(await (await login(email, PASSWORD)).json()).toMatchObject({ error: 'account_disabled' });
  const again = await user(['disable', id, '--json']);
  expect([again.code, JSON.parse(again.stdout)]).toEqual([0, { id, email, active: false, changed: false }]);
  expect((await user(['enable', id])).code).toBe(0);
  expect((await login(email, PASSWORD)).status).toBe(200);
});

test('a generated password is printed once, and the old password no longer signs in', async () => {
  const { id, email } = await makeUser(harness, { emailVerified: false });
  const reset = await user(['reset-password', email, '--verify', '--json']);
  expect(reset).toMatchObject({ code: 0, stderr: '' });
  const { password, ...rest } = JSON.parse(reset.stdout);
  expect(rest).toEqual({ id, email, active: true, verified: true });
  expect((await login(email, PASSWORD)).status).toBe(401);
  expect((await login(email, password)).status).toBe(200);
});

test('a given password is not printed, and the output points out an unverified address', async () => {
  const { email } = await makeUser(harness, { emailVerified: false });
  const reset = await user(['reset-password', email, '--password-stdin'], 'Given-pass-1\n');
  expect(reset.code).toBe(0);
  expect(reset.stdout).not.toContain('Given-pass-1');
  expect(reset.stdout).toContain('--verify');
  await user(['reset-password', email, '--password', 'Given-pass-2', '--verify']);
  expect((await login(email, 'Given-pass-2')).status).toBe(200);
});

test('the list shows the matching users, in pages, with their total', async () => {
  for (const name of ['zoe_1', 'zoe_2', 'zoe_3', 'zoex']) {
    await makeUser(harness, { email: `${name}@example.org`, roles: ['SPONSOR'], isActive: name !== 'zoe_2' });
  }
  const page = await user(['list', '--search', 'ZOE_', '--role', 'sponsor', '--limit', '2', '--page', '2', '--json']);
  expect(page).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(page.stdout)).toMatchObject({
    users: [{ username: expect.stringMatching(/^zoe_/), roles: ['SPONSOR'], createdAt: expect.stringMatching(/Z$/) }],
    total: 3,
    page: 2,
    limit: 2,
  });
  expect(page.stdout).not.toMatch(/\$2b/);
  const shown = await user(['list', '--search', 'zoe', '--disabled']);
  const [header = '', row = '', total] = shown.stdout.trimEnd().split('\n');
  expect(header.split(/ {2,}/)).toEqual([
    'email',
    'username',
    'roles',
    'admin',
    'active',
    'verified',
    'last sign-in',
    'created',
  ]);
  expect(row.split(/ +/).slice(0, 7)).toEqual(['zoe_2@example.org', 'zoe_2', 'SPONSOR', 'no', 'no', 'yes', 'never']);
  expect(total).toBe('1 of 1 users, page 1 of 1');
  expect((await user(['list', '--search', 'zoe', '--admins'])).stdout).toBe('no users\n');
});

test('control characters in a name are not written to the terminal', async () => {
  const { id } = await makeUser(harness, { email: 'steer@example.org' });
  await harness.database.db('users').where({ id }).update({ username: '\u001b[2Jgone' });
  expect((await user(['list', '--search', 'steer'])).stdout).not.toContain('\u001b');
});

test('the last administrator keeps the role, also against two parallel commands', async () => {
  const alone = await startHarness();
  try {
    const ids = [];
    for (let i = 0; i < 2; i += 1) {
      ids.push((await makeUser(alone, { roles: ['SUPER_ADMIN'], isSystemAdmin: true })).id);
    }
    const ends = await Promise.all(
      ids.map((id) => user(['roles', id, '--set', 'MEMBER', '-d', alone.database.url, '--json'])),
    );
    expect(ends.map((end) => end.code).sort()).toEqual([0, 1]);
    const refused = ends.find((end) => end.code === 1);
    expect(JSON.parse(refused?.stdout ?? '').error).toContain('last active system administrator');
    expect(refused?.stderr).toContain('last active system administrator');
  } finally {
    await alone.close();
  }
});

test('an email address that several old accounts share is answered with their ids', async () => {
  await harness.database.db.raw('drop index users_email_lower_unique');
  const one = await makeUser(harness, { email: 'twin@example.org' });
  const two = await makeUser(harness, { email: 'Twin@example.org' });
  const failed = await user(['disable', 'twin@example.org']);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain(one.id);
  expect(failed.stderr).toContain(two.id);
  expect((await user(['disable', two.id])).code).toBe(0);
});

const KNOWN = 'MEMBER, PARTNER, SPONSOR, TECH_TEAM, SUPPORT_TEAM, ADMINISTRATOR, SUPER_ADMIN';
test.each([
  [['roles', 'a@example.com', '--add', 'KING'], KNOWN],
  [['roles', 'a@example.com', '--set', ','], KNOWN],
  [['list', '--role', 'KING'], KNOWN],
  [['roles', 'a@example.com'], '--add, --remove or --set'],
  [['roles', 'a@example.com', '--set', 'MEMBER', '--add', 'PARTNER'], 'not both'],
  [['roles', 'a@example.com', '--add', 'PARTNER', '--remove', 'partner'], 'both added and removed'],
  [['roles', 'unknown@example.com', '--add', 'PARTNER'], 'User not found'],
  [['disable', 'unknown@example.com'], 'User not found'],
  [['enable', 'unknown'], 'User not found'],
  [['reset-password', 'unknown@example.com'], 'User not found'],
  [['reset-password', 'a@example.com', '--password', 'short'], '8 characters'],
  [['reset-password', 'a@example.com', '--password', 'Given-pass-1', '--password-stdin'], 'not both'],
  [['list', '-d', 'postgres://x@127.0.0.1:1/x'], 'ECONNREFUSED'],
])('user %j fails with a reason, also as one JSON document', async (args, reason) => {
  const failed = await user([...args, '--json']);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain(reason);
  expect(JSON.parse(failed.stdout).error).toContain(reason);
});

import { execFile } from 'node:child_process';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Check } from '../../../src/cli/doctor/check.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { confirmStored } from '../../../src/services/settings/setup-window.ts';
import { listAuditEvents } from '../../../src/store/audit/audit-list.ts';
import { type Harness, JWT_SECRET, json, makeUser, PASSWORD, startHarness } from '../../support/api/harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());

const cli = (args: readonly string[], input = '') => user(['create', ...args], input);
const user = (args: readonly string[], input = '') => run(['user', ...args], {}, input);
function run(
  args: readonly string[],
  env: Record<string, string> = {},
  input = '',
): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['src/cli.ts', ...args],
      { env: { PATH: process.env['PATH'], DATABASE_URL: harness.database.url, ...env } },
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

describe('what was stored without sign-in (S11)', () => {
  const stranger = { site_url: 'https://evil.example', resend_api_key: 're_attackers' };
  const setup = (...args: string[]) => run(['setup', ...args]);
  beforeEach(async () => {
    for (const table of ['config', 'setting_entries', 'setup_window', 'users']) {
      await harness.database.db.raw('delete from ??', [table]);
    }
    await harness.deps.settings.save(stranger, { enteredBy: 'setup' });
    await harness.deps.settings.save({ site_name: 'ours' }, { enteredBy: 'user' });
  });
  const stored = async () =>
    Object.fromEntries(
      (await harness.database.db('config').select('key', 'value')).map(({ key, value }) => [key, value]),
    );

  const recorded = async (action: string) =>
    (await listAuditEvents(harness.database.db, { limit: 50 })).filter((event) => event.action === action);

  test('taking it over is recorded, once', async () => {
    for (let i = 0; i < 2; i += 1) await confirmStored(harness.database.db, OPERATOR);
    const confirmed = { actorType: 'cli', details: { fields: ['resendApiKey', 'siteUrl'] } };
    expect(await recorded('setup-values-confirmed')).toMatchObject([confirmed]);
  });

  test('without a terminal it is kept and listed with the first administrator, and the exit code is 0', async () => {
    const made = await cli(['--email', 'first@example.com', '--admin']);
    expect(made).toMatchObject({ code: 0, stderr: '' });
    expect(made.stdout).toMatch(
      /stored without sign-in:\n.*\nresend_api_key +•{20} .*\nsite_url +https:\/\/evil\.example .*\nkept/,
    );
    expect(made.stdout).not.toContain('re_attackers');
    expect(await stored()).toMatchObject({ site_url: 'https://evil.example', site_name: 'ours' });
    // It is listed until somebody decides.
    const second = JSON.parse((await cli(['--email', 'second@example.com', '--admin', '--json'])).stdout);
    expect(second).toMatchObject({
      dropped: false,
      storedWithoutSignIn: [{ key: 'resend_api_key', value: '•'.repeat(20) }, { key: 'site_url' }],
    });
  });

  test('--drop-stored removes it and nothing else', async () => {
    const made = await cli(['--email', 'first@example.com', '--admin', '--drop-stored']);
    expect([made.code, made.stdout.split('\n').at(-2)]).toEqual([0, 'removed']);
    expect(await stored()).toEqual({ site_url: '', resend_api_key: '', site_name: 'ours' });
    const dropped = { action: 'setup-values-dropped', details: { fields: ['resendApiKey', 'siteUrl'] } };
    expect(await recorded('setup-values-dropped')).toMatchObject([{ ...dropped, actorType: 'cli' }]);
    expect(JSON.parse((await setup('status', '--json')).stdout)).toMatchObject({ storedWithoutSignIn: [] });
    const member = await cli(['--email', 'm@example.com', '--drop-stored']);
    expect([member.code, member.stderr]).toEqual([1, 'error: --drop-stored needs --admin\n']);
  });

  test('`setup open` opens the wizard for an hour, `setup status` says so, an administrator ends both', async () => {
    expect((await setup('status')).stdout).toContain(
      'not open yet: the first start of the api opens it for 60 minutes',
    );
    const opened = await setup('open', '--json');
    expect(opened).toMatchObject({ code: 0, stderr: '' });
    const { openUntil, ...status } = JSON.parse(opened.stdout);
    expect(status).toMatchObject({ open: true, administered: false, storedWithoutSignIn: [{}, {}] });
    expect(await recorded('setup-opened')).toMatchObject([{ actorType: 'cli', details: { after: { openUntil } } }]);
    expect(Math.abs(new Date(openUntil).getTime() - Date.now() - 3_600_000)).toBeLessThan(60_000);
    expect((await setup('status')).stdout).toContain(`open to everybody who reaches the api until ${openUntil}`);
    await cli(['--email', 'first@example.com', '--admin']);
    expect((await setup('status')).stdout).toContain('closed: a system administrator exists');
    const refused = await setup('open', '--json');
    expect(refused.code).toBe(1);
    expect(JSON.parse(refused.stdout).error).toContain('A system administrator exists');
  });

  test('doctor says whether it is open and which variables the database overrides (S3)', async () => {
    await setup('open');
    await harness.deps.settings.save({ pterodactyl_url: 'https://db.example' }, { enteredBy: 'user' });
    const env = {
      ENV: 'staging',
      SITE_URL: 'https://real.example',
      PTERODACTYL_API_KEY: 'env-key',
      JWT_SECRET,
      ENCRYPTION_KEY: '0123456789abcdef'.repeat(4),
    };
    const { checks } = JSON.parse((await run(['doctor', '--json'], env)).stdout) as { checks: Check[] };
    const found = (name: string) =>
      checks.filter((check) => check.name === name).map(({ state, detail }) => [state, detail]);
    expect(found('Set-up')).toEqual([
      [
        'warning',
        expect.stringMatching(/^open to everybody .* until .*Z; stored without sign-in: resend_api_key, site_url$/),
      ],
    ]);
    expect(found('Settings')).toEqual([
      ['failed', expect.stringContaining('cannot be decrypted')],
      [
        'warning',
        'PTERODACTYL_API_KEY is used with the URL of the environment only; it is not sent to https://db.example',
      ],
      ['warning', 'the database overrides SITE_URL with another value'],
    ]);
    expect(await harness.database.db('setting_entries').where({ entered_by: 'elsewhere' })).toEqual([]);
  }, 30_000);
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
  // The token ended with the role.
  expect(await state()).toBe(401);
  expect((await user(['roles', id, '--set', 'SPONSOR'])).stdout).toContain(': SPONSOR\n');
});

test('security events are listed, of one account also after it was deleted (S14)', async () => {
  const { id, email } = await makeUser(harness);
  await user(['disable', email]);
  await user(['enable', id]);
  await harness.database.db('users').where({ id }).delete();
  const listed = await run(['audit', 'list', '--user', id, '--json']);
  expect(listed).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(listed.stdout).events).toMatchObject([
    { action: 'account-enabled', outcome: 'success', actor: { type: 'cli' }, target: { id: id } },
    { action: 'account-disabled', outcome: 'success', actor: { type: 'cli' }, target: { id: id } },
  ]);
  const { stdout } = await run(['audit', 'list', '--limit', '1']);
  expect(stdout).toContain(id);
  expect(stdout).toContain('account-enabled');
  expect(stdout).not.toContain('account-disabled');
});

test('a disabled user is signed out and cannot sign in until enabled', async () => {
  const { id, email } = await makeUser(harness);
  expect((await login(email, PASSWORD)).status).toBe(200);
  const sessions = async () => (await harness.database.db('sessions').where({ userId: id })).length;
  expect(await sessions()).toBe(1);
  const signedOut = await user(['sign-out', email, '--json']);
  expect([signedOut.code, JSON.parse(signedOut.stdout), await sessions()]).toEqual([0, { id, sessions: 1 }, 0]);
  expect((await login(email, PASSWORD)).status).toBe(200);
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
  await harness.database.db.raw('drop index users_email_address_unique');
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

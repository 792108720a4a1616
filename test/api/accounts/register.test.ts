/** Registration: the new account, the order of the checks, and that one address never has two accounts. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { inTransaction } from '../../../src/store/db/db.ts';
import { execute, query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import {
  countByStatus,
  emailsTo,
  login,
  makeEmail,
  outcome,
  post,
  resetRateLimits,
} from '../../support/api/sign-in.ts';
import { openTransaction } from '../../support/database.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
});

const PASSWORD = 'Registered-horse-1';
let serial = 0;
const freshEmail = () => {
  serial += 1;
  return `new${serial}@example.com`;
};
const register = (body: Record<string, unknown>, headers: Record<string, string> = {}) =>
  post(harness, 'register', { password: PASSWORD, confirmPassword: PASSWORD, ...body }, headers);
const usersOf = (email: string) =>
  query<Record<string, unknown>>(
    harness.database.db,
    `select u.email, u.username, u."firstName", u."lastName", u.roles, u."isActive", u."isSystemAdmin",
            u."isPterodactylAdmin", u."emailVerified", u.password
       from users u where lower(u.email) = lower(?)`,
    [email],
  );
const setSwitch = (value: string | null) =>
  inTransaction(harness.database.db, async (trx) => {
    await execute(trx, `delete from config where key = 'registration_enabled'`);
    if (value !== null) {
      await execute(trx, `insert into config (id, key, value) values ('reg', 'registration_enabled', ?)`, [value]);
    }
  });
const INVALID = [400, 'invalid_request', 'INVALID_REQUEST'];

test('creates a member who can sign in after verifying the address', async () => {
  const email = freshEmail();
  const answer = await register(
    {
      email: ` ${email.toUpperCase()} `,
      firstName: ' Ada ',
      lastName: '',
      roles: ['SUPER_ADMIN'],
      isSystemAdmin: true,
    },
    bearer('stale'),
  );
  expect([answer.status, answer.body]).toEqual([
    201,
    { success: true, message: 'Registration successful. Please verify your email.' },
  ]);
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(await usersOf(email)).toEqual([
    {
      email,
      username: email.split('@')[0],
      firstName: 'Ada',
      lastName: null,
      roles: ['MEMBER'],
      isActive: true,
      isSystemAdmin: false,
      isPterodactylAdmin: false,
      emailVerified: null,
      password: expect.stringMatching(/^\$2b\$12\$/),
    },
  ]);
  expect(outcome(await login(harness, email, PASSWORD))).toEqual([401, 'email_not_verified', 'EMAIL_NOT_VERIFIED']);
  const [verification] = await emailsTo(harness, email);
  expect(verification?.template).toBe('email-verification');
  const token = await makeEmail(harness, verification?.id ?? '');
  const [{ id } = { id: '' }] = await query<{ id: string }>(
    harness.database.db,
    'select u.id from users u where u.email = ?',
    [email],
  );
  // The refused sign-in requested a second email. It is not prepared yet, so the link of the first one is still valid.
  expect((await post(harness, 'verify-email', { token, userId: id })).status).toBe(200);
  expect((await login(harness, email, PASSWORD)).body.user).toMatchObject({ id, firstName: 'Ada', lastName: null });
});

test('accepts a username', async () => {
  const email = freshEmail();
  expect((await register({ email, username: ' ada ', lastName: null })).status).toBe(201);
  expect((await usersOf(email))[0]).toMatchObject({ username: 'ada', lastName: null });
});

describe('the setting registration_enabled', () => {
  test.each([
    ['no row', null, 201],
    ['true', 'true', 201],
    ['1', '1', 201],
    ['yes', 'yes', 201],
    ['false', 'false', 403],
    ['0', '0', 403],
  ])('with %s', async (_name, value, status) => {
    await setSwitch(value);
    try {
      const answer = await register({ email: freshEmail() });
      expect(answer.status).toBe(status);
      if (status === 403) {
        expect(outcome(answer)).toEqual([403, 'registration_disabled', 'REGISTRATION_DISABLED']);
        expect(answer.body.message).toBe('Registration is closed at present.');
        expect(outcome(await post(harness, 'register', {}))[1]).toBe('registration_disabled');
      }
    } finally {
      await setSwitch(null);
    }
  });
});

describe('refusals', () => {
  test('are checked in this order', async () => {
    const taken = (await makeUser(harness)).email;
    // Each body corrects the mistake for which the one before was refused.
    const steps: [Record<string, unknown>, string][] = [
      [{ email: '', password: 'x', confirmPassword: '' }, 'missing_fields'],
      [{ email: 'nonsense', password: 'x', confirmPassword: '' }, 'missing_fields'],
      [{ email: 'nonsense', password: 'x', confirmPassword: 'y' }, 'invalid_email'],
      [{ email: taken, password: 'x', confirmPassword: 'y' }, 'password_too_short'],
      [{ email: taken, password: 'xxxxxxxx', confirmPassword: 'y' }, 'password_needs_uppercase'],
      [{ email: taken, password: 'XXXXXXXX', confirmPassword: 'y' }, 'password_needs_lowercase'],
      [{ email: taken, password: 'Xxxxxxxx', confirmPassword: 'y' }, 'password_needs_digit'],
      [{ email: taken, password: `Xx1${'x'.repeat(70)}`, confirmPassword: 'y' }, 'password_too_long'],
      [{ email: taken, password: PASSWORD, confirmPassword: 'y' }, 'passwords_dont_match'],
    ];
    for (const [body, code] of steps) {
      const answer = await register(body);
      expect(outcome(answer)).toEqual([400, code, code.toUpperCase()]);
      expect(answer.body.message).toEqual(expect.any(String));
    }
    const exists = await register({ email: taken });
    expect(outcome(exists)).toEqual([409, 'email_exists', 'EMAIL_EXISTS']);
    expect(exists.body.message).toBe('There is an account with this address already.');
  });
  test('an address that an account has in another case', async () => {
    const email = freshEmail();
    await makeUser(harness, { email: `Old.${email.toUpperCase()}` });
    for (const spelling of [`old.${email}`, `OLD.${email}`, ` oLd.${email} `]) {
      expect((await register({ email: spelling })).status).toBe(409);
    }
    expect(await usersOf(`old.${email}`)).toHaveLength(1);
  });
  test.each([
    ['the Kelvin sign', '\u212Aelvin@example.com'],
    ['full-width letters', 'ａｄａ@example.com'],
    ['a dotless i', 'adm\u0131n@example.com'],
    ['a capital I with a dot', 'ADM\u0130N@example.com'],
    ['a combining accent', 'ada\u0301@example.com'],
    ['a zero-width space', 'ada\u200B@example.com'],
    ['a right-to-left mark', '\u200Fada@example.com'],
    ['a Cyrillic a', '\u0430da@example.com'],
    ['an international domain', 'ada@ex\u00E4mple.com'],
    ['a line break', 'ada@example.com\nx@example.com'],
    ['a display name', 'Ada <ada@example.com>'],
    ['255 characters', `${'a'.repeat(243)}@example.com`],
  ])('an address with %s', async (_name, email) => {
    expect(outcome(await register({ email }))).toEqual([400, 'invalid_email', 'INVALID_EMAIL']);
  });
  test.each(["o'neil@nodebyte.example", 'ada@bank.xn--p1ai'])(
    '%s is accepted, and can sign in (M-7)',
    async (email) => {
      expect((await register({ email })).status).toBe(201);
      await query(harness.database.db, 'update users set "emailVerified" = now() where email = ?', [email]);
      expect((await login(harness, email, PASSWORD)).status).toBe(200);
    },
  );
  test('an address of 254 characters is accepted', async () => {
    expect((await register({ email: `${'b'.repeat(242)}@example.com` })).status).toBe(201);
  });
  test.each(['username', 'firstName', 'lastName'])(
    'control characters in %s, and more than 255 characters',
    async (field) => {
      for (const name of ['a\r\nBcc: x@example.com', 'a\0b', 'a\u001B[31m', 'a\u0085b', 'x'.repeat(256)]) {
        const answer = await register({ email: freshEmail(), [field]: name });
        expect(outcome(answer)).toEqual(INVALID);
      }
      const email = freshEmail();
      expect((await register({ email, [field]: ' Zoë 🐎 <b> ' })).status).toBe(201);
      expect((await usersOf(email))[0]?.[field]).toBe('Zoë 🐎 <b>');
    },
  );
});

describe('the maximum length of a password counts bytes', () => {
  test.each([
    ['72 bytes of ASCII', `Aa1${'x'.repeat(69)}`, 201],
    ['73 bytes of ASCII', `Aa1${'x'.repeat(70)}`, 400],
    ['72 bytes in 38 characters', `Aa1x${'é'.repeat(34)}`, 201],
    ['74 bytes in 39 characters', `Aa1x${'é'.repeat(35)}`, 400],
    ['8 bytes in 6 characters', 'Aa1éé-', 201],
  ])('%s', async (_name, password, status) => {
    const email = freshEmail();
    const answer = await register({ email, password, confirmPassword: password });
    expect(answer.status).toBe(status);
    if (status === 400) {
      expect(answer.body.error).toBe('password_too_long');
      return;
    }
    await harness.database.db.raw(`update users set "emailVerified" = now() where email = ?`, [email]);
    expect((await login(harness, email, password)).status).toBe(200);
    // bcrypt ignores bytes after the 72nd; the last byte of this password must count.
    expect((await login(harness, email, `${password.slice(0, -1)}!`)).status).toBe(401);
  });
  test('letters and digits of any script satisfy the password rules', async () => {
    for (const password of ['Ωμέγα-٣-ωω', 'Ärger-Über-5']) {
      expect((await register({ email: freshEmail(), password, confirmPassword: password })).status).toBe(201);
    }
  });
});

test('ten parallel registrations of one address create one account and one email', async () => {
  const email = freshEmail();
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, i) => register({ email: i % 2 === 0 ? email : email.toUpperCase() })),
  );
  expect(countByStatus(answers)).toEqual({ 201: 1, 409: 9 });
  expect(new Set(answers.map((a) => a.body.error))).toEqual(new Set([undefined, 'email_exists']));
  expect(await usersOf(email)).toHaveLength(1);
  expect(await emailsTo(harness, email)).toHaveLength(1);
});

test('a registration that waits for a parallel one of the same address is refused with email_exists', async () => {
  const email = freshEmail();
  const { db } = harness.database;
  const waiting = () =>
    query<{ pid: number }>(
      db,
      `select a.pid from pg_stat_activity a where a.datname = current_database() and a.wait_event_type = 'Lock'`,
    );
  const trx = await openTransaction(db);
  await execute(trx, `insert into users (id, email) values ('first', ?)`, [email]);
  const second = register({ email });
  while ((await waiting()).length === 0) await delay(10);
  await trx.commit();
  expect(outcome(await second)).toEqual([409, 'email_exists', 'EMAIL_EXISTS']);
});

test('a registration that fails leaves no account', async () => {
  const email = freshEmail();
  const broken = await startHarness({
    database: harness.database,
    deps: { emails: { ...harness.deps.emails, queue: () => Promise.reject(new Error('no room')) } },
  });
  try {
    const answer = await post(broken, 'register', { email, password: PASSWORD, confirmPassword: PASSWORD });
    expect([answer.status, answer.body.error]).toEqual([500, 'server_error']);
    expect(await usersOf(email)).toEqual([]);
  } finally {
    await broken.close();
  }
  expect((await register({ email })).status).toBe(201);
});

test('no password is logged, whether it is accepted or refused', async () => {
  const secrets = ['Hidden-horse-1', 'hidden-horse-weak', `Hidden-1${'h'.repeat(90)}`, 'Hidden-other-2'];
  const email = freshEmail();
  for (const password of secrets) {
    await register({ email, password, confirmPassword: 'Hidden-other-2' });
    await register({ email, password, confirmPassword: password });
    await login(harness, email, password);
  }
  for (const secret of secrets) expect(harness.logged()).not.toContain(secret);
  expect(harness.logged()).not.toMatch(/\$2b\$/);
});

import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyPassword } from '../../../src/services/accounts/password-hash.ts';
import { startAttempt } from '../../../src/services/email/start-attempt.ts';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, json, makeUser, PASSWORD, startHarness } from '../../support/api/harness.ts';
import { openedSession } from '../../support/api/sign-in.ts';

type User = Awaited<ReturnType<typeof makeUser>>;

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());

const ACCOUNT = '/api/v1/dashboard/account';
const call = (user: User, method: string, path: string, body: unknown = {}) =>
  harness.get(`${ACCOUNT}${path}`, { ...json(body, bearer(user.token)), method });
const failure = async (response: Promise<Awaited<ReturnType<Harness['get']>>>) => {
  const answer = await response;
  const { error, code } = await answer.json();
  return [answer.status, error, code];
};
const change = (user: User, body: unknown) => call(user, 'PUT', '', body);
const password = (user: User, currentPassword: unknown, newPassword: unknown) =>
  call(user, 'PUT', '/password', { currentPassword, newPassword });
const address = (user: User, newEmail: unknown, currentPassword: unknown = PASSWORD) =>
  call(user, 'POST', '/change-email', { newEmail, currentPassword });

interface Row {
  email: string;
  password: string;
  verified: boolean;
}
const userRow = async (id: string): Promise<Row> => {
  const [row] = await query<Row>(
    harness.database.db,
    'select u.email, u.password, u."emailVerified" is not null as verified from users u where u.id = ?',
    [id],
  );
  if (row === undefined) throw new Error('no such user');
  return row;
};
const emailsTo = (...to: string[]) =>
  query<{ id: string; template: string; to: string; userId: string | null; subject: string | null }>(
    harness.database.db,
    `select e.id, e.template, e.recipient as "to", e.user_id as "userId", e.subject from emails e
     where e.recipient = any(?::text[]) order by e.template`,
    [to],
  );
async function giveToken(userId: string, type: string): Promise<string> {
  const token = randomBytes(32).toString('hex');
  await harness.database.db.raw(
    `insert into verification_tokens (identifier, token, type, expires) values (?, ?, ?, now() + interval '1 hour')`,
    [userId, createHash('sha256').update(token).digest('hex'), type],
  );
  return token;
}
const tokenTypes = async (userId: string) =>
  (
    await query<{ type: string }>(
      harness.database.db,
      'select v.type from verification_tokens v where v.identifier = ? order by v.type',
      [userId],
    )
  ).map((row) => row.type);
/** A user with the access token of a session. */
async function signedIn(): Promise<User> {
  const user = await makeUser(harness);
  return { ...user, token: (await openedSession(harness, user.id)).accessToken };
}

describe('profile', () => {
  test('shows empty fields as null', async () => {
    const user = await makeUser(harness, { emailVerified: false });
    await harness.database.db.raw(
      `update users set username = null, "firstName" = '', roles = null, "accountBalance" = null where id = ?`,
      [user.id],
    );
    const response = await harness.get(ACCOUNT, { headers: bearer(user.token) });
    expect(response.status).toBe(200);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(await response.json()).toEqual({
      success: true,
      message: '',
      data: {
        id: user.id,
        username: null,
        email: user.email,
        firstName: null,
        lastName: null,
        phoneNumber: null,
        companyName: null,
        billingEmail: null,
        avatarUrl: null,
        accountBalance: 0,
        createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
        emailVerified: false,
        lastLoginAt: null,
        roles: [],
      },
    });
  });

  test('a change is stored and returned, blank fields are cleared, and no other profile changes', async () => {
    const [user, other] = [await makeUser(harness), await makeUser(harness)];
    const form = {
      firstName: ' Ada ',
      lastName: 'Lovelace',
      username: `ada-${user.id}`,
      phoneNumber: '+44 1',
      companyName: 'Engines',
      billingEmail: 'Bills@example.com',
    };
    const response = await change(user, { ...form, id: other.id, roles: ['SUPER_ADMIN'], isSystemAdmin: true });
    expect(response.status).toBe(200);
    const body = await response.json();
    expect(body).toMatchObject({ success: true, message: 'Account updated successfully' });
    expect(body.data).toMatchObject({ ...form, firstName: 'Ada', id: user.id, emailVerified: true, roles: ['MEMBER'] });
    const kept = await (await harness.get(ACCOUNT, { headers: bearer(user.token) })).json();
    expect(kept.data).toEqual(body.data);
    const cleared = await change(user, { ...form, firstName: '', username: '', phoneNumber: null, billingEmail: '' });
    expect((await cleared.json()).data).toMatchObject({
      firstName: null,
      username: form.username,
      phoneNumber: null,
      billingEmail: null,
      lastName: 'Lovelace',
    });
    const theirs = await (await harness.get(ACCOUNT, { headers: bearer(other.token) })).json();
    expect(theirs.data).toMatchObject({ firstName: null, lastName: null, username: other.email.split('@')[0] });
  });

  test('a missing field is not changed', async () => {
    const user = await makeUser(harness);
    await change(user, { firstName: 'Ada', lastName: 'L' });
    expect((await (await change(user, { lastName: 'B' })).json()).data).toMatchObject({
      firstName: 'Ada',
      lastName: 'B',
    });
  });

  test('another user’s name is refused in any case; the own name in another case is accepted', async () => {
    const [user, other] = [await makeUser(harness), await makeUser(harness)];
    const name = `Taken-${user.id}`;
    expect((await change(user, { username: name })).status).toBe(200);
    expect(await failure(change(other, { username: name.toLowerCase(), firstName: 'X' }))).toEqual([
      409,
      'Username already in use',
      'CONFLICT',
    ]);
    expect((await (await harness.get(ACCOUNT, { headers: bearer(other.token) })).json()).data['firstName']).toBeNull();
    expect((await change(user, { username: name.toUpperCase() })).status).toBe(200);
  });

  test('a user may keep a name that another user already has', async () => {
    const [user, other] = [await makeUser(harness), await makeUser(harness)];
    await harness.database.db.raw(`update users set username = 'shared' where id in (?, ?)`, [user.id, other.id]);
    expect((await change(user, { username: 'shared', firstName: 'Ada' })).status).toBe(200);
  });

  test('of two parallel requests for one name one succeeds', async () => {
    const [user, other] = [await makeUser(harness), await makeUser(harness)];
    const answers = await Promise.all([user, other].map((who) => change(who, { username: `both-${user.id}` })));
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 409]);
  });

  test.each([
    [{ firstName: 'x'.repeat(256) }, /^firstName may have at most 255 characters/, ['body.firstName']],
    [{ companyName: 'a\nb' }, /^companyName may have at most 255 characters/, ['body.companyName']],
    [{ billingEmail: 'no-address' }, /^Invalid billing email address$/, ['body.billingEmail']],
    [{ lastName: '\u0007', billingEmail: 'no@one' }, /^lastName may have/, ['body.lastName', 'body.billingEmail']],
    [{ firstName: 5 }, /^Invalid request body$/, ['body.firstName']],
    [[], /^Invalid request body$/, ['body']],
    [{ email: 'other@example.com', firstName: 'X' }, /^Use change-email to update your email address$/, ['body.email']],
  ])('refuses %j', async (body, error, paths) => {
    const user = await makeUser(harness);
    const response = await change(user, body);
    expect(response.status).toBe(400);
    const answer = await response.json();
    expect(answer.code).toBe('VALIDATION_ERROR');
    expect(answer.error).toMatch(error);
    expect(answer.details.map((detail) => detail.path)).toEqual(paths);
    const kept = await (await harness.get(ACCOUNT, { headers: bearer(user.token) })).json();
    expect(kept.data).toMatchObject({ email: user.email, firstName: null, emailVerified: true });
  });

  test.each([[{}], [{ username: '' }], [{ email: '' }], [{ isSystemAdmin: true }]])(
    '%j changes nothing',
    async (body) => {
      const user = await makeUser(harness);
      expect(await failure(change(user, body))).toEqual([400, 'No fields to update', 'VALIDATION_ERROR']);
    },
  );

  test('the current address in any case counts as unchanged', async () => {
    const user = await makeUser(harness);
    const response = await change(user, { email: user.email.toUpperCase(), firstName: 'Ada' });
    expect((await response.json()).data).toMatchObject({ email: user.email, firstName: 'Ada', emailVerified: true });
  });

  test('refuses a body that is not JSON', async () => {
    const user = await makeUser(harness);
    const init = { method: 'PUT', headers: { 'Content-Type': 'application/json', ...bearer(user.token) }, body: '{' };
    expect(await failure(harness.get(ACCOUNT, init))).toEqual([400, 'Invalid request body', 'VALIDATION_ERROR']);
  });
});

describe('password', () => {
  test('is changed; the current session stays, other sessions end, and open links become invalid', async () => {
    const user = await makeUser(harness);
    const [current, other] = [await openedSession(harness, user.id), await openedSession(harness, user.id)];
    for (const type of ['password_reset', 'magic_link', 'email_verification']) await giveToken(user.id, type);
    const response = await password({ ...user, token: current.accessToken }, PASSWORD, 'Another-horse-8');
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ success: true, data: null, message: 'Password changed successfully' });
    expect(await verifyPassword('Another-horse-8', (await userRow(user.id)).password)).toBe(true);
    expect(await tokenTypes(user.id)).toEqual(['email_verification']);
    const refresh = (refreshToken: string) => harness.get('/api/v1/auth/refresh', json({ refreshToken }));
    expect((await refresh(other.refreshToken)).status).toBe(401);
    expect((await refresh(current.refreshToken)).status).toBe(200);
  });

  test('a repeated change is answered like the first one', async () => {
    const user = await signedIn();
    expect((await password(user, PASSWORD, 'Another-horse-8')).status).toBe(200);
    const { password: stored } = await userRow(user.id);
    const repeat = await password(user, PASSWORD, 'Another-horse-8');
    expect(repeat.status).toBe(200);
    expect(await repeat.json()).toEqual({ success: true, data: null, message: 'Password changed successfully' });
    expect((await userRow(user.id)).password).toBe(stored);
  });

  test('a wrong current password is refused with 403, because 401 means an invalid session', async () => {
    const user = await makeUser(harness);
    const { password: stored } = await userRow(user.id);
    expect(await failure(password(user, 'Wrong-horse-7', 'Another-horse-8'))).toEqual([
      403,
      'Current password is incorrect',
      'FORBIDDEN',
    ]);
    expect((await userRow(user.id)).password).toBe(stored);
  });

  test('of two parallel changes one succeeds', async () => {
    const user = await signedIn();
    const wanted = ['Another-horse-8', 'Different-horse-9'];
    const answers = await Promise.all(wanted.map((text) => password(user, PASSWORD, text)));
    const statuses = answers.map((answer) => answer.status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    expect([403, 409]).toContain(statuses.find((status) => status !== 200));
    const winner = wanted[statuses.indexOf(200)] ?? '';
    expect(await verifyPassword(winner, (await userRow(user.id)).password)).toBe(true);
  });

  test('a user without a password cannot change it', async () => {
    const user = await makeUser(harness);
    await harness.database.db.raw('update users set password = null where id = ?', [user.id]);
    expect((await password(user, PASSWORD, 'Another-horse-8')).status).toBe(403);
  });

  test.each([
    ['Short-1', 'The password needs 8 characters or more', 'PASSWORD_TOO_SHORT'],
    [`A1${'a'.repeat(71)}`, 'The password may have at most 72 bytes', 'PASSWORD_TOO_LONG'],
    ['lower-case-1', 'The password needs a capital', 'PASSWORD_NEEDS_UPPERCASE'],
    ['UPPER-CASE-1', 'The password needs a small letter', 'PASSWORD_NEEDS_LOWERCASE'],
    ['No-digit-here', 'The password needs a digit', 'PASSWORD_NEEDS_DIGIT'],
  ])('%s is refused', async (text, error, code) => {
    const user = await makeUser(harness);
    const response = await password(user, PASSWORD, text);
    const body = await response.json();
    expect([response.status, body.error, body.code]).toEqual([400, error, code]);
    expect(body.details.map((detail) => detail.path)).toEqual(['body.newPassword']);
  });

  test.each([
    [{}, ['body.currentPassword', 'body.newPassword']],
    [{ currentPassword: PASSWORD }, ['body.newPassword']],
    [{ currentPassword: null, newPassword: 'Another-horse-8' }, ['body.currentPassword']],
  ])('%j is refused, and the error names the missing fields', async (body, paths) => {
    const user = await makeUser(harness);
    const response = await call(user, 'PUT', '/password', body);
    const answer = await response.json();
    expect([response.status, answer.error, answer.code]).toEqual([
      400,
      'Current and new passwords are required',
      'VALIDATION_ERROR',
    ]);
    expect(answer.details.map((detail) => detail.path)).toEqual(paths);
  });

  test('attempts are limited per user, over both routes that check the password', async () => {
    const [user, other] = [await makeUser(harness), await makeUser(harness)];
    const first = await call(user, 'PUT', '/password');
    expect(first.headers.get('x-ratelimit-limit')).toBe('20');
    expect(first.headers.get('x-ratelimit-remaining')).toBe('19');
    for (let n = 1; n < 20; n += 1) {
      const route = n % 2 === 0 ? call(user, 'PUT', '/password') : call(user, 'POST', '/change-email');
      expect((await route).status).toBe(400);
    }
    for (const refused of [await password(user, PASSWORD, 'Another-horse-8'), await address(user, 'x@example.com')]) {
      expect(refused.status).toBe(429);
      expect(refused.headers.get('x-ratelimit-remaining')).toBe('0');
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(await refused.json()).toMatchObject({
        success: false,
        code: 'RATE_LIMITED',
        error: expect.stringMatching(
          /^Rate limit exceeded\. Maximum 20 requests per 15m0s\. Retry after \d+ seconds\.$/,
        ),
      });
    }
    expect((await call(other, 'PUT', '/password')).status).toBe(400);
  });
});

describe('change of address', () => {
  test('takes effect at once, must be verified, and the old address gets an email', async () => {
    const user = await makeUser(harness);
    await harness.database.db.raw(`update users set "firstName" = 'Ada' where id = ?`, [user.id]);
    const token = await giveToken(user.id, 'email_verification');
    await giveToken(user.id, 'password_reset');
    await giveToken(user.id, 'magic_link');
    const newEmail = `new-${user.id}@example.com`;
    const response = await address(user, ` ${newEmail.toUpperCase()} `);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      success: true,
      data: null,
      message: 'Email updated. Please check your new email to verify.',
    });
    expect(await userRow(user.id)).toMatchObject({ email: newEmail, verified: false });
    expect(await tokenTypes(user.id)).toEqual([]);
    const emails = await emailsTo(user.email, newEmail);
    expect(emails).toEqual([
      { id: expect.any(String), template: 'email-changed', to: user.email, userId: null, subject: null },
      {
        id: expect.any(String),
        template: 'email-verification',
        to: newEmail,
        userId: user.id,
        subject: 'Verify your new email address',
      },
    ]);
    expect(await startAttempt(harness.deps, emails[0]?.id ?? '', 0)).toMatchObject({
      state: 'ready',
      data: { name: 'Ada', newEmail: 'n***@example.com' },
    });
    const old = await harness.get('/api/v1/auth/verify-email', json({ token, id: user.id }));
    expect(old.status).toBe(400);
  });

  test('a repeated change has no further effect', async () => {
    const user = await signedIn();
    const newEmail = `repeat-${user.id}@example.com`;
    expect((await address(user, newEmail)).status).toBe(200);
    await giveToken(user.id, 'email_verification');
    expect((await address(user, newEmail)).status).toBe(200);
    expect(await emailsTo(user.email, newEmail)).toHaveLength(2);
    expect(await tokenTypes(user.id)).toEqual(['email_verification']);
    expect((await address(user, newEmail, 'Wrong-horse-7')).status).toBe(403);
  });

  test('of two parallel requests for one address one succeeds', async () => {
    const [user, other] = [await makeUser(harness), await makeUser(harness)];
    const newEmail = `both-${user.id}@example.com`;
    const answers = await Promise.all([user, other].map((who) => address(who, newEmail)));
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 409]);
    expect(await emailsTo(newEmail)).toHaveLength(1);
    const loser = answers[0]?.status === 409 ? user : other;
    expect(await userRow(loser.id)).toMatchObject({ email: loser.email, verified: true });
    expect(await emailsTo(loser.email)).toEqual([]);
  });

  test.each([
    ['an empty body', {}, 400, 'newEmail and currentPassword are required', 'VALIDATION_ERROR'],
    [
      'a missing password',
      { newEmail: 'a@example.com' },
      400,
      'newEmail and currentPassword are required',
      'VALIDATION_ERROR',
    ],
    [
      'an invalid address',
      { newEmail: 'a@b', currentPassword: PASSWORD },
      400,
      'Invalid email address',
      'VALIDATION_ERROR',
    ],
    [
      'an address with a look-alike letter',
      { newEmail: 'a@b.\u212Aom', currentPassword: PASSWORD },
      400,
      'Invalid email address',
      'VALIDATION_ERROR',
    ],
    ['a number', { newEmail: 5, currentPassword: PASSWORD }, 400, 'Invalid request body', 'VALIDATION_ERROR'],
    [
      'a wrong password',
      { newEmail: 'a@example.com', currentPassword: 'x' },
      403,
      'Current password is incorrect',
      'FORBIDDEN',
    ],
  ])('%s is refused', async (_name, body, status, error, code) => {
    const user = await makeUser(harness);
    expect(await failure(call(user, 'POST', '/change-email', body))).toEqual([status, error, code]);
    expect(await userRow(user.id)).toMatchObject({ email: user.email, verified: true });
  });

  test('another user’s address in any case and the own address are refused', async () => {
    const [user, other] = [await makeUser(harness), await makeUser(harness)];
    expect(await failure(address(user, other.email.toUpperCase()))).toEqual([409, 'Email already in use', 'CONFLICT']);
    expect(await failure(address(user, user.email))).toEqual([
      400,
      'This is your email address already',
      'VALIDATION_ERROR',
    ]);
    expect(await emailsTo(user.email, other.email)).toEqual([]);
  });
});

test('every account route refuses a request without an access token', async () => {
  for (const [method, path] of [
    ['GET', ''],
    ['PUT', ''],
    ['PUT', '/password'],
    ['POST', '/resend-verification'],
    ['POST', '/change-email'],
  ] as const) {
    const init = method === 'GET' ? { method } : { ...json({}), method };
    expect(await failure(harness.get(`${ACCOUNT}${path}`, init))).toEqual([
      401,
      'Missing Authorization header',
      'UNAUTHORIZED',
    ]);
  }
});

/** Signing in with a password: accepted hashes, refused accounts, and what a refusal reveals. */

import bcrypt from 'bcrypt';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { setActive } from '../../../src/services/accounts/roles.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { query } from '../../../src/store/db/query.ts';
import { type Harness, makeUser, PASSWORD, startHarness } from '../../support/api/harness.ts';
import {
  countByStatus,
  emailsTo,
  login,
  outcome,
  post,
  resetRateLimits,
  sessionsOf,
} from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
});

const WRONG = [401, 'invalid_credentials', 'INVALID_CREDENTIALS'];
const validate = (email: string, password = PASSWORD) => post(harness, 'validate', { email, password });
const stored = async (id: string) =>
  (
    await query<{ password: string | null }>(harness.database.db, 'select u.password from users u where u.id = ?', [id])
  )[0]?.password;
const withHash = async (hash: string | null) => {
  const user = await makeUser(harness);
  await harness.database.db.raw('update users set password = ? where id = ?', [hash, user.id]);
  return user;
};

describe.each(['$2a$', '$2b$', '$2y$'])('a hash of the form %s and cost 10', (prefix) => {
  test('signs in, and is replaced by a stronger hash', async () => {
    const hash = (await bcrypt.hash('Old-password-1', 10)).replace('$2b$', prefix);
    const user = await withHash(hash);
    expect(outcome(await login(harness, user.email, 'Old-password-2'))).toEqual(WRONG);
    expect(await stored(user.id)).toBe(hash);
    expect((await validate(user.email, 'Old-password-1')).status).toBe(200);
    const stronger = await stored(user.id);
    expect(stronger).toMatch(/^\$2b\$12\$/);
    expect((await login(harness, user.email, 'Old-password-1')).status).toBe(200);
    expect(await stored(user.id)).toBe(stronger);
  });
});

test('five parallel sign-ins with a weak hash all succeed', async () => {
  const user = await withHash(await bcrypt.hash('Old-password-1', 6));
  const answers = await Promise.all(Array.from({ length: 5 }, () => login(harness, user.email, 'Old-password-1')));
  expect(countByStatus(answers)).toEqual({ 200: 5 });
  expect(await stored(user.id)).toMatch(/^\$2b\$12\$/);
  expect((await login(harness, user.email, 'Old-password-1')).status).toBe(200);
});

test('a password of more than 72 bytes still signs in, and its hash is not replaced', async () => {
  const long = `Long-1${'x'.repeat(80)}`;
  const hash = await bcrypt.hash(long, 4);
  const user = await withHash(hash);
  expect((await login(harness, user.email, long)).status).toBe(200);
  expect(await stored(user.id)).toBe(hash);
});

test.each([
  ['no hash', null],
  ['an empty hash', ''],
  ['a password in clear', PASSWORD],
  ['an incomplete hash', '$2b$12$abcdefghijklmnopqrstuv'],
  ['a hash of another algorithm', '$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaA'],
])('an account with %s cannot sign in', async (_name, hash) => {
  const user = await withHash(hash);
  for (const password of [PASSWORD, hash || 'null']) {
    expect(outcome(await login(harness, user.email, password))).toEqual(WRONG);
  }
});

test('blanks, case and Unicode form of a password count', async () => {
  const user = await withHash(await bcrypt.hash('Zo\u00EB horse 1', 4));
  for (const password of [' Zo\u00EB horse 1', 'Zo\u00EB horse 1 ', 'zo\u00EB horse 1', 'Zoe\u0308 horse 1']) {
    expect(outcome(await login(harness, user.email, password))).toEqual(WRONG);
  }
  expect((await login(harness, user.email, 'Zo\u00EB horse 1')).status).toBe(200);
});

test('validate returns the user, opens no session and stores the time of the sign-in', async () => {
  const user = await makeUser(harness);
  const answer = await validate(user.email);
  expect(Object.keys(answer.body).sort()).toEqual(['success', 'user']);
  expect(answer.body.user).toMatchObject({ id: user.id, email: user.email });
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(await sessionsOf(harness, user.id)).toEqual([]);
  const [row] = await query<{ noted: boolean }>(
    harness.database.db,
    'select u."lastLoginAt" is not null as noted from users u where u.id = ?',
    [user.id],
  );
  expect(row?.noted).toBe(true);
});

describe.each([
  ['login', (email: string, password?: string) => login(harness, email, password)],
  ['validate', validate],
])('%s refuses', (_name, signIn) => {
  test('an unknown account and every wrong password with the same answer', async () => {
    const answers = [
      await signIn('unknown@example.com'),
      await signIn((await makeUser(harness)).email, 'wrong'),
      await signIn((await makeUser(harness, { isActive: false })).email, 'wrong'),
      await signIn((await makeUser(harness, { emailVerified: false })).email, 'wrong'),
    ];
    const visible = answers.map(({ status, headers, body }) => [
      status,
      body,
      [...headers].filter(
        ([name]) => !['x-request-id', 'date', 'x-ratelimit-reset', 'x-ratelimit-remaining'].includes(name),
      ),
    ]);
    for (const one of visible) expect(one).toEqual(visible[0]);
    expect(answers[0]?.body).toEqual({
      success: false,
      error: 'invalid_credentials',
      code: 'INVALID_CREDENTIALS',
      message: 'Email address or password is wrong.',
    });
    expect(answers[0]?.headers.get('www-authenticate')).toContain('Bearer');
  });
  test('a disabled account with the correct password, without an email or a session', async () => {
    const user = await makeUser(harness, { isActive: false });
    expect(outcome(await signIn(user.email))).toEqual([401, 'account_disabled', 'ACCOUNT_DISABLED']);
    const both = await makeUser(harness, { isActive: false, emailVerified: false });
    expect(outcome(await signIn(both.email))).toEqual([401, 'account_disabled', 'ACCOUNT_DISABLED']);
    expect(await emailsTo(harness, both.email)).toEqual([]);
    expect(await sessionsOf(harness, user.id)).toEqual([]);
  });
  test('an unverified account; the correct password also sends an email, at most three per hour', async () => {
    const user = await makeUser(harness, { emailVerified: false });
    for (let i = 0; i < 2; i += 1) expect(outcome(await signIn(user.email, 'wrong'))).toEqual(WRONG);
    expect(await emailsTo(harness, user.email)).toEqual([]);
    for (let i = 1; i <= 5; i += 1) {
      const answer = await signIn(user.email);
      expect(outcome(answer)).toEqual([401, 'email_not_verified', 'EMAIL_NOT_VERIFIED']);
      expect(answer.body.message).toBe('Verify your email address first: the link is in the email that we sent you.');
      const emails = await emailsTo(harness, user.email);
      expect(emails.map((email) => email.template)).toEqual(Array(Math.min(i, 3)).fill('email-verification'));
      // A repeated request within ten seconds sends no further email.
      await harness.database.db.raw(`update emails set created_at = created_at - interval '11 s' where user_id = ?`, [
        user.id,
      ]);
    }
    expect(await sessionsOf(harness, user.id)).toEqual([]);
  });
});

describe('a change of the account while its password is checked', () => {
  /** Signs in with a weak hash. `meanwhile` runs after the account was read and before the session is opened. */
  async function during(meanwhile: (id: string) => Promise<unknown>) {
    const user = await withHash(await bcrypt.hash('Old-password-1', 4));
    let happened: Promise<unknown> | undefined;
    const act = (_response: unknown, { sql }: { sql: string }) => {
      if (sql.includes('u.password from users u where lower(btrim(u.email))')) happened ??= meanwhile(user.id);
    };
    harness.database.db.on('query-response', act);
    const answer = await login(harness, user.email, 'Old-password-1');
    harness.database.db.removeListener('query-response', act);
    expect(happened).toBeInstanceOf(Promise);
    await happened;
    return { answer, id: user.id };
  }
  test('a disabled account is refused', async () => {
    const { answer, id } = await during((user) => setActive(harness.database.db, user, false, OPERATOR));
    expect(outcome(answer)).toEqual([401, 'account_disabled', 'ACCOUNT_DISABLED']);
    expect(await sessionsOf(harness, id)).toEqual([]);
  });
  test('an account with a new password is refused, and its new hash stays', async () => {
    const other = await bcrypt.hash('Other-password-2', 4);
    const { answer, id } = await during(async (user) => {
      await harness.database.db.raw('update users set password = ? where id = ?', [other, user]);
    });
    expect(outcome(answer)).toEqual(WRONG);
    expect(await stored(id)).toBe(other);
    expect(await sessionsOf(harness, id)).toEqual([]);
  });
  test('a deleted account is refused', async () => {
    const { answer, id } = await during(async (user) => {
      await harness.database.db.raw('delete from users where id = ?', [user]);
    });
    expect(outcome(answer)).toEqual(WRONG);
    expect(await sessionsOf(harness, id)).toEqual([]);
  });
});

test('when the addresses of two old accounts differ in case only, the exact spelling decides', async () => {
  // An adopted database with such rows does not have the index.
  await harness.database.db.raw('drop index users_email_address_unique');
  const lower = await makeUser(harness, { email: 'twin@example.com' });
  const upper = await makeUser(harness, { email: 'Twin@example.com' });
  expect((await login(harness, lower.email)).body.user['id']).toBe(lower.id);
  expect((await login(harness, upper.email)).body.user['id']).toBe(upper.id);
});

/** Links in emails: each works once, for its account, for its purpose, before it expires. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { EmailTemplate } from '../../../src/domain/email.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, json, makeUser, PASSWORD, startHarness } from '../../support/api/harness.ts';
import {
  countByStatus,
  emailsTo,
  login,
  makeEmail,
  outcome,
  post,
  refresh,
  resetRateLimits,
  sessionsOf,
  tokenFor,
} from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
});

const NEW_PASSWORD = 'Newer-horse-8';
const INVALID = [400, 'invalid_token', 'INVALID_TOKEN'];
const EXPIRED = [400, 'token_expired', 'TOKEN_EXPIRED'];
const ALREADY_VERIFIED = [400, 'already_verified', 'ALREADY_VERIFIED'];
const MISSING = [400, 'missing_fields', 'MISSING_FIELDS'];
const INVALID_LINK = [401, 'invalid_token', 'INVALID_TOKEN'];
const unknownToken = 'f'.repeat(64);
const unverified = () => makeUser(harness, { emailVerified: false });
const digest = (token: string) => createHash('sha256').update(token).digest('hex');
const expire = (token: string) =>
  harness.database.db.raw(
    `update verification_tokens set expires = (now() at time zone 'utc') - interval '1 s' where token = ?`,
    [digest(token)],
  );
const tokensOf = (id: string) =>
  query<{ token: string; type: string }>(
    harness.database.db,
    'select v.token, v.type from verification_tokens v where v.identifier = ?',
    [id],
  );
const userRow = async (id: string) =>
  (
    await query<{ emailVerified: Date | null; lastLoginAt: Date | null; password: string }>(
      harness.database.db,
      'select u."emailVerified", u."lastLoginAt", u.password from users u where u.id = ?',
      [id],
    )
  )[0];

test('a token is stored as a digest, and the data of its email is stored encrypted', async () => {
  const user = await makeUser(harness);
  const token = await tokenFor(harness, 'password-reset', user);
  expect(token).toMatch(/^[0-9a-f]{64}$/);
  expect(await tokensOf(user.id)).toEqual([{ token: digest(token), type: 'password_reset' }]);
  const [email] = await query<{ text: string }>(
    harness.database.db,
    'select e::text as text from emails e where e.recipient = ?',
    [user.email],
  );
  expect(email?.text).not.toContain(token);
  for (const guess of [digest(token), token.toUpperCase()]) {
    expect(outcome(await post(harness, 'reset-password', { token: guess, password: NEW_PASSWORD }))).toEqual(INVALID);
  }
});

describe('verify-email', () => {
  const verify = (body: unknown) => post(harness, 'verify-email', body);

  test.each(['id', 'userId'])('verifies the address; the user id is the field %s', async (key) => {
    const user = await unverified();
    const token = await tokenFor(harness, 'email-verification', user);
    const answer = await verify({ token: ` ${token} `, [key]: user.id, other: 1 });
    expect([answer.status, answer.body]).toEqual([200, { success: true, message: 'Email verified successfully' }]);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect((await userRow(user.id))?.emailVerified).toBeInstanceOf(Date);
    expect(await tokensOf(user.id)).toEqual([]);
    expect((await login(harness, user.email)).status).toBe(200);
    const again = await verify({ token: unknownToken, [key]: user.id });
    expect(outcome(again)).toEqual(ALREADY_VERIFIED);
    expect(again.body.message).toBe('This address is verified already: sign in.');
  });
  test('refuses missing fields, an unknown token and another user’s token', async () => {
    const user = await unverified();
    const other = await unverified();
    const token = await tokenFor(harness, 'email-verification', user);
    for (const body of [{}, { token }, { id: user.id }, { token: ' ', id: user.id }, { token, id: null, userId: '' }]) {
      expect(outcome(await verify(body))).toEqual(MISSING);
    }
    expect(outcome(await verify({ token: unknownToken, id: user.id }))).toEqual(INVALID);
    expect(outcome(await verify({ token, id: other.id }))).toEqual(INVALID);
    expect(outcome(await verify({ token, id: 'unknown' }))).toEqual(INVALID);
    expect(outcome(await verify({ token, id: other.id, userId: user.id }))).toEqual(INVALID);
    expect((await userRow(other.id))?.emailVerified).toBeNull();
    expect((await verify({ token, id: user.id })).status).toBe(200);
  });
  test('refuses an expired token, and accepts a newer one', async () => {
    const user = await unverified();
    const token = await tokenFor(harness, 'email-verification', user);
    await expire(token);
    const answer = await verify({ token, id: user.id });
    expect(outcome(answer)).toEqual(EXPIRED);
    expect(answer.body.message).toBe('This link has expired: ask for a new one.');
    expect(outcome(await verify({ token, id: user.id }))).toEqual(EXPIRED);
    const newer = await tokenFor(harness, 'email-verification', user);
    expect((await verify({ token: newer, id: user.id })).status).toBe(200);
    expect(outcome(await verify({ token, id: user.id }))).toEqual(ALREADY_VERIFIED);
  });
  test.each<EmailTemplate>(['password-reset', 'magic-link'])('refuses a token of %s', async (template) => {
    const user = await unverified();
    const token = await tokenFor(harness, template, user);
    expect(outcome(await verify({ token, id: user.id }))).toEqual(INVALID);
    expect((await userRow(user.id))?.emailVerified).toBeNull();
  });
  test('a newer email makes the link of an older one of the same kind invalid', async () => {
    const user = await unverified();
    const older = await tokenFor(harness, 'email-verification', user);
    const reset = await tokenFor(harness, 'password-reset', user);
    const newer = await tokenFor(harness, 'email-verification', user);
    expect(outcome(await verify({ token: older, id: user.id }))).toEqual(INVALID);
    expect((await verify({ token: newer, id: user.id })).status).toBe(200);
    expect((await post(harness, 'reset-password', { token: reset, password: NEW_PASSWORD })).status).toBe(200);
  });
});

describe('after a change of address', () => {
  const change = (user: { token: string }, newEmail: string) =>
    harness.get(
      '/api/v1/dashboard/account/change-email',
      json({ newEmail, currentPassword: PASSWORD }, bearer(user.token)),
    );

  test('links that were sent to the old address are invalid', async () => {
    const user = await unverified();
    const newEmail = `moved-${user.email}`;
    const verification = await tokenFor(harness, 'email-verification', user);
    const reset = await tokenFor(harness, 'password-reset', user);
    const magic = await tokenFor(harness, 'magic-link', user);
    expect((await change(user, newEmail)).status).toBe(200);
    expect(outcome(await post(harness, 'verify-email', { token: verification, id: user.id }))).toEqual(INVALID);
    expect(outcome(await post(harness, 'reset-password', { token: reset, password: NEW_PASSWORD }))).toEqual(INVALID);
    expect(outcome(await post(harness, 'magic-link/verify', { token: magic }))).toEqual(INVALID_LINK);
    expect((await userRow(user.id))?.emailVerified).toBeNull();
    const [email] = await emailsTo(harness, newEmail);
    const token = await makeEmail(harness, email?.id ?? '');
    expect((await post(harness, 'verify-email', { token, id: user.id })).status).toBe(200);
  });
  test('an email that was requested before the change is not sent to the old address', async () => {
    const user = await unverified();
    const { emails, db } = harness.deps;
    const waiting = await inTransaction(db, (trx) =>
      emails.queue(trx, { template: 'email-verification', to: user.email, userId: user.id }),
    );
    expect((await change(user, `gone-${user.email}`)).status).toBe(200);
    expect(await makeEmail(harness, waiting)).toBeUndefined();
    expect(await tokensOf(user.id)).toEqual([]);
  });
});

describe('reset-password', () => {
  const reset = (body: unknown) => post(harness, 'reset-password', body);

  test('sets the password and ends sessions and open links', async () => {
    const user = await makeUser(harness);
    const session = (await login(harness, user.email)).body.refreshToken;
    const magic = await tokenFor(harness, 'magic-link', user);
    const token = await tokenFor(harness, 'password-reset', user);
    const answer = await reset({ token, password: NEW_PASSWORD });
    expect([answer.status, answer.body]).toEqual([200, { success: true, message: 'Password reset successfully' }]);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(await sessionsOf(harness, user.id)).toEqual([]);
    expect((await refresh(harness, session)).status).toBe(401);
    expect(outcome(await post(harness, 'magic-link/verify', { token: magic }))).toEqual(INVALID_LINK);
    expect((await login(harness, user.email, PASSWORD)).status).toBe(401);
    expect((await login(harness, user.email, NEW_PASSWORD)).status).toBe(200);
    expect(outcome(await reset({ token, password: 'Third-horse-9' }))).toEqual(INVALID);
    expect(harness.logged()).not.toContain(NEW_PASSWORD);
  });
  test('also accepts the user id and a confirmation, and checks both', async () => {
    const user = await makeUser(harness);
    const token = await tokenFor(harness, 'password-reset', user);
    const body = { token, id: user.id, password: NEW_PASSWORD, confirmPassword: NEW_PASSWORD };
    expect(outcome(await reset({ ...body, confirmPassword: 'Other-horse-1' }))).toEqual([
      400,
      'passwords_dont_match',
      'PASSWORDS_DONT_MATCH',
    ]);
    expect(outcome(await reset({ ...body, id: (await makeUser(harness)).id }))).toEqual(INVALID);
    expect((await reset(body)).status).toBe(200);
  });
  test('checks the fields in a fixed order; a refusal does not consume the token', async () => {
    const user = await makeUser(harness);
    const token = await tokenFor(harness, 'password-reset', user);
    for (const body of [{}, { token }, { password: 'x' }, { token: ' ', password: 'x', confirmPassword: 'y' }]) {
      expect(outcome(await reset(body))).toEqual(MISSING);
    }
    const codes = {
      'Short-1': 'password_too_short',
      'no-capital-1': 'password_needs_uppercase',
      'NO-SMALL-1': 'password_needs_lowercase',
      'No-digit-here': 'password_needs_digit',
      [`Long-1${'x'.repeat(67)}`]: 'password_too_long',
    };
    for (const [password, code] of Object.entries(codes)) {
      const answer = await reset({ token: unknownToken, password });
      expect(outcome(answer)).toEqual([400, code, code.toUpperCase()]);
      expect(answer.body.message).toEqual(expect.any(String));
      expect((await reset({ token, password, confirmPassword: 'y' })).body.error).toBe('passwords_dont_match');
    }
    expect(outcome(await reset({ token: unknownToken, password: NEW_PASSWORD }))).toEqual(INVALID);
    await resetRateLimits(harness);
    expect((await reset({ token, password: NEW_PASSWORD })).status).toBe(200);
  });
  test('refuses an expired token; the old password stays valid', async () => {
    const user = await makeUser(harness);
    const token = await tokenFor(harness, 'password-reset', user);
    await expire(token);
    expect(outcome(await reset({ token, password: NEW_PASSWORD }))).toEqual(EXPIRED);
    expect((await login(harness, user.email)).status).toBe(200);
  });
  test('of ten parallel requests one succeeds and sets its password', async () => {
    const user = await makeUser(harness);
    const token = await tokenFor(harness, 'password-reset', user);
    const passwords = Array.from({ length: 10 }, (_, i) => `Racing-horse-${i}`);
    const answers = await Promise.all(passwords.map((password) => reset({ token, password })));
    expect(countByStatus(answers)).toEqual({ 200: 1, 400: 9 });
    expect(new Set(answers.map((a) => a.body.error))).toEqual(new Set([undefined, 'invalid_token']));
    const winner = passwords[answers.findIndex((a) => a.status === 200)] ?? '';
    expect((await login(harness, user.email, winner)).status).toBe(200);
  });
  test.each<EmailTemplate>(['email-verification', 'magic-link'])('refuses a token of %s', async (template) => {
    const user = await unverified();
    const token = await tokenFor(harness, template, user);
    expect(outcome(await reset({ token, password: NEW_PASSWORD }))).toEqual(INVALID);
  });
  test('does not enable a disabled account', async () => {
    const user = await makeUser(harness);
    const token = await tokenFor(harness, 'password-reset', user);
    await harness.database.db.raw('update users set "isActive" = false where id = ?', [user.id]);
    await reset({ token, password: NEW_PASSWORD });
    expect((await login(harness, user.email, NEW_PASSWORD)).body.error).toBe('account_disabled');
  });
});

describe('magic-link/verify', () => {
  const redeem = (token: unknown) => post(harness, 'magic-link/verify', { token });

  test('signs in with the same answer as login, and verifies the address', async () => {
    const user = await unverified();
    const answer = await redeem(` ${await tokenFor(harness, 'magic-link', user)}\n`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    const { accessToken, refreshToken, user: shown } = answer.body;
    expect(answer.body).toEqual({
      success: true,
      message: 'Magic link verified',
      user: {
        id: user.id,
        email: user.email,
        username: user.email.split('@')[0],
        firstName: null,
        lastName: null,
        roles: ['MEMBER'],
        isPterodactylAdmin: false,
        isVirtfusionAdmin: false,
        isSystemAdmin: false,
        pterodactylId: null,
        emailVerified: expect.stringMatching(/^\d{4}-.*Z$/),
      },
      tokens: { accessToken, refreshToken, expiresIn: 2_592_000, tokenType: 'Bearer' },
      accessToken,
      refreshToken,
      expiresIn: 2_592_000,
    });
    const claims = JSON.parse(Buffer.from(accessToken.split('.')[1] ?? '', 'base64url').toString());
    expect(claims.emailVerified).toBe(shown['emailVerified']);
    const row = await userRow(user.id);
    expect([row?.emailVerified, row?.lastLoginAt]).toEqual([expect.any(Date), expect.any(Date)]);
    expect(await sessionsOf(harness, user.id)).toHaveLength(1);
    expect((await refresh(harness, refreshToken)).status).toBe(200);
  });
  test('keeps the date of an earlier verification', async () => {
    const user = await makeUser(harness);
    await harness.database.db.raw(`update users set "emailVerified" = '2026-01-01 10:00:00' where id = ?`, [user.id]);
    const { body } = await redeem(await tokenFor(harness, 'magic-link', user));
    expect(body.user['emailVerified']).toBe('2026-01-01T10:00:00.000Z');
  });
  test('of ten parallel requests with one token one signs in', async () => {
    const user = await makeUser(harness);
    const token = await tokenFor(harness, 'magic-link', user);
    const answers = await Promise.all(Array.from({ length: 10 }, () => redeem(token)));
    expect(countByStatus(answers)).toEqual({ 200: 1, 401: 9 });
    expect(await sessionsOf(harness, user.id)).toHaveLength(1);
    expect(outcome(await redeem(token))).toEqual(INVALID_LINK);
  });
  test('refuses missing, unknown, expired and replaced tokens, tokens of another purpose, and disabled accounts', async () => {
    const user = await makeUser(harness);
    for (const token of ['', '  ', null, undefined]) {
      expect(outcome(await redeem(token))).toEqual([400, 'missing_token', 'MISSING_TOKEN']);
    }
    const refused = await redeem(unknownToken);
    expect(outcome(refused)).toEqual(INVALID_LINK);
    expect(refused.body.message).toEqual(expect.any(String));
    expect(refused.headers.get('www-authenticate')).toContain('Bearer');
    for (const template of ['email-verification', 'password-reset'] as const) {
      const other = await unverified();
      expect(outcome(await redeem(await tokenFor(harness, template, other)))).toEqual(INVALID_LINK);
    }
    const late = await tokenFor(harness, 'magic-link', user);
    await expire(late);
    expect(outcome(await redeem(late))).toEqual(INVALID_LINK);
    const older = await tokenFor(harness, 'magic-link', user);
    const newer = await tokenFor(harness, 'magic-link', user);
    expect(outcome(await redeem(older))).toEqual(INVALID_LINK);
    await harness.database.db.raw('update users set "isActive" = false where id = ?', [user.id]);
    expect(outcome(await redeem(newer))).toEqual([401, 'account_disabled', 'ACCOUNT_DISABLED']);
    expect(await sessionsOf(harness, user.id)).toEqual([]);
    expect((await userRow(user.id))?.lastLoginAt).toBeNull();
  });
});

/** The rules that all auth routes share for any input, the access token, and the routes check-email and users/:id. */
import { jwtVerify } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import {
  API_KEY,
  bearer,
  type Harness,
  JWT_SECRET,
  json,
  makeUser,
  NEXTAUTH_SECRET,
  PASSWORD,
  startHarness,
} from '../../support/api/harness.ts';
import {
  call,
  login,
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

const INVALID = [400, 'invalid_request', 'INVALID_REQUEST'];
const email = 'person@example.com';
/** The fields of each route that reads a body, and its error code when they are missing. */
const BODIES: [route: string, fields: Record<string, string>, missing: string][] = [
  ['login', { email, password: 'x' }, 'missing_fields'],
  ['validate', { email, password: 'x' }, 'missing_fields'],
  [
    'register',
    { email, password: 'x', confirmPassword: 'x', username: 'a', firstName: 'a', lastName: 'a' },
    'missing_fields',
  ],
  ['verify-email', { token: 'x', id: 'x', userId: 'x' }, 'missing_fields'],
  ['forgot-password', { email }, 'missing_email'],
  [
    'reset-password',
    { token: 'x', id: 'x', password: 'Good-horse-1', confirmPassword: 'Good-horse-1' },
    'missing_fields',
  ],
  ['magic-link', { email }, 'missing_email'],
  ['magic-link/verify', { token: 'x' }, 'missing_token'],
  ['refresh', { refreshToken: 'x' }, 'missing_refresh_token'],
];
const raw = (body: NonNullable<RequestInit['body']>, type?: string): RequestInit => ({
  method: 'POST',
  body,
  ...(type === undefined ? {} : { headers: { 'Content-Type': type } }),
});
const bytes = (text: string) => new TextEncoder().encode(text);

describe.each(BODIES)('%s', (route, fields, missing) => {
  const [first = ''] = Object.keys(fields);

  test.each<[string, RequestInit]>([
    ['no body', { method: 'POST' }],
    ['an empty body of JSON type', raw('', 'application/json')],
    ['an empty object', raw('{}', 'application/json; charset=utf-8')],
    ['null in all fields', json(Object.fromEntries(Object.keys(fields).map((key) => [key, null])))],
    ['unknown keys', raw('{"x":{"y":[1]},"__proto__":{"email":"a@b.co","token":"t"}}', 'application/json')],
    ['a suffix of JSON', raw('{}', 'application/vnd.api+json')],
  ])('%s: the error names the missing fields', async (_name, init) => {
    const answer = await call(harness, route, init);
    expect(outcome(answer)).toEqual([400, missing, missing.toUpperCase()]);
    expect(answer.body).toEqual({
      success: false,
      error: missing,
      code: missing.toUpperCase(),
      message: expect.stringMatching(/^[A-Z].*\.$/),
    });
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
  });

  test.each<[string, RequestInit]>([
    ['no content type', raw(bytes(JSON.stringify(fields)))],
    ['plain text', raw(JSON.stringify(fields), 'text/plain')],
    ['a form', raw(new URLSearchParams(fields))],
    ['an array', json([fields])],
    ['a text', json('text')],
    ['a number', json(5)],
    ['null', json(null)],
    ['an incomplete object', raw('{"email":', 'application/json')],
    ['bytes that are no UTF-8', raw(new Uint8Array([0x22, 0xff, 0x22]), 'application/json')],
    ['half of a surrogate pair', raw('{"email":"\\ud800"}', 'application/json')],
    [
      'compressed bytes',
      { ...json(fields), headers: { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' } },
    ],
    ['deep nesting', raw(`{"${first}":${'['.repeat(8_000)}${']'.repeat(8_000)}}`, 'application/json')],
  ])('%s is refused as unreadable', async (_name, init) => {
    const answer = await call(harness, route, init);
    expect(outcome(answer)).toEqual(INVALID);
    expect(answer.headers.get('cache-control')).toBe('no-store');
  });

  test.each(Object.keys(fields))('%s of another type or with a NUL is refused as unreadable', async (field) => {
    for (const value of [5, true, {}, ['x'], 'a\0b']) {
      expect(outcome(await post(harness, route, { ...fields, [field]: value }))).toEqual(INVALID);
    }
  });

  test('an invalid access token or API key is ignored', async () => {
    const plain = await post(harness, route, fields);
    for (const headers of [bearer('stale'), { Authorization: 'Basic eDp5' }, { 'X-API-Key': 'wrong' }]) {
      await resetRateLimits(harness);
      expect((await post(harness, route, fields, headers as Record<string, string>)).body).toEqual(plain.body);
    }
  });

  test('answers POST only, with a path in any case', async () => {
    const got = await call(harness, route);
    expect([got.status, got.headers.get('allow')]).toEqual([405, 'OPTIONS, POST']);
    const inCapitals = await harness.get(`/API/V1/Auth/${route.toUpperCase()}/`, json({}));
    expect((await inCapitals.json()).error).toBe(missing);
  });
});

describe('the access token', () => {
  test('has these claims and is signed with JWT_SECRET by HS256', async () => {
    const user = await makeUser(harness);
    await harness.database.db.raw(
      `update users set "firstName" = 'Ada', "lastName" = 'Byron', "pterodactylId" = 12, "isPterodactylAdmin" = true,
              "isVirtfusionAdmin" = null, roles = '{MEMBER,PARTNER}', "emailVerified" = '2026-01-09 10:30:00' where id = ?`,
      [user.id],
    );
    const { body } = await login(harness, user.email);
    const { payload, protectedHeader } = await jwtVerify(body.accessToken, bytes(JWT_SECRET), {
      algorithms: ['HS256'],
    });
    expect(protectedHeader).toEqual({ alg: 'HS256', typ: 'JWT' });
    expect(payload).toEqual({
      iss: 'nodebyte-backend',
      aud: 'nodebyte-api',
      sid: expect.any(String),
      id: user.id,
      email: user.email,
      username: user.email.split('@')[0],
      firstName: 'Ada',
      lastName: 'Byron',
      roles: ['MEMBER', 'PARTNER'],
      isPterodactylAdmin: true,
      isVirtfusionAdmin: false,
      isSystemAdmin: false,
      pterodactylId: 12,
      emailVerified: '2026-01-09T10:30:00.000Z',
      iat: expect.any(Number),
      nbf: payload.iat,
      exp: (payload.iat ?? 0) + 2_592_000,
    });
    await expect(jwtVerify(body.accessToken, bytes(NEXTAUTH_SECRET))).rejects.toThrow();
  });
  test('leaves out unknown claims', async () => {
    const user = await makeUser(harness);
    await harness.database.db.raw(
      `update users set username = null, "firstName" = '', "pterodactylId" = 0, roles = null where id = ?`,
      [user.id],
    );
    const { body } = await login(harness, user.email);
    const { payload } = await jwtVerify(body.accessToken, bytes(JWT_SECRET));
    expect(Object.keys(payload).sort()).toEqual(
      [
        'iss',
        'aud',
        'sid',
        'id',
        'email',
        'username',
        'roles',
        'isPterodactylAdmin',
        'isVirtfusionAdmin',
        'isSystemAdmin',
        'emailVerified',
        'iat',
        'nbf',
        'exp',
      ].sort(),
    );
    expect(payload).toMatchObject({ username: '', roles: [] });
    expect(body.user).toMatchObject({ username: '', firstName: null, lastName: null, roles: [], pterodactylId: null });
  });
  test('is not issued without a secret, and the refused request consumes no session and no link', async () => {
    const user = await makeUser(harness);
    const { refreshToken } = (await login(harness, user.email)).body;
    const magic = await tokenFor(harness, 'magic-link', user);
    const failed = [500, 'token_generation_failed', 'TOKEN_GENERATION_FAILED'];
    const withoutSecret = await startHarness({
      database: harness.database,
      config: { jwtSecret: undefined, nextAuthSecret: undefined },
    });
    try {
      expect(outcome(await login(withoutSecret, user.email))).toEqual(failed);
      expect(outcome(await refresh(withoutSecret, refreshToken))).toEqual(failed);
      expect(outcome(await post(withoutSecret, 'magic-link/verify', { token: magic }))).toEqual(failed);
      expect(outcome(await call(withoutSecret, 'me', { headers: bearer(user.token) }))).toEqual([
        401,
        'invalid_token',
        'INVALID_TOKEN',
      ]);
    } finally {
      await withoutSecret.close();
    }
    expect(await sessionsOf(harness, user.id)).toHaveLength(1);
    expect((await post(harness, 'magic-link/verify', { token: magic })).status).toBe(200);
    expect((await refresh(harness, refreshToken)).status).toBe(200);
  });
});

test('a sign-in whose session cannot be stored fails and is not recorded', async () => {
  const broken = await startHarness();
  try {
    const user = await makeUser(broken);
    await broken.database.db.raw('alter table sessions rename to sessions_away');
    expect(outcome(await login(broken, user.email))).toEqual([
      500,
      'session_creation_failed',
      'SESSION_CREATION_FAILED',
    ]);
    const [row] = await query<{ noted: boolean }>(
      broken.database.db,
      'select u."lastLoginAt" is not null as noted from users u where u.id = ?',
      [user.id],
    );
    expect(row?.noted).toBe(false);
    expect(outcome(await refresh(broken, 'a'.repeat(64)))[1]).toBe('server_error');
  } finally {
    await broken.close();
  }
});

describe('check-email', () => {
  const check = (query: string) => call(harness, `check-email${query}`);
  test('answers whether an account exists, in any case of the address', async () => {
    const user = await makeUser(harness, { email: 'Known.Person@Example.com' });
    const disabled = await makeUser(harness, { isActive: false });
    for (const [address, exists] of [
      [user.email, true],
      [' known.PERSON@example.com ', true],
      [disabled.email, true],
      ['unknown.person@example.com', false],
    ] as const) {
      const answer = await check(`?email=${encodeURIComponent(address)}&staleTime=5`);
      expect([answer.status, answer.body]).toEqual([200, { success: true, exists }]);
      expect(answer.headers.get('cache-control')).toBe('no-store');
    }
  });
  test.each([
    ['', 'missing_email'],
    ['?', 'missing_email'],
    ['?email=', 'missing_email'],
    ['?email=%20', 'missing_email'],
    ['?Email=a@example.com', 'missing_email'],
    ['?email=nonsense', 'invalid_email'],
    ['?email=%E2%84%AAelvin@example.com', 'invalid_email'],
    ['?email=a%25@b', 'invalid_email'],
    ['?email=nonsense&email=a@example.com', 'invalid_email'],
  ])('refuses %j', async (query, code) => {
    const answer = await check(query);
    expect(outcome(answer)).toEqual([400, code, code.toUpperCase()]);
    expect(answer.body.message).toEqual(expect.any(String));
  });
});

describe('users/:id', () => {
  test('is shown to API keys, administrators and the user, and to no other caller', async () => {
    const user = await makeUser(harness);
    const admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
    const stranger = await makeUser(harness);
    const disabled = await makeUser(harness, { isActive: false });
    const get = (headers: Record<string, string>, id = user.id) => call(harness, `users/${id}`, { headers });
    const shown = (await login(harness, user.email)).body.user;
    for (const headers of [{ 'X-API-Key': API_KEY }, bearer(admin.token), bearer(user.token)]) {
      const answer = await get(headers as Record<string, string>);
      expect([answer.status, answer.body]).toEqual([200, { success: true, user: shown }]);
      expect(answer.headers.get('cache-control')).toBe('no-store');
    }
    for (const id of [user.id, 'unknown']) {
      expect(outcome(await get(bearer(stranger.token), id))).toEqual([403, 'forbidden', 'FORBIDDEN']);
      for (const [headers, error] of [
        [{}, 'unauthorized'],
        [bearer('a.b.c'), 'unauthorized'],
        [{ 'X-API-Key': 'wrong' }, 'unauthorized'],
        [bearer(disabled.token), 'account_disabled'],
      ] as [Record<string, string>, string][]) {
        const answer = await get(headers, id);
        expect(outcome(answer)).toEqual([401, error, error.toUpperCase()]);
        expect(answer.headers.get('www-authenticate')).toContain('Bearer');
      }
    }
    expect(outcome(await get({ 'X-API-Key': API_KEY }, 'unknown')).slice(0, 2)).toEqual([404, 'user_not_found']);
  });
});

test('no answer with a user contains the password hash', async () => {
  const user = await makeUser(harness);
  const text = JSON.stringify([
    (await login(harness, user.email, PASSWORD)).body,
    (await post(harness, 'validate', { email: user.email, password: PASSWORD })).body,
    (await call(harness, 'me', { headers: bearer(user.token) })).body,
  ]);
  expect(text).not.toContain('$2b$');
  expect(text).not.toContain('"password"');
});

import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { routes } from '../../../src/api/routes/index.ts';
import { loadConfig } from '../../../src/config.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { query } from '../../../src/store/db/query.ts';
import {
  API_KEY,
  bearer,
  type Harness,
  insertLog,
  json,
  makeUser,
  NEXTAUTH_SECRET,
  PASSWORD,
  signToken,
  startHarness,
  unsignedToken,
} from '../../support/api/harness.ts';

const NODE_KEY = 'test-key-of-the-node-daemons-of-more-than-32-characters';

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
let logId: string;
beforeAll(async () => {
  harness = await startHarness({
    config: { hytale: { ...loadConfig({}).hytale, logPushKey: new Secret(NODE_KEY) } },
  });
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
  // A system administrator closes the set-up wizard to callers without an account.
  await makeUser(harness, { isSystemAdmin: true });
  logId = await insertLog(harness.database);
});
afterAll(() => harness.close());

/** A caller, and the auth modes that accept it. */
interface Caller {
  init: () => Promise<{ headers?: Record<string, string> }>;
  query?: string;
  passes: string[];
  /** Status of the refusal by a route for administrators. */
  status: number;
}
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
/** A logout ends the token that all tests share. */
const acceptAgain = () => harness.database.db.raw('update users set "tokensValidFrom" = null where id = ?', [admin.id]);
const withBearer = (token: () => Promise<string>) => async () => ({ headers: bearer(await token()) });
const admins = [
  'admin',
  'apiKeyOrAdmin',
  'apiKeyOrUser',
  'user',
  'adminQueryToken',
  'setup',
  'hytale',
  'hytaleNode',
  'hytaleReader',
];
const programs = ['apiKeyOrAdmin', 'apiKeyOrUser', 'hytale', 'hytaleNode', 'hytaleReader'];
const callers: Record<string, Caller> = {
  'no credential': { init: async () => ({}), passes: [], status: 401 },
  'an API key': {
    init: async () => ({ headers: { 'X-API-Key': API_KEY } }),
    passes: programs,
    status: 401,
  },
  'an API key in the query': {
    init: async () => ({}),
    query: `api_key=${API_KEY}`,
    passes: programs,
    status: 401,
  },
  'the key of the node daemons': {
    init: async () => ({ headers: { 'X-API-Key': NODE_KEY } }),
    passes: ['hytaleNode'],
    status: 401,
  },
  'the key of the node daemons in the query': {
    init: async () => ({}),
    query: `api_key=${NODE_KEY}`,
    passes: ['hytaleNode'],
    status: 401,
  },
  'a wrong API key': { init: async () => ({ headers: { 'X-API-Key': `${API_KEY}x` } }), passes: [], status: 401 },
  'an administrator by role': { init: withBearer(async () => admin.token), passes: admins, status: 401 },
  'an administrator by flag': {
    init: withBearer(async () => (await makeUser(harness, { isSystemAdmin: true })).token),
    passes: admins,
    status: 401,
  },
  'an administrator, signed with the other secret': {
    init: withBearer(() => signToken({ id: admin.id }, { secret: NEXTAUTH_SECRET })),
    passes: admins,
    status: 401,
  },
  'a customer': {
    init: withBearer(async () => (await makeUser(harness)).token),
    passes: ['user', 'hytaleReader'],
    status: 403,
  },
  'a customer whose token claims to be an administrator': {
    init: withBearer(async () => {
      const { id } = await makeUser(harness);
      return signToken({ id, roles: ['SUPER_ADMIN'], isSystemAdmin: true });
    }),
    passes: ['user', 'hytaleReader'],
    status: 403,
  },
  'a disabled administrator': {
    init: withBearer(async () => (await makeUser(harness, { isSystemAdmin: true, isActive: false })).token),
    passes: [],
    status: 401,
  },
  'an expired token': {
    init: withBearer(() => signToken({ id: admin.id }, { expiresIn: -61 })),
    passes: [],
    status: 401,
  },
  'a token within the leeway': {
    init: withBearer(() => signToken({ id: admin.id }, { expiresIn: -30 })),
    passes: admins,
    status: 401,
  },
  'a token that is not yet valid': {
    init: withBearer(() => signToken({ id: admin.id }, { notBefore: 3600 })),
    passes: [],
    status: 401,
  },
  'a token without a signature': {
    init: withBearer(async () => unsignedToken({ id: admin.id })),
    passes: [],
    status: 401,
  },
  'a token signed with an unknown secret': {
    init: withBearer(() => signToken({ id: admin.id }, { secret: 'x'.repeat(40) })),
    passes: [],
    status: 401,
  },
  'a token in HS512': {
    init: withBearer(() => signToken({ id: admin.id }, { alg: 'HS512' })),
    passes: [],
    status: 401,
  },
  'a token of an unknown user': { init: withBearer(() => signToken({ id: 'unknown-user' })), passes: [], status: 401 },
  'a bearer in small letters after two blanks (M-6)': {
    init: async () => {
      const { token } = await makeUser(harness, { isSystemAdmin: true });
      return { headers: { Authorization: `bearer  ${token}` } };
    },
    passes: admins,
    status: 401,
  },
  'a text that is not a token': { init: withBearer(async () => 'a.b.c'), passes: [], status: 401 },
};

describe.each(Object.entries(callers))('%s', (_name, caller) => {
  // The limits are not what is tested.
  beforeAll(() => query(harness.database.db, 'delete from rate_limits'));
  test.each(routes.map((route) => [`${route.method} ${route.path}`, route] as const))(
    '%s accepts or refuses as its declaration says',
    async (_title, route) => {
      const init = await caller.init();
      const path = route.path.replace(':id', route.path.includes('/auth/users/') ? admin.id : logId);
      const response = await harness.get(caller.query === undefined ? path : `${path}?${caller.query}`, {
        ...init,
        method: route.method.toUpperCase(),
        ...(route.body === undefined
          ? {}
          : { body: '{}', headers: { ...init.headers, 'Content-Type': 'application/json' } }),
      });
      const text = await response.text();
      if (route.operationId === 'logout') await acceptAgain();
      // For every caller and every status, caches may store only what the route declares.
      const declared =
        route.cache === undefined || !response.ok ? 'no-store' : `public, max-age=${route.cache.maxAgeSeconds}`;
      const stream = route.auth === 'adminQueryToken' && response.ok;
      expect(response.headers.get('cache-control')).toBe(stream ? 'no-cache' : declared);
      if (route.auth === 'public') {
        expect(response.status, text).not.toBe(401);
        expect(response.status, text).not.toBe(403);
      } else if (caller.passes.includes(route.auth)) {
        // Other tests check the other requirements of a route.
        expect([200, 202, 400, 404], text).toContain(response.status);
      } else {
        const expected = route.auth === 'user' ? 401 : caller.status;
        expect(response.status, text).toBe(expected);
        expect(JSON.parse(text)).toMatchObject({ success: false, code: expect.any(String), error: expect.any(String) });
        if (expected === 401) expect(response.headers.get('www-authenticate')).toContain('Bearer');
      }
    },
  );
});

describe('error texts, in the order of the checks', () => {
  const read = async (path: string, headers: Record<string, string>) => {
    const response = await harness.get(path, { headers });
    const { error, code } = await response.json();
    return [response.status, error, code];
  };
  test.each([
    [undefined, 'Missing Authorization header'],
    ['Basic abc', 'Invalid Authorization header format'],
    ['Bearer', 'Invalid Authorization header format'],
    ['Bearer a b', 'Invalid Authorization header format'],
    ['Bearerabc', 'Invalid Authorization header format'],
    ['BEARER  abc', 'Invalid token format'],
    ['Bearer abc', 'Invalid token format'],
    ['Bearer a.!.c', 'Invalid token'],
    ['Bearer a.bm90anNvbg.c', 'Invalid token claims'],
    [`Bearer a.${part({})}.c`, 'Invalid token: missing user ID'],
    [`Bearer a.${part({ id: 5 })}.c`, 'Invalid token: missing user ID'],
    [`Bearer a.${part({ id: 'x' })}.c`, 'Invalid token'],
  ])('Authorization: %s', async (header, text) => {
    const headers: Record<string, string> = header === undefined ? {} : { Authorization: header };
    expect(await read('/api/admin/stats', headers)).toEqual([401, text, 'UNAUTHORIZED']);
  });
  test('of a valid token: unknown user, disabled account, missing role', async () => {
    const disabled = await makeUser(harness, { isSystemAdmin: true, isActive: false });
    const member = await makeUser(harness);
    expect(await read('/api/admin/stats', bearer(await signToken({ id: 'unknown-user' })))).toEqual([
      401,
      'User not found',
      'UNAUTHORIZED',
    ]);
    expect(await read('/api/admin/stats', bearer(disabled.token))).toEqual([401, 'Account disabled', 'UNAUTHORIZED']);
    expect(await read('/api/admin/stats', bearer(member.token))).toEqual([403, 'Admin access required', 'FORBIDDEN']);
  });
  test('of a missing or wrong API key; without a configured key all keys are wrong', async () => {
    expect(await read('/api/v1/stats/users', {})).toEqual([401, 'Invalid or missing API key', 'UNAUTHORIZED']);
    expect(await read('/api/v1/stats/users', { 'X-API-Key': 'no' })).toEqual([
      401,
      'Invalid or missing API key',
      'UNAUTHORIZED',
    ]);
    const keyless = await startHarness({
      database: harness.database,
      deps: { config: { ...harness.deps.config, backendApiKey: undefined } },
    });
    expect((await keyless.get('/api/v1/stats/users', { headers: { 'X-API-Key': API_KEY } })).status).toBe(401);
    expect((await keyless.get('/api/v1/stats/users', { headers: { 'X-API-Key': 'undefined' } })).status).toBe(401);
    await keyless.close();
  });
  test('a demoted administrator is refused with the same token', async () => {
    const user = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
    expect((await harness.get('/api/admin/stats', { headers: bearer(user.token) })).status).toBe(200);
    await harness.database.db.raw(`update users set roles = '{MEMBER}' where id = ?`, [user.id]);
    expect((await harness.get('/api/admin/stats', { headers: bearer(user.token) })).status).toBe(403);
  });
  test('of auth/me are codes', async () => {
    const disabled = await makeUser(harness, { isActive: false });
    expect(await read('/api/v1/auth/me', {})).toEqual([401, 'missing_authorization', 'MISSING_AUTHORIZATION']);
    expect(await read('/api/v1/auth/me', bearer('a.b.c'))).toEqual([401, 'invalid_token', 'INVALID_TOKEN']);
    expect(await read('/api/v1/auth/me', bearer(await signToken({ id: 'x' })))).toEqual([
      401,
      'user_not_found',
      'USER_NOT_FOUND',
    ]);
    expect(await read('/api/v1/auth/me', bearer(disabled.token))).toEqual([
      401,
      'account_disabled',
      'ACCOUNT_DISABLED',
    ]);
  });
});

describe('login', () => {
  const login = (email: unknown, password: unknown) => harness.get('/api/v1/auth/login', json({ email, password }));

  test('returns user, tokens and a session whose token is not stored in clear', async () => {
    const user = await makeUser(harness);
    const response = await harness.get('/api/v1/auth/login', {
      ...json({ email: ` ${user.email.toUpperCase()} `, password: PASSWORD }),
      headers: { 'Content-Type': 'application/json', ...bearer('stale') },
    });
    expect(response.status).toBe(200);
    expect(response.headers.get('cache-control')).toBe('no-store');
    const body = await response.json();
    expect(body).toEqual({
      success: true,
      message: 'Login successful',
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
      tokens: {
        accessToken: expect.any(String),
        refreshToken: expect.stringMatching(/^[0-9a-f]{64}$/),
        expiresIn: 2_592_000,
        tokenType: 'Bearer',
      },
      accessToken: body.tokens['accessToken'],
      refreshToken: body.tokens['refreshToken'],
      expiresIn: 2_592_000,
    });
    const sessions = await query<{ sessionToken: string; days: number }>(
      harness.database.db,
      `select s."sessionToken", extract(epoch from s.expires - (now() at time zone 'utc'))::float8 / 86400 as days
         from sessions s where s."userId" = ?`,
      [user.id],
    );
    expect(sessions).toHaveLength(1);
    expect(sessions[0]?.sessionToken).toBe(`sha256:${createHash('sha256').update(body.refreshToken).digest('hex')}`);
    expect(sessions[0]?.days).toBeCloseTo(90, 2);
    const me = await harness.get('/api/v1/auth/me', { headers: bearer(body.accessToken) });
    expect(me.status).toBe(200);
    expect(await me.json()).toEqual({ success: true, user: body.user });
    const claims = JSON.parse(Buffer.from(body.accessToken.split('.')[1] ?? '', 'base64url').toString());
    expect(claims).toEqual({
      iss: 'nodebyte-backend',
      aud: 'nodebyte-api',
      sid: expect.any(String),
      id: user.id,
      email: user.email,
      username: user.email.split('@')[0],
      roles: ['MEMBER'],
      isPterodactylAdmin: false,
      isVirtfusionAdmin: false,
      isSystemAdmin: false,
      emailVerified: expect.any(String),
      iat: expect.any(Number),
      nbf: claims.iat,
      exp: claims.iat + 2_592_000,
    });
    const [touched] = await query<{ recent: boolean }>(
      harness.database.db,
      `select u."lastLoginAt" > (now() at time zone 'utc') - interval '1 minute' as recent from users u where u.id = ?`,
      [user.id],
    );
    expect(touched?.recent).toBe(true);
  });

  test('refuses wrong credentials, unusable accounts and invalid fields', async () => {
    const user = await makeUser(harness);
    const unverified = await makeUser(harness, { emailVerified: false });
    const disabled = await makeUser(harness, { isActive: false });
    const passwordless = await makeUser(harness);
    await harness.database.db.raw('update users set password = null where id = ?', [passwordless.id]);
    const read = async (email: unknown, password: unknown) => {
      const response = await login(email, password);
      const { success, error, code } = await response.json();
      return [response.status, success, error, code];
    };
    expect(await read(user.email, 'wrong')).toEqual([401, false, 'invalid_credentials', 'INVALID_CREDENTIALS']);
    expect(await read('unknown@example.com', 'wrong')).toEqual([
      401,
      false,
      'invalid_credentials',
      'INVALID_CREDENTIALS',
    ]);
    expect(await read(passwordless.email, PASSWORD)).toEqual([
      401,
      false,
      'invalid_credentials',
      'INVALID_CREDENTIALS',
    ]);
    expect(await read(unverified.email, PASSWORD)).toEqual([401, false, 'email_not_verified', 'EMAIL_NOT_VERIFIED']);
    expect(await read(unverified.email, 'wrong')).toEqual([401, false, 'invalid_credentials', 'INVALID_CREDENTIALS']);
    expect(await read(disabled.email, PASSWORD)).toEqual([401, false, 'account_disabled', 'ACCOUNT_DISABLED']);
    expect(await read('', 'x')).toEqual([400, false, 'missing_fields', 'MISSING_FIELDS']);
    expect(await read(user.email, null)).toEqual([400, false, 'missing_fields', 'MISSING_FIELDS']);
    expect(await read('not an address', 'x')).toEqual([400, false, 'invalid_email', 'INVALID_EMAIL']);
    expect(await read(5, 'x')).toEqual([400, false, 'invalid_request', 'INVALID_REQUEST']);
    const unreadable = await harness.get('/api/v1/auth/login', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{',
    });
    expect([unreadable.status, (await unreadable.json()).error]).toEqual([400, 'invalid_request']);
    const form = await harness.get('/api/v1/auth/login', {
      method: 'POST',
      body: new URLSearchParams({ email: user.email, password: PASSWORD }),
    });
    expect([form.status, (await form.json()).error]).toEqual([400, 'invalid_request']);
  });
});

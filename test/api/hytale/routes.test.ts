/** The Hytale routes in both spellings: what they ask, what they answer, who may call them, and how often. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AppError } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import type { AccountTokens, Hytale } from '../../../src/services/hytale/hytale.ts';
import { query } from '../../../src/store/db/query.ts';
import { API_KEY, bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import { fakeHytale, fakeVerifier } from '../../support/api/hytale.ts';

const ACCOUNT = '0f8e6a10-2b51-4c52-9c9d-1f7c6f3f0a01';
const PROFILE = '0f8e6a10-2b51-4c52-9c9d-1f7c6f3f0a02';
const SESSION = '0f8e6a10-2b51-4c52-9c9d-1f7c6f3f0a03';
const TOKENS: AccountTokens = {
  accountId: ACCOUNT,
  profileUuid: PROFILE,
  accessToken: new Secret('marker-access'),
  refreshToken: new Secret('marker-refresh'),
  expiresInSeconds: 3599.7,
  tokenType: 'Bearer',
  scope: 'openid offline auth:server',
};

/** What the routes asked for; what Hytale answers. */
let asked: unknown[][] = [];
let answers: Partial<Hytale> = {};
const hytale = new Proxy(fakeHytale(), {
  get:
    (known, name: keyof Hytale) =>
    (...given: unknown[]) => {
      asked.push([name, ...given]);
      return ((answers[name] ?? known[name]) as (...all: unknown[]) => unknown)(...given);
    },
});

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness({ deps: { hytale } });
});
afterAll(() => harness.close());
beforeEach(async () => {
  asked = [];
  answers = {};
  await query(harness.database.db, 'delete from rate_limits');
});

type Answer = { status: number; body: Record<string, unknown>; headers: Headers };
async function send(
  method: string,
  path: string,
  body?: unknown,
  options: { at?: Harness; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const response = await (options.at ?? harness).get(path, {
    method,
    headers: { 'X-API-Key': API_KEY, 'Content-Type': 'application/json', ...options.headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return {
    status: response.status,
    body: (await response.json()) as unknown as Record<string, unknown>,
    headers: response.headers,
  };
}

const LONG = '/api/v1/hytale/oauth';
const SPELLINGS = {
  'device-code': [
    ['POST', `${LONG}/device-code`],
    ['POST', '/api/hytale/device-code'],
  ],
  token: [
    ['POST', `${LONG}/token`],
    ['POST', '/api/hytale/token-poll'],
  ],
  refresh: [
    ['POST', `${LONG}/refresh`],
    ['POST', '/api/hytale/refresh-token'],
  ],
  profiles: [
    ['POST', `${LONG}/profiles`],
    ['POST', '/api/hytale/profiles'],
  ],
  'select-profile': [
    ['POST', `${LONG}/select-profile`],
    ['POST', '/api/hytale/select-profile'],
  ],
  new: [
    ['POST', `${LONG}/game-session/new`],
    ['POST', '/api/hytale/game-session'],
  ],
  'refresh-session': [
    ['POST', `${LONG}/game-session/refresh`],
    ['PATCH', '/api/hytale/game-session'],
  ],
  delete: [
    ['POST', `${LONG}/game-session/delete`],
    ['DELETE', '/api/hytale/game-session'],
  ],
} as const;
type Name = keyof typeof SPELLINGS;
const names = Object.keys(SPELLINGS) as Name[];

/** Sends to both spellings, which must answer alike. */
async function both(name: Name, body: unknown): Promise<Answer> {
  const [one, other] = await Promise.all(SPELLINGS[name].map(([method, path]) => send(method, path, body)));
  if (one === undefined || other === undefined) throw new Error('two spellings');
  expect({ status: other.status, body: other.body }).toEqual({ status: one.status, body: one.body });
  return one;
}
const refused = (status: number, error: string, code: string) => ({
  status,
  body: expect.objectContaining({ success: false, error, code }),
});

describe('what is wrong is said in the words and the order of the contract', () => {
  const account = { account_id: ACCOUNT };
  const noAccount = 'account_id is required';
  const noPair = 'account_id and profile_uuid are required';
  const cases: [Name, unknown, string][] = [
    ...names.map((name): [Name, unknown, string] => [name, '{', 'Invalid request format']),
    ...names.map((name): [Name, unknown, string] => [
      name,
      { account_id: 5, device_code: 'x' },
      'Invalid request format',
    ]),
    ['device-code', {}, noAccount],
    ['device-code', { account_id: null }, noAccount],
    ['device-code', { account_id: 'me' }, 'account_id must be a UUID'],
    ['token', {}, 'device_code is required'],
    ['token', { device_code: 'code' }, noAccount],
    ['token', { device_code: 'code', account_id: `${ACCOUNT} ` }, 'account_id must be a UUID'],
    ['refresh', {}, noAccount],
    ['profiles', {}, noAccount],
    ['select-profile', {}, noPair],
    ['select-profile', account, noPair],
    ['select-profile', { profile_uuid: PROFILE }, noPair],
    ['select-profile', { ...account, profile_uuid: 'x' }, 'profile_uuid must be a UUID'],
    ['new', {}, noAccount],
    ['new', { ...account, profile_id: 'x' }, 'profile_id must be a UUID'],
    ['refresh-session', {}, noAccount],
    ['refresh-session', { ...account, session_id: 'x' }, 'session_id must be a UUID'],
    ['delete', {}, noAccount],
    ['delete', { ...account, profile_uuid: 'x' }, 'profile_uuid must be a UUID'],
  ];
  test('of every route', async () => {
    for (const [name, body, error] of cases) {
      const code = error === 'Invalid request format' ? 'BAD_REQUEST' : 'VALIDATION_ERROR';
      expect(await both(name, body), `${name} ${JSON.stringify(body)}`).toMatchObject(refused(400, error, code));
      await query(harness.database.db, 'delete from rate_limits');
    }
    expect(asked).toEqual([]);
  });
});

describe('device-code and token', () => {
  test('give the code, and then the tokens without the refresh token', async () => {
    answers.startLogin = async () => ({
      loginId: randomUUID(),
      deviceCode: new Secret('ory_dc_1'),
      userCode: 'AbCd1234',
      verificationUri: 'https://oauth.example/device',
      verificationUriComplete: null,
      expiresInSeconds: 600,
      intervalSeconds: 5,
    });
    expect((await both('device-code', { account_id: ACCOUNT.toUpperCase() })).body).toEqual({
      success: true,
      device_code: 'ory_dc_1',
      user_code: 'AbCd1234',
      verification_uri: 'https://oauth.example/device',
      expires_in: 600,
      interval: 5,
    });
    const who = {
      by: expect.objectContaining({ actor: { type: 'apiKey' } }),
      ipAddress: '127.0.0.1',
      userAgent: 'node',
    };
    expect(asked).toEqual(Array(2).fill(['startLogin', ACCOUNT, who]));

    const poll = { device_code: 'ory_dc_1', account_id: ACCOUNT };
    answers.pollLogin = async () => ({ state: 'pending' });
    expect(await both('token', poll)).toMatchObject({ status: 202 });
    expect((await both('token', poll)).body).toEqual({
      success: false,
      error: 'authorization_pending',
      error_description: 'User has not yet authorized the device',
    });
    answers.pollLogin = async () => ({ state: 'failed', error: 'access_denied', description: 'It was denied' });
    const denied = {
      success: false,
      error: 'access_denied',
      error_description: 'It was denied',
      code: 'ACCESS_DENIED',
    };
    expect(await both('token', poll)).toMatchObject({ status: 400, body: denied });
    answers.pollLogin = async () => ({ state: 'granted', tokens: TOKENS });
    expect((await both('token', poll)).body).toEqual({
      success: true,
      account_id: ACCOUNT,
      profile_uuid: PROFILE,
      access_token: 'marker-access',
      expires_in: 3599,
      token_type: 'Bearer',
      scope: 'openid offline auth:server',
    });
  });

  test('give the refresh token only where it is switched on; empty values are left out', async () => {
    answers.refreshAccount = async () => ({ ...TOKENS, scope: '', profileUuid: null });
    const { body } = await both('refresh', { account_id: ACCOUNT });
    expect(Object.keys(body).sort()).toEqual(['access_token', 'account_id', 'expires_in', 'success', 'token_type']);
    const exposing = await startHarness({
      database: harness.database,
      deps: { hytale },
      config: { hytale: { ...harness.deps.config.hytale, exposeRefreshToken: true } },
    });
    const exposed = await send('POST', `${LONG}/refresh`, { account_id: ACCOUNT }, { at: exposing });
    expect(exposed.body).toEqual({ ...body, refresh_token: 'marker-refresh' });
    await exposing.close();
    expect(harness.logged()).not.toContain('marker-');
  });
});

describe('profiles and game sessions', () => {
  const account = { account_id: ACCOUNT };
  test('answer with what Hytale said', async () => {
    answers = {
      profiles: async () => ({ owner: '', profiles: [] }),
      selectProfile: async () => undefined,
      newSession: async () => ({
        sessionId: SESSION,
        sessionToken: new Secret('s.s.s'),
        identityToken: new Secret('i.i.i'),
        expiresAt: '2026-01-09T11:30:00.123456789Z',
      }),
      refreshSession: async () => undefined,
      endSession: async () => undefined,
    };
    expect((await both('profiles', account)).body).toEqual({ success: true, profiles: [] });
    answers.profiles = async () => ({ owner: ACCOUNT, profiles: [{ uuid: PROFILE, username: 'Ada' }] });
    expect((await both('profiles', account)).body).toEqual({
      success: true,
      owner: ACCOUNT,
      profiles: [{ uuid: PROFILE, username: 'Ada' }],
    });
    expect((await both('select-profile', { ...account, profile_uuid: PROFILE })).body).toEqual({
      success: true,
      message: `Profile ${PROFILE} selected`,
    });
    const expires_at = '2026-01-09T11:30:00.123456789Z';
    expect((await both('new', { ...account, server_id: 'server-1' })).body).toEqual({
      success: true,
      session: { session_token: 's.s.s', identity_token: 'i.i.i', expires_at, session_id: SESSION },
    });
    expect((await both('refresh-session', account)).body).toEqual({
      success: true,
      message: 'Game session refreshed successfully',
    });
    expect((await both('delete', account)).body).toEqual({
      success: true,
      message: 'Game session terminated successfully',
    });
  });

  test('the short spellings take the fields from the query as well; those of the body count first', async () => {
    Object.assign(answers, { refreshSession: async () => undefined, endSession: async () => undefined });
    const inQuery = `account_id=${ACCOUNT}&profile_id=${PROFILE}&session_id=${SESSION.toUpperCase()}&server_id=a`;
    const short = '/api/hytale/game-session';
    expect((await send('PATCH', `${short}?${inQuery}`)).status).toBe(200);
    expect((await send('DELETE', `${short}?${inQuery}`, { server_id: 'b', profile_uuid: SESSION })).status).toBe(200);
    const choice = { accountId: ACCOUNT, profileUuid: PROFILE, sessionId: SESSION, serverId: 'a' };
    expect(asked.map(([method, sent]) => [method, sent])).toEqual([
      ['refreshSession', choice],
      ['endSession', { ...choice, serverId: 'b', profileUuid: SESSION }],
    ]);
    expect(await send('POST', `${LONG}/game-session/delete?${inQuery}`, {})).toMatchObject(
      refused(400, 'account_id is required', 'VALIDATION_ERROR'),
    );
  });

  test('failures have the status, code and sentence of the contract', async () => {
    const failures: [AppError, number, string, string][] = [
      [
        new AppError('NOT_FOUND', { publicMessage: 'No token found for account' }),
        404,
        'NOT_FOUND',
        'No token found for account',
      ],
      [new AppError('SESSION_NOT_FOUND'), 404, 'SESSION_NOT_FOUND', 'No game session found for account and profile'],
      [new AppError('REAUTH_REQUIRED'), 401, 'REAUTH_REQUIRED', 'The Hytale account must be signed in again'],
      [new AppError('SESSION_LIMIT_EXCEEDED'), 403, 'SESSION_LIMIT_EXCEEDED', 'Session limit reached for this account'],
      [new AppError('HYTALE_FORBIDDEN'), 403, 'FORBIDDEN', 'Valid authentication but insufficient permissions'],
      [new AppError('HYTALE_NOT_FOUND'), 404, 'NOT_FOUND', 'Resource not found (invalid profile UUID or account)'],
      [
        new AppError('HYTALE_RATE_LIMITED', { retryAfterMs: 7_000 }),
        429,
        'RATE_LIMITED',
        'Too many requests. Please retry after a delay.',
      ],
      [new AppError('HYTALE_SERVER_ERROR'), 502, 'HYTALE_SERVER_ERROR', 'Hytale service error. Please retry later.'],
      [
        new AppError('HYTALE_UNAVAILABLE', { retryAfterMs: 7_000 }),
        503,
        'SERVICE_UNAVAILABLE',
        'Hytale service is currently unavailable. Please retry later.',
      ],
      [new AppError('HYTALE_ERROR'), 502, 'HYTALE_ERROR', 'An error occurred while communicating with Hytale'],
      [
        new AppError('CONFLICT', { publicMessage: 'Several fit: name session_id or server_id' }),
        409,
        'CONFLICT',
        'Several fit: name session_id or server_id',
      ],
    ];
    for (const [error, status, code, sentence] of failures) {
      answers.refreshSession = async () => {
        throw error;
      };
      const answer = await both('refresh-session', account);
      expect(answer).toMatchObject(refused(status, sentence, code));
      expect(answer.headers.get('retry-after')).toBe(error.retryAfterMs === undefined ? null : '7');
      expect(answer.body['status_code']).toBe(code === 'SESSION_LIMIT_EXCEEDED' ? 403 : undefined);
      await query(harness.database.db, 'delete from rate_limits');
    }
  });
});

describe('callers', () => {
  test('need the API key or an administrator, unless HYTALE_REQUIRE_AUTH is off', async () => {
    const [admin, customer] = await Promise.all([makeUser(harness, { isSystemAdmin: true }), makeUser(harness)]);
    const open = await startHarness({
      database: harness.database,
      deps: { hytale },
      config: { hytale: { ...harness.deps.config.hytale, requireAuth: false } },
    });
    answers.profiles = async () => ({ owner: ACCOUNT, profiles: [] });
    answers.refreshSession = async () => undefined;
    const statuses = (at: Harness, headers: Record<string, string>) =>
      Promise.all(
        SPELLINGS.profiles.map(async ([method, path]) => {
          const sent = { 'X-API-Key': '', ...headers };
          return (await send(method, path, { account_id: ACCOUNT }, { at, headers: sent })).status;
        }),
      );
    expect(await statuses(harness, {})).toEqual([401, 401]);
    expect(await statuses(harness, bearer(customer.token))).toEqual([403, 403]);
    expect(await statuses(harness, bearer(admin.token))).toEqual([200, 200]);
    expect(await statuses(open, {})).toEqual([200, 200]);
    expect(await statuses(open, bearer('no.such.token'))).toEqual([200, 200]);
    // The administration stays closed.
    expect((await send('GET', '/api/admin/hytale/accounts', undefined, { at: open })).status).toBe(401);
    await send('PATCH', `/api/hytale/game-session?account_id=${ACCOUNT}`, undefined, {
      at: open,
      headers: { 'X-API-Key': '' },
    });
    expect(asked.at(-1)?.[2]).toMatchObject({ by: { actor: { type: 'anonymous' } } });
    await open.close();
  });
});

describe('limits, on two copies of the api', () => {
  let copy: Harness;
  beforeAll(async () => {
    copy = await startHarness({ database: harness.database, deps: { hytale } });
  });
  afterAll(() => copy.close());

  /** Sends `n` requests, from both copies and in both spellings. */
  const burst = (list: readonly Name[], n: number, bodyOf: (i: number) => unknown) =>
    Promise.all(
      Array.from({ length: n }, (_, i) => {
        const spelling = SPELLINGS[list[i % list.length] ?? 'token'][i % 2];
        const [method, path] = spelling ?? ['', ''];
        return send(method, path, bodyOf(i), { at: i % 3 === 0 ? copy : harness });
      }),
    );
  const SESSIONS = ['profiles', 'select-profile', 'new', 'refresh-session', 'delete'] as const;
  test.each([
    ['device-code', ['device-code'], 5, '15m0s', 900],
    ['token', ['token'], 10, '5m0s', 300],
    ['refresh', ['refresh'], 6, '1h0m0s', 3600],
    ['the five routes of sessions together', SESSIONS, 20, '1h0m0s', 3600],
  ] as const)('%s', async (_name, list, max, window, seconds) => {
    const other = randomUUID();
    const bodyOf = (i: number) => ({ account_id: i % 2 === 0 ? ACCOUNT : ACCOUNT.toUpperCase(), device_code: 'x' });
    const before = Math.floor(Date.now() / 1000);
    const all = await burst(list, max + 4, bodyOf);
    const passed = all.filter(({ status }) => status !== 429);
    expect(passed).toHaveLength(max);
    const remaining = passed.map(({ headers }) => Number(headers.get('x-ratelimit-remaining')));
    expect(remaining.toSorted((a, b) => a - b)).toEqual(Array.from({ length: max }, (_, i) => i));
    for (const { headers } of all) expect(headers.get('x-ratelimit-limit')).toBe(String(max));
    const wait = Math.ceil(seconds / max);
    for (const { headers, body } of all.filter(({ status }) => status === 429)) {
      const retry = Number(headers.get('retry-after'));
      expect(retry).toBeGreaterThan(0);
      expect(retry).toBeLessThanOrEqual(wait);
      const reset = Number(headers.get('x-ratelimit-reset'));
      expect(reset).toBeGreaterThanOrEqual(before);
      expect(reset).toBeLessThanOrEqual(Math.ceil(Date.now() / 1000) + wait);
      expect(body).toEqual({
        success: false,
        error: `Rate limit exceeded. Maximum ${max} requests per ${window}. Retry after ${retry} seconds.`,
        code: 'RATE_LIMITED',
      });
    }
    // Another account has its own limit; a device code counts by the caller's address.
    const [next] = await burst(list, 1, () => ({ account_id: other, device_code: 'x' }));
    expect(next?.status === 429).toBe(list[0] === 'device-code');
  });

  test('an account in the query counts as one in the body; what is no account counts by the address', async () => {
    const sendTo = (search: string, body?: unknown) => send('DELETE', `/api/hytale/game-session?${search}`, body);
    const left = ({ headers }: Answer) => Number(headers.get('x-ratelimit-remaining'));
    expect(left(await sendTo(`account_id=${ACCOUNT}`))).toBe(19);
    expect(left(await sendTo(`account_id=${ACCOUNT.toUpperCase()}`))).toBe(18);
    expect(left(await sendTo(`account_id=${randomUUID()}`, { account_id: ACCOUNT }))).toBe(17);
    expect(left(await sendTo('', { account_id: [ACCOUNT] }))).toBe(19);
    expect(left(await sendTo('account_id=none'))).toBe(18);
    expect(left(await sendTo(`account_id=${ACCOUNT}`, { account_id: 7 }))).toBe(17);
  });

  test('a caller who names a new account each time meets the limit of the address', async () => {
    const one = () => send('POST', `${LONG}/refresh`, { account_id: randomUUID() });
    expect((await one()).headers.get('x-ratelimit-limit')).toBe('6');
    await query(harness.database.db, 'update rate_limits set tokens = 0 where capacity = 120');
    const answer = await one();
    expect([answer.status, answer.headers.get('x-ratelimit-limit')]).toEqual([429, '120']);
  });
});

describe('tokens and keys', () => {
  test('say whether a token is valid, and never call one invalid without the keys', async () => {
    const claims = { iss: 'https://sessions.example', sub: PROFILE, iat: 1, exp: 2, profile: { username: 'Ada' } };
    const expiresAt = new Date('2026-01-09T10:30:00Z');
    let verdict: Awaited<ReturnType<Harness['deps']['tokenVerifier']['verify']>> = {
      state: 'valid',
      claims,
      expiresAt,
    };
    const verified: unknown[] = [];
    const status = { cacheValid: true, keysCount: 2, lastRefresh: expiresAt, nextRefresh: null, problem: null };
    let known: typeof status | (Omit<typeof status, 'problem'> & { problem: string }) = status;
    const at = await startHarness({
      database: harness.database,
      deps: {
        tokenVerifier: fakeVerifier({
          verify: async (token, options) => {
            verified.push([token.reveal(), options]);
            return verdict;
          },
          status: () => known,
          refresh: async () => known,
        }),
      },
    });
    const validate = (body: unknown) => send('POST', `${LONG}/validate-token`, body, { at });
    const body = { token: 'marker-token', token_type: 'identity', expected_audience: 'me' };
    expect(await validate({})).toMatchObject(refused(400, 'token is required', 'VALIDATION_ERROR'));
    expect(await validate({ token: 'x' })).toMatchObject(refused(400, 'token_type is required', 'VALIDATION_ERROR'));
    expect(await validate({ token: 'x', token_type: 'access' })).toMatchObject(
      refused(400, 'token_type must be session or identity', 'VALIDATION_ERROR'),
    );
    expect((await validate(body)).body).toEqual({
      success: true,
      valid: true,
      claims,
      expires_at: '2026-01-09T10:30:00.000Z',
    });
    expect(verified).toEqual([['marker-token', { type: 'identity', audience: 'me' }]]);
    verdict = { state: 'invalid', code: 'EXPIRED_TOKEN', detail: 'It has expired' };
    expect((await validate(body)).body).toEqual({
      success: true,
      valid: false,
      error: 'EXPIRED_TOKEN',
      message: 'It has expired',
    });
    verdict = { state: 'unknown', detail: 'no answer' };
    expect(await validate(body)).toMatchObject({
      status: 503,
      body: { code: 'SERVICE_UNAVAILABLE', message: 'no answer' },
    });
    expect(at.logged()).not.toContain('marker-');

    const last_refresh = '2026-01-09T10:30:00.000Z';
    const keys = { success: true, cache_valid: true, keys_count: 2, last_refresh, next_refresh: null };
    expect((await send('GET', `${LONG}/jwks`, undefined, { at })).body).toEqual(keys);
    const refresh = () => send('POST', `${LONG}/jwks/refresh`, undefined, { at });
    expect((await refresh()).body).toEqual({ success: true, keys_loaded: 2, last_refresh });
    known = { ...status, problem: 'no answer' };
    expect((await send('GET', `${LONG}/jwks`, undefined, { at })).body).toEqual({ ...keys, error: 'no answer' });
    expect(await refresh()).toMatchObject({ status: 503, body: { success: false, message: 'no answer' } });
    await at.close();
  });
});

/** The client of Hytale: every answer and every fault of each call, from a server that answers as it is asked to. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import fc from 'fast-check';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { USER_AGENT } from '../../../src/clients/http/user-agent.ts';
import type { HytaleClient } from '../../../src/clients/hytale/answers.ts';
import { createHytaleClient } from '../../../src/clients/hytale/client.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { type RawServer, startRawServer } from '../../support/panel.ts';

const SENT = 'marker-sent.M4rk3r_t0ken';
const PROFILE = '0b6f2f0c-6d3f-4b7a-9d52-0f3b8a1c2d3e';
const OWNER = '7a1f2f0c-6d3f-4b7a-9d52-0f3b8a1c2d3e';

interface Answer {
  status?: number;
  headers?: Record<string, string>;
  /** An object is sent as JSON. */
  body?: unknown;
  /** `cut`: reset before the answer; `half`: in the middle of it; `hang`: no answer. */
  ends?: 'cut' | 'half' | 'hang';
}
let answer: Answer;
let received: { headers: IncomingMessage['headers']; method: string; url: string; body: string }[];
let server: RawServer;
let client: HytaleClient;
let impatient: HytaleClient;

async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { status = 200, body = '', ends, headers } = answer;
  const body_ = await textOf(request);
  received.push({ headers: request.headers, method: request.method ?? '', url: request.url ?? '', body: body_ });
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const type = typeof body === 'string' ? 'text/plain' : 'application/json';
  if (ends === 'hang') return;
  if (ends === 'cut') return void request.socket.destroy();
  if (ends === undefined) return void response.writeHead(status, { 'content-type': type, ...headers }).end(text);
  response.writeHead(status, { 'content-type': type, 'content-length': text.length });
  response.write(text.slice(0, text.length / 2), () => request.socket.destroy());
}

const clientAt = (url: string, timeoutMs = 5_000): HytaleClient =>
  createHytaleClient({ hosts: { oauth: url, accountData: url, sessions: url }, timeoutMs });
beforeAll(async () => {
  server = await startRawServer((request, response) => {
    respond(request, response).catch(() => response.destroy());
  });
  client = clientAt(server.url);
  impatient = clientAt(server.url, 60);
});
beforeEach(() => {
  answer = {};
  received = [];
});
afterAll(async () => {
  await server.close();
  await Promise.all([client.close(), impatient.close()]);
});

const TOKENS = {
  access_token: 'marker-access',
  refresh_token: 'marker-refresh',
  token_type: 'bearer',
  expires_in: 3600,
  scope: 'openid offline auth:server',
  id_token: 'not.a.jwt-of-a-known-issuer',
  extra: { marker: 1 },
};
const DEVICE = {
  device_code: 'marker-device',
  user_code: 'fkYMjXa6',
  verification_uri: 'http://127.0.0.1:1/verify',
  verification_uri_complete: 'http://127.0.0.1:1/verify?user_code=fkYMjXa6',
  expires_in: 600,
  interval: 7,
};
const EXPIRES = '2026-01-19T16:33:23.443439358Z';
const PAIR = { sessionToken: 'marker-session', identityToken: 'marker-identity', expiresAt: EXPIRES };
const PROFILES = { owner: OWNER, profiles: [{ uuid: PROFILE, username: 'Steve', extra: 1 }] };

const bearer = new Secret(SENT);
const CALLS = {
  requestDeviceCode: { good: DEVICE, call: (by: HytaleClient, signal?: AbortSignal) => by.requestDeviceCode(signal) },
  pollToken: { good: TOKENS, call: (by: HytaleClient, signal?: AbortSignal) => by.pollToken(bearer, signal) },
  refreshToken: { good: TOKENS, call: (by: HytaleClient, signal?: AbortSignal) => by.refreshToken(bearer, signal) },
  profiles: { good: PROFILES, call: (by: HytaleClient, signal?: AbortSignal) => by.profiles(bearer, signal) },
  newSession: { good: PAIR, call: (by: HytaleClient, signal?: AbortSignal) => by.newSession(bearer, PROFILE, signal) },
  refreshSession: { good: PAIR, call: (by: HytaleClient, signal?: AbortSignal) => by.refreshSession(bearer, signal) },
  endSession: { good: '', call: (by: HytaleClient, signal?: AbortSignal) => by.endSession(bearer, signal) },
};
type Call = keyof typeof CALLS;
const NAMES = Object.keys(CALLS) as Call[];
const OAUTH: Call[] = ['requestDeviceCode', 'pollToken', 'refreshToken'];
/** Calls whose good answer has a body that is needed. */
const WITH_BODY = NAMES.filter((name) => name !== 'endSession');

const OK: Record<Call, string> = Object.fromEntries(NAMES.map((name) => [name, 'ok'])) as Record<Call, string>;
OK.endSession = 'ended';

/** The clear values of a result, which are compared; printing them gives `[redacted]`. */
const clear = (value: unknown): unknown => {
  if (value instanceof Secret) return `clear ${value.reveal()}`;
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map(clear);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, clear(inner)]));
};
/** Sends a call, and checks that the sentence of its result quotes nothing. */
async function ask(name: Call, given: Answer, by = client) {
  answer = given;
  const result = await CALLS[name].call(by);
  expect(JSON.stringify(result)).not.toMatch(/marker|M4rk3r/i);
  return result;
}

describe('requests', () => {
  const form = 'application/x-www-form-urlencoded;charset=UTF-8';
  test.each([
    [
      'requestDeviceCode',
      'POST',
      '/oauth2/device/auth',
      form,
      'scope=openid+offline+auth%3Aserver&client_id=hytale-server',
    ],
    [
      'pollToken',
      'POST',
      '/oauth2/token',
      form,
      `device_code=${SENT}&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=hytale-server`,
    ],
    [
      'refreshToken',
      'POST',
      '/oauth2/token',
      form,
      `refresh_token=${SENT}&grant_type=refresh_token&client_id=hytale-server`,
    ],
    ['profiles', 'GET', '/my-account/get-profiles', undefined, ''],
    ['newSession', 'POST', '/game-session/new', 'application/json', `{"uuid":"${PROFILE}"}`],
    ['refreshSession', 'POST', '/game-session/refresh', undefined, ''],
    ['endSession', 'DELETE', '/game-session', undefined, ''],
  ] as const)('%s is %s %s', async (name, method, url, type, body) => {
    expect(await ask(name, { body: CALLS[name].good })).toMatchObject({ outcome: OK[name] });
    const [request] = received;
    expect(received).toHaveLength(1);
    expect(request).toMatchObject({ method, url, body });
    expect(request?.headers).toMatchObject({ 'user-agent': USER_AGENT, accept: 'application/json' });
    expect(request?.headers['content-type']).toBe(type);
    // The client is a public one: OAuth calls carry no credentials in the header.
    expect(request?.headers.authorization).toBe(OAUTH.includes(name) ? undefined : `Bearer ${SENT}`);
  });

  test.each(['', 'two words', 'line\nbreak', 'ümlaut', 'x'.repeat(20_000)])(
    'a token that cannot stand in a header is not sent (%#)',
    async (text) => {
      const token = new Secret(text);
      expect(await client.profiles(token)).toMatchObject({ outcome: 'unauthorized', httpStatus: null });
      expect(await client.newSession(token, PROFILE)).toMatchObject({ outcome: 'unauthorized' });
      expect(await client.refreshSession(token)).toMatchObject({ outcome: 'rejected' });
      expect(await client.endSession(token)).toEqual({ outcome: 'gone' });
      expect(received).toEqual([]);
    },
  );

  test('an empty refresh token or device code is not sent', async () => {
    expect(await client.refreshToken(new Secret(''))).toMatchObject({ outcome: 'rejected', error: 'invalid_grant' });
    expect(await client.pollToken(new Secret(''))).toMatchObject({ outcome: 'refused', error: 'invalid_grant' });
    expect(received).toEqual([]);
  });

  test.each(NAMES)('%s ends with the reason of a caller who gives up', async (name) => {
    answer = { ends: 'hang' };
    const reason = new Error('given up');
    const controller = new AbortController();
    const asked = CALLS[name].call(client, controller.signal);
    await vi.waitFor(() => expect(received).toHaveLength(1), { interval: 2 });
    controller.abort(reason);
    await expect(asked).rejects.toBe(reason);
  });
});

describe('good answers', () => {
  const tokens = (over: object) => ask('refreshToken', { body: { ...TOKENS, ...over } });
  test('tokens', async () => {
    for (const name of ['pollToken', 'refreshToken'] as const) {
      expect(clear(await ask(name, { body: TOKENS }))).toEqual({
        outcome: 'ok',
        tokens: {
          accessToken: 'clear marker-access',
          refreshToken: 'clear marker-refresh',
          expiresInSeconds: 3600,
          tokenType: 'Bearer',
          scope: 'openid offline auth:server',
        },
      });
    }
  });

  test.each([
    [{ expires_in: undefined }, { expiresInSeconds: 3600 }],
    [{ expires_in: '1800' }, { expiresInSeconds: 1800 }],
    [{ expires_in: 59.9 }, { expiresInSeconds: 59 }],
    [{ expires_in: 0 }, { expiresInSeconds: 3600 }],
    [{ expires_in: -5 }, { expiresInSeconds: 3600 }],
    [{ expires_in: 40 * 86_400 }, { expiresInSeconds: 40 * 86_400 }],
    [{ expires_in: 1e300 }, { expiresInSeconds: 365 * 86_400 }],
    [{ expires_in: 'soon' }, { expiresInSeconds: 3600 }],
    [{ expires_in: null }, { expiresInSeconds: 3600 }],
    [{ refresh_token: undefined }, { refreshToken: null }],
    [{ refresh_token: null }, { refreshToken: null }],
    [{ refresh_token: '' }, { refreshToken: null }],
    [{ refresh_token: 7 }, { refreshToken: null }],
    [{ token_type: 'BEARER' }, { tokenType: 'Bearer' }],
    [{ token_type: undefined }, { tokenType: 'Bearer' }],
    [{ token_type: 'mac' }, { tokenType: 'mac' }],
    [{ scope: undefined }, { scope: 'openid offline auth:server' }],
    [{ scope: ['a'] }, { scope: 'openid offline auth:server' }],
    [{ scope: 'offline' }, { scope: 'offline' }],
    [{ id_token: undefined }, {}],
    [{ id_token: 42 }, {}],
  ])('tokens with %j', async (over, expected) => {
    expect(await tokens(over)).toMatchObject({ outcome: 'ok', tokens: expected });
  });

  const device = (over: object) => ask('requestDeviceCode', { body: { ...DEVICE, ...over } });
  test('a device code is passed on as it was sent', async () => {
    answer = { body: DEVICE };
    expect(clear(await client.requestDeviceCode())).toEqual({
      outcome: 'ok',
      deviceCode: 'clear marker-device',
      userCode: 'fkYMjXa6',
      verificationUri: DEVICE.verification_uri,
      verificationUriComplete: DEVICE.verification_uri_complete,
      expiresInSeconds: 600,
      intervalSeconds: 7,
    });
  });
  test.each([
    [{ interval: undefined }, { intervalSeconds: 5 }],
    [{ interval: '9' }, { intervalSeconds: 9 }],
    [{ interval: 0 }, { intervalSeconds: 5 }],
    [{ expires_in: undefined }, { expiresInSeconds: 600 }],
    [{ expires_in: '900' }, { expiresInSeconds: 900 }],
    [{ verification_uri_complete: undefined }, { verificationUriComplete: null }],
    [{ verification_uri_complete: 'javascript:alert(1)' }, { verificationUriComplete: null }],
    [{ extra: 1 }, {}],
  ])('a device code with %j', async (over, expected) => {
    expect(await device(over)).toMatchObject({ outcome: 'ok', ...expected });
  });
  test.each([{ verification_uri: 'javascript:alert(1)' }, { verification_uri: '/verify' }, { user_code: 'a\nb' }])(
    'a device code with %j cannot be shown',
    async (over) => {
      expect(await device(over)).toMatchObject({ outcome: 'unavailable' });
    },
  );

  test.each([
    [PROFILES, [{ uuid: PROFILE, username: 'Steve' }]],
    [{ owner: OWNER.toUpperCase(), profiles: [{ uuid: PROFILE.toUpperCase() }] }, [{ uuid: PROFILE, username: '' }]],
    [{ owner: OWNER, profiles: [] }, []],
    [{ owner: OWNER, profiles: null }, []],
    [{ owner: OWNER }, []],
  ])('profiles %j', async (body, profiles) => {
    expect(await ask('profiles', { body })).toEqual({ outcome: 'ok', owner: OWNER, profiles });
  });

  test.each([200, 201])('a session with status %i', async (status) => {
    answer = { status, body: { ...PAIR, extra: 1 } };
    const expected = {
      outcome: 'ok',
      pair: {
        sessionToken: 'clear marker-session',
        identityToken: 'clear marker-identity',
        expiresAt: '2026-01-19T16:33:23.443Z',
      },
    };
    expect(clear(await client.newSession(bearer, PROFILE))).toEqual(expected);
    expect(clear(await client.refreshSession(bearer))).toEqual(expected);
  });
  test.each([undefined, null, ''])(
    'a renewed session without a session token keeps the one before (%j)',
    async (sessionToken) => {
      const body = { ...PAIR, sessionToken };
      expect(await ask('refreshSession', { body })).toMatchObject({ outcome: 'ok', pair: { sessionToken: null } });
      expect(await ask('newSession', { body })).toMatchObject({ outcome: 'unavailable', lost: true });
    },
  );
  test.each([
    undefined,
    null,
    '',
    'soon',
    12,
    '0001-01-01T00:00:00Z',
    '9999-12-31T23:59:59Z',
    '2026-02-31',
    '2026-13-01T00:00:00Z',
  ])('a session that ends at %j ends with its identity token, if that says when', async (expiresAt) => {
    const identityToken = await new SignJWT({ exp: 1_800_000_000 })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(Buffer.alloc(32));
    const end = new Date(1_800_000_000_000);
    expect(await ask('newSession', { body: { ...PAIR, identityToken, expiresAt } })).toMatchObject({
      outcome: 'ok',
      pair: { expiresAt: end },
    });
    const without = await ask('newSession', { body: { ...PAIR, expiresAt } });
    expect(without).toMatchObject({ outcome: 'unavailable', lost: true, detail: expect.stringContaining('expiresAt') });
  });
  test.each(['2026-01-19T16:33:23Z', '2026-01-19T17:33:23.000000001+01:00'])(
    'a session that ends at %s',
    async (expiresAt) => {
      expect(await ask('refreshSession', { body: { ...PAIR, expiresAt } })).toMatchObject({
        outcome: 'ok',
        pair: { expiresAt: new Date('2026-01-19T16:33:23Z') },
      });
    },
  );

  test.each([200, 202, 204])('an ended session with status %i, whatever the body', async (status) => {
    expect(await ask('endSession', { status, body: status === 204 ? '' : '<html>' })).toEqual({ outcome: 'ended' });
  });
});

describe('decisions of the sign-in host', () => {
  const error = (code: unknown, more: object = {}) => ({ error: code, error_description: `marker ${SENT}`, ...more });
  test.each([
    ['authorization_pending', 400, { outcome: 'pending' }],
    ['authorization_pending', 429, { outcome: 'pending' }],
    ['authorization_pending', 428, { outcome: 'pending' }],
    ['slow_down', 400, { outcome: 'slow_down' }],
    ['slow_down', 429, { outcome: 'slow_down' }],
    ['expired_token', 400, { outcome: 'expired' }],
    ['expired_token', 401, { outcome: 'expired' }],
    ['access_denied', 403, { outcome: 'denied' }],
    ['access_denied', 400, { outcome: 'denied' }],
    ['invalid_grant', 400, { outcome: 'refused', error: 'invalid_grant' }],
    ['invalid_request', 400, { outcome: 'refused', error: 'invalid_request' }],
    ['invalid_client', 401, { outcome: 'misconfigured', error: 'invalid_client' }],
    ['unauthorized_client', 400, { outcome: 'misconfigured', error: 'unauthorized_client' }],
    ['unsupported_grant_type', 400, { outcome: 'misconfigured', error: 'unsupported_grant_type' }],
    ['temporarily_unavailable', 400, { outcome: 'unavailable' }],
    ['server_error', 400, { outcome: 'unavailable' }],
  ])('a poll answered with %s and status %i', async (code, status, expected) => {
    // Also with the wrong content type, and beside a challenge.
    for (const headers of [{}, { 'content-type': 'text/plain', 'www-authenticate': 'Basic realm="x"' }]) {
      expect(await ask('pollToken', { status, headers, body: error(code) })).toMatchObject(expected);
    }
  });

  test.each([
    ['invalid_grant', 400, 'rejected'],
    ['token_inactive', 401, 'rejected'],
    ['invalid_request', 400, 'rejected'],
    ['access_denied', 403, 'rejected'],
    ['consent_required', 404, 'rejected'],
    ['some_new_code', 418, 'rejected'],
    ['invalid_client', 401, 'misconfigured'],
    ['invalid_client', 400, 'misconfigured'],
    ['unauthorized_client', 403, 'misconfigured'],
    ['unsupported_grant_type', 400, 'misconfigured'],
  ])('a refresh answered with %s and status %i is %s', async (code, status, outcome) => {
    expect(await ask('refreshToken', { status, body: error(code) })).toMatchObject({
      outcome,
      error: code,
      httpStatus: status,
    });
  });

  test.each([
    ['an outage in words', 400, error('temporarily_unavailable')],
    ['an outage in words', 400, error('server_error')],
    ['a limit in words', 400, error('too_many_requests')],
    ['a limit in words', 403, error('rate_limit_exceeded')],
    ['a limit', 429, error('invalid_grant')],
    ['a late request', 408, error('invalid_grant')],
    ['an outage', 500, error('invalid_grant')],
    ['an outage', 503, error('invalid_grant')],
    ['JSON of a gateway', 403, { message: 'Forbidden' }],
    ['JSON of a framework', 404, { status: 404, error: 'Not Found', path: '/oauth2/token' }],
    ['JSON of a framework', 404, { error: 'not_found' }],
    ['JSON of a framework', 400, { error: 'bad_request' }],
    ['JSON with an object', 400, { error: { code: 'invalid_grant' } }],
    ['JSON with one word', 400, error('error')],
    ['a code that quotes', 400, error(SENT)],
    ['a list', 400, ['invalid_grant']],
    ['a text', 401, 'invalid_grant'],
    ['a page', 403, '<html>marker</html>'],
    ['a page that speaks of it', 400, '<html>{"error":"invalid_grant"}</html>'],
    ['nothing', 401, ''],
    ['half of it', 400, '{"error":"invalid_gr'],
    ['a redirect', 302, error('invalid_grant')],
  ])('%s with status %i never costs a refresh token', async (_what, status, body) => {
    expect(await ask('refreshToken', { status, body })).toMatchObject({ outcome: 'unavailable', httpStatus: status });
    expect(await ask('pollToken', { status, body })).toMatchObject({ outcome: 'unavailable' });
    expect(await ask('requestDeviceCode', { status, body })).toMatchObject({ outcome: 'unavailable' });
  });

  test('a challenge of a firewall is none, even as JSON', async () => {
    const given = { status: 403, headers: { 'cf-mitigated': 'challenge' }, body: error('invalid_grant') };
    expect(await ask('refreshToken', given)).toMatchObject({ outcome: 'unavailable' });
  });

  test('a code that quotes the token is not passed on', async () => {
    answer = { status: 400, body: { error: 'secret_marker_words' } };
    expect(await client.refreshToken(new Secret('marker_words'))).toMatchObject({ outcome: 'unavailable' });
  });

  test.each([
    ['invalid_scope', 400],
    ['invalid_client', 401],
    ['unauthorized_client', 400],
  ])('a device code is refused with %s', async (code, status) => {
    const expected = { outcome: 'refused', error: code, httpStatus: status };
    expect(await ask('requestDeviceCode', { status, body: error(code) })).toMatchObject(expected);
  });
});

describe('decisions of the other hosts', () => {
  const LIMIT = { outcome: 'forbidden', limit: true, auth: false };
  const AUTH = { outcome: 'forbidden', limit: false, auth: true };
  const SILENT = { outcome: 'forbidden', limit: false, auth: false };
  test.each([
    ['profiles', 401, '', { outcome: 'unauthorized', httpStatus: 401 }],
    ['profiles', 403, 'invalid authorization header', { outcome: 'unauthorized', httpStatus: 403 }],
    ['profiles', 403, { error: 'marker' }, { outcome: 'unauthorized' }],
    ['profiles', 404, 'marker', { outcome: 'refused', error: null }],
    ['profiles', 400, '', { outcome: 'refused' }],
    ['newSession', 400, 'bad body', { outcome: 'refused', error: null }],
    ['newSession', 401, 'invalid token', { outcome: 'unauthorized' }],
    ['newSession', 403, 'invalid token', AUTH],
    ['newSession', 403, 'invalid authorization header', AUTH],
    ['newSession', 403, { message: 'Unauthorized' }, AUTH],
    ['newSession', 403, '', SILENT],
    ['newSession', 403, 'marker', SILENT],
    ['newSession', 403, 'session limit reached for this token', LIMIT],
    ['newSession', 403, { error: 'session_limit_exceeded' }, LIMIT],
    ['newSession', 403, 'Concurrent sessions', LIMIT],
    ['newSession', 403, 'too many sessions', LIMIT],
    ['newSession', 403, { entitlement: 'sessions.unlimited_servers' }, LIMIT],
    ['newSession', 403, '{"error":"session_limit', LIMIT],
    ['newSession', 403, '100', SILENT],
    ['newSession', 404, 'profile not found', { outcome: 'no_profile' }],
    ['newSession', 409, '', { outcome: 'refused' }],
    ['refreshSession', 400, '', { outcome: 'rejected', httpStatus: 400 }],
    ['refreshSession', 401, '', { outcome: 'rejected' }],
    ['refreshSession', 403, 'invalid token', { outcome: 'rejected' }],
    ['refreshSession', 404, { marker: 1 }, { outcome: 'rejected' }],
    ['endSession', 401, '', { outcome: 'gone' }],
    ['endSession', 403, 'invalid token', { outcome: 'gone' }],
    ['endSession', 404, '', { outcome: 'gone' }],
    ['endSession', 400, '', { outcome: 'unavailable', lost: false }],
  ] as const)('%s answered with %i and %j', async (name, status, body, expected) => {
    expect(await ask(name, { status, body })).toMatchObject(expected);
  });

  test.each(['profiles', 'newSession', 'refreshSession', 'endSession'] as const)(
    '%s: what something in between refuses is an outage',
    async (name) => {
      for (const status of [400, 401, 403, 404]) {
        const pages: Answer[] = [
          { body: '<!doctype html><p>marker: too many sessions, invalid token</p>' },
          { body: 'error code: 1020' },
          { body: 'invalid token', headers: { 'cf-mitigated': 'challenge' } },
          { body: '<br />\n<b>Warning</b>: marker' },
        ];
        for (const page of pages)
          expect(await ask(name, { status, ...page })).toMatchObject({ outcome: 'unavailable', httpStatus: status });
      }
    },
  );
});

describe('outages of every call', () => {
  test.each(NAMES)('%s: a limit says how long it lasts', async (name) => {
    const limited = (headers: Record<string, string>) => ask(name, { status: 429, headers, body: 'marker' });
    expect(await limited({ 'retry-after': '42' })).toMatchObject({
      outcome: 'unavailable',
      httpStatus: 429,
      retryAfterMs: 42_000,
      lost: false,
    });
    expect(await limited({})).not.toHaveProperty('retryAfterMs');
    expect(await limited({ 'retry-after': 'later' })).not.toHaveProperty('retryAfterMs');
    expect(await limited({ 'retry-after': '0' })).toMatchObject({ retryAfterMs: 1_000 });
    expect(await limited({ 'retry-after': '999999999999999' })).toMatchObject({ retryAfterMs: 3_600_000 });
    const dated = await limited({ 'retry-after': new Date(Date.now() + 600_000).toUTCString() });
    const { retryAfterMs = 0 } = dated as { retryAfterMs?: number };
    expect(Math.abs(retryAfterMs - 600_000)).toBeLessThan(10_000);
  });

  test.each(NAMES)('%s: a status of an outage is one, whatever the body', async (name) => {
    for (const body of ['', 'marker', '<html>marker', { error: 'invalid_grant' }, { ...TOKENS }]) {
      for (const [status, lost] of [
        [500, false],
        [502, true],
        [503, false],
        [504, true],
        [524, true],
        [408, false],
        [301, false],
      ] as const) {
        const given = {
          status,
          body,
          headers: { 'retry-after': '30', location: `https://${SENT}.example/api/marker` },
        };
        const expected = { outcome: 'unavailable', httpStatus: status, retryAfterMs: 30_000, lost };
        expect(await ask(name, given)).toMatchObject(expected);
      }
    }
    expect(received).toHaveLength(5 * 7);
  });

  test.each(NAMES)('%s: an answer that does not come may have been lost', async (name) => {
    const lost = { outcome: 'unavailable', httpStatus: null, lost: true };
    expect(await ask(name, { ends: 'cut' })).toMatchObject(lost);
    expect(await ask(name, { ends: 'hang' }, impatient)).toMatchObject(lost);
    expect(await ask(name, { ends: 'half', body: CALLS[name].good || '{"a":1}' })).toMatchObject(lost);
    expect(await ask(name, { ends: 'half', status: 400, body: { error: 'invalid_grant' } })).toMatchObject(lost);
  });

  test.each(NAMES)('%s: a host that is not there has received nothing', async (name) => {
    const gone = await startRawServer(() => {});
    await gone.close();
    const nowhere = clientAt(gone.url);
    const unknown = clientAt('http://no-such-host.invalid');
    const expected = { outcome: 'unavailable', httpStatus: null, lost: false };
    expect(await ask(name, {}, nowhere)).toMatchObject(expected);
    expect(await ask(name, {}, unknown)).toMatchObject(expected);
    await Promise.all([nowhere.close(), unknown.close()]);
  });

  test.each(WITH_BODY)('%s: a good answer that is not whole is lost', async (name) => {
    const whole = JSON.stringify(CALLS[name].good);
    const bodies = [
      '',
      'marker',
      '<html>marker',
      whole.slice(0, -9),
      '[]',
      'null',
      '{}',
      '"marker"',
      ' '.repeat(300_000),
    ];
    for (const body of bodies) expect(await ask(name, { body })).toMatchObject({ outcome: 'unavailable', lost: true });
    const needed = {
      requestDeviceCode: ['device_code', 'user_code', 'verification_uri'],
      pollToken: ['access_token'],
      refreshToken: ['access_token'],
      profiles: ['owner'],
      newSession: ['sessionToken', 'identityToken', 'expiresAt'],
      refreshSession: ['identityToken', 'expiresAt'],
      endSession: [],
    };
    for (const field of needed[name]) {
      for (const value of [undefined, null, '', 7, { marker: 1 }, 'two\nlines marker']) {
        const result = await ask(name, { body: { ...Object(CALLS[name].good), [field]: value } });
        if (field === 'sessionToken' && name === 'refreshSession') continue;
        expect(result).toMatchObject({
          outcome: 'unavailable',
          httpStatus: 200,
          lost: true,
          detail: expect.stringContaining(field),
        });
      }
    }
  });
});

test('whatever comes is a result, and none quotes the answer or the token', async () => {
  const body = fc.oneof(
    fc.constantFrom<unknown>('', 'marker', `invalid token ${SENT}`, '<html>marker</html>'),
    fc.record({
      error: fc.constantFrom<unknown>('invalid_grant', `marker_${SENT}`, 'marker', SENT, 1),
      error_description: fc.constant(SENT),
    }),
    fc.constantFrom<unknown>(TOKENS, DEVICE, PAIR, PROFILES),
    fc.json().map((text) => `{"marker":${text}}`),
  );
  const given = fc.record({
    status: fc.constantFrom(200, 201, 204, 302, 400, 401, 403, 404, 410, 418, 429, 451, 500, 503, 530),
    headers: fc.constantFrom<Record<string, string>>(
      {},
      { location: `https://${SENT}.marker/login/` },
      { 'retry-after': SENT },
    ),
    body,
  });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...NAMES), given, async (name, one) => {
      const result = await ask(name, one);
      expect(result).toHaveProperty('outcome');
      if ('detail' in result) expect(result.detail.length).toBeLessThan(300);
    }),
    { numRuns: 300 },
  );
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { HytaleFault, SimulatedAccount } from '../../../simulators/hytale/contract.ts';
import { type HytaleSimulator, startHytaleSimulator } from '../../../simulators/hytale/simulator.ts';
import { digest } from '../../../simulators/hytale/state.ts';

const SCOPE = 'openid offline auth:server';
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
const DAY = 24 * HOUR;

let time = Date.parse('2026-11-28T00:00:00.250Z');
let hytale: HytaleSimulator;
let account: SimulatedAccount;
let original: HytaleSimulator['switches'];
beforeAll(async () => {
  hytale = await startHytaleSimulator({ now: () => time, seed: 7 });
  original = { ...hytale.switches };
  account = hytale.addAccount({ name: 'Anna', profiles: [{ username: 'anna_plays' }] });
});
afterEach(() => {
  hytale.reset();
  hytale.switches = { ...original };
  hytale.setSessionLimit(100);
});
afterAll(() => hytale.close());

interface Answer {
  status: number;
  headers: Headers;
  text: string;
  json: Record<string, unknown>;
}

async function send(url: string, options: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, options);
  const text = await response.text();
  let json: Record<string, unknown> = {};
  try {
    json = z.record(z.string(), z.unknown()).parse(JSON.parse(text));
  } catch {
    // not JSON
  }
  return { status: response.status, headers: response.headers, text, json };
}

const oauth = (path: string, form: Record<string, string>, headers: Record<string, string> = {}) =>
  send(`${hytale.hosts.oauth}/oauth2/${path}`, {
    method: 'POST',
    body: new URLSearchParams({ client_id: 'hytale-server', ...form }),
    headers,
  });
const requestCode = (scope = SCOPE) => oauth('device/auth', { scope });
const poll = (deviceCode: unknown) => oauth('token', { grant_type: DEVICE_GRANT, device_code: String(deviceCode) });
const refresh = (token: unknown) => oauth('token', { grant_type: 'refresh_token', refresh_token: String(token) });
const bearer = (token: unknown) => ({ authorization: `Bearer ${String(token)}` });
const profiles = (token: unknown) =>
  send(`${hytale.hosts.accountData}/my-account/get-profiles`, { headers: bearer(token) });
const newSession = (token: unknown, uuid = account.profiles[0]?.uuid, type = 'application/json') =>
  send(`${hytale.hosts.sessions}/game-session/new`, {
    method: 'POST',
    headers: { ...bearer(token), 'content-type': type },
    body: JSON.stringify({ uuid }),
  });
const refreshSession = (token: unknown) =>
  send(`${hytale.hosts.sessions}/game-session/refresh`, { method: 'POST', headers: bearer(token) });
const endSession = (token: unknown) =>
  send(`${hytale.hosts.sessions}/game-session`, { method: 'DELETE', headers: bearer(token) });
const jwks = () => send(`${hytale.hosts.sessions}/.well-known/jwks.json`);
const wait = (ms: number): void => {
  time += ms;
};
const refusal = (status: number, error: string) => ({
  status,
  json: { error, error_description: expect.any(String) },
});

async function signIn(scope = SCOPE, who = account): Promise<Record<string, unknown>> {
  const { json: code } = await requestCode(scope);
  hytale.approve(String(code['user_code']), who.id);
  wait(5 * SECOND);
  const answer = await poll(code['device_code']);
  expect(answer.status).toBe(200);
  return answer.json;
}

describe('login by device code', () => {
  test('a code that a person approves yields tokens once', async () => {
    const { json: code } = await requestCode();
    const { user_code: userCode, device_code: deviceCode } = code;
    const page = `${hytale.hosts.oauth}/oauth2/device/verify`;
    expect(code).toEqual({
      device_code: expect.stringMatching(/^ory_dc_/),
      user_code: expect.stringMatching(/^(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9]{8}$/),
      verification_uri: page,
      verification_uri_complete: `${page}?user_code=${String(userCode)}`,
      expires_in: 600,
      interval: 5,
    });
    wait(5 * SECOND);
    expect(await poll(deviceCode)).toMatchObject(refusal(400, 'authorization_pending'));
    expect(hytale.waiting()).toEqual([userCode]);
    hytale.approve(String(userCode), account.id);
    expect(hytale.waiting()).toEqual([]);
    wait(5 * SECOND);
    const answer = await poll(deviceCode);
    expect(answer.json).toEqual({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: 3600,
      refresh_token: expect.stringMatching(/^ory_rt_/),
      scope: SCOPE,
    });
    expect(decodeProtectedHeader(String(answer.json['access_token']))).toEqual({ alg: 'RS256', typ: 'JWT' });
    wait(5 * SECOND);
    expect(await poll(deviceCode)).toMatchObject(refusal(400, 'invalid_grant'));
    // A second redemption ends what the first one gave.
    expect(await refresh(answer.json['refresh_token'])).toMatchObject(refusal(400, 'invalid_grant'));
    expect((await profiles(answer.json['access_token'])).status).toBe(403);
  });

  test('each poll that comes too early lengthens the interval for good, and loses no approval', async () => {
    const { json: code } = await requestCode();
    const steps: [number, number, string][] = [
      [0, 400, 'slow_down'],
      [5, 400, 'slow_down'],
      [15, 400, 'authorization_pending'],
      [14, 400, 'slow_down'],
      [20, 400, 'authorization_pending'],
    ];
    for (const [seconds, status, error] of steps) {
      wait(seconds * SECOND);
      expect(await poll(code['device_code'])).toMatchObject(refusal(status, error));
    }
    hytale.approve(String(code['user_code']), account.id);
    hytale.switches.slowDownStatus = 429;
    expect(await poll(code['device_code'])).toMatchObject(refusal(429, 'slow_down'));
    wait(25 * SECOND);
    expect((await poll(code['device_code'])).status).toBe(200);
  });

  test('a code expires by the clock, can be denied, and is one text with its case', async () => {
    const { json: code } = await requestCode();
    const userCode = String(code['user_code']);
    expect(() => hytale.approve(userCode.toLowerCase(), account.id)).toThrow(/unknown/);
    expect(() => hytale.approve(userCode, 'x')).toThrow(/no account/);
    hytale.deny(userCode);
    expect(() => hytale.approve(userCode, account.id)).toThrow(/unknown/);
    wait(5 * SECOND);
    expect(await poll(code['device_code'])).toMatchObject(refusal(403, 'access_denied'));
    hytale.switches.deniedStatus = 400;
    wait(5 * SECOND);
    expect(await poll(code['device_code'])).toMatchObject(refusal(400, 'access_denied'));

    const { json: late } = await requestCode();
    hytale.approve(String(late['user_code']), account.id);
    hytale.advance(600 * SECOND);
    expect(await poll(late['device_code'])).toMatchObject(refusal(400, 'expired_token'));
    const { json: later } = await requestCode();
    hytale.advance(600 * SECOND);
    expect(hytale.waiting()).toEqual([]);
    expect(() => hytale.approve(String(later['user_code']), account.id)).toThrow(/expired/);
  });

  test('what the OAuth host refuses', async () => {
    const url = `${hytale.hosts.oauth}/oauth2/device/auth`;
    const json = { 'content-type': 'application/json' };
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    const body = JSON.stringify({ client_id: 'hytale-server', scope: SCOPE });
    const twice = 'client_id=hytale-server&scope=openid&scope=offline';
    const token = { grant_type: 'refresh_token', refresh_token: 'ory_rt_unknown' };
    expect(await send(url, { method: 'POST', headers: json, body })).toMatchObject(refusal(400, 'invalid_request'));
    const asText = { 'content-type': 'text/plain' };
    expect(
      await send(url, { method: 'POST', headers: asText, body: `client_id=hytale-server&scope=openid` }),
    ).toMatchObject(refusal(400, 'invalid_request'));
    expect(await send(url, { method: 'POST', headers: form, body: twice })).toMatchObject(
      refusal(400, 'invalid_request'),
    );
    expect(await send(url, { method: 'POST', headers: form, body: '' })).toMatchObject(refusal(400, 'invalid_request'));
    expect(await oauth('device/auth', { client_id: 'other' })).toMatchObject(refusal(401, 'invalid_client'));
    expect(await oauth('token', { ...token, client_secret: 's' })).toMatchObject(refusal(401, 'invalid_client'));
    expect(await oauth('token', token, { authorization: 'Basic aDpz' })).toMatchObject(refusal(401, 'invalid_client'));
    expect(await requestCode('openid auth:launcher')).toMatchObject(refusal(400, 'invalid_scope'));
    expect(await oauth('token', { grant_type: 'password' })).toMatchObject(refusal(400, 'unsupported_grant_type'));
    expect(await oauth('token', {})).toMatchObject(refusal(400, 'invalid_request'));
    expect(await oauth('token', { grant_type: 'refresh_token' })).toMatchObject(refusal(400, 'invalid_request'));
    expect(await poll('ory_dc_unknown')).toMatchObject(refusal(400, 'invalid_grant'));
    expect(await oauth('token', token)).toMatchObject(refusal(400, 'invalid_grant'));
    expect((await send(`${hytale.hosts.sessions}/oauth2/token`, { method: 'POST' })).status).toBe(404);
    expect(hytale.requests().every(({ done }) => !done)).toBe(true);
  });

  test('the switches of the code answer', async () => {
    hytale.switches.completeUri = false;
    hytale.switches.sendsInterval = false;
    const { json } = await requestCode();
    expect(Object.keys(json).toSorted()).toEqual(['device_code', 'expires_in', 'user_code', 'verification_uri']);
  });
});

describe('refresh tokens', () => {
  test('each rotates; a reuse ends the whole family, and the book counts it', async () => {
    const first = await signIn();
    const second = (await refresh(first['refresh_token'])).json;
    expect(second['refresh_token']).not.toBe(first['refresh_token']);
    expect(hytale.refreshTokens(account.id)).toEqual([
      { digest: digest(String(first['refresh_token'])), account: account.id, spent: 1, reused: 0, answered: true },
      { digest: digest(String(second['refresh_token'])), account: account.id, spent: 0, reused: 0, answered: false },
    ]);
    expect(await refresh(first['refresh_token'])).toMatchObject(refusal(400, 'invalid_grant'));
    expect(await refresh(second['refresh_token'])).toMatchObject(refusal(400, 'invalid_grant'));
    expect(hytale.refreshTokens()).toMatchObject([
      { spent: 1, reused: 1 },
      { spent: 0, reused: 0 },
    ]);
    expect(hytale.requests('token-refresh')).toMatchObject([
      { status: 200, done: true, account: account.id, credential: digest(String(first['refresh_token'])) },
      { status: 400, done: false, error: 'invalid_grant' },
      { status: 400, done: false, error: 'invalid_grant' },
    ]);
  });

  test('of two refreshes at the same time only one passes', async () => {
    const { refresh_token: token } = await signIn();
    const answers = await Promise.all([refresh(token), refresh(token)]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 400]);
    expect(hytale.refreshTokens()[0]).toMatchObject({ spent: 1, reused: 1 });
  });

  test('within the grace period a reuse brings the same successor', async () => {
    hytale.switches.graceSeconds = 60;
    const { refresh_token: token } = await signIn();
    const answer = await refresh(token);
    wait(59 * SECOND);
    expect((await refresh(token)).json).toEqual(answer.json);
    expect(hytale.refreshTokens()[0]).toMatchObject({ spent: 2, reused: 1 });
    wait(SECOND);
    expect((await refresh(token)).status).toBe(400);
    expect((await refresh(answer.json['refresh_token'])).status).toBe(400);
  });

  test('the other ways of reuse and rotation', async () => {
    Object.assign(hytale.switches, { reuseRevokesFamily: false, reuseError: 'token_inactive' });
    const { refresh_token: first } = await signIn();
    const { refresh_token: second } = (await refresh(first)).json;
    expect(await refresh(first)).toMatchObject(refusal(401, 'token_inactive'));
    expect((await refresh(second)).status).toBe(200);

    hytale.switches.rotates = false;
    const { refresh_token: kept } = await signIn();
    for (const _ of [1, 2]) expect((await refresh(kept)).json).not.toHaveProperty('refresh_token');
    expect(hytale.refreshTokens().find((one) => one.digest === digest(String(kept)))).toMatchObject({ spent: 0 });
  });

  test.each([
    { sliding: true, after: 200 },
    { sliding: false, after: 400 },
  ])('30 days, sliding: $sliding', async ({ sliding, after }) => {
    hytale.switches.sliding = sliding;
    const { refresh_token: first } = await signIn();
    wait(29 * DAY);
    const { refresh_token: second } = (await refresh(first)).json;
    wait(2 * DAY);
    expect((await refresh(second)).status).toBe(after);
    const { refresh_token: idle } = await signIn();
    wait(30 * DAY);
    expect(await refresh(idle)).toMatchObject(refusal(400, 'invalid_grant'));
  });

  test('withdrawn consent ends the tokens of the account, not its sessions and not other accounts', async () => {
    const other = hytale.addAccount();
    const [tokens, others] = [await signIn(), await signIn(SCOPE, other)];
    const session = (await newSession(tokens['access_token'])).json;
    hytale.revokeConsent(account.id);
    expect(await refresh(tokens['refresh_token'])).toMatchObject(refusal(400, 'invalid_grant'));
    expect((await profiles(tokens['access_token'])).status).toBe(403);
    expect((await refreshSession(session['sessionToken'])).status).toBe(200);
    expect((await refresh(others['refresh_token'])).status).toBe(200);
  });

  test('without the scope offline there is none', async () => {
    expect(await signIn('openid auth:server')).not.toHaveProperty('refresh_token');
  });
});

describe('profiles and sessions', () => {
  test('profiles of the account, for its access token only', async () => {
    const tokens = await signIn();
    expect((await profiles(tokens['access_token'])).json).toEqual({ owner: account.id, profiles: account.profiles });
    const { sessionToken } = (await newSession(tokens['access_token'])).json;
    expect(await profiles(sessionToken)).toMatchObject({ status: 403, text: 'invalid token' });
    expect(await send(`${hytale.hosts.accountData}/my-account/get-profiles`)).toMatchObject({
      status: 403,
      text: 'invalid authorization header',
    });
    hytale.switches.badBearerStatus = 401;
    wait(HOUR);
    expect((await profiles(tokens['access_token'])).status).toBe(401);
  });

  test('a session has two tokens that the published keys verify', async () => {
    const { access_token: access } = await signIn();
    const answer = await newSession(access);
    expect(answer.status).toBe(201);
    const { sessionToken, identityToken, expiresAt } = answer.json;
    expect(expiresAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    expect(Date.parse(String(expiresAt))).toBe(hytale.now() + HOUR);
    const keys = createLocalJWKSet(z.object({ keys: z.array(z.any()) }).parse((await jwks()).json));
    for (const token of [sessionToken, identityToken]) {
      const { payload, protectedHeader } = await jwtVerify(String(token), keys, {
        algorithms: ['EdDSA'],
        issuer: hytale.issuer,
        currentDate: new Date(hytale.now()),
      });
      expect(protectedHeader.kid).toEqual(expect.any(String));
      expect(payload).toMatchObject({
        sub: account.profiles[0]?.uuid,
        scope: 'hytale:server',
        exp: Math.floor((hytale.now() + HOUR) / SECOND),
      });
      expect(payload).not.toHaveProperty('aud');
    }
    expect(decodeJwt(String(identityToken))['profile']).toMatchObject({ username: 'anna_plays' });
    expect(hytale.live(account.id)).toHaveLength(1);
  });

  test('a refresh replaces the pair; the end answers once', async () => {
    const { access_token: access } = await signIn();
    const { sessionToken: first } = (await newSession(access)).json;
    wait(55 * 60 * SECOND);
    const { sessionToken: second } = (await refreshSession(first)).json;
    expect(await refreshSession(first)).toMatchObject({ status: 403, text: 'invalid token' });
    expect((await refreshSession(access)).status).toBe(403);
    expect((await endSession(access)).status).toBe(403);
    expect((await endSession(first)).status).toBe(404);
    expect((await endSession(second)).status).toBe(204);
    hytale.switches.goneStatus = 401;
    expect((await endSession(second)).status).toBe(401);
    expect((await refreshSession(second)).status).toBe(403);
    expect(hytale.sessions()).toMatchObject([{ ended: true, refreshes: 1 }]);
  });

  test('an expired session is refreshed only by switch; the earlier pair stays by switch', async () => {
    const { access_token: access } = await signIn();
    const { sessionToken: first } = (await newSession(access)).json;
    hytale.switches.refreshEndsEarlierPair = false;
    const { sessionToken: second } = (await refreshSession(first)).json;
    expect((await refreshSession(first)).status).toBe(200);
    wait(HOUR);
    expect(hytale.live()).toHaveLength(0);
    expect((await refreshSession(second)).status).toBe(403);
    hytale.switches.refreshOfExpired = true;
    expect((await refreshSession(second)).status).toBe(200);
    expect(hytale.live()).toHaveLength(1);
  });

  test('without a session token in the answer the earlier one stays good until it expires', async () => {
    const { access_token: access } = await signIn();
    const { sessionToken } = (await newSession(access)).json;
    hytale.switches.refreshHasSessionToken = false;
    wait(HOUR / 2);
    expect(Object.keys((await refreshSession(sessionToken)).json).toSorted()).toEqual(['expiresAt', 'identityToken']);
    expect((await refreshSession(sessionToken)).status).toBe(200);
    wait(HOUR / 2);
    expect((await refreshSession(sessionToken)).status).toBe(403);
  });

  test('the limit counts what lives, and says it in three ways', async () => {
    hytale.setSessionLimit(1);
    const { access_token: access } = await signIn();
    const { sessionToken } = (await newSession(access)).json;
    expect(await newSession(access)).toMatchObject({ status: 403, text: '' });
    hytale.switches.limitBody = 'text';
    expect((await newSession(access)).text).toMatch(/limit/);
    hytale.switches.limitBody = 'json';
    expect((await newSession(access)).json).toMatchObject({ error: 'session_limit_exceeded' });
    account.unlimited = true;
    const { sessionToken: further } = (await newSession(access)).json;
    account.unlimited = false;
    expect((await endSession(further)).status).toBe(204);
    expect((await newSession(access)).status).toBe(403);
    expect((await endSession(sessionToken)).status).toBe(204);
    hytale.switches.newSessionStatus = 200;
    expect((await newSession(access)).status).toBe(200);
    hytale.endSessions(account.id);
    expect((await newSession(access)).status).toBe(200);
  });

  test('what the session host refuses', async () => {
    const { access_token: access } = await signIn();
    const { sessionToken } = (await newSession(access)).json;
    expect((await newSession(sessionToken)).status).toBe(403);
    expect((await newSession(access, account.profiles[0]?.uuid, 'text/plain')).status).toBe(400);
    expect(await newSession(access, account.id)).toMatchObject({ status: 404, text: 'profile not found' });
    const { access_token: narrow } = await signIn('openid offline');
    expect(await newSession(narrow)).toMatchObject({ status: 403, text: 'insufficient scope' });
    expect((await profiles(narrow)).status).toBe(200);
  });

  test('a rotated key signs, with the old one published or not', async () => {
    const kids = async () =>
      z
        .object({ keys: z.array(z.object({ kid: z.string() })) })
        .parse((await jwks()).json)
        .keys.map(({ kid }) => kid);
    const [old] = await kids();
    await hytale.rotateKeys();
    expect((await kids())[1]).toBe(old);
    await hytale.rotateKeys({ keepOld: false });
    const [current, ...others] = await kids();
    expect(others).toEqual([]);
    const { access_token: access } = await signIn();
    const { identityToken } = (await newSession(access)).json;
    expect(decodeProtectedHeader(String(identityToken)).kid).toBe(current);
    hytale.switches.kid = false;
    hytale.switches.audience = ['a', 'b'];
    const { identityToken: unnamed } = (await newSession(access)).json;
    expect(decodeProtectedHeader(String(unnamed))).toEqual({ alg: 'EdDSA', typ: 'JWT' });
    expect(decodeJwt(String(unnamed)).aud).toEqual(['a', 'b']);
  });
});

describe('faults', () => {
  test('in place of an answer: nothing is carried out', async () => {
    const cases: [HytaleFault, number | null, Record<string, unknown>][] = [
      [{ kind: 'limited', retryAfter: null }, 429, {}],
      [{ kind: 'limited', retryAfter: 7 }, 429, { 'retry-after': '7' }],
      [
        { kind: 'limited', retryAfter: 7, date: true },
        429,
        { 'retry-after': new Date(hytale.now() + 7 * SECOND).toUTCString() },
      ],
      [{ kind: 'status', status: 502, html: true }, 502, { 'content-type': 'text/html' }],
      [{ kind: 'status', status: 500 }, 500, { 'content-type': 'application/json' }],
      [{ kind: 'answer', status: 200, body: 'hello' }, 200, { 'content-type': 'application/json' }],
      [{ kind: 'cut' }, null, {}],
    ];
    for (const [fault, status, headers] of cases) {
      hytale.fault('device', fault);
      const answer = await requestCode().catch(() => null);
      expect(answer?.status ?? null, fault.kind).toBe(status);
      expect(Object.fromEntries(answer?.headers ?? [])).toMatchObject(headers);
      if (fault.kind === 'limited') expect(answer?.headers.has('retry-after')).toBe(fault.retryAfter !== null);
      expect(hytale.requests('device').at(-1)).toMatchObject({ status: status ?? 0, done: false });
    }
    expect(hytale.waiting()).toEqual([]);
    hytale.fault('device', { kind: 'hang' });
    await expect(requestCodeWithin(50)).rejects.toThrow(/timeout/);
    expect((await requestCode()).status).toBe(200);
  });

  const requestCodeWithin = (ms: number) =>
    send(`${hytale.hosts.oauth}/oauth2/device/auth`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: 'hytale-server', scope: SCOPE }),
      signal: AbortSignal.timeout(ms),
    });

  test('after a request was carried out: the book knows that its answer did not arrive', async () => {
    for (const kind of ['done-cut', 'done-half'] as const) {
      const { refresh_token: token } = await signIn();
      hytale.fault('token-refresh', { kind });
      await expect(refresh(token)).rejects.toThrow();
      expect(hytale.refreshTokens().find((one) => one.digest === digest(String(token)))).toMatchObject({
        spent: 1,
        answered: false,
      });
      expect(hytale.requests('token-refresh').at(-1)).toMatchObject({ done: true });
    }
    hytale.fault('device', { kind: 'done-hang' });
    await expect(requestCodeWithin(50)).rejects.toThrow(/timeout/);
    expect(hytale.waiting()).toHaveLength(1);
  });

  test('fields are taken and added; a fault of an account meets only it; times count', async () => {
    const other = hytale.addAccount();
    const [tokens, others] = [await signIn(), await signIn(SCOPE, other)];
    hytale.fault('profiles', { kind: 'status', status: 503 }, { times: 2, account: account.id });
    expect((await profiles(others['access_token'])).status).toBe(200);
    const seen = [];
    for (const _ of [1, 2, 3]) seen.push((await profiles(tokens['access_token'])).status);
    expect(seen).toEqual([503, 503, 200]);
    hytale.fault('profiles', { kind: 'without', fields: ['owner'] });
    expect((await profiles(tokens['access_token'])).json).toEqual({ profiles: account.profiles });
    hytale.fault('profiles', { kind: 'with', fields: { more: 1 } });
    expect((await profiles(tokens['access_token'])).json).toMatchObject({ owner: account.id, more: 1 });
    hytale.fault('jwks', { kind: 'status', status: 500 }, { times: Number.POSITIVE_INFINITY });
    for (const _ of [1, 2, 3]) expect((await jwks()).status).toBe(500);
    hytale.fault('profiles', { kind: 'status', status: 502 }, { forMs: SECOND });
    for (const _ of [1, 2]) expect((await profiles(tokens['access_token'])).status).toBe(502);
    wait(SECOND);
    expect((await profiles(tokens['access_token'])).status).toBe(200);
    hytale.clearFaults('profiles');
    expect((await jwks()).status).toBe(500);
    hytale.clearFaults();
    expect((await jwks()).status).toBe(200);
  });

  test('the spoiled tokens of a session', async () => {
    const { access_token: access } = await signIn();
    const now = Math.floor(hytale.now() / SECOND);
    const spoiled = async (how: Extract<HytaleFault, { kind: 'spoiled' }>['how']) => {
      hytale.fault('session-new', { kind: 'spoiled', how });
      const { identityToken, sessionToken } = (await newSession(access)).json;
      return { identity: String(identityToken), session: String(sessionToken) };
    };
    expect(decodeJwt((await spoiled('issuer')).identity).iss).not.toBe(hytale.issuer);
    expect(decodeJwt((await spoiled('expired')).identity).exp).toBeLessThan(now);
    expect(decodeJwt((await spoiled('future')).identity).iat).toBeGreaterThan(now);
    expect(decodeJwt((await spoiled('no-exp')).identity)).not.toHaveProperty('exp');
    expect(decodeJwt((await spoiled('subject')).identity).sub).not.toBe(account.profiles[0]?.uuid);
    expect(decodeJwt((await spoiled('scope')).identity)['scope']).toBe('hytale:client');
    const none = await spoiled('none');
    expect(decodeProtectedHeader(none.identity).alg).toBe('none');
    const tampered = await spoiled('tampered');
    const keys = createLocalJWKSet(z.object({ keys: z.array(z.any()) }).parse((await jwks()).json));
    await expect(jwtVerify(tampered.identity, keys, { currentDate: new Date(hytale.now()) })).rejects.toThrow(
      /signature/,
    );
    expect((await refreshSession(tampered.session)).status).toBe(403);
  });
});

describe('the log and the secrets', () => {
  test('every token and code is among the secrets, and none is in the log or the book', async () => {
    const { json: code } = await requestCode();
    const tokens = await signIn();
    const session = (await newSession(tokens['access_token'])).json;
    await endSession(session['sessionToken']);
    const given = [
      code['device_code'],
      tokens['access_token'],
      tokens['refresh_token'],
      session['sessionToken'],
      session['identityToken'],
    ];
    const secrets = hytale.secrets();
    for (const secret of given) expect(secrets).toContain(secret);
    const shown = JSON.stringify([hytale.requests(), hytale.refreshTokens(), hytale.sessions()]);
    for (const secret of secrets) expect(shown).not.toContain(secret);
    expect(hytale.requests('session-end')).toMatchObject([
      {
        method: 'DELETE',
        path: '/game-session',
        account: account.id,
        credential: digest(String(session['sessionToken'])),
        at: hytale.now(),
        userAgent: 'node',
      },
    ]);
  });
});

describe('the pages', () => {
  const page = (query = '') => send(`${hytale.hosts.oauth}/oauth2/device/verify${query}`);
  const submit = (form: Record<string, string>) =>
    send(`${hytale.hosts.oauth}/oauth2/device/verify`, { method: 'POST', body: new URLSearchParams(form) });

  test('a person enters the code, chooses an account and approves or denies', async () => {
    const { json: code } = await requestCode();
    const userCode = String(code['user_code']);
    const shown = await send(String(code['verification_uri_complete']));
    expect(shown.headers.get('content-security-policy')).toMatch(/default-src 'none'/);
    expect(shown.text).toContain(`name="user_code" value="${userCode}"`);
    expect(shown.text).toContain(`value="${account.id}"`);
    expect(shown.text).toContain('anna_plays');
    expect((await page()).text).toContain('name="user_code" value=""');
    expect((await page('?user_code=%22%3E%3Cb%3E')).text).toContain('value="&quot;&gt;&lt;b&gt;"');

    const approve = { user_code: userCode, account: account.id, action: 'approve' };
    expect((await submit({ ...approve, user_code: userCode.toLowerCase() })).status).toBe(400);
    expect((await submit({ ...approve, account: 'x' })).status).toBe(400);
    expect((await submit({ ...approve, action: 'x' })).status).toBe(400);
    expect(hytale.waiting()).toEqual([userCode]);
    expect((await submit(approve)).text).toContain('Approved as Anna.');
    expect((await submit(approve)).status).toBe(400);
    wait(5 * SECOND);
    expect((await poll(code['device_code'])).status).toBe(200);

    const { json: refused } = await requestCode();
    expect((await submit({ user_code: String(refused['user_code']), action: 'deny' })).text).toContain('Denied.');
    wait(5 * SECOND);
    expect(await poll(refused['device_code'])).toMatchObject(refusal(403, 'access_denied'));
  });

  test('the portal shows codes and sessions, withdraws consent and ends sessions', async () => {
    const portal = () => send(`${hytale.hosts.oauth}/`);
    const act = (action: string) =>
      send(`${hytale.hosts.oauth}/portal`, {
        method: 'POST',
        body: new URLSearchParams({ account: account.id, action }),
      });
    const { access_token: access, refresh_token: token } = await signIn();
    await newSession(access);
    const { json: code } = await requestCode();
    expect((await portal()).text).toContain(`?user_code=${String(code['user_code'])}`);
    expect((await portal()).text).toContain('1 live game session');
    expect((await act('end')).text).toContain('0 live game sessions');
    expect(hytale.live()).toEqual([]);
    await act('revoke');
    expect((await refresh(token)).status).toBe(400);
  });
});

describe('control by another process', () => {
  const sim = (path: string, body?: unknown, method = body === undefined ? 'GET' : 'POST') =>
    send(`${hytale.hosts.oauth}/__sim/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });

  test('each call', async () => {
    const { json: code } = await requestCode();
    const made = await sim('accounts', { name: 'Ben', profiles: [{ username: 'ben' }, { username: 'benny' }] });
    const ben = String(made.json['id']);
    expect((await sim('accounts', { id: ben, unlimited: true }, 'PATCH')).json).toMatchObject({ unlimited: true });
    expect((await sim('approve', { account: ben })).json).toEqual({ userCode: code['user_code'], account: ben });
    expect(await sim('approve', {})).toMatchObject({
      status: 400,
      json: { error: expect.stringMatching(/no user code/) },
    });
    await requestCode();
    expect((await sim('deny', {})).status).toBe(200);
    expect(hytale.waiting()).toEqual([]);

    const before = hytale.now();
    await sim('clock/advance', { ms: 5_000 });
    expect(hytale.now()).toBe(before + 5_000);
    const tokens = (await poll(code['device_code'])).json;
    const { json: state } = await sim('state');
    expect(state).toMatchObject({ hosts: hytale.hosts, issuer: hytale.issuer, live: 0 });
    expect(JSON.stringify(state)).not.toContain(tokens['refresh_token']);

    expect((await sim('switches', { rotates: false })).json).toMatchObject({ rotates: false, kid: true });
    expect((await sim('switches', { rotate: false })).status).toBe(400);
    await sim('faults', [
      { call: 'jwks', kind: 'status', status: 500, times: 'forever' },
      { call: 'device', kind: 'cut' },
    ]);
    expect([(await jwks()).status, (await jwks()).status]).toEqual([500, 500]);
    await sim('faults', {}, 'DELETE');
    expect((await jwks()).status).toBe(200);
    await sim('rotate-keys', { keepOld: false });
    await sim('session-limit', { limit: 0 });
    await sim('end-sessions', { account: ben });
    await sim('revoke-consent', { account: ben });
    expect((await refresh(tokens['refresh_token'])).status).toBe(400);
    expect((await sim('revoke-consent', { account: 'x' })).status).toBe(400);
    expect((await sim('requests?call=jwks')).json).toMatchObject({ requests: [{ call: 'jwks' }, {}, {}] });
    await sim('requests', {}, 'DELETE');
    expect(hytale.requests()).toEqual([]);
    expect((await sim('reset', {})).status).toBe(200);
    expect(hytale.refreshTokens()).toEqual([]);
    expect((await sim('unknown')).status).toBe(404);
  });

  test('as a process it prints its hosts', async () => {
    const main = fileURLToPath(new URL('../../../simulators/hytale/main.ts', import.meta.url));
    const child = spawn(process.execPath, [main, '--accounts', '1'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line]: unknown[] = await once(child.stdout, 'data');
    const where = z.record(z.string(), z.url()).parse(JSON.parse(String(line)));
    expect(Object.keys(where)).toEqual(['oauth', 'accountData', 'sessions', 'issuer']);
    expect((await send(`${where['oauth']}/__sim/state`)).json['accounts']).toHaveLength(1);
    child.kill('SIGTERM');
    expect((await once(child, 'exit'))[0]).toBe(0);
  });
});

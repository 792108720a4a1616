/** Which tokens of sessions are valid, and how often the keys are fetched. */
import {
  CompactSign,
  type CryptoKey,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  type JWTPayload,
  SignJWT,
  UnsecuredJWT,
} from 'jose';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { USER_AGENT } from '../../../src/clients/http/user-agent.ts';
import type { TokenVerifier, Verified, VerifyOptions } from '../../../src/clients/hytale/answers.ts';
import { createTokenVerifier, type TokenVerifierOptions } from '../../../src/clients/hytale/token-verifier.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { type RawServer, startRawServer } from '../../support/panel.ts';

const ISSUER = 'https://sessions.hytale.test';
const PROFILE = '0b6f2f0c-6d3f-4b7a-9d52-0f3b8a1c2d3e';
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

interface Pair {
  privateKey: CryptoKey;
  publicKey: CryptoKey;
  kid: string;
}
const newPair = async (kid: string): Promise<Pair> => ({
  ...(await generateKeyPair('EdDSA', { extractable: true })),
  kid,
});

let first: Pair;
let second: Pair;
let server: RawServer;
/** What the host publishes; a status other than 200: an outage. */
let published: { status: number; body: string };
let onFailure: ReturnType<typeof vi.fn<(detail: string) => void>>;
beforeAll(async () => {
  [first, second] = await Promise.all([newPair('key-1'), newPair('key-2')]);
  server = await startRawServer((_request, response) => {
    response.writeHead(published.status, { 'content-type': 'application/json' }).end(published.body);
  });
});
afterAll(() => server.close());
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-28T12:00:00Z') });
  server.requests.length = 0;
  onFailure = vi.fn();
  await publish(first);
});
afterEach(() => vi.useRealTimers());

const jwk = async ({ publicKey, kid }: Pair) => ({ ...(await exportJWK(publicKey)), kid, alg: 'EdDSA', use: 'sig' });
async function publish(...keys: Pair[]): Promise<void> {
  published = { status: 200, body: JSON.stringify({ keys: await Promise.all(keys.map(jwk)) }) };
}
const outage = (body = 'down', status = 503): void => {
  published = { status, body };
};
const pass = (ms: number): void => void vi.setSystemTime(Date.now() + ms);
const fetches = (): number => server.requests.length;

const verifierOf = (options: Partial<TokenVerifierOptions> = {}): TokenVerifier =>
  createTokenVerifier({ sessionsBase: server.url, issuer: ISSUER, onFailure, timeoutMs: 2_000, ...options });

/** @param over claims in place of the usual ones; undefined: it lacks them. Times are seconds from now. */
function claimsOf(over: JWTPayload = {}): JWTPayload {
  const now = Math.floor(Date.now() / 1_000);
  const claims = { iss: ISSUER, sub: PROFILE, iat: now, exp: now + 3_600, scope: 'hytale:server', ...over };
  return Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined));
}
const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;
async function tokenOf(over: Record<string, unknown> = {}, by: Pair = first, header: object = { kid: by.kid }) {
  const signer = new SignJWT(claimsOf(over)).setProtectedHeader({ alg: 'EdDSA', typ: 'JWT', ...header });
  return new Secret(await signer.sign(by.privateKey));
}

const SESSION: VerifyOptions = { type: 'session', profileUuid: PROFILE };
const IDENTITY: VerifyOptions = { type: 'identity', profileUuid: PROFILE };
const INVALID = { state: 'invalid', code: 'INVALID_TOKEN' };
const EXPIRED = { state: 'invalid', code: 'EXPIRED_TOKEN' };
const UNKNOWN = { state: 'unknown' };
async function verify(by: TokenVerifier, token: Secret, options = SESSION): Promise<Verified> {
  const verified = await by.verify(token, options);
  if (verified.state !== 'valid') expect(verified.detail).not.toContain(token.reveal().slice(-20));
  return verified;
}

describe('claims', () => {
  const CLAIMS: [string, VerifyOptions, Record<string, unknown>, object][] = [
    ['a session token', SESSION, {}, { state: 'valid' }],
    ['an identity token', IDENTITY, {}, { state: 'valid' }],
    ['without a known profile', { type: 'session' }, {}, { state: 'valid' }],
    ['a profile in capitals', { ...SESSION, profileUuid: PROFILE.toUpperCase() }, {}, { state: 'valid' }],
    ['a subject in capitals', SESSION, { sub: PROFILE.toUpperCase() }, { state: 'valid' }],
    ['another profile', SESSION, { sub: '1b6f2f0c-6d3f-4b7a-9d52-0f3b8a1c2d3e' }, INVALID],
    ['a subject that is no UUID', { type: 'session' }, { sub: 'server-1' }, INVALID],
    ['no subject', { type: 'session' }, { sub: undefined }, INVALID],
    ['another issuer', SESSION, { iss: `${ISSUER}/` }, INVALID],
    ['no issuer', SESSION, { iss: undefined }, INVALID],
    ['expired 59 s ago', SESSION, { exp: -59 }, { state: 'valid' }],
    ['expired 61 s ago', SESSION, { exp: -61 }, EXPIRED],
    ['no end', SESSION, { exp: undefined }, INVALID],
    ['an end that is text', SESSION, { exp: 'never' }, INVALID],
    ['an end in year 10000', SESSION, { exp: 253_402_300_800 }, INVALID],
    ['issued in 59 s', SESSION, { iat: 59 }, { state: 'valid' }],
    ['issued in 61 s', SESSION, { iat: 61 }, INVALID],
    ['no date', SESSION, { iat: undefined }, INVALID],
    ['older than a day', SESSION, { iat: -86_400 - 61 }, EXPIRED],
    ['valid in 59 s', SESSION, { nbf: 59 }, { state: 'valid' }],
    ['valid in 61 s', SESSION, { nbf: 61 }, INVALID],
    ['an audience, none expected', SESSION, { aud: 'x' }, { state: 'valid' }],
    ['the expected audience', { ...SESSION, audience: 'x' }, { aud: 'x' }, { state: 'valid' }],
    ['the expected audience among others', { ...SESSION, audience: 'x' }, { aud: ['y', 'x'] }, { state: 'valid' }],
    ['another audience', { ...SESSION, audience: 'x' }, { aud: ['y'] }, INVALID],
    ['no audience, one expected', { ...SESSION, audience: 'x' }, {}, INVALID],
    ['an audience of a wrong form', SESSION, { aud: 7 }, INVALID],
    ['several scopes', IDENTITY, { scope: 'hytale:client hytale:server' }, { state: 'valid' }],
    ['an identity without the scope', IDENTITY, { scope: 'hytale:client' }, INVALID],
    ['an identity with a longer scope', IDENTITY, { scope: 'hytale:server2' }, INVALID],
    ['an identity without scopes', IDENTITY, { scope: undefined }, INVALID],
    ['a session without scopes', SESSION, { scope: undefined }, { state: 'valid' }],
  ];
  const absolute = (over: Record<string, unknown>) =>
    Object.fromEntries(
      Object.entries(over).map(([name, value]) => [
        name,
        typeof value === 'number' && value < 1e9 && name !== 'aud' ? inSeconds(value) : value,
      ]),
    );

  test.each(CLAIMS)('%s', async (_what, options, over, expected) => {
    const token = await tokenOf(absolute(over));
    expect(await verify(verifierOf(), token, options)).toMatchObject(expected);
    // Without signatures, the same rules hold for the claims.
    expect(await verify(verifierOf({ enabled: false }), token, options)).toMatchObject(expected);
  });

  test('a valid token tells its claims and its end', async () => {
    const profile = { username: 'Steve' };
    expect(await verify(verifierOf(), await tokenOf({ profile }), IDENTITY)).toEqual({
      state: 'valid',
      claims: claimsOf({ profile }),
      expiresAt: new Date(inSeconds(3_600) * 1_000),
    });
  });

  test('times are judged by the clock of the caller', async () => {
    const token = await tokenOf();
    const later = verifierOf({ now: () => Date.now() + 2 * HOUR });
    expect(await verify(later, token)).toMatchObject(EXPIRED);
    expect(await verify(later, token, { ...SESSION, now: new Date() })).toMatchObject({ state: 'valid' });
    expect(await verify(verifierOf(), token, { ...SESSION, now: new Date(Date.now() - HOUR) })).toMatchObject(INVALID);
  });
});

describe('signatures', () => {
  test('only EdDSA is taken', async () => {
    const by = verifierOf();
    const rsa = await generateKeyPair('RS256');
    const publicText = Buffer.from(await exportSPKI(first.publicKey));
    const forged = [
      new UnsecuredJWT(claimsOf()).encode(),
      await new SignJWT(claimsOf()).setProtectedHeader({ alg: 'RS256', kid: 'key-1' }).sign(rsa.privateKey),
      await new SignJWT(claimsOf()).setProtectedHeader({ alg: 'HS256', kid: 'key-1' }).sign(publicText),
    ];
    for (const text of forged) expect(await verify(by, new Secret(text))).toMatchObject(INVALID);
    // The newer name of the same algorithm is not the one that Hytale uses.
    const { x } = await exportJWK(first.publicKey);
    published.body = JSON.stringify({ keys: [{ kty: 'OKP', crv: 'Ed25519', x, kid: 'key-1' }] });
    const renamed = new SignJWT(claimsOf()).setProtectedHeader({ alg: 'Ed25519', kid: 'key-1' });
    const other = await renamed.sign(first.privateKey);
    expect(await verify(verifierOf(), new Secret(other))).toMatchObject(INVALID);
    expect(await verify(by, new Secret(forged[0]?.replace(/\.$/, '.x') ?? ''))).toMatchObject(INVALID);
  });

  test('what is changed, cut or no token is not taken', async () => {
    const by = verifierOf();
    const text = (await tokenOf()).reveal();
    const [header = '', payload = '', signature = ''] = text.split('.');
    const other = Buffer.from(JSON.stringify(claimsOf({ sub: PROFILE.replace('0', '1') }))).toString('base64url');
    const texts = [
      `${header}.${other}.${signature}`,
      `${header}.${payload}.${signature.slice(0, -4)}AAAA`,
      `${header}.${payload}.${signature}AA`,
      `${header}.${payload}.`,
      `${header}.${payload}`,
      `${header}..${signature}`,
      `.${payload}.${signature}`,
      `${text}.x`,
      'x.y.z',
      'x',
      '',
      '\u{1F600}',
      'a'.repeat(100_000),
      `${header}.${Buffer.from('[]').toString('base64url')}.${signature}`,
    ];
    for (const one of texts) expect(await by.verify(new Secret(one), SESSION)).toMatchObject(INVALID);
    const list = new CompactSign(Buffer.from('[1]')).setProtectedHeader({ alg: 'EdDSA', kid: 'key-1' });
    expect(await verify(by, new Secret(await list.sign(first.privateKey)))).toMatchObject(INVALID);
    const critical = new CompactSign(Buffer.from(JSON.stringify(claimsOf()))).setProtectedHeader({
      alg: 'EdDSA',
      kid: 'key-1',
      b64: true,
      crit: ['b64'],
    });
    expect(await verify(by, new Secret(await critical.sign(first.privateKey)))).toMatchObject({ state: 'valid' });
    expect(fetches()).toBe(1);
  });

  test('a token need not name its key, even while several are published', async () => {
    const token = await tokenOf({}, first, {});
    expect(await verify(verifierOf(), token)).toMatchObject({ state: 'valid' });
    await publish(second, first);
    const by = verifierOf();
    expect(await verify(by, token)).toMatchObject({ state: 'valid' });
    const foreign = await tokenOf({}, await newPair('x'), {});
    expect(await verify(by, foreign)).toMatchObject(INVALID);
    expect(await verify(by, await tokenOf({ exp: inSeconds(-61) }, first, {}))).toMatchObject(EXPIRED);
  });

  test('a token that does not name its key is tried with new keys, at most every five minutes', async () => {
    const by = verifierOf();
    await verify(by, await tokenOf());
    await publish(second);
    const rotated = await tokenOf({}, second, {});
    expect(await verify(by, rotated)).toMatchObject(INVALID);
    expect(fetches()).toBe(1);
    pass(1_000);
    expect(await verify(by, rotated, { ...SESSION, justReceived: true })).toMatchObject({ state: 'valid' });
    expect(fetches()).toBe(2);
    await publish(first);
    const back = await tokenOf({}, first, {});
    pass(5 * MINUTE + 1);
    expect(await verify(by, back)).toMatchObject({ state: 'valid' });
    expect(await verify(by, rotated)).toMatchObject(INVALID);
    expect(fetches()).toBe(3);
  });

  test('a published key without a name has its x for one', async () => {
    const { x = '' } = await exportJWK(first.publicKey);
    published.body = JSON.stringify({
      keys: [{ kty: 'OKP', crv: 'Ed25519', x }, { kty: 'RSA' }, { kty: 'OKP', crv: 'Ed25519', x: 'short' }],
    });
    const by = verifierOf();
    expect(await verify(by, await tokenOf({}, first, { kid: x }))).toMatchObject({ state: 'valid' });
    expect(by.status().keysCount).toBe(1);
  });

  test('switched off, it asks for no keys and takes any signature', async () => {
    const by = verifierOf({ enabled: false });
    expect(await by.ready()).toEqual({ ok: true });
    expect(await verify(by, await tokenOf({}, second, { kid: 'unknown' }))).toMatchObject({ state: 'valid' });
    for (const text of ['x.y.z', 'x.y', '', `..${'a'.repeat(86)}`]) {
      expect(await by.verify(new Secret(text), SESSION)).toMatchObject(INVALID);
    }
    const [header, payload] = (await tokenOf()).reveal().split('.');
    for (const text of [`${header}.${payload}`, `${header}.${payload}.`, `.${payload}.x`, `${header}.${payload}.x.y`]) {
      expect(await by.verify(new Secret(text), SESSION)).toMatchObject(INVALID);
    }
    expect(fetches()).toBe(0);
  });
});

describe('keys', () => {
  test('fifty verifications at once fetch them once, as this service', async () => {
    const by = verifierOf();
    const token = await tokenOf();
    const all = await Promise.all(Array.from({ length: 50 }, () => verify(by, token)));
    expect(all.every(({ state }) => state === 'valid')).toBe(true);
    expect(server.requests).toMatchObject([
      {
        method: 'GET',
        url: '/.well-known/jwks.json',
        headers: { 'user-agent': USER_AGENT, accept: 'application/json' },
      },
    ]);
  });

  test('they are kept for an hour', async () => {
    const by = verifierOf();
    await verify(by, await tokenOf());
    pass(HOUR - 1_000);
    expect(by.status().cacheValid).toBe(true);
    await verify(by, await tokenOf());
    expect(fetches()).toBe(1);
    pass(2_000);
    expect(by.status().cacheValid).toBe(false);
    expect(await verify(by, await tokenOf())).toMatchObject({ state: 'valid' });
    expect(fetches()).toBe(2);
  });

  test('a key rotated in is found, but unknown keys cause no more than a fetch in five minutes', async () => {
    const by = verifierOf();
    await verify(by, await tokenOf());
    await publish(first, second);
    const rotated = await tokenOf({}, second);
    for (let n = 0; n < 20; n += 1) {
      pass(10_000);
      expect(await verify(by, await tokenOf({}, second, { kid: `made-up-${n}` }))).toMatchObject(INVALID);
    }
    expect(await verify(by, rotated)).toMatchObject(INVALID);
    expect(fetches()).toBe(1);
    pass(2 * MINUTE);
    expect(await verify(by, rotated)).toMatchObject({ state: 'valid' });
    expect(fetches()).toBe(2);
    // A wrong signature under a known key fetches nothing.
    pass(6 * MINUTE);
    expect(await verify(by, await tokenOf({}, second, { kid: 'key-1' }))).toMatchObject(INVALID);
    expect(fetches()).toBe(2);
  });

  test('for a token that has just come, the keys are fetched at once, even within the five minutes', async () => {
    const by = verifierOf();
    const received = { ...SESSION, justReceived: true };
    await verify(by, await tokenOf(), received);
    expect(fetches()).toBe(1);
    await publish(first, second);
    pass(1_000);
    const rotated = await tokenOf({}, second);
    const all = await Promise.all(Array.from({ length: 20 }, () => verify(by, rotated, received)));
    expect(all.every(({ state }) => state === 'valid')).toBe(true);
    expect(fetches()).toBe(2);
    // Keys that were fetched for it, and do not have its key, are final; keys that cannot be had say nothing.
    pass(1_000);
    const foreign = await tokenOf({}, second, { kid: 'made-up' });
    expect(await verify(by, foreign, received)).toMatchObject(INVALID);
    expect(fetches()).toBe(3);
    pass(1_000);
    outage();
    expect(await verify(by, foreign, received)).toMatchObject(UNKNOWN);
    expect(await verify(by, rotated, received)).toMatchObject({ state: 'valid' });
  });

  test('a failure is remembered for ten seconds, and says nothing about the token', async () => {
    outage(published.body);
    const by = verifierOf();
    const token = await tokenOf();
    for (let n = 0; n < 5; n += 1) expect(await verify(by, token)).toMatchObject(UNKNOWN);
    expect(await by.ready()).toEqual({ ok: false, detail: expect.stringContaining('status 503') });
    expect(fetches()).toBe(1);
    expect(onFailure).toHaveBeenCalledTimes(1);
    expect(by.status()).toEqual({
      cacheValid: false,
      keysCount: 0,
      lastRefresh: null,
      nextRefresh: null,
      problem: expect.stringContaining('status 503'),
    });
    pass(11_000);
    await publish(first);
    expect(await by.ready()).toEqual({ ok: true });
    expect(await verify(by, token)).toMatchObject({ state: 'valid' });
    expect(by.status().problem).toBeNull();
  });

  test.each([
    ['no keys', '{"keys":[]}', 200],
    ['keys of another kind', '{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}', 200],
    ['a page', '<html>', 200],
    ['half of them', '{"keys":[{"kty":"OK', 200],
    ['another form', '{"keys":{"kty":"OKP"}}', 200],
    ['a redirect', '', 302],
    ['an outage', 'down', 500],
  ])('%s in place of keys are an outage: the last ones are used for a day', async (_what, body, status) => {
    const by = verifierOf();
    await verify(by, await tokenOf());
    outage(body, status);
    pass(HOUR + 1_000);
    expect(await verify(by, await tokenOf())).toMatchObject({ state: 'valid' });
    expect(await by.ready()).toEqual({ ok: true });
    expect(await verify(by, await tokenOf({ exp: inSeconds(-61) }))).toMatchObject(EXPIRED);
    expect(await verify(by, await tokenOf({}, second, { kid: 'key-1' }))).toMatchObject(INVALID);
    // It can be signed with a key that was rotated in meanwhile.
    expect(await verify(by, await tokenOf({}, second))).toMatchObject(UNKNOWN);
    expect(by.status()).toMatchObject({ cacheValid: false, keysCount: 1, problem: expect.any(String) });
    expect(onFailure).toHaveBeenCalledTimes(1);
    pass(23 * HOUR);
    expect(await verify(by, await tokenOf())).toMatchObject(UNKNOWN);
    expect(await by.ready()).toMatchObject({ ok: false });
  });

  test('an administrator fetches them at any time', async () => {
    const by = verifierOf();
    outage();
    expect(await by.refresh()).toMatchObject({ keysCount: 0, problem: expect.any(String) });
    await publish(first, second);
    const at = new Date();
    expect(await by.refresh()).toEqual({
      cacheValid: true,
      keysCount: 2,
      lastRefresh: at,
      nextRefresh: new Date(at.getTime() + HOUR),
      problem: null,
    });
    expect(await verify(by, await tokenOf({}, second))).toMatchObject({ state: 'valid' });
    expect(fetches()).toBe(2);
  });

  test('a host that is not there, and one that does not answer, are outages', async () => {
    const silent = await startRawServer(() => {});
    const by = verifierOf({ sessionsBase: silent.url, timeoutMs: 50 });
    expect(await by.ready()).toEqual({ ok: false, detail: 'The session host of Hytale did not answer in time' });
    await silent.close();
    const gone = verifierOf({ sessionsBase: silent.url });
    expect(await verify(gone, await tokenOf())).toMatchObject(UNKNOWN);
    expect(gone.status().problem).toContain('connection refused');
  });
});

/** Which signed tokens are access tokens: ours, and those of the site and of earlier releases. */
import { type JWTPayload, SignJWT } from 'jose';
import { describe, expect, test } from 'vitest';
import type { AuthUser } from '../../../src/domain/accounts/account.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { createTokens } from '../../../src/services/accounts/access-tokens.ts';
import { issuePair } from '../../../src/services/accounts/sessions.ts';

const DAY = 86_400;
const MONTH = 30 * DAY;
const SECRETS = { jwtSecret: new Secret('a'.repeat(40)), nextAuthSecret: new Secret('b'.repeat(40)) };
const tokensOf = (accessTtlSeconds: number) => createTokens({ ...SECRETS, accessTtlSeconds });
const USER: AuthUser = {
  id: 'u1',
  email: 'u1@example.com',
  username: null,
  firstName: null,
  lastName: null,
  roles: [],
  isPterodactylAdmin: false,
  isVirtfusionAdmin: false,
  isSystemAdmin: false,
  pterodactylId: null,
  emailVerified: null,
  isActive: true,
};
const OURS = { iss: 'nodebyte-backend', aud: 'nodebyte-api', sid: 's1' };
const now = Math.floor(Date.now() / 1000);

const signed = (claims: JWTPayload, secret = SECRETS.jwtSecret) =>
  new SignJWT({ id: 'u1', ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(secret.reveal()));
const accepted = async (claims: JWTPayload, ttl = MONTH, secret = SECRETS.jwtSecret) =>
  'userId' in (await tokensOf(ttl).verify(await signed(claims, secret)));

describe('a token that names an issuer or a reader (S20)', () => {
  const times = { iat: now, exp: now + MONTH };
  test('is accepted when both are ours and it names a session', async () => {
    const verified = await tokensOf(MONTH).verify(await signed({ ...OURS, ...times }));
    expect(verified).toEqual({ userId: 'u1', sessionId: 's1', issuedAt: now, expiresAt: now + MONTH });
    const pair = await issuePair({ tokens: tokensOf(60) }, USER);
    expect(await tokensOf(60).verify(pair.accessToken)).toMatchObject({ userId: 'u1', sessionId: pair.sessionId });
  });
  test.each<[string, JWTPayload]>([
    ['another reader', { ...OURS, aud: 'unsubscribe' }],
    ['several readers', { ...OURS, aud: ['nodebyte-api', 'unsubscribe'] }],
    ['another issuer', { ...OURS, iss: 'other' }],
    ['neither of ours', { iss: 'other', aud: 'unsubscribe' }],
    ['an issuer alone', { iss: OURS.iss, sid: 's1' }],
    ['a reader alone', { aud: OURS.aud, sid: 's1' }],
    ['an empty reader', { aud: '' }],
    ['no session', { iss: OURS.iss, aud: OURS.aud }],
    ['a session that is a number', { ...OURS, sid: 5 }],
  ])('is refused with %s', async (_name, claims) => {
    expect(await accepted({ ...claims, ...times })).toBe(false);
  });
  test('lives no longer than JWT_ACCESS_TTL', async () => {
    expect(await accepted({ ...OURS, iat: now, exp: now + 3600 }, 3600)).toBe(true);
    expect(await accepted({ ...OURS, iat: now, exp: now + 3601 }, 3600)).toBe(false);
    expect(await accepted({ ...OURS, iat: now + 100 * DAY, exp: now + 101 * DAY })).toBe(false);
    expect(await accepted({ ...OURS, exp: now + 3600 })).toBe(false);
  });
});

describe('a token of the site or of an earlier release (S20)', () => {
  test.each([SECRETS.jwtSecret, SECRETS.nextAuthSecret])('is accepted with either secret', async (secret) => {
    const verified = await tokensOf(3600).verify(await signed({ iat: now - 29 * DAY, exp: now + DAY }, secret));
    expect(verified).toEqual({
      userId: 'u1',
      sessionId: undefined,
      issuedAt: now - 29 * DAY,
      expiresAt: now + DAY,
    });
  });
  test.each<[string, JWTPayload, boolean]>([
    ['30 days', { iat: now, exp: now + MONTH }, true],
    ['a second more', { iat: now, exp: now + MONTH + 1 }, false],
    ['100 years', { iat: now, exp: now + 36_500 * DAY }, false],
    ['a month in 100 years', { iat: now + 36_500 * DAY, exp: now + 36_530 * DAY }, false],
    ['a time without a start', { exp: now + DAY }, false],
    ['a time without an end', { iat: now }, false],
  ])('may live 30 days: %s', async (_name, claims, good) => {
    expect(await accepted(claims)).toBe(good);
  });
  test('may live as long as JWT_ACCESS_TTL lets our tokens live', async () => {
    expect(await accepted({ iat: now, exp: now + 2 * MONTH }, 2 * MONTH)).toBe(true);
  });
});

test('a session lives at least as long as the access token that ends with it', async () => {
  expect((await issuePair({ tokens: tokensOf(3600) }, USER)).lifetimeSeconds).toBe(90 * DAY);
  expect((await issuePair({ tokens: tokensOf(100 * DAY) }, USER)).lifetimeSeconds).toBe(100 * DAY);
});

test('the successor of a refresh token depends on the token and on the secret, and on nothing else (S19)', () => {
  const [one, two] = ['1', '2'].map((digit) => digit.repeat(64));
  const { successorOf } = tokensOf(MONTH);
  expect(successorOf(one ?? '')).toMatch(/^[0-9a-f]{64}$/);
  expect(tokensOf(60).successorOf(one ?? '')).toBe(successorOf(one ?? ''));
  expect(successorOf(two ?? '')).not.toBe(successorOf(one ?? ''));
  const other = createTokens({ jwtSecret: SECRETS.nextAuthSecret, nextAuthSecret: undefined, accessTtlSeconds: 60 });
  expect(other.successorOf(one ?? '')).not.toBe(successorOf(one ?? ''));
});

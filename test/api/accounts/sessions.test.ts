/** Sessions: a refresh token is used once, a stolen one ends its family of sessions, and logout ends sessions. */

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { setActive } from '../../../src/services/accounts/roles.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, makeUser, signToken, startHarness } from '../../support/api/harness.ts';
import {
  type Answer,
  call,
  countByStatus,
  openedSession,
  outcome,
  post,
  refresh,
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

const digest = (token: string) => `sha256:${createHash('sha256').update(token).digest('hex')}`;
const REFUSED = [401, 'invalid_refresh_token', 'INVALID_REFRESH_TOKEN'];
type User = Awaited<ReturnType<typeof makeUser>>;

/** The refresh token of a new session. */
const opened = async (user: User): Promise<string> => (await openedSession(harness, user.id)).refreshToken;
/** A session of the earlier service: its token is stored in clear, and it has no family. */
async function legacy(user: User): Promise<string> {
  const token = randomBytes(32).toString('hex');
  await harness.database.db.raw(
    `insert into sessions (id, "sessionToken", "userId", expires) values (?, ?, ?, (now() at time zone 'utc') + interval '9 days')`,
    [randomUUID(), token, user.id],
  );
  return token;
}
/** Sets the time at which a token was used. */
const setUsed = (token: string, secondsAgo: number) =>
  harness.database.db.raw(
    `update sessions set "rotatedAt" = (clock_timestamp() at time zone 'utc') - make_interval(secs => ?) where "sessionToken" = ?`,
    [secondsAgo, digest(token)],
  );
/** The new refresh token of a successful answer. */
const newToken = (answer: Answer): string => {
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return answer.body.refreshToken;
};

describe('refresh', () => {
  test('returns a new pair of tokens; the session is stored as a digest and lives 90 days', async () => {
    const user = await makeUser(harness);
    const first = await opened(user);
    const answer = await post(harness, 'refresh', { refreshToken: ` ${first} `, other: 1 }, bearer('stale'));
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    const { accessToken, refreshToken } = answer.body;
    expect(answer.body).toEqual({
      success: true,
      message: 'Token refreshed',
      tokens: { accessToken, refreshToken, expiresIn: 2_592_000, tokenType: 'Bearer' },
      accessToken,
      refreshToken,
      expiresIn: 2_592_000,
    });
    expect(refreshToken).toMatch(/^[0-9a-f]{64}$/);
    expect(refreshToken).not.toBe(first);
    const me = await call(harness, 'me', { headers: bearer(accessToken) });
    expect([me.status, me.body.user['id']]).toEqual([200, user.id]);

    const stored = await query<{ sessionToken: string; days: number; familyId: string }>(
      harness.database.db,
      `select s."sessionToken", s."familyId", extract(epoch from s.expires - (now() at time zone 'utc'))::float8 / 86400 as days
         from sessions s where s."userId" = ? order by days`,
      [user.id],
    );
    expect(stored.map((s) => s.sessionToken)).toEqual([digest(first), digest(refreshToken)]);
    expect(stored[1]?.days).toBeCloseTo(90, 2);
    expect(stored[1]?.familyId).toBe(stored[0]?.familyId);
    expect(harness.logged()).not.toContain(first);
    expect(harness.logged()).not.toContain(refreshToken);
  });

  test('each new token can be refreshed again', async () => {
    const user = await makeUser(harness);
    let token = await opened(user);
    for (let i = 0; i < 5; i += 1) {
      const successor = newToken(await refresh(harness, token));
      await setUsed(token, 3600);
      token = successor;
    }
    expect(await sessionsOf(harness, user.id)).toHaveLength(6);
  });

  test('the new access token has the current roles of the user', async () => {
    const user = await makeUser(harness);
    const token = await opened(user);
    await harness.database.db.raw(`update users set roles = '{SUPPORT_TEAM}', "pterodactylId" = 7 where id = ?`, [
      user.id,
    ]);
    const { body } = await refresh(harness, token);
    const claims = JSON.parse(Buffer.from(body.accessToken.split('.')[1] ?? '', 'base64url').toString());
    expect(claims).toMatchObject({ roles: ['SUPPORT_TEAM'], pterodactylId: 7 });
  });

  test('a used token is accepted for 30 seconds, for the later one of two tabs', async () => {
    const user = await makeUser(harness);
    const token = await opened(user);
    const one = newToken(await refresh(harness, token));
    await setUsed(token, 29);
    expect(newToken(await refresh(harness, token))).toBe(one);
    await setUsed(token, 3600);
    newToken(await refresh(harness, one));
  });

  test('a used token has one successor, however often it is used within 30 seconds (S19)', async () => {
    const user = await makeUser(harness);
    const token = await opened(user);
    const answers = [];
    for (let use = 0; use < 5; use += 1) answers.push(await refresh(harness, token));
    expect(new Set(answers.map(newToken)).size).toBe(1);
    for (const { body } of answers) {
      expect((await call(harness, 'me', { headers: bearer(body.accessToken) })).status).toBe(200);
    }
    expect(await sessionsOf(harness, user.id)).toHaveLength(2);
  });

  test('a thief and the owner hold the same successor: the later use of it ends both (S19)', async () => {
    const user = await makeUser(harness);
    const token = await opened(user);
    const [owner, thief] = [await refresh(harness, token), await refresh(harness, token)];
    await setUsed(token, 31);
    const stolen = await refresh(harness, newToken(thief));
    await setUsed(newToken(thief), 31);
    expect(outcome(await refresh(harness, newToken(owner)))).toEqual(REFUSED);
    expect(outcome(await refresh(harness, newToken(stolen)))).toEqual(REFUSED);
    for (const { body } of [owner, thief, stolen]) {
      expect((await call(harness, 'me', { headers: bearer(body.accessToken) })).status).toBe(401);
    }
  });

  test('a slow tab gets the newest token when the other tab refreshed twice meanwhile', async () => {
    const token = await opened(await makeUser(harness));
    const newest = newToken(await refresh(harness, newToken(await refresh(harness, token))));
    expect(newToken(await refresh(harness, token))).toBe(newest);
    newToken(await refresh(harness, newest));
  });

  test('more uses in turn within 30 seconds than a browser makes end the family', async () => {
    const user = await makeUser(harness);
    const token = await opened(user);
    let last = token;
    for (let use = 0; use < 11; use += 1) last = newToken(await refresh(harness, last));
    expect(outcome(await refresh(harness, token))).toEqual(REFUSED);
    expect(await sessionsOf(harness, user.id)).toEqual([]);
  });

  test('a further use of a token does not extend its 30 seconds', async () => {
    const user = await makeUser(harness);
    const token = await opened(user);
    newToken(await refresh(harness, token));
    await setUsed(token, 29);
    newToken(await refresh(harness, token));
    const [row] = await query<{ old: boolean }>(
      harness.database.db,
      `select s."rotatedAt" < (now() at time zone 'utc') - interval '20 s' as old from sessions s where s."sessionToken" = ?`,
      [digest(token)],
    );
    expect(row?.old).toBe(true);
  });

  test('a token that is used again later ends its family of sessions and no other', async () => {
    const user = await makeUser(harness);
    const [stolen, other] = [await opened(user), await opened(user)];
    const bystander = await opened(await makeUser(harness));
    const successor = newToken(await refresh(harness, stolen));
    await setUsed(stolen, 31);
    expect(outcome(await refresh(harness, stolen))).toEqual(REFUSED);
    expect(outcome(await refresh(harness, successor))).toEqual(REFUSED);
    expect(outcome(await refresh(harness, stolen))).toEqual(REFUSED);
    newToken(await refresh(harness, other));
    newToken(await refresh(harness, bystander));
    expect(harness.logged()).toContain('"event":"token-reuse"');
  });

  test('twenty parallel refreshes with one token all succeed', async () => {
    const user = await makeUser(harness);
    const token = await opened(user);
    const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(harness, token)));
    expect(countByStatus(answers)).toEqual({ 200: 20 });
    expect(new Set(answers.map((a) => a.body.refreshToken)).size).toBe(1);
    const sessions = await sessionsOf(harness, user.id);
    expect(sessions).toHaveLength(2);
    expect(new Set(sessions.map((s) => s.familyId)).size).toBe(1);
  });

  test('parallel refreshes with many used tokens of one family are all refused', async () => {
    for (let round = 0; round < 3; round += 1) {
      const user = await makeUser(harness);
      const tokens = [await opened(user)];
      for (let i = 0; i < 12; i += 1) tokens.push(newToken(await refresh(harness, tokens.at(-1) ?? '')));
      await harness.database.db.raw(
        `update sessions set "rotatedAt" = "rotatedAt" - interval '1 hour' where "userId" = ? and "rotatedAt" is not null`,
        [user.id],
      );
      const answers = await Promise.all(tokens.slice(0, 12).map((token) => refresh(harness, token)));
      expect(answers.map(outcome)).toEqual(Array(12).fill(REFUSED));
      expect(await sessionsOf(harness, user.id)).toEqual([]);
    }
  });

  test('the use of a stolen token ends all sessions of its family, also those that parallel refreshes open', async () => {
    for (let round = 0; round < 8; round += 1) {
      const user = await makeUser(harness);
      const stolen = await opened(user);
      const successors = await Promise.all(
        Array.from({ length: 6 }, async () => newToken(await refresh(harness, stolen))),
      );
      await setUsed(stolen, 3600);
      await Promise.all([...successors.slice(0, 3), stolen, ...successors.slice(3)].map((t) => refresh(harness, t)));
      expect(await sessionsOf(harness, user.id)).toEqual([]);
    }
  });

  describe('a session of the earlier service, stored in clear', () => {
    test('can be refreshed once and is then stored as a digest', async () => {
      const user = await makeUser(harness);
      const token = await legacy(user);
      const successor = newToken(await refresh(harness, token));
      const stored = (await sessionsOf(harness, user.id)).map((s) => s.sessionToken);
      expect(stored.sort()).toEqual([digest(token), digest(successor)].sort());
      await setUsed(token, 31);
      expect(outcome(await refresh(harness, token))).toEqual(REFUSED);
      expect(outcome(await refresh(harness, successor))).toEqual(REFUSED);
    });
    test('can be refreshed by twenty parallel requests', async () => {
      const user = await makeUser(harness);
      const token = await legacy(user);
      const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(harness, token)));
      expect(countByStatus(answers)).toEqual({ 200: 20 });
      expect((await sessionsOf(harness, user.id)).some((s) => s.sessionToken === token)).toBe(false);
    });
  });

  test('a stored digest or id is not accepted as a token', async () => {
    const user = await makeUser(harness);
    const token = await opened(user);
    const [stored] = await sessionsOf(harness, user.id);
    const text = stored?.sessionToken ?? '';
    expect(text).toBe(digest(token));
    for (const guess of [text, text.slice('sha256:'.length), stored?.id ?? '', token.toUpperCase()]) {
      expect(outcome(await refresh(harness, guess))).toEqual(REFUSED);
      await post(harness, 'logout', { refreshToken: guess });
    }
    newToken(await refresh(harness, token));
  });

  test('refuses missing, unreadable, unknown and expired tokens, and disabled accounts', async () => {
    const user = await makeUser(harness);
    const missing = [400, 'missing_refresh_token', 'MISSING_REFRESH_TOKEN'];
    for (const body of [{}, { refreshToken: '' }, { refreshToken: '  ' }, { refreshToken: null }]) {
      expect(outcome(await post(harness, 'refresh', body))).toEqual(missing);
    }
    for (const body of [{ refreshToken: 5 }, { refreshToken: ['a'] }, [], 'text', null, { refreshToken: 'a\0' }]) {
      expect(outcome(await post(harness, 'refresh', body))).toEqual([400, 'invalid_request', 'INVALID_REQUEST']);
    }
    for (const token of [randomBytes(32).toString('hex'), 'x', "' or 1=1 --", 'é'.repeat(64), 'a'.repeat(15_000)]) {
      const answer = await refresh(harness, token);
      expect(outcome(answer)).toEqual(REFUSED);
      expect(answer.body.message).toBe('This session has ended: sign in again.');
      expect(answer.headers.get('www-authenticate')).toContain('Bearer');
    }
    expect((await refresh(harness, 'a'.repeat(10_000_000)).catch(() => ({ status: 413 }))).status).toBe(413);

    const expired = await opened(user);
    await harness.database.db.raw(
      `update sessions set expires = (now() at time zone 'utc') - interval '1 s' where "sessionToken" = ?`,
      [digest(expired)],
    );
    expect(outcome(await refresh(harness, expired))).toEqual(REFUSED);

    const disabled = await opened(user);
    await harness.database.db.raw('update users set "isActive" = false where id = ?', [user.id]);
    expect(outcome(await refresh(harness, disabled))).toEqual([401, 'account_disabled', 'ACCOUNT_DISABLED']);
    await harness.database.db.raw('update users set "isActive" = true where id = ?', [user.id]);
    newToken(await refresh(harness, disabled));
  });

  test('refuses a token of a deleted user', async () => {
    const user = await makeUser(harness);
    const token = await opened(user);
    await harness.database.db.raw('delete from users where id = ?', [user.id]);
    expect(outcome(await refresh(harness, token))).toEqual(REFUSED);
  });
});

describe('logout', () => {
  const DONE = { success: true, message: 'Logged out successfully' };
  test('ends the session of the given token with its later sessions, and no other', async () => {
    const user = await makeUser(harness);
    const [named, other] = [await opened(user), await opened(user)];
    const successor = newToken(await refresh(harness, named));
    const answer = await post(harness, 'logout', { refreshToken: named });
    expect([answer.status, answer.body]).toEqual([200, DONE]);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    for (const token of [named, successor]) expect(outcome(await refresh(harness, token))).toEqual(REFUSED);
    newToken(await refresh(harness, other));
  });

  test('with a valid access token ends all sessions of its user and of no other user', async () => {
    const user = await makeUser(harness);
    const tokens = [await opened(user), await opened(user), await legacy(user)];
    const bystander = await opened(await makeUser(harness));
    expect((await post(harness, 'logout', {}, bearer(user.token))).body).toEqual(DONE);
    for (const token of tokens) expect(outcome(await refresh(harness, token))).toEqual(REFUSED);
    newToken(await refresh(harness, bystander));
  });

  test('with the refresh token of one user and the access token of another ends the sessions of both', async () => {
    const [a, b] = [await makeUser(harness), await makeUser(harness)];
    const tokens = [await opened(a), await opened(b)];
    await post(harness, 'logout', { refreshToken: tokens[0] }, bearer(b.token));
    for (const token of tokens) expect(outcome(await refresh(harness, token))).toEqual(REFUSED);
  });

  test.each([
    ['expired', (id: string) => signToken({ id }, { expiresIn: -61 })],
    ['signed with another secret', (id: string) => signToken({ id }, { secret: 'x'.repeat(40) })],
    ['signed with HS512', (id: string) => signToken({ id }, { alg: 'HS512' })],
    ['not a token', async () => 'a.b.c'],
  ])('with an access token that is %s ends no session', async (_name, token) => {
    const user = await makeUser(harness);
    const kept = await opened(user);
    expect((await post(harness, 'logout', {}, bearer(await token(user.id)))).body).toEqual(DONE);
    newToken(await refresh(harness, kept));
  });

  test.each<[string, RequestInit]>([
    ['no body', {}],
    ['an empty body of JSON type', { headers: { 'Content-Type': 'application/json' } }],
    ['an incomplete object', { headers: { 'Content-Type': 'application/json' }, body: '{"refreshToken":' }],
    ['an array', { headers: { 'Content-Type': 'application/json' }, body: '[]' }],
    ['a number', { headers: { 'Content-Type': 'application/json' }, body: '{"refreshToken":5}' }],
    ['an unknown token', { headers: { 'Content-Type': 'application/json' }, body: '{"refreshToken":"x"}' }],
    ['a form', { body: new URLSearchParams({ refreshToken: 'x' }) }],
    ['a body without a type', { body: new Uint8Array([1, 2]) }],
  ])('with %s succeeds', async (_name, init) => {
    const answer = await call(harness, 'logout', { method: 'POST', ...init });
    expect([answer.status, answer.body]).toEqual([200, DONE]);
  });

  test('works with parallel requests for all tokens of a family', async () => {
    for (let round = 0; round < 3; round += 1) {
      const user = await makeUser(harness);
      const tokens = [await opened(user)];
      for (let i = 0; i < 9; i += 1) tokens.push(newToken(await refresh(harness, tokens.at(-1) ?? '')));
      const answers = await Promise.all(tokens.map((refreshToken) => post(harness, 'logout', { refreshToken })));
      expect(countByStatus(answers)).toEqual({ 200: 10 });
      expect(await sessionsOf(harness, user.id)).toEqual([]);
    }
  });

  test('parallel logouts of two users, each with the other’s token, cause no deadlock', async () => {
    for (let round = 0; round < 5; round += 1) {
      const [a, b] = [await makeUser(harness), await makeUser(harness)];
      const [ofA, ofB] = [await opened(a), await opened(b)];
      const answers = await Promise.all([
        post(harness, 'logout', { refreshToken: ofA }, bearer(b.token)),
        post(harness, 'logout', { refreshToken: ofB }, bearer(a.token)),
      ]);
      expect(countByStatus(answers)).toEqual({ 200: 2 });
    }
  });

  test('ends all sessions, also those that parallel refreshes open', async () => {
    for (let round = 0; round < 8; round += 1) {
      const user = await makeUser(harness);
      const first = await opened(user);
      const tabs = await Promise.all(Array.from({ length: 6 }, async () => newToken(await refresh(harness, first))));
      const leave = (): Promise<Answer> =>
        round % 2 === 0
          ? post(harness, 'logout', { refreshToken: first })
          : post(harness, 'logout', {}, bearer(user.token));
      const answers = await Promise.all([
        ...tabs.slice(0, 3).map((token) => refresh(harness, token)),
        leave(),
        ...tabs.slice(3).map((token) => refresh(harness, token)),
      ]);
      expect(answers[3]?.status).toBe(200);
      expect(Object.keys(countByStatus(answers)).filter((status) => !['200', '401'].includes(status))).toEqual([]);
      expect(await sessionsOf(harness, user.id)).toEqual([]);
    }
  });
});

test('disabling an account ends all sessions, also those that parallel refreshes open', async () => {
  for (let round = 0; round < 8; round += 1) {
    const user = await makeUser(harness);
    const tokens = [await opened(user), await opened(user), await opened(user), await opened(user)];
    const [disabled, ...answers] = await Promise.all([
      setActive(harness.database.db, user.id, false, OPERATOR),
      ...tokens.map((token) => refresh(harness, token)),
    ]);
    expect(disabled.changed).toBe(true);
    expect(Object.keys(countByStatus(answers)).filter((status) => !['200', '401'].includes(status))).toEqual([]);
    expect(await sessionsOf(harness, user.id)).toEqual([]);
    expect((await call(harness, 'me', { headers: bearer(user.token) })).body.error).toBe('account_disabled');
  }
});

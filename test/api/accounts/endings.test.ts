/** Whatever ends sessions ends refresh tokens and access tokens, at the next request, and no token of another session. */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { replacePassword } from '../../../src/services/accounts/passwords.ts';
import { setActive, setRoles } from '../../../src/services/accounts/roles.ts';
import type { TokenPair } from '../../../src/services/accounts/sessions.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { purgeSessions } from '../../../src/store/accounts/session-store.ts';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, json, makeUser, PASSWORD, signToken, startHarness } from '../../support/api/harness.ts';
import { call, openedSession, post, refresh, resetRateLimits, tokenFor } from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
});

interface Person {
  id: string;
  email: string;
  /** The session that acts, and another one. */
  own: TokenPair;
  other: TokenPair;
  /** A token without a session, of the site or of an earlier release. */
  sessionless: string;
}
type Which = 'own' | 'other' | 'sessionless';

async function person(): Promise<Person> {
  const { id, email, token } = await makeUser(harness, { roles: ['MEMBER', 'ADMINISTRATOR'] });
  return {
    id,
    email,
    own: await openedSession(harness, id),
    other: await openedSession(harness, id),
    sessionless: token,
  };
}
const me = async (accessToken: string) => (await call(harness, 'me', { headers: bearer(accessToken) })).status;
const account = async (who: Person, method: string, path: string, body: unknown) => {
  const init = { ...json(body, bearer(who.own.accessToken)), method };
  expect((await harness.get(`/api/v1/dashboard/account${path}`, init)).status).toBe(200);
};
const used = (who: Person) =>
  harness.database.db.raw(
    `update sessions set "rotatedAt" = (clock_timestamp() at time zone 'utc') - interval '31 s'
      where "familyId" = ? and "rotatedAt" is not null`,
    [who.own.sessionId],
  );

/** Event, what makes it happen, and what ends. */
const EVENTS: [string, (who: Person) => Promise<unknown>, Which[]][] = [
  [
    'a logout with the refresh token',
    (who) => post(harness, 'logout', { refreshToken: who.own.refreshToken }),
    ['own'],
  ],
  [
    'a logout with the access token',
    (who) => post(harness, 'logout', {}, bearer(who.own.accessToken)),
    ['own', 'other', 'sessionless'],
  ],
  [
    'a logout with a scheme in other letters and two blanks (M-6)',
    (who) => post(harness, 'logout', {}, { Authorization: `BEARER  ${who.own.accessToken}` }),
    ['own', 'other', 'sessionless'],
  ],
  [
    'the use of a refresh token that was used before',
    async (who) => {
      expect((await refresh(harness, who.own.refreshToken)).status).toBe(200);
      await used(who);
      expect((await refresh(harness, who.own.refreshToken)).status).toBe(401);
    },
    ['own'],
  ],
  [
    'a change of the password',
    (who) => account(who, 'PUT', '/password', { currentPassword: PASSWORD, newPassword: 'Another-horse-8' }),
    ['other', 'sessionless'],
  ],
  [
    'a change of the address',
    (who) =>
      account(who, 'POST', '/change-email', { newEmail: `new-${who.id}@example.com`, currentPassword: PASSWORD }),
    ['other', 'sessionless'],
  ],
  [
    'a reset of the password by a link',
    async (who) => {
      const token = await tokenFor(harness, 'password-reset', who);
      expect((await post(harness, 'reset-password', { token, password: 'Another-horse-8' })).status).toBe(200);
    },
    ['own', 'other', 'sessionless'],
  ],
  [
    'a reset of the password by an operator',
    (who) => replacePassword(harness.deps, who.id, 'Another-horse-8'),
    ['own', 'other', 'sessionless'],
  ],
  [
    'the first proof of the address by a magic link',
    async (who) => {
      await harness.database.db.raw('update users set "emailVerified" = null where id = ?', [who.id]);
      const token = await tokenFor(harness, 'magic-link', who);
      expect((await post(harness, 'magic-link/verify', { token })).status).toBe(200);
    },
    ['own', 'other', 'sessionless'],
  ],
  [
    'the first proof of a panel customer’s address by a verification link',
    async (who) => {
      await harness.database.db.raw('update users set "emailVerified" = null where id = ?', [who.id]);
      await harness.database.db.raw('insert into panel_address_matches (panel_user_id, user_id) values (4711, ?)', [
        who.id,
      ]);
      const token = await tokenFor(harness, 'email-verification', who);
      expect((await post(harness, 'verify-email', { token, id: who.id })).status).toBe(200);
    },
    ['own', 'other', 'sessionless'],
  ],
  [
    'the loss of the role of an administrator',
    (who) => setRoles(harness.database.db, who.id, { remove: ['ADMINISTRATOR'] }, OPERATOR),
    ['own', 'other', 'sessionless'],
  ],
  [
    'disabling the account, also when it is enabled again',
    async (who) => {
      await setActive(harness.database.db, who.id, false, OPERATOR);
      await setActive(harness.database.db, who.id, true, OPERATOR);
    },
    ['own', 'other', 'sessionless'],
  ],
];

describe('refresh tokens and access tokens end together (S1)', () => {
  test.each(EVENTS)('by %s', async (_name, happen, ended) => {
    const [who, bystander] = [await person(), await person()];
    for (const token of [who.own.accessToken, who.other.accessToken, who.sessionless])
      expect(await me(token)).toBe(200);
    await happen(who);
    const status = (which: Which) => (ended.includes(which) ? 401 : 200);
    expect({
      own: await me(who.own.accessToken),
      other: await me(who.other.accessToken),
      sessionless: await me(who.sessionless),
    }).toEqual({ own: status('own'), other: status('other'), sessionless: status('sessionless') });
    expect((await refresh(harness, who.other.refreshToken)).status).toBe(status('other'));
    expect((await refresh(harness, who.own.refreshToken)).status).toBe(status('own'));
    expect(await me(bystander.own.accessToken)).toBe(200);
    // A sign-in right afterwards, in the same second, is not concerned.
    expect(await me((await openedSession(harness, who.id)).accessToken)).toBe(200);
  });

  test('the loss of another role ends nothing', async () => {
    const who = await person();
    await setRoles(harness.database.db, who.id, { add: ['PARTNER'], remove: ['MEMBER'] }, OPERATOR);
    for (const token of [who.own.accessToken, who.sessionless]) expect(await me(token)).toBe(200);
  });

  test('an ended access token ends no other session', async () => {
    const who = await person();
    await post(harness, 'logout', { refreshToken: who.other.refreshToken });
    await post(harness, 'logout', {}, bearer(who.other.accessToken));
    expect(await me(who.own.accessToken)).toBe(200);
  });
});

test('a change of the password ends the session of a thief that refreshes every second (S5)', async () => {
  const who = await person();
  let stolen = who.other.refreshToken;
  for (let second = 0; second < 3; second += 1) stolen = (await refresh(harness, stolen)).body.refreshToken;
  // A row of the thief in the second of the owner's sign-in, and in every other one.
  await harness.database.db.raw(
    `update sessions set "createdAt" = to_timestamp(?::integer) at time zone 'utc' where "userId" = ?`,
    [who.own.issuedAt, who.id],
  );
  await account(who, 'PUT', '/password', { currentPassword: PASSWORD, newPassword: 'Another-horse-8' });
  expect((await refresh(harness, stolen)).status).toBe(401);
  expect((await refresh(harness, who.own.refreshToken)).status).toBe(200);
});

describe('an access token without a session (S1)', () => {
  test('of the second in which all tokens ended is refused, of the next second accepted', async () => {
    const who = await person();
    await post(harness, 'logout', {}, bearer(who.own.accessToken));
    const [row] = await query<{ from: number; now: number }>(
      harness.database.db,
      `select extract(epoch from u."tokensValidFrom")::float8 as from, extract(epoch from clock_timestamp())::float8 as now
         from users u where u.id = ?`,
      [who.id],
    );
    const from = row?.from ?? 0;
    expect(Number.isInteger(from)).toBe(true);
    expect(from - (row?.now ?? 0)).toBeLessThanOrEqual(1);
    const issuedAt = (iat: number) => signToken({ id: who.id }, { issuedAt: iat });
    expect(await me(await issuedAt(from - 1))).toBe(401);
    expect(await me(await issuedAt(from))).toBe(200);
  });

  test('of an earlier release is accepted until it expires, so an upgrade ends no session', async () => {
    const { id } = await makeUser(harness);
    const issuedAt = Math.floor(Date.now() / 1000) - 29 * 86_400;
    expect(await me(await signToken({ id }, { issuedAt, expiresIn: 86_400 }))).toBe(200);
  });
});

test('an access token lives as long as one row of its family, whatever a purge deletes', async () => {
  const who = await person();
  const next = (await refresh(harness, who.own.refreshToken)).body;
  const expire = (which: string) =>
    harness.database.db.raw(
      `update sessions set expires = (now() at time zone 'utc') - interval '1 s' where "familyId" = ? and ${which}`,
      [who.own.sessionId],
    );
  await expire('"rotatedAt" is not null');
  expect(await purgeSessions(harness.database.db, 100)).toBe(1);
  for (const token of [who.own.accessToken, next.accessToken]) expect(await me(token)).toBe(200);
  await expire('true');
  expect(await me(next.accessToken)).toBe(401);
});

/** What is recorded of accounts, what the log says of it, and what the owner learns by email. */

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { setActive, setRoles } from '../../../src/services/accounts/roles.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { recordRefusal, signInRefused } from '../../../src/services/audit/security-events.ts';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, json, makeUser, PASSWORD, startHarness } from '../../support/api/harness.ts';
import { call, emailsTo, openedSession, post, refresh, resetRateLimits, tokenFor } from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness({ config: { trustedProxyHops: 1 } });
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
});

interface Recorded {
  action: string;
  outcome: string;
  actor: string;
  details: Record<string, unknown>;
}
/** Events of an account, in the order of writing. */
const eventsOf = (userId: string): Promise<Recorded[]> =>
  query(
    harness.database.db,
    `select a.action, a.outcome, concat_ws(' ', a.actor_type, a.actor_id) as actor, a.details
       from audit_events a where a.target_id = ? order by a.id`,
    [userId],
  );
const whatOf = async (userId: string) => (await eventsOf(userId)).map(({ action, outcome }) => `${action} ${outcome}`);
const strangers = (): Promise<{ action: string; network: string | null }[]> =>
  query(harness.database.db, 'select a.action, a.network from audit_events a where a.target_id is null order by a.id');
const from = (address: string): Record<string, string> => ({ 'X-Forwarded-For': address });
const loginFrom = (address: string, email: string, password = PASSWORD) =>
  post(harness, 'login', { email, password }, from(address));
const templates = async (email: string) => (await emailsTo(harness, email)).map(({ template }) => template);

const NEW_PASSWORD = 'Another-horse-8';
const change = (token: string, path: string, body: object, method = 'PUT') =>
  harness.get(`/api/v1/dashboard/account/${path}`, { ...json(body, bearer(token)), method });

test('sign-ins, refusals and sign-out are recorded, with network and request but without an address (S14)', async () => {
  const user = await makeUser(harness);
  await post(
    harness,
    'login',
    { email: user.email, password: 'wrong' },
    { ...from('192.0.2.7'), 'X-Request-Id': 'r-1' },
  );
  const { accessToken, refreshToken } = (await loginFrom('192.0.2.200', user.email)).body;
  await post(harness, 'validate', { email: user.email, password: PASSWORD }, from('192.0.2.7'));
  await post(harness, 'logout', { refreshToken }, bearer(accessToken));
  const anyone = { type: 'user', actor: `user ${user.id}` };
  expect(await eventsOf(user.id)).toEqual([
    { action: 'sign-in', outcome: 'refused', actor: 'anonymous', details: { reason: 'wrong-credentials' } },
    { action: 'sign-in', outcome: 'success', actor: anyone.actor, details: { method: 'password' } },
    { action: 'sign-in', outcome: 'success', actor: anyone.actor, details: { method: 'validate' } },
    { action: 'sign-out', outcome: 'success', actor: anyone.actor, details: {} },
  ]);
  const rows = await query<{ network: string; request: string }>(
    harness.database.db,
    'select a.network, a.request_id as request from audit_events a where a.target_id = ? order by a.id limit 2',
    [user.id],
  );
  // One /24, so one digest.
  expect(rows[0]?.network).toMatch(/^[\w-]{22}$/);
  expect(rows[1]?.network).toBe(rows[0]?.network);
  expect(rows[0]?.request).toBe('r-1');
  const whole = JSON.stringify(await query(harness.database.db, 'select a.* from audit_events a'));
  expect(whole).not.toContain(user.email);
  expect(whole).not.toContain('192.0.2.');
});

test('each event is one line of the log: id, digest and outcome, no address (S14)', async () => {
  const user = await makeUser(harness);
  const before = harness.logged().length;
  await loginFrom('192.0.2.7', user.email, 'wrong');
  await loginFrom('192.0.2.7', user.email);
  const lines = harness.logged().slice(before).split('\n');
  const security = lines.filter((line) => line.includes('"msg":"security"')).map((line) => JSON.parse(line));
  expect(security).toMatchObject([
    { event: 'sign-in', outcome: 'refused', userId: user.id, network: expect.stringMatching(/^[\w-]{22}$/) },
    { event: 'sign-in', outcome: 'success', userId: user.id, details: { method: 'password' } },
  ]);
  expect(JSON.stringify(security)).not.toMatch(/@|192\.0\.2/);
});

test('refusals of one account, and of addresses without one, are recorded up to a limit (S14)', async () => {
  const user = await makeUser(harness);
  const known = (await strangers()).length;
  const origin = { networkDigest: 'one-network' };
  for (let i = 0; i < 24; i += 1) {
    // Directly, because each request of this kind compares a password.
    await recordRefusal(harness.deps, signInRefused(user.id, 'wrong-credentials', { networkDigest: `network-${i}` }));
    await recordRefusal(harness.deps, signInRefused(undefined, 'wrong-credentials', origin));
  }
  expect(await whatOf(user.id)).toEqual(Array.from({ length: 20 }, () => 'sign-in refused'));
  const unknown = (await strangers()).slice(known);
  expect(unknown).toHaveLength(20);
  expect(new Set(unknown.map(({ network }) => network)).size).toBe(1);
});

test('a lockout is recorded once per account and window, however many requests follow (S14)', async () => {
  const user = await makeUser(harness);
  const known = (await strangers()).length;
  for (const email of [user.email, 'unknown@example.com']) {
    // Without a password nothing is compared, and each request counts all the same.
    for (let i = 0; i < 14; i += 1) await loginFrom('192.0.2.7', email, '');
  }
  expect(await eventsOf(user.id)).toEqual([
    { action: 'lockout', outcome: 'refused', actor: 'anonymous', details: { limit: 'login' } },
  ]);
  expect((await strangers()).slice(known).map(({ action }) => action)).toEqual(['lockout']);
  for (let i = 0; i < 24; i += 1) await change(user.token, 'password', {});
  expect((await eventsOf(user.id)).slice(1).map(({ action, details }) => [action, details])).toEqual([
    ['lockout', { limit: 'password-check' }],
  ]);
});

test('a changed password is recorded and the owner notified; a wrong present one is recorded (S14)', async () => {
  const user = await makeUser(harness);
  const refused = await change(user.token, 'password', { currentPassword: 'wrong', newPassword: NEW_PASSWORD });
  expect(refused.status).toBe(403);
  expect(await templates(user.email)).toEqual([]);
  const changed = { currentPassword: PASSWORD, newPassword: NEW_PASSWORD };
  expect((await change(user.token, 'password', changed)).status).toBe(200);
  expect(await whatOf(user.id)).toEqual(['password-changed refused', 'password-changed success']);
  expect(await templates(user.email)).toEqual(['password-changed']);
});

test('a reset is recorded from its request to its end, and the owner notified (S14)', async () => {
  const user = await makeUser(harness);
  const token = await tokenFor(harness, 'password-reset', user);
  const reset = { token, id: user.id, password: NEW_PASSWORD, confirmPassword: NEW_PASSWORD };
  expect((await post(harness, 'reset-password', reset)).status).toBe(200);
  expect(await whatOf(user.id)).toEqual(['password-reset-requested success', 'password-reset success']);
  expect(await templates(user.email)).toEqual(['password-reset', 'password-changed']);
});

test('a changed address is recorded, and the old address notified (S14)', async () => {
  const user = await makeUser(harness);
  const body = { newEmail: `new-${user.email}`, currentPassword: PASSWORD };
  expect((await change(user.token, 'change-email', { ...body, currentPassword: 'wrong' }, 'POST')).status).toBe(403);
  expect((await change(user.token, 'change-email', body, 'POST')).status).toBe(200);
  expect(await whatOf(user.id)).toEqual(['email-changed refused', 'email-changed success']);
  expect(await templates(user.email)).toEqual(['email-changed']);
});

test('a sign-in from a new network notifies the owner: never the first, at most one a day (S14)', async () => {
  const user = await makeUser(harness);
  for (const address of ['192.0.2.1', '192.0.2.99']) expect((await loginFrom(address, user.email)).status).toBe(200);
  expect(await templates(user.email)).toEqual([]);
  const token = await tokenFor(harness, 'magic-link', user);
  expect((await post(harness, 'magic-link/verify', { token }, from('2001:db8:7::1'))).status).toBe(200);
  expect((await loginFrom('198.51.100.1', user.email)).status).toBe(200);
  expect(await templates(user.email)).toEqual(['magic-link', 'new-network']);
  await resetRateLimits(harness);
  expect((await loginFrom('203.0.113.1', user.email)).status).toBe(200);
  expect(await templates(user.email)).toEqual(['magic-link', 'new-network', 'new-network']);
});

test('an account whose address was never verified gets no notice: the address may be another person’s (S14)', async () => {
  const user = await makeUser(harness, { emailVerified: false });
  const changed = { currentPassword: PASSWORD, newPassword: NEW_PASSWORD };
  expect((await change(user.token, 'password', changed)).status).toBe(200);
  expect(await whatOf(user.id)).toEqual(['password-changed success']);
  expect(await templates(user.email)).toEqual([]);
});

test('the use of a spent refresh token is recorded (S14)', async () => {
  const user = await makeUser(harness);
  const { refreshToken } = await openedSession(harness, user.id);
  expect((await refresh(harness, refreshToken)).status).toBe(200);
  await query(
    harness.database.db,
    `update sessions set "rotatedAt" = "rotatedAt" - interval '1 hour' where "userId" = ?`,
    [user.id],
  );
  expect((await refresh(harness, refreshToken)).status).toBe(401);
  expect(await whatOf(user.id)).toEqual(['token-reuse refused']);
});

test('what the roles of a user do not allow is refused and recorded, with the operation (S14)', async () => {
  const user = await makeUser(harness);
  const other = await makeUser(harness);
  const paths = ['/api/admin/emails', '/api/v1/sync/logs', `/api/v1/auth/users/${other.id}`];
  for (const path of paths) {
    expect((await harness.get(path, { headers: bearer(user.token) })).status).toBe(403);
  }
  expect(await eventsOf(user.id)).toEqual(
    ['listEmails', 'listSyncLogs', 'getAuthUser'].map((operation) => ({
      action: 'role-refused',
      outcome: 'refused',
      actor: `user ${user.id}`,
      details: { operation },
    })),
  );
});

test('what an operator changes is recorded with before and after; a repeat is not (S14)', async () => {
  const user = await makeUser(harness);
  const { db } = harness.database;
  for (let i = 0; i < 2; i += 1) {
    await setRoles(db, user.id, { set: ['PARTNER'] }, OPERATOR);
    await setActive(db, user.id, false, OPERATOR);
  }
  await setActive(db, user.id, true, OPERATOR);
  expect(await eventsOf(user.id)).toEqual([
    { action: 'roles-changed', outcome: 'success', actor: 'cli', details: { before: ['MEMBER'], after: ['PARTNER'] } },
    { action: 'account-disabled', outcome: 'success', actor: 'cli', details: {} },
    { action: 'account-enabled', outcome: 'success', actor: 'cli', details: {} },
  ]);
});

test('a refusal is answered as before when its event cannot be recorded', async () => {
  const user = await makeUser(harness);
  await harness.database.db.raw('alter table audit_events rename to audit_events_away');
  try {
    expect((await loginFrom('192.0.2.7', user.email, 'wrong')).status).toBe(401);
    // A sign-in is not let through without its event.
    expect((await loginFrom('192.0.2.7', user.email)).status).toBe(500);
    expect((await call(harness, 'me', { headers: bearer(user.token) })).status).toBe(200);
  } finally {
    await harness.database.db.raw('alter table audit_events_away rename to audit_events');
  }
});

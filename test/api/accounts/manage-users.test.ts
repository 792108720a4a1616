/** What administrators change of people: creation, roles, the state of accounts, sign-out, verification. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { setActive, setRoles } from '../../../src/services/accounts/roles.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { issueToken } from '../../../src/store/accounts/one-time-token-store.ts';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, json, makeUser, PASSWORD, startHarness } from '../../support/api/harness.ts';
import {
  emailsTo,
  login,
  makeEmail,
  openedSession,
  post,
  resetRateLimits,
  sessionsOf,
} from '../../support/api/sign-in.ts';

type User = Awaited<ReturnType<typeof makeUser>>;

let harness: Harness;
/** A system administrator and an administrator. */
let root: User;
let admin: User;
beforeAll(async () => {
  harness = await startHarness();
  root = await makeUser(harness, { roles: ['SUPER_ADMIN'], isSystemAdmin: true });
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
});
afterAll(() => harness.close());
beforeEach(() => resetRateLimits(harness));

const sql = <T>(text: string, bindings: readonly unknown[] = []) => query<T>(harness.database.db, text, bindings);
/** Status and body of a POST to `/api/admin/users<path>`. */
async function send(by: User, path: string, body: unknown = {}) {
  const response = await harness.get(`/api/admin/users${path}`, json(body, bearer(by.token)));
  return { status: response.status, body: await response.json() };
}
const statusOf = async (by: User, path: string, body: unknown = {}) => (await send(by, path, body)).status;
const refusal = async (by: User, path: string, body: unknown = {}) => {
  const answer = await send(by, path, body);
  return [answer.status, answer.body.error, answer.body.code];
};
const roles = (by: User, userId: string, names: unknown) => send(by, '/roles', { userId, roles: names });
const rowOf = async (id: string) =>
  (await sql<Record<string, unknown>>(`select roles, "isSystemAdmin", "isActive" from users where id = ?`, [id]))[0];
/** Successful changes that were recorded of a user, oldest first. */
const eventsOf = (id: string) =>
  sql<{ action: string; actor: string; details: Record<string, unknown>; network: string; request: string }>(
    `select a.action, concat_ws(' ', a.actor_type, a.actor_id) as actor, a.details, a.network, a.request_id as request
       from audit_events a where a.target_id = ? and a.outcome = 'success' order by a.id`,
    [id],
  );
const actionsOf = async (id: string) => (await eventsOf(id)).map(({ action }) => action);
const LAST = expect.stringContaining('last active system administrator');

describe('creation', () => {
  test('makes a user without a password; the link of the email sets one, proves the address and works once', async () => {
    const form = { email: ' New@People.Example ', firstName: 'Ada', lastName: 'L', roles: ['PARTNER', 'PARTNER'] };
    const { status, body } = await send(admin, '', form);
    expect(status).toBe(201);
    const created = body as unknown as { data: { userId: string }; user: { id: string } };
    const { userId } = created.data;
    expect(created).toMatchObject({
      success: true,
      data: { userId, roles: ['PARTNER'], isSystemAdmin: false },
      user: {
        id: userId,
        email: 'new@people.example',
        username: 'new',
        firstName: 'Ada',
        lastName: 'L',
        emailVerified: false,
        isActive: true,
      },
    });
    expect(await eventsOf(userId)).toEqual([
      {
        action: 'account-created',
        actor: `user ${admin.id}`,
        details: { roles: ['PARTNER'] },
        network: expect.stringMatching(/^[\w-]{22}$/),
        request: expect.any(String),
      },
    ]);
    const [email, ...others] = await emailsTo(harness, 'new@people.example');
    expect([email?.template, others]).toEqual(['set-password', []]);
    const outbox = `select 1 from outbox where dedupe_key = ?`;
    expect(await sql(outbox, [`email.send:${email?.id}`])).toHaveLength(1);
    const token = await makeEmail(harness, email?.id ?? '');
    const [{ days } = { days: 0 }] = await sql<{ days: number }>(
      `select round(extract(epoch from v.expires - now() at time zone 'utc') / 86400)::int as days
         from verification_tokens v where v.identifier = ? and v.type = 'set_password'`,
      [userId],
    );
    expect(days).toBe(7);
    const reset = { token, password: PASSWORD };
    expect((await post(harness, 'reset-password', reset)).status).toBe(200);
    expect((await login(harness, 'new@people.example')).status).toBe(200);
    expect((await post(harness, 'reset-password', reset)).body.error).toBe('invalid_token');
  });

  test('a repeat by the same administrator gives the same user and sends nothing, also at the same moment', async () => {
    const form = { email: 'twice@people.example', username: 'twice', firstName: 'T' };
    const answers = await Promise.all(Array.from({ length: 4 }, () => send(admin, '', form)));
    answers.push(await send(admin, '', { ...form, email: 'TWICE@people.example' }));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 201]);
    const ids = new Set(answers.map(({ body }) => body.data['userId']));
    expect(ids.size).toBe(1);
    expect(await emailsTo(harness, form.email)).toHaveLength(1);
    expect(await actionsOf(String([...ids][0]))).toEqual(['account-created']);
    // Another administrator, other fields and an older account are no repeat.
    const exists = [409, 'A user with this email address already exists', 'EMAIL_EXISTS'];
    expect(await refusal(root, '', form)).toEqual(exists);
    expect(await refusal(admin, '', { ...form, firstName: 'U' })).toEqual(exists);
    expect(await refusal(admin, '', { ...form, roles: ['PARTNER'] })).toEqual(exists);
    expect(await refusal(admin, '', { email: root.email.toUpperCase() })).toEqual(exists);
    expect(await emailsTo(harness, form.email)).toHaveLength(1);
  });

  test('gives no role above the administrator’s own, and records the refusal', async () => {
    const form = (role: string) => ({ email: `${role.toLowerCase()}@people.example`, roles: ['MEMBER', role] });
    for (const role of ['ADMINISTRATOR', 'SUPER_ADMIN']) {
      expect(await statusOf(admin, '', form(role))).toBe(403);
      expect(await sql('select 1 from users where email = ?', [form(role).email])).toEqual([]);
      expect(await statusOf(root, '', form(role))).toBe(201);
    }
    expect(
      await sql(
        `select a.details ->> 'operation' as operation from audit_events a where a.action = 'role-refused' and a.actor_id = ?`,
        [admin.id],
      ),
    ).toEqual([{ operation: 'createUser' }, { operation: 'createUser' }]);
    expect(await sql(`select "isSystemAdmin" as flag from users where email = 'super_admin@people.example'`)).toEqual([
      { flag: true },
    ]);
  });

  test.each([
    [{}, 'email is required'],
    [{ email: 'nothing' }, 'Invalid email address'],
    [{ email: '\u212Aim@people.example' }, 'Invalid email address'],
    [{ email: 'x@people.example', roles: ['KING'] }, 'Invalid role: KING'],
    [{ email: 'x@people.example', roles: 'MEMBER' }, 'Invalid request body'],
    [{ email: 'x@people.example', firstName: 'a\u0007b' }, expect.stringMatching(/^firstName: /)],
    [[], 'Invalid request body'],
  ])('%j is refused', async (form, error) => {
    const answer = await send(admin, '', form);
    expect([answer.status, answer.body.error]).toEqual([400, error]);
    expect(await sql(`select 1 from users where email = 'x@people.example'`)).toEqual([]);
  });

  test('a body with userId and roles changes the roles instead', async () => {
    const { id } = await makeUser(harness);
    const changed = await send(admin, '', { userId: id, roles: ['SPONSOR'] });
    expect(changed).toMatchObject({
      status: 200,
      body: { data: { userId: id, roles: ['SPONSOR'], isSystemAdmin: false }, user: { id, roles: ['SPONSOR'] } },
    });
    expect(await actionsOf(id)).toEqual(['roles-changed']);
    expect(await refusal(admin, '', { userId: id })).toEqual([400, 'Invalid request body', 'BAD_REQUEST']);
  });
});

describe('roles', () => {
  test('are set without duplicates, recorded once, and a repeat changes nothing (row 46)', async () => {
    const { id } = await makeUser(harness);
    for (let i = 0; i < 2; i += 1) {
      expect(await roles(root, id, ['PARTNER', 'SUPER_ADMIN', 'PARTNER'])).toEqual({
        status: 200,
        body: { success: true, data: { userId: id, roles: ['PARTNER', 'SUPER_ADMIN'], isSystemAdmin: true } },
      });
    }
    expect(await eventsOf(id)).toMatchObject([
      {
        action: 'roles-changed',
        actor: `user ${root.id}`,
        details: { before: ['MEMBER'], after: ['PARTNER', 'SUPER_ADMIN'] },
      },
    ]);
    expect(await roles(root, id, [])).toMatchObject({ body: { data: { roles: [], isSystemAdmin: false } } });
  });

  test.each([
    [{}, 400, 'userId is required'],
    [{ roles: ['MEMBER'] }, 400, 'userId is required'],
    [{ userId: 'someone' }, 400, 'Invalid request body'],
    [{ userId: 'someone', roles: null }, 400, 'Invalid request body'],
    [{ userId: 'someone', roles: 'MEMBER' }, 400, 'Invalid request body'],
    [{ userId: 'someone', roles: [1] }, 400, 'Invalid request body'],
    [{ userId: 'someone', roles: ['member'] }, 400, 'Invalid role: member'],
    [{ userId: 'someone', roles: ['__proto__'] }, 400, 'Invalid role: __proto__'],
    [{ userId: 'someone', roles: ['MEMBER'] }, 404, 'User not found'],
  ])('%j is answered with %i %s', async (body, status, error) => {
    const answer = await send(root, '/roles', body);
    expect([answer.status, answer.body.error, answer.body.success]).toEqual([status, error, false]);
  });

  test('only a system administrator gives or removes the roles of administrators; others change the other roles', async () => {
    const [member, peer, above, flagged] = await Promise.all([
      makeUser(harness),
      makeUser(harness, { roles: ['ADMINISTRATOR'] }),
      makeUser(harness, { roles: ['SUPER_ADMIN'], isSystemAdmin: true }),
      makeUser(harness, { isSystemAdmin: true }),
    ]);
    const refused: [User, string[]][] = [
      [member, ['ADMINISTRATOR']],
      [member, ['SUPER_ADMIN']],
      [admin, ['ADMINISTRATOR', 'SUPER_ADMIN']],
      [admin, ['MEMBER']],
      [peer, ['MEMBER']],
      [peer, []],
      [above, ['MEMBER']],
      [above, ['SUPER_ADMIN', 'PARTNER']],
      [flagged, ['MEMBER']],
      [flagged, ['MEMBER', 'ADMINISTRATOR']],
    ];
    for (const [user, names] of refused) {
      const before = await rowOf(user.id);
      const answer = await roles(admin, user.id, names);
      expect([answer.status, answer.body.code], names.join()).toEqual([403, 'FORBIDDEN']);
      expect(await rowOf(user.id)).toEqual(before);
    }
    expect((await roles(admin, member.id, ['PARTNER'])).status).toBe(200);
    expect((await roles(admin, peer.id, ['ADMINISTRATOR', 'PARTNER'])).status).toBe(200);
    for (const [user, names] of refused.filter(([user]) => user !== admin)) {
      expect((await roles(root, user.id, names)).status, names.join()).toBe(200);
    }
  });

  test('a lost role ends the sessions, and the administrator who just lost it changes nothing more', async () => {
    const [other, member] = [await makeUser(harness, { roles: ['ADMINISTRATOR'] }), await makeUser(harness)];
    const { accessToken } = await openedSession(harness, other.id);
    const demoted = { ...other, token: accessToken };
    // Before the change is committed, the roles of the session's user are still those of an administrator.
    const [, change] = await Promise.all([roles(root, other.id, ['MEMBER']), roles(demoted, member.id, ['PARTNER'])]);
    expect([200, 401, 403]).toContain(change.status);
    expect((await roles(demoted, member.id, ['SPONSOR'])).status).toBe(401);
    expect(await sessionsOf(harness, other.id)).toEqual([]);
    // The service itself decides by the roles at the moment of the change.
    const late = setRoles(harness.deps.db, member.id, { set: ['SPONSOR'] }, { actor: { type: 'user', id: other.id } });
    await expect(late).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  test('two administrators change roles at once: every change is recorded with what it replaced', async () => {
    const users = await Promise.all(Array.from({ length: 3 }, () => makeUser(harness)));
    const names = ['PARTNER', 'SPONSOR', 'TECH_TEAM', 'SUPPORT_TEAM'];
    const changes = users.flatMap(({ id }) => names.map((role, i) => roles(i % 2 === 0 ? root : admin, id, [role])));
    expect((await Promise.all(changes)).map(({ status }) => status)).toEqual(changes.map(() => 200));
    for (const { id } of users) {
      const events = await eventsOf(id);
      expect(events.map(({ details }) => String(details['after'])).toSorted()).toEqual(names.toSorted());
      const chain = ['MEMBER', ...events.map(({ details }) => String(details['after']))];
      expect(events.map(({ details }) => String(details['before']))).toEqual(chain.slice(0, -1));
      expect(await rowOf(id)).toMatchObject({ roles: [chain.at(-1)] });
    }
  });
});

describe('the state of an account', () => {
  test('disabling ends everything and refuses sign-in; a repeat has no effect; enabling undoes it', async () => {
    const user = await makeUser(harness);
    await openedSession(harness, user.id);
    for (let i = 0; i < 2; i += 1) {
      expect(await send(admin, `/${user.id}/disable`)).toMatchObject({
        status: 200,
        body: { success: true, user: { id: user.id, isActive: false, sessionCount: 0 } },
      });
    }
    expect((await login(harness, user.email)).body.error).toBe('account_disabled');
    for (let i = 0; i < 2; i += 1) expect(await statusOf(admin, `/${user.id}/enable`)).toBe(200);
    expect(await rowOf(user.id)).toMatchObject({ isActive: true });
    expect(await actionsOf(user.id)).toEqual(['account-disabled', 'account-enabled']);
  });

  test('an administrator manages neither another administrator nor a system administrator, whatever the change', async () => {
    const peer = await makeUser(harness, { roles: ['ADMINISTRATOR'], emailVerified: false });
    const above = await makeUser(harness, { roles: ['SUPER_ADMIN'], isSystemAdmin: true, emailVerified: false });
    for (const { id } of [peer, above]) {
      await openedSession(harness, id);
      const before = await rowOf(id);
      for (const change of ['disable', 'enable', 'sign-out', 'resend-verification']) {
        expect(await statusOf(admin, `/${id}/${change}`), change).toBe(403);
      }
      expect([await rowOf(id), (await sessionsOf(harness, id)).length]).toEqual([before, 1]);
      for (const change of ['sign-out', 'resend-verification', 'disable', 'enable']) {
        expect(await statusOf(root, `/${id}/${change}`), change).toBe(200);
      }
    }
  });

  test('administrators do not disable their own accounts, and may sign out of them', async () => {
    const own = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
    expect(await refusal(own, `/${own.id}/disable`)).toEqual([409, 'You cannot disable your own account', 'CONFLICT']);
    expect(await statusOf(own, `/${own.id}/sign-out`)).toBe(200);
    expect(await statusOf(own, `/${own.id}/sign-out`)).toBe(401);
  });

  test.each(['disable', 'enable', 'sign-out', 'resend-verification'])(
    '%s of an unknown user is 404',
    async (change) => {
      expect(await refusal(root, `/${randomUUID()}/${change}`)).toEqual([404, 'User not found', 'NOT_FOUND']);
    },
  );

  test('signing out ends sessions, access tokens and open links; a repeat is not recorded', async () => {
    const user = await makeUser(harness);
    const { accessToken } = await openedSession(harness, user.id);
    const { token } = await issueToken(harness.deps.db, user.id, 'magic_link');
    const me = (bearerToken: string) => harness.get('/api/v1/auth/me', { headers: bearer(bearerToken) });
    expect((await me(accessToken)).status).toBe(200);
    for (let i = 0; i < 2; i += 1) expect(await statusOf(admin, `/${user.id}/sign-out`)).toBe(200);
    expect([(await me(accessToken)).status, (await me(user.token)).status]).toEqual([401, 401]);
    expect((await post(harness, 'magic-link/verify', { token })).status).toBe(401);
    expect(await eventsOf(user.id)).toMatchObject([{ action: 'sessions-ended', details: { sessions: 1 } }]);
    expect((await login(harness, user.email)).status).toBe(200);
  });
});

describe('resend-verification', () => {
  const resend = (user: { id: string }, by = admin) => send(by, `/${user.id}/resend-verification`);
  const templates = async (user: User) => (await emailsTo(harness, user.email)).map(({ template }) => template);

  test('queues one email, and a repeat none; without a password it is the link to set one', async () => {
    const user = await makeUser(harness, { emailVerified: false });
    const customer = await makeUser(harness, { emailVerified: false });
    await sql('update users set password = null where id = ?', [customer.id]);
    for (const one of [user, user, customer]) expect((await resend(one)).status).toBe(200);
    expect([await templates(user), await templates(customer)]).toEqual([['email-verification'], ['set-password']]);
    expect(await eventsOf(user.id)).toMatchObject([{ action: 'verification-resent' }]);
  });

  test('an account gets three in an hour, from all administrators together', async () => {
    const user = await makeUser(harness, { emailVerified: false });
    const nextClick = () =>
      sql(`update emails set created_at = created_at - interval '10 s' where user_id = ?`, [user.id]);
    for (let i = 0; i < 3; i += 1) {
      expect((await resend(user, i === 1 ? root : admin)).status).toBe(200);
      await nextClick();
    }
    expect((await resend(user, root)).status).toBe(429);
    expect([(await templates(user)).length, (await actionsOf(user.id)).length]).toEqual([3, 3]);
  });

  test('a verified or disabled account is refused', async () => {
    const verified = await makeUser(harness);
    const disabled = await makeUser(harness, { emailVerified: false, isActive: false });
    expect(await resend(verified)).toMatchObject({ status: 409, body: { error: 'Email already verified' } });
    expect((await resend(disabled)).status).toBe(409);
    expect([await templates(verified), await templates(disabled)]).toEqual([[], []]);
  });
});

describe('the last system administrator', () => {
  test('remains, whatever many administrators and operators change at the same time', async () => {
    const { db } = harness.deps;
    // Pseudo-random, so that a failure can be repeated.
    let seed = 10;
    const pick = (n: number): number => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % n;
    };
    const inForce = async () =>
      sql<{ id: string }>(
        `select id from users where "isActive" and ("isSystemAdmin" or 'SUPER_ADMIN' = any(roles)) and "emailVerified" is not null`,
      );
    await sql(`update users set "isActive" = false where id <> ?`, [root.id]);
    const people = [root, ...(await Promise.all(Array.from({ length: 3 }, () => makeUser(harness))))];
    const seen = new Set<number>();
    for (let round = 0; round < 8; round += 1) {
      await sql(
        `update users set "isActive" = true, roles = '{SUPER_ADMIN}', "isSystemAdmin" = true, "tokensValidFrom" = null where id = any(?::text[])`,
        [people.map(({ id }) => id)],
      );
      const changes = Array.from({ length: 12 }, () => {
        const [by, target] = [people[pick(4)] ?? root, people[pick(4)] ?? root];
        const changed: (() => Promise<unknown>)[] = [
          () => roles(by, target.id, ['MEMBER']),
          () => send(by, `/${target.id}/disable`),
          () => setRoles(db, target.id, { remove: ['SUPER_ADMIN'] }, OPERATOR),
          () => setActive(db, target.id, false, OPERATOR),
        ];
        return changed[pick(4)]?.();
      });
      for (const result of await Promise.allSettled(changes)) {
        if (result.status === 'rejected')
          expect(result.reason).toMatchObject({ code: 'CONFLICT', publicMessage: LAST });
        else seen.add((result.value as { status?: number }).status ?? 0);
      }
      expect((await inForce()).length, `round ${round}`).toBeGreaterThanOrEqual(1);
    }
    // 0: an operator's change. No request failed with 500 or 503, for example in a deadlock.
    expect(
      [...seen].every((status) => [0, 200, 401, 403, 409].includes(status)),
      [...seen].join(),
    ).toBe(true);
  });
});

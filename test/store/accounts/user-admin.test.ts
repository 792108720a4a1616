/** Changes of accounts by administrators. At least one active system administrator always remains. */

import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ROLES } from '../../../src/domain/accounts/roles.ts';
import { verifyPassword } from '../../../src/services/accounts/password-hash.ts';
import { replacePassword } from '../../../src/services/accounts/passwords.ts';
import { setActive, setRoles } from '../../../src/services/accounts/roles.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import {
  countUsers,
  countUsersByState,
  findListedUser,
  findUserId,
  listUsers,
  USER_STATES,
  type UserFilter,
  type UserPage,
  type UserState,
} from '../../../src/store/accounts/user-list.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { createEmailStore } from '../../../src/store/email/email-store.ts';
import { createTestDatabase, openTransaction, type TestDatabase } from '../../support/database.ts';
import { query } from '../../support/merge.ts';

let database: TestDatabase;
const accounts = () => ({ db: database.db, emails: createEmailStore(createEncryption({})) });
beforeEach(async () => {
  database = await createTestDatabase({ max: 10 });
});
afterEach(() => database.drop());

interface Fields {
  email?: string;
  username?: string | null;
  roles?: string[] | null;
  isSystemAdmin?: boolean | null;
  isActive?: boolean | null;
  createdAt?: string;
  verified?: boolean;
}
async function user(fields: Fields = {}): Promise<string> {
  const id = randomUUID();
  await query(
    database.db,
    `insert into users (id, email, password, username, roles, "isSystemAdmin", "isActive", "createdAt", "updatedAt", "emailVerified")
     values (?, ?, 'old', ?, ?::text[], ?, ?, ?::timestamp, '2026-01-01', case when ?::boolean then timestamp '2026-01-01' end)`,
    [
      id,
      fields.email ?? `${id}@example.net`,
      fields.username ?? null,
      fields.roles === undefined ? ['MEMBER'] : fields.roles,
      fields.isSystemAdmin === undefined ? false : fields.isSystemAdmin,
      fields.isActive === undefined ? true : fields.isActive,
      fields.createdAt ?? '2026-01-01',
      fields.verified ?? false,
    ],
  );
  return id;
}
const admin = (fields: Fields = {}) => user({ roles: ['SUPER_ADMIN'], isSystemAdmin: true, verified: true, ...fields });
const stored = async (id: string) =>
  (
    await query(
      database.db,
      `select roles, "isSystemAdmin", "isActive", password, "emailVerified", "updatedAt" from users where id = ?`,
      [id],
    )
  )[0];
const session = (userId: string) =>
  query(
    database.db,
    `insert into sessions (id, "sessionToken", "userId", expires) values (?, ?, ?, now() + interval '1 h')`,
    [randomUUID(), randomUUID(), userId],
  );
const sessionsOf = async (userId: string) =>
  (await query(database.db, 'select id from sessions where "userId" = ?', [userId])).length;
const administrators = async () =>
  (await query(database.db, `select id from users where "isActive" and "isSystemAdmin"`)).length;

const LAST = { code: 'CONFLICT', publicMessage: expect.stringContaining('last active system administrator') };
const settled = async (changes: readonly Promise<unknown>[]) => {
  const results = await Promise.allSettled(changes);
  return {
    done: results.filter((result) => result.status === 'fulfilled').length,
    refused: results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : [])),
  };
};

describe('roles', () => {
  test('are set without duplicates, added in order, and removed', async () => {
    const id = await user();
    expect(await setRoles(database.db, id, { set: ['PARTNER', 'PARTNER', 'SPONSOR'] }, OPERATOR)).toMatchObject({
      id,
      roles: ['PARTNER', 'SPONSOR'],
      isSystemAdmin: false,
    });
    await setRoles(database.db, id, { add: ['TECH_TEAM', 'PARTNER'], remove: ['SPONSOR'] }, OPERATOR);
    expect(await stored(id)).toMatchObject({ roles: ['PARTNER', 'TECH_TEAM'] });
    await setRoles(database.db, id, { set: [] }, OPERATOR);
    expect(await stored(id)).toMatchObject({ roles: [] });
  });

  test('an account can have every known role', async () => {
    const id = await user({ roles: null, isSystemAdmin: null });
    expect((await setRoles(database.db, id, { add: ROLES }, OPERATOR)).roles).toEqual(ROLES);
    expect(await stored(id)).toMatchObject({ roles: ROLES, isSystemAdmin: true });
  });

  test('SUPER_ADMIN sets and clears the system flag', async () => {
    await admin();
    const id = await user();
    await setRoles(database.db, id, { add: ['SUPER_ADMIN'] }, OPERATOR);
    expect(await stored(id)).toMatchObject({ roles: ['MEMBER', 'SUPER_ADMIN'], isSystemAdmin: true });
    await setRoles(database.db, id, { remove: ['SUPER_ADMIN'] }, OPERATOR);
    expect(await stored(id)).toMatchObject({ roles: ['MEMBER'], isSystemAdmin: false });
  });

  test('an administrator with the flag alone gets SUPER_ADMIN together with a new role', async () => {
    const id = await user({ isSystemAdmin: true });
    await setRoles(database.db, id, { add: ['PARTNER'] }, OPERATOR);
    expect(await stored(id)).toMatchObject({ roles: ['MEMBER', 'SUPER_ADMIN', 'PARTNER'], isSystemAdmin: true });
  });

  test('unknown roles of old rows stay when a role is added', async () => {
    const id = await user({ roles: ['OLD_WORD'] });
    expect((await setRoles(database.db, id, { add: ['PARTNER'] }, OPERATOR)).roles).toEqual(['OLD_WORD', 'PARTNER']);
  });

  test('a change without effect does not write the row', async () => {
    const id = await user();
    await setRoles(database.db, id, { add: ['MEMBER'] }, OPERATOR);
    expect((await stored(id))?.['updatedAt']).toEqual(new Date('2026-01-01T00:00:00Z'));
  });

  test('of two parallel changes both take effect', async () => {
    const id = await user();
    await Promise.all([
      setRoles(database.db, id, { add: ['PARTNER'] }, OPERATOR),
      setRoles(database.db, id, { add: ['SPONSOR'] }, OPERATOR),
    ]);
    expect((await stored(id))?.['roles']).toEqual(expect.arrayContaining(['MEMBER', 'PARTNER', 'SPONSOR']));
  });
});

describe('the last active system administrator', () => {
  test.each([
    ['with role and flag', {}],
    ['with the flag alone', { roles: ['MEMBER'] }],
    ['with the role alone', { isSystemAdmin: null, isActive: null }],
  ])('%s cannot be demoted or disabled', async (_, fields) => {
    const id = await admin(fields);
    const before = await stored(id);
    await session(id);
    await admin({ isActive: false });
    await user({ roles: ['ADMINISTRATOR'] });
    await expect(setRoles(database.db, id, { set: ['ADMINISTRATOR'] }, OPERATOR)).rejects.toMatchObject(LAST);
    await expect(setRoles(database.db, id, { remove: ['SUPER_ADMIN'] }, OPERATOR)).rejects.toMatchObject(LAST);
    await expect(setActive(database.db, id, false, OPERATOR)).rejects.toMatchObject(LAST);
    expect(await stored(id)).toEqual(before);
    expect(await sessionsOf(id)).toBe(1);
  });

  test('may lose other roles, and may be demoted when there is another administrator', async () => {
    const id = await admin({ roles: ['SUPER_ADMIN', 'PARTNER'] });
    expect((await setRoles(database.db, id, { set: ['SUPER_ADMIN'] }, OPERATOR)).roles).toEqual(['SUPER_ADMIN']);
    // This one cannot sign in.
    await setRoles(database.db, await user(), { add: ['SUPER_ADMIN'] }, OPERATOR);
    await expect(setRoles(database.db, id, { set: ['MEMBER'] }, OPERATOR)).rejects.toMatchObject(LAST);
    await setRoles(database.db, await user({ verified: true }), { add: ['SUPER_ADMIN'] }, OPERATOR);
    expect((await setRoles(database.db, id, { set: ['MEMBER'] }, OPERATOR)).isSystemAdmin).toBe(false);
  });

  test('a disabled administrator can be demoted when there is no active one', async () => {
    const id = await admin({ isActive: false });
    expect((await setRoles(database.db, id, { set: [] }, OPERATOR)).isSystemAdmin).toBe(false);
  });

  test('of the last two one remains when both are demoted in parallel', async () => {
    for (let i = 0; i < 10; i += 1) {
      const ids = [await admin(), await admin()];
      const { done, refused } = await settled(
        ids.map((id) => setRoles(database.db, id, { set: ['MEMBER'] }, OPERATOR)),
      );
      expect(done).toBe(1);
      expect(refused).toMatchObject([LAST]);
      expect(await administrators()).toBe(1);
      await query(database.db, 'delete from users');
    }
  });

  test('of many one remains when all are demoted or disabled in parallel', async () => {
    const ids = await Promise.all(Array.from({ length: 8 }, () => admin()));
    const { done, refused } = await settled(
      ids.map((id, i) =>
        i % 2 === 0
          ? setRoles(database.db, id, { remove: ['SUPER_ADMIN'] }, OPERATOR)
          : setActive(database.db, id, false, OPERATOR),
      ),
    );
    expect(done).toBe(7);
    expect(refused).toMatchObject([LAST]);
    expect(await administrators()).toBe(1);
  });

  test('a change waits for an open change of another administrator and sees its result', async () => {
    const [first, second] = [await admin(), await admin()];
    const open = await openTransaction(database.db);
    await setRoles(open, first, { set: ['MEMBER'] }, OPERATOR);
    let ended = false;
    const waiting = settled([setActive(database.db, second, false, OPERATOR)]).finally(() => {
      ended = true;
    });
    const blocked = `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    while (!ended && (await query(database.db, blocked)).length === 0);
    const waited = !ended;
    await open.commit();
    expect(waited).toBe(true);
    expect((await waiting).refused).toMatchObject([LAST]);
    expect(await stored(second)).toMatchObject({ isActive: true });
  });
});

describe('disable and enable', () => {
  test('disabling ends the sessions of this user only; both can be repeated', async () => {
    const [id, other] = [await user(), await user({ isActive: null })];
    await Promise.all([session(id), session(id), session(other)]);
    expect(await setActive(database.db, id, false, OPERATOR)).toMatchObject({ id, isActive: false, changed: true });
    expect([await sessionsOf(id), await sessionsOf(other)]).toEqual([0, 1]);
    expect(await stored(id)).toMatchObject({ isActive: false });
    expect(await setActive(database.db, id, false, OPERATOR)).toMatchObject({ isActive: false, changed: false });
    expect(await setActive(database.db, id, true, OPERATOR)).toMatchObject({ isActive: true, changed: true });
    expect(await stored(id)).toMatchObject({ isActive: true });
    expect(await setActive(database.db, other, true, OPERATOR)).toMatchObject({ changed: false });
  });
});

describe('a new password', () => {
  const token = (identifier: string, type: string) =>
    query(
      database.db,
      `insert into verification_tokens (identifier, token, expires, type) values (?, ?, now() + interval '1 h', ?)`,
      [identifier, randomUUID(), type],
    );

  test('ends the sessions and the reset and magic links of this user; the verification link stays', async () => {
    const [id, other] = [await user(), await user()];
    for (const one of [id, other]) {
      await session(one);
      for (const type of ['password_reset', 'magic_link', 'email_verification']) await token(one, type);
    }
    await replacePassword(accounts(), id, 'New-password-1');
    const row = await stored(id);
    expect(await verifyPassword('New-password-1', String(row?.['password']))).toBe(true);
    expect(row?.['emailVerified']).toBeNull();
    expect([await sessionsOf(id), await sessionsOf(other)]).toEqual([0, 1]);
    const left = await query(database.db, 'select identifier, type from verification_tokens where identifier = ?', [
      id,
    ]);
    expect(left).toEqual([{ identifier: id, type: 'email_verification' }]);
    expect(await query(database.db, 'select 1 from verification_tokens where identifier = ?', [other])).toHaveLength(3);
  });

  test('verifies the address with `verify`, and keeps the date of an earlier verification', async () => {
    const id = await user();
    const { emailVerified } = await replacePassword(accounts(), id, 'New-password-1', { verify: true });
    expect(emailVerified).toBeInstanceOf(Date);
    expect((await replacePassword(accounts(), id, 'New-password-2', { verify: true })).emailVerified).toEqual(
      emailVerified,
    );
  });

  test('a failure changes neither password nor sessions nor tokens', async () => {
    const id = await user();
    await session(id);
    await query(database.db, 'drop table verification_tokens');
    await expect(replacePassword(accounts(), id, 'New-password-1')).rejects.toMatchObject({ code: '42P01' });
    expect(await stored(id)).toMatchObject({ password: 'old' });
    expect(await sessionsOf(id)).toBe(1);
  });
});

test('all changes of an unknown id fail with NOT_FOUND', async () => {
  await admin();
  const missing = { code: 'NOT_FOUND', publicMessage: 'User not found' };
  await expect(setRoles(database.db, 'x', { set: ['MEMBER'] }, OPERATOR)).rejects.toMatchObject(missing);
  await expect(setActive(database.db, 'x', false, OPERATOR)).rejects.toMatchObject(missing);
  await expect(replacePassword(accounts(), 'x', 'New-password-1')).rejects.toMatchObject(missing);
  await expect(findUserId(database.db, 'x')).rejects.toMatchObject(missing);
});

describe('finding', () => {
  test('finds by id and by address in any case', async () => {
    const id = await user({ email: 'Ann@Example.net' });
    expect(await findUserId(database.db, id)).toBe(id);
    expect(await findUserId(database.db, ' ann@EXAMPLE.net ')).toBe(id);
  });

  test('an address that several old rows share in different cases is refused with their ids', async () => {
    await query(database.db, 'drop index users_email_address_unique');
    const ids = [
      await user({ email: 'ann@example.net', createdAt: '2026-01-01' }),
      await user({ email: 'Ann@example.net', createdAt: '2026-01-02' }),
    ];
    await expect(findUserId(database.db, 'ann@example.net')).rejects.toMatchObject({
      code: 'CONFLICT',
      publicMessage: expect.stringContaining(ids.join(', ')),
    });
    expect(await findUserId(database.db, ids[1] ?? '')).toBe(ids[1]);
  });
});

describe('listing', () => {
  const FIRST = { sort: 'createdAt', order: 'desc', limit: 10, offset: 0 } as const;
  const names = async (filter: UserFilter, page: Partial<UserPage> = {}) => {
    const users = await listUsers(database.db, filter, { ...FIRST, ...page });
    expect(await countUsers(database.db, filter)).toBe(users.length);
    return users.map((one) => one.email.split('@')[0]);
  };

  test('searches address and name in any case; %, _ and \\ are ordinary characters', async () => {
    await user({ email: 'a_b@example.net', createdAt: '2026-01-05' });
    await user({ email: 'axb@example.net', username: '100%', createdAt: '2026-01-04' });
    await user({ email: 'c@example.net', username: 'back\\slash', createdAt: '2026-01-03' });
    expect(await names({ search: 'A_B' })).toEqual(['a_b']);
    expect(await names({ search: '%' })).toEqual(['axb']);
    expect(await names({ search: '\\' })).toEqual(['c']);
    expect(await names({ search: 'EXAMPLE' })).toEqual(['a_b', 'axb', 'c']);
    expect(await names({ search: '' })).toHaveLength(3);
    expect(await names({ search: `' or true --` })).toEqual([]);
  });

  test('filters by role, admin rights and state, alone and together; old rows have null flags', async () => {
    const flag = (email: string, column: string) =>
      query(database.db, `update users set "${column}" = true where email = ?`, [email]);
    await user({ email: 'old@x.net', roles: null, isSystemAdmin: null, isActive: null, createdAt: '2026-01-05' });
    await query(
      database.db,
      `update users set "isMigrated" = null, "isPterodactylAdmin" = null, "isVirtfusionAdmin" = null`,
    );
    await user({ email: 'flag@x.net', isSystemAdmin: true, createdAt: '2026-01-04' });
    await user({ email: 'role@x.net', roles: ['ADMINISTRATOR'], isActive: false, createdAt: '2026-01-03' });
    await user({ email: 'member@x.net', isActive: false, createdAt: '2026-01-02' });
    await user({ email: 'panel@x.net', createdAt: '2026-01-01' });
    await user({ email: 'virt@x.net', createdAt: '2025-12-31' });
    await flag('panel@x.net', 'isPterodactylAdmin');
    await flag('virt@x.net', 'isVirtfusionAdmin');
    await flag('member@x.net', 'isMigrated');
    expect(await names({ admins: true })).toEqual(['flag', 'role']);
    expect(await names({ role: 'MEMBER' })).toEqual(['flag', 'member', 'panel', 'virt']);
    const states: Record<UserState, string[]> = {
      active: ['old', 'flag', 'panel', 'virt'],
      inactive: ['role', 'member'],
      admin: ['flag', 'role', 'panel', 'virt'],
      migrated: ['member'],
      'not-migrated': ['old', 'flag', 'role', 'panel', 'virt'],
    };
    for (const state of USER_STATES) expect(await names({ state }), state).toEqual(states[state]);
    expect(await countUsersByState(database.db)).toEqual({
      all: 6,
      ...Object.fromEntries(USER_STATES.map((state) => [state, states[state].length])),
    });
    expect(await names({ state: 'inactive', admins: true, search: 'ro' })).toEqual(['role']);
  });

  test('each order has every user on one page, those without a value last in both directions (row 24)', async () => {
    for (let i = 0; i < 7; i += 1) await user({ username: i < 3 ? null : `name${i % 3}` });
    await query(database.db, `update users set "lastLoginAt" = "createdAt" where username is not null`);
    for (const sort of ['username', 'email', 'createdAt', 'lastLoginAt', 'updatedAt'] as const) {
      for (const order of ['asc', 'desc'] as const) {
        const pages = await Promise.all(
          [0, 3, 6, 9].map((offset) => listUsers(database.db, {}, { sort, order, limit: 3, offset })),
        );
        expect(pages.map((page) => page.length)).toEqual([3, 3, 1, 0]);
        const users = pages.flat();
        expect(new Set(users.map((one) => one.id)).size).toBe(7);
        const values = users.flatMap((one) => {
          const value = one[sort];
          return value === null ? [] : [value instanceof Date ? value.getTime() : value];
        });
        // The users with a value come first, and in order.
        expect(users.slice(0, values.length).every((one) => one[sort] !== null)).toBe(true);
        const sorted = values.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0));
        expect(values, `${sort} ${order}`).toEqual(order === 'asc' ? sorted : sorted.toReversed());
      }
    }
  });

  test('null columns are returned as their defaults, and the hash is not returned', async () => {
    const id = await user({ roles: null, isSystemAdmin: null, isActive: null });
    await query(
      database.db,
      `update users set "isMigrated" = null, "isPterodactylAdmin" = null, "isVirtfusionAdmin" = null`,
    );
    const row = {
      id,
      email: `${id}@example.net`,
      username: null,
      firstName: null,
      lastName: null,
      pterodactylId: null,
      roles: [],
      isPterodactylAdmin: false,
      isVirtfusionAdmin: false,
      isSystemAdmin: false,
      isMigrated: false,
      isActive: true,
      emailVerified: null,
      lastLoginAt: null,
      createdAt: new Date('2026-01-01T00:00:00Z'),
      updatedAt: new Date('2026-01-01T00:00:00Z'),
      serverCount: 0,
      sessionCount: 0,
    };
    expect(await listUsers(database.db, {}, FIRST)).toEqual([row]);
    expect(await findListedUser(database.db, id)).toEqual(row);
  });
});

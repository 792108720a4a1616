/** `/api/admin/users`: what administrators see of people. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { email: 'admin@people.example', roles: ['ADMINISTRATOR'] });
});
afterAll(() => harness.close());

interface Listed {
  users: Record<string, unknown>[];
  pagination: Record<string, number>;
  stats: Record<string, number>;
}
async function list(search: string): Promise<Listed> {
  const response = await harness.get(`/api/admin/users?${search}`, { headers: bearer(admin.token) });
  expect(response.status).toBe(200);
  const body: unknown = await response.json();
  return body as Listed;
}
const emails = async (search: string) => (await list(search)).users.map((user) => user['email']);
const sql = (text: string, bindings: readonly unknown[] = []) => query(harness.database.db, text, bindings);

test('a user as the contract has it: names, counts as numbers, sign-ins that last (rows 20, 24, 25)', async () => {
  const { id, email } = await makeUser(harness, { email: 'full@shape.example', roles: ['MEMBER', 'PARTNER'] });
  await sql(
    `update users set username = 'ada', "firstName" = 'Ada', "lastName" = 'L', "pterodactylId" = 7, "isMigrated" = true,
       "lastLoginAt" = '2026-02-03 04:05:06', "createdAt" = '2026-01-02 03:04:05', "updatedAt" = '2026-01-02 03:04:06' where id = ?`,
    [id],
  );
  for (let i = 0; i < 2; i += 1) {
    await sql(`insert into servers (id, uuid, name, "ownerId") values (?, ?, 's', ?)`, [
      randomUUID(),
      randomUUID(),
      id,
    ]);
  }
  const session = (expires: string, rotated: string) =>
    sql(
      `insert into sessions (id, "sessionToken", "userId", expires, "rotatedAt")
       values (?, ?, ?, now() at time zone 'utc' + ?::interval, ${rotated})`,
      [randomUUID(), randomUUID(), id, expires],
    );
  await session('1 h', 'null');
  await session('1 h', `now() at time zone 'utc'`);
  await session('-1 h', 'null');
  const user = {
    id,
    email,
    username: 'ada',
    firstName: 'Ada',
    lastName: 'L',
    pterodactylId: 7,
    roles: ['MEMBER', 'PARTNER'],
    isPterodactylAdmin: false,
    isVirtfusionAdmin: false,
    isSystemAdmin: false,
    isMigrated: true,
    isActive: true,
    emailVerified: true,
    createdAt: '2026-01-02T03:04:05.000Z',
    updatedAt: '2026-01-02T03:04:06.000Z',
    lastLoginAt: '2026-02-03T04:05:06.000Z',
    serverCount: 2,
    sessionCount: 1,
  };
  const { success, users, pagination, stats } = (await list('search=shape.example')) as Listed & { success: boolean };
  expect({ success, users, pagination }).toEqual({
    success: true,
    users: [user],
    pagination: { page: 1, pageSize: 25, total: 1, totalPages: 1 },
  });
  expect(Object.keys(stats)).toEqual(['totalUsers', 'migratedUsers', 'adminCount', 'activeCount']);
  const one = await harness.get(`/api/admin/users/${id}`, { headers: bearer(admin.token) });
  expect(await one.json()).toEqual({ success: true, user });
  const unknown = await harness.get('/api/admin/users/unknown', { headers: bearer(admin.token) });
  expect([unknown.status, (await unknown.json()).error]).toEqual([404, 'User not found']);
});

test('a row of an old database keeps its place, whatever is null in it (row 20)', async () => {
  const { id } = await makeUser(harness, { email: 'bare@nulls.example' });
  await makeUser(harness, { email: 'next@nulls.example' });
  await sql(
    `update users set username = null, "firstName" = null, "lastName" = null, roles = null, "isPterodactylAdmin" = null,
       "isVirtfusionAdmin" = null, "isSystemAdmin" = null, "isMigrated" = null, "isActive" = null, "emailVerified" = null where id = ?`,
    [id],
  );
  const { users } = await list('search=nulls.example&sort=email&order=asc');
  expect(users.map((user) => user['email'])).toEqual(['bare@nulls.example', 'next@nulls.example']);
  expect(users[0]).toMatchObject({
    username: '',
    firstName: '',
    lastName: '',
    pterodactylId: null,
    roles: [],
    isActive: true,
    isMigrated: false,
    emailVerified: false,
    lastLoginAt: null,
    serverCount: 0,
    sessionCount: 0,
  });
});

describe('the query', () => {
  beforeAll(async () => {
    const of = async (name: string, fields: Parameters<typeof makeUser>[1] & { at: string; login: string | null }) => {
      const { id } = await makeUser(harness, { ...fields, email: `${name}@query.example` });
      await sql(`update users set "createdAt" = ?::timestamp, "lastLoginAt" = ?::timestamp where id = ?`, [
        fields.at,
        fields.login,
        id,
      ]);
    };
    await of('c', { at: '2026-01-01', login: null });
    await of('a', { at: '2026-01-02', login: '2026-03-01', isActive: false });
    await of('b_', { at: '2026-01-03', login: '2026-02-01', roles: ['SUPER_ADMIN'] });
    await sql(`update users set username = null where email = 'a@query.example'`);
  });
  const q = (search: string) => emails(`search=query.example&${search}`);
  const names = async (search: string) => (await q(search)).map((email) => String(email).split('@')[0]);

  test.each([
    ['', ['b_', 'a', 'c']],
    ['sort=created&order=asc', ['c', 'a', 'b_']],
    ['sort=createdAt&order=desc', ['b_', 'a', 'c']],
    ['sort=email&order=asc', ['a', 'b_', 'c']],
    ['sort=username&order=asc', ['b_', 'c', 'a']],
    ['sort=username&order=desc', ['c', 'b_', 'a']],
    ['sort=lastLoginAt&order=asc', ['b_', 'a', 'c']],
    ['sort=lastLoginAt&order=desc', ['a', 'b_', 'c']],
    ['sortField=EMAIL&sortOrder=ASC', ['a', 'b_', 'c']],
    ['sort=password&order=sideways', ['b_', 'a', 'c']],
    ['filter=active', ['b_', 'c']],
    ['filter=inactive', ['a']],
    ['filter=admin', ['b_']],
    ['filter=migrated', []],
    ['filter=not-migrated', ['b_', 'a', 'c']],
    ['filter=all', ['b_', 'a', 'c']],
    ['filter=nonsense&staleTime=30000&gcTime=1', ['b_', 'a', 'c']],
    ['pageSize=2', ['b_', 'a']],
    ['pageSize=2&page=2', ['c']],
    ['pageSize=2&page=2147483647', []],
  ] as const)('%s', async (search, expected) => {
    expect(await names(search)).toEqual(expected);
  });

  test.each([
    ['pageSize=500', 100],
    ['pageSize=100', 100],
    ['pageSize=10', 10],
    ['pageSize=0', 25],
    ['pageSize=x&page=-3', 25],
  ])('%s is a page of %i (row 27)', async (search, pageSize) => {
    expect((await list(search)).pagination).toMatchObject({ page: 1, pageSize });
  });

  test('a search means its characters', async () => {
    expect(await emails('search=b_%40query')).toEqual(['b_@query.example']);
    expect(await emails('search=%25')).toEqual([]);
    expect(await emails(`search=${encodeURIComponent("' or 1=1 --")}`)).toEqual([]);
    const refused = await harness.get('/api/admin/users?search=%00', { headers: bearer(admin.token) });
    expect(refused.status).toBe(400);
  });

  test('without a search the total is that of the filter, and the statistics are of all users', async () => {
    const [counted] = await query<Record<string, number>>(
      harness.database.db,
      `select count(*)::int as "totalUsers", (count(*) filter (where "isActive" is not false))::int as "activeCount" from users`,
    );
    // The numbers may be a second old.
    await expect
      .poll(async () => (await list('')).stats, { timeout: 5000 })
      .toEqual({ ...counted, migratedUsers: 1, adminCount: 2 });
    const [{ stats, pagination }, inactive, admins] = await Promise.all([
      list(''),
      list('filter=inactive'),
      list('filter=admin'),
    ]);
    expect(pagination['total']).toBe(stats['totalUsers']);
    expect(inactive.pagination['total']).toBe(1);
    expect(inactive.stats).toEqual(stats);
    expect(admins.pagination['total']).toBe(2);
  });
});

test('a page is one statement for its rows and at most one for its numbers', async () => {
  const statements: string[] = [];
  const record = ({ sql: text }: { sql: string }) => statements.push(text);
  harness.database.db.on('query', record);
  try {
    await list('pageSize=100');
  } finally {
    harness.database.db.removeListener('query', record);
  }
  expect(statements.filter((text) => !text.includes('tokenLives')).length).toBeLessThanOrEqual(2);
});

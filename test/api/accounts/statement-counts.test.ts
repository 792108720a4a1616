/** Number of SQL statements of requests to the auth routes and of lists. Each statement is a round trip to the database. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import { type Answer, call, login, post, refresh, resetRateLimits } from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
});
afterEach(() => {
  vi.useRealTimers();
});

/** The statements of a successful request, with BEGIN and COMMIT. */
async function statementsOf(send: () => Promise<Answer>): Promise<string[]> {
  const { db } = harness.database;
  const statements: string[] = [];
  const record = ({ sql }: { sql: string }) => statements.push(sql);
  db.on('query', record);
  try {
    expect((await send()).status).toBe(200);
  } finally {
    db.removeListener('query', record);
  }
  return statements;
}

test('GET auth/me takes one statement', async () => {
  const user = await makeUser(harness);
  const statements = await statementsOf(() => call(harness, 'me', { headers: bearer(user.token) }));
  expect(statements).toHaveLength(1);
});

test('signing in takes at most ten statements', async () => {
  const user = await makeUser(harness);
  const statements = await statementsOf(() => login(harness, user.email));
  expect(statements.length, statements.join('\n')).toBeLessThanOrEqual(10);
});

test('a refresh takes at most nine statements, also for the later one of two tabs', async () => {
  const user = await makeUser(harness);
  const { refreshToken } = (await login(harness, user.email)).body;
  for (let tab = 0; tab < 2; tab += 1) {
    const statements = await statementsOf(() => refresh(harness, refreshToken));
    expect(statements.length, statements.join('\n')).toBeLessThanOrEqual(9);
  }
});

test('a request for a reset link takes the same statements whether the account exists or not', async () => {
  const user = await makeUser(harness);
  const known = await statementsOf(() => post(harness, 'forgot-password', { email: user.email }));
  const unknown = await statementsOf(() => post(harness, 'forgot-password', { email: 'unknown@example.com' }));
  expect(known.length).toBeGreaterThan(1);
  expect(unknown).toEqual(known);
});

test('a page of a list takes one statement for the caller and one for the rows; a total is counted once for a second', async () => {
  const admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
  const read = (path: string) => async (): Promise<Answer> => {
    const response = await harness.get(`/api/admin/${path}`, { headers: bearer(admin.token) });
    return { status: response.status, headers: response.headers, body: await response.json() };
  };
  // The second does not end meanwhile.
  vi.useFakeTimers({ toFake: ['performance'] });
  for (const list of ['users', 'servers', 'nodes', 'allocations', 'nests', 'eggs']) {
    for (const query of ['pageSize=10', `pageSize=10&search=${list}`]) {
      // A search among the users counts what it finds and the statistics.
      expect((await statementsOf(read(`${list}?${query}`))).length, list).toBeLessThanOrEqual(4);
      const another = await statementsOf(read(`${list}?${query}&page=2&sort=name&order=asc`));
      expect(another, another.join('\n')).toHaveLength(2);
    }
  }
  expect(await statementsOf(read('audit?limit=10'))).toHaveLength(2);
});

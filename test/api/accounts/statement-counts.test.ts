/** What requests of the sign-in area cost the database: a statement more is a round trip more for everybody. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import { type Answer, call, fillBuckets, login, post, refresh } from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await fillBuckets(harness);
});

/** The statements of a request that succeeds, those around a transaction included. */
async function statementsOf(ask: () => Promise<Answer>): Promise<string[]> {
  const { db } = harness.database;
  const statements: string[] = [];
  const note = ({ sql }: { sql: string }) => statements.push(sql);
  db.on('query', note);
  try {
    expect((await ask()).status).toBe(200);
  } finally {
    db.removeListener('query', note);
  }
  return statements;
}

test('asking who one is takes one', async () => {
  const user = await makeUser(harness);
  const statements = await statementsOf(() => call(harness, 'me', { headers: bearer(user.token) }));
  expect(statements).toHaveLength(1);
});

test('signing in takes at most ten', async () => {
  const user = await makeUser(harness);
  const statements = await statementsOf(() => login(harness, user.email));
  expect(statements.length, statements.join('\n')).toBeLessThanOrEqual(10);
});

test('a refresh takes at most nine, also by the slower one of two tabs', async () => {
  const user = await makeUser(harness);
  const { refreshToken } = (await login(harness, user.email)).body;
  for (let tab = 0; tab < 2; tab += 1) {
    const statements = await statementsOf(() => refresh(harness, refreshToken));
    expect(statements.length, statements.join('\n')).toBeLessThanOrEqual(9);
  }
});

test('asking for a reset link takes the same statements for the known and the unknown', async () => {
  const user = await makeUser(harness);
  const known = await statementsOf(() => post(harness, 'forgot-password', { email: user.email }));
  const unknown = await statementsOf(() => post(harness, 'forgot-password', { email: 'nobody@example.com' }));
  expect(known.length).toBeGreaterThan(1);
  expect(unknown).toEqual(known);
});

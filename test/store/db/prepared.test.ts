/** A statement that connections prepare once, also behind a pooler that loses it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findTokenUser } from '../../../src/store/accounts/user-store.ts';
import { query } from '../../../src/store/db/query.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ max: 1 });
  await database.db.raw(`insert into users (id, email) values ('u1', 'u1@example.org')`);
});
afterAll(() => database.drop());

const prepared = () => query<{ name: string }>(database.db, 'select name from pg_prepared_statements order by name');
const read = async (userId: string) =>
  (await findTokenUser(database.db, { userId, sessionId: undefined, issuedAt: 0 }))?.email;

test('the user of a token is read by a prepared statement; one that is lost is replaced by the plain text', async () => {
  expect(await read('u1')).toBe('u1@example.org');
  expect(await read('unknown')).toBeUndefined();
  expect(await prepared()).toEqual([{ name: 'token-user' }]);
  // As behind a pooler: the next transaction has another connection.
  await database.db.raw('deallocate all');
  expect(await read('u1')).toBe('u1@example.org');
  expect(await read('u1')).toBe('u1@example.org');
  expect(await prepared()).toEqual([]);
});

test('the error of a failed statement has none of its values', async () => {
  const statements = [
    () => query(database.db, 'select ?::text, 1 / 0', ['hidden']),
    () => database.db('users').insert({ id: 'u1', email: 'hidden' }),
  ];
  for (const run of statements) {
    const error = await run().then(
      () => undefined,
      (failure: unknown) => failure,
    );
    expect(error).toBeInstanceOf(Error);
    expect(String((error as Error).message) + (error as Error).stack).not.toContain('hidden');
  }
});

/** An account whose address a former service stored with spaces around it: its owner signs in, resets and proves as others do. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { type Harness, makeUser, PASSWORD, startHarness } from '../../support/api/harness.ts';
import { call, emailsTo, login, makeEmail, outcome, post, resetRateLimits } from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(() => resetRateLimits(harness));

let serial = 0;
/** An account that is stored as ` Name@Example.org `, and the address as its owner types it. */
async function account(fields: { emailVerified?: boolean } = {}) {
  serial += 1;
  const typed = `stored${serial}@example.org`;
  const { id } = await makeUser(harness, { ...fields, email: ` Stored${serial}@Example.org ` });
  return { id, typed };
}

test('signs in by the address that its owner types, and the address is taken for others', async () => {
  const { id, typed } = await account();
  for (const email of [typed, typed.toUpperCase(), ` ${typed} `]) {
    expect((await login(harness, email)).body.user['id'], email).toBe(id);
  }
  expect(outcome(await login(harness, typed, 'wrong'))).toEqual([401, 'invalid_credentials', 'INVALID_CREDENTIALS']);
  expect((await call(harness, `check-email?email=${typed}`)).body).toEqual({ success: true, exists: true });
  const taken = await post(harness, 'register', { email: typed, password: PASSWORD, confirmPassword: PASSWORD });
  expect(outcome(taken)).toEqual([409, 'email_exists', 'EMAIL_EXISTS']);
});

test('resets its password by the link of an email', async () => {
  const { id, typed } = await account();
  expect((await post(harness, 'forgot-password', { email: typed })).status).toBe(200);
  const [email] = await emailsTo(harness, typed);
  const token = await makeEmail(harness, email?.id ?? '');
  const password = 'Another-horse-1';
  expect((await post(harness, 'reset-password', { token, id, password })).status).toBe(200);
  expect((await login(harness, typed, password)).body.user['id']).toBe(id);
});

test('proves its address by an email, whose recipient has no spaces around it', async () => {
  const { id, typed } = await account({ emailVerified: false });
  const requested = await login(harness, typed);
  expect(requested.body.code).toBe('EMAIL_NOT_VERIFIED');
  const [email, ...others] = await query<{ id: string; recipient: string }>(
    harness.database.db,
    'select e.id, e.recipient from emails e where e.user_id = ?',
    [id],
  );
  expect([email?.recipient, others]).toEqual([typed.replace('stored', 'Stored').replace('example', 'Example'), []]);
  const token = await makeEmail(harness, email?.id ?? '');
  expect((await post(harness, 'verify-email', { token, id })).status).toBe(200);
  expect((await login(harness, typed)).body.user['id']).toBe(id);
});

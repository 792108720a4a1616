/** Requests for an email with a link: the answer does not reveal whether an account exists. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import {
  type Answer,
  emailedToken,
  emailsTo,
  makeEmail,
  outcome,
  post,
  resetRateLimits,
} from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
});

const unverified = () => makeUser(harness, { emailVerified: false });
const tokensOf = (id: string) =>
  query<{ token: string }>(harness.database.db, 'select v.token from verification_tokens v where v.identifier = ?', [
    id,
  ]);

describe.each([
  ['forgot-password', 'password-reset', 'If an account exists with that email, you will receive a password reset link'],
  ['magic-link', 'magic-link', 'If an account exists with that email, a magic link will be sent'],
] as const)('%s', (route, template, message) => {
  /** An answer without the headers that always differ, and its SQL statements. */
  const observed = async (to: string): Promise<{ answer: Answer; shown: unknown; statements: string[] }> => {
    const statements: string[] = [];
    const record = ({ sql }: { sql: string }) => statements.push(sql);
    harness.database.db.on('query', record);
    const answer = await post(harness, route, { email: to });
    harness.database.db.removeListener('query', record);
    const headers = [...answer.headers].filter(
      ([name]) => !['x-request-id', 'date', 'x-ratelimit-reset'].includes(name),
    );
    return { answer, shown: { status: answer.status, headers, body: answer.body }, statements };
  };

  test('takes the same statements and answers the same for all addresses; only the emails differ', async () => {
    const user = await makeUser(harness);
    const [disabled, open] = [await makeUser(harness, { isActive: false }), await unverified()];
    const known = await observed(user.email);
    expect([known.answer.status, known.answer.body]).toEqual([200, { success: true, message }]);
    const unknown = `unknown-${route}@example.com`;
    for (const to of [unknown, disabled.email, open.email]) {
      await resetRateLimits(harness);
      const other = await observed(to);
      expect(other.shown).toEqual(known.shown);
      expect(other.statements).toEqual(known.statements);
    }
    expect(await tokensOf(user.id), 'no token is issued before the email is prepared').toEqual([]);
    for (const [to, expected] of [
      [user.email, expect.any(String)],
      [open.email, expect.any(String)],
      [disabled.email, undefined],
      [unknown, undefined],
    ] as const) {
      const [email, ...more] = await emailsTo(harness, to);
      expect([email?.template, more]).toEqual([template, []]);
      expect(await makeEmail(harness, email?.id ?? '')).toEqual(expected);
    }
  });
  test('finds an account in any case of its address', async () => {
    const user = await makeUser(harness, { email: `Old.Row-${route}@Example.com` });
    expect((await post(harness, route, { email: ` OLD.row-${route}@example.COM ` })).status).toBe(200);
    const [email] = await emailsTo(harness, user.email.toLowerCase());
    expect(await makeEmail(harness, email?.id ?? '')).toEqual(expect.any(String));
  });
  test('refuses a missing or invalid address', async () => {
    for (const email of ['', ' ', null, undefined]) {
      expect(outcome(await post(harness, route, { email }))).toEqual([400, 'missing_email', 'MISSING_EMAIL']);
    }
    for (const email of [
      'a@b',
      'a b@example.com',
      'a@example.com\r\nBcc: all@example.com',
      'a@example.com,b@example.com',
      '<a@example.com>',
      `${'a'.repeat(250)}@example.com`,
      'ａ@example.com',
    ]) {
      expect(outcome(await post(harness, route, { email }))).toEqual([400, 'invalid_email', 'INVALID_EMAIL']);
      await resetRateLimits(harness);
    }
  });
});

test('a verification email to a verified address is not sent', async () => {
  const user = await makeUser(harness);
  expect(await emailedToken(harness, 'email-verification', user.email, user.id)).toBeUndefined();
});

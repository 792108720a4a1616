/**
 * The verification email. A user requests it on the account page or by signing in. A repeated request sends one email;
 * at most three emails per hour are sent.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bearer, type Harness, json, makeUser, startHarness } from '../../support/api/harness.ts';
import { countByStatus, emailsTo, login, outcome } from '../../support/api/sign-in.ts';

type User = Awaited<ReturnType<typeof makeUser>>;

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());

const PATH = '/api/v1/dashboard/account/resend-verification';
const resend = async (user: User) => {
  const response = await harness.get(PATH, json({}, bearer(user.token)));
  return { status: response.status, headers: response.headers, body: await response.json() };
};
const signIn = (user: User) => login(harness, user.email);
const unverified = () => makeUser(harness, { emailVerified: false });
const templatesTo = async (user: User) => (await emailsTo(harness, user.email)).map((email) => email.template);
/** Lets eleven seconds pass. Two requests within ten seconds count as one. */
const passElevenSeconds = async () => {
  await harness.database.db.raw(`update emails set created_at = created_at - interval '11 s'`);
  await harness.database.db.raw(`update rate_limits set updated_at = updated_at - interval '11 s'`);
};

test('the email is queued for the user; the request may have an empty body', async () => {
  const user = await unverified();
  const response = await harness.get(PATH, {
    method: 'POST',
    headers: { ...bearer(user.token), 'Content-Type': 'application/json' },
  });
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({ success: true, data: null, message: 'Verification email sent' });
  expect(response.headers.get('x-ratelimit-limit')).toBe('3');
  const emails = await harness.database.db.raw(
    'select e.template, e.recipient, e.user_id, e.subject from emails e where e.user_id = ?',
    [user.id],
  );
  expect(emails.rows).toEqual([
    { template: 'email-verification', recipient: user.email, user_id: user.id, subject: null },
  ]);
});

test('at most three emails per hour are sent, both ways of requesting counted together', async () => {
  const [one, other] = [await unverified(), await unverified()];
  for (const status of [200, 200, 200, 429]) {
    expect((await resend(one)).status).toBe(status);
    await passElevenSeconds();
  }
  expect(await templatesTo(one)).toEqual(Array(3).fill('email-verification'));
  for (let n = 0; n < 3; n += 1) {
    expect(outcome(await signIn(other)).slice(0, 2)).toEqual([401, 'email_not_verified']);
    await passElevenSeconds();
  }
  expect((await resend(other)).status).toBe(429);
  expect((await signIn(other)).status).toBe(401);
  expect(await templatesTo(other)).toHaveLength(3);
});

describe('a repeated request', () => {
  test('sends one email within ten seconds, also when sent in parallel, and a second email later', async () => {
    const [one, other] = [await unverified(), await unverified()];
    for (let n = 0; n < 2; n += 1) expect((await resend(one)).status).toBe(200);
    expect(await templatesTo(one)).toHaveLength(1);
    await passElevenSeconds();
    expect((await resend(one)).status).toBe(200);
    expect(await templatesTo(one)).toHaveLength(2);
    expect(countByStatus(await Promise.all([resend(other), resend(other), resend(other)]))).toEqual({ 200: 3 });
    expect(await templatesTo(other)).toHaveLength(1);
  });

  test('sends a further email for another user or another purpose', async () => {
    const [one, other] = [await unverified(), await unverified()];
    expect((await harness.get('/api/v1/auth/magic-link', json({ email: one.email }))).status).toBe(200);
    for (const user of [one, other]) expect((await resend(user)).status).toBe(200);
    expect((await templatesTo(one)).sort()).toEqual(['email-verification', 'magic-link']);
    expect(await templatesTo(other)).toEqual(['email-verification']);
  });
});

test('a verified user is refused', async () => {
  const user = await makeUser(harness);
  expect(outcome(await resend(user))).toEqual([400, 'Email already verified', 'ALREADY_VERIFIED']);
  expect(await templatesTo(user)).toEqual([]);
});

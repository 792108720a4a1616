/** The proof of an address: what each link ends in each state of an account, and "This was not me". */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { renderEmail } from '../../../src/messages/email/templates.ts';
import { startAttempt } from '../../../src/services/email/start-attempt.ts';
import { issueToken } from '../../../src/store/accounts/one-time-token-store.ts';
import { insertSession } from '../../../src/store/accounts/session-store.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { bearer, type Harness, json, makeUser, PASSWORD, startHarness } from '../../support/api/harness.ts';
import {
  countByStatus,
  emailsTo,
  login,
  makeEmail,
  outcome,
  post,
  resetRateLimits,
  tokenFor,
} from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(() => resetRateLimits(harness));

const NEW_PASSWORD = 'Newer-horse-8';
const SITE = {
  siteUrl: 'https://site.example',
  paths: { verify: '/verify', reset: '/reset', magic: '/magic' },
  apiUrl: 'https://api.example',
  year: 2026,
};
const rows = async (sql: string, bindings: string[]): Promise<Record<string, unknown>[]> =>
  (await harness.database.db.raw(sql, bindings)).rows;
const userRow = async (id: string) =>
  (await rows(`select password, "emailVerified" as verified from users where id = ?`, [id]))[0];
let panelId = 1000;

/** The states that an account can have before a link is used. */
const STATES = {
  'registered here': () => ({ emailVerified: false }),
  'matched to a panel user before any proof': () => ({ emailVerified: false, pterodactylId: ++panelId }),
  'waited for by a panel user': () => ({ emailVerified: false, waiting: ++panelId }),
  'of a panel customer who changed the address': () => ({
    emailVerified: false,
    pterodactylId: ++panelId,
    lastLoginAt: new Date(),
  }),
  verified: () => ({ emailVerified: true, pterodactylId: ++panelId }),
} satisfies Record<string, () => object>;

async function account(state: keyof typeof STATES): Promise<{ id: string; email: string; token: string }> {
  const { emailVerified, waiting, ...columns }: Record<string, unknown> = STATES[state]();
  const user = await makeUser(harness, { emailVerified: emailVerified === true });
  const { db } = harness.database;
  if (Object.keys(columns).length > 0) await db('users').where({ id: user.id }).update(columns);
  if (emailVerified === false) await db('pending_accounts').insert({ user_id: user.id });
  if (waiting !== undefined) await db('panel_address_matches').insert({ user_id: user.id, panel_user_id: waiting });
  return user;
}

const LINKS = {
  'email-verification': (token: string, id: string) => post(harness, 'verify-email', { token, id }),
  'magic-link': (token: string) => post(harness, 'magic-link/verify', { token }),
  'password-reset': (token: string) => post(harness, 'reset-password', { token, password: NEW_PASSWORD }),
};
type Link = keyof typeof LINKS;

/** Link, state of the account, what becomes of its password, whether its other session and links end. */
const PROOFS: [Link, keyof typeof STATES, 'kept' | 'removed' | 'new', 'go on' | 'end'][] = [
  ['email-verification', 'registered here', 'kept', 'go on'],
  ['email-verification', 'matched to a panel user before any proof', 'removed', 'end'],
  ['email-verification', 'waited for by a panel user', 'removed', 'end'],
  ['email-verification', 'of a panel customer who changed the address', 'kept', 'go on'],
  ['email-verification', 'verified', 'kept', 'go on'],
  ['magic-link', 'registered here', 'removed', 'end'],
  ['magic-link', 'matched to a panel user before any proof', 'removed', 'end'],
  ['magic-link', 'waited for by a panel user', 'removed', 'end'],
  ['magic-link', 'of a panel customer who changed the address', 'removed', 'end'],
  ['magic-link', 'verified', 'kept', 'go on'],
  ['password-reset', 'registered here', 'new', 'end'],
  ['password-reset', 'matched to a panel user before any proof', 'new', 'end'],
  ['password-reset', 'waited for by a panel user', 'new', 'end'],
  ['password-reset', 'of a panel customer who changed the address', 'new', 'end'],
  ['password-reset', 'verified', 'new', 'end'],
];

test.each(PROOFS)(
  'the link of %s for an account %s: password %s, sessions and links %s (S4, 1.14, M-5)',
  async (...row) => {
    const [link, state, password, others] = row;
    const user = await account(state);
    const { db } = harness.deps;
    const before = await userRow(user.id);
    const token =
      state === 'verified' && link === 'email-verification'
        ? (await issueToken(db, user.id, 'email_verification')).token
        : await tokenFor(harness, link, user);
    const other = link === 'password-reset' ? 'magic_link' : 'password_reset';
    await issueToken(db, user.id, other);
    const refreshToken = user.id.replaceAll('-', '').repeat(2);
    // A session that an account has without a sign-in of its owner would count as a proof.
    const hasSession = state === 'verified' || state.includes('changed');
    if (hasSession)
      await insertSession(db, {
        userId: user.id,
        refreshToken,
        lifetimeSeconds: 3600,
        issuedAt: 1e9 * 2,
        familyId: user.id,
      });

    const answer = await LINKS[link](token, user.id);
    expect(answer.status).toBe(200);
    // What the link itself opens is not ended with the rest.
    if (link === 'magic-link')
      expect((await harness.get('/api/v1/auth/me', { headers: bearer(answer.body.accessToken) })).status).toBe(200);

    const after = await userRow(user.id);
    expect(after?.['verified']).toBeInstanceOf(Date);
    const became =
      after?.['password'] === before?.['password'] ? 'kept' : after?.['password'] === null ? 'removed' : 'new';
    expect(became).toBe(password);
    const alive = await rows('select type from verification_tokens where identifier = ? and type = ?', [
      user.id,
      other,
    ]);
    // A verification that removed the password asks for an email; the email's token is issued by the worker.
    expect(alive).toHaveLength(others === 'end' ? 0 : 1);
    const sessions = await rows(`select id from sessions where "userId" = ? and "createdAt" > '2030-01-01'`, [user.id]);
    expect(sessions).toHaveLength(hasSession && others === 'go on' ? 1 : 0);
    expect(await rows('select user_id from pending_accounts where user_id = ?', [user.id])).toEqual([]);
  },
);

test('who registers, clicks and signs in keeps the password', async () => {
  const form = { email: 'self@example.org', password: PASSWORD, confirmPassword: PASSWORD };
  expect((await post(harness, 'register', form)).status).toBe(201);
  const [email] = await emailsTo(harness, form.email);
  const attempt = await startAttempt(harness.deps, email?.id ?? '', 0);
  if (attempt.state !== 'ready') throw new Error('the email was skipped');
  const { token, id } = attempt.data;
  expect((await post(harness, 'verify-email', { token, id })).status).toBe(200);
  expect((await login(harness, form.email)).status).toBe(200);
});

test('a customer taken over from the panel gets in by "forgot password" alone (M-5, W1)', async () => {
  const user = await account('matched to a panel user before any proof');
  await harness.database.db('users').where({ id: user.id }).update({ password: null });
  expect((await post(harness, 'forgot-password', { email: user.email })).status).toBe(200);
  const [email] = await emailsTo(harness, user.email);
  const token = await makeEmail(harness, email?.id ?? '');
  expect((await post(harness, 'reset-password', { token, password: NEW_PASSWORD })).status).toBe(200);
  expect((await login(harness, user.email, NEW_PASSWORD)).status).toBe(200);
});

test('a password that a proof removed is replaced by the link of an email that is sent at once (S4)', async () => {
  const user = await account('waited for by a panel user');
  const token = await tokenFor(harness, 'email-verification', user);
  expect((await post(harness, 'verify-email', { token, id: user.id })).status).toBe(200);
  expect(outcome(await login(harness, user.email))).toEqual([401, 'invalid_credentials', 'INVALID_CREDENTIALS']);
  const sent = (await emailsTo(harness, user.email)).filter((email) => email.template === 'password-reset');
  expect(sent).toHaveLength(1);
  const reset = await makeEmail(harness, sent[0]?.id ?? '');
  expect((await post(harness, 'reset-password', { token: reset, password: NEW_PASSWORD })).status).toBe(200);
  expect((await login(harness, user.email, NEW_PASSWORD)).status).toBe(200);
});

test('a click while a sync stores that a panel user waits comes after it, and removes the password (S4)', async () => {
  const user = await account('registered here');
  const token = await tokenFor(harness, 'email-verification', user);
  let click: Promise<{ status: number }> | undefined;
  await harness.database.db.transaction(async (merge) => {
    await merge.raw('select 1 from users where id = ? for no key update', [user.id]);
    click = post(harness, 'verify-email', { token, id: user.id });
    await merge('panel_address_matches').insert({ user_id: user.id, panel_user_id: 7 });
  });
  expect((await click)?.status).toBe(200);
  expect(await userRow(user.id)).toEqual({ password: null, verified: expect.any(Date) });
});

describe('a used verification link (W3)', () => {
  const verify = (token: string, id: string) => post(harness, 'verify-email', { token, id });
  const ALREADY = [400, 'already_verified', 'ALREADY_VERIFIED'];

  test('is harmless for a day, for its verified account', async () => {
    const user = await account('registered here');
    const token = await tokenFor(harness, 'email-verification', user);
    const answers = await Promise.all(Array.from({ length: 5 }, () => verify(token, user.id)));
    expect(countByStatus(answers)).toEqual({ 200: 5 });
    expect(answers.map((answer) => answer.body.message)).toContain('Email verified successfully');
    const other = await account('verified');
    expect(outcome(await verify(token, other.id))).toEqual(ALREADY);
    expect(outcome(await verify('f'.repeat(64), user.id))).toEqual(ALREADY);
    await harness.database.db.raw(`update used_tokens set used_at = now() - interval '25 hours' where user_id = ?`, [
      user.id,
    ]);
    expect(outcome(await verify(token, user.id))).toEqual(ALREADY);
  });
  test('is invalid after a change of address', async () => {
    const user = await account('registered here');
    const token = await tokenFor(harness, 'email-verification', user);
    await verify(token, user.id);
    const change = { newEmail: `next-${user.email}`, currentPassword: PASSWORD };
    const changed = await harness.get('/api/v1/dashboard/account/change-email', json(change, bearer(user.token)));
    expect(changed.status).toBe(200);
    expect(outcome(await verify(token, user.id))).toEqual([400, 'invalid_token', 'INVALID_TOKEN']);
    const next = (await emailsTo(harness, change.newEmail))[0];
    const newer = await makeEmail(harness, next?.id ?? '');
    expect((await verify(newer ?? '', user.id)).status).toBe(200);
    expect(outcome(await verify(token, user.id))).toEqual(ALREADY);
  });
});

describe('"This was not me" (S4)', () => {
  /** The text of the account's verification email, as it is sent with and without API_URL. */
  async function verificationEmail(user: { id: string; email: string }, api: string | null = SITE.apiUrl) {
    const apiUrl = api ?? undefined;
    const { emails, db } = harness.deps;
    const id = await inTransaction(db, (trx) =>
      emails.queue(trx, { template: 'email-verification', to: user.email, userId: user.id }),
    );
    const attempt = await startAttempt({ ...harness.deps, apiUrl }, id, 0);
    if (attempt.state !== 'ready') throw new Error('the email was skipped');
    const { text } = renderEmail(attempt.template, attempt.data, { ...SITE, apiUrl });
    const denial = text.match(/https:\/\/api\.example(\/\S+)/)?.[1];
    return { text: text.replaceAll(/\s+/g, ' '), denial: denial ?? '', token: attempt.data['token'] ?? '' };
  }
  const open = (path: string, method: 'GET' | 'POST') =>
    harness.get(path, {
      method,
      headers: method === 'POST' ? { 'content-type': 'application/x-www-form-urlencoded' } : {},
    });

  test('a link opens a page that changes nothing; its button removes the account', async () => {
    const user = await account('registered here');
    const { denial, token } = await verificationEmail(user);
    for (let scanner = 0; scanner < 3; scanner += 1) {
      const page = await open(denial, 'GET');
      expect(page.status).toBe(200);
      expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
      expect(page.headers.get('cache-control')).toBe('no-store');
      expect(page.headers.get('referrer-policy')).toBe('no-referrer');
      const policy = page.headers.get('content-security-policy') ?? '';
      expect(policy).toContain(`default-src 'none'`);
      expect(policy).toContain(`form-action 'self'`);
      expect(policy).not.toMatch(/script-src|unsafe-inline/);
      expect(await page.text()).toContain('<form method="post">');
    }
    expect(await userRow(user.id)).toMatchObject({ verified: null, password: expect.any(String) });
    const answers = await Promise.all([open(denial, 'POST'), open(denial, 'POST')]);
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 404]);
    expect(await userRow(user.id)).toBeUndefined();
    expect(await rows('select token from verification_tokens where identifier = ?', [user.id])).toEqual([]);
    expect(outcome(await post(harness, 'verify-email', { token, id: user.id }))).toEqual([
      400,
      'invalid_token',
      'INVALID_TOKEN',
    ]);
  });
  test.each(['a panel user', 'an invoice', 'a role'])(
    'an account with %s stays, and loses password, sessions and links; its address is not proven',
    async (kind) => {
      const user = await account(
        kind === 'a panel user' ? 'matched to a panel user before any proof' : 'registered here',
      );
      const { db } = harness.database;
      if (kind === 'a role')
        await db('users')
          .where({ id: user.id })
          .update({ roles: ['MEMBER', 'PARTNER'] });
      if (kind === 'an invoice') {
        await db('invoices').insert({ id: user.id, invoiceNumber: user.id, userId: user.id, amount: 1, total: 1 });
      }
      const { denial } = await verificationEmail(user);
      await issueToken(harness.deps.db, user.id, 'magic_link');
      expect(await (await open(denial, 'POST')).text()).toContain('The password was removed');
      expect(await userRow(user.id)).toEqual({ password: null, verified: null });
      expect(await rows('select token from verification_tokens where identifier = ?', [user.id])).toEqual([]);
    },
  );
  test('the token verifies nothing, and dies with the verification and with a change of address', async () => {
    const user = await account('registered here');
    const { denial } = await verificationEmail(user);
    const token = new URL(denial, SITE.apiUrl).searchParams.get('token');
    for (const route of ['verify-email', 'magic-link/verify', 'reset-password']) {
      const answer = await post(harness, route, { token, id: user.id, password: NEW_PASSWORD });
      expect(answer.body.error).toBe('invalid_token');
    }
    const other = await account('registered here');
    expect((await open(denial.replace(user.id, other.id), 'POST')).status).toBe(404);
    const { token: verification } = await verificationEmail(other);
    const dead = await verificationEmail(other);
    expect(outcome(await post(harness, 'verify-email', { token: verification, id: other.id }))[1]).toBe(
      'invalid_token',
    );
    await post(harness, 'verify-email', { token: dead.token, id: other.id });
    expect((await open(dead.denial, 'POST')).status).toBe(404);
    expect((await open('/api/v1/auth/not-me', 'POST')).status).toBe(404);
    const change = { newEmail: `moved-${user.email}`, currentPassword: PASSWORD };
    await harness.get('/api/v1/dashboard/account/change-email', json(change, bearer(user.token)));
    expect((await open(denial, 'POST')).status).toBe(404);
    expect(await userRow(user.id)).toMatchObject({ password: expect.any(String) });
  });
  test('the email says when an account was opened, and what happens without a click', async () => {
    const opened = new RegExp(
      `opened a NodeByte account with this address and a password on ${new Date().toISOString().slice(0, 10)}`,
    );
    const user = await account('registered here');
    const withLink = await verificationEmail(user);
    expect(withLink.text).toMatch(opened);
    expect(withLink.text).toContain('This was not me: https://api.example/api/v1/auth/not-me?token=');
    const withoutLink = await verificationEmail(user, null);
    expect(withoutLink.text).toContain('the account is removed after 7 days');
    expect(withoutLink.text).not.toContain('not-me');
    // An account from before the upgrade, and one whose owner changed the address: neither is removed by itself.
    const old = await makeUser(harness, { emailVerified: false });
    const oldText = (await verificationEmail(old)).text;
    expect(oldText).toMatch(opened);
    expect(oldText).not.toContain('7 days');
    const moved = (await verificationEmail(await account('of a panel customer who changed the address'))).text;
    expect(moved).not.toMatch(/opened|7 days|not-me/);
  });
});

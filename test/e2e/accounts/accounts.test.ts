/** The life of an account as its owner sees it: over HTTP, with the links of emails that were really sent. */

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CaughtEmail, EmailCatcher } from '../../../simulators/email/contract.ts';
import { startEmailCatcher } from '../../../simulators/email/simulator.ts';
import { createResendTransport } from '../../../src/clients/email/resend.ts';
import type { EmailTransport } from '../../../src/clients/email/transport.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { setActive } from '../../../src/services/accounts/roles.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { EMAIL_DISPATCH } from '../../../src/services/email/dispatch.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { createListener, type Listener } from '../../../src/store/db/listener.ts';
import { query } from '../../../src/store/db/query.ts';
import { createEmailStore } from '../../../src/store/email/email-store.ts';
import { type OutboxRelay, startOutboxRelay } from '../../../src/temporal/outbox-relay.ts';
import { bearer, type Harness, startHarness } from '../../support/api/harness.ts';
import { type Answer, call, login, outcome, post, refresh, sessionsOf } from '../../support/api/sign-in.ts';
import { quiet, type Stack, startStack } from '../../support/stack.ts';

const SITE = 'https://play.example';
let stack: Stack;
let catcher: EmailCatcher;
let transport: EmailTransport;
let listener: Listener;
let relay: OutboxRelay;
let api: Harness;

beforeAll(async () => {
  catcher = await startEmailCatcher({ requestsPerSecond: 1000 });
  transport = createResendTransport({ baseUrl: catcher.url, apiKey: new Secret(catcher.apiKey) });
  stack = await startStack({ panel: { servers: 1, users: 1 }, emailTransport: async () => transport });
  const { database } = stack;
  await database.db.raw(`insert into config (id, key, value) values ('site', 'site_url', ?)`, [`${SITE}/`]);
  listener = createListener({ connectionString: database.url, log: quiet });
  relay = startOutboxRelay({
    db: database.db,
    listener,
    temporal: stack.gateway,
    log: quiet,
    dispatch: EMAIL_DISPATCH,
  });
  // Api and worker must read each other's emails, so they have the same key: here none.
  api = await startHarness({ database, deps: { emails: createEmailStore(createEncryption({})) } });
});
afterAll(async () => {
  await api?.close();
  await relay?.close();
  await listener?.close();
  await stack?.stop();
  await transport?.close();
  await catcher?.close();
});

/** Waits until an address has `count` emails. */
async function emailsTo(to: string, count: number): Promise<CaughtEmail[]> {
  const end = Date.now() + 60_000;
  for (;;) {
    const emails = catcher.emails().filter((email) => email.to.includes(to));
    if (emails.length >= count) return emails;
    if (Date.now() > end) throw new Error(`${emails.length} emails of ${count} to ${to}`);
    await delay(50);
  }
}
/** Waits until an address has `count` emails. @returns the last one. */
const lastEmail = async (to: string, count: number): Promise<CaughtEmail> => {
  const email = (await emailsTo(to, count)).at(-1);
  if (email === undefined) throw new Error('no email');
  return email;
};
/** The URL of the link in an email. */
function linkIn(email: CaughtEmail): URL {
  const [, link] = /<a[^>]* href="([^"]*token=[^"]*)"/.exec(email.html ?? '') ?? [];
  return new URL((link ?? '').replaceAll('&amp;', '&'));
}
const parametersOf = (url: URL) => Object.fromEntries(url.searchParams);
const succeeded = (answer: Answer): Answer => {
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
  return answer;
};
const me = (answer: Answer) => call(api, 'me', { headers: bearer(answer.body.accessToken) });

test('an account from its registration to its end: every step works and ends what it must end', async () => {
  const email = 'ada@customers.example';
  const newEmail = 'countess@customers.example';
  const password = 'First-horse-1';

  // Registration: a sign-in is refused until the address is verified.
  succeeded(await post(api, 'register', { email, password, confirmPassword: password, firstName: 'Ada' }));
  const welcome = await lastEmail(email, 1);
  expect(welcome.text).toContain('Ada');
  const verifyPage = linkIn(welcome);
  expect(verifyPage.href).toMatch(new RegExp(`^${SITE}/auth/verify-email\\?token=[0-9a-f]{64}&id=`));
  expect(outcome(await login(api, email, password))[1]).toBe('email_not_verified');
  // The refused sign-in sent a new link, which makes the first one invalid.
  const second = parametersOf(linkIn(await lastEmail(email, 2)));
  const first = parametersOf(verifyPage);
  expect(outcome(await post(api, 'verify-email', { token: first['token'], userId: first['id'] }))[1]).toBe(
    'invalid_token',
  );
  succeeded(await post(api, 'verify-email', { token: second['token'], userId: second['id'] }));
  // The page of the web site repeats its request.
  succeeded(await post(api, 'verify-email', { token: second['token'], userId: second['id'] }));

  // Two browser tabs refresh the same session.
  const signedIn = succeeded(await login(api, email, password));
  const id = String(signedIn.body.user['id']);
  const tabs = await Promise.all([refresh(api, signedIn.body.refreshToken), refresh(api, signedIn.body.refreshToken)]);
  for (const tab of tabs) expect((await me(succeeded(tab))).status).toBe(200);
  const [tab] = tabs;

  // The address changes.
  const moved = await api.get('/api/v1/dashboard/account/change-email', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...bearer(tab?.body.accessToken ?? '') },
    body: JSON.stringify({ newEmail, currentPassword: password }),
  });
  expect(moved.status, await moved.text()).toBe(200);
  const notice = await lastEmail(email, 3);
  expect(notice.subject).toMatch(/changed/i);
  expect(notice.html).not.toContain('token=');
  expect(notice.html).not.toContain(newEmail);
  const proof = parametersOf(linkIn(await lastEmail(newEmail, 1)));
  expect(proof['id']).toBe(id);
  expect(succeeded(await refresh(api, tab?.body.refreshToken ?? '')).body.success).toBe(true);
  expect(outcome(await login(api, email, password))[1]).toBe('invalid_credentials');
  succeeded(await post(api, 'verify-email', { token: proof['token'], userId: proof['id'] }));
  succeeded(await login(api, newEmail, password));

  // Sign-in with a link in place of a password.
  succeeded(await post(api, 'magic-link', { email: newEmail }));
  const magic = linkIn(await lastEmail(newEmail, 2));
  expect(magic.origin).toBe(SITE);
  const byLink = succeeded(await post(api, 'magic-link/verify', { token: magic.searchParams.get('token') }));
  expect((await me(byLink)).body.user['email']).toBe(newEmail);
  expect((await post(api, 'magic-link/verify', { token: magic.searchParams.get('token') })).status).toBe(401);

  // The password is reset, which ends all sessions. The form sends only token and password.
  succeeded(await post(api, 'forgot-password', { email: newEmail }));
  const resetPage = linkIn(await lastEmail(newEmail, 3));
  expect(resetPage.pathname).toBe('/auth/reset-password');
  const token = resetPage.searchParams.get('token');
  succeeded(await post(api, 'reset-password', { token, password: 'Second-horse-2' }));
  expect(await sessionsOf(api, id)).toEqual([]);
  for (const { body } of [signedIn, ...tabs, byLink]) expect((await refresh(api, body.refreshToken)).status).toBe(401);
  expect(outcome(await login(api, newEmail, password))[1]).toBe('invalid_credentials');
  const again = succeeded(await login(api, newEmail, 'Second-horse-2'));
  expect((await lastEmail(newEmail, 4)).subject).toMatch(/password was changed/i);

  // The account is disabled.
  await setActive(stack.database.db, id, false, OPERATOR);
  expect(outcome(await me(again))[1]).toBe('account_disabled');
  expect((await refresh(api, again.body.refreshToken)).status).toBe(401);
  expect(outcome(await login(api, newEmail, 'Second-horse-2'))[1]).toBe('account_disabled');
  succeeded(await post(api, 'forgot-password', { email: newEmail }));
  succeeded(await post(api, 'forgot-password', { email: 'unknown@customers.example' }));

  // Each email was sent once; the disabled and the unknown account got no email.
  const waiting = () => query<{ id: string }>(stack.database.db, `select e.id from emails e where e.status = 'queued'`);
  while ((await waiting()).length > 0) await delay(50);
  const receivers = catcher.emails().map((email) => email.to.join());
  expect(receivers.sort()).toEqual([...Array<string>(3).fill(email), ...Array<string>(4).fill(newEmail)]);
});

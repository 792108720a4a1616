/**
 * Emails over SMTP, from the transaction to the server. SMTP has no idempotency key: an email that arrives twice, because
 * the server's reply was lost, has one Message-ID.
 */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { headerOf } from '../../../simulators/email/message.ts';
import { type EmailCatcher, startEmailCatcher } from '../../../simulators/email/simulator.ts';
import { createSmtpTransport } from '../../../src/clients/email/smtp.ts';
import type { EmailTransport } from '../../../src/clients/email/transport.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { EMAIL_DISPATCH } from '../../../src/services/email/dispatch.ts';
import { createListener } from '../../../src/store/db/listener.ts';
import { heldEmails } from '../../../src/store/email/email-list.ts';
import { startOutboxRelay } from '../../../src/temporal/outbox-relay.ts';
import { account, emailsEnded, endWait, message, queueEmail, storedEmail } from '../../support/email.ts';
import { query } from '../../support/merge.ts';
import { quiet, type Stack, startStack } from '../../support/stack.ts';

const TINY = { locations: 1, nodes: 1, allocations: 1, nests: 1, eggs: 1, users: 1, servers: 1, databases: 0 };

let catcher: EmailCatcher;
let stack: Stack;
let transport: EmailTransport;
const closers: (() => Promise<void>)[] = [];

beforeAll(async () => {
  catcher = await startEmailCatcher({ smtpPort: 0 });
  transport = createSmtpTransport({ url: new Secret(catcher.smtpUrl ?? ''), timeoutMs: 5_000 });
  stack = await startStack({ panel: { ...TINY, subusers: 0 }, emailTransport: async () => transport });
});
afterAll(async () => {
  await stack?.stop();
  await transport?.close();
  await catcher?.close();
});
beforeEach(async () => {
  const { database, gateway } = stack;
  catcher.clear();
  await query(database.db, 'truncate emails, outbox, users, verification_tokens, config cascade');
  const listener = createListener({ connectionString: database.url, log: quiet });
  const relay = startOutboxRelay({
    db: database.db,
    listener,
    temporal: gateway,
    log: quiet,
    dispatch: EMAIL_DISPATCH,
  });
  closers.push(listener.close, relay.close);
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const queue = (request: Parameters<typeof queueEmail>[1]) => queueEmail(stack.database.db, request);
const ended = () => emailsEnded(stack.database.db);
const stored = (id: string) => storedEmail(stack.database.db, id);
/** Message-IDs of the arrived emails, in order. */
const arrived = () => catcher.emails().map((email) => headerOf(email.headers, 'message-id'));
/** The Message-ID of an email: its id and the sender's domain. */
const idOf = (messageId: string) => /^<([^@]+)@[^@]+>$/.exec(messageId)?.[1];

test('five emails arrive once each, with their ids, and are marked with the id of the server', async () => {
  const ids = await Promise.all(Array.from({ length: 5 }, (_, i) => queue(message(`reader-${i}@example.net`))));
  const emails = await ended();
  expect(catcher.emails().map((email) => email.via)).toEqual(ids.map(() => 'smtp'));
  expect(arrived().map(idOf).sort()).toEqual([...ids].sort());
  for (const email of emails) {
    const at = arrived().findIndex((messageId) => idOf(messageId) === email.id);
    const caught = catcher.emails()[at];
    expect([caught?.to, caught?.subject]).toEqual([[email.to], 'News']);
    expect(caught?.text).toContain(`for ${email.to}`);
    expect(email).toMatchObject({
      status: 'sent',
      attempts: 1,
      error: null,
      data: null,
      transport: 'smtp',
      providerId: expect.stringMatching(new RegExp(`^250 .*queued as ${caught?.id}$`)),
    });
  }
});

/** Starts the next attempt, which is minutes away. */
const hurry = (id: string) => endWait(stack, id);

test.each(['rcpt', 'data'] as const)('an email is tried again after a 4xx reply to %s', async (at) => {
  catcher.fault({ kind: 'smtp-reply', at, code: 451, text: 'come back later, reader@example.net' });
  const id = await queue(message('reader@example.net'));
  await expect.poll(async () => (await stored(id)).error, { timeout: 20_000 }).not.toBeNull();
  const waiting = await stored(id);
  expect(waiting).toMatchObject({ status: 'queued', attempts: 1 });
  // Replies quote addresses, so their text is not kept.
  expect(waiting.error).not.toMatch(/come back|@/);
  expect(catcher.emails()).toEqual([]);
  await hurry(id);
  await ended();
  expect(await stored(id)).toMatchObject({ status: 'sent', attempts: 2, error: null });
  expect(arrived().map(idOf)).toEqual([id]);
});

test('a connection that is lost after the last byte costs at most a second copy, with the same Message-ID and link', async () => {
  const user = await account(stack.database.db, 'reader@example.net');
  catcher.fault({ kind: 'smtp-drop' });
  const id = await queue({ template: 'email-verification', to: 'reader@example.net' });
  await expect.poll(async () => (await stored(id)).error, { timeout: 20_000 }).toMatch(/may have arrived/);
  await hurry(id);
  await ended();
  expect(await stored(id)).toMatchObject({ status: 'sent', attempts: 2, error: null, data: null });
  expect(catcher.emails().length).toBeGreaterThanOrEqual(1);
  expect(new Set(arrived().map(idOf))).toEqual(new Set([id]));
  expect(new Set(arrived()).size).toBe(1);
  const links = catcher.emails().map((email) => /token=[0-9a-f]{64}&id=[\w-]+/.exec(email.text ?? '')?.[0]);
  expect(new Set(links).size).toBe(1);
  expect(links[0]).toContain(`&id=${user}`);
});

test('an email waits while the server refuses its sender, says so, and is sent with the corrected one (M-2)', async () => {
  const { db } = stack.database;
  catcher.fault({
    kind: 'smtp-reply',
    at: 'rcpt',
    code: 553,
    text: '5.7.1 Sender address rejected: not owned by user',
  });
  const id = await queue(message('reader@example.net'));
  await expect
    .poll(async () => (await stored(id)).error, { timeout: 20_000 })
    .toMatch(/refuses the sender \(553 5\.7\.1\)/);
  expect(await heldEmails(db)).toMatchObject({ count: 1 });
  await query(db, `insert into config (key, value) values ('email_from', 'Other, Inc. <other@nodebyte.example>')`);
  await hurry(id);
  await ended();
  expect(catcher.emails()[0]?.from).toBe('"Other, Inc." <other@nodebyte.example>');
  expect(await heldEmails(db)).toBeUndefined();
});

test.each([
  ['rcpt', 'The email server refused the recipient (550)'],
  [
    'data',
    'The email server refused the email as unwanted (550): look at its content and at the reputation of the sender',
  ],
] as const)('an email fails after a 5xx reply to %s, with the code as the reason', async (at, error) => {
  catcher.fault({ kind: 'smtp-reply', at, code: 550, text: 'no such user: reader@example.net' });
  const id = await queue(message('reader@example.net'));
  await ended();
  expect(await stored(id)).toMatchObject({
    status: 'failed',
    attempts: 1,
    error,
  });
  expect(catcher.emails()).toEqual([]);
});

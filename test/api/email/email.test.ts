import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startAttempt } from '../../../src/services/email/start-attempt.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import type { EmailRequest } from '../../../src/store/email/email-store.ts';
import { markEmailFailed, markEmailSent } from '../../../src/store/email/email-store.ts';
import { enqueue } from '../../../src/store/outbox-store.ts';
import { API_KEY, bearer, type Harness, json, makeUser, startHarness } from '../../support/api/harness.ts';

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
});
beforeEach(() => harness.database.db.raw('delete from emails; delete from outbox'));
afterAll(() => harness.close());

interface Email {
  id: string;
  to: string;
  resentFrom: string | null;
  [key: string]: unknown;
}
interface EmailList {
  emails: Email[];
  pagination: Record<string, number>;
  counts: Record<string, number>;
}
const GOOD = { to: 'ada@example.com', subject: 'Hello', template: 'message', data: { message: 'Hi' } };
const queue = (body: unknown) => harness.get('/api/v1/email/queue', json(body, { 'X-API-Key': API_KEY }));
const put = (request: EmailRequest) =>
  inTransaction(harness.database.db, (trx) => harness.deps.emails.queue(trx, request));
const prepare = (id: string) => startAttempt(harness.deps, id, 0);
const asAdmin = (path: string, method = 'GET') => harness.get(path, { method, headers: bearer(admin.token) });
async function list(query: Record<string, string> = {}): Promise<EmailList> {
  const response = await asAdmin(`/api/admin/emails?${new URLSearchParams(query)}`);
  expect(response.status).toBe(200);
  return (await response.json()) as unknown as EmailList;
}

describe('queueing an email', () => {
  test('stores it with its outbox row, for a program and for an administrator', async () => {
    const response = await queue({ ...GOOD, to: ' ada@example.com ' });
    expect(response.status).toBe(202);
    const body = await response.json();
    expect(body).toEqual({ success: true, data: { task_id: expect.any(String) }, message: 'Email has been queued' });
    const id = String(body.data['task_id']);
    expect(await prepare(id)).toMatchObject({
      state: 'ready',
      template: 'message',
      to: 'ada@example.com',
      subject: 'Hello',
      data: { message: 'Hi' },
    });
    const effects = await harness.database.db('outbox').select('kind', 'payload');
    expect(effects).toEqual([{ kind: 'email.send', payload: { emailId: id } }]);
    const byAdmin = await harness.get('/api/v1/email/queue', json(GOOD, bearer(admin.token)));
    expect(byAdmin.status).toBe(202);
  });

  test.each([['verify-email'], ['email-verification'], ['reset-password'], ['welcome']])(
    'knows %s, without data',
    async (template) => {
      expect((await queue({ to: 'a@example.com', subject: 'S', template, data: null })).status).toBe(202);
    },
  );

  test.each([
    ['no fields', {}, 'to, subject, and template are required', ['body.to', 'body.subject', 'body.template']],
    ['a blank subject', { ...GOOD, subject: ' ' }, 'to, subject, and template are required', ['body.subject']],
    [
      'a notice of this service alone (S14)',
      { ...GOOD, template: 'password-changed' },
      'Unknown email template',
      ['body.template'],
    ],
    ['an unknown template', { ...GOOD, template: 'constructor' }, 'Unknown email template', ['body.template']],
    ['a bad address', { ...GOOD, to: 'no-address' }, 'Invalid email address', ['body.to']],
    ['two addresses', { ...GOOD, to: 'a@example.com, b@example.com' }, 'Invalid email address', ['body.to']],
    ['a header in the subject', { ...GOOD, subject: 'a\r\nBcc: b@example.com' }, 'Invalid subject', ['body.subject']],
    ['a long subject', { ...GOOD, subject: 'x'.repeat(256) }, 'Invalid subject', ['body.subject']],
    ['much data', { ...GOOD, data: { message: 'é'.repeat(33_000) } }, 'The data is too large', ['body.data']],
    ['data without its text', { ...GOOD, data: {} }, 'Invalid data for this template', ['body.data.message']],
    [
      'a script for a link',
      { ...GOOD, template: 'reset-password', data: { resetUrl: 'javascript:alert(1)' } },
      'Invalid data for this template',
      ['body.data.resetUrl'],
    ],
    ['data that is no text', { ...GOOD, data: { message: 5 } }, 'Invalid request body', ['body.data.message']],
    ['data that is a list', { ...GOOD, data: ['x'] }, 'Invalid request body', ['body.data']],
    ['an address that is a list', { ...GOOD, to: ['a@example.com'] }, 'Invalid request body', ['body.to']],
    ['no object', [GOOD], 'Invalid request body', ['body']],
  ])('refuses %s', async (_name, body, error, paths) => {
    const response = await queue(body);
    const answer = await response.json();
    expect([response.status, answer.error, answer.code]).toEqual([400, error, 'VALIDATION_ERROR']);
    expect(answer.details.map((detail) => detail.path)).toEqual(paths);
    expect((await list()).pagination['total']).toBe(0);
  });

  test.each([
    ['password-reset', 'resetUrl'],
    ['reset-password', 'resetUrl'],
    ['email-verification', 'verifyUrl'],
    ['welcome', 'verifyUrl'],
    ['magic-link', 'magicLinkUrl'],
  ])('the link of %s leads to the web site only (S6)', async (template, field) => {
    const send = (url: string) => queue({ ...GOOD, template, data: { [field]: url } });
    expect((await send('https://nodebyte.host/page?token=x')).status).toBe(202);
    for (const url of [
      'https://nodebyte.host.evil.example/login',
      'https://nodebyte.host@evil.example/login',
      'http://nodebyte.host/login',
      'https://nodebyte.host:8443/login',
      'https://evil.example/?https://nodebyte.host',
    ]) {
      const response = await send(url);
      expect(response.status, url).toBe(400);
      expect(await response.json()).toMatchObject({
        details: [{ path: `body.data.${field}`, message: 'must be a page of https://nodebyte.host' }],
      });
    }
  });

  test('an administrator has 60 emails in an hour; a program is not counted with them (S6)', async () => {
    const one = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
    const send = () => harness.get('/api/v1/email/queue', json({ ...GOOD, to: 'no' }, bearer(one.token)));
    const answers = await Promise.all(Array.from({ length: 60 }, send));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([400]));
    expect((await send()).status).toBe(429);
    expect((await queue(GOOD)).status).toBe(202);
  });

  test('refuses a body that is not JSON, and customers', async () => {
    const headers = { 'X-API-Key': API_KEY, 'Content-Type': 'application/json' };
    const broken = await harness.get('/api/v1/email/queue', { method: 'POST', headers, body: '{' });
    expect([broken.status, (await broken.json()).error]).toEqual([400, 'Invalid request body']);
    const customer = await makeUser(harness);
    expect((await harness.get('/api/v1/email/queue', json(GOOD, bearer(customer.token)))).status).toBe(403);
    expect((await harness.get('/api/v1/email/queue', json(GOOD))).status).toBe(401);
  });
});

describe('emails for administrators', () => {
  test('have these fields', async () => {
    const user = await makeUser(harness);
    const sent = await put({ template: 'message', to: 'a@example.com', subject: 'S', data: { message: 'x' } });
    await prepare(sent);
    await markEmailSent(harness.database.db, sent, { transport: 'smtp', providerId: null });
    const queued = await put({ template: 'email-verification', to: user.email, userId: user.id });
    const body = await list();
    expect(body).toEqual({
      success: true,
      emails: [
        {
          id: queued,
          template: 'email-verification',
          to: user.email,
          userId: user.id,
          subject: null,
          status: 'queued',
          attempts: 0,
          error: null,
          transport: null,
          resentFrom: null,
          createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
          sentAt: null,
        },
        {
          id: sent,
          template: 'message',
          to: 'a@example.com',
          userId: null,
          subject: 'S',
          status: 'sent',
          attempts: 1,
          error: null,
          transport: 'smtp',
          resentFrom: null,
          createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
          sentAt: expect.stringMatching(/^\d{4}-.*Z$/),
        },
      ],
      pagination: { page: 1, pageSize: 25, total: 2, totalPages: 1 },
      counts: { queued: 1, sent: 1, failed: 0, skipped: 0 },
    });
    const one = await asAdmin(`/api/admin/emails/${sent}`);
    expect(await one.json()).toEqual({ success: true, email: body.emails[1] });
    for (const id of ['unknown', '00000000-0000-0000-0000-000000000000']) {
      const missing = await asAdmin(`/api/admin/emails/${id}`);
      expect([missing.status, (await missing.json()).error]).toEqual([404, 'Email not found']);
    }
  });

  test('are listed by page, status and search', async () => {
    for (let n = 0; n < 3; n += 1)
      await put({ ...GOOD, template: 'message', to: `u_${n}@example.com`, subject: '50%' });
    const failed = await put({ ...GOOD, template: 'message', to: 'x@example.com' });
    await markEmailFailed(harness.database.db, failed, 'refused');
    const page = await list({ page: '2', pageSize: '3' });
    expect(page.emails).toHaveLength(1);
    expect(page.pagination).toEqual({ page: 2, pageSize: 3, total: 4, totalPages: 2 });
    expect((await list({ pageSize: '500' })).pagination['pageSize']).toBe(200);
    expect((await list({ pageSize: '0', page: '0' })).pagination).toMatchObject({ page: 1, pageSize: 25 });
    const found = async (query: Record<string, string>) => (await list(query)).emails.length;
    expect(await found({ status: 'FAILED' })).toBe(1);
    expect(await found({ status: 'queued' })).toBe(3);
    expect(await found({ status: 'all' })).toBe(4);
    expect(await found({ status: "' or true --" })).toBe(4);
    expect(await found({ search: 'X@EXAMPLE' })).toBe(1);
    expect(await found({ search: '_' })).toBe(3);
    expect(await found({ search: '%' })).toBe(3);
    expect(await found({ search: '\\' })).toBe(0);
    expect(await found({ search: "'; drop table emails; --" })).toBe(0);
    expect((await list({ status: 'failed' })).counts).toEqual({ queued: 3, sent: 0, failed: 1, skipped: 0 });
  });
});

describe('sending again', () => {
  const resend = (id: string) => asAdmin(`/api/admin/emails/${id}/resend`, 'POST');

  test('queues a copy with the same data', async () => {
    const id = await put({ ...GOOD, template: 'message' });
    await markEmailFailed(harness.database.db, id, 'refused');
    const response = await resend(id);
    expect(response.status).toBe(202);
    const body = (await response.json()) as unknown as { email_id: string };
    expect(body).toEqual({ success: true, message: 'Email has been queued', email_id: expect.any(String) });
    expect(body.email_id).not.toBe(id);
    expect(await prepare(body.email_id)).toMatchObject({ state: 'ready', to: GOOD.to, data: GOOD.data });
    const { emails } = await list();
    expect(emails.find((email) => email.id === body.email_id)?.resentFrom).toBe(id);
  });

  test('a double click gives one copy, a later click another', async () => {
    const id = await put({ ...GOOD, template: 'message' });
    // Opens the connections first: otherwise the requests would run one after the other.
    await Promise.all([1, 2, 3, 4].map(() => harness.database.db.raw('select pg_sleep(0.1)')));
    const answers = await Promise.all([resend(id), resend(id), resend(id)]);
    expect(answers.map((answer) => answer.status)).toEqual([202, 202, 202]);
    const ids = new Set(
      await Promise.all(answers.map(async (a) => ((await a.json()) as unknown as { email_id: string }).email_id)),
    );
    expect(ids.size).toBe(1);
    expect((await list()).pagination['total']).toBe(2);
    await harness.database.db.raw(`update emails set created_at = created_at - interval '11 seconds'`);
    expect((await resend(id)).status).toBe(202);
    expect((await list()).pagination['total']).toBe(3);
  });

  test('cleared data cannot be sent again; an unknown email is not found', async () => {
    const id = await put({ ...GOOD, template: 'message' });
    await prepare(id);
    await markEmailSent(harness.database.db, id, { transport: 'smtp', providerId: null });
    const gone = await resend(id);
    expect(gone.status).toBe(409);
    expect(await gone.json()).toMatchObject({ code: 'CONFLICT', error: expect.stringContaining('cleared') });
    const missing = await resend('unknown');
    expect([missing.status, (await missing.json()).error]).toEqual([404, 'Email not found']);
    expect((await list()).pagination['total']).toBe(1);
  });
});

describe('metrics', () => {
  /** Not checked against the document, which has media types without parameters. */
  const metrics = (headers: Record<string, string>) => fetch(`${harness.url}/metrics`, { headers });

  test('count effects by kind and emails by status', async () => {
    await put({ ...GOOD, template: 'message' });
    const failed = await put({ ...GOOD, template: 'message' });
    await markEmailFailed(harness.database.db, failed, 'refused');
    await inTransaction(harness.database.db, (trx) =>
      enqueue(trx, { kind: 'odd "kind"\\\n', dedupeKey: 'odd', payload: {} }),
    );
    await harness.database.db.raw(`update outbox set status = 'failed' where dedupe_key = 'odd'`);
    for (const environment of ['production', 'staging']) {
      await harness.database.db.raw(
        `insert into hytale_oauth_tokens (account_id, access_token, refresh_token, access_token_expiry, environment, status)
         values (gen_random_uuid(), 'a', 'r', now(), ?, 'reauth_required')`,
        [environment],
      );
    }
    const response = await metrics({ 'X-API-Key': API_KEY });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4\b/);
    const text = await response.text();
    expect(text.replace(/(oldest_seconds\{kind="email.send"\}) [0-9.e-]+/, '$1 AGE')).toBe(
      [
        '# HELP nodebyte_outbox_pending Effects that wait to be dispatched.',
        '# TYPE nodebyte_outbox_pending gauge',
        'nodebyte_outbox_pending{kind="email.send"} 2',
        'nodebyte_outbox_pending{kind="odd \\"kind\\"\\\\\\n"} 0',
        '# HELP nodebyte_outbox_failed Effects that failed and are not dispatched again.',
        '# TYPE nodebyte_outbox_failed gauge',
        'nodebyte_outbox_failed{kind="email.send"} 0',
        'nodebyte_outbox_failed{kind="odd \\"kind\\"\\\\\\n"} 1',
        '# HELP nodebyte_outbox_oldest_seconds Age in seconds of the oldest pending effect; 0 when none is pending.',
        '# TYPE nodebyte_outbox_oldest_seconds gauge',
        'nodebyte_outbox_oldest_seconds{kind="email.send"} AGE',
        'nodebyte_outbox_oldest_seconds{kind="odd \\"kind\\"\\\\\\n"} 0',
        '# HELP nodebyte_emails Emails by status.',
        '# TYPE nodebyte_emails gauge',
        'nodebyte_emails{status="queued"} 1',
        'nodebyte_emails{status="sent"} 0',
        'nodebyte_emails{status="failed"} 1',
        'nodebyte_emails{status="skipped"} 0',
        '# HELP nodebyte_emails_held Queued emails that wait for the operator.',
        '# TYPE nodebyte_emails_held gauge',
        'nodebyte_emails_held 0',
        '# HELP nodebyte_webhook_deliveries Deliveries to webhooks: queued, and failed in 24 hours.',
        '# TYPE nodebyte_webhook_deliveries gauge',
        'nodebyte_webhook_deliveries{status="queued"} 0',
        'nodebyte_webhook_deliveries{status="failed"} 0',
        '# HELP nodebyte_webhook_oldest_seconds Age in seconds of the oldest queued delivery; 0 when none is queued.',
        '# TYPE nodebyte_webhook_oldest_seconds gauge',
        'nodebyte_webhook_oldest_seconds 0',
        '# HELP nodebyte_webhooks_switched_off Webhooks that are switched off.',
        '# TYPE nodebyte_webhooks_switched_off gauge',
        'nodebyte_webhooks_switched_off 0',
        '# HELP nodebyte_webhook_pauses Pauses of webhooks, channels or all messages that are in force.',
        '# TYPE nodebyte_webhook_pauses gauge',
        'nodebyte_webhook_pauses 0',
        '# HELP nodebyte_mirror_budget_share_percent Percent that the live mirror spends at most.',
        '# TYPE nodebyte_mirror_budget_share_percent gauge',
        'nodebyte_mirror_budget_share_percent 25',
        '# HELP nodebyte_hytale_accounts Hytale accounts by status.',
        '# TYPE nodebyte_hytale_accounts gauge',
        'nodebyte_hytale_accounts{status="active"} 0',
        'nodebyte_hytale_accounts{status="reauth_required"} 1',
        'nodebyte_hytale_accounts{status="misconfigured"} 0',
        'nodebyte_hytale_accounts{status="closing"} 0',
        '# HELP nodebyte_hytale_sessions Hytale game sessions by status.',
        '# TYPE nodebyte_hytale_sessions gauge',
        ...['requested', 'active', 'limited', 'lapsed', 'failed', 'ending'].map(
          (status) => `nodebyte_hytale_sessions{status="${status}"} 0`,
        ),
        '# HELP nodebyte_hytale_pushes Sessions of servers by what became of the push of their tokens.',
        '# TYPE nodebyte_hytale_pushes gauge',
        ...['none', 'pending', 'pushed', 'failed'].map((status) => `nodebyte_hytale_pushes{status="${status}"} 0`),
        '# HELP nodebyte_hytale_log_servers Servers with a session by the state of their console.',
        '# TYPE nodebyte_hytale_log_servers gauge',
        ...['success', 'pending', 'failed'].map((status) => `nodebyte_hytale_log_servers{status="${status}"} 0`),
        '# HELP nodebyte_hytale_log_pushed Of them, servers whose lines were pushed within 15 minutes.',
        '# TYPE nodebyte_hytale_log_pushed gauge',
        'nodebyte_hytale_log_pushed 0',
        '# HELP nodebyte_hytale_log_oldest_pull_seconds Age in seconds of the oldest pull of a console that is not pushed; 0 when there is none.',
        '# TYPE nodebyte_hytale_log_oldest_pull_seconds gauge',
        'nodebyte_hytale_log_oldest_pull_seconds 0',
        '',
      ].join('\n'),
    );
  });

  test('are for programs and administrators', async () => {
    expect((await metrics(bearer(admin.token))).status).toBe(200);
    expect((await metrics({})).status).toBe(401);
    expect((await metrics(bearer((await makeUser(harness)).token))).status).toBe(403);
  });
});

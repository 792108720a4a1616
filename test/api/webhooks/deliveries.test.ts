/** `/api/admin/webhook-deliveries*`: what is listed and why it waits, resend, cancel; figures, doctor, retention, commands. */
import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startDiscordSimulator } from '../../../simulators/discord/simulator.ts';
import { checkWebhooks } from '../../../src/cli/doctor/webhooks.ts';
import { registerWebhookCommands } from '../../../src/cli/webhook.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { query } from '../../../src/store/db/query.ts';
import { beginAttempt, disableWebhook, endAttempt, pause } from '../../../src/store/webhooks/attempt-store.ts';
import {
  endAbandoned,
  purgeDeliveries,
  purgeStates,
  purgeTests,
} from '../../../src/store/webhooks/delivery-retention.ts';
import {
  type DeliveryToQueue,
  endDelivery,
  markStarted,
  noteWait,
  queueDeliveries,
} from '../../../src/store/webhooks/delivery-store.ts';
import { API_KEY, bearer, ENCRYPTION_KEY, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import { openTransaction } from '../../support/database.ts';

interface Delivery {
  id: string;
  status: string;
  reason: string | null;
  createdAt: string;
  occurredAt: string;
  givesUpAt: string;
  link: string | null;
  [key: string]: unknown;
}
interface Answer {
  status: number;
  deliveries: Delivery[];
  delivery: Delivery & { history: Record<string, unknown>[]; data: unknown };
  pagination: Record<string, number>;
  deliveryId: string;
  error: string;
}

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
const workflows: string[] = [];
let temporalAway = false;
beforeAll(async () => {
  harness = await startHarness({
    temporalUiUrl: 'https://ui.example',
    deps: {
      async cancelWorkflow(id) {
        if (temporalAway) throw new Error('14 UNAVAILABLE');
        workflows.push(id);
      },
    },
  });
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
});
beforeEach(async () => {
  await harness.database.db.raw(
    'truncate webhook_deliveries, webhook_attempts, webhook_states, webhook_pauses, discord_webhooks, outbox',
  );
  workflows.length = 0;
  temporalAway = false;
});
afterAll(() => harness.close());

const sql = (text: string, bindings: unknown[] = []) => query(harness.database.db, text, bindings);
const call = async (path = '', method = 'GET', headers: Record<string, string> = bearer(admin.token)) => {
  const response = await harness.get(`/api/admin/webhook-deliveries${path}`, { method, headers });
  return { ...((await response.json()) as unknown as Answer), status: response.status };
};
const ids = ({ deliveries }: Answer): string[] => deliveries.map(({ id }) => id);
const urlOf = (id: string): string => `https://discord.com/api/webhooks/1/a-token-of-a-usual-length-${id}`;
const addWebhook = (id: string, enabled = true) =>
  sql(`insert into discord_webhooks (id, name, "webhookUrl", enabled) values (?, ?, ?, ?)`, [
    id,
    `Name of ${id}`,
    urlOf(id),
    enabled,
  ]);
async function queue(fields: Partial<DeliveryToQueue> = {}): Promise<string> {
  const delivery = { webhookId: 'hook', webhookName: 'Old name', event: 'server.created', origin: 'request' as const };
  const [id = ''] = await queueDeliveries(harness.database.db, [
    { ...delivery, data: { name: 'Ada' }, occurredAt: new Date(), ...fields },
  ]);
  return id;
}
async function failed(fields: Partial<DeliveryToQueue> = {}, reason = 'Discord refused it'): Promise<string> {
  const id = await queue(fields);
  await endDelivery(harness.database.db, id, 'failed', reason);
  return id;
}
const events = (id: string) =>
  sql(`select a.action, a.target_type as type, a.details from audit_events a where a.target_id = ? order by a.id`, [
    id,
  ]);

describe('the list', () => {
  test('has the newest first, what each waits for, and where it is seen; a row without its webhook keeps its place', async () => {
    await addWebhook('hook');
    const first = await queue();
    await markStarted(harness.database.db, [{ id: first, runId: 'run 1' }]);
    await noteWait(harness.database.db, first, 'Discord is not available');
    const second = await queue({ event: 'sync.failed', origin: 'service' });
    const gone = await failed({ webhookId: 'gone', webhookName: 'Gone' }, 'Bearer abc.def refused');
    const list = await call();
    expect(ids(list)).toEqual([gone, second, first]);
    expect(list.pagination).toEqual({ page: 1, pageSize: 25, total: 3, totalPages: 1 });
    expect(list.deliveries[2]).toEqual({
      id: first,
      webhook: { id: 'hook', name: 'Name of hook', exists: true, enabled: true },
      event: 'server.created',
      origin: 'request',
      status: 'queued',
      reason: 'Discord is not available',
      attempts: 0,
      createdAt: expect.any(String),
      occurredAt: expect.any(String),
      startedAt: expect.any(String),
      endedAt: null,
      givesUpAt: expect.any(String),
      resentFrom: null,
      resentAs: null,
      waitingFor: { for: 'attempt', reason: 'Discord is not available', until: null, deliveryId: null },
      resend: { possible: false, obstacle: 'It has not ended' },
      link: `https://ui.example/namespaces/name%20space%2F2/workflows/webhook%3A${first}/run%201/history`,
    });
    expect(list.deliveries[1]).toMatchObject({ waitingFor: { for: 'older-delivery', deliveryId: first }, link: null });
    expect(list.deliveries[0]).toMatchObject({
      webhook: { id: 'gone', name: 'Gone', exists: false, enabled: false },
      reason: 'Bearer [hidden] refused',
      waitingFor: null,
      resend: { possible: false, obstacle: 'Its webhook was deleted' },
    });
    await pause(
      harness.database.db,
      { webhookId: 'hook', channel: 'c' },
      { scope: 'all', ms: 60_000, reason: 'Slow down' },
    );
    expect((await call()).deliveries[2]).toMatchObject({
      waitingFor: { for: 'pause', reason: 'Slow down', until: expect.any(String), deliveryId: null },
    });
    expect(JSON.stringify(await call())).not.toContain('a-token-of');
  });

  test('filters by status, webhook, begin of the event, origin and text; odd values do not filter', async () => {
    await addWebhook('hook');
    const one = await queue({ event: 'server.created' });
    const two = await failed({ event: 'Server%', webhookId: 'other', webhookName: 'Alerts_1', origin: 'service' });
    const total = async (filter: Record<string, string>) => {
      const list = await call(`?${new URLSearchParams(filter)}`);
      expect(list.status).toBe(200);
      return [ids(list), list.pagination['total']];
    };
    expect(await total({ status: 'Failed' })).toEqual([[two], 1]);
    expect(await total({ webhookId: 'hook' })).toEqual([[one], 1]);
    expect(await total({ event: 'server.' })).toEqual([[one], 1]);
    expect(await total({ event: 'Server%' })).toEqual([[two], 1]);
    expect(await total({ event: '%' })).toEqual([[], 0]);
    expect(await total({ origin: 'service' })).toEqual([[two], 1]);
    expect(await total({ search: 'alerts_' })).toEqual([[two], 1]);
    expect(await total({ search: 'REFUSED' })).toEqual([[two], 1]);
    expect(await total({ status: 'all', origin: 'x', search: 'er', pageSize: '0', other: '1' })).toEqual([
      [two, one],
      2,
    ]);
    expect(await total({ page: '2', pageSize: '1', search: 'er' })).toEqual([[one], 2]);
    expect((await call('?pageSize=9999')).pagination['pageSize']).toBe(200);
  });

  test('is for administrators', async () => {
    const member = await makeUser(harness, { email: 'member@example.com' });
    expect((await call('', 'GET', bearer(member.token))).status).toBe(403);
    expect((await call('', 'GET', { 'X-API-Key': API_KEY })).status).toBe(401);
    for (const verb of ['resend', 'cancel']) {
      expect((await call(`/${randomUUID()}/${verb}`, 'POST', bearer(member.token))).status).toBe(403);
    }
  });

  test('shows one delivery with its data and attempts', async () => {
    await addWebhook('hook');
    const id = await queue();
    const target = { webhookId: 'hook', channel: 'c' };
    const attempt = await beginAttempt(harness.database.db, target, { id, number: 1 });
    const end = { httpStatus: 502, discordCode: null, detail: 'Discord is not available', messageId: null };
    await endAttempt(harness.database.db, attempt, { outcome: 'unavailable', ...end });
    await beginAttempt(harness.database.db, target, { id, number: 2 });
    const { delivery } = await call(`/${id}`);
    expect(delivery.data).toEqual({ name: 'Ada' });
    expect(delivery.history).toMatchObject([
      { number: 1, outcome: 'unavailable', httpStatus: 502, discordCode: null, detail: 'Discord is not available' },
      { number: 2, outcome: 'sending', endedAt: null, httpStatus: null },
    ]);
    for (const unknown of [randomUUID(), 'x', "'; --"]) {
      expect((await call(`/${encodeURIComponent(unknown)}`)).status).toBe(404);
      expect((await call(`/${encodeURIComponent(unknown)}/resend`, 'POST')).status).toBe(404);
      expect((await call(`/${encodeURIComponent(unknown)}/cancel`, 'POST')).status).toBe(404);
    }
  });
});

describe('a resend', () => {
  test('is a new delivery that goes last, with a day of its own; a double click makes one', async () => {
    await addWebhook('hook');
    const occurredAt = new Date(Date.now() - 86_400_000 * 3);
    const id = await failed({ occurredAt });
    const waiting = await queue({ event: 'later' });
    const answers = await Promise.all([call(`/${id}/resend`, 'POST'), call(`/${id}/resend`, 'POST')]);
    expect(answers.map(({ status }) => status)).toEqual([202, 202]);
    const copy = answers[0]?.deliveryId ?? '';
    expect(answers[1]?.deliveryId).toBe(copy);
    const list = await call();
    expect(ids(list)).toEqual([copy, waiting, id]);
    const [resent, , original] = list.deliveries;
    expect(resent).toMatchObject({
      status: 'queued',
      resentFrom: id,
      occurredAt: occurredAt.toISOString(),
      waitingFor: { for: 'older-delivery', deliveryId: waiting },
    });
    expect(Date.parse(resent?.givesUpAt ?? '') - Date.parse(resent?.createdAt ?? '')).toBe(86_400_000);
    expect(original).toMatchObject({ status: 'failed', resentAs: copy });
    expect((await call(`/${copy}`)).delivery.data).toEqual({ name: 'Ada' });
    expect(await events(id)).toEqual([
      { action: 'webhook-resent', type: 'delivery', details: { webhook: 'hook', event: 'server.created', copy } },
    ]);
    await sql(`update webhook_deliveries set created_at = now() - interval '11 s' where id = ?`, [copy]);
    expect((await call(`/${id}/resend`, 'POST')).deliveryId).not.toBe(copy);
  });

  test('is refused while the delivery waits, and for a webhook that is off or was deleted', async () => {
    await addWebhook('hook');
    await addWebhook('off', false);
    const refused: [string, string][] = [
      [await queue(), 'It has not ended'],
      [await failed({ webhookId: 'off' }), 'Its webhook is switched off'],
      [await failed({ webhookId: 'gone' }), 'Its webhook was deleted'],
    ];
    for (const [id, error] of refused)
      expect(await call(`/${id}/resend`, 'POST')).toMatchObject({ status: 409, error });
    expect(await sql('select d.id from webhook_deliveries d where d.resent_from is not null')).toEqual([]);
  });
});

describe('a cancel', () => {
  test('ends the row and then the workflow; once more changes nothing; what ended cannot be cancelled', async () => {
    await addWebhook('hook');
    const id = await queue();
    expect((await call(`/${id}/cancel`, 'POST')).status).toBe(200);
    expect((await call(`/${id}`)).delivery).toMatchObject({
      status: 'cancelled',
      reason: 'an administrator cancelled it',
      endedAt: expect.any(String),
    });
    expect((await call(`/${id}/cancel`, 'POST')).status).toBe(200);
    expect(workflows).toEqual([`webhook:${id}`]);
    expect(await events(id)).toMatchObject([{ action: 'webhook-cancelled', type: 'delivery' }]);
    const ended = await failed();
    expect(await call(`/${ended}/cancel`, 'POST')).toMatchObject({ status: 409, error: 'This delivery has ended' });
  });

  test('works while Temporal is away', async () => {
    temporalAway = true;
    const id = await queue();
    expect((await call(`/${id}/cancel`, 'POST')).status).toBe(200);
    expect((await call(`/${id}`)).delivery.status).toBe('cancelled');
    expect(harness.logged()).toContain('the workflow of a cancelled delivery could not be cancelled');
  });
});

test('runs list deliveries, and retry a failed one as a resend does', async () => {
  await addWebhook('hook');
  const waiting = await queue({ webhookId: 'other' });
  const id = await failed();
  const off = await failed({ webhookId: 'gone' });
  const runs = async (path: string, method = 'GET') => {
    const response = await harness.get(`/api/admin/runs${path}`, { method, headers: bearer(admin.token) });
    return [response.status, (await response.json()) as unknown as Record<string, unknown>] as const;
  };
  const [, { runs: listed }] = await runs('?kind=webhook');
  expect(listed).toMatchObject([
    { id: off, status: 'failed', retry: { possible: false, obstacle: 'Its webhook was deleted or is switched off' } },
    {
      kind: 'webhook',
      id,
      name: 'server.created',
      reason: 'Discord refused it',
      workflowId: null,
      retry: { possible: true, how: 'resend-delivery', obstacle: null, as: null },
    },
  ]);
  expect(await runs('?kind=webhook&status=waiting')).toMatchObject([200, { runs: [{ id: waiting }] }]);
  await markStarted(harness.database.db, [{ id: waiting, runId: 'r' }]);
  expect(await runs('?kind=webhook&status=running')).toMatchObject([
    200,
    { runs: [{ id: waiting, workflowId: `webhook:${waiting}`, runId: 'r' }] },
  ]);
  const [status, retried] = await runs(`/webhook/${id}/retry`, 'POST');
  expect([status, retried]).toMatchObject([202, { kind: 'webhook', repeated: false }]);
  expect(await runs(`/webhook/${id}/retry`, 'POST')).toMatchObject([202, { id: retried['id'], repeated: true }]);
  expect(await runs(`/webhook/${id}`)).toMatchObject([200, { run: { retry: { as: retried['id'] } } }]);
  expect(await events(id)).toMatchObject([
    { action: 'run-retried', type: 'run', details: { kind: 'webhook', copy: retried['id'] } },
  ]);
  expect(await runs(`/webhook/${waiting}/retry`, 'POST')).toMatchObject([409, { error: 'This run did not fail' }]);
  expect(await runs(`/webhook/${off}/retry`, 'POST')).toMatchObject([409, { error: 'Its webhook was deleted' }]);
});

test('metrics and doctor say what waits, failed, is switched off and paused', async () => {
  const { db } = harness.database;
  const metrics = async () => {
    const response = await fetch(`${harness.url}/metrics`, { headers: { 'X-API-Key': API_KEY } });
    return (await response.text()).split('\n').filter((line) => line.startsWith('nodebyte_webhook'));
  };
  const doctor = async () =>
    (await checkWebhooks(db, createEncryption({ key: new Secret(ENCRYPTION_KEY) }))).map(
      ({ state, detail }) => `${state}: ${detail}`,
    );
  expect(await metrics()).toEqual([
    'nodebyte_webhook_deliveries{status="queued"} 0',
    'nodebyte_webhook_deliveries{status="failed"} 0',
    'nodebyte_webhook_oldest_seconds 0',
    'nodebyte_webhooks_switched_off 0',
    'nodebyte_webhook_pauses 0',
  ]);
  expect(await doctor()).toEqual([]);
  await addWebhook('hook');
  expect(await doctor()).toEqual(['ok: 1 of 1 enabled, 0 messages wait']);
  await addWebhook('dead');
  await disableWebhook(db, 'dead', urlOf('dead'), 'Discord does not know it');
  await sql(`update discord_webhooks set "createdAt" = now() at time zone 'utc' + interval '1 s' where id = 'dead'`);
  const other = createEncryption({ key: new Secret(Buffer.alloc(32, 9).toString('base64')) });
  await sql(
    `insert into discord_webhooks (id, name, "webhookUrl", "createdAt") values ('sealed', 'Sealed', ?, now() - interval '1 day')`,
    [other.encrypt('discord_webhooks.webhookUrl', 'https://discord.com/api/webhooks/1/token')],
  );
  const old = await failed();
  await sql(`update webhook_deliveries set ended_at = now() - interval '25 hours' where id = ?`, [old]);
  await failed();
  const waiting = await queue();
  await sql(`update webhook_deliveries set created_at = now() - interval '1 hour' where id = ?`, [waiting]);
  await pause(db, { webhookId: 'hook', channel: '7' }, { scope: 'channel', ms: 60_000, reason: 'Slow down' });
  await sql(`insert into webhook_pauses values ('all', now() - interval '1 s', 'over')`);
  const [queued, gone, seconds, ...rest] = await metrics();
  expect([queued, gone, ...rest]).toEqual([
    'nodebyte_webhook_deliveries{status="queued"} 1',
    'nodebyte_webhook_deliveries{status="failed"} 1',
    'nodebyte_webhooks_switched_off 1',
    'nodebyte_webhook_pauses 1',
  ]);
  expect(Number(seconds?.split(' ')[1])).toBeGreaterThan(3_599);
  expect(await doctor()).toEqual([
    'warning: "Name of dead" was switched off: Discord does not know it',
    'warning: the URL of "Sealed" cannot be decrypted',
    'warning: 1 messages failed in the last 24 hours',
    expect.stringMatching(
      /^warning: the oldest message waits since .*, server\.created to "Name of hook": its workflow was not/,
    ),
    expect.stringMatching(/^warning: nothing is sent to the channel 7 until .*: Slow down$/),
  ]);
});

describe('what is over', () => {
  test('is deleted after the retention in batches, with its attempts; what waits stays', async () => {
    const { db } = harness.database;
    const target = { webhookId: 'hook', channel: 'c' };
    const old = [await failed(), await failed(), await failed()];
    const [young, waiting] = [await failed(), await queue()];
    for (const id of [...old, young]) await beginAttempt(db, target, { id, number: 1 });
    const [oldTest, lost] = [
      await beginAttempt(db, target),
      await beginAttempt(db, target, { id: randomUUID(), number: 1 }),
    ];
    const youngTest = await beginAttempt(db, target);
    await sql(`update webhook_deliveries set ended_at = now() - interval '31 days' where id = any(?::uuid[])`, [old]);
    await sql(`update webhook_deliveries set created_at = now() - interval '31 days' where id = ?`, [waiting]);
    await sql(`update webhook_attempts set started_at = now() - interval '31 days' where id <> ?`, [youngTest]);
    expect([await purgeDeliveries(db, 30, 2), await purgeDeliveries(db, 30, 2)]).toEqual([2, 1]);
    expect([await purgeTests(db, 30, 1), await purgeTests(db, 30, 9)]).toEqual([1, 1]);
    const left = await sql('select d.id from webhook_deliveries d');
    expect(left.map((row) => (row as { id: string }).id).toSorted()).toEqual([young, waiting].toSorted());
    const attempts = await sql('select a.id, a.delivery_id as "deliveryId" from webhook_attempts a');
    expect(attempts).toHaveLength(2);
    expect(attempts).toEqual(
      expect.arrayContaining([{ id: youngTest, deliveryId: null }, expect.objectContaining({ deliveryId: young })]),
    );
    expect(JSON.stringify(attempts)).not.toMatch(new RegExp(`${oldTest}|${lost}`));
  });

  test('and held by another transaction is left for the next time: two retentions do not wait for each other', async () => {
    const { db } = harness.database;
    const target = { webhookId: 'gone', channel: 'c' };
    const deliveries = [await failed(), await failed()].toSorted();
    const tests = [await beginAttempt(db, target), await beginAttempt(db, target)];
    await sql(`update webhook_deliveries set ended_at = now() - interval '31 days'`);
    await sql(`update webhook_attempts set started_at = now() - interval '31 days'`);
    await sql(`insert into webhook_states (webhook_id) values ('gone'), ('held')`);
    await sql(
      `insert into webhook_pauses values ('all', now() - interval '1 s', ''), ('held', now() - interval '1 s', '')`,
    );
    const holder = await openTransaction(db);
    const purge = await openTransaction(db);
    try {
      await holder.raw('select 1 from webhook_deliveries where id = ?::uuid for update', [deliveries[0] ?? '']);
      await holder.raw('select 1 from webhook_attempts where id = ?::uuid for update', [tests[0] ?? '']);
      await holder.raw(`select 1 from webhook_states where webhook_id = 'held' for update`);
      await holder.raw(`select 1 from webhook_pauses where scope = 'held' for update`);
      await purge.raw(`set local lock_timeout = '1ms'`);
      expect([await purgeDeliveries(purge, 30, 9), await purgeTests(purge, 30, 9)]).toEqual([1, 1]);
      expect([await purgeStates(purge, 1), await purgeStates(purge, 9)]).toEqual([1, 1]);
    } finally {
      await purge.rollback();
      await holder.rollback();
    }
  });

  test('of pauses and of deleted webhooks is forgotten; a delivery that nothing will send ends', async () => {
    const { db } = harness.database;
    await addWebhook('hook');
    await addWebhook('off', false);
    await sql(`insert into webhook_states (webhook_id) values ('hook'), ('gone')`);
    await sql(
      `insert into webhook_pauses values ('all', now() - interval '1 s', ''), ('webhook:hook', now() + interval '1 h', '')`,
    );
    expect(await purgeStates(db, 10)).toBe(1);
    expect(await sql('select s.webhook_id as id from webhook_states s')).toEqual([{ id: 'hook' }]);
    expect(await sql('select p.scope from webhook_pauses p')).toEqual([{ scope: 'webhook:hook' }]);
    const [waiting, off, gone, late] = [
      await queue(),
      await queue({ webhookId: 'off' }),
      await queue({ webhookId: 'gone' }),
      await queue({ occurredAt: new Date(Date.now() - 26 * 3_600_000) }),
    ];
    await noteWait(db, late, 'Discord is not available');
    expect([await endAbandoned(db, 2), await endAbandoned(db, 2), await endAbandoned(db, 2)]).toEqual([2, 1, 0]);
    const { deliveries } = await call();
    expect(deliveries.map(({ id, status, reason }) => [id, status, reason])).toEqual([
      [late, 'failed', 'it did not arrive within 24 hours; at last: Discord is not available'],
      [gone, 'skipped', 'the webhook was deleted'],
      [off, 'skipped', 'the webhook is switched off'],
      [waiting, 'queued', null],
    ]);
  });
});

test('the commands list webhooks and deliveries, send again, and test', async () => {
  const simulator = await startDiscordSimulator();
  const run = async (...args: string[]) => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const program = new Command('nodebyte').exitOverride();
    const env = { DATABASE_URL: harness.database.url, ENCRYPTION_KEY, DISCORD_WEBHOOK_HOSTS: simulator.host };
    registerWebhookCommands(program, { stdin: new PassThrough(), stdout, stderr, env });
    await program.parseAsync(['webhook', ...args], { from: 'user' });
    stdout.end();
    stderr.end();
    const code = Number(process.exitCode ?? 0);
    process.exitCode = 0;
    return { code, out: await text(stdout), err: await text(stderr) };
  };
  try {
    expect(await run('list')).toEqual({ code: 0, out: 'no webhooks\n', err: '' });
    expect((await run('deliveries')).out).toBe('no such deliveries\n');
    const { url } = simulator.createWebhook({ channel: 'alerts' });
    await addWebhook('hook');
    await sql(`update discord_webhooks set "webhookUrl" = ? where id = 'hook'`, [url]);
    const listed = await run('list', '--json');
    expect(JSON.parse(listed.out)).toMatchObject({ webhooks: [{ id: 'hook', enabled: true }] });
    expect(listed.out).toContain('••••');
    expect(listed.out).not.toContain(url);
    const id = await failed();
    await queue();
    expect((await run('deliveries', '--status', 'failed')).out).toMatch(
      new RegExp(`server\\.created .* failed .* ${id} `),
    );
    expect((await run('deliveries', '-n', '1')).out).toContain('2 in all; more: --page 2');
    const resent = JSON.parse((await run('resend', id, '--json')).out) as Record<string, unknown>;
    expect(resent).toEqual({ deliveryId: expect.any(String), repeated: false });
    expect((await run('resend', id)).out).toBe(`sent again before: ${String(resent['deliveryId'])}\n`);
    expect(await run('resend', 'x')).toMatchObject({ code: 1, err: expect.stringContaining('Delivery not found') });
    expect(await run('test', 'hook')).toEqual({ code: 0, out: 'the test message arrived\n', err: '' });
    expect(simulator.messages()).toHaveLength(1);
    expect(await events('hook')).toMatchObject([{ action: 'webhook-tested' }]);
    expect(await run('test', 'none')).toMatchObject({ code: 1 });
  } finally {
    await simulator.close();
  }
});

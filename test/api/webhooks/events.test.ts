/** Events over HTTP: those that a program requests, and those that requests of people cause. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { accountEvent, recordRefusal, recordSecurityEvent } from '../../../src/services/audit/security-events.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { query } from '../../../src/store/db/query.ts';
import { API_KEY, bearer, type Harness, json, makeUser, startHarness } from '../../support/api/harness.ts';
import { quiet } from '../../support/stack.ts';

let harness: Harness;
let admin: { id: string; token: string };
beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { isSystemAdmin: true, roles: ['SUPER_ADMIN'] });
});
afterAll(() => harness.close());
beforeEach(async () => {
  await harness.database.db.raw(
    'truncate outbox, discord_webhooks, webhook_deliveries, rate_limits; delete from config',
  );
  await rows(
    `insert into discord_webhooks (id, name, "webhookUrl", type, scope, enabled) values
     ('a', 'staff', 'https://discord.com/api/webhooks/1/a', 'SYSTEM', 'ADMIN', true),
     ('b', 'support', 'https://discord.com/api/webhooks/1/b', 'SUPPORT', 'PUBLIC', true),
     ('c', 'off', 'https://discord.com/api/webhooks/1/c', 'SUPPORT', 'ADMIN', false)`,
  );
});

const rows = <T = Record<string, unknown>>(sql: string, bindings: unknown[] = []): Promise<T[]> =>
  query<T>(harness.database.db, sql, bindings);
const events = async (prefix: string) =>
  (
    await rows<{ kind: string; payload: Record<string, unknown> }>(
      `select o.kind, o.payload from outbox o where o.kind like ? order by o.seq`,
      [`${prefix}%`],
    )
  ).map(({ kind, payload }) => [kind, payload]);

async function post(path: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await harness.get(path, json(body, headers));
  return { status: response.status, body: await response.json() };
}

describe('POST /api/v1/webhook/dispatch', () => {
  const dispatch = (body: unknown, headers: Record<string, string> = { 'X-API-Key': API_KEY }) =>
    post('/api/v1/webhook/dispatch', body, headers);
  const deliveries = () =>
    rows(`select d.id, d.webhook_id as webhook, d.event, d.origin, d.data from webhook_deliveries d order by d.seq`);

  test('queues one delivery for each webhook that is on; persons are named to administrators only', async () => {
    const answer = await dispatch({
      event: 'support.ticket_created',
      data: { subject: 'Help', user: 'anna', priority: 'high', nested: { a: 1 }, list: [1] },
    });
    expect(answer.status).toBe(202);
    const found = await deliveries();
    expect(found).toMatchObject([
      { webhook: 'a', event: 'support.ticket_created', origin: 'request', data: { subject: 'Help', user: 'anna' } },
      { webhook: 'b', data: { subject: 'Help', priority: 'high' } },
    ]);
    expect(found[1]?.['data']).not.toHaveProperty('user');
    expect(answer.body).toMatchObject({
      success: true,
      message: 'Webhooks have been queued',
      data: { dispatched: 2, task_ids: found.map(({ id }) => `webhook:${id}`) },
    });
  });

  test('follows types when webhook_dispatch_all is off, and says nothing when notifications are', async () => {
    await rows(`insert into config (key, value) values ('webhook_dispatch_all', 'false')`);
    expect((await dispatch({ event: 'support.x' })).body).toMatchObject({ data: { dispatched: 1 } });
    expect((await dispatch({ event: 'billing.x', data: null })).body).toMatchObject({
      data: { dispatched: 0, task_ids: [] },
    });
    await rows(`insert into config (key, value) values ('discord_notifications_enabled', 'false')`);
    expect((await dispatch({ event: 'support.x' })).body).toMatchObject({ data: { dispatched: 0, task_ids: [] } });
  });

  test('refuses what is no event', async () => {
    for (const [body, error] of [
      [{}, 'event is required'],
      [{ event: 'a', data: { text: 'x\u0000' } }, 'Invalid request body'],
      [{ event: ' ' }, 'event is required'],
      [{ event: 7 }, 'Invalid request body'],
      [{ event: 'a\nb' }, 'Invalid event'],
      [{ event: 'a'.repeat(101) }, 'Invalid event'],
      [{ event: 'a', data: 'text' }, 'Invalid request body'],
      [
        { event: 'a', data: Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`k${n}`, n])) },
        'The data is too large',
      ],
    ] as const) {
      const answer = await dispatch(body);
      expect([answer.status, answer.body]).toMatchObject([400, { success: false, error }]);
    }
    expect((await dispatch({ event: 'a' }, {})).status).toBe(401);
    expect(await deliveries()).toEqual([]);
  });

  test('a requested event with the name of a report stays a requested event', async () => {
    await dispatch({ event: 'settings.updated', data: { by: 'root' } });
    for (const row of await deliveries()) expect(row).toMatchObject({ origin: 'request' });
  });
});

test('a registration is one event, which names the account by its id only', async () => {
  const body = {
    email: 'new-customer@example.com',
    password: 'Correct-horse-7',
    confirmPassword: 'Correct-horse-7',
    firstName: 'New',
  };
  const answer = await post('/api/v1/auth/register', body);
  expect([answer.status, answer.body]).toMatchObject([201, {}]);
  await post('/api/v1/auth/register', body);
  const [user] = await rows<{ id: string }>(`select u.id from users u where u.email = ?`, [body.email]);
  expect(await events('user.')).toEqual([['user.registered', { user_id: user?.id }]]);
});

test('a save of settings is one event with before and after, without secrets; one that changes nothing is none', async () => {
  const save = (body: unknown) => post('/api/admin/settings', body, bearer(admin.token));
  await rows(`update users set username = 'root' where id = ?`, [admin.id]);
  await save({ siteName: 'Old name' });
  await rows('truncate outbox');
  const body = { siteName: 'New name', githubToken: 'ghp_marker-of-a-secret-token', cacheTimeout: 300 };
  expect((await save(body)).status).toBe(200);
  expect((await save(body)).status).toBe(200);
  const found = await events('settings.');
  expect(found).toEqual([
    [
      'settings.updated',
      {
        by: 'root',
        changes: expect.arrayContaining([
          { key: 'siteName', before: 'Old name', after: 'New name' },
          { key: 'githubToken', before: '', after: '(updated)' },
        ]),
      },
    ],
  ]);
  expect(JSON.stringify(found)).not.toContain('marker-of-a-secret');
});

describe('security events', () => {
  test('are reported by ids and words, in the transaction of what they are about', async () => {
    const event = accountEvent('account-denied', admin.id, { details: { reason: 'stranger' } });
    await recordSecurityEvent({ db: harness.database.db }, event);
    expect(await events('security.')).toEqual([
      ['security.account_denied', { account: admin.id, actor: admin.id, reason: 'stranger' }],
    ]);
    await rows('truncate outbox');
    await expect(
      inTransaction(harness.database.db, async (trx) => {
        await recordSecurityEvent({ db: trx }, event);
        throw new Error('undone');
      }),
    ).rejects.toThrow('undone');
    await recordSecurityEvent({ db: harness.database.db }, accountEvent('sign-in', admin.id));
    expect(await events('security.')).toEqual([]);
  });

  test('of one kind are at most twenty in an hour, then one that says so', async () => {
    const deps = { db: harness.database.db, log: quiet };
    for (let n = 0; n < 30; n += 1) {
      await recordRefusal(
        deps,
        accountEvent('lockout', `user-${n}`, { outcome: 'refused', details: { limit: 'login' } }),
      );
    }
    const found = await events('security.');
    expect(found.slice(0, 20).map(([kind]) => kind)).toEqual(Array.from({ length: 20 }, () => 'security.lockout'));
    expect(found[0]?.[1]).toEqual({ account: 'user-0', actor: 'anonymous', limit: 'login' });
    expect(found.slice(20)).toEqual([['security.more', { event: 'security.lockout', per_hour: 20 }]]);
  });
});

/** Events that programs request: what is answered, what is queued, and what hostile requests come to. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { EventOrigin } from '../../../src/domain/events.ts';
import { renderMessage } from '../../../src/messages/discord/render-message.ts';
import { query } from '../../../src/store/db/query.ts';
import { API_KEY, bearer, type Harness, json, makeUser, startHarness } from '../../support/api/harness.ts';
import { resetRateLimits } from '../../support/api/sign-in.ts';

const PATH = '/api/v1/webhook/dispatch';
const KEY = { 'X-API-Key': API_KEY };

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
  await harness.database.db.raw('delete from discord_webhooks; delete from webhook_deliveries; delete from config');
});

const rows = <T = Record<string, unknown>>(sql: string, bindings: unknown[] = []): Promise<T[]> =>
  query<T>(harness.database.db, sql, bindings);
const webhook = (id: string, type: string, scope: string, enabled = true) =>
  rows(
    `insert into discord_webhooks (id, name, "webhookUrl", type, scope, enabled) values (?, 'Alerts', 'https://discord.com/api/webhooks/1/marker-token', ?, ?, ?)`,
    [id, type, scope, enabled],
  );
const dispatch = async (body: unknown, headers: Record<string, string> = KEY) => {
  const response = await harness.get(PATH, json(body, headers));
  return { status: response.status, body: await response.json() };
};
/** A body that no JSON.stringify makes. */
const raw = async (text: string) => (await harness.get(PATH, { ...json({}, KEY), body: text })).status;
interface Queued {
  id: string;
  webhook: string;
  event: string;
  origin: EventOrigin;
  data: Record<string, string>;
  at: Date;
}
const queued = () =>
  rows<Queued>(
    `select d.id, d.webhook_id as webhook, d.event, d.origin, d.data, d.occurred_at as at from webhook_deliveries d order by d.seq`,
  );
const dispatches = () =>
  rows<{ details: object; actor: string }>(
    `select a.details, a.actor_type as actor from audit_events a where a.action = 'webhook-dispatched' order by a.id`,
  );

describe('POST /api/v1/webhook/dispatch', () => {
  test('queues one delivery for each webhook that receives the event, and answers with their workflows', async () => {
    await webhook('a', 'SUPPORT', 'ADMIN');
    await webhook('b', 'SYSTEM', 'PUBLIC');
    await webhook('c', 'SUPPORT', 'ADMIN', false);
    const data = { subject: 'Hello', user: 'ada', priority: 7, extra: { nested: true } };
    const answer = await dispatch({ event: ' support.ticket_created ', data });
    const deliveries = await queued();
    expect(answer).toEqual({
      status: 202,
      body: {
        success: true,
        data: { dispatched: 2, task_ids: deliveries.map(({ id }) => `webhook:${id}`) },
        message: 'Webhooks have been queued',
      },
    });
    expect(deliveries).toMatchObject([
      { webhook: 'a', event: 'support.ticket_created', origin: 'request', data: { subject: 'Hello', user: 'ada' } },
      { webhook: 'b', event: 'support.ticket_created', origin: 'request', data: { subject: 'Hello', priority: 7 } },
    ]);
    expect(JSON.stringify(deliveries)).not.toContain('nested');
    expect(await dispatches()).toEqual([
      { actor: 'apiKey', details: { event: 'support.ticket_created', deliveries: 2 } },
    ]);
    expect(JSON.stringify(answer)).not.toContain('marker-token');
  });

  test('an administrator may; without data, without receivers of the type, and while notifications are off, the list is empty', async () => {
    const admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
    const empty = { success: true, data: { dispatched: 0, task_ids: [] }, message: 'Webhooks have been queued' };
    expect(await dispatch({ event: 'x', data: null }, bearer(admin.token))).toEqual({ status: 202, body: empty });
    await webhook('a', 'SYSTEM', 'ADMIN');
    await rows(`insert into config (id, key, value) values ('t', 'webhook_dispatch_all', 'false')`);
    expect((await dispatch({ event: 'billing.x' })).body).toEqual(empty);
    await rows(`insert into config (id, key, value) values ('d', 'discord_notifications_enabled', 'false')`);
    expect((await dispatch({ event: 'x' })).body).toEqual(empty);
    const customer = await makeUser(harness);
    expect((await dispatch({ event: 'x' }, bearer(customer.token))).status).toBe(403);
    expect((await dispatch({ event: 'x' }, {})).body).toMatchObject({ error: 'Invalid or missing API key' });
    expect(await queued()).toEqual([]);
  });

  test.each([
    ['no event', { data: {} }, 'event is required'],
    ['a blank event', { event: ' \n ' }, 'event is required'],
    ['an event that is null', { event: null }, 'event is required'],
    ['an event that is a number', { event: 7 }, 'Invalid request body'],
    ['no object', ['x'], 'Invalid request body'],
    ['data that is a list', { event: 'x', data: ['x'] }, 'Invalid request body'],
    ['data that is a text', { event: 'x', data: 'x' }, 'Invalid request body'],
    ['a long event', { event: 'x'.repeat(101) }, 'Invalid event'],
    ['a control character in the event', { event: 'a\u0007b' }, 'Invalid event'],
    ['a NUL in the event', { event: 'a\0b' }, 'Invalid request body'],
    ['a NUL in the data', { event: 'x', data: { 'a\0': 'x' } }, 'Invalid request body'],
    ['half of a surrogate pair in the event', { event: 'a\ud83d' }, 'Invalid request body'],
    [
      'many values',
      { event: 'x', data: Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`k${i}`, i])) },
      'The data is too large',
    ],
  ])('refuses %s', async (_, body, error) => {
    await webhook('a', 'SYSTEM', 'ADMIN');
    const before = (await dispatches()).length;
    expect(await dispatch(body)).toMatchObject({ status: 400, body: { success: false, error } });
    expect([await queued(), (await dispatches()).length]).toEqual([[], before]);
  });

  test('a body that is not JSON is 400, and a large one 413', async () => {
    expect(await raw('{"event":')).toBe(400);
    expect(await raw(`{"event":"x","data":{"a":"${'x'.repeat(70_000)}"}}`)).toBe(413);
  });

  test('a failure of the database has the sentence of the contract, and nothing is kept', async () => {
    await webhook('a', 'SYSTEM', 'ADMIN');
    const before = (await dispatches()).length;
    await harness.database.db.raw('alter table webhook_deliveries rename to deliveries_away');
    try {
      expect(await dispatch({ event: 'x' })).toMatchObject({
        status: 500,
        body: { error: 'Failed to fetch webhooks' },
      });
    } finally {
      await harness.database.db.raw('alter table deliveries_away rename to webhook_deliveries');
    }
    expect((await dispatches()).length).toBe(before);
  });

  test('keys of prototypes, cut pairs, deep and odd values are stored as harmless data, or not at all', async () => {
    await webhook('a', 'SYSTEM', 'ADMIN');
    const odd = `{"__proto__":{"polluted":true},"constructor":"c","toString":"t","cut":"${'x'.repeat(1_999)}🚀","n":1e999,"":"empty","z":null,"b":false}`;
    expect(await raw(`{"event":"sync.completed","__proto__":{"event":"y"},"data":${odd}}`)).toBe(202);
    const deep = `${'['.repeat(30_000)}${']'.repeat(30_000)}`;
    expect(await raw(`{"event":"x","data":{"deep":${deep},"type":"kept"}}`)).toBe(202);
    for (const event of ['__proto__', 'constructor', 'hasOwnProperty.x', '.', '@everyone', "'; drop table users --"]) {
      expect(await raw(JSON.stringify({ event, data: { [event]: event } }))).toBe(202);
    }
    const [first, second, ...others] = await queued();
    expect(first?.data).toMatchObject({
      constructor: 'c',
      toString: 't',
      '': 'empty',
      cut: `${'x'.repeat(1_999)}\uFFFD`,
    });
    expect(second?.data).toEqual({ type: 'kept' });
    expect(others).toHaveLength(6);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  test('no caller can send what looks like a report of the service', async () => {
    await webhook('a', 'SYSTEM', 'ADMIN');
    const data = {
      by: 'root',
      changes: [{ key: 'x' }],
      type: 'full',
      duration: '1 s',
      account: 'u',
      status: 'COMPLETED',
    };
    for (const event of ['sync.completed', 'sync.cancelled', 'settings.updated', 'security.lockout', 'Security.More']) {
      expect((await dispatch({ event, data })).body.data).toMatchObject({ dispatched: 1 });
    }
    const titles = (await queued()).map(({ event, origin, data: stored, at }) => {
      const { embeds } = renderMessage(
        { event, origin, data: stored, occurredAt: at },
        { scope: 'ADMIN', plain: false },
      );
      return [embeds?.[0]?.title, embeds?.[0]?.description];
    });
    expect(titles).toEqual([
      ['✅ Sync Completed', 'Synchronization completed successfully.'],
      ['📢 Notification', 'Event: sync.cancelled'],
      ['📢 Notification', 'Event: settings.updated'],
      ['📢 Notification', 'Event: security.lockout'],
      ['📢 Notification', 'Event: Security.More'],
    ]);
  });

  test('the same request twice sends two messages', async () => {
    await webhook('a', 'SYSTEM', 'ADMIN');
    const answers = await Promise.all([dispatch({ event: 'x' }), dispatch({ event: 'x' })]);
    expect(new Set(answers.flatMap(({ body }) => body.data['task_ids'])).size).toBe(2);
  });

  test('an administrator has 60 in an hour; a program is not counted with them', async () => {
    const admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
    const statuses: number[] = [];
    for (let i = 0; i < 61; i += 1) statuses.push((await dispatch({ event: '' }, bearer(admin.token))).status);
    expect([statuses.slice(0, 60).every((status) => status === 400), statuses[60]]).toEqual([true, 429]);
    expect((await dispatch({ event: 'x' })).status).toBe(202);
  });
});

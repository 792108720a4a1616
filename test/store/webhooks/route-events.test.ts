/** From events to deliveries: which webhooks receive what, and what is stored of it. */
import pino from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { EventData } from '../../../src/domain/events.ts';
import { renderMessage } from '../../../src/messages/discord/render-message.ts';
import { routeEvents, routeNotice } from '../../../src/services/webhooks/route-events.ts';
import { type Db, inTransaction } from '../../../src/store/db/db.ts';
import { query } from '../../../src/store/db/query.ts';
import { dueRows } from '../../../src/store/outbox-store.ts';
import { emitEvents } from '../../../src/store/webhooks/event-store.ts';
import type { TemporalGateway } from '../../../src/temporal/connection.ts';
import { relayEvents } from '../../../src/temporal/delivery-relay.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
let db: Db;
beforeAll(async () => {
  database = await createTestDatabase({ max: 4 });
  db = database.db;
  // Databases of the existing service can hold rows without a type, a scope or a name.
  await database.db.raw(
    `alter table discord_webhooks alter column type drop not null, alter column scope drop not null, alter column name drop not null`,
  );
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.db.raw('truncate outbox, discord_webhooks, webhook_deliveries, sync_logs, config, users cascade');
});

async function webhook(
  id: string,
  columns: { type?: string | null; scope?: string | null; enabled?: boolean; name?: string | null } = {},
): Promise<void> {
  const { type = 'SYSTEM', scope = 'ADMIN', enabled = true, name = `name of ${id}` } = columns;
  await query(
    db,
    `insert into discord_webhooks (id, name, "webhookUrl", type, scope, enabled) values (?, ?, 'https://x.example/1/a', ?, ?, ?)`,
    [id, name, type, scope, enabled],
  );
}
const setting = (key: string, value: string) =>
  query(db, `insert into config (id, key, value) values (?, ?, ?)`, [key, key, value]);
const user = (id: string, email: string) => query(db, `insert into users (id, email) values (?, ?)`, [id, email]);
const syncLog = (id: string, columns: { status: string; error?: string; metadata?: unknown; items?: number[] }) =>
  query(
    db,
    `insert into sync_logs (id, type, status, error, metadata, "itemsTotal", "itemsSynced", "itemsFailed", "durationSeconds")
     values (?, 'full', ?, ?, ?::jsonb, ?, ?, ?, 7)`,
    [
      id,
      columns.status,
      columns.error ?? null,
      JSON.stringify(columns.metadata ?? null),
      ...(columns.items ?? [null, null, null]),
    ],
  );

interface Delivery {
  webhook: string;
  event: string;
  origin: string;
  data: EventData;
  occurredAt: Date;
}
const deliveries = () =>
  query<Delivery>(
    db,
    `select d.webhook_id as webhook, d.event, d.origin, d.data, d.occurred_at as "occurredAt" from webhook_deliveries d order by d.seq`,
  );
const received = async () => (await deliveries()).map(({ webhook: id, event }) => `${id} ${event}`);
/** Writes events and routes them as the relay does. */
async function route(...events: Parameters<typeof emitEvents>[1]) {
  await emitEvents(db, events);
  return inTransaction(db, async (trx) => {
    const rows = await dueRows(trx, [...new Set(events.map(({ event }) => event))], 1_000);
    return routeEvents(trx, rows);
  });
}
const outbox = () =>
  query<{ key: string; status: string; error: string | null }>(
    db,
    `select o.dedupe_key as key, o.status, o.last_error as error from outbox o order by o.seq`,
  );

describe('who receives an event', () => {
  beforeEach(async () => {
    await webhook('admin');
    await webhook('games', { type: 'GAME_SERVER', scope: 'PUBLIC' });
    await webhook('billing', { type: 'BILLING', scope: 'USER' });
    await webhook('old', { type: null, scope: null, name: null });
    await webhook('off', { enabled: false });
  });
  const EVENTS = [
    { event: 'server.created', key: '1', data: { name: 'Lobby', owner: 'ada', node: 'n1' } },
    { event: 'user.registered', key: '2', data: { user_id: 'gone' } },
    { event: 'settings.updated', key: '3', data: { by: 'ada', changes: [] } },
  ] as const;

  test('every type takes every event, scopes are kept, and nothing that names a person is stored for other scopes', async () => {
    await route(...EVENTS);
    expect(await received()).toEqual([
      'admin server.created',
      'billing server.created',
      'games server.created',
      'old server.created',
      'admin user.registered',
      'old user.registered',
      'admin settings.updated',
      'old settings.updated',
    ]);
    const [admin, billing, games] = await deliveries();
    expect(admin?.data).toEqual({ name: 'Lobby', owner: 'ada', node: 'n1' });
    expect([billing?.data, games?.data]).toEqual([{ name: 'Lobby' }, { name: 'Lobby' }]);
    const names = await query(db, `select distinct d.webhook_name as name from webhook_deliveries d order by name`);
    expect(names).toEqual([
      { name: '' },
      { name: 'name of admin' },
      { name: 'name of billing' },
      { name: 'name of games' },
    ]);
  });

  test('without webhook_dispatch_all, the type decides', async () => {
    await setting('webhook_dispatch_all', 'false');
    await route(...EVENTS);
    expect(await received()).toEqual([
      'admin server.created',
      'games server.created',
      'old server.created',
      'admin user.registered',
      'old user.registered',
      'admin settings.updated',
      'old settings.updated',
    ]);
  });

  test('without discord_notifications_enabled, no webhook does', async () => {
    await setting('discord_notifications_enabled', 'false');
    expect(await route(...EVENTS)).toEqual({ failed: [] });
    expect(await deliveries()).toEqual([]);
    expect(await routeNotice(db, { event: 'x', origin: 'request', data: {}, occurredAt: new Date() })).toEqual([]);
  });

  test('as many statements for fifty events and twenty webhooks as for few', async () => {
    const counted = async (events: Parameters<typeof emitEvents>[1]) => {
      await emitEvents(db, events);
      let statements = 0;
      const count = () => {
        statements += 1;
      };
      await inTransaction(db, async (trx) => {
        const rows = await dueRows(trx, ['server.created', 'user.registered', 'sync.failed'], 1_000);
        database.db.on('query', count);
        await routeEvents(trx, rows);
        database.db.off('query', count);
      });
      return statements;
    };
    const some = (n: number) =>
      Array.from({ length: n }, (_, i) => [
        { event: 'server.created' as const, key: `${n}-${i}`, data: { name: 'x' } },
        { event: 'user.registered' as const, key: `${n}-${i}`, data: { user_id: 'u' } },
        { event: 'sync.failed' as const, key: `${n}-${i}`, data: { log_id: 'l' } },
      ]).flat();
    const few = await counted(some(1));
    for (let i = 0; i < 16; i += 1) await webhook(`more-${i}`);
    expect(await counted(some(17))).toBe(few);
    expect(few).toBeLessThanOrEqual(6);
  });
});

describe('what an event tells', () => {
  beforeEach(() => webhook('admin'));

  test('the outcome of a sync is read from its log row', async () => {
    const warnings = [{ code: 'A', message: 'first' }, { code: 'B', message: 'second' }, { code: 'C' }, 'odd'];
    await syncLog('a', { status: 'COMPLETED', metadata: { duration: 12.345, warnings }, items: [100, 98, 2] });
    await syncLog('b', { status: 'FAILED', error: 'no answer', metadata: ['odd'] });
    await syncLog('c', { status: 'RUNNING' });
    const payload = (log_id: string, status: string) => ({ log_id, type: 'full', status });
    await route(
      { event: 'sync.completed', key: 'a', data: payload('a', 'COMPLETED') },
      { event: 'sync.failed', key: 'b', data: payload('b', 'FAILED') },
      // Its run was reset since: the row tells of the new one.
      { event: 'sync.failed', key: 'c', data: payload('c', 'FAILED') },
      // Its row was deleted.
      { event: 'sync.cancelled', key: 'd', data: payload('d', 'CANCELLED') },
    );
    expect((await deliveries()).map(({ data }) => data)).toEqual([
      {
        ...payload('a', 'COMPLETED'),
        error: null,
        duration: 12.345,
        items_total: 100,
        items_synced: 98,
        items_failed: 2,
        warnings: ['first', 'second'],
        warnings_total: 2,
      },
      expect.objectContaining({ error: 'no answer', duration: 7, items_total: null, warnings: [] }),
      payload('c', 'FAILED'),
    ]);
  });

  test('a registration has the address of the account, unless it was deleted', async () => {
    await user('u1', 'ada@example.com');
    await route(
      { event: 'user.registered', key: '1', data: { user_id: 'u1' } },
      { event: 'user.registered', key: '2', data: { user_id: 'u2' } },
    );
    expect((await deliveries()).map(({ data }) => data)).toEqual([
      { user_id: 'u1', email: 'ada@example.com' },
      { user_id: 'u2' },
    ]);
  });

  test('a requested event keeps its single values, whatever characters they have', async () => {
    await webhook('b', { scope: 'PUBLIC' });
    const at = new Date('2031-03-01T09:30:00Z');
    const data = {
      name: 'a\0b\ud800c',
      owner: 'ada',
      reason: 'x'.repeat(100_000),
      nested: { deep: ['x'] },
      'odd\0\udfff': 1,
      ['__proto__']: 'y',
    };
    const ids = await routeNotice(db, { event: 'server.suspended', origin: 'request', data, occurredAt: at });
    const stored = await deliveries();
    expect(ids).toHaveLength(2);
    expect(stored.map(({ webhook: id, origin, occurredAt }) => [id, origin, occurredAt])).toEqual([
      ['admin', 'request', at],
      ['b', 'request', at],
    ]);
    expect(Object.keys(stored[0]?.data ?? {}).toSorted()).toEqual([
      '__proto__',
      'name',
      'odd \ufffd',
      'owner',
      'reason',
    ]);
    expect(stored[0]?.data['name']).toBe('a b\ufffdc');
    expect(stored[1]?.data).toEqual({ name: 'a b\ufffdc', reason: 'x'.repeat(2_000) });
    const event = `odd\0${'\ud800'}`;
    expect(await routeNotice(db, { event, origin: 'request', data: {}, occurredAt: at })).toHaveLength(2);
  });
});

describe('the relay', () => {
  const log = pino({ level: 'silent' });
  const relay = () =>
    inTransaction(db, (trx) =>
      // Routing calls nothing of Temporal.
      relayEvents({ db, log, temporal: {} as TemporalGateway, routeEvents }, trx, 50),
    );

  test('an event of an unknown form is tried again later; the others are routed, and old ones are skipped', async () => {
    await webhook('admin');
    await query(
      db,
      `insert into outbox (kind, dedupe_key, payload, created_at) values
         ('server.deleted', 'old', '{"name": "x"}', now() - interval '25 hours'),
         ('sync.failed', 'bad 1', '{}', now()), ('user.registered', 'bad 2', '{"user_id": 7}', now()),
         ('server.deleted', 'bad 3', '["x"]', now()), ('server.deleted', 'bad 4', 'null', now()),
         ('server.deleted', 'good', '{"name": "y"}', now())`,
    );
    expect(await relay()).toBe(5);
    expect(await outbox()).toEqual([
      { key: 'old', status: 'skipped', error: 'older than 24 hours' },
      { key: 'bad 1', status: 'pending', error: 'the payload has no log_id' },
      { key: 'bad 2', status: 'pending', error: 'the payload has no user_id' },
      { key: 'bad 3', status: 'pending', error: 'the payload is not an object' },
      { key: 'bad 4', status: 'pending', error: 'the payload is not an object' },
      { key: 'good', status: 'dispatched', error: null },
    ]);
    expect((await deliveries()).map(({ data }) => data)).toEqual([{ name: 'y' }]);
  });

  test('a delivery has the time of its event, and makes a message', async () => {
    await webhook('admin');
    await emitEvents(db, [{ event: 'server.deleted', key: '1', data: { name: 'Lobby', owner: 'ada' } }]);
    await query(db, `update outbox set created_at = '2031-03-01T09:30:00Z'`);
    await relay();
    const [delivery] = await deliveries();
    if (delivery === undefined) throw new Error('no delivery');
    const { event, data, occurredAt } = delivery;
    expect(
      renderMessage({ event, origin: 'service', data, occurredAt }, { scope: 'ADMIN', plain: true }),
    ).toMatchObject({
      embeds: [{ title: '🗑️ Server Deleted', timestamp: '2031-03-01T09:30:00.000Z' }],
    });
  });
});

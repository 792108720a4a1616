/** Webhooks of administrators over HTTP, with real PostgreSQL; Discord is a fake whose answers each test chooses. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startDiscordSimulator } from '../../../simulators/discord/simulator.ts';
import type { InspectResult, PostResult } from '../../../src/clients/discord/answers.ts';
import { createDiscordClient } from '../../../src/clients/discord/client.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { query } from '../../../src/store/db/query.ts';
import { pause } from '../../../src/store/webhooks/attempt-store.ts';
import { queueDeliveries } from '../../../src/store/webhooks/delivery-store.ts';
import { createWebhookStore } from '../../../src/store/webhooks/webhook-store.ts';
import { bearer, ENCRYPTION_KEY, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import { openTransaction } from '../../support/database.ts';
import { decryptByHand, encryptByHand, randomKey } from '../../support/encrypted.ts';

const PATH = '/api/admin/settings/webhooks';
const key = new Secret(ENCRYPTION_KEY);
const rows = <T = Record<string, unknown>>(sql: string, bindings: unknown[] = []): Promise<T[]> =>
  query<T>(harness.database.db, sql, bindings);

let harness: Harness;
let system: string;
let administrator: string;
/** What Discord answers. */
let inspected: () => InspectResult | Promise<InspectResult>;
let posted: PostResult | Error;
/** Happens while a message is on its way. */
let meanwhile: () => Promise<unknown>;
let inspections: string[];
let sent: { url: string; message: unknown; deliveryId: string }[];

const ALIVE: InspectResult = { state: 'alive', channelId: '77', name: 'Alerts' };
const ARRIVED: PostResult = { outcome: 'delivered', httpStatus: 204, messageId: null, channelId: '78' };
const DEAD: PostResult = {
  outcome: 'refused',
  httpStatus: 404,
  discordCode: 10015,
  detail: 'Discord does not know this webhook',
  dead: true,
  plainHelps: false,
};

beforeAll(async () => {
  harness = await startHarness({
    deps: {
      discord: {
        async inspect(url) {
          inspections.push(url);
          return inspected();
        },
        async post(url, message, { deliveryId }) {
          sent.push({ url, message, deliveryId });
          await meanwhile();
          if (posted instanceof Error) throw posted;
          return posted;
        },
      },
    },
  });
  system = (await makeUser(harness, { isSystemAdmin: true, roles: ['SUPER_ADMIN'] })).token;
  administrator = (await makeUser(harness, { roles: ['ADMINISTRATOR'] })).token;
});
afterAll(() => harness.close());
beforeEach(async () => {
  await harness.database.db.raw(
    ['discord_webhooks', 'webhook_states', 'webhook_pauses', 'webhook_attempts', 'webhook_deliveries', 'rate_limits']
      .map((table) => `delete from ${table}`)
      .join(';'),
  );
  inspected = () => ALIVE;
  posted = ARRIVED;
  meanwhile = async () => undefined;
  inspections = [];
  sent = [];
});

/** Sends a request as the system administrator unless another token is given. */
async function call(method: string, path: string, body?: unknown, token = system) {
  const response = await harness.get(path, {
    method,
    headers: { ...bearer(token), ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { ...(await response.json()), status: response.status, headers: response.headers };
}
const list = async () => (await call('GET', PATH)).webhooks;
const find = async (id: string) => (await call('GET', `${PATH}/${id}`)).webhook;

let serial = 0;
const hookUrl = (more = ''): string => {
  serial += 1;
  return `https://discord.com/api/webhooks/${1000 + serial}/secret-token-${String(serial).padStart(8, '0')}${more}`;
};
const masked = (url: string): string => url.replace(/secret-token-\d+(?=\d{4})/, '••••').replace(/\?.*/, '');
const create = async (body: Record<string, unknown> = {}) => {
  const url = hookUrl();
  const answer = await call('POST', PATH, { name: 'Alerts', webhookUrl: url, ...body });
  expect(answer.status, answer.error).toBe(200);
  return { url, ...answer.webhook };
};
const storedUrl = async (id: string): Promise<string> => {
  const [row] = await rows<{ url: string }>(`select w."webhookUrl" as url from discord_webhooks w where w.id = ?`, [
    id,
  ]);
  return row?.url ?? '';
};
/** Audit events of a webhook, oldest first. */
const events = (id: string) =>
  rows(`select a.action, a.actor_type, a.details from audit_events a where a.target_id = ? order by a.id`, [id]);
const queueFor = (webhookId: string, count: number) =>
  queueDeliveries(
    harness.database.db,
    Array.from({ length: count }, (_, n) => ({
      webhookId,
      webhookName: 'Alerts',
      event: `event.${n}`,
      origin: 'request' as const,
      data: {},
      occurredAt: new Date(),
    })),
  );
const deliveries = (id: string) =>
  rows(`select d.status, d.reason from webhook_deliveries d where d.webhook_id = ? order by d.seq`, [id]);

/** Resolves when one statement waits for the lock of another transaction. */
const untilOneWaits = () =>
  expect
    .poll(
      async () =>
        (
          await rows(
            `select 1 as one from pg_stat_activity a where a.datname = current_database() and a.wait_event_type = 'Lock'`,
          )
        ).length,
    )
    .toBe(1);

/** Discord answers once it was asked so many times: what was read before is the same for all of them. */
function whenAsked(times: number): () => Promise<InspectResult> {
  const waiting: (() => void)[] = [];
  return async () => {
    const answered = new Promise<void>((resolve) => waiting.push(resolve));
    if (waiting.length === times) for (const go of waiting) go();
    await answered;
    return ALIVE;
  };
}

describe('creating', () => {
  test('encrypts the URL with its query, shows its mask, and stores what Discord said', async () => {
    const url = hookUrl('?thread_id=5');
    const body = { name: ' Alerts ', webhookUrl: ` ${url}\n`, type: 'BILLING', description: 'Money', scope: 'USER' };
    const answer = await call('POST', PATH, body);
    expect(answer).toMatchObject({
      success: true,
      webhook: { name: 'Alerts', webhookUrl: masked(url), type: 'BILLING', scope: 'USER', description: 'Money' },
      warnings: [],
    });
    expect(answer.webhook.webhookUrl).toMatch(/^https:\/\/discord\.com\/api\/webhooks\/\d+\/••••\d{4}$/);
    const { id } = answer.webhook;
    expect(decryptByHand(key, await storedUrl(id))).toBe(url);
    expect(inspections).toEqual([url]);
    expect(sent).toEqual([]);
    expect(await list()).toEqual([
      {
        id,
        name: 'Alerts',
        webhookUrl: masked(url),
        type: 'BILLING',
        scope: 'USER',
        description: 'Money',
        enabled: true,
        testSuccessAt: null,
        createdAt: expect.stringMatching(/Z$/),
        checkedAt: expect.stringMatching(/Z$/),
        disabledReason: null,
        disabledAt: null,
        problem: null,
      },
    ]);
    expect(await rows('select s.channel_id from webhook_states s')).toEqual([{ channel_id: '77' }]);
    expect(await events(id)).toEqual([
      {
        action: 'webhook-created',
        actor_type: 'user',
        details: { after: { name: 'Alerts', type: 'BILLING', scope: 'USER', enabled: true } },
      },
    ]);
  });

  test('without type and scope makes SYSTEM and ADMIN, and null or blank texts count as absent (W9)', async () => {
    await create();
    await create({ type: '', scope: null, description: null });
    for (const webhook of await list()) {
      expect(webhook).toMatchObject({ type: 'SYSTEM', scope: 'ADMIN', description: '' });
    }
  });

  test.each([
    [{}, 'name and webhookUrl are required'],
    [{ name: 'A' }, 'name and webhookUrl are required'],
    [{ name: '  ', webhookUrl: 'x' }, 'name and webhookUrl are required'],
    [{ name: 'A', webhookUrl: 'http://discord.com/api/webhooks/1/token' }, 'Invalid Discord webhook URL'],
    [{ name: 'A', webhookUrl: 'https://evil.example/api/webhooks/1/token' }, 'Invalid Discord webhook URL'],
    [{ name: 'A', webhookUrl: 'https://discord.com@evil.example/api/webhooks/1/t' }, 'Invalid Discord webhook URL'],
    [{ name: 'A', webhookUrl: 'http://127.0.0.1:1/api/webhooks/1/token' }, 'Invalid Discord webhook URL'],
    [{ name: 'A', webhookUrl: 'https://discord.com/api/webhooks/1/••••0001' }, 'Invalid Discord webhook URL'],
    [{ name: 'A', webhookUrl: '••••' }, 'Invalid Discord webhook URL'],
    [{ name: 'A', type: 'system' }, 'Invalid webhook type'],
    [{ name: 'A', type: 'constructor' }, 'Invalid webhook type'],
    [{ name: 'A', scope: 'EVERYBODY' }, 'Invalid webhook scope'],
    [{ name: 'n'.repeat(101) }, 'name: at most 100 characters'],
    [{ name: 'A', description: 'd'.repeat(1001) }, 'description: at most 1000 characters'],
    [
      { name: 'https://discord.com/api/webhooks/1/secret-token-1' },
      'name: the URL of a webhook is a secret, and does not belong here',
    ],
    [
      { name: 'A', description: 'see discord.com/api/webhooks/1/secret-token-1' },
      'description: the URL of a webhook is a secret, and does not belong here',
    ],
    [{ name: 7 }, 'Invalid request body'],
    [{ name: { toString: 'x' } }, 'Invalid request body'],
    [['a'], 'Invalid request body'],
  ])('refuses %j', async (body, error) => {
    const whole =
      Array.isArray(body) || 'webhookUrl' in body || error.includes('required')
        ? body
        : { webhookUrl: hookUrl(), ...body };
    expect(await call('POST', PATH, whole)).toMatchObject({ status: 400, success: false, error });
    expect(await list()).toEqual([]);
    expect(inspections).toEqual([]);
  });

  test('refuses a URL that Discord does not know, and says so', async () => {
    inspected = () => ({ state: 'dead', detail: 'Discord does not know this webhook' });
    expect(await call('POST', PATH, { name: 'A', webhookUrl: hookUrl() })).toMatchObject({
      status: 400,
      error: 'Invalid Discord webhook URL',
      message: 'Discord does not know this webhook',
      details: [{ path: 'body.webhookUrl', message: 'Discord does not know this webhook' }],
    });
    expect(await list()).toEqual([]);
  });

  test('saves a URL that could not be checked, with a warning; during a pause Discord is not asked', async () => {
    inspected = () => ({ state: 'unknown', detail: 'Discord cannot be reached' });
    const answer = await call('POST', PATH, { name: 'A', webhookUrl: hookUrl() });
    expect(answer).toMatchObject({ status: 200, webhook: { checkedAt: null } });
    expect(answer.warnings).toEqual([expect.stringContaining('Discord cannot be reached')]);
    await inTransaction(harness.database.db, (trx) =>
      pause(trx, { webhookId: '', channel: '' }, { scope: 'all', ms: 60_000, reason: 'Discord blocks this address' }),
    );
    const paused = await call('POST', PATH, { name: 'B', webhookUrl: hookUrl() });
    expect(paused.status).toBe(200);
    expect(paused.warnings).toEqual([expect.stringContaining('Discord blocks this address')]);
    expect(inspections).toHaveLength(1);
  });

  test('twice the same gives the same webhook, also at the same time; another field makes another webhook', async () => {
    const body = { name: 'Alerts', webhookUrl: hookUrl(), type: 'VPS' };
    inspected = whenAsked(3);
    const answers = await Promise.all([1, 2, 3].map(() => call('POST', PATH, body)));
    const ids = new Set(answers.map(({ webhook }) => webhook.id));
    expect(ids.size).toBe(1);
    for (const { warnings } of answers) expect(warnings).toEqual([]);
    const [id = ''] = ids;
    expect(await events(id)).toHaveLength(1);
    // The same URL for other events is wanted, and said.
    inspected = () => ALIVE;
    const other = await call('POST', PATH, { ...body, type: 'SUPPORT', name: 'Support' });
    expect(other.webhook.id).not.toBe(id);
    expect(other.warnings).toEqual([expect.stringContaining('"Alerts"')]);
    // After a minute the request is a new one.
    await rows(`update discord_webhooks set "createdAt" = "createdAt" - interval '61 s'`);
    expect((await call('POST', PATH, body)).webhook.id).not.toBe(id);
    expect(await list()).toHaveLength(3);
  });

  test('warns of another webhook in the same channel, not of one in another thread', async () => {
    await create({ name: 'First' });
    const second = await call('POST', PATH, { name: 'Second', webhookUrl: hookUrl() });
    expect(second.warnings).toEqual([expect.stringContaining('"First"')]);
    const third = await call('POST', PATH, { name: 'Third', webhookUrl: hookUrl('?thread_id=9') });
    expect(third.warnings).toEqual([]);
  });
});

describe('reading', () => {
  test('lists every row of an older database: nulls, clear and unreadable URLs, hosts that are not allowed any more (20)', async () => {
    await harness.database.db.raw(`
      alter table discord_webhooks alter column name drop not null, alter column "webhookUrl" drop not null,
        alter column type drop not null, alter column scope drop not null, alter column enabled drop not null,
        alter column "createdAt" drop not null`);
    const lost = encryptByHand(randomKey(), hookUrl());
    await rows(
      `insert into discord_webhooks (id, name, "webhookUrl", type, scope, description, enabled, "createdAt") values
        ('null', null, null, null, null, null, null, null),
        ('clear', 'Clear', 'https://discord.com/api/webhooks/1/clear-token-0123456789', 'OTHER', 'NOBODY', null, true, '2026-01-01 10:00:00.5'),
        ('lost', 'Lost', ?, 'SYSTEM', 'ADMIN', '', true, '2026-01-02'),
        ('proxy', 'Proxy', 'https://old.example/api/webhooks/1/proxy-token-0123456789', 'SYSTEM', 'ADMIN', '', true, '2026-01-03')`,
      [lost],
    );
    const found = await list();
    expect(found.map(({ id }) => id)).toEqual(['proxy', 'lost', 'clear', 'null']);
    expect(found).toMatchObject([
      { webhookUrl: 'https://old.example/api/webhooks/1/••••6789', problem: expect.stringContaining('discord.com') },
      { webhookUrl: '••••', problem: expect.stringContaining('cannot be decrypted') },
      {
        webhookUrl: 'https://discord.com/api/webhooks/1/••••6789',
        type: 'OTHER',
        scope: 'NOBODY',
        description: '',
        createdAt: '2026-01-01T10:00:00.500Z',
        problem: null,
      },
      {
        name: '',
        webhookUrl: '',
        type: 'SYSTEM',
        scope: 'ADMIN',
        description: '',
        enabled: false,
        createdAt: null,
        problem: expect.any(String),
      },
    ]);
    for (const { id, type, scope, description, enabled, webhookUrl, name } of found) {
      expect(await find(id)).toEqual(found.find((one) => one.id === id));
      // What the page sends back as it was loaded changes nothing, however old it is.
      const form = { id, name, webhookUrl, type, description, scope, enabled };
      expect(await call('PUT', PATH, form)).toMatchObject({ status: 200 });
      expect(await events(id)).toEqual([]);
    }
    expect(await storedUrl('lost')).toBe(lost);
    expect(await storedUrl('clear')).toContain('clear-token');
    // An unreadable URL is not tested, and can be entered again.
    expect(await call('PATCH', PATH, { id: 'lost' })).toMatchObject({ status: 409 });
    expect(await call('PATCH', PATH, { id: 'null' })).toMatchObject({
      status: 400,
      error: 'Invalid Discord webhook URL',
    });
    expect(await call('PATCH', PATH, { id: 'proxy' })).toMatchObject({ status: 400 });
    expect(sent).toEqual([]);
    const url = hookUrl();
    expect((await call('PUT', PATH, { id: 'lost', webhookUrl: url })).webhook).toMatchObject({ problem: null });
    expect(decryptByHand(key, await storedUrl('lost'))).toBe(url);
    // Without a key of its own, a process shows an encrypted URL as unreadable, not as a text.
    const [keyless] = await createWebhookStore(createEncryption({})).list(harness.database.db);
    expect(keyless?.url).toBe('https://old.example/api/webhooks/1/proxy-token-0123456789');
    expect((await createWebhookStore(createEncryption({})).find(harness.database.db, 'lost'))?.url).toBeUndefined();
  });

  test('is for every administrator; an unknown id is 404', async () => {
    const { id } = await create();
    expect((await call('GET', PATH, undefined, administrator)).webhooks).toMatchObject([{ id }]);
    expect(await call('GET', `${PATH}/none`)).toMatchObject({ status: 404, error: 'Webhook not found' });
    for (const odd of ['%00', '..%2F..', "'%20or%20''='", 'x'.repeat(201), '%F0%9F%92%A5', '%']) {
      for (const method of ['GET', 'PUT', 'PATCH', 'DELETE']) {
        const body = method === 'GET' ? undefined : { name: 'Odd' };
        expect([400, 404], `${method} ${odd}`).toContain((await call(method, `${PATH}/${odd}`, body)).status);
      }
    }
    for (const path of [`${PATH}?id[]=${id}`, `${PATH}?ids=${id}`]) {
      expect([400, 404]).toContain((await call('DELETE', path)).status);
    }
    expect(await list()).toMatchObject([{ id, name: 'Alerts' }]);
  });
});

describe('changing', () => {
  test('applies every field that is present, also a blank description (19)', async () => {
    const { id, url } = await create({ description: 'Old', type: 'VPS' });
    const next = hookUrl();
    const form = { id, name: 'New', type: 'CUSTOM', scope: 'PUBLIC', description: '', enabled: false };
    const answer = await call('PUT', PATH, { ...form, webhookUrl: next });
    expect(answer).toMatchObject({ status: 200, success: true, message: 'Webhook updated', warnings: [] });
    expect(await find(id)).toMatchObject({ ...form, webhookUrl: masked(next) });
    expect(inspections).toEqual([url, next]);
    expect((await events(id))[1]).toEqual({
      action: 'webhook-changed',
      actor_type: 'user',
      details: {
        before: { name: 'Alerts', type: 'VPS', scope: 'ADMIN', enabled: true },
        after: {
          name: 'New',
          type: 'CUSTOM',
          scope: 'PUBLIC',
          enabled: false,
          webhookUrl: '(changed)',
          description: '(cleared)',
        },
      },
    });
  });

  test('takes the id from the path and the query, and fields from an object `webhook`', async () => {
    const { id, url } = await create();
    expect((await call('PUT', `${PATH}/${id}`, { description: 'One' })).status).toBe(200);
    expect(await find(id)).toMatchObject({ description: 'One' });
    expect((await call('PUT', `${PATH}?id=${id}`, { description: 'Two' })).status).toBe(200);
    expect(await find(id)).toMatchObject({ description: 'Two' });
    const webhook = { name: 'Three', webhookUrl: masked(url), type: 'VPS', enabled: false, description: null };
    expect((await call('PUT', PATH, { id, webhook })).status).toBe(200);
    expect(await find(id)).toMatchObject({
      name: 'Three',
      type: 'VPS',
      scope: 'ADMIN',
      enabled: false,
      description: '',
    });
    expect(await call('PUT', PATH, { name: 'X' })).toMatchObject({ status: 400, error: 'id is required' });
    expect(await call('PUT', PATH, { id, webhook: 'x' })).toMatchObject({ status: 400, error: 'Invalid request body' });
    expect(await call('PUT', PATH, { id: 'none', name: 'X' })).toMatchObject({
      status: 404,
      error: 'Webhook not found',
    });
  });

  test('leaves the URL that is sent back as it was shown, and refuses every other masked text', async () => {
    const { id, url } = await create();
    const stored = await storedUrl(id);
    for (const text of [masked(url), ` ${masked(url)} `, url, '', null]) {
      expect(await call('PUT', PATH, { id, webhookUrl: text })).toMatchObject({ status: 200 });
    }
    const other = await create();
    for (const text of [masked(other.url), `${masked(url)}x`, '••••', '•'.repeat(20), `${url}••••`]) {
      expect(await call('PUT', PATH, { id, webhookUrl: text }), text).toMatchObject({
        status: 400,
        error: 'Invalid Discord webhook URL',
        message: expect.any(String),
      });
    }
    expect(await storedUrl(id)).toBe(stored);
    expect(await events(id)).toHaveLength(1);
    expect(inspections).toEqual([url, other.url]);
    for (const field of [{ type: 'NONE' }, { scope: 'none' }, { name: 'n'.repeat(101) }]) {
      expect(await call('PUT', PATH, { id, ...field })).toMatchObject({ status: 400 });
    }
  });

  test('a new URL that is dead is refused; one that cannot be checked is saved, and nothing known of the old one counts', async () => {
    const { id, url } = await create();
    await rows(`update webhook_states set plain = true, disabled_reason = 'gone', disabled_at = now()`);
    await rows(
      `insert into webhook_pauses (scope, until, reason) values ('webhook:' || ?, now() + interval '1 hour', 'x')`,
      [id],
    );
    inspected = () => ({ state: 'dead', detail: 'Discord does not know this webhook' });
    const next = hookUrl();
    expect(await call('PUT', PATH, { id, webhookUrl: next })).toMatchObject({ status: 400 });
    expect(decryptByHand(key, await storedUrl(id))).toBe(url);
    inspected = () => ({ state: 'unknown', detail: 'Discord asks to wait' });
    const answer = await call('PUT', PATH, { id, webhookUrl: next });
    expect(answer.warnings).toEqual([expect.stringContaining('Discord asks to wait')]);
    expect(answer.webhook).toMatchObject({ checkedAt: null, disabledReason: null });
    expect(await rows('select s.channel_id, s.plain from webhook_states s')).toEqual([
      { channel_id: null, plain: false },
    ]);
    expect(await rows('select p.scope from webhook_pauses p')).toEqual([]);
  });

  test('switching off skips what waits; switching on clears the reason and sends nothing again', async () => {
    const { id } = await create();
    await queueFor(id, 3);
    expect((await call('PUT', PATH, { id, enabled: false })).status).toBe(200);
    const skipped = { status: 'skipped', reason: 'the webhook was switched off' };
    expect(await deliveries(id)).toEqual([skipped, skipped, skipped]);
    expect((await events(id))[1]).toMatchObject({ details: { skippedDeliveries: 3 } });
    await rows(`update webhook_states set disabled_reason = 'Discord does not know it', disabled_at = now()`);
    expect(await find(id)).toMatchObject({
      disabledReason: 'Discord does not know it',
      disabledAt: expect.any(String),
    });
    // Another change keeps the reason.
    await call('PUT', PATH, { id, name: 'Renamed', enabled: 'false' });
    expect(await find(id)).toMatchObject({ disabledReason: 'Discord does not know it', name: 'Renamed' });
    await call('PUT', PATH, { id, enabled: true });
    expect(await find(id)).toMatchObject({ enabled: true, disabledReason: null, disabledAt: null });
    expect(await deliveries(id)).toEqual([skipped, skipped, skipped]);
  });

  test('of two administrators at once loses no field, and none overwrites a URL that the other one entered', async () => {
    const { id, url } = await create();
    await Promise.all([
      call('PUT', PATH, { id, description: 'From one' }),
      call('PUT', PATH, { id, type: 'VPS' }),
      call('PUT', PATH, { id, name: 'From the third' }),
    ]);
    expect(await find(id)).toMatchObject({ description: 'From one', type: 'VPS', name: 'From the third' });
    // Each waits for Discord while the other one has read the same webhook.
    const [one, two] = [hookUrl(), hookUrl()];
    inspected = whenAsked(2);
    const answers = await Promise.all([one, two].map((webhookUrl) => call('PUT', PATH, { id, webhookUrl })));
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect([one, two]).toContain(decryptByHand(key, await storedUrl(id)));
    // The same request twice at the same time: the site repeats what takes long.
    const three = hookUrl();
    inspected = whenAsked(2);
    const recorded = (await events(id)).length;
    const repeated = await Promise.all([1, 2].map(() => call('PUT', PATH, { id, webhookUrl: three })));
    expect(repeated.map(({ status }) => status)).toEqual([200, 200]);
    expect(await events(id)).toHaveLength(recorded + 1);
    // A form that still holds the mask of the first URL names a URL that is not there any more.
    inspected = () => ALIVE;
    expect(await call('PUT', PATH, { id, webhookUrl: masked(url), name: 'Stale' })).toMatchObject({ status: 400 });
    expect(await find(id)).toMatchObject({ name: 'From the third' });
  });

  test.each([
    ['the shown URL', masked, 400, 'Invalid Discord webhook URL'],
    ['the URL', (url: string) => url, 409, 'The URL was changed by somebody else: load the webhook again'],
  ])('with %s that is replaced at this moment changes nothing', async (_name, textOf, status, error) => {
    const { id, url } = await create();
    const other = await openTransaction(harness.database.db);
    await query(other, `update discord_webhooks set "webhookUrl" = ? where id = ?`, [hookUrl(), id]);
    const answer = call('PUT', PATH, { id, webhookUrl: textOf(url), name: 'Late' });
    await untilOneWaits();
    await other.commit();
    expect(await answer).toMatchObject({ status, error });
    expect(await find(id)).toMatchObject({ name: 'Alerts' });
  });

  test('while another administrator deletes it, is 404, and nothing comes back', async () => {
    const { id } = await create();
    inspected = async () => {
      await call('DELETE', `${PATH}/${id}`);
      return ALIVE;
    };
    expect(await call('PUT', PATH, { id, webhookUrl: hookUrl() })).toMatchObject({ status: 404 });
    expect(await list()).toEqual([]);
  });
});

describe('deleting', () => {
  test('takes the id from the path, the body or the query; without one it deletes nothing (13)', async () => {
    const kept = await create();
    for (const [path, body] of [
      [PATH, undefined],
      [PATH, {}],
      [PATH, { id: '' }],
      [PATH, { id: null }],
      [`${PATH}?id=`, undefined],
      [`${PATH}/`, undefined],
    ] as const) {
      expect(await call('DELETE', path, body)).toMatchObject({ status: 400, error: 'id is required' });
    }
    for (const ask of [
      (id: string) => call('DELETE', `${PATH}/${id}`),
      (id: string) => call('DELETE', PATH, { id }),
      (id: string) => call('DELETE', `${PATH}?id=${id}`),
    ]) {
      const { id } = await create();
      expect(await ask(id)).toMatchObject({ status: 200, success: true, message: 'Webhook deleted' });
      expect(await ask(id)).toMatchObject({ status: 404, error: 'Webhook not found' });
      expect((await events(id)).map(({ action }) => action)).toEqual(['webhook-created', 'webhook-deleted']);
    }
    expect((await list()).map(({ id }) => id)).toEqual([kept.id]);
  });

  test('skips what waits and forgets what was known; past deliveries stay', async () => {
    const { id } = await create();
    await queueFor(id, 2);
    await rows(
      `insert into webhook_pauses (scope, until, reason) values ('webhook:' || ?, now() + interval '1 hour', 'x')`,
      [id],
    );
    await call('DELETE', `${PATH}/${id}`);
    const skipped = { status: 'skipped', reason: 'the webhook was deleted' };
    expect(await deliveries(id)).toEqual([skipped, skipped]);
    expect(await rows('select 1 as one from webhook_states')).toEqual([]);
    expect(await rows('select 1 as one from webhook_pauses')).toEqual([]);
    expect((await events(id))[1]).toMatchObject({ details: { before: { name: 'Alerts' }, skippedDeliveries: 2 } });
  });
});

describe('a test', () => {
  const attempts = () =>
    rows(
      `select a.delivery_id, a.webhook_id, a.channel, a.outcome, a.http_status, a.detail from webhook_attempts a order by a.started_at`,
    );

  test('posts the test message; any 2xx is a success, and it counts as an attempt (14)', async () => {
    const { id, url } = await create();
    const answer = await call('PATCH', PATH, { id }, administrator);
    expect(answer).toMatchObject({ status: 200, success: true, message: 'Webhook test successful' });
    expect(sent).toEqual([
      {
        url,
        deliveryId: expect.stringMatching(/^[\da-f-]{36}$/),
        message: {
          embeds: [
            expect.objectContaining({
              title: '🧪 Webhook Test',
              description: 'This is a test message to verify webhook connectivity',
              color: 3066993,
              footer: { text: 'NodeByte Webhook Test' },
            }),
          ],
          allowed_mentions: { parse: [] },
        },
      },
    ]);
    expect(await find(id)).toMatchObject({ testSuccessAt: expect.stringMatching(/Z$/) });
    expect(await attempts()).toEqual([
      { delivery_id: null, webhook_id: id, channel: '77', outcome: 'delivered', http_status: 204, detail: null },
    ]);
    // The answer named another channel than the check did.
    expect(await rows('select s.channel_id from webhook_states s')).toEqual([{ channel_id: '78' }]);
    expect((await call('PATCH', `${PATH}/${id}`)).status).toBe(200);
    expect((await events(id)).map(({ action }) => action)).toEqual([
      'webhook-created',
      'webhook-tested',
      'webhook-tested',
    ]);
  });

  test.each([
    [{ httpStatus: 500 }, 'Webhook test failed with status: 500'],
    [{ httpStatus: null }, 'Failed to reach Discord webhook endpoint'],
  ])('that fails is 502 with the reason: %j', async (answer, sentence) => {
    posted = { outcome: 'unavailable', discordCode: null, detail: 'Discord is not available', ...answer };
    const { id } = await create();
    expect(await call('PATCH', PATH, { id })).toMatchObject({
      status: 502,
      success: false,
      error: sentence,
      message: sentence,
      code: 'BAD_GATEWAY',
      details: [{ path: 'webhook', message: 'Discord is not available' }],
    });
    expect(await find(id)).toMatchObject({ testSuccessAt: null, enabled: true });
    expect(await attempts()).toMatchObject([{ outcome: 'unavailable', detail: 'Discord is not available' }]);
  });

  test('without an id is 400, of an unknown webhook 404, and one that is switched off can be tested', async () => {
    expect(await call('PATCH', PATH, {})).toMatchObject({ status: 400, error: 'id is required' });
    expect(await call('PATCH', PATH, { id: 'none' })).toMatchObject({ status: 404, error: 'Webhook not found' });
    const { id } = await create();
    await call('PUT', PATH, { id, enabled: false });
    expect(await call('PATCH', PATH, { id })).toMatchObject({ status: 200 });
    expect(await find(id)).toMatchObject({ enabled: false });
  });

  test('of a webhook that Discord deleted switches it off with the reason, and fails what waits', async () => {
    posted = DEAD;
    const { id } = await create();
    await queueFor(id, 1);
    expect(await call('PATCH', PATH, { id })).toMatchObject({
      status: 502,
      error: 'Webhook test failed with status: 404',
    });
    expect(await find(id)).toMatchObject({ enabled: false, disabledReason: DEAD.detail });
    expect(await deliveries(id)).toEqual([{ status: 'failed', reason: expect.stringContaining(DEAD.detail) }]);
    expect((await events(id)).map(({ action, actor_type }) => [action, actor_type])).toEqual([
      ['webhook-created', 'user'],
      ['webhook-tested', 'user'],
      ['webhook-disabled', 'system'],
    ]);
  });

  test('of a URL that was replaced while it was tested says nothing about the new one', async () => {
    const { id } = await create();
    for (const answer of [ARRIVED, DEAD]) {
      posted = answer;
      const webhookUrl = hookUrl();
      meanwhile = () => call('PUT', PATH, { id, webhookUrl });
      await call('PATCH', PATH, { id });
      const shown = { enabled: true, testSuccessAt: null, disabledReason: null, webhookUrl: masked(webhookUrl) };
      expect(await find(id)).toMatchObject(shown);
    }
  });

  test('beside a change of the same webhook takes rows in the same order, so that neither fails', async () => {
    const { id } = await create();
    const change = await openTransaction(harness.database.db);
    meanwhile = () => query(change, 'select w.id from discord_webhooks w where w.id = ? for update', [id]);
    const tested = call('PATCH', PATH, { id });
    await untilOneWaits();
    await query(change, `update webhook_states set plain = false where webhook_id = ?`, [id]);
    await change.commit();
    expect(await tested).toMatchObject({ status: 200 });
  });

  test('during a pause sends nothing and says how long; a pause that Discord asks for is kept', async () => {
    const { id } = await create();
    posted = {
      outcome: 'limited',
      httpStatus: 429,
      discordCode: null,
      detail: 'Discord asks to wait',
      pause: { scope: 'webhook', ms: 90_000 },
    };
    const limited = await call('PATCH', PATH, { id });
    expect(limited).toMatchObject({ status: 502, error: 'Webhook test failed with status: 429' });
    expect(limited.headers.get('retry-after')).toBe('90');
    const paused = await call('PATCH', PATH, { id });
    expect(paused).toMatchObject({ status: 503, error: expect.stringMatching(/again in (90|89) s/) });
    expect(Number(paused.headers.get('retry-after'))).toBeGreaterThan(85);
    expect(sent).toHaveLength(1);
    expect(await attempts()).toHaveLength(1);
  });

  test('counts towards the 30 messages a minute of its channel', async () => {
    const { id } = await create();
    await rows(
      `insert into webhook_attempts (number, webhook_id, channel, outcome) select n, 'other', '77', 'delivered' from generate_series(1, 29) n`,
    );
    posted = { ...ARRIVED, channelId: '77' };
    expect(await call('PATCH', PATH, { id })).toMatchObject({ status: 200 });
    expect(await call('PATCH', PATH, { id })).toMatchObject({
      status: 503,
      error: expect.stringContaining('30 messages'),
    });
    expect(sent).toHaveLength(1);
  });

  test('is limited per administrator; what the client throws is no answer, and is neither logged nor shown', async () => {
    const { id, url } = await create();
    posted = new Error(`connect failed to ${url}`);
    const failed = await call('PATCH', PATH, { id });
    expect(failed).toMatchObject({ status: 502, error: 'Failed to reach Discord webhook endpoint' });
    expect(await attempts()).toMatchObject([{ outcome: 'lost' }]);
    posted = ARRIVED;
    for (let n = 1; n < 20; n += 1) expect((await call('PATCH', PATH, { id })).status).toBe(200);
    expect(await call('PATCH', PATH, { id })).toMatchObject({ status: 429, code: 'RATE_LIMITED' });
    expect((await call('PATCH', PATH, { id }, administrator)).status).toBe(200);
  });

  test('that a process did not finish is closed by the next one', async () => {
    const { id } = await create();
    await rows(
      `insert into webhook_attempts (number, webhook_id, channel, started_at) values (0, ?, '77', now() - interval '2 minutes')`,
      [id],
    );
    await call('PATCH', PATH, { id });
    expect((await attempts()).map(({ outcome }) => outcome)).toEqual(['lost', 'delivered']);
  });
});

test('only a system administrator creates, changes and deletes; the refusals are recorded', async () => {
  const { id } = await create();
  const before = await list();
  for (const [method, path, body] of [
    ['POST', PATH, { name: 'Mine', webhookUrl: hookUrl() }],
    ['PUT', PATH, { id, enabled: false }],
    ['PUT', `${PATH}/${id}`, { scope: 'PUBLIC' }],
    ['DELETE', `${PATH}/${id}`, undefined],
  ] as const) {
    expect(await call(method, path, body, administrator)).toMatchObject({ status: 403, code: 'FORBIDDEN' });
  }
  expect(await list()).toEqual(before);
  const refusals = await rows(`select a.details from audit_events a where a.action = 'role-refused'`);
  expect(refusals.map(({ details }) => JSON.stringify(details)).join()).toContain('createWebhook');
  const member = (await makeUser(harness)).token;
  expect(await call('GET', PATH, undefined, member)).toMatchObject({ status: 403 });
});

test('the settings page shows the webhooks of scope ADMIN masked, and saving the page changes none of them (W9)', async () => {
  const { id, url } = await create();
  await create({ scope: 'USER' });
  const page = await call('GET', '/api/admin/settings');
  const { settings } = page as unknown as { settings: Record<string, unknown> };
  expect(settings['discordWebhooks']).toEqual([await find(id)]);
  const stored = await storedUrl(id);
  const saved = await call('POST', '/api/admin/settings', { ...settings, siteName: 'Other' });
  expect(saved.status).toBe(200);
  expect(JSON.stringify(saved)).toContain(masked(url));
  expect(await storedUrl(id)).toBe(stored);
});

test('with the simulated Discord: a check posts nothing, a test posts once, and a deleted webhook is noticed (14)', async () => {
  const simulator = await startDiscordSimulator();
  const discord = createDiscordClient({ hosts: [simulator.host], production: false });
  const api = await startHarness({
    database: harness.database,
    deps: { discord, webhookUrlRules: { hosts: [simulator.host], production: false } },
  });
  const ask = async (method: string, body: unknown) => {
    const headers = { ...bearer(system), 'Content-Type': 'application/json' };
    const response = await api.get(PATH, { method, headers, body: JSON.stringify(body) });
    return { ...(await response.json()), status: response.status };
  };
  try {
    const hook = simulator.createWebhook({ channel: 'alerts' });
    const made = await ask('POST', {
      name: 'Alerts',
      webhookUrl: `${hook.url}?thread_id=${simulator.createThread(hook.channelId).id}`,
    });
    expect(made).toMatchObject({ status: 200, warnings: [], webhook: { problem: null } });
    expect(made.webhook['checkedAt']).not.toBeNull();
    expect(simulator.messages()).toEqual([]);
    const { id } = made.webhook;
    expect(await ask('PATCH', { id })).toMatchObject({ status: 200 });
    const [message] = simulator.messages();
    expect(message).toMatchObject({
      webhookId: hook.id,
      threadId: expect.any(String),
      embeds: [{ title: '🧪 Webhook Test' }],
    });
    const [attempt] = await rows<{ id: string }>('select a.id, a.channel from webhook_attempts a');
    expect(attempt).toEqual({ id: message?.deliveryId, channel: hook.channelId });
    simulator.change(hook.id, { deleted: true });
    expect(await ask('PATCH', { id })).toMatchObject({ status: 502, error: 'Webhook test failed with status: 404' });
    expect(await find(id)).toMatchObject({ enabled: false, disabledReason: expect.any(String) });
    expect(await ask('POST', { name: 'Again', webhookUrl: hook.url })).toMatchObject({ status: 400 });
    expect(await ask('POST', { name: 'Wrong', webhookUrl: `${hook.url}x` })).toMatchObject({ status: 400 });
    expect(api.logged()).not.toContain(hook.token);
  } finally {
    await api.close();
    await Promise.all([discord.close(), simulator.close()]);
  }
});

test('no URL of a webhook stands in a log or in the audit', async () => {
  const audit = JSON.stringify(await rows('select a.* from audit_events a'));
  expect(audit).toContain('webhook-created');
  for (const text of [harness.logged(), audit]) {
    expect(text).not.toContain('secret-token');
    expect(text).not.toContain('clear-token');
  }
});

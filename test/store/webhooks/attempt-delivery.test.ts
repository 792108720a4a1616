/** Attempts to deliver a message: when one is made, what its answer means, and what the tables then say. */
import pino from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { PostResult } from '../../../src/clients/discord/answers.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { type AttemptDeps, attemptDelivery } from '../../../src/services/webhooks/attempt-delivery.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { query } from '../../../src/store/db/query.ts';
import {
  dueDeliveries,
  endDelivery,
  endQueued,
  markStarted,
  queueDeliveries,
} from '../../../src/store/webhooks/delivery-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ max: 12 });
});
afterAll(() => database.drop());
afterEach(async () => {
  await database.db.raw(
    `truncate webhook_deliveries, webhook_attempts, webhook_states, webhook_pauses, discord_webhooks, outbox`,
  );
});

const arrived: PostResult = { outcome: 'delivered', httpStatus: 200, messageId: 'm', channelId: null };
const unavailable: PostResult = {
  outcome: 'unavailable',
  httpStatus: 502,
  discordCode: null,
  detail: 'Discord is not available',
};
const dead: PostResult = {
  outcome: 'refused',
  httpStatus: 404,
  discordCode: 10015,
  detail: 'Discord does not know it',
  dead: true,
  plainHelps: false,
};

/** Answers in this order, the last one again and again; keeps what was sent. */
function discord(...answers: PostResult[]) {
  const sent: { url: string; deliveryId: string; plain: unknown }[] = [];
  const deps: AttemptDeps = {
    db: database.db,
    log: pino({ level: 'silent' }),
    encryption: createEncryption({}),
    render: (notice, to) => ({ content: notice.event, username: to.plain ? '' : 'NodeByte' }),
    post: async (url, message, { deliveryId }) => {
      sent.push({ url, deliveryId, plain: message.username === '' });
      return answers[Math.min(sent.length, answers.length) - 1] ?? arrived;
    },
  };
  const attempt = (deliveryId: string, runId = 'run', continued = false) =>
    attemptDelivery(deps, { deliveryId, runId, continued });
  return { sent, deps, attempt };
}

const addWebhook = (id: string, enabled = true) =>
  query(database.db, `insert into discord_webhooks (id, name, "webhookUrl", enabled) values (?, ?, ?, ?)`, [
    id,
    `name of ${id}`,
    `https://discord.com/api/webhooks/1/${id}`,
    enabled,
  ]);

const queueFor = (webhookId: string, count = 1, occurredAt = new Date()) =>
  queueDeliveries(
    database.db,
    Array.from({ length: count }, (_, n) => ({
      webhookId,
      webhookName: webhookId,
      event: `event.${n}`,
      origin: 'request' as const,
      data: {},
      occurredAt,
    })),
  );
const one = (ids: string[]): string => ids[0] ?? '';

const row = async (id: string) => {
  const [found] = await query<Record<string, unknown>>(
    database.db,
    `select d.status, d.reason, d.attempts from webhook_deliveries d where d.id = ?::uuid`,
    [id],
  );
  return found;
};
const outcomes = async (id: string) =>
  (
    await query<{ outcome: string }>(
      database.db,
      `select a.outcome from webhook_attempts a where a.delivery_id = ?::uuid order by a.number`,
      [id],
    )
  ).map(({ outcome }) => outcome);

describe('the order of a webhook', () => {
  test('only the oldest queued delivery of each webhook is due, and the next one after its end', async () => {
    await addWebhook('a');
    await addWebhook('b');
    const a = await queueFor('a', 3);
    const b = await queueFor('b', 2);
    const due = async () => (await dueDeliveries(database.db, 10)).map(({ id }) => id).toSorted();
    expect(await due()).toEqual([a[0], b[0]].toSorted());
    await markStarted(database.db, [{ id: one(a), runId: 'run' }]);
    expect(await due()).toEqual([b[0]]);
    await endDelivery(database.db, one(a), 'failed', 'x');
    expect(await due()).toEqual([a[1], b[0]].toSorted());
  });

  test('a delivery waits while an earlier one is on its way', async () => {
    await addWebhook('a');
    const [first = '', second = ''] = await queueFor('a', 2);
    const { attempt, sent } = discord();
    expect(await attempt(second)).toMatchObject({ state: 'wait' });
    expect(sent).toEqual([]);
    expect(await attempt(first)).toMatchObject({ state: 'done', status: 'delivered' });
    expect(await attempt(second)).toMatchObject({ state: 'done', status: 'delivered' });
    expect(sent.map(({ deliveryId }) => deliveryId)).toEqual([first, second]);
  });
});

describe('an answer', () => {
  test('a message that arrived is delivered, once, and its channel is known from then on', async () => {
    await addWebhook('a');
    const id = one(await queueFor('a'));
    const { attempt, sent } = discord({ ...arrived, channelId: '77' });
    expect(await attempt(id)).toEqual({ state: 'done', status: 'delivered', reason: null });
    expect(await attempt(id)).toEqual({ state: 'done', status: 'delivered', reason: null });
    expect(await attempt(id, 'a reset')).toEqual({ state: 'done', status: 'delivered', reason: null });
    expect(sent).toEqual([{ url: 'https://discord.com/api/webhooks/1/a', deliveryId: id, plain: false }]);
    expect(await row(id)).toEqual({ status: 'delivered', reason: null, attempts: 1 });
    const next = one(await queueFor('a'));
    await attempt(next);
    expect(
      await query(database.db, `select a.channel from webhook_attempts a where a.delivery_id = ?::uuid`, [next]),
    ).toEqual([{ channel: '77' }]);
  });

  test('an obstacle is met again after pauses that double up to ten minutes', async () => {
    await addWebhook('a');
    const id = one(await queueFor('a'));
    const { attempt } = discord(unavailable);
    const waits: number[] = [];
    for (let n = 0; n < 9; n += 1) {
      const step = await attempt(id);
      if (step.state === 'wait') waits.push(step.ms / 1000);
    }
    expect(waits).toEqual([5, 10, 20, 40, 80, 160, 320, 600, 600]);
    expect(await row(id)).toMatchObject({ status: 'queued', reason: unavailable.detail, attempts: 9 });
  });

  test('a dead URL switches its webhook off, fails what waits for it, and is recorded', async () => {
    await addWebhook('a');
    await addWebhook('b');
    const [first = '', second = ''] = await queueFor('a', 2);
    const other = one(await queueFor('b'));
    const { attempt, sent } = discord(dead);
    expect(await attempt(first)).toMatchObject({ state: 'done', status: 'failed' });
    const reason = `the webhook was switched off: ${dead.detail}`;
    expect([await row(first), await row(second)]).toMatchObject([
      { status: 'failed', reason },
      { status: 'failed', reason, attempts: 0 },
    ]);
    expect(await row(other)).toMatchObject({ status: 'queued' });
    expect(await attempt(second)).toMatchObject({ status: 'failed', reason });
    expect(sent).toHaveLength(1);
    expect(
      await query(
        database.db,
        `select w.enabled, s.disabled_reason as reason from discord_webhooks w join webhook_states s on s.webhook_id = w.id`,
      ),
    ).toEqual([{ enabled: false, reason: dead.detail }]);
    expect(
      await query(
        database.db,
        `select e.target_id as id, e.details from audit_events e where e.action = 'webhook-disabled' and e.target_id = 'a'`,
      ),
    ).toEqual([{ id: 'a', details: { reason: dead.detail, failed: 2 } }]);
  });

  test('a webhook that got another URL meanwhile stays on', async () => {
    await addWebhook('a');
    const id = one(await queueFor('a'));
    const { deps, attempt } = discord();
    deps.post = async (url) => {
      if (!url.endsWith('/a')) return arrived;
      await query(database.db, `update discord_webhooks set "webhookUrl" = 'https://discord.com/api/webhooks/2/new'`);
      return dead;
    };
    expect(await attempt(id)).toMatchObject({ state: 'wait', ms: 0 });
    expect(await attempt(id)).toMatchObject({ status: 'delivered' });
  });

  test('a message whose name alone is refused is sent without it, and so are all later ones', async () => {
    await addWebhook('a');
    const [first = '', second = ''] = await queueFor('a', 2);
    const refused: PostResult = { ...dead, httpStatus: 400, discordCode: 50035, dead: false, plainHelps: true };
    const { attempt, sent } = discord(refused, arrived);
    expect(await attempt(first)).toMatchObject({ state: 'wait', ms: 0 });
    expect(await attempt(first)).toMatchObject({ status: 'delivered' });
    expect(await attempt(second)).toMatchObject({ status: 'delivered' });
    expect(sent.map(({ plain }) => plain)).toEqual([false, true, true]);
    const again = discord(refused);
    expect(await again.attempt(one(await queueFor('a')))).toMatchObject({ status: 'failed', reason: dead.detail });
  });

  test('a pause is kept by whom it is about', async () => {
    for (const id of ['a', 'b', 'c']) await addWebhook(id);
    await query(
      database.db,
      `insert into webhook_states (webhook_id, channel_id) values ('a', 'x'), ('b', 'x'), ('c', 'y')`,
    );
    const waits = async () => {
      const steps = [];
      for (const id of ['a', 'b', 'c']) steps.push((await discord().attempt(one(await queueFor(id)))).state);
      await query(database.db, `truncate webhook_deliveries, webhook_pauses`);
      return steps;
    };
    for (const [scope, expected] of [
      ['webhook', ['wait', 'done', 'done']],
      ['channel', ['wait', 'wait', 'done']],
      ['all', ['wait', 'wait', 'wait']],
    ] as const) {
      const limited: PostResult = {
        outcome: 'limited',
        httpStatus: 429,
        discordCode: null,
        detail: 'Discord asks to wait',
        pause: { scope, ms: 60_000 },
      };
      expect(await discord(limited).attempt(one(await queueFor('a')))).toMatchObject({ state: 'wait', ms: 60_000 });
      await query(database.db, `truncate webhook_deliveries`);
      expect(await waits()).toEqual(expected);
    }
  });
});

describe('the limits of Discord', () => {
  test('a channel gets 30 messages in 61 seconds from all its webhooks, other channels do not wait', async () => {
    for (const id of ['a', 'b', 'c']) await addWebhook(id);
    await query(
      database.db,
      `insert into webhook_states (webhook_id, channel_id) values ('a', 'x'), ('b', 'x'), ('c', 'y')`,
    );
    await query(
      database.db,
      `insert into webhook_attempts (number, webhook_id, channel, started_at, outcome)
       select 0, 'b', case when n = 1 then 'webhook:a' else 'x' end, clock_timestamp() - interval '60 s' + n * interval '1 s', 'delivered'
       from generate_series(1, 29) n`,
    );
    const [first = '', second = ''] = await queueFor('a', 2);
    const { attempt } = discord();
    expect(await attempt(first)).toMatchObject({ status: 'delivered' });
    const step = await attempt(second);
    expect(step).toMatchObject({ state: 'wait', why: expect.stringContaining('30 messages a minute') });
    // The oldest of the thirty leaves the window in two seconds.
    expect(step.state === 'wait' && step.ms > 0 && step.ms <= 2_000).toBe(true);
    expect(await attempt(one(await queueFor('c')))).toMatchObject({ status: 'delivered' });
  });

  test('45 requests a second leave from all processes together, however many claim at once', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 60; n += 1) {
      await addWebhook(`w${n}`);
      ids.push(one(await queueFor(`w${n}`)));
    }
    const { attempt } = discord();
    await Promise.all(ids.map((id) => attempt(id)));
    const [most] = await query<{ n: number }>(
      database.db,
      `select max(c.n)::int as n from (select count(*) over (order by a.started_at range between interval '999 ms' preceding and current row) as n
         from webhook_attempts a) c`,
    );
    expect(most?.n).toBeLessThanOrEqual(45);
  });
});

test('a URL that this process cannot decrypt waits for one that can, with the wrong key and without any', async () => {
  await addWebhook('a');
  const key = (letter: string) => new Secret(Buffer.alloc(32, letter).toString('base64'));
  const stored = createEncryption({ key: key('a') }).encrypt('discord_webhooks.webhookUrl', 'https://discord.com/x');
  await query(database.db, `update discord_webhooks set "webhookUrl" = ?`, [stored]);
  const id = one(await queueFor('a'));
  const { deps, attempt, sent } = discord();
  for (const keys of [{}, { key: key('b') }]) {
    deps.encryption = createEncryption(keys);
    expect(await attempt(id)).toMatchObject({ state: 'wait', why: expect.stringContaining('ENCRYPTION_KEY') });
  }
  expect(sent).toEqual([]);
  deps.encryption = createEncryption({ key: key('a') });
  expect(await attempt(id)).toMatchObject({ status: 'delivered' });
  expect(sent).toMatchObject([{ url: 'https://discord.com/x' }]);
});

describe('an end without an attempt', () => {
  test('a webhook that is off or deleted, and a time that is over', async () => {
    await addWebhook('a');
    await addWebhook('off', false);
    const yesterday = new Date(Date.now() - 24.1 * 3_600_000);
    const [late, off, gone] = [
      one(await queueFor('a', 1, yesterday)),
      one(await queueFor('off')),
      one(await queueFor('gone')),
    ];
    const { attempt, sent } = discord();
    expect(await attempt(late)).toMatchObject({ status: 'failed', reason: 'it did not arrive within 24 hours' });
    expect(await attempt(off)).toMatchObject({ status: 'skipped', reason: 'the webhook is switched off' });
    expect(await attempt(gone)).toMatchObject({ status: 'skipped', reason: 'the webhook was deleted' });
    expect(sent).toEqual([]);
  });

  test('an event for administrators does not reach a webhook whose scope was widened after it was routed', async () => {
    await addWebhook('a');
    const event = { webhookId: 'a', webhookName: 'a', data: {}, occurredAt: new Date() };
    const [report = '', open = ''] = await queueDeliveries(database.db, [
      { ...event, event: 'sync.failed', origin: 'service' },
      { ...event, event: 'sync.failed', origin: 'request' },
    ]);
    await query(database.db, `update discord_webhooks set scope = 'PUBLIC' where id = 'a'`);
    const { attempt, sent } = discord();
    expect(await attempt(report)).toMatchObject({
      status: 'failed',
      reason: 'the event is for webhooks of scope ADMIN only',
    });
    expect(await attempt(open)).toMatchObject({ status: 'delivered' });
    expect(sent).toHaveLength(1);
  });

  test('what is skipped with its webhook is not sent, and the relay is woken', async () => {
    await addWebhook('a');
    const id = one(await queueFor('a'));
    expect(await endQueued(database.db, 'a', 'skipped', 'the webhook was deleted')).toBe(1);
    const { attempt, sent } = discord();
    expect(await attempt(id)).toMatchObject({ status: 'skipped' });
    expect(sent).toEqual([]);
  });
});

describe('a crash', () => {
  test('an attempt without an answer is lost, and the message is sent again under the same id', async () => {
    await addWebhook('a');
    const id = one(await queueFor('a'));
    const { deps, attempt, sent } = discord();
    const { post } = deps;
    deps.post = async (...request) => {
      await post(...request);
      throw new Error('the process ended');
    };
    await expect(attempt(id)).rejects.toThrow('ended');
    expect(await outcomes(id)).toEqual(['sending']);
    deps.post = post;
    expect(await attempt(id)).toMatchObject({ status: 'delivered' });
    expect(await outcomes(id)).toEqual(['lost', 'delivered']);
    expect(sent.map(({ deliveryId }) => deliveryId)).toEqual([id, id]);
  });

  test('an answer that comes late is noted as it is: the message arrived', async () => {
    await addWebhook('a');
    const id = one(await queueFor('a'));
    const { deps, attempt } = discord();
    deps.post = async () => {
      await endDelivery(database.db, id, 'cancelled', 'an administrator cancelled it');
      return arrived;
    };
    expect(await attempt(id)).toMatchObject({ status: 'delivered' });
    expect(await row(id)).toMatchObject({ status: 'delivered', reason: null });
  });

  test('a reset workflow queues a failed delivery again, last; the run that failed it does not', async () => {
    await addWebhook('a');
    const first = one(await queueFor('a'));
    const refused: PostResult = { ...dead, dead: false };
    const { attempt, sent } = discord(refused, arrived);
    expect(await attempt(first, 'run 1')).toMatchObject({ status: 'failed' });
    expect(await attempt(first, 'run 1')).toMatchObject({ status: 'failed' });
    expect(await attempt(first, 'run 2', true)).toMatchObject({ status: 'failed' });
    const second = one(await queueFor('a'));
    expect(await attempt(first, 'run 2')).toMatchObject({ state: 'wait', ms: 0 });
    expect(await attempt(first, 'run 2')).toMatchObject({ state: 'wait' });
    expect(await attempt(second)).toMatchObject({ status: 'delivered' });
    expect(await attempt(first, 'run 2')).toMatchObject({ status: 'delivered' });
    expect(sent.map(({ deliveryId }) => deliveryId)).toEqual([first, second, first]);
  });
});

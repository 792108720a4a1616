/** Deliveries in the real Temporal: their order, and what an administrator does to them in its web interface. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { PostResult } from '../../../src/clients/discord/answers.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { createListener } from '../../../src/store/db/listener.ts';
import { query } from '../../../src/store/db/query.ts';
import { queueDeliveries } from '../../../src/store/webhooks/delivery-store.ts';
import { startOutboxRelay } from '../../../src/temporal/outbox-relay.ts';
import { DELIVERY_QUERY, deliverWebhookId } from '../../../src/workflows/contract.ts';
import { quiet, type Stack, startStack } from '../../support/stack.ts';

const TINY = { locations: 1, nodes: 1, allocations: 1, nests: 1, eggs: 1, users: 1, servers: 1, databases: 0 };
const ARRIVED: PostResult = { outcome: 'delivered', httpStatus: 200, messageId: null, channelId: null };
const refused = (detail: string): PostResult => ({
  outcome: 'refused',
  httpStatus: 400,
  discordCode: 50006,
  detail,
  dead: false,
  plainHelps: false,
});
const limited: PostResult = {
  outcome: 'limited',
  httpStatus: 429,
  discordCode: null,
  detail: 'Discord asks to wait',
  pause: { scope: 'webhook', ms: 600_000 },
};

let stack: Stack;
/** What was sent: webhook and event. */
let sent: string[] = [];
let answer: (event: string) => PostResult | Promise<PostResult>;
const closers: (() => Promise<void>)[] = [];

beforeAll(async () => {
  stack = await startStack({
    panel: { ...TINY, subusers: 0 },
    webhooks: {
      encryption: createEncryption({}),
      render: ({ event }) => ({ content: event }),
      post: async (url, { content }) => {
        sent.push(`${url.split('/').at(-1)} ${content}`);
        return answer(content ?? '');
      },
    },
  });
});
afterAll(() => stack?.stop());
beforeEach(async () => {
  sent = [];
  answer = () => ARRIVED;
  await stack.database.db.raw(
    'truncate outbox, discord_webhooks, webhook_deliveries, webhook_attempts, webhook_states, webhook_pauses',
  );
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function relay(pollMs?: number): void {
  const listener = createListener({
    connectionString: stack.database.url,
    log: quiet,
    applicationName: 'webhook-test',
  });
  const started = startOutboxRelay({
    db: stack.database.db,
    listener,
    temporal: stack.gateway,
    log: quiet,
    dispatch: {},
    routeEvents: async () => ({ failed: [] }),
    ...(pollMs === undefined ? {} : { pollMs }),
  });
  closers.push(listener.close, started.close);
}

async function queue(webhookId: string, events: string[]): Promise<string[]> {
  await query(
    stack.database.db,
    `insert into discord_webhooks (id, name, "webhookUrl") values (?, ?, ?) on conflict (id) do nothing`,
    [webhookId, webhookId, `https://discord.com/api/webhooks/1/${webhookId}`],
  );
  return queueDeliveries(
    stack.database.db,
    events.map((event) => ({
      webhookId,
      webhookName: webhookId,
      event,
      origin: 'request' as const,
      data: {},
      occurredAt: new Date(),
    })),
  );
}

interface Row {
  id: string;
  status: string;
  reason: string | null;
  attempts: number;
}
/** Waits until the deliveries are as wanted. */
async function until(wanted: (rows: Row[]) => boolean): Promise<Row[]> {
  for (let tries = 0; ; tries += 1) {
    const rows = await query<Row>(
      stack.database.db,
      `select d.id, d.status, d.reason, d.attempts from webhook_deliveries d order by d.seq`,
    );
    if (wanted(rows)) return rows;
    if (tries > 600) throw new Error(`never so: ${JSON.stringify(rows)}`);
    await delay(25);
  }
}
const allEnded = (rows: Row[]): boolean => rows.every(({ status }) => status !== 'queued');
const handle = (id: string) => stack.gateway.client.workflow.getHandle(deliverWebhookId(id));

test('the messages of each webhook arrive in order, one workflow each, and a slow webhook holds up no other', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  answer = async (event) => {
    if (event === 'slow') await held;
    return ARRIVED;
  };
  const events = Array.from({ length: 12 }, (_, n) => `e${n}`);
  await queue('slow', ['slow', 'after']);
  const ids = await queue('quick', events);
  relay();
  await until((rows) => rows.filter(({ status }) => status === 'delivered').length === events.length);
  expect(sent.filter((line) => line.startsWith('quick'))).toEqual(events.map((event) => `quick ${event}`));
  release();
  await until(allEnded);
  expect(sent.filter((line) => line.startsWith('slow'))).toEqual(['slow slow', 'slow after']);
  for (const id of ids) expect(await handle(id).result()).toEqual({ status: 'delivered' });
});

describe('in the web interface of Temporal', () => {
  test('a delivery tells what it waits for; its cancellation cancels it, and the next one gets its turn', async () => {
    answer = (event) => (event === 'first' ? { ...limited, pause: { scope: 'webhook', ms: 600_000 } } : ARRIVED);
    const [id = ''] = await queue('a', ['first', 'second']);
    relay();
    await until((rows) => rows[0]?.reason === 'Discord asks to wait');
    await expect
      .poll(() => handle(id).query(DELIVERY_QUERY))
      .toMatchObject({ deliveryId: id, waiting: 'Discord asks to wait', until: expect.any(String) });
    await query(stack.database.db, 'truncate webhook_pauses');
    await handle(id).cancel();
    expect(await until(allEnded)).toMatchObject([
      { status: 'cancelled', reason: 'its workflow was cancelled' },
      { status: 'delivered' },
    ]);
    await expect(handle(id).result()).rejects.toThrow();
    expect((await handle(id).describe()).status.name).toBe('CANCELLED');
  });

  test('a failed delivery is a failed workflow with its reason; a reset of the workflow sends it, after the others', async () => {
    let fails = true;
    answer = (event) => (event === 'first' && fails ? refused('the message is empty') : ARRIVED);
    const [id = ''] = await queue('a', ['first', 'second']);
    relay();
    expect(await until(allEnded)).toMatchObject([
      { status: 'failed', reason: 'the message is empty' },
      { status: 'delivered' },
    ]);
    await expect(handle(id).result()).rejects.toMatchObject({ cause: { message: 'the message is empty' } });
    fails = false;
    const { runId } = await handle(id).describe();
    await stack.gateway.client.workflowService.resetWorkflowExecution({
      namespace: stack.namespace,
      workflowExecution: { workflowId: deliverWebhookId(id), runId },
      reason: 'again',
      requestId: 'again',
      workflowTaskFinishEventId: { low: 4, high: 0, unsigned: false } as never,
    });
    await until((rows) => rows.every(({ status }) => status === 'delivered'));
    expect(sent).toEqual(['a first', 'a second', 'a first']);
    expect(await handle(id).result()).toEqual({ status: 'delivered' });
  });

  test('a terminated delivery fails, and one that Temporal has lost is started again', async () => {
    answer = (event) => (event === 'ok' ? ARRIVED : limited);
    const [terminated = ''] = await queue('a', ['limited']);
    const [lost = ''] = await queue('b', ['ok']);
    await query(
      stack.database.db,
      `update webhook_deliveries set started_at = now() - interval '2 min', updated_at = now() - interval '2 min' where id = ?::uuid`,
      [lost],
    );
    relay(200);
    await until((rows) => rows[0]?.reason === 'Discord asks to wait');
    await handle(terminated).terminate('enough');
    await query(
      stack.database.db,
      `update webhook_deliveries set started_at = now() - interval '2 min', checked_at = null, updated_at = now() - interval '2 min' where id = ?::uuid`,
      [terminated],
    );
    expect(await until(allEnded)).toMatchObject([
      { status: 'failed', reason: 'its workflow was terminated in Temporal' },
      { status: 'delivered' },
    ]);
  });
});

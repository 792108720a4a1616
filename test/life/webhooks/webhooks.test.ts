/** kill -9 of workers, PostgreSQL and Temporal at random moments, while messages are queued and delivered. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { DiscordSimulator, SimulatedWebhook } from '../../../simulators/discord/contract.ts';
import { startDiscordSimulator } from '../../../simulators/discord/simulator.ts';
import { query } from '../../../src/store/db/query.ts';
import { isConcurrencyFailure } from '../../../src/store/db/sql-errors.ts';
import { queueDeliveries } from '../../../src/store/webhooks/delivery-store.ts';
import { createJournal, onFailure } from '../../support/journal.ts';
import { type Installation, startInstallation } from '../../support/processes.ts';
import { SMALL } from '../../support/stack.ts';

/** Milliseconds between a request and its answer: a worker that is killed meanwhile leaves a message without an answer. */
const LATENCY_MS = 300;
const WEBHOOKS = 4;
/** Per webhook; below the 30 a minute of a channel. */
const EVENTS = 6;
const PAUSE_MS = 250;
const ROUND_MS = 2_500;

const journal = createJournal();
let discord: DiscordSimulator;
let webhooks: SimulatedWebhook[];
let installation: Installation | undefined;
onFailure(() => installation);

const running = (): Installation => {
  if (installation === undefined) throw new Error('nothing was started');
  return installation;
};
const rows = <T>(sql: string, bindings: unknown[] = []): Promise<T[]> => query<T>(running().db, sql, bindings);
const startWorker = () => running().startWorker({ DISCORD_WEBHOOK_HOSTS: discord.host, LOG_LEVEL: 'warn' });

beforeAll(async () => {
  discord = await startDiscordSimulator({
    latencyMs: LATENCY_MS,
    limits: { perWebhook: 0, perChannel: 0, global: 0 },
  });
  webhooks = Array.from({ length: WEBHOOKS }, () => discord.createWebhook());
  installation = await startInstallation(SMALL);
  for (const { id, name, url } of webhooks) {
    await rows(`insert into discord_webhooks (id, name, "webhookUrl") values (?, ?, ?)`, [id, name, url]);
  }
});
afterAll(async () => {
  journal.print();
  await installation?.stop();
  await discord?.close();
});
beforeEach(async () => {
  const alive = running().workers();
  for (let n = alive.length; n < 2; n += 1) await startWorker();
  await empty();
  discord.clear();
});

/** Empties the tables. The workers use them meanwhile, so a truncate may meet their locks the other way round. */
async function empty(): Promise<void> {
  for (;;) {
    try {
      await rows('truncate webhook_deliveries, webhook_attempts, webhook_pauses, outbox');
      return;
    } catch (error) {
      if (!isConcurrencyFailure(error)) throw error;
    }
  }
}

/** Queues events one after the other, each for every webhook. @returns ids of those whose commit was acknowledged. */
async function queueMany(): Promise<string[]> {
  const acknowledged: string[] = [];
  for (let event = 0; event < EVENTS; event += 1) {
    const deliveries = webhooks.map(({ id, name }) => ({
      webhookId: id,
      webhookName: name,
      event: 'life.event',
      origin: 'request' as const,
      data: {},
      occurredAt: new Date(),
    }));
    await queueDeliveries(running().db, deliveries).then(
      (ids) => acknowledged.push(...ids),
      () => undefined,
    );
    await delay(PAUSE_MS);
  }
  return acknowledged;
}

interface Delivery {
  id: string;
  webhook: string;
  status: string;
  attempts: number;
  outcomes: string[];
}

/** Waits until no delivery is queued, also while the database is away. */
async function allEnded(): Promise<Delivery[]> {
  for (const end = Date.now() + 150_000; ; await delay(100)) {
    const found = await rows<Delivery>(
      `select d.id, d.webhook_id as webhook, d.status, d.attempts,
         array(select a.outcome from webhook_attempts a where a.delivery_id = d.id order by a.number) as outcomes
       from webhook_deliveries d order by d.seq`,
    ).catch(() => undefined);
    if (found?.every(({ status }) => status !== 'queued')) return found;
    if (Date.now() > end) throw new Error(`deliveries do not end: ${JSON.stringify(found)}`);
  }
}

/** Expects what an undisturbed run leaves; a message came twice only where its first answer was lost. */
async function expectDelivered(acknowledged: readonly string[]): Promise<{ twice: number; lost: number }> {
  const deliveries = await allEnded();
  expect(deliveries.map(({ id }) => id)).toEqual(expect.arrayContaining([...acknowledged]));
  let [twice, lost] = [0, 0];
  for (const { id } of webhooks) {
    const own = deliveries.filter(({ webhook }) => webhook === id);
    const arrived = discord.messages({ webhook: id }).map(({ deliveryId }) => deliveryId);
    expect([...new Set(arrived)]).toEqual(own.map((delivery) => delivery.id));
  }
  for (const { id, webhook, status, attempts, outcomes } of deliveries) {
    expect(status).toBe('delivered');
    const requests = discord.requests(webhook).filter(({ deliveryId }) => deliveryId === id).length;
    const arrivals = discord.messages({ webhook }).filter(({ deliveryId }) => deliveryId === id).length;
    const without = outcomes.filter((outcome) => outcome === 'lost').length;
    expect(outcomes).toHaveLength(attempts);
    expect(outcomes.filter((outcome) => outcome === 'delivered')).toHaveLength(1);
    expect(outcomes).not.toContain('sending');
    expect(requests).toBeLessThanOrEqual(attempts);
    expect(arrivals - 1).toBeLessThanOrEqual(without);
    twice += arrivals - 1;
    lost += without;
  }
  return { twice, lost };
}

/** Queues, disturbs at a moment in the given part of that time, and expects every message in its place. @returns messages that came twice. */
async function disturbed(part: number, what: string, disturb: () => Promise<void>): Promise<number> {
  const moment = (part + journal.random() / 5) * ROUND_MS;
  const began = Date.now();
  const queueing = queueMany();
  await delay(moment);
  const hit = Date.now();
  await disturb();
  const { twice, lost } = await expectDelivered(await queueing);
  journal.add(what, `${hit - began} ms`, `${lost} answers lost, ${twice} messages twice`, Date.now() - hit);
  return twice;
}

test('an undisturbed run: each message once', async () => {
  expect(await expectDelivered(await queueMany())).toEqual({ twice: 0, lost: 0 });
});

describe('workers', () => {
  test.each([0.1, 0.3, 0.5, 0.7, 0.9])('one of two is killed (%f)', async (part) => {
    await disturbed(part, 'one worker of two', async () => {
      const workers = running().workers();
      await workers[Math.floor(journal.random() * workers.length)]?.kill();
    });
  });

  test.each([0.2, 0.6])('all are killed, a new one finishes (%f)', async (part) => {
    await disturbed(part, 'all workers', async () => {
      await Promise.all(
        running()
          .workers()
          .map((worker) => worker.kill()),
      );
      await startWorker();
    });
  });
});

test.each([0.2, 0.5, 0.8])('PostgreSQL is killed and comes back (%f)', async (part) => {
  const twice = await disturbed(part, 'PostgreSQL', async () => {
    await running().killPostgres(part > 0.4);
    await delay(journal.random() * 2_000);
    await running().restartPostgres();
  });
  // The worker keeps an answer until the database is back.
  expect(twice).toBe(0);
});

test.each([0.2, 0.5, 0.8])('Temporal is killed and comes back (%f)', async (part) => {
  const twice = await disturbed(part, 'Temporal', async () => {
    await running().killTemporal();
    await delay(journal.random() * 2_000);
    await running().restartTemporal();
  });
  expect(twice).toBe(0);
});

test('all three are killed at once, and come back', async () => {
  await disturbed(0.5, 'all three', async () => {
    await Promise.all([
      ...running()
        .workers()
        .map((worker) => worker.kill()),
      running().killPostgres(true),
      running().killTemporal(),
    ]);
    await Promise.all([running().restartPostgres(), running().restartTemporal()]);
    await startWorker();
  });
});

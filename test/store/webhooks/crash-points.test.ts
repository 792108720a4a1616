/**
 * Deliveries with random crashes, answers and processes, through the real client to the simulated Discord. A driver stands
 * for relay and workflow: it starts what is due, asks again after each step and each crash, and lets time pass at once.
 */
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DiscordFault, DiscordSimulator } from '../../../simulators/discord/contract.ts';
import { startDiscordSimulator } from '../../../simulators/discord/simulator.ts';
import { createDiscordClient, type DiscordClient } from '../../../src/clients/discord/client.ts';
import { type AttemptDeps, attemptDelivery } from '../../../src/services/webhooks/attempt-delivery.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { query } from '../../../src/store/db/query.ts';
import { dueDeliveries, markStarted, queueDeliveries } from '../../../src/store/webhooks/delivery-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { quiet } from '../../support/stack.ts';

let database: TestDatabase;
let discord: DiscordSimulator;
let client: DiscordClient;
beforeAll(async () => {
  database = await createTestDatabase({ max: 12 });
  discord = await startDiscordSimulator({ limits: { perWebhook: 0, perChannel: 0, global: 0 } });
  client = createDiscordClient({ hosts: [discord.host], production: false, timeoutMs: 2_000 });
});
afterAll(async () => {
  await client?.close();
  await discord?.close();
  await database?.drop();
});

/** Where a process ends: before the claim, before or after the request, or after the note. */
const CRASHES = ['before the claim', 'before the request', 'after the request', 'after the note'] as const;
type Crash = (typeof CRASHES)[number];
const FAULTS: readonly DiscordFault[] = [
  { kind: 'limited', retryAfter: 1.5 },
  { kind: 'ban-json' },
  { kind: 'html', status: 502 },
  { kind: 'cut' },
  { kind: 'stored-cut' },
  { kind: 'stored-half' },
  { kind: 'error', code: 130_000, status: 500 },
];
/** More steps than any run needs: a delivery that never gets its turn must not pass as an interrupted run. */
const MOST_STEPS = 500;
type Trouble = { crash: Crash } | { fault: DiscordFault } | 'none';

const rows = <T>(sql: string, bindings: unknown[] = []): Promise<T[]> => query<T>(database.db, sql, bindings);

class Crashed extends Error {}

/** One step of a delivery by one process, which may end at a point. @returns requests that were never sent. */
async function step(deliveryId: string, trouble: Trouble): Promise<{ unsent: number; done: boolean }> {
  const crash = typeof trouble === 'object' && 'crash' in trouble ? trouble.crash : undefined;
  let unsent = 0;
  const encryption = createEncryption({});
  const deps: AttemptDeps = {
    db: database.db,
    log: quiet,
    encryption: {
      decrypt(stored) {
        if (crash === 'before the claim') throw new Crashed();
        return encryption.decrypt(stored);
      },
    },
    render: ({ event }) => ({ content: event }),
    async post(...request) {
      if (crash === 'before the request') {
        unsent += 1;
        throw new Crashed();
      }
      const result = await client.post(...request);
      if (crash === 'after the request') throw new Crashed();
      return result;
    },
  };
  try {
    const next = await attemptDelivery(deps, { deliveryId, runId: `run of ${deliveryId}`, continued: false });
    if (next.state === 'wait' && next.ms > 0) await letTimePass();
    // A crash after the note: the workflow does not learn what was said, and asks again.
    return { unsent, done: next.state === 'done' && crash !== 'after the note' };
  } catch (error) {
    if (!(error instanceof Crashed)) throw error;
    return { unsent, done: false };
  }
}

/** The end of the latest {@link letTimePass}. */
let timePassed: Promise<void> = Promise.resolve();

/** As if the longest pause and the window of a limit were over. Calls take turns: two updates of all rows can deadlock. */
function letTimePass(): Promise<void> {
  const pass = async () => {
    await rows(`update webhook_attempts set started_at = started_at - interval '62 s'`);
    await rows('delete from webhook_pauses');
  };
  timePassed = timePassed.then(pass, pass);
  return timePassed;
}

/** Delivers all, by two processes that take turns at random. @returns requests that were never sent, by delivery. */
async function deliverAll(troubles: readonly Trouble[]): Promise<Map<string, number>> {
  const unsent = new Map<string, number>();
  let used = 0;
  const running = new Map<string, Promise<void>>();
  const run = async (id: string) => {
    for (let done = false; !done; ) {
      const trouble = troubles[used] ?? 'none';
      used += 1;
      if (used > MOST_STEPS) throw new Error('deliveries do not end');
      if (typeof trouble === 'object' && 'fault' in trouble) {
        const [row] = await rows<{ webhook: string }>(
          `select d.webhook_id as webhook from webhook_deliveries d where d.id = ?::uuid`,
          [id],
        );
        discord.fault(trouble.fault, { webhook: row?.webhook });
      }
      const outcome = await step(id, trouble);
      unsent.set(id, (unsent.get(id) ?? 0) + outcome.unsent);
      done = outcome.done;
    }
  };
  for (;;) {
    const due = await dueDeliveries(database.db, 50);
    await markStarted(
      database.db,
      due.map(({ id }) => ({ id, runId: `run of ${id}` })),
    );
    for (const { id } of due)
      running.set(
        id,
        run(id).finally(() => running.delete(id)),
      );
    if (running.size === 0) return unsent;
    await Promise.race(running.values());
    await turn();
  }
}

interface Delivery {
  id: string;
  webhook: string;
  status: string;
  attempts: number;
  outcomes: string[];
}

test('each event arrives at each webhook in order, once unless an answer was lost, and the attempts tell the truth', async () => {
  const trouble: fc.Arbitrary<Trouble> = fc.oneof(
    fc.constant('none' as const),
    fc.constantFrom(...CRASHES).map((crash) => ({ crash })),
    fc.constantFrom(...FAULTS).map((fault) => ({ fault })),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 5 }),
      fc.array(trouble, { minLength: 5, maxLength: 40 }),
      async (webhooks, events, troubles) => {
        await database.db.raw(
          'truncate discord_webhooks, webhook_deliveries, webhook_attempts, webhook_states, webhook_pauses, outbox',
        );
        discord.clear();
        const made = Array.from({ length: webhooks }, () => discord.createWebhook());
        for (const { id, name, url } of made) {
          await rows(`insert into discord_webhooks (id, name, "webhookUrl") values (?, ?, ?)`, [id, name, url]);
        }
        // One webhook more was deleted at Discord: what waits for it fails, and holds up no other.
        const dead = discord.createWebhook();
        discord.change(dead.id, { deleted: true });
        await rows(`insert into discord_webhooks (id, name, "webhookUrl") values (?, 'dead', ?)`, [dead.id, dead.url]);
        for (let event = 0; event < events; event += 1) {
          await queueDeliveries(
            database.db,
            [...made, dead].map(({ id, name }) => ({
              webhookId: id,
              webhookName: name,
              event: `event ${event}`,
              origin: 'request' as const,
              data: {},
              occurredAt: new Date(),
            })),
          );
        }
        const unsent = await deliverAll(troubles);
        const deliveries = await rows<Delivery>(
          `select d.id, d.webhook_id as webhook, d.status, d.attempts,
             array(select a.outcome from webhook_attempts a where a.delivery_id = d.id order by a.number) as outcomes
           from webhook_deliveries d order by d.seq`,
        );
        for (const { id } of made) {
          const own = deliveries.filter(({ webhook }) => webhook === id);
          const arrived = discord.messages({ webhook: id }).map(({ deliveryId }) => deliveryId);
          expect([...new Set(arrived)]).toEqual(own.map((delivery) => delivery.id));
        }
        for (const delivery of deliveries) expectTruth(delivery, unsent.get(delivery.id) ?? 0);
        const failed = deliveries.filter(({ webhook }) => webhook === dead.id);
        expect(failed.map(({ status }) => status)).toEqual(failed.map(() => 'failed'));
      },
    ),
    { numRuns: 40, interruptAfterTimeLimit: 6_000, markInterruptAsFailure: false, endOnFailure: true },
  );
});

/** Compares the attempts of a delivery with what Discord saw. */
function expectTruth({ id, webhook, status, attempts, outcomes }: Delivery, unsent: number): void {
  const requests = discord.requests(webhook).filter(({ deliveryId }) => deliveryId === id);
  const stored = requests.filter(({ messageId }) => messageId !== null).length;
  expect(outcomes).toHaveLength(attempts);
  expect(outcomes.length).toBe(requests.length + unsent);
  expect(outcomes).not.toContain('sending');
  const delivered = outcomes.filter((outcome) => outcome === 'delivered').length;
  expect(delivered).toBe(status === 'delivered' ? 1 : 0);
  expect(stored).toBeGreaterThanOrEqual(delivered);
  // Each further arrival is one whose answer was lost.
  expect(stored - delivered).toBeLessThanOrEqual(outcomes.filter((outcome) => outcome === 'lost').length);
}

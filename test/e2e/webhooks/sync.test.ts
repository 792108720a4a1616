/** From a change on the panel to messages at Discord, through the real Temporal, relay, client and a simulated Discord. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DiscordSimulator } from '../../../simulators/discord/contract.ts';
import { startDiscordSimulator } from '../../../simulators/discord/simulator.ts';
import { createDiscordClient, type DiscordClient } from '../../../src/clients/discord/client.ts';
import { renderMessage } from '../../../src/messages/discord/render-message.ts';
import { routeEvents } from '../../../src/services/webhooks/route-events.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { createListener, type Listener } from '../../../src/store/db/listener.ts';
import { query } from '../../../src/store/db/query.ts';
import { type OutboxRelay, startOutboxRelay } from '../../../src/temporal/outbox-relay.ts';
import { quiet, type Stack, startStack } from '../../support/stack.ts';

const SIZES = { locations: 1, nodes: 2, allocations: 20, nests: 1, eggs: 1, users: 3, servers: 12, databases: 0 };

let stack: Stack;
let discord: DiscordSimulator;
let client: DiscordClient;
let listener: Listener;
let relay: OutboxRelay;

beforeAll(async () => {
  discord = await startDiscordSimulator({ timeScale: 0.05 });
  client = createDiscordClient({ hosts: [discord.host], production: false });
  stack = await startStack({
    panel: { ...SIZES, subusers: 0 },
    webhooks: { encryption: createEncryption({}), post: client.post, render: renderMessage },
  });
  listener = createListener({ connectionString: stack.database.url, log: quiet, applicationName: 'webhook-test' });
  relay = startOutboxRelay({
    db: stack.database.db,
    listener,
    temporal: stack.gateway,
    log: quiet,
    dispatch: {},
    routeEvents,
  });
});
afterAll(async () => {
  await relay?.close();
  await listener?.close();
  await stack?.stop();
  await client?.close();
  await discord?.close();
});

const titles = () =>
  discord.messages().map(({ embeds }) => {
    const [embed] = embeds;
    const name = embed?.fields?.find((field) => field.name === 'Name')?.value;
    return name === undefined ? embed?.title : `${embed?.title}: ${name}`;
  });

/** Waits until every event was routed and every delivery has ended. */
async function settled(): Promise<void> {
  const end = Date.now() + 60_000;
  while (Date.now() < end) {
    const [row] = await query<{ open: number }>(
      stack.database.db,
      `select ((select count(*) from outbox o where o.status = 'pending')
         + (select count(*) from webhook_deliveries d where d.status = 'queued'))::int as open`,
    );
    if (row?.open === 0) return;
    await delay(25);
  }
  throw new Error('deliveries do not end');
}

test('a sync that suspends three servers, creates one and moves one to another owner: exactly those five messages and its own', async () => {
  const webhook = discord.createWebhook({ name: 'staff' });
  await query(
    stack.database.db,
    `insert into discord_webhooks (id, name, "webhookUrl", type, scope) values ('staff', 'staff', ?, 'SYSTEM', 'ADMIN')`,
    [webhook.url],
  );
  await stack.sync();
  await settled();
  expect(titles()).toEqual(['🔄 Sync Operation Completed Successfully']);
  discord.clear();

  const servers = [...stack.sim.world.servers.values()].filter(({ status }) => status === null);
  const [a, b, c, moved] = servers;
  if (a === undefined || b === undefined || c === undefined || moved === undefined) throw new Error('too few servers');
  for (const { id } of [a, b, c]) stack.sim.update('servers', id, { status: 'suspended' });
  const otherOwner = [...stack.sim.world.users.keys()].find((id) => id !== moved.user);
  stack.sim.update('servers', moved.id, { user: otherOwner ?? 0 });
  const created = stack.sim.create('servers', { name: 'a new one' });
  await stack.sync();
  await settled();

  const expected = [
    `⚠️ Server Suspended: ${a.name}`,
    `⚠️ Server Suspended: ${b.name}`,
    `⚠️ Server Suspended: ${c.name}`,
    `🖥️ Server Created: ${created.name}`,
  ];
  const arrived = titles();
  expect(arrived).toHaveLength(6);
  for (const title of expected) expect(arrived).toContain(title);
  expect(arrived.filter((title) => title?.includes(`: ${moved.name}`))).toHaveLength(1);
  // The sync's own message comes last: the others are part of what it reports.
  expect(arrived.at(-1)).toBe('🔄 Sync Operation Completed Successfully');
  expect(discord.counts()).toMatchObject({ requests: 6, stored: 6 });
});

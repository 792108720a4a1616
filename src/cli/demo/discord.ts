/** Where the demo's webhooks end, what is sent to them, and what they show. */
import { sleep } from '../../embedded/process.ts';
import { printable, type Terminal } from '../support/terminal.ts';
import type { DemoApi, DemoDelivery, DemoWebhook } from './api.ts';

/** Webhooks of the demo, each with a channel of its name: which events they take, and who reads the channel. */
const WEBHOOKS = [
  { name: 'operations', type: 'SYSTEM', scope: 'ADMIN' },
  { name: 'game-servers', type: 'GAME_SERVER', scope: 'PUBLIC' },
  { name: 'support', type: 'SUPPORT', scope: 'USER' },
] as const;
const CHANNEL_WIDTH = Math.max(...WEBHOOKS.map(({ name }) => name.length));
const REFUSING = 'support';
/** Discord's code for a message that its automatic moderation stops (docs.discord.com, "Opcodes and Status Codes"). */
const BLOCKED_BY_MODERATION = 200_000;

/** What a program reports: the first two are refused at first by the channel of the support team. */
const REQUESTED = [
  { event: 'support.ticket_created', data: { subject: 'Server does not start', priority: 'high' } },
  { event: 'support.ticket_created', data: { subject: 'A question about my invoice', priority: 'low' } },
  { event: 'server.created', data: { name: 'Survival', owner: 'customer' } },
];

const DELIVERED_TIMEOUT_MS = 20_000;
const DELIVERED_POLL_MS = 250;

/** A demo never writes to channels of real people, whatever is configured: a simulated Discord takes it and shows it. */
export interface Chat {
  /** Page that shows the messages. */
  url: string;
  /** Variables of api and worker. */
  variables: Record<string, string>;
  webhooks: readonly DemoWebhook[];
  close(): Promise<void>;
}

/** Starts a simulated Discord with the webhooks of the demo. Two messages for the support team are refused. */
export async function openChat(): Promise<Chat> {
  const { startDiscordSimulator } = await import('../../../simulators/discord/simulator.ts');
  const discord = await startDiscordSimulator();
  const webhooks = WEBHOOKS.map(({ name, type, scope }) => {
    const { id, url } = discord.createWebhook({ name: `NodeByte ${name}`, channel: name });
    if (name === REFUSING) discord.fault({ kind: 'error', code: BLOCKED_BY_MODERATION }, { webhook: id, times: 2 });
    return { name, type, scope, webhookUrl: url };
  });
  return {
    url: discord.url,
    variables: { DISCORD_WEBHOOK_HOSTS: discord.host },
    webhooks,
    close: () => discord.close(),
  };
}

/**
 * Reports something through the API, shows what became of each message, and sends a refused one again as an administrator.
 * @returns id of the other refused delivery; undefined if there is none.
 */
export async function showDeliveries(api: DemoApi, terminal: Terminal): Promise<string | undefined> {
  for (const { event, data } of REQUESTED) await api.dispatch(event, data);
  const deliveries = await endedDeliveries(api);
  printDeliveries(deliveries, terminal);
  const [refused, other] = deliveries.filter(({ status }) => status === 'failed');
  if (refused === undefined) return undefined;
  const copyId = await api.resend(refused.id);
  const copy = (await endedDeliveries(api)).find(({ id }) => id === copyId);
  terminal.line(`Sent again by the administrator: ${refused.event} to ${refused.webhook}: ${copy?.status ?? '-'}`);
  return other?.id;
}

function printDeliveries(deliveries: readonly DemoDelivery[], terminal: Terminal): void {
  const width = Math.max(0, ...deliveries.map(({ event }) => event.length));
  terminal.line('Messages for Discord:');
  for (const { event, webhook, status, reason } of deliveries) {
    const ended = status === 'delivered' ? status : terminal.bad(`${status}: ${printable(reason ?? '-')}`);
    terminal.line(`  ${printable(event).padEnd(width)}  ${printable(webhook).padEnd(CHANNEL_WIDTH)}  ${ended}`);
  }
}

/** The deliveries, oldest first, when none waits any more, or after 20 s. */
async function endedDeliveries(api: DemoApi): Promise<DemoDelivery[]> {
  for (let waitedMs = 0; ; waitedMs += DELIVERED_POLL_MS) {
    const deliveries = await api.deliveries();
    const waits = deliveries.some(({ status }) => status === 'queued');
    if (!waits || waitedMs >= DELIVERED_TIMEOUT_MS) return deliveries;
    await sleep(DELIVERED_POLL_MS);
  }
}

/** The state of a simulator: webhooks, channels, messages, requests, faults to come. */
import { randomBytes } from 'node:crypto';
import type {
  DiscordCounts,
  DiscordFault,
  FaultTarget,
  LimitKind,
  LoggedRequest,
  NewWebhook,
  SimulatedChannel,
  SimulatedWebhook,
  StoredMessage,
  WebhookSettings,
} from './contract.ts';

/** Maximum number of messages and of requests; older ones are dropped. */
const MAX_KEPT = 100_000;
/** The first second of 2015 (docs.discord.com/developers/reference, "Snowflakes"). */
const EPOCH = 1_420_070_400_000;

export type OwnWebhook = { -readonly [K in keyof SimulatedWebhook]: SimulatedWebhook[K] };
/** What is known of a request when it arrives. */
type Arrival = Omit<LoggedRequest, 'n' | 'webhookId' | 'status' | 'code' | 'limited' | 'messageId' | 'answeredAt'>;
type Counted = Omit<DiscordCounts, 'most'>;

export interface DiscordState {
  readonly webhooks: Map<string, OwnWebhook>;
  readonly channels: Map<string, SimulatedChannel>;
  readonly messages: Map<string, StoredMessage>;
  readonly requests: LoggedRequest[];
  readonly counts: Counted;
  /** Deleted webhooks that have answered 404. */
  readonly knownDead: Set<string>;
  newId(): string;
  addWebhook(given: NewWebhook, origin: string): OwnWebhook;
  addChannel(name: string, more: { forum?: boolean; parentId?: string }): SimulatedChannel;
  change(id: string, settings: Partial<WebhookSettings>): OwnWebhook;
  log(request: Arrival): LoggedRequest;
  store(message: StoredMessage): void;
  addFault(fault: DiscordFault, target: FaultTarget): void;
  /** Takes the fault of a request to this webhook. */
  takeFault(webhookId: string, method: string): DiscordFault | undefined;
  clearFaults(): void;
  clear(): void;
}

const noCounts = (): Counted => ({
  requests: 0,
  stored: 0,
  statuses: {},
  limited: { webhook: 0, channel: 0, global: 0, ban: 0, fault: 0 } satisfies Record<LimitKind, number>,
  invalid: 0,
  deadRepeats: 0,
  perWebhook: {},
});

/** Ids that grow with the time, as Discord's do. */
function createIds(): () => string {
  let last = 0n;
  return () => {
    const next = BigInt(Date.now() - EPOCH) << 22n;
    last = next > last ? next : last + 1n;
    return String(last);
  };
}

export function createDiscordState(): DiscordState {
  const newId = createIds();
  const webhooks = new Map<string, OwnWebhook>();
  const channels = new Map<string, SimulatedChannel>();
  const messages = new Map<string, StoredMessage>();
  const requests: LoggedRequest[] = [];
  const counts = noCounts();
  const knownDead = new Set<string>();
  let faults: { fault: DiscordFault; left: number; target: FaultTarget }[] = [];
  const state: DiscordState = {
    webhooks,
    channels,
    messages,
    requests,
    counts,
    knownDead,
    newId,
    addWebhook(given, origin) {
      const name = given.name ?? `Webhook ${webhooks.size + 1}`;
      const id = given.id ?? newId();
      // 68 characters, the usual length.
      const token = given.token ?? randomBytes(51).toString('base64url');
      const channelName = given.channel ?? name;
      const forum = given.forum ?? false;
      const known = [...channels.values()].find((channel) => channel.name === channelName && channel.forum === forum);
      const webhook: OwnWebhook = {
        id,
        token,
        name,
        channelId: (known ?? state.addChannel(channelName, { forum })).id,
        url: `${origin}/api/webhooks/${id}/${token}`,
        type: 1,
        deleted: false,
        tokenWrong: false,
        delayMs: 0,
        unresponsive: false,
        refusedNames: [],
      };
      webhooks.set(id, webhook);
      return webhook;
    },
    addChannel(name, { forum = false, parentId }) {
      const channel: SimulatedChannel = { id: newId(), name, forum, parentId: parentId ?? null };
      channels.set(channel.id, channel);
      return channel;
    },
    change(id, settings) {
      const webhook = webhooks.get(id);
      if (webhook === undefined) throw new Error(`there is no webhook ${id}`);
      return Object.assign(webhook, settings);
    },
    log(request) {
      counts.requests += 1;
      const entry: LoggedRequest = {
        n: counts.requests,
        ...request,
        webhookId: null,
        status: 0,
        code: null,
        limited: null,
        messageId: null,
        answeredAt: null,
      };
      requests.push(entry);
      if (requests.length > MAX_KEPT) requests.shift();
      return entry;
    },
    store(message) {
      messages.set(message.id, message);
      counts.stored += 1;
      counts.perWebhook[message.webhookId] = (counts.perWebhook[message.webhookId] ?? 0) + 1;
      const oldest = messages.keys().next();
      if (messages.size > MAX_KEPT && oldest.done !== true) messages.delete(oldest.value);
    },
    addFault: (fault, target) => void faults.push({ fault, left: target.times ?? 1, target }),
    takeFault(webhookId, method) {
      const found = faults.find(
        ({ target }) =>
          (target.webhook === undefined || target.webhook === webhookId) && (target.method ?? 'POST') === method,
      );
      if (found === undefined) return undefined;
      found.left -= 1;
      if (found.left <= 0) faults = faults.filter((other) => other !== found);
      return found.fault;
    },
    clearFaults: () => {
      faults = [];
    },
    clear() {
      messages.clear();
      requests.length = 0;
      knownDead.clear();
      Object.assign(counts, noCounts());
      faults = [];
    },
  };
  return state;
}

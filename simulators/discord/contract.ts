/** What a running Discord simulator offers to tests, to the demo and to `/__sim/*`. */

export interface DiscordSimulatorOptions {
  /** Default 0: a free port. */
  port?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /**
   * Length of every window and ban, as a part of the documented one: with 0.05, five requests pass in 100 ms. Answers
   * name the shorter time, so that a client which obeys them is right. Default 1.
   */
  timeScale?: number;
  /** Milliseconds before each answer of a webhook; default 0. */
  latencyMs?: number;
  limits?: Partial<DiscordLimits>;
}

/** Requests that pass; 0: no limit. The defaults are Discord's. */
export interface DiscordLimits {
  /** Per webhook in 2 s; default 5. */
  perWebhook: number;
  /** Per channel, all its webhooks together, in 60 s; default 30. */
  perChannel: number;
  /** Per address in 1 s; default 50. */
  global: number;
  /** Invalid requests per address in 10 minutes, after which the address is banned; default 10,000. */
  invalid: number;
  /** Requests to a deleted webhook in 10 minutes, after which the address is banned; default 100, which is assumed. */
  deadRepeats: number;
}

export interface NewWebhook {
  /** Name that messages without `username` have; default `Webhook <n>`. */
  name?: string | undefined;
  /** Name of its channel; webhooks with the same name share the channel. Default: the webhook's own name. */
  channel?: string | undefined;
  /** The channel is a forum: a message needs `thread_id` or `thread_name`. */
  forum?: boolean | undefined;
  id?: string | undefined;
  token?: string | undefined;
}

/** What can be changed while the simulator runs. */
export interface WebhookSettings {
  /** 1 incoming, 2 channel follower, 3 application. */
  type: 1 | 2 | 3;
  /** It answers 404 with code 10015, as after a deletion. */
  deleted: boolean;
  /** The token counts as wrong: 401 with code 50027. */
  tokenWrong: boolean;
  /** Milliseconds before each answer, beside the simulator's own. */
  delayMs: number;
  /** Requests are read, and never answered. */
  unresponsive: boolean;
  /** Words that a `username` must not contain, beside `clyde` and `discord`; `*`: no `username` is accepted. */
  refusedNames: readonly string[];
}

export interface SimulatedWebhook extends Readonly<WebhookSettings> {
  readonly id: string;
  readonly token: string;
  readonly name: string;
  readonly channelId: string;
  /** As Discord's client copies it: without a version. */
  readonly url: string;
}

export interface SimulatedChannel {
  readonly id: string;
  readonly name: string;
  readonly forum: boolean;
  /** Of a thread: its channel. */
  readonly parentId: string | null;
}

/** A stored message, as the API has it, and how it came. */
export interface StoredMessage {
  readonly id: string;
  /** The webhook's channel, also if the message is in a thread of it. */
  readonly channelId: string;
  readonly threadId: string | null;
  readonly webhookId: string;
  /** Unix milliseconds. */
  readonly at: number;
  /** Header `X-NodeByte-Delivery`. */
  readonly deliveryId: string | null;
  readonly username: string;
  readonly avatarUrl: string | null;
  readonly content: string;
  readonly embeds: readonly StoredEmbed[];
  readonly allowedMentions: unknown;
  readonly flags: number;
}

export interface StoredEmbed {
  title?: string | undefined;
  description?: string | undefined;
  url?: string | undefined;
  color?: number | undefined;
  timestamp?: string | undefined;
  fields?: { name: string; value: string; inline: boolean }[] | undefined;
  footer?: { text: string; icon_url?: string | undefined } | undefined;
  author?: { name: string; url?: string | undefined; icon_url?: string | undefined } | undefined;
  image?: { url: string } | undefined;
  thumbnail?: { url: string } | undefined;
}

/** Which limit refused a request; `fault`: a 429 that a fault asked for. */
export type LimitKind = 'webhook' | 'channel' | 'global' | 'ban' | 'fault';

/** One request to the API. Tokens are not kept. */
export interface LoggedRequest {
  /** Number since the start, from 1. */
  readonly n: number;
  /** Unix milliseconds of its arrival. */
  readonly at: number;
  readonly method: string;
  /** 6 if the path has no version. */
  readonly version: number;
  /** Null if the path names no webhook of this simulator. */
  webhookId: string | null;
  readonly query: string;
  readonly userAgent: string | null;
  readonly contentType: string | null;
  /** Header `X-NodeByte-Delivery`. */
  readonly deliveryId: string | null;
  /** 0: not answered. */
  status: number;
  /** Of Discord's errors, else null. */
  code: number | null;
  limited: LimitKind | null;
  /** Id of the message that it stored. */
  messageId: string | null;
  /** Unix milliseconds of the answer; null while there is none. */
  answeredAt: number | null;
}

/** Fault of one request to a webhook; the request uses up the limits. */
export type DiscordFault =
  /** An error of Discord, by its code: status and text as documented, unless they are given. Nothing is stored. */
  | { kind: 'error'; code: number; status?: number | undefined; message?: string | undefined; errors?: unknown }
  /** 429 with these seconds. `headers: false`: only the body tells them. `retryAfter: null`: nothing tells them. */
  | {
      kind: 'limited';
      retryAfter: number | null;
      scope?: 'user' | 'global' | 'shared' | undefined;
      headers?: boolean | undefined;
      code?: number | undefined;
    }
  /** The ban as JSON: 429 without rate limit headers and without `Retry-After`. */
  | { kind: 'ban-json' }
  /** The ban as a page or a text: `error code: 1015`, sometimes with `Retry-After` (seconds). */
  | { kind: 'ban-page'; html?: boolean | undefined; retryAfter?: number | undefined }
  /** Cloudflare refuses the name of the client: 403, `error code: 1010`. */
  | { kind: 'blocked' }
  /** A page of something in between. */
  | { kind: 'html'; status: number; retryAfter?: number | undefined }
  /** Not stored: the connection is reset, or no answer comes. */
  | { kind: 'cut' | 'hang' }
  /** Stored: the connection is reset, no answer comes, half of an answer comes, the answer is no JSON, or it is empty. */
  | { kind: 'stored-cut' | 'stored-hang' | 'stored-half' | 'stored-html' | 'stored-empty' }
  /** Stored, answered after these milliseconds. */
  | { kind: 'slow'; ms: number };

export interface FaultTarget {
  /** Number of requests; default 1. */
  times?: number | undefined;
  /** Id of the webhook; default: whichever webhook is called next. */
  webhook?: string | undefined;
  /** Method of the request; default POST. */
  method?: string | undefined;
}

export interface DiscordCounts {
  requests: number;
  stored: number;
  /** Answers by status; 0: not answered. */
  statuses: Record<number, number>;
  /** Answers 429 by their reason. */
  limited: Record<LimitKind, number>;
  /** Requests that count as invalid: 401, 403, and 429 except those of a shared limit. */
  invalid: number;
  /** Requests to a deleted webhook after its first 404. */
  deadRepeats: number;
  /** Messages per webhook. */
  perWebhook: Record<string, number>;
  /** Most requests that arrived within one window of the limit, whether they passed or not; windows may begin at any time. */
  most: { perWebhook: number; perChannel: number; global: number };
}

export interface DiscordSimulator {
  /** Origin of the API and of the pages. */
  readonly url: string;
  /** `host:port`, for a list of allowed hosts. */
  readonly host: string;
  /** A new webhook; its `url` is ready to be called. */
  createWebhook(webhook?: NewWebhook): SimulatedWebhook;
  /** A new thread of a channel, by the channel's id. */
  createThread(channelId: string, name?: string): SimulatedChannel;
  webhooks(): SimulatedWebhook[];
  /** Changes a webhook. @throws if there is no such webhook. */
  change(id: string, settings: Partial<WebhookSettings>): SimulatedWebhook;
  /** Applies the fault to the next requests; faults apply in the order of the calls. */
  fault(fault: DiscordFault, target?: FaultTarget): void;
  clearFaults(): void;
  /** Bans every address for these milliseconds (not scaled); 0 ends a ban. */
  ban(ms: number, fault?: Extract<DiscordFault, { kind: 'ban-json' | 'ban-page' }>): void;
  channels(): SimulatedChannel[];
  /** Stored messages in order: of one webhook or channel, or all (the latest 100,000). */
  messages(of?: { webhook?: string | undefined; channel?: string | undefined }): StoredMessage[];
  /** Requests in order: of one webhook, or all (the latest 100,000). */
  requests(webhook?: string): LoggedRequest[];
  counts(): DiscordCounts;
  /** Forgets messages, requests, counts, faults, bans and used limits. Webhooks and channels stay. */
  clear(): void;
  /** Closes the server and every connection, also hanging ones. */
  close(): Promise<void>;
}

/**
 * Discord's limits (docs.discord.com/developers/topics/rate-limits). Per webhook 5 requests in 2 s, in headers; per
 * channel 30 in 60 s, in no header until the 429 (discord/discord-api-docs#367, #4043); per address 50 in 1 s; and a ban
 * after 10,000 invalid requests in 10 minutes.
 */
import type { ApiAnswer } from './answer.ts';
import type { DiscordLimits } from './contract.ts';
import { FIRST_NESTED } from './errors.ts';

export const DOCUMENTED_LIMITS: Readonly<DiscordLimits> = {
  perWebhook: 5,
  perChannel: 30,
  global: 50,
  invalid: 10_000,
  deadRepeats: 100,
};

const WEBHOOK_MS = 2_000;
const CHANNEL_MS = 60_000;
const GLOBAL_MS = 1_000;
const INVALID_MS = 600_000;
/** Length of a ban: Cloudflare's `Retry-After` was seen up to an hour (discord/discord-api-docs#5385). */
const BAN_MS = 3_600_000;
/** All webhooks report the same bucket (discord/discord-api-docs#6753). */
const BUCKET = '4da1e4b0d0e1a1c2b3d4e5f60718293a';

/** Times of requests within a window that may begin at any time. */
export interface Window {
  /** Notes a request. @returns the requests in the window that ends now, this one included. */
  note(now: number): number;
  /** Requests in the window that ends now. */
  count(now: number): number;
  /** Milliseconds until the oldest request leaves the window. */
  leftMs(now: number): number;
}

export function createWindow(lengthMs: number): Window {
  let times: number[] = [];
  let first = 0;
  const drop = (now: number) => {
    while (first < times.length && (times[first] ?? 0) <= now - lengthMs) first += 1;
    if (first < 1_000) return;
    times = times.slice(first);
    first = 0;
  };
  return {
    note(now) {
      drop(now);
      times.push(now);
      return times.length - first;
    },
    count(now) {
      drop(now);
      return times.length - first;
    },
    leftMs(now) {
      drop(now);
      return Math.max((times[first] ?? now) + lengthMs - now, 1);
    },
  };
}

/** The windows of a kind, by webhook, channel or address, with the most requests that one of them has seen. */
function createWindows(lengthMs: number) {
  const passed = new Map<string, Window>();
  const arrived = new Map<string, Window>();
  const of = (windows: Map<string, Window>, key: string): Window => {
    const window = windows.get(key) ?? createWindow(lengthMs);
    windows.set(key, window);
    return window;
  };
  const windows = {
    most: 0,
    arrive(key: string, now: number): void {
      windows.most = Math.max(windows.most, of(arrived, key).note(now));
    },
    /** Milliseconds to wait if the limit is used up; otherwise the request passes, and undefined is returned. */
    pass(key: string, limit: number, now: number): number | undefined {
      const window = of(passed, key);
      if (limit > 0 && window.count(now) >= limit) return window.leftMs(now);
      window.note(now);
      return undefined;
    },
    clear() {
      windows.most = 0;
      passed.clear();
      arrived.clear();
    },
  };
  return windows;
}

export interface WebhookHit {
  headers: Record<string, string>;
  /** Milliseconds to wait; undefined: the request passes. */
  waitMs: number | undefined;
}

export interface Limits {
  /** Counts a request of an address. @returns the milliseconds to wait if it is one too many. */
  global(address: string, now: number): number | undefined;
  /** Counts a request to a webhook, by id and token. Its window begins with its first request. */
  webhook(key: string, now: number): WebhookHit;
  /** Counts a message for a channel. */
  channel(channelId: string, now: number): number | undefined;
  /** Counts an invalid request. */
  invalid(now: number): void;
  /** Counts a repeated request to a deleted webhook. */
  deadRepeat(webhookId: string, now: number): void;
  /** Until when every address is banned, Unix milliseconds. */
  bannedUntil: number;
  most(): { perWebhook: number; perChannel: number; global: number };
  clear(): void;
}

export function createLimits(limits: DiscordLimits, timeScale: number): Limits {
  const windows = {
    global: createWindows(GLOBAL_MS * timeScale),
    webhook: createWindows(WEBHOOK_MS * timeScale),
    channel: createWindows(CHANNEL_MS * timeScale),
    invalid: createWindows(INVALID_MS * timeScale),
    dead: createWindows(INVALID_MS * timeScale),
  };
  const buckets = new Map<string, { startsAt: number; used: number }>();
  const ban = (kind: 'invalid' | 'dead', key: string, limit: number, now: number) => {
    if (windows[kind].pass(key, limit, now) !== undefined) own.bannedUntil = now + BAN_MS * timeScale;
  };
  const own: Limits = {
    bannedUntil: 0,
    global(address, now) {
      windows.global.arrive(address, now);
      return windows.global.pass(address, limits.global, now);
    },
    webhook(key, now) {
      windows.webhook.arrive(key, now);
      if (limits.perWebhook === 0) return { headers: {}, waitMs: undefined };
      const lengthMs = WEBHOOK_MS * timeScale;
      const known = buckets.get(key);
      const bucket = known !== undefined && now < known.startsAt + lengthMs ? known : { startsAt: now, used: 0 };
      buckets.set(key, bucket);
      const leftMs = bucket.startsAt + lengthMs - now;
      const refused = bucket.used >= limits.perWebhook;
      if (!refused) bucket.used += 1;
      const headers = bucketHeaders(limits.perWebhook, limits.perWebhook - bucket.used, now, leftMs);
      return { headers, waitMs: refused ? leftMs : undefined };
    },
    channel(channelId, now) {
      windows.channel.arrive(channelId, now);
      return windows.channel.pass(channelId, limits.perChannel, now);
    },
    invalid: (now) => ban('invalid', '', limits.invalid, now),
    deadRepeat: (webhookId, now) => ban('dead', webhookId, limits.deadRepeats, now),
    most: () => ({
      perWebhook: windows.webhook.most,
      perChannel: windows.channel.most,
      global: windows.global.most,
    }),
    clear() {
      own.bannedUntil = 0;
      buckets.clear();
      for (const kind of Object.values(windows)) kind.clear();
    },
  };
  return own;
}

const bucketHeaders = (limit: number, remaining: number, now: number, leftMs: number): Record<string, string> => ({
  'x-ratelimit-limit': String(limit),
  'x-ratelimit-remaining': String(remaining),
  'x-ratelimit-reset': ((now + leftMs) / 1000).toFixed(3),
  'x-ratelimit-reset-after': (leftMs / 1000).toFixed(3),
  'x-ratelimit-bucket': BUCKET,
});

/**
 * The answer to one request too many. From v8 on, the body has seconds with a fraction and the header whole seconds,
 * rounded up; before, both have milliseconds (discord/discord-api-docs#2097, #4722).
 */
export function limitedAnswer(
  waitMs: number,
  version: number,
  scope: 'user' | 'global' | 'shared',
  given: { headers?: Record<string, string>; code?: number | undefined } = {},
): ApiAnswer {
  const seconds = version >= FIRST_NESTED;
  return {
    status: 429,
    ...(given.code === undefined ? {} : { code: given.code }),
    headers: {
      ...given.headers,
      // What the API sets itself; Cloudflare does not (seen in abalabahaha/eris#1256).
      via: '1.1 google',
      'retry-after': String(seconds ? Math.ceil(waitMs / 1000) : Math.ceil(waitMs)),
      'x-ratelimit-scope': scope,
      ...(scope === 'global' ? { 'x-ratelimit-global': 'true' } : {}),
    },
    json: {
      message: 'You are being rate limited.',
      retry_after: seconds ? Math.ceil(waitMs) / 1000 : Math.ceil(waitMs),
      global: scope === 'global',
      ...(given.code === undefined ? {} : { code: given.code }),
    },
  };
}

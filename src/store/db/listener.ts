/** One connection that listens for PostgreSQL notifications for the whole process. */
import pg from 'pg';

export interface ListenerLog {
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
}

export interface Listener {
  /**
   * Calls `handler` with each payload of `channel`; `onReconnect` after each gap in which payloads may have been missed
   * (and after the first connection). Returns the way to stop.
   */
  on(channel: string, handler: (payload: string) => void, onReconnect?: () => void): () => void;
  /** Whether every channel is being listened to at this moment. */
  connected(): boolean;
  close(): Promise<void>;
}

interface Subscription {
  channel: string;
  handler: (payload: string) => void;
  onReconnect: (() => void) | undefined;
  /** `onReconnect` was called for the present connection. */
  told: boolean;
}

const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5000;
/** A connection whose peer vanished without a word is found by a query that is not answered. */
const PROBE_EVERY_MS = 15_000;
const PROBE_TIMEOUT_MS = 5000;

/** Starts connecting at the first subscription; never throws at start, reconnects with back-off until closed. */
export function createListener(deps: {
  connectionString: string;
  log: ListenerLog;
  applicationName?: string;
}): Listener {
  const subscriptions = new Set<Subscription>();
  let client: pg.Client | undefined;
  const listening = new Set<string>();
  let busy = false;
  let ready = false;
  let started = false;
  let closed = false;
  let retryMs = FIRST_RETRY_MS;
  let retryTimer: NodeJS.Timeout | undefined;
  let probeTimer: NodeJS.Timeout | undefined;

  const lost = (from: pg.Client, error: unknown): void => {
    if (client !== from) return;
    client = undefined;
    ready = false;
    clearInterval(probeTimer);
    from.end().catch(() => {});
    if (closed) return;
    deps.log.warn({ err: error, retryMs }, 'listening connection lost');
    retryTimer = setTimeout(connect, retryMs);
    retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
  };

  const connect = (): void => {
    if (closed) return;
    const next = new pg.Client({
      connectionString: deps.connectionString,
      application_name: deps.applicationName ?? 'listener',
      connectionTimeoutMillis: 5000,
      query_timeout: PROBE_TIMEOUT_MS,
      keepAlive: true,
    });
    client = next;
    next.on('error', (error) => lost(next, error));
    next.on('end', () => lost(next, undefined));
    next.on('notification', ({ channel, payload }) => {
      for (const subscription of [...subscriptions]) {
        if (subscription.channel === channel) subscription.handler(payload ?? '');
      }
    });
    open(next).catch((error: unknown) => lost(next, error));
  };

  /** Listens to what is not listened to yet, one channel after the other; a channel may be added while it runs. */
  const listenToAll = async (next: pg.Client): Promise<void> => {
    if (busy) return;
    busy = true;
    ready = false;
    try {
      for (let channel = missing(); channel !== undefined; channel = missing()) {
        await next.query(`listen ${next.escapeIdentifier(channel)}`);
        listening.add(channel);
      }
    } finally {
      busy = false;
    }
    if (client !== next) return;
    ready = true;
    for (const subscription of [...subscriptions]) {
      if (subscription.told) continue;
      subscription.told = true;
      subscription.onReconnect?.();
    }
  };
  const missing = (): string | undefined => [...subscriptions].find((s) => !listening.has(s.channel))?.channel;

  const open = async (next: pg.Client): Promise<void> => {
    await next.connect();
    listening.clear();
    for (const subscription of subscriptions) subscription.told = false;
    await listenToAll(next);
    if (client !== next) return;
    retryMs = FIRST_RETRY_MS;
    probeTimer = setInterval(() => {
      next.query('select 1').catch((error: unknown) => lost(next, error));
    }, PROBE_EVERY_MS);
    probeTimer.unref();
  };

  return {
    on(channel, handler, onReconnect) {
      const subscription: Subscription = { channel, handler, onReconnect, told: false };
      subscriptions.add(subscription);
      const at = client;
      if (!started) {
        started = true;
        connect();
      } else if (ready && at !== undefined) {
        listenToAll(at).catch((error: unknown) => lost(at, error));
      }
      return () => {
        subscriptions.delete(subscription);
      };
    },
    connected: () => ready,
    async close() {
      closed = true;
      ready = false;
      clearTimeout(retryTimer);
      clearInterval(probeTimer);
      const last = client;
      client = undefined;
      await last?.end().catch(() => {});
    },
  };
}

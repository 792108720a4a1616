/** One connection that listens for PostgreSQL notifications for the whole process. */
import pg from 'pg';
import { connectionSettings } from './connection.ts';

export interface ListenerLog {
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
}

export interface Listener {
  /**
   * Calls `handler` with each payload of `channel`, and `onReconnect` after each gap in which payloads may have been
   * missed, the first connection included.
   * @returns a function that ends the subscription.
   */
  on(channel: string, handler: (payload: string) => void, onReconnect?: () => void): () => void;
  /** Whether the connection listens to every channel now. */
  connected(): boolean;
  close(): Promise<void>;
}

interface Subscription {
  channel: string;
  handler: (payload: string) => void;
  onReconnect: (() => void) | undefined;
  /** `onReconnect` was called for the present connection. */
  reconnected: boolean;
}

interface ListenerDeps {
  connectionString: string;
  log: ListenerLog;
  applicationName?: string;
}

/** What a listener remembers. */
interface State {
  readonly deps: ListenerDeps;
  readonly subscriptions: Set<Subscription>;
  /** Channels of the present connection. */
  readonly listening: Set<string>;
  client: pg.Client | undefined;
  /** {@link listenToAll} is running. */
  busy: boolean;
  /** The present connection listens to every channel. */
  ready: boolean;
  closed: boolean;
  retryMs: number;
  retryTimer: NodeJS.Timeout | undefined;
  probeTimer: NodeJS.Timeout | undefined;
}

const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5000;
/** A connection whose peer vanished without notice is found by a query that gets no answer. */
const PROBE_EVERY_MS = 15_000;
const PROBE_TIMEOUT_MS = 5000;

/** Connects at the first subscription. It never throws at start, and reconnects with growing pauses until closed. */
export function createListener(deps: ListenerDeps): Listener {
  const state: State = {
    deps,
    subscriptions: new Set(),
    listening: new Set(),
    client: undefined,
    busy: false,
    ready: false,
    closed: false,
    retryMs: FIRST_RETRY_MS,
    retryTimer: undefined,
    probeTimer: undefined,
  };
  let started = false;
  return {
    on(channel, handler, onReconnect) {
      const subscription: Subscription = { channel, handler, onReconnect, reconnected: false };
      state.subscriptions.add(subscription);
      if (started) listenToMore(state);
      else connect(state);
      started = true;
      return () => {
        state.subscriptions.delete(subscription);
      };
    },
    connected: () => state.ready,
    close: () => close(state),
  };
}

function connect(state: State): void {
  if (state.closed) return;
  const client = new pg.Client({
    ...connectionSettings(state.deps.connectionString),
    application_name: state.deps.applicationName ?? 'listener',
    connectionTimeoutMillis: 5000,
    query_timeout: PROBE_TIMEOUT_MS,
    keepAlive: true,
  });
  state.client = client;
  client.on('error', (error) => lose(state, client, error));
  client.on('end', () => lose(state, client, undefined));
  client.on('notification', ({ channel, payload }) => {
    for (const subscription of [...state.subscriptions]) {
      if (subscription.channel === channel) subscription.handler(payload ?? '');
    }
  });
  open(state, client).catch((error: unknown) => lose(state, client, error));
}

async function open(state: State, client: pg.Client): Promise<void> {
  await client.connect();
  state.listening.clear();
  for (const subscription of state.subscriptions) subscription.reconnected = false;
  await listenToAll(state, client);
  if (state.client !== client) return;
  state.retryMs = FIRST_RETRY_MS;
  state.probeTimer = setInterval(() => {
    client.query('select 1').catch((error: unknown) => lose(state, client, error));
  }, PROBE_EVERY_MS);
  state.probeTimer.unref();
}

/** Gives up a connection and plans the next one. A second call for the same connection has no effect. */
function lose(state: State, client: pg.Client, error: unknown): void {
  if (state.client !== client) return;
  state.client = undefined;
  state.ready = false;
  clearInterval(state.probeTimer);
  client.end().catch(() => {});
  if (state.closed) return;
  state.deps.log.warn({ err: error, retryMs: state.retryMs }, 'listening connection lost');
  state.retryTimer = setTimeout(() => connect(state), state.retryMs);
  state.retryMs = Math.min(state.retryMs * 2, LAST_RETRY_MS);
}

/** Listens to the channels that are missing, one after the other; a channel may be added while it runs. */
async function listenToAll(state: State, client: pg.Client): Promise<void> {
  if (state.busy) return;
  state.busy = true;
  state.ready = false;
  try {
    for (let channel = missing(state); channel !== undefined; channel = missing(state)) {
      await client.query(`listen ${client.escapeIdentifier(channel)}`);
      state.listening.add(channel);
    }
  } finally {
    state.busy = false;
  }
  if (state.client !== client) return;
  state.ready = true;
  for (const subscription of [...state.subscriptions]) {
    if (subscription.reconnected) continue;
    subscription.reconnected = true;
    subscription.onReconnect?.();
  }
}

const missing = ({ subscriptions, listening }: State): string | undefined =>
  [...subscriptions].find(({ channel }) => !listening.has(channel))?.channel;

/** A subscription to a connection that is open already. */
function listenToMore(state: State): void {
  const { client } = state;
  if (!state.ready || client === undefined) return;
  listenToAll(state, client).catch((error: unknown) => lose(state, client, error));
}

async function close(state: State): Promise<void> {
  state.closed = true;
  state.ready = false;
  clearTimeout(state.retryTimer);
  clearInterval(state.probeTimer);
  const { client } = state;
  state.client = undefined;
  await client?.end().catch(() => {});
}

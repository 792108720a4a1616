/**
 * Live progress of syncs as server-sent events. The process has one LISTEN. A changed row is read once, at most every
 * 100 ms, and sent to every stream that watches it. At each ping the callers of all streams are looked at again, and the
 * streams of those who may not read any more end. All state here is of open connections, so copies of the api need not agree.
 * No library: better-sse queues every event for a slow reader, here a newer state replaces the one that waits.
 */
import { PassThrough, type Readable } from 'node:stream';
import type { Logger } from 'pino';
import { isAdministrator } from '../../domain/accounts/roles.ts';
import { AppError } from '../../domain/errors.ts';
import { ACTIVE_STATUSES } from '../../domain/sync/targets.ts';
import type { VerifiedToken } from '../../services/accounts/access-tokens.ts';
import { findCallersAgain } from '../../services/accounts/callers.ts';
import type { Db } from '../../store/db/db.ts';
import type { Listener } from '../../store/db/listener.ts';
import { getSyncLog, type SyncLog } from '../../store/sync/log-store.ts';

export interface SyncStreams {
  /**
   * Opens a stream: `connected`, then `update` at each change, then `done` once, after which it ends.
   * @param token the access token of an administrator: the stream ends with it, or with the role.
   * @param lastEventId version that the caller has already received: it is not sent again.
   * @throws {AppError} NOT_FOUND; SERVICE_UNAVAILABLE when too many streams are open or the process ends.
   */
  open(id: string, token: VerifiedToken, lastEventId?: string): Promise<Readable>;
  /** Number of open streams. */
  size(): number;
  /** Ends all streams and opens no more, because the process ends. */
  close(): void;
}

export interface SyncStreamOptions {
  /** Milliseconds between comments while nothing changes; default 15 s (proxies cut silent connections). */
  pingMs?: number;
  /** Milliseconds between reads of the row while LISTEN is down; default 2 s. */
  pollMs?: number;
  /** Minimum milliseconds between two reads of one row; default 100. */
  readEveryMs?: number;
  /** Maximum number of open streams; default 1000. */
  maxStreams?: number;
}

export interface SyncStreamDeps {
  db: Db;
  listener: Listener;
  log: Logger;
}

interface Subscriber {
  out: PassThrough;
  token: VerifiedToken;
  /** The state that was sent last, as text: an equal state is not sent again. */
  sent: string;
  /** A state that waits until the caller has read what was sent before. */
  waiting: Snapshot | undefined;
  /** Pings in a row at which the caller had not read what was sent before. */
  stalledPings: number;
}

/** One sync log and the streams that watch it. */
interface Topic {
  id: string;
  subscribers: Set<Subscriber>;
  lastReadAt: number;
  timer: NodeJS.Timeout | undefined;
  reading: boolean;
  /** The row changed while it was read: read it again. */
  again: boolean;
}

interface Snapshot {
  data: string;
  version: string | undefined;
  over: boolean;
}

/** All streams of one process. */
interface Hub {
  deps: SyncStreamDeps;
  options: Required<SyncStreamOptions>;
  topics: Map<string, Topic>;
  /** Number of open streams. */
  count: number;
  closed: boolean;
  /** Stops LISTEN and the timers; undefined while no stream is open. */
  rest: (() => void) | undefined;
}

/** After this many pings at which a caller still had not read, its stream is ended. */
const STALLED_PINGS = 2;
const RETRY_AFTER_MS = 5000;

/** The state of a log as the stream sends it. */
export function toSnapshot(log: SyncLog): Snapshot {
  const { version } = log.metadata;
  return {
    data: JSON.stringify({
      id: log.id,
      status: log.status,
      itemsTotal: log.itemsTotal,
      itemsSynced: log.itemsSynced,
      metadata: log.metadata,
    }),
    version: typeof version === 'number' && Number.isSafeInteger(version) ? String(version) : undefined,
    over: !ACTIVE_STATUSES.includes(log.status),
  };
}

/** Makes the streams of one process. */
export function createSyncStreams(deps: SyncStreamDeps, options: SyncStreamOptions = {}): SyncStreams {
  const hub: Hub = {
    deps,
    options: { pingMs: 15_000, pollMs: 2000, readEveryMs: 100, maxStreams: 1000, ...options },
    topics: new Map(),
    count: 0,
    closed: false,
    rest: undefined,
  };
  return {
    open: (id, token, lastEventId) => openStream(hub, id, token, lastEventId),
    size: () => hub.count,
    close: () => closeAll(hub),
  };
}

async function openStream(
  hub: Hub,
  id: string,
  token: VerifiedToken,
  lastEventId: string | undefined,
): Promise<Readable> {
  refuseWhenFull(hub);
  const log = await getSyncLog(hub.deps.db, id);
  if (log === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'sync log not found' });
  refuseWhenFull(hub);
  const topic = topicOf(hub, id);
  const subscriber = subscribe(hub, topic, token);
  subscriber.out.write(`retry: 2000\nevent: connected\ndata: ${JSON.stringify({ syncLogId: id })}\n\n`);
  const snapshot = toSnapshot(log);
  if (lastEventId !== undefined && lastEventId === snapshot.version) subscriber.sent = snapshot.data;
  deliver(hub, topic, subscriber, snapshot);
  // The row may have changed between its first read and the subscription.
  if (!snapshot.over) scheduleRead(hub, topic);
  return subscriber.out;
}

function refuseWhenFull({ closed, count, options }: Hub): void {
  if (closed || count >= options.maxStreams) {
    throw new AppError('SERVICE_UNAVAILABLE', { retryAfterMs: RETRY_AFTER_MS });
  }
}

function topicOf(hub: Hub, id: string): Topic {
  const topic = hub.topics.get(id) ?? {
    id,
    subscribers: new Set(),
    lastReadAt: 0,
    timer: undefined,
    reading: false,
    again: false,
  };
  hub.topics.set(id, topic);
  return topic;
}

function subscribe(hub: Hub, topic: Topic, token: VerifiedToken): Subscriber {
  const subscriber: Subscriber = { out: new PassThrough(), token, sent: '', waiting: undefined, stalledPings: 0 };
  topic.subscribers.add(subscriber);
  hub.count += 1;
  hub.rest ??= wake(hub);
  subscriber.out.on('close', () => unsubscribe(hub, topic, subscriber));
  subscriber.out.on('error', () => unsubscribe(hub, topic, subscriber));
  subscriber.out.on('drain', () => {
    const { waiting } = subscriber;
    subscriber.waiting = undefined;
    if (waiting !== undefined) deliver(hub, topic, subscriber, waiting);
  });
  return subscriber;
}

function unsubscribe(hub: Hub, topic: Topic, subscriber: Subscriber): void {
  if (!topic.subscribers.delete(subscriber)) return;
  hub.count -= 1;
  if (topic.subscribers.size > 0) return;
  clearTimeout(topic.timer);
  hub.topics.delete(topic.id);
  if (hub.topics.size > 0) return;
  hub.rest?.();
  hub.rest = undefined;
}

/** Sends a state that the subscriber does not have yet; a final one ends the stream. */
function deliver(hub: Hub, topic: Topic, subscriber: Subscriber, snapshot: Snapshot): void {
  const { out } = subscriber;
  if (out.writableEnded || out.destroyed) return;
  if (out.writableNeedDrain) {
    // Only the newest state matters: one that the caller cannot take now is replaced, not queued.
    subscriber.waiting = snapshot;
    return;
  }
  if (snapshot.data !== subscriber.sent) {
    subscriber.sent = snapshot.data;
    write(subscriber, 'update', snapshot);
  }
  if (snapshot.over) {
    write(subscriber, 'done', snapshot);
    unsubscribe(hub, topic, subscriber);
    out.end();
  }
}

function write(subscriber: Subscriber, event: string, snapshot: Snapshot): void {
  const id = snapshot.version === undefined ? '' : `id: ${snapshot.version}\n`;
  subscriber.out.write(`event: ${event}\n${id}data: ${snapshot.data}\n\n`);
}

/** Reads the row as soon as its minimum time between two reads allows it. */
function scheduleRead(hub: Hub, topic: Topic): void {
  if (topic.timer !== undefined) return;
  const waitMs = Math.max(0, topic.lastReadAt + hub.options.readEveryMs - performance.now());
  topic.timer = setTimeout(() => {
    topic.timer = undefined;
    void read(hub, topic);
  }, waitMs);
}

async function read(hub: Hub, topic: Topic): Promise<void> {
  if (topic.reading) {
    topic.again = true;
    return;
  }
  topic.reading = true;
  topic.again = false;
  topic.lastReadAt = performance.now();
  try {
    const log = await getSyncLog(hub.deps.db, topic.id);
    const snapshot = log === undefined ? undefined : toSnapshot(log);
    for (const subscriber of [...topic.subscribers]) {
      if (snapshot === undefined) endWith(hub, topic, subscriber, 'log not found');
      else deliver(hub, topic, subscriber, snapshot);
    }
  } catch (error) {
    hub.deps.log.warn({ err: error, syncLogId: topic.id }, 'sync log could not be read for its streams');
    topic.again = true;
  } finally {
    topic.reading = false;
    if (topic.again && hub.topics.has(topic.id)) scheduleRead(hub, topic);
  }
}

/** Ends a stream because its log was deleted or its caller may not read it any more. */
function endWith(hub: Hub, topic: Topic, subscriber: Subscriber, error: string): void {
  if (subscriber.out.writableEnded || subscriber.out.destroyed) return;
  subscriber.out.write(`event: error\ndata: ${JSON.stringify({ error })}\n\n`);
  unsubscribe(hub, topic, subscriber);
  subscriber.out.end();
}

/** Starts LISTEN and the timers, which run only while a stream is open. @returns what stops them. */
function wake(hub: Hub): () => void {
  const { deps, options, topics } = hub;
  const readAll = (): void => {
    for (const topic of topics.values()) scheduleRead(hub, topic);
  };
  const stopListening = deps.listener.on(
    'sync_log',
    (id) => {
      const topic = topics.get(id);
      if (topic !== undefined) scheduleRead(hub, topic);
    },
    readAll,
  );
  const pingTimer = setInterval(() => {
    for (const topic of topics.values()) for (const subscriber of topic.subscribers) ping(subscriber);
    // A notification that was lost delays an update until the next ping; it does not stop the stream.
    void endRefused(hub).finally(readAll);
  }, options.pingMs);
  const pollTimer = setInterval(() => {
    if (!deps.listener.connected()) readAll();
  }, options.pollMs);
  return () => {
    stopListening();
    clearInterval(pingTimer);
    clearInterval(pollTimer);
  };
}

/** Ends the streams whose callers are not signed in or not administrators any more. One statement for all of them. */
async function endRefused(hub: Hub): Promise<void> {
  const open = [...hub.topics.values()].flatMap((topic) =>
    [...topic.subscribers].map((subscriber) => ({ topic, subscriber })),
  );
  try {
    const users = await findCallersAgain(
      hub.deps.db,
      open.map(({ subscriber }) => subscriber.token),
    );
    for (const [index, { topic, subscriber }] of open.entries()) {
      const user = users[index];
      if (user === undefined || !isAdministrator(user)) endWith(hub, topic, subscriber, 'signed out');
    }
  } catch (error) {
    hub.deps.log.warn({ err: error }, 'the callers of open streams could not be checked');
  }
}

function ping(subscriber: Subscriber): void {
  if (!subscriber.out.writableNeedDrain) {
    subscriber.stalledPings = 0;
    subscriber.out.write(': ping\n\n');
    return;
  }
  subscriber.stalledPings += 1;
  if (subscriber.stalledPings >= STALLED_PINGS) subscriber.out.destroy();
}

function closeAll(hub: Hub): void {
  hub.closed = true;
  for (const topic of [...hub.topics.values()]) {
    for (const subscriber of [...topic.subscribers]) {
      unsubscribe(hub, topic, subscriber);
      subscriber.out.end();
    }
  }
}

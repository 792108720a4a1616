/**
 * Live progress of syncs as event streams. One LISTEN for the process; a changed row is read once, at most every
 * 100 ms, and fanned out to all who watch it. Nothing here is state that a second copy of the api would contradict.
 * No library: better-sse queues every event for a slow reader, here a newer state replaces the one that waits.
 */

import { PassThrough, type Readable } from 'node:stream';
import type { Logger } from 'pino';
import { AppError } from '../../domain/errors.ts';
import { ACTIVE_STATUSES } from '../../domain/sync/targets.ts';
import type { Db } from '../../store/db/db.ts';
import type { Listener } from '../../store/db/listener.ts';
import { getSyncLog, type SyncLog } from '../../store/sync/log-store.ts';

export interface SyncStreams {
  /**
   * Opens a stream: `connected`, then `update` at each change, then `done` once, after which it ends.
   * @param lastEventId version the caller has already seen: it is not sent again.
   * @throws {AppError} NOT_FOUND; SERVICE_UNAVAILABLE when too many streams are open or the process drains.
   */
  open(id: string, lastEventId?: string): Promise<Readable>;
  /** Streams open now. */
  size(): number;
  /** Ends all streams and takes no more: the process drains. */
  close(): void;
}

export interface SyncStreamOptions {
  /** Milliseconds between comments while nothing changes; default 15 s (proxies cut silent connections). */
  pingMs?: number;
  /** Milliseconds between reads of the row while LISTEN is down; default 2 s. */
  pollMs?: number;
  /** Milliseconds between two reads of one row at the least; default 100. */
  readEveryMs?: number;
  /** Streams at the most; default 1000. */
  maxStreams?: number;
}

interface Subscriber {
  out: PassThrough;
  /** What was sent last, as text: an equal state is not sent again. */
  sent: string;
  /** A state that waits until the caller has read what it was sent. */
  waiting: Snapshot | undefined;
  /** Pings in a row that found the caller still not reading. */
  stalledPings: number;
}

interface Topic {
  id: string;
  subscribers: Set<Subscriber>;
  lastReadAt: number;
  timer: NodeJS.Timeout | undefined;
  reading: boolean;
  again: boolean;
}

interface Snapshot {
  data: string;
  version: string | undefined;
  over: boolean;
}

/** A caller who reads nothing for this many pings is let go. */
const STALLED_PINGS = 2;

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

/** Makes the hub of one process. */
export function createSyncStreams(
  deps: { db: Db; listener: Listener; log: Logger },
  options: SyncStreamOptions = {},
): SyncStreams {
  const { pingMs = 15_000, pollMs = 2000, readEveryMs = 100, maxStreams = 1000 } = options;
  const topics = new Map<string, Topic>();
  let count = 0;
  let closed = false;
  let stopListening: (() => void) | undefined;
  let pingTimer: NodeJS.Timeout | undefined;
  let pollTimer: NodeJS.Timeout | undefined;

  const write = (subscriber: Subscriber, event: string, snapshot: Snapshot): void => {
    const id = snapshot.version === undefined ? '' : `id: ${snapshot.version}\n`;
    subscriber.out.write(`event: ${event}\n${id}data: ${snapshot.data}\n\n`);
  };

  const deliver = (topic: Topic, subscriber: Subscriber, snapshot: Snapshot): void => {
    const { out } = subscriber;
    if (out.writableEnded || out.destroyed) return;
    if (out.writableNeedDrain) {
      // Only the newest state matters: what the caller cannot take now is replaced, not queued.
      subscriber.waiting = snapshot;
      return;
    }
    if (snapshot.data !== subscriber.sent) {
      subscriber.sent = snapshot.data;
      write(subscriber, 'update', snapshot);
    }
    if (snapshot.over) {
      write(subscriber, 'done', snapshot);
      leave(topic, subscriber);
      out.end();
    }
  };

  const leave = (topic: Topic, subscriber: Subscriber): void => {
    if (!topic.subscribers.delete(subscriber)) return;
    count -= 1;
    if (topic.subscribers.size > 0) return;
    clearTimeout(topic.timer);
    topics.delete(topic.id);
    if (topics.size === 0) rest();
  };

  const read = async (topic: Topic): Promise<void> => {
    if (topic.reading) {
      topic.again = true;
      return;
    }
    topic.reading = true;
    topic.again = false;
    topic.lastReadAt = performance.now();
    try {
      const log = await getSyncLog(deps.db, topic.id);
      const snapshot = log === undefined ? undefined : toSnapshot(log);
      for (const subscriber of [...topic.subscribers]) {
        if (snapshot === undefined) {
          subscriber.out.write('event: error\ndata: {"error":"log not found"}\n\n');
          leave(topic, subscriber);
          subscriber.out.end();
        } else {
          deliver(topic, subscriber, snapshot);
        }
      }
    } catch (error) {
      deps.log.warn({ err: error, syncLogId: topic.id }, 'sync log could not be read for its streams');
      topic.again = true;
    } finally {
      topic.reading = false;
      if (topic.again && topics.has(topic.id)) schedule(topic);
    }
  };

  const schedule = (topic: Topic): void => {
    if (topic.timer !== undefined) return;
    const waitMs = Math.max(0, topic.lastReadAt + readEveryMs - performance.now());
    topic.timer = setTimeout(() => {
      topic.timer = undefined;
      void read(topic);
    }, waitMs);
  };

  const refreshAll = (): void => {
    for (const topic of topics.values()) schedule(topic);
  };

  /** Timers run only while someone watches. */
  const wake = (): void => {
    if (pingTimer !== undefined) return;
    stopListening = deps.listener.on(
      'sync_log',
      (id) => {
        const topic = topics.get(id);
        if (topic !== undefined) schedule(topic);
      },
      refreshAll,
    );
    pingTimer = setInterval(() => {
      for (const topic of topics.values()) for (const subscriber of topic.subscribers) ping(subscriber);
      // A notification that was lost for whatever reason costs one ping's time, not the stream.
      refreshAll();
    }, pingMs);
    pollTimer = setInterval(() => {
      if (!deps.listener.connected()) refreshAll();
    }, pollMs);
  };
  const rest = (): void => {
    stopListening?.();
    clearInterval(pingTimer);
    clearInterval(pollTimer);
    stopListening = undefined;
    pingTimer = undefined;
    pollTimer = undefined;
  };

  const ping = (subscriber: Subscriber): void => {
    if (!subscriber.out.writableNeedDrain) {
      subscriber.stalledPings = 0;
      subscriber.out.write(': ping\n\n');
      return;
    }
    subscriber.stalledPings += 1;
    if (subscriber.stalledPings >= STALLED_PINGS) subscriber.out.destroy();
  };

  return {
    async open(id, lastEventId) {
      if (closed || count >= maxStreams) throw new AppError('SERVICE_UNAVAILABLE', { retryAfterMs: 5000 });
      const log = await getSyncLog(deps.db, id);
      if (log === undefined) throw new AppError('NOT_FOUND', { detail: 'sync log not found' });
      if (closed) throw new AppError('SERVICE_UNAVAILABLE', { retryAfterMs: 5000 });
      const topic = topics.get(id) ?? {
        id,
        subscribers: new Set(),
        lastReadAt: 0,
        timer: undefined,
        reading: false,
        again: false,
      };
      const subscriber: Subscriber = { out: new PassThrough(), sent: '', waiting: undefined, stalledPings: 0 };
      topics.set(id, topic);
      topic.subscribers.add(subscriber);
      count += 1;
      wake();
      const { out } = subscriber;
      out.on('close', () => leave(topic, subscriber));
      out.on('error', () => leave(topic, subscriber));
      out.on('drain', () => {
        const { waiting } = subscriber;
        subscriber.waiting = undefined;
        if (waiting !== undefined) deliver(topic, subscriber, waiting);
      });
      out.write(`retry: 2000\nevent: connected\ndata: ${JSON.stringify({ syncLogId: id })}\n\n`);
      const snapshot = toSnapshot(log);
      if (lastEventId !== undefined && lastEventId === snapshot.version) subscriber.sent = snapshot.data;
      deliver(topic, subscriber, snapshot);
      // The row may have changed between its first read and the subscription.
      if (!snapshot.over) schedule(topic);
      return out;
    },
    size: () => count,
    close() {
      closed = true;
      for (const topic of [...topics.values()]) {
        for (const subscriber of [...topic.subscribers]) {
          leave(topic, subscriber);
          subscriber.out.end();
        }
      }
    },
  };
}

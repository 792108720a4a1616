/** Writes events to the outbox, from where the relay turns them into deliveries. */
import type { EventData, ServiceEvent } from '../../domain/events.ts';
import type { Db } from '../db/db.ts';
import { enqueueAll } from '../outbox-store.ts';

export interface EventToEmit {
  event: ServiceEvent;
  /** The same happening always has the same key, and is reported once. */
  key: string;
  data: EventData;
}

/** Writes events in the transaction of their cause, in this order. */
export const emitEvents = (trx: Db, events: readonly EventToEmit[]): Promise<void> =>
  enqueueAll(
    trx,
    events.map(({ event, key, data }) => ({ kind: event, dedupeKey: `${event}:${key}`, payload: { ...data } })),
  );

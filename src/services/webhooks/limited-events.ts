/** Events that strangers can cause are reported up to a limit, so that a flood of them does not fill a channel. */
import { randomUUID } from 'node:crypto';
import type { Db } from '../../store/db/db.ts';
import { takeTokens } from '../../store/rate-limit-store.ts';
import { type EventToEmit, emitEvents } from '../../store/webhooks/event-store.ts';

const HOUR_SECONDS = 3600;

/**
 * Writes an event in the transaction of its cause, at most `perHour` of one name, all processes together. Beyond them, one
 * `security.more` an hour says that there are more.
 */
export async function emitLimited(trx: Db, event: EventToEmit, perHour: number): Promise<void> {
  const bucket = { identity: event.event, windowSeconds: HOUR_SECONDS };
  const [one] = await takeTokens(trx, [{ ...bucket, name: 'event', capacity: perHour }]);
  if (one?.allowed === true) return emitEvents(trx, [event]);
  const [more] = await takeTokens(trx, [{ ...bucket, name: 'event-more', capacity: 1 }]);
  if (more?.allowed !== true) return;
  const data = { event: event.event, per_hour: perHour };
  await emitEvents(trx, [{ event: 'security.more', key: randomUUID(), data }]);
}

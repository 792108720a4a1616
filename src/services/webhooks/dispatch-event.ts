/** Sends an event to webhooks at the request of another program. */
import type { Logger } from 'pino';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import type { EventData } from '../../domain/events.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { recordChange } from '../audit/record-change.ts';
import { routeNotice } from './route-events.ts';

/** Maximum length of an event's name, in UTF-16 code units, and number of its values. */
const NAME_LIMIT = 100;
const VALUES_LIMIT = 100;

/**
 * Queues one delivery for each webhook that receives the event. Its texts are those of requested events, whatever its name:
 * no program can send a report in the name of the service.
 * @returns ids of the deliveries, in the order of the webhooks.
 * @throws {AppError} VALIDATION_ERROR that names the field.
 */
export async function dispatchEvent(
  deps: { db: Db; log: Logger },
  request: { event: string; data: EventData },
  by: AuditOrigin,
): Promise<string[]> {
  const event = request.event.trim();
  if (event === '') throw refusal('event is required', 'event', 'is required');
  if (event.length > NAME_LIMIT || /\p{Cc}/u.test(event)) {
    const message = `may have at most ${NAME_LIMIT} characters and no control character`;
    throw refusal('Invalid event', 'event', message);
  }
  if (Object.keys(request.data).length > VALUES_LIMIT) {
    throw refusal('The data is too large', 'data', `may have at most ${VALUES_LIMIT} values`);
  }
  return inTransaction(deps.db, async (trx) => {
    const notice = { event, origin: 'request' as const, data: request.data, occurredAt: new Date() };
    const ids = await routeNotice(trx, notice);
    const details = { event: event.toWellFormed(), deliveries: ids.length };
    await recordChange({ trx, log: deps.log }, by, { action: 'webhook-dispatched', details });
    return ids;
  });
}

const refusal = (publicMessage: string, field: string, message: string): AppError =>
  new AppError('VALIDATION_ERROR', { publicMessage, details: [{ path: `body.${field}`, message }] });

/** `/api/v1/hytale/logs`: what happened to the tokens and sessions of a Hytale account. */
import { z } from 'zod';
import { HYTALE_EVENTS, type HytaleEvent } from '../../../domain/hytale/lifecycle.ts';
import { readTime, refusal } from '../../../services/audit/read-audit.ts';
import { type HytaleAuditRow, listHytaleAudit } from '../../../store/hytale/audit-list.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import { clampedInteger, queryText } from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { accountIn, hytaleArea, inBothSpellings, SHORT, uuidIn } from './shapes.ts';

const EntrySchema = z
  .object({
    id: z.string(),
    account_id: z.string(),
    profile_id: z.string().nullable(),
    event_type: z.string().meta({ description: HYTALE_EVENTS.join(', ') }),
    details: z.string().nullable().meta({ description: 'Words, ids and numbers, as JSON' }),
    ip_address: z.string().nullable().meta({ description: 'Who asked for it; null: a timer' }),
    user_agent: z.string().nullable(),
    created_at: IsoDate,
  })
  .meta({ id: 'HytaleLogEntry' });

const toWire = (row: HytaleAuditRow): z.input<typeof EntrySchema> => ({
  id: row.id,
  account_id: row.accountId,
  profile_id: row.profileId,
  event_type: row.eventType,
  details: row.details,
  ip_address: row.ipAddress,
  user_agent: row.userAgent,
  created_at: row.createdAt.toISOString(),
});

/** @throws {AppError} VALIDATION_ERROR: a misspelled filter must not show everything. */
function eventIn(text: string): HytaleEvent | undefined {
  const event = HYTALE_EVENTS.find((one) => one === text.trim().toUpperCase());
  if (event === undefined && text !== '') throw refusal('event_type', `one of ${HYTALE_EVENTS.join(', ')}`);
  return event;
}
const optionalUuid = (field: string, text: string) => (text === '' ? undefined : uuidIn(field, text));

const logs = defineRoute({
  ...hytaleArea,
  method: 'get',
  path: '/api/v1/hytale/logs',
  operationId: 'listHytaleLogs',
  summary: 'What happened to the tokens and sessions of a Hytale account, newest first',
  query: z.object({
    account_id: queryText({}).meta({ description: 'UUID of the Hytale account; required' }),
    limit: clampedInteger({ min: 1, max: 1000, fallback: 100 }),
    profile_id: queryText({}).meta({ description: 'UUID of a profile' }),
    event_type: queryText({}).meta({ description: `One of ${HYTALE_EVENTS.join(', ')}` }),
    since: queryText({}).meta({ description: 'A day, or a time with its zone; earlier entries are left out' }),
    until: queryText({}).meta({ description: 'A day, which counts whole, or a time; later entries are left out' }),
    before: queryText({}).meta({ description: 'Id of the last entry of the page before' }),
  }),
  responses: { 200: z.object({ success: z.literal(true), logs: z.array(EntrySchema), count: Count }) },
  errors: ['VALIDATION_ERROR'],
  failureMessage: 'Failed to retrieve logs',
  async handler({ input: { query }, deps }) {
    const rows = await listHytaleAudit(deps.db, {
      accountId: accountIn(query),
      profileId: optionalUuid('profile_id', query.profile_id),
      eventType: eventIn(query.event_type),
      since: readTime('since', query.since),
      until: readTime('until', query.until, { end: true }),
      before: optionalUuid('before', query.before),
      limit: query.limit,
    });
    return { status: 200, body: { success: true, logs: rows.map(toWire), count: rows.length } };
  },
});

export const hytaleLogRoutes: Route[] = inBothSpellings(logs, {
  operationId: 'listHytaleLogsShort',
  path: `${SHORT}/logs`,
});

/** The export of the audit, as CSV or JSON Lines: batches of the list, so that memory stays the same for any number of events. */
import { Readable } from 'node:stream';
import type { Logger } from 'pino';
import type { AuditDetails, AuditOrigin } from '../../domain/audit.ts';
import { csvLine } from '../../domain/csv.ts';
import {
  type AuditFilter,
  type AuditPosition,
  listAuditEvents,
  type StoredAuditEvent,
} from '../../store/audit/audit-list.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { type AuditFilterTexts, readAuditFilter } from './read-audit.ts';
import { recordChange } from './record-change.ts';

export const EXPORT_FORMATS = ['csv', 'jsonl'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** Rows per statement: a few hundred kilobytes. */
const BATCH_ROWS = 1000;

/**
 * Records the export and begins it. The stream reads the next batch when the one before was taken, and reads nothing more
 * once it is destroyed. A failure destroys it: what was read until then must not count as the whole.
 * @throws {AppError} VALIDATION_ERROR for a filter that says nothing.
 */
export async function exportAudit(
  deps: { db: Db; log?: Logger | undefined },
  by: AuditOrigin,
  { format, ...texts }: AuditFilterTexts & { format: ExportFormat },
): Promise<Readable> {
  const filter = await readAuditFilter(deps.db, texts);
  const details = { format, ...filterDetails(filter) };
  await inTransaction(deps.db, (trx) =>
    recordChange({ trx, log: deps.log }, by, { action: 'audit-exported', details }),
  );
  return Readable.from(batches(deps.db, filter, format), { objectMode: false, highWaterMark: 1 });
}

/** What an id of ours looks like. A caller can type anything else, such as an address, which no event may hold. */
const ID = /^[\w:.-]{1,100}$/;

/** The filter as the event tells it: words and ids. */
function filterDetails(filter: AuditFilter): AuditDetails {
  const { actions, from, before, ...texts } = filter;
  const shown = {
    ...Object.fromEntries(Object.entries(texts).filter(([, text]) => text !== undefined)),
    ...(actions === undefined ? {} : { actions: [...actions] }),
    ...(from === undefined ? {} : { from: from.toISOString() }),
    ...(before === undefined ? {} : { before: before.toISOString() }),
  };
  if (Object.keys(shown).length === 0) return {};
  return { filter: Object.fromEntries(Object.entries(shown).map(([field, value]) => [field, idOnly(value)])) };
}

const idOnly = (value: string | string[]): string | string[] =>
  typeof value === 'string' && !ID.test(value) ? '(another text)' : value;

async function* batches(db: Db, filter: AuditFilter, format: ExportFormat): AsyncGenerator<string> {
  const line = format === 'csv' ? toCsv : toJson;
  if (format === 'csv') yield csvLine(CSV_COLUMNS);
  let after: AuditPosition | undefined;
  do {
    const events: StoredAuditEvent[] = await listAuditEvents(db, { ...filter, limit: BATCH_ROWS, after });
    if (events.length > 0) yield events.map(line).join('');
    after = events.length === BATCH_ROWS ? events.at(-1)?.position : undefined;
  } while (after !== undefined);
}

/** An event as answers and files show it. */
export const shownEvent = (event: StoredAuditEvent) => ({
  id: event.id,
  at: event.at.toISOString(),
  action: event.action,
  outcome: event.outcome,
  actor: { type: event.actorType, id: event.actorId, ...shownUser(event.actor) },
  target:
    event.targetType === null && event.targetId === null
      ? null
      : { type: event.targetType, id: event.targetId, ...shownUser(event.target) },
  network: event.network,
  requestId: event.requestId,
  details: event.details ?? {},
});

const shownUser = (user: StoredAuditEvent['actor']) => ({
  email: user?.email ?? null,
  username: user?.username ?? null,
});

const toJson = (event: StoredAuditEvent): string => `${JSON.stringify(shownEvent(event))}\n`;

const CSV_COLUMNS = [
  'id',
  'at',
  'action',
  'outcome',
  'actor_type',
  'actor_id',
  'actor_email',
  'actor_username',
  'target_type',
  'target_id',
  'target_email',
  'target_username',
  'network',
  'request_id',
  'details',
];

function toCsv(event: StoredAuditEvent): string {
  const { id, at, action, outcome, actor, target, network, requestId, details } = shownEvent(event);
  const people = [actor, target].flatMap((one) => [one?.type, one?.id, one?.email, one?.username]);
  const cells = [id, at, action, outcome, ...people, network, requestId, JSON.stringify(details)];
  return csvLine(cells.map((cell) => cell ?? ''));
}

/** Reading the audit: what a filter may say, pages with a cursor. The routes and the command line share it. */
import {
  AUDIT_ACTIONS,
  AUDIT_ACTOR_TYPES,
  AUDIT_OUTCOMES,
  AUDIT_TARGETS,
  type AuditActor,
} from '../../domain/audit.ts';
import { AppError, isAppError } from '../../domain/errors.ts';
import { findUserId } from '../../store/accounts/user-list.ts';
import {
  type AuditFilter,
  type AuditPosition,
  listAuditEvents,
  type StoredAuditEvent,
} from '../../store/audit/audit-list.ts';
import type { Db } from '../../store/db/db.ts';

/** A filter as a caller writes it; absent and empty texts do not filter. */
export interface AuditFilterTexts {
  /** One action, or several separated by commas. */
  action?: string | undefined;
  outcome?: string | undefined;
  /** A type of actor, or the id of a user. */
  actor?: string | undefined;
  targetType?: string | undefined;
  targetId?: string | undefined;
  /** Address or id of a user, also the id of one that was deleted. */
  user?: string | undefined;
  /** A day, or a time with its zone. */
  from?: string | undefined;
  /** A day, which counts whole, or a time with its zone, which does not count. */
  to?: string | undefined;
  requestId?: string | undefined;
  network?: string | undefined;
}

/** @throws {AppError} VALIDATION_ERROR, with the field in `details`: a misspelled filter must not show everything. */
export async function readAuditFilter(db: Db, texts: AuditFilterTexts): Promise<AuditFilter> {
  const given = (field: keyof AuditFilterTexts): string | undefined => texts[field]?.trim() || undefined;
  const oneOf = (field: keyof AuditFilterTexts, known: readonly string[], text = given(field)): string | undefined => {
    if (text === undefined || known.includes(text)) return text;
    throw refusal(field, `one of ${known.join(', ')}`);
  };
  const actions = given('action')
    ?.split(',')
    .map((part) => oneOf('action', AUDIT_ACTIONS, part.trim()) ?? '');
  const actor = given('actor');
  const actorType = AUDIT_ACTOR_TYPES.find((type) => type === actor);
  const user = given('user');
  return {
    actions,
    outcome: oneOf('outcome', AUDIT_OUTCOMES),
    actorType: actorType ?? (actor === undefined ? undefined : ('user' satisfies AuditActor['type'])),
    actorId: actorType === undefined ? actor : undefined,
    targetType: oneOf('targetType', AUDIT_TARGETS),
    targetId: given('targetId'),
    userId: user === undefined ? undefined : await userIdOf(db, user),
    from: readTime('from', given('from')),
    before: readTime('to', given('to'), { end: true }),
    requestId: given('requestId'),
    network: given('network'),
  };
}

/** A filter that says nothing known. */
export const refusal = (field: string, message: string): AppError =>
  new AppError('VALIDATION_ERROR', {
    publicMessage: `Invalid ${field}`,
    details: [{ path: `query.${field}`, message }],
  });

/** The id of the user; of a deleted user the id itself. */
async function userIdOf(db: Db, who: string): Promise<string> {
  try {
    return await findUserId(db, who);
  } catch (error) {
    if (!isAppError(error, 'NOT_FOUND')) throw error;
    return who;
  }
}

const DAY_MS = 86_400_000;
const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d))?$/;

/**
 * A time of a filter; absent and empty do not filter.
 * @param options `end`: the filter ends before the time; a day counts whole.
 * @throws {AppError} VALIDATION_ERROR
 */
export function readTime(
  field: string,
  text: string | undefined,
  { end = false }: { end?: boolean } = {},
): Date | undefined {
  if (text === undefined || text === '') return undefined;
  const time = TIME.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw refusal(field, 'a day such as 2026-03-01, or a time such as 2026-03-01T09:30:00Z');
  return new Date(end && !text.includes('T') ? time + DAY_MS : time);
}

/** A page of the audit. */
export interface AuditPage {
  events: StoredAuditEvent[];
  /** Where the next page begins; null at the end. */
  nextCursor: string | null;
}

/**
 * Reads a page, newest first.
 * @param page `cursor`: from the page before; absent or empty begins with the newest event
 * @throws {AppError} VALIDATION_ERROR for a cursor that no page had.
 */
export async function readAuditPage(
  db: Db,
  filter: AuditFilter,
  page: { limit: number; cursor?: string | undefined },
): Promise<AuditPage> {
  const after = page.cursor ? readCursor(page.cursor) : undefined;
  const found = await listAuditEvents(db, { ...filter, limit: page.limit + 1, after });
  const events = found.slice(0, page.limit);
  const last = events.at(-1);
  return { events, nextCursor: found.length > page.limit && last !== undefined ? cursorOf(last.position) : null };
}

const cursorOf = ({ at, id }: AuditPosition): string => Buffer.from(`${at} ${id}`).toString('base64url');

const CURSOR = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\d{1,18})$/;

function readCursor(cursor: string): AuditPosition {
  const [, at = '', id = ''] = CURSOR.exec(Buffer.from(cursor, 'base64url').toString()) ?? [];
  if (id === '' || !isRealTime(at)) throw refusal('cursor', 'is not the cursor of a page');
  return { at, id };
}

/** Whether the database accepts it too: `Date` turns the 31st of February into a day of March. */
function isRealTime(at: string): boolean {
  const time = new Date(at);
  return !Number.isNaN(time.getTime()) && time.toISOString().slice(0, 19) === at.slice(0, 19);
}

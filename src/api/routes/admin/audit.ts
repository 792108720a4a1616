/** `/api/admin/audit`: who changed what, as a list with a cursor and as a file. */
import { z } from 'zod';
import { AUDIT_ACTIONS, AUDIT_ACTOR_TYPES, AUDIT_OUTCOMES, AUDIT_TARGETS } from '../../../domain/audit.ts';
import { EXPORT_FORMATS, exportAudit, shownEvent } from '../../../services/audit/export-audit.ts';
import { readAuditFilter, readAuditPage } from '../../../services/audit/read-audit.ts';
import { changedBy } from '../../context.ts';
import { IsoDate } from '../../http/envelopes.ts';
import { clampedInteger, documentedAs } from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';

const tags = ['Admin: audit'];

const filterText = (description: string, documented: Record<string, unknown> = {}) =>
  z
    .string()
    .max(1000)
    .optional()
    .meta({ description, ...documentedAs({ type: 'string', ...documented }) });

const Filter = {
  action: filterText(`One action, or several separated by commas: ${AUDIT_ACTIONS.join(', ')}`),
  outcome: filterText('How it ended', { enum: [...AUDIT_OUTCOMES] }),
  actor: filterText(`Who acted: the id of a user, or ${AUDIT_ACTOR_TYPES.join(', ')}`),
  targetType: filterText('What it was about', { enum: [...AUDIT_TARGETS] }),
  targetId: filterText('Id of what it was about'),
  user: filterText('Events about this user or by this user: address or id, also the id of a deleted user'),
  from: filterText('A day, or a time with its zone; earlier events are left out'),
  to: filterText('A day, which counts whole, or a time with its zone; later events are left out'),
  requestId: filterText('Id of a request'),
  network: filterText('Keyed digest of a network, as an event shows it'),
};

const User = { id: z.string().nullable(), email: z.string().nullable(), username: z.string().nullable() };
const AuditEventSchema = z
  .object({
    id: z.string(),
    at: IsoDate,
    action: z.string(),
    outcome: z.string(),
    actor: z.object({ type: z.string(), ...User }),
    target: z.object({ type: z.string().nullable(), ...User }).nullable(),
    network: z.string().nullable(),
    requestId: z.string().nullable(),
    details: z.record(z.string(), z.unknown()),
  })
  .meta({
    id: 'AuditEvent',
    description:
      'What was done, by whom, to what. Addresses and names are those of now, null for a deleted account. `details` holds words, ids and values before and after; no secret',
  });

const FILES = {
  csv: { type: 'text/csv; charset=utf-8', name: 'audit.csv' },
  jsonl: { type: 'application/x-ndjson; charset=utf-8', name: 'audit.jsonl' },
} as const;

export const adminAuditRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path: '/api/admin/audit',
    operationId: 'listAuditEvents',
    summary: 'Audit events, newest first',
    description: 'A filter that says nothing known is refused with 400, and so is a cursor that no page had.',
    tags,
    auth: 'admin',
    query: z.object({
      ...Filter,
      limit: clampedInteger({ min: 1, max: 200, fallback: 50 }),
      cursor: filterText('`nextCursor` of the page before'),
    }),
    responses: {
      200: z.object({
        success: z.literal(true),
        events: z.array(AuditEventSchema),
        nextCursor: z.string().nullable().meta({ description: 'null at the end' }),
      }),
    },
    errors: [],
    failureMessage: 'Failed to fetch the audit',
    async handler({ input: { query }, deps }) {
      const { limit, cursor, ...texts } = query;
      const { events, nextCursor } = await readAuditPage(deps.db, await readAuditFilter(deps.db, texts), {
        limit,
        cursor,
      });
      return { status: 200, body: { success: true, events: events.map(shownEvent), nextCursor } };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/admin/audit/export',
    operationId: 'exportAudit',
    summary: 'Audit events as a file, newest first',
    description:
      'CSV for spreadsheets: an apostrophe stands before every text that could be a formula. JSON Lines have the values as they are, one event of the list per line. An export that fails ends with a broken connection, never as a shorter file.',
    tags,
    auth: 'admin',
    query: z.object({ ...Filter, format: z.enum(EXPORT_FORMATS).default('csv') }),
    responses: {
      200: { contentType: FILES.csv.type, otherTypes: [FILES.jsonl.type], description: 'The file' },
    },
    errors: [],
    failureMessage: 'Failed to export the audit',
    audit: 'audit-exported',
    async handler({ input: { query }, deps, koa, ...call }) {
      const { type, name } = FILES[query.format];
      const headers = { 'Content-Type': type, 'Content-Disposition': `attachment; filename="${name}"` };
      if (koa.method === 'HEAD') return { status: 200, raw: '', headers };
      return { status: 200, raw: await exportAudit(deps, changedBy(call), query), headers };
    },
  }),
];

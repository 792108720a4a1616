/** `/api/admin/hytale/sessions`: game sessions, their next steps, and how the tokens came to the servers. */
import { z } from 'zod';
import { AppError } from '../../../domain/errors.ts';
import { SESSION_STATUSES } from '../../../domain/hytale/lifecycle.ts';
import { readUuid } from '../../../domain/uuid.ts';
import { countSessionRows, listSessions } from '../../../store/hytale/session-list.ts';
import type { Services } from '../../context.ts';
import {
  clampedInteger,
  OptionalFlag,
  OptionalText,
  PageNumber,
  PathId,
  queryText,
  searchText,
  wordFilter,
} from '../../http/fields.ts';
import { Pagination, paginationOf, rowsOf } from '../../http/lists.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { AccountId, choiceIn, requesterOf, SESSION_FIELDS, UPSTREAM_ERRORS, uuidIn } from '../hytale/shapes.ts';
import { HytaleSessionSchema, toWireSession } from './hytale-shapes.ts';

const PATH = '/api/admin/hytale/sessions';
const area = { tags: ['Admin: Hytale'], auth: 'admin' } as const;
const SessionAnswer = z.object({ success: z.literal(true), session: HytaleSessionSchema });
const SESSION_ERRORS = [
  'NOT_FOUND',
  'SESSION_NOT_FOUND',
  'CONFLICT',
  'SESSION_LIMIT_EXCEEDED',
  ...UPSTREAM_ERRORS,
] as const;

const unknownSession = () => new AppError('SESSION_NOT_FOUND', { publicMessage: 'No such game session' });

/** The session of a path. @throws {AppError} SESSION_NOT_FOUND for a text that is no UUID. */
function sessionOf({ id }: { id: string }): string {
  const sessionId = readUuid(id);
  if (sessionId === undefined) throw unknownSession();
  return sessionId;
}

/** @throws {AppError} SESSION_NOT_FOUND. */
async function readSession(deps: Services, id: string) {
  const { environment } = deps.config.hytale;
  const [row] = await listSessions(deps.db, { environment, id, limit: 1, offset: 0 });
  if (row === undefined) throw unknownSession();
  return { success: true as const, session: toWireSession(row, deps) };
}

const end = defineRoute({
  ...area,
  method: 'post',
  path: `${PATH}/:id/end`,
  operationId: 'endHytaleSession',
  summary: 'End a game session',
  description:
    'Ends it at Hytale as far as that can be reached, and deletes its row. A running server goes on unauthenticated.',
  params: PathId,
  responses: { 200: z.object({ success: z.literal(true), message: z.string() }) },
  errors: SESSION_ERRORS,
  failureMessage: 'Failed to terminate game session',
  audit: 'hytale-session-ended',
  async handler({ input: { params }, deps, ...call }) {
    await deps.hytale.endSessionById(sessionOf(params), requesterOf(call));
    return { status: 200, body: { success: true, message: 'Game session terminated successfully' } };
  },
});

export const hytaleSessionAdminRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: PATH,
    operationId: 'listHytaleSessions',
    summary: 'Game sessions, newest first: what each waits for, and what its server has',
    query: z.object({
      page: PageNumber,
      pageSize: clampedInteger({ min: 1, max: 200, fallback: 25 }),
      status: wordFilter(SESSION_STATUSES, 'Other words do not filter'),
      account: queryText({}).meta({ description: 'UUID of the account' }),
      server: searchText('Id of the server'),
      search: searchText('Part of an id, or of the names of server, owner or profile, in any case'),
    }),
    responses: {
      200: z.object({ success: z.literal(true), sessions: z.array(HytaleSessionSchema), pagination: Pagination }),
    },
    errors: ['VALIDATION_ERROR'],
    failureMessage: 'Failed to fetch game sessions',
    async handler({ input: { query }, deps }) {
      const { page, pageSize, account, server: serverId, ...given } = query;
      const accountId = account === '' ? undefined : uuidIn('account', account);
      const filter = { ...given, accountId, serverId, environment: deps.config.hytale.environment };
      const total = await deps.totals.of('hytale-sessions', filter, () => countSessionRows(deps.db, filter));
      const rows = await listSessions(deps.db, { ...filter, ...rowsOf({ page, pageSize }) });
      const sessions = rows.map((row) => toWireSession(row, deps));
      return { status: 200, body: { success: true, sessions, pagination: paginationOf({ page, pageSize }, total) } };
    },
  }),
  defineRoute({
    ...area,
    method: 'get',
    path: `${PATH}/:id`,
    operationId: 'getHytaleSession',
    summary: 'One game session',
    params: PathId,
    responses: { 200: SessionAnswer },
    errors: ['SESSION_NOT_FOUND'],
    failureMessage: 'Failed to fetch game session',
    async handler({ input: { params }, deps }) {
      return { status: 200, body: await readSession(deps, sessionOf(params)) };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: PATH,
    operationId: 'startHytaleSession',
    summary: 'A game session for a server, or for none',
    description: 'A session that is there already gets a fresh pair of tokens. The answer holds no token.',
    body: z.object({
      account_id: AccountId,
      profile_uuid: SESSION_FIELDS.profile_uuid,
      server_id: SESSION_FIELDS.server_id,
    }),
    responses: { 201: SessionAnswer },
    errors: SESSION_ERRORS,
    failureMessage: 'Failed to create game session',
    audit: 'hytale-session-created',
    async handler({ input: { body }, deps, ...call }) {
      const { accountId, profileUuid, serverId } = choiceIn({ ...body, profile_id: '', session_id: '' });
      const { sessionId } = await deps.hytale.newSession({ accountId, profileUuid, serverId }, requesterOf(call));
      return { status: 201, body: await readSession(deps, sessionId) };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: `${PATH}/:id/refresh`,
    operationId: 'refreshHytaleSession',
    summary: 'Renew a game session now, by its own token',
    params: PathId,
    responses: { 200: SessionAnswer },
    errors: SESSION_ERRORS,
    failureMessage: 'Failed to refresh game session',
    audit: 'hytale-session-refreshed',
    async handler({ input: { params }, deps, ...call }) {
      const { session } = await readSession(deps, sessionOf(params));
      await deps.hytale.refreshSession({ accountId: session.accountId, sessionId: session.id }, requesterOf(call));
      return { status: 200, body: await readSession(deps, session.id) };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: `${PATH}/:id/renew`,
    operationId: 'renewHytaleSession',
    summary: 'A fresh pair of tokens, written to the server',
    description:
      'For a server that is started: it reads its tokens at its start only. `restart`: it is restarted afterwards.',
    params: PathId,
    body: z.object({ restart: OptionalFlag }),
    responses: { 200: SessionAnswer },
    errors: SESSION_ERRORS,
    failureMessage: 'Failed to renew game session',
    audit: 'hytale-session-renewed',
    async handler({ input: { params, body }, deps, ...call }) {
      const id = sessionOf(params);
      await deps.hytale.renewSession(id, { restart: body.restart === true }, requesterOf(call));
      return { status: 200, body: await readSession(deps, id) };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: `${PATH}/:id/link`,
    operationId: 'linkHytaleSession',
    summary: 'Link a game session to a server, or to none',
    params: PathId,
    body: z.object({ server_id: OptionalText.meta({ description: 'Id of the server; null or "": of none' }) }),
    responses: { 200: SessionAnswer },
    errors: SESSION_ERRORS,
    failureMessage: 'Failed to link game session',
    audit: 'hytale-session-linked',
    async handler({ input: { params, body }, deps, ...call }) {
      const id = sessionOf(params);
      await deps.hytale.linkSession(id, body.server_id || null, requesterOf(call));
      return { status: 200, body: await readSession(deps, id) };
    },
  }),
  end,
  { ...end, method: 'delete', path: `${PATH}/:id`, operationId: 'deleteHytaleSession' },
];

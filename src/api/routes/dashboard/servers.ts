/** `/api/v1/dashboard/*`: a customer's servers and the totals of the first page. */
import { z } from 'zod';
import type { AuthUser } from '../../../domain/accounts/account.ts';
import { isAdministrator } from '../../../domain/accounts/roles.ts';
import { AppError } from '../../../domain/errors.ts';
import { STATUS_WORDS } from '../../../store/inventory/server-status.ts';
import {
  countServers,
  type DashboardServer,
  dashboardSummary,
  listServers,
  type ServerQuery,
} from '../../../store/inventory/servers.ts';
import { userOf } from '../../context.ts';
import { Count, envelope, IsoDate, ok } from '../../http/envelopes.ts';
import { clampedInteger, PageNumber, queryFlag, searchText, wordFilter } from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';

/** What the routes of the area have in common. */
const area = { tags: ['Dashboard'], auth: 'user' } as const;

const RECENT_SERVERS = 6;
const PER_PAGE = { min: 1, max: 50, fallback: 12, above: 'fallback' } as const;

const usage = (unit: string) =>
  z
    .object({ used: z.number(), limit: z.number() })
    .meta({ description: `${unit}; \`used\` is 0 when it is not known, a limit of 0 means none` });
const Resources = z.object({ memory: usage('MB'), cpu: usage('Per cent of a core'), disk: usage('MB') });

const StatsSchema = z.object({
  servers: z.object({ total: Count, online: Count, offline: Count, suspended: Count }).meta({
    description: 'A suspended server counts as suspended only',
  }),
  recentServers: z.array(
    z.object({
      id: z.string().meta({ description: 'UUID of the panel; the id of the server where it has none' }),
      name: z.string(),
      status: z.string(),
      game: z.string(),
      node: z.string(),
      resources: Resources,
    }),
  ),
  accountBalance: z.number(),
  openTickets: Count,
});

const ServerSchema = z
  .object({
    id: z.string(),
    uuid: z.string(),
    name: z.string(),
    description: z.string(),
    status: z.string().meta({ description: 'Lower case; empty when it is not known' }),
    isSuspended: z.boolean(),
    game: z.string(),
    node: z.string(),
    ip: z.string().meta({ description: '`0.0.0.0` when there is no allocation' }),
    port: Count,
    owner: z.object({ id: z.string(), username: z.string(), email: z.string() }).nullable(),
    resources: Resources,
    createdAt: IsoDate,
  })
  .meta({ id: 'DashboardServer', description: 'A server as its owner and its subusers see it' });

const resourcesOf = (server: DashboardServer): z.input<typeof Resources> => ({
  memory: { used: server.usedMemory ?? 0, limit: server.memory },
  cpu: { used: server.usedCpu ?? 0, limit: server.cpu },
  disk: { used: server.usedDisk ?? 0, limit: server.disk },
});

const toWireServer = (server: DashboardServer): z.input<typeof ServerSchema> => ({
  id: server.id,
  uuid: server.uuid ?? '',
  name: server.name,
  description: server.description ?? '',
  status: server.status,
  isSuspended: server.isSuspended,
  game: server.game ?? '',
  node: server.node ?? '',
  ip: server.ip ?? '0.0.0.0',
  port: server.port ?? 0,
  owner:
    server.ownerId === null
      ? null
      : { id: server.ownerId, username: server.ownerName ?? '', email: server.ownerEmail ?? '' },
  resources: resourcesOf(server),
  createdAt: server.createdAt.toISOString(),
});

const ServersQuery = z.object({
  page: PageNumber,
  per_page: clampedInteger(PER_PAGE),
  search: searchText('Part of the name or the description, in any case'),
  status: wordFilter(Object.keys(STATUS_WORDS), 'In any case; other words do not filter'),
  view_all: queryFlag('All servers, for administrators; others see theirs'),
});

/** The filter of a request: only an administrator who asks for it sees the servers of others. */
function wantedServers(user: AuthUser, query: z.output<typeof ServersQuery>): ServerQuery {
  const status = query.status === undefined ? undefined : STATUS_WORDS[query.status];
  return {
    ...(query.view_all && isAdministrator(user) ? {} : { userId: user.id }),
    ...(query.search === undefined ? {} : { search: query.search }),
    ...(status === undefined ? {} : { status }),
  };
}

export const dashboardRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/v1/dashboard/stats',
    operationId: 'getDashboardStats',
    summary: 'Totals of the signed-in user: servers, balance, tickets',
    description: 'Counts the servers the user owns and those that are shared with the user.',
    responses: { 200: envelope(StatsSchema) },
    errors: [],
    failureMessage: 'Failed to fetch recent servers',
    async handler({ caller, deps }) {
      const userId = userOf(caller).id;
      const list = { userId, limit: RECENT_SERVERS, offset: 0 };
      const recent = await deps.usage.listed(() => listServers(deps.db, list));
      const summary = await dashboardSummary(deps.db, userId);
      if (summary === undefined) throw new AppError('UNAUTHORIZED', { publicMessage: 'User not found' });
      const { accountBalance, openTickets, ...servers } = summary;
      const recentServers = recent.map((server) => ({
        id: server.uuid || server.id,
        name: server.name,
        status: server.status,
        game: server.game ?? '',
        node: server.node ?? '',
        resources: resourcesOf(server),
      }));
      return { status: 200, body: ok({ servers, recentServers, accountBalance, openTickets }) };
    },
  }),
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/v1/dashboard/servers',
    operationId: 'listDashboardServers',
    summary: 'Servers of the signed-in user, last changed first',
    description: 'Those the user owns and those that are shared with the user.',
    query: ServersQuery,
    responses: {
      200: z.object({
        success: z.literal(true),
        data: z.array(ServerSchema),
        meta: z.object({ total: Count, page: z.int(), perPage: z.int(), totalPages: Count }),
      }),
    },
    errors: [],
    failureMessage: 'Failed to fetch servers',
    async handler({ input: { query }, caller, deps }) {
      const { page, per_page: perPage } = query;
      const wanted = wantedServers(userOf(caller), query);
      const list = { ...wanted, limit: perPage, offset: (page - 1) * perPage };
      const servers = await deps.usage.listed(() => listServers(deps.db, list));
      const total = await countServers(deps.db, wanted);
      const meta = { total, page, perPage, totalPages: Math.ceil(total / perPage) };
      return { status: 200, body: { success: true, data: servers.map(toWireServer), meta } };
    },
  }),
];

/** `/api/admin/servers`. */
import { z } from 'zod';
import {
  type AdminServerRow,
  countAdminServers,
  listAdminServers,
  SERVER_SORTS,
} from '../../../store/inventory/admin-servers.ts';
import { STATUS_WORDS } from '../../../store/inventory/server-status.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import { clampedInteger, PageNumber, queryText, searchText, wordFilter } from '../../http/fields.ts';
import { isoOrNull, Pagination, paginationOf, rowsOf, sortWord } from '../../http/lists.ts';
import { defineRoute, type Route } from '../../http/route.ts';

const AdminServerSchema = z
  .object({
    id: z.string(),
    serverType: z.string(),
    pterodactylId: z.int().meta({ description: 'Number on the panel; 0 when there is none' }),
    uuid: z.string(),
    name: z.string(),
    description: z.string(),
    status: z.string().meta({ description: 'Lower case; empty when it is not known' }),
    isSuspended: z.boolean(),
    panelType: z.string(),
    owner: z.object({ id: z.string(), email: z.string(), username: z.string() }).nullable(),
    node: z.object({ id: z.int(), name: z.string(), fqdn: z.string() }).nullable(),
    egg: z.object({ id: z.int(), name: z.string(), nest: z.string() }).nullable(),
    allocation: z
      .object({ ip: z.string(), port: Count, alias: z.string().meta({ description: 'Empty when there is none' }) })
      .nullable()
      .meta({ description: 'The primary allocation; where it is not known, the assigned one with the lowest id' }),
    memory: z.int().meta({ description: 'Limit in MB; 0 means none' }),
    disk: z.int().meta({ description: 'Limit in MB; 0 means none' }),
    cpu: z.int().meta({ description: 'Limit in per cent of a core; 0 means none' }),
    usage: z
      .object({ memory: z.number().nullable(), disk: z.number().nullable(), cpu: z.number().nullable() })
      .meta({ description: 'MB, MB and per cent of a core, as the node said in the last minutes; null: not known' }),
    createdAt: IsoDate.nullable(),
    updatedAt: IsoDate.nullable(),
  })
  .meta({ id: 'AdminServer', description: 'A server as administrators see it' });

const toWireServer = (row: AdminServerRow): z.input<typeof AdminServerSchema> => ({
  id: row.id,
  serverType: row.serverType ?? '',
  pterodactylId: row.pterodactylId ?? 0,
  uuid: row.uuid ?? '',
  name: row.name ?? '',
  description: row.description ?? '',
  status: row.status,
  isSuspended: row.isSuspended,
  panelType: row.panelType ?? '',
  owner: row.ownerId === null ? null : { id: row.ownerId, email: row.ownerEmail ?? '', username: row.ownerName ?? '' },
  node: row.nodeId === null ? null : { id: row.nodeId, name: row.nodeName ?? '', fqdn: row.nodeFqdn ?? '' },
  egg: row.eggId === null ? null : { id: row.eggId, name: row.eggName ?? '', nest: row.nestName ?? '' },
  allocation: row.ip === null ? null : { ip: row.ip, port: row.port ?? 0, alias: row.alias ?? '' },
  memory: row.memory,
  disk: row.disk,
  cpu: row.cpu,
  usage: { memory: row.usedMemory, disk: row.usedDisk, cpu: row.usedCpu },
  createdAt: isoOrNull(row.createdAt),
  updatedAt: isoOrNull(row.updatedAt),
});

export const adminServerRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path: '/api/admin/servers',
    operationId: 'listServers',
    summary: 'All servers',
    description: '`status=offline` finds every server that is not online, starting, stopping, installing or suspended.',
    tags: ['Inventory'],
    auth: 'admin',
    query: z.object({
      page: PageNumber,
      pageSize: clampedInteger({ min: 1, max: 100, fallback: 25 }),
      search: searchText('Part of the name or the description, in any case'),
      status: wordFilter(Object.keys(STATUS_WORDS), 'In any case; other words do not filter'),
      serverType: queryText({
        description: 'For example `game_server`, `vps`, `email`, `web_hosting`; `all`: no filter',
      }),
      sort: sortWord([...SERVER_SORTS, 'createdAt'], 'Default: created'),
      order: sortWord(['asc', 'desc'], 'Default: desc'),
    }),
    responses: {
      200: z.object({ success: z.literal(true), servers: z.array(AdminServerSchema), pagination: Pagination }),
    },
    errors: [],
    failureMessage: 'Failed to fetch servers',
    async handler({ input: { query }, deps }) {
      const filter = {
        search: query.search,
        status: query.status === undefined ? undefined : STATUS_WORDS[query.status],
        serverType: ['', 'all'].includes(query.serverType) ? undefined : query.serverType,
      };
      const sort = query.sort === 'createdAt' ? 'created' : (query.sort ?? 'created');
      const list = { ...filter, sort, order: query.order ?? 'desc', ...rowsOf(query) } as const;
      const servers = await deps.usage.listed(() => listAdminServers(deps.db, list));
      const total = await deps.totals.of('servers', filter, () => countAdminServers(deps.db, filter));
      const pagination = paginationOf(query, total);
      return { status: 200, body: { success: true, servers: servers.map(toWireServer), pagination } };
    },
  }),
];

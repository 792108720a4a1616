/** `/api/admin/nodes`, their maintenance mode, and `/api/admin/locations`. */
import { z } from 'zod';
import { setMaintenance } from '../../../services/inventory/maintenance.ts';
import { countNodes, listLocations, listNodes, type NodeRow } from '../../../store/inventory/nodes.ts';
import { changedBy } from '../../context.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import { clampedInteger, numericId, OptionalFlag, PageNumber, PathId, searchText } from '../../http/fields.ts';
import { isoOrNull, Pagination, paginationOf, rowsOf, yesNoFilter } from '../../http/lists.ts';
import { defineRoute, type Route } from '../../http/route.ts';

/** What the routes of the area have in common. */
const area = { tags: ['Inventory'], auth: 'admin' } as const;

const NodeSchema = z
  .object({
    id: z.int(),
    uuid: z.string(),
    name: z.string(),
    description: z.string(),
    fqdn: z.string(),
    scheme: z.string(),
    behindProxy: z.boolean(),
    isPublic: z.boolean(),
    isMaintenanceMode: z.boolean(),
    memory: z.number().meta({ description: 'MB' }),
    memoryOverallocate: z.int().meta({ description: 'Per cent; -1 means no limit' }),
    disk: z.number().meta({ description: 'MB' }),
    diskOverallocate: z.int().meta({ description: 'Per cent; -1 means no limit' }),
    daemonListenPort: z.int(),
    daemonSftpPort: z.int(),
    locationId: z.int(),
    locationCode: z.string(),
    serverCount: Count,
    allocationCount: Count,
    createdAt: IsoDate.nullable(),
    updatedAt: IsoDate.nullable(),
  })
  .meta({ id: 'Node', description: 'A machine that runs servers' });

const LocationSchema = z
  .object({ id: z.int(), shortCode: z.string(), description: z.string(), nodeCount: Count })
  .meta({ id: 'Location' });

const toWireNode = (row: NodeRow): z.input<typeof NodeSchema> => ({
  ...row,
  uuid: row.uuid ?? '',
  name: row.name ?? '',
  description: row.description ?? '',
  fqdn: row.fqdn ?? '',
  scheme: row.scheme ?? '',
  locationCode: row.locationCode ?? '',
  createdAt: isoOrNull(row.createdAt),
  updatedAt: isoOrNull(row.updatedAt),
});

/** PATCH is what the site sends, POST what the published document said. */
const maintenanceRoute = (method: 'patch' | 'post', operationId: string): Route =>
  defineRoute({
    ...area,
    method,
    path: '/api/admin/nodes/:id/maintenance',
    operationId,
    summary: "Switch a node's maintenance mode",
    description:
      'With `enabled` the mode is set to that value, and a repeat changes nothing; without it the mode is switched to the other one. The mode is stored here only: the next sync of the nodes replaces it by the mode of the panel.',
    params: PathId,
    body: z.object({ enabled: OptionalFlag }),
    responses: {
      200: z.object({ success: z.literal(true), maintenanceMode: z.boolean(), message: z.string() }),
    },
    errors: ['NOT_FOUND'],
    invalid: { code: 'BAD_REQUEST', publicMessage: 'Invalid request body' },
    audit: 'maintenance-changed',
    failureMessage: 'Failed to toggle maintenance mode',
    async handler({ input: { params, body }, deps, ...call }) {
      const nodeId = numericId(params.id, 'Invalid node id');
      const maintenanceMode = await setMaintenance(deps, { nodeId, enabled: body.enabled }, changedBy(call));
      const message = `Maintenance mode ${maintenanceMode ? 'enabled' : 'disabled'}`;
      return { status: 200, body: { success: true, maintenanceMode, message } };
    },
  });

export const nodeRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/admin/nodes',
    operationId: 'listNodes',
    summary: 'Nodes by name',
    query: z.object({
      page: PageNumber,
      pageSize: clampedInteger({ min: 1, max: 200, fallback: 25 }),
      maintenance: yesNoFilter('Only nodes in maintenance mode, or only the others'),
      search: searchText('Part of the name or the domain name, in any case'),
    }),
    responses: { 200: z.object({ success: z.literal(true), nodes: z.array(NodeSchema), pagination: Pagination }) },
    errors: [],
    failureMessage: 'Failed to fetch nodes',
    async handler({ input: { query }, deps }) {
      const filter = { isMaintenanceMode: query.maintenance, search: query.search };
      const total = await deps.totals.of('nodes', filter, () => countNodes(deps.db, filter));
      const nodes = await listNodes(deps.db, { ...filter, ...rowsOf(query) });
      const pagination = paginationOf(query, total);
      return { status: 200, body: { success: true, nodes: nodes.map(toWireNode), pagination } };
    },
  }),
  maintenanceRoute('patch', 'changeMaintenance'),
  maintenanceRoute('post', 'postMaintenance'),
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/admin/locations',
    operationId: 'listLocations',
    summary: 'Locations by short code, without pages',
    responses: { 200: z.object({ success: z.literal(true), locations: z.array(LocationSchema) }) },
    errors: [],
    failureMessage: 'Failed to fetch locations',
    async handler({ deps }) {
      const locations = await listLocations(deps.db);
      return {
        status: 200,
        body: {
          success: true,
          locations: locations.map((row) => ({
            ...row,
            shortCode: row.shortCode ?? '',
            description: row.description ?? '',
          })),
        },
      };
    },
  }),
];

/** `/api/admin/allocations` and the allocations of one node. */
import { z } from 'zod';
import { AppError } from '../../../domain/errors.ts';
import {
  type AllocationFilter,
  type AllocationRow,
  countAllocations,
  listAllocations,
} from '../../../store/inventory/allocations.ts';
import { nodeExists } from '../../../store/inventory/nodes.ts';
import type { Services } from '../../context.ts';
import { clampedInteger, numericId, PageNumber, PathId, queryText, searchText } from '../../http/fields.ts';
import { Pagination, paginationOf, rowsOf, yesNoFilter } from '../../http/lists.ts';
import { defineRoute, type Route } from '../../http/route.ts';

/** What the routes of the area have in common. */
const area = { tags: ['Inventory'], auth: 'admin', failureMessage: 'Failed to fetch allocations' } as const;

const pages = { page: PageNumber, pageSize: clampedInteger({ min: 1, max: 200, fallback: 50 }) };
const assigned = yesNoFilter('Only those that a server has, or only free ones');

const NodeAllocationSchema = z.object({
  id: z.int(),
  ip: z.string(),
  port: z.int(),
  alias: z.string().meta({ description: 'Empty when there is none' }),
  isAssigned: z.boolean(),
  serverPterodactylId: z.int().nullable(),
  serverName: z.string().nullable(),
});

const AllocationSchema = NodeAllocationSchema.extend({
  nodeId: z.int(),
  nodeName: z.string(),
  nodeFqdn: z.string(),
  serverId: z.string().nullable(),
}).meta({ id: 'Allocation', description: 'An address and port of a node' });

const toWireAllocation = (row: AllocationRow): z.input<typeof AllocationSchema> => ({
  ...row,
  alias: row.alias ?? '',
  nodeName: row.nodeName ?? '',
  nodeFqdn: row.nodeFqdn ?? '',
});

/** A page of allocations and the total of its filter. */
async function pageOf(
  { db, allocationCounts }: Services,
  { page, pageSize }: { page: number; pageSize: number },
  filter: AllocationFilter,
) {
  const counts = await allocationCounts.of('allocations', { ...filter }, () => countAllocations(db, filter));
  const rows = await listAllocations(db, { ...filter, ...rowsOf({ page, pageSize }) }, counts);
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  return {
    success: true as const,
    allocations: rows.map(toWireAllocation),
    pagination: paginationOf({ page, pageSize }, total),
  };
}

export const allocationRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/admin/allocations',
    operationId: 'listAllocations',
    summary: 'Allocations by node, address and port',
    description: 'Addresses are sorted as text.',
    query: z.object({
      ...pages,
      assigned,
      nodeId: queryText({ description: 'Number of a node; empty: all nodes' }),
      search: searchText('Part of the address, the alias or the port, in any case'),
    }),
    responses: {
      200: z.object({ success: z.literal(true), allocations: z.array(AllocationSchema), pagination: Pagination }),
    },
    errors: [],
    async handler({ input: { query }, deps }) {
      const nodeId = query.nodeId === '' ? undefined : numericId(query.nodeId, 'Invalid node id');
      const filter = { nodeId, isAssigned: query.assigned, search: query.search };
      return { status: 200, body: await pageOf(deps, query, filter) };
    },
  }),
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/admin/nodes/:id/allocations',
    operationId: 'listNodeAllocations',
    summary: 'Allocations of a node by address and port',
    params: PathId,
    query: z.object({ ...pages, assigned }),
    responses: {
      200: z.object({ success: z.literal(true), allocations: z.array(NodeAllocationSchema), pagination: Pagination }),
    },
    errors: ['NOT_FOUND'],
    async handler({ input: { params, query }, deps }) {
      const nodeId = numericId(params.id, 'Invalid node id');
      const body = await pageOf(deps, query, { nodeId, isAssigned: query.assigned });
      if (body.pagination.total === 0 && !(await nodeExists(deps.db, nodeId))) {
        throw new AppError('NOT_FOUND', { publicMessage: 'Node not found' });
      }
      return { status: 200, body };
    },
  }),
];

/** Statistics: public ones for the site, others for API clients and for the dashboard. */
import { z } from 'zod';
import { publicNodes, serverStats, userStats } from '../../store/inventory/statistics.ts';
import type { Services } from '../context.ts';
import { Count, envelope, ok } from '../http/envelopes.ts';
import { PUBLIC_READS } from '../http/limits.ts';
import { defineRoute, type Route } from '../http/route.ts';

const publicTags = ['Public'];
const tags = ['Statistics'];

/** 30 seconds: old enough for a burst of visitors to cost one request, young enough for a home page. */
const PUBLIC_CACHE = { maxAgeSeconds: 30 };

const SiteStats = z.object({ totalServers: Count, totalUsers: Count, activeUsers: Count, totalAllocations: Count });
const PanelCounts = z.object({ nodes: Count, servers: Count, users: Count, allocations: Count, nests: Count });
const AdminStats = z.object({
  totalServers: Count,
  suspendedServers: Count,
  totalUsers: Count,
  totalNodes: Count,
  totalAllocations: Count,
  usedAllocations: Count,
  availableAllocations: Count,
});

async function adminStats(deps: Services): Promise<z.input<typeof AdminStats>> {
  const counts = await deps.stats.counts();
  return {
    totalServers: counts.servers,
    suspendedServers: counts.suspendedServers,
    totalUsers: counts.users,
    totalNodes: counts.nodes,
    totalAllocations: counts.allocations,
    usedAllocations: counts.assignedAllocations,
    availableAllocations: counts.allocations - counts.assignedAllocations,
  };
}

export const statsRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path: '/api/stats',
    operationId: 'getSiteStats',
    summary: 'Totals for the home page',
    description: 'The same numbers are in `data` and at the top level.',
    tags: publicTags,
    auth: 'public',
    cache: PUBLIC_CACHE,
    limits: [PUBLIC_READS],
    responses: { 200: envelope(SiteStats).extend(SiteStats.shape) },
    errors: [],
    failureMessage: 'Failed to fetch statistics',
    async handler({ deps }) {
      const counts = await deps.stats.counts();
      const data = {
        totalServers: counts.servers,
        totalUsers: counts.users,
        activeUsers: counts.activeUsers,
        totalAllocations: counts.allocations,
      };
      return { status: 200, body: { ...ok(data), ...data } };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/panel/counts',
    operationId: 'getPanelCounts',
    summary: 'Counts of what is mirrored from the panel',
    description: '`allocations` counts the assigned ones. The same numbers are in `data` and at the top level.',
    tags: publicTags,
    auth: 'public',
    cache: PUBLIC_CACHE,
    limits: [PUBLIC_READS],
    responses: { 200: envelope(PanelCounts).extend(PanelCounts.shape) },
    errors: [],
    failureMessage: 'Failed to fetch panel counts',
    async handler({ deps }) {
      const counts = await deps.stats.counts();
      const data = {
        nodes: counts.nodes,
        servers: counts.servers,
        users: counts.users,
        allocations: counts.assignedAllocations,
        nests: counts.nests,
      };
      return { status: 200, body: { ...ok(data), ...data } };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/panel/nodes',
    operationId: 'getPublicNodes',
    summary: 'Public nodes',
    tags: publicTags,
    auth: 'public',
    cache: PUBLIC_CACHE,
    limits: [PUBLIC_READS],
    responses: {
      200: z.array(
        z.object({
          id: z.int(),
          name: z.string(),
          locationCode: z.string(),
          isMaintenanceMode: z.boolean(),
          memory: z.number().meta({ description: 'MiB' }),
          disk: z.number().meta({ description: 'MiB' }),
          serverCount: Count,
        }),
      ),
    },
    errors: [],
    failureMessage: 'Failed to fetch nodes',
    async handler({ deps }) {
      return { status: 200, body: await publicNodes(deps.db) };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/stats/overview',
    operationId: 'getOverviewStats',
    summary: 'Totals of the main tables',
    tags,
    auth: 'apiKeyOrAdmin',
    responses: {
      200: envelope(
        z.object({ users: Count, servers: Count, nodes: Count, locations: Count, eggs: Count, allocations: Count }),
      ),
    },
    errors: [],
    failureMessage: 'Failed to fetch overview stats',
    async handler({ deps }) {
      const { users, servers, nodes, locations, eggs, allocations } = await deps.stats.counts();
      return { status: 200, body: ok({ users, servers, nodes, locations, eggs, allocations }) };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/stats/servers',
    operationId: 'getServerStats',
    summary: 'Servers by status and by node',
    tags,
    auth: 'apiKeyOrAdmin',
    responses: {
      200: envelope(z.object({ by_status: z.record(z.string(), Count), by_node: z.record(z.string(), Count) })),
    },
    errors: [],
    failureMessage: 'Failed to fetch server stats',
    async handler({ deps }) {
      const { byStatus, byNode } = await serverStats(deps.db);
      return { status: 200, body: ok({ by_status: byStatus, by_node: byNode }) };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/stats/users',
    operationId: 'getUserStats',
    summary: 'Users by kind',
    tags,
    auth: 'apiKeyOrAdmin',
    responses: {
      200: envelope(z.object({ total: Count, active: Count, migrated: Count, admins: Count, recent_7_days: Count })),
    },
    errors: [],
    failureMessage: 'Failed to fetch user stats',
    async handler({ deps }) {
      return { status: 200, body: ok(await userStats(deps.db)) };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/stats/admin',
    operationId: 'getAdminStatsV1',
    summary: 'Totals of the dashboard, for API clients',
    tags,
    auth: 'apiKeyOrAdmin',
    responses: { 200: envelope(AdminStats) },
    errors: [],
    failureMessage: 'Failed to fetch admin stats',
    async handler({ deps }) {
      return { status: 200, body: ok(await adminStats(deps)) };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/admin/stats',
    operationId: 'getAdminStats',
    summary: 'Totals of the dashboard',
    tags,
    auth: 'admin',
    responses: { 200: envelope(AdminStats) },
    errors: [],
    failureMessage: 'Failed to fetch admin stats',
    async handler({ deps }) {
      return { status: 200, body: ok(await adminStats(deps)) };
    },
  }),
];

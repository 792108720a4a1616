/** Counts for the public site, the dashboard and the statistics routes. */
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

export interface InventoryCounts {
  users: number;
  /** Users who have ever signed in. */
  activeUsers: number;
  migratedUsers: number;
  servers: number;
  suspendedServers: number;
  nodes: number;
  locations: number;
  allocations: number;
  assignedAllocations: number;
  nests: number;
  eggs: number;
  eggVariables: number;
  serverDatabases: number;
}

/** All counts in one statement, so that they belong together. */
export async function inventoryCounts(db: Db): Promise<InventoryCounts> {
  const [counts] = await query<InventoryCounts>(
    db,
    `select u.total as users, u.active as "activeUsers", u.migrated as "migratedUsers",
            s.total as servers, s.suspended as "suspendedServers",
            a.total as allocations, a.assigned as "assignedAllocations",
            (select count(*)::int from nodes) as nodes,
            (select count(*)::int from locations) as locations,
            (select count(*)::int from nests) as nests,
            (select count(*)::int from eggs) as eggs,
            (select count(*)::int from egg_variables) as "eggVariables",
            (select count(*)::int from server_databases) as "serverDatabases"
       from (select count(*)::int as total, count(users."lastLoginAt")::int as active,
                    (count(*) filter (where users."isMigrated"))::int as migrated from users) u,
            (select count(*)::int as total, (count(*) filter (where servers."isSuspended"))::int as suspended
               from servers) s,
            (select count(*)::int as total, (count(*) filter (where allocations."isAssigned"))::int as assigned
               from allocations) a`,
  );
  if (counts === undefined) throw new Error('a count without rows');
  return counts;
}

/** Servers by stored status (lower case) and by node name; a server without a node counts under "". */
export async function serverStats(
  db: Db,
): Promise<{ byStatus: Record<string, number>; byNode: Record<string, number> }> {
  const found = await query<{ status: string; node: string; count: number }>(
    db,
    `select lower(coalesce(s.status, 'unknown')) as status, coalesce(n.name, '') as node, count(*)::int as count
       from servers s left join nodes n on n.id = s."nodeId" group by 1, 2 order by 1, 2`,
  );
  const byStatus: Record<string, number> = Object.create(null);
  const byNode: Record<string, number> = Object.create(null);
  for (const { status, node, count } of found) {
    byStatus[status] = (byStatus[status] ?? 0) + count;
    byNode[node] = (byNode[node] ?? 0) + count;
  }
  return { byStatus: { ...byStatus }, byNode: { ...byNode } };
}

export interface UserStats {
  total: number;
  active: number;
  migrated: number;
  /** With the panel's or the system's administrator flag. */
  admins: number;
  recent_7_days: number;
}

export async function userStats(db: Db): Promise<UserStats> {
  const [stats] = await query<UserStats>(
    db,
    `select count(*)::int as total, (count(*) filter (where u."isActive"))::int as active,
            (count(*) filter (where u."isMigrated"))::int as migrated,
            (count(*) filter (where u."isPterodactylAdmin" or u."isSystemAdmin"))::int as admins,
            (count(*) filter (where u."createdAt" > (now() at time zone 'utc') - interval '7 days'))::int as recent_7_days
       from users u`,
  );
  if (stats === undefined) throw new Error('a count without rows');
  return stats;
}

export interface PublicNode {
  id: number;
  name: string;
  locationCode: string;
  isMaintenanceMode: boolean;
  /** MiB. */
  memory: number;
  /** MiB. */
  disk: number;
  serverCount: number;
}

/** Nodes that may be shown to anyone, by name. */
export async function publicNodes(db: Db): Promise<PublicNode[]> {
  return query<PublicNode>(
    db,
    `select n.id, n.name, l."shortCode" as "locationCode", coalesce(n."isMaintenanceMode", false) as "isMaintenanceMode",
            n.memory::float8 as memory, n.disk::float8 as disk, coalesce(s.count, 0) as "serverCount"
       from nodes n
       join locations l on l.id = n."locationId"
       left join (select servers."nodeId", count(*)::int as count from servers group by servers."nodeId") s
              on s."nodeId" = n.id
      where coalesce(n."isPublic", true)
      order by n.name, n.id`,
  );
}

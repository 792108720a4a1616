/** Nodes and locations for administrators. Reads only. */
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';

export interface NodeRow {
  id: number;
  uuid: string | null;
  name: string | null;
  description: string | null;
  fqdn: string | null;
  scheme: string | null;
  behindProxy: boolean;
  isPublic: boolean;
  isMaintenanceMode: boolean;
  /** MB, like `disk`. */
  memory: number;
  /** Per cent, like `diskOverallocate`. */
  memoryOverallocate: number;
  disk: number;
  diskOverallocate: number;
  daemonListenPort: number;
  daemonSftpPort: number;
  locationId: number;
  locationCode: string | null;
  serverCount: number;
  allocationCount: number;
  createdAt: Date | null;
  updatedAt: Date | null;
}

export interface NodeFilter {
  isMaintenanceMode?: boolean | undefined;
  /** Looked for in name and fqdn, as it stands. */
  search?: string | undefined;
}

function conditionOf({ isMaintenanceMode, search }: NodeFilter): { sql: string; bindings: unknown[] } {
  const conditions: string[] = [];
  const bindings: unknown[] = [];
  if (isMaintenanceMode !== undefined) {
    conditions.push(`n."isMaintenanceMode" is ${isMaintenanceMode ? 'true' : 'not true'}`);
  }
  if (search !== undefined) {
    conditions.push('(n.name ilike ? or n.fqdn ilike ?)');
    bindings.push(contains(search), contains(search));
  }
  return { sql: conditions.join(' and ') || 'true', bindings };
}

/** Number of nodes that a filter finds. */
export async function countNodes(db: Db, filter: NodeFilter): Promise<number> {
  const { sql, bindings } = conditionOf(filter);
  const [count] = await query<{ n: number }>(db, `select count(*)::int as n from nodes n where ${sql}`, bindings);
  return count?.n ?? 0;
}

/** A page of nodes by name. A missing value is the default of its column. */
export function listNodes(db: Db, page: NodeFilter & { limit: number; offset: number }): Promise<NodeRow[]> {
  const { sql, bindings } = conditionOf(page);
  return query(
    db,
    `with page as (
       select n.id, n.uuid, n.name, n.description, n.fqdn, n.scheme, n."behindProxy", n."isPublic", n."isMaintenanceMode",
              n.memory, n."memoryOverallocate", n.disk, n."diskOverallocate", n."daemonListenPort", n."daemonSftpPort",
              n."locationId", n."createdAt", n."updatedAt"
         from nodes n where ${sql} order by n.name, n.id limit ? offset ?)
     select p.id, p.uuid, p.name, p.description, p.fqdn, coalesce(p.scheme, 'https') as scheme,
            coalesce(p."behindProxy", false) as "behindProxy", coalesce(p."isPublic", true) as "isPublic",
            coalesce(p."isMaintenanceMode", false) as "isMaintenanceMode",
            coalesce(p.memory, 0)::float8 as memory, coalesce(p."memoryOverallocate", 0) as "memoryOverallocate",
            coalesce(p.disk, 0)::float8 as disk, coalesce(p."diskOverallocate", 0) as "diskOverallocate",
            coalesce(p."daemonListenPort", 8080) as "daemonListenPort",
            coalesce(p."daemonSftpPort", 2022) as "daemonSftpPort",
            p."locationId", l."shortCode" as "locationCode", p."createdAt", p."updatedAt",
            coalesce(s.found, 0) as "serverCount", coalesce(a.found, 0) as "allocationCount"
       from page p
       left join locations l on l.id = p."locationId"
       left join (select s."nodeId", count(*)::int as found from servers s
                   where s."nodeId" = any(array(select page.id from page)) group by 1) s on s."nodeId" = p.id
       left join (select a."nodeId", count(*)::int as found from allocations a
                   where a."nodeId" = any(array(select page.id from page)) group by 1) a on a."nodeId" = p.id
      order by p.name, p.id`,
    [...bindings, page.limit, page.offset],
  );
}

/** Whether the mirror has this node. */
export async function nodeExists(db: Db, id: number): Promise<boolean> {
  const found = await query(db, 'select n.id from nodes n where n.id = ?', [id]);
  return found.length > 0;
}

export interface LocationRow {
  id: number;
  shortCode: string | null;
  description: string | null;
  nodeCount: number;
}

/** All locations by short code. */
export const listLocations = (db: Db): Promise<LocationRow[]> =>
  query(
    db,
    `select l.id, l."shortCode", l.description, coalesce(n.found, 0) as "nodeCount"
       from locations l
       left join (select n."locationId", count(*)::int as found from nodes n group by 1) n on n."locationId" = l.id
      order by l."shortCode", l.id`,
  );

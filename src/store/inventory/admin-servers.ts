/** Servers as administrators list them. Reads only. */
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';
import {
  type DisplayedStatus,
  displayedAs,
  EFFECTIVE_STATUS,
  type ServerUsage,
  USAGE_COLUMNS,
  USAGE_JOIN,
} from './server-status.ts';
import { SHOWN_ALLOCATION } from './shown-allocation.ts';

export interface AdminServerFilter {
  /** Looked for in name and description, as it stands. */
  search?: string | undefined;
  /** Only those that this filter finds. */
  status?: DisplayedStatus | undefined;
  serverType?: string | undefined;
}

export const SERVER_SORTS = ['created', 'name', 'status'] as const;
export interface ServerOrder {
  sort: (typeof SERVER_SORTS)[number];
  order: 'asc' | 'desc';
}

export interface AdminServerRow extends ServerUsage {
  serverType: string | null;
  pterodactylId: number | null;
  name: string | null;
  description: string | null;
  status: string;
  isSuspended: boolean;
  panelType: string | null;
  /** MB, like `disk`; 0 = no limit, here and in the next two. */
  memory: number;
  disk: number;
  /** Per cent of a core. */
  cpu: number;
  createdAt: Date | null;
  updatedAt: Date | null;
  ownerId: string | null;
  ownerName: string | null;
  ownerEmail: string | null;
  nodeName: string | null;
  nodeFqdn: string | null;
  eggId: number | null;
  eggName: string | null;
  nestName: string | null;
  ip: string | null;
  port: number | null;
  alias: string | null;
}

/** FROM and WHERE of a filter, over `servers s`. */
function selection(filter: AdminServerFilter, withUsage: boolean): { sql: string; bindings: unknown[] } {
  const conditions: string[] = [];
  const bindings: unknown[] = [];
  if (filter.search !== undefined) {
    const pattern = contains(filter.search);
    conditions.push('(s.name ilike ? or s.description ilike ?)');
    bindings.push(pattern, pattern);
  }
  if (filter.serverType !== undefined) {
    conditions.push('s."serverType" = ?');
    bindings.push(filter.serverType);
  }
  if (filter.status !== undefined) conditions.push(displayedAs(filter.status));
  const from = withUsage || filter.status !== undefined ? `servers s ${USAGE_JOIN}` : 'servers s';
  return { sql: conditions.length === 0 ? from : `${from} where ${conditions.join(' and ')}`, bindings };
}

/** Number of servers that a filter finds. */
export async function countAdminServers(db: Db, filter: AdminServerFilter): Promise<number> {
  const { sql, bindings } = selection(filter, false);
  const [count] = await query<{ n: number }>(db, `select count(*)::int as n from ${sql}`, bindings);
  return count?.n ?? 0;
}

/** What a list is sorted by: over `servers s`, and over the rows of the page. */
const SORT_KEY: Record<ServerOrder['sort'], { all: string; page: string }> = {
  created: { all: 's."createdAt"', page: 's."createdAt"' },
  name: { all: 's.name', page: 's.name' },
  status: { all: EFFECTIVE_STATUS, page: 's.status' },
};

/**
 * A page of servers. It is cut first, so that names and allocations are looked up for its rows alone. Cut and names are
 * planned apart, because planning one join of eight tables takes longer than running it.
 */
export function listAdminServers(
  db: Db,
  page: AdminServerFilter & ServerOrder & { limit: number; offset: number },
): Promise<AdminServerRow[]> {
  const { sql, bindings } = selection(page, page.sort === 'status');
  const key = SORT_KEY[page.sort];
  return query(
    db,
    `with page as materialized (
       select s.id, s."serverType", s."pterodactylId", s.uuid, s.name, s.description, ${EFFECTIVE_STATUS} as status,
         coalesce(s."isSuspended", false) as "isSuspended", s."panelType", s."ownerId", s."nodeId", s."eggId",
         s."primaryAllocationId", coalesce(s.memory, 0)::float8 as memory, coalesce(s.disk, 0)::float8 as disk, coalesce(s.cpu, 0)::float8 as cpu,
         s."createdAt", s."updatedAt", ${USAGE_COLUMNS}
       from (select s.id from ${sql} order by ${key.all} ${page.order}, s.id ${page.order} limit ? offset ?) cut
         join servers s on s.id = cut.id ${USAGE_JOIN})
     select s.id, s."serverType", s."pterodactylId", s.uuid, s.name, s.description, s.status, s."isSuspended", s."panelType",
       s.memory, s.disk, s.cpu, s."createdAt", s."updatedAt",
       o.id as "ownerId", o.username as "ownerName", o.email as "ownerEmail",
       n.id as "nodeId", n.name as "nodeName", n.fqdn as "nodeFqdn", e.id as "eggId", e.name as "eggName",
       (select ne.name from nests ne where ne.id = e."nestId") as "nestName", sa.ip, sa.port, sa.alias,
       s."usedMemory", s."usedDisk", s."usedCpu", s."usageDue"
     from page s
       left join users o on o.id = s."ownerId"
       left join nodes n on n.id = s."nodeId"
       left join eggs e on e.id = s."eggId"
       ${SHOWN_ALLOCATION}
     order by ${key.page} ${page.order}, s.id ${page.order}`,
    [...bindings, page.limit, page.offset],
  );
}

/** Servers as the dashboard lists them, and the totals of a customer's first page. Reads only. */
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

/** Ids of the servers that a user owns or shares. Two index scans; takes the user's id twice as binding. */
const REACHABLE = `(select o.id from servers o where o."ownerId" = ?
  union select su."serverId" from server_subusers su where su."userId" = ?)`;

/** Whether the user owns or shares the server with this uuid. */
export async function reachesServer(db: Db, userId: string, uuid: string): Promise<boolean> {
  const [row] = await query<{ reached: boolean }>(
    db,
    `select exists (select 1 from ${REACHABLE} r join servers s on s.id = r.id where s.uuid = ?) as reached`,
    [userId, userId, uuid],
  );
  return row?.reached === true;
}

export interface DashboardSummary {
  total: number;
  /** Neither of these two counts a suspended server. */
  online: number;
  offline: number;
  suspended: number;
  accountBalance: number;
  openTickets: number;
}

/** Counts of a user's servers and open tickets, and the balance, in one statement. Undefined when there is no such user. */
export async function dashboardSummary(db: Db, userId: string): Promise<DashboardSummary | undefined> {
  const [summary] = await query<DashboardSummary>(
    db,
    `select c.total, c.online, c.offline, c.suspended, coalesce(u."accountBalance", 0)::float8 as "accountBalance",
       (select count(*)::int from support_tickets t
         where t."userId" = u.id and t.status in ('open', 'pending', 'in_progress')) as "openTickets"
     from users u cross join (
       select count(*)::int as total,
         (count(*) filter (where ${displayedAs('online')}))::int as online,
         (count(*) filter (where ${displayedAs('offline')}))::int as offline,
         (count(*) filter (where ${displayedAs('suspended')}))::int as suspended
       from ${REACHABLE} r join servers s on s.id = r.id ${USAGE_JOIN}) c
     where u.id = ?`,
    [userId, userId, userId],
  );
  return summary;
}

export interface ServerQuery {
  /** Servers this user owns or shares; absent: all. */
  userId?: string;
  /** Looked for in name and description, as it stands. */
  search?: string;
  /** Only those that the dashboard shows so. */
  status?: DisplayedStatus;
}

export interface DashboardServer extends ServerUsage {
  name: string;
  description: string | null;
  /** As the site shows it, lower case; empty when nothing is known. */
  status: string;
  isSuspended: boolean;
  game: string | null;
  node: string | null;
  /** The alias of the primary allocation, where it has one. */
  ip: string | null;
  port: number | null;
  /** MB. 0 = no limit, here and in the next two. */
  memory: number;
  /** MB */
  disk: number;
  /** Per cent of a core. */
  cpu: number;
  ownerId: string | null;
  ownerName: string | null;
  ownerEmail: string | null;
  createdAt: Date;
}

/** FROM and WHERE of a filter, over `servers s`. */
function selection(filter: ServerQuery): { sql: string; bindings: unknown[] } {
  const conditions: string[] = [];
  const bindings: unknown[] = [];
  let from = 'servers s';
  if (filter.userId !== undefined) {
    from = `${REACHABLE} r join servers s on s.id = r.id`;
    bindings.push(filter.userId, filter.userId);
  }
  if (filter.search !== undefined) {
    const pattern = contains(filter.search);
    conditions.push('(s.name ilike ? or s.description ilike ?)');
    bindings.push(pattern, pattern);
  }
  if (filter.status !== undefined) {
    from = `${from} ${USAGE_JOIN}`;
    conditions.push(displayedAs(filter.status));
  }
  return { sql: conditions.length === 0 ? from : `${from} where ${conditions.join(' and ')}`, bindings };
}

/** How many servers a filter finds. */
export async function countServers(db: Db, filter: ServerQuery): Promise<number> {
  const { sql, bindings } = selection(filter);
  const [count] = await query<{ n: number }>(db, `select count(*)::int as n from ${sql}`, bindings);
  return count?.n ?? 0;
}

/** A page of servers, last changed first. Where the primary allocation is not known, the oldest assigned one is shown. */
export async function listServers(
  db: Db,
  filter: ServerQuery & { limit: number; offset: number },
): Promise<DashboardServer[]> {
  const { sql, bindings } = selection(filter);
  // The page is cut first, so that names and allocations are looked up for its rows alone.
  return query(
    db,
    `select s.id, s.uuid, s.name, s.description, ${EFFECTIVE_STATUS} as status, coalesce(s."isSuspended", false) as "isSuspended",
       e.name as game, n.name as node,
       case when sa.id = s."primaryAllocationId" then coalesce(sa.alias, sa.ip) else sa.ip end as ip, sa.port,
       coalesce(s.memory, 0)::float8 as memory, coalesce(s.disk, 0)::float8 as disk, coalesce(s.cpu, 0)::float8 as cpu,
       s."nodeId", ${USAGE_COLUMNS},
       o.id as "ownerId", o.username as "ownerName", o.email as "ownerEmail", s."createdAt"
     from (select s.id, s.uuid, s.name, s.description, s.status, s."isSuspended", s."panelType", s."pterodactylId", s."eggId", s."nodeId", s."ownerId", s."primaryAllocationId",
             s.memory, s.disk, s.cpu, s."createdAt", s."updatedAt"
           from ${sql} order by s."updatedAt" desc, s.id desc limit ? offset ?) s
       ${USAGE_JOIN}
       left join eggs e on e.id = s."eggId"
       left join nodes n on n.id = s."nodeId"
       left join users o on o.id = s."ownerId"
       ${SHOWN_ALLOCATION}
     order by s."updatedAt" desc, s.id desc`,
    [...bindings, filter.limit, filter.offset],
  );
}

/** Allocations for administrators. Reads only. */
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';

export interface AllocationFilter {
  nodeId?: number | undefined;
  isAssigned?: boolean | undefined;
  /** Looked for in address, alias and port, as it stands. */
  search?: string | undefined;
}

export interface AllocationRow {
  id: number;
  ip: string;
  port: number;
  alias: string | null;
  isAssigned: boolean;
  nodeId: number;
  nodeName: string | null;
  nodeFqdn: string | null;
  serverId: string | null;
  serverPterodactylId: number | null;
  serverName: string | null;
}

/** Old rows may lack the flag. */
const IS_ASSIGNED = `coalesce(a."isAssigned", a."serverId" is not null)`;

/** Columns over `allocations a`, its node as `r`, and `servers s`. */
const ROW = `a.id, a.ip, a.port, a.alias, ${IS_ASSIGNED} as "isAssigned",
  r.id as "nodeId", r.name as "nodeName", r.fqdn as "nodeFqdn",
  s.id as "serverId", s."pterodactylId" as "serverPterodactylId", s.name as "serverName"`;

/** Condition over `allocations a`, without the node. */
function conditionOf({ isAssigned, search }: AllocationFilter): { sql: string; bindings: unknown[] } {
  const conditions: string[] = [];
  const bindings: unknown[] = [];
  if (isAssigned !== undefined) conditions.push(`${isAssigned ? '' : 'not '}${IS_ASSIGNED}`);
  if (search !== undefined) {
    // Without letters case is no matter, and LIKE is some times faster.
    const like = /^[\d.:]*$/.test(search) ? 'like' : 'ilike';
    const inPort = /^\d+$/.test(search);
    const pattern = contains(search);
    conditions.push(`(a.ip ${like} ? or a.alias ${like} ?${inPort ? ' or a.port::text like ?' : ''})`);
    bindings.push(pattern, pattern, ...(inPort ? [pattern] : []));
  }
  return { sql: conditions.join(' and ') || 'true', bindings };
}

/** Number of allocations that a filter finds on one node. */
export interface NodeCount {
  nodeId: number;
  count: number;
}

/** Number of allocations that a filter finds on each node that has any, in the order of the list. */
export function countAllocations(db: Db, filter: AllocationFilter): Promise<NodeCount[]> {
  const { sql, bindings } = conditionOf(filter);
  const ofNode = filter.nodeId === undefined ? [] : [filter.nodeId];
  return query(
    db,
    `select c."nodeId", c.count
       from (select a."nodeId", count(*)::int as count from allocations a
              where ${sql} ${ofNode.length === 0 ? '' : 'and a."nodeId" = ?'} group by a."nodeId") c
       join nodes n on n.id = c."nodeId" order by n.name, n.id`,
    [...bindings, ...ofNode],
  );
}

type Page = AllocationFilter & { limit: number; offset: number };

/**
 * A page of allocations by name of the node, address (as text) and port.
 * @param counts of the same filter, at most a second old: they say at which node a page far back begins.
 */
export const listAllocations = (db: Db, page: Page, counts: readonly NodeCount[]): Promise<AllocationRow[]> =>
  page.search === undefined ? walkNodes(db, page, startOf(counts, page.offset)) : sortFound(db, page);

interface Start {
  nodeId: number | null;
  /** Number of allocations on the nodes before it. */
  before: number;
}

/** The node with the first row of a page. Null in the first node: there may be a new node before it. */
function startOf(counts: readonly NodeCount[], offset: number): Start {
  let start: Start = { nodeId: null, before: 0 };
  let before = 0;
  for (const { nodeId, count } of counts) {
    if (before > offset) break;
    if (before > 0) start = { nodeId, before };
    before += count;
  }
  return start;
}

/** Sorts what the search finds. */
function sortFound(db: Db, page: Page): Promise<AllocationRow[]> {
  const { sql, bindings } = conditionOf(page);
  const ofNode = page.nodeId === undefined ? [] : [page.nodeId];
  return query(
    db,
    `with page as (
       select a.id from allocations a join nodes r on r.id = a."nodeId"
        where ${sql} ${ofNode.length === 0 ? '' : 'and r.id = ?'}
        order by r.name, r.id, a.ip, a.port, a.id limit ? offset ?)
     select ${ROW} from page join allocations a on a.id = page.id join nodes r on r.id = a."nodeId"
       left join servers s on s.id = a."serverId"
      order by r.name, r.id, a.ip, a.port, a.id`,
    [...bindings, ...ofNode, page.limit, page.offset],
  );
}

/**
 * Goes through the nodes by name from the start of the page, counts their allocations until its end is reached, and reads
 * its rows from the index of its nodes: no page sorts or counts the allocations of other nodes. A start that is gone counts
 * as none.
 */
function walkNodes(db: Db, page: Page, start: Start): Promise<AllocationRow[]> {
  const { sql, bindings } = conditionOf(page);
  const { limit, offset } = page;
  const ofNode = page.nodeId === undefined ? [] : [page.nodeId];
  return query(
    db,
    `with recursive ranked as materialized (
       select n.id, n.name, n.fqdn, row_number() over (order by n.name, n.id) as place
         from nodes n ${ofNode.length === 0 ? '' : 'where n.id = ?'}),
     walk as (
       select coalesce(max(r.place) - 1, 0) as place, coalesce(max(?::bigint), 0) as before, 0::bigint as found
         from ranked r where r.id = ?::integer
       union all
       select r.place, w.before + w.found, c.found
         from walk w join ranked r on r.place = w.place + 1
         cross join lateral (
           select count(*) as found from allocations a where a."nodeId" = r.id and ${sql}) c
        where w.before + w.found < ?::bigint)
     select ${ROW}
       from walk w join ranked r on r.place = w.place
       cross join lateral (
         select a.id, a.ip, a.port, a.alias, a."isAssigned", a."serverId" from allocations a
          where a."nodeId" = r.id and ${sql}
          order by a.ip, a.port, a.id
          limit greatest(?::bigint - greatest(w.before, ?::bigint), 0) offset greatest(?::bigint - w.before, 0)) a
       left join servers s on s.id = a."serverId"
      where w.before + w.found > ?::bigint
      order by r.place, a.ip, a.port, a.id`,
    [
      ...ofNode,
      ...[start.before, start.nodeId],
      ...[...bindings, offset + limit],
      ...[...bindings, offset + limit, offset, offset],
      offset,
    ],
  );
}

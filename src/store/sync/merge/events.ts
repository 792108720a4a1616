/**
 * Events of servers: what a merge changes that administrators want to hear of. They are found in the plan, while the old
 * rows are still there, and written in the transaction of the merge.
 */
import type { EventData, ServiceEvent } from '../../../domain/events.ts';
import type { Db } from '../../db/db.ts';
import { execute, query } from '../../db/query.ts';
import { emitEvents } from '../../webhooks/event-store.ts';
import { MIRROR } from './tables.ts';

/** Events about single servers that one run reports; the others are counted in a summary. */
const SINGLE_EVENTS = 25;

/** SQL: how an account is called where its address must not stand. */
const nameOf = (alias: string): string =>
  `coalesce(nullif(trim(${alias}.username), ''), nullif(trim(${alias}."firstName"), ''), 'unknown')`;

/**
 * Fills `server_events` from the plan, before anything is written: each event with the names that the merge may change or
 * delete. The first sync of an empty mirror has none, since every server would be new;
 * an owner or a node that was not known before has not changed.
 * @returns false if there are none.
 */
export async function planServerEvents(trx: Db): Promise<boolean> {
  const found = await execute(
    trx,
    `create temp table server_events on commit drop as
     with changed as (
       select c.id, c.name, c.op, c."ownerId" as owner, c."nodeId" as node, t."ownerId" as old_owner, t."nodeId" as old_node,
         coalesce(c."isSuspended", false) as suspended, coalesce(t."isSuspended", false) as was_suspended
       from change_servers c left join servers t on t.id = c.id
     ), events as (
       select 'server.created' as event, c.* from changed c where c.op = 'c'
       union all select 'server.suspended', c.* from changed c where c.op = 'u' and c.suspended and not c.was_suspended
       union all select 'server.unsuspended', c.* from changed c where c.op = 'u' and not c.suspended and c.was_suspended
       union all select 'server.owner_changed', c.* from changed c where c.op = 'u' and c.owner <> c.old_owner
       union all select 'server.node_changed', c.* from changed c where c.op = 'u' and c.node <> c.old_node
       union all select 'server.deleted', t.id, t.name, 'd', t."ownerId", t."nodeId", null, null, false, false
         from servers t join deleted_servers d on d.id = t.id
     )
     select e.event, e.id as server, coalesce(e.name, '') as name, e.owner, e.node,
       case when p.id is not null then ${nameOf('p')} end as previous_owner, m.name as previous_node
     from events e left join users p on p.id = e.old_owner left join nodes m on m.id = e.old_node
     where exists (select 1 from servers t where ${MIRROR.servers.isPanelRow})`,
  );
  return found > 0;
}

interface EventRow {
  event: Exclude<Extract<ServiceEvent, `server.${string}`>, 'server.changes'>;
  server: string;
  name: string;
  owner: string;
  node: string | null;
  previousOwner: string | null;
  previousNode: string | null;
}

/** What an event tells (src/messages/discord has the texts). */
function dataOf({ event, name, owner, node, previousOwner, previousNode }: EventRow): EventData {
  if (event === 'server.created') return { name, owner, node };
  if (event === 'server.owner_changed') return { name, owner, previous_owner: previousOwner };
  if (event === 'server.node_changed') return { name, owner, node, previous_node: previousNode };
  return { name, owner };
}

/**
 * Writes the planned events, once the rows are written and the present names can be read.
 * @param key of the merge: a merge that is repeated after its commit does not come here.
 */
export async function emitServerEvents(trx: Db, key: string): Promise<void> {
  const rows = await query<EventRow>(
    trx,
    `select e.event, e.server, e.name, ${nameOf('u')} as owner, n.name as node, e.previous_owner as "previousOwner",
       e.previous_node as "previousNode"
     from server_events e left join users u on u.id = e.owner left join nodes n on n.id = e.node
     order by e.name, e.server, e.event limit ${SINGLE_EVENTS}`,
  );
  const single = rows.map((row) => ({ event: row.event, key: `${key}:${row.server}`, data: dataOf(row) }));
  const beyond = rows.length < SINGLE_EVENTS ? [] : await countBeyond(trx);
  const summary =
    beyond.length === 0 ? [] : [{ event: 'server.changes' as const, key, data: Object.fromEntries(beyond) }];
  await emitEvents(trx, [...single, ...summary]);
}

/** Numbers of the events that are not reported one by one, such as `['suspended', 12]`. */
async function countBeyond(trx: Db): Promise<[kind: string, count: number][]> {
  const counted = await query<{ event: string; n: number }>(
    trx,
    `select b.event, count(*)::int as n
     from (select e.event from server_events e order by e.name, e.server, e.event offset ${SINGLE_EVENTS}) b
     group by b.event order by b.event`,
  );
  return counted.map(({ event, n }) => [event.slice('server.'.length), n]);
}

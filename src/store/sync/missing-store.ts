/**
 * Rows of the mirror that a listing of several pages did not contain (`sync_missing`), and what the panel said of each when it
 * was asked. Only a row that the panel denied is gone; a row without an answer is kept.
 */
import { AppError } from '../../domain/errors.ts';
import type { ConfirmedEntity, Entity } from '../../domain/sync/targets.ts';
import { type Db, inTransaction } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { MIRROR } from './merge/tables.ts';
import { bindingsOf, OF_SOURCE, type StagedSource } from './staging-store.ts';

/** How the rows of an entity are found and asked for: SQL over alias t. */
interface AskedRows {
  panelId: string;
  uuid: string;
  parent: string;
  port: string;
  where: string;
}

const NONE = { uuid: 'null::text', parent: 'null::int', port: 'null::int' };
const ROWS: Record<ConfirmedEntity, AskedRows> = {
  servers: { ...NONE, panelId: 't."pterodactylId"', uuid: 't.uuid', where: MIRROR.servers.isPanelRow },
  nodes: { ...NONE, panelId: 't.id', uuid: 't.uuid', where: MIRROR.nodes.isPanelRow },
  locations: { ...NONE, panelId: 't.id', where: MIRROR.locations.isPanelRow },
  nests: { ...NONE, panelId: 't.id', where: MIRROR.nests.isPanelRow },
  users: {
    ...NONE,
    panelId: 't."pterodactylId"',
    uuid: 't."pterodactylUuid"',
    where: 't."pterodactylId" is not null',
  },
  // Asked only of a node whose allocations were read in several pages.
  allocations: {
    panelId: 't.id',
    uuid: 'null::text',
    parent: 't."nodeId"',
    port: 't.port',
    where: MIRROR.allocations.isPanelRow,
  },
};

/** A source as it was read, and an entity of it whose missing rows are to be asked for. */
export interface MissingOf extends StagedSource {
  entity: ConfirmedEntity;
}

const nodeOf = ({ source }: MissingOf): number | null => (source.kind === 'node' ? source.id : null);

/**
 * Notes the rows that a sync wrote and that no page of the source contains, neither as a stored nor as a rejected record.
 * Answers of an earlier reading are forgotten.
 * @returns the number of missing rows, and of all rows that could be missing: the prune guard decides on both.
 * @throws {AppError} RUN_CLOSED when the log row is not RUNNING any more.
 */
export async function findMissing(db: Db, input: MissingOf): Promise<{ missing: number; present: number }> {
  const { logId, entity } = input;
  const { panelId, uuid, parent, port, where } = ROWS[entity];
  const node = nodeOf(input);
  const rows = `from ${MIRROR[entity].table} t where ${where}${node === null ? '' : ' and t."nodeId" = ?'}`;
  const ofNode = node === null ? [] : [node];
  // No autovacuum has seen the pages of this run.
  await execute(db, 'analyze sync_pages');
  return inTransaction(db, async (trx) => {
    await requireOpen(trx, logId);
    await forget(trx, input);
    // Both sides are grouped by id: one pass over each, whatever the planner knows of the tables. An anti join is
    // quadratic when it does not know them.
    const [found] = await query<{ missing: number; present: number }>(
      trx,
      `with noted as (
         insert into sync_missing (log_id, entity, panel_id, parent_id, uuid, port)
         select ?, ?, r.id, max(r.parent), max(r.uuid), max(r.port) from (
           select ${panelId} as id, ${parent} as parent, ${uuid} as uuid, ${port} as port, true as mirrored ${rows}
           union all
           select i.id, null, null, null, false from sync_pages p, unnest(p.ids) as i (id) where ${OF_SOURCE} and p.entity = ?
         ) r group by r.id having bool_and(r.mirrored)
         on conflict (log_id, entity, panel_id) do nothing returning 1
       ) select (select count(*) from noted)::int as missing, (select count(*) ${rows})::int as present`,
      [logId, entity, ...ofNode, ...bindingsOf(input), entity, ...ofNode],
    );
    return found ?? { missing: 0, present: 0 };
  });
}

async function requireOpen(trx: Db, logId: string): Promise<void> {
  const [open] = await query<{ id: string }>(
    trx,
    `select id from sync_logs where id = ? and status = 'RUNNING' for key share`,
    [logId],
  );
  if (open === undefined) throw new AppError('RUN_CLOSED');
}

/** Forgets the missing rows of a source: they are not asked for, and kept. */
export async function forgetMissing(db: Db, input: MissingOf): Promise<void> {
  await forget(db, input);
}

const forget = (db: Db, input: MissingOf): Promise<unknown> => {
  const node = nodeOf(input);
  return execute(
    db,
    `delete from sync_missing where log_id = ? and entity = ?${node === null ? '' : ' and parent_id = ?'}`,
    [input.logId, input.entity, ...(node === null ? [] : [node])],
  );
};

/**
 * Forgets rows whose uuid the source has under another id: they are not missing. It reads every staged record, so it is
 * for a source that seems to lack very much.
 * @returns the number of rows that are still missing.
 */
export async function forgetRenumbered(db: Db, input: MissingOf): Promise<number> {
  const { logId, entity } = input;
  await execute(
    db,
    `delete from sync_missing m using (
       select distinct x.uuid from sync_pages p, json_to_recordset(p.body) as x (uuid text)
       where ${OF_SOURCE} and p.entity = ? and x.uuid is not null
     ) staged where m.log_id = ? and m.entity = ? and m.uuid = staged.uuid`,
    [...bindingsOf(input), entity, logId, entity],
  );
  const [left] = await query<{ n: number }>(
    db,
    'select count(*)::int as n from sync_missing where log_id = ? and entity = ?',
    [logId, entity],
  );
  return left?.n ?? 0;
}

/** A missing row, and by what the panel is asked for it. */
export interface Question {
  panelId: number;
  uuid: string | null;
  /** Of an allocation: its node and its port. */
  parent: number | null;
  port: number | null;
}

/** The next missing rows without an answer, in the order of their panel ids. */
export const nextQuestions = (
  db: Db,
  filter: { logId: string; entity: ConfirmedEntity; after: number; limit: number },
): Promise<Question[]> =>
  query<Question>(
    db,
    `select m.panel_id as "panelId", m.uuid, m.parent_id as parent, m.port from sync_missing m
     where m.log_id = ? and m.entity = ? and m.panel_id > ? and m.alive is null order by m.panel_id limit ?`,
    [filter.logId, filter.entity, filter.after, filter.limit],
  );

/**
 * Stores answers of the panel.
 * @param input `alive`: the panel knows the row.
 * @returns `cancelled` when the run is being cancelled: nothing was stored.
 * @throws {AppError} RUN_CLOSED when the log row is not RUNNING any more.
 */
export async function storeAnswers(
  db: Db,
  input: { logId: string; entity: Entity; answers: readonly { panelId: number; alive: boolean }[] },
): Promise<'stored' | 'cancelled'> {
  const [result] = await query<{ open: boolean | null }>(
    db,
    `with fence as (
       select "cancelledAt" is null as open from sync_logs where id = ? and status = 'RUNNING' for key share
     ), stored as (
       insert into sync_missing (log_id, entity, panel_id, alive)
       select ?, ?, x."panelId", x.alive from json_to_recordset(?::json) as x ("panelId" int, alive boolean), fence where fence.open
       on conflict (log_id, entity, panel_id) do update set alive = excluded.alive
     ) select (select open from fence) as open`,
    [input.logId, input.logId, input.entity, JSON.stringify(input.answers)],
  );
  if (result?.open === null || result === undefined) throw new AppError('RUN_CLOSED');
  return result.open ? 'stored' : 'cancelled';
}

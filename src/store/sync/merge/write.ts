/** Writes the plan: releases unique values that change hands, then updates and inserts, parents before children. */
import { AppError } from '../../../domain/errors.ts';
import { ENTITIES, type Entity, type SyncCounts, type SyncWarning } from '../../../domain/sync/targets.ts';
import type { Db, Transaction } from '../../db/db.ts';
import { execute, query, script } from '../../db/query.ts';
import {
  isConcurrencyFailure,
  isConnectionFailure,
  isQueryCanceled,
  isRowRefused,
  SQLSTATE,
  sqlState,
} from '../../db/sql-errors.ts';
import { AllRefused, findRefused, tableRefused } from './refused.ts';
import type { RejectedRow } from './scope.ts';
import { MIRROR, type MirrorSpec, NOW } from './tables.ts';

/** The database refused single rows for reasons of its own; the caller plans again without them. */
export class RowsRefused extends Error {
  readonly rows: RejectedRow[];
  constructor(rows: RejectedRow[]) {
    super('rows were refused');
    this.rows = rows;
  }
}

export interface WriteInput {
  entities: readonly Entity[];
  /** Counts of the plan. Corrected here where an optional entity could not be written. */
  counts: SyncCounts;
  warnings: SyncWarning[];
  /** Write each entity behind a savepoint and search for the rows that the database refuses. */
  bisect: boolean;
  signal: AbortSignal | undefined;
}

/** A failure of these never fails the run: it becomes a warning. */
const OPTIONAL: readonly Entity[] = ['databases', 'subusers'];

/**
 * Releases values that change hands, then updates and inserts, parents before children.
 * @throws {RowsRefused} with `bisect`, when the database refuses rows; without it, the driver's error.
 * @throws {AppError} DATABASE_REFUSED when it refuses rows of a table one and all.
 */
export async function writeChanges(trx: Transaction, input: WriteInput): Promise<void> {
  const { counts, bisect } = input;
  const changes = (e: Entity) => (counts[e]?.created ?? 0) + (counts[e]?.updated ?? 0) > 0;
  const entities = ENTITIES.filter((e) => input.entities.includes(e) && changes(e));
  // A key that is checked at the commit would be refused when nothing can be found out any more.
  if (bisect) await execute(trx, 'set constraints all immediate');
  await execute(trx, script([UNLINK_USERS, RELEASE_SERVERS]));
  for (const entity of entities) await releaseUniqueValues(trx, MIRROR[entity]);
  for (const entity of ENTITIES) {
    input.signal?.throwIfAborted();
    if (entity === 'allocations') await linkServers(trx, input.entities);
    if (!entities.includes(entity)) continue;
    if (!OPTIONAL.includes(entity) && !bisect) await writeEntity(trx, MIRROR[entity]);
    else await writeBehindSavepoint(trx, entity, input);
  }
}

async function writeBehindSavepoint(trx: Transaction, entity: Entity, input: WriteInput): Promise<void> {
  const { bisect, counts, warnings } = input;
  const optional = OPTIONAL.includes(entity);
  await execute(trx, `savepoint entity_${entity}`);
  try {
    await writeEntity(trx, MIRROR[entity]);
    await execute(trx, `release savepoint entity_${entity}`);
  } catch (error) {
    const refused = isRowRefused(error);
    if (isConnectionFailure(error) || isQueryCanceled(error)) throw error;
    if (!bisect && (isConcurrencyFailure(error) || refused)) throw error;
    await execute(trx, `rollback to savepoint entity_${entity}`);
    if (refused) {
      const rows = await refusedRows(trx, entity);
      if (rows !== 'all') throw new RowsRefused(rows);
      if (!optional) throw tableRefused(entity, MIRROR[entity].table, sqlState(error) ?? 'unknown');
      await execute(trx, `rollback to savepoint entity_${entity}`);
    } else if (!optional) throw error;
    const planned = counts[entity];
    if (planned !== undefined) {
      planned.failed += planned.created + planned.updated;
      Object.assign(planned, { created: 0, updated: 0 });
    }
    const message = `${entity} could not be written (SQLSTATE ${sqlState(error) ?? 'unknown'})`;
    warnings.push({ code: 'WRITE_FAILED', entity, message });
  }
}

/** The rows of `change_x` that the database refuses; `all`: one after the other. */
async function refusedRows(trx: Transaction, entity: Entity): Promise<RejectedRow[] | 'all'> {
  const spec = MIRROR[entity];
  const [size] = await query<{ n: number }>(trx, `select coalesce(max(n), 0)::int as n from change_${entity}`);
  // Each statement of the search takes a range of numbers; without statistics the planner would read the mirror for each.
  await execute(trx, `create unique index on change_${entity} (n); analyze change_${entity}`);
  try {
    const found = await findRefused(trx, size?.n ?? 0, (from, to) => writeRange(trx, spec, { from, to }));
    // No row was refused on its own: fail, since without a row to reject the merge would repeat for ever.
    if (found.length === 0) throw new AppError('INTERNAL_ERROR', { meta: { entity } });
    return await query<RejectedRow>(
      trx,
      `select '${entity}' as entity, change.panel_id as "panelId", 'DB_REFUSED' as code, 'the database refused the row (SQLSTATE ' || f.state || ')' as detail
       from json_to_recordset(?::json) as f (n int, state text) join change_${entity} change on change.n = f.n`,
      [JSON.stringify(found)],
    );
  } catch (error) {
    if (error instanceof AllRefused) return 'all';
    throw error;
  }
}

/** Accounts whose panel user is gone, or whose panel id another user has now. They keep everything else. */
export const UNLINK_USERS = `update users t set "pterodactylId" = null, "isPterodactylAdmin" = false, "updatedAt" = ${NOW}, "lastSyncedAt" = ${NOW}
  from unlinked_users u where u.id = t.id`;
/** Rows whose panel id another server has now. They keep everything else. */
const RELEASE_SERVERS = `update servers t set "pterodactylId" = null, "updatedAt" = ${NOW}, "lastSyncedAt" = ${NOW}
  from released_servers r where r.id = t.id`;

/** Gives rows that are written or deleted a placeholder, where another row takes over their unique value. */
export async function releaseUniqueValues(trx: Db, spec: MirrorSpec): Promise<void> {
  for (const key of spec.unique) {
    if (key.release === undefined) continue;
    const { entity, table } = spec;
    await execute(
      trx,
      `update ${table} t set ${key.release} from change_${entity} change
       where (${key.values('change').join(', ')}) = (${key.values('t').join(', ')}) and change.id <> t.id
         ${key.releaseOnly === undefined ? '' : `and ${key.releaseOnly}`}
         and (exists (select 1 from change_${entity} own where own.id = t.id) or exists (select 1 from deleted_${entity} deleted where deleted.id = t.id))`,
    );
  }
}

/** SQL: updates the rows of `change_x` in the mirror. */
export function updateRows({ entity, table, owned, assign, stamps }: MirrorSpec, bounds: string): string {
  const set = [
    ...owned.map((column) => `${column} = ${assign?.[column] ?? `change.${column}`}`),
    ...stamps.change.map((column) => `${column} = ${NOW}`),
  ];
  return `update ${table} t set ${set.join(', ')} from change_${entity} change where change.op = 'u' and t.id = change.id${bounds}`;
}

function insertRows({ entity, table, owned, onInsert, stamps }: MirrorSpec, bounds: string): string {
  const columns = ['id', ...owned, ...onInsert.map(([column]) => column), ...stamps.create, ...stamps.change];
  const values = [
    'change.id',
    ...owned.map((column) => `change.${column}`),
    ...onInsert.map(([, expression]) => expression),
    ...[...stamps.create, ...stamps.change].map(() => NOW),
  ];
  return `insert into ${table} (${columns.join(', ')}) select ${values.join(', ')} from change_${entity} change where change.op = 'c'${bounds} order by change.id`;
}

async function writeRange(trx: Db, spec: MirrorSpec, range: { from: number; to: number }): Promise<void> {
  const bounds = ` and change.n between ${range.from} and ${range.to}`;
  await execute(trx, updateRows(spec, bounds));
  await execute(trx, insertRows(spec, bounds));
}

async function writeEntity(trx: Db, spec: MirrorSpec): Promise<void> {
  const { entity, table } = spec;
  const updated = await execute(trx, updateRows(spec, ''));
  await execute(trx, insertRows(spec, ''));
  const [planned] = await query<{ n: number }>(trx, `select count(*)::int as n from change_${entity} where op = 'u'`);
  // A row vanished since the plan was made: this reads as a concurrent writer, so that the caller plans again.
  if (updated !== (planned?.n ?? 0)) {
    throw Object.assign(new Error(`a row of ${table} vanished while it was being written`), {
      code: SQLSTATE.serializationFailure,
      vanished: table,
    });
  }
}

/** A sync of servers without allocations updates the server of each allocation that is mirrored already. */
async function linkServers(trx: Db, entities: readonly Entity[]): Promise<void> {
  if (!entities.includes('servers') || entities.includes('allocations')) return;
  await execute(
    trx,
    `update allocations t set "serverId" = w.server, "isAssigned" = w.server is not null, "updatedAt" = ${NOW} from (
       select a.id, l.server from allocations a join nodes n on n.id = a."nodeId" and n."panelType" = 'pterodactyl' left join link_map l on l.id = a.id
       where l.server is not null or a."serverId" in (select r.id from read_links r) or a."serverId" in (select deleted.id from deleted_servers deleted)
     ) w where w.id = t.id and t."serverId" is distinct from w.server`,
  );
}

/**
 * The owner row follows the server also where subusers are not synced in this merge: the row of a former owner would show
 * them the server on their dashboard. A server without an owner row gets none here.
 */
export async function moveOwnerRows(trx: Db): Promise<void> {
  await execute(
    trx,
    `delete from server_subusers t using moved_owners o where t."serverId" = o.id and t."isOwner" and t."userId" is distinct from o."ownerId";
     update server_subusers t set permissions = '{*}', "accessLevel" = 'owner', "isOwner" = true, "lastSyncedAt" = ${NOW}
       from moved_owners o where t."serverId" = o.id and t."userId" = o."ownerId";
     insert into server_subusers (id, "serverId", "userId", permissions, "accessLevel", "isOwner", "addedAt", "lastSyncedAt")
       select gen_random_uuid()::text, o.id, o."ownerId", '{*}', 'owner', true, ${NOW}, ${NOW} from moved_owners o
       where o."ownerId" is not null and not exists (select 1 from server_subusers t where t."serverId" = o.id and t."userId" = o."ownerId")`,
  );
}

/**
 * Writes the plan: releases unique values that change hands, then updates, inserts and deletes. Records that the database
 * refuses for reasons of its own are found by halving the range of changes.
 */
import { AppError } from '../../../domain/errors.ts';
import { ENTITIES, type Entity, type SyncCounts, type SyncWarning } from '../../../domain/sync/targets.ts';
import type { Db, Transaction } from '../../db/db.ts';
import { execute, query } from '../../db/query.ts';
import {
  isConcurrencyFailure,
  isConnectionFailure,
  isQueryCanceled,
  isRowRefused,
  SQLSTATE,
  sqlState,
} from '../../db/sql-errors.ts';
import type { RejectedRow } from './match.ts';
import { MIRROR, type MirrorSpec } from './tables.ts';

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

/**
 * Releases values that change hands, then updates and inserts, parents before children.
 * @throws {RowsRefused} with `bisect`, when the database refuses rows; without it, the driver's error.
 */
export async function writeChanges(trx: Transaction, input: WriteInput): Promise<void> {
  const { counts, warnings, bisect } = input;
  const changes = (e: Entity) => (counts[e]?.created ?? 0) + (counts[e]?.updated ?? 0) > 0;
  const entities = ENTITIES.filter((e) => input.entities.includes(e) && changes(e));
  for (const entity of entities) await releaseUniqueValues(trx, MIRROR[entity]);
  for (const entity of ENTITIES) {
    input.signal?.throwIfAborted();
    if (entity === 'allocations') await linkServers(trx, input.entities);
    if (!entities.includes(entity)) continue;
    // A failure of subusers or databases never fails the run: it becomes a warning.
    const optional = entity === 'databases' || entity === 'subusers';
    if (!optional && !bisect) {
      await writeEntity(trx, MIRROR[entity]);
      continue;
    }
    await execute(trx, `savepoint entity_${entity}`);
    try {
      await writeEntity(trx, MIRROR[entity]);
    } catch (error) {
      const refused = isRowRefused(error);
      if (isConnectionFailure(error) || isQueryCanceled(error)) throw error;
      if (!bisect && (isConcurrencyFailure(error) || refused)) throw error;
      await execute(trx, `rollback to savepoint entity_${entity}`);
      if (refused) throw new RowsRefused(await findRefused(trx, MIRROR[entity]));
      if (!optional) throw error;
      const planned = counts[entity];
      if (planned !== undefined) {
        planned.failed += planned.created + planned.updated;
        Object.assign(planned, { created: 0, updated: 0 });
      }
      warnings.push({
        code: 'WRITE_FAILED',
        entity,
        message: `${entity} could not be written (SQLSTATE ${sqlState(error) ?? 'unknown'})`,
      });
    }
  }
}

/** Gives rows that are written or deleted a placeholder, where another row takes over their unique value. */
async function releaseUniqueValues(trx: Db, spec: MirrorSpec): Promise<void> {
  for (const key of spec.unique) {
    if (key.release === undefined) continue;
    const { entity, table } = spec;
    await execute(
      trx,
      `update ${table} t set ${key.release} from change_${entity} change
       where (${key.columns('change').join(', ')}) = (${key.columns('t').join(', ')}) and change.id <> t.id
         ${key.releaseOnly === undefined ? '' : `and ${key.releaseOnly}`}
         and (exists (select 1 from change_${entity} own where own.id = t.id) or exists (select 1 from deleted_${entity} deleted where deleted.id = t.id))`,
    );
  }
}

const now = `now() at time zone 'utc'`;

async function writeEntity(trx: Db, spec: MirrorSpec, range?: { from: number; to: number }): Promise<void> {
  const { entity, table, owned, assign, onInsert, stamps } = spec;
  const bounds = range === undefined ? '' : ` and change.n between ${range.from} and ${range.to}`;
  const updated = await execute(
    trx,
    `update ${table} t set ${[...owned.map((c) => `${c} = ${assign?.[c] ?? `change.${c}`}`), ...stamps.change.map((c) => `${c} = ${now}`)].join(', ')}
     from change_${entity} change where change.op = 'u' and t.id = change.id${bounds}`,
  );
  const columns = ['id', ...owned, ...onInsert.map(([c]) => c), ...stamps.create, ...stamps.change];
  const values = [
    'change.id',
    ...owned.map((c) => `change.${c}`),
    ...onInsert.map(([, e]) => e),
    ...stamps.create.map(() => now),
    ...stamps.change.map(() => now),
  ];
  await execute(
    trx,
    `insert into ${table} (${columns.join(', ')}) select ${values.join(', ')} from change_${entity} change where change.op = 'c'${bounds} order by change.id`,
  );
  if (range !== undefined) return;
  const [planned] = await query<{ n: number }>(trx, `select count(*)::int as n from change_${entity} where op = 'u'`);
  // A row vanished since the plan was made: this reads as a concurrent writer, so that the caller plans again.
  if (updated !== (planned?.n ?? 0)) {
    throw Object.assign(new Error(`a row of ${table} vanished while it was being written`), {
      code: SQLSTATE.serializationFailure,
    });
  }
}

/** Halves the range of changes until each refused row stands alone: about 2·log2(n) statements per row. */
async function findRefused(trx: Db, spec: MirrorSpec): Promise<RejectedRow[]> {
  const { entity } = spec;
  const [size] = await query<{ n: number }>(trx, `select coalesce(max(n), 0)::int as n from change_${entity}`);
  const refused: RejectedRow[] = [];
  const search = async (from: number, to: number): Promise<void> => {
    if (from > to) return;
    await execute(trx, 'savepoint half');
    try {
      await writeEntity(trx, spec, { from, to });
      await execute(trx, 'release savepoint half');
      return;
    } catch (error) {
      if (!isRowRefused(error)) throw error;
      await execute(trx, 'rollback to savepoint half');
      if (from === to) {
        const [row] = await query<{ panelId: string }>(
          trx,
          `select change.panel_id as "panelId" from change_${entity} change where change.n = ${from}`,
        );
        if (row !== undefined) {
          refused.push({
            entity,
            panelId: row.panelId,
            code: 'DB_REFUSED',
            detail: `the database refused the row (SQLSTATE ${sqlState(error)})`,
          });
        }
        return;
      }
    }
    const middle = Math.floor((from + to) / 2);
    await search(from, middle);
    await search(middle + 1, to);
  };
  await search(1, size?.n ?? 0);
  // No row was refused on its own: fail, since without a row to reject the merge would repeat for ever.
  if (refused.length === 0) throw new AppError('INTERNAL_ERROR', { meta: { entity } });
  return refused;
}

/** A sync of servers without allocations updates the server of each allocation that is mirrored already. */
async function linkServers(trx: Db, entities: readonly Entity[]): Promise<void> {
  if (!entities.includes('servers') || entities.includes('allocations')) return;
  await execute(
    trx,
    `update allocations t set "serverId" = w.server, "updatedAt" = ${now} from (
       select a.id, l.server from allocations a join nodes n on n.id = a."nodeId" and n."panelType" = 'pterodactyl' left join link_map l on l.id = a.id
       where l.server is not null or a."serverId" in (select r.id from read_links r) or a."serverId" in (select deleted.id from deleted_servers deleted)
     ) w where w.id = t.id and t."serverId" is distinct from w.server`,
  );
}

/** Deletes what the plan deletes, children before parents. */
export async function deleteRows(trx: Db, entities: readonly Entity[], counts: SyncCounts): Promise<void> {
  for (const entity of ENTITIES.toReversed()) {
    if (entity === 'users' || !entities.includes(entity) || (counts[entity]?.pruned ?? 0) === 0) continue;
    await execute(trx, `delete from ${MIRROR[entity].table} t using deleted_${entity} deleted where t.id = deleted.id`);
  }
}

/**
 * The owner row follows the server also where subusers are not synced in this merge: the row of a former owner would show
 * them the server on their dashboard. A server without an owner row gets none here.
 */
export async function moveOwnerRows(trx: Db): Promise<void> {
  await execute(
    trx,
    `delete from server_subusers t using moved_owners o where t."serverId" = o.id and t."isOwner" and t."userId" <> o."ownerId";
     update server_subusers t set permissions = '{*}', "accessLevel" = 'owner', "isOwner" = true, "lastSyncedAt" = ${now}
       from moved_owners o where t."serverId" = o.id and t."userId" = o."ownerId";
     insert into server_subusers (id, "serverId", "userId", permissions, "accessLevel", "isOwner", "addedAt", "lastSyncedAt")
       select gen_random_uuid()::text, o.id, o."ownerId", '{*}', 'owner', true, ${now}, ${now} from moved_owners o
       where not exists (select 1 from server_subusers t where t."serverId" = o.id and t."userId" = o."ownerId")`,
  );
}

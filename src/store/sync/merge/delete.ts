/** Deletes what the plan deletes. A row that the database does not let go costs itself only: it is kept and named. */
import { ENTITIES, type Entity, type SyncCounts, type SyncWarning } from '../../../domain/sync/targets.ts';
import type { Transaction } from '../../db/db.ts';
import { execute, query } from '../../db/query.ts';
import { isRowRefused } from '../../db/sql-errors.ts';
import { AllRefused, findRefused, type RefusedNumber } from './refused.ts';
import { ident, MIRROR } from './tables.ts';

const deletion = (entity: Entity, bounds = '') =>
  `delete from ${MIRROR[entity].table} t using deleted_${entity} deleted where t.id = deleted.id${bounds}`;

/** Deletes children before parents. Counts and warnings are corrected where the database refuses. */
export async function deleteRows(
  trx: Transaction,
  entities: readonly Entity[],
  counts: SyncCounts,
  warnings: SyncWarning[],
): Promise<void> {
  for (const entity of ENTITIES.toReversed()) {
    const planned = counts[entity];
    if (entity === 'users' || !entities.includes(entity) || planned === undefined || planned.pruned === 0) continue;
    await execute(trx, 'savepoint deletion');
    try {
      await execute(trx, deletion(entity));
    } catch (error) {
      if (!isRowRefused(error)) throw error;
      await execute(trx, 'rollback to savepoint deletion');
      const refused = await deleteSingly(trx, entity);
      planned.pruned -= refused.rows;
      planned.failed += refused.rows;
      warnings.push({
        code: 'PRUNE_REFUSED',
        entity,
        message: `${refused.rows} ${entity} are not on the panel any more but were kept: the database refuses to delete them from ${MIRROR[entity].table} (SQLSTATE ${refused.state})`,
      });
    }
    await execute(trx, 'release savepoint deletion');
  }
}

/** Finds the rows that are refused, and names them. After many in a row, all that are left are kept. */
async function deleteSingly(trx: Transaction, entity: Entity): Promise<{ rows: number; state: string }> {
  const { table } = MIRROR[entity];
  await execute(
    trx,
    `create temp table deleting on commit drop as select deleted.id, row_number() over (order by deleted.id)::int as n from deleted_${entity} deleted;
     create unique index on deleting (n); analyze deleting`,
  );
  const [size] = await query<{ n: number }>(trx, 'select count(*)::int as n from deleting');
  const range = (from: number, to: number) =>
    execute(trx, `delete from ${table} t using deleting d where t.id = d.id and d.n between ${from} and ${to}`);
  let found: readonly RefusedNumber[];
  try {
    found = await findRefused(trx, size?.n ?? 0, range);
  } catch (error) {
    if (!(error instanceof AllRefused)) throw error;
    found = error.found;
  }
  const panelId = entity === 'servers' || entity === 'databases' ? ident('pterodactylId') : 'id';
  await execute(
    trx,
    `insert into rejected_records select '${entity}', coalesce(t.${panelId}::text, t.id::text), 'DB_REFUSED', 'the database refused to delete the row (SQLSTATE ' || f.state || ')'
     from json_to_recordset(?::json) as f (n int, state text) join deleting d on d.n = f.n join ${table} t on t.id = d.id on conflict do nothing`,
    [JSON.stringify(found)],
  );
  const [kept] = await query<{ n: number }>(
    trx,
    `with kept as (delete from deleted_${entity} deleted using ${table} t where t.id = deleted.id returning deleted.id) select count(*)::int as n from kept`,
  );
  if (entity === 'servers') await execute(trx, KEEP_SERVER_EVENTS);
  await execute(trx, 'drop table deleting');
  return { rows: kept?.n ?? 0, state: found[0]?.state ?? 'unknown' };
}

/** A server that stays is not reported as deleted. */
const KEEP_SERVER_EVENTS = `delete from server_events e where e.event = 'server.deleted' and exists (select 1 from servers t where t.id = e.server)`;

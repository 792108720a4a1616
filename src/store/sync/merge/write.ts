/**
 * The writing half of the apply: values that change hands are parked, then what was planned is updated, inserted and
 * pruned. Rows that the database refuses for reasons of its own are found by halving.
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
import type { Exclusion } from './match.ts';
import { MIRROR, type MirrorSpec } from './tables.ts';

/** The database refused single rows for reasons of its own: plan again without them. */
export class Refused extends Error {
  readonly offenders: Exclusion[];
  constructor(offenders: Exclusion[]) {
    super('rows were refused');
    this.offenders = offenders;
  }
}

export interface WriteInput {
  entities: readonly Entity[];
  /** Counts of the plan; corrected where an entity could not be written after all. */
  counts: SyncCounts;
  warnings: SyncWarning[];
  /** Each entity behind a savepoint, offenders searched for. */
  bisect: boolean;
  signal: AbortSignal | undefined;
}

/** Frees values that change hands, then updates and inserts, parents before children. */
export async function writePlan(trx: Transaction, input: WriteInput): Promise<void> {
  const { counts, warnings, bisect } = input;
  const changes = (e: Entity) => (counts[e]?.created ?? 0) + (counts[e]?.updated ?? 0) > 0;
  const entities = ENTITIES.filter((e) => input.entities.includes(e) && changes(e));
  for (const entity of entities) await parkValues(trx, MIRROR[entity]);
  for (const entity of ENTITIES) {
    input.signal?.throwIfAborted();
    if (entity === 'allocations') await linkServers(trx, input.entities);
    if (!entities.includes(entity)) continue;
    // Subusers and databases never cost the run: their failure is a warning.
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
      if (refused) throw new Refused(await findOffenders(trx, MIRROR[entity]));
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

async function parkValues(trx: Db, spec: MirrorSpec): Promise<void> {
  for (const key of spec.unique) {
    if (key.park === undefined) continue;
    const { entity, table } = spec;
    await execute(
      trx,
      `update ${table} t set ${key.park} from p_${entity} n
       where (${key.columns('n').join(', ')}) = (${key.columns('t').join(', ')}) and n.id <> t.id
         ${key.parkOnly === undefined ? '' : `and ${key.parkOnly}`}
         and (exists (select 1 from p_${entity} own where own.id = t.id) or exists (select 1 from g_${entity} g where g.id = t.id))`,
    );
  }
}

const now = `now() at time zone 'utc'`;

async function writeEntity(trx: Db, spec: MirrorSpec, range?: { from: number; to: number }): Promise<void> {
  const { entity, table, owned, assign, onInsert, stamps } = spec;
  const bounds = range === undefined ? '' : ` and p.n between ${range.from} and ${range.to}`;
  const updated = await execute(
    trx,
    `update ${table} t set ${[...owned.map((c) => `${c} = ${assign?.[c] ?? `p.${c}`}`), ...stamps.change.map((c) => `${c} = ${now}`)].join(', ')}
     from p_${entity} p where p.op = 'u' and t.id = p.id${bounds}`,
  );
  const columns = ['id', ...owned, ...onInsert.map(([c]) => c), ...stamps.create, ...stamps.change];
  const values = [
    'p.id',
    ...owned.map((c) => `p.${c}`),
    ...onInsert.map(([, e]) => e),
    ...stamps.create.map(() => now),
    ...stamps.change.map(() => now),
  ];
  await execute(
    trx,
    `insert into ${table} (${columns.join(', ')}) select ${values.join(', ')} from p_${entity} p where p.op = 'c'${bounds} order by p.id`,
  );
  if (range !== undefined) return;
  const [planned] = await query<{ n: number }>(trx, `select count(*)::int as n from p_${entity} where op = 'u'`);
  // A row that vanished since the plan was made: plan again.
  if (updated !== (planned?.n ?? 0)) {
    throw Object.assign(new Error(`a row of ${table} vanished while it was being written`), {
      code: SQLSTATE.serializationFailure,
    });
  }
}

/** Halves the key range until the refused rows stand alone: about 2·log2 n statements for each. */
async function findOffenders(trx: Db, spec: MirrorSpec): Promise<Exclusion[]> {
  const { entity } = spec;
  const [size] = await query<{ n: number }>(trx, `select coalesce(max(n), 0)::int as n from p_${entity}`);
  const offenders: Exclusion[] = [];
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
          `select p.panel_id as "panelId" from p_${entity} p where p.n = ${from}`,
        );
        if (row !== undefined) {
          offenders.push({
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
  // None alone is to blame (a pair is): the first half of it must do, or the run would never end.
  if (offenders.length === 0) throw new AppError('INTERNAL_ERROR', { meta: { entity } });
  return offenders;
}

/** A servers sync on its own moves the links of allocations that are known already. */
async function linkServers(trx: Db, entities: readonly Entity[]): Promise<void> {
  if (!entities.includes('servers') || entities.includes('allocations')) return;
  await execute(
    trx,
    `update allocations t set "serverId" = w.server, "updatedAt" = ${now} from (
       select a.id, l.server from allocations a join nodes n on n.id = a."nodeId" and n."panelType" = 'pterodactyl' left join link_map l on l.id = a.id
       where l.server is not null or a."serverId" in (select r.id from read_links r) or a."serverId" in (select g.id from g_servers g)
     ) w where w.id = t.id and t."serverId" is distinct from w.server`,
  );
}

/** Children before parents. */
export async function prunePlan(trx: Db, entities: readonly Entity[], counts: SyncCounts): Promise<void> {
  for (const entity of ENTITIES.toReversed()) {
    if (entity === 'users' || !entities.includes(entity) || (counts[entity]?.pruned ?? 0) === 0) continue;
    await execute(trx, `delete from ${MIRROR[entity].table} t using g_${entity} g where t.id = g.id`);
  }
}

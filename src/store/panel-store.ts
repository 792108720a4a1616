/**
 * The apply: the whole change of a sync in one transaction, from the stage to the mirror. Only rows that differ are
 * written or locked; what is gone is pruned in the same transaction; a preview stops before the first write.
 */
import type { Knex } from 'knex';
import { AppError, isAppError } from '../domain/errors.ts';
import { ENTITIES, type Entity, type EntityCounts, type SyncCounts, type SyncWarning } from '../domain/sync.ts';
import { goneSubusers, planGone } from './apply-gone.ts';
import { type ApplyScope, type Exclusion, expandStage, planAll } from './apply-plan.ts';
import { type Db, isConnectionFailure, rows, sqlState } from './db.ts';
import { MIRROR, type MirrorSpec } from './mirror.ts';

export interface ApplyInput extends ApplyScope {
  /** Workflow run id and number of the apply: the same key again returns the stored outcome. */
  key: string;
  dryRun: boolean;
  /** Lifts the brake on mass prunes (never the refusal of an empty listing). */
  allowMassPrune: boolean;
}

export interface ApplyOutcome {
  status: 'applied' | 'cancelled';
  counts: SyncCounts;
  warnings: SyncWarning[];
}

export interface ApplyHooks {
  signal?: AbortSignal;
  /** Called once the plan stands, with the rows it is going to write and delete. */
  onPlan?: (changes: number) => Promise<void>;
}

/** Thrown inside the transaction to roll it back with an answer. */
class Rollback extends Error {
  readonly outcome: ApplyOutcome;
  readonly failures: Exclusion[];
  constructor(outcome: ApplyOutcome, failures: Exclusion[]) {
    super('rolled back');
    this.outcome = outcome;
    this.failures = failures;
  }
}
/** The database refused single rows for reasons of its own: plan again without them. */
class Refused extends Error {
  readonly offenders: Exclusion[];
  constructor(offenders: Exclusion[]) {
    super('rows were refused');
    this.offenders = offenders;
  }
}

/** Times the transaction is tried again at once when a concurrent writer got in the way. */
const IMMEDIATE_RETRIES = 3;
/** Applies exclude each other over all workers; the number has no meaning but to be ours. */
const APPLY_LOCK = 7_305_110_001;
const transient = (state: string | undefined) => state !== undefined && ['40001', '40P01', '55P03'].includes(state);
const constraint = (state: string | undefined) =>
  state !== undefined && (state.startsWith('23') || state.startsWith('22'));

/**
 * Applies what a run staged.
 * @throws {AppError} RUN_CLOSED when the row is not RUNNING any more; driver errors when PostgreSQL is away.
 */
export async function applyRun(db: Knex, input: ApplyInput, hooks: ApplyHooks = {}): Promise<ApplyOutcome> {
  let exclusions: Exclusion[] = [];
  let retries = 0;
  let bisect = false;
  for (;;) {
    try {
      return await applyOnce(db, input, hooks, exclusions, bisect);
    } catch (error) {
      if (error instanceof Refused) {
        exclusions = [...exclusions, ...error.offenders];
        continue;
      }
      const state = sqlState(error);
      // 23505 and 23503 may come from a concurrent writer: look again before blaming a row.
      const concurrent = transient(state) || state === '23505' || state === '23503';
      if (concurrent && retries < IMMEDIATE_RETRIES) {
        retries += 1;
        continue;
      }
      if (constraint(state) && !bisect) {
        bisect = true;
        continue;
      }
      throw error;
    }
  }
}

async function applyOnce(
  db: Knex,
  input: ApplyInput,
  hooks: ApplyHooks,
  exclusions: readonly Exclusion[],
  bisect: boolean,
): Promise<ApplyOutcome> {
  hooks.signal?.throwIfAborted();
  let onAbort: (() => void) | undefined;
  try {
    return await db.transaction(async (trx) => {
      // A paused worker must not hold these locks for ever, nor closeRun behind them.
      await trx.raw(
        `set local lock_timeout = '30s'; set local statement_timeout = '10min'; set local idle_in_transaction_session_timeout = '15s';
         set local work_mem = '64MB'`,
      );
      const [backend] = await rows<{ pid: number }>(trx, `select pg_backend_pid() as pid`);
      onAbort = () => {
        db.raw('select pg_cancel_backend(?)', [backend?.pid ?? 0]).catch(() => undefined);
      };
      hooks.signal?.addEventListener('abort', onAbort, { once: true });
      hooks.signal?.throwIfAborted();
      await trx.raw(`select pg_advisory_xact_lock(${APPLY_LOCK})`);
      const stored = await fence(trx, input);
      if (stored !== undefined) return stored;

      await expandStage(trx, input);
      const warnings = await planGone(trx, input, input.allowMassPrune);
      await planAll(trx, input, exclusions, async () => {
        warnings.push(...(await goneSubusers(trx, input, input.allowMassPrune)));
      });
      await recordRejects(trx, input);
      const counts = await countPlan(trx, input.entities);
      const changes = Object.values(counts).reduce((n, c) => n + c.created + c.updated + c.pruned, 0);
      if (input.dryRun) {
        // Belt and braces: from here on a mirror write would fail.
        await trx.raw('set local transaction_read_only = on');
        throw new Rollback({ status: 'applied', counts, warnings }, await asideRows(trx));
      }
      await hooks.onPlan?.(changes);
      await writePlan(trx, input, warnings, bisect);
      await prunePlan(trx, input.entities);
      const [late] = await rows<{ cancelled: boolean }>(
        trx,
        `select "cancelledAt" is not null as cancelled from sync_logs where id = ? for update`,
        [input.logId],
      );
      if (late?.cancelled === true) throw new Rollback({ status: 'cancelled', counts: {}, warnings: [] }, []);
      await trx.raw(
        `insert into sync_failures (log_id, entity, panel_id, code, detail) select ?, a.entity, a.panel_id, a.code, a.detail from aside a on conflict do nothing`,
        [input.logId],
      );
      const outcome: ApplyOutcome = { status: 'applied', counts, warnings };
      await storeOutcome(trx, input, outcome);
      return outcome;
    });
  } catch (error) {
    if (error instanceof Rollback) {
      if (error.outcome.status === 'applied') await storePreview(db, input, error.outcome, error.failures);
      return error.outcome;
    }
    hooks.signal?.throwIfAborted();
    throw error;
  } finally {
    if (onAbort !== undefined) hooks.signal?.removeEventListener('abort', onAbort);
  }
}

/** The row must be RUNNING; an outcome stored under this key is returned instead of applying twice. */
async function fence(trx: Db, input: ApplyInput): Promise<ApplyOutcome | undefined> {
  const [row] = await rows<{ cancelled: boolean; appliedKey: string | null; applied: ApplyOutcome | null }>(
    trx,
    `select l."cancelledAt" is not null as cancelled, r.applied_key as "appliedKey", r.applied
     from sync_logs l left join sync_runs r on r.log_id = l.id where l.id = ? and l.status = 'RUNNING' for key share of l`,
    [input.logId],
  );
  if (row === undefined) throw new AppError('RUN_CLOSED');
  if (row.appliedKey === input.key && row.applied !== null) return row.applied;
  return row.cancelled ? { status: 'cancelled', counts: {}, warnings: [] } : undefined;
}

async function storeOutcome(trx: Db, input: ApplyInput, outcome: ApplyOutcome): Promise<void> {
  await trx.raw(`update sync_runs set applied_key = ?, applied = ?::jsonb where log_id = ?`, [
    input.key,
    JSON.stringify(outcome),
    input.logId,
  ]);
}

/** A preview leaves nothing but its own log: counts and the records it would set aside. */
async function storePreview(db: Knex, input: ApplyInput, outcome: ApplyOutcome, failures: Exclusion[]): Promise<void> {
  await db.transaction(async (trx) => {
    const stored = await fence(trx, input);
    if (stored !== undefined) return;
    await trx.raw(
      `insert into sync_failures (log_id, entity, panel_id, code, detail)
       select ?, x.entity, x."panelId", x.code, x.detail from json_to_recordset(?::json) as x (entity text, "panelId" text, code text, detail text) on conflict do nothing`,
      [input.logId, JSON.stringify(failures)],
    );
    await storeOutcome(trx, input, outcome);
  });
}

const asideRows = (trx: Db) =>
  rows<Exclusion>(trx, `select a.entity, a.panel_id as "panelId", a.code, a.detail from aside a`);

/** What the mapping could not read stands beside what the plan set aside. */
async function recordRejects(trx: Db, input: ApplyInput): Promise<void> {
  await trx.raw(
    `insert into aside select r.entity, r.id::text, r.code, r.detail from rejected r where r.entity = any(?::text[]) on conflict do nothing`,
    [[...input.entities]],
  );
}

async function countPlan(trx: Db, entities: readonly Entity[]): Promise<SyncCounts> {
  const counted = await rows<EntityCounts & { entity: Entity }>(
    trx,
    ENTITIES.filter((e) => entities.includes(e))
      .map(
        (
          e,
        ) => `select '${e}' as entity, (select count(*) from p_${e} where op = 'c')::int as created, (select count(*) from p_${e} where op = 'u')::int as updated,
          (select count(*) from f_${e} f where not f.aside)::int - (select count(*) from p_${e})::int as unchanged,
          (select count(*) from g_${e})::int as pruned, (select count(*) from aside a where a.entity = '${e}')::int as failed`,
      )
      .join(' union all '),
  );
  const counts: SyncCounts = {};
  for (const { entity, ...numbers } of counted) counts[entity] = numbers;
  return counts;
}

/** Frees values that change hands, then updates and inserts, parents before children. */
async function writePlan(
  trx: Knex.Transaction,
  input: ApplyInput,
  warnings: SyncWarning[],
  bisect: boolean,
): Promise<void> {
  for (const entity of ENTITIES) {
    if (!input.entities.includes(entity)) continue;
    await parkValues(trx, MIRROR[entity]);
  }
  for (const entity of ENTITIES) {
    if (entity === 'allocations') await linkServers(trx, input);
    if (!input.entities.includes(entity)) continue;
    // Subusers and databases never cost the run: their failure is a warning.
    const optional = entity === 'databases' || entity === 'subusers';
    if (!optional && !bisect) {
      await writeEntity(trx, MIRROR[entity]);
      continue;
    }
    await trx.raw(`savepoint entity_${entity}`);
    try {
      await writeEntity(trx, MIRROR[entity]);
    } catch (error) {
      const state = sqlState(error);
      if (isConnectionFailure(error) || state === '57014' || (!bisect && (transient(state) || constraint(state))))
        throw error;
      await trx.raw(`rollback to savepoint entity_${entity}`);
      if (constraint(state)) throw new Refused(await findOffenders(trx, MIRROR[entity]));
      if (!optional) throw error;
      warnings.push({
        code: 'WRITE_FAILED',
        entity,
        message: `${entity} could not be written (SQLSTATE ${state ?? 'unknown'})`,
      });
    }
  }
}

async function parkValues(trx: Db, spec: MirrorSpec): Promise<void> {
  for (const key of spec.unique) {
    if (key.park === undefined) continue;
    const { entity, table } = spec;
    await trx.raw(
      `update ${table} t set ${key.park} from p_${entity} n
       where (${key.columns('n').join(', ')}) = (${key.columns('t').join(', ')}) and n.id <> t.id
         and (exists (select 1 from p_${entity} own where own.id = t.id) or exists (select 1 from g_${entity} g where g.id = t.id))`,
    );
  }
}

const now = `now() at time zone 'utc'`;

async function writeEntity(trx: Db, spec: MirrorSpec, range?: { from: number; to: number }): Promise<void> {
  const { entity, table, owned, onInsert, stamps } = spec;
  const bounds = range === undefined ? '' : ` and p.n between ${range.from} and ${range.to}`;
  const updated = await trx.raw(
    `update ${table} t set ${[...owned.map((c) => `${c} = p.${c}`), ...stamps.change.map((c) => `${c} = ${now}`)].join(', ')}
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
  await trx.raw(
    `insert into ${table} (${columns.join(', ')}) select ${values.join(', ')} from p_${entity} p where p.op = 'c'${bounds} order by p.id`,
  );
  if (range !== undefined) return;
  const [planned] = await rows<{ n: number }>(trx, `select count(*)::int as n from p_${entity} where op = 'u'`);
  // A row that vanished since the plan was made: plan again.
  if ((updated as { rowCount: number }).rowCount !== (planned?.n ?? 0)) {
    throw Object.assign(new Error(`a row of ${table} vanished while it was being written`), { code: '40001' });
  }
}

/** Halves the key range until the refused rows stand alone: about 2·log2 n statements for each. */
async function findOffenders(trx: Db, spec: MirrorSpec): Promise<Exclusion[]> {
  const { entity } = spec;
  const [size] = await rows<{ n: number }>(trx, `select coalesce(max(n), 0)::int as n from p_${entity}`);
  const offenders: Exclusion[] = [];
  const search = async (from: number, to: number): Promise<void> => {
    if (from > to) return;
    await trx.raw('savepoint half');
    try {
      await writeEntity(trx, spec, { from, to });
      await trx.raw('release savepoint half');
      return;
    } catch (error) {
      const state = sqlState(error);
      if (!constraint(state)) throw error;
      await trx.raw('rollback to savepoint half');
      if (from === to) {
        const [row] = await rows<{ panelId: string }>(
          trx,
          `select p.panel_id as "panelId" from p_${entity} p where p.n = ${from}`,
        );
        if (row !== undefined) {
          offenders.push({
            entity,
            panelId: row.panelId,
            code: 'DB_REFUSED',
            detail: `the database refused the row (SQLSTATE ${state})`,
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
async function linkServers(trx: Db, input: ApplyInput): Promise<void> {
  if (!input.entities.includes('servers') || input.entities.includes('allocations')) return;
  await trx.raw(
    `update allocations t set "serverId" = w.server, "updatedAt" = ${now} from (
       select a.id, l.server from allocations a join nodes n on n.id = a."nodeId" and n."panelType" = 'pterodactyl' left join link_map l on l.id = a.id
       where l.server is not null or a."serverId" in (select r.id from read_links r) or a."serverId" in (select g.id from g_servers g)
     ) w where w.id = t.id and t."serverId" is distinct from w.server`,
  );
}

/** Children before parents. */
async function prunePlan(trx: Db, entities: readonly Entity[]): Promise<void> {
  for (const entity of ENTITIES.toReversed()) {
    if (entity === 'users' || !entities.includes(entity)) continue;
    await trx.raw(`delete from ${MIRROR[entity].table} t using g_${entity} g where t.id = g.id`);
  }
}

/** An apply that was called off by its worker's cancel or shutdown. */
export const isAbort = (error: unknown): boolean =>
  !isAppError(error) && error instanceof Error && error.name === 'AbortError';

/** Panel ids (and uuids) of mirrored rows that a complete source does not contain: whom to ask about. */
export async function goneCandidates(
  db: Db,
  query: {
    logId: string;
    entity: 'servers' | 'nodes' | 'locations' | 'nests';
    source: string;
    pass: number;
    after: number;
    limit: number;
  },
): Promise<{ id: number; uuid: string | null }[]> {
  const { entity } = query;
  const id = entity === 'servers' ? `t."pterodactylId"` : 't.id';
  const key = entity === 'servers' ? 'pid' : 'id';
  return rows(
    db,
    `with staged as (
       select x.${key} as id from sync_pages p, json_to_recordset(p.body) as x (${key} int)
       where p.log_id = ? and p.source = ? and p.pass = ? and p.entity = ?
       union all select r.id from sync_pages p, json_to_recordset(p.rejects) as r (entity text, id int)
       where p.log_id = ? and p.source = ? and p.pass = ? and r.entity = ?
     )
     select ${id} as id, ${entity === 'locations' ? 'null::text' : 't.uuid'} as uuid from ${MIRROR[entity].table} t
     where ${MIRROR[entity].mine} and ${id} > ? and not exists (select 1 from staged s where s.id = ${id}) order by ${id} limit ?`,
    [
      query.logId,
      query.source,
      query.pass,
      entity,
      query.logId,
      query.source,
      query.pass,
      entity,
      query.after,
      query.limit,
    ],
  );
}

/** Rows of an entity that are the panel's, and how many of them the stage lacks: would the brake let the prune through? */
export async function countGone(
  db: Db,
  query: { logId: string; entity: 'servers' | 'nodes' | 'locations' | 'nests'; source: string; pass: number },
): Promise<{ gone: number; present: number }> {
  const [present] = await rows<{ n: number }>(
    db,
    `select count(*)::int as n from ${MIRROR[query.entity].table} t where ${MIRROR[query.entity].mine}`,
  );
  const gone = await goneCandidates(db, { ...query, after: 0, limit: 1_000_000 });
  return { gone: gone.length, present: present?.n ?? 0 };
}

/**
 * The apply: the whole change of a sync in one transaction, from the stage to the mirror. Only rows that differ are
 * written or locked; what is gone is pruned in the same transaction; a preview stops before the first write.
 */
import { AppError } from '../../../domain/errors.ts';
import {
  ENTITIES,
  type Entity,
  type EntityCounts,
  type SyncCounts,
  type SyncWarning,
} from '../../../domain/sync/targets.ts';
import { type Db, inTransaction } from '../../db/db.ts';
import { execute, query } from '../../db/query.ts';
import { isConcurrencyFailure, isForeignKeyViolation, isRowRefused, isUniqueViolation } from '../../db/sql-errors.ts';
import { goneSubusers, keepParents, planGone } from './deletions.ts';
import { type ApplyScope, type Exclusion, expandStage, planAll } from './match.ts';
import { prunePlan, Refused, writePlan } from './write.ts';

export { countGone, goneCandidates } from './deletions.ts';

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

/** Times the transaction is tried again at once when a concurrent writer got in the way. */
const IMMEDIATE_RETRIES = 3;
/** Pause between two tries to cancel the running statement of an apply that was called off. */
const CANCEL_INTERVAL_MS = 250;
/** Applies exclude each other over all workers; the number has no meaning but to be ours. */
const APPLY_LOCK = 7_305_110_001;
/**
 * Applies what a run staged.
 * @throws {AppError} RUN_CLOSED when the row is not RUNNING any more; driver errors when PostgreSQL is away.
 */
export async function applyRun(db: Db, input: ApplyInput, hooks: ApplyHooks = {}): Promise<ApplyOutcome> {
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
      // A violated key may come from a concurrent writer: look again before a row is blamed.
      const concurrent = isConcurrencyFailure(error) || isUniqueViolation(error) || isForeignKeyViolation(error);
      if (concurrent && retries < IMMEDIATE_RETRIES) {
        retries += 1;
        continue;
      }
      if (isRowRefused(error) && !bisect) {
        bisect = true;
        continue;
      }
      throw error;
    }
  }
}

async function applyOnce(
  db: Db,
  input: ApplyInput,
  hooks: ApplyHooks,
  exclusions: readonly Exclusion[],
  bisect: boolean,
): Promise<ApplyOutcome> {
  hooks.signal?.throwIfAborted();
  let onAbort: (() => void) | undefined;
  let cancelling: NodeJS.Timeout | undefined;
  try {
    return await inTransaction(db, async (trx) => {
      // A paused worker must not hold these locks for ever, nor closeRun behind them.
      await execute(
        trx,
        `set local lock_timeout = '30s'; set local statement_timeout = '10min'; set local idle_in_transaction_session_timeout = '15s';
         set local work_mem = '64MB'; set local jit = off`,
      );
      const [backend] = await query<{ pid: number; started: string }>(
        trx,
        `select pg_backend_pid() as pid, now()::text as started`,
      );
      // A cancel that lands between two statements is lost, so it is repeated; the start of the transaction keeps it from
      // hitting the connection's next one.
      const cancelBackend = () => {
        execute(
          db,
          'select pg_cancel_backend(a.pid) from pg_stat_activity a where a.pid = ? and a.xact_start = ?::timestamptz',
          [backend?.pid ?? 0, backend?.started ?? 'epoch'],
        ).catch(() => undefined);
      };
      onAbort = () => {
        cancelBackend();
        cancelling ??= setInterval(cancelBackend, CANCEL_INTERVAL_MS);
      };
      hooks.signal?.addEventListener('abort', onAbort, { once: true });
      hooks.signal?.throwIfAborted();
      await execute(trx, `select pg_advisory_xact_lock(${APPLY_LOCK})`);
      const stored = await fence(trx, input);
      if (stored !== undefined) return stored;

      const unreadable = await expandStage(trx, input);
      const warnings = await planGone(trx, input, input.allowMassPrune, unreadable);
      await planAll(trx, input, exclusions);
      if (input.entities.includes('subusers')) warnings.push(...(await goneSubusers(trx, input, input.allowMassPrune)));
      await keepParents(trx, input);
      await recordRejects(trx, input);
      const counts = await countPlan(trx, input.entities);
      const changes = Object.values(counts).reduce((n, c) => n + c.created + c.updated + c.pruned, 0);
      if (input.dryRun) {
        // Belt and braces: from here on a mirror write would fail.
        await execute(trx, 'set local transaction_read_only = on');
        throw new Rollback({ status: 'applied', counts, warnings }, await asideRows(trx));
      }
      await hooks.onPlan?.(changes);
      await writePlan(trx, { entities: input.entities, counts, warnings, bisect, signal: hooks.signal });
      await prunePlan(trx, input.entities, counts);
      const [late] = await query<{ cancelled: boolean }>(
        trx,
        `select "cancelledAt" is not null as cancelled from sync_logs where id = ? for update`,
        [input.logId],
      );
      if (late?.cancelled === true) throw new Rollback({ status: 'cancelled', counts: {}, warnings: [] }, []);
      await execute(
        trx,
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
    clearInterval(cancelling);
    if (onAbort !== undefined) hooks.signal?.removeEventListener('abort', onAbort);
  }
}

/** The row must be RUNNING; an outcome stored under this key is returned instead of applying twice. */
async function fence(trx: Db, input: ApplyInput): Promise<ApplyOutcome | undefined> {
  const [row] = await query<{ cancelled: boolean; appliedKey: string | null; applied: ApplyOutcome | null }>(
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
  await execute(trx, `update sync_runs set applied_key = ?, applied = ?::jsonb where log_id = ?`, [
    input.key,
    JSON.stringify(outcome),
    input.logId,
  ]);
}

/** A preview leaves nothing but its own log: counts and the records it would set aside. */
async function storePreview(db: Db, input: ApplyInput, outcome: ApplyOutcome, failures: Exclusion[]): Promise<void> {
  await inTransaction(db, async (trx) => {
    const stored = await fence(trx, input);
    if (stored !== undefined) return;
    await execute(
      trx,
      `insert into sync_failures (log_id, entity, panel_id, code, detail)
       select ?, x.entity, x."panelId", x.code, x.detail from json_to_recordset(?::json) as x (entity text, "panelId" text, code text, detail text) on conflict do nothing`,
      [input.logId, JSON.stringify(failures)],
    );
    await storeOutcome(trx, input, outcome);
  });
}

const asideRows = (trx: Db) =>
  query<Exclusion>(trx, `select a.entity, a.panel_id as "panelId", a.code, a.detail from aside a`);

/** What the mapping could not read stands beside what the plan set aside. */
async function recordRejects(trx: Db, input: ApplyInput): Promise<void> {
  await execute(
    trx,
    `insert into aside select r.entity, r.id::text, r.code, r.detail from rejected r where r.entity = any(?::text[]) 
       union all select distinct p.entity, 'unknown', 'INVALID_RECORD', 'id: cannot be read' from stage p
         where p.unreadable > 0 and p.entity = any(?::text[])
     on conflict do nothing`,
    [[...input.entities], [...input.entities]],
  );
}

async function countPlan(trx: Db, entities: readonly Entity[]): Promise<SyncCounts> {
  const counted = await query<EntityCounts & { entity: Entity }>(
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

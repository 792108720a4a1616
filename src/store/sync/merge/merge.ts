/**
 * The merge (ADR 1): the whole change of a sync in one transaction, from the staged pages to the mirror. Only rows that
 * differ are written or locked; rows that are gone are deleted in the same transaction; a preview stops before the first
 * write.
 */
import { AppError } from '../../../domain/errors.ts';
import {
  ENTITIES,
  type Entity,
  type EntityCounts,
  type SyncCounts,
  type SyncWarning,
} from '../../../domain/sync/targets.ts';
import { type Db, inTransaction, type Transaction } from '../../db/db.ts';
import { execute, query } from '../../db/query.ts';
import { isConcurrencyFailure, isForeignKeyViolation, isRowRefused, isUniqueViolation } from '../../db/sql-errors.ts';
import { storeAddressMatches, warnOfMoves } from './address-matches.ts';
import { planChanges, usersAreComplete } from './changes.ts';
import { keepParents, planDeletions, planSubuserDeletions } from './deletions.ts';
import { emitServerEvents, planServerEvents } from './events.ts';
import { expandStaging, type MergeScope, type RejectedRow } from './match.ts';
import { deleteRows, moveOwnerRows, RowsRefused, writeChanges } from './write.ts';

export interface MergeInput extends MergeScope {
  /** Workflow run id and number of the merge: the same key again returns the stored outcome. */
  key: string;
  dryRun: boolean;
  /** Lets large deletions pass the prune guard (never the deletion of all rows for an empty listing). */
  allowMassPrune: boolean;
}

export interface MergeOutcome {
  status: 'merged' | 'cancelled';
  counts: SyncCounts;
  warnings: SyncWarning[];
}

export interface MergeHooks {
  signal?: AbortSignal;
  /** Called once the plan is made, with the number of rows that it writes and deletes. */
  onPlan?: (changes: number) => Promise<void>;
}

/** Thrown inside the transaction, to roll it back and still return an outcome. */
class Rollback extends Error {
  readonly outcome: MergeOutcome;
  readonly rejected: RejectedRow[];
  constructor(outcome: MergeOutcome, rejected: RejectedRow[]) {
    super('rolled back');
    this.outcome = outcome;
    this.rejected = rejected;
  }
}

/** Times that the transaction is repeated at once after a conflict with a concurrent writer. */
const IMMEDIATE_RETRIES = 3;
/** Pause between two attempts to cancel the running statement of an aborted merge. */
const CANCEL_INTERVAL_MS = 250;
/** Key of the advisory lock by which merges exclude each other over all workers; an arbitrary number. */
const MERGE_LOCK = 7_305_110_001;

/**
 * Merges what a run staged.
 * @throws {AppError} RUN_CLOSED when the row is not RUNNING any more; driver errors when PostgreSQL is away.
 */
export async function mergeRun(db: Db, input: MergeInput, hooks: MergeHooks = {}): Promise<MergeOutcome> {
  let refused: RejectedRow[] = [];
  let retries = 0;
  let bisect = false;
  for (;;) {
    try {
      return await mergeOnce(db, input, hooks, refused, bisect);
    } catch (error) {
      if (error instanceof RowsRefused) {
        refused = [...refused, ...error.rows];
        continue;
      }
      // A violated key may come from a concurrent writer: repeat before a row is blamed.
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

async function mergeOnce(
  db: Db,
  input: MergeInput,
  hooks: MergeHooks,
  refused: readonly RejectedRow[],
  bisect: boolean,
): Promise<MergeOutcome> {
  hooks.signal?.throwIfAborted();
  let stopListening = () => {};
  try {
    return await inTransaction(db, async (trx) => {
      // A paused worker must not keep these locks for ever, and with them closeRun, which waits for them.
      await execute(
        trx,
        `set local lock_timeout = '30s'; set local statement_timeout = '10min'; set local idle_in_transaction_session_timeout = '15s';
         set local work_mem = '64MB'; set local jit = off`,
      );
      stopListening = await cancelOnAbort(db, trx, hooks.signal);
      hooks.signal?.throwIfAborted();
      await execute(trx, `select pg_advisory_xact_lock(${MERGE_LOCK})`);
      const stored = await fence(trx, input);
      if (stored !== undefined) return stored;

      const { counts, warnings } = await plan(trx, input, refused);
      if (input.dryRun) {
        // A second safety: from here on PostgreSQL refuses a write to the mirror.
        await execute(trx, 'set local transaction_read_only = on');
        throw new Rollback({ status: 'merged', counts, warnings }, await rejectedRows(trx));
      }
      await hooks.onPlan?.(Object.values(counts).reduce((n, c) => n + c.created + c.updated + c.pruned, 0));
      const withEvents = input.entities.includes('servers') && serversChange(counts) && (await planServerEvents(trx));
      await writeChanges(trx, { entities: input.entities, counts, warnings, bisect, signal: hooks.signal });
      await deleteRows(trx, input.entities, counts);
      if (input.entities.includes('users')) await storeAddressMatches(trx, usersAreComplete(input));
      if (input.entities.includes('servers') && !input.entities.includes('subusers')) await moveOwnerRows(trx);
      if (await isCancelled(trx, input.logId))
        throw new Rollback({ status: 'cancelled', counts: {}, warnings: [] }, []);
      await execute(
        trx,
        `insert into sync_failures (log_id, entity, panel_id, code, detail) select ?, r.entity, r.panel_id, r.code, r.detail from rejected_records r on conflict do nothing`,
        [input.logId],
      );
      const outcome: MergeOutcome = { status: 'merged', counts, warnings };
      await storeOutcome(trx, input, outcome);
      // Last: the outbox wakes the relay at the commit.
      if (withEvents) await emitServerEvents(trx, input.key);
      return outcome;
    });
  } catch (error) {
    if (error instanceof Rollback) {
      if (error.outcome.status === 'merged') await storePreview(db, input, error.outcome, error.rejected);
      return error.outcome;
    }
    hooks.signal?.throwIfAborted();
    throw error;
  } finally {
    stopListening();
  }
}

const serversChange = ({ servers }: SyncCounts): boolean =>
  servers !== undefined && servers.created + servers.updated + servers.pruned > 0;

/** Cancels the transaction's running statement when the signal aborts. @returns a function that ends this. */
async function cancelOnAbort(db: Db, trx: Transaction, signal: AbortSignal | undefined): Promise<() => void> {
  const [backend] = await query<{ backendPid: number; started: string }>(
    trx,
    `select pg_backend_pid() as "backendPid", now()::text as started`,
  );
  // A cancel that arrives between two statements is lost, so it is repeated; the start of the transaction keeps it from
  // hitting the connection's next one.
  const cancelBackend = () => {
    execute(
      db,
      'select pg_cancel_backend(a.pid) from pg_stat_activity a where a.pid = ? and a.xact_start = ?::timestamptz',
      [backend?.backendPid ?? 0, backend?.started ?? 'epoch'],
    ).catch(() => undefined);
  };
  let cancelling: NodeJS.Timeout | undefined;
  const onAbort = () => {
    cancelBackend();
    cancelling ??= setInterval(cancelBackend, CANCEL_INTERVAL_MS);
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  return () => {
    clearInterval(cancelling);
    signal?.removeEventListener('abort', onAbort);
  };
}

/** Makes the plan in temporary tables: what is deleted, created, updated and rejected. */
async function plan(
  trx: Transaction,
  input: MergeInput,
  refused: readonly RejectedRow[],
): Promise<{ counts: SyncCounts; warnings: SyncWarning[] }> {
  const withoutId = await expandStaging(trx, input);
  const warnings = await planDeletions(trx, input, input.allowMassPrune, withoutId);
  await planChanges(trx, input, refused);
  if (input.entities.includes('users')) warnings.push(...(await warnOfMoves(trx)));
  if (input.entities.includes('subusers'))
    warnings.push(...(await planSubuserDeletions(trx, input, input.allowMassPrune)));
  await keepParents(trx, input);
  await rejectUnmapped(trx, input);
  return { counts: await countPlan(trx, input.entities), warnings };
}

/** The fence: the row must be RUNNING. An outcome that is stored under this key is returned instead of merging twice. */
async function fence(trx: Db, input: MergeInput): Promise<MergeOutcome | undefined> {
  const [row] = await query<{ cancelled: boolean; appliedKey: string | null; applied: MergeOutcome | null }>(
    trx,
    `select l."cancelledAt" is not null as cancelled, r.applied_key as "appliedKey", r.applied
     from sync_logs l left join sync_runs r on r.log_id = l.id where l.id = ? and l.status = 'RUNNING' for key share of l`,
    [input.logId],
  );
  if (row === undefined) throw new AppError('RUN_CLOSED');
  if (row.appliedKey === input.key && row.applied !== null) return row.applied;
  return row.cancelled ? { status: 'cancelled', counts: {}, warnings: [] } : undefined;
}

/** Locks the row, so that no cancel can be marked between this look and the commit. */
async function isCancelled(trx: Db, logId: string): Promise<boolean> {
  const [row] = await query<{ cancelled: boolean }>(
    trx,
    `select "cancelledAt" is not null as cancelled from sync_logs where id = ? for update`,
    [logId],
  );
  return row?.cancelled === true;
}

async function storeOutcome(trx: Db, input: MergeInput, outcome: MergeOutcome): Promise<void> {
  await execute(trx, `update sync_runs set applied_key = ?, applied = ?::jsonb where log_id = ?`, [
    input.key,
    JSON.stringify(outcome),
    input.logId,
  ]);
}

/** A preview writes its own log only: counts and the records that it would reject. */
async function storePreview(db: Db, input: MergeInput, outcome: MergeOutcome, rejected: RejectedRow[]): Promise<void> {
  await inTransaction(db, async (trx) => {
    const stored = await fence(trx, input);
    if (stored !== undefined) return;
    await execute(
      trx,
      `insert into sync_failures (log_id, entity, panel_id, code, detail)
       select ?, x.entity, x."panelId", x.code, x.detail from json_to_recordset(?::json) as x (entity text, "panelId" text, code text, detail text) on conflict do nothing`,
      [input.logId, JSON.stringify(rejected)],
    );
    await storeOutcome(trx, input, outcome);
  });
}

const rejectedRows = (trx: Db) =>
  query<RejectedRow>(trx, `select r.entity, r.panel_id as "panelId", r.code, r.detail from rejected_records r`);

/** Adds the records that the mapping rejected to those that the plan rejected. */
async function rejectUnmapped(trx: Db, input: MergeInput): Promise<void> {
  await execute(
    trx,
    `insert into rejected_records select r.entity, case when r.id = 0 then r.server || '/unknown' else r.id::text end, r.code, r.detail from rejected_by_mapping r where r.entity = any(?::text[])
       union all select distinct p.entity, 'unknown', 'INVALID_RECORD', 'id: cannot be read' from staged_pages p
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
        ) => `select '${e}' as entity, (select count(*) from change_${e} where op = 'c')::int as created, (select count(*) from change_${e} where op = 'u')::int as updated,
          (select count(*) from target_${e} target where not target.rejected)::int - (select count(*) from change_${e})::int as unchanged,
          (select count(*) from deleted_${e})::int as pruned, (select count(*) from rejected_records r where r.entity = '${e}')::int as failed`,
      )
      .join(' union all '),
  );
  const counts: SyncCounts = {};
  for (const { entity, ...numbers } of counted) counts[entity] = numbers;
  return counts;
}

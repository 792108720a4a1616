/**
 * The merge (ADR 1): the whole change of a sync in one transaction, from the staged pages to the mirror. Only rows that
 * differ are written or locked; rows that are gone are deleted in the same transaction; a preview stops before the first
 * write.
 */
import { AppError } from '../../../domain/errors.ts';
import type { SyncCounts, SyncWarning } from '../../../domain/sync/targets.ts';
import { type Db, inTransaction, type Transaction } from '../../db/db.ts';
import { execute, query } from '../../db/query.ts';
import {
  isConcurrencyFailure,
  isForeignKeyViolation,
  isRowRefused,
  isUniqueViolation,
  sqlState,
} from '../../db/sql-errors.ts';
import { storeAddressMatches, warnOfMoves } from './address-matches.ts';
import { planChanges, usersAreComplete } from './changes.ts';
import { deleteRows } from './delete.ts';
import { keepParents, planDeletions } from './deletions.ts';
import { emitServerEvents, planServerEvents } from './events.ts';
import { fence, isCancelled } from './fence.ts';
import { checkIdentities } from './identity.ts';
import {
  countPlan,
  rejectedRows,
  rejectUnmapped,
  storeOutcome,
  storePreview,
  warnOfRejected,
  withUsersFirst,
} from './outcome.ts';
import type { MergeInput, MergeOutcome, RejectedRow } from './scope.ts';
import { expandStaging, refuseUnreadable } from './staged.ts';
import { planSubuserDeletions } from './subuser-deletions.ts';
import { needsUsersFirst, writeUsersFirst } from './users-first.ts';
import { moveOwnerRows, RowsRefused, writeChanges } from './write.ts';

export interface MergeHooks {
  signal?: AbortSignal;
  /** Called unless the outcome of this merge is stored already. What it throws ends the merge. */
  beforePlan?: () => void;
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

/** Thrown inside the transaction, to roll it back: the accounts of this plan are written first. */
class UsersFirst extends Error {
  readonly warnings: SyncWarning[];
  constructor(warnings: SyncWarning[]) {
    super('users are written first');
    this.warnings = warnings;
  }
}

/** Times that the transaction is repeated at once after a conflict with a concurrent writer. */
const IMMEDIATE_RETRIES = 3;
/** Pause between two attempts to cancel the running statement of an aborted merge. */
const CANCEL_INTERVAL_MS = 250;
/** Key of the advisory lock by which merges exclude each other over all workers; an arbitrary number. */
const MERGE_LOCK = 7_305_110_001;

/** What the attempts of one merge found out. */
interface Attempt {
  /** Records that the database refused. */
  refused: RejectedRow[];
  /** Search for the rows that the database refuses. */
  bisect: boolean;
  /** Warnings of the accounts that were written first; undefined: none was. */
  usersFirst: SyncWarning[] | undefined;
}

/**
 * Merges what a run staged.
 * @throws {AppError} RUN_CLOSED when the row is not RUNNING any more; PANEL_CONTRACT, PANEL_CHANGED when what was read is not
 * believed; DATABASE_REFUSED when the database lets nothing of a table pass; driver errors when PostgreSQL is away.
 */
export async function mergeRun(db: Db, input: MergeInput, hooks: MergeHooks = {}): Promise<MergeOutcome> {
  const attempt: Attempt = { refused: [], bisect: false, usersFirst: undefined };
  for (let retries = 0; ; ) {
    try {
      return await mergeOnce(db, input, hooks, attempt);
    } catch (error) {
      if (error instanceof UsersFirst) {
        attempt.usersFirst = error.warnings;
        if ((await usersFirst(db, input, hooks, attempt)) === 'cancelled') return CANCELLED;
        continue;
      }
      if (error instanceof RowsRefused) {
        attempt.refused = [...attempt.refused, ...error.rows];
        continue;
      }
      // A violated key may come from a concurrent writer: repeat before a row is blamed.
      const concurrent = isConcurrencyFailure(error) || isUniqueViolation(error) || isForeignKeyViolation(error);
      if (concurrent && retries < IMMEDIATE_RETRIES) {
        retries += 1;
        continue;
      }
      if (isRowRefused(error) && !attempt.bisect) {
        attempt.bisect = true;
        continue;
      }
      throw isRowRefused(error) || isVanished(error) ? refusedAsAWhole(error) : error;
    }
  }
}

const CANCELLED: MergeOutcome = { status: 'cancelled', counts: {}, warnings: [] };

/** Writes the accounts first. Where the database refuses one, it is searched for in the merge itself. */
async function usersFirst(
  db: Db,
  input: MergeInput,
  hooks: MergeHooks,
  { refused }: Attempt,
): Promise<'written' | 'cancelled'> {
  try {
    return await writeUsersFirst(db, input, refused, hooks.signal);
  } catch (error) {
    if (isRowRefused(error)) return 'written';
    throw error;
  }
}

const isVanished = (error: unknown): boolean => error instanceof Error && 'vanished' in error;

/** The failure of a merge that the database refuses again and again although no single row is to blame. */
const refusedAsAWhole = (error: unknown): AppError =>
  new AppError('DATABASE_REFUSED', {
    publicMessage: `The database refuses the changes of the sync (SQLSTATE ${sqlState(error) ?? 'unknown'}). Nothing was changed`,
    cause: error,
  });

async function mergeOnce(db: Db, input: MergeInput, hooks: MergeHooks, attempt: Attempt): Promise<MergeOutcome> {
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
      hooks.beforePlan?.();

      const { counts, warnings } = await plan(trx, input, attempt.refused);
      if (input.dryRun) {
        // A second safety: from here on PostgreSQL refuses a write to the mirror.
        await execute(trx, 'set local transaction_read_only = on');
        throw new Rollback({ status: 'merged', counts, warnings }, await rejectedRows(trx));
      }
      if (attempt.usersFirst === undefined && needsUsersFirst(counts))
        throw new UsersFirst(warnings.filter(({ entity }) => entity === 'users'));
      await withUsersFirst(trx, input, counts);
      addNew(warnings, attempt.usersFirst ?? []);
      await hooks.onPlan?.(Object.values(counts).reduce((n, c) => n + c.created + c.updated + c.pruned, 0));
      return await write(trx, input, { counts, warnings }, attempt.bisect, hooks.signal);
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

/** Adds the warnings that are not there yet. */
function addNew(warnings: SyncWarning[], more: readonly SyncWarning[]): void {
  const known = new Set(warnings.map(({ code, message }) => `${code} ${message}`));
  warnings.push(...more.filter(({ code, message }) => !known.has(`${code} ${message}`)));
}

/** Writes the plan and stores what it came to, for the commit. */
async function write(
  trx: Transaction,
  input: MergeInput,
  { counts, warnings }: { counts: SyncCounts; warnings: SyncWarning[] },
  bisect: boolean,
  signal: AbortSignal | undefined,
): Promise<MergeOutcome> {
  const withEvents = input.entities.includes('servers') && serversChange(counts) && (await planServerEvents(trx));
  await writeChanges(trx, { entities: input.entities, counts, warnings, bisect, signal });
  await deleteRows(trx, input.entities, counts, warnings);
  if (input.entities.includes('users')) await storeAddressMatches(trx, usersAreComplete(input));
  if (input.entities.includes('servers') && !input.entities.includes('subusers')) await moveOwnerRows(trx);
  // A key that is checked at the commit is checked here, where the search can still find the row.
  await execute(trx, 'set constraints all immediate');
  if (await isCancelled(trx, input.logId)) throw new Rollback(CANCELLED, []);
  const outcome: MergeOutcome = { status: 'merged', counts, warnings };
  await storeOutcome(trx, input, outcome, await rejectedRows(trx));
  // Last: the outbox wakes the relay at the commit.
  if (withEvents) await emitServerEvents(trx, input.key);
  return outcome;
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
  await refuseUnreadable(trx, input.entities);
  const warnings = await planDeletions(trx, input, input.allowMassPrune, withoutId);
  await planChanges(trx, input, refused);
  warnings.push(...(await checkIdentities(trx, input, input.allowMassPrune)));
  if (input.entities.includes('users')) warnings.push(...(await warnOfMoves(trx)));
  if (input.entities.includes('subusers'))
    warnings.push(...(await planSubuserDeletions(trx, input, input.allowMassPrune)));
  await keepParents(trx, input);
  await rejectUnmapped(trx, input.entities);
  warnings.push(...(await warnOfRejected(trx, input.entities)));
  return { counts: await countPlan(trx, input.entities), warnings };
}

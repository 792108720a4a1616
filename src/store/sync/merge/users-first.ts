/**
 * The changed accounts of a large merge are written before the rest, in short transactions of their own. A changed row stays
 * locked until the commit, and a sign-in that waits for it would end in an error. Users are never deleted, so they need not be
 * atomic with the rest; a run that is cancelled in between leaves accounts that already follow the panel.
 */
import type { SyncCounts } from '../../../domain/sync/targets.ts';
import { type Db, inSession, type Session, type Transaction } from '../../db/db.ts';
import { execute, query } from '../../db/query.ts';
import { storeWrittenMatches } from './address-matches.ts';
import { planChanges } from './changes.ts';
import { planDeletions } from './deletions.ts';
import { fence, isCancelled } from './fence.ts';
import type { MergeInput, RejectedRow } from './scope.ts';
import { expandStaging } from './staged.ts';
import { MIRROR } from './tables.ts';
import { releaseUniqueValues, UNLINK_USERS, updateRows } from './write.ts';

/** Accounts per transaction: they are written in about a tenth of a second. */
const BATCH = 1_000;
/** Changed rows up to which a merge is written at once: it takes well below a second. */
const SMALL_MERGE = 5_000;

/** Whether the accounts of a plan must not be written together with the rest. */
export function needsUsersFirst({ users, ...others }: SyncCounts): boolean {
  const updated = users?.updated ?? 0;
  if (updated === 0) return false;
  const rest = Object.values(others).reduce((n, c) => n + c.created + c.updated + c.pruned, users?.created ?? 0);
  return updated > BATCH || updated + rest > SMALL_MERGE;
}

/**
 * Writes the changed accounts. A repetition after a crash goes on with those that still differ.
 * @returns `cancelled` when the run is being cancelled: what was written before stays.
 * @throws {AppError} RUN_CLOSED when the row is not RUNNING any more; driver errors.
 */
export async function writeUsersFirst(
  db: Db,
  input: MergeInput,
  refused: readonly RejectedRow[],
  signal: AbortSignal | undefined,
): Promise<'written' | 'cancelled'> {
  return inSession(db, async (session) => {
    const numbers = await session((trx) => planUsers(trx, input, refused));
    const first = await step(session, input, (trx) => releaseAll(trx, input));
    if (first === 'cancelled') return first;
    for (let from = 1; from <= numbers; from += BATCH) {
      signal?.throwIfAborted();
      const bounds = ` and change.n between ${from} and ${from + BATCH - 1}`;
      const outcome = await step(session, input, async (trx) => {
        await count(trx, input, 'changed', await execute(trx, updateRows(MIRROR.users, bounds)));
        await storeWrittenMatches(trx, bounds);
      });
      if (outcome === 'cancelled') return outcome;
    }
    return 'written';
  });
}

/** Plans the users alone, and keeps the plan for the transactions that follow. @returns the highest number of a change. */
async function planUsers(trx: Transaction, input: MergeInput, refused: readonly RejectedRow[]): Promise<number> {
  await execute(trx, `set local statement_timeout = '10min'; set local work_mem = '64MB'; set local jit = off`);
  const scope = { ...input, entities: ['users'] as const };
  const withoutId = await expandStaging(trx, scope);
  await planDeletions(trx, scope, input.allowMassPrune, withoutId);
  await planChanges(trx, scope, refused);
  await execute(
    trx,
    `create temp table kept_changes as select * from change_users where op = 'u';
     create temp table kept_unlinked as select * from unlinked_users`,
  );
  // A repetition after a crash goes on counting.
  await execute(
    trx,
    `update sync_runs set users_first = jsonb_build_object('key', ?::text, 'changed', 0, 'unlinked', 0)
     where log_id = ? and users_first->>'key' is distinct from ?`,
    [input.key, input.logId, input.key],
  );
  const [planned] = await query<{ last: number }>(trx, 'select coalesce(max(n), 0)::int as last from kept_changes');
  return planned?.last ?? 0;
}

/** Counts accounts in the transaction that writes them. */
const count = (trx: Transaction, input: MergeInput, what: 'changed' | 'unlinked', n: number): Promise<number> =>
  execute(
    trx,
    `update sync_runs set users_first = users_first || jsonb_build_object(?::text, (users_first->>?::text)::int + ?::int) where log_id = ?`,
    [what, what, n, input.logId],
  );

/** Accounts that lose their panel user, and values that change hands; the kept plan gets the names that the statements use. */
async function releaseAll(trx: Transaction, input: MergeInput): Promise<void> {
  await execute(
    trx,
    `alter table kept_changes rename to change_users; alter table kept_unlinked rename to unlinked_users;
     create unique index on change_users (n); create index on change_users (id); analyze change_users;
     create temp table deleted_users as select id from users where false`,
  );
  await count(trx, input, 'unlinked', await execute(trx, UNLINK_USERS));
  await releaseUniqueValues(trx, MIRROR.users);
}

/** One short transaction. A cancel that was marked before its end undoes it. */
async function step(
  session: Session,
  input: MergeInput,
  work: (trx: Transaction) => Promise<void>,
): Promise<'written' | 'cancelled'> {
  try {
    return await session(async (trx) => {
      await execute(
        trx,
        `set local lock_timeout = '5s'; set local idle_in_transaction_session_timeout = '15s'; set local jit = off`,
      );
      if ((await fence(trx, input))?.status === 'cancelled') return 'cancelled';
      await work(trx);
      if (await isCancelled(trx, input.logId)) throw new Cancelled();
      return 'written';
    });
  } catch (error) {
    if (error instanceof Cancelled) return 'cancelled';
    throw error;
  }
}

/** Thrown inside a transaction, to roll it back. */
class Cancelled extends Error {}

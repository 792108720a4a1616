/**
 * How a migration waits for the locks of tables. A statement that waits for an exclusive lock blocks the table for
 * all: later readers queue behind it. So it waits briefly, gives way, and tries again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../domain/errors.ts';
import type { Db } from './db.ts';
import { query } from './query.ts';
import { isConcurrencyFailure } from './sql-errors.ts';

export interface LockPatience {
  /** Milliseconds that a statement waits for a lock. Longer than `deadlock_timeout` (1 s). */
  lockTimeoutMs: number;
  /** How often a migration is tried. */
  tries: number;
  /** Milliseconds between two tries, in which others get the table. */
  pauseMs: number;
}

/** About half a minute in all. */
export const LOCK_PATIENCE: LockPatience = { lockTimeoutMs: 2_500, tries: 8, pauseMs: 2_000 };

/** How often the holder of the lock is looked up, in milliseconds. */
const LOOK_EVERY_MS = 300;

/** A process that has what a migration waits for. Never its statement, which may hold values. */
interface Holder {
  pid: number;
  application: string | null;
  role: string | null;
  state: string | null;
  queryStart: Date | null;
  /** Tables that the migration waits for. */
  tables: string | null;
}

/** Who blocks the process `pid`; pid 0 is a prepared transaction. */
const findHolders = (db: Db, pid: number): Promise<Holder[]> =>
  query<Holder>(
    db,
    `select b.pid, nullif(a.application_name, '') as application, a.usename as role, a.state, a.query_start as "queryStart",
            (select string_agg(distinct l.relation::regclass::text, ', ') from pg_locks l
              where l.pid = ? and not l.granted and l.relation is not null) as tables
       from unnest(pg_blocking_pids(?)) b(pid) left join pg_stat_activity a on a.pid = b.pid
      group by 1, 2, 3, 4, 5 order by a.query_start nulls last`,
    [pid, pid],
  );

/** Looks again and again who blocks `pid`, on another connection, until it is stopped. */
function watchHolders(db: Db, pid: number): () => Promise<Holder[]> {
  let found: Holder[] = [];
  let looking: Promise<void> | undefined;
  const timer = setInterval(() => {
    looking ??= findHolders(db, pid)
      .then((holders) => {
        if (holders.length > 0) found = holders;
      })
      // A pool without a free connection, or a right that is missing: then no process is named.
      .catch(() => undefined)
      .finally(() => {
        looking = undefined;
      });
  }, LOOK_EVERY_MS);
  return async () => {
    clearInterval(timer);
    await looking;
    return found;
  };
}

/** Who holds the lock, in one sentence. */
function describeHolders(holders: readonly Holder[]): string {
  if (holders.length === 0) return 'another process holds a lock';
  const tables = holders.find((holder) => holder.tables !== null)?.tables;
  const named = holders.slice(0, 3).map(({ pid, application, role, state, queryStart }) => {
    if (pid === 0) return 'a prepared transaction';
    const details = [
      application ?? 'no application name',
      ...(role === null ? [] : [`role ${role}`]),
      ...(state === null ? [] : [state]),
      ...(queryStart === null ? [] : [`query began at ${queryStart.toISOString()}`]),
    ];
    return `process ${pid} (${details.join(', ')})`;
  });
  const more = holders.length > named.length ? ` and ${holders.length - named.length} more` : '';
  return `${tables === null || tables === undefined ? 'what it needs' : tables} is locked by ${named.join(', ')}${more}`;
}

/**
 * Tries `attempt` until no other process is in its way: a lock that was not free in time, a deadlock.
 * @param attempt receives a function that names its connection, so that its blockers can be looked up.
 * @throws {AppError} CONFLICT that names the holders, after the last try.
 */
export async function withPatience<T>(
  db: Db,
  patience: LockPatience,
  attempt: (named: (pid: number) => void) => Promise<T>,
  onWait?: (reason: string) => void,
): Promise<T> {
  for (let tried = 1; ; tried += 1) {
    let stop: (() => Promise<Holder[]>) | undefined;
    try {
      return await attempt((pid) => {
        stop = watchHolders(db, pid);
      });
    } catch (error) {
      if (!isConcurrencyFailure(error)) throw error;
      const reason = describeHolders((await stop?.()) ?? []);
      if (tried >= patience.tries) {
        throw new AppError('CONFLICT', {
          publicMessage:
            `${reason}. Tried ${tried} times, each for ${patience.lockTimeoutMs / 1000} s. ` +
            'Wait until it has ended, or end it (select pg_terminate_backend(pid)), and migrate again',
          cause: error,
        });
      }
      onWait?.(reason);
      await sleep(patience.pauseMs);
    } finally {
      await stop?.();
    }
  }
}

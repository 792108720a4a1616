/**
 * Which processes run on this database, and with which key. Every api and worker keeps one connection that listens; its
 * name, which PostgreSQL shows to everybody, carries the id of the process's key.
 */
import type { Db } from './db.ts';
import { query } from './query.ts';

/** Name of the connection on which a process listens. @param keyId id of its key; undefined: it has none. */
export const listenerName = (process: 'api' | 'worker', keyId: string | undefined): string =>
  `nodebyte-${process}-listen key=${keyId ?? 'none'}`;

export interface RunningProcess {
  process: 'api' | 'worker';
  /** Null: it has no key and stores clear text. */
  keyId: string | null;
  /** How many of them run. */
  count: number;
}

/** The processes that are connected now. Those of a release that does not name its key are not among them. */
export async function runningProcesses(db: Db): Promise<RunningProcess[]> {
  return query<RunningProcess>(
    db,
    `select m[1] as process, nullif(m[2], 'none') as "keyId", count(*)::int as count
       from pg_stat_activity a, regexp_match(a.application_name, '^nodebyte-(api|worker)-listen key=([0-9a-f]+|none)$') m
      where a.datname = current_database() and m is not null group by 1, 2 order by 1, 2`,
  );
}

/** What the live mirror decides by, and how old the mirror is: read from the log rows. */
import { DECIDING_RUNS, type MirrorRun, type MirrorState } from '../../domain/sync/live-mirror.ts';
import { ACTIVE_STATUSES, readStatus } from '../../domain/sync/targets.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

interface StoredMirrorState extends MirrorState {
  /** Seconds since the newest completed full sync with users began; null: there is none. */
  mirrorAge: number | null;
}

const activeList = ACTIVE_STATUSES.map((s) => `'${s}'`).join(',');
/** SQL: seconds since a column of `l`, which is UTC without a time zone. */
const age = (column: string): string => `extract(epoch from (now() at time zone 'utc') - l."${column}")::float8`;
/** SQL: a number of the metadata of `l`; null where it is none. */
const metadataNumber = (key: string): string =>
  `case when jsonb_typeof(l.metadata->'${key}') = 'number' then (l.metadata->>'${key}')::float8 end`;
const FULL = `l.type = 'full' and coalesce(l.metadata->>'dry_run', 'false') <> 'true'`;

/** Full syncs of the schedule and completed ones of others, the sync that runs, and the age of the mirror. */
export async function readMirrorState(db: Db): Promise<StoredMirrorState> {
  const [runs, [ages]] = await Promise.all([
    query<Omit<MirrorRun, 'status'> & { status: string | null; age: number }>(
      db,
      `select l.status, ${metadataNumber('requests')} as requests, ${metadataNumber('limit')} as "limit", ${age('startedAt')} as age
       from sync_logs l
       where ${FULL} and (l.metadata->>'requested_by' = 'scheduler' or upper(l.status) = 'COMPLETED')
       order by l."startedAt" desc, l.id desc limit ?`,
      [DECIDING_RUNS],
    ),
    query<{ active: number | null; mirror: number | null }>(
      db,
      `select (select max(${age('startedAt')}) from sync_logs l where l.status in (${activeList})) as active,
         (select min(${age('startedAt')}) from sync_logs l
          where ${FULL} and upper(l.status) = 'COMPLETED' and coalesce(l.metadata->>'skip_users', 'false') <> 'true') as mirror`,
    ),
  ]);
  return {
    runs: runs.map(({ status, requests, limit }) => ({ status: readStatus(status), requests, limit })),
    newestAge: runs[0]?.age ?? 0,
    activeAge: ages?.active ?? null,
    mirrorAge: ages?.mirror ?? null,
  };
}

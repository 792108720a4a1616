/** Stops a running merge at the two points that matter: in the middle of its writes, and between commit and report. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

export interface HeldMerge {
  /** Resolves when the merge waits in the middle of its writes: parents are written, databases are not. */
  reached(): Promise<void>;
  /**
   * Lets a held merge go on up to its commit: that is on disk when this resolves, but neither visible nor reported, as
   * behind a standby that does not answer.
   */
  toCommit(): Promise<void>;
  /** Undoes {@link toCommit} for the next start of the server; the running server still waits. */
  forgetStandby(): Promise<void>;
  /** Lets everything continue. Idempotent; a server that is gone is no error. */
  release(): Promise<void>;
}

const WAIT_MS = 60_000;

async function until(check: () => Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + WAIT_MS;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not seen within ${WAIT_MS} ms: ${what}`);
    await delay(10);
  }
}

/** Holds the next merge on the server of `url`; call before the run starts. */
export async function holdMerge(url: string): Promise<HeldMerge> {
  const connect = async () => {
    const client = new pg.Client({ connectionString: url, application_name: 'test-hold' });
    // The tests kill its server.
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };
  const [locker, control] = await Promise.all([connect(), connect()]);
  await locker.query('begin');
  await locker.query('lock table server_databases in share mode');
  let standby = false;
  const found = async (sql: string) => ((await control.query(sql)).rowCount ?? 0) > 0;

  return {
    reached: () =>
      until(
        () =>
          found(`select 1 from pg_locks k where not k.granted and k.relation = 'public.server_databases'::regclass`),
        'a merge that waits for the held table',
      ),
    async toCommit() {
      standby = true;
      await control.query(`alter system set synchronous_standby_names = 'none'`);
      await control.query('select pg_reload_conf()');
      // Commits wait only from when the checkpointer has read the new setting.
      await delay(500);
      await locker.query('rollback');
      await until(
        () =>
          found(
            `select 1 from pg_stat_activity a where a.wait_event = 'SyncRep' and a.application_name = 'nodebyte-worker'`,
          ),
        'a merge that waits for the standby',
      );
    },
    async forgetStandby() {
      await control.query('alter system reset synchronous_standby_names');
    },
    async release() {
      const quietly = (work: Promise<unknown>) => work.catch(() => undefined);
      await quietly(locker.query('rollback'));
      if (standby) {
        await quietly(control.query('alter system reset synchronous_standby_names'));
        await quietly(control.query('select pg_reload_conf()'));
      }
      await Promise.all([quietly(locker.end()), quietly(control.end())]);
    },
  };
}

/** kill -9 of a worker in each step of a sync, and a worker that sleeps for a minute: the end is that of an undisturbed run. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import type { BeforeRequest } from '../../../simulators/panel/contract.ts';
import type { SyncLog } from '../../../src/store/sync/log-store.ts';
import { insertPendingLog } from '../../../src/store/sync/run-store.ts';
import { PANEL_SYNC_ID, type PanelSyncWorkflow, QUEUE } from '../../../src/workflows/contract.ts';
import { createJournal, onFailure } from '../../support/journal.ts';
import { query } from '../../support/merge.ts';
import type { Installation } from '../../support/processes.ts';
import {
  committedRows,
  type Disturbable,
  expectEnd,
  expectMirrorEqual,
  expectOnce,
  reportOf,
  runsOf,
  startDisturbable,
} from '../../support/spoiled.ts';

const journal = createJournal();
let life: Disturbable;
let installation: Installation;
onFailure(() => installation);
beforeAll(async () => {
  life = await startDisturbable();
  installation = life.installation;
});
afterAll(async () => {
  journal.print();
  await installation?.stop();
});
beforeEach(async () => {
  installation.sim.faults.clear();
  await life.prepare();
  // A way that worked is remembered.
  await query(installation.db, 'delete from sync_fallbacks');
});

/** Kills the worker that works on the sync; the other one goes on. */
const killBusiest = async () => (await installation.busiestWorker()).kill();

/** Runs a sync, disturbs it, and expects the end of `undisturbed`. */
async function disturbed(
  what: string,
  disturb: () => Promise<unknown>,
  undisturbed: SyncLog = life.undisturbed,
): Promise<SyncLog> {
  const began = Date.now();
  const logId = await life.request();
  await disturb();
  const hit = Date.now();
  const where = await journal.peek(installation);
  const log = await installation.ended(logId, 150_000);
  journal.add(what, `${hit - began} ms`, where, Date.now() - hit);
  await expectEnd(installation, log, undisturbed);
  return log;
}

/** Whether a request asks for rows that a listing lacks: servers and users by their uuids, others by their ids. */
const asks = ({ path, query }: BeforeRequest): boolean =>
  /\/\w+\/\d+$/.test(path) || [...query.keys()].some((key) => key.startsWith('filter['));

test.each([1, 2, 3])('while the panel is asked which rows are gone (question %i)', async (n) => {
  await disturbed(`asking, question ${n}`, () => installation.atRequest(n, killBusiest, asks));
});

test.each([1, 6, 12])('while nodes are read one by one, because their listings fail (node request %i)', async (n) => {
  // As a panel whose PHP has too little memory for all allocations at once.
  const { sim } = installation;
  const off = sim.on('before', ({ path, query }) => {
    if (/\/(locations|nodes)$/.test(path) && query.get('include')?.includes('allocations') === true)
      sim.faults.add({ match: { path: new RegExp(`${path}$`) }, times: 1, action: { kind: 'status', status: 500 } });
  });
  onTestFinished(off);
  const undisturbed = await installation.ended(await life.request());
  expect(undisturbed).toMatchObject({ status: 'COMPLETED', error: null });
  await life.prepare();
  await query(installation.db, 'delete from sync_fallbacks');
  await disturbed(
    `fallback, node request ${n}`,
    () => installation.atRequest(n, killBusiest, ({ path }) => /\/nodes\/\d+\/allocations$/.test(path)),
    undisturbed,
  );
});

test.each([10, 40, 65])('while it goes on in new runs because its history is long (request %i)', async (n) => {
  const { db, gateway } = installation;
  const logId = randomUUID();
  const options = { target: 'full', dryRun: false, skipUsers: false } as const;
  await insertPendingLog(db, logId, { ...options, requestedBy: 'test', requester: 'api' });
  const began = Date.now();
  const { firstExecutionRunId } = await gateway.client.workflow.start<PanelSyncWorkflow>('panelSync', {
    workflowId: PANEL_SYNC_ID,
    taskQueue: QUEUE.core,
    args: [{ ...options, logId, requestedBy: 'api', maxEvents: 20 }],
    memo: { logId },
  });
  await installation.atRequest(n, killBusiest);
  const hit = Date.now();
  const log = await installation.ended(logId, 150_000);
  journal.add(`going on, request ${n}`, `${hit - began} ms`, 'reading', Date.now() - hit);
  expect(log).toMatchObject({ status: 'COMPLETED', error: null });
  await expectMirrorEqual(installation);
  expect(reportOf(log)).toEqual(reportOf(life.undisturbed));
  await expectOnce(installation, logId, 'sync.completed');
  await installation.settled();
  expect(await query(db, 'select workflow_run_id as id from sync_runs')).toEqual([{ id: firstExecutionRunId }]);
  expect((await runsOf(installation, logId)).length).toBeGreaterThan(2);
});

/** Holds the account with the highest id until `release`: the writing of accounts stops in its last transaction. */
async function holdLastAccount(): Promise<{ reached(): Promise<void>; release(): Promise<void> }> {
  const connect = async () => {
    const client = new pg.Client({ connectionString: installation.databaseUrl, application_name: 'test-hold' });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };
  const [locker, control] = [await connect(), await connect()];
  await locker.query('begin');
  await locker.query(
    'select 1 from users where id = (select max(id) from users where "pterodactylId" is not null) for update',
  );
  return {
    async reached() {
      const waiting = `select 1 from pg_stat_activity where application_name = 'nodebyte-worker' and wait_event_type = 'Lock'`;
      for (const end = Date.now() + 60_000; ((await control.query(waiting)).rowCount ?? 0) === 0; await delay(5))
        if (Date.now() > end) throw new Error('no transaction waits for the held account');
    },
    async release() {
      await locker.query('rollback');
      await Promise.all([locker.end(), control.end()]);
    },
  };
}

/** All accounts differ from the panel: more than are written at once. */
const changeAccounts = () =>
  query(installation.db, `update users set "firstName" = 'Stale' where "pterodactylId" is not null`);

test('while accounts are written in short transactions: those that were written stay, the others follow', async () => {
  await changeAccounts();
  const undisturbed = await installation.ended(await life.request());
  await expectEnd(installation, undisturbed, undisturbed);
  await life.prepare();
  await changeAccounts();
  const hold = await holdLastAccount();
  const stale = async () =>
    Number(
      (await query(installation.db, `select count(*)::int as n from users where "firstName" = 'Stale'`))[0]?.['n'],
    );
  const all = await stale();
  try {
    await disturbed(
      'accounts',
      async () => {
        await hold.reached();
        expect(await stale()).toBeLessThan(all);
        await killBusiest();
        await hold.release();
      },
      undisturbed,
    );
  } finally {
    await hold.release().catch(() => undefined);
  }
});

test.each(['reading', 'asking'])(
  'one of two workers sleeps for a minute while %s: it writes nothing when it wakes',
  async (step) => {
    const frozen: { thaw(): void }[] = [];
    const began = Date.now();
    const logId = await life.request();
    try {
      await installation.atRequest(
        step === 'reading' ? 30 : 1,
        async () => {
          const worker = await installation.busiestWorker();
          worker.freeze();
          frozen.push(worker);
        },
        (request) => step === 'reading' || asks(request),
      );
      const hit = Date.now();
      const log = await installation.ended(logId, 150_000);
      journal.add('worker asleep for 60 s', `${hit - began} ms`, step, Date.now() - hit);
      await expectEnd(installation, log, life.undisturbed);
      const versions = await committedRows(installation.db);
      await delay(Math.max(0, hit + 60_000 - Date.now()));
      for (const worker of frozen) worker.thaw();
      await delay(5_000);
      expect(await committedRows(installation.db)).toEqual(versions);
      await expectOnce(installation, logId, 'sync.completed');
    } finally {
      for (const worker of frozen) worker.thaw();
    }
  },
);

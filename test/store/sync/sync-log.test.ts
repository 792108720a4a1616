/** The state machine of a run: opened, cancelled, withdrawn, superseded, closed, purged; also by several callers at once. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mapUsers } from '../../../src/domain/panel/records.ts';
import { listingRef } from '../../../src/domain/sync/source-ref.ts';
import { purgeOutbox } from '../../../src/store/outbox-store.ts';
import { activeSyncLog, purgeSyncLogs } from '../../../src/store/sync/log-store.ts';
import {
  closeRun,
  insertPendingLog,
  markCancelled,
  openRun,
  withdrawPendingLog,
} from '../../../src/store/sync/run-store.ts';
import { stagePage } from '../../../src/store/sync/staging-store.ts';
import { closeAbandonedRun, findStaleRun, requeueRun } from '../../../src/store/sync/stale-run-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { openTestRun, query } from '../../support/merge.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ max: 10 });
});
afterEach(() => database.drop());

const REQUEST = { target: 'full', dryRun: false, skipUsers: false, requestedBy: 'test', requester: 'api' } as const;
const status = async (id: string) =>
  (await query(database.db, 'select status from sync_logs where id = ?', [id]))[0]?.['status'];
const events = () => query(database.db, `select kind, payload->>'log_id' as log from outbox order by created_at, id`);
const pending = async () => {
  const id = randomUUID();
  expect(await insertPendingLog(database.db, id, REQUEST)).toBe(true);
  return id;
};
const page = (logId: string) =>
  stagePage(database.db, {
    logId,
    source: listingRef('users'),
    pass: 1,
    page: 1,
    total: 1,
    perPage: 50,
    mapped: mapUsers([{ object: 'user', attributes: { id: 1, email: 'a@example.net' } }]),
  });

describe('starting', () => {
  test('of 20 requests at once one gets the row', async () => {
    const won = await Promise.all(
      Array.from({ length: 20 }, () => insertPendingLog(database.db, randomUUID(), REQUEST)),
    );
    expect(won.filter(Boolean)).toHaveLength(1);
    expect(await query(database.db, 'select count(*)::int as n from sync_runs')).toEqual([{ n: 1 }]);
  });

  test('a withdrawn row is deleted, and its late run has nothing to do', async () => {
    const logId = await pending();
    expect(await withdrawPendingLog(database.db, logId)).toBe(true);
    expect(await openRun(database.db, { logId, runId: 'r', reopen: false })).toBe('withdrawn');
    expect(await activeSyncLog(database.db)).toBeUndefined();
  });

  test('withdraw and open at once: exactly one of them wins, every time', async () => {
    for (let i = 0; i < 15; i += 1) {
      const logId = await pending();
      const runId = randomUUID();
      const [withdrawn, opened] = await Promise.all([
        withdrawPendingLog(database.db, logId),
        openRun(database.db, { logId, runId, reopen: false }),
      ]);
      expect(withdrawn).toBe(opened === 'withdrawn');
      if (!withdrawn) await closeRun(database.db, { logId, runId, outcome: 'COMPLETED', metadata: {} });
    }
  });

  test('a second opening by the same run changes nothing: staged pages stay', async () => {
    const run = await openTestRun(database.db);
    await page(run.logId);
    expect(await openRun(database.db, { ...run, reopen: false })).toBe('opened');
    expect(await query(database.db, 'select count(*)::int as n from sync_pages')).toEqual([{ n: 1 }]);
  });
});

describe('cancelling', () => {
  test('a row that no run has opened is closed at once, with its event, and cannot be opened any more', async () => {
    const logId = await pending();
    expect(await markCancelled(database.db)).toEqual({ id: logId, closed: true });
    expect(await openRun(database.db, { logId, runId: 'r', reopen: false })).toBe('withdrawn');
    expect(await status(logId)).toBe('CANCELLED');
    expect(await events()).toEqual([{ kind: 'sync.cancelled', log: logId }]);
    expect(await markCancelled(database.db, logId)).toBeUndefined();
  });

  test('an answered cancel is never lost to a completion, in either order', async () => {
    for (let i = 0; i < 15; i += 1) {
      const run = await openTestRun(database.db);
      const [cancelled, closed] = await Promise.all([
        markCancelled(database.db, run.logId),
        closeRun(database.db, { ...run, outcome: 'COMPLETED', metadata: {} }),
      ]);
      expect(closed).toBe(cancelled === undefined ? 'COMPLETED' : 'CANCELLED');
      expect(await status(run.logId)).toBe(closed);
    }
  });

  test('cancel and open at once: the row ends CANCELLED either way', async () => {
    for (let i = 0; i < 10; i += 1) {
      const logId = await pending();
      const runId = randomUUID();
      const [cancelled, opened] = await Promise.all([
        markCancelled(database.db, logId),
        openRun(database.db, { logId, runId, reopen: false }),
      ]);
      expect(cancelled).toBeDefined();
      if (opened === 'opened') await closeRun(database.db, { logId, runId, outcome: 'COMPLETED', metadata: {} });
      expect(await status(logId)).toBe('CANCELLED');
    }
  });

  test('after a cancel no page is stored', async () => {
    const run = await openTestRun(database.db);
    await markCancelled(database.db, run.logId);
    expect(await page(run.logId)).toBe('cancelled');
    expect(await query(database.db, 'select 1 from sync_pages')).toEqual([]);
  });
});

describe('closing', () => {
  test('empties staging, and gives one event and one answer however often it is repeated', async () => {
    const run = await openTestRun(database.db);
    await page(run.logId);
    const close = () =>
      closeRun(database.db, { ...run, outcome: 'FAILED', error: 'why', failedStep: 'users', metadata: { a: 1 } });
    // Many at once: those that wait for the first must see everything that it wrote, not only the row that they waited for.
    expect(new Set(await Promise.all(Array.from({ length: 8 }, close)))).toEqual(new Set(['FAILED']));
    expect(await events()).toEqual([{ kind: 'sync.failed', log: run.logId }]);
    expect(await query(database.db, 'select 1 from sync_pages')).toEqual([]);
    expect(
      await query(
        database.db,
        `select error, "completedAt" is not null as done, "durationSeconds" as s, metadata->>'failed_step' as step, metadata->>'requested_by' as by from sync_logs`,
      ),
    ).toEqual([{ error: 'why', done: true, s: 0, step: 'users', by: 'test' }]);
  });

  test('by another run, or of a closed row, is refused, and so are pages', async () => {
    const run = await openTestRun(database.db);
    await expect(
      closeRun(database.db, { logId: run.logId, runId: 'other', outcome: 'FAILED', metadata: {} }),
    ).rejects.toMatchObject({ code: 'RUN_CLOSED' });
    expect(await closeAbandonedRun(database.db, run.logId, run.runId)).toBe(true);
    await expect(closeRun(database.db, { ...run, outcome: 'COMPLETED', metadata: {} })).rejects.toMatchObject({
      code: 'RUN_CLOSED',
    });
    await expect(page(run.logId)).rejects.toMatchObject({ code: 'RUN_CLOSED' });
    expect(await status(run.logId)).toBe('FAILED');
    expect(await events()).toEqual([{ kind: 'sync.failed', log: run.logId }]);
  });

  test('pages and a close at once: no page is stored after the close', async () => {
    for (let i = 0; i < 10; i += 1) {
      const run = await openTestRun(database.db);
      await Promise.all([
        ...Array.from({ length: 4 }, () => page(run.logId).catch(() => 'closed')),
        closeRun(database.db, { ...run, outcome: 'COMPLETED', metadata: {} }),
      ]);
      expect(await query(database.db, 'select 1 from sync_pages')).toEqual([]);
    }
  });

  test.each([
    ['full', 'COMPLETED', 1],
    ['full', 'CANCELLED', 1],
    ['users', 'COMPLETED', 0],
    ['users', 'CANCELLED', 0],
    ['users', 'FAILED', 1],
  ] as const)('a run of %s that ends %s writes %i events', async (target, outcome, count) => {
    const run = await openTestRun(database.db, { target });
    await closeRun(database.db, { ...run, outcome, metadata: {} });
    expect(await events()).toHaveLength(count);
  });

  test('a run that the watch closes keeps the counts and warnings of what it had merged', async () => {
    const run = await openTestRun(database.db);
    const counts = { users: { created: 2, updated: 1, unchanged: 7, pruned: 0, failed: 1 } };
    const warnings = [{ code: 'RIGHT_MISSING', message: 'kept' }];
    await database.db.raw('update sync_runs set applied = ? where log_id = ?', [
      JSON.stringify({ status: 'merged', counts, warnings }),
      run.logId,
    ]);
    expect(await closeAbandonedRun(database.db, run.logId, run.runId)).toBe(true);
    const [row] = await query(
      database.db,
      `select status, metadata, "itemsTotal" as total, "itemsSynced" as synced, "itemsFailed" as failed from sync_logs where id = ?`,
      [run.logId],
    );
    expect(row).toMatchObject({ status: 'FAILED', total: 11, synced: 10, failed: 1 });
    expect(row?.['metadata']).toMatchObject({ counts, warnings, applied: true, failed_step: 'terminated' });
  });

  test('a run that a release ended is queued again under its row, once, and without what it had staged', async () => {
    const run = await openTestRun(database.db);
    await page(run.logId);
    expect(await requeueRun(database.db, run.logId, 'another run')).toBe(false);
    expect(await requeueRun(database.db, run.logId, run.runId)).toBe(true);
    expect(await status(run.logId)).toBe('PENDING');
    expect(await query(database.db, 'select 1 from sync_pages')).toEqual([]);
    expect(await events()).toEqual([]);
    expect(await openRun(database.db, { logId: run.logId, runId: 'next', reopen: false })).toBe('opened');
    expect(await requeueRun(database.db, run.logId, 'next')).toBe(false);
    expect(await status(run.logId)).toBe('RUNNING');
  });

  test('a run that is being cancelled is not queued again', async () => {
    const run = await openTestRun(database.db);
    await markCancelled(database.db, run.logId);
    expect(await requeueRun(database.db, run.logId, run.runId)).toBe(false);
  });

  test('an abandoned run with a cancel ends CANCELLED; one that another run took over is not touched', async () => {
    const run = await openTestRun(database.db);
    expect(await closeAbandonedRun(database.db, run.logId, 'older run')).toBe(false);
    await markCancelled(database.db, run.logId);
    expect(await closeAbandonedRun(database.db, run.logId, run.runId)).toBe(true);
    expect(await status(run.logId)).toBe('CANCELLED');
  });
});

describe('a reset', () => {
  test('opens its row again, empty, and ends the row that is active meanwhile', async () => {
    const old = await openTestRun(database.db);
    await closeRun(database.db, { ...old, outcome: 'COMPLETED', metadata: { counts: { users: 1 } } });
    const newer = await openTestRun(database.db);
    await page(newer.logId);
    expect(await openRun(database.db, { logId: old.logId, runId: 'reset', reopen: true })).toBe('opened');
    expect(await status(old.logId)).toBe('RUNNING');
    expect(await query(database.db, 'select status, error from sync_logs where id = ?', [newer.logId])).toEqual([
      { status: 'FAILED', error: 'superseded by a reset' },
    ]);
    expect(await query(database.db, 'select 1 from sync_pages')).toEqual([]);
    expect(
      await query(
        database.db,
        `select "completedAt", "cancelledAt", error, metadata->'counts' as counts from sync_logs where id = ?`,
        [old.logId],
      ),
    ).toEqual([{ completedAt: null, cancelledAt: null, error: null, counts: null }]);
    await closeRun(database.db, { logId: old.logId, runId: 'reset', outcome: 'COMPLETED', metadata: {} });
    // An event of its own, beside that of the first run.
    expect((await events()).map((e) => e['kind'])).toEqual(['sync.completed', 'sync.failed', 'sync.completed']);
  });

  test('a closed row is opened again by the run that closed it only when the run requests it', async () => {
    const run = await openTestRun(database.db);
    await closeRun(database.db, { ...run, outcome: 'FAILED', metadata: {} });
    expect(await openRun(database.db, { ...run, reopen: false })).toBe('withdrawn');
    expect(await openRun(database.db, { ...run, reopen: true })).toBe('opened');
  });
});

describe('the watch and the purge', () => {
  test('an old PENDING row and an old cancel are found', async () => {
    const ages = { pendingSeconds: 10, cancelSeconds: 5 };
    const logId = await pending();
    expect(await findStaleRun(database.db, ages)).toMatchObject({ id: logId, stalePending: false, staleCancel: false });
    await database.db.raw(`update sync_logs set "startedAt" = "startedAt" - interval '11 s'`);
    expect(await findStaleRun(database.db, ages)).toMatchObject({ stalePending: true });
    await openRun(database.db, { logId, runId: 'r', reopen: false });
    await markCancelled(database.db);
    await database.db.raw(`update sync_logs set "cancelledAt" = "cancelledAt" - interval '6 s'`);
    expect(await findStaleRun(database.db, ages)).toMatchObject({ stalePending: false, staleCancel: true });
  });

  test('the purge deletes old finished logs with all that belongs to them, in batches; never an active one', async () => {
    for (let i = 0; i < 5; i += 1) {
      const run = await openTestRun(database.db);
      await closeRun(database.db, { ...run, outcome: 'COMPLETED', metadata: {} });
    }
    const active = await openTestRun(database.db);
    await page(active.logId);
    await database.db.raw(
      `update sync_logs set "startedAt" = "startedAt" - interval '31 days'; update outbox set created_at = created_at - interval '31 days'`,
    );
    expect(await purgeSyncLogs(database.db, 30, 3)).toBe(3);
    expect(await purgeSyncLogs(database.db, 30, 3)).toBe(2);
    expect(await query(database.db, 'select log_id from sync_runs')).toEqual([{ log_id: active.logId }]);
    expect(await query(database.db, 'select count(*)::int as n from sync_pages')).toEqual([{ n: 1 }]);
    expect(await purgeOutbox(database.db, 30, 100)).toBe(5);
  });
});

/** Starting, cancelling, resetting and ending syncs: row, workflow and mirror always agree. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { ScheduleNotFoundError } from '@temporalio/client';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createMaintenanceActivities } from '../../../src/activities/maintenance.ts';
import { isAppError } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { createSyncLauncher } from '../../../src/services/sync/launcher.ts';
import type { SyncLog } from '../../../src/store/sync/log-store.ts';
import { insertPendingLog, markCancelled } from '../../../src/store/sync/run-store.ts';
import { createTemporalGateway } from '../../../src/temporal/connection.ts';
import { reconcileAutoSync, reconcileSchedules } from '../../../src/temporal/schedules.ts';
import {
  LIVE_MIRROR_ID,
  PANEL_SYNC_ID,
  PROGRESS_QUERY,
  QUEUE,
  type SyncProgressView,
} from '../../../src/workflows/contract.ts';
import { allHistories, failedTasks, resetPoints, textOf } from '../../support/histories.ts';
import { expectedMirror, readMirror, rowVersions, sorted } from '../../support/mirror.ts';
import { quiet, type Stack, startStack, temporalConfig } from '../../support/stack.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.stop());

let round = 0;
/** Changes the panel, so that the next sync has something to write. */
function changeSomething(): void {
  round += 1;
  stack.sim.update('locations', 1, { long: `text ${round}` });
  for (const id of [2, 3, 4]) stack.sim.update('users', id, { first_name: `Name ${round}` });
}

beforeEach(async () => {
  Object.assign(stack.sim.settings, { latencyMs: 0, perPageMax: undefined });
  stack.sim.faults.clear();
  await settled();
});

const handle = (runId?: string) => stack.gateway.client.workflow.getHandle(PANEL_SYNC_ID, runId);
const workflowStatus = (runId?: string) =>
  handle(runId)
    .describe()
    .then((d) => d.status.name)
    .catch(() => 'NONE');

/** Waits until no run holds the workflow id. */
async function settled(timeoutMs = 20_000): Promise<string> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const status = await workflowStatus();
    if (status !== 'RUNNING') return status;
    if (Date.now() > end) throw new Error('the workflow does not end');
    await delay(20);
  }
}

/** Requests a sync that takes some seconds, and waits until it reads. */
async function slowSync(s: Stack = stack): Promise<{ syncLogId: string; taskId: string }> {
  Object.assign(s.sim.settings, { latencyMs: 200, perPageMax: 20 });
  s.sim.clearRequests();
  const ticket = await s.launcher.requestSync({ target: 'full', requestedBy: 'test' });
  while (s.sim.requests.length < 6) await delay(10);
  return ticket;
}

const equalToPanel = async (s: Stack = stack) =>
  expect(sorted(await readMirror(s.database.db))).toEqual(sorted(expectedMirror(s.sim.dump())));

async function column<T>(sql: string, bindings: string[] = []): Promise<T[]> {
  const found = (await stack.database.db.raw(sql, bindings)) as { rows: { v: T }[] };
  return found.rows.map((row) => row.v);
}
const outboxKeys = (logId: string) =>
  column<string>(`select dedupe_key as v from outbox where dedupe_key like ? order by 1`, [`%:${logId}:%`]);
const closedBy = async (logId: string) =>
  (await column<string | null>(`select options->>'closedBy' as v from sync_runs where log_id = ?`, [logId]))[0];

describe('start', () => {
  test('20 equal requests at once are one run and one row; a request of another target gets 409', async () => {
    stack.sim.settings.latencyMs = 100;
    const before = (await column<number>('select count(*)::int as v from sync_logs'))[0] ?? 0;
    const tickets = await Promise.all(
      Array.from({ length: 20 }, () => stack.launcher.requestSync({ target: 'full', requestedBy: 'test' })),
    );
    const ids = new Set(tickets.map((t) => t.syncLogId));
    expect(ids.size).toBe(1);
    expect(tickets.filter((t) => !t.joined)).toHaveLength(1);
    await expect(stack.launcher.requestSync({ target: 'users', requestedBy: 'test' })).rejects.toMatchObject({
      code: 'SYNC_RUNNING',
    });
    const log = await stack.ended(tickets[0]?.syncLogId ?? '');
    expect(log.status).toBe('COMPLETED');
    expect((await column<number>('select count(*)::int as v from sync_logs'))[0]).toBe(before + 1);
    expect(await outboxKeys(log.id)).toHaveLength(1);
    await settled();
    await equalToPanel();
  });

  test('the running workflow answers the progress query', async () => {
    const { syncLogId } = await slowSync();
    const view = await handle().query<SyncProgressView>(PROGRESS_QUERY);
    expect(view).toMatchObject({ logId: syncLogId, target: 'full', phase: 'reading' });
    expect(view.sources.map((s) => s.source)).toEqual(['locations', 'nests', 'users', 'servers']);
    expect(view.requests).toBeGreaterThan(0);
    await stack.ended(syncLogId);
    await settled();
    const last = await handle().query<SyncProgressView>(PROGRESS_QUERY);
    expect(last.sources.every((s) => s.complete && s.pagesDone === s.pagesTotal)).toBe(true);
  });

  test('a request that is repeated under its id is the same request, also when it has ended', async () => {
    const acts = createMaintenanceActivities({
      db: stack.database.db,
      launcher: stack.launcher,
      keepLiveMirror: async () => undefined,
      retentionDays: 30,
      auditRetentionDays: 365,
      hytaleLogRetentionDays: 30,
    });
    const logId = crypto.randomUUID();
    expect(await acts.requestScheduledSync({ logId })).toEqual({ outcome: 'started', logId });
    expect(await acts.requestScheduledSync({ logId })).toEqual({ outcome: 'started', logId });
    await stack.ended(logId);
    expect(await acts.requestScheduledSync({ logId })).toEqual({ outcome: 'started', logId });
    await settled();
  });

  test('the scheduled tick starts a sync, and skips while one runs', async () => {
    const { client } = stack.gateway;
    stack.sim.settings.latencyMs = 150;
    const options = { taskQueue: QUEUE.core, args: [] };
    const first = await client.workflow.execute('scheduledSync', { ...options, workflowId: 'tick-1' });
    expect(first).toMatchObject({ outcome: 'started' });
    const second = await client.workflow.execute('scheduledSync', { ...options, workflowId: 'tick-2' });
    expect(second).toEqual({ outcome: 'skipped', logId: first.logId });
    expect((await stack.ended(first.logId)).status).toBe('COMPLETED');
  });

  test('Temporal unreachable: 503, and the request is withdrawn', async () => {
    const gateway = createTemporalGateway({ ...temporalConfig(), namespace: stack.namespace, address: '127.0.0.1:9' });
    const launcher = createSyncLauncher({ db: stack.database.db, temporal: gateway, log: quiet });
    const before = await column<number>('select count(*)::int as v from sync_logs');
    await expect(launcher.requestSync({ target: 'full', requestedBy: 'test' })).rejects.toMatchObject({
      code: 'SERVICE_UNAVAILABLE',
      retryAfterMs: 5_000,
    });
    expect(await column<number>('select count(*)::int as v from sync_logs')).toEqual(before);
    await gateway.close();
  });

  test('a row left PENDING is started by the watch', async () => {
    const { db } = stack.database;
    const id = crypto.randomUUID();
    await insertPendingLog(db, id, {
      target: 'full',
      dryRun: false,
      skipUsers: false,
      requestedBy: 'test',
      requester: 'api',
    });
    expect(await stack.launcher.watch()).toBe('nothing');
    await db.raw(`update sync_logs set "startedAt" = "startedAt" - interval '20 seconds' where id = ?`, [id]);
    expect(await stack.launcher.watch()).toBe('started');
    expect((await stack.ended(id)).status).toBe('COMPLETED');
  });
});

describe('workers', () => {
  test('without a worker a start is accepted, and runs when one starts; a cancel before that ends row and run', async () => {
    const alone = await startStack({ workers: false });
    try {
      const status = () => alone.gateway.client.workflow.getHandle(PANEL_SYNC_ID).describe();
      const accepted = await alone.launcher.requestSync({ target: 'full', requestedBy: 'test' });
      expect(accepted).toMatchObject({ status: 'PENDING', joined: false });
      // A cancel in the Temporal UI marks no row.
      await alone.gateway.client.workflow.getHandle(PANEL_SYNC_ID).cancel();
      await alone.startWorkers();
      expect((await alone.ended(accepted.syncLogId)).status).toBe('CANCELLED');
      while ((await status()).status.name === 'RUNNING') await delay(20);
      expect((await status()).status.name).toBe('CANCELLED');
      expect(alone.sim.requests).toEqual([]);
      expect((await alone.sync()).status).toBe('COMPLETED');
      await equalToPanel(alone);
    } finally {
      await alone.stop();
    }
  });

  test('a second worker takes over a run', async () => {
    const shared = await startStack({ workers: false });
    try {
      const stopFirst = await shared.startWorkers();
      const { syncLogId } = await slowSync(shared);
      await shared.startWorkers();
      await stopFirst();
      expect((await shared.ended(syncLogId)).status).toBe('COMPLETED');
      await equalToPanel(shared);
    } finally {
      await shared.stop();
    }
  });
});

describe('cancel', () => {
  test('at 20 moments: an answered cancel ends as CANCELLED within 2 s, the mirror is unchanged or whole, nothing is written afterwards', async () => {
    stack.sim.settings.latencyMs = 15;
    stack.sim.settings.perPageMax = 60;
    const outcomes: string[] = [];
    for (let moment = 0; moment < 20; moment += 1) {
      changeSomething();
      const before = sorted(await readMirror(stack.database.db));
      const { syncLogId, taskId } = await stack.launcher.requestSync({ target: 'full', requestedBy: 'test' });
      await delay(moment * 28);
      let answered = true;
      try {
        await stack.launcher.cancelSync(syncLogId, OPERATOR);
      } catch (error) {
        if (!isAppError(error, 'BAD_REQUEST')) throw error;
        answered = false;
      }
      // Compares contents, not row versions: a write that is rolled back changes the versions.
      const atAnswer = sorted(await readMirror(stack.database.db));
      const log = await stack.ended(syncLogId, 2_000);
      outcomes.push(log.status);
      expect(log.status).toBe(answered ? 'CANCELLED' : 'COMPLETED');
      await settled();
      const status = await workflowStatus(taskId);
      const opened = (
        await column<string | null>(`select workflow_run_id as v from sync_runs where log_id = ?`, [syncLogId])
      )[0];
      // A request that was withdrawn before its run opened it is a run with nothing to do.
      expect(status).toBe(!answered || opened === null ? 'COMPLETED' : 'CANCELLED');
      await delay(60);
      const after = sorted(await readMirror(stack.database.db));
      expect(after).toEqual(atAnswer);
      const whole = JSON.stringify(after) === JSON.stringify(sorted(expectedMirror(stack.sim.dump())));
      expect(whole || JSON.stringify(after) === JSON.stringify(before)).toBe(true);
      if (answered) expect(log.metadata['applied'] ?? false).toBe(whole);
      expect((await outboxKeys(syncLogId)).length).toBe(1);
    }
    expect(outcomes.filter((o) => o === 'CANCELLED').length).toBeGreaterThan(5);
  });

  test('in the Temporal UI ends row and run', async () => {
    changeSomething();
    const before = await rowVersions(stack.database.db);
    const { syncLogId } = await slowSync();
    await handle().cancel();
    expect((await stack.ended(syncLogId, 2_000)).status).toBe('CANCELLED');
    expect(await settled()).toBe('CANCELLED');
    expect(await rowVersions(stack.database.db)).toEqual(before);
  });

  test('a mark without a cancel request to Temporal also ends the run as cancelled', async () => {
    const { syncLogId } = await slowSync();
    await markCancelled(stack.database.db, syncLogId);
    expect((await stack.ended(syncLogId, 3_000)).status).toBe('CANCELLED');
    expect(await settled()).toBe('CANCELLED');
  });

  test('the watch repeats a cancel request that did not reach Temporal', async () => {
    const { syncLogId } = await slowSync();
    stack.sim.faults.add({ action: { kind: 'hang' } });
    await delay(300);
    await markCancelled(stack.database.db, syncLogId);
    await stack.database.db.raw(
      `update sync_logs set "cancelledAt" = "cancelledAt" - interval '10 seconds' where id = ?`,
      [syncLogId],
    );
    expect(await stack.launcher.watch()).toBe('cancelled');
    expect((await stack.ended(syncLogId, 2_000)).status).toBe('CANCELLED');
    expect(await settled()).toBe('CANCELLED');
  });

  test('a cancel wins over a failure at the same time', async () => {
    const { syncLogId } = await slowSync();
    await markCancelled(stack.database.db, syncLogId);
    stack.sim.faults.add({ action: { kind: 'status', status: 401 } });
    await handle().cancel();
    expect((await stack.ended(syncLogId, 3_000)).status).toBe('CANCELLED');
    expect(await settled()).toBe('CANCELLED');
  });
});

describe('terminate and reset', () => {
  test('a terminated run is closed as failed by the watch, and nothing of it is written', async () => {
    changeSomething();
    const before = await rowVersions(stack.database.db);
    const { syncLogId, taskId } = await slowSync();
    await handle().terminate('a test');
    expect(await stack.launcher.watch()).toBe('closed');
    const log = await stack.ended(syncLogId, 100);
    expect(log).toMatchObject({ status: 'FAILED', error: 'the run was terminated' });
    expect(await outboxKeys(syncLogId)).toEqual([`sync.failed:${syncLogId}:${taskId}`]);
    await delay(600);
    expect(await column('select count(*)::int as v from sync_pages')).toEqual([0]);
    expect(await rowVersions(stack.database.db)).toEqual(before);
    // The next start does not wait for the watch.
    stack.sim.settings.latencyMs = 0;
    expect((await stack.sync()).status).toBe('COMPLETED');
    await equalToPanel();
  });

  test('a start checks whether the run of the active row still exists', async () => {
    const { syncLogId } = await slowSync();
    await handle().terminate('a test');
    stack.sim.settings.latencyMs = 0;
    const log = await stack.sync({ target: 'users' });
    expect(log.status).toBe('COMPLETED');
    expect(log.id).not.toBe(syncLogId);
  });

  async function reset(runId: string, eventId: number): Promise<string> {
    const { client, namespace } = stack.gateway;
    const answer = await client.workflowService.resetWorkflowExecution({
      namespace,
      workflowExecution: { workflowId: PANEL_SYNC_ID, runId },
      workflowTaskFinishEventId: { toNumber: () => eventId, ...longOf(eventId) } as never,
      requestId: crypto.randomUUID(),
      reason: 'a test',
    });
    return answer.runId;
  }
  const longOf = (value: number) => ({ low: value, high: 0, unsigned: false });

  /** Waits until a run has ended. @returns its log row and its status in Temporal. */
  async function endOf(runId: string, logId: string): Promise<{ log: SyncLog; status: string }> {
    const end = Date.now() + 30_000;
    while ((await workflowStatus(runId)) === 'RUNNING') {
      if (Date.now() > end) throw new Error('the reset run does not end');
      await delay(30);
    }
    return { log: await stack.ended(logId, 100), status: await workflowStatus(runId) };
  }

  /**
   * Workflow tasks to which a run is reset: the first, some of the middle, the last but one, and the last, after which
   * nothing is left to do.
   */
  async function pointsOf(runId: string): Promise<{ points: number[]; last: number }> {
    const all = resetPoints({ events: (await handle(runId).fetchHistory()).events ?? [] });
    const last = all.pop() ?? 0;
    const chosen = [0, 0.4, 0.8, 1].map((share) => all[Math.round(share * (all.length - 1))] ?? 0);
    return { points: [...new Set(chosen)], last };
  }

  test('a completed run, from any point: converges, ends its row again and writes a new event', async () => {
    changeSomething();
    const { syncLogId, taskId } = await stack.launcher.requestSync({ target: 'full', requestedBy: 'test' });
    await stack.ended(syncLogId);
    await settled();
    const { points, last } = await pointsOf(taskId);
    expect(points.length).toBeGreaterThan(2);
    const idle = await endOf(await reset(taskId, last), syncLogId);
    expect({ status: idle.status, row: idle.log.status }).toEqual({ status: 'COMPLETED', row: 'COMPLETED' });
    for (const point of points) {
      changeSomething();
      const runId = await reset(taskId, point);
      const { log, status } = await endOf(runId, syncLogId);
      expect({ point, status, row: log.status }).toEqual({ point, status: 'COMPLETED', row: 'COMPLETED' });
      expect(await closedBy(syncLogId)).toBe(runId);
      expect(await outboxKeys(syncLogId)).toContain(`sync.completed:${syncLogId}:${runId}`);
      await equalToPanel();
    }
    expect(await outboxKeys(syncLogId)).toHaveLength(points.length + 1);
    expect(await column('select count(*)::int as v from sync_pages')).toEqual([0]);
  });

  test('a failed run, from any point: converges', async () => {
    stack.sim.faults.add({ match: { path: /\/servers$/, page: 2 }, action: { kind: 'status', status: 403 } });
    const { syncLogId, taskId } = await stack.launcher.requestSync({ target: 'full', requestedBy: 'test' });
    expect((await stack.ended(syncLogId)).status).toBe('FAILED');
    expect(await settled()).toBe('FAILED');
    stack.sim.faults.clear();
    const { points, last } = await pointsOf(taskId);
    const idle = await endOf(await reset(taskId, last), syncLogId);
    expect({ status: idle.status, row: idle.log.status }).toEqual({ status: 'FAILED', row: 'FAILED' });
    for (const point of points) {
      changeSomething();
      const runId = await reset(taskId, point);
      const { log, status } = await endOf(runId, syncLogId);
      expect({ point, status, row: log.status, error: log.error }).toEqual({
        point,
        status: 'COMPLETED',
        row: 'COMPLETED',
        error: null,
      });
      expect(await closedBy(syncLogId)).toBe(runId);
      await equalToPanel();
    }
  });

  test('a cancelled run: from after the cancel it is cancelled again, from before the cancel it converges', async () => {
    const { syncLogId, taskId } = await slowSync();
    await stack.launcher.cancelSync(syncLogId, OPERATOR);
    expect((await stack.ended(syncLogId, 3_000)).status).toBe('CANCELLED');
    expect(await settled()).toBe('CANCELLED');
    Object.assign(stack.sim.settings, { latencyMs: 0, perPageMax: undefined });
    const { points, last } = await pointsOf(taskId);
    for (const point of [last, ...points.reverse()]) {
      const runId = await reset(taskId, point);
      const { log, status } = await endOf(runId, syncLogId);
      expect({ point, status }).toEqual({ point, status: log.status });
      if (point === last) expect(status).toBe('CANCELLED');
      if (point === points.at(-1)) expect(status).toBe('COMPLETED');
    }
    await equalToPanel();
  });
});

describe('schedules and maintenance', () => {
  const schedule = (id: string) => stack.gateway.client.schedule.getHandle(id);

  test('are declared once, follow the setting, and keep the pause of an administrator', async () => {
    const { gateway } = stack;
    const on = { enabled: true, mode: 'interval', intervalSeconds: 900, budgetShare: 25 } as const;
    await Promise.all([reconcileSchedules(gateway, on), reconcileSchedules(gateway, on)]);
    await reconcileSchedules(gateway, on);
    const auto = await schedule('auto-sync').describe();
    expect(auto.state.paused).toBe(false);
    expect(auto.spec.intervals?.[0]?.every).toBe(900_000);
    expect((await schedule('maintenance:sync-watch').describe()).state.paused).toBe(false);
    expect((await schedule('maintenance:retention').describe()).spec.calendars?.[0]?.hour?.[0]).toMatchObject({
      start: 3,
    });

    await reconcileAutoSync(gateway, { ...on, enabled: false, intervalSeconds: 1_800 });
    const off = await schedule('auto-sync').describe();
    expect(off.state.paused).toBe(true);
    expect(off.spec.intervals?.[0]?.every).toBe(1_800_000);
    await reconcileAutoSync(gateway, on);
    expect((await schedule('auto-sync').describe()).state.paused).toBe(false);

    await schedule('auto-sync').pause('the panel is being moved');
    await reconcileAutoSync(gateway, on);
    await reconcileAutoSync(gateway, { ...on, enabled: false });
    await reconcileAutoSync(gateway, on);
    const kept = await schedule('auto-sync').describe();
    expect(kept.state).toMatchObject({ paused: true, note: 'the panel is being moved' });
    for (const id of ['auto-sync', 'maintenance:sync-watch', 'maintenance:retention']) await schedule(id).delete();
  });

  test('the live mirror takes the place of the schedule, syncs, is started again by the watch, and ends with the setting', async () => {
    const { gateway } = stack;
    const auto = { enabled: true, mode: 'auto', intervalSeconds: 900, budgetShare: 25 } as const;
    const live = (runId?: string) => gateway.client.workflow.getHandle(LIVE_MIRROR_ID, runId);
    // The syncs of the tests before are hours old, so one is due at once.
    await stack.database.db.raw(`update sync_logs set "startedAt" = "startedAt" - interval '3 hours'`);
    const [before] = await column<string>(`select max("startedAt")::text as v from sync_logs`);
    stack.settings.autoSync = auto;
    try {
      await Promise.all([reconcileAutoSync(gateway, auto), reconcileAutoSync(gateway, auto)]);
      expect((await schedule('auto-sync').describe()).state.paused).toBe(true);
      const { runId } = await live().describe();
      const synced = () =>
        column(`select status as v from sync_logs where "startedAt" > '${before ?? '-infinity'}'
          and metadata->>'requested_by' = 'scheduler'`);
      await expect.poll(synced, { timeout: 60_000 }).toEqual(['COMPLETED']);
      await equalToPanel();
      await reconcileAutoSync(gateway, auto);
      expect((await live().describe()).runId).toBe(runId);

      await live().terminate('by hand');
      const watch = { workflowId: 'watch-live', taskQueue: QUEUE.core, args: ['sync-watch'] };
      await gateway.client.workflow.execute('maintenance', watch);
      const again = await live().describe();
      expect([again.status.name, again.runId === runId]).toEqual(['RUNNING', false]);
      await gateway.client.workflow.execute('maintenance', watch);
      expect((await live().describe()).runId).toBe(again.runId);
    } finally {
      stack.settings.autoSync = { ...auto, enabled: false };
      await reconcileAutoSync(gateway, stack.settings.autoSync);
    }
    expect(await live().result()).toEqual({ ended: 'the settings do not want it any more' });
    // Where none runs, none is started by a setting that does not want it.
    await reconcileAutoSync(gateway, stack.settings.autoSync);
    expect((await live().describe()).status.name).toBe('COMPLETED');
    await schedule('auto-sync').delete();
    await settled();
  });

  test('of maintenance are deleted when they are not declared any more, others are not', async () => {
    const { gateway } = stack;
    const on = { enabled: true, mode: 'interval', intervalSeconds: 900, budgetShare: 25 } as const;
    const ids = ['maintenance:expired-sessions', 'other:expired-sessions'];
    for (const scheduleId of ids)
      await gateway.client.schedule.create({
        scheduleId,
        spec: { intervals: [{ every: '1d' }] },
        action: { type: 'startWorkflow', workflowType: 'maintenance', taskQueue: QUEUE.core, args: ['sync-watch'] },
      });
    const listed = async () => {
      const found: string[] = [];
      for await (const { scheduleId } of gateway.client.schedule.list()) found.push(scheduleId);
      return found;
    };
    // The list lags behind the create.
    await expect.poll(listed, { timeout: 20_000 }).toEqual(expect.arrayContaining(ids));
    await reconcileSchedules(gateway, on);
    await expect(schedule('maintenance:expired-sessions').describe()).rejects.toBeInstanceOf(ScheduleNotFoundError);
    expect((await schedule('other:expired-sessions').describe()).scheduleId).toBe('other:expired-sessions');
    const declared = ['auto-sync', 'maintenance:sync-watch', 'maintenance:retention', 'maintenance:expired-data'];
    for (const id of declared) expect((await schedule(id).describe()).scheduleId).toBe(id);
    for (const id of [...declared, 'other:expired-sessions']) await schedule(id).delete();
  });

  test('the retention deletes old finished logs and keeps an active one', async () => {
    const { db } = stack.database;
    const active = crypto.randomUUID();
    await insertPendingLog(db, active, {
      target: 'full',
      dryRun: false,
      skipUsers: false,
      requestedBy: 'test',
      requester: 'api',
    });
    await db.raw(`update sync_logs set "startedAt" = "startedAt" - interval '90 days'`);
    const kept = (await column<string>(`select id as v from sync_logs`)).length;
    const result = await stack.gateway.client.workflow.execute('maintenance', {
      workflowId: 'retention-test',
      taskQueue: QUEUE.core,
      args: ['retention'],
    });
    expect(result).toMatchObject({ syncLogs: kept - 1 });
    expect(await column<string>(`select id as v from sync_logs`)).toEqual([active]);
    await stack.launcher.cancelSync(active, OPERATOR);
  });

  test('the watch runs as a workflow', async () => {
    const result = await stack.gateway.client.workflow.execute('maintenance', {
      workflowId: 'watch-test',
      taskQueue: QUEUE.core,
      args: ['sync-watch'],
    });
    expect(result).toEqual({ did: 'nothing' });
  });
});

test('the filters of the guide show in Temporal what the guide says', async () => {
  const guide = readFileSync('docs/guide/operations.md', 'utf8');
  const table = /\| to see \|[^\n]*\n\|[^\n]*\n((?:\|[^\n]*\n)+)/.exec(guide)?.[1] ?? '';
  const filters = new Map(
    [...table.matchAll(/^\| (.+?) \| `(.+?)` \|$/gm)].map(([, what = '', filter = '']) => [what, filter] as const),
  );
  expect(filters.size).toBeGreaterThanOrEqual(8);
  const shown = async (filter: string) => {
    const found: { type: string; workflowId: string; requester: unknown }[] = [];
    for await (const { type, workflowId, searchAttributes } of stack.gateway.client.workflow.list({ query: filter })) {
      found.push({ type, workflowId, requester: searchAttributes['RequestedBy']?.[0] });
    }
    return found;
  };
  // The list lags behind.
  const types = async () => (await shown('')).map(({ type }) => type);
  await expect
    .poll(types, { timeout: 20_000 })
    .toEqual(expect.arrayContaining(['panelSync', 'liveMirror', 'maintenance']));
  const counts: Record<string, number> = {};
  for (const [what, filter] of filters) counts[what] = (await shown(filter)).length;
  expect(counts['syncs']).toBeGreaterThan(0);
  const one = async (what: string) => shown(filters.get(what) ?? '');
  expect(new Set((await one('syncs')).map(({ type }) => type))).toEqual(new Set(['panelSync']));
  expect(new Set((await one('syncs that the service started itself')).map(({ requester }) => requester))).toEqual(
    new Set(['scheduler']),
  );
  expect(new Set((await one('the live mirror')).map(({ workflowId }) => workflowId))).toEqual(
    new Set([LIVE_MIRROR_ID]),
  );
  expect((await one('everything but maintenance')).some(({ type }) => type === 'maintenance')).toBe(false);
  expect((await one('maintenance')).every(({ type }) => type === 'maintenance')).toBe(true);
});

/** Checks all histories of the tests above. */
describe('histories', () => {
  test('hold no failed workflow task, no key and no address', async () => {
    stack.settings.panelClientApiKey = new Secret(stack.sim.keys.client);
    const runs = await allHistories(stack.gateway.client);
    expect(runs.length).toBeGreaterThan(40);
    expect(runs.flatMap(failedTasks)).toEqual([]);
    const text = textOf(runs.map((r) => r.events));
    expect(text).toContain('stagePages');
    const { sim, database } = stack;
    const secrets = [
      ...Object.values(sim.keys),
      new URL(database.url).password,
      ...sim.dump().users.map((u) => u.email),
      new URL(sim.url).host,
    ].filter((secret) => secret !== '');
    expect(secrets.length).toBeGreaterThan(200);
    expect(secrets.filter((secret) => text.includes(secret))).toEqual([]);
  });
});

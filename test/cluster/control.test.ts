/** A sync on a real cluster: undisturbed, cancelled, terminated and reset by Temporal's own CLI, and with kills. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { PANEL_SYNC_ID } from '../../src/workflows/contract.ts';
import { failedTasks, resetPoints } from '../support/histories.ts';
import { onFailure } from '../support/journal.ts';
import { query } from '../support/merge.ts';
import { type Installation, LIFE_API_KEY, type ServiceProcess } from '../support/processes.ts';
import {
  committedRows,
  type Disturbable,
  disturbable,
  expectEnd,
  expectMirrorEqual,
  expectOnce,
  reportOf,
} from '../support/spoiled.ts';
import { type ClusterUnderTest, createReport, startClusterUnderTest } from './harness.ts';

const NAMESPACE = 'nodebyte';
const report = createReport();
let cluster: ClusterUnderTest;
let life: Disturbable;
let installation: Installation;
let api: ServiceProcess;
onFailure(() => installation);
beforeAll(async () => {
  cluster = await startClusterUnderTest();
  await cluster.createNamespace(NAMESPACE);
  installation = await cluster.install(NAMESPACE);
  life = await disturbable(installation);
  api = await installation.startApi();
});
afterAll(async () => {
  report.print();
  await cluster?.discard();
});
beforeEach(() => life.prepare());

/** Asks the api for a full sync. @returns the id of its log. */
async function request(): Promise<string> {
  const response = await fetch(`${api.url}/api/v1/sync/full`, {
    method: 'POST',
    headers: { 'x-api-key': LIFE_API_KEY, 'content-type': 'application/json' },
    body: '{}',
  });
  const text = await response.text();
  expect(response.status, text).toBe(202);
  return /"sync_log_id":"([^"]+)"/.exec(text)?.[1] ?? '';
}

const handle = (runId?: string) => installation.gateway.client.workflow.getHandle(PANEL_SYNC_ID, runId);
const workflow = (command: string, ...args: string[]) =>
  cluster.temporal(NAMESPACE, 'workflow', command, '--workflow-id', PANEL_SYNC_ID, ...args);
const seconds = (since: number) => `${((Date.now() - since) / 1_000).toFixed(1)} s`;

test('a full sync by the api mirrors the panel, with the counts of the same run', async () => {
  const began = Date.now();
  const log = await installation.ended(await request());
  report.saw('full sync', `${log.itemsSynced} rows in ${seconds(began)}`);
  await expectEnd(installation, log, life.undisturbed);
  const { events } = await handle().fetchHistory();
  expect(failedTasks({ events: events ?? [] })).toEqual([]);
});

test('it is found by its attributes, which the worker registered', async () => {
  const began = Date.now();
  const log = await installation.ended(await request());
  let found: string[] = [];
  const query = `WorkflowType = 'panelSync' AND SyncType = 'full' AND RequestedBy = 'api' AND ExecutionStatus = 'Completed'`;
  for (let i = 0; i < 50 && !found.includes(log.id); i += 1) {
    await delay(100);
    found = [];
    for await (const run of installation.gateway.client.workflow.list({ query }))
      found.push(String(run.memo?.['logId']));
  }
  report.saw('search attributes', `the run was found ${seconds(began)} after its request`);
  expect(found).toContain(log.id);
});

describe('what an administrator does', () => {
  test('cancel: the run and its row end as cancelled, and nothing is written', async () => {
    const before = await committedRows(installation.db);
    const logId = await request();
    await installation.atRequest(20, () => workflow('cancel'));
    const asked = Date.now();
    const log = await installation.ended(logId);
    report.saw('cancel', `${log.status} ${seconds(asked)} after it`);
    expect(log.status).toBe('CANCELLED');
    await installation.settled();
    expect((await handle().describe()).status.name).toBe('CANCELLED');
    expect(await committedRows(installation.db)).toEqual(before);
    await expectOnce(installation, logId, 'sync.cancelled');
  });

  test('terminate: the schedule of the watch closes the row as failed, and the next sync completes', async () => {
    const before = await committedRows(installation.db);
    const logId = await request();
    await installation.atRequest(20, () => workflow('terminate', '--reason', 'by hand'));
    const asked = Date.now();
    const log = await installation.ended(logId, 100_000);
    report.saw('terminate', `${log.status}, "${log.error}" ${seconds(asked)} after it`);
    expect(log).toMatchObject({ status: 'FAILED', error: 'the run was terminated' });
    expect(await committedRows(installation.db)).toEqual(before);
    await expectOnce(installation, logId, 'sync.failed');
    await life.prepare();
    await expectEnd(installation, await installation.ended(await request()), life.undisturbed);
  });

  test.each(['first workflow task', 'middle'])('reset to the %s: reads and writes again', async (point) => {
    const logId = await request();
    expect((await installation.ended(logId)).status).toBe('COMPLETED');
    await installation.settled();
    const { runId } = await handle().describe();
    const points = resetPoints({ events: (await handle().fetchHistory()).events ?? [] });
    await query(installation.db, `update servers set name = 'stale' where "pterodactylId" % 3 = 0`);
    const to =
      point === 'middle'
        ? ['--event-id', String(points[Math.floor(points.length / 2)])]
        : ['--type', 'FirstWorkflowTask'];
    const asked = Date.now();
    await workflow('reset', '--run-id', runId, '--reason', 'by hand', ...to);
    await installation.settled(60_000);
    const log = await installation.ended(logId, 5_000);
    report.saw(`reset to the ${point}`, `${log.status} ${seconds(asked)} after it`);
    expect((await handle().describe()).status.name).toBe('COMPLETED');
    expect(log).toMatchObject({ status: 'COMPLETED', error: null });
    expect(reportOf(log).failed).toBe(0);
    await expectMirrorEqual(installation);
    expect(await query(installation.db, 'select p.log_id from sync_pages p limit 1')).toEqual([]);
    const kinds = await query(
      installation.db,
      `select o.kind from outbox o where o.kind like 'sync.%' order by o.created_at`,
    );
    expect(kinds).toEqual([{ kind: 'sync.completed' }, { kind: 'sync.completed' }]);
  });

  test('reset of a running sync: the new run goes on with the same row', async () => {
    const logId = await request();
    await installation.atRequest(20, async () => {
      const { runId } = await handle().describe();
      await workflow('reset', '--run-id', runId, '--reason', 'by hand', '--type', 'FirstWorkflowTask');
    });
    const asked = Date.now();
    const log = await installation.ended(logId);
    report.saw('reset of a running sync', `${log.status} ${seconds(asked)} after it`);
    expect(log).toMatchObject({ status: 'COMPLETED', error: null });
    await expectMirrorEqual(installation);
    await expectOnce(installation, logId, 'sync.completed');
  });
});

describe('in the middle of a run', () => {
  /** Runs a sync, and `disturb` at its 30th request. */
  async function disturbed(what: string, disturb: () => Promise<unknown>): Promise<void> {
    const logId = await request();
    await installation.atRequest(30, disturb);
    const hit = Date.now();
    const log = await installation.ended(logId, 150_000);
    report.saw(what, `${log.status} ${seconds(hit)} after it`);
    await expectEnd(installation, log, life.undisturbed);
  }

  test('the busiest worker is killed', () =>
    disturbed('worker killed', async () => (await installation.busiestWorker()).kill()));

  test('PostgreSQL of Temporal is killed, and comes back after five seconds', () =>
    disturbed('PostgreSQL of Temporal killed', async () => {
      await cluster.killPostgres();
      setTimeout(() => void cluster.restartPostgres(), 5_000);
    }));

  test('the Temporal server is killed, and comes back', () =>
    disturbed('Temporal killed', async () => {
      await cluster.killServer();
      setTimeout(() => void cluster.restartServer(), 2_000);
    }));

  test('our PostgreSQL is killed, and comes back', () =>
    disturbed('our PostgreSQL killed', async () => {
      await installation.killPostgres(true);
      await installation.restartPostgres();
    }));
});

/** Namespaces as they are found: attributes of another type, no place left for attributes, no namespace at all. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PANEL_SYNC_ID } from '../../src/workflows/contract.ts';
import { onFailure } from '../support/journal.ts';
import { type Installation, LIFE_API_KEY } from '../support/processes.ts';
import { expectMirrorEqual, expectOnce } from '../support/spoiled.ts';
import { INT, KEYWORD } from '../support/temporal.ts';
import { type ClusterUnderTest, createReport, eventually, runCli, startClusterUnderTest } from './harness.ts';

/** Places that SQL visibility has for attributes of one type in a namespace (schema postgresql/v12/visibility). */
const KEYWORD_PLACES = 10;
const INT_PLACES = 3;
const SMALL = { allocations: 300, users: 120, servers: 120, limit: 0 };

const report = createReport();
let cluster: ClusterUnderTest;
let installation: Installation | undefined;
onFailure(() => installation);
beforeAll(async () => {
  cluster = await startClusterUnderTest();
});
afterAll(async () => {
  report.print();
  await cluster?.discard();
});

/** Registers attributes, and waits until the server knows them. */
async function register(namespace: string, searchAttributes: Record<string, number>): Promise<void> {
  const { operatorService } = cluster.connection;
  await operatorService.addSearchAttributes({ namespace, searchAttributes });
  await eventually(async () => {
    const { customAttributes } = await operatorService.listSearchAttributes({ namespace });
    return Object.keys(searchAttributes).every((name) => name in (customAttributes ?? {})) || undefined;
  }, 'the registered attributes');
}

/** Runs a full sync with one worker. @returns the names of the search attributes that it has. */
async function syncOnce(on: Installation): Promise<string[]> {
  await on.haveWorkers(1);
  const { syncLogId } = await on.launcher.requestSync({ target: 'full', requestedBy: 'test' });
  const log = await on.ended(syncLogId);
  expect(log).toMatchObject({ status: 'COMPLETED', error: null });
  await expectMirrorEqual(on);
  await on.settled();
  const { raw } = await on.gateway.client.workflow.getHandle(PANEL_SYNC_ID).describe();
  return Object.keys(raw.workflowExecutionInfo?.searchAttributes?.indexedFields ?? {}).filter((name) =>
    ['SyncType', 'RequestedBy'].includes(name),
  );
}

/** The command that the worker logged, without the name of the program. */
async function loggedCommand(on: Installation, begin: string): Promise<string[]> {
  const text = await on.diagnosis();
  const command = text.split('"').find((part) => part.startsWith(begin));
  expect(command, `"${begin}" in the log of the worker`).toBeDefined();
  return (command ?? '').split(' ').slice(1);
}

test('an attribute of a wrong type: syncs run without attributes, and with them after the logged commands', async () => {
  const namespace = 'wrong-type';
  await cluster.createNamespace(namespace);
  await register(namespace, { SyncType: INT });
  installation = await cluster.install(namespace, SMALL);
  expect(await syncOnce(installation)).toEqual([]);
  expect(await installation.diagnosis()).toContain(
    'the search attribute SyncType is registered as Int and must be Keyword',
  );

  const remove = await loggedCommand(
    installation,
    'temporal operator search-attribute remove --namespace wrong-type --name SyncType',
  );
  const create = await loggedCommand(
    installation,
    'temporal operator search-attribute create --namespace wrong-type --name SyncType',
  );
  await cluster.temporal(namespace, ...remove, '--yes');
  await cluster.temporal(namespace, ...create);
  const names = await eventually(async () => {
    const found = await syncOnce(installation as Installation);
    return found.length === 2 ? found : undefined;
  }, 'a sync with attributes');
  report.saw(
    'search attribute of a wrong type',
    `the syncs completed; after the logged commands with ${names.join(', ')}`,
  );
});

test('no place left for attributes: syncs run without', async () => {
  const namespace = 'no-place';
  await cluster.createNamespace(namespace);
  const many = (count: number, type: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`Ours${type}x${i}`, type]));
  await register(namespace, { ...many(KEYWORD_PLACES, KEYWORD), ...many(INT_PLACES, INT) });
  await expect(
    cluster.connection.operatorService.addSearchAttributes({ namespace, searchAttributes: { OneMore: KEYWORD } }),
  ).rejects.toThrow(/cannot have more than/);
  installation = await cluster.install(namespace, SMALL);
  expect(await syncOnce(installation)).toEqual([]);
  expect(await installation.diagnosis()).toContain('the search attribute SyncType could not be registered');
  report.saw('no place left for search attributes', 'the sync completed, and the worker logged the commands');
});

test('no namespace: api, doctor, worker and a start name it; nothing is left behind; all goes on when it is created', async () => {
  const namespace = 'not-there';
  installation = await cluster.install(namespace, SMALL);
  const { db } = installation;
  const api = await installation.startApi();
  const get = async (path: string) => (await fetch(`${api.url}${path}`)).json() as Promise<Record<string, unknown>>;
  expect(await get('/health')).toMatchObject({ status: 'degraded', workers: { status: 'unavailable' } });
  expect(await get('/health/ready')).toMatchObject({ status: 'not_ready', checks: { temporal: 'error' } });

  const start = () =>
    fetch(`${api.url}/api/v1/sync/full`, {
      method: 'POST',
      headers: { 'x-api-key': LIFE_API_KEY, 'content-type': 'application/json' },
      body: '{}',
    });
  const refused = await start();
  const sentence = await refused.text();
  expect(refused.status).toBe(503);
  expect(sentence).toContain('The workflow engine has no namespace \\"not-there\\"');
  expect((await db.raw('select count(*)::int as n from sync_logs')).rows).toEqual([{ n: 0 }]);

  const doctor = await runCli(installation, cluster.address, 'doctor');
  const line = doctor.split('\n').find((text) => text.includes('namespace does not exist')) ?? '';
  expect(line).toContain('namespace not-there');
  expect(doctor).toContain('temporal operator namespace create --namespace not-there');
  await expect(installation.startWorker()).rejects.toThrow(/the Temporal namespace "not-there" does not exist/);

  await cluster.createNamespace(namespace);
  await installation.startWorker();
  const accepted = await eventually(async () => {
    const response = await start();
    return response.status === 202 ? response.text() : undefined;
  }, 'an accepted start');
  const logId = /"sync_log_id":"([^"]+)"/.exec(accepted)?.[1] ?? '';
  expect(await installation.ended(logId)).toMatchObject({ status: 'COMPLETED', error: null });
  await expectMirrorEqual(installation);
  await expectOnce(installation, logId, 'sync.completed');
  report.saw('no namespace', `start: 503; doctor: ${line.trim()}`);
});

/**
 * One kill -9 of each process in the middle of a sync. Whatever dies, the run goes on by itself and ends as one that
 * nobody disturbed. (`npm run test:life` kills at many more moments.)
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { SyncLog } from '../../src/store/sync-store.ts';
import { type Installation, startInstallation } from '../support/processes.ts';
import { expectEnd, expectMirrorEqual, restoreSpoiled, spoil } from '../support/spoiled.ts';

/** A request in the middle: first pages are through, most others are not. */
const MID_READ = 30;

let installation: Installation;
let undisturbed: SyncLog;

async function request(): Promise<string> {
  return (await installation.launcher.requestSync({ target: 'full', requestedBy: 'test' })).syncLogId;
}

beforeAll(async () => {
  installation = await startInstallation();
  await installation.haveWorkers(2);
  const first = await installation.ended(await request());
  expect(first.error).toBeNull();
  await expectMirrorEqual(installation);
  await installation.settled();
  await spoil(installation.db);
  await restoreSpoiled(installation.db);
  installation.sim.clearRequests();
  undisturbed = await installation.ended(await request());
  // The kills below really are in the middle.
  expect(installation.sim.requests.length).toBeGreaterThan(2 * MID_READ);
  await expectEnd(installation, undisturbed, undisturbed);
});
afterAll(() => installation?.stop());

beforeEach(async () => {
  await installation.settled();
  await restoreSpoiled(installation.db);
});

test('what an undisturbed run does', () => {
  expect(undisturbed.metadata['warnings']).toBeUndefined();
  expect(undisturbed.metadata['counts']).toMatchObject({
    locations: { created: 0, updated: 2, pruned: 1, failed: 0 },
    nodes: { created: 0, updated: 6, pruned: 1, failed: 0 },
    allocations: { created: 750, pruned: 40, failed: 0 },
    users: { created: 150, updated: 150, pruned: 0, failed: 0 },
    servers: { created: 250, pruned: 60, failed: 0 },
    databases: { failed: 0 },
    subusers: { failed: 0 },
  });
});

test('a worker is killed while it reads: the other finishes', async () => {
  const logId = await request();
  const killed = await installation.atRequest(MID_READ, async () => {
    const worker = await installation.busiestWorker();
    await worker.kill();
    return worker;
  });
  expect(killed.alive()).toBe(false);
  await expectEnd(installation, await installation.ended(logId), undisturbed);
});

test('PostgreSQL is killed, its backends too, while pages are read, and comes back', async () => {
  const logId = await request();
  await installation.atRequest(MID_READ, () => installation.killPostgres(true));
  await delay(1_500);
  await installation.restartPostgres();
  await expectEnd(installation, await installation.ended(logId), undisturbed);
});

test('Temporal is killed while pages are read, and comes back', async () => {
  const logId = await request();
  await installation.atRequest(MID_READ, () => installation.killTemporal());
  await delay(1_000);
  await installation.restartTemporal();
  await expectEnd(installation, await installation.ended(logId), undisturbed);
});

/**
 * One kill -9 of each process in the middle of a sync. Whatever is killed, the run continues by itself and ends like an
 * undisturbed one. (`npm run test:life` kills at many more moments.)
 */
import { randomUUID } from 'node:crypto';
import { getPriority } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { insertPendingLog } from '../../../src/store/sync/run-store.ts';
import { PANEL_SYNC_ID } from '../../../src/workflows/contract.ts';
import type { Installation } from '../../support/processes.ts';
import { type Disturbable, expectEnd, startDisturbable } from '../../support/spoiled.ts';

/** Number of a request in the middle: the first pages are read, most others are not. */
const MID_READ = 30;

let life: Disturbable;
let installation: Installation;
beforeAll(async () => {
  life = await startDisturbable();
  installation = life.installation;
});
afterAll(() => installation?.stop());
beforeEach(() => life.prepare());

const expectUndisturbed = async (logId: string) =>
  expectEnd(installation, await installation.ended(logId), life.undisturbed);

test('the undisturbed run, for comparison', () => {
  const { metadata } = life.undisturbed;
  expect(life.requests).toBeGreaterThan(2 * MID_READ);
  expect(metadata['warnings']).toBeUndefined();
  expect(metadata['counts']).toMatchObject({
    locations: { created: 0, updated: 2, pruned: 1, failed: 0 },
    nodes: { created: 0, updated: 6, pruned: 1, failed: 0 },
    allocations: { created: 750, pruned: 40, failed: 0 },
    users: { created: 150, updated: 150, pruned: 0, failed: 0 },
    servers: { created: 250, pruned: 60, failed: 0 },
    databases: { failed: 0 },
    subusers: { failed: 0 },
  });
});

test('a worker lets other processes go first: it yields to the api on the same machine', () => {
  for (const { processId } of installation.workers())
    expect(getPriority(processId)).toBeGreaterThan(getPriority(process.pid));
});

test('a worker is killed while it reads: the other finishes', async () => {
  const logId = await life.request();
  await installation.atRequest(MID_READ, async () => {
    const worker = await installation.busiestWorker();
    await worker.kill();
  });
  expect(installation.workers()).toHaveLength(1);
  await expectUndisturbed(logId);
});

test('PostgreSQL is killed, its backends too, while pages are read, and comes back', async () => {
  const logId = await life.request();
  await installation.atRequest(MID_READ, () => installation.killPostgres(true));
  await delay(500);
  await installation.restartPostgres();
  await expectUndisturbed(logId);
});

test('Temporal is killed while pages are read, and comes back', async () => {
  const logId = await life.request();
  await installation.atRequest(MID_READ, () => installation.killTemporal());
  await delay(1_000);
  await installation.restartTemporal();
  await expectUndisturbed(logId);
});

test('a worker that is ready has looked after the syncs: one that was left over has begun', async () => {
  const { db, gateway } = installation;
  await Promise.all(installation.workers().map((worker) => worker.kill()));
  const logId = randomUUID();
  const options = { target: 'full', dryRun: false, skipUsers: false } as const;
  await insertPendingLog(db, logId, { ...options, requestedBy: 'test', requester: 'api' });
  await db.raw(`update sync_logs set "startedAt" = "startedAt" - interval '1 minute' where id = ?`, [logId]);
  await installation.startWorker();
  // Not by the schedule, which would start it within a minute.
  const { memo } = await gateway.client.workflow.getHandle(PANEL_SYNC_ID).describe();
  expect(memo).toMatchObject({ logId });
  await expectUndisturbed(logId);
});

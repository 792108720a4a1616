/** People who ask an account to act at a moment at which its workflow goes on in a new run, or ends. */
import { randomUUID } from 'node:crypto';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { workflowBundle } from '../../../src/temporal/bundle.ts';
import { createTemporalGateway, type TemporalGateway } from '../../../src/temporal/connection.ts';
import {
  ACT_UPDATE,
  type AccountWish,
  type HytaleAccountInput,
  type HytaleView,
  QUEUE,
} from '../../../src/workflows/contract.ts';
import type { Step } from '../../../src/workflows/hytale/entity.ts';
import { temporalConfig } from '../../support/stack.ts';
import { createTestNamespace, temporalAddress } from '../../support/temporal.ts';

let gateway: TemporalGateway;
let connection: NativeConnection;
let workers: Worker[];
let running: Promise<unknown>;
/** Steps that began, and what each waits for before it ends. */
let begun: number;
let gates: Map<number, Promise<void>>;
/** The step after which the account is over. */
let lastStep: number;

async function advanceAccount(): Promise<Step> {
  begun += 1;
  const version = begun;
  await gates.get(version);
  return {
    id: 'account',
    status: 'active',
    version,
    result: 'done',
    why: 'it was renewed',
    until: null,
    ms: null,
    over: version === lastStep,
  };
}

beforeAll(async () => {
  Runtime.install({ shutdownSignals: [], logger: new DefaultLogger('ERROR', () => undefined) });
  const namespace = await createTestNamespace('entity');
  gateway = createTemporalGateway({ ...temporalConfig(), namespace });
  connection = await NativeConnection.connect({ address: temporalAddress() });
  const codePath = await workflowBundle(cacheFolder(process.env['CACHE_DIR'] || undefined));
  const options = { connection, namespace, activities: { advanceAccount }, shutdownForceTime: '5s' };
  workers = await Promise.all([
    Worker.create({ ...options, taskQueue: QUEUE.core, workflowBundle: { codePath } }),
    Worker.create({ ...options, taskQueue: QUEUE.outbound }),
    Worker.create({ ...options, taskQueue: QUEUE.hytale }),
  ]);
  running = Promise.all(workers.map((worker) => worker.run()));
});
afterAll(async () => {
  for (const worker of workers) worker.shutdown();
  await running;
  await connection.close();
  await gateway.close();
});
beforeEach(() => {
  begun = 0;
  gates = new Map();
  lastStep = Number.POSITIVE_INFINITY;
});

/** Starts an account of so many steps per run, holds its second step, and lets two people ask for a renewal meanwhile. */
async function askTwice(stepsPerRun: number) {
  const second = Promise.withResolvers<void>();
  gates.set(2, second.promise);
  const handle = await gateway.client.workflow.start<(input: HytaleAccountInput) => Promise<HytaleView>>(
    'hytaleAccount',
    {
      workflowId: `hytale-account:${randomUUID()}`,
      taskQueue: QUEUE.core,
      workflowRunTimeout: '60s',
      args: [{ accountId: 'account', stepsPerRun }],
    },
  );
  await expect.poll(() => begun).toBe(1);
  const ask = () =>
    handle.startUpdate<HytaleView, [AccountWish]>(ACT_UPDATE, {
      args: [{ what: 'refresh' }],
      waitForStage: 'ACCEPTED',
    });
  const first = await ask();
  await expect.poll(() => begun).toBe(2);
  const later = await ask();
  second.resolve();
  return { handle, answers: Promise.all([first.result(), later.result()]) };
}

test('somebody who waits for a further step gets it before the workflow goes on in a new run', async () => {
  const { handle, answers } = await askTwice(2);
  expect((await answers).map(({ version }) => version)).toEqual([2, 3]);
  // The new run takes a step at once, since no next one was due.
  await expect.poll(() => begun, { timeout: 10_000 }).toBe(4);
  const present = await gateway.client.workflow.getHandle(handle.workflowId).describe();
  expect([present.status.name, present.runId === handle.firstExecutionRunId]).toEqual(['RUNNING', false]);
}, 30_000);

test('somebody who waits for a further step gets the last answer when the workflow ends', async () => {
  lastStep = 2;
  const { handle, answers } = await askTwice(12);
  expect((await answers).map(({ version }) => version)).toEqual([2, 2]);
  expect(await handle.result()).toMatchObject({ version: 2 });
  expect(begun).toBe(2);
}, 30_000);

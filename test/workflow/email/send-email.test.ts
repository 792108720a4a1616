/** The workflow of one email with mocked activities: its retries, its ends, and the reason that it passes on. */
import { randomUUID } from 'node:crypto';
import { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { EmailActivities } from '../../../src/activities/email.ts';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { workflowBundle } from '../../../src/temporal/bundle.ts';
import { createTemporalGateway, type TemporalGateway } from '../../../src/temporal/connection.ts';
import { QUEUE, sendEmailId } from '../../../src/workflows/contract.ts';
import { allHistories, failedTasks, textOf } from '../../support/histories.ts';
import { temporalConfig } from '../../support/stack.ts';
import { createTestNamespace, temporalAddress } from '../../support/temporal.ts';

const ADDRESS = 'reader@customer-of-the-workflow-test.example';
const TOKEN = 'f00d'.repeat(16);

let gateway: TemporalGateway;
let connection: NativeConnection;
let workers: Worker[];
let running: Promise<unknown>;
/** The mocked activities; each test replaces some. */
let mocks: EmailActivities;
let calls: { deliver: { emailId: string }[]; fail: { emailId: string; reason?: string }[] };

const unavailable = (nextRetryDelay: number) =>
  ApplicationFailure.create({
    type: 'EMAIL_UNAVAILABLE',
    message: 'The email server cannot be reached',
    nextRetryDelay,
  });
const rejected = () => ApplicationFailure.nonRetryable('The email server refused the email', 'EMAIL_REJECTED');

beforeEach(() => {
  calls = { deliver: [], fail: [] };
  mocks = {
    deliverEmail: async () => ({ status: 'sent' }),
    failEmail: async () => undefined,
  };
});

beforeAll(async () => {
  Runtime.install({ shutdownSignals: [], logger: new DefaultLogger('ERROR', () => undefined) });
  const namespace = await createTestNamespace('workflow');
  gateway = createTemporalGateway({ ...temporalConfig(), namespace });
  connection = await NativeConnection.connect({ address: temporalAddress() });
  const codePath = await workflowBundle(cacheFolder(process.env['CACHE_DIR'] || undefined));
  const activities: EmailActivities = {
    deliverEmail(input) {
      calls.deliver.push(input);
      return mocks.deliverEmail(input);
    },
    failEmail(input) {
      calls.fail.push(input);
      return mocks.failEmail(input);
    },
  };
  const options = { connection, namespace, activities, shutdownForceTime: '5s', maxHeartbeatThrottleInterval: '200ms' };
  workers = await Promise.all([
    Worker.create({ ...options, taskQueue: QUEUE.core, workflowBundle: { codePath } }),
    Worker.create({ ...options, taskQueue: QUEUE.outbound }),
  ]);
  running = Promise.all(workers.map((w) => w.run()));
});
afterAll(async () => {
  for (const worker of workers) worker.shutdown();
  await running;
  await connection.close();
  await gateway.close();
});

async function start() {
  const emailId = randomUUID();
  const handle = await gateway.client.workflow.start('sendEmail', {
    workflowId: sendEmailId(emailId),
    taskQueue: QUEUE.core,
    args: [{ emailId }],
  });
  return { emailId, handle };
}
type Handle = Awaited<ReturnType<typeof start>>['handle'];
/** Status in which the server says the workflow ended. */
async function endOf(handle: Handle): Promise<string> {
  await handle.result().catch(() => undefined);
  return (await handle.describe()).status.name;
}
const pending = async (handle: Handle) => (await handle.describe()).raw.pendingActivities?.[0];

/** Sends heartbeats until it is cancelled; then `then` is its result. */
async function untilCancelled(then: () => { status: 'sent' }): Promise<{ status: 'sent' }> {
  const context = Context.current();
  const beat = setInterval(() => context.heartbeat(), 50);
  try {
    await context.cancelled;
  } catch (error) {
    if (!(error instanceof CancelledFailure)) throw error;
  } finally {
    clearInterval(beat);
  }
  return then();
}

describe('an email', () => {
  test('that is sent ends with the result of the activity, and is not marked as failed', async () => {
    const { emailId, handle } = await start();
    expect(await handle.result()).toEqual({ status: 'sent' });
    mocks.deliverEmail = async () => ({ status: 'skipped' });
    expect(await (await start()).handle.result()).toEqual({ status: 'skipped' });
    expect(calls.deliver[0]).toEqual({ emailId });
    expect(calls.fail).toEqual([]);
  });

  test('is tried again when the provider asks, not when the policy says', async () => {
    // With the policy alone, six attempts would take minutes.
    mocks.deliverEmail = async () => {
      if (calls.deliver.length < 6) throw unavailable(20);
      return { status: 'sent' };
    };
    const { emailId, handle } = await start();
    expect(await handle.result()).toEqual({ status: 'sent' });
    expect(calls.deliver).toEqual(Array.from({ length: 6 }, () => ({ emailId })));
    expect(calls.fail).toEqual([]);
  });

  test('waits as long as the provider asks, but ends at once if it is cancelled meanwhile', async () => {
    mocks.deliverEmail = async () => {
      throw unavailable(3_600_000);
    };
    const { emailId, handle } = await start();
    await expect.poll(async () => Number((await pending(handle))?.currentRetryInterval?.seconds ?? 0)).toBe(3_600);
    await handle.cancel();
    expect(await endOf(handle)).toBe('CANCELLED');
    expect(calls.deliver).toHaveLength(1);
    expect(calls.fail).toEqual([{ emailId, reason: 'cancelled' }]);
  });

  test('that is refused fails at once; the reason of the attempt stays', async () => {
    mocks.deliverEmail = async () => {
      throw rejected();
    };
    const { emailId, handle } = await start();
    expect(await endOf(handle)).toBe('FAILED');
    expect(calls.deliver).toHaveLength(1);
    expect(calls.fail).toEqual([{ emailId }]);
    expect(Object.keys(calls.fail[0] ?? {})).toEqual(['emailId']);
  });

  test('is marked as failed in the end, also if the database is away at first', async () => {
    mocks.deliverEmail = async () => {
      throw rejected();
    };
    mocks.failEmail = async () => {
      if (calls.fail.length < 3) {
        throw ApplicationFailure.create({ type: 'DATABASE_UNAVAILABLE', nextRetryDelay: 20 });
      }
    };
    const { emailId, handle } = await start();
    expect(await endOf(handle)).toBe('FAILED');
    expect(calls.fail).toEqual([{ emailId }, { emailId }, { emailId }]);
  });

  test('that is cancelled during an attempt is marked only after the attempt', async () => {
    const order: string[] = [];
    mocks.deliverEmail = () =>
      untilCancelled(() => {
        order.push('the attempt ended');
        throw new CancelledFailure('called off');
      });
    mocks.failEmail = async () => {
      order.push('marked');
    };
    const { emailId, handle } = await start();
    await expect.poll(() => calls.deliver.length).toBe(1);
    await handle.cancel();
    expect(await endOf(handle)).toBe('CANCELLED');
    expect(order).toEqual(['the attempt ended', 'marked']);
    expect(calls.fail).toEqual([{ emailId, reason: 'cancelled' }]);
  });

  test('that is cancelled and whose attempt fails without noticing it is marked as cancelled', async () => {
    const asked = Promise.withResolvers<void>();
    mocks.deliverEmail = async () => {
      await asked.promise;
      throw unavailable(20);
    };
    const { emailId, handle } = await start();
    await expect.poll(() => calls.deliver.length).toBe(1);
    await handle.cancel();
    // temporal.api.enums.v1.PendingActivityState: 3 = CANCEL_REQUESTED
    await expect.poll(async () => (await pending(handle))?.state).toBe(3);
    asked.resolve();
    expect(await endOf(handle)).toBe('CANCELLED');
    expect(calls.deliver).toHaveLength(1);
    expect(calls.fail).toEqual([{ emailId, reason: 'cancelled' }]);
  });

  test('that was sent although it was cancelled counts as sent', async () => {
    mocks.deliverEmail = () => untilCancelled(() => ({ status: 'sent' }));
    const { handle } = await start();
    await expect.poll(() => calls.deliver.length).toBe(1);
    await handle.cancel();
    expect(await handle.result()).toEqual({ status: 'sent' });
    expect(calls.fail).toEqual([]);
  });

  test('that is cancelled before its first attempt is not sent', async () => {
    const emailId = randomUUID();
    const handle = await gateway.client.workflow.start('sendEmail', {
      workflowId: sendEmailId(emailId),
      taskQueue: QUEUE.core,
      args: [{ emailId }],
      startDelay: '1h',
    });
    await handle.cancel();
    // A cancellation wakes a delayed run.
    expect(await endOf(handle)).toBe('CANCELLED');
    expect(calls.deliver).toEqual([]);
    expect(calls.fail).toEqual([{ emailId, reason: 'cancelled' }]);
  });
});

test('histories hold only ids, and no workflow task failed', async () => {
  // The error of an activity must not contain the data that it had when it failed.
  mocks.deliverEmail = async () => {
    const failure = rejected();
    Object.assign(failure, { to: ADDRESS, token: TOKEN });
    throw failure;
  };
  const { emailId, handle } = await start();
  await endOf(handle);
  const runs = await allHistories(gateway.client);
  expect(runs.length).toBeGreaterThan(7);
  const text = `${textOf(runs)}${JSON.stringify(runs)}`;
  expect(text).toContain(emailId);
  for (const secret of [ADDRESS, TOKEN]) expect(text).not.toContain(secret);
  const inputs = runs.flatMap((run) =>
    run.events.flatMap((e) => [
      ...(e.workflowExecutionStartedEventAttributes?.input?.payloads ?? []),
      ...(e.activityTaskScheduledEventAttributes?.input?.payloads ?? []),
    ]),
  );
  for (const { data } of inputs) {
    const keys = Object.keys(JSON.parse(Buffer.from(data ?? []).toString('utf8')));
    expect(keys.filter((key) => !['emailId', 'reason'].includes(key))).toEqual([]);
  }
  expect(runs.flatMap(failedTasks)).toEqual([]);
});

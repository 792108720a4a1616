/** The workflow of the live mirror, hours of it, by the clock of a Temporal server that skips time. */
import { Context } from '@temporalio/activity';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { workflowBundle } from '../../../src/temporal/bundle.ts';
import {
  CHANGED_SIGNAL,
  LIVE_MIRROR_ID,
  LIVE_MIRROR_TYPE,
  type MirrorTick,
  QUEUE,
} from '../../../src/workflows/contract.ts';
import { noTimeSkipping, startTimeSkipping } from '../../support/time-skipping.ts';

describe.skipIf(noTimeSkipping !== undefined)('the live mirror', () => {
  let env: TestWorkflowEnvironment;
  let stop: () => Promise<void>;
  let look: (logId: string) => Promise<MirrorTick>;

  beforeAll(async () => {
    Runtime.install({ shutdownSignals: [], logger: new DefaultLogger('ERROR', () => undefined) });
    env = await startTimeSkipping();
    const worker = await Worker.create({
      connection: env.nativeConnection,
      taskQueue: QUEUE.core,
      activities: { tickMirror: ({ logId }: { logId: string }) => look(logId) },
      workflowBundle: { codePath: await workflowBundle(cacheFolder(process.env['CACHE_DIR'] || undefined)) },
    });
    const running = worker.run();
    stop = async () => {
      worker.shutdown();
      await running;
      await env.teardown();
    };
  });
  afterAll(() => stop?.());

  const start = () =>
    env.client.workflow.start(LIVE_MIRROR_TYPE, { workflowId: LIVE_MIRROR_ID, taskQueue: QUEUE.core, args: [] });
  const ended: MirrorTick = { did: 'ended', waitMs: 0, why: 'the settings do not want it any more' };

  test('looks again when its wait is over, each time with another id, over many runs of a short history, until it is not wanted', async () => {
    const ids: string[] = [];
    // The clock of the server, which is far ahead of ours.
    const times: number[] = [];
    look = async (logId) => {
      ids.push(logId);
      times.push(Context.current().info.currentAttemptScheduledTimestampMs);
      return ids.length > 230 ? ended : { did: 'started', waitMs: 20_000, why: 'a full sync was started' };
    };
    const handle = await start();
    expect(await handle.result()).toEqual({ ended: ended.why });
    expect(new Set(ids).size).toBe(231);
    const pauses = times.slice(1).map((at, n) => at - (times[n] ?? 0));
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(20_000);
    expect(Math.max(...pauses)).toBeLessThan(40_000);
    const first = env.client.workflow.getHandle(LIVE_MIRROR_ID, handle.firstExecutionRunId);
    const { status, historyLength } = await first.describe();
    expect(status.name).toBe('CONTINUED_AS_NEW');
    expect(historyLength).toBeLessThan(1_500);
  });

  test('looks at once when the settings have changed; a failed look is repeated with the same id', async () => {
    const ids: string[] = [];
    const times: number[] = [];
    const waiting = Promise.withResolvers<void>();
    look = async (logId) => {
      ids.push(logId);
      times.push(Context.current().info.currentAttemptScheduledTimestampMs);
      if (ids.length === 1) throw new Error('the database is away');
      waiting.resolve();
      return ids.length > 2 ? ended : { did: 'waited', waitMs: 10 * 24 * 3_600_000, why: 'it spends at most 25 %' };
    };
    const handle = await start();
    // Time is skipped only while somebody waits for a result or sleeps.
    await env.sleep(60_000);
    await waiting.promise;
    await handle.signal(CHANGED_SIGNAL);
    expect(await handle.result()).toEqual({ ended: ended.why });
    expect(ids).toEqual([ids[0], ids[0], ids[2]]);
    expect(ids[2]).not.toBe(ids[0]);
    expect((times[2] ?? 0) - (times[0] ?? 0)).toBeLessThan(3_600_000);
  });
});

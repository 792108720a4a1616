/** Queue figures, failed runs and their retries, with a real Temporal. */
import { createServer, type Server } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTemporalGateway } from '../../../src/temporal/connection.ts';
import { type AllQueueFigures, NO_FIGURES, readTaskQueues } from '../../../src/temporal/task-queues.ts';
import { type Stack, startStack, temporalConfig } from '../../support/stack.ts';

const TINY = { locations: 1, nodes: 1, allocations: 1, nests: 1, eggs: 1, users: 1, servers: 1, databases: 0 };

let stack: Stack;
beforeAll(async () => {
  stack = await startStack({ panel: { ...TINY, subusers: 0 }, workers: false });
});
afterAll(() => stack?.stop());

/** Reads the figures until they are as wanted: Temporal lists a workflow and a backlog a moment later. */
async function figuresWith(wanted: (figures: AllQueueFigures) => boolean): Promise<AllQueueFigures> {
  for (let tries = 0; ; tries += 1) {
    const figures = await readTaskQueues(stack.gateway, 2_500);
    if (wanted(figures) || tries > 300) return figures;
    await delay(50);
  }
}

test('the figures of the queues are true: without workers tasks wait, with them they are taken', async () => {
  const { syncLogId } = await stack.launcher.requestSync({ target: 'locations', requestedBy: 'test' });
  const idle = { running: 0, failed: 0, backlog: 0, backlogAgeSeconds: 0, pollers: { workflow: 0, activity: 0 } };
  const waiting = await figuresWith(({ core, panel }) => core.backlog === 1 && panel.running === 1);
  expect(waiting).toEqual({
    core: { ...idle, running: 1, backlog: 1, backlogAgeSeconds: expect.any(Number) },
    panel: { ...idle, running: 1 },
    outbound: idle,
  });
  await stack.startWorkers();
  await stack.ended(syncLogId);
  const working = await figuresWith(
    ({ core, panel }) => core.running === 0 && panel.running === 0 && core.backlog === 0,
  );
  expect(working).toMatchObject({
    core: { running: 0, failed: 0, backlog: 0, pollers: { workflow: 1, activity: 1 } },
    panel: { running: 0, backlog: 0, pollers: { workflow: 0, activity: 1 } },
    outbound: { running: 0, backlog: 0, pollers: { workflow: 0, activity: 1 } },
  });
});

test('a Temporal that takes connections and says nothing gives no figures, in time', async () => {
  const silent: Server = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as { port: number };
  const gateway = createTemporalGateway({ ...temporalConfig(), address: `127.0.0.1:${port}` });
  try {
    expect(await readTaskQueues(gateway, 300)).toEqual({
      core: NO_FIGURES,
      panel: NO_FIGURES,
      outbound: NO_FIGURES,
    });
  } finally {
    await gateway.close().catch(() => undefined);
    silent.close();
  }
});

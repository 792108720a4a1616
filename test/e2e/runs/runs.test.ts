/** Queue figures, failed runs and their retries, with a real Temporal. */
import { createServer, type Server } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SendFailure } from '../../../src/clients/email/transport.ts';
import { AppError } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { EMAIL_DISPATCH } from '../../../src/services/email/dispatch.ts';
import { createRuns, type Runs } from '../../../src/services/runs/runs.ts';
import { createListener } from '../../../src/store/db/listener.ts';
import { query } from '../../../src/store/db/query.ts';
import { createTemporalGateway } from '../../../src/temporal/connection.ts';
import { createEngineRuns } from '../../../src/temporal/engine-runs.ts';
import { startOutboxRelay } from '../../../src/temporal/outbox-relay.ts';
import { type AllQueueFigures, NO_FIGURES, readTaskQueues } from '../../../src/temporal/task-queues.ts';
import { type MaintenanceKind, maintenanceId, QUEUE } from '../../../src/workflows/contract.ts';
import { emailsEnded, message, plainEmails, queueEmail } from '../../support/email.ts';
import { quiet, type Stack, startStack, temporalConfig } from '../../support/stack.ts';

const TINY = { locations: 1, nodes: 1, allocations: 1, nests: 1, eggs: 1, users: 1, servers: 1, databases: 0 };

let stack: Stack;
let runs: Runs;
let emailServer: 'refuses' | 'accepts' = 'refuses';
beforeAll(async () => {
  stack = await startStack({
    panel: { ...TINY, subusers: 0 },
    workers: false,
    emailTransport: async () => ({
      name: 'smtp',
      keyLifetimeMs: 0,
      async send() {
        if (emailServer === 'accepts') return { providerId: null };
        throw new SendFailure({ outcome: 'final', sentence: 'The email server knows no such mailbox', accepted: 'no' });
      },
      check: async () => '',
      close: async () => undefined,
    }),
  });
  const { database, gateway, launcher, namespace } = stack;
  const engine = createEngineRuns(gateway);
  const ui = { url: 'https://ui.example', namespace };
  runs = createRuns({ db: database.db, emails: plainEmails, launcher, engine, ui, log: quiet });
});
afterAll(() => stack?.stop());

/** Reads until it is as wanted: Temporal lists a workflow a moment later. After some seconds the last value is given. */
async function eventually<T>(read: () => Promise<T>, wanted: (value: T) => boolean): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    const value = await read();
    if (wanted(value) || tries > 300) return value;
    await delay(50);
  }
}
const figuresWith = (wanted: (figures: AllQueueFigures) => boolean) =>
  eventually(() => readTaskQueues(stack.gateway, 2_500), wanted);
/** Creates the schedule of a job and lets it start the job once. It has no times, so that it starts nothing by itself. */
async function trigger(kind: MaintenanceKind): Promise<void> {
  const schedule = await stack.gateway.client.schedule.create({
    scheduleId: maintenanceId(kind),
    spec: {},
    action: {
      type: 'startWorkflow',
      workflowType: 'maintenance',
      workflowId: maintenanceId(kind),
      taskQueue: QUEUE.core,
      args: [kind],
    },
  });
  await schedule.trigger();
}
const failed = async () => (await runs.list({ status: 'failed', limit: 50 })).runs;
const events = (id: string) =>
  query<{ action: string; type: string }>(
    stack.database.db,
    `select a.action, a.actor_type as type from audit_events a where a.target_id = ?`,
    [id],
  );

test('without workers tasks wait and no poller is there; a terminated job is listed', async () => {
  const { client } = stack.gateway;
  await trigger('retention');
  const idle = { running: 0, failed: 0, backlog: 0, backlogAgeSeconds: 0, pollers: { workflow: 0, activity: 0 } };
  const waiting = await figuresWith(({ core }) => core.backlog === 1 && core.running === 1);
  expect(waiting).toEqual({
    core: { ...idle, running: 1, backlog: 1, backlogAgeSeconds: expect.any(Number) },
    panel: idle,
    outbound: idle,
    webhooks: idle,
    hytale: idle,
  });
  const running = await runs.list({ status: 'running', limit: 5 });
  expect(running).toMatchObject({ complete: true, runs: [{ kind: 'maintenance', name: 'retention', endedAt: null }] });
  const id = running.runs[0]?.id ?? '';
  await client.workflow.getHandle(running.runs[0]?.workflowId ?? '').terminate('by its test');
  await eventually(failed, (found) => found.length > 0);
  const job = await runs.find('maintenance', id);
  expect(job).toMatchObject({
    status: 'failed',
    reason: 'It was terminated in Temporal: by its test',
    retry: { possible: true, how: 'trigger-schedule' },
  });
  expect(runs.linkOf(job)).toBe(
    `https://ui.example/namespaces/${stack.namespace}/workflows/${encodeURIComponent(job.workflowId ?? '')}/${id}/history`,
  );
});

test('a failed sync is listed with its reason, and its retry completes', async () => {
  await stack.startWorkers();
  stack.settings.panelApiKey = new Secret('ptla_of-a-key-that-the-panel-refuses');
  const { id } = await stack.sync({ target: 'locations', dryRun: true });
  const [listed] = await failed();
  expect(listed).toMatchObject({
    kind: 'sync',
    id,
    name: 'locations',
    reason: 'The panel refused the API key',
    workflowId: 'panel-sync',
    runId: expect.any(String),
    retry: { possible: true, how: 'request-sync', as: null },
  });
  stack.settings.panelApiKey = new Secret(stack.sim.keys.full);
  const [first, second] = await Promise.all([runs.retry('sync', id, OPERATOR), runs.retry('sync', id, OPERATOR)]);
  expect(first.id).toBe(second.id);
  expect([first.repeated, second.repeated].toSorted()).toEqual([false, true]);
  const repeated = await stack.ended(first.id ?? '');
  expect(repeated).toMatchObject({ status: 'COMPLETED', type: 'locations', metadata: { dry_run: true } });
  // The failed run stays as it was, and no second one follows.
  expect(await runs.retry('sync', id, OPERATOR)).toEqual({ kind: 'sync', id: first.id, repeated: true });
  expect(await runs.find('sync', id)).toMatchObject({ status: 'failed', retry: { possible: false, as: first.id } });
  expect(await events(id)).toEqual([{ action: 'run-retried', type: 'cli' }]);
  expect(await events(first.id ?? '')).toEqual([]);
});

test('a failed email is listed with its reason, and its retry is sent', async () => {
  const { db, url } = stack.database;
  const listener = createListener({ connectionString: url, log: quiet });
  const relay = startOutboxRelay({ db, listener, temporal: stack.gateway, log: quiet, dispatch: EMAIL_DISPATCH });
  try {
    const id = await queueEmail(db, message('ada@example.com'));
    await emailsEnded(db);
    expect((await failed())[0]).toMatchObject({
      kind: 'email',
      id,
      reason: 'The email server knows no such mailbox',
      workflowId: `email:${id}`,
    });
    emailServer = 'accepts';
    const copy = await runs.retry('email', id, OPERATOR);
    await emailsEnded(db);
    expect(await runs.find('email', copy.id ?? '')).toMatchObject({ status: 'completed' });
    const { outbound } = await figuresWith(
      (figures) => figures.outbound.failed === 1 && figures.outbound.running === 0,
    );
    expect(outbound).toMatchObject({ failed: 1, running: 0 });
  } finally {
    await relay.close();
    await listener.close();
  }
});

test('a job that fails is listed with its reason, and its schedule starts it again', async () => {
  const watch = stack.launcher.watch;
  stack.launcher.watch = () => Promise.reject(new AppError('PANEL_AUTH', { publicMessage: 'It cannot be watched' }));
  try {
    await trigger('sync-watch');
    const found = await eventually(failed, (all) => all.some(({ name }) => name === 'sync-watch'));
    expect(found[0]).toMatchObject({ kind: 'maintenance', name: 'sync-watch', reason: 'It cannot be watched' });
    expect(await runs.find('maintenance', found[0]?.id ?? '')).toMatchObject({ reason: 'It cannot be watched' });
  } finally {
    stack.launcher.watch = watch;
  }
  const terminated = (await failed()).find(({ name }) => name === 'retention');
  expect(terminated?.reason).toBe('It was terminated in Temporal');
  const id = terminated?.id ?? '';
  expect(await runs.retry('maintenance', id, OPERATOR)).toMatchObject({ id: null, repeated: false });
  const completed = await eventually(
    async () => (await runs.list({ kind: 'maintenance', status: 'completed', limit: 9 })).runs,
    (all) => all.some(({ name }) => name === 'retention'),
  );
  expect(completed.filter(({ name }) => name === 'retention')).toHaveLength(1);
  expect(await events(id)).toEqual([{ action: 'run-retried', type: 'cli' }]);
});

test('pages reach every run of the database and of Temporal once', async () => {
  const whole = (await runs.list({ limit: 50 })).runs.map(({ id }) => id);
  const paged: string[] = [];
  for (let page = await runs.list({ limit: 2 }); ; page = await runs.list({ limit: 2, after: page.next })) {
    paged.push(...page.runs.map(({ id }) => id));
    if (page.next === undefined) break;
  }
  expect(paged).toEqual(whole);
  expect(whole.length).toBeGreaterThan(5);
});

test('with workers nothing waits, and each queue has its poller', async () => {
  const none = { running: 0, backlog: 0 };
  expect(await figuresWith(({ core }) => core.running === 0 && core.backlog === 0)).toMatchObject({
    core: { ...none, pollers: { workflow: 1, activity: 1 } },
    panel: { ...none, pollers: { workflow: 0, activity: 1 } },
    outbound: { ...none, pollers: { workflow: 0, activity: 1 } },
    webhooks: { ...none, pollers: { workflow: 0, activity: 1 } },
    hytale: { ...none, pollers: { workflow: 0, activity: 1 } },
  });
});

test('a Temporal that takes connections and says nothing gives no figures and no jobs, in time', async () => {
  const silent: Server = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as { port: number };
  const gateway = createTemporalGateway({ ...temporalConfig(), address: `127.0.0.1:${port}` });
  try {
    expect(await readTaskQueues(gateway, 300)).toEqual({
      core: NO_FIGURES,
      panel: NO_FIGURES,
      outbound: NO_FIGURES,
      webhooks: NO_FIGURES,
      hytale: NO_FIGURES,
    });
  } finally {
    await gateway.close().catch(() => undefined);
    silent.close();
  }
});

/** Records histories, when asked to by test/replay/record.ts. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type EmailCatcher, startEmailCatcher } from '../../simulators/email/simulator.ts';
import type { PostResult } from '../../src/clients/discord/answers.ts';
import { createResendTransport } from '../../src/clients/email/resend.ts';
import type { EmailTransport } from '../../src/clients/email/transport.ts';
import { Secret } from '../../src/domain/secret.ts';
import { OPERATOR } from '../../src/services/audit/record-change.ts';
import { createEncryption } from '../../src/store/db/encryption.ts';
import { query } from '../../src/store/db/query.ts';
import { queueDeliveries } from '../../src/store/webhooks/delivery-store.ts';
import { reconcileAutoSync } from '../../src/temporal/schedules.ts';
import {
  DELIVERY_QUERY,
  deliverWebhookId,
  LIVE_MIRROR_ID,
  PANEL_SYNC_ID,
  QUEUE,
  sendEmailId,
} from '../../src/workflows/contract.ts';
import { account, queueEmail } from '../support/email.ts';
import { resetPoints } from '../support/histories.ts';
import { writeHistory } from '../support/recording.ts';
import { type Stack, startStack } from '../support/stack.ts';

describe.runIf(process.env['RECORD_HISTORIES'] === '1')('recording', { timeout: 60_000 }, () => {
  let stack: Stack;
  let transport: () => Promise<EmailTransport>;
  /** What Discord answers. */
  let answer: () => PostResult;
  beforeAll(async () => {
    stack = await startStack({
      subusersBatchSize: 130,
      emailTransport: () => transport(),
      webhooks: { encryption: createEncryption({}), render: () => ({ content: 'x' }), post: async () => answer() },
    });
  });
  afterAll(() => stack?.stop());
  beforeEach(() => {
    stack.sim.reset();
    Object.assign(stack.sim.settings, { latencyMs: 0, limit: 0, perPageMax: undefined });
  });

  const handle = (id: string, runId?: string) => stack.gateway.client.workflow.getHandle(id, runId);

  async function record(name: string, workflowId: string = PANEL_SYNC_ID, runId?: string): Promise<string> {
    for (;;) {
      const { status, runId: id } = await handle(workflowId, runId).describe();
      if (status.name !== 'RUNNING') {
        writeHistory(name, await handle(workflowId, id).fetchHistory());
        return status.name;
      }
      await delay(30);
    }
  }

  test('a sync that completes, with confirmations', async () => {
    stack.sim.settings.latencyMs = 20;
    stack.sim.settings.limit = 240;
    expect((await stack.sync()).status).toBe('COMPLETED');
    expect(await record('panel-sync-completed')).toBe('COMPLETED');
    stack.sim.delete('servers', 3);
    expect((await stack.sync()).metadata['counts']).toMatchObject({ servers: { pruned: 1 } });
    expect(await record('panel-sync-pruned')).toBe('COMPLETED');
  });

  test('a preview of one target', async () => {
    expect((await stack.sync({ target: 'users', dryRun: true })).status).toBe('COMPLETED');
    expect(await record('panel-sync-preview')).toBe('COMPLETED');
  });

  test('a sync that fails', async () => {
    stack.sim.faults.add({ match: { path: /\/servers$/, page: 2 }, action: { kind: 'status', status: 403 } });
    expect((await stack.sync()).status).toBe('FAILED');
    expect(await record('panel-sync-failed')).toBe('FAILED');
  });

  test('a sync that is cancelled', async () => {
    Object.assign(stack.sim.settings, { latencyMs: 100, perPageMax: 25 });
    const { syncLogId } = await stack.launcher.requestSync({ target: 'full', requestedBy: 'test' });
    await delay(700);
    await stack.launcher.cancelSync(syncLogId, OPERATOR);
    expect((await stack.ended(syncLogId)).status).toBe('CANCELLED');
    expect(await record('panel-sync-cancelled')).toBe('CANCELLED');
  });

  test('a sync that takes every way round', async () => {
    const { faults } = stack.sim;
    faults.add({ match: { path: /\/locations$/ }, times: 3, action: { kind: 'status', status: 500 } });
    faults.add({ match: { path: /\/nodes$/ }, times: 3, action: { kind: 'status', status: 500 } });
    faults.add({ match: { path: /\/nests$/ }, times: 3, action: { kind: 'status', status: 500 } });
    faults.add({ match: { path: /\/servers$/, page: 3 }, action: { kind: 'status', status: 504 } });
    faults.add({ match: { path: /\/users$/, page: 2 }, action: { kind: 'half' } });
    expect((await stack.sync()).status).toBe('COMPLETED');
    expect(await record('panel-sync-fallbacks')).toBe('COMPLETED');
  });

  test('a sync that waits for a throttle', async () => {
    stack.sim.faults.add({ times: 1, action: { kind: 'status', status: 429, retryAfter: 1 } });
    expect((await stack.sync()).status).toBe('COMPLETED');
    expect(await record('panel-sync-throttled')).toBe('COMPLETED');
  });

  test('a sync that was reset', async () => {
    const { syncLogId, taskId } = await stack.launcher.requestSync({ target: 'full', requestedBy: 'test' });
    await stack.ended(syncLogId);
    while ((await handle(PANEL_SYNC_ID, taskId).describe()).status.name === 'RUNNING') await delay(30);
    const points = resetPoints({ events: (await handle(PANEL_SYNC_ID, taskId).fetchHistory()).events ?? [] });
    const eventId = points[Math.floor(points.length / 2)] ?? 0;
    const { runId } = await stack.gateway.client.workflowService.resetWorkflowExecution({
      namespace: stack.namespace,
      workflowExecution: { workflowId: PANEL_SYNC_ID, runId: taskId },
      workflowTaskFinishEventId: { low: eventId, high: 0, unsigned: false } as never,
      requestId: crypto.randomUUID(),
      reason: 'a test',
    });
    expect(await record('panel-sync-reset', PANEL_SYNC_ID, runId)).toBe('COMPLETED');
  });

  describe('email', () => {
    let catcher: EmailCatcher;
    let provider: EmailTransport;
    beforeAll(async () => {
      catcher = await startEmailCatcher({ requestsPerSecond: 1000 });
      provider = createResendTransport({ baseUrl: catcher.url, apiKey: new Secret(catcher.apiKey) });
      transport = async () => provider;
    });
    afterAll(async () => {
      await provider?.close();
      await catcher?.close();
    });
    /** Starts the workflow of an email with a link: its token must not be in the history. */
    async function start(): Promise<string> {
      const address = `${randomUUID()}@customer-of-the-recording.example`;
      await account(stack.database.db, address);
      const emailId = await queueEmail(stack.database.db, { template: 'password-reset', to: address });
      const workflowId = sendEmailId(emailId);
      await stack.gateway.client.workflow.start('sendEmail', {
        workflowId,
        taskQueue: QUEUE.core,
        args: [{ emailId }],
        staticSummary: 'Email',
      });
      return workflowId;
    }

    test('that is sent', async () => {
      expect(await record('send-email-sent', await start())).toBe('COMPLETED');
    });

    test('that is sent at the third attempt', async () => {
      catcher.fault({ kind: 'status', status: 429, retryAfter: 1 }, 2);
      expect(await record('send-email-retried', await start())).toBe('COMPLETED');
    });

    test('that is refused', async () => {
      catcher.fault({ kind: 'status', status: 422 });
      expect(await record('send-email-failed', await start())).toBe('FAILED');
    });

    test('that is cancelled during an attempt', async () => {
      catcher.fault({ kind: 'hang' }, 5);
      const workflowId = await start();
      await expect.poll(async () => (await handle(workflowId).describe()).raw.pendingActivities?.length).toBe(1);
      await handle(workflowId).cancel();
      expect(await record('send-email-cancelled', workflowId)).toBe('CANCELLED');
    });
  });

  describe('delivery to a webhook', () => {
    const ARRIVED: PostResult = { outcome: 'delivered', httpStatus: 200, messageId: null, channelId: null };
    const limited = (ms: number): PostResult => ({
      outcome: 'limited',
      httpStatus: 429,
      discordCode: null,
      detail: 'Discord asks to wait',
      pause: { scope: 'webhook', ms },
    });
    async function start(): Promise<string> {
      const webhookId = randomUUID();
      const { db } = stack.database;
      const url = `https://discord.com/api/webhooks/1/token-of-the-recording`;
      await query(db, `insert into discord_webhooks (id, name, "webhookUrl") values (?, 'x', ?)`, [webhookId, url]);
      const about = { webhookId, webhookName: 'x', event: 'user.registered', origin: 'service' as const };
      const data = { email: 'anna@customer-of-the-recording.example' };
      const [deliveryId = ''] = await queueDeliveries(db, [{ ...about, data, occurredAt: new Date() }]);
      const workflowId = deliverWebhookId(deliveryId);
      await stack.gateway.client.workflow.start('deliverWebhook', {
        workflowId,
        taskQueue: QUEUE.core,
        args: [{ deliveryId }],
      });
      return workflowId;
    }

    test('that arrives', async () => {
      answer = () => ARRIVED;
      expect(await record('deliver-webhook-delivered', await start())).toBe('COMPLETED');
    });

    test('that arrives at the third attempt', async () => {
      const answers = [limited(500), limited(700)];
      answer = () => answers.shift() ?? ARRIVED;
      expect(await record('deliver-webhook-retried', await start())).toBe('COMPLETED');
    });

    test('that is refused', async () => {
      const detail = 'Discord refuses an empty message';
      answer = () => ({
        ...{ outcome: 'refused', httpStatus: 400, discordCode: 50006, detail },
        ...{ dead: false, plainHelps: false },
      });
      expect(await record('deliver-webhook-failed', await start())).toBe('FAILED');
    });

    test('that is cancelled while it waits', async () => {
      answer = () => limited(600_000);
      const workflowId = await start();
      await expect
        .poll(() => handle(workflowId).query(DELIVERY_QUERY))
        .toMatchObject({ waiting: 'Discord asks to wait' });
      await handle(workflowId).cancel();
      expect(await record('deliver-webhook-cancelled', workflowId)).toBe('CANCELLED');
    });
  });

  test('a live mirror that is ended by the settings', async () => {
    const auto = { enabled: true, mode: 'auto', intervalSeconds: 3_600, budgetShare: 25 } as const;
    stack.settings.autoSync = auto;
    await reconcileAutoSync(stack.gateway, auto);
    await delay(2_000);
    stack.settings.autoSync = { ...auto, enabled: false };
    await reconcileAutoSync(stack.gateway, stack.settings.autoSync);
    expect(await record('live-mirror-ended', LIVE_MIRROR_ID)).toBe('COMPLETED');
    await stack.gateway.client.schedule.getHandle('auto-sync').delete();
  });

  test.each([
    ['scheduled-sync', 'scheduledSync', []],
    ['maintenance-sync-watch', 'maintenance', ['sync-watch']],
    ['maintenance-retention', 'maintenance', ['retention']],
    ['maintenance-expired-data', 'maintenance', ['expired-data']],
    ['maintenance-hytale-logs', 'maintenance', ['hytale-logs']],
  ])('%s', async (name, type, args) => {
    await stack.gateway.client.workflow.execute(type, { workflowId: name, taskQueue: QUEUE.core, args });
    expect(await record(name, name)).toBe('COMPLETED');
  });
});

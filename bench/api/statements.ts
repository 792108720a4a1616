/** Records the SQL statements of requests. For that, the same app runs in this process. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import pino from 'pino';
import { Pool } from 'undici';
import { createApp } from '../../src/api/app.ts';
import { createSyncStreams } from '../../src/api/streams/sync-stream.ts';
import { loadConfig } from '../../src/config.ts';
import { createLiveUsage } from '../../src/services/inventory/live-usage.ts';
import { createQueueStats } from '../../src/services/runs/queue-stats.ts';
import { createRuns } from '../../src/services/runs/runs.ts';
import { createSettings } from '../../src/services/settings/settings.ts';
import { createSyncLauncher } from '../../src/services/sync/launcher.ts';
import { mirrorStatus } from '../../src/services/sync/live-mirror.ts';
import { createEncryption } from '../../src/store/db/encryption.ts';
import { createListener } from '../../src/store/db/listener.ts';
import { createEmailStore } from '../../src/store/email/email-store.ts';
import { createWebhookStore } from '../../src/store/webhooks/webhook-store.ts';
import { createTemporalGateway } from '../../src/temporal/connection.ts';
import { createEngineRuns } from '../../src/temporal/engine-runs.ts';
import { readTaskQueues } from '../../src/temporal/task-queues.ts';
import { fakeHytale, fakeVerifier } from '../../test/support/api/hytale.ts';
import { openTestDb } from '../../test/support/database.ts';
import type { Case } from './cases.ts';
import type { Statement } from './list-floor.ts';
import { httpLane } from './load.ts';

/** The statements of a case's first two requests, with BEGIN and COMMIT. */
export interface Recorded {
  first: Statement[];
  second: Statement[];
}

/** Routes that call Discord are not measured. */
const noDiscord = (): Promise<never> => Promise.reject(new Error('Discord is not part of the benchmark'));

/** Makes the app of the measured api, and what ends it. @param env with DATABASE_URL and TEMPORAL_ADDRESS. */
function appOf(env: Record<string, string>) {
  const config = loadConfig(env);
  const connectionString = config.databaseUrl?.reveal() ?? '';
  const log = pino({ level: 'silent' });
  const db = openTestDb({ connectionString, applicationName: 'bench-statements' });
  const listener = createListener({ connectionString, log });
  const temporal = createTemporalGateway({ ...config.temporal, address: config.temporal.address ?? '' });
  const encryption = createEncryption({ key: config.encryptionKey });
  const streams = createSyncStreams({ db, listener, log });
  const emails = createEmailStore(encryption);
  const launcher = createSyncLauncher({ db, temporal, log });
  const engine = createEngineRuns(temporal);
  const ui = { url: undefined, namespace: temporal.namespace };
  const settings = createSettings({ db, config, encryption });
  const usage = createLiveUsage({ db, settings, environmentUrl: undefined, log });
  const create = () =>
    createApp({
      config,
      db,
      settings,
      emails,
      webhooks: createWebhookStore(encryption),
      webhookUrlRules: config.discord,
      discord: { inspect: noDiscord, post: noDiscord },
      cancelWorkflow: async () => undefined,
      launcher,
      mirror: () => mirrorStatus({ db, autoSync: settings.autoSync, requestsPerMinute: undefined }),
      // Not the real client: it throws from a timer when it is closed while it waits for its next try.
      temporal: { state: async () => 'no answer', reachable: async () => false, workersPolling: async () => false },
      queues: createQueueStats(() => readTaskQueues(temporal, 100)),
      runs: createRuns({ db, emails, launcher, engine, ui, log }),
      hytale: fakeHytale(),
      tokenVerifier: fakeVerifier(),
      streams,
      usage,
      log,
      report: () => undefined,
      version: '0.0.0',
      reconcileAutoSync: async () => undefined,
    });
  const close = async (): Promise<void> => {
    streams.close();
    await usage.close();
    await Promise.allSettled([listener.close(), temporal.close(), db.destroy()]);
  };
  return { db, create, close };
}

/**
 * Sends two requests of each case and records their statements.
 * @param env environment of the measured api.
 * @param options `freshApp`: each case has an app of its own, which keeps no total of another case.
 */
export async function recordStatements(
  env: Record<string, string>,
  cases: readonly Pick<Case, 'name' | 'open'>[],
  options: { freshApp?: boolean } = {},
): Promise<ReadonlyMap<string, Recorded>> {
  const { db, create, close } = appOf(env);
  let handle = create().callback();
  const server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 1 });
  try {
    let sent: Statement[] = [];
    db.on(
      'query',
      ({ sql, bindings = [], options }: { sql: string; bindings?: unknown[]; options?: { name?: string } }) =>
        sent.push({ sql, bindings, ...(options?.name === undefined ? {} : { name: options.name }) }),
    );
    const recorded = new Map<string, Recorded>();
    for (const { name, open } of cases) {
      if (options.freshApp === true) handle = create().callback();
      const lane = httpLane(pool, await open());
      sent = [];
      await lane();
      const first = sent;
      sent = [];
      await lane();
      recorded.set(name, { first, second: sent });
    }
    return recorded;
  } finally {
    await pool.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await close();
  }
}

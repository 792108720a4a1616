/** A complete sync stack in one process: simulated panel, database, namespace, workers, launcher. */
import { setTimeout as delay } from 'node:timers/promises';
import { NativeConnection, Runtime, type Worker } from '@temporalio/worker';
import pino, { type Logger } from 'pino';
import type { PanelSimulator, PanelSimulatorOptions } from '../../simulators/panel/contract.ts';
import { startPanelSimulator } from '../../simulators/panel/simulator.ts';
import type { EmailTransport } from '../../src/clients/email/transport.ts';
import { createPanelProvider } from '../../src/clients/panel/provider.ts';
import { loadConfig } from '../../src/config.ts';
import { AppError } from '../../src/domain/errors.ts';
import { Secret } from '../../src/domain/secret.ts';
import { isLive } from '../../src/domain/settings.ts';
import type { SyncTarget } from '../../src/domain/sync/targets.ts';
import { cacheFolder } from '../../src/embedded/folders.ts';
import type { RuntimeSettings } from '../../src/services/settings/runtime-settings.ts';
import { createSettings } from '../../src/services/settings/settings.ts';
import { createSyncLauncher, type SyncLauncher } from '../../src/services/sync/launcher.ts';
import type { RequestSync } from '../../src/services/sync/request-sync.ts';
import { createEncryption, type Encryption } from '../../src/store/db/encryption.ts';
import { createEmailStore } from '../../src/store/email/email-store.ts';
import { getSyncLog, type SyncLog } from '../../src/store/sync/log-store.ts';
import { workflowBundle } from '../../src/temporal/bundle.ts';
import { createTemporalGateway, type TemporalConfig, type TemporalGateway } from '../../src/temporal/connection.ts';
import { createHytaleEngine } from '../../src/temporal/hytale-engine.ts';
import { startLiveMirror } from '../../src/temporal/live-mirror.ts';
import { createWorkers, type WorkersDeps } from '../../src/worker/workers.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { createTestNamespace, temporalAddress } from './temporal.ts';

export interface Stack {
  sim: PanelSimulator;
  database: TestDatabase;
  gateway: TemporalGateway;
  namespace: string;
  launcher: SyncLauncher;
  log: Logger;
  /** Settings that replace the stored ones for the activities. */
  settings: Partial<RuntimeSettings>;
  startWorkers(): Promise<() => Promise<void>>;
  /** Starts a sync and waits until its row has ended. */
  sync(request?: Partial<RequestSync> & { target?: SyncTarget }): Promise<SyncLog>;
  /** Waits until a row has ended. */
  ended(logId: string, timeoutMs?: number): Promise<SyncLog>;
  stop(): Promise<void>;
}

export const quiet = pino({ level: process.env['TEST_LOG_LEVEL'] ?? 'silent' });

const noWebhooks = () => Promise.reject(new Error('this test has no webhooks'));

/** Workers that get no work of Hytale. */
export function noHytale(gateway: TemporalGateway, encryption: Encryption): WorkersDeps['hytale'] {
  const no = () => Promise.reject(new Error('this test has no Hytale'));
  return {
    engine: createHytaleEngine(gateway),
    encryption,
    environment: 'production',
    client: {
      requestDeviceCode: no,
      pollToken: no,
      refreshToken: no,
      profiles: no,
      newSession: no,
      refreshSession: no,
      endSession: no,
      close: async () => undefined,
    },
    verifier: {
      ready: no,
      verify: no,
      refresh: no,
      status: () => ({ cacheValid: false, keysCount: 0, lastRefresh: null, nextRefresh: null, problem: null }),
    },
    sessionLimit: 100,
    variables: { session: [], identity: [] },
    now: Date.now,
    random: Math.random,
    trace: (_about, work) => work(),
  };
}

let runtimeInstalled = false;
function installRuntime(): void {
  if (runtimeInstalled) return;
  runtimeInstalled = true;
  Runtime.install({ shutdownSignals: [], logger: { ...silentLogger(), log: () => undefined } as never });
}
const silentLogger = () => ({ trace() {}, debug() {}, info() {}, warn() {}, error() {} });

export const temporalConfig = (): TemporalConfig => {
  const { temporal } = loadConfig({ TEMPORAL_ADDRESS: temporalAddress() });
  return { ...temporal, address: temporalAddress() };
};

/** A small panel whose listings still have several pages. */
export const SMALL: PanelSimulatorOptions = {
  locations: 3,
  nodes: 6,
  allocations: 400,
  nests: 4,
  eggs: 12,
  users: 230,
  servers: 240,
  databases: 60,
  subusers: 80,
  limit: 0,
};

export async function startStack(
  options: {
    panel?: PanelSimulatorOptions;
    workers?: boolean;
    concurrency?: number;
    requestsPerMinute?: number;
    subusers?: boolean;
    subusersBatchSize?: number;
    /** Timeout of a panel request, milliseconds. */
    panelTimeoutMs?: number;
    emailTransport?: () => Promise<EmailTransport>;
    webhooks?: WorkersDeps['webhooks'];
    /** Default: workers without Hytale. */
    hytale?: (parts: { gateway: TemporalGateway; encryption: Encryption }) => WorkersDeps['hytale'];
  } = {},
): Promise<Stack> {
  installRuntime();
  const [sim, database, namespace, bundlePath] = await Promise.all([
    startPanelSimulator({ ...SMALL, ...options.panel }),
    createTestDatabase({ max: 12 }),
    createTestNamespace('sync'),
    workflowBundle(cacheFolder(process.env['CACHE_DIR'] || undefined)),
  ]);
  const gateway = createTemporalGateway({ ...temporalConfig(), namespace });
  const { db } = database;
  const encryption = createEncryption({});
  const stored = createSettings({ db, config: loadConfig({}), encryption });
  const overrides: Partial<RuntimeSettings> = { panelUrl: sim.url, panelApiKey: new Secret(sim.keys.full) };
  const settings = async () => {
    stored.forget();
    return { ...(await stored.runtime()), ...overrides };
  };
  const launcher = createSyncLauncher({ db, temporal: gateway, log: quiet });
  const stops: (() => Promise<void>)[] = [];

  const startWorkers = async () => {
    const connection = await NativeConnection.connect({ address: temporalAddress() });
    const panel = createPanelProvider(settings, {
      environmentUrl: undefined,
      ...(options.panelTimeoutMs === undefined ? {} : { timeoutMs: options.panelTimeoutMs }),
    });
    const workers: Worker[] = await createWorkers({
      connection,
      namespace,
      db,
      settings,
      panel: panel.client,
      launcher,
      autoSync: async () => (await settings()).autoSync,
      keepLiveMirror: async () => {
        if (isLive((await settings()).autoSync)) await startLiveMirror(gateway);
      },
      log: quiet,
      report: () => undefined,
      bundlePath,
      retentionDays: 30,
      auditRetentionDays: 365,
      hytaleLogRetentionDays: 30,
      email: {
        emails: createEmailStore(encryption),
        transport: options.emailTransport ?? (() => Promise.reject(new AppError('EMAIL_NOT_CONFIGURED'))),
        settings,
        paths: loadConfig({}).email.paths,
      },
      hytale: options.hytale?.({ gateway, encryption }) ?? noHytale(gateway, encryption),
      webhooks: options.webhooks ?? { encryption, post: noWebhooks, render: () => ({}) },
      options: {
        concurrency: options.concurrency ?? 8,
        requestsPerMinute: options.requestsPerMinute,
        subusers: options.subusers ?? true,
        subusersBatchSize: options.subusersBatchSize ?? 25,
      },
    });
    const running = Promise.all(workers.map((w) => w.run()));
    const stop = async () => {
      for (const w of workers) if (w.getState() === 'RUNNING') w.shutdown();
      await running;
      await panel.close();
      await connection.close();
    };
    stops.push(stop);
    return async () => {
      stops.splice(stops.indexOf(stop), 1);
      await stop();
    };
  };
  if (options.workers !== false) await startWorkers();

  const ended = async (logId: string, timeoutMs = 60_000): Promise<SyncLog> => {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const row = await getSyncLog(db, logId);
      if (row === undefined) throw new Error('the sync log is gone');
      if (row.status !== 'PENDING' && row.status !== 'RUNNING') return row;
      if (Date.now() > end) throw new Error(`the sync is still ${row.status}: ${JSON.stringify(row.metadata)}`);
      await delay(20);
    }
  };

  return {
    sim,
    database,
    gateway,
    namespace,
    launcher,
    log: quiet,
    settings: overrides,
    startWorkers,
    ended,
    async sync(request = {}) {
      // The launcher waits for the end of an earlier run.
      const ticket = await launcher.requestSync({ target: 'full', requestedBy: 'test', ...request });
      return ended(ticket.syncLogId);
    },
    async stop() {
      for (const stop of stops.splice(0)) await stop();
      await gateway.close();
      await sim.close();
      await database.drop();
    },
  };
}

/** Process entry of the worker: configuration, composition, workers, schedules, an orderly end. */

import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { createWorkers } from './activities/workers.ts';
import { createEmailProvider } from './clients/email/provider.ts';
import { createPanelProvider } from './clients/panel/provider.ts';
import { type Config, ConfigError, loadConfig } from './config.ts';
import { cacheFolder } from './embedded/folders.ts';
import { captureError, createLogger, flushErrors, initSentry } from './observability.ts';
import { createSyncLauncher } from './services/sync/launcher.ts';
import { createDb } from './store/db/db.ts';
import { createEncryption } from './store/db/encryption.ts';
import { createListener } from './store/db/listener.ts';
import { pendingMigrations } from './store/db/migrations.ts';
import { createEmailStore } from './store/email/email-store.ts';
import { createSettings } from './store/settings/settings-store.ts';
import { workflowBundle } from './temporal/bundle.ts';
import { connectionOptions, createTemporalGateway } from './temporal/connection.ts';
import { startOutboxRelay } from './temporal/outbox-relay.ts';
import { reconcileSchedules } from './temporal/schedules.ts';
import { registerSearchAttributes } from './temporal/search-attributes.ts';

/** sysexits.h EX_CONFIG: what supervisors take as "do not try again". */
const EXIT_CONFIG = 78;
const RETRY_MS = 5_000;

function refuse(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(EXIT_CONFIG);
}

function readConfig(): { config: Config; databaseUrl: string; address: string } {
  try {
    const config = loadConfig(process.env);
    const missing = [
      ...(config.databaseUrl === undefined ? ['DATABASE_URL'] : []),
      ...(config.temporal.address === undefined ? ['TEMPORAL_ADDRESS'] : []),
    ];
    if (config.databaseUrl === undefined || config.temporal.address === undefined) {
      refuse(
        `configuration is not usable:\n${missing.map((name) => `  - ${name}: required (\`npm start\` brings its own)`).join('\n')}`,
      );
    }
    return { config, databaseUrl: config.databaseUrl.reveal(), address: config.temporal.address };
  } catch (error) {
    if (error instanceof ConfigError) refuse(error.message);
    throw error;
  }
}

async function main(): Promise<void> {
  const { config, databaseUrl, address } = readConfig();
  const log = createLogger({
    level: config.logLevel,
    pretty: !config.production && process.stdout.isTTY === true,
    name: 'worker',
  });
  initSentry(config);
  // The process owns its signals: workers drain first, connections close after them.
  Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger('WARN', (entry) => {
      const { message, meta } = entry;
      if (entry.level === 'ERROR') log.error({ temporal: meta }, message);
      else log.warn({ temporal: meta }, message);
    }),
  });

  const db = createDb({ connectionString: databaseUrl, applicationName: 'nodebyte-worker', max: 12 });
  const pending = await pendingMigrations(db);
  if (pending.length > 0) {
    await db.destroy();
    refuse(`the database is behind by ${pending.length} migration(s): run \`npm run db:migrate\``);
  }
  const temporalConfig = { ...config.temporal, address };
  const gateway = createTemporalGateway(temporalConfig);
  const encryption = createEncryption({ key: config.encryptionKey, previousKey: config.encryptionKeyPrevious });
  const settings = createSettings({ db, config, encryption });
  const panel = createPanelProvider(settings.runtime);
  const email = createEmailProvider({ ...config.email, settings: settings.runtime });
  const launcher = createSyncLauncher({ db, temporal: gateway, log });
  const listener = createListener({ connectionString: databaseUrl, log, applicationName: 'nodebyte-worker-listen' });
  const bundlePath = await workflowBundle(cacheFolder(config.cacheDir));
  const connection = await NativeConnection.connect(connectionOptions(temporalConfig));
  const workers = await createWorkers({
    connection,
    namespace: config.temporal.namespace,
    db,
    settings: settings.runtime,
    panel: panel.client,
    launcher,
    log,
    report: captureError,
    bundlePath,
    retentionDays: config.syncLogRetentionDays,
    email: {
      emails: createEmailStore(encryption),
      transport: email.transport,
      settings: settings.runtime,
      paths: config.email.paths,
    },
    options: {
      concurrency: config.panel.concurrency,
      requestsPerMinute: config.panel.requestsPerMinute,
      subusers: config.subusers.enabled,
      subusersBatchSize: config.subusers.batchSize,
    },
  });

  let ending = false;
  const end = (reason: string) => {
    if (ending) return;
    ending = true;
    log.info({ reason }, 'draining');
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));
  process.on('disconnect', () => end('parent gone'));
  process.on('unhandledRejection', (error) => {
    log.error({ err: error }, 'unhandled rejection');
    captureError(error);
  });

  // Attributes first: a sync that starts without them cannot be found by them later.
  await registerSearchAttributes(gateway, log);
  const running = Promise.all(workers.map((worker) => worker.run()));
  const reconcile = async () => {
    settings.forget();
    try {
      await reconcileSchedules(gateway, await settings.autoSync());
    } catch (error) {
      if (ending) return;
      log.warn({ err: error }, 'schedules could not be reconciled, trying again');
      setTimeout(() => void reconcile(), RETRY_MS).unref();
    }
  };
  listener.on(
    'settings_changed',
    () => void reconcile(),
    () => void reconcile(),
  );
  // Rows that a crash left behind are looked after at once, not at the next minute.
  launcher.watch().catch((error: unknown) => log.warn({ err: error }, 'left-over syncs could not be looked after'));
  const relay = startOutboxRelay({ db, listener, temporal: gateway, log });
  log.info('polling');
  process.send?.({ ready: true });

  await running;
  await relay.close();
  await Promise.allSettled([
    listener.close(),
    panel.close(),
    email.close(),
    gateway.close(),
    connection.close(),
    db.destroy(),
    flushErrors(),
  ]);
  process.exit(0);
}

main().catch((error: unknown) => {
  process.stderr.write(`the worker could not start: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});

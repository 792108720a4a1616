/** Process entry of the worker: composes activities, workers, schedules and the outbox relay, and ends them in order. */
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import type { Logger } from 'pino';
import { createDiscordClient } from './clients/discord/client.ts';
import { createEmailProvider } from './clients/email/provider.ts';
import { createHytaleClient } from './clients/hytale/client.ts';
import { createTokenVerifier } from './clients/hytale/token-verifier.ts';
import { createPanelProvider } from './clients/panel/provider.ts';
import { isLive } from './domain/settings.ts';
import { cacheFolder } from './embedded/folders.ts';
import { renderMessage } from './messages/discord/render-message.ts';
import { captureError, flushErrors, startLogging, traced } from './observability.ts';
import { EXIT, onEndRequest, openDatabase, readServiceConfig, runProcess, type ServiceConfig } from './process.ts';
import { EMAIL_DISPATCH } from './services/email/dispatch.ts';
import { watchHytale } from './services/hytale/watch.ts';
import { createSettings, type Settings } from './services/settings/settings.ts';
import { warnAboutUnreadable } from './services/settings/unreadable.ts';
import { createSyncLauncher } from './services/sync/launcher.ts';
import { routeEvents } from './services/webhooks/route-events.ts';
import type { Database } from './store/db/db.ts';
import { createEncryption, keyId } from './store/db/encryption.ts';
import { createListener, type Listener } from './store/db/listener.ts';
import { listenerName } from './store/db/running-processes.ts';
import { createEmailStore } from './store/email/email-store.ts';
import { workflowBundle } from './temporal/bundle.ts';
import {
  connectionOptions,
  createTemporalGateway,
  namespaceMissingMessage,
  type TemporalGateway,
} from './temporal/connection.ts';
import { createHytaleEngine } from './temporal/hytale-engine.ts';
import { startLiveMirror } from './temporal/live-mirror.ts';
import { startOutboxRelay } from './temporal/outbox-relay.ts';
import { reconcileSchedules } from './temporal/schedules.ts';
import { registerSearchAttributes } from './temporal/search-attributes.ts';
import { packageVersion } from './version.ts';
import { createWorkers } from './worker/workers.ts';
import { type MaintenanceKind, maintenanceId, QUEUE } from './workflows/contract.ts';

/** Connections to PostgreSQL. */
const DEFAULT_POOL = 12;
/** Milliseconds that Temporal has to describe the namespace at the start. */
const NAMESPACE_TIMEOUT_MS = 5_000;
/** Milliseconds until the schedules are reconciled again after a failure. */
const SCHEDULE_RETRY_MS = 5_000;
/** Milliseconds that the worker waits for its first watch before it says that it is ready. */
const FIRST_WATCH_MS = 5_000;

/**
 * A sync keeps a processor busy for minutes. Where api and worker share a machine, people who wait for an answer go first.
 * On Linux each thread has a priority of its own (setpriority(2), section "C library/kernel differences"), and V8 has started some.
 */
function letRequestsGoFirst(log: Logger): void {
  const { PRIORITY_BELOW_NORMAL } = constants.priority;
  try {
    if (process.platform !== 'linux') setPriority(PRIORITY_BELOW_NORMAL);
    else for (const thread of readdirSync('/proc/self/task')) setPriority(Number(thread), PRIORITY_BELOW_NORMAL);
  } catch (error) {
    log.warn({ err: error }, 'the priority of the worker stays as it is');
  }
}

/** Lets the SDK log through our logger, and leaves the signals to this process: workers drain before connections close. */
function installRuntime(log: Logger): void {
  Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      if (level === 'ERROR') log.error({ temporal: meta }, message);
      else log.warn({ temporal: meta }, message);
    }),
  });
}

/** Opens what the activities work with. `close` is for the time after the workers have drained. */
async function openParts(config: ServiceConfig, db: Database, log: Logger) {
  const temporal = createTemporalGateway(config.temporal);
  const encryption = createEncryption({ key: config.encryptionKey, previousKey: config.encryptionKeyPrevious });
  const settings = createSettings({ db, config, encryption });
  const panel = createPanelProvider(settings.runtime, { environmentUrl: config.panel.url });
  const email = createEmailProvider({ ...config.email, settings: settings.runtime });
  const discord = createDiscordClient(config.discord);
  const { hosts, issuer, verifyTokens } = config.hytale;
  const hytale = {
    client: createHytaleClient({ hosts }),
    verifier: createTokenVerifier({
      sessionsBase: hosts.sessions,
      issuer,
      enabled: verifyTokens,
      onFailure: (detail) => log.warn({ detail }, 'The keys of Hytale could not be fetched'),
    }),
    engine: createHytaleEngine(temporal),
  };
  const listener = createListener({
    connectionString: config.databaseUrl.reveal(),
    log,
    applicationName: listenerName('worker', config.encryptionKey && keyId(config.encryptionKey)),
  });
  const connection = await NativeConnection.connect(connectionOptions(config.temporal));
  return {
    db,
    temporal,
    settings,
    panel,
    email,
    discord,
    hytale,
    encryption,
    emails: createEmailStore(encryption),
    launcher: createSyncLauncher({ db, temporal, log }),
    listener,
    connection,
    async close(): Promise<void> {
      await Promise.allSettled([
        listener.close(),
        panel.close(),
        email.close(),
        discord.close(),
        hytale.client.close(),
        temporal.close(),
        connection.close(),
        db.destroy(),
        flushErrors(),
      ]);
    },
  };
}
type Parts = Awaited<ReturnType<typeof openParts>>;

async function openWorkers(config: ServiceConfig, parts: Parts, log: Logger) {
  const settings = parts.settings.runtime;
  return createWorkers({
    connection: parts.connection,
    namespace: config.temporal.namespace,
    bundlePath: await workflowBundle(() => cacheFolder(config.cacheDir)),
    db: parts.db,
    settings,
    panel: parts.panel.client,
    launcher: parts.launcher,
    autoSync: parts.settings.autoSync,
    keepLiveMirror: async () => {
      if (isLive(await parts.settings.autoSync())) await startLiveMirror(parts.temporal);
    },
    log,
    report: captureError,
    retentionDays: config.syncLogRetentionDays,
    auditRetentionDays: config.auditRetentionDays,
    hytaleLogRetentionDays: config.hytale.logRetentionDays,
    email: {
      emails: parts.emails,
      transport: parts.email.transport,
      settings,
      paths: config.email.paths,
      apiUrl: config.email.apiUrl,
    },
    hytale: {
      ...parts.hytale,
      encryption: parts.encryption,
      environment: config.hytale.environment,
      sessionLimit: config.hytale.sessionLimit,
      variables: config.hytale.variables,
      now: Date.now,
      random: Math.random,
      trace: traced,
    },
    webhooks: { encryption: parts.encryption, post: parts.discord.post, render: renderMessage },
    options: {
      concurrency: config.panel.concurrency,
      requestsPerMinute: config.panel.requestsPerMinute,
      subusers: config.subusers.enabled,
      subusersBatchSize: config.subusers.batchSize,
    },
  });
}

/** Reconciles the schedules at every change of the settings, and again after a failure, until `ending` is aborted. */
function followSchedules(deps: {
  temporal: TemporalGateway;
  settings: Settings;
  listener: Listener;
  log: Logger;
  ending: AbortSignal;
}): void {
  const reconcile = async (): Promise<void> => {
    deps.settings.forget();
    try {
      await reconcileSchedules(deps.temporal, await deps.settings.autoSync());
    } catch (error) {
      if (deps.ending.aborted) return;
      deps.log.warn({ err: error }, 'schedules could not be reconciled, trying again');
      setTimeout(() => void reconcile(), SCHEDULE_RETRY_MS).unref();
    }
  };
  const onChange = (): void => void reconcile();
  // The listener calls the second one whenever it has connected, also for the first time.
  deps.listener.on('settings_changed', onChange, onChange);
}

/**
 * Runs the watch over syncs now, not with the schedule of the next minute: it repairs what a crash left behind. It runs as the
 * workflow of that schedule. So it also shows that this worker does its work, and the code of the workflows is loaded before
 * somebody waits for one.
 */
async function watchNow(temporal: TemporalGateway): Promise<void> {
  await temporal.within(FIRST_WATCH_MS, () =>
    temporal.client.workflow.execute<(kind: MaintenanceKind) => Promise<unknown>>('maintenance', {
      // As the schedule names its runs.
      workflowId: `${maintenanceId('sync-watch')}-${new Date().toISOString()}`,
      taskQueue: QUEUE.core,
      args: ['sync-watch'],
      workflowRunTimeout: '1m',
    }),
  );
}

async function main(): Promise<void> {
  const config = readServiceConfig();
  const log = startLogging(config, 'worker', packageVersion());
  // Before threads are started: they inherit it.
  letRequestsGoFirst(log);
  installRuntime(log);
  const db = await openDatabase({
    connectionString: config.databaseUrl.reveal(),
    applicationName: 'nodebyte-worker',
    max: config.databasePoolMax ?? DEFAULT_POOL,
  });
  const parts = await openParts(config, db, log);
  // Without its namespace no worker can poll; the SDK would say so only by the gRPC code of a call.
  if ((await parts.temporal.state(NAMESPACE_TIMEOUT_MS)) === 'no namespace') {
    throw new Error(namespaceMissingMessage(parts.temporal.namespace));
  }
  await warnAboutUnreadable(parts.settings, log);
  const workers = await openWorkers(config, parts, log);
  const ending = new AbortController();
  onEndRequest(log, () => {
    ending.abort();
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  });

  // Attributes first: a sync that starts without them cannot be found by them later.
  await registerSearchAttributes(parts.temporal, log);
  // Workers that do not run yet cannot be shut down: the request to end came too early for them.
  if (ending.signal.aborted) process.exit(EXIT.ok);
  const running = Promise.all(workers.map((worker) => worker.run()));
  followSchedules({ ...parts, log, ending: ending.signal });
  const watched = watchNow(parts.temporal).catch((error: unknown) =>
    log.warn({ err: error }, 'the first watch over syncs did not end'),
  );
  watchHytale({ db, environment: config.hytale.environment, engine: parts.hytale.engine, log }, ending.signal).catch(
    (error: unknown) => log.warn({ err: error }, 'the watch over Hytale accounts failed'),
  );
  const relay = startOutboxRelay({
    db,
    listener: parts.listener,
    temporal: parts.temporal,
    log,
    dispatch: EMAIL_DISPATCH,
    routeEvents,
  });
  await Promise.race([watched, once(ending.signal, 'abort'), running]);
  if (!ending.signal.aborted) {
    log.info('polling');
    process.send?.({ ready: true });
  }

  await running;
  await relay.close();
  await parts.close();
  process.exit(EXIT.ok);
}

runProcess('worker', main);

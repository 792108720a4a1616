/** Process entry of the api: composes the app, listens, and drains at its end. */

import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { createDiscordClient } from '../clients/discord/client.ts';
import { createHytaleClient } from '../clients/hytale/client.ts';
import { createTokenVerifier } from '../clients/hytale/token-verifier.ts';
import type { Config } from '../config.ts';
import { withDeadline } from '../deadline.ts';
import { captureError, flushErrors, startLogging } from '../observability.ts';
import { EXIT, onEndRequest, openDatabase, readServiceConfig, runProcess, type ServiceConfig } from '../process.ts';
import { createHytale } from '../services/hytale/create-hytale.ts';
import { createLiveUsage } from '../services/inventory/live-usage.ts';
import { createQueueStats } from '../services/runs/queue-stats.ts';
import { createRuns } from '../services/runs/runs.ts';
import { createSettings, type Settings } from '../services/settings/settings.ts';
import { warnAboutUnreadable } from '../services/settings/unreadable.ts';
import { createSyncLauncher } from '../services/sync/launcher.ts';
import { mirrorStatus } from '../services/sync/live-mirror.ts';
import type { Database } from '../store/db/db.ts';
import { createEncryption, keyId } from '../store/db/encryption.ts';
import { createListener } from '../store/db/listener.ts';
import { listenerName } from '../store/db/running-processes.ts';
import { createEmailStore } from '../store/email/email-store.ts';
import { noteFirstStart } from '../store/settings/setup-window-store.ts';
import { createWebhookStore } from '../store/webhooks/webhook-store.ts';
import { cancelWorkflow } from '../temporal/cancel-workflow.ts';
import { createTemporalGateway } from '../temporal/connection.ts';
import { createEngineRuns } from '../temporal/engine-runs.ts';
import { createHytaleEngine } from '../temporal/hytale-engine.ts';
import { reconcileAutoSync } from '../temporal/schedules.ts';
import { readTaskQueues } from '../temporal/task-queues.ts';
import { packageVersion } from '../version.ts';
import { createApp } from './app.ts';
import { createHttpServer, drainServer } from './http/http-server.ts';
import { createSyncStreams } from './streams/sync-stream.ts';

/** Connections to PostgreSQL. */
const DEFAULT_POOL = 10;
/** Milliseconds that running requests have to finish when the process is asked to end. */
const DRAIN_MS = 10_000;
/** Milliseconds for which a change of the schedule may delay the answer to the caller who changed it. */
const SCHEDULE_DEADLINE_MS = 2000;
/** Milliseconds that Temporal has to give the figures of its task queues. */
const QUEUES_DEADLINE_MS = 2500;

function warnAboutSecrets(config: Config, log: Logger): void {
  if (config.backendApiKey === undefined) log.warn('BACKEND_API_KEY is not set: calls with an API key are refused');
  for (const { name, message } of config.weakSecrets) log.warn(`${name} ${message}`);
  if (!config.hytale.requireAuth) {
    log.warn(
      'HYTALE_REQUIRE_AUTH is off: everybody may call the Hytale routes, and so have the tokens of every account',
    );
  }
  if (config.encryptionKey === undefined) log.warn('ENCRYPTION_KEY is not set: secrets are stored in clear');
}

/** The first look at the settings also binds the secrets of an installation from before this rule to their URLs. */
async function warnAboutSettings(settings: Settings, log: Logger): Promise<void> {
  await warnAboutUnreadable(settings, log);
  const { withheld } = await settings.runtime();
  if (withheld.length > 0) log.warn({ withheld }, 'secrets that were entered for another origin are not sent');
}

/** Composes the app with everything it works with. `close` is for the time after the server has drained. */
function compose(config: ServiceConfig, db: Database, log: Logger) {
  const listener = createListener({
    connectionString: config.databaseUrl.reveal(),
    log,
    applicationName: listenerName('api', config.encryptionKey && keyId(config.encryptionKey)),
  });
  const temporal = createTemporalGateway(config.temporal);
  const encryption = createEncryption({ key: config.encryptionKey, previousKey: config.encryptionKeyPrevious });
  const settings = createSettings({ db, config, encryption });
  const streams = createSyncStreams({ db, listener, log });
  const emails = createEmailStore(encryption);
  const discord = createDiscordClient(config.discord);
  const launcher = createSyncLauncher({ db, temporal, log });
  const engine = createEngineRuns(temporal);
  const { environment, hosts, issuer, verifyTokens } = config.hytale;
  const hytaleClient = createHytaleClient({ hosts });
  const ui = { url: config.temporal.uiUrl, namespace: config.temporal.namespace };
  const usage = createLiveUsage({ db, settings, environmentUrl: config.panel.url, log });
  listener.on('settings_changed', settings.forget, settings.forget);
  const app = createApp({
    config,
    db,
    settings,
    emails,
    webhooks: createWebhookStore(encryption),
    webhookUrlRules: config.discord,
    discord,
    cancelWorkflow: (workflowId) => cancelWorkflow(temporal, workflowId),
    launcher,
    mirror: () => mirrorStatus({ db, autoSync: settings.autoSync, requestsPerMinute: config.panel.requestsPerMinute }),
    temporal,
    queues: createQueueStats(() => readTaskQueues(temporal, QUEUES_DEADLINE_MS)),
    runs: createRuns({ db, emails, launcher, engine, ui, log }),
    hytale: createHytale({
      db,
      encryption,
      environment,
      client: hytaleClient,
      engine: createHytaleEngine(temporal),
      log,
      now: Date.now,
    }),
    tokenVerifier: createTokenVerifier({ sessionsBase: hosts.sessions, issuer, enabled: verifyTokens }),
    streams,
    usage,
    log,
    report: captureError,
    version: packageVersion(),
    reconcileAutoSync: (setting) => withDeadline(reconcileAutoSync(temporal, setting), SCHEDULE_DEADLINE_MS),
  });
  return {
    app,
    settings,
    streams,
    async close(): Promise<void> {
      // Its reads store what they have before the database closes.
      await usage.close().catch(() => undefined);
      const clients = [temporal, discord, hytaleClient].map((client) => client.close());
      await Promise.allSettled([listener.close(), ...clients, db.destroy(), flushErrors()]);
    },
  };
}

/** Address at which this machine reaches the server. */
function localUrl(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo;
  const address = ['0.0.0.0', '::'].includes(host) ? '127.0.0.1' : host;
  return `http://${address.includes(':') ? `[${address}]` : address}:${port}`;
}

async function main(): Promise<void> {
  const config = readServiceConfig({ signsTokens: true });
  const log = startLogging(config, 'api', packageVersion());
  const db = await openDatabase({
    connectionString: config.databaseUrl.reveal(),
    applicationName: 'nodebyte-api',
    max: config.databasePoolMax ?? DEFAULT_POOL,
  });
  warnAboutSecrets(config, log);
  await noteFirstStart(db);
  const { app, settings, streams, close } = compose(config, db, log);
  await warnAboutSettings(settings, log);
  const { maxConnections, trustedProxyHops } = config;
  // Behind a proxy all connections are the proxy's.
  const maxOfClient = trustedProxyHops > 0 ? maxConnections : Math.ceil(maxConnections / 16);
  const server = createHttpServer(app, { maxConnections, maxOfClient });

  onEndRequest(log, () => {
    streams.close();
    drainServer(server, DRAIN_MS)
      .then(close)
      .then(
        () => process.exit(EXIT.ok),
        () => process.exit(EXIT.failed),
      );
  });
  server.once('error', (error) => {
    log.fatal({ err: error }, 'cannot listen');
    process.exit(EXIT.failed);
  });
  server.listen(config.port, config.host, () => {
    const url = localUrl(server, config.host);
    log.info({ url, version: packageVersion() }, 'listening');
    process.send?.({ ready: true, url });
  });
}

runProcess('api', main);

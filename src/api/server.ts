/** Process entry of the api: configuration, composition, listening, draining. */

import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { ConfigError, loadConfig } from '../config.ts';
import { withDeadline } from '../deadline.ts';
import { captureError, createLogger, flushErrors, initSentry } from '../observability.ts';
import { createSyncLauncher } from '../services/sync/launcher.ts';
import { createDb } from '../store/db/db.ts';
import { createEncryption } from '../store/db/encryption.ts';
import { createListener } from '../store/db/listener.ts';
import { pendingMigrations } from '../store/db/migrations.ts';
import { createEmailStore } from '../store/email/email-store.ts';
import { createSettings } from '../store/settings/settings-store.ts';
import { createTemporalGateway } from '../temporal/connection.ts';
import { reconcileAutoSync } from '../temporal/schedules.ts';
import { createApp } from './app.ts';
import { createHttpServer, drainServer } from './http/http-server.ts';
import { createSyncStreams } from './streams/sync-stream.ts';

/** sysexits.h EX_CONFIG: what supervisors take as "do not try again". */
const EXIT_CONFIG = 78;
/** Milliseconds requests under way have to finish when the process is asked to end. */
const DRAIN_MS = 10_000;
/** Milliseconds a changed schedule may hold up the answer to who changed it. */
const SCHEDULE_DEADLINE_MS = 2000;

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** Says why and ends the process with the code for a wrong configuration. */
function refuse(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(EXIT_CONFIG);
}

function readConfig() {
  let config: ReturnType<typeof loadConfig>;
  try {
    config = loadConfig(process.env);
  } catch (error) {
    if (error instanceof ConfigError) refuse(error.message);
    throw error;
  }
  const { databaseUrl, temporal, jwtSecret, nextAuthSecret } = config;
  const missing = [
    databaseUrl === undefined ? 'DATABASE_URL' : undefined,
    temporal.address === undefined ? 'TEMPORAL_ADDRESS' : undefined,
    jwtSecret === undefined && nextAuthSecret === undefined ? 'JWT_SECRET' : undefined,
  ].filter((name) => name !== undefined);
  if (databaseUrl === undefined || temporal.address === undefined || missing.length > 0) {
    refuse(
      `configuration is not usable:\n${missing.map((name) => `  - ${name}: required`).join('\n')}\n` +
        '`npm start` brings an embedded database and Temporal and makes the secrets itself.',
    );
  }
  return { config, databaseUrl, temporal: { ...temporal, address: temporal.address } };
}

async function main(): Promise<void> {
  const { config, databaseUrl, temporal: temporalConfig } = readConfig();
  const log = createLogger({
    level: config.logLevel,
    pretty: !config.production && process.stdout.isTTY === true,
    name: 'api',
  });
  initSentry(config, version);
  const db = createDb({ connectionString: databaseUrl.reveal(), applicationName: 'nodebyte-api' });
  const pending = await pendingMigrations(db);
  if (pending.length > 0) {
    await db.destroy();
    refuse(`the database is behind by ${pending.length} migration(s): run \`npm run db:migrate\``);
  }
  if (config.backendApiKey === undefined) log.warn('BACKEND_API_KEY is not set: calls with an API key are refused');
  for (const [name, secret] of [
    ['JWT_SECRET', config.jwtSecret],
    ['NEXTAUTH_SECRET', config.nextAuthSecret],
  ] as const) {
    // Below the length of the digest a secret is easier to guess than the signature (RFC 7518, section 3.2).
    if (secret !== undefined && secret.reveal().length < 32) log.warn(`${name} is shorter than 32 characters`);
  }
  if (config.encryptionKey === undefined) log.warn('ENCRYPTION_KEY is not set: secrets are stored in clear');

  const listener = createListener({
    connectionString: databaseUrl.reveal(),
    log,
    applicationName: 'nodebyte-api-listen',
  });
  const temporal = createTemporalGateway(temporalConfig);
  const encryption = createEncryption({ key: config.encryptionKey, previousKey: config.encryptionKeyPrevious });
  const settings = createSettings({ db, config, encryption });
  const streams = createSyncStreams({ db, listener, log });
  listener.on('settings_changed', settings.forget, settings.forget);
  const app = createApp({
    config,
    db,
    settings,
    emails: createEmailStore(encryption),
    launcher: createSyncLauncher({ db, temporal, log }),
    temporal,
    streams,
    log,
    version,
    reconcileAutoSync: (setting) => withDeadline(reconcileAutoSync(temporal, setting), SCHEDULE_DEADLINE_MS),
  });
  const server = createHttpServer(app);

  let ending = false;
  const end = (reason: string): void => {
    if (ending) return;
    ending = true;
    log.info({ reason }, 'draining');
    streams.close();
    drainServer(server, DRAIN_MS)
      .then(() => Promise.allSettled([listener.close(), temporal.close(), db.destroy(), flushErrors()]))
      .then(
        () => process.exit(0),
        () => process.exit(1),
      );
  };
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));
  process.on('disconnect', () => end('parent gone'));
  process.on('unhandledRejection', (error) => {
    log.error({ err: error }, 'unhandled rejection');
    captureError(error);
  });

  server.once('error', (error) => {
    log.fatal({ err: error }, 'cannot listen');
    process.exit(1);
  });
  server.listen(config.port, config.host, () => {
    const { port } = server.address() as AddressInfo;
    const host = ['0.0.0.0', '::'].includes(config.host) ? '127.0.0.1' : config.host;
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    log.info({ url, version }, 'listening');
    process.send?.({ ready: true, url });
  });
}

main().catch((error: unknown) => {
  process.stderr.write(`the api could not start: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});

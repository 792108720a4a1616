/** PostgreSQL and Temporal of an installation: the configured ones, else embedded ones (ADR 4). */
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Config } from '../config.ts';
import { Secret } from '../domain/secret.ts';
import { cacheFolder } from './folders.ts';
import { acquireLock, lockHolder } from './lock.ts';
import { discardPostgres, type EmbeddedPostgres, startPostgres } from './postgres/postgres.ts';
import { EmbeddedError, type ProgressLog, writePrivateFile } from './process.ts';
import { type ServiceSecrets, serviceSecrets } from './secrets.ts';
import { discardTemporal, type EmbeddedTemporal, startTemporal } from './temporal/temporal.ts';

export interface Services {
  databaseUrl: Secret;
  temporalAddress: string;
  /** Web UI of the embedded Temporal. */
  temporalUiUrl: string | undefined;
  secrets: ServiceSecrets;
  /** Which of the two are embedded. */
  embedded: { postgres: boolean; temporal: boolean };
  /** Environment for api and worker: addresses and secrets, without the settings for an external Temporal. */
  childEnvironment(): Record<string, string>;
  /** Writes the address of the api into the data folder, where other commands find it. */
  noteApi(url: string): Promise<void>;
  /** Stops Temporal, then PostgreSQL; call it when api and worker have ended. Idempotent. */
  stop(): Promise<void>;
}

/** The note of a running installation for other commands: `services.json` (0600) in its data folder. */
export interface ServicesNote {
  pid: number;
  purpose: string;
  /** Only for an embedded database: the address of an external one is in the environment of every command. */
  databaseUrl?: string;
  temporalAddress?: string;
  temporalUiUrl?: string;
  apiUrl?: string;
}

const noteFile = (dataDir: string): string => join(dataDir, 'services.json');

/** Folders of the embedded services inside a data folder. */
export const serviceFolders = (dataDir: string): { postgres: string; temporal: string } => ({
  postgres: join(resolve(dataDir), 'postgres'),
  temporal: join(resolve(dataDir), 'temporal'),
});

/** The note of a running installation; undefined when none runs on this data folder. */
export async function runningServices(dataDir: string): Promise<ServicesNote | undefined> {
  const holder = await lockHolder(dataDir);
  if (holder === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(readFileSync(noteFile(dataDir), 'utf8'));
    if (typeof value !== 'object' || value === null || !('pid' in value) || value.pid !== holder.pid) return undefined;
    const known = value as Record<string, unknown>;
    const note: ServicesNote = { pid: holder.pid, purpose: holder.purpose };
    for (const key of ['databaseUrl', 'temporalAddress', 'temporalUiUrl', 'apiUrl'] as const) {
      const entry = known[key];
      if (typeof entry === 'string') note[key] = entry;
    }
    return note;
  } catch {
    return undefined;
  }
}

/**
 * Creates the data folder and locks it for this process.
 * @throws {EmbeddedError} when it cannot be written to, or another process holds the lock.
 */
export async function takeDataDir(dataDir: string, purpose: string): Promise<{ release(): void }> {
  try {
    // Other users may pass through it, but not list it: as root the database runs under another account.
    mkdirSync(dataDir, { recursive: true, mode: 0o711 });
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new EmbeddedError(
      `the data folder ${dataDir} cannot be written to (${error instanceof Error && 'code' in error ? error.code : error}). Set DATA_DIR to another one.`,
    );
  }
  const lock = await acquireLock(dataDir, purpose);
  if (lock.held) return lock;
  throw new EmbeddedError(
    `the data folder ${dataDir} is in use by "${lock.holder.purpose}", process ${lock.holder.pid}. Stop that first, or set DATA_DIR to another folder.`,
  );
}

/** Ends the services that a killed process left running on a folder that this process has locked, and empties it. */
async function emptyDataDir(dataDir: string): Promise<void> {
  const folders = serviceFolders(dataDir);
  await discardPostgres(folders.postgres);
  await discardTemporal(folders.temporal);
  for (const name of readdirSync(dataDir)) {
    if (name !== 'lock') rmSync(join(dataDir, name), { recursive: true, force: true });
  }
}

export interface StartServicesOptions {
  /** Name of this process in the message to a second starter; default `npm start`. */
  purpose?: string;
  /** Empties the data folder first: for the demo. */
  empty?: boolean;
}

/**
 * Starts PostgreSQL and Temporal where they are not configured, and owns the data folder until `stop`.
 * @throws {EmbeddedError} after everything is stopped again.
 */
export async function startServices(
  config: Config,
  log: ProgressLog,
  options: StartServicesOptions = {},
): Promise<Services> {
  const dataDir = resolve(config.dataDir);
  const purpose = options.purpose ?? 'npm start';
  const lock = await takeDataDir(dataDir, purpose);
  const started: Started = { postgres: undefined, temporal: undefined };
  const stop = async (): Promise<void> => {
    try {
      await started.temporal?.stop();
      await started.postgres?.stop();
    } finally {
      rmSync(noteFile(dataDir), { force: true });
      lock.release();
    }
  };
  try {
    rmSync(noteFile(dataDir), { force: true });
    if (options.empty === true) await emptyDataDir(dataDir);
    await startMissing(config, dataDir, log, started);
    return await describeServices(config, dataDir, purpose, started, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Started {
  postgres: EmbeddedPostgres | undefined;
  temporal: EmbeddedTemporal | undefined;
}

/** Starts the services that are not configured, both at the same time, and puts them into `started`. */
async function startMissing(config: Config, dataDir: string, log: ProgressLog, started: Started): Promise<void> {
  const folders = serviceFolders(dataDir);
  const cacheDir = cacheFolder(config.cacheDir);
  const upPostgres = async (): Promise<void> => {
    if (config.databaseUrl !== undefined) return;
    started.postgres = await startPostgres({ dataDir: folders.postgres, cacheDir, log });
  };
  const upTemporal = async (): Promise<void> => {
    const { address, cliPath, namespace } = config.temporal;
    if (address !== undefined) return;
    started.temporal = await startTemporal({
      dataDir: folders.temporal,
      cacheDir,
      ...(cliPath === undefined ? {} : { cliPath }),
      namespace,
      log,
    });
  };
  // Both starts end before a failure is handled: otherwise a service could come up after the cleanup.
  const starts = await Promise.allSettled([upPostgres(), upTemporal()]);
  for (const start of starts) if (start.status === 'rejected') throw start.reason;
}

/** Collects addresses and secrets, and writes the note for other commands. */
async function describeServices(
  config: Config,
  dataDir: string,
  purpose: string,
  { postgres, temporal }: Started,
  stop: () => Promise<void>,
): Promise<Services> {
  const embedded = { postgres: postgres !== undefined, temporal: temporal !== undefined };
  const databaseUrl = config.databaseUrl ?? (postgres === undefined ? undefined : new Secret(postgres.url));
  const temporalAddress = config.temporal.address ?? temporal?.address;
  if (databaseUrl === undefined || temporalAddress === undefined) throw new EmbeddedError('no service was started');
  const temporalUiUrl = temporal?.uiUrl;
  const secrets = await serviceSecrets({ ...config, dataDir }, embedded.postgres);
  const note: ServicesNote = {
    pid: process.pid,
    purpose,
    temporalAddress,
    ...(postgres === undefined ? {} : { databaseUrl: postgres.url }),
    ...(temporalUiUrl === undefined ? {} : { temporalUiUrl }),
  };
  const writeNote = (content: ServicesNote): Promise<void> =>
    writePrivateFile(noteFile(dataDir), `${JSON.stringify(content)}\n`);
  await writeNote(note);
  return {
    databaseUrl,
    temporalAddress,
    temporalUiUrl,
    secrets,
    embedded,
    childEnvironment: () => ({
      ...childEnvironment(databaseUrl, temporalAddress, secrets, embedded.temporal),
      // A configured address wins: the UI may be behind a proxy.
      ...(temporalUiUrl === undefined ? {} : { TEMPORAL_UI_URL: config.temporal.uiUrl ?? temporalUiUrl }),
    }),
    noteApi: (url) => writeNote({ ...note, apiUrl: url }),
    stop,
  };
}

function childEnvironment(
  databaseUrl: Secret,
  temporalAddress: string,
  secrets: ServiceSecrets,
  embeddedTemporal: boolean,
): Record<string, string> {
  const env: Record<string, string> = { DATABASE_URL: databaseUrl.reveal(), TEMPORAL_ADDRESS: temporalAddress };
  if (secrets.jwtSecret !== undefined) env['JWT_SECRET'] = secrets.jwtSecret.reveal();
  if (secrets.backendApiKey !== undefined) env['BACKEND_API_KEY'] = secrets.backendApiKey.reveal();
  if (secrets.encryptionKey !== undefined) env['ENCRYPTION_KEY'] = secrets.encryptionKey.reveal();
  if (embeddedTemporal) {
    for (const name of ['API_KEY', 'TLS', 'TLS_SERVER_NAME', 'TLS_CA_PATH', 'TLS_CERT_PATH', 'TLS_KEY_PATH']) {
      env[`TEMPORAL_${name}`] = '';
    }
  }
  return env;
}

/** PostgreSQL and Temporal of an installation: the configured ones, and an embedded one for each that is not. */
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
  /** Which of the two are ours. */
  embedded: { postgres: boolean; temporal: boolean };
  /** Environment for api and worker: addresses and secrets, and none of the settings meant for an external Temporal. */
  childEnvironment(): Record<string, string>;
  /** Adds the address of the api to what other commands can find in the data folder. */
  noteApi(url: string): Promise<void>;
  /** Temporal first, then PostgreSQL; to be called when api and worker have ended. Idempotent. */
  stop(): Promise<void>;
}

/** What a running installation tells other commands, in `services.json` (0600) of its data folder. */
export interface ServicesNote {
  pid: number;
  purpose: string;
  /** Of the embedded database only: an external one is in everybody's environment. */
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
 * Makes the data folder and takes it for this process.
 * @throws {EmbeddedError} when it cannot be written to, or another process has it.
 */
export async function takeDataDir(dataDir: string, purpose: string): Promise<{ release(): void }> {
  try {
    // Others may pass through, not look: as root the database runs under another account.
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

/** Ends what a killed process left running on a folder that this process has taken, and removes all but the lock. */
async function emptyDataDir(dataDir: string): Promise<void> {
  const folders = serviceFolders(dataDir);
  await discardPostgres(folders.postgres);
  await discardTemporal(folders.temporal);
  for (const name of readdirSync(dataDir)) {
    if (name !== 'lock') rmSync(join(dataDir, name), { recursive: true, force: true });
  }
}

/**
 * Brings up whichever of PostgreSQL and Temporal is not configured, and owns the data folder until `stop`.
 * @throws {EmbeddedError} with everything stopped again.
 */
export async function startServices(
  config: Config,
  log: ProgressLog,
  options: {
    /** What other starters are told about this one; default `npm start`. */
    purpose?: string;
    /** Empties the data folder first: for the demo. */
    empty?: boolean;
  } = {},
): Promise<Services> {
  const dataDir = resolve(config.dataDir);
  const purpose = options.purpose ?? 'npm start';
  const lock = await takeDataDir(dataDir, purpose);
  const folders = serviceFolders(dataDir);
  const cacheDir = cacheFolder(config.cacheDir);
  let postgres: EmbeddedPostgres | undefined;
  let temporal: EmbeddedTemporal | undefined;
  const stop = async (): Promise<void> => {
    try {
      await temporal?.stop();
      await postgres?.stop();
    } finally {
      rmSync(noteFile(dataDir), { force: true });
      lock.release();
    }
  };
  try {
    rmSync(noteFile(dataDir), { force: true });
    if (options.empty === true) await emptyDataDir(dataDir);
    // Settled, not raced: neither may come up after the other's failure was cleaned up.
    const starts = await Promise.allSettled([
      config.databaseUrl !== undefined
        ? undefined
        : startPostgres({ dataDir: folders.postgres, cacheDir, log }).then((started) => {
            postgres = started;
          }),
      config.temporal.address !== undefined
        ? undefined
        : startTemporal({
            dataDir: folders.temporal,
            cacheDir,
            ...(config.temporal.cliPath === undefined ? {} : { cliPath: config.temporal.cliPath }),
            namespace: config.temporal.namespace,
            log,
          }).then((started) => {
            temporal = started;
          }),
    ]);
    for (const start of starts) if (start.status === 'rejected') throw start.reason;
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
    await writePrivateFile(noteFile(dataDir), `${JSON.stringify(note)}\n`);
    return {
      databaseUrl,
      temporalAddress,
      temporalUiUrl,
      secrets,
      embedded,
      childEnvironment() {
        const env: Record<string, string> = { DATABASE_URL: databaseUrl.reveal(), TEMPORAL_ADDRESS: temporalAddress };
        if (secrets.jwtSecret !== undefined) env['JWT_SECRET'] = secrets.jwtSecret.reveal();
        if (secrets.backendApiKey !== undefined) env['BACKEND_API_KEY'] = secrets.backendApiKey.reveal();
        if (secrets.encryptionKey !== undefined) env['ENCRYPTION_KEY'] = secrets.encryptionKey.reveal();
        if (embedded.temporal) {
          for (const name of ['API_KEY', 'TLS', 'TLS_SERVER_NAME', 'TLS_CA_PATH', 'TLS_CERT_PATH', 'TLS_KEY_PATH']) {
            env[`TEMPORAL_${name}`] = '';
          }
        }
        return env;
      },
      async noteApi(url) {
        await writePrivateFile(noteFile(dataDir), `${JSON.stringify({ ...note, apiUrl: url })}\n`);
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What a command of the CLI works with: a running installation's services, or the database started for the occasion. */
import { join, resolve } from 'node:path';
import type { Config } from '../config.ts';
import { Secret } from '../domain/secret.ts';
import { cacheFolder } from './folders.ts';
import { lockHolder } from './lock.ts';
import { startPostgres } from './postgres/postgres.ts';
import { type ProgressLog, waitUntil } from './process.ts';
import { type ServiceSecrets, serviceSecrets } from './secrets.ts';
import { runningServices, type ServicesNote, serviceFolders, takeDataDir } from './services.ts';

export interface AttachedServices {
  databaseUrl: Secret;
  /** Absent when none is configured and no installation runs. */
  temporalAddress: string | undefined;
  temporalUiUrl: string | undefined;
  /** Of the running installation's api, if its address is known. */
  apiUrl: string | undefined;
  secrets: ServiceSecrets;
  /** Stops what was started for this command. Idempotent. */
  release(): Promise<void>;
}

/** Purpose of a command's lock: a second command waits for it instead of refusing. */
const PURPOSE = 'a command';
const WAIT_MS = 60_000;

/**
 * The installation that runs now on the configured data folder, or a demo in it, and that one's data folder. A demo
 * counts only where no database is configured and nothing of the installation's own runs.
 */
export async function findRunning(config: Config): Promise<{ note: ServicesNote | undefined; home: string }> {
  const dataDir = resolve(config.dataDir);
  const note = await runningServices(dataDir);
  if (note !== undefined || config.databaseUrl !== undefined) return { note, home: dataDir };
  const demoDir = join(dataDir, 'demo');
  const demo = await runningServices(demoDir);
  return demo === undefined ? { note, home: dataDir } : { note: demo, home: demoDir };
}

/**
 * Finds the services for one command. With DATABASE_URL set that database is used; else the embedded one of DATA_DIR
 * (or of a running demo in it), started for the time of the command when nothing runs.
 * @throws {EmbeddedError} when it cannot be started or the data folder is in use by something that has no database.
 */
export async function attachServices(config: Config, log: ProgressLog = () => undefined): Promise<AttachedServices> {
  const dataDir = resolve(config.dataDir);
  const { note, home } = await findRunning(config);
  if (home !== dataDir) log('using the running demo');
  const temporalAddress = config.temporal.address ?? note?.temporalAddress;
  const common = {
    temporalAddress,
    temporalUiUrl: config.temporal.address === undefined ? note?.temporalUiUrl : undefined,
    apiUrl: note?.apiUrl,
  };
  if (config.databaseUrl !== undefined) {
    const secrets = await serviceSecrets(config, false);
    return { ...common, databaseUrl: config.databaseUrl, secrets, release: async () => undefined };
  }
  if (note?.databaseUrl !== undefined) {
    const secrets = await serviceSecrets({ ...config, dataDir: home }, true);
    return { ...common, databaseUrl: new Secret(note.databaseUrl), secrets, release: async () => undefined };
  }
  await waitUntil(async () => (await lockHolder(dataDir))?.purpose !== PURPOSE, WAIT_MS, 100);
  const lock = await takeDataDir(dataDir, PURPOSE);
  try {
    const postgres = await startPostgres({
      dataDir: serviceFolders(dataDir).postgres,
      cacheDir: cacheFolder(config.cacheDir),
      log,
    });
    const secrets = await serviceSecrets({ ...config, dataDir }, true);
    let released: Promise<void> | undefined;
    const release = (): Promise<void> => {
      released ??= postgres.stop().finally(() => lock.release());
      return released;
    };
    return { ...common, databaseUrl: new Secret(postgres.url), secrets, release };
  } catch (error) {
    lock.release();
    throw error;
  }
}

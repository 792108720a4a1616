/** The services for one command of the CLI: those of a running installation, or a database started for the command. */
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
  /** Undefined when none is configured and no installation runs. */
  temporalAddress: string | undefined;
  temporalUiUrl: string | undefined;
  /** Address of the running installation's api, if it is known. */
  apiUrl: string | undefined;
  secrets: ServiceSecrets;
  /** Stops the services that were started for this command. Idempotent. */
  release(): Promise<void>;
}

/** Purpose in a command's lock: a second command waits for the first one instead of failing. */
const PURPOSE = 'a command';
const WAIT_MS = 60_000;

/**
 * The installation that runs on the configured data folder, or else a demo in it, with the data folder of the one found.
 * A demo counts only when no database is configured and the installation itself does not run.
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
 * Finds the services for one command: the database of DATABASE_URL, else the embedded one of DATA_DIR (or of a running
 * demo in it). When none runs, it is started until the command ends.
 * @throws {EmbeddedError} when it cannot be started, or a process without a database uses the data folder.
 */
export async function attachServices(config: Config, log: ProgressLog = () => undefined): Promise<AttachedServices> {
  const dataDir = resolve(config.dataDir);
  const { note, home } = await findRunning(config);
  if (home !== dataDir) log('using the running demo');
  const temporalAddress = config.temporal.address ?? note?.temporalAddress;
  const common = {
    temporalAddress,
    temporalUiUrl: config.temporal.uiUrl ?? (config.temporal.address === undefined ? note?.temporalUiUrl : undefined),
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

/** How a command reaches its database, and Temporal where it needs it. */
import { type Config, type Environment, loadConfig, loadDatabaseConfig } from '../../config.ts';
import type { Secret } from '../../domain/secret.ts';
import type { Database } from '../../store/db/db.ts';
import { withDatabase } from '../../store/db/with-database.ts';
import type { CommandIo } from './command.ts';
import { UsageError } from './errors.ts';

/** Shown in pg_stat_activity. */
const APPLICATION_NAME = 'nodebyte-cli';
const MAX_CONNECTIONS = 3;

/** The command has no database to work on. */
export class NoDatabaseUrl extends UsageError {
  constructor() {
    super('no database URL provided');
  }
}

/** A database that a command may use until it releases it. */
export interface LentDatabase {
  url: string;
  release(): Promise<void>;
}

/** Finds the database of a command for which no URL is given; `undefined` when there is none. */
export type FindEmbedded = (io: Pick<CommandIo, 'env' | 'stderr'>) => Promise<LentDatabase | undefined>;

/** Services of an installation that a command may use until it releases them. */
export interface LentServices extends LentDatabase {
  config: Config;
  /** `undefined` when none is configured and no installation runs. */
  temporalAddress: string | undefined;
  temporalUiUrl: string | undefined;
  encryptionKey: Secret | undefined;
}

/**
 * The services of the configuration or of the running installation. Without either, the embedded database is started
 * for the time of the command.
 */
export async function attach(io: Pick<CommandIo, 'env' | 'stderr'>): Promise<LentServices> {
  const { attachServices } = await import('../../embedded/attach.ts');
  const config = loadConfig(io.env);
  const services = await attachServices(config, (line) => io.stderr.write(`${line}\n`));
  return {
    config,
    url: services.databaseUrl.reveal(),
    temporalAddress: services.temporalAddress,
    temporalUiUrl: services.temporalUiUrl,
    encryptionKey: services.secrets.encryptionKey,
    release: () => services.release(),
  };
}

/**
 * Finds the database of a command: the URL of `--database`, else DATABASE_URL, else the embedded database.
 * @throws {NoDatabaseUrl} when there is none.
 */
async function findDatabase(
  given: string | undefined,
  io: Pick<CommandIo, 'env' | 'stderr'>,
  embedded: FindEmbedded,
): Promise<LentDatabase> {
  const url = given || databaseUrlOf(io.env);
  if (url !== undefined) return { url, release: async () => undefined };
  const lent = await embedded(io);
  if (lent === undefined) throw new NoDatabaseUrl();
  return lent;
}

const databaseUrlOf = (env: Environment): string | undefined => loadDatabaseConfig(env).databaseUrl?.reveal();

/**
 * Gives `work` the URL of the command's database, and afterwards stops what was started for it.
 * @throws {UsageError} when there is no database or the URL is not one of PostgreSQL.
 */
export async function withDatabaseUrl<T>(
  given: string | undefined,
  io: Pick<CommandIo, 'env' | 'stderr'>,
  work: (url: URL) => Promise<T>,
  embedded: FindEmbedded = attach,
): Promise<T> {
  const { url, release } = await findDatabase(given, io, embedded);
  try {
    const parsed = URL.parse(url);
    // The text itself is never printed: it holds a password.
    if (parsed === null || !/^postgres(ql)?:$/.test(parsed.protocol)) {
      throw new UsageError('the database URL must look like postgres://user@host:5432/name');
    }
    return await work(parsed);
  } finally {
    await release();
  }
}

/** Opens the database at `url` for `work`. */
export const withDb = <T>(url: string, work: (db: Database) => Promise<T>): Promise<T> =>
  withDatabase({ connectionString: url, applicationName: APPLICATION_NAME, max: MAX_CONNECTIONS }, work);

/** Finds and opens the command's database for `work`. */
export const withCommandDb = <T>(
  given: string | undefined,
  io: Pick<CommandIo, 'env' | 'stderr'>,
  work: (db: Database) => Promise<T>,
): Promise<T> => withDatabaseUrl(given, io, (url) => withDb(url.href, work));

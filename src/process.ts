/** What every process of the product does alike: exit codes, configuration, database, signals, a failed start. */
import type { Logger } from 'pino';
import { type Config, ConfigError, loadConfig } from './config.ts';
import type { Secret } from './domain/secret.ts';
import { watchNpm } from './embedded/parent.ts';
import type { Database, DbOptions } from './store/db/db.ts';

/** Exit codes of all processes. */
export const EXIT = {
  ok: 0,
  failed: 1,
  /** EX_CONFIG of sysexits.h: a restart does not help. `npm start` and systemd (RestartPreventExitStatus) act on it. */
  config: 78,
  /** 128 + SIGINT, as a shell reports a program that Ctrl-C ended. */
  interrupted: 130,
} as const;

/** Writes the reason to stderr and ends the process with the code for an unusable configuration. */
export function refuse(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(EXIT.config);
}

/** Text of any thrown value. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Reads the configuration. Ends the process when it is not usable. */
export function readConfig(): Config {
  try {
    return loadConfig();
  } catch (error) {
    if (error instanceof ConfigError) refuse(error.message);
    throw error;
  }
}

/** The configuration of a process that starts no database and no Temporal itself. */
export interface ServiceConfig extends Config {
  readonly databaseUrl: Secret;
  readonly temporal: Config['temporal'] & { readonly address: string };
}

/**
 * Reads the configuration of the api or the worker. Ends the process when it is not usable or something required is
 * missing, and names all of it.
 */
export function readServiceConfig(options: { signsTokens?: boolean } = {}): ServiceConfig {
  const config = readConfig();
  const { databaseUrl, temporal, jwtSecret, nextAuthSecret } = config;
  const { address } = temporal;
  const missing = [
    databaseUrl === undefined ? 'DATABASE_URL' : undefined,
    address === undefined ? 'TEMPORAL_ADDRESS' : undefined,
    options.signsTokens === true && jwtSecret === undefined && nextAuthSecret === undefined ? 'JWT_SECRET' : undefined,
  ].filter((name) => name !== undefined);
  if (databaseUrl === undefined || address === undefined || missing.length > 0) {
    const { message } = new ConfigError(missing.map((name) => `${name}: required`));
    refuse(`${message}\n\`npm start\` brings an embedded database and Temporal and generates the secrets.`);
  }
  return { ...config, databaseUrl, temporal: { ...temporal, address } };
}

/** Why a database cannot be used yet, for people. */
export const behindMessage = (pending: number): string =>
  `the database is behind by ${pending} migration(s): run \`npm run db:migrate\``;

/**
 * Opens the pool of a process. Ends the process when migrations are pending.
 * @throws driver errors when the database cannot be reached.
 */
export async function openDatabase(options: DbOptions): Promise<Database> {
  // Imported when it is needed: the command line also uses this file, and its help must not wait for the driver.
  const { createDb } = await import('./store/db/db.ts');
  const { pendingMigrations } = await import('./store/db/migrations.ts');
  const db = createDb(options);
  const pending = await pendingMigrations(db);
  if (pending.length === 0) return db;
  await db.destroy();
  return refuse(behindMessage(pending.length));
}

/** Calls `end` once: at SIGTERM, SIGINT, or when the parent process or npm is gone. */
export function onEndRequest(log: Logger, end: () => void): void {
  let ending = false;
  const request = (reason: string): void => {
    if (ending) return;
    ending = true;
    log.info({ reason }, 'draining');
    end();
  };
  process.on('SIGTERM', () => request('SIGTERM'));
  process.on('SIGINT', () => request('SIGINT'));
  process.on('disconnect', () => request('parent gone'));
  void watchNpm(() => request('npm gone'));
}

/**
 * Calls `interrupt` at every SIGINT, SIGTERM and SIGHUP of a process that must stop its children first. npm that is gone
 * counts as a SIGTERM.
 * @param interrupt receives the signal and how many there have been, this one included
 */
export function onInterrupt(interrupt: (signal: NodeJS.Signals, count: number) => void): void {
  let count = 0;
  const happen = (signal: NodeJS.Signals): void => {
    count += 1;
    interrupt(signal, count);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, happen);
  void watchNpm(() => {
    if (count === 0) happen('SIGTERM');
  });
  // Output to a closed terminal fails; it must not end this process before its children.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
}

/** Runs the main function of a process. When it fails, the process says why and ends. */
export function runProcess(name: string, main: () => Promise<void>): void {
  main().catch((error: unknown) => {
    process.stderr.write(`the ${name} could not start: ${messageOf(error)}\n`);
    process.exit(EXIT.failed);
  });
}

/**
 * `npm start`: starts each service that is not configured, migrates the embedded database, runs api and worker, and
 * stops everything in order: api, worker, Temporal, PostgreSQL.
 */
import type { Config } from './config.ts';
import { EmbeddedError, isPortFree } from './embedded/process.ts';
import { apiAndWorker, GroupFailure, type ProcessGroup, startProcessGroup } from './embedded/process-group.ts';
import { type Services, startServices } from './embedded/services.ts';
import { behindMessage, EXIT, messageOf, onInterrupt, readConfig } from './process.ts';
import { migrateLatest, pendingMigrations } from './store/db/migrations.ts';
import { withDatabase } from './store/db/with-database.ts';

type Say = (line: string) => void;

/** Lines for the terminal; JSON in production, as api and worker write it. */
function createSay(config: Config): Say {
  if (!config.production) return (line) => console.error(`start: ${line}`);
  return (line) =>
    console.log(JSON.stringify({ level: 'info', time: new Date().toISOString(), name: 'start', msg: line }));
}

interface Interrupts {
  happened: boolean;
  /** Set once api and worker are ready. */
  ready: boolean;
  /** Resolves at the first interrupt. */
  exitCode: Promise<number>;
}

function watchInterrupts(say: Say): Interrupts {
  const exitCode = Promise.withResolvers<number>();
  const interrupts: Interrupts = { happened: false, ready: false, exitCode: exitCode.promise };
  onInterrupt((signal, count) => {
    interrupts.happened = true;
    if (count === 1) say('stopping');
    else if (count === 2) say('already stopping, this takes a few seconds');
    // Once everything runs, Ctrl-C is the way to end it and no failure.
    exitCode.resolve(signal === 'SIGINT' && !interrupts.ready ? EXIT.interrupted : EXIT.ok);
  });
  return interrupts;
}

function warnAboutEmbedded({ production, databaseUrl, temporal }: Config, say: Say): void {
  const missing = [
    ...(databaseUrl === undefined ? ['DATABASE_URL'] : []),
    ...(temporal.address === undefined ? ['TEMPORAL_ADDRESS'] : []),
  ];
  if (!production || missing.length === 0) return;
  say(
    `warning: ${missing.join(' and ')} not set: using the embedded one, which is meant for a first look, not for production`,
  );
}

/** Migrates the embedded database. An external one is only checked; false when migrations are pending there. */
function prepareDatabase(services: Services, say: Say): Promise<boolean> {
  const options = { connectionString: services.databaseUrl.reveal(), applicationName: 'start', max: 2 };
  return withDatabase(options, async (db) => {
    if (services.embedded.postgres) {
      const done = await migrateLatest(db, {});
      if (done.length > 0) say(`database: ${done.length} migrations applied`);
      return true;
    }
    const pending = await pendingMigrations(db);
    if (pending.length > 0) say(behindMessage(pending.length));
    return pending.length === 0;
  });
}

/** Address to print: one that a person can open, whatever the api is bound to. */
function localUrl(url: string | undefined, port: number): string {
  const parsed = URL.parse(url ?? '') ?? new URL(`http://localhost:${port}`);
  if (['0.0.0.0', '[::]', '127.0.0.1'].includes(parsed.hostname)) parsed.hostname = 'localhost';
  return parsed.origin;
}

function announce(url: string, config: Config, services: Services, say: Say): void {
  say('ready');
  say(`  API             ${url}`);
  say(`  API documents   ${url}/docs and ${url}/swagger`);
  if (services.temporalUiUrl !== undefined) say(`  Temporal UI     ${services.temporalUiUrl}`);
  if (services.embedded.postgres || services.embedded.temporal) say(`  data            ${config.dataDir}`);
  say('Ctrl-C stops everything');
}

/** What has been started so far and must be stopped at the end. */
interface Started {
  services?: Services;
  group?: ProcessGroup;
}

/** Starts everything and waits for its end. @returns the exit code. */
async function run(config: Config, say: Say, interrupts: Interrupts, started: Started): Promise<number> {
  const services = await startServices(config, say);
  started.services = services;
  if (interrupts.happened) return interrupts.exitCode;
  if (!(await prepareDatabase(services, say))) return EXIT.config;
  if (interrupts.happened) return interrupts.exitCode;
  const group = startProcessGroup(apiAndWorker(services.childEnvironment()), { log: say });
  started.group = group;
  const first = await Promise.race([group.ready, interrupts.exitCode]);
  if (typeof first === 'number') return first;
  const url = localUrl(first.get('api')?.url, config.port);
  await services.noteApi(url);
  interrupts.ready = true;
  announce(url, config, services, say);
  return Promise.race([group.failed, interrupts.exitCode]);
}

async function main(): Promise<number> {
  const config = readConfig();
  const say = createSay(config);
  const interrupts = watchInterrupts(say);
  warnAboutEmbedded(config, say);
  if (!(await isPortFree(config.port, config.host))) {
    say(`port ${config.port} (${config.host}) is in use: set BACKEND_PORT to another one`);
    return EXIT.failed;
  }
  const started: Started = {};
  try {
    return await run(config, say, interrupts, started);
  } catch (error) {
    if (error instanceof GroupFailure) return error.exitCode;
    // A program in our process group received the same Ctrl-C: its failure follows from the interrupt.
    if (interrupts.happened) return await interrupts.exitCode;
    say(error instanceof EmbeddedError ? error.message : `failed: ${messageOf(error)}`);
    return EXIT.failed;
  } finally {
    await started.group?.stop();
    await started.services?.stop();
  }
}

process.exitCode = await main();
// A handle that a library left open must not keep a stopped installation alive.
process.exit();

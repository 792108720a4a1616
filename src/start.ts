/**
 * `npm start`: brings up what is not configured, migrates the embedded database, runs api and worker, and stops all of
 * it in order: api, worker, Temporal, PostgreSQL.
 */
import { fileURLToPath } from 'node:url';
import { type Config, ConfigError, loadConfig } from './config.ts';
import { EmbeddedError, isPortFree } from './embedded/process.ts';
import {
  GroupFailure,
  type ProcessGroup,
  startProcessGroup,
  WORKER_ENV,
  WORKER_NODE_FLAGS,
} from './embedded/process-group.ts';
import { type Services, startServices } from './embedded/services.ts';
import { createDb } from './store/db/db.ts';
import { migrateLatest, pendingMigrations } from './store/db/migrations.ts';

/** sysexits.h EX_CONFIG. */
const EXIT_CONFIG = 78;

type Say = (line: string) => void;

/** Lines for the terminal; JSON in production, as api and worker write it. */
function createSay(config: Config): Say {
  if (!config.production) return (line) => console.error(`start: ${line}`);
  return (line) =>
    console.log(JSON.stringify({ level: 'info', time: new Date().toISOString(), name: 'start', msg: line }));
}

/** Ours is migrated; somebody else's is only looked at. False = it is behind. */
async function prepareDatabase(services: Services, say: Say): Promise<boolean> {
  const db = createDb({ connectionString: services.databaseUrl.reveal(), applicationName: 'start', max: 2 });
  try {
    if (services.embedded.postgres) {
      const done = await migrateLatest(db, {});
      if (done.length > 0) say(`database: ${done.length} migrations applied`);
      return true;
    }
    const pending = await pendingMigrations(db);
    if (pending.length === 0) return true;
    say(
      `the database of DATABASE_URL is behind by ${pending.length} migrations: run \`npm run db:migrate\`, then start again`,
    );
    return false;
  } finally {
    await db.destroy();
  }
}

async function main(): Promise<number> {
  let config: Config;
  try {
    config = loadConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(error.message);
    return EXIT_CONFIG;
  }
  const say = createSay(config);
  const interrupt = Promise.withResolvers<number>();
  let interrupts = 0;
  let ready = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    interrupts += 1;
    if (interrupts === 1) say('stopping');
    else if (interrupts === 2) say('already stopping, this takes a few seconds');
    // An orderly end is what was asked for, once everything ran.
    interrupt.resolve(signal === 'SIGINT' && !ready ? 130 : 0);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  // A closed terminal must not end us before what we started.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const interrupted = (): boolean => interrupts > 0;

  if (config.production && (config.databaseUrl === undefined || config.temporal.address === undefined)) {
    const missing = [
      ...(config.databaseUrl === undefined ? ['DATABASE_URL'] : []),
      ...(config.temporal.address === undefined ? ['TEMPORAL_ADDRESS'] : []),
    ];
    say(
      `warning: ${missing.join(' and ')} not set: using the embedded one, which is meant for a first look, not for production`,
    );
  }
  if (!(await isPortFree(config.port, config.host))) {
    say(`port ${config.port} (${config.host}) is in use: set BACKEND_PORT to another one`);
    return 1;
  }

  let services: Services | undefined;
  let group: ProcessGroup | undefined;
  try {
    services = await startServices(config, say);
    if (interrupted()) return await interrupt.promise;
    if (!(await prepareDatabase(services, say))) return EXIT_CONFIG;
    if (interrupted()) return await interrupt.promise;
    const env = { ...process.env, ...services.childEnvironment() };
    group = startProcessGroup(
      [
        // The api allows itself 10 s for open requests, the worker 20 s for running activities.
        { name: 'api', entry: fileURLToPath(new URL('./api/server.ts', import.meta.url)), env, drainMs: 15_000 },
        {
          name: 'worker',
          entry: fileURLToPath(new URL('./worker.ts', import.meta.url)),
          nodeFlags: WORKER_NODE_FLAGS,
          env: { ...WORKER_ENV, ...env },
          drainMs: 40_000,
        },
      ],
      { log: say },
    );
    const first = await Promise.race([group.ready, interrupt.promise]);
    if (typeof first === 'number') return first;
    const url = localUrl(first.get('api')?.url, config.port);
    await services.noteApi(url);
    ready = true;
    say('ready');
    say(`  API             ${url}`);
    say(`  API documents   ${url}/docs and ${url}/swagger`);
    if (services.temporalUiUrl !== undefined) say(`  Temporal UI     ${services.temporalUiUrl}`);
    if (services.embedded.postgres || services.embedded.temporal) say(`  data            ${config.dataDir}`);
    say('Ctrl-C stops everything');
    return await Promise.race([group.failed, interrupt.promise]);
  } catch (error) {
    if (error instanceof GroupFailure) return error.exitCode;
    // A program in our process group got the same Ctrl-C: its failure is the interruption.
    if (interrupted()) return await interrupt.promise;
    if (error instanceof EmbeddedError) say(error.message);
    else say(`failed: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  } finally {
    await group?.stop();
    await services?.stop();
  }
}

/** The address to print: one that can be clicked, whatever the api is bound to. */
function localUrl(url: string | undefined, port: number): string {
  const parsed = URL.parse(url ?? '') ?? new URL(`http://localhost:${port}`);
  if (['0.0.0.0', '[::]', '127.0.0.1'].includes(parsed.hostname)) parsed.hostname = 'localhost';
  return parsed.origin;
}

process.exitCode = await main();
// Anything left open by a library must not keep a stopped installation alive.
process.exit();

/**
 * `npm run demo`: the whole product on a bare machine. PostgreSQL, Temporal, a simulated panel (or a real one), api and
 * worker; a full sync through the HTTP API; then what was created and where to look.
 */

import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, InvalidArgumentError } from 'commander';
import { type Config, loadConfig } from '../../config.ts';
import { ENTITIES } from '../../domain/sync/targets.ts';
import { isPortFree, sleep } from '../../embedded/process.ts';
import { type ProcessGroup, startProcessGroup, WORKER_ENV, WORKER_NODE_FLAGS } from '../../embedded/process-group.ts';
import { type Services, startServices } from '../../embedded/services.ts';
import { createUser } from '../../services/accounts/register.ts';
import { createDb } from '../../store/db/db.ts';
import { migrateLatest } from '../../store/db/migrations.ts';
import { createTerminal, printable, type Terminal, table } from '../support/terminal.ts';
import { createDemoApi, type DemoApi, type DemoLog } from './api.ts';

/** Sizes of the simulated panel: a company of some thousand customers. */
const SIZES = {
  locations: 3,
  nodes: 20,
  allocations: 10_000,
  nests: 5,
  eggs: 40,
  users: 5_000,
  servers: 5_000,
  databases: 2_000,
  subusers: 3_000,
} as const;
type SizeName = keyof typeof SIZES;
const SIZE_NAMES = Object.keys(SIZES) as readonly SizeName[];

interface DemoFlags extends Partial<Record<SizeName, number>> {
  once?: boolean;
  port?: number;
  latency: number;
  limit: number;
}

/** Where the demo's mail goes. */
interface MailBox {
  /** Page on which it can be read. */
  url: string;
  env: Record<string, string>;
  /** What the first mail says, within 15 s. */
  firstMail(): Promise<string | undefined>;
  close(): Promise<void>;
}

/** Panel the demo syncs from. */
interface Panel {
  url: string;
  env: Record<string, string>;
  close(): Promise<void>;
}

const EMAIL = 'admin@nodebyte.example';
const CUSTOMER = 'customer@nodebyte.example';
/** Ports tried after the wanted one. */
const PORT_TRIES = 50;
const POLL_MS = 250;

class Interrupted extends Error {}

function wholeNumber(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new InvalidArgumentError('a whole number is wanted');
  return Number(text);
}

/** Adds `demo`. Its exit code: 0 when the sync completed, 1 otherwise, 130 when it was interrupted before. */
export function registerDemoCommand(program: Command): void {
  const command = program
    .command('demo')
    .description('show the product: everything it needs, a simulated panel, one full sync')
    .option('--once', 'end after the sync, with its result as the exit code')
    .option('--port <number>', 'port of the api (default: BACKEND_PORT or 8080, or the next free one)', wholeNumber)
    .option('--latency <ms>', 'of each answer of the simulated panel', wholeNumber, 20)
    .option('--limit <requests>', 'a minute that the simulated panel allows; 0 = no limit', wholeNumber, 240);
  for (const name of SIZE_NAMES) {
    command.option(`--${name} <number>`, `in the simulated panel (default: ${SIZES[name]})`, wholeNumber);
  }
  command.action(async (flags: DemoFlags) => {
    process.exitCode = await runDemo(flags);
    process.exit();
  });
}

/** The demo's own configuration: its own folder and services, whatever else is configured. */
function demoConfig(): { config: Config; env: Record<string, string | undefined> } {
  const given = loadConfig({ ...process.env, ENV: 'development' });
  const env: Record<string, string | undefined> = {
    ...process.env,
    ENV: 'development',
    LOG_LEVEL: process.env['LOG_LEVEL'] || 'info',
    // Credentials of a demo are on the screen: it is for this machine only, unless asked otherwise.
    BACKEND_HOST: process.env['BACKEND_HOST'] || '127.0.0.1',
    DATA_DIR: join(given.dataDir, 'demo'),
    AUTO_SYNC_ENABLED: 'false',
  };
  const own = [
    'DATABASE_URL',
    'TEMPORAL_ADDRESS',
    'TEMPORAL_NAMESPACE',
    'JWT_SECRET',
    'NEXTAUTH_SECRET',
    'BACKEND_API_KEY',
    'ENCRYPTION_KEY',
    'ENCRYPTION_KEY_PREVIOUS',
    'SENTRY_DSN',
  ];
  for (const name of own) env[name] = '';
  return { config: loadConfig(env), env };
}

async function findPort(wanted: number, host: string): Promise<number> {
  for (let port = wanted; port < wanted + PORT_TRIES && port <= 65_535; port += 1) {
    if (await isPortFree(port, host)) return port;
  }
  throw new Error(`no free port from ${wanted} on: give one with --port`);
}

async function openPanel(config: Config, flags: DemoFlags, terminal: Terminal): Promise<Panel> {
  const { url, apiKey, clientApiKey } = config.panel;
  if (url !== undefined && apiKey !== undefined) {
    terminal.line(`Panel: ${url} (PTERODACTYL_URL); it is only read`);
    return { url, env: {}, close: async () => undefined };
  }
  const sizes = Object.fromEntries(SIZE_NAMES.map((name) => [name, flags[name] ?? SIZES[name]]));
  const { startPanelSimulator } = await import('../../../simulators/panel/simulator.ts');
  const panel = await startPanelSimulator({ ...sizes, latencyMs: flags.latency, limit: flags.limit });
  const limit = flags.limit === 0 ? 'no limit' : `${flags.limit} requests a minute`;
  terminal.line(
    `Panel: simulated, ${sizes['servers']} servers, ${sizes['users']} users, ${sizes['nodes']} nodes; ${flags.latency} ms an answer, ${limit}`,
  );
  return {
    url: panel.url,
    env: {
      PTERODACTYL_URL: panel.url,
      PTERODACTYL_API_KEY: panel.keys.full,
      PTERODACTYL_CLIENT_API_KEY: clientApiKey === undefined ? panel.keys.client : '',
      CF_ACCESS_CLIENT_ID: '',
      CF_ACCESS_CLIENT_SECRET: '',
    },
    close: () => panel.close(),
  };
}

/** Nobody gets mail from a demo, whatever is configured: it ends in a catcher with a page to read it. */
async function openMailBox(): Promise<MailBox> {
  const { startEmailCatcher } = await import('../../../simulators/email/simulator.ts');
  const catcher = await startEmailCatcher();
  return {
    url: catcher.url,
    env: { RESEND_BASE_URL: catcher.url, RESEND_API_KEY: catcher.apiKey, SMTP_URL: '' },
    async firstMail() {
      for (let tries = 0; tries < 15_000 / POLL_MS; tries += 1) {
        const [mail] = catcher.emails();
        if (mail !== undefined) return `mail "${mail.subject}" to ${mail.to.join(', ')}`;
        await sleep(POLL_MS);
      }
      return undefined;
    },
    close: () => catcher.close(),
  };
}

async function prepare(services: Services, password: string): Promise<void> {
  const db = createDb({
    connectionString: services.databaseUrl.reveal(),
    applicationName: 'demo',
    max: 2,
    statementTimeoutMs: 120_000,
  });
  try {
    await migrateLatest(db, {});
    await createUser(db, {
      email: EMAIL,
      password,
      username: 'admin',
      roles: ['SUPER_ADMIN'],
      isSystemAdmin: true,
      emailVerified: true,
    });
  } finally {
    await db.destroy();
  }
}

/** Follows one sync to its end, whatever that is. */
async function follow(api: DemoApi, id: string, terminal: Terminal, check: () => void): Promise<DemoLog> {
  const progress = terminal.progress();
  try {
    for (;;) {
      check();
      const log = await api.syncLog(id);
      const label = log.message ?? log.step ?? log.status.toLowerCase();
      const items = log.itemsTotal > 0 ? `  ${log.itemsSynced}/${log.itemsTotal}` : '';
      progress.update(log.percentage, terminal.live ? `${label}${items}` : label);
      if (!['PENDING', 'RUNNING'].includes(log.status)) return log;
      await sleep(POLL_MS);
    }
  } finally {
    progress.done();
  }
}

function printResult(log: DemoLog, inventory: Record<string, number>, seconds: number, terminal: Terminal): void {
  const how = log.status === 'COMPLETED' ? terminal.good('completed') : terminal.bad(log.status.toLowerCase());
  terminal.line(`Sync ${how} in ${seconds.toFixed(1)} s${log.error === undefined ? '' : `: ${printable(log.error)}`}`);
  const columns = ['created', 'updated', 'unchanged', 'pruned', 'failed'] as const;
  // In the order of writing, parents first; what this list does not know comes last.
  const ranks = new Map<string, number>(ENTITIES.map((entity, rank) => [entity, rank]));
  const order = (entity: string): number => ranks.get(entity) ?? ENTITIES.length;
  const rows = Object.entries(log.counts)
    .toSorted(([a], [b]) => order(a) - order(b))
    .map(([entity, counts]) => [printable(entity).replaceAll('_', ' '), ...columns.map((c) => String(counts[c] ?? 0))]);
  terminal.line();
  for (const line of table(['entity', ...columns], rows)) terminal.line(`  ${line}`);
  if (log.counts['subusers'] !== undefined) {
    terminal.line(terminal.dim("  subusers: a row for each server's owner, and one for each person it is shared with"));
  }
  for (const warning of log.warnings) terminal.line(`  warning: ${printable(warning)}`);
  terminal.line();
  const stored = Object.entries(inventory).map(([name, count]) => `${count} ${printable(name)}`);
  terminal.line(`In PostgreSQL now: ${stored.join(', ')}`);
}

async function runDemo(flags: DemoFlags): Promise<number> {
  const terminal = createTerminal(process.stdout);
  const interrupt = Promise.withResolvers<never>();
  interrupt.promise.catch(() => undefined);
  let interrupted = false;
  let finished = false;
  const onSignal = (): void => {
    if (!interrupted) terminal.line(terminal.live ? '\nStopping …' : 'Stopping …');
    interrupted = true;
    interrupt.reject(new Interrupted());
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  // A closed terminal must not end us before what we started.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const check = (): void => {
    if (interrupted) throw new Interrupted();
  };
  const orInterrupt = <T>(work: Promise<T>): Promise<T> => Promise.race([work, interrupt.promise]);

  let services: Services | undefined;
  let panel: Panel | undefined;
  let mailBox: MailBox | undefined;
  let group: ProcessGroup | undefined;
  let output: number | undefined;
  let logFile: string | undefined;
  let exitCode = 1;
  try {
    const { config, env } = demoConfig();
    terminal.line('Starting PostgreSQL and Temporal …');
    services = await startServices(config, (line) => terminal.line(terminal.dim(`  ${line}`)), {
      purpose: 'npm run demo',
      empty: true,
    });
    check();
    const password = randomBytes(12).toString('base64url');
    await prepare(services, password);
    check();
    panel = await openPanel(config, flags, terminal);
    mailBox = await openMailBox();
    const port = await findPort(flags.port ?? config.port, config.host);
    logFile = join(config.dataDir, 'demo.log');
    output = openSync(logFile, 'a', 0o600);
    const childEnv = {
      ...env,
      ...services.childEnvironment(),
      ...panel.env,
      ...mailBox.env,
      BACKEND_PORT: String(port),
    };
    terminal.line('Starting api and worker …');
    group = startProcessGroup(
      [
        {
          name: 'api',
          entry: fileURLToPath(new URL('../../api/server.ts', import.meta.url)),
          env: childEnv,
          drainMs: 15_000,
        },
        {
          name: 'worker',
          entry: fileURLToPath(new URL('../../worker.ts', import.meta.url)),
          nodeFlags: WORKER_NODE_FLAGS,
          env: { ...WORKER_ENV, ...childEnv },
          drainMs: 40_000,
        },
      ],
      { log: (line) => terminal.line(terminal.bad(`  ${line}`)), stdout: output },
    );
    await orInterrupt(group.ready);
    const url = `http://${['0.0.0.0', '127.0.0.1'].includes(config.host) ? 'localhost' : config.host}:${port}`;
    await services.noteApi(url);

    const api = createDemoApi(url);
    await orInterrupt(api.signIn(EMAIL, password));
    terminal.line(terminal.strong('Full sync'));
    const started = performance.now();
    const id = await orInterrupt(api.startSync());
    const log = await orInterrupt(follow(api, id, terminal, check));
    const seconds = (performance.now() - started) / 1000;
    printResult(log, await orInterrupt(api.inventory()), seconds, terminal);
    // Random text alone may lack what the password rules ask for.
    await orInterrupt(api.register(CUSTOMER, `${password}-Aa1`));
    const delivered = await orInterrupt(mailBox.firstMail());
    terminal.line(`A customer registered: ${delivered ?? terminal.bad('no mail was sent within 15 s')}`);
    exitCode = log.status === 'COMPLETED' ? 0 : 1;
    finished = true;
    if (flags.once !== true) {
      terminal.line();
      terminal.line(`${terminal.strong('API documents')}   ${url}/docs   ${url}/swagger`);
      terminal.line(`${terminal.strong('Temporal UI')}     ${services.temporalUiUrl ?? '-'}`);
      terminal.line(`${terminal.strong('Sign in')}         ${EMAIL}  ${password}`);
      terminal.line(`${terminal.strong('API key')}         ${services.secrets.backendApiKey?.reveal() ?? '-'}`);
      terminal.line(`${terminal.strong('Mail')}            ${mailBox.url}`);
      terminal.line(`${terminal.strong('Panel')}           ${panel.url}`);
      terminal.line(`${terminal.strong('Logs')}            ${logFile}`);
      terminal.line();
      terminal.line('Ctrl-C stops everything');
      const code = await orInterrupt(group.failed);
      exitCode = code;
    }
  } catch (error) {
    if (!(error instanceof Interrupted) && !interrupted) {
      terminal.line(terminal.bad(error instanceof Error ? error.message : String(error)));
      if (logFile !== undefined) for (const line of lastLines(logFile, 20)) terminal.line(terminal.dim(`  ${line}`));
      exitCode = 1;
    } else if (!finished) exitCode = 130;
  } finally {
    // The panel goes last but the services: the worker may be in the middle of a page.
    await group?.stop();
    await panel?.close();
    await mailBox?.close();
    await services?.stop();
    if (output !== undefined) closeSync(output);
  }
  return exitCode;
}

function lastLines(file: string, count: number): string[] {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count);
  } catch {
    return [];
  }
}

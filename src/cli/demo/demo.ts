/**
 * `npm run demo`: the whole product on a bare machine. PostgreSQL, Temporal, a simulated panel (or a real one), api and
 * worker; a full sync through the HTTP API; then what was created and where to look.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type Config, type Environment, loadConfig } from '../../config.ts';
import { apiAndWorker, type ProcessGroup, startProcessGroup } from '../../embedded/process-group.ts';
import { type Services, startServices } from '../../embedded/services.ts';
import { EXIT, messageOf, onInterrupt } from '../../process.ts';
import { createTemporalGateway } from '../../temporal/connection.ts';
import { triggerMaintenance } from '../../temporal/schedules.ts';
import { createTerminal, type Terminal } from '../support/terminal.ts';
import { AUDIT_PATH, createDemoApi, DELIVERIES_PATH, type DemoApi, SESSIONS_PATH, USAGE_PATH } from './api.ts';
import { type Chat, openChat, showDeliveries } from './discord.ts';
import {
  beginSignIn,
  type GameProvider,
  offerSecondAccount,
  openGameProvider,
  showConsole,
  showGameSession,
} from './hytale.ts';
import { addDemoOptions, type DemoFlags } from './options.ts';
import { followSync, followUsage, printEvents, printPlaces, printResult } from './report.ts';
import {
  ADMIN_EMAIL,
  demoConfig,
  findPort,
  type Inbox,
  openInbox,
  openPanel,
  type Panel,
  prepareDatabase,
} from './surroundings.ts';

const CUSTOMER_EMAIL = 'customer@nodebyte.example';
/** Lines of the log of api and worker that are shown when the demo fails. */
const SHOWN_LOG_LINES = 20;

/** Adds `demo`. Its exit code: 0 when the sync completed, 1 otherwise, 130 when it was interrupted before. */
export function registerDemoCommand(program: Command, io: { env: Environment } = process): void {
  const command = program
    .command('demo')
    .description('show the product: its services, a simulated panel, one full sync')
    .action(async (flags: DemoFlags) => {
      process.exitCode = await runDemo(flags, io.env, createTerminal(process.stdout));
      process.exit();
    });
  addDemoOptions(command);
}

class Interrupted extends Error {}

interface Interrupts {
  happened: boolean;
  /** @throws {Interrupted} after an interrupt. */
  check(): void;
  /** Waits for `work`, but not longer than until an interrupt. @throws {Interrupted} */
  race<T>(work: Promise<T>): Promise<T>;
}

function watchInterrupts(terminal: Terminal): Interrupts {
  const interrupt = Promise.withResolvers<never>();
  // An interrupt that comes while nothing waits is no unhandled rejection.
  interrupt.promise.catch(() => undefined);
  const interrupts: Interrupts = {
    happened: false,
    check() {
      if (interrupts.happened) throw new Interrupted();
    },
    race: (work) => Promise.race([work, interrupt.promise]),
  };
  onInterrupt((_signal, count) => {
    if (count === 1) terminal.line(terminal.live ? '\nStopping …' : 'Stopping …');
    interrupts.happened = true;
    interrupt.reject(new Interrupted());
  });
  return interrupts;
}

/** What a demo works with; the parts are there once they have been opened. */
interface Demo {
  readonly flags: DemoFlags;
  readonly env: Environment;
  readonly terminal: Terminal;
  readonly interrupts: Interrupts;
  services?: Services;
  panel?: Panel;
  inbox?: Inbox;
  chat?: Chat;
  hytale?: GameProvider;
  group?: ProcessGroup;
  /** Output of api and worker. */
  output?: { path: string; descriptor: number };
  /** The sync ran and everything was shown. */
  finished: boolean;
}

async function runDemo(flags: DemoFlags, env: Environment, terminal: Terminal): Promise<number> {
  const demo: Demo = { flags, env, terminal, interrupts: watchInterrupts(terminal), finished: false };
  let exitCode: number = EXIT.failed;
  try {
    const installation = await openInstallation(demo);
    const shown = await showSync(demo, installation);
    exitCode = shown.exitCode;
    demo.finished = true;
    if (flags.once !== true) exitCode = await keepRunning(demo, installation, shown);
  } catch (error) {
    if (demo.interrupts.happened) return demo.finished ? exitCode : EXIT.interrupted;
    terminal.line(terminal.bad(messageOf(error)));
    if (demo.output !== undefined) {
      for (const line of lastLines(demo.output.path, SHOWN_LOG_LINES)) terminal.line(terminal.dim(`  ${line}`));
    }
    return EXIT.failed;
  } finally {
    // The panel is closed after the worker, which may be reading a page, and the services last.
    await demo.group?.stop();
    await demo.panel?.close();
    await demo.inbox?.close();
    await demo.chat?.close();
    await demo.hytale?.close();
    await demo.services?.stop();
    if (demo.output !== undefined) closeSync(demo.output.descriptor);
  }
  return exitCode;
}

/** A running demo. */
interface Installation {
  services: Services;
  panel: Panel;
  inbox: Inbox;
  chat: Chat;
  hytale: GameProvider;
  group: ProcessGroup;
  /** Of the api. */
  url: string;
  api: DemoApi;
  logFile: string;
  /** Of the administrator. */
  password: string;
}

/** Starts everything and waits until api and worker are ready. */
async function openInstallation(demo: Demo): Promise<Installation> {
  const { flags, terminal, interrupts } = demo;
  const { config, variables } = demoConfig(demo.env);
  terminal.line('Starting PostgreSQL and Temporal …');
  const log = (line: string): void => terminal.line(terminal.dim(`  ${line}`));
  const services = await startServices(config, log, { purpose: 'npm run demo', empty: true });
  demo.services = services;
  interrupts.check();
  const password = randomBytes(12).toString('base64url');
  await prepareDatabase(services.databaseUrl.reveal(), password);
  interrupts.check();
  const panel = await openPanel(config, flags, terminal);
  demo.panel = panel;
  const inbox = await openInbox();
  demo.inbox = inbox;
  const chat = await openChat();
  demo.chat = chat;
  const hytale = await openGameProvider();
  demo.hytale = hytale;
  const port = await findPort(flags.port ?? config.port, config.host);
  const logFile = join(config.dataDir, 'demo.log');
  const descriptor = openSync(logFile, 'a', 0o600);
  demo.output = { path: logFile, descriptor };
  terminal.line('Starting api and worker …');
  const group = startProcessGroup(
    apiAndWorker({
      ...variables,
      ...services.childEnvironment(),
      ...panel.variables,
      ...inbox.variables,
      ...chat.variables,
      ...hytale.variables,
      BACKEND_PORT: String(port),
    }),
    { log: (line) => terminal.line(terminal.bad(`  ${line}`)), stdout: descriptor },
  );
  demo.group = group;
  await interrupts.race(group.ready);
  const url = localUrl(config, port);
  await services.noteApi(url);
  return { services, panel, inbox, chat, hytale, group, url, api: createDemoApi(url), logFile, password };
}

function localUrl({ host }: Config, port: number): string {
  return `http://${['0.0.0.0', '127.0.0.1'].includes(host) ? 'localhost' : host}:${port}`;
}

/** What the demo has shown. */
interface Shown {
  exitCode: number;
  /** Id of a failed delivery that was not sent again. */
  failedDelivery: string | undefined;
}

/** Runs a full sync and a registration through the HTTP API, reports to webhooks, and shows what came of it. */
async function showSync({ terminal, interrupts, env }: Demo, installation: Installation): Promise<Shown> {
  const { api, password, inbox, chat, hytale, panel } = installation;
  await interrupts.race(api.signIn(ADMIN_EMAIL, password));
  for (const webhook of chat.webhooks) await interrupts.race(api.createWebhook(webhook));
  // Its workflow looks after a few seconds whether the account was approved; the sync runs meanwhile.
  const login = await interrupts.race(beginSignIn(api, hytale));
  terminal.line(terminal.strong('Full sync'));
  const startedAt = performance.now();
  const id = await interrupts.race(api.startSync());
  const log = await interrupts.race(followSync(api, id, terminal, interrupts.check));
  const seconds = (performance.now() - startedAt) / 1000;
  printResult(log, await interrupts.race(api.inventory()), seconds, terminal);
  // The ending has the character classes that the password policy requires; random text may lack one.
  await interrupts.race(api.register(CUSTOMER_EMAIL, `${password}-Aa1`));
  const delivered = await interrupts.race(inbox.firstEmail());
  terminal.line(`A customer registered: ${delivered ?? terminal.bad('no email was sent within 15 s')}`);
  await interrupts.race(showAdministration(api, terminal));
  const failedDelivery = await interrupts.race(showDeliveries(api, terminal));
  await interrupts.race(showGameSession(api, panel, login, terminal));
  const pull = () => pullNow(env, installation);
  await interrupts.race(showConsole(api, panel, { url: installation.url, pull }, terminal));
  return { exitCode: log.status === 'COMPLETED' ? EXIT.ok : EXIT.failed, failedDelivery };
}

/** Starts the run that reads the consoles. */
async function pullNow(env: Environment, { services }: Installation): Promise<void> {
  const child = services.childEnvironment();
  const { temporal: config } = loadConfig({ ...demoConfig(env).variables, ...child });
  const temporal = createTemporalGateway({ ...config, address: child['TEMPORAL_ADDRESS'] ?? '' });
  try {
    await triggerMaintenance(temporal, 'hytale-logs');
  } finally {
    await temporal.close();
  }
}

/** Changes a setting and the roles of the customer as an administrator, and shows what the audit has recorded. */
async function showAdministration(api: DemoApi, terminal: Terminal): Promise<void> {
  await api.saveSettings({ siteName: 'NodeByte Demo' });
  await api.setRoles(CUSTOMER_EMAIL, ['MEMBER', 'PARTNER']);
  printEvents(await api.events(['settings-changed', 'roles-changed']), terminal);
}

/** Prints where to look and waits for an interrupt or the failure of a process. @returns the exit code. */
async function keepRunning({ terminal, interrupts }: Demo, installation: Installation, shown: Shown): Promise<number> {
  const { services, panel, inbox, chat, hytale, group, url, api, logFile, password } = installation;
  const secondAccount = await interrupts.race(offerSecondAccount(api, terminal, () => !interrupts.happened));
  printPlaces(
    {
      'API documents': `${url}/docs   ${url}/swagger`,
      'Temporal UI': services.temporalUiUrl ?? '-',
      Usage: `${url}${USAGE_PATH} (as the administrator)`,
      Audit: `${url}${AUDIT_PATH} (as the administrator)`,
      'Sign in': `${ADMIN_EMAIL}  ${password}`,
      'API key': services.secrets.backendApiKey?.reveal() ?? '-',
      Email: inbox.url,
      Discord: chat.url,
      Deliveries: `${url}${DELIVERIES_PATH} (as the administrator)`,
      ...(shown.failedDelivery === undefined
        ? {}
        : { 'Send it again': `npm run cli -- webhook resend ${shown.failedDelivery}` }),
      Hytale: hytale.url,
      'Second account': secondAccount,
      'Game sessions': `${url}${SESSIONS_PATH} (as the administrator)`,
      Panel: panel.url,
      Logs: logFile,
    },
    terminal,
  );
  terminal.line('Ctrl-C stops everything');
  // For show only: it neither ends the demo nor holds it up.
  followUsage(api, terminal, () => !interrupts.happened).catch(() => undefined);
  return interrupts.race(group.failed);
}

function lastLines(file: string, count: number): string[] {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-count);
  } catch {
    return [];
  }
}

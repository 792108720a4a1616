/**
 * `npm test`: starts what the tests need (a throwaway PostgreSQL and a Temporal dev server), runs vitest with the given
 * arguments, and stops it all again. Several runs at once do not meet: folders, ports and databases are a run's own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { cacheFolder } from '../src/embedded/folders.ts';
import { watchNpm } from '../src/embedded/parent.ts';
import { discardPostgres, type EmbeddedPostgres, startPostgres } from '../src/embedded/postgres/postgres.ts';
import { EmbeddedError, isAlive } from '../src/embedded/process.ts';
import { discardTemporal, type EmbeddedTemporal, startTemporal } from '../src/embedded/temporal/temporal.ts';
import { throwawayParent, throwawayParents } from './throwaway.ts';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const PREFIX = 'nodebyte-test-';
const TEMPLATE = 'nodebyte_template';

/** Projects that `npm test` runs; `life` (long soak tests) only on demand. */
const PROJECTS = ['unit', 'store', 'workflow', 'replay', 'api', 'e2e'];

const say = (line: string): void => console.error(`test: ${line}`);

function left(parent: string): string[] {
  try {
    return readdirSync(parent)
      .filter((name) => name.startsWith(PREFIX))
      .map((name) => join(parent, name));
  } catch {
    return [];
  }
}

/** Ends and removes what a killed run left behind. */
async function sweep(): Promise<void> {
  for (const folder of throwawayParents().flatMap(left)) {
    try {
      const owner = Number(readFileSync(join(folder, 'owner'), 'utf8'));
      if (!Number.isInteger(owner) || isAlive(owner)) continue;
      await discardPostgres(join(folder, 'postgres'));
      await discardTemporal(join(folder, 'temporal'));
      rmSync(folder, { recursive: true, force: true });
      say(`removed ${folder}, left by a killed run`);
    } catch {
      // Another user's, or another run sweeps it at this moment.
    }
  }
}

async function makeTemplate(postgres: EmbeddedPostgres, adminUrl: string): Promise<void> {
  const { createDb } = await import('../src/store/db/db.ts');
  const { migrateLatest } = await import('../src/store/db/migrations.ts');
  const client = new pg.Client({ connectionString: adminUrl });
  await client.connect();
  await client.query(`create database ${TEMPLATE}`);
  await client.end();
  const url = new URL(postgres.url);
  url.pathname = `/${TEMPLATE}`;
  const db = createDb({
    connectionString: url.toString(),
    applicationName: 'test-template',
    max: 2,
    statementTimeoutMs: 120_000,
  });
  try {
    await migrateLatest(db, {});
  } finally {
    // A template can only be cloned while no connection to it is open.
    await db.destroy();
  }
}

async function main(): Promise<number> {
  await sweep();
  const parent = throwawayParent();
  const folder = mkdtempSync(join(parent, PREFIX));
  // As root the database runs as another user, who must be able to enter.
  chmodSync(folder, 0o711);
  writeFileSync(join(folder, 'owner'), String(process.pid));
  const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
  let postgres: EmbeddedPostgres | undefined;
  let temporal: EmbeddedTemporal | undefined;
  let vitest: ChildProcess | undefined;
  let interrupted = false;
  const onSignal = (): void => {
    interrupted = true;
    vitest?.kill('SIGTERM');
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.on('SIGHUP', onSignal);
  void watchNpm(onSignal);
  try {
    // Both at once, and both waited for, so that neither outlives a failure of the other.
    const starts = await Promise.allSettled([
      startPostgres({
        dataDir: join(folder, 'postgres'),
        cacheDir,
        // Nothing here must survive a crash of the machine.
        settings: {
          fsync: 'off',
          synchronous_commit: 'off',
          full_page_writes: 'off',
          wal_level: 'minimal',
          max_wal_senders: '0',
          max_wal_size: '256MB',
          max_connections: '200',
        },
        log: say,
      }).then((started) => {
        postgres = started;
      }),
      startTemporal({
        dataDir: join(folder, 'temporal'),
        cacheDir,
        ...(process.env['TEMPORAL_CLI_PATH'] ? { cliPath: process.env['TEMPORAL_CLI_PATH'] } : {}),
        headless: true,
        log: say,
      }).then((started) => {
        temporal = started;
      }),
    ]);
    for (const start of starts) if (start.status === 'rejected') throw start.reason;
    if (postgres === undefined || temporal === undefined || interrupted) return 130;

    const adminUrl = new URL(postgres.url);
    adminUrl.pathname = '/postgres';
    let template = '';
    try {
      await makeTemplate(postgres, adminUrl.toString());
      template = TEMPLATE;
    } catch (error) {
      // Tests that need no schema still run; those that do fail by createTestDatabase.
      say(`the migrations failed: ${error instanceof Error ? error.message : String(error)}`);
    }
    const given = process.argv.slice(2);
    const projects = given.some((a) => a === '--project' || a.startsWith('--project='))
      ? []
      : PROJECTS.flatMap((p) => ['--project', p]);
    const vitestMain = createRequire(import.meta.url)
      .resolve('vitest/package.json')
      .replace(/package\.json$/, 'vitest.mjs');
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      TEST_DATABASE_URL: adminUrl.toString(),
      TEST_TEMPLATE: template,
      TEST_TEMPORAL_ADDRESS: temporal.address,
      CACHE_DIR: cacheDir,
      TMPDIR: parent,
    };
    // What is configured for a real installation is none of the tests' business.
    for (const name of [
      'DATABASE_URL',
      'TEMPORAL_ADDRESS',
      'DATA_DIR',
      'PTERODACTYL_URL',
      'PTERODACTYL_API_KEY',
      'PTERODACTYL_CLIENT_API_KEY',
      'ENV',
    ]) {
      delete env[name];
    }
    const running = spawn(process.execPath, [vitestMain, 'run', ...projects, ...given], {
      cwd: ROOT,
      stdio: 'inherit',
      env,
    });
    vitest = running;
    const code = await new Promise<number>((resolve) => {
      running.once('error', () => resolve(1));
      running.once('exit', (exitCode, signal) => resolve(exitCode ?? (signal === 'SIGINT' ? 130 : 1)));
    });
    return template === '' && code === 0 ? 1 : interrupted ? 130 : code;
  } finally {
    await temporal?.stop();
    await postgres?.stop();
    await discardPostgres(join(folder, 'postgres'));
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof EmbeddedError ? error.message : error);
  process.exitCode = 1;
}

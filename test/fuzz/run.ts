/**
 * `npm run fuzz`: starts a temporary stack (PostgreSQL, Temporal, simulated panel, api, worker) and runs schemathesis
 * with the OpenAPI document that the api serves. Further arguments go to schemathesis, e.g.
 * `-- --max-examples 200 --seed 1`. Exit code 0: no failure was found.
 */
import { spawn } from 'node:child_process';
import { chmodSync, closeSync, existsSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startPanelSimulator } from '../../simulators/panel/simulator.ts';
import { loadConfig } from '../../src/config.ts';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { EmbeddedError, isPortFree, runCommand } from '../../src/embedded/process.ts';
import { startProcessGroup } from '../../src/embedded/process-group.ts';
import { startServices } from '../../src/embedded/services.ts';
import { createUser } from '../../src/services/accounts/register.ts';
import { createDb } from '../../src/store/db/db.ts';
import { migrateLatest } from '../../src/store/db/migrations.ts';

const SCHEMATHESIS = '4.32.5';
const EMAIL = 'fuzz@nodebyte.example';
const PASSWORD = 'Fuzz-only-Passw0rd';
const FIRST_PORT = 18_080;

/**
 * Checks that this API does not satisfy on purpose. Undocumented input is not always refused: the API accepts numbers
 * as text and ignores unknown keys. Documented input is not always accepted: a cancellation needs a running sync, and
 * text that PostgreSQL cannot store is refused in every field.
 */
const EXCLUDED_CHECKS = ['negative_data_rejection', 'positive_data_acceptance'];

const say = (line: string): void => console.error(`fuzz: ${line}`);

/** Path of schemathesis in its virtual environment, which is created once in the cache folder. */
async function findSchemathesis(cacheDir: string): Promise<string> {
  const folder = join(cacheDir, `schemathesis-${SCHEMATHESIS}`);
  const [bin, suffix] = process.platform === 'win32' ? ['Scripts', '.exe'] : ['bin', ''];
  const program = join(folder, bin, `schemathesis${suffix}`);
  const finished = join(folder, 'finished');
  if (existsSync(finished)) return program;
  say(`installing schemathesis ${SCHEMATHESIS} with pip (once)`);
  rmSync(folder, { recursive: true, force: true });
  const python = process.platform === 'win32' ? 'python' : 'python3';
  const steps: [string, string[]][] = [
    [python, ['-m', 'venv', folder]],
    [
      join(folder, bin, `python${suffix}`),
      ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', `schemathesis==${SCHEMATHESIS}`],
    ],
  ];
  for (const [file, args] of steps) {
    const { code, stderr, failure } = await runCommand(file, args, { timeoutMs: 600_000 });
    if (code !== 0) {
      throw new EmbeddedError(
        `${file} ${args.join(' ')} failed: ${failure ?? stderr.trim().split('\n').at(-1)}. Python 3.10 or newer with venv and pip is needed.`,
      );
    }
  }
  // The mark comes last, so that an interrupted installation is repeated.
  closeSync(openSync(`${finished}.part`, 'w'));
  renameSync(`${finished}.part`, finished);
  return program;
}

async function freePort(): Promise<number> {
  for (let port = FIRST_PORT; port < FIRST_PORT + 100; port += 1) if (await isPortFree(port, '127.0.0.1')) return port;
  throw new EmbeddedError(`no free port from ${FIRST_PORT} on`);
}

async function signIn(url: string): Promise<string> {
  const response = await fetch(`${url}/api/v1/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ email: EMAIL, password: PASSWORD }),
  });
  const body: unknown = await response.json();
  if (typeof body !== 'object' || body === null || !('accessToken' in body)) throw new Error('the sign-in failed');
  return String(body.accessToken);
}

/** Log lines of the api and the worker with the level error or fatal. */
function failuresIn(log: string): string[] {
  return readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => /"level":"(?:error|fatal)"/.test(line));
}

async function main(): Promise<number> {
  const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
  const program = await findSchemathesis(cacheDir);
  const folder = mkdtempSync(join(tmpdir(), 'nodebyte-fuzz-'));
  // When root runs this, PostgreSQL runs as another user, who needs access to the folder.
  chmodSync(folder, 0o711);
  // Only these two variables: the fuzzer must not use the configured installation.
  const config = loadConfig({ DATA_DIR: join(folder, 'data'), CACHE_DIR: cacheDir });
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupt.abort());
  const logFile = join(folder, 'processes.log');
  const output = openSync(logFile, 'a');
  const stops: (() => Promise<void>)[] = [];
  try {
    const services = await startServices(config, say, { purpose: 'npm run fuzz' });
    stops.unshift(() => services.stop());
    const db = createDb({ connectionString: services.databaseUrl.reveal(), applicationName: 'fuzz', max: 2 });
    try {
      await migrateLatest(db, {});
      await createUser(db, {
        email: EMAIL,
        password: PASSWORD,
        roles: ['SUPER_ADMIN'],
        isSystemAdmin: true,
        emailVerified: true,
      });
    } finally {
      await db.destroy();
    }
    // A small panel, so that syncs that the fuzzer starts are short.
    const panel = await startPanelSimulator({ users: 50, servers: 50, nodes: 3, allocations: 100, limit: 0 });
    stops.unshift(() => panel.close());
    const port = await freePort();
    const env = {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      CACHE_DIR: cacheDir,
      BACKEND_HOST: '127.0.0.1',
      BACKEND_PORT: String(port),
      ...services.childEnvironment(),
      PTERODACTYL_URL: panel.url,
      PTERODACTYL_API_KEY: panel.keys.full,
    };
    const entry = (path: string): string => fileURLToPath(new URL(`../../src/${path}`, import.meta.url));
    const group = startProcessGroup(
      [
        { name: 'api', entry: entry('api/server.ts'), env, drainMs: 15_000 },
        { name: 'worker', entry: entry('worker.ts'), env, drainMs: 40_000 },
      ],
      { log: say, stdout: output },
    );
    stops.unshift(() => group.stop());
    await group.ready;
    const url = `http://127.0.0.1:${port}`;
    const token = await signIn(url);
    const args = [
      'run',
      `${url}/docs/swagger.json`,
      ...['--header', `Authorization: Bearer ${token}`],
      ...['--header', `X-API-Key: ${services.secrets.backendApiKey?.reveal() ?? ''}`],
      ...['--checks', 'all', '--exclude-checks', EXCLUDED_CHECKS.join(',')],
      ...['--max-examples', '30', '--workers', '2', '--request-timeout', '30', '--max-time', '120'],
      ...['--continue-on-failure', '--generation-database', 'none', '--warnings', 'off', '--no-color'],
      ...process.argv.slice(2),
    ];
    const code = await new Promise<number>((resolve) => {
      const running = spawn(program, args, { cwd: folder, stdio: 'inherit', signal: interrupt.signal });
      running.once('error', () => resolve(interrupt.signal.aborted ? 130 : 1));
      running.once('exit', (exitCode) => resolve(exitCode ?? 1));
    });
    const failures = failuresIn(logFile);
    for (const line of failures.slice(0, 20)) say(`in the log: ${line.slice(0, 2000)}`);
    say(failures.length === 0 ? 'the log has no errors' : `the log has ${failures.length} errors`);
    return code === 0 && failures.length > 0 ? 1 : code;
  } finally {
    for (const stop of stops) await stop();
    closeSync(output);
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  say(error instanceof EmbeddedError ? error.message : error instanceof Error ? (error.stack ?? '') : String(error));
  process.exitCode = 1;
}
process.exit();

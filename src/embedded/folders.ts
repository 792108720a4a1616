/** The folder in which the project caches programs and bundles on this machine. */
import { accessSync, constants, lstatSync, mkdirSync, mkdtempSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';

const NAME = 'nodebyte-backend';

/**
 * Whether the folder, which is made when it is missing, can be used. Programs run from it, so it must belong to this user
 * and no other user may change it; a link could lead to another person's folder.
 */
function usable(folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.W_OK | constants.X_OK);
    const stat = lstatSync(folder);
    if (!stat.isDirectory()) return false;
    // Windows has neither owners nor modes of this kind.
    return process.getuid === undefined || (stat.uid === process.getuid() && (stat.mode & 0o022) === 0);
  } catch {
    return false;
  }
}

/** The last resort of this process. */
let ofThisProcess: string | undefined;

/**
 * The cache folder: `given` (CACHE_DIR), else `nodebyte-backend` in XDG_CACHE_HOME or `~/.cache`, else a folder of this
 * user in the temporary folder. Its name can be guessed, so another user may have made it first: then it is a new folder,
 * which only this process knows.
 */
export function cacheFolder(given: string | undefined, env: Record<string, string | undefined> = process.env): string {
  if (given !== undefined) return given;
  const xdg = env['XDG_CACHE_HOME'];
  if (xdg !== undefined && isAbsolute(xdg) && usable(join(xdg, NAME))) return join(xdg, NAME);
  const home = homeFolder();
  if (isAbsolute(home) && home !== '/' && usable(join(home, '.cache', NAME))) return join(home, '.cache', NAME);
  const shared = join(tmpdir(), `${NAME}-${process.getuid?.() ?? 0}`);
  if (usable(shared)) return shared;
  ofThisProcess ??= newFolder(`${shared}-`);
  return ofThisProcess;
}

/** A new folder with mode 0700 and a random name. @throws {Error} that names CACHE_DIR. */
function newFolder(prefix: string): string {
  try {
    return mkdtempSync(prefix);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
    throw new Error(`no folder for the cache can be made${code}: set CACHE_DIR to a folder that can be written to`);
  }
}

/** Empty when this user has no entry in the password file and no HOME. */
function homeFolder(): string {
  try {
    return homedir();
  } catch {
    return '';
  }
}

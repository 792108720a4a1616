/** The folder in which the project caches programs and bundles on this machine. */
import { accessSync, constants, lstatSync, mkdirSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';

const NAME = 'nodebyte-backend';

function usable(folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * The cache folder: `given` (CACHE_DIR), else `nodebyte-backend` in XDG_CACHE_HOME or `~/.cache`, else, when the home
 * folder is read-only, a folder in the temporary folder that belongs to this user.
 */
export function cacheFolder(given: string | undefined, env: Record<string, string | undefined> = process.env): string {
  if (given !== undefined) return given;
  const xdg = env['XDG_CACHE_HOME'];
  if (xdg !== undefined && isAbsolute(xdg) && usable(join(xdg, NAME))) return join(xdg, NAME);
  let home = '';
  try {
    home = homedir();
  } catch {
    // This user has no entry in the password file and no HOME.
  }
  if (isAbsolute(home) && home !== '/' && usable(join(home, '.cache', NAME))) return join(home, '.cache', NAME);
  const uid = process.getuid?.() ?? 0;
  const shared = join(tmpdir(), `${NAME}-${uid}`);
  // Programs run from here, so only this user may own the folder or change it.
  if (usable(shared)) {
    const stat = lstatSync(shared);
    if (stat.isDirectory() && (process.getuid === undefined || (stat.uid === uid && (stat.mode & 0o022) === 0)))
      return shared;
  }
  return join(tmpdir(), `${NAME}-${uid}-${process.pid}`);
}

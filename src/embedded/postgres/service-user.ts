/**
 * The account that PostgreSQL runs under. PostgreSQL refuses to run as root, so root starts it as an unprivileged user,
 * which must be able to enter the folders it needs. An ordinary user, and Windows, use the account of this process.
 */
import { createHash } from 'node:crypto';
import { chownSync, lstatSync, mkdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedError, type ProgressLog, runCommand } from '../process.ts';

/** The account that a service runs under; undefined: the account of this process. */
export interface ServiceUser {
  name: string;
  uid: number;
  gid: number;
}

function lookUp(name: string): ServiceUser | undefined {
  let passwd: string;
  try {
    passwd = readFileSync('/etc/passwd', 'utf8');
  } catch {
    return undefined;
  }
  for (const line of passwd.split('\n')) {
    const [user, , uid, gid] = line.split(':');
    if (user === name && uid !== undefined && gid !== undefined) return { name, uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}

/**
 * The user that PostgreSQL runs as. As root: `postgres`, created when missing; `nobody` where none can be created.
 * @throws {EmbeddedError} as root, when there is no usable account.
 */
export async function serviceUser(log: ProgressLog): Promise<ServiceUser | undefined> {
  if (process.platform === 'win32' || process.getuid?.() !== 0) return undefined;
  const known = lookUp('postgres');
  if (known !== undefined) return known;
  log('PostgreSQL does not run as root: adding the system user "postgres"');
  const attempts: [string, string[]][] = [
    ['useradd', ['--system', '--no-create-home', '--shell', '/usr/sbin/nologin', 'postgres']],
    ['adduser', ['-S', '-H', '-D', 'postgres']],
  ];
  for (const [file, args] of attempts) {
    await runCommand(file, args);
    const made = lookUp('postgres');
    if (made !== undefined) return made;
  }
  const nobody = lookUp('nobody');
  if (nobody !== undefined && nobody.uid !== 0) return nobody;
  throw new EmbeddedError(
    'PostgreSQL does not run as root, and no other account could be used (tried: user "postgres", useradd, adduser, user "nobody").\n' +
      'Run as an ordinary user, or set DATABASE_URL to your own PostgreSQL.',
  );
}

/** Spawn options for a service user. */
export const asUser = (user: ServiceUser | undefined): { uid?: number; gid?: number } =>
  user === undefined ? {} : { uid: user.uid, gid: user.gid };

/** Whether the user can enter `folder` (with `write`: also create files there). The kernel decides, by a trial. */
export async function canUse(user: ServiceUser | undefined, folder: string, write: boolean): Promise<boolean> {
  if (process.platform === 'win32') return true;
  const script = write ? 'cd "$0" && test -w .' : 'cd "$0"';
  const { code } = await runCommand('/bin/sh', ['-c', script, folder], { ...asUser(user) });
  return code === 0;
}

/** Makes the service user the owner of a file or folder. */
export function giveTo(user: ServiceUser | undefined, path: string): void {
  if (user !== undefined) chownSync(path, user.uid, user.gid);
}

/**
 * A folder that every user can enter and only root can change, for data that would be in a folder closed to others.
 * `/var/lib` first, because it survives a reboot; the temporary folder where `/var/lib` is read-only.
 * @throws {EmbeddedError} when neither can be used, or another user owns a folder of that name.
 */
export async function sharedRoot(user: ServiceUser): Promise<string> {
  const tried: string[] = [];
  for (const parent of ['/var/lib', tmpdir()]) {
    const folder = join(parent, 'nodebyte-backend');
    try {
      mkdirSync(folder, { mode: 0o755, recursive: true });
      const stat = lstatSync(folder);
      // In a folder that every user can write to, another user may have created this name first.
      if (!stat.isDirectory() || stat.uid !== 0 || (stat.mode & 0o022) !== 0) {
        tried.push(`${folder}: not a folder that only root can change`);
        continue;
      }
      if (await canUse(user, folder, false)) return folder;
      tried.push(`${folder}: user "${user.name}" cannot enter it`);
    } catch (error) {
      tried.push(`${folder}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new EmbeddedError(
    `no folder found that user "${user.name}" can work in:\n${tried.map((t) => `  - ${t}`).join('\n')}\n` +
      'Set DATA_DIR to a folder that other users can enter, or DATABASE_URL to your own PostgreSQL.',
  );
}

/** A short name that depends only on the path. */
export const pathKey = (path: string): string => createHash('sha256').update(path).digest('hex').slice(0, 16);

/**
 * Running as root: PostgreSQL refuses to, so it runs as an unprivileged user, and what that user needs must lie where it
 * can go. Everywhere else (ordinary user, Windows) the account of this process does.
 */
import { createHash } from 'node:crypto';
import { chownSync, lstatSync, mkdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedError, type ProgressLog, runCommand } from '../process.ts';

/** The account a service runs under; undefined = that of this process. */
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
 * The user that PostgreSQL runs as. As root: `postgres`, made when missing; `nobody` where no account can be made.
 * @throws {EmbeddedError} as root without any usable account.
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
      'Run as an ordinary user, or set DATABASE_URL to a PostgreSQL of yours.',
  );
}

/** Spawn options for a service user. */
export const asUser = (user: ServiceUser | undefined): { uid?: number; gid?: number } =>
  user === undefined ? {} : { uid: user.uid, gid: user.gid };

/** Whether the user can enter `folder` (and, with `write`, create files there). Asked of the kernel, not computed. */
export async function canUse(user: ServiceUser | undefined, folder: string, write: boolean): Promise<boolean> {
  if (process.platform === 'win32') return true;
  const script = write ? 'cd "$0" && test -w .' : 'cd "$0"';
  const { code } = await runCommand('/bin/sh', ['-c', script, folder], { ...asUser(user) });
  return code === 0;
}

/** Owner and rights of a folder that a service user works in. */
export function giveTo(user: ServiceUser | undefined, path: string): void {
  if (user !== undefined) chownSync(path, user.uid, user.gid);
}

/**
 * A folder of root's that every user can enter but only root can change: for what cannot stay in a folder closed to
 * others. `/var/lib` first, because it outlives a reboot; the temporary folder where `/var/lib` is read-only.
 * @throws {EmbeddedError} when neither can be used, or someone else holds the name.
 */
export async function sharedRoot(user: ServiceUser): Promise<string> {
  const tried: string[] = [];
  for (const parent of ['/var/lib', tmpdir()]) {
    const folder = join(parent, 'nodebyte-backend');
    try {
      mkdirSync(folder, { mode: 0o755, recursive: true });
      const stat = lstatSync(folder);
      // In a folder that anyone can write to, someone may have made this name first.
      if (!stat.isDirectory() || stat.uid !== 0 || (stat.mode & 0o022) !== 0) {
        tried.push(`${folder}: not a folder of root's alone`);
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
      'Set DATA_DIR to a folder that other users can enter, or DATABASE_URL to a PostgreSQL of yours.',
  );
}

/** A short name that is the same for the same path. */
export const pathKey = (path: string): string => createHash('sha256').update(path).digest('hex').slice(0, 16);

/**
 * A data folder has one owner at a time. The lock is a file with the owner's process id. When that process is gone, the
 * next one takes the lock over, so a crash does not block a start.
 * No library: proper-lockfile goes by the age of a file, so a crash blocks the next start for seconds, and names no owner.
 */
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive, runCommand } from './process.ts';

export interface LockHolder {
  pid: number;
  /** When that process began, as the platform prints it: a reused id has another time. */
  birth: string;
  /** What the owner does, for error messages: `npm start`, `demo`, a command. */
  purpose: string;
}

export type LockResult = { held: true; release(): void } | { held: false; holder: LockHolder };

const fileOf = (dataDir: string): string => join(dataDir, 'lock');

/** When a process began; empty when the platform does not say. */
async function birthOf(pid: number): Promise<string> {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // proc(5): starttime is field 22; the name in field 2 may contain spaces and parentheses.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    if (process.platform === 'linux' || process.platform === 'win32') return '';
  }
  return (await runCommand('ps', ['-p', String(pid), '-o', 'lstart='])).stdout.trim();
}

function read(file: string): LockHolder | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    const { pid, birth, purpose } = value as Record<string, unknown>;
    if (typeof pid !== 'number' || !Number.isInteger(pid) || pid <= 0) return undefined;
    return { pid, birth: typeof birth === 'string' ? birth : '', purpose: typeof purpose === 'string' ? purpose : '' };
  } catch {
    return undefined;
  }
}

async function isPresent(holder: LockHolder): Promise<boolean> {
  if (!isAlive(holder.pid)) return false;
  const birth = await birthOf(holder.pid);
  return birth === '' || holder.birth === '' || birth === holder.birth;
}

/** The owner of the data folder; undefined when no living process owns it. */
export async function lockHolder(dataDir: string): Promise<LockHolder | undefined> {
  const holder = read(fileOf(dataDir));
  return holder !== undefined && (await isPresent(holder)) ? holder : undefined;
}

/** Takes the lock of an existing data folder, or returns its owner. */
export async function acquireLock(dataDir: string, purpose: string): Promise<LockResult> {
  const file = fileOf(dataDir);
  const own = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  const content = `${JSON.stringify({ pid: process.pid, birth: await birthOf(process.pid), purpose })}\n`;
  // The file is complete before it gets its final name, so a reader never sees half a lock.
  writeFileSync(own, content, { mode: 0o600, flag: 'wx' });
  try {
    for (;;) {
      try {
        linkSync(own, file);
        return {
          held: true,
          release() {
            if (readText(file) === content) rmSync(file, { force: true });
          },
        };
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      }
      const seen = readText(file);
      if (seen === undefined) continue;
      const holder = read(file);
      if (holder !== undefined && (await isPresent(holder))) return { held: false, holder };
      // Only one process can rename the dead lock. A process that renamed another one's new lock puts it back.
      const dead = `${own}.dead`;
      try {
        renameSync(file, dead);
      } catch {
        continue;
      }
      if (readText(dead) !== seen) {
        try {
          linkSync(dead, file);
        } catch {
          // A third process has taken the lock in the meantime.
        }
      }
      rmSync(dead, { force: true });
    }
  } finally {
    rmSync(own, { force: true });
  }
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

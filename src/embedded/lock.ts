/**
 * One owner at a time of a data folder. The lock is a file with the owner's process id; it is taken over when that
 * process is gone, so a crash blocks nothing.
 * No library: proper-lockfile goes by the age of a file, so a crash blocks the next start for seconds, and names no owner.
 */

import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive, runCommand } from './process.ts';

export interface LockHolder {
  pid: number;
  /** When that process began, in a form of the platform's: tells a reused id from the old process. */
  birth: string;
  /** What it is doing, for people: `npm start`, `demo`, a command. */
  purpose: string;
}

export type LockResult = { held: true; release(): void } | { held: false; holder: LockHolder };

const fileOf = (dataDir: string): string => join(dataDir, 'lock');

/** When a process began; empty when the platform does not say. */
async function birthOf(pid: number): Promise<string> {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // proc(5): starttime is field 22; the name in field 2 may hold blanks and brackets.
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

/** Who owns the data folder now; undefined when nobody alive does. */
export async function lockHolder(dataDir: string): Promise<LockHolder | undefined> {
  const holder = read(fileOf(dataDir));
  return holder !== undefined && (await isPresent(holder)) ? holder : undefined;
}

/** Takes the lock of an existing data folder, or says who has it. */
export async function acquireLock(dataDir: string, purpose: string): Promise<LockResult> {
  const file = fileOf(dataDir);
  const own = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  const content = `${JSON.stringify({ pid: process.pid, birth: await birthOf(process.pid), purpose })}\n`;
  // Written whole before it gets the name that counts: a reader never sees half a lock.
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
      // Only one contender gets to rename it; one that caught another's new lock puts it back.
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
          // a third one has it by now
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

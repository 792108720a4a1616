/** Where a test run keeps what it throws away: in memory where the machine has room for it, else in the temporary folder. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Linux' file system in memory. A database of the tests has 400 files; to make them is most of the work on a disk. */
const MEMORY = '/dev/shm';
/** Bytes that must be free. A whole run needs less than a quarter of it. */
const ROOM = 4 * 1024 ** 3;

/** All folders in which runs may have left something. */
export const throwawayParents = (): string[] => [...new Set([tmpdir(), MEMORY])];

/**
 * The folder for throwaway folders. Containers often give `/dev/shm` 64 MB, or forbid programs in it: then it is the
 * temporary folder.
 */
export function throwawayParent(): string {
  try {
    const { bavail, bsize } = statfsSync(MEMORY);
    return bavail * bsize >= ROOM && process.availableMemory() >= ROOM && runsPrograms(MEMORY) ? MEMORY : tmpdir();
  } catch {
    return tmpdir();
  }
}

function runsPrograms(parent: string): boolean {
  const folder = mkdtempSync(join(parent, 'nodebyte-trial-'));
  try {
    const program = join(folder, 'program');
    writeFileSync(program, '#!/bin/sh\n');
    chmodSync(program, 0o700);
    return spawnSync(program).status === 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

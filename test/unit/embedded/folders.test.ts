/** Programs run from the cache folder, so it is always a folder that only this user can change. */
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { cacheFolder } from '../../../src/embedded/folders.ts';

const uid = process.getuid?.() ?? 0;
let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nodebyte-folders-'));
  // No home folder, as in a container whose user has none.
  vi.stubEnv('HOME', '/');
  vi.stubEnv('TMPDIR', root);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true, force: true });
});

const mode = (folder: string): string => (lstatSync(folder).mode & 0o777).toString(8);

// First of all: the folder of a process is made once.
test('where no folder can be made, one sentence names CACHE_DIR (T-3)', () => {
  vi.stubEnv('TMPDIR', join(root, 'missing', 'x'));
  rmSync(root, { recursive: true, force: true });
  writeFileSync(root, '');
  expect(() => cacheFolder(undefined, {})).toThrow(
    /^no folder for the cache can be made \(\w+\): set CACHE_DIR to [^\n]*$/,
  );
});

test('CACHE_DIR is used as it is; else XDG_CACHE_HOME; else a private folder in the temporary folder', () => {
  expect(cacheFolder('/given', {})).toBe('/given');
  expect(cacheFolder(undefined, { XDG_CACHE_HOME: join(root, 'xdg') })).toBe(join(root, 'xdg', 'nodebyte-backend'));
  const shared = cacheFolder(undefined, {});
  expect(shared).toBe(join(root, `nodebyte-backend-${uid}`));
  expect(mode(shared)).toBe('700');
  expect(cacheFolder(undefined, {})).toBe(shared);
});

test('a folder that others can change and a link under the name that can be guessed are not used', () => {
  const shared = join(root, `nodebyte-backend-${uid}`);
  const elsewhere = join(root, 'elsewhere');
  mkdirSync(elsewhere);
  const plants: (() => void)[] = [
    () => {
      mkdirSync(shared);
      chmodSync(shared, 0o777);
    },
    () => symlinkSync(elsewhere, shared),
  ];
  const found = plants.map((plant) => {
    plant();
    const folder = cacheFolder(undefined, {});
    rmSync(shared, { recursive: true, force: true });
    return folder;
  });
  for (const folder of found) {
    expect(folder).toMatch(new RegExp(`^${shared}-\\w{6}$`));
    expect(mode(folder)).toBe('700');
  }
  // Two parts of one process find the same programs.
  expect(new Set(found).size).toBe(1);
});

test('a folder that belongs to another user is not used, wherever it is', () => {
  vi.spyOn(process, 'getuid').mockReturnValue(uid + 1);
  for (const folder of [join(root, 'xdg', 'nodebyte-backend'), join(root, `nodebyte-backend-${uid + 1}`)]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }
  expect(cacheFolder(undefined, { XDG_CACHE_HOME: join(root, 'xdg') })).toMatch(/-\w{6}$/);
  vi.restoreAllMocks();
});

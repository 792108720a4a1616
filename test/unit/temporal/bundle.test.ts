/** The workflow bundle where nothing can be written: an image, a container with a read-only root file system. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bundleName, workflowBundle } from '../../../src/temporal/bundle.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nodebyte-bundle-'));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

/** A bundle of the present code in a folder that cannot be written to. */
async function readyIn(folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, await bundleName());
  writeFileSync(file, 'a bundle');
  chmodSync(folder, 0o555);
  return file;
}

test('a bundle that was built beforehand is used, and no cache folder is looked for (T-3)', async () => {
  const file = await readyIn(join(root, 'built'));
  const none = () => {
    throw new Error('there is no folder to write to');
  };
  expect(await workflowBundle(none, join(root, 'built'))).toBe(file);
});

test('a ready bundle in a read-only cache is used as it is (T-3)', async () => {
  const folder = join(root, 'cache', 'workflows');
  const file = await readyIn(folder);
  expect(await workflowBundle(join(root, 'cache'), join(root, 'none'))).toBe(file);
  expect([readdirSync(folder), readFileSync(file, 'utf8')]).toEqual([[await bundleName()], 'a bundle']);
});

test('a cache that cannot be written to gives one sentence that names CACHE_DIR, before the bundler starts (T-3)', async () => {
  writeFileSync(join(root, 'file'), '');
  // Root may write into a folder that has no such mode, but not below a file.
  const error: unknown = await workflowBundle(join(root, 'file'), join(root, 'none')).catch((e: unknown) => e);
  expect(String(error)).toMatch(/^Error: the workflow bundle cannot be written to [^\n]*CACHE_DIR[^\n]*$/);
  if (process.getuid?.() === 0) return;
  const locked = join(root, 'locked');
  mkdirSync(locked, { mode: 0o555 });
  await expect(workflowBundle(locked, join(root, 'none'))).rejects.toThrow(/\(EACCES\).*CACHE_DIR/);
});

test('the image has the bundle of the code that it has', () => {
  const steps = readFileSync(new URL('../../../Dockerfile', import.meta.url), 'utf8').split('\n');
  const built = steps.indexOf('RUN node src/temporal/bundle.ts');
  expect(built).toBeGreaterThan(steps.indexOf('COPY src ./src'));
  expect(built).toBeLessThan(steps.indexOf('USER node'));
});

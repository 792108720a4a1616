/**
 * The workflow bundle as a file: built once in a process of its own and kept, so that a worker starts at once, never
 * holds a bundler in memory, and every copy runs the same code. `node src/temporal/bundle.ts` builds it beforehand, for
 * example into an image: then a worker needs no folder to write to.
 */
import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { glob, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const SOURCE = fileURLToPath(new URL('..', import.meta.url));
const WORKFLOWS = path.join(SOURCE, 'workflows', 'index.ts');
/** Where bundles lie that were built beforehand. */
const BUILT = path.join(SOURCE, '..', 'build', 'workflows');

/** Name of the bundle for the code as it is: workflow and domain sources, and the SDK's version. */
async function fingerprint(): Promise<string> {
  const hash = createHash('sha256');
  const require = createRequire(import.meta.url);
  const sdk = JSON.parse(await readFile(require.resolve('@temporalio/worker/package.json'), 'utf8')) as {
    version: string;
  };
  hash.update(sdk.version);
  const files: string[] = [];
  for await (const file of glob('{workflows,domain}/**/*.ts', { cwd: SOURCE })) files.push(file);
  for (const file of files.sort()) hash.update(file).update(await readFile(path.join(SOURCE, file)));
  return hash.digest('hex').slice(0, 24);
}

/** Name of the bundle's file for the code as it is. */
export const bundleName = async (): Promise<string> => `${await fingerprint()}.js`;

/**
 * Path of a bundle for the present code: the one that was built beforehand, else the one of the cache, which is built if it
 * is not there.
 * @param cacheDir the cache folder, or what finds it: it is called only when there is no bundle that was built beforehand.
 * @throws {Error} whose message names CACHE_DIR when the cache cannot be written to.
 */
export async function workflowBundle(cacheDir: string | (() => string), built = BUILT): Promise<string> {
  const name = await bundleName();
  const ready = path.join(built, name);
  if (existsSync(ready)) return ready;
  const folder = path.join(typeof cacheDir === 'string' ? cacheDir : cacheDir(), 'workflows');
  const file = path.join(folder, name);
  if (existsSync(file)) return file;
  await checkWritable(folder);
  const command = [fileURLToPath(import.meta.url), file];
  await promisify(execFile)(process.execPath, command, { maxBuffer: 16 * 1024 * 1024 }).catch((error: unknown) => {
    const code = /\b(ENOSPC|EDQUOT|EROFS|EACCES|EPERM|EIO)\b/.exec(String(error))?.[1];
    throw code === undefined ? error : notWritable(folder, code);
  });
  return file;
}

const notWritable = (folder: string, code: string): Error =>
  new Error(
    `the workflow bundle cannot be written to ${folder} (${code}): set CACHE_DIR to a folder that can be written to, or build the bundle beforehand with \`npm run bundle:workflows\``,
  );

/** Before the bundler starts: its own failure is many lines long. */
async function checkWritable(folder: string): Promise<void> {
  const probe = path.join(folder, randomUUID());
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(probe, '');
    await rm(probe, { force: true });
  } catch (error) {
    throw notWritable(folder, error instanceof Error && 'code' in error ? String(error.code) : 'unknown');
  }
}

async function build(file: string): Promise<void> {
  const { bundleWorkflowCode, DefaultLogger } = await import('@temporalio/worker');
  const { code } = await bundleWorkflowCode({ workflowsPath: WORKFLOWS, logger: new DefaultLogger('WARN') });
  await mkdir(path.dirname(file), { recursive: true });
  // Two starters may race: the name appears only with the whole content.
  const part = `${file}.${randomUUID()}`;
  await writeFile(part, code);
  await rename(part, file);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , file = path.join(BUILT, await bundleName())] = process.argv;
  await build(path.resolve(file));
}

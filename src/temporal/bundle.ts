/**
 * The workflow bundle as a file: built once in a process of its own and kept, so that a worker starts at once, never
 * holds a bundler in memory, and every copy runs the same code. `node src/temporal/bundle.ts <file>` builds one.
 */
import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { glob, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const SOURCE = fileURLToPath(new URL('..', import.meta.url));
const WORKFLOWS = path.join(SOURCE, 'workflows', 'index.ts');

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

/** Path of a bundle for the present code below `cacheDir`; built if it is not there. */
export async function workflowBundle(cacheDir: string): Promise<string> {
  const file = path.join(cacheDir, 'workflows', `${await fingerprint()}.js`);
  if (existsSync(file)) return file;
  await promisify(execFile)(process.execPath, [fileURLToPath(import.meta.url), file], { maxBuffer: 16 * 1024 * 1024 });
  return file;
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
  const [, , file] = process.argv;
  if (file === undefined) throw new Error('usage: node src/temporal/bundle.ts <file>');
  await build(path.resolve(file));
}

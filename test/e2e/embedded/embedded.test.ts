import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config.ts';
import { attachServices } from '../../../src/embedded/attach.ts';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { acquireLock, lockHolder } from '../../../src/embedded/lock.ts';
import { discardPostgres, startPostgres } from '../../../src/embedded/postgres/postgres.ts';
import { EmbeddedError, freePort, isAlive } from '../../../src/embedded/process.ts';
import { startServices } from '../../../src/embedded/services.ts';
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
  test('keeps its data after a stop, a kill and a lost password; is adopted; listens on loopback only', async () => {
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

  test('a lock file with the process id of an unrelated process does not block the start', async () => {
    const dataDir = fresh('pg-stale');
    const first = await startPostgres({ dataDir, cacheDir, log: quiet });
    const lockFile = join(dataDir, 'cluster', 'postmaster.pid');
    const content = readFileSync(lockFile, 'utf8');
    await first.stop();
    // The id of this process, which is alive and is not a postmaster.
    writeFileSync(lockFile, content.replace(/^\d+/, String(process.pid)), { mode: 0o600 });
    try {
      const second = await startPostgres({ dataDir, cacheDir, log: quiet });
      expect(second.adopted).toBe(false);
      expect(await sql(second.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    } finally {
      await discardPostgres(dataDir);
    }
  });

  test('when the given port is in use, the error names it', async () => {
    const port = Number(new URL(String(process.env['TEST_DATABASE_URL'])).port);
    const dataDir = fresh('pg-port');
    expect(await refused(startPostgres({ dataDir, cacheDir, port, log: quiet }))).toContain(`port ${port}`);
    await discardPostgres(dataDir);
  });

  test.skipIf(process.getuid?.() !== 0)('root can use a data folder to which other users have no access', async () => {
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
  test('is adopted while healthy, restarts after a kill, and ignores the process id of an unrelated process', async () => {
    const dataDir = fresh('temporal');
    const options = { dataDir, cacheDir, headless: true, log: quiet };
    const first = await startTemporal(options);
    try {
      expect(first).toMatchObject({ adopted: false, uiUrl: undefined });
      const connection = await Connection.connect({ address: first.address });
      const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: 'default' });
      await connection.close();
      expect(Object.keys(customAttributes)).toEqual(expect.arrayContaining(['SyncType', 'RequestedBy']));
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

describe('data folder', () => {
  test('has one owner at a time; exactly one process takes over the lock of an ended owner', async () => {
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

    // Process 1 is alive, but it started at another time than the lock's owner.
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

  test('services keep their generated secrets, refuse a second start, and let commands attach', async () => {
    const dataDir = fresh('data');
    const env = {
      DATA_DIR: dataDir,
      CACHE_DIR: cacheDir,
      TEMPORAL_ADDRESS: String(process.env['TEST_TEMPORAL_ADDRESS']),
    };
    const config = loadConfig(env);
    // No service is running, so the command starts the database.
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

  test('the api gets the address of the embedded web UI, unless one is configured', async () => {
    const cacheDir = process.env['CACHE_DIR'] ?? '';
    const env = { DATA_DIR: fresh('ui'), CACHE_DIR: cacheDir, DATABASE_URL: 'postgres://x@127.0.0.1:1/x' };
    const services = await startServices(loadConfig(env), quiet);
    try {
      const url = services.childEnvironment()['TEMPORAL_UI_URL'] ?? '';
      expect(url).toBe(services.temporalUiUrl);
      expect((await fetch(`${url}/namespaces/default/workflows/a/b/history`)).status).toBe(200);
      expect(loadConfig({ ...env, ...services.childEnvironment() }).temporal.uiUrl).toBe(url);
    } finally {
      await services.stop();
    }
    const configured = { ...env, TEMPORAL_ADDRESS: '127.0.0.1:1', TEMPORAL_UI_URL: 'https://ui.example' };
    const external = await startServices(loadConfig(configured), quiet);
    await external.stop();
    expect({ ...configured, ...external.childEnvironment() }['TEMPORAL_UI_URL']).toBe('https://ui.example');
  });

  test('no secrets are generated for an external database', async () => {
    const dataDir = fresh('external');
    const env = { DATA_DIR: dataDir, DATABASE_URL: 'postgres://x@127.0.0.1:1/x', TEMPORAL_ADDRESS: '127.0.0.1:1' };
    const services = await startServices(loadConfig(env), quiet);
    await services.stop();
    expect(services.secrets).toEqual({ jwtSecret: undefined, backendApiKey: undefined, encryptionKey: undefined });
    expect(readdirSync(dataDir)).toEqual([]);
  });
});

test('freePort returns a port above 1024', async () => {
  expect(await freePort()).toBeGreaterThan(1024);
});

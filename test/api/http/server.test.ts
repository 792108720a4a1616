import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keyId } from '../../../src/store/db/encryption.ts';
import { listenerName } from '../../../src/store/db/running-processes.ts';
import { bearer, insertLog, JWT_SECRET, makeUser } from '../../support/api/harness.ts';
import { createTestDatabase, openTransaction, type TestDatabase } from '../../support/database.ts';
import { encryptByHand, randomKey } from '../../support/encrypted.ts';
import { query } from '../../support/merge.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

function start(env: Record<string, string>) {
  const child = fork('src/api/server.ts', [], { env: { PATH: process.env['PATH'] ?? '', ...env }, silent: true });
  let stderr = '';
  child.stderr?.on('data', (chunk) => {
    stderr += String(chunk);
  });
  let stdout = '';
  child.stdout?.on('data', (chunk) => {
    stdout += String(chunk);
  });
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    ended: once(child, 'exit').then(([code]) => code as number | null),
  };
}
const working = () => ({
  DATABASE_URL: database.url,
  // No server listens there: the api starts without Temporal.
  TEMPORAL_ADDRESS: '127.0.0.1:1',
  JWT_SECRET,
  BACKEND_HOST: '127.0.0.1',
  BACKEND_PORT: '0',
});
const ready = async (child: ChildProcess): Promise<string> => {
  const [message] = await once(child, 'message');
  expect(message).toEqual({ ready: true, url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/) });
  return message.url;
};

describe('the api process', () => {
  test('refuses to start without its configuration and names all missing variables', async () => {
    const { ended, stderr } = start({});
    expect(await ended).toBe(78);
    for (const name of ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'JWT_SECRET']) expect(stderr()).toContain(name);
  });

  test('has at most DATABASE_POOL_MAX connections to the database, and warns about secrets that it cannot read', async () => {
    const lost = encryptByHand(randomKey(), 'lost');
    await query(database.db, `insert into config (id, key, value) values ('1', 'github_token', ?)`, [lost]);
    const key = randomKey();
    const { child, ended, stdout } = start({ ...working(), DATABASE_POOL_MAX: '4', ENCRYPTION_KEY: key.reveal() });
    const url = await ready(child);
    const [warning] = stdout()
      .split('\n')
      .filter((line) => line.includes('cannot be decrypted'));
    expect(JSON.parse(warning ?? '')).toMatchObject({ level: 'warn', unreadable: ['github_token'] });
    expect(stdout()).not.toContain(lost);
    const connections = (name: string) =>
      query(
        database.db,
        `select a.pid from pg_stat_activity a where a.datname = current_database() and a.application_name = ?`,
        [name],
      );
    const lock = await openTransaction(database.db);
    await query(lock, 'lock table users');
    // Each waits with a connection for the table; those beyond the pool wait for a connection.
    const calls = Array.from({ length: 8 }, () => fetch(`${url}/api/v1/auth/check-email?email=a@example.com`));
    await expect.poll(async () => (await connections('nodebyte-api')).length, { timeout: 10_000 }).toBe(4);
    expect(await connections(listenerName('api', keyId(key)))).toHaveLength(1);
    await lock.rollback();
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect(await connections('nodebyte-api')).toHaveLength(4);
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    await query(database.db, 'delete from config');
  });

  test('refuses a database without the current migrations', async () => {
    const empty = await createTestDatabase({ empty: true });
    const { ended, stderr } = start({ ...working(), DATABASE_URL: empty.url });
    expect(await ended).toBe(78);
    expect(stderr()).toContain('db:migrate');
    await empty.drop();
  });

  test('ends with an error when the database does not answer', async () => {
    const { ended, stderr } = start({ ...working(), DATABASE_URL: 'postgres://x:secret@127.0.0.1:1/x' });
    expect(await ended).toBe(1);
    expect(stderr()).toContain('could not start');
    expect(stderr()).not.toContain('secret');
  });

  test.each(['SIGTERM', 'SIGINT', 'disconnect'] as const)(
    'reports that it is ready, and ends its requests on %s',
    async (how) => {
      const { child, ended } = start(working());
      const url = await ready(child);
      expect((await fetch(`${url}/health`)).status).toBe(200);
      const { token } = await makeUser({ database }, { isSystemAdmin: true });
      const id = await insertLog(database, { status: 'RUNNING' });
      const stream = await fetch(`${url}/api/admin/sync/stream/${id}`, { headers: bearer(token) });
      expect(stream.status).toBe(200);
      const startedAt = performance.now();
      if (how === 'disconnect') child.disconnect();
      else child.kill(how);
      expect(await stream.text()).toContain('event: connected');
      expect(await ended).toBe(0);
      expect(performance.now() - startedAt).toBeLessThan(5000);
      await expect(fetch(`${url}/health/live`)).rejects.toThrow();
      await database.db.raw('delete from sync_logs');
    },
  );
});

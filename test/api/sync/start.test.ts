import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSyncLauncher } from '../../../src/services/sync/launcher.ts';
import { query } from '../../../src/store/db/query.ts';
import { createTemporalGateway, type TemporalGateway } from '../../../src/temporal/connection.ts';
import { API_KEY, bearer, type Harness, json, makeUser, startHarness } from '../../support/api/harness.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { createTestNamespace, temporalAddress } from '../../support/temporal.ts';

/** The real launcher on a real server; no worker runs, so what is started waits. */
let database: TestDatabase;
let temporal: TemporalGateway;
let harness: Harness;
let auth: Record<string, string>;
beforeAll(async () => {
  database = await createTestDatabase();
  const namespace = await createTestNamespace('api');
  temporal = createTemporalGateway({
    address: temporalAddress(),
    namespace,
    apiKey: undefined,
    tls: false,
    tlsServerName: undefined,
    tlsCaPath: undefined,
    tlsCertPath: undefined,
    tlsKeyPath: undefined,
  });
  const base = await startHarness({ database });
  const launcher = createSyncLauncher({ db: database.db, temporal, log: base.deps.log });
  await base.close();
  harness = await startHarness({ database, launcher, deps: { temporal } });
  auth = bearer((await makeUser(harness, { isSystemAdmin: true })).token);
});
afterAll(async () => {
  await harness.close();
  await temporal.close();
  await database.drop();
});

test('20 equal starts at once are one sync; another is refused; a cancel ends it', async () => {
  const answers = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const response =
        i % 2 === 0
          ? await harness.get('/api/admin/sync', json({ target: 'all' }, auth))
          : await harness.get('/api/v1/sync/full', json({}, { 'X-API-Key': API_KEY }));
      const body: Record<string, unknown> = { ...(await response.json()) };
      const data = body['data'];
      return [
        response.status,
        body['sync_log_id'] ?? (typeof data === 'object' && data !== null && 'sync_log_id' in data && data.sync_log_id),
      ];
    }),
  );
  const ids = new Set(answers.map(([, id]) => id));
  expect(answers.every(([status]) => status === 202)).toBe(true);
  expect(ids.size).toBe(1);
  const [id] = ids;
  expect(await query(database.db, 'select l.id from sync_logs l')).toEqual([{ id }]);

  const other = await harness.get('/api/admin/sync', json({ type: 'nodes' }, auth));
  expect(other.status).toBe(409);
  expect((await other.json()).code).toBe('SYNC_RUNNING');
  expect((await harness.get('/api/admin/sync', json({ dry_run: true }, auth))).status).toBe(409);
  expect((await (await harness.get('/api/admin/sync', { headers: auth })).json()).status).toMatchObject({
    isSyncing: true,
  });

  const cancelled = await harness.get('/api/admin/sync/cancel', { method: 'POST', headers: auth });
  expect(cancelled.status).toBe(200);
  expect(await cancelled.json()).toMatchObject({ success: true, sync_log_id: id });
  const stream = await harness.get(`/api/admin/sync/stream/${String(id)}`, { headers: auth });
  expect(await stream.text()).toMatch(/event: done\n(id: \d+\n)?data: .*"status":"CANCELLED"/);
  const again = await harness.get('/api/admin/sync/cancel', { method: 'POST', headers: auth });
  expect([400, 404]).toContain(again.status);
});

test('readiness says that no worker polls', async () => {
  const response = await harness.get('/health/ready');
  expect(response.status).toBe(503);
  expect((await response.json()).checks).toEqual({ database: 'ok', temporal: 'ok', workers: 'error' });
  expect((await (await harness.get('/health')).json()).status).toBe('healthy');
});

import pino from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkTemporal } from '../../../src/cli/doctor/temporal.ts';
import { loadConfig } from '../../../src/config.ts';
import { createSyncLauncher } from '../../../src/services/sync/launcher.ts';
import { query } from '../../../src/store/db/query.ts';
import { createTemporalGateway, type TemporalGateway } from '../../../src/temporal/connection.ts';
import { registerSearchAttributes } from '../../../src/temporal/search-attributes.ts';
import { PANEL_SYNC_ID, SEARCH_ATTRIBUTES } from '../../../src/workflows/contract.ts';
import { API_KEY, bearer, type Harness, json, makeUser, startHarness } from '../../support/api/harness.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { temporalConfig } from '../../support/stack.ts';
import { createTestNamespace, INT, KEYWORD, temporalAddress } from '../../support/temporal.ts';

/** The real launcher on a real server; no worker runs, so what is started waits. */
let database: TestDatabase;
let namespace: string;
let temporal: TemporalGateway;
let missing: TemporalGateway;
let harness: Harness;
let auth: Record<string, string>;
beforeAll(async () => {
  database = await createTestDatabase();
  // Another program uses one of our attributes with another type.
  namespace = await createTestNamespace('api', { SyncType: INT });
  temporal = createTemporalGateway({ ...temporalConfig(), namespace });
  missing = createTemporalGateway({ ...temporalConfig(), namespace: 'no-such-namespace' });
  const base = await startHarness({ database });
  const launcher = createSyncLauncher({ db: database.db, temporal, log: base.deps.log });
  await base.close();
  harness = await startHarness({ database, launcher, deps: { temporal } });
  auth = bearer((await makeUser(harness, { isSystemAdmin: true })).token);
});
afterAll(async () => {
  await harness.close();
  await temporal.close();
  await missing.close();
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

test('a search attribute of another type is named at the start of the worker, with what to do (T-1)', async () => {
  const warnings: unknown[][] = [];
  const log = pino({ level: 'silent' });
  log.warn = (...line: unknown[]) => void warnings.push(line);
  await registerSearchAttributes(temporal, log);
  expect(warnings).toEqual([
    [
      {
        commands: [
          `temporal operator search-attribute remove --namespace ${namespace} --name SyncType`,
          `temporal operator search-attribute create --namespace ${namespace} --name SyncType --type Keyword`,
        ],
      },
      expect.stringContaining('SyncType is registered as Int and must be Keyword'),
    ],
  ]);
  const { customAttributes } = await temporal.client.connection.operatorService.listSearchAttributes({ namespace });
  expect(customAttributes?.[SEARCH_ATTRIBUTES.requestedBy.name]).toBe(KEYWORD);
});

test('a sync starts without search attributes that cannot be used (T-1)', async () => {
  const started = await harness.get('/api/admin/sync', json({ target: 'all' }, auth));
  expect(started.status).toBe(202);
  const run = await temporal.client.workflow.getHandle(PANEL_SYNC_ID).describe();
  expect(run.typedSearchAttributes.get(SEARCH_ATTRIBUTES.syncType)).toBeUndefined();
  await harness.get('/api/admin/sync/cancel', { method: 'POST', headers: auth });
});

test('a namespace that does not exist is no healthy engine, and the 503 names it (T-2)', async () => {
  const launcher = createSyncLauncher({ db: database.db, temporal: missing, log: pino({ level: 'silent' }) });
  const lost = await startHarness({ database, launcher, deps: { temporal: missing } });
  try {
    expect((await (await lost.get('/health')).json()).status).toBe('degraded');
    const ready = await lost.get('/health/ready');
    expect(ready.status).toBe(503);
    expect((await ready.json()).checks).toMatchObject({ temporal: 'error' });
    const before = await query(database.db, 'select count(*) from sync_logs');
    const refused = await lost.get('/api/admin/sync', json({ target: 'all' }, auth));
    expect(refused.status).toBe(503);
    expect(JSON.stringify(await refused.json())).toContain(
      'The workflow engine has no namespace \\"no-such-namespace\\"',
    );
    expect(await query(database.db, 'select count(*) from sync_logs')).toEqual(before);
  } finally {
    await lost.close();
  }
});

test('doctor fails for a namespace that does not exist, and names it (T-2)', async () => {
  const config = loadConfig({ TEMPORAL_ADDRESS: temporalAddress(), TEMPORAL_NAMESPACE: 'no-such-namespace' });
  expect(await checkTemporal(config, temporalAddress())).toMatchObject({
    state: 'failed',
    detail: expect.stringContaining(
      'namespace no-such-namespace: the server answers, but the namespace does not exist',
    ),
    advice: expect.stringContaining('temporal operator namespace create --namespace no-such-namespace'),
  });
});

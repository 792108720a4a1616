import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AppError } from '../../../src/domain/errors.ts';
import { API_KEY, bearer, type Harness, insertLog, json, makeUser, startHarness } from '../../support/api/harness.ts';

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
const key = { 'X-API-Key': API_KEY };

beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
});
afterAll(() => harness.close());

const failure = (error: string, code: string) => ({ success: false, error, code });

describe('programs with an API key', () => {
  test('start each target and get the ids of the run', async () => {
    const response = await harness.get('/api/v1/sync/full', json({ skip_users: true, requested_by: 'cron' }, key));
    expect(response.status).toBe(202);
    const body = await response.json();
    expect(body).toEqual({
      success: true,
      data: { sync_log_id: expect.any(String), task_id: 'task', status: 'PENDING' },
      message: 'Full sync has been queued',
    });
    expect(harness.requested.at(-1)).toEqual({
      target: 'full',
      skipUsers: true,
      dryRun: false,
      requestedBy: 'cron',
      requester: 'api',
      by: { actor: { type: 'apiKey' }, network: expect.any(String), requestId: expect.any(String) },
    });

    const nodes = await harness.get('/api/v1/sync/nodes', { method: 'POST', headers: key });
    expect(nodes.status).toBe(202);
    expect((await nodes.json()).message).toBe('nodes sync has been queued');
    expect(harness.requested.at(-1)).toMatchObject({ target: 'nodes', requestedBy: 'api' });
  });

  test('the name that a program gives itself is one line of at most 200 characters, and is not its identity (S17)', async () => {
    const name = `jane.doe@customer.example\n\n![x](http://evil.example/p.png)\u202e\u2028${'x'.repeat(300)}`;
    await harness.get('/api/v1/sync/locations', json({ requested_by: name }, key));
    const said = `jane.doe@customer.example ![x](http://evil.example/p.png) ${'x'.repeat(300)}`.slice(0, 200);
    expect(harness.requested.at(-1)).toMatchObject({ requestedBy: said, requester: 'api' });
  });

  test('a body that cannot be read does not stop the trigger', async () => {
    const response = await harness.get('/api/v1/sync/full', { method: 'POST', headers: key, body: 'not json' });
    expect(response.status).toBe(202);
    expect(harness.requested.at(-1)).toMatchObject({ target: 'full', skipUsers: false });
  });

  test('subusers is not a target of the HTTP API', async () => {
    expect((await harness.get('/api/v1/sync/subusers', { method: 'POST', headers: key })).status).toBe(404);
  });

  test('logs carry metadata as text, are newest first and clamp their numbers', async () => {
    const older = await insertLog(harness.database, { type: 'nests', startedAt: '2026-02-01 00:00:00' });
    const newer = await insertLog(harness.database, {
      type: 'nests',
      startedAt: '2026-02-02 00:00:00',
      metadata: null,
    });
    const read = async (query: string) =>
      (await (await harness.get(`/api/v1/sync/logs?type=nests&${query}`, { headers: key })).json()).data;
    const all = await read('');
    expect(all).toMatchObject({ limit: 20, offset: 0 });
    expect(all.logs.map((log) => log.id)).toEqual([newer, older]);
    expect(all.logs[0]?.metadata).toBe('{}');
    expect(JSON.parse(all.logs[1]?.metadata ?? '')).toEqual({ version: 1, lastMessage: 'hello' });
    expect(all.logs[1]).toMatchObject({
      type: 'nests',
      status: 'COMPLETED',
      itemsTotal: 10,
      itemsSynced: 4,
      itemsFailed: 1,
      error: null,
      startedAt: '2026-02-01T00:00:00.000Z',
      completedAt: '2026-02-01T00:01:30.000Z',
    });
    expect((await read('limit=1&offset=1')).logs.map((log) => log.id)).toEqual([older]);
    expect(await read('limit=1000')).toMatchObject({ limit: 100 });
    expect(await read('limit=0')).toMatchObject({ limit: 20 });
    expect(await read('limit=abc&offset=-4')).toMatchObject({ limit: 20, offset: 0 });
    expect(await read('limit=1&limit=2&staleTime=5')).toMatchObject({ limit: 1 });
  });

  test('status, latest and their absence', async () => {
    const id = await insertLog(harness.database, {
      type: 'locations',
      status: 'in_progress',
      startedAt: '2026-03-01 00:00:00',
    });
    const one = await harness.get(`/api/v1/sync/status/${id}`, { headers: key });
    expect(one.status).toBe(200);
    expect(await one.json()).toMatchObject({
      success: true,
      message: '',
      data: { id, status: 'RUNNING', completedAt: null },
    });
    const latest = await (await harness.get('/api/v1/sync/latest', { headers: key })).json();
    expect(latest.data.locations['id']).toBe(id);
    const none = await harness.get(`/api/v1/sync/status/${randomUUID()}`, { headers: key });
    expect(none.status).toBe(404);
    expect(await none.json()).toEqual(failure('Sync log not found', 'NOT_FOUND'));
  });

  test('cancel by id', async () => {
    const response = await harness.get('/api/v1/sync/cancel/abc', { method: 'POST', headers: key });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ success: true, data: null, message: 'Cancellation requested' });
    expect(harness.cancelled.at(-1)).toBe('abc');
  });
});

describe('administrators', () => {
  test('the state names the running sync and the counts of the mirror', async () => {
    const own = await startHarness();
    try {
      const { token } = await makeUser(own, { isSystemAdmin: true });
      const read = async () => (await own.get('/api/admin/sync', { headers: bearer(token) })).json();
      const empty = await read();
      expect(empty.status).toEqual({ lastSync: null, isSyncing: false, lastRunning: null, latest: null });
      expect(empty.counts).toEqual({
        users: 1,
        migratedUsers: 0,
        servers: 0,
        nodes: 0,
        locations: 0,
        allocations: 0,
        nests: 0,
        eggs: 0,
        eggVariables: 0,
        serverDatabases: 0,
      });
      expect(empty.availableTargets).toEqual([
        'full',
        'locations',
        'nodes',
        'allocations',
        'nests',
        'servers',
        'databases',
        'users',
      ]);
      await insertLog(own.database, { startedAt: '2026-01-01 00:00:00' });
      const running = await insertLog(own.database, {
        status: 'RUNNING',
        type: 'nodes',
        startedAt: '2026-01-02 00:00:00',
      });
      const state = (await read()).status;
      expect(state).toMatchObject({
        lastSync: '2026-01-01T00:01:30.000Z',
        isSyncing: true,
        lastRunning: '2026-01-02T00:00:00.000Z',
        latest: { id: running, status: 'RUNNING', metadata: { version: 1 } },
      });
    } finally {
      await own.close();
    }
  });

  test.each([
    [{}, 'full'],
    [{ type: 'nodes' }, 'nodes'],
    [{ target: 'all' }, 'full'],
    [{ target: 'users' }, 'users'],
    [{ type: '', target: null }, 'full'],
  ])('start with %j', async (body, target) => {
    const response = await harness.get('/api/admin/sync', json({ ...body, unknown: 1 }, bearer(admin.token)));
    expect(response.status).toBe(202);
    expect(await response.json()).toEqual({
      success: true,
      sync_log_id: expect.any(String),
      task_id: 'task',
      status: 'PENDING',
      message: 'Sync has been queued',
    });
    expect(harness.requested.at(-1)).toEqual({
      target,
      dryRun: false,
      skipUsers: false,
      requestedBy: admin.id,
      requester: admin.id,
      by: { actor: { type: 'user', id: admin.id }, network: expect.any(String), requestId: expect.any(String) },
    });
  });

  test('the options reach the launcher', async () => {
    await harness.get(
      '/api/admin/sync',
      json({ type: 'full', dry_run: true, skip_users: 'true' }, bearer(admin.token)),
    );
    expect(harness.requested.at(-1)).toMatchObject({ dryRun: true, skipUsers: true });
  });

  test.each(['subusers', 'everything', 'FULL'])('%s is refused', async (type) => {
    const response = await harness.get('/api/admin/sync', json({ type }, bearer(admin.token)));
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual(
      failure(
        'Invalid sync type. Valid types: full, locations, nodes, allocations, nests, servers, databases, users',
        'VALIDATION_ERROR',
      ),
    );
  });

  test('refusals of the launcher reach the caller', async () => {
    const own = await startHarness({
      database: harness.database,
      launcher: {
        requestSync: async ({ target }) => {
          throw target === 'full'
            ? new AppError('SYNC_RUNNING')
            : new AppError('SERVICE_UNAVAILABLE', { retryAfterMs: 5000 });
        },
        cancelSync: async (id) => {
          throw id === undefined
            ? new AppError('NOT_FOUND', { publicMessage: 'No sync found' })
            : new AppError('BAD_REQUEST', { publicMessage: 'Cannot cancel a sync that is not running' });
        },
      },
    });
    try {
      const auth = bearer(admin.token);
      const running = await own.get('/api/admin/sync', json({}, auth));
      expect(running.status).toBe(409);
      expect(await running.json()).toEqual(failure('Another sync is running', 'SYNC_RUNNING'));
      const away = await own.get('/api/admin/sync', json({ type: 'nodes' }, auth));
      expect(away.status).toBe(503);
      expect(away.headers.get('retry-after')).toBe('5');
      const none = await own.get('/api/admin/sync/cancel', { method: 'POST', headers: auth });
      expect(none.status).toBe(404);
      expect(await none.json()).toEqual(failure('No sync found', 'NOT_FOUND'));
      const over = await own.get('/api/admin/sync/cancel', json({ id: 'x' }, auth));
      expect(over.status).toBe(400);
      expect((await over.json()).error).toBe('Cannot cancel a sync that is not running');
    } finally {
      await own.close();
    }
  });

  test('cancel without a body', async () => {
    const response = await harness.get('/api/admin/sync/cancel', {
      method: 'POST',
      headers: { ...bearer(admin.token), 'Content-Type': 'application/json' },
    });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      success: true,
      sync_log_id: 'newest',
      message: 'Sync cancellation requested',
    });
  });

  test('logs carry metadata as an object, up to 500', async () => {
    const id = await insertLog(harness.database, { type: 'eggs', metadata: null });
    const read = async (query: string) =>
      (await harness.get(`/api/admin/sync/logs?${query}`, { headers: bearer(admin.token) })).json();
    expect((await read('type=eggs')).logs).toMatchObject([{ id, metadata: {} }]);
    expect(await read('limit=1000')).toMatchObject({ success: true, limit: 500, offset: 0 });
    expect(await read('limit=450')).toMatchObject({ limit: 450 });
  });

  test('one log with its rejected records', async () => {
    const counts = { nodes: { created: 1, updated: 0, unchanged: 2, pruned: 0, failed: 1 } };
    const id = await insertLog(harness.database, { metadata: { version: 3, counts } });
    await harness.database.db.raw(
      `insert into sync_failures (log_id, entity, panel_id, code, detail) values (?, 'nodes', '7', 'INVALID', 'name is empty')`,
      [id],
    );
    const response = await harness.get(`/api/admin/sync/logs/${id}`, { headers: bearer(admin.token) });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      success: true,
      log: { id, metadata: { version: 3 } },
      counts,
      failures: [{ entity: 'nodes', panelId: '7', code: 'INVALID', detail: 'name is empty' }],
      failuresTotal: expect.any(Number),
    });
    expect((await harness.get('/api/admin/sync/logs/nothing', { headers: bearer(admin.token) })).status).toBe(404);
  });

  test('the schedule in both of its spellings', async () => {
    const read = async () => (await harness.get('/api/admin/sync/settings', { headers: bearer(admin.token) })).json();
    const save = (body: unknown) => harness.get('/api/admin/sync/settings', json(body, bearer(admin.token)));
    expect(await read()).toEqual({
      success: true,
      message: '',
      data: { autoSyncEnabled: false, autoSyncInterval: 3600, autoSyncMode: 'interval', autoSyncBudgetShare: 25 },
      settings: {
        auto_sync_enabled: 'false',
        sync_interval: 3600,
        auto_sync_mode: 'interval',
        auto_sync_budget_share: 25,
      },
      mirror: expect.objectContaining({ mode: 'interval', nextRunAt: null, shareUsed: null, budgetShare: 25 }),
    });
    const saved = await save({ auto_sync_enabled: true, sync_interval: '120' });
    expect(saved.status).toBe(200);
    expect(await saved.json()).toEqual({ success: true, data: null, message: 'Settings updated successfully' });
    expect(await read()).toMatchObject({
      data: { autoSyncEnabled: true, autoSyncInterval: 120 },
      settings: { auto_sync_enabled: 'true', sync_interval: 120 },
    });
    expect(harness.reconciled.at(-1)).toMatchObject({ enabled: true, mode: 'interval', intervalSeconds: 120 });
    await save({ autoSyncInterval: 300 });
    expect(await read()).toMatchObject({ data: { autoSyncEnabled: true, autoSyncInterval: 300 } });
    await save({ autoSyncEnabled: false });
    expect(await read()).toMatchObject({ data: { autoSyncEnabled: false, autoSyncInterval: 300 } });
    for (const bad of [{ sync_interval: 0 }, { sync_interval: 59 }, { autoSyncInterval: -5 }, { sync_interval: '5' }]) {
      const refused = await save(bad);
      expect(refused.status, JSON.stringify(bad)).toBe(400);
      expect((await refused.json()).error).toMatch(/60/);
    }
    for (const bad of [
      { sync_interval: 'soon' },
      { sync_interval: 90.5 },
      { sync_interval: 1e12 },
      { auto_sync_enabled: 'maybe' },
      [],
    ]) {
      const refused = await save(bad);
      expect(refused.status, JSON.stringify(bad)).toBe(400);
      expect((await refused.json()).error).toBe('Invalid request body');
    }
    expect(await read()).toMatchObject({ data: { autoSyncEnabled: false, autoSyncInterval: 300 } });
  });

  test('the live mirror is set and shown in both spellings; state, settings and metrics say how old the mirror is', async () => {
    const get = async (path: string) => (await harness.get(path, { headers: bearer(admin.token) })).json();
    const save = (body: unknown) => harness.get('/api/admin/sync/settings', json(body, bearer(admin.token)));
    await harness.database.db.raw(`delete from sync_logs`);
    await harness.database.db.raw(
      `insert into sync_logs (id, type, status, metadata, "startedAt") values ('newest', 'full', 'COMPLETED',
         '{"requests": 60, "limit": 240}', (now() at time zone 'utc') - interval '10 seconds')`,
    );
    expect((await save({ autoSyncEnabled: true, autoSyncMode: 'auto', autoSyncBudgetShare: 50 })).status).toBe(200);
    expect(harness.reconciled.at(-1)).toMatchObject({ enabled: true, mode: 'auto', budgetShare: 50 });
    const { data, settings, mirror } = await get('/api/admin/sync/settings');
    expect(data).toMatchObject({ autoSyncMode: 'auto', autoSyncBudgetShare: 50 });
    expect(settings).toMatchObject({ auto_sync_mode: 'auto', auto_sync_budget_share: 50 });
    expect(mirror).toMatchObject({ mode: 'auto', requests: 60, budgetShare: 50, shareUsed: 50 });
    expect(mirror['ageSeconds']).toBeGreaterThanOrEqual(10);
    const due = Date.parse(String(mirror['nextRunAt'])) - Date.now();
    expect(due).toBeGreaterThan(0);
    expect(due).toBeLessThanOrEqual(20_000);
    expect((await get('/api/admin/sync')).mirror).toMatchObject({ mode: 'auto', requests: 60 });
    const metrics = await (await harness.get('/metrics', { headers: bearer(admin.token) })).text();
    expect(metrics).toMatch(/^nodebyte_mirror_age_seconds 1\d$/m);
    expect(metrics).toMatch(/^nodebyte_mirror_share_used_percent 50$/m);
    await save({ auto_sync_mode: 'interval', auto_sync_budget_share: '25' });
    expect((await get('/api/admin/sync/settings')).data).toMatchObject({
      autoSyncMode: 'interval',
      autoSyncBudgetShare: 25,
    });
    for (const bad of [{ autoSyncMode: 'always' }, { autoSyncBudgetShare: 0 }, { autoSyncBudgetShare: 91 }]) {
      expect((await save(bad)).status, JSON.stringify(bad)).toBe(400);
    }
    await save({ autoSyncEnabled: false });
  });

  test('a schedule that cannot be changed immediately does not fail the save', async () => {
    const own = await startHarness({
      database: harness.database,
      deps: {
        reconcileAutoSync: async () => {
          throw new Error('away');
        },
      },
    });
    try {
      const response = await own.get('/api/admin/sync/settings', json({ sync_interval: 600 }, bearer(admin.token)));
      expect(response.status).toBe(200);
    } finally {
      await own.close();
    }
  });
});

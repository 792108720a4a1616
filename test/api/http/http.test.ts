import { connect } from 'node:net';
import knex from 'knex';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { document } from '../../support/api/document.ts';
import {
  API_KEY,
  bearer,
  type Harness,
  insertLog,
  json,
  makeUser,
  ORIGIN,
  startHarness,
} from '../../support/api/harness.ts';
import type { TestDb } from '../../support/database.ts';

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
const key = { 'X-API-Key': API_KEY };
beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { isSystemAdmin: true });
});
afterAll(() => harness.close());

/** Sends a text over a socket, for requests that an HTTP client cannot send. @returns the complete answer as text. */
function raw(text: string): Promise<string> {
  const { hostname, port } = new URL(harness.url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(text));
    let answer = '';
    socket.on('data', (chunk) => {
      answer += String(chunk);
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', (error) => (answer === '' ? reject(error) : resolve(answer)));
    setTimeout(() => socket.destroy(), 3000).unref();
  });
}

describe('transport', () => {
  test('paths match in any case and with one trailing slash; unknown paths answer 404 in JSON', async () => {
    for (const path of ['/API/Stats', '/api/stats/', '/API/V1/STATS/OVERVIEW/']) {
      expect((await harness.get(path, { headers: key })).status, path).toBe(200);
    }
    for (const path of ['/', '/api', '/api/admin/nothing', '/api/v1/nothing', '/api/stats//', '/favicon.ico']) {
      const response = await harness.get(path);
      expect(response.status, path).toBe(404);
      expect(await response.json()).toEqual({ success: false, error: 'Not found', code: 'NOT_FOUND' });
    }
  });

  test('other methods answer 405 with Allow; OPTIONS and HEAD are supported', async () => {
    const wrong = await harness.get('/api/admin/sync', { method: 'DELETE' });
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get('allow')).toBe('GET, HEAD, OPTIONS, POST');
    expect((await wrong.json()).code).toBe('METHOD_NOT_ALLOWED');
    const options = await harness.get('/api/stats', { method: 'OPTIONS' });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'GET, HEAD, OPTIONS']);
    // `/api/admin/users/:id` matches, too.
    const literal = await harness.get('/api/admin/users/roles', { method: 'OPTIONS' });
    expect(literal.headers.get('allow')).toBe('OPTIONS, POST');
    const head = await harness.get('/api/stats', { method: 'HEAD' });
    expect(head.status).toBe(200);
    expect(Number(head.headers.get('content-length'))).toBeGreaterThan(0);
    expect(await head.text()).toBe('');
    const id = await insertLog(harness.database);
    const stream = await harness.get(`/api/admin/sync/stream/${id}`, { method: 'HEAD', headers: bearer(admin.token) });
    expect(stream.status).toBe(200);
    expect(harness.deps.streams.size()).toBe(0);
  });

  test('CORS headers name the exact allowed origin, also on errors', async () => {
    const preflight = await harness.get('/api/admin/sync', {
      method: 'OPTIONS',
      headers: { Origin: ORIGIN, 'Access-Control-Request-Method': 'POST' },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-origin')).toBe(ORIGIN);
    expect(preflight.headers.get('access-control-allow-credentials')).toBe('true');
    expect(preflight.headers.get('access-control-allow-headers')).toContain('Authorization');
    expect(preflight.headers.get('access-control-allow-methods')).toContain('PATCH');
    const failed = await harness.get('/api/admin/sync', { headers: { Origin: ORIGIN } });
    expect(failed.status).toBe(401);
    expect(failed.headers.get('access-control-allow-origin')).toBe(ORIGIN);
    expect(failed.headers.get('access-control-expose-headers')).toContain('Retry-After');
    const other = await harness.get('/api/stats', { headers: { Origin: `${ORIGIN}.evil.example` } });
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
  });

  test('the caller’s request id is used when it has at most 64 plain characters', async () => {
    const given = await harness.get('/api/stats', { headers: { 'X-Request-Id': 'abc-1' } });
    expect(given.headers.get('x-request-id')).toBe('abc-1');
    const generated = await harness.get('/api/stats', { headers: { 'X-Request-Id': 'x'.repeat(65) } });
    expect(generated.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  test('answers have security headers', async () => {
    const { headers } = await harness.get('/api/stats');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toBe("default-src 'none';frame-ancestors 'none'");
    expect(headers.get('x-powered-by')).toBeNull();
  });

  test('errors are problem details when the caller accepts them', async () => {
    const response = await harness.get('/nothing', { headers: { Accept: 'application/problem+json' } });
    expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(await response.json()).toMatchObject({
      type: '/errors/NOT_FOUND',
      title: 'Not found',
      status: 404,
      success: false,
      error: 'Not found',
      code: 'NOT_FOUND',
    });
  });

  test('public routes ignore an invalid access token', async () => {
    expect((await harness.get('/api/stats', { headers: bearer('rubbish') })).status).toBe(200);
    expect((await harness.get('/health', { headers: bearer('rubbish') })).status).toBe(200);
  });
});

describe('Cache-Control', () => {
  const cacheOf = async (path: string, init?: RequestInit) => {
    const response = await harness.get(path, init);
    return [response.status, response.headers.get('cache-control')];
  };

  test('is no-store for routes, errors and preflights, unless the route declares something else', async () => {
    expect(await cacheOf('/api/v1/stats/overview', { headers: key })).toEqual([200, 'no-store']);
    expect(await cacheOf(`/api/v1/stats/users?api_key=${API_KEY}`)).toEqual([200, 'no-store']);
    expect(await cacheOf('/api/admin/sync', { headers: bearer(admin.token) })).toEqual([200, 'no-store']);
    expect(await cacheOf('/api/v1/setup')).toEqual([200, 'no-store']);
    expect(await cacheOf('/api/admin/sync')).toEqual([401, 'no-store']);
    expect(await cacheOf('/api/v1/sync/logs?type=%00', { headers: key })).toEqual([400, 'no-store']);
    expect(await cacheOf('/api/v1/auth/login', json({ pad: 'x'.repeat(70_000) }))).toEqual([413, 'no-store']);
    expect(await cacheOf('/nothing')).toEqual([404, 'no-store']);
    expect(await cacheOf('/api/stats', { method: 'DELETE' })).toEqual([405, 'no-store']);
    expect(await cacheOf('/api/admin/sync', { method: 'OPTIONS' })).toEqual([204, 'no-store']);
    const preflight = { Origin: ORIGIN, 'Access-Control-Request-Method': 'POST' };
    expect(await cacheOf('/api/admin/sync', { method: 'OPTIONS', headers: preflight })).toEqual([204, 'no-store']);
    expect(await raw('NONSENSE\r\n\r\n')).toContain('Cache-Control: no-store');
    expect(await raw('GET mailto:x HTTP/1.1\r\nHost: x\r\n\r\n')).toContain('Cache-Control: no-store');
  });

  test('allows caches to store public statistics and document assets; the stream is no-cache', async () => {
    for (const path of ['/api/stats', '/api/panel/counts', '/api/panel/nodes']) {
      expect(await cacheOf(path), path).toEqual([200, 'public, max-age=30']);
    }
    for (const path of ['/docs', '/swagger', '/docs/swagger.json', '/docs/assets/init.js']) {
      expect(await cacheOf(path), path).toEqual([200, 'no-cache']);
    }
    expect(await cacheOf('/swagger/assets/swagger-ui.css')).toEqual([200, 'public, max-age=3600']);
    const id = await insertLog(harness.database);
    const headers = bearer(admin.token);
    expect(await cacheOf(`/api/admin/sync/stream/${id}`, { headers })).toEqual([200, 'no-cache']);
  });
});

describe('hostile input', () => {
  test.each([
    '/api/v1/sync/status/%00',
    '/api/v1/sync/status/%zz',
    '/api/v1/sync/status/%ff',
    '/api/v1/sync/status/%e0%80',
    '/api/v1/sync/logs?type=%00',
    '/api/v1/sync/logs?a%00=1',
    `/api/v1/sync/status/${'a'.repeat(300)}`,
    `/api/v1/sync/logs?type=${'a'.repeat(60)}`,
  ])('%s is 400', async (path) => {
    const response = await harness.get(path, { headers: key });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ success: false, code: expect.any(String) });
  });

  test.each([
    "/api/v1/sync/status/'%20or%201=1--",
    '/api/v1/sync/status/..%2f..%2fetc%2fpasswd',
    '/api/v1/sync/status/%F0%9F%92%A9',
  ])('%s is 404', async (path) => {
    expect((await harness.get(path, { headers: key })).status).toBe(404);
  });

  test.each([
    'limit=1e3',
    'limit=99999999999999999999',
    'offset=99999999999999999999',
    'limit=-1',
    'limit[]=5',
    'limit=%EF%BC%91',
  ])('logs?%s is answered with 200', async (query) => {
    expect((await harness.get(`/api/v1/sync/logs?${query}`, { headers: key })).status).toBe(200);
  });

  const post = (body: string, headers: Record<string, string> = {}) =>
    harness.get('/api/admin/sync', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...bearer(admin.token), ...headers },
      body,
    });

  test.each([
    ['{', {}],
    ['[]', {}],
    ['null', {}],
    ['"full"', {}],
    ['{"type":5}', {}],
    ['{"type":"full","a":"\\u0000"}', {}],
    ['{"type":"full","a":"\\ud800"}', {}],
    ['{"type":"full"}', { 'Content-Type': 'text/plain' }],
    ['type=full', { 'Content-Type': 'application/x-www-form-urlencoded' }],
    ['{"type":"full"}', { 'Content-Encoding': 'gzip' }],
    [`${'['.repeat(32_000)}${']'.repeat(32_000)}`, {}],
  ])('body %# is 400 and starts nothing', async (body, headers) => {
    const before = harness.requested.length;
    const response = await post(body, headers);
    expect(response.status).toBe(400);
    expect((await response.json()).error).toEqual(expect.any(String));
    expect(harness.requested).toHaveLength(before);
  });

  test('__proto__ in a body has no effect', async () => {
    expect((await post('{"__proto__":{"type":"nodes"},"constructor":1}')).status).toBe(202);
    expect(harness.requested.at(-1)?.target).toBe('full');
  });

  test('a validation error names the field', async () => {
    const response = await post('{"type":5}');
    const { details } = await response.json();
    expect(details).toMatchObject([{ path: 'body.type' }]);
  });

  test('a body of 64 KiB is accepted; a larger one is 413, with and without Content-Length', async () => {
    const padded = (bytes: number) => `{"type":"full","pad":"${'x'.repeat(bytes - 24)}"}`;
    expect(padded(64 * 1024)).toHaveLength(64 * 1024);
    expect((await post(padded(64 * 1024))).status).toBe(202);
    const large = await post(padded(64 * 1024 + 1));
    expect(large.status).toBe(413);
    expect((await large.json()).code).toBe('PAYLOAD_TOO_LARGE');
    const chunk = 'x'.repeat(4 * 1024);
    const answer = await raw(
      `POST /api/admin/sync HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer ${admin.token}\r\nTransfer-Encoding: chunked\r\n\r\n${`${chunk.length.toString(16)}\r\n${chunk}\r\n`.repeat(17)}`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect((await harness.get('/health/live')).status).toBe(200);
  });

  test('headers above 16 KiB and malformed requests are refused in JSON', async () => {
    const large = await raw(`GET /api/stats HTTP/1.1\r\nHost: x\r\nX-Large: ${'x'.repeat(20_000)}\r\n\r\n`);
    expect(large).toMatch(/^HTTP\/1\.1 431 /);
    expect(large).toContain('"code":"HEADERS_TOO_LARGE"');
    const broken = await raw('NONSENSE\r\n\r\n');
    expect(broken).toMatch(/^HTTP\/1\.1 400 /);
    expect(broken).toContain('"code":"BAD_REQUEST"');
  });

  test.each([
    'http://[::1',
    'http://host:99999/health',
    'http://elsewhere/nope',
    'mailto:someone',
    'x:',
    'http:',
    'http:///nope',
    'http://a\\b/nope',
    '*',
    '//',
    '//[',
    '?x=1',
    'nope',
    '#',
  ])('the request target %s is refused in JSON', async (target) => {
    const answer = await raw(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 (?:400|404) /);
    expect(answer).toMatch(/"code":"(?:BAD_REQUEST|NOT_FOUND)"/);
  });

  test('the query is not logged', async () => {
    await harness.get(`/api/v1/stats/users?api_key=${API_KEY}&x=1`);
    await harness.get(`/api/v1/stats/users?x=1&api%5Fkey=${API_KEY}`);
    await harness.get(`/api/v1/stats/users?API_KEY=${API_KEY}`);
    await harness.get('/api/v1/auth/check-email?email=somebody.private@example.com');
    expect(harness.logged()).toContain('"path":"/api/v1/stats/users"');
    expect(harness.logged()).not.toContain('somebody.private');
    expect(harness.logged()).not.toContain(API_KEY);
    expect(harness.logged()).not.toContain(admin.token);
  });
});

describe('health', () => {
  const state = async () => 'no answer' as const;
  const withTemporal = (reachable: boolean, workersPolling: boolean) =>
    startHarness({
      database: harness.database,
      deps: { temporal: { state, reachable: async () => reachable, workersPolling: async () => workersPolling } },
    });

  test('is healthy with database and workers', async () => {
    const response = await harness.get('/health');
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      status: 'healthy',
      database: { status: 'connected' },
      workers: { status: 'running' },
      service: 'nodebyte-backend',
      version: '9.9.9',
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
      checks: { database: 'ok', workers: 'ok', api: 'ok' },
    });
    expect((await harness.get('/health/live')).status).toBe(200);
    expect((await harness.get('/health/ready')).status).toBe(200);
  });

  test('any number of callers share the checks of readiness (S7)', async () => {
    let asked = 0;
    const polling = async () => {
      asked += 1;
      return true;
    };
    const busy = await startHarness({
      database: harness.database,
      deps: { temporal: { state, reachable: polling, workersPolling: polling } },
    });
    const statements: string[] = [];
    const record = ({ sql }: { sql: string }) => statements.push(sql);
    // Another test may have asked this database a moment ago: then there is no statement at all.
    harness.database.db.on('query', record);
    const answers = await Promise.all(Array.from({ length: 50 }, () => busy.get('/health/ready')));
    harness.database.db.removeListener('query', record);
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 50 }, () => 200));
    expect(statements.length).toBeLessThan(5);
    expect(asked).toBeLessThan(10);
    await busy.close();
  });

  test('is degraded without Temporal, and not ready without workers', async () => {
    const away = await withTemporal(false, false);
    const health = await away.get('/health');
    expect(health.status).toBe(200);
    expect(await health.json()).toMatchObject({ status: 'degraded', workers: { status: 'unavailable' } });
    expect((await away.get('/health/ready')).status).toBe(503);
    await away.close();
    const idle = await withTemporal(true, false);
    const ready = await idle.get('/health/ready');
    expect(ready.status).toBe(503);
    expect((await ready.json()).checks).toEqual({ database: 'ok', temporal: 'ok', workers: 'error' });
    await idle.close();
  });

  test('answers when Temporal never answers', async () => {
    const stuck = await startHarness({
      database: harness.database,
      deps: {
        temporal: { state, reachable: () => new Promise(() => {}), workersPolling: () => new Promise(() => {}) },
      },
    });
    const startedAt = performance.now();
    expect((await stuck.get('/health')).status).toBe(200);
    expect((await stuck.get('/health/ready')).status).toBe(503);
    expect(performance.now() - startedAt).toBeLessThan(3000);
    const again = performance.now();
    expect((await stuck.get('/health')).status).toBe(200);
    expect(performance.now() - again).toBeLessThan(300);
    await stuck.close();
  });

  test('answers 503 without the database and without texts of the driver; statistics answer 500', async () => {
    const dead = knex({
      client: 'pg',
      connection: 'postgres://x:secret@127.0.0.1:1/x',
      acquireConnectionTimeout: 1000,
    }) as unknown as TestDb;
    const down = await startHarness({ database: harness.database, deps: { db: dead } });
    const health = await down.get('/health');
    expect(health.status).toBe(503);
    expect(await health.json()).toMatchObject({
      status: 'unhealthy',
      database: { status: 'disconnected', error: 'The database does not answer' },
      checks: { database: 'error', workers: 'ok' },
    });
    expect((await down.get('/health/live')).status).toBe(200);
    const stats = await down.get('/api/stats');
    expect(stats.status).toBe(500);
    expect(await stats.json()).toEqual({ success: false, error: 'Failed to fetch statistics', code: 'INTERNAL_ERROR' });
    const me = await down.get('/api/v1/auth/me', { headers: bearer(admin.token) });
    expect(me.status).toBe(500);
    expect((await me.json()).error).toBe('server_error');
    await down.close();
    await dead.destroy();
  });
});

describe('statistics', () => {
  test('count the rows of the tables', async () => {
    const own = await startHarness();
    const { db } = own.database;
    const { token } = await makeUser(own, { isSystemAdmin: true });
    await makeUser(own, { isActive: false });
    await db.raw(`update users set "lastLoginAt" = now(), "isMigrated" = true where "isSystemAdmin"`);
    await db.raw(`insert into config (id, key, value) values ('c1', 'cache_timeout', '0')`);
    await db.raw(`insert into locations (id, "shortCode") values (1, 'fra')`);
    await db.raw(
      `insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId", "isPublic") values
         (1, 'n1', 'beta', 'a', 64000, 5000000000, 1, true), (2, 'n2', 'alpha', 'b', 1, 1, 1, false)`,
    );
    await db.raw(`insert into nests (id, uuid, name) values (1, 'x1', 'Minecraft')`);
    await db.raw(`insert into eggs (id, uuid, name, "nestId") values (1, 'e1', 'Paper', 1), (2, 'e2', 'Fabric', 1)`);
    await db.raw(
      `insert into servers (id, name, status, "nodeId", "isSuspended") values
         ('s1', 'a', 'online', 1, false), ('s2', 'b', 'ONLINE', 1, false), ('s3', 'c', 'offline', null, true)`,
    );
    await db.raw(
      `insert into allocations (id, ip, port, "nodeId", "isAssigned") values (1, '10.0.0.1', 1, 1, true), (2, '10.0.0.1', 2, 1, false), (3, '10.0.0.1', 3, 1, false)`,
    );
    const read = async (path: string, headers: Record<string, string> = {}) =>
      (await own.get(path, { headers })).json();
    const site = { totalServers: 3, totalUsers: 2, activeUsers: 1, totalAllocations: 3 };
    expect(await read('/api/stats')).toEqual({ success: true, data: site, message: '', ...site });
    const panel = { nodes: 2, servers: 3, users: 2, allocations: 1, nests: 1 };
    expect(await read('/api/panel/counts')).toEqual({ success: true, data: panel, message: '', ...panel });
    expect(await read('/api/panel/nodes')).toEqual([
      {
        id: 1,
        name: 'beta',
        locationCode: 'fra',
        isMaintenanceMode: false,
        memory: 64000,
        disk: 5000000000,
        serverCount: 2,
      },
    ]);
    expect((await read('/api/v1/stats/overview', key)).data).toEqual({
      users: 2,
      servers: 3,
      nodes: 2,
      locations: 1,
      eggs: 2,
      allocations: 3,
    });
    expect((await read('/api/v1/stats/servers', key)).data).toEqual({
      by_status: { online: 2, offline: 1 },
      by_node: { beta: 2, '': 1 },
    });
    expect((await read('/api/v1/stats/users', key)).data).toEqual({
      total: 2,
      active: 1,
      migrated: 1,
      admins: 1,
      recent_7_days: 2,
    });
    const dashboard = {
      totalServers: 3,
      suspendedServers: 1,
      totalUsers: 2,
      totalNodes: 2,
      totalAllocations: 3,
      usedAllocations: 1,
      availableAllocations: 2,
    };
    expect((await read('/api/v1/stats/admin', key)).data).toEqual(dashboard);
    expect((await read('/api/admin/stats', bearer(token))).data).toEqual(dashboard);
    await db.raw(`delete from servers`);
    expect((await read('/api/stats')).data).toMatchObject({ totalServers: 0 });
    await own.close();
  });

  test('are cached for cache_timeout seconds', async () => {
    const own = await startHarness();
    await own.database.db.raw(`insert into config (id, key, value) values ('c1', 'cache_timeout', '600')`);
    const read = async () => (await (await own.get('/api/stats')).json()).data['totalUsers'];
    expect(await read()).toBe(0);
    await makeUser(own);
    expect(await read()).toBe(0);
    await own.close();
  });
});

describe('documentation', () => {
  test('the document describes each route', async () => {
    const response = await harness.get('/docs/swagger.json');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/^application\/json/);
    expect(await response.json()).toEqual(JSON.parse(JSON.stringify(document)));
  });

  test.each([
    ['/docs', 'NodeByte API Documentation (ReDoc)'],
    ['/swagger', 'NodeByte API Documentation (Swagger UI)'],
  ])('%s shows the document without requests to other hosts', async (path, title) => {
    const page = await harness.get(path);
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toMatch(/^text\/html/);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).not.toMatch(/https?:|\*/);
    const html = await page.text();
    expect(html).toContain(`<title>${title}</title>`);
    const assets = [...html.matchAll(/(?:src|href)="([^"]+)"/g)]
      .map((match) => match[1] ?? '')
      .filter((a) => !a.startsWith('data:'));
    expect(assets.length).toBeGreaterThan(1);
    for (const asset of assets) {
      expect(asset).toMatch(/^\//);
      const file = await harness.get(asset);
      expect(file.status, asset).toBe(200);
      expect((await file.arrayBuffer()).byteLength).toBeGreaterThan(50);
    }
  });

  test('other files of the packages are not served', async () => {
    for (const path of [
      '/swagger/assets/package.json',
      '/swagger/assets/..%2fpackage.json',
      '/docs/assets/',
      '/docs/assets/../../package.json',
    ]) {
      expect((await harness.get(path)).status, path).toBe(404);
    }
  });
});

describe.each([false, true])('an answer that does not match its declaration, production: %s', (production) => {
  test('is replaced by 500; the log names the operation and not the values', async () => {
    const own = await startHarness({
      database: harness.database,
      config: { production },
      launcher: {
        requestSync: async () => ({
          syncLogId: 'log-of-the-run',
          taskId: 'y',
          status: JSON.parse('"QUEUED"'),
          joined: false,
        }),
      },
    });
    const response = await fetch(`${own.url}/api/admin/sync`, json({}, bearer(admin.token)));
    expect(response.status).toBe(500);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(await response.json()).toEqual({ success: false, error: 'Internal server error', code: 'INTERNAL_ERROR' });
    expect(own.logged()).toContain('answer does not match its declaration');
    expect(own.logged()).toContain('"operationId":"startSync"');
    expect(own.logged()).not.toContain('log-of-the-run');
    await own.close();
  });
});

import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { createPanelClient, type PanelClientOptions } from '../../../src/clients/panel/client.ts';
import { AppError } from '../../../src/domain/errors.ts';
import { relationship } from '../../../src/domain/panel/envelope.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { exampleBody, type PanelExample, panelExamples, type RawServer, startRawServer } from '../../support/panel.ts';

const KEY = 'ptla_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg';
const CLIENT_KEY = 'ptlc_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg';
const EMPTY = { object: 'list', data: [] };

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function serve(handler: Parameters<typeof startRawServer>[0], options: Partial<PanelClientOptions> = {}) {
  const server: RawServer = await startRawServer(handler);
  closers.push(server.close);
  const client = createPanelClient({
    url: server.url,
    guard: 'environment',
    apiKey: new Secret(KEY),
    clientApiKey: new Secret(CLIENT_KEY),
    ...options,
  });
  closers.push(() => client.close());
  return { server, client };
}
const json = (body: unknown, status = 200, headers: Record<string, string> = {}) =>
  serve((_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  });

async function failure(promise: Promise<unknown>): Promise<AppError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof AppError)) throw new Error(`expected an AppError, got ${inspect(error)}`);
  // No error may hold a key, whatever went wrong.
  const printed = [inspect(error, { depth: 9, showHidden: true }), JSON.stringify(error), String(error), error.stack];
  for (const text of printed) {
    expect(text).not.toContain(KEY);
    expect(text).not.toContain(CLIENT_KEY);
    expect(text).not.toContain('cf-secret');
  }
  return error;
}

const examples = panelExamples();
const example = (name: string): PanelExample => {
  const found = examples.find((entry) => entry.name === name);
  if (found === undefined) throw new Error(`no example ${name}`);
  return found;
};
const replay = (entry: PanelExample) =>
  serve((_request, response) => {
    response.writeHead(entry.status, entry.headers);
    response.end(exampleBody(entry));
  });

describe('recorded answers', () => {
  const lists = examples.filter(
    (entry) => entry.status === 200 && entry.name.startsWith('app-') && !/^app-(server|user)$/.test(entry.name),
  );
  test('there are recorded answers', () => {
    expect(lists.length).toBeGreaterThan(10);
  });

  test.each(lists.map((entry) => [entry.name, entry] as const))('%s is read', async (_name, entry) => {
    const { client } = await replay(entry);
    const page = await client.list('/anything');
    const body: unknown = entry.body;
    expect(body).toMatchObject({ data: page.items.map(({ object, attributes }) => ({ object, attributes })) });
    const { limit, remaining } = page.throttle;
    expect([String(limit), String(remaining)]).toEqual([
      entry.headers['x-ratelimit-limit'],
      entry.headers['x-ratelimit-remaining'],
    ]);
    if (page.pagination === undefined) expect(body).not.toHaveProperty('meta');
    else {
      const { total, count, perPage, currentPage, totalPages } = page.pagination;
      expect(body).toMatchObject({
        meta: { pagination: { total, count, per_page: perPage, current_page: currentPage, total_pages: totalPages } },
      });
    }
  });

  test.each(['app-server', 'app-user'])('%s is read as one item', async (name) => {
    const { client } = await replay(example(name));
    const { item, throttle } = await client.get('/anything');
    expect({ object: item.object, attributes: item.attributes }).toEqual(example(name).body);
    expect(throttle.limit).toBe(240);
  });

  test.each([
    ['client-servers-admin-all', 250],
    ['client-servers-admin-all-include-subusers,egg', 250],
    ['client-server-users', undefined],
    ['client-server-startup', undefined],
  ])('%s is read as a list of the client API', async (name, total) => {
    const { client, server } = await replay(example(name));
    const page = await client.clientList('?type=admin-all', { page: 2, perPage: 100 });
    expect(page.pagination?.total).toBe(total);
    expect(page.throttle.limit).toBe(720);
    expect(server.requests[0]?.url).toBe('/api/client?type=admin-all&page=2&per_page=100');
    expect(server.requests[0]?.headers.authorization).toBe(`Bearer ${CLIENT_KEY}`);
  });

  test.each([
    ['error-302-no-key-and-no-accept', 'PANEL_UNAVAILABLE', undefined],
    ['error-400-filter', 'PANEL_CONTRACT', 'InvalidFilterQuery'],
    ['error-400-startup-variable-hidden', 'PANEL_CONTRACT', 'BadRequestHttpException'],
    ['error-400-startup-variable-read-only', 'PANEL_CONTRACT', 'BadRequestHttpException'],
    ['error-401', 'PANEL_AUTH', 'AuthenticationException'],
    ['error-403-application-key-on-client', 'PANEL_AUTH', 'AccessDeniedHttpException'],
    ['error-403-ip', 'PANEL_AUTH', 'AccessDeniedHttpException'],
    ['error-403-no-right', 'PANEL_AUTH', 'AccessDeniedHttpException'],
    ['error-403-owner-not-admin', 'PANEL_AUTH', 'AccessDeniedHttpException'],
    ['error-404', 'PANEL_NOT_FOUND', 'NotFoundHttpException'],
    ['error-409-installing', 'PANEL_CONFLICT', 'ServerStateConflictException'],
    ['error-409-node-maintenance', 'PANEL_CONFLICT', 'ServerStateConflictException'],
    ['error-409-restoring_backup', 'PANEL_CONFLICT', 'ServerStateConflictException'],
    ['error-409-suspended', 'PANEL_CONFLICT', 'ServerStateConflictException'],
    ['error-409-transferring', 'PANEL_CONFLICT', 'ServerStateConflictException'],
    ['error-422', 'PANEL_CONTRACT', 'ValidationException'],
    ['error-422-startup-variable', 'PANEL_CONTRACT', 'ValidationException'],
    ['error-429', 'PANEL_RATE_LIMITED', 'ThrottleRequestsException'],
    ['error-500', 'PANEL_UNAVAILABLE', 'TypeError'],
    ['error-500-startup-variable-unknown-key', 'PANEL_UNAVAILABLE', 'ErrorException'],
    ['error-503', 'PANEL_UNAVAILABLE', 'HttpException'],
    ['error-504-daemon-unreachable', 'PANEL_UNAVAILABLE', 'DaemonConnectionException'],
  ])('%s becomes %s', async (name, code, panelCode) => {
    const { client } = await replay(example(name));
    const error = await failure(client.list('/users', { page: 3, filter: { email: 'a@b.invalid' } }));
    expect(error.code).toBe(code);
    expect(error.meta).toMatchObject({ kind: 'http', status: example(name).status, path: '/api/application/users' });
    expect(error.meta?.['panelCode']).toBe(panelCode);
    expect(inspect(error)).not.toContain('a@b.invalid');
  });

  test('every recorded error is in the table above', () => {
    expect(examples.filter((entry) => entry.name.startsWith('error-'))).toHaveLength(22);
  });
});

describe('what is sent', () => {
  test('headers, path prefix and parameters', async () => {
    const { server, client: other } = await json(EMPTY);
    await other.list('/x');
    expect(server.requests[0]?.headers).not.toHaveProperty('cf-access-client-id');
    const client = createPanelClient({
      url: `${server.url}/panel/`,
      guard: 'environment',
      apiKey: new Secret(` ${KEY}\n`),
      cfAccessClientId: 'cf-id',
      cfAccessClientSecret: new Secret('cf-secret'),
    });
    closers.push(() => client.close());
    await client.list('/servers', {
      page: 2,
      perPage: 100,
      sort: 'id',
      include: 'allocations,databases.host',
      filter: { uuid: 'a,b' },
    });
    const sent = server.requests[1];
    expect(sent?.method).toBe('GET');
    expect(sent?.headers).toMatchObject({
      accept: 'application/json',
      'content-type': 'application/json',
      authorization: `Bearer ${KEY}`,
      'cf-access-client-id': 'cf-id',
      'cf-access-client-secret': 'cf-secret',
    });
    const url = new URL(sent?.url ?? '', 'http://x');
    expect(url.pathname).toBe('/panel/api/application/servers');
    expect(Object.fromEntries(url.searchParams)).toEqual({
      page: '2',
      per_page: '100',
      sort: 'id',
      include: 'allocations,databases.host',
      'filter[uuid]': 'a,b',
    });
    expect((await failure(client.clientList(''))).code).toBe('PANEL_NOT_CONFIGURED');
    expect(server.requests).toHaveLength(2);
  });

  test('one attempt per call, and connections are kept', async () => {
    const sockets = new Set<unknown>();
    const { client, server } = await serve((request, response) => {
      sockets.add(request.socket);
      response.writeHead(server.requests.length === 1 ? 500 : 200).end(JSON.stringify(EMPTY));
    });
    await failure(client.list('/x'));
    expect(server.requests).toHaveLength(1);
    for (let i = 0; i < 20; i++) await client.list('/x');
    // A second connection may open while the first is being handed back.
    expect(sockets.size).toBeLessThanOrEqual(2);
  });

  test.each(['not a url', 'ftp://panel.invalid', ''])('%j is refused as URL', (url) => {
    expect(() => createPanelClient({ url, guard: 'environment', apiKey: new Secret(KEY) })).toThrow(AppError);
  });

  test('a key that no header may hold is not sent', async () => {
    const { server } = await json(EMPTY);
    const client = createPanelClient({
      url: server.url,
      guard: 'environment',
      apiKey: new Secret(`${KEY}\r\nx-evil: 1`),
    });
    closers.push(() => client.close());
    expect((await failure(client.list('/x'))).code).toBe('PANEL_NOT_CONFIGURED');
    expect(server.requests).toHaveLength(0);
  });
});

test.each(['/api', '/api/', '/api/application', '/api/client/account', '/admin/api', '/admin/api/new'])(
  'the path %s at the end of the URL is cut',
  async (path) => {
    const { server } = await json(EMPTY);
    for (const base of ['', '/panel']) {
      const url = `${server.url}${base}${path}`;
      const client = createPanelClient({ url, guard: 'environment', apiKey: new Secret(KEY) });
      closers.push(() => client.close());
      await client.list('/x');
      expect(server.requests.at(-1)?.url).toBe(`${base}/api/application/x`);
    }
  },
);

describe('failures', () => {
  test.each([
    ['nothing is sent', undefined],
    ['the body stops', '{"object":"list","da'],
  ])('timeout while %s', async (_when, start) => {
    const { client } = await serve(
      (_request, response) => {
        if (start !== undefined) response.writeHead(200, { 'content-length': 1000 }).write(start);
      },
      { timeoutMs: 150 },
    );
    const began = Date.now();
    const error = await failure(client.list('/x'));
    expect(error.code).toBe('PANEL_UNAVAILABLE');
    expect(error.meta?.['kind']).toBe('timeout');
    expect(Date.now() - began).toBeLessThan(2_000);
  });

  test.each([false, true])('an abort gives its own reason (body begun: %s)', async (begun) => {
    const controller = new AbortController();
    const reason = new Error('cancelled by the caller');
    const { client } = await serve((_request, response) => {
      if (begun) response.writeHead(200, { 'content-length': 1000 }).write('{');
      setTimeout(() => controller.abort(reason), 50);
    });
    await expect(client.list('/x', {}, { signal: controller.signal })).rejects.toBe(reason);
    await expect(client.list('/x', {}, { signal: controller.signal })).rejects.toBe(reason);
  });

  test('reset before an answer', async () => {
    const { client } = await serve((request) => request.socket.resetAndDestroy());
    expect((await failure(client.list('/x'))).meta).toEqual({
      kind: 'network',
      reason: expect.any(String),
      path: '/api/application/x',
    });
  });

  test('no server listens', async () => {
    const { server, client } = await json(EMPTY);
    await server.close();
    const error = await failure(client.list('/x'));
    expect([error.code, error.meta?.['kind'], error.spec.retryable]).toEqual(['PANEL_UNAVAILABLE', 'network', true]);
  });

  test('a connection that ends inside the body', async () => {
    const { client } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 1000 });
      response.write('{"object":"list","data":[', () => response.destroy());
    });
    const error = await failure(client.list('/x'));
    expect([error.code, error.meta?.['kind']]).toEqual(['PANEL_UNAVAILABLE', 'body']);
  });

  test.each([
    ['an HTML page', '<!DOCTYPE html><html></html>'],
    ['half a document', '{"object":"list","data":[{"object":"user"'],
    ['nothing', ''],
    ['compressed bytes', gzipSync(JSON.stringify(EMPTY)).toString('latin1')],
  ])('200 with %s may be tried again', async (_what, body) => {
    const { client } = await json(body, 200, { 'x-ratelimit-limit': '240', 'x-ratelimit-remaining': '17' });
    const error = await failure(client.list('/x'));
    expect([error.code, error.meta?.['kind']]).toEqual(['PANEL_UNAVAILABLE', 'body']);
    expect(error.meta?.['throttle']).toEqual({ limit: 240, remaining: 17 });
  });

  test.each([
    [[], ''],
    [null, ''],
    [{ object: 'user', attributes: {} }, 'object'],
    [{ object: 'list' }, 'data'],
    [{ object: 'list', data: [{ id: 1 }, { id: 2 }] }, 'data.0.attributes'],
    [{ object: 'list', data: [1, null] }, 'data.0'],
    [{ object: 'list', data: [], meta: { pagination: { total: 'many' } } }, 'meta.pagination.total'],
    [
      {
        object: 'list',
        data: [],
        meta: { pagination: { total: -1, count: 0, per_page: 1, current_page: 1, total_pages: 1 } },
      },
      'meta.pagination.total',
    ],
  ])('%j is no list', async (body, path) => {
    const { client } = await json(body);
    const error = await failure(client.list('/x'));
    expect(error.code).toBe('PANEL_CONTRACT');
    expect(error.meta?.['at']).toBe(path);
    expect(error.spec.retryable).toBe(false);
  });

  test('an entry of a list that is no item stays in it, without attributes, and its neighbours are read', async () => {
    const entry = { object: 'user', attributes: { id: 1 } };
    const { client } = await json({ object: 'list', data: [null, entry, { object: 'user', attributes: null }, 'x'] });
    const { items } = await client.list('/x');
    expect(items.map(({ attributes }) => attributes)).toEqual([{}, { id: 1 }, {}, {}]);
  });

  test('the numbers of a list may be texts', async () => {
    const pagination = { total: '350', count: '1', per_page: '100', current_page: '1', total_pages: '4' };
    const { client } = await json({ ...EMPTY, meta: { pagination } });
    expect((await client.list('/x')).pagination).toMatchObject({ total: 350, perPage: 100, totalPages: 4 });
  });

  test('a list is no single item', async () => {
    const { client } = await json(EMPTY);
    expect((await failure(client.get('/x'))).code).toBe('PANEL_CONTRACT');
  });

  // [status, headers, body, sentence]
  const HTML = '<!DOCTYPE html><html><head><title>Attention</title></head></html>';
  const between: [number, Record<string, string>, string, RegExp][] = [
    ...[400, 401, 402, 403, 404, 405, 406, 409, 410, 418, 422, 499, 500, 502, 520].map(
      (status): [number, Record<string, string>, string, RegExp] => [status, {}, HTML, /^A web page came in place of/],
    ),
    [403, { 'cf-mitigated': 'challenge' }, HTML, /^A firewall in front of the panel .*challenge/],
    [403, {}, 'error code: 1010', /^Something in front of the panel .*not JSON/],
    [401, {}, '{"message":"Unauthenticated."}', /^Something in front of the panel .*JSON of another form/],
    [404, {}, '{"errors":[]}', /^Something in front of the panel .*JSON of another form/],
    [403, {}, '', /^An empty answer/],
    [302, { location: '/auth/login' }, HTML, /redirects to a login page/],
    [302, { location: 'https://a.example/cdn-cgi/access/login/x?kid=1' }, '', /login page \(https:\/\/a\.example\)/],
    [
      301,
      { location: 'https://b.example/p/api/application/x' },
      '',
      /^The panel redirects to https:\/\/b\.example\/p:/,
    ],
    [302, { location: '/maintenance?x=1' }, '', /^Something in front of the panel redirects to another page/],
    [302, {}, '', /^Something in front of the panel redirects to another page/],
    [200, {}, '<br />\n<b>Deprecated</b>:  x{"object":"list"}', /^The panel prints PHP messages .*display_errors/],
    [200, {}, `\nWarning: x in /y on line 1\n${JSON.stringify(EMPTY)}`, /^The panel prints PHP messages/],
    [
      200,
      {},
      `${JSON.stringify(EMPTY)}<br />\n<b>Warning</b>:  x on line <b>1</b><br />\n`,
      /^The panel prints PHP messages/,
    ],
    [200, {}, '{"object":"list","da', /^The panel sent JSON that is not whole/],
  ];
  test.each(between)('%i %j %j comes from something in between and is retried (C-2)', async (...given) => {
    const [status, headers, body, sentence] = given;
    const { client, server } = await json(body, status, { 'content-type': 'text/html', ...headers });
    const error = await failure(client.list('/x'));
    expect([error.code, error.spec.retryable, error.meta?.['status']]).toEqual(['PANEL_UNAVAILABLE', true, status]);
    expect(error.message).toMatch(sentence);
    for (const text of ['Attention', 'kid', 'x=1']) expect(error.message).not.toContain(text);
    expect(server.requests).toHaveLength(1);
  });

  test('a 429 of a proxy asks to wait, too', async () => {
    const { client } = await json(HTML, 429, { 'content-type': 'text/html', 'retry-after': '7' });
    expect(await failure(client.list('/x'))).toMatchObject({ code: 'PANEL_RATE_LIMITED', retryAfterMs: 7_000 });
  });

  test('two-factor login demanded', async () => {
    const { client } = await json(
      { errors: [{ code: 'TwoFactorAuthRequiredException', status: '400', detail: '' }] },
      400,
    );
    expect((await failure(client.list('/x'))).code).toBe('PANEL_AUTH');
  });

  test('an error code that is no class name is not repeated', async () => {
    const { client } = await json({ errors: [{ code: `evil ${KEY}`, status: '500' }] }, 500);
    expect((await failure(client.list('/x'))).meta).not.toHaveProperty('panelCode');
  });

  test.each([true, false])('a body over the limit is refused (length declared: %s)', async (declared) => {
    let sent = 0;
    const { client } = await serve(
      (_request, response) => {
        response.writeHead(200, declared ? { 'content-length': 50_000_000 } : {});
        const chunk = Buffer.alloc(65_536, 32);
        const push = () => {
          while (!response.destroyed && sent < 50_000_000) {
            sent += chunk.length;
            if (!response.write(chunk)) {
              response.once('drain', push);
              return;
            }
          }
        };
        response.on('error', () => {});
        push();
      },
      { maxBodyBytes: 100_000 },
    );
    const error = await failure(client.list('/x'));
    expect([error.code, error.meta?.['kind']]).toEqual(['PANEL_UNAVAILABLE', 'too-large']);
    expect(sent).toBeLessThan(20_000_000);
  });

  test('an endless error page still gives its status', async () => {
    const { client } = await serve((_request, response) => {
      response.writeHead(502, { 'content-length': 50_000_000 });
      response.on('error', () => {});
      response.write(Buffer.alloc(1_000_000, 32));
    });
    expect((await failure(client.list('/x'))).meta).toMatchObject({ kind: 'http', status: 502 });
  });
});

describe('waiting', () => {
  const wait = async (status: number, headers: Record<string, string>) => {
    const { client } = await json({ errors: [] }, status, headers);
    return (await failure(client.list('/x'))).retryAfterMs;
  };
  test('Retry-After in seconds', async () => expect(await wait(429, { 'retry-after': '55' })).toBe(55_000));
  test('Retry-After as a date', async () => {
    const ms = await wait(429, { 'retry-after': new Date(Date.now() + 20_000).toUTCString() });
    expect(ms).toBeGreaterThan(17_000);
    expect(ms).toBeLessThan(21_000);
  });
  test('else X-RateLimit-Reset', async () => {
    const ms = await wait(429, { 'x-ratelimit-reset': String(Math.ceil(Date.now() / 1_000) + 30) });
    expect(ms).toBeGreaterThan(28_000);
    expect(ms).toBeLessThan(32_000);
  });
  test('else the window', async () => expect(await wait(429, {})).toBe(60_000));
  test('nonsense is the window too', async () => expect(await wait(429, { 'retry-after': 'soon' })).toBe(60_000));
  test('at most an hour, at least a second', async () => {
    expect(await wait(429, { 'retry-after': '99999999999' })).toBe(3_600_000);
    expect(await wait(429, { 'retry-after': '0' })).toBe(1_000);
  });
  test('503 with Retry-After, 500 without', async () => {
    expect(await wait(503, { 'retry-after': '60' })).toBe(60_000);
    expect(await wait(500, {})).toBeUndefined();
  });
  test('no throttle headers, or unreadable ones, are absent', async () => {
    const { client } = await json(EMPTY, 200, { 'x-ratelimit-limit': 'many' });
    expect((await client.list('/x')).throttle).toEqual({});
  });
});

describe('relationship', () => {
  const item = (attributes: Record<string, unknown>) => ({ object: 'server', attributes });
  const child = { object: 'subuser', attributes: { id: 1 } };
  test('a list, an item, a missing right, nothing', () => {
    const server = item({
      relationships: {
        subusers: { object: 'list', data: [child, 7] },
        user: { object: 'user', attributes: { id: 3 } },
        config: { object: null, attributes: { files: {} } },
        nest: { object: 'null_resource', attributes: null },
      },
    });
    // A broken child stays in the list, so that its row is not taken for deleted.
    expect(relationship(server, 'subusers')).toEqual({ kind: 'list', items: [child, { object: '', attributes: {} }] });
    expect(relationship(server, 'user')).toEqual({ kind: 'item', item: { object: 'user', attributes: { id: 3 } } });
    expect(relationship(server, 'config')).toEqual({ kind: 'item', item: { object: '', attributes: { files: {} } } });
    expect(relationship(server, 'nest')).toEqual({ kind: 'null' });
    expect(relationship(server, 'egg')).toEqual({ kind: 'absent' });
    expect(relationship(server, 'constructor')).toEqual({ kind: 'absent' });
  });
  test.each([{}, { relationships: [] }, { relationships: null }, { relationships: { subusers: { object: 'list' } } }])(
    '%j has none',
    (attributes) => expect(relationship(item(attributes), 'subusers')).toEqual({ kind: 'absent' }),
  );
  test('beside the attributes, as some forks send it', async () => {
    const { client } = await json({
      object: 'list',
      data: [{ ...item({ id: 1 }), relationships: { subusers: { object: 'list', data: [child] } } }],
    });
    const [first] = (await client.list('/servers')).items;
    expect(first === undefined ? undefined : relationship(first, 'subusers')).toEqual({ kind: 'list', items: [child] });
  });
});

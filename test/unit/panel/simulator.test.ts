import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { SimulatorKeys } from '../../../simulators/panel/http/access.ts';
import { type PanelSimulator, startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import type { ServerRow } from '../../../simulators/panel/world/rows.ts';
import { relationship } from '../../../src/domain/panel/envelope.ts';
import { clientOf, exampleBody, type PanelExample, panelExamples, startPanel } from '../../support/panel.ts';

let sim: PanelSimulator;
const noThrottleLimit = 240;
beforeAll(async () => {
  sim = await startPanelSimulator();
});
afterEach(() => {
  sim.reset();
  Object.assign(sim.settings, { limit: noThrottleLimit, clientLimit: 720, latencyMs: 0, twoFactor: false });
  sim.settings.maintenance = undefined;
  sim.settings.perPageMax = undefined;
});
afterAll(() => sim.close());

interface Answer {
  status: number;
  headers: Record<string, string>;
  text: string;
  body: unknown;
}
interface Ask {
  key?: keyof SimulatorKeys | null;
  token?: string;
  accept?: string | null;
  method?: string;
  body?: unknown;
}
async function ask(
  path: string,
  { key = 'full', token, accept = 'application/json', method = 'GET', body }: Ask = {},
): Promise<Answer> {
  const bearer = token ?? (key === null ? undefined : sim.keys[key]);
  const response = await fetch(`${sim.url}${path}`, {
    method,
    redirect: 'manual',
    headers: {
      accept: accept ?? 'text/html',
      ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  return { status: response.status, headers: Object.fromEntries(response.headers), text, body: parsed };
}
const app = (path: string, options?: Ask) => ask(`/api/application${path}`, options);

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const at = (value: unknown, ...keys: (string | number)[]): unknown =>
  keys.reduce<unknown>(
    (inner, key) => (typeof inner === 'object' && inner !== null ? Reflect.get(inner, key) : undefined),
    value,
  );
const data = (answer: Answer): unknown[] => {
  const list = at(answer.body, 'data');
  if (!Array.isArray(list)) throw new Error(`no list: ${answer.text.slice(0, 200)}`);
  return list;
};
const ids = (answer: Answer) => data(answer).map((item) => at(item, 'attributes', 'id'));
const code = (answer: Answer) => at(answer.body, 'errors', 0, 'code');
const pagination = (answer: Answer) => at(answer.body, 'meta', 'pagination');

/** Keys of these objects are data, not structure. */
const FREE = /(environment|docker_images|config\.files|config\.startup|config\.logs|find|permissions)$/;

/** Recorded samples of one place against what the simulator has there: same key sets, same types. */
function conform(samples: unknown[], got: unknown, path: string): void {
  const known = samples.filter((sample) => sample !== null && sample !== undefined);
  if (got === null || known.length === 0 || FREE.test(path)) return;
  if (Array.isArray(got)) {
    expect(known.some(Array.isArray), `${path} is a list`).toBe(true);
    const elements = known.flatMap((sample) => (Array.isArray(sample) ? sample : []));
    for (const [index, element] of got.entries())
      if (elements.length > 0) conform(elements, element, `${path}.${index}`);
    return;
  }
  if (isObject(got)) {
    const keys = Object.keys(got).sort().join();
    const candidates = known
      .filter((sample) => isObject(sample))
      .filter((sample) => Object.keys(sample).sort().join() === keys);
    const possible = known.map((sample) => (isObject(sample) ? Object.keys(sample).sort().join() : typeof sample));
    expect(candidates.length > 0 ? keys : possible, `keys of ${path}`).toEqual(keys);
    for (const [name, value] of Object.entries(got))
      conform(
        candidates.map((sample) => sample[name]),
        value,
        `${path}.${name}`,
      );
    return;
  }
  expect(
    known.map((sample) => typeof sample),
    `type of ${path}`,
  ).toContain(typeof got);
}

const find = (want: (server: ServerRow) => boolean): ServerRow => {
  for (const server of sim.world.servers.values()) if (want(server)) return server;
  throw new Error('the generated panel has no such server');
};
const maintained = (server: ServerRow) => sim.world.nodes.get(server.node)?.maintenance_mode === true;
const count = (entity: 'subusers' | 'databases', server: ServerRow) =>
  entity === 'subusers'
    ? [...sim.world.subusers.values()].filter((row) => row.server_id === server.id).length
    : [...sim.world.databases.values()].filter((row) => row.server === server.id).length;
const usable = (server: ServerRow) => server.status === null && !maintained(server) && !server.transferring;

/** The recorded request, moved to objects of the generated panel that are in the same situation. */
function translate(example: PanelExample): { path: string; ask: Ask } {
  const { request, name } = example;
  const key: keyof SimulatorKeys | null =
    request.key === null
      ? null
      : /second admin/.test(request.key)
        ? 'second'
        : /client key/.test(request.key)
          ? 'client'
          : /without any right/.test(request.key)
            ? 'noRights'
            : /servers only/.test(request.key)
              ? 'fewRights'
              : /another address/.test(request.key)
                ? 'locked'
                : /no root admin/.test(request.key)
                  ? 'notAdmin'
                  : 'full';
  let path = request.path;
  const uuid = /[0-9a-f]{8}-[0-9a-f-]{27}/;
  if (uuid.test(path)) {
    const server = find((row) => {
      if (name.endsWith('suspended')) return row.status === 'suspended' && !maintained(row);
      if (name.endsWith('-installing')) return row.status === 'installing' && !maintained(row);
      if (name.endsWith('restoring_backup')) return row.status === 'restoring_backup' && !maintained(row);
      if (name.endsWith('transferring')) return row.transferring && row.status === null && !maintained(row);
      if (name.endsWith('node-maintenance')) return row.status === null && maintained(row);
      // egg 1 has other variables
      return usable(row) && row.egg !== 1 && (count('subusers', row) > 0 || !/users|client-server$/.test(name));
    });
    path = path.replace(uuid, server.uuid);
    if (name.includes('daemon')) sim.update('nodes', server.node, { daemon_down: true });
  }
  if (name.startsWith('app-server-databases'))
    path = path.replace('/7/', `/${find((row) => count('databases', row) > 0).id}/`);
  if (name === 'app-server')
    path = path.replace(
      '/servers/2',
      `/servers/${find((row) => count('subusers', row) > 0 && count('databases', row) === 0).id}`,
    );
  // a nest whose second egg inherits
  if (name.startsWith('app-eggs')) path = path.replace('/nests/5/', '/nests/6/');
  if (name === 'error-429') sim.spend(240, { userId: 2 });
  if (name === 'error-503') sim.settings.maintenance = { retryAfter: 60 };
  return {
    path,
    ask: {
      key,
      accept: request.accept,
      method: request.method,
      ...(request.body === undefined ? {} : { body: request.body }),
    },
  };
}

describe('recorded answers', () => {
  test.each(panelExamples().map((example) => [example.name, example] as const))('%s', async (name, example) => {
    const { path, ask: options } = translate(example);
    const answer = await ask(path, options);
    expect(answer.status).toBe(example.status);
    const transport = ['connection', 'content-length', 'date', 'keep-alive', 'transfer-encoding'];
    expect(
      Object.keys(answer.headers)
        .filter((header) => !transport.includes(header))
        .sort(),
    ).toEqual(Object.keys(example.headers).sort());
    for (const header of ['content-type', 'cache-control', 'x-ratelimit-limit'])
      expect(answer.headers[header]).toBe(example.headers[header]);
    if (example.status === 302) {
      expect(answer.headers['location']).toBe(`${sim.url}/auth/login`);
      const there = 'http://127.0.0.1:8800';
      expect(answer.text.replaceAll(sim.url, there)).toContain(exampleBody(example).slice(0, 300));
      return;
    }
    if (example.status !== 200) {
      expect(answer.body).toEqual(example.body);
      return;
    }
    conform([example.body], answer.body, name);
    // the same sizes as the recorded panel, so its pages too
    const text = JSON.stringify(at(example.body, 'meta', 'pagination') ?? null).replaceAll(
      'http://127.0.0.1:8800',
      sim.url,
    );
    expect(pagination(answer) ?? null).toEqual(JSON.parse(text));
    const recorded = Object.keys(example.body ?? {}).sort();
    expect(Object.keys(answer.body ?? {}).sort()).toEqual(recorded);
  });

  test('a comparison that could fail: another key set or type is noticed', () => {
    expect(() => conform([{ id: 1 }], { id: 1, more: 1 }, 'x')).toThrow();
    expect(() => conform([{ id: 1 }], {}, 'x')).toThrow();
    expect(() => conform([{ id: 1 }], { id: '1' }, 'x')).toThrow();
  });
});

describe('pages', () => {
  test.each([
    ['', 50],
    ['per_page=100', 100],
    ['per_page=1000', 1000],
    ['per_page=0', 15],
    ['per_page=', 50],
  ])('%j gives %i a page', async (query, perPage) => {
    expect(pagination(await app(`/servers?${query}`))).toMatchObject({ per_page: perPage, total: 250 });
  });
  test.each([
    ['per_page=-1', 'QueryException'],
    ['per_page=many', 'TypeError'],
  ])('%s is a 500', async (query, exception) => {
    const answer = await app(`/servers?${query}`);
    expect([answer.status, code(answer)]).toEqual([500, exception]);
  });
  test('a cap, as in later versions', async () => {
    sim.settings.perPageMax = 100;
    expect(pagination(await app('/servers?per_page=1000'))).toMatchObject({ per_page: 100, total_pages: 3 });
  });
  test('all pages together are everything, once', async () => {
    const seen: unknown[] = [];
    for (const page of [1, 2, 3]) seen.push(...ids(await app(`/servers?sort=id&per_page=100&page=${page}`)));
    expect(seen).toEqual([...sim.world.servers.keys()]);
    expect(ids(await app('/servers?per_page=100&page=zero')).at(0)).toBe(1);
  });
  test('unpaged lists ignore per_page', async () => {
    const answer = await app('/nests/1/eggs?per_page=1');
    expect(data(answer).length).toBe(3);
    expect(pagination(answer)).toBeUndefined();
  });
  test('the client list is capped at 100', async () => {
    expect(pagination(await ask('/api/client?type=admin-all&per_page=1000', { key: 'client' }))).toMatchObject({
      per_page: 100,
    });
  });
});

describe('filters and sorts', () => {
  const uuidOf = (id: number) => sim.world.servers.get(id)?.uuid;
  test('several uuids, whole or in part', async () => {
    expect(
      ids(await app(`/servers?filter[uuid]=${uuidOf(3)},${uuidOf(9)},00000000-0000-4000-8000-000000000000`)),
    ).toEqual([3, 9]);
    expect(ids(await app(`/servers?filter[uuid]=${uuidOf(3)?.slice(2, 20)}`))).toEqual([3]);
    expect(data(await app('/servers?filter[uuid]=&per_page=100'))).toHaveLength(100);
  });
  test('text in part, ignoring case; a port whole', async () => {
    expect(ids(await app('/users?filter[email]=LABADMIN@'))).toEqual([1]);
    expect(ids(await app('/nodes/1/allocations?filter[port]=25001'))).toEqual([7]);
    expect(ids(await app('/nodes/1/allocations?filter[port]=2500'))).toEqual([]);
  });
  test('allocations of a server, and the free ones', async () => {
    const mine = [...sim.world.allocations.values()].filter((row) => row.server_id === 1 && row.node_id === 1);
    expect(ids(await app('/nodes/1/allocations?filter[server_id]=1'))).toEqual(mine.map((row) => row.id));
    for (const value of ['0', 'none']) {
      const free = await app(`/nodes/1/allocations?filter[server_id]=${value}&per_page=1000`);
      expect(data(free).every((item) => at(item, 'attributes', 'assigned') === false)).toBe(true);
      expect(data(free).length).toBeGreaterThan(10);
    }
  });
  test('sorts: allowed, ignored, refused', async () => {
    expect(ids(await app('/servers?sort=-id&per_page=2'))).toEqual([250, 249]);
    const byUuid = data(await app('/servers?sort=uuid&per_page=100')).map((item) =>
      String(at(item, 'attributes', 'uuid')),
    );
    expect(byUuid).toEqual([...byUuid].sort());
    expect((await app('/nests?sort=anything')).status).toBe(200);
    const refused = await app('/users?sort=email');
    expect([refused.status, code(refused)]).toEqual([400, 'InvalidSortQuery']);
  });
});

describe('includes', () => {
  const related = (answer: Answer, index = 0) => at(answer.body, 'data', index, 'attributes', 'relationships');
  test('two levels, blanks and lists; unknown and wrongly cased names are ignored', async () => {
    const answer = await app(
      '/servers?per_page=1&include=subusers.user.servers,%20egg.variables&include[]=Node&include[]=nonsense',
    );
    expect(Object.keys(related(answer) ?? {}).sort()).toEqual(['egg', 'subusers']);
    const deep = await app('/locations?include=nodes.allocations.server');
    const allocation = at(
      related(deep),
      'nodes',
      'data',
      0,
      'attributes',
      'relationships',
      'allocations',
      'data',
      0,
      'attributes',
    );
    expect(allocation).toHaveProperty('ip');
    expect(allocation).not.toHaveProperty('relationships');
    expect(at((await app('/servers?per_page=1&include=nonsense')).body, 'data', 0, 'attributes')).not.toHaveProperty(
      'relationships',
    );
  });
  test('an allocation names neither node nor server', async () => {
    const item = data(await app('/nodes/1/allocations?per_page=1'))[0];
    expect(Object.keys(at(item, 'attributes') ?? {})).toEqual(['id', 'ip', 'alias', 'port', 'notes', 'assigned']);
  });
  test('the plan with the fewest requests gives the whole panel', async () => {
    const other = await startPanel({ seed: 5 });
    try {
      const locations = (
        await other.client.list('/locations', { sort: 'id', perPage: 100, include: 'nodes.allocations' })
      ).items;
      let allocations = 0;
      for (const location of locations) {
        const nodes = relationship(location, 'nodes');
        for (const node of nodes.kind === 'list' ? nodes.items : []) {
          const list = relationship(node, 'allocations');
          allocations += list.kind === 'list' ? list.items.length : 0;
        }
      }
      expect(allocations).toBe(1_200);
      const servers = (
        await other.client.list('/servers', {
          sort: 'id',
          perPage: 1_000,
          include: 'allocations,databases.host,subusers',
        })
      ).items;
      const counted = { allocations: 0, databases: 0, subusers: 0, hosts: 0 };
      for (const server of servers) {
        for (const name of ['allocations', 'databases', 'subusers'] as const) {
          const list = relationship(server, name);
          if (list.kind !== 'list') throw new Error(`${name} is ${list.kind}`);
          counted[name] += list.items.length;
          if (name === 'databases')
            counted.hosts += list.items.filter((item) => relationship(item, 'host').kind === 'item').length;
        }
        const primary = relationship(server, 'allocations');
        expect(
          primary.kind === 'list' &&
            primary.items.some((item) => item.attributes['id'] === server.attributes['allocation']),
        ).toBe(true);
      }
      expect(counted).toMatchObject({ databases: 60, subusers: 80, hosts: 60 });
      expect(counted.allocations).toBeGreaterThan(300);
    } finally {
      await other.close();
    }
  });
  test('a missing right is a null resource, not an error', async () => {
    const answer = await app('/servers?per_page=1&include=subusers,variables', { key: 'fewRights' });
    expect(related(answer)).toMatchObject({
      subusers: { object: 'null_resource', attributes: null },
      variables: { object: 'list' },
    });
    const token = sim.addKey({ rights: ['servers', 'server_databases'] });
    const databases = await app(`/servers/${find((row) => count('databases', row) > 0).id}/databases?include=host`, {
      token,
    });
    expect(related(databases)).toEqual({ host: { object: 'null_resource', attributes: null } });
  });
  test('a broken egg breaks every answer with it, and no other', async () => {
    sim.update('eggs', 2, { broken: true });
    for (const path of ['/nests/2/eggs', '/nests?include=eggs', '/servers?include=egg'])
      expect((await app(path)).status).toBe(500);
    for (const path of ['/nests/3/eggs', '/nests', '/servers', '/nests/2/eggs/8'])
      expect((await app(path)).status).toBe(200);
  });
  test('empty configuration comes out as a list', async () => {
    const eggs = data(await app('/nests/3/eggs'));
    expect(at(eggs[0], 'attributes', 'config')).toMatchObject({ startup: [], logs: [] });
  });
});

describe('single items', () => {
  test('a uuid is read as its leading digits', async () => {
    expect(at((await app('/servers/47efc1a1-7b8d-425e-acd8-a8c51c9488f6')).body, 'attributes', 'id')).toBe(47);
    expect((await app('/servers/efc1a1')).status).toBe(404);
  });
  test('external ids', async () => {
    expect(at((await app('/servers/external/order-11')).body, 'attributes', 'id')).toBe(11);
    expect(at((await app('/users/external/crm-13')).body, 'attributes', 'id')).toBe(13);
    expect((await app('/users/external/crm-0')).status).toBe(404);
  });
});

describe('the client API', () => {
  const client = (path: string, options: Ask = {}) => ask(`/api/client${path}`, { key: 'client', ...options });
  test('who sees which servers', async () => {
    const total = async (type: string, key: keyof SimulatorKeys) =>
      at(pagination(await client(`?type=${type}`, { key })), 'total');
    const own = [...sim.world.servers.values()].filter((row) => row.user === 3).length;
    const shared = [...sim.world.subusers.values()].filter((row) => row.user_id === 3).length;
    expect(await total('admin-all', 'client')).toBe(250);
    expect(await total('admin-all', 'userClient')).toBe(0);
    expect(await total('owner', 'userClient')).toBe(own);
    expect(await total('nonsense', 'userClient')).toBe(own + shared);
    const guests = new Set(
      [...sim.world.subusers.values()].filter((row) => row.user_id === 3).map((row) => row.server_id),
    );
    const foreign = find((row) => row.user !== 3 && usable(row) && !guests.has(row.id));
    expect((await client(`/servers/${foreign.identifier}`)).status).toBe(200);
    expect((await client(`/servers/${foreign.identifier}`, { key: 'userClient' })).status).toBe(404);
    expect((await client(`/servers/${foreign.id}`)).status).toBe(404);
  });
  test('a blocked server is still shown itself', async () => {
    const suspended = find((row) => row.status === 'suspended');
    expect((await client(`/servers/${suspended.uuid}`)).status).toBe(200);
    expect((await client(`/servers/${suspended.uuid}/startup`)).status).toBe(409);
  });
  test('an admin client key reads the application API, from its bucket', async () => {
    const answer = await app('/servers?per_page=1&include=subusers', { key: 'client' });
    expect([answer.status, answer.headers['x-ratelimit-limit']]).toEqual([200, '240']);
    expect((await app('/servers?per_page=1', { key: 'userClient' })).status).toBe(403);
  });
  test('startup variables', async () => {
    const server = find((row) => usable(row) && row.egg !== 1);
    const put = (body: unknown) => client(`/servers/${server.uuid}/startup/variable`, { method: 'PUT', body });
    const rule = (answer: Answer) => [
      answer.status,
      at(answer.body, 'errors', 0, 'meta', 'source_field'),
      at(answer.body, 'errors', 0, 'meta', 'rule'),
    ];
    expect(rule(await put({ key: 'MINECRAFT_VERSION' }))).toEqual([422, 'value', 'present']);
    expect(rule(await put({ value: 'x' }))).toEqual([422, 'key', 'required']);
    expect(rule(await put({ key: 'MINECRAFT_VERSION', value: 7 }))).toEqual([422, 'value', 'string']);
    expect(rule(await put({ key: 'MINECRAFT_VERSION', value: 'x'.repeat(21) }))).toEqual([422, 'value', 'max']);
    expect(rule(await put({ key: 'SERVER_JARFILE', value: '' }))).toEqual([422, 'value', 'required']);
    const emptied = await put({ key: 'MINECRAFT_VERSION', value: '' });
    expect(at(emptied.body, 'attributes', 'server_value')).toBeNull();
    expect(sim.world.servers.get(server.id)?.values['MINECRAFT_VERSION']).toBe('');
    const set = await put({ key: 'minecraft_version', value: '1.21' });
    expect(String(at(set.body, 'meta', 'startup_command'))).toContain(
      '--minecraft_version "1.21" --dl_path "[hidden]"',
    );
    const seen = await app(`/servers/${server.id}`);
    expect(at(seen.body, 'attributes', 'container', 'environment', 'MINECRAFT_VERSION')).toBe('1.21');
  });
});

describe('writes of an administrator', () => {
  const rules = (answer: Answer) => {
    const errors = at(answer.body, 'errors');
    return Array.isArray(errors)
      ? errors.map((entry) => `${at(entry, 'meta', 'source_field')} ${at(entry, 'meta', 'rule')}`)
      : [];
  };

  test('the startup is checked and stored as a whole', async () => {
    const server = find((row) => row.egg !== 1 && row.status === null);
    const patch = (body: unknown, key: keyof SimulatorKeys = 'second') =>
      app(`/servers/${server.id}/startup`, { method: 'PATCH', body, key });
    expect((await patch({}, 'full')).status).toBe(403);
    expect(rules(await patch({}))).toEqual([
      ...['startup required', 'environment present', 'egg exists', 'image required', 'skip_scripts present'],
    ]);
    const { startup, image, egg } = server;
    const seen = await app(`/servers/${server.id}`);
    const environment = { ...Object(at(seen.body, 'attributes', 'container', 'environment')), SERVER_JARFILE: 'a.jar' };
    const whole = { startup, image, egg, skip_scripts: false, environment };
    expect((await patch(whole)).status).toBe(200);
    // An entry that is missing becomes empty, if the rules allow that.
    delete environment.MINECRAFT_VERSION;
    expect((await patch(whole)).status).toBe(200);
    const values = sim.world.servers.get(server.id)?.values;
    expect(values).toMatchObject({ SERVER_JARFILE: 'a.jar', MINECRAFT_VERSION: '' });
    expect(values).not.toHaveProperty('STARTUP');
    expect(rules(await patch({ ...whole, environment: {} }))).toContain('environment.SERVER_JARFILE required');
    const wrong = await patch({ ...whole, egg: 999, skip_scripts: 'yes' });
    expect(rules(wrong)).toEqual(['egg exists', 'skip_scripts boolean']);
  });

  test('power signals are checked, logged with what the server reads, and shown', async () => {
    const server = find(usable);
    const power = (body: unknown) =>
      ask(`/api/client/servers/${server.uuid}/power`, { key: 'client', method: 'POST', body });
    expect(rules(await power({}))).toEqual(['signal required']);
    expect(rules(await power({ signal: 'constructor' }))).toEqual(['signal in']);
    expect((await power({ signal: 'restart' })).status).toBe(204);
    const shown = await ask(`/__sim/servers/${server.uuid}`);
    expect(shown.body).toMatchObject({ id: server.id, values: server.values, current_state: 'running' });
    expect(at(shown.body, 'power')).toMatchObject([{ signal: 'restart', environment: { P_SERVER_UUID: server.uuid } }]);
    expect((await ask('/__sim/servers/unknown')).status).toBe(404);
    sim.reset();
    expect(sim.powerLog).toEqual([]);
  });
});

describe('access and throttle', () => {
  test.each([
    'locations',
    'nodes',
    'nests',
    'servers',
    'users',
    'nodes/1/allocations',
    'nests/1/eggs',
    'servers/1/databases',
  ])('%s needs its right', async (path) => {
    expect((await app(`/${path}`, { key: 'noRights' })).status).toBe(403);
    expect((await app(`/${path}`)).status).toBe(200);
  });
  test('expired and unknown keys, two-factor, unknown routes and methods', async () => {
    expect((await app('/users', { key: 'expired' })).status).toBe(401);
    expect((await app('/users', { token: 'nonsense' })).status).toBe(401);
    const unknown = await app('/nothing');
    expect([unknown.status, unknown.headers['x-ratelimit-limit']]).toEqual([404, undefined]);
    expect((await app('/locations', { method: 'PUT', body: {} })).status).toBe(405);
    expect((await app('/users', { method: 'POST', body: '{' })).status).toBe(400);
    sim.settings.twoFactor = true;
    expect(code(await app('/users'))).toBe('TwoFactorAuthRequiredException');
  });
  test('errors are pages for who does not ask for JSON, good answers are not', async () => {
    const page = await app('/users/9999', { accept: null });
    expect([page.status, page.headers['content-type']]).toEqual([404, 'text/html; charset=utf-8']);
    expect((await app('/users/1', { accept: null })).body).toMatchObject({ object: 'user' });
  });
  test('one bucket per user and API; refused calls do not count on', async () => {
    sim.settings.limit = 5;
    const remaining = async (options?: Ask, path = '/locations') => {
      const answer = await app(path, options);
      return [answer.status, answer.headers['x-ratelimit-remaining']];
    };
    expect(await remaining()).toEqual([200, '4']);
    expect(await remaining({ key: 'fewRights' })).toEqual([403, '3']);
    expect(await remaining({ key: 'client' })).toEqual([200, '2']);
    expect(await remaining({ key: 'second' })).toEqual([200, '4']);
    expect(await remaining({ key: 'expired' })).toEqual([401, undefined]);
    expect(await remaining({}, '/users/9999')).toEqual([404, '1']);
    expect((await ask('/api/client', { key: 'client' })).headers['x-ratelimit-remaining']).toBe('719');
    expect(await remaining()).toEqual([200, '0']);
    expect(await remaining()).toEqual([429, '0']);
  });
  test('the window is fixed: begun by its first request, over after its length', async () => {
    Object.assign(sim.settings, { limit: 3, windowMs: 700 });
    try {
      const began = Date.now();
      await app('/locations');
      const answered = Date.now();
      await new Promise((resolve) => setTimeout(resolve, 400));
      await app('/locations');
      await app('/locations');
      const refused = await app('/locations');
      expect(refused.status).toBe(429);
      expect(refused.headers['retry-after']).toBe('1');
      // The request arrived between the two times, which can lie in different seconds.
      const reset = Number(refused.headers['x-ratelimit-reset']);
      expect(reset).toBeGreaterThanOrEqual(Math.ceil((began + 700) / 1_000));
      expect(reset).toBeLessThanOrEqual(Math.ceil((answered + 700) / 1_000));
      await new Promise((resolve) => setTimeout(resolve, 350));
      const again = await app('/locations');
      expect([again.status, again.headers['x-ratelimit-remaining']]).toEqual([200, '2']);
    } finally {
      sim.settings.windowMs = 60_000;
    }
  });
  test('no limit, no headers', async () => {
    sim.settings.limit = 0;
    const client = clientOf(sim);
    expect((await client.list('/locations')).throttle).toEqual({});
    await client.close();
  });
});

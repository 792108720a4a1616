import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type PanelSimulator, startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import { WorldRefusal } from '../../../simulators/panel/world/world.ts';
import type { PanelClient } from '../../../src/clients/panel/client.ts';
import { AppError } from '../../../src/domain/errors.ts';
import { relationship } from '../../../src/domain/panel/envelope.ts';
import { clientOf, startPanel } from '../../support/panel.ts';

let sim: PanelSimulator;
let client: PanelClient;
beforeAll(async () => {
  sim = await startPanelSimulator({ limit: 0 });
  client = clientOf(sim, { timeoutMs: 500 });
});
afterEach(() => sim.reset());
afterAll(async () => {
  await sim.close();
  await client.close();
});

const ids = async (path: string, query = {}) =>
  (await client.list(path, { sort: 'id', perPage: 1_000, ...query })).items.map((item) => item.attributes['id']);
async function outcome(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
    return 'ok';
  } catch (error) {
    return error instanceof AppError ? `${error.code} ${error.meta?.['status'] ?? error.meta?.['kind']}` : error;
  }
}

describe('data', () => {
  test('the same seed gives the same panel, another seed another', async () => {
    const make = async (seed: number) => {
      const other = await startPanelSimulator({ seed });
      await other.close();
      return JSON.stringify([other.dump(), other.keys]);
    };
    expect(await make(7)).toBe(await make(7));
    expect(await make(7)).not.toBe(await make(8));
  });

  test('sizes are exact, and relations hold', () => {
    const dump = sim.dump();
    const sizes = Object.fromEntries(Object.entries(dump).map(([entity, rows]) => [entity, rows.length]));
    expect(sizes).toEqual({
      locations: 3,
      nodes: 6,
      allocations: 1_200,
      nests: 6,
      eggs: 16,
      variables: 64,
      users: 120,
      servers: 250,
      databases: 60,
      databaseHosts: 3,
      subusers: 80,
    });
    const allocations = new Map(dump.allocations.map((row) => [row.id, row]));
    for (const server of dump.servers) {
      const primary = allocations.get(server.allocation);
      expect([primary?.server_id, primary?.node_id]).toEqual([server.id, server.node]);
    }
    expect(new Set(dump.allocations.map((row) => `${row.node_id} ${row.ip}:${row.port}`)).size).toBe(1_200);
    expect(new Set(dump.subusers.map((row) => `${row.server_id} ${row.user_id}`)).size).toBe(80);
    expect(new Set(dump.users.map((row) => row.email.toLowerCase())).size).toBe(120);
  });

  test('the traps are in it', () => {
    const { servers, users, allocations, nodes, eggs, databases, subusers, variables } = sim.dump();
    const statuses = new Set(servers.map((row) => row.status));
    for (const status of [
      null,
      'suspended',
      'installing',
      'install_failed',
      'reinstall_failed',
      'restoring_backup',
    ] as const) {
      expect(statuses, String(status)).toContain(status);
    }
    const nodesOf = new Map<string, Set<number>>();
    for (const { ip, port, node_id } of allocations) {
      const key = `${ip}:${port}`;
      nodesOf.set(key, (nodesOf.get(key) ?? new Set()).add(node_id));
    }
    const perServer = new Map<number, number>();
    for (const { server_id } of subusers) perServer.set(server_id, (perServer.get(server_id) ?? 0) + 1);
    const traps = {
      transferring: servers.some(
        (row) => row.transferring && allocations.some((a) => a.server_id === row.id && a.node_id !== row.node),
      ),
      unicode: servers.some((row) => /[^\x20-\x7e]/.test(row.name)),
      noDescription: servers.some((row) => row.description === ''),
      externalId: servers.some((row) => row.external_id !== null),
      additional: allocations.filter((row) => row.server_id !== null).length > servers.length,
      sharedAddress: [...nodesOf.values()].some((set) => set.size > 1),
      noAlias: allocations.some((row) => row.alias === null),
      nullNode: nodes.some((row) => row.description === null) && nodes.some((row) => row.description === ''),
      nameless: users.some((row) => row.first_name === null),
      mixedCase: users.some((row) => row.email !== row.email.toLowerCase()),
      inherits: eggs.some((row) => row.config.extends !== null),
      hidden: variables.some((row) => !row.user_viewable),
      connections: [0, null, 50].every((max) => databases.some((row) => row.max_connections === max)),
      crowded: Math.max(...perServer.values()) > 1,
      admins: users.filter((row) => row.root_admin).length > 1,
    };
    expect(Object.entries(traps).filter(([, there]) => !there)).toEqual([]);
  });

  test('a panel of nothing', async () => {
    const none = Object.fromEntries(Object.keys(sim.dump()).map((name) => [name, 0]));
    const { client: other, close } = await startPanel({ ...none, users: 2 });
    expect((await other.list('/servers')).pagination).toEqual({
      total: 0,
      count: 0,
      perPage: 50,
      currentPage: 1,
      totalPages: 1,
    });
    expect((await other.list('/locations', { include: 'nodes.allocations' })).items).toEqual([]);
    await close();
  });
});

describe('mutations', () => {
  test('a change is in the next answer, in includes and sums too', async () => {
    await client.list('/servers', { perPage: 1_000, include: 'allocations,databases.host,subusers' });
    await client.list('/nodes', { include: 'allocations' });
    sim.update('servers', 7, {
      name: 'renamed',
      limits: { ...(sim.world.servers.get(7)?.limits ?? fail()), memory: 999_999 },
    });
    sim.update('locations', 1, { short: 'moved' });
    sim.update('variables', 5, { env_variable: 'OTHER' });
    const { item } = await client.get('/servers/7');
    expect(item.attributes['name']).toBe('renamed');
    const node = await client.get(`/nodes/${sim.world.servers.get(7)?.node}`);
    expect(JSON.stringify(node.item.attributes['allocated_resources'])).toMatch(/"memory":1\d{6}/);
    const first = await client.get('/servers/1');
    expect(first.item.attributes['container']).toMatchObject({ environment: { P_SERVER_LOCATION: 'moved' } });
    const second = await client.get('/servers/2');
    expect(second.item.attributes['container']).toMatchObject({ environment: { OTHER: expect.anything() } });
    expect(first.item.attributes['updated_at']).toBe(sim.world.servers.get(1)?.updated_at);
  });

  test('a deleted server frees its allocations and takes its subusers and databases along', async () => {
    const { databases, subusers } = sim.dump();
    const id =
      subusers.find((row) => databases.some((database) => database.server === row.server_id))?.server_id ?? fail();
    const mine = [...sim.world.allocations.values()].filter((row) => row.server_id === id).map((row) => row.id);
    expect(sim.delete('servers', id)).toBe(true);
    expect(sim.delete('servers', id)).toBe(false);
    expect(await outcome(client.get(`/servers/${id}`))).toBe('PANEL_NOT_FOUND 404');
    expect(await ids('/servers')).not.toContain(id);
    const after = sim.dump();
    expect(after.allocations.filter((row) => mine.includes(row.id)).map((row) => row.server_id)).toEqual(
      mine.map(() => null),
    );
    expect(after.subusers.some((row) => row.server_id === id)).toBe(false);
    expect(after.databases.some((row) => row.server === id)).toBe(false);
  });

  test('refusals of the panel, and what goes along', () => {
    expect(() => sim.delete('users', sim.world.servers.get(1)?.user ?? 0)).toThrow(WorldRefusal);
    for (const entity of ['locations', 'nodes', 'nests', 'eggs'] as const)
      expect(() => sim.delete(entity, 1)).toThrow(WorldRefusal);
    const node = sim.create('nodes', { name: 'short-lived' });
    const allocation = sim.create('allocations', { node_id: node.id });
    const egg = sim.create('eggs', { nest: 1 });
    const variable = sim.create('variables', { egg_id: egg.id });
    sim.delete('nodes', node.id);
    sim.delete('eggs', egg.id);
    expect([sim.world.allocations.has(allocation.id), sim.world.variables.has(variable.id)]).toEqual([false, false]);
    // as auto_increment: an id is not used again
    expect(sim.create('nodes').id).toBe(node.id + 1);
  });

  test('a created server has an allocation of its own', async () => {
    const server = sim.create('servers', { name: 'new', user: 3 });
    sim.create('subusers', { server_id: server.id, user_id: 4 });
    sim.create('databases', { server: server.id });
    const { item } = await client.get(`/servers/${server.id}`, { include: 'allocations,subusers,databases' });
    expect(item.attributes).toMatchObject({ name: 'new', user: 3 });
    expect(relationship(item, 'allocations')).toMatchObject({
      items: [{ attributes: { id: server.allocation, assigned: true } }],
    });
    expect(relationship(item, 'subusers')).toMatchObject({ items: [{ attributes: { user_id: 4 } }] });
    expect(relationship(item, 'databases')).toMatchObject({ items: [{ object: 'databases' }] });
    expect((await ids('/servers')).at(-1)).toBe(server.id);
  });

  test('the dump is a copy', () => {
    const [server] = sim.dump().servers;
    if (server !== undefined) server.limits.memory = -5;
    expect(sim.world.servers.get(1)?.limits.memory).not.toBe(-5);
  });

  test('between two pages', async () => {
    let calls = 0;
    const remove = sim.on('before', ({ path, page }, n) => {
      calls += 1;
      expect(n).toBeGreaterThan(0);
      if (path.endsWith('/servers') && page === 2) sim.delete('servers', 1);
    });
    const first = await client.list('/servers', { sort: 'id', perPage: 100, page: 1 });
    const second = await client.list('/servers', { sort: 'id', perPage: 100, page: 2 });
    expect([first.pagination?.total, second.pagination?.total]).toEqual([250, 249]);
    // the row that slipped between the pages
    expect(second.items[0]?.attributes['id']).toBe(102);
    remove();
    await client.list('/locations');
    expect(calls).toBe(2);
  });
});

describe('faults', () => {
  test.each([
    [{ kind: 'status', status: 500 }, 'PANEL_UNAVAILABLE 500'],
    [{ kind: 'status', status: 502 }, 'PANEL_UNAVAILABLE 502'],
    [{ kind: 'status', status: 503, retryAfter: 7 }, 'PANEL_UNAVAILABLE 503'],
    [{ kind: 'status', status: 504 }, 'PANEL_UNAVAILABLE 504'],
    [{ kind: 'status', status: 401 }, 'PANEL_AUTH 401'],
    [{ kind: 'status', status: 403 }, 'PANEL_AUTH 403'],
    [{ kind: 'status', status: 429, retryAfter: 3 }, 'PANEL_RATE_LIMITED 429'],
    [{ kind: 'hang' }, 'PANEL_UNAVAILABLE timeout'],
    [{ kind: 'reset' }, 'PANEL_UNAVAILABLE network'],
    [{ kind: 'truncate' }, 'PANEL_UNAVAILABLE 200'],
    [{ kind: 'html' }, 'PANEL_UNAVAILABLE 200'],
    [{ kind: 'php-notice' }, 'PANEL_UNAVAILABLE 200'],
    [{ kind: 'gateway', status: 403, challenge: true }, 'PANEL_UNAVAILABLE 403'],
    [{ kind: 'gateway', status: 404 }, 'PANEL_UNAVAILABLE 404'],
    [{ kind: 'gateway', status: 302, location: 'https://panel.example/login' }, 'PANEL_UNAVAILABLE 302'],
    [{ kind: 'gateway', status: 522 }, 'PANEL_UNAVAILABLE 522'],
    [{ kind: 'encoded', encoding: 'gzip' }, 'ok'],
    [{ kind: 'encoded', encoding: 'deflate' }, 'ok'],
    [{ kind: 'encoded', encoding: 'br' }, 'ok'],
    [{ kind: 'slow', ms: 5_000 }, 'PANEL_UNAVAILABLE timeout'],
    [{ kind: 'slow', ms: 5 }, 'ok'],
  ] as const)('%j gives %s', async (action, expected) => {
    sim.faults.add({ match: { path: /users/ }, times: 1, action });
    expect(await outcome(client.list('/locations'))).toBe('ok');
    expect(await outcome(client.list('/users'))).toBe(expected);
    expect(await outcome(client.list('/users'))).toBe('ok');
  });

  test('Retry-After of a fault', async () => {
    sim.faults.add({ action: { kind: 'status', status: 429, retryAfter: 3 } });
    await expect(client.list('/users')).rejects.toMatchObject({ retryAfterMs: 3_000 });
  });

  test('lies in lists', async () => {
    const page = async () => {
      const { items, pagination } = await client.list('/servers', { perPage: 100, include: 'subusers' });
      return [items.length, pagination?.count, pagination?.total, pagination?.totalPages];
    };
    const remove = sim.faults.add({ action: { kind: 'empty' } });
    expect(await page()).toEqual([0, 0, 0, 1]);
    remove();
    sim.faults.add({ action: { kind: 'half' }, times: 1 });
    expect(await page()).toEqual([50, 50, 250, 3]);
    sim.faults.add({ action: { kind: 'total', delta: -60 }, times: 1 });
    expect(await page()).toEqual([100, 100, 190, 2]);
    sim.faults.add({ action: { kind: 'total', delta: 'random' }, times: 6 });
    const totals = new Set<unknown>();
    for (let i = 0; i < 6; i++) totals.add((await page())[2]);
    expect(totals.size).toBeGreaterThan(3);
    sim.faults.add({ action: { kind: 'null-resource', name: 'subusers' }, times: 1 });
    const [server] = (await client.list('/servers', { perPage: 1, include: 'subusers,allocations' })).items;
    expect(server && [relationship(server, 'subusers').kind, relationship(server, 'allocations').kind]).toEqual([
      'null',
      'list',
    ]);
    expect(await page()).toEqual([100, 100, 250, 3]);
  });

  test('which requests: a page, each n-th, after some', async () => {
    const run = async (count: number, page?: number) => {
      const results: unknown[] = [];
      for (let i = 1; i <= count; i++) results.push(await outcome(client.list('/users', { page: page ?? 1 })));
      return results.map((result) => (result === 'ok' ? '.' : 'x')).join('');
    };
    const action = { kind: 'status', status: 500 } as const;
    sim.faults.add({ match: { page: 2 }, action });
    expect([await run(1, 1), await run(1, 2), await run(1, 3)]).toEqual(['.', 'x', '.']);
    sim.faults.clear();
    sim.faults.add({ everyNth: 3, action });
    expect(await run(7)).toBe('..x..x.');
    sim.faults.clear();
    sim.faults.add({ afterNth: 2, times: 2, action });
    expect(await run(6)).toBe('..xx..');
  });

  test('closing ends what hangs', async () => {
    const other = await startPanel();
    other.sim.faults.add({ action: { kind: 'hang' } });
    const waiting = outcome(other.client.list('/users'));
    await expect.poll(() => other.sim.requests.length).toBe(1);
    const began = Date.now();
    await other.close();
    expect(await waiting).toBe('PANEL_UNAVAILABLE network');
    expect(Date.now() - began).toBeLessThan(1_000);
  });
});

test('the log and the peak of requests in flight', async () => {
  sim.clearRequests();
  sim.settings.latencyMs = 60;
  await Promise.all([1, 2, 3, 4].map((page) => client.list('/users', { page, perPage: 10 })));
  sim.settings.latencyMs = 0;
  await client.clientList('');
  expect(sim.peakInFlight()).toBe(4);
  expect(sim.requests).toHaveLength(5);
  expect(sim.requests.filter((request) => request.query.includes('page=3'))).toMatchObject([
    { method: 'GET', path: '/api/application/users', status: 200, key: 'full' },
  ]);
  expect(sim.requests[4]).toMatchObject({ path: '/api/client', key: 'client' });
  sim.clearRequests();
  expect([sim.requests.length, sim.peakInFlight()]).toEqual([0, 0]);
});

describe('as its own process', () => {
  const admin = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`${sim.url}/__sim/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: z.record(z.string(), z.unknown()).parse(await response.json()) };
  };

  test('mutate, faults, dump, requests, settings, reset', async () => {
    const made = await admin('POST', 'mutate', [
      { op: 'create', entity: 'users', values: { username: 'remote', email: 'remote@lab.invalid' } },
      { op: 'update', entity: 'users', id: 3, values: { first_name: 'Ada' } },
      { op: 'delete', entity: 'subusers', id: 1 },
    ]);
    expect(made).toMatchObject({
      status: 200,
      body: { results: [{ id: 121, username: 'remote' }, { id: 3, first_name: 'Ada' }, true] },
    });
    expect((await client.get('/users/121')).item.attributes['email']).toBe('remote@lab.invalid');
    expect(
      (
        await admin('POST', 'faults', {
          match: { path: '/users$', page: 1 },
          times: 1,
          action: { kind: 'status', status: 502 },
        })
      ).status,
    ).toBe(200);
    expect(await outcome(client.list('/users'))).toBe('PANEL_UNAVAILABLE 502');
    const dump = await admin('GET', 'dump');
    expect(dump.body).toEqual(JSON.parse(JSON.stringify(sim.dump())));
    expect((await admin('GET', 'requests')).body['requests']).toHaveLength(sim.requests.length);
    await admin('POST', 'settings', { limit: 50, maintenance: { retryAfter: 5 } });
    await expect(client.list('/users')).rejects.toMatchObject({ code: 'PANEL_UNAVAILABLE', retryAfterMs: 5_000 });
    await admin('POST', 'settings', { maintenance: null });
    expect((await client.list('/users')).throttle).toEqual({ limit: 50, remaining: 49 });
    await admin('POST', 'settings', { limit: 0 });
    await admin('POST', 'reset');
    expect(sim.world.users.has(121)).toBe(false);
    expect((await client.list('/users')).pagination?.total).toBe(120);
  });

  test('nonsense is refused with a reason', async () => {
    for (const [path, body] of [
      ['mutate', { op: 'explode', entity: 'users' }],
      ['mutate', { op: 'update', entity: 'users', id: 99_999, values: {} }],
      ['mutate', { op: 'delete', entity: 'locations', id: 1 }],
      ['faults', { action: { kind: 'rain' } }],
    ] as const) {
      const answer = await admin('POST', path, body);
      expect([answer.status, typeof answer.body['error']]).toEqual([400, 'string']);
    }
    expect((await admin('POST', 'nothing')).status).toBe(404);
  });
});

function fail(): never {
  throw new Error('the generated panel lacks it');
}

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { listServers } from '../../../src/store/inventory/servers.ts';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';

type User = Awaited<ReturnType<typeof makeUser>>;
interface NewServer {
  owner?: string | null;
  uuid?: string | null;
  name?: string;
  description?: string | null;
  status?: string | null;
  isSuspended?: boolean | null;
  /** A server without an egg, a node and limits. */
  bare?: boolean;
  /** Age of the last change, minutes. */
  updated?: number;
}
interface List {
  success: boolean;
  data: Record<string, unknown>[];
  meta: Record<string, number>;
}

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
  await harness.database.db.raw(`
    insert into locations (id, "shortCode") values (1, 'fra');
    insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId") values (1, 'n-1', 'Node One', 'n1.example', 1, 1, 1);
    insert into nests (id, uuid, name) values (1, 'nest-1', 'Minecraft');
    insert into eggs (id, uuid, name, "nestId") values (1, 'egg-1', 'Paper', 1)`);
});
afterAll(() => harness.close());

async function makeServer(server: NewServer): Promise<string> {
  const id = randomUUID();
  const bare = server.bare === true;
  await harness.database.db.raw(
    `insert into servers (id, uuid, name, description, status, "isSuspended", "ownerId", "eggId", "nodeId", memory, disk, cpu, "createdAt", "updatedAt")
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '2026-01-09 10:30:00.123', (now() at time zone 'utc') - make_interval(mins => ?))`,
    [
      id,
      server.uuid === undefined ? `uuid-${id}` : server.uuid,
      server.name ?? 'a server',
      server.description ?? null,
      server.status === undefined ? 'online' : server.status,
      server.isSuspended === undefined ? false : server.isSuspended,
      server.owner ?? null,
      bare ? null : 1,
      bare ? null : 1,
      bare ? null : 4096,
      bare ? null : 10_240,
      bare ? null : 200,
      server.updated ?? 0,
    ].map((value) => value as string),
  );
  return id;
}
const share = (serverId: string, userId: string) =>
  harness.database.db.raw(`insert into server_subusers (id, "serverId", "userId") values (?, ?, ?)`, [
    randomUUID(),
    serverId,
    userId,
  ]);
let allocation = 0;
async function allocate(serverId: string, ip: string, port: number, isAssigned: boolean | null = true): Promise<void> {
  allocation += 1;
  await harness.database.db.raw(
    `insert into allocations (id, ip, port, "isAssigned", "nodeId", "serverId") values (?, ?, ?, ?, 1, ?)`,
    [allocation, ip, port, isAssigned as boolean, serverId],
  );
}
async function read<T>(user: User, path: string): Promise<T> {
  const response = await harness.get(`/api/v1/dashboard/${path}`, { headers: bearer(user.token) });
  expect(response.status).toBe(200);
  expect(response.headers.get('cache-control')).toBe('no-store');
  return (await response.json()) as unknown as T;
}
const list = (user: User, query: Record<string, string> = {}) =>
  read<List>(user, `servers?${new URLSearchParams(query)}`);
const names = async (user: User, query: Record<string, string> = {}) =>
  (await list(user, query)).data.map((server) => server['name']);

/** Number of SQL statements of a request, without the one of the authentication. */
async function statementsOf(work: () => Promise<unknown>): Promise<number> {
  let count = 0;
  const record = ({ sql }: { sql: string }): void => {
    if (!/^(begin|commit|rollback)/i.test(sql)) count += 1;
  };
  harness.database.db.on('query', record);
  try {
    await work();
  } finally {
    harness.database.db.removeListener('query', record);
  }
  return count - 1;
}

describe('totals', () => {
  test('are zero for a user without servers and tickets', async () => {
    const user = await makeUser(harness);
    expect(await read(user, 'stats')).toEqual({
      success: true,
      message: '',
      data: {
        servers: { total: 0, online: 0, offline: 0, suspended: 0 },
        recentServers: [],
        accountBalance: 0,
        openTickets: 0,
      },
    });
  });

  test('count own and shared servers once; a suspended one counts as suspended only, an unknown one as offline', async () => {
    const [user, other] = [await makeUser(harness), await makeUser(harness)];
    const owner = user.id;
    const own = await makeServer({ owner, status: 'online' });
    await share(own, user.id);
    await makeServer({ owner, status: 'RUNNING' });
    await makeServer({ owner, status: 'Offline', isSuspended: null });
    await makeServer({ owner, status: 'online', isSuspended: true });
    await makeServer({ owner, status: 'offline', isSuspended: true });
    await makeServer({ owner, status: 'suspended', isSuspended: true });
    await makeServer({ owner, status: null });
    await makeServer({ owner, status: 'starting' });
    await share(await makeServer({ owner: other.id, status: 'offline' }), user.id);
    await makeServer({ owner: other.id });
    const { data } = await read<{ data: { servers: unknown } }>(user, 'stats');
    expect(data.servers).toEqual({ total: 9, online: 2, offline: 3, suspended: 3 });
  });

  test('have the balance as a number and count the user’s own tickets that are not closed', async () => {
    const [user, other] = [await makeUser(harness), await makeUser(harness)];
    await harness.database.db.raw(`update users set "accountBalance" = 12345.67 where id = ?`, [user.id]);
    for (const [userId, status] of [
      [user.id, 'open'],
      [user.id, 'pending'],
      [user.id, 'in_progress'],
      [user.id, 'closed'],
      [other.id, 'open'],
    ] as const) {
      await harness.database.db.raw(
        `insert into support_tickets (id, "ticketNumber", "userId", title, description, status) values (?, ?, ?, 't', 'd', ?)`,
        [randomUUID(), randomUUID(), userId, status],
      );
    }
    const { data } = await read<{ data: object }>(user, 'stats');
    expect(data).toMatchObject({ accountBalance: 12345.67, openTickets: 3 });
    await harness.database.db.raw(`update users set "accountBalance" = null where id = ?`, [user.id]);
    expect((await read<{ data: object }>(user, 'stats')).data).toMatchObject({ accountBalance: 0 });
  });

  test('show the six servers with the latest changes, with the UUID of the panel as id', async () => {
    const user = await makeUser(harness);
    const owner = user.id;
    const bare = await makeServer({ owner, name: 's0', uuid: null, status: null, bare: true });
    for (let minutes = 1; minutes < 8; minutes += 1) {
      await makeServer({ owner, name: `s${minutes}`, uuid: `panel-${minutes}-${owner}`, updated: minutes });
    }
    const { data } = await read<{ data: { recentServers: Record<string, unknown>[] } }>(user, 'stats');
    expect(data.recentServers.map((server) => server['name'])).toEqual(['s0', 's1', 's2', 's3', 's4', 's5']);
    const none = { used: 0, limit: 0 };
    expect(data.recentServers[0]).toEqual({
      id: bare,
      name: 's0',
      status: '',
      game: '',
      node: '',
      resources: { memory: none, cpu: none, disk: none },
    });
    expect(data.recentServers[1]).toEqual({
      id: `panel-1-${owner}`,
      name: 's1',
      status: 'online',
      game: 'Paper',
      node: 'Node One',
      resources: {
        memory: { used: 0, limit: 4096 },
        cpu: { used: 0, limit: 200 },
        disk: { used: 0, limit: 10_240 },
      },
    });
  });
});

describe('list of servers', () => {
  test('shows all fields, of a complete server and of one without optional values', async () => {
    const user = await makeUser(harness);
    const full = await makeServer({ owner: user.id, name: 'full', description: 'mine', status: 'ONLINE', updated: 1 });
    await allocate(full, '10.0.0.1', 25_565, false);
    await allocate(full, '10.0.0.2', 25_566);
    await allocate(full, '10.0.0.3', 25_567);
    const bare = await makeServer({
      name: 'bare',
      uuid: null,
      status: null,
      isSuspended: null,
      bare: true,
      updated: 2,
    });
    await share(bare, user.id);
    const none = { used: 0, limit: 0 };
    expect(await list(user)).toEqual({
      success: true,
      data: [
        {
          id: full,
          uuid: `uuid-${full}`,
          name: 'full',
          description: 'mine',
          status: 'online',
          isSuspended: false,
          game: 'Paper',
          node: 'Node One',
          ip: '10.0.0.2',
          port: 25_566,
          owner: { id: user.id, username: user.email.split('@')[0], email: user.email },
          resources: {
            memory: { used: 0, limit: 4096 },
            cpu: { used: 0, limit: 200 },
            disk: { used: 0, limit: 10_240 },
          },
          createdAt: '2026-01-09T10:30:00.123Z',
        },
        {
          id: bare,
          uuid: '',
          name: 'bare',
          description: '',
          status: '',
          isSuspended: false,
          game: '',
          node: '',
          ip: '0.0.0.0',
          port: 0,
          owner: null,
          resources: { memory: none, cpu: none, disk: none },
          createdAt: '2026-01-09T10:30:00.123Z',
        },
      ],
      meta: { total: 2, page: 1, perPage: 12, totalPages: 1 },
    });
  });

  test('shows the primary allocation, by its alias where it has one (P-2)', async () => {
    const user = await makeUser(harness);
    const other = await makeServer({ owner: null });
    const address = async (name: string) => {
      const found = (await list(user, { search: name })).data;
      return found.map(({ ip, port }) => `${String(ip)}:${String(port)}`);
    };
    const setPrimary = (id: string, primary: number) =>
      harness.database.db.raw('update servers set "primaryAllocationId" = ? where id = ?', [primary, id]);
    const id = await makeServer({ owner: user.id, name: 'addressed' });
    await allocate(other, '10.9.0.9', 1);
    const foreign = allocation;
    await allocate(id, '10.9.0.1', 2);
    await allocate(id, '10.9.0.2', 3, null);
    const primary = allocation;
    await allocate(id, '10.9.0.3', 4);
    expect(await address('addressed')).toEqual(['10.9.0.1:2']);
    await setPrimary(id, primary);
    expect(await address('addressed')).toEqual(['10.9.0.2:3']);
    const setAlias = (alias: string) =>
      harness.database.db.raw('update allocations set alias = ? where id in (?, ?)', [alias, primary, primary - 1]);
    await setAlias('play.example.net');
    expect(await address('addressed')).toEqual(['play.example.net:3']);
    await setAlias(' ');
    expect(await address('addressed')).toEqual(['10.9.0.2:3']);
    await setAlias('play.example.net');
    for (const wrong of [foreign, 999_999]) {
      await setPrimary(id, wrong);
      expect(await address('addressed')).toEqual(['10.9.0.1:2']);
    }
  });

  test('an owner without a username has an empty one', async () => {
    const user = await makeUser(harness);
    await harness.database.db.raw('update users set username = null where id = ?', [user.id]);
    await makeServer({ owner: user.id });
    const { data } = await list(user);
    expect(data[0]?.['owner']).toEqual({ id: user.id, username: '', email: user.email });
  });

  test('is divided into pages; invalid page parameters get their defaults', async () => {
    const user = await makeUser(harness);
    for (let n = 0; n < 14; n += 1) await makeServer({ owner: user.id, name: `s${n}`, updated: n });
    const page = async (query: Record<string, string>) => {
      const { data, meta } = await list(user, query);
      return [data.length, data[0]?.['name'], meta];
    };
    const meta = { total: 14, page: 1, perPage: 12, totalPages: 2 };
    expect(await page({})).toEqual([12, 's0', meta]);
    expect(await page({ page: '2' })).toEqual([2, 's12', { ...meta, page: 2 }]);
    expect(await page({ page: '0', per_page: '0' })).toEqual([12, 's0', meta]);
    expect(await page({ page: '-3', per_page: '51' })).toEqual([12, 's0', meta]);
    expect(await page({ page: 'x', per_page: 'x', staleTime: '1' })).toEqual([12, 's0', meta]);
    expect(await page({ page: '2', per_page: '5' })).toEqual([
      5,
      's5',
      { total: 14, page: 2, perPage: 5, totalPages: 3 },
    ]);
    expect(await page({ per_page: '50' })).toEqual([14, 's0', { ...meta, perPage: 50, totalPages: 1 }]);
    expect(await page({ page: '9'.repeat(30) })).toEqual([0, undefined, { ...meta, page: 2_147_483_647 }]);
  });

  test('a user sees own servers only; an administrator sees all with view_all', async () => {
    const [user, admin] = [await makeUser(harness), await makeUser(harness, { roles: ['ADMINISTRATOR'] })];
    await makeServer({ owner: user.id, name: `of-${user.id}` });
    expect(await names(user, { view_all: 'true' })).toEqual([`of-${user.id}`]);
    expect(await names(admin)).toEqual([]);
    expect(await names(admin, { view_all: 'false' })).toEqual([]);
    expect(await names(admin, { view_all: 'true', search: `of-${user.id}` })).toEqual([`of-${user.id}`]);
    expect(await names(await makeUser(harness), { search: `of-${user.id}`, view_all: 'true' })).toEqual([]);
  });

  test('filters by status, in any case; an unknown status is ignored', async () => {
    const user = await makeUser(harness);
    const owner = user.id;
    for (const status of ['online', 'RUNNING', 'offline', 'starting', 'stopping', 'Installing']) {
      await makeServer({ owner, name: status, status });
    }
    await makeServer({ owner, name: 'locked', status: 'online', isSuspended: true });
    await makeServer({ owner, name: 'unknown', status: null });
    const found = async (status: string) => (await names(user, { status })).sort();
    expect(await found('running')).toEqual(['RUNNING', 'online']);
    expect(await found('Online')).toEqual(['RUNNING', 'online']);
    expect(await found('offline')).toEqual(['offline', 'unknown']);
    expect(await found('STARTING')).toEqual(['starting']);
    expect(await found('stopping')).toEqual(['stopping']);
    expect(await found('installing')).toEqual(['Installing']);
    expect(await found('suspended')).toEqual(['locked']);
    for (const status of ['all', '', 'constructor', "' or true --"]) expect(await found(status)).toHaveLength(8);
  });

  test('filter, counts and rows agree on what the site shows as offline, and follow the live state (W6)', async () => {
    const user = await makeUser(harness);
    const owner = user.id;
    const live = async (
      name: string,
      status: string | null,
      state: string | null,
      age: number,
      rest: NewServer = {},
    ) => {
      const id = await makeServer({ owner, name, status, ...rest });
      await harness.database.db.raw(
        `insert into server_usage (server_id, state, read_at) values (?, ?, now() - make_interval(secs => ?))`,
        [id, state as string, age],
      );
    };
    for (const status of ['install_failed', 'REINSTALL_FAILED', 'restoring_backup', 'transferring']) {
      await live(status, status, 'running', 1);
    }
    await live('runs', 'online', 'running', 1);
    await live('stands', 'online', 'offline', 1);
    await live('begins', null, 'starting', 1);
    await live('ends', 'offline', 'stopping', 1);
    await live('long ago', 'online', 'offline', 600);
    await live('no word', 'online', null, 1);
    await live('locked', 'suspended', 'running', 1, { isSuspended: true });
    await live('locked too', 'online', 'running', 1, { isSuspended: true });
    const shown = Object.fromEntries((await list(user)).data.map(({ name, status }) => [name, status]));
    expect(shown).toEqual({
      install_failed: 'install_failed',
      REINSTALL_FAILED: 'reinstall_failed',
      restoring_backup: 'restoring_backup',
      transferring: 'transferring',
      runs: 'online',
      stands: 'offline',
      begins: 'starting',
      ends: 'stopping',
      'long ago': 'online',
      'no word': 'online',
      locked: 'suspended',
      'locked too': 'suspended',
    });
    const found = async (status: string) => (await names(user, { status })).sort();
    expect(await found('offline')).toEqual([
      'REINSTALL_FAILED',
      'install_failed',
      'restoring_backup',
      'stands',
      'transferring',
    ]);
    expect(await found('running')).toEqual(['long ago', 'no word', 'runs']);
    expect(await found('starting')).toEqual(['begins']);
    expect(await found('stopping')).toEqual(['ends']);
    expect(await found('suspended')).toEqual(['locked', 'locked too']);
    const { data } = await read<{ data: { servers: unknown } }>(user, 'stats');
    expect(data.servers).toEqual({ total: 12, online: 3, offline: 5, suspended: 2 });
  });

  test('searches name and description; wildcards, quotes and backslashes are ordinary characters', async () => {
    const user = await makeUser(harness);
    const owner = user.id;
    await makeServer({ owner, name: '100% pure' });
    await makeServer({ owner, name: 'snake_case' });
    await makeServer({ owner, name: 'back\\slash' });
    await makeServer({ owner, name: "it's", description: 'The QUICK fox' });
    expect(await names(user, { search: '%' })).toEqual(['100% pure']);
    expect(await names(user, { search: '_' })).toEqual(['snake_case']);
    expect(await names(user, { search: '\\' })).toEqual(['back\\slash']);
    expect(await names(user, { search: "'" })).toEqual(["it's"]);
    expect(await names(user, { search: ' quick ' })).toEqual(["it's"]);
    expect(await names(user, { search: '?' })).toEqual([]);
    expect(await names(user, { search: "'; drop table servers; --" })).toEqual([]);
    expect(await names(user, { search: ' ' })).toHaveLength(4);
    expect(await names(user, { search: 'x'.repeat(5000) })).toEqual([]);
    const nul = await harness.get('/api/v1/dashboard/servers?search=%00', { headers: bearer(user.token) });
    expect(nul.status).toBe(400);
  });

  test('takes two statements for any number of servers', async () => {
    const user = await makeUser(harness);
    for (let n = 0; n < 12; n += 1) await makeServer({ owner: user.id });
    expect(await statementsOf(() => list(user, { search: 'server', status: 'online' }))).toBe(2);
    expect(await statementsOf(() => read(user, 'stats'))).toBe(2);
  });
});

test('with 5,000 servers a page reads only the rows that it shows', async () => {
  const { db } = harness.database;
  const user = await makeUser(harness);
  await db.raw(`insert into servers (id, uuid, name, status, "ownerId", "eggId", "nodeId", "updatedAt")
    select 'many-' || n, 'many-' || n, 'server ' || n, 'online', null, 1, 1, now() at time zone 'utc' from generate_series(1, 5000) n`);
  await db.raw(`insert into allocations (id, ip, port, "isAssigned", "nodeId", "serverId")
    select 100000 + n, '10.1.0.1', n, true, 1, 'many-' || n from generate_series(1, 5000) n`);
  await db.raw(`update servers set "ownerId" = ? where id in ('many-1', 'many-2')`, [user.id]);
  await db.raw('analyze servers; analyze allocations');
  let statement: { sql: string; bindings: unknown[] } | undefined;
  const record = (query: { sql: string; bindings: unknown[] }): void => {
    statement = query;
  };
  interface Node {
    'Node Type': string;
    'Relation Name'?: string;
    'Actual Loops': number;
    'Actual Rows': number;
    Plans?: Node[];
  }
  const nodesOf = (node: Node): Node[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];
  const planOf = async (filter: Parameters<typeof listServers>[1]): Promise<Node[]> => {
    db.on('query', record);
    await listServers(db, filter);
    db.removeListener('query', record);
    const sql = statement?.sql.replace(/\$\d+/g, '?') ?? '';
    const [row] = await query<{ 'QUERY PLAN': { Plan: Node }[] }>(
      db,
      `explain (analyze, format json) ${sql}`,
      statement?.bindings ?? [],
    );
    return nodesOf(row?.['QUERY PLAN'][0]?.Plan as Node);
  };
  const own = await planOf({ userId: user.id, limit: 12, offset: 0 });
  expect(own.filter((n) => n['Relation Name'] === 'servers' && n['Node Type'] === 'Seq Scan')).toEqual([]);
  const all = await planOf({ limit: 12, offset: 0 });
  for (const node of all.filter((n) => n['Relation Name'] === 'allocations')) {
    expect(node['Actual Loops'] * node['Actual Rows']).toBeLessThan(100);
  }
});

import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { bearer, type Harness, json, makeUser, startHarness } from '../../support/api/harness.ts';
import { expectWholePages, insertBare, readList } from '../../support/api/lists.ts';

type Row = Record<string, unknown> & { id: number };
let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
  await harness.database.db.raw(INVENTORY);
  for (const [table, row] of Object.entries(BARE_ROWS)) await insertBare(harness.database, table, row);
});
afterAll(() => harness.close());

/** Node names are in another order than their ids; addresses repeat on several nodes. */
const INVENTORY = `
  insert into locations (id, "shortCode", description) values (1, 'lon', 'London'), (2, 'fra', 'Frankfurt');
  insert into nodes (id, uuid, name, description, fqdn, scheme, "behindProxy", "isPublic", "isMaintenanceMode", memory,
                     "memoryOverallocate", disk, "diskOverallocate", "daemonListenPort", "daemonSftpPort", "locationId",
                     "createdAt", "updatedAt")
    values (1, 'uuid-n1', 'Zeta', 'First node', 'zeta.example', 'http', true, false, true, 4000000000, 10, 9000000000, -1,
            8443, 2122, 1, '2026-01-09 10:30:00', '2026-02-09 10:30:00.5'),
           (2, 'uuid-n2', 'Alpha', null, '100%_alpha.example', 'https', false, true, false, 1, 0, 2, 0, 8080, 2022, 1,
            '2026-01-09 10:30:00', '2026-01-09 10:30:00'),
           (3, 'uuid-n3', 'Alpha', null, 'second.example', 'https', false, true, false, 1, 0, 2, 0, 8080, 2022, 1,
            '2026-01-09 10:30:00', '2026-01-09 10:30:00');
  insert into nests (id, uuid, name, description, author, "createdAt", "updatedAt")
    values (1, 'uuid-ne1', 'Voice', 'Voice servers', 'v@example.com', '2026-01-09 10:30:00', '2026-01-09 10:30:00'),
           (2, 'uuid-ne2', 'Minecraft', null, null, '2026-01-09 10:30:00', '2026-01-09 10:30:00');
  insert into eggs (id, uuid, name, description, author, "nestId", "createdAt", "updatedAt")
    select n, 'uuid-e' || n, 'Egg ' || n % 3, case when n = 4 then 'Runs 100%' end, 'e@example.com', 1 + n % 2,
           '2026-01-09 10:30:00', '2026-01-09 10:30:00' from generate_series(7, 1, -1) n;
  insert into servers (id, "pterodactylId", uuid, name, "eggId", "nestId", "nodeId") values
    ('s1', 11, 'uuid-s1', 'Lobby', 4, 1, 1), ('s2', 12, 'uuid-s2', 'World', 4, null, 1), ('s3', null, null, 'Shop', null, 1, null);
  insert into allocations (id, ip, port, alias, "isAssigned", "nodeId", "serverId")
    select 100 - n, '10.0.0.' || n % 3, 25565 + n, case when n = 5 then 'play.example_x' end, n % 4 = 0, 1 + n % 2,
           case when n = 8 then 's1' when n = 0 then 's3' end from generate_series(0, 22) n;
  insert into allocations (id, ip, port, "isAssigned", "nodeId", "serverId") values
    (500, '10.0.0.9', 30000, false, 1, null), (501, '10.0.0.9', 30000, null, 3, 's2');`;

/** One row per table that has nothing but what it must have. */
const BARE_ROWS: Record<string, Record<string, unknown>> = {
  locations: { id: 9, shortCode: 'zzz' },
  nodes: { id: 9, uuid: 'bare', name: 'bare', fqdn: 'bare', memory: 1, disk: 1, locationId: 9 },
  nests: { id: 9, uuid: 'bare', name: 'bare' },
  eggs: { id: 9, uuid: 'bare', name: 'bare', nestId: 9 },
  allocations: { id: 9, ip: '9.9.9.9', port: 9, nodeId: 9 },
};

const send = (path: string, init: RequestInit = {}) =>
  harness.get(`/api/admin/${path}`, { ...init, headers: { ...init.headers, ...bearer(admin.token) } });

const list = (path: string) => readList<Row>(harness, admin.token, path);
const ids = async (path: string) => (await list(path)).rows.map((row) => row.id);

/** Status and text of a refusal. */
async function refusal(path: string, init?: RequestInit): Promise<[number, string, string]> {
  const response = await send(path, init);
  const { error, code } = await response.json();
  return [response.status, error, code];
}

const CREATED = '2026-01-09T10:30:00.000Z';

describe('fields', () => {
  test('of a node, a location, a nest, an egg', async () => {
    expect((await list('nodes?search=zeta')).rows).toEqual([
      {
        id: 1,
        uuid: 'uuid-n1',
        name: 'Zeta',
        description: 'First node',
        fqdn: 'zeta.example',
        scheme: 'http',
        behindProxy: true,
        isPublic: false,
        isMaintenanceMode: true,
        memory: 4_000_000_000,
        memoryOverallocate: 10,
        disk: 9_000_000_000,
        diskOverallocate: -1,
        daemonListenPort: 8443,
        daemonSftpPort: 2122,
        locationId: 1,
        locationCode: 'lon',
        serverCount: 2,
        allocationCount: 13,
        createdAt: CREATED,
        updatedAt: '2026-02-09T10:30:00.500Z',
      },
    ]);
    expect(await (await send('locations')).json()).toEqual({
      success: true,
      locations: [
        { id: 2, shortCode: 'fra', description: 'Frankfurt', nodeCount: 0 },
        { id: 1, shortCode: 'lon', description: 'London', nodeCount: 3 },
        { id: 9, shortCode: 'zzz', description: '', nodeCount: 1 },
      ],
    });
    const times = { createdAt: CREATED, updatedAt: CREATED };
    // A server counts for the nest of its egg, without an egg for its own.
    const [voice] = (await list('nests?search=voice')).rows;
    const texts = { name: 'Voice', description: 'Voice servers', author: 'v@example.com' };
    expect(voice).toEqual({ id: 1, uuid: 'uuid-ne1', ...texts, eggCount: 3, serverCount: 3, ...times });
    expect((await list('eggs?search=100%')).rows).toEqual([
      {
        id: 4,
        uuid: 'uuid-e4',
        name: 'Egg 1',
        description: 'Runs 100%',
        author: 'e@example.com',
        nestId: 1,
        nestName: 'Voice',
        serverCount: 2,
        ...times,
      },
    ]);
  });

  test('of an allocation, among all and of one node', async () => {
    const common = { id: 92, ip: '10.0.0.2', port: 25573, alias: '', isAssigned: true };
    const server = { serverPterodactylId: 11, serverName: 'Lobby' };
    const node = { nodeId: 1, nodeName: 'Zeta', nodeFqdn: 'zeta.example', serverId: 's1' };
    expect((await list('allocations?search=25573')).rows).toEqual([{ ...common, ...node, ...server }]);
    const ofNode = (await list('nodes/1/allocations?assigned=yes')).rows;
    expect(ofNode.find((row) => row.id === 92)).toEqual({ ...common, ...server });
    // A server that no panel knows has no number there.
    const shop = (await list('allocations?search=25565')).rows[0];
    expect(shop).toMatchObject({ id: 100, serverId: 's3', serverPterodactylId: null, serverName: 'Shop' });
  });

  test('of rows in which everything that may be null is null', async () => {
    const nothing = { uuid: 'bare', name: 'bare', description: '' };
    expect((await list('nodes?search=bare')).rows).toEqual([
      {
        ...{ id: 9, ...nothing, fqdn: 'bare', scheme: 'https', behindProxy: false, isPublic: true },
        ...{ isMaintenanceMode: false, memory: 1, memoryOverallocate: 0, disk: 1, diskOverallocate: 0 },
        ...{ daemonListenPort: 8080, daemonSftpPort: 2022, locationId: 9, locationCode: 'zzz' },
        ...{ serverCount: 0, allocationCount: 1, createdAt: expect.any(String), updatedAt: expect.any(String) },
      },
    ]);
    const author = { author: '', createdAt: expect.any(String), updatedAt: expect.any(String) };
    const nest = { id: 9, ...nothing, ...author, eggCount: 1, serverCount: 0 };
    expect((await list('nests?search=bare')).rows).toEqual([nest]);
    const egg = { id: 9, ...nothing, ...author, nestId: 9, nestName: 'bare', serverCount: 0 };
    expect((await list('eggs?search=bare')).rows).toEqual([egg]);
    const allocation = { id: 9, ip: '9.9.9.9', port: 9, alias: '', isAssigned: false };
    const server = { serverId: null, serverPterodactylId: null, serverName: null };
    const node = { nodeId: 9, nodeName: 'bare', nodeFqdn: 'bare' };
    expect((await list('allocations?search=9.9.9')).rows).toEqual([{ ...allocation, ...node, ...server }]);
  });
});

describe('order and pages', () => {
  test.each([
    'nodes?',
    'nests?',
    'eggs?',
    'eggs?nestId=2',
    'allocations?',
    'allocations?assigned=yes',
    'allocations?assigned=no',
    'allocations?search=10.0',
    'allocations?nodeId=1',
    'allocations?nodeId=2&assigned=no&search=10.0',
    'nodes/1/allocations?',
    'nodes/2/allocations?assigned=no',
  ])('the pages of %s are the whole list, in order and without repetition', async (path) => {
    await expectWholePages(list, path);
  });

  test('by node, address and port; by nest and name; by name; ids decide between equals', async () => {
    const key = (row: Row): unknown[] => [row['nodeName'], row['nodeId'], row['ip'], row['port']];
    for (const search of ['', '&search=10.0']) {
      const { rows } = await list(`allocations?pageSize=200${search}`);
      expect(rows.map(key)).toEqual(rows.map(key).sort(byParts));
    }
    expect(await ids('nodes')).toEqual([2, 3, 1, 9]);
    expect(await ids('nests')).toEqual([2, 1, 9]);
    expect(await ids('eggs')).toEqual([3, 1, 7, 5, 6, 4, 2, 9]);
  });

  test('the totals are those of the filter, and an empty list has 0 pages', async () => {
    expect((await list('allocations?search=nothing')).pagination).toEqual({
      page: 1,
      pageSize: 50,
      total: 0,
      totalPages: 0,
    });
  });
});

function byParts(a: unknown[], b: unknown[]): number {
  for (const [index, left] of a.entries()) {
    const right = b[index];
    if (left === right) continue;
    return (left as string) < (right as string) ? -1 : 1;
  }
  return 0;
}

describe('query', () => {
  test('a page size above the maximum is the maximum; nonsense is the default; unknown keys are ignored', async () => {
    const pageSize = async (path: string) => (await list(path)).pagination.pageSize;
    for (const [name, fallback] of [
      ['nodes', 25],
      ['nests', 25],
      ['eggs', 25],
      ['allocations', 50],
      ['nodes/1/allocations', 50],
    ] as const) {
      expect(await pageSize(`${name}?staleTime=300000&gcTime=1`)).toBe(fallback);
      for (const size of ['0', '-1', 'x', '']) expect(await pageSize(`${name}?pageSize=${size}`)).toBe(fallback);
      for (const size of ['200', '201', '1e9', '9'.repeat(30)]) {
        expect(await pageSize(`${name}?pageSize=${size}`)).toBe(size === '1e9' ? 1 : 200);
      }
      expect((await list(`${name}?page=${'9'.repeat(30)}`)).rows).toEqual([]);
      expect((await list(`${name}?page=0`)).pagination.page).toBe(1);
    }
  });

  test('nodes by maintenance, in both spellings (W9)', async () => {
    for (const word of ['true', 'yes', 'TRUE']) expect(await ids(`nodes?maintenance=${word}`)).toEqual([1]);
    for (const word of ['false', 'no']) expect(await ids(`nodes?maintenance=${word}`)).toEqual([2, 3, 9]);
    for (const word of ['all', '', 'x']) expect(await ids(`nodes?maintenance=${word}`)).toHaveLength(4);
  });

  test('allocations by assignment and node; without a flag the server decides', async () => {
    const total = async (path: string) => (await list(path)).pagination.total;
    expect(await total('allocations?assigned=yes')).toBe(7);
    expect(await total('allocations?assigned=no')).toBe(19);
    expect(await total('allocations?assigned=all')).toBe(26);
    expect(await total('allocations?nodeId=')).toBe(26);
    expect(await ids('allocations?nodeId=9&assigned=no')).toEqual([9]);
    expect(await total('allocations?nodeId=77')).toBe(0);
  });

  test('search takes %, _ and quotes as they are', async () => {
    expect(await ids('allocations?search=example_x')).toEqual([95]);
    expect(await ids('allocations?search=PLAY.')).toEqual([95]);
    expect(await ids('nodes?search=100%25_')).toEqual([2]);
    for (const name of ['nodes', 'nests', 'eggs', 'allocations']) {
      for (const text of ['_', '%25%25', "'; drop table nodes; --", '\\', '?']) {
        const found = await ids(`${name}?search=${text}`);
        const expected = text === '_' ? { nodes: [2], allocations: [95] }[name] : undefined;
        expect(found, `${name} ${text}`).toEqual(expected ?? []);
      }
    }
  });

  test('an id that is no number is refused; an unknown node is not found', async () => {
    const node = [400, 'Invalid node id', 'BAD_REQUEST'];
    const toggle = json({});
    for (const id of ['x', '1x', '1.5', '-1', '2147483648', '9'.repeat(30), '%20']) {
      expect(await refusal(`nodes/${id}/allocations`)).toEqual(node);
      expect(await refusal(`nodes/${id}/maintenance`, toggle)).toEqual(node);
      expect(await refusal(`allocations?nodeId=${id}`)).toEqual(node);
      expect(await refusal(`eggs?nestId=${id}`)).toEqual([400, 'Invalid nest id', 'BAD_REQUEST']);
    }
    for (const id of ['77', '2147483647']) {
      expect(await refusal(`nodes/${id}/allocations`)).toEqual([404, 'Node not found', 'NOT_FOUND']);
      expect(await refusal(`nodes/${id}/maintenance`, toggle)).toEqual([404, 'Node not found', 'NOT_FOUND']);
    }
    // A node without such allocations is there.
    expect(await ids('nodes/3/allocations?assigned=no')).toEqual([]);
  });
});

test('a list takes two statements for any number of rows, and one while its total is known', async () => {
  const statements: string[] = [];
  const record = ({ sql }: { sql: string }): void => void statements.push(sql);
  harness.database.db.on('query', record);
  for (const name of ['nodes', 'nests', 'eggs', 'allocations', 'nodes/1/allocations']) {
    statements.length = 0;
    await send(`${name}?pageSize=3&search=10.0.0.1&assigned=yes&maintenance=no`);
    expect(statements.length - 1, name).toBeLessThanOrEqual(2);
    await send(`${name}?pageSize=4&search=10.0.0.1&assigned=yes&maintenance=no`);
    expect(statements.length - 2, name).toBeLessThanOrEqual(3);
  }
  harness.database.db.removeListener('query', record);
});

test('rows are never a second old: those of a new node and of a node in the middle are there at once', async () => {
  // The second for which totals are kept does not pass meanwhile, however slow the machine is.
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const path = 'allocations?pageSize=5';
  const [first, third, fourth] = [await ids(path), await ids(`${path}&page=3`), await ids(`${path}&page=4`)];
  await harness.database.db.raw(`
    insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId") values (50, 'uuid-n50', 'AAA', 'x', 1, 1, 1);
    insert into allocations (id, ip, port, "nodeId") values (600, '10.0.0.1', 1, 50), (601, '0.0.0.0', 1, 1)`);
  expect(await ids(path)).toEqual([600, ...first.slice(0, 4)]);
  expect(await ids('allocations?nodeId=50')).toEqual([600]);
  // The fourth page lies within node 1; the numbers of the nodes before it may be a second old, its rows may not.
  expect(await ids(`${path}&page=4`)).toEqual([third[4], ...fourth.slice(0, 4)]);
  expect(await ids('allocations?nodeId=1&pageSize=1')).toEqual([601]);
  // A node that is gone is not where a page begins.
  await harness.database.db.raw('delete from nodes where id = 1');
  expect(await ids(`${path}&page=4`)).toEqual([]);
});

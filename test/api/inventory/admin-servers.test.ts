import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import { expectWholePages, insertBare, readList } from '../../support/api/lists.ts';

type Server = Record<string, unknown> & { id: string; name: string; status: string };

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
  await harness.database.db.raw(SERVERS);
  await insertBare(harness.database, 'users', { id: 'u9', email: 'bare@example.com' });
  await insertBare(harness.database, 'servers', { id: 'bare', name: 'bare' });
  await insertBare(harness.database, 'servers', { id: 'linked', name: 'linked', ownerId: 'u9', nodeId: 9, eggId: 9 });
  const address = { ip: '10.0.0.1', nodeId: 1, serverId: 'linked' };
  await harness.database.db('allocations').insert({ id: 13, port: 25_567, alias: ' ', isAssigned: true, ...address });
  await insertBare(harness.database, 'allocations', { id: 14, port: 25_568, ...address });
});
afterAll(() => harness.close());

/** What the mirror and the nodes say of the servers `status-…`, and which filter finds them. */
const STATUSES: [stored: string | null, suspended: boolean | null, live: string | null, shown: string][] = [
  ['online', false, null, 'online'],
  ['RUNNING', null, null, 'online'],
  ['online', false, 'offline', 'offline'],
  ['offline', false, null, 'offline'],
  ['offline', false, 'running', 'online'],
  ['starting', false, null, 'starting'],
  ['stopping', false, null, 'stopping'],
  ['Installing', false, null, 'installing'],
  ['install_failed', false, null, 'offline'],
  ['restoring_backup', false, 'running', 'offline'],
  ['reinstall_failed', false, null, 'offline'],
  ['error', false, null, 'offline'],
  ['unheard_of', false, null, 'offline'],
  ['', false, null, 'offline'],
  [null, null, null, 'offline'],
  ['online', true, 'running', 'suspended'],
  ['suspended', true, null, 'suspended'],
];
const text = (value: unknown) => (value === null ? 'null' : `'${String(value)}'`);

const SERVERS = `
  insert into users (id, email, username) values ('u1', 'ann@example.com', 'ann');
  insert into locations (id, "shortCode") values (1, 'fra');
  insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId") values
    (1, 'n-1', 'One', 'n1.example', 1, 1, 1), (9, 'n-9', 'bare', 'bare', 1, 1, 1);
  insert into nests (id, uuid, name) values (1, 'nest-1', 'Minecraft');
  insert into eggs (id, uuid, name, "nestId") values (1, 'egg-1', 'Paper', 1), (9, 'egg-9', 'bare', 1);
  insert into servers (id, "serverType", "pterodactylId", uuid, name, description, status, "isSuspended", "panelType",
                       "eggId", "ownerId", "nodeId", memory, disk, cpu, "primaryAllocationId", "createdAt", "updatedAt") values
    ('full', 'vps', 7, 'uuid-full', 'Full 100%', 'The QUICK fox', 'Online', false, 'pterodactyl', 1, 'u1', 1, 4096, 10240, 200, 12,
     '2026-03-01 10:00:00.5', '2026-03-02 10:00:00');
  insert into allocations (id, ip, port, alias, "isAssigned", "nodeId", "serverId") values
    (11, '10.0.0.1', 25565, 'extra.example', true, 1, 'full'), (12, '10.0.0.1', 25566, 'play.example', true, 1, 'full');
  insert into servers (id, name, description, "serverType", status, "createdAt")
    select 's' || n, 'Same ' || n % 3, case when n = 4 then 'with_underscore' end,
           case when n % 5 = 0 then 'email' when n = 1 then 'Own kind' else 'game_server' end, 'online',
           timestamp '2026-01-01' + n % 4 * interval '1 day' from generate_series(0, 20) n;
  insert into servers (id, name, status, "isSuspended", "serverType") values
    ${STATUSES.map(([status, suspended], n) => `('status-${n}', 'State ${n}', ${text(status)}, ${String(suspended)}, 'state')`).join()};
  insert into server_usage (server_id, memory_mb, disk_mb, cpu_percent, read_at) values ('full', 512, 0, 12.5, now());
  insert into server_usage (server_id, state, read_at) values
    ${STATUSES.flatMap(([, , live], n) => (live === null ? [] : [`('status-${n}', '${live}', now())`])).join()};`;

const list = (path: string) => readList<Server>(harness, admin.token, `servers?${path}`);
const names = async (path: string) => (await list(path)).rows.map((server) => server.name);
const nothing = {
  ...{ serverType: 'game_server', pterodactylId: 0, uuid: '', description: '', status: '', isSuspended: false },
  ...{ panelType: '', owner: null, node: null, egg: null, allocation: null, memory: 0, disk: 0, cpu: 0 },
  usage: { memory: null, disk: null, cpu: null },
  ...{ createdAt: expect.any(String), updatedAt: expect.any(String) },
};

describe('a server', () => {
  test('has its owner, node, egg, and its primary allocation with the alias (P-2)', async () => {
    expect((await list('serverType=vps')).rows).toEqual([
      {
        id: 'full',
        serverType: 'vps',
        pterodactylId: 7,
        uuid: 'uuid-full',
        name: 'Full 100%',
        description: 'The QUICK fox',
        status: 'online',
        isSuspended: false,
        panelType: 'pterodactyl',
        owner: { id: 'u1', email: 'ann@example.com', username: 'ann' },
        node: { id: 1, name: 'One', fqdn: 'n1.example' },
        egg: { id: 1, name: 'Paper', nest: 'Minecraft' },
        allocation: { ip: '10.0.0.1', port: 25_566, alias: 'play.example' },
        memory: 4096,
        disk: 10_240,
        cpu: 200,
        usage: { memory: 512, disk: 0, cpu: 12.5 },
        createdAt: '2026-03-01T10:00:00.500Z',
        updatedAt: '2026-03-02T10:00:00.000Z',
      },
    ]);
  });

  test('is listed when everything is null that may be, and so is what it belongs to', async () => {
    expect((await list('search=bare')).rows).toEqual([{ ...nothing, id: 'bare', name: 'bare' }]);
    expect((await list('search=linked')).rows).toEqual([
      {
        ...nothing,
        id: 'linked',
        name: 'linked',
        owner: { id: 'u9', email: 'bare@example.com', username: '' },
        node: { id: 9, name: 'bare', fqdn: 'bare' },
        egg: { id: 9, name: 'bare', nest: 'Minecraft' },
        allocation: { ip: '10.0.0.1', port: 25_567, alias: '' },
      },
    ]);
  });
});

describe('the status filter', () => {
  const found = async (status: string) => (await names(`serverType=state&pageSize=100&status=${status}`)).sort();
  const expected = (shown: string) => STATUSES.flatMap((row, n) => (row[3] === shown ? [`State ${n}`] : [])).sort();

  test.each(['online', 'offline', 'starting', 'stopping', 'installing', 'suspended'])(
    'finds exactly what the admin page shows as %s (W6)',
    async (status) => {
      expect(expected(status)).not.toEqual([]);
      expect(await found(status)).toEqual(expected(status));
      expect(await found(status.toUpperCase())).toEqual(expected(status));
    },
  );

  test("knows the site's word `running`; other words do not filter", async () => {
    expect(await found('running')).toEqual(expected('online'));
    for (const word of ['all', '', 'x', "'"]) expect(await found(word)).toHaveLength(STATUSES.length);
  });

  test('agrees with the status of the rows, which is never null and in lower case', async () => {
    const { rows } = await list('serverType=state&pageSize=100');
    for (const { name, status } of rows) {
      const shown = STATUSES[Number(name.slice('State '.length))]?.[3];
      const labels = ['online', 'starting', 'stopping', 'installing', 'suspended'];
      expect(labels.includes(status) ? status : 'offline', name).toBe(shown);
      expect(status).toBe(status.toLowerCase());
    }
  });
});

describe('query', () => {
  test('search takes %, _ and quotes as they are, in name and description', async () => {
    expect(await names('search=100%25')).toEqual(['Full 100%']);
    expect(await names('search=quick')).toEqual(['Full 100%']);
    expect(await names('search=_')).toEqual(['Same 1']);
    for (const search of ['%25%25', '\\', '?', "'; drop table servers; --"])
      expect(await names(`search=${search}`)).toEqual([]);
  });

  test('the type is taken literally', async () => {
    expect((await list('serverType=email')).pagination.total).toBe(5);
    expect(await names('serverType=Own%20kind')).toEqual(['Same 1']);
    expect(await names('serverType=own%20kind')).toEqual([]);
    const all = 24 + STATUSES.length;
    for (const word of ['', 'all']) expect((await list(`serverType=${word}`)).pagination.total).toBe(all);
  });

  test('a page size is clamped, nonsense is the default, unknown keys are ignored', async () => {
    const pageSize = async (path: string) => (await list(path)).pagination.pageSize;
    expect(await pageSize('staleTime=1&gcTime=2')).toBe(25);
    for (const size of ['0', '-5', 'x', '']) expect(await pageSize(`pageSize=${size}`)).toBe(25);
    for (const size of ['100', '101', '9'.repeat(30)]) expect(await pageSize(`pageSize=${size}`)).toBe(100);
    expect((await list(`page=${'9'.repeat(30)}`)).rows).toEqual([]);
  });

  test('newest first by default; each sort in both orders; ids decide between equals', async () => {
    const keys: Record<string, string> = { created: 'createdAt', name: 'name', status: 'status' };
    for (const [sort, field] of Object.entries(keys)) {
      const { rows } = await list(`sort=${sort}&order=asc&pageSize=100`);
      const sorted = rows.toSorted((a, b) => compare(a[field], b[field]) || compare(a.id, b.id));
      expect(rows.map((row) => row.id)).toEqual(sorted.map((row) => row.id));
      for (const order of ['desc', 'DESC', 'x']) {
        const reversed = await list(`sort=${sort}&order=${order}&pageSize=100`);
        expect(reversed.rows.map((row) => row.id)).toEqual(sorted.map((row) => row.id).reverse());
      }
    }
    const newest = await names('pageSize=100');
    for (const query of ['sort=created', 'sort=createdAt', 'sort=x', 'sort=']) {
      expect(await names(`${query}&pageSize=100`)).toEqual(newest);
    }
  });

  test.each([
    'sort=created',
    'sort=name&order=asc',
    'sort=status&order=asc',
    'sort=status&status=offline',
    'status=online&search=same',
    'serverType=email&sort=name',
  ])('the pages of %s are the whole list, in order and without repetition', async (path) => {
    await expectWholePages(list, path);
  });

  test('a page takes two statements, whatever it filters and sorts by', async () => {
    let count = 0;
    const record = (): void => {
      count += 1;
    };
    harness.database.db.on('query', record);
    await harness.get('/api/admin/servers?status=offline&sort=status&search=a&pageSize=50', {
      headers: bearer(admin.token),
    });
    harness.database.db.removeListener('query', record);
    // The first is that of the authentication.
    expect(count).toBe(3);
  });
});

function compare(a: unknown, b: unknown): number {
  if (a === b) return 0;
  return String(a) < String(b) ? -1 : 1;
}

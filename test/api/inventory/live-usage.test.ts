import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { type PanelSimulator, startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { createLiveUsage, type LiveUsage } from '../../../src/services/inventory/live-usage.ts';
import type { RuntimeSettings } from '../../../src/services/settings/runtime-settings.ts';
import { query } from '../../../src/store/db/query.ts';
import { listServers } from '../../../src/store/inventory/servers.ts';
import { claimReads, purgeUsage } from '../../../src/store/inventory/usage-store.ts';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';

const SERVERS = 24;
const NODES = 4;
/** A page waits so long for what it needs, so that a slow machine shows the same. */
const PATIENT = 20_000;

let sim: PanelSimulator;
let harness: Harness;
/** Another copy of the api on the same database. */
let copy: Harness;
let user: Awaited<ReturnType<typeof makeUser>>;
/** Other copies, without HTTP. */
const copies: LiveUsage[] = [];

beforeAll(async () => {
  sim = await startPanelSimulator({ servers: SERVERS, nodes: NODES, users: 10, databases: 0, subusers: 0, clockMs: 0 });
  const panel = { url: sim.url, apiKey: new Secret(sim.keys.full), clientApiKey: new Secret(sim.keys.client) };
  harness = await startHarness({ panel, patienceMs: PATIENT });
  copy = await startHarness({ panel, database: harness.database, patienceMs: PATIENT });
  user = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
  await harness.database.db.raw(`insert into locations (id, "shortCode") values (1, 'fra')`);
  for (const { id } of sim.dump().nodes) {
    await harness.database.db.raw(
      `insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId") values (?, ?, ?, 'n.example', 1, 1, 1)`,
      [id, `node-${id}`, `node ${id}`],
    );
  }
});
beforeEach(async () => {
  sim.faults.clear();
  sim.reset();
  Object.assign(sim.settings, { clientLimit: 720, clockMs: 0, latencyMs: 0 });
  for (const { id } of sim.dump().nodes) sim.update('nodes', id, { maintenance_mode: false, daemon_down: false });
  const { db } = harness.database;
  await db.raw(
    'delete from server_usage; delete from usage_budget; delete from node_usage_pauses; delete from servers',
  );
  await db.raw('update nodes set "isMaintenanceMode" = false');
  for (const server of sim.dump().servers) {
    sim.update('servers', server.id, { status: null, transferring: false, current_state: 'running' });
    await db.raw(
      `insert into servers (id, uuid, "pterodactylId", name, status, "ownerId", "nodeId", memory, disk, cpu, "updatedAt")
       values (?, ?, ?, ?, 'online', ?, ?, 1, 1, 1, timestamp '2026-01-01' - make_interval(secs => ?))`,
      [`s${server.id}`, server.uuid, server.id, `server ${server.id}`, user.id, server.node, server.id],
    );
  }
  sim.clearRequests();
});
afterEach(async () => {
  await Promise.all(copies.splice(0).map((one) => one.close()));
});
afterAll(async () => {
  await copy.close();
  await harness.close();
  await sim.close();
});

interface Shown {
  name: string;
  status: string;
  resources: Record<'memory' | 'cpu' | 'disk', { used: number; limit: number }>;
}
const page = async (at: Harness, parameters: Record<string, string> = {}): Promise<Shown[]> => {
  const search = new URLSearchParams({ per_page: '6', ...parameters });
  const answer = await at.get(`/api/v1/dashboard/servers?${search}`, { headers: bearer(user.token) });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as unknown as { data: Shown[] }).data;
};
/** Ids on the panel of the servers that it was asked about, in order of the id. */
const asked = (): number[] => {
  const byUuid = new Map(sim.dump().servers.map(({ uuid, id }) => [uuid, id]));
  return sim.requests
    .map(({ path }) => byUuid.get(path.split('/')[4] ?? '') ?? 0)
    .toSorted((one, other) => one - other);
};
/** The reader of one more copy of the api. */
function newCopy(
  settings: { panelUrl?: string; key?: string | undefined; patienceMs?: number | undefined } = {},
): LiveUsage {
  const { panelUrl = sim.url } = settings;
  const patienceMs = 'patienceMs' in settings ? settings.patienceMs : PATIENT;
  const key = 'key' in settings ? settings.key : sim.keys.client;
  const runtime = {
    panelUrl,
    panelApiKey: new Secret('app'),
    ...(key === undefined ? {} : { panelClientApiKey: new Secret(key) }),
  } as unknown as RuntimeSettings;
  const { db, log } = harness.deps;
  const made = createLiveUsage({
    db,
    log,
    settings: { runtime: async () => runtime },
    environmentUrl: sim.url,
    patienceMs,
  });
  copies.push(made);
  return made;
}
const list = (usage: LiveUsage, limit = 6, offset = 0) =>
  usage.listed(() => listServers(harness.database.db, { limit, offset }));
/** As if so much time had passed since everything that is stored. */
const age = (seconds: number) =>
  harness.database.db.raw(
    `update server_usage set read_at = read_at - make_interval(secs => ?), asked_until = asked_until - make_interval(secs => ?)`,
    [seconds, seconds],
  );
/** Makes what is stored exactly so old, however long the test has taken. */
const aged = (seconds: number) =>
  harness.database.db.raw(
    `update server_usage set read_at = now() - make_interval(secs => ?),
       asked_until = asked_until - (read_at - (now() - make_interval(secs => ?)))`,
    [seconds, seconds],
  );
const eventually = (look: () => void | Promise<void>) => vi.waitFor(look, { timeout: 10_000 });
const stored = async () =>
  (
    await query<{ id: string }>(
      harness.database.db,
      'select server_id as id from server_usage where read_at is not null',
    )
  ).length;
const rows = (sql: string) => query<Record<string, unknown>>(harness.database.db, sql);

describe('figures', () => {
  test('come from the panel, are kept for 20 seconds for all copies, then move', async () => {
    const first = await page(harness);
    expect(asked()).toEqual([1, 2, 3, 4, 5, 6]);
    const [server] = sim.dump().servers;
    for (const { resources } of first) expect(resources.memory.used).toBeGreaterThan(100);
    const { memory, cpu } = first[0]?.resources ?? {};
    const limits = server?.limits;
    expect(memory?.used).toBeLessThan(limits?.memory || 4096);
    expect(cpu?.used).toBeLessThanOrEqual((limits?.cpu || 200) * 0.65);
    expect(memory?.used).toBe(Math.round(memory?.used ?? 0.5));
    sim.settings.clockMs = 100_000;
    await aged(17);
    expect(await page(copy)).toEqual(first);
    await aged(17);
    const stats = await copy.get('/api/v1/dashboard/stats', { headers: bearer(user.token) });
    expect((await stats.json()).data).toMatchObject({
      recentServers: first.map(({ name, resources }) => ({ name, resources })),
    });
    expect(asked()).toEqual([1, 2, 3, 4, 5, 6]);
    await aged(21);
    const moved = await page(copy);
    expect(asked()).toEqual([1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]);
    expect(moved[0]?.resources.cpu.used).not.toBe(cpu?.used);
    expect(moved[0]?.resources.memory.used).not.toBe(memory?.used);
  });

  test('are in the list of administrators, too, from the same reads', async () => {
    sim.update('servers', 1, { current_state: 'offline' });
    const admin = async (at: Harness, parameters = '') => {
      const answer = await at.get(`/api/admin/servers?sort=name&order=asc&${parameters}`, {
        headers: bearer(user.token),
      });
      return ((await answer.json()) as unknown as { servers: Record<string, unknown>[] }).servers;
    };
    const found = await admin(harness, 'pageSize=5');
    const first = await page(copy, { search: 'server 1', per_page: '1' });
    expect(found.find(({ name }) => name === 'server 1')).toMatchObject({
      status: 'offline',
      usage: { memory: 0, cpu: 0, disk: first[0]?.resources.disk.used },
    });
    expect((await admin(copy, 'status=offline')).map(({ name }) => name)).toEqual(['server 1']);
    expect(new Set(asked()).size).toBe(asked().length);
  });

  test('cost no statement as long as they are new', async () => {
    await page(harness);
    const { db } = harness.database;
    const sent: string[] = [];
    const record = ({ sql }: { sql: string }): void => {
      sent.push(sql);
    };
    db.on('query', record);
    await page(harness);
    db.removeListener('query', record);
    // Who calls, the rows, their total.
    expect(sent).toHaveLength(3);
  });

  test('of a server are read once, however many pages of however many copies are looked at', async () => {
    await Promise.all([harness, copy, harness, copy, copy].map((at) => page(at, { per_page: '12' })));
    await eventually(async () => expect(await stored()).toBe(12));
    expect(asked()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  test('of a server are claimed by one copy, also when several ask for them at the same moment', async () => {
    const ids = (await query<{ id: string }>(harness.database.db, 'select s.id from servers s')).map(({ id }) => id);
    const claims = await Promise.all(
      [1, 2, 3].map(() => claimReads(harness.database.db, 'panel', ids, () => 1000).then((claim) => claim.ids)),
    );
    expect(ids.length).toBeGreaterThan(10);
    expect(claims.flat().sort()).toEqual([...ids].sort());
  });

  test('and live states decide what is online and offline, in filter, rows and counts (W6)', async () => {
    sim.update('servers', 2, { current_state: 'offline' });
    sim.update('servers', 3, { current_state: 'starting' });
    expect((await page(harness)).map(({ status }) => status)).toEqual([
      'online',
      'offline',
      'starting',
      'online',
      'online',
      'online',
    ]);
    expect((await page(copy, { status: 'offline' })).map(({ name }) => name)).toEqual(['server 2']);
    expect(await page(copy, { status: 'running', search: 'server 2' })).not.toContainEqual(
      expect.objectContaining({ name: 'server 2' }),
    );
    const stats = await harness.get('/api/v1/dashboard/stats', { headers: bearer(user.token) });
    expect((await stats.json()).data['servers']).toEqual({ total: 24, online: 22, offline: 1, suspended: 0 });
    // It starts meanwhile: the list of offline servers loses it in the answer that finds out.
    sim.update('servers', 2, { current_state: 'running' });
    await age(21);
    expect(await page(copy, { status: 'offline' })).toEqual([]);
  });

  test('are not shown any more after five minutes without a new one', async () => {
    const usage = newCopy();
    await list(usage);
    sim.faults.add({ action: { kind: 'status', status: 503 } });
    await age(290);
    expect((await list(usage))[0]?.usedMemory).toBeGreaterThan(0);
    await age(20);
    expect((await list(newCopy()))[0]).toMatchObject({ usedMemory: null, status: 'online' });
  });
});

describe('nothing is asked', () => {
  test('about servers that the panel would refuse, and about those of other panels', async () => {
    const { db } = harness.database;
    await db.raw(`update servers set "isSuspended" = true where id = 's1'`);
    await db.raw(`update servers set status = 'installing' where id = 's2'`);
    await db.raw(`update servers set status = 'Restoring_Backup' where id = 's3'`);
    await db.raw(`update servers set status = 'transferring' where id = 's4'`);
    await db.raw(`update servers set status = 'reinstall_failed' where id = 's5'`);
    await db.raw(`update servers set uuid = null where id = 's6'`);
    await db.raw(`update servers set "panelType" = 'virtfusion' where id = 's7'`);
    await db.raw(`update servers set "pterodactylId" = null, "nodeId" = null where id = 's8'`);
    await db.raw(
      `update nodes set "isMaintenanceMode" = true where id = (select "nodeId" from servers where id = 's9')`,
    );
    await db.raw(`update servers set "nodeId" = null where id = 's5'`);
    const [maintained] = await rows(`select "nodeId" from servers where id = 's9'`);
    const due =
      await rows(`select "pterodactylId" as id from servers where id not in ('s1', 's2', 's3', 's4', 's6', 's7', 's8')
      and "nodeId" is distinct from ${maintained?.['nodeId']} and "pterodactylId" <= 12 order by 1`);
    await page(harness, { per_page: '12' });
    expect(asked()).toEqual(due.map(({ id }) => id));
    expect(asked()).toContain(5);
    expect(asked()).not.toContain(9);
  });

  test('without a client key, and nothing is written', async () => {
    expect(await list(newCopy({ key: undefined }))).toHaveLength(6);
    expect(sim.requests).toEqual([]);
    expect(await rows('select 1 as n from usage_budget union all select 1 from server_usage')).toEqual([]);
  });

  test('of an address that may not be reached', async () => {
    const usage = newCopy({ panelUrl: 'http://169.254.169.254' });
    expect((await list(usage))[0]).toMatchObject({ usedMemory: null });
    await eventually(async () => {
      expect(
        await rows(`select 1 as n from usage_budget where paused_until > now() + interval '4 minutes'`),
      ).toHaveLength(1);
    });
    expect(sim.requests).toEqual([]);
  });
});

describe('a panel that', () => {
  test('is slow delays no page; what it says arrives with the next one', async () => {
    const release = Promise.withResolvers<void>();
    sim.on('before', () => release.promise);
    expect((await list(newCopy({ patienceMs: undefined })))[0]?.usedMemory).toBeNull();
    // Asked, not answered: no other process asks.
    expect((await page(copy))[0]?.resources.memory.used).toBe(0);
    await eventually(() => expect(asked()).toHaveLength(6));
    expect(asked()).toEqual([1, 2, 3, 4, 5, 6]);
    release.resolve();
    await eventually(async () => expect(await stored()).toBe(6));
    expect((await page(copy))[0]?.resources.memory.used).toBeGreaterThan(0);
    expect(asked()).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('hangs delays a page by a moment only, and the end of the process does not wait for it', async () => {
    sim.faults.add({ action: { kind: 'hang' } });
    const usage = newCopy({ patienceMs: undefined });
    const begun = performance.now();
    expect(await list(usage)).toHaveLength(6);
    expect(performance.now() - begun).toBeLessThan(2000);
    await eventually(() => expect(asked()).toEqual([1, 2, 3, 4, 5, 6]));
    expect(await list(usage)).toHaveLength(6);
    await usage.close();
    copies.splice(copies.indexOf(usage), 1);
    expect(await list(usage)).toHaveLength(6);
    expect(asked()).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('answers 429 is not asked by any process until its time is over', async () => {
    const [first, second] = [newCopy(), newCopy()];
    sim.spend(720, { api: 'client' });
    expect((await list(first))[0]).toMatchObject({ usedMemory: null });
    await eventually(async () =>
      expect(await rows('select 1 as n from usage_budget where paused_until > now()')).toHaveLength(1),
    );
    await eventually(async () =>
      expect(await rows('select 1 as n from server_usage where asked_until is not null')).toEqual([]),
    );
    const refused = sim.requests.length;
    expect(refused).toBeLessThanOrEqual(6);
    await list(first);
    await list(second);
    await list(second, 6, 6);
    expect(sim.requests).toHaveLength(refused);
    await harness.database.db.raw('update usage_budget set paused_until = now()');
    sim.reset();
    await list(newCopy());
    expect(sim.requests.length).toBeGreaterThan(0);
  });

  test('has little left is left to others', async () => {
    sim.spend(660, { api: 'client' });
    await list(newCopy());
    await eventually(async () =>
      expect(await rows('select 1 as n from usage_budget where paused_until > now()')).toHaveLength(1),
    );
    const before = sim.requests.length;
    await list(newCopy(), 6, 6);
    expect(sim.requests).toHaveLength(before);
  });

  test('announces a limit gets a quarter of it in a minute, from all copies together', async () => {
    sim.settings.clientLimit = 40;
    await list(newCopy(), 1);
    await Promise.all([list(newCopy(), SERVERS), list(newCopy(), SERVERS), list(newCopy(), SERVERS)]);
    await list(newCopy(), SERVERS);
    expect(asked()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(await rows('select request_limit, cardinality(asked) as spent from usage_budget')).toEqual([
      { request_limit: 40, spent: 10 },
    ]);
    await harness.database.db.raw(
      `update usage_budget set asked = array(select a - interval '61 seconds' from unnest(asked) a)`,
    );
    await list(newCopy(), SERVERS);
    expect(asked()).toHaveLength(20);
  });

  test('cannot reach a node is asked about its other nodes only', async () => {
    const down = sim.dump().servers[0]?.node ?? 0;
    sim.update('nodes', down, { daemon_down: true });
    await list(newCopy(), 12);
    await eventually(async () =>
      expect(await rows(`select node_id from node_usage_pauses`)).toEqual([{ node_id: down }]),
    );
    sim.clearRequests();
    await age(21);
    const seen = await list(newCopy(), 12);
    const others = seen.filter(({ nodeId }) => nodeId !== down);
    expect(others.length).toBeGreaterThan(0);
    expect(asked()).toEqual(others.map(({ id }) => Number(id.slice(1))));
    for (const { usedMemory } of others) expect(usedMemory).toBeGreaterThan(0);
  });

  test('refuses the key is not asked again, until the key is another one', async () => {
    await list(newCopy({ key: 'ptlc_wrong' }));
    await eventually(async () =>
      expect(
        await rows(`select 1 as n from usage_budget where paused_until > now() + interval '4 minutes'`),
      ).toHaveLength(1),
    );
    sim.clearRequests();
    await list(newCopy({ key: 'ptlc_wrong' }));
    expect(sim.requests).toEqual([]);
    expect((await list(newCopy()))[0]?.usedMemory).toBeGreaterThan(0);
  });

  test('does not know a server, or is busy with it, is not asked about that one again', async () => {
    sim.update('servers', 1, { status: 'restoring_backup' });
    sim.delete('servers', 2);
    const found = await list(newCopy());
    expect(found.map(({ usedMemory }) => usedMemory !== null)).toEqual([false, false, true, true, true, true]);
    sim.clearRequests();
    await age(21);
    await list(newCopy());
    expect(asked()).toEqual([3, 4, 5, 6]);
  });

  test.each([
    { kind: 'html' },
    { kind: 'php-notice' },
    { kind: 'gateway', status: 403, challenge: true },
    { kind: 'reset' },
    { kind: 'truncate' },
  ] as const)('answers nonsense ($kind) costs nothing but the figures', async (action) => {
    sim.faults.add({ action });
    expect((await list(newCopy())).map(({ status, usedMemory }) => [status, usedMemory])).toEqual(
      Array.from({ length: 6 }, () => ['online', null]),
    );
  });
});

test('what is known of deleted servers is purged', async () => {
  await list(newCopy());
  await harness.database.db.raw(`delete from servers where id in ('s1', 's2')`);
  await harness.database.db.raw(
    `insert into node_usage_pauses values (1, now() - interval '1 minute'), (2, now() + interval '1 minute')`,
  );
  expect(await purgeUsage(harness.database.db, 1)).toBe(1);
  expect(await purgeUsage(harness.database.db, 500)).toBe(1);
  // A budget that Hytale alone used is kept for a day, too.
  await harness.database.db.raw(
    `insert into usage_budget (panel, hytale_asked) values ('used', array[now() - interval '23 hours']),
       ('left', array[now() - interval '25 hours'])`,
  );
  await purgeUsage(harness.database.db, 500);
  expect(await rows(`select panel from usage_budget where panel in ('used', 'left')`)).toEqual([{ panel: 'used' }]);
  expect(await rows('select node_id from node_usage_pauses')).toEqual([{ node_id: 2 }]);
  expect(await rows('select server_id as id from server_usage order by 1')).toEqual(
    ['s3', 's4', 's5', 's6'].map((id) => ({ id })),
  );
});

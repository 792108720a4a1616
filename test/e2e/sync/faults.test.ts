/** Syncs of a panel that misbehaves: no row is deleted because of a doubtful answer, and the log says what happened. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import type { SyncLog } from '../../../src/store/sync/log-store.ts';
import { query } from '../../support/merge.ts';
import { expectedMirror, readMirror, rowVersions, sorted, type Tables } from '../../support/mirror.ts';
import { SMALL, type Stack, startStack } from '../../support/stack.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack({ panelTimeoutMs: 1_500, subusersBatchSize: 130 });
});
afterAll(() => stack?.stop());

/** Resets the panel and makes the mirror equal to it. */
beforeEach(async () => {
  const { sim, settings } = stack;
  sim.reset();
  Object.assign(sim.settings, { latencyMs: 0, limit: 0, perPageMax: undefined, maintenance: undefined });
  settings.allowMassPrune = true;
  delete settings.panelClientApiKey;
  await query(stack.database.db, 'delete from sync_fallbacks');
  await settled();
  const log = await stack.sync();
  expect(log.status).toBe('COMPLETED');
  settings.allowMassPrune = false;
  sim.clearRequests();
  await settled();
});

/** Waits until no run holds the workflow id, so that the next starts at once. */
async function settled(): Promise<void> {
  const { client } = stack.gateway;
  for (let i = 0; i < 200; i += 1) {
    const open = await client.workflow
      .getHandle('panel-sync')
      .describe()
      .then((d) => d.status.name === 'RUNNING')
      .catch(() => false);
    if (!open) return;
    await delay(20);
  }
}

const mirror = async () => sorted(await readMirror(stack.database.db));
const panel = () => sorted(expectedMirror(stack.sim.dump()));
const warnings = (log: SyncLog) =>
  (log.metadata['warnings'] ?? []) as { code: string; entity?: string; message: string }[];
const codes = (log: SyncLog) => warnings(log).map((w) => (w.entity === undefined ? w.code : `${w.code}:${w.entity}`));
const listed = (path: RegExp) => stack.sim.requests.filter((r) => path.test(r.path));
const SERVERS = /\/application\/servers$/;
const USERS = /\/application\/users$/;
const LOCATIONS = /\/application\/locations$/;
const NODES = /\/application\/nodes$/;
const NESTS = /\/application\/nests$/;
const INCLUDE = /include=/;

/** Changes a location's text and a user's name, so that the rest of the sync has something to write. */
function changeSomething(): void {
  const { sim } = stack;
  sim.update('locations', 1, { long: 'moved to another hall' });
  sim.update('users', 7, { first_name: 'Renamed' });
}
const without = (tables: Tables, ...names: string[]): Tables =>
  Object.fromEntries(Object.entries(tables).filter(([name]) => !names.includes(name)));

async function expectFailed(log: SyncLog, step: string, error: string, before: Record<string, string>): Promise<void> {
  expect(log.status).toBe('FAILED');
  expect(log.error).toBe(error);
  expect(log.metadata).toMatchObject({ failed_step: step, error, applied: false });
  expect(await rowVersions(stack.database.db)).toEqual(before);
}

describe('answers that are wrong', () => {
  test.each([
    ['locations', LOCATIONS],
    ['nests', NESTS],
    ['servers', SERVERS],
  ] as const)('an empty listing of %s prunes nothing', async (entity, path) => {
    const before = await mirror();
    stack.sim.faults.add({ match: { path }, action: { kind: 'empty' } });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    // A refused parent is kept because of its children, so the warning may be theirs.
    expect(codes(log)).toContain(`PRUNE_REFUSED:${entity === 'locations' ? 'allocations' : entity}`);
    expect(await mirror()).toEqual(before);
  });

  test('an empty listing of users leaves the stored users as they are', async () => {
    const before = await mirror();
    stack.sim.faults.add({ match: { path: USERS }, action: { kind: 'empty' } });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(without(await mirror(), 'users')).toEqual(without(before, 'users'));
    expect((await mirror())['users']).toHaveLength(before['users']?.length ?? 0);
  });

  test.each([
    ['nodes', ['nodes']],
    ['allocations', ['allocations']],
    ['eggs', ['eggs']],
    ['variables', ['variables']],
    ['databases', ['databases']],
  ])('a missing right to read %s prunes nothing and gives a warning', async (name, rights) => {
    const before = await mirror();
    changeSomething();
    stack.sim.faults.add({ action: { kind: 'null-resource', name } });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    const missing = warnings(log).filter((w) => w.code === 'RIGHT_MISSING');
    for (const right of rights) expect(missing.map((w) => w.message).join()).toContain(`may not read ${right}`);
    // Each right once, also where two listings have the include.
    expect(new Set(missing.map((w) => w.message)).size).toBe(missing.length);
    const after = await mirror();
    expect(without(after, 'locations', 'users')).toEqual(without(before, 'locations', 'users'));
    expect(after['locations']).toEqual(panel()['locations']);
    expect(after['users']).toEqual(panel()['users']);
  });

  test('subusers that may not be included are skipped with the reason, or read by the client API', async () => {
    const before = await mirror();
    stack.sim.faults.add({ match: { path: SERVERS }, action: { kind: 'null-resource', name: 'subusers' } });
    const skipped = await stack.sync();
    expect(skipped.status).toBe('COMPLETED');
    expect(codes(skipped)).toContain('SUBUSERS_SKIPPED:subusers');
    expect(await mirror()).toEqual(before);

    stack.settings.panelClientApiKey = new Secret(stack.sim.keys.client);
    const [first] = stack.sim.dump().subusers;
    if (first === undefined) throw new Error('the panel has no subusers');
    stack.sim.delete('subusers', first.id);
    await settled();
    const read = await stack.sync();
    expect(read.status).toBe('COMPLETED');
    expect(codes(read)).not.toContain('SUBUSERS_SKIPPED:subusers');
    // One request per server is counted.
    expect(Number(read.metadata['requests'])).toBeGreaterThanOrEqual(
      Number(skipped.metadata['requests']) + stack.sim.dump().servers.length,
    );
    expect(await mirror()).toEqual(panel());
  });

  test('half a page of servers, however often it is read, prunes nothing', async () => {
    const before = await mirror();
    changeSomething();
    stack.sim.faults.add({ match: { path: SERVERS, page: 2 }, action: { kind: 'half' } });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(codes(log)).toContain('SOURCE_MOVED');
    expect(listed(SERVERS).filter(({ query }) => !query.includes('filter'))).toHaveLength(9);
    const after = await mirror();
    expect(after['servers']).toEqual(before['servers']);
    expect(after['locations']).toEqual(panel()['locations']);
  });

  test('a listing that moves at every reading loses the rows that the panel denies, and no other', async () => {
    const { sim } = stack;
    const [gone] = sim.dump().servers;
    sim.delete('servers', gone?.id ?? 0);
    sim.faults.add({ match: { path: SERVERS }, action: { kind: 'total', delta: 'random' } });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(codes(log).filter((c) => c === 'SOURCE_MOVED' || c === 'SOURCE_INCOMPLETE')).toHaveLength(1);
    expect(await mirror()).toEqual(panel());
  });

  test('a panel that ignores the page prunes nothing', async () => {
    const before = await mirror();
    stack.sim.on('before', ({ query }) => query.set('page', '1'));
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(codes(log).filter((c) => c === 'PAGES_IGNORED')).toHaveLength(2);
    expect(await mirror()).toEqual(before);
  });

  test('a page size below the requested one is accepted', async () => {
    changeSomething();
    stack.sim.settings.perPageMax = 50;
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(warnings(log)).toEqual([]);
    expect(await mirror()).toEqual(panel());
    expect(listed(SERVERS)).toHaveLength(5);
  });
});

describe('answers that do not come', () => {
  test('a page that fails only at its full size is read in parts, the others whole (C-5)', async () => {
    const { sim } = stack;
    changeSomething();
    sim.settings.perPageMax = 30;
    sim.faults.add({ match: { path: SERVERS, page: 7 }, action: { kind: 'gateway', status: 524 } });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(warnings(log)).toEqual([]);
    expect(await mirror()).toEqual(panel());
    // 8 pages, four attempts at the seventh (the last one after the panel answered something else), two halves of it.
    expect(
      listed(SERVERS)
        .map((r) => r.status)
        .filter((s) => s === 200),
    ).toHaveLength(9);
    expect(
      listed(SERVERS)
        .map((r) => r.status)
        .filter((s) => s === 524),
    ).toHaveLength(4);
  });

  test('an outage in errors of the panel itself is waited for, and no fallback follows (F2)', async () => {
    const { sim } = stack;
    changeSomething();
    const over = sim.faults.add({ action: { kind: 'status', status: 502 } });
    const ended = stack.sync();
    // Three attempts of each page fail within this time.
    await delay(5_000);
    over();
    const log = await ended;
    expect(log.status).toBe('COMPLETED');
    expect(warnings(log)).toEqual([]);
    expect(await mirror()).toEqual(panel());
    const well = sim.requests.filter((r) => r.status === 200 && !r.query.includes('per_page=1&'));
    expect(new Set(well.map((r) => r.path.replace(/^.*application/, '')))).toEqual(
      new Set(['/locations', '/nests', '/users', '/servers']),
    );
  });

  test('one server that the panel cannot print is kept as it is; everything else is synced (F5, 1.15)', async () => {
    const { sim } = stack;
    const before = await mirror();
    changeSomething();
    const [broken, other] = sim
      .dump()
      .servers.sort((a, b) => a.id - b.id)
      .slice(56, 58);
    if (broken === undefined || other === undefined) throw new Error('too few servers');
    sim.update('servers', broken.id, { name: 'unseen' });
    sim.update('servers', other.id, { name: 'seen' });
    sim.faults.add({ match: { path: SERVERS, place: 57 }, action: { kind: 'status', status: 500 } });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(new Set(codes(log))).toContain('RECORD_UNREADABLE:servers');
    expect(
      warnings(log)
        .map((w) => w.message)
        .join(),
    ).toContain('the record at place 57 of servers');
    const after = await mirror();
    const one = (tables: Tables, uuid: string) => tables['servers']?.find((s) => s['uuid'] === uuid);
    expect(one(after, broken.uuid)).toEqual(one(before, broken.uuid));
    expect(one(after, other.uuid)).toMatchObject({ name: 'seen' });
    expect(after['servers']).toHaveLength(240);
    expect(after['users']).toEqual(panel()['users']);
  });

  test('eggs that no mirror knows are found where their list cannot be read (F3)', async () => {
    const { sim } = stack;
    const [broken, lost] = sim.dump().eggs.filter((e, _, all) => e.nest === all[0]?.nest);
    if (broken === undefined || lost === undefined) throw new Error('too few eggs');
    const { db } = stack.database;
    await query(db, `update servers set "eggId" = null where "eggId" = ${lost.id}`);
    await query(db, `delete from eggs where id = ${lost.id}`);
    sim.update('eggs', broken.id, { broken: true });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(codes(log)).toEqual(['EGGS_INCOMPLETE:eggs']);
    expect((await mirror())['eggs']?.map((e) => e['id'])).toContain(lost.id);
  });

  test('a listing that keeps failing ends the run, nothing merged', async () => {
    const before = await rowVersions(stack.database.db);
    changeSomething();
    stack.sim.faults.add({ match: { path: SERVERS }, afterNth: 1, action: { kind: 'status', status: 502 } });
    await expectFailed(
      await stack.sync(),
      'servers',
      'The panel answers with an error of its own (status 502)',
      before,
    );
  });

  test.each([401, 403] as const)('%i midway ends the run, nothing merged', async (status) => {
    const before = await rowVersions(stack.database.db);
    changeSomething();
    stack.sim.faults.add({ match: { path: SERVERS, page: 2 }, action: { kind: 'status', status } });
    await expectFailed(await stack.sync(), 'servers', 'The panel refused the API key', before);
    // The row closes a moment before its workflow ends.
    const ended = async () => (await stack.gateway.client.workflow.getHandle('panel-sync').describe()).status.name;
    await expect.poll(ended, { timeout: 20_000 }).toBe('FAILED');
  });

  test('nodes are read one by one where listings fail; one that fails keeps its allocations', async () => {
    const { sim } = stack;
    const before = await mirror();
    changeSomething();
    const { allocations } = sim.dump();
    const node = allocations[0]?.node_id ?? 0;
    const other = allocations.find((a) => a.node_id !== node);
    sim.update('allocations', allocations[0]?.id ?? 0, { notes: 'unseen' });
    sim.update('allocations', other?.id ?? 0, { notes: 'seen' });
    sim.faults.add({ match: { path: LOCATIONS, query: INCLUDE }, action: { kind: 'status', status: 500 } });
    sim.faults.add({ match: { path: NODES, query: INCLUDE }, action: { kind: 'gateway', status: 520 } });
    sim.faults.add({
      match: { path: new RegExp(`/nodes/${node}/allocations$`) },
      action: { kind: 'status', status: 500 },
    });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(codes(log)).toEqual(['NODE_FAILED:allocations']);
    const after = await mirror();
    const ofNode = (tables: Tables, same: boolean) =>
      tables['allocations']?.filter((a) => (a['nodeId'] === node) === same);
    expect(ofNode(after, true)).toEqual(ofNode(before, true));
    expect(ofNode(after, false)).toEqual(ofNode(panel(), false));
    expect(without(after, 'allocations')).toEqual(without(panel(), 'allocations'));
  });

  test('nests are read one by one where their listing fails; one that fails keeps its eggs', async () => {
    const { sim } = stack;
    const before = await mirror();
    changeSomething();
    const nest = sim.dump().eggs[0]?.nest ?? 0;
    sim.faults.add({ match: { path: NESTS, query: INCLUDE }, action: { kind: 'status', status: 500 } });
    sim.faults.add({ match: { path: new RegExp(`/nests/${nest}/eggs`) }, action: { kind: 'status', status: 500 } });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(codes(log)).toEqual(['EGGS_INCOMPLETE:eggs']);
    const after = await mirror();
    expect(after['eggs']).toEqual(before['eggs']);
    expect(after['egg_variables']).toEqual(before['egg_variables']);
    expect(after['users']).toEqual(panel()['users']);
  });

  test('one broken egg leaves all others synced', async () => {
    const { sim } = stack;
    const before = await mirror();
    const [broken, other] = sim.dump().eggs;
    if (broken === undefined || other === undefined) throw new Error('too few eggs');
    sim.update('eggs', broken.id, { broken: true, name: 'unseen' });
    sim.update('eggs', other.id, { name: 'seen' });
    changeSomething();
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(codes(log)).toEqual(['EGGS_INCOMPLETE:eggs']);
    expect(warnings(log)[0]?.message).toContain(`eggs ${broken.id} of nest`);
    const after = await mirror();
    const one = (tables: Tables, id: number) => tables['eggs']?.find((e) => e['id'] === id);
    expect(one(after, broken.id)).toEqual(one(before, broken.id));
    expect(one(after, other.id)).toMatchObject({ name: 'seen' });
    expect(after['users']).toEqual(panel()['users']);
  });

  test.each([
    ['a truncated body', { kind: 'truncate' }],
    ['a reset connection', { kind: 'reset' }],
    ['a challenge of a firewall (C-2)', { kind: 'gateway', status: 403, challenge: true }],
    ['503 with Retry-After', { kind: 'status', status: 503, retryAfter: 1 }],
    ['a request that is never answered', { kind: 'hang' }],
  ] as const)('%s is survived by retries', async (_name, action) => {
    changeSomething();
    stack.sim.faults.add({ match: { path: USERS, page: 2 }, times: 2, action });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(warnings(log)).toEqual([]);
    expect(await mirror()).toEqual(panel());
  });

  test('after a 429 all batches wait', async () => {
    const { sim } = stack;
    changeSomething();
    sim.faults.add({ match: { path: SERVERS }, times: 1, action: { kind: 'status', status: 429, retryAfter: 2 } });
    sim.settings.limit = 240;
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(warnings(log)).toEqual([]);
    expect(await mirror()).toEqual(panel());
    const refused = sim.requests.find((r) => r.status === 429)?.at ?? 0;
    const during = sim.requests.filter((r) => r.at > refused + 100 && r.at < refused + 1_900);
    expect(during).toEqual([]);
  });
});

describe('what is really gone', () => {
  const confirmations = () => stack.sim.requests.filter((r) => r.query.includes('filter%5Buuid%5D'));
  const removeServers = (count: number) => {
    for (const { id } of stack.sim.dump().servers.slice(0, count)) stack.sim.delete('servers', id);
  };

  test('three missing servers are looked up in one request, and pruned', async () => {
    removeServers(3);
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(warnings(log)).toEqual([]);
    expect(log.metadata['counts']).toMatchObject({ servers: { pruned: 3, failed: 0 } });
    expect(confirmations()).toHaveLength(1);
    expect(await mirror()).toEqual(panel());
  });

  test('60 of 100 servers are pruned only when mass prunes are allowed', async () => {
    // Several pages are left, so each missing server is looked up.
    stack.sim.settings.perPageMax = 50;
    removeServers(144);
    const before = await mirror();
    const refused = await stack.sync();
    expect(refused.status).toBe('COMPLETED');
    expect(codes(refused)).toContain('PRUNE_REFUSED:servers');
    expect(confirmations()).toHaveLength(0);
    expect((await mirror())['servers']).toHaveLength(before['servers']?.length ?? 0);

    stack.settings.allowMassPrune = true;
    await settled();
    const allowed = await stack.sync();
    expect(allowed.status).toBe('COMPLETED');
    expect(allowed.metadata['counts']).toMatchObject({ servers: { pruned: 144 } });
    expect(confirmations()).toHaveLength(6);
    expect(await mirror()).toEqual(panel());
  });

  test('a server that was only missing from the listing stays: one deleted and one created between two pages', async () => {
    const { sim } = stack;
    let done = false;
    sim.on('before', ({ path, page }) => {
      if (done || !SERVERS.test(path) || page !== 2) return;
      done = true;
      const [first] = sim.dump().servers;
      if (first === undefined) throw new Error('no servers');
      sim.delete('servers', first.id);
      // It takes the resources that the deleted one left.
      const { user, node, allocation, nest, egg } = first;
      sim.create('servers', { name: 'made meanwhile', user, node, allocation, nest, egg });
    });
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(confirmations()).toHaveLength(1);
    const living = new Set(sim.dump().servers.map((s) => s.id));
    const mirrored = new Set((await mirror())['servers']?.map((s) => s['pterodactylId']));
    for (const id of living) if (id <= 240) expect(mirrored.has(id)).toBe(true);
    await settled();
    await stack.sync();
    expect(await mirror()).toEqual(panel());
  });

  test('a cancel halfway leaves the mirror as it was', async () => {
    const { sim, launcher } = stack;
    const before = await rowVersions(stack.database.db);
    changeSomething();
    removeServers(2);
    sim.settings.latencyMs = 150;
    sim.settings.perPageMax = 25;
    const { syncLogId } = await launcher.requestSync({ target: 'full', requestedBy: 'test' });
    while (sim.requests.length < 11) await delay(10);
    await launcher.cancelSync(syncLogId, OPERATOR);
    const log = await stack.ended(syncLogId, 3_000);
    expect(log.status).toBe('CANCELLED');
    expect(log.error).toBeNull();
    expect(log.metadata).toMatchObject({ applied: false });
    await delay(500);
    expect(await rowVersions(stack.database.db)).toEqual(before);
  });
});

describe('the number of requests', () => {
  test('is that of the plan, and no limit is reached', async () => {
    stack.sim.settings.limit = 240;
    removeOne();
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    // 1 of locations, 1 of nests, 3 of users, 3 of servers, 1 confirmation.
    expect(stack.sim.requests).toHaveLength(9);
    expect(stack.sim.requests.filter((r) => r.status === 429)).toEqual([]);
  });
  const removeOne = () => stack.sim.delete('servers', stack.sim.dump().servers[5]?.id ?? 0);

  test('more than one page of locations and nests is read in pages', async () => {
    const large = await startStack({ panel: { locations: 130, nodes: 140, nests: 110, eggs: 230, limit: 240 } });
    try {
      const log = await large.sync();
      expect(log.status).toBe('COMPLETED');
      expect(sorted(await readMirror(large.database.db))).toEqual(sorted(expectedMirror(large.sim.dump())));
      expect(large.sim.requests).toHaveLength(2 + 2 + 3 + 3);
      expect(large.sim.requests.filter((r) => r.status !== 200)).toEqual([]);
      // A target reports no entity that it does not write.
      large.sim.clearRequests();
      const alone = await large.sync({ target: 'locations' });
      expect(alone.status).toBe('COMPLETED');
      expect(alone.metadata['warnings']).toBeUndefined();
      expect(large.sim.requests).toHaveLength(2);
    } finally {
      await large.stop();
    }
  });
});

describe('settings that change during a run', () => {
  test('a run whose panel is exchanged while it reads fails, and mixes nothing of both panels into the mirror', async () => {
    const { sim, settings } = stack;
    const before = await rowVersions(stack.database.db);
    const other = await startPanelSimulator({ ...SMALL, seed: 7 });
    const known = { panelUrl: settings.panelUrl, panelApiKey: settings.panelApiKey };
    // The users are read before the last page of the servers is: both panels have the same ids.
    const stop = sim.on('before', ({ path, page }) => {
      if (SERVERS.test(path) && page === 3)
        Object.assign(settings, { panelUrl: other.url, panelApiKey: new Secret(other.keys.full) });
    });
    try {
      const log = await stack.sync();
      expect(log.status).toBe('FAILED');
      expect(log.error).toBe('The settings of the panel were changed during the sync; start it again');
      expect(await rowVersions(stack.database.db)).toEqual(before);
    } finally {
      stop();
      Object.assign(settings, known);
      await other.close();
    }
  });
});

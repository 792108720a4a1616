import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mergeRun } from '../../../src/store/sync/merge/merge.ts';
import { closeRun } from '../../../src/store/sync/run-store.ts';
import { createTestDatabase, openTestDb, type TestDatabase } from '../../support/database.ts';
import {
  change,
  HAND_PANEL,
  type HandPanel,
  handUuid,
  mergeHand,
  openTestRun,
  query,
  stageHand,
} from '../../support/merge.ts';
import { rowVersions } from '../../support/mirror.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ max: 8 });
});
afterEach(() => database.drop());

const PANEL = HAND_PANEL;
const ids = async (table: string, column = 'id') =>
  (await query(database.db, `select "${column}" as id from ${table} where "${column}" is not null order by 1`)).map(
    (r) => r['id'],
  );

test('the primary allocation of a server follows the panel, whatever it names (P-2)', async () => {
  const servers = (allocation?: unknown) =>
    change({ servers: [{ id: 1, user: 1, node: 1, egg: 1, nest: 1, allocation }, ...(PANEL.servers ?? []).slice(1)] });
  const primary = async () =>
    (await query(database.db, 'select "primaryAllocationId" as id from servers where "pterodactylId" = 1'))[0]?.['id'];
  // One of its own, another server's, one that is nowhere, a wrong type, none.
  for (const [named, stored] of [
    [1, 1],
    [3, 3],
    [999, 999],
    ['one', null],
    [2, 2],
    [undefined, null],
  ]) {
    const { failures } = await mergeHand(database.db, servers(named));
    expect(failures).toEqual([]);
    expect(await primary()).toBe(stored);
  }
});

describe('values that change hands', () => {
  test('two locations swap their short codes, two nodes and two eggs their uuids', async () => {
    await mergeHand(database.db, PANEL);
    const swapped = await mergeHand(
      database.db,
      change({
        locations: [
          { id: 1, short: 'b' },
          { id: 2, short: 'a' },
        ],
        nodes: [
          { id: 1, location_id: 1, uuid: handUuid.node(2) },
          { id: 2, location_id: 2, uuid: handUuid.node(1) },
        ],
        nests: [
          { id: 1, uuid: handUuid.nest(2) },
          { id: 2, uuid: handUuid.nest(1) },
        ],
        eggs: [
          { id: 1, nest: 1, uuid: handUuid.egg(2) },
          { id: 2, nest: 2, uuid: handUuid.egg(1) },
        ],
      }),
    );
    expect(swapped.failures).toEqual([]);
    expect(swapped.counts).toMatchObject({
      locations: { updated: 2 },
      nodes: { updated: 2 },
      nests: { updated: 2 },
      eggs: { updated: 2 },
      allocations: { updated: 0, unchanged: 3 },
    });
    expect(await query(database.db, `select id, "shortCode" as code from locations order by id`)).toEqual([
      { id: 1, code: 'b' },
      { id: 2, code: 'a' },
    ]);
    expect(await query(database.db, 'select id, uuid from nodes order by id')).toEqual([
      { id: 1, uuid: handUuid.node(2) },
      { id: 2, uuid: handUuid.node(1) },
    ]);
  });

  test('two allocations of a node swap ip and port; a third one takes the value of a deleted one', async () => {
    await mergeHand(database.db, PANEL);
    const outcome = await mergeHand(
      database.db,
      change({
        allocations: [
          { id: 1, node: 1, port: 1002, server: 1 },
          { id: 2, node: 1, port: 1001 },
          // Allocation 3 was deleted and created again under a new id.
          { id: 9, node: 2, port: 1001, server: 2 },
        ],
      }),
    );
    expect(outcome.failures).toEqual([]);
    expect(outcome.counts.allocations).toEqual({ created: 1, updated: 2, unchanged: 0, pruned: 1, failed: 0 });
    expect(await query(database.db, `select id, port, "nodeId" as node from allocations order by id`)).toEqual([
      { id: 1, port: 1002, node: 1 },
      { id: 2, port: 1001, node: 1 },
      { id: 9, port: 1001, node: 2 },
    ]);
  });

  test('two users swap addresses, then three rotate theirs', async () => {
    await mergeHand(database.db, PANEL);
    const addresses = async () =>
      Object.fromEntries(
        (await query(database.db, `select "pterodactylId" as "panelId", email from users order by 1`)).map((r) => [
          r['panelId'],
          r['email'],
        ]),
      );
    await mergeHand(
      database.db,
      change({ users: [{ id: 1, email: 'u2@example.net' }, { id: 2, email: 'u1@example.net' }, { id: 3 }] }),
    );
    expect(await addresses()).toEqual({ 1: 'u2@example.net', 2: 'u1@example.net', 3: 'u3@example.net' });
    const outcome = await mergeHand(
      database.db,
      change({
        users: [
          { id: 1, email: 'U1@example.net' },
          { id: 2, email: 'u3@example.net' },
          { id: 3, email: 'u2@example.net' },
        ],
      }),
    );
    expect(await addresses()).toEqual({ 1: 'U1@example.net', 2: 'u3@example.net', 3: 'u2@example.net' });
    expect(outcome.counts.users).toEqual({ created: 0, updated: 3, unchanged: 0, pruned: 0, failed: 0 });
  });

  test('a server that came back under a new panel id keeps its row', async () => {
    await mergeHand(database.db, PANEL);
    const before = await query(database.db, `select id from servers where uuid = ?`, [handUuid.server(2)]);
    const outcome = await mergeHand(
      database.db,
      change({
        servers: [
          PANEL.servers?.[0] ?? { id: 1 },
          { id: 7, uuid: handUuid.server(2), user: 2, node: 2, egg: 2, nest: 2 },
        ],
        allocations: (PANEL.allocations ?? []).map((a) => (a.server === 2 ? { ...a, server: 7 } : a)),
        databases: [
          { id: 1, server: 1 },
          { id: 2, server: 7 },
        ],
      }),
    );
    expect(outcome.counts.servers).toEqual({ created: 0, updated: 1, unchanged: 1, pruned: 0, failed: 0 });
    expect(await query(database.db, `select id from servers where "pterodactylId" = 7`)).toEqual(before);
    expect(outcome.counts.databases).toMatchObject({ pruned: 0, unchanged: 2 });
  });

  test('rows of servers follow the uuid, whatever ids the panel gives them (1.8)', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const rows = () =>
      query(database.db, `select uuid, id, "pterodactylId" as "panelId", status from servers order by uuid`);
    const before = await rows();
    const swapped = change({
      servers: [
        { id: 1, user: 2, node: 2, egg: 2, nest: 2, uuid: handUuid.server(2), suspended: true },
        { id: 2, user: 1, node: 1, egg: 1, nest: 1, uuid: handUuid.server(1) },
      ],
      databases: [],
      allocations: [],
      subusers: [],
    });
    const outcome = await mergeHand(database.db, swapped, { allowMassPrune: true });
    expect(outcome.failures).toEqual([]);
    expect(outcome.counts.servers).toMatchObject({ created: 0, updated: 2, pruned: 0, failed: 0 });
    expect(await rows()).toEqual([
      { ...before[0], panelId: 2 },
      { ...before[1], panelId: 1, status: 'suspended' },
    ]);
    // The whole panel was imported again: every id is one more.
    const shifted = change({
      servers: [
        { id: 2, user: 2, node: 2, egg: 2, nest: 2, uuid: handUuid.server(2) },
        { id: 3, user: 1, node: 1, egg: 1, nest: 1, uuid: handUuid.server(1) },
      ],
      databases: [],
      allocations: [],
      subusers: [],
    });
    expect((await mergeHand(database.db, shifted)).counts.servers).toMatchObject({ updated: 2, failed: 0 });
    expect((await rows()).map((row) => row['panelId'])).toEqual([3, 2]);
  });

  test('two records with one value: the row that has it keeps it, else the lower id gets it', async () => {
    await mergeHand(database.db, PANEL);
    const outcome = await mergeHand(
      database.db,
      change({
        locations: [
          { id: 1, short: 'b' },
          { id: 2, short: 'b' },
          { id: 8, short: 'c' },
          { id: 9, short: 'c' },
        ],
      }),
    );
    expect(outcome.failures).toEqual([
      { entity: 'locations', panelId: '1', code: 'KEY_TAKEN', detail: 'shortCode: held by another location' },
      { entity: 'locations', panelId: '9', code: 'KEY_TAKEN', detail: 'shortCode: held by another location' },
    ]);
    expect(await query(database.db, `select id, "shortCode" as code from locations order by id`)).toEqual([
      { id: 1, code: 'a' },
      { id: 2, code: 'b' },
      { id: 8, code: 'c' },
    ]);
  });
});

describe('records that cannot be stored', () => {
  test('only they are missing, they are listed without their values, and their rows are not deleted', async () => {
    await mergeHand(database.db, PANEL);
    const secret = 'do-not-print-me';
    const outcome = await mergeHand(
      database.db,
      change({
        locations: [
          { id: 1, short: `${secret}\0` },
          { id: 2, short: 'b' },
        ],
        nests: [{ id: 1 }, { id: 2, name: [secret] }],
        users: [{ id: 1 }, { id: 2, email: '' }, { id: 3, root_admin: true }, { id: 4, username: { secret } }],
        servers: [
          { id: 1, user: 1, node: 1, egg: 1, nest: 1, limits: { memory: 2 ** 53, disk: 0, cpu: 0 } },
          { id: 2, user: 2, node: 2, egg: 2, nest: 2, description: 'new' },
        ],
        databases: [
          { id: 1, server: 1 },
          { id: 2, server: 2, database: null },
        ],
      }),
    );
    expect(outcome.failures.map((f) => [f.entity, f.panelId, f.code])).toEqual([
      ['databases', '2', 'INVALID_RECORD'],
      ['locations', '1', 'INVALID_RECORD'],
      ['nests', '2', 'INVALID_RECORD'],
      ['servers', '1', 'INVALID_RECORD'],
      ['users', '2', 'INVALID_RECORD'],
      ['users', '4', 'INVALID_RECORD'],
    ]);
    expect(JSON.stringify(outcome.failures)).not.toContain(secret);
    for (const table of ['locations', 'nodes', 'nests', 'eggs', 'egg_variables'])
      expect(await ids(table)).toEqual([1, 2]);
    expect(await ids('servers', 'pterodactylId')).toEqual([1, 2]);
    expect(await ids('users', 'pterodactylId')).toEqual([1, 2, 3]);
    expect(await ids('server_databases', 'pterodactylId')).toEqual([1, 2]);
    expect(await query(database.db, `select "isPterodactylAdmin" as a from users where "pterodactylId" = 3`)).toEqual([
      { a: true },
    ]);
    // Allocations of a rejected server stay linked to it.
    expect(
      await query(
        database.db,
        `select a.id from allocations a join servers s on s.id = a."serverId" where s."pterodactylId" = 1`,
      ),
    ).toEqual([{ id: 1 }]);
    expect(outcome.counts.servers).toEqual({ created: 0, updated: 1, unchanged: 0, pruned: 0, failed: 1 });
  });

  test('a record without a readable id prevents any prune of its entity, and gives a warning', async () => {
    await mergeHand(database.db, PANEL);
    const panel = structuredClone(PANEL);
    Object.assign(panel.nests?.[1] ?? {}, { id: null });
    Object.assign(panel.allocations?.[1] ?? {}, { id: 'two' });
    Object.assign(panel.databases?.[0] ?? {}, { id: -1 });
    Object.assign(panel.subusers?.[0] ?? {}, { id: 2 ** 40 });
    const outcome = await mergeHand(database.db, panel);
    expect(await ids('nests')).toEqual([1, 2]);
    expect(await ids('eggs')).toEqual([1, 2]);
    expect(await ids('allocations')).toEqual([1, 2, 3]);
    expect(await ids('server_databases', 'pterodactylId')).toEqual([1, 2]);
    expect(await query(database.db, `select count(*)::int as n from server_subusers`)).toEqual([{ n: 3 }]);
    for (const entity of ['nests', 'allocations', 'databases', 'subusers']) {
      expect(outcome.warnings).toContainEqual(expect.objectContaining({ code: 'RECORD_UNREADABLE', entity }));
    }
  });

  test('a row of a parent that is missing is rejected with its children', async () => {
    const outcome = await mergeHand(
      database.db,
      change({
        locations: [{ id: 1, short: 'a' }],
        nodes: [
          { id: 1, location_id: 1 },
          { id: 2, location_id: 1, uuid: '' },
        ],
        servers: [
          { id: 1, user: 99, node: 1, egg: 1, nest: 1 },
          { id: 2, user: 2, node: 2, egg: 77, nest: 78 },
        ],
        subusers: [{ id: 1, server: 1, user_id: 98 }],
      }),
    );
    expect(outcome.failures.map((f) => [f.entity, f.panelId, f.code])).toEqual([
      ['allocations', '3', 'PARENT_MISSING'],
      ['nodes', '2', 'INVALID_RECORD'],
      ['subusers', '1', 'PARENT_MISSING'],
    ]);
    expect(
      await query(
        database.db,
        `select "pterodactylId" as "panelId", "ownerId" is null as orphan, "nodeId" as node, "eggId" as egg, "nestId" as nest from servers order by 1`,
      ),
    ).toEqual([
      { panelId: 1, orphan: true, node: 1, egg: 1, nest: 1 },
      { panelId: 2, orphan: false, node: null, egg: null, nest: null },
    ]);
  });
});

describe('rows the database refuses for reasons of its own', () => {
  const many = (count: number): HandPanel =>
    change({ users: Array.from({ length: count }, (_, i) => ({ id: i + 1 })) });
  const refused = ['17', '2500', '4999'];
  test.each([
    [
      'a check constraint',
      `alter table users add constraint odd check ("pterodactylId" not in (17, 2500, 4999))`,
      '23514',
    ],
    [
      'a trigger',
      `create function refuse() returns trigger language plpgsql as $$ begin
         if new."pterodactylId" in (17, 2500, 4999) then raise exception 'no'; end if; return new; end $$;
       create trigger refuse before insert or update on users for each row execute function refuse()`,
      'P0001',
    ],
  ])('%s on 3 of 5,000: exactly they are rejected', async (_, sql, state) => {
    await database.db.raw(sql);
    const outcome = await mergeHand(database.db, many(5_000));
    expect(outcome.failures.filter((f) => f.entity === 'users')).toEqual(
      refused.map((panelId) => ({
        entity: 'users',
        panelId,
        code: 'DB_REFUSED',
        detail: `the database refused the row (SQLSTATE ${state})`,
      })),
    );
    expect(outcome.counts.users).toEqual({ created: 4_997, updated: 0, unchanged: 0, pruned: 0, failed: 3 });
    expect(outcome.counts.servers).toMatchObject({ created: 2 });
    expect(await query(database.db, 'select count(*)::int as n from users')).toEqual([{ n: 4_997 }]);
  });

  test('a value that is too long for an index rejects its row only', async () => {
    const long = Array.from({ length: 4_000 }, (_, i) => String.fromCharCode(0x4e00 + ((i * 7_919) % 20_000))).join('');
    const outcome = await mergeHand(
      database.db,
      change({
        locations: [
          { id: 1, short: 'a' },
          { id: 2, short: 'b' },
          { id: 3, short: long },
        ],
      }),
    );
    expect(outcome.failures).toEqual([
      {
        entity: 'locations',
        panelId: '3',
        code: 'DB_REFUSED',
        detail: 'the database refused the row (SQLSTATE 54000)',
      },
    ]);
    expect(await ids('locations')).toEqual([1, 2]);
  });

  test('refused subusers and databases never fail the run', async () => {
    await database.db.raw(
      `alter table server_subusers add constraint odd check ("isOwner"); alter table server_databases add constraint odd check ("pterodactylId" <> 2)`,
    );
    const outcome = await mergeHand(database.db, PANEL);
    expect(outcome.failures.map((f) => [f.entity, f.panelId, f.code])).toEqual([
      ['databases', '2', 'DB_REFUSED'],
      ['subusers', '1', 'DB_REFUSED'],
    ]);
    expect(outcome.counts.subusers).toMatchObject({ created: 2, failed: 1 });
  });
});

describe('an unchanged panel', () => {
  test('nothing is written or locked, and almost no WAL is written', async () => {
    await mergeHand(database.db, PANEL);
    const before = await rowVersions(database.db);
    const run = await openTestRun(database.db);
    const staged = await stageHand(database.db, run, PANEL);
    // The WAL volume of this connection alone is read: other tests write on the same server.
    const one = openTestDb({ connectionString: database.url, applicationName: 'test-wal', max: 1 });
    const logged = async () => {
      await one.raw('select pg_stat_force_next_flush()');
      const [row] = await query(
        one,
        'select wal_bytes::bigint::text as n from pg_stat_get_backend_wal(pg_backend_pid())',
      );
      return Number(row?.['n']);
    };
    const from = await logged();
    const outcome = await mergeRun(one, {
      logId: run.logId,
      key: 'k',
      dryRun: false,
      allowMassPrune: false,
      ...staged,
    });
    const wal = (await logged()) - from;
    await one.destroy();
    expect(wal).toBeGreaterThan(0);
    expect(wal).toBeLessThan(1_000_000);
    expect(await rowVersions(database.db)).toEqual(before);
    for (const count of Object.values(outcome.counts))
      expect(count).toMatchObject({ created: 0, updated: 0, pruned: 0, failed: 0 });
    await closeRun(database.db, { ...run, outcome: 'COMPLETED', metadata: {} });
  });

  test('columns of the site survive every sync', async () => {
    await mergeHand(database.db, PANEL);
    await database.db.raw(
      `update users set roles = '{SUPER_ADMIN}', password = 'x', "isActive" = false, "accountBalance" = 5;
       update servers set config = '{"a":1}', "serverType" = 'game_server'; update server_databases set password = 'p';
       update server_subusers set "accessConfig" = '{"b":1}', "accessLevel" = 'viewer' where not "isOwner"`,
    );
    const outcome = await mergeHand(
      database.db,
      change({
        users: [
          { id: 1, root_admin: true },
          { id: 2, root_admin: true },
          { id: 3, root_admin: true },
        ],
        servers: (PANEL.servers ?? []).map((s) => ({ ...s, name: 'renamed' })),
        databases: (PANEL.databases ?? []).map((d) => ({ ...d, max_connections: 9 })),
        subusers: [{ id: 1, server: 1, user_id: 3, permissions: ['control.stop'] }],
      }),
    );
    expect(outcome.counts).toMatchObject({
      users: { updated: 3 },
      servers: { updated: 2 },
      databases: { updated: 2 },
      subusers: { updated: 1 },
    });
    expect(
      await query(database.db, `select distinct roles, password, "isActive", "accountBalance"::text as b from users`),
    ).toEqual([{ roles: ['SUPER_ADMIN'], password: 'x', isActive: false, b: '5.00' }]);
    expect(await query(database.db, 'select distinct config, name from servers')).toEqual([
      { config: { a: 1 }, name: 'renamed' },
    ]);
    expect(await query(database.db, 'select distinct password from server_databases')).toEqual([{ password: 'p' }]);
    expect(
      await query(
        database.db,
        `select "accessConfig" as c, "accessLevel" as l, permissions from server_subusers where not "isOwner"`,
      ),
    ).toEqual([{ c: { b: 1 }, l: 'viewer', permissions: ['control.stop'] }]);
  });
});

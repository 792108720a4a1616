/** Which rows are deleted, and above all which are not. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { change, HAND_PANEL, type HandPanel, mergeHand, query } from '../../support/merge.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const ids = async (table: string, column = 'id') =>
  (await query(database.db, `select "${column}" as id from ${table} where "${column}" is not null order by 1`)).map(
    (r) => r['id'],
  );
const range = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i + 1));
const refused = (entity: string) => expect.objectContaining({ code: 'PRUNE_REFUSED', entity });
/** Location 1 with node 1 and its allocation; everything else is gone. */
const HALF = change({
  locations: [{ id: 1, short: 'a' }],
  nodes: [{ id: 1, location_id: 1 }],
  allocations: [{ id: 1, node: 1, port: 1001, server: 1 }],
  nests: [{ id: 1 }],
  eggs: [{ id: 1, nest: 1 }],
  variables: [{ id: 1, egg: 1 }],
  users: [{ id: 1 }],
  servers: [{ id: 1, user: 1, node: 1, egg: 1, nest: 1 }],
  databases: [{ id: 1, server: 1 }],
  subusers: [],
});

describe('what is gone', () => {
  test('is deleted from each table except users, and counted', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const outcome = await mergeHand(database.db, HALF);
    expect(outcome.warnings).toEqual([]);
    for (const table of ['locations', 'nodes', 'nests', 'eggs', 'egg_variables', 'allocations'])
      expect(await ids(table)).toEqual([1]);
    expect(await ids('servers', 'pterodactylId')).toEqual([1]);
    expect(await ids('server_databases', 'pterodactylId')).toEqual([1]);
    // Accounts stay; those whose panel user is gone lose it.
    expect(await ids('users', 'pterodactylId')).toEqual([1]);
    expect(await query(database.db, 'select 1 from users')).toHaveLength(3);
    expect(outcome.counts).toMatchObject({
      locations: { pruned: 1 },
      nodes: { pruned: 1 },
      allocations: { pruned: 2 },
      servers: { pruned: 1 },
      users: { pruned: 0 },
    });
  });

  test.each([
    ['locations', ['locations', 'nodes', 'allocations']],
    ['nests', ['nests', 'eggs', 'egg_variables']],
    ['servers', ['servers']],
  ])('rows that an incomplete listing (%s) does not contain stay', async (source, tables) => {
    await mergeHand(database.db, HAND_PANEL);
    // The parents stay; lists inside one answer are whole nevertheless.
    await mergeHand(database.db, HALF, { incomplete: [source] });
    for (const table of tables.slice(0, 2)) expect(await ids(table)).toHaveLength(2);
    for (const table of ['locations', 'nests', 'servers'].filter((t) => t !== source))
      expect(await ids(table)).toHaveLength(1);
  });

  test('an include the key may not read is no empty list', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const outcome = await mergeHand(
      database.db,
      change({ allocations: [], databases: [], subusers: [], variables: [], eggs: [] }),
      {
        denied: { locations: ['allocations'], servers: ['allocations', 'databases', 'subusers'], nests: ['eggs'] },
      },
    );
    expect(await ids('allocations')).toEqual([1, 2, 3]);
    expect(await ids('eggs')).toEqual([1, 2]);
    expect(await ids('egg_variables')).toEqual([1, 2]);
    expect(await ids('server_databases', 'pterodactylId')).toEqual([1, 2]);
    expect(await query(database.db, 'select id from allocations where "serverId" is not null order by 1')).toEqual([
      { id: 1 },
      { id: 3 },
    ]);
    expect(await query(database.db, 'select count(*)::int as n from server_subusers')).toEqual([{ n: 3 }]);
    expect(outcome.failures).toEqual([]);
  });

  test('lists are whole per parent: rows that a nest or node does not list are deleted, an unread parent keeps its rows', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const outcome = await mergeHand(
      database.db,
      change({
        allocations: [],
        eggs: [],
        variables: [],
        locations: [{ id: 1, short: 'a' }],
        nodes: [{ id: 1, location_id: 1 }],
        nests: [{ id: 1 }],
      }),
      {
        incomplete: ['locations', 'nests'],
      },
    );
    expect(await ids('allocations')).toEqual([3]);
    expect(await ids('eggs')).toEqual([2]);
    expect(await ids('egg_variables')).toEqual([2]);
    expect(outcome.counts).toMatchObject({ allocations: { pruned: 2 }, nodes: { pruned: 0 }, nests: { pruned: 0 } });
  });

  test('with several pages, only rows that the panel does not know are pruned', async () => {
    await mergeHand(database.db, change({ servers: range(6, (id) => ({ id, user: 1, node: 1, egg: 1, nest: 1 })) }));
    const left = change({ servers: [1, 2, 3].map((id) => ({ id, user: 1, node: 1, egg: 1, nest: 1 })) });
    await mergeHand(database.db, left, { perPage: 2 });
    expect(await ids('servers', 'pterodactylId')).toEqual([1, 2, 3, 4, 5, 6]);
    const outcome = await mergeHand(database.db, left, {
      perPage: 2,
      confirmed: [
        { entity: 'servers', id: 4, alive: false },
        { entity: 'servers', id: 5, alive: true },
      ],
    });
    expect(await ids('servers', 'pterodactylId')).toEqual([1, 2, 3, 5, 6]);
    expect(outcome.counts.servers).toMatchObject({ pruned: 1 });
  });

  test('the same holds for locations and nodes of several pages', async () => {
    const three = change({
      locations: range(3, (id) => ({ id })),
      nodes: range(3, (id) => ({ id, location_id: id })),
      servers: [],
      databases: [],
      subusers: [],
    });
    await mergeHand(database.db, three);
    const two = { ...three, locations: range(2, (id) => ({ id })), nodes: range(2, (id) => ({ id, location_id: id })) };
    await mergeHand(database.db, two, { perPage: 1 });
    expect(await ids('nodes')).toEqual([1, 2, 3]);
    await mergeHand(database.db, two, { perPage: 1, confirmed: [{ entity: 'locations', id: 3, alive: false }] });
    expect(await ids('locations')).toEqual([1, 2, 3]);
    await mergeHand(database.db, two, {
      perPage: 1,
      confirmed: [
        { entity: 'locations', id: 3, alive: false },
        { entity: 'nodes', id: 3, alive: false },
      ],
    });
    expect(await ids('locations')).toEqual([1, 2]);
    expect(await ids('nodes')).toEqual([1, 2]);
  });
});

describe('the prune guard', () => {
  const servers = (count: number): HandPanel =>
    change({
      servers: range(count, (id) => ({ id, user: 1, node: 1, egg: 1, nest: 1 })),
      databases: [],
      subusers: [],
      allocations: [],
    });

  test('an empty listing while rows exist prunes nothing, also where mass prunes are allowed', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const outcome = await mergeHand(database.db, {}, { allowMassPrune: true });
    expect(outcome.warnings).toEqual(expect.arrayContaining([refused('servers'), refused('nests'), refused('nodes')]));
    expect(await ids('servers', 'pterodactylId')).toEqual([1, 2]);
    expect(await ids('locations')).toEqual([1, 2]);
    expect(await ids('nests')).toEqual([1, 2]);
    expect(Object.values(outcome.counts).map((c) => c.pruned)).toEqual(range(10, () => 0));
  });

  test('an empty include of parents that were read is an answer', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const outcome = await mergeHand(database.db, change({ allocations: [], databases: [], subusers: [] }));
    expect(outcome.counts).toMatchObject({
      allocations: { pruned: 3 },
      databases: { pruned: 2 },
      subusers: { pruned: 1 },
    });
  });

  test('more than half of more than 20 rows is refused, unless it is allowed', async () => {
    await mergeHand(database.db, servers(21));
    const outcome = await mergeHand(database.db, servers(10));
    expect(outcome.warnings).toEqual([refused('servers')]);
    expect(await ids('servers', 'pterodactylId')).toHaveLength(21);
    expect(outcome.counts.servers).toMatchObject({ pruned: 0, unchanged: 10 });
    expect((await mergeHand(database.db, servers(10), { allowMassPrune: true })).counts.servers).toMatchObject({
      pruned: 11,
    });
  });

  test('half of 22 rows, and all but one of 20, pass', async () => {
    await mergeHand(database.db, servers(22));
    expect((await mergeHand(database.db, servers(11))).counts.servers).toMatchObject({ pruned: 11 });
    expect((await mergeHand(database.db, servers(1))).counts.servers).toMatchObject({ pruned: 10 });
  });

  test('parents of refused children stay as well', async () => {
    const wide = change({
      nodes: [
        { id: 1, location_id: 1 },
        { id: 2, location_id: 2 },
      ],
      allocations: range(30, (id) => ({ id, node: 2 })),
      eggs: range(30, (id) => ({ id, nest: 2 })),
      variables: [],
      servers: [],
      databases: [],
      subusers: [],
    });
    await mergeHand(database.db, wide);
    const outcome = await mergeHand(database.db, {
      ...wide,
      locations: [{ id: 1, short: 'a' }],
      nodes: [{ id: 1, location_id: 1 }],
      allocations: [],
      nests: [{ id: 1 }],
      eggs: [],
    });
    expect(outcome.warnings).toEqual(
      expect.arrayContaining([refused('allocations'), refused('nodes'), refused('eggs'), refused('nests')]),
    );
    expect(await ids('nodes')).toEqual([1, 2]);
    expect(await ids('nests')).toEqual([1, 2]);
    expect(await ids('locations')).toEqual([1, 2]);
    expect(await ids('allocations')).toHaveLength(30);
    expect(await ids('eggs')).toHaveLength(30);
  });
});

describe("rows that are not the panel's", () => {
  beforeEach(async () => {
    await mergeHand(database.db, HAND_PANEL);
    await database.db.raw(
      `insert into locations (id, "shortCode") values (50, 'hand');
       insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId", "panelType") values (50, 'n50', 'vps', 'v', 1, 1, 50, 'virtfusion'), (51, 'n51', 'vps', 'v', 1, 1, 2, 'virtfusion');
       insert into allocations (id, ip, port, "nodeId") values (50, '1.1.1.1', 1, 50), (51, '1.1.1.1', 1, 51);
       insert into eggs (id, uuid, name, "nestId", "panelType") values (50, 'e50', 'x', 2, 'virtfusion');
       insert into egg_variables (id, egg_id, name, env_variable) values (50, 50, 'x', 'X');
       insert into servers (id, name, "serverType", "panelType", "ownerId") select 'hand', 'inbox', 'email', 'other', id from users where "pterodactylId" = 2;
       insert into servers (id, name, "serverType", "panelType") values ('bare', 'no panel id', 'game_server', 'pterodactyl');
       insert into server_databases (id, "serverId", host, "databaseName", username) select 'hand', id, 'h', 'd', 'u' from servers where "pterodactylId" = 1;
       insert into server_subusers (id, "serverId", "userId") select 'hand', 'hand', id from users where "pterodactylId" = 3;
       update allocations set "serverId" = 'hand', "isAssigned" = true where id = 50`,
    );
  });

  test('survive every prune, with their parents', async () => {
    const outcome = await mergeHand(database.db, HALF);
    expect(outcome.status).toBe('merged');
    expect(await ids('nodes')).toEqual([1, 50, 51]);
    expect(await ids('locations')).toEqual([1, 2, 50]);
    expect(await ids('allocations')).toEqual([1, 50, 51]);
    expect(await ids('nests')).toEqual([1, 2]);
    expect(await ids('eggs')).toEqual([1, 50]);
    expect(await query(database.db, `select id from servers where "pterodactylId" is null order by 1`)).toEqual([
      { id: 'bare' },
      { id: 'hand' },
    ]);
    expect(await query(database.db, `select id from server_databases where id = 'hand'`)).toHaveLength(1);
    expect(await query(database.db, `select id from server_subusers where id = 'hand'`)).toHaveLength(1);
    expect(await query(database.db, `select "serverId" as s from allocations where id = 50`)).toEqual([{ s: 'hand' }]);
    expect(await ids('egg_variables')).toEqual([1, 50]);
  });

  test('are not overwritten by a panel row of the same id', async () => {
    const outcome = await mergeHand(
      database.db,
      change({
        nodes: [...(HAND_PANEL.nodes ?? []), { id: 50, location_id: 1 }],
        allocations: [...(HAND_PANEL.allocations ?? []), { id: 60, node: 50 }],
        eggs: [...(HAND_PANEL.eggs ?? []), { id: 50, nest: 1 }],
        variables: [...(HAND_PANEL.variables ?? []), { id: 60, egg: 50 }],
      }),
    );
    expect(outcome.failures.map((f) => [f.entity, f.panelId, f.code])).toEqual([
      ['allocations', '60', 'PARENT_MISSING'],
      ['egg_variables', '60', 'PARENT_MISSING'],
      ['eggs', '50', 'KEY_TAKEN'],
      ['nodes', '50', 'KEY_TAKEN'],
    ]);
    expect(await query(database.db, 'select name, "locationId" as l from nodes where id = 50')).toEqual([
      { name: 'vps', l: 50 },
    ]);
  });
});

describe('a parent that loses its children', () => {
  test('a location is not deleted under a node whose move was rejected', async () => {
    await mergeHand(database.db, HAND_PANEL);
    // Node 2 moves to location 1, but its record cannot be read.
    const outcome = await mergeHand(
      database.db,
      change({
        locations: [{ id: 1, short: 'a' }],
        nodes: [
          { id: 1, location_id: 1 },
          { id: 2, location_id: 1, name: '' },
        ],
      }),
    );
    expect(outcome.failures).toMatchObject([{ entity: 'nodes', panelId: '2', code: 'INVALID_RECORD' }]);
    expect(await ids('nodes')).toEqual([1, 2]);
    expect(await ids('locations')).toEqual([1, 2]);
    expect(outcome.counts.locations).toMatchObject({ pruned: 0 });
  });

  test('a node is not deleted under an allocation that was moved but cannot be written', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const outcome = await mergeHand(
      database.db,
      change({
        locations: [{ id: 1, short: 'a' }],
        nodes: [{ id: 1, location_id: 1 }],
        allocations: [
          { id: 1, node: 1, port: 1001, server: 1 },
          { id: 2, node: 1, port: 1002 },
          { id: 3, node: 1, port: 70_000_000_000 },
        ],
        servers: [],
        databases: [],
        subusers: [],
      }),
      { allowMassPrune: true },
    );
    expect(outcome.failures).toMatchObject([{ entity: 'allocations', panelId: '3', code: 'INVALID_RECORD' }]);
    expect(await ids('allocations')).toEqual([1, 2, 3]);
    expect(await ids('nodes')).toEqual([1, 2]);
    expect(await ids('locations')).toEqual([1, 2]);
  });

  test('a location is deleted after its last node has moved away', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const outcome = await mergeHand(
      database.db,
      change({
        locations: [{ id: 1, short: 'a' }],
        nodes: [
          { id: 1, location_id: 1 },
          { id: 2, location_id: 1 },
        ],
      }),
    );
    expect(outcome.counts).toMatchObject({
      locations: { pruned: 1 },
      nodes: { updated: 1, pruned: 0 },
      allocations: { unchanged: 3, pruned: 0 },
    });
  });
});

describe('allocations and their servers', () => {
  const links = async () =>
    Object.fromEntries(
      (
        await query(
          database.db,
          `select a.id, s."pterodactylId" as server from allocations a left join servers s on s.id = a."serverId" order by a.id`,
        )
      ).map((r) => [String(r['id']), r['server']]),
    );
  beforeEach(() => mergeHand(database.db, HAND_PANEL));
  const allocations = (...servers: (number | null)[]) =>
    HAND_PANEL.allocations?.map((a, i) => ({ ...a, server: servers[i] ?? null })) ?? [];

  test("links follow the servers' lists: given, taken, moved", async () => {
    expect(await links()).toEqual({ 1: 1, 2: null, 3: 2 });
    const outcome = await mergeHand(database.db, change({ allocations: allocations(null, 1, 1) }));
    expect(await links()).toEqual({ 1: null, 2: 1, 3: 1 });
    expect(outcome.counts.allocations).toMatchObject({ updated: 3 });
  });

  test('a server that is gone releases its allocations, also one that is still assigned', async () => {
    const panel = change({ servers: [{ id: 1, user: 1, node: 1, egg: 1, nest: 1 }], databases: [], subusers: [] });
    await mergeHand(database.db, panel);
    expect(await links()).toEqual({ 1: 1, 2: null, 3: null });
  });

  test('a server that was not read keeps assigned allocations and loses the others', async () => {
    await mergeHand(database.db, change({ allocations: allocations(1, null, null) }), { target: 'allocations' });
    expect(await links()).toEqual({ 1: 1, 2: null, 3: null });
  });

  test('a server whose record was rejected keeps its links', async () => {
    await mergeHand(
      database.db,
      change({
        servers: [
          { id: 1, user: 1, node: 1, egg: 1, nest: 1 },
          { id: 2, name: '' },
        ],
      }),
    );
    expect(await links()).toEqual({ 1: 1, 2: null, 3: 2 });
  });

  test('without the right to read the include, links stay as long as they are assigned', async () => {
    await mergeHand(database.db, change({ allocations: allocations(2, 2, null) }), {
      denied: { servers: ['allocations'] },
    });
    expect(await links()).toEqual({ 1: 1, 2: null, 3: null });
  });

  test('the target servers changes the links of mirrored allocations, and no other column of them', async () => {
    const outcome = await mergeHand(
      database.db,
      change({
        allocations: [
          { id: 1, node: 1, port: 5, server: 2 },
          { id: 2, node: 1, port: 6, server: 2 },
          { id: 99, node: 1, server: 1 },
        ],
      }),
      { target: 'servers' },
    );
    expect(Object.keys(outcome.counts)).toEqual(['servers']);
    expect(await links()).toEqual({ 1: 2, 2: 2, 3: null });
    expect(await query(database.db, 'select port from allocations order by id')).toEqual([
      { port: 1001 },
      { port: 1002 },
      { port: 1001 },
    ]);
  });
});

describe('single targets', () => {
  test.each([
    ['locations', ['locations']],
    ['nodes', ['nodes']],
    ['allocations', ['allocations']],
    ['nests', ['nests', 'eggs', 'egg_variables']],
    ['users', ['users']],
    ['servers', ['servers']],
    ['databases', ['databases']],
  ] as const)('%s writes its own entities only', async (target, entities) => {
    await mergeHand(database.db, HAND_PANEL);
    const panel: HandPanel = {
      locations: [
        { id: 1, short: 'x' },
        { id: 2, short: 'y' },
      ],
      nodes: (HAND_PANEL.nodes ?? []).map((n) => ({ ...n, name: 'x' })),
      allocations: (HAND_PANEL.allocations ?? []).map((a) => ({ ...a, notes: 'x' })),
      nests: [
        { id: 1, name: 'x' },
        { id: 2, name: 'x' },
      ],
      eggs: (HAND_PANEL.eggs ?? []).map((e) => ({ ...e, name: 'x' })),
      variables: (HAND_PANEL.variables ?? []).map((v) => ({ ...v, name: 'x' })),
      users: [
        { id: 1, username: 'x' },
        { id: 2, username: 'x' },
        { id: 3, username: 'x' },
      ],
      servers: (HAND_PANEL.servers ?? []).map((s) => ({ ...s, name: 'x' })),
      databases: (HAND_PANEL.databases ?? []).map((d) => ({ ...d, username: 'x' })),
      subusers: HAND_PANEL.subusers ?? [],
    };
    const outcome = await mergeHand(database.db, panel, { target });
    expect(Object.keys(outcome.counts).sort()).toEqual([...entities].sort());
    for (const count of Object.values(outcome.counts))
      expect(count).toMatchObject({ created: 0, pruned: 0, unchanged: 0 });
    // Other entities still differ.
    const rest = await mergeHand(database.db, panel);
    for (const [entity, count] of Object.entries(rest.counts)) {
      if (entity === 'subusers') continue;
      if (entities.some((e) => e === entity)) expect(count).toMatchObject({ updated: 0 });
      else expect(count.updated).toBeGreaterThan(0);
    }
  });

  test('databases keep their host when the key may not read hosts', async () => {
    await mergeHand(database.db, HAND_PANEL);
    await mergeHand(
      database.db,
      change({
        databases: [
          { id: 1, server: 1, username: 'new' },
          { id: 2, server: 2 },
          { id: 3, server: 2 },
        ],
      }),
      { denied: { servers: ['host'] } },
    );
    expect(
      await query(
        database.db,
        `select "pterodactylId" as "panelId", username, host, port from server_databases order by 1`,
      ),
    ).toEqual([
      { panelId: 1, username: 'new', host: 'db.example.net', port: 3307 },
      { panelId: 2, username: 'user2', host: 'db.example.net', port: 3307 },
      { panelId: 3, username: 'user3', host: '', port: 3306 },
    ]);
  });
});

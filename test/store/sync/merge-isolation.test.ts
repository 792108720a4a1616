/** One bad record, column or delete costs itself only, and rows of others are never touched. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { change, HAND_PANEL, type HandPanel, mergeHand, query } from '../../support/merge.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const rows = (sql: string) => query(database.db, sql);
const ids = async (table: string, column = 'id') =>
  (await rows(`select "${column}" as id from ${table} where "${column}" is not null order by 1`)).map(
    (row) => row['id'],
  );

describe('a delete that the database refuses', () => {
  /** Server 2 is gone, and much else has changed. */
  const later = change({
    locations: [
      { id: 1, short: 'renamed' },
      { id: 2, short: 'b' },
    ],
    servers: [{ id: 1, user: 1, node: 1, egg: 1, nest: 1, name: 'renamed' }],
    databases: [{ id: 1, server: 1 }],
  });

  test.each([
    [
      'a foreign key of the site',
      `create table site_orders (server text not null references servers(id)); insert into site_orders select id from servers where "pterodactylId" = 2`,
      '23503',
    ],
    [
      'a foreign key that is checked at the commit',
      `create table site_orders (server text not null references servers(id) deferrable initially deferred); insert into site_orders select id from servers where "pterodactylId" = 2`,
      '23503',
    ],
    [
      'a trigger',
      `create function keep() returns trigger language plpgsql as $$ begin if old."pterodactylId" = 2 then raise exception 'no'; end if; return old; end $$;
       create trigger keep before delete on servers for each row execute function keep()`,
      'P0001',
    ],
  ])(
    '(%s) keeps that row, names it, and everything else is written, in this run and the next (1.3)',
    async (_, sql, state) => {
      await mergeHand(database.db, HAND_PANEL);
      await database.db.raw(sql);
      for (let run = 0; run < 2; run += 1) {
        const outcome = await mergeHand(database.db, later);
        expect(outcome.failures).toMatchObject([{ entity: 'servers', panelId: '2', code: 'DB_REFUSED' }]);
        expect(outcome.warnings).toMatchObject([
          { code: 'PRUNE_REFUSED', entity: 'servers', message: expect.stringContaining(state) },
        ]);
        expect(outcome.counts.servers).toMatchObject({ pruned: 0, failed: 1 });
        expect(await rows(`select name from servers order by "pterodactylId"`)).toEqual([
          { name: 'renamed' },
          { name: 'server 2' },
        ]);
        expect(await rows(`select "shortCode" as s from locations order by id`)).toEqual([
          { s: 'renamed' },
          { s: 'b' },
        ]);
        expect(await rows(`select count(*)::int as n from outbox where payload->>'event' = 'server.deleted'`)).toEqual([
          { n: 0 },
        ]);
      }
    },
  );

  test('many refused deletes end the search, and all that are left stay (1.16)', async () => {
    const many = (n: number) =>
      change({
        servers: Array.from({ length: n }, (_, i) => ({ id: i + 1, user: 1, node: 1, egg: 1, nest: 1 })),
        allocations: [],
        databases: [],
        subusers: [],
      });
    await mergeHand(database.db, many(200));
    await database.db.raw(
      `create function keep() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
       create trigger keep before delete on servers for each row execute function keep()`,
    );
    const outcome = await mergeHand(database.db, many(110));
    expect(outcome.warnings).toMatchObject([{ code: 'PRUNE_REFUSED', message: expect.stringContaining('90 servers') }]);
    expect(await ids('servers', 'pterodactylId')).toHaveLength(200);
  });
});

describe('a column whose value is taken', () => {
  test('an administrator who is demoted on the panel loses the rights although the new address is taken here (1.9)', async () => {
    const admin = change({ users: [{ id: 1, root_admin: true }, { id: 2 }, { id: 3 }] });
    await mergeHand(database.db, admin);
    await database.db('users').insert({ id: 'other', email: 'taken@example.net', password: 'x' });
    const outcome = await mergeHand(
      database.db,
      change({
        users: [{ id: 1, root_admin: false, email: 'TAKEN@example.net', username: 'new' }, { id: 2 }, { id: 3 }],
      }),
    );
    expect(outcome.failures).toMatchObject([{ entity: 'users', panelId: '1', code: 'EMAIL_TAKEN' }]);
    expect(outcome.counts.users).toMatchObject({ updated: 1, unchanged: 2, failed: 0 });
    expect(
      await rows(`select email, username, "isPterodactylAdmin" as admin from users where "pterodactylId" = 1`),
    ).toEqual([{ email: 'u1@example.net', username: 'new', admin: false }]);
  });

  test.each([2, 40, 400])(
    'a blocked chain of %i values is resolved at once, and each row keeps its own (1.16)',
    async (length) => {
      const chain = (shift: number): HandPanel =>
        change({
          locations: Array.from({ length }, (_, i) => ({ id: i + 1, short: `s${i + shift}`, long: `${shift}` })),
          nodes: [],
          allocations: [],
          servers: [],
          databases: [],
          subusers: [],
        });
      await mergeHand(database.db, chain(0));
      // The last value is held by a location that another panel's node keeps.
      await database.db.raw(
        `insert into locations (id, "shortCode") values (9000, 's${length}');
       insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId", "panelType") values (50, 'n50', 'vps', 'v', 1, 1, 9000, 'virtfusion')`,
      );
      const outcome = await mergeHand(database.db, chain(1));
      expect(outcome.failures).toHaveLength(length);
      expect(outcome.counts.locations).toMatchObject({ updated: length, failed: 0 });
      expect(
        await rows(
          `select count(*)::int as n from locations where "shortCode" = 's' || (id - 1) and description = '1'`,
        ),
      ).toEqual([{ n: length }]);
    },
  );

  test('a chain that ends in a free value moves as a whole', async () => {
    const chain = (shift: number): HandPanel =>
      change({
        locations: Array.from({ length: 60 }, (_, i) => ({ id: i + 1, short: `s${i + shift}` })),
        nodes: [],
        allocations: [],
        servers: [],
        databases: [],
        subusers: [],
      });
    await mergeHand(database.db, chain(0));
    expect(await mergeHand(database.db, chain(1))).toMatchObject({
      failures: [],
      counts: { locations: { updated: 60 } },
    });
  });
});

describe('records that cannot be stored', () => {
  const servers = (n: number, odd: (id: number) => boolean) =>
    change({
      servers: Array.from({ length: n }, (_, i) => ({
        id: i + 1,
        user: 1,
        node: 1,
        egg: 1,
        nest: 1,
        ...(odd(i + 1) ? { name: { odd: true } } : {}),
      })),
      databases: [],
      subusers: [],
    });

  test('a few are named in a warning with their codes, and their rows stay (1.9)', async () => {
    await mergeHand(
      database.db,
      servers(30, () => false),
    );
    const outcome = await mergeHand(
      database.db,
      servers(30, (id) => id <= 2),
    );
    expect(outcome.warnings).toMatchObject([
      { code: 'SET_ASIDE', entity: 'servers', message: expect.stringContaining('2 servers') },
    ]);
    expect(outcome.counts.servers).toMatchObject({ unchanged: 28, failed: 2, pruned: 0 });
  });

  test('more than half of a listing refuses the run: nothing is changed (1.9)', async () => {
    await mergeHand(
      database.db,
      servers(30, () => false),
    );
    const renamed = servers(30, (id) => id <= 16);
    await expect(
      mergeHand(database.db, { ...renamed, locations: [{ id: 1, short: 'renamed' }, { id: 2 }] }),
    ).rejects.toMatchObject({
      code: 'PANEL_CONTRACT',
      message: expect.stringContaining('16 of 30 servers'),
    });
    expect(await rows(`select "shortCode" as s from locations where id = 1`)).toEqual([{ s: 'a' }]);
  });

  test('a run keeps the first 1,000 of an entity; the count is the true one (1.17)', async () => {
    const users = (n: number) =>
      change({
        users: [...Array(3).keys(), ...Array(n).keys()].map((i, at) => ({
          id: at + 1,
          email: `same${at < 3 ? i : ''}@example.net`,
        })),
        servers: [],
        databases: [],
        allocations: [],
        subusers: [],
      });
    const outcome = await mergeHand(database.db, users(1_500));
    expect(outcome.counts.users).toMatchObject({ created: 4, failed: 1_499 });
    expect(await rows(`select count(*)::int as n from sync_failures where entity = 'users'`)).toEqual([{ n: 1_000 }]);
  });

  test('a table that refuses row after row ends the run with its name and state, and nothing is changed (1.16)', async () => {
    await database.db.raw('alter table allocations add column site_code text not null default null');
    const many = change({
      allocations: Array.from({ length: 3_000 }, (_, i) => ({ id: i + 1, node: 1, port: 10_000 + i })),
    });
    await expect(mergeHand(database.db, many)).rejects.toMatchObject({
      code: 'DATABASE_REFUSED',
      message: expect.stringMatching(/allocations.*23502/),
    });
    expect(await rows('select 1 from locations')).toEqual([]);
  });
});

describe("rows that are not the panel's", () => {
  beforeEach(async () => {
    await mergeHand(database.db, HAND_PANEL);
    await database.db.raw(
      `insert into locations (id, "shortCode") values (50, 'hand');
       insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId", "panelType") values (50, 'n50', 'vps', 'v', 1, 1, 50, 'virtfusion'), (51, 'n51', 'own', 'v', 1, 1, 50, null);
       insert into allocations (id, ip, port, "nodeId") values (50, '1.1.1.1', 1, 50), (51, '1.1.1.1', 1, 51);
       insert into eggs (id, uuid, name, "nestId", "panelType") values (50, 'e50', 'x', 2, 'virtfusion');
       insert into egg_variables (id, egg_id, name, env_variable) values (50, 50, 'x', 'X')`,
    );
  });

  test('an allocation or variable of another panel keeps its row although the panel has the same id (1.5)', async () => {
    const outcome = await mergeHand(
      database.db,
      change({
        allocations: [
          ...(HAND_PANEL.allocations ?? []),
          { id: 50, node: 1, port: 7, server: 1 },
          { id: 51, node: 1, port: 8, server: 1 },
        ],
        variables: [...(HAND_PANEL.variables ?? []), { id: 50, egg: 1 }],
      }),
    );
    expect(outcome.failures).toMatchObject([
      { entity: 'allocations', panelId: '50', code: 'KEY_TAKEN' },
      { entity: 'allocations', panelId: '51', code: 'KEY_TAKEN' },
      { entity: 'egg_variables', panelId: '50', code: 'KEY_TAKEN' },
    ]);
    expect(
      await rows('select id, "nodeId" as node, "serverId" as server from allocations where id >= 50 order by id'),
    ).toEqual([
      { id: 50, node: 50, server: null },
      { id: 51, node: 51, server: null },
    ]);
    expect(await rows('select egg_id as egg from egg_variables where id = 50')).toEqual([{ egg: 50 }]);
  });

  test('a node without a panel is the panel’s if it has the same uuid, and of no other', async () => {
    const nodes = (uuid: string) =>
      change({ nodes: [...(HAND_PANEL.nodes ?? []), { id: 51, location_id: 1, uuid, name: 'panel' }] });
    expect((await mergeHand(database.db, nodes('another'))).failures).toMatchObject([
      { entity: 'nodes', panelId: '51', code: 'KEY_TAKEN' },
    ]);
    expect((await mergeHand(database.db, nodes('n51'))).failures).toEqual([]);
    expect(await rows('select name, "panelType" as panel, "locationId" as location from nodes where id = 51')).toEqual([
      { name: 'panel', panel: 'pterodactyl', location: 1 },
    ]);
  });

  test('subusers that the site added stay, those that a sync wrote go (B3)', async () => {
    await database.db.raw(
      `insert into server_subusers (id, "serverId", "userId") select 'site', s.id, u.id from servers s, users u where s."pterodactylId" = 2 and u."pterodactylId" = 3`,
    );
    const outcome = await mergeHand(database.db, change({ subusers: [] }));
    expect(outcome.counts.subusers).toMatchObject({ pruned: 1 });
    expect(await rows(`select id from server_subusers where not "isOwner"`)).toEqual([{ id: 'site' }]);
  });

  test('a database that the site recorded gets the panel’s id and keeps its password (B2)', async () => {
    await database.db.raw(
      `update server_databases set "pterodactylId" = null, password = 'secret' where "pterodactylId" = 1;
       insert into server_databases (id, "serverId", host, "databaseName", username) select 'other', id, 'h', 'by hand', 'u' from servers where "pterodactylId" = 1`,
    );
    const outcome = await mergeHand(database.db, HAND_PANEL);
    expect(outcome.counts.databases).toMatchObject({ created: 0, updated: 1, pruned: 0 });
    expect(
      await rows(
        `select "databaseName" as name, password, "pterodactylId" as "panelId" from server_databases order by name`,
      ),
    ).toEqual([
      { name: 'by hand', password: null, panelId: null },
      { name: 'db1', password: 'secret', panelId: 1 },
      { name: 'db2', password: null, panelId: 2 },
    ]);
  });

  test.each([
    ['a property', `insert into egg_properties (id, egg_id, key, value) values ('p', 2, 'k', 'v')`],
    [
      'a variable of a server that is not the panel’s',
      `insert into servers (id, name, "panelType") values ('vps', 'vps', 'virtfusion'); insert into server_variables (id, "serverId", "eggVariableId", "variableValue") values ('v', 'vps', 2, 'x')`,
    ],
  ])('an egg that left the panel stays while %s hangs on it, and is named (B3)', async (_, sql) => {
    await database.db.raw(sql);
    const without = change({
      nests: [{ id: 1 }],
      eggs: [{ id: 1, nest: 1 }],
      variables: [{ id: 1, egg: 1 }],
      servers: [{ id: 1, user: 1, node: 1, egg: 1, nest: 1 }],
      databases: [{ id: 1, server: 1 }],
    });
    const outcome = await mergeHand(database.db, without);
    expect(outcome.warnings).toMatchObject([
      { code: 'KEPT_IN_USE', entity: 'eggs', message: expect.stringContaining('ids 2') },
    ]);
    expect(await ids('eggs')).toEqual([1, 2, 50]);
    expect(await ids('nests')).toEqual([1, 2]);
    await database.db.raw(`delete from egg_properties; delete from server_variables; delete from eggs where id = 50`);
    expect((await mergeHand(database.db, without)).warnings).toEqual([]);
    expect(await ids('eggs')).toEqual([1]);
    expect(await ids('nests')).toEqual([1]);
  });
});

test('an allocation is assigned exactly while it has its server (F7)', async () => {
  await mergeHand(database.db, HAND_PANEL);
  const apart = () => rows(`select a.id from allocations a where a."isAssigned" <> (a."serverId" is not null)`);
  expect(await apart()).toEqual([]);
  // The allocations were read before server 2 went, the servers afterwards.
  const went: HandPanel = change({
    servers: [{ id: 1, user: 1, node: 1, egg: 1, nest: 1 }],
    databases: [{ id: 1, server: 1 }],
    allocations: [
      { id: 1, node: 1, port: 1001, server: 1 },
      { id: 2, node: 1, port: 1002, assigned: true },
      { id: 3, node: 2, port: 1001, assigned: true },
    ],
  });
  await mergeHand(database.db, went);
  expect(await apart()).toEqual([]);
  await mergeHand(database.db, HAND_PANEL);
  await mergeHand(database.db, went, { target: 'servers' });
  expect(await apart()).toEqual([]);
  expect(await rows(`select a.id from allocations a where a."isAssigned"`)).toEqual([{ id: 1 }]);
});

test('limits beyond 2^31 are stored (F8)', async () => {
  const limits = { memory: 3_000_000_000, disk: 9_007_199_254_740_991, cpu: 4_000_000_000 };
  const outcome = await mergeHand(
    database.db,
    change({
      servers: [{ id: 1, user: 1, node: 1, egg: 1, nest: 1, limits }],
      databases: [],
      allocations: [],
      subusers: [],
    }),
  );
  expect(outcome.failures).toEqual([]);
  expect(await rows('select memory, disk, cpu from servers')).toEqual([
    { memory: '3000000000', disk: '9007199254740991', cpu: '4000000000' },
  ]);
});

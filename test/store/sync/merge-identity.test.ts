/** Who is who: an id of the panel means something only together with a uuid. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { change, HAND_PANEL, type HandPanel, handUuid, mergeHand, query } from '../../support/merge.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const rows = (sql: string) => query(database.db, sql);
const accounts = () =>
  rows(
    `select email, "pterodactylId" as "panelId", "pterodactylUuid" as uuid, "isPterodactylAdmin" as admin from users order by email`,
  );
const owners = () =>
  rows(
    `select s."pterodactylId" as "panelId", u.email as owner from servers s left join users u on u.id = s."ownerId" order by s."pterodactylId", s.uuid`,
  );
const ownerRows = () =>
  rows(
    `select s."pterodactylId" as "panelId", u.email from server_subusers x join servers s on s.id = x."serverId" join users u on u.id = x."userId" where x."isOwner" order by 1`,
  );

/** The accounts are in use: they keep their addresses. */
const signIn = () => database.db('users').update({ password: 'x', emailVerified: new Date() });
const usersOf = (panel: HandPanel) => panel.users ?? [];

describe('a panel id of a user that is given again', () => {
  const reused = (email: string, id = 2): HandPanel =>
    change({ users: [{ id: 1 }, { id, email, uuid: handUuid.user(90), root_admin: true }, { id: 3 }] });

  test('the server belongs to the new user, the former account loses the id and the rights (1.1, F4)', async () => {
    await mergeHand(database.db, HAND_PANEL);
    await signIn();
    const outcome = await mergeHand(database.db, reused('new@example.net'));
    expect(outcome.failures).toEqual([]);
    expect(outcome.warnings).toMatchObject([
      { code: 'ID_REUSED', entity: 'users', message: expect.stringContaining('(ids 2)') },
    ]);
    expect(outcome.counts.users).toMatchObject({ created: 1, updated: 1, unchanged: 2 });
    expect(await accounts()).toMatchObject([
      { email: 'new@example.net', panelId: 2, uuid: handUuid.user(90), admin: true },
      { email: 'u1@example.net', panelId: 1 },
      { email: 'u2@example.net', panelId: null, uuid: handUuid.user(2), admin: false },
      { email: 'u3@example.net', panelId: 3 },
    ]);
    expect(await owners()).toEqual([
      { panelId: 1, owner: 'u1@example.net' },
      { panelId: 2, owner: 'new@example.net' },
    ]);
    expect(await ownerRows()).toEqual([
      { panelId: 1, email: 'u1@example.net' },
      { panelId: 2, email: 'new@example.net' },
    ]);
    // Again: nothing is left to do, and nothing is named.
    expect(await mergeHand(database.db, reused('new@example.net'))).toMatchObject({
      warnings: [],
      counts: { users: { updated: 0 } },
    });
  });

  test('the new user gets the account of its own verified address', async () => {
    await mergeHand(database.db, HAND_PANEL);
    await signIn();
    await database.db('users').insert({ id: 'own', email: 'new@example.net', emailVerified: new Date() });
    await mergeHand(database.db, reused('new@example.net'));
    expect(await rows(`select id, "pterodactylId" as "panelId" from users where email = 'new@example.net'`)).toEqual([
      { id: 'own', panelId: 2 },
    ]);
    expect((await owners())[1]).toEqual({ panelId: 2, owner: 'new@example.net' });
  });

  test('a user who comes back with the old uuid gets the account again, under whatever id', async () => {
    await mergeHand(database.db, HAND_PANEL);
    await signIn();
    await mergeHand(database.db, reused('new@example.net'));
    const back = reused('new@example.net');
    const outcome = await mergeHand(database.db, {
      ...back,
      users: [...usersOf(back), { id: 9, uuid: handUuid.user(2), email: 'other@example.net' }],
    });
    expect(outcome.counts.users).toMatchObject({ created: 0, updated: 1 });
    expect(await accounts()).toMatchObject([
      { email: 'new@example.net', panelId: 2 },
      { email: 'u1@example.net' },
      { email: 'u2@example.net', panelId: 9, uuid: handUuid.user(2) },
      { email: 'u3@example.net' },
    ]);
  });

  test('two users swap their ids: the accounts follow the uuids (1.8)', async () => {
    await mergeHand(database.db, HAND_PANEL);
    await signIn();
    const swapped = change({
      users: [
        { id: 1, uuid: handUuid.user(2), email: 'u2@example.net' },
        { id: 2, uuid: handUuid.user(1), email: 'u1@example.net' },
        { id: 3 },
      ],
    });
    expect(await mergeHand(database.db, swapped)).toMatchObject({
      failures: [],
      warnings: [],
      counts: { users: { updated: 2 } },
    });
    expect(await accounts()).toMatchObject([
      { email: 'u1@example.net', panelId: 2 },
      { email: 'u2@example.net', panelId: 1 },
      { email: 'u3@example.net', panelId: 3 },
    ]);
  });

  test('an account without a uuid is found by its id once, and gets the uuid', async () => {
    await mergeHand(database.db, HAND_PANEL);
    await signIn();
    await database.db('users').update({ pterodactylUuid: null });
    expect((await mergeHand(database.db, HAND_PANEL)).counts.users).toMatchObject({ created: 0, updated: 3 });
    expect((await accounts()).map((a) => a['uuid'])).toEqual([1, 2, 3].map(handUuid.user));
    expect((await mergeHand(database.db, HAND_PANEL)).counts.users).toMatchObject({ updated: 0, unchanged: 3 });
  });
});

describe('a panel id of a server that is given again', () => {
  test('the former row keeps its data and loses the id, the new server gets a row of its own (1.11, F4)', async () => {
    await mergeHand(database.db, HAND_PANEL);
    await database.db.raw(
      `insert into server_variables (id, "serverId", "eggVariableId", "variableValue") select 'secret', id, 2, 'rcon' from servers where "pterodactylId" = 2`,
    );
    const outcome = await mergeHand(
      database.db,
      change({
        servers: [
          { id: 1, user: 1, node: 1, egg: 1, nest: 1 },
          { id: 2, uuid: handUuid.server(90), user: 3, node: 2, egg: 2, nest: 2, name: 'another' },
        ],
      }),
    );
    expect(outcome.failures).toEqual([]);
    expect(outcome.warnings).toMatchObject([{ code: 'ID_REUSED', entity: 'servers' }]);
    expect(outcome.counts.servers).toMatchObject({ created: 1, unchanged: 1, pruned: 0 });
    expect(
      await rows(
        `select s.uuid, s.name, s."pterodactylId" as "panelId", v.id as secret from servers s left join server_variables v on v."serverId" = s.id order by s.uuid`,
      ),
    ).toEqual([
      { uuid: handUuid.server(1), name: 'server 1', panelId: 1, secret: null },
      { uuid: handUuid.server(2), name: 'server 2', panelId: null, secret: 'secret' },
      { uuid: handUuid.server(90), name: 'another', panelId: 2, secret: null },
    ]);
  });

  test('a row without a uuid is found by its id, and gets the uuid', async () => {
    await mergeHand(database.db, HAND_PANEL);
    await database.db('servers').update({ uuid: null });
    expect((await mergeHand(database.db, HAND_PANEL)).counts.servers).toMatchObject({ created: 0, updated: 2 });
    expect((await rows('select uuid from servers order by uuid')).map((s) => s['uuid'])).toEqual(
      [1, 2].map(handUuid.server),
    );
  });

  test('two rows with one panel id: one is chosen, the other is named and left as it is (B1)', async () => {
    await mergeHand(database.db, HAND_PANEL);
    await database.db.raw(
      `alter table servers drop constraint if exists "servers_pterodactylId_key"; drop index if exists "servers_pterodactylId_key"; drop index if exists servers_pterodactyl_id_key;
       do $$ declare name text; begin
         for name in select i.indexrelid::regclass::text from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
           where i.indrelid = 'servers'::regclass and i.indisunique and a.attname = 'pterodactylId'
         loop execute 'drop index ' || name; end loop; end $$;
       insert into servers (id, name, "panelType", "pterodactylId", "createdAt") values ('copy', 'copy', 'pterodactyl', 2, '2020-01-01')`,
    );
    const outcome = await mergeHand(
      database.db,
      change({ servers: (HAND_PANEL.servers ?? []).map((s) => ({ ...s, name: 'renamed' })) }),
    );
    expect(outcome.status).toBe('merged');
    expect(outcome.failures).toMatchObject([{ entity: 'servers', panelId: '2', code: 'DUPLICATE_ROW' }]);
    expect(outcome.counts).toMatchObject({ servers: { updated: 2, failed: 0 }, allocations: { failed: 0 } });
    expect(await rows('select id, name, uuid from servers order by name, uuid')).toMatchObject([
      { id: 'copy', name: 'copy', uuid: null },
      { name: 'renamed', uuid: handUuid.server(1) },
      { name: 'renamed', uuid: handUuid.server(2) },
    ]);
    expect(await rows(`select distinct s.name from allocations a join servers s on s.id = a."serverId"`)).toEqual([
      { name: 'renamed' },
    ]);
  });
});

describe('another panel under the same ids', () => {
  const count = 30;
  const large = (kind: number): HandPanel =>
    change({
      users: Array.from({ length: count }, (_, i) => ({
        id: i + 1,
        email: `${kind}-${i}@example.net`,
        uuid: handUuid.user(kind * 1_000 + i),
      })),
      servers: Array.from({ length: count }, (_, i) => ({
        id: i + 1,
        user: i + 1,
        node: 1,
        egg: 1,
        nest: 1,
        name: `${kind}`,
        uuid: handUuid.server(kind * 1_000 + i),
      })),
      databases: [],
      allocations: [],
      subusers: [],
    });

  test('is refused with what to do, and nothing is changed; allowed, it is mirrored beside the former rows (1.11)', async () => {
    await mergeHand(database.db, large(1));
    const before = await rows('select * from servers order by id');
    await expect(mergeHand(database.db, large(2))).rejects.toMatchObject({
      code: 'PANEL_CHANGED',
      message: expect.stringContaining('sync_allow_mass_prune'),
    });
    expect(await rows('select * from servers order by id')).toEqual(before);
    const outcome = await mergeHand(database.db, large(2), { allowMassPrune: true });
    expect(outcome.counts.servers).toMatchObject({ created: count });
    expect(
      await rows(
        `select name, count("pterodactylId")::int as linked, count(*)::int as n from servers group by name order by name`,
      ),
    ).toEqual([
      { name: '1', linked: 0, n: count },
      { name: '2', linked: count, n: count },
    ]);
  });

  test('the same panel imported again under other ids is the same panel', async () => {
    await mergeHand(database.db, large(1));
    const shifted = large(1);
    const users = usersOf(shifted).map((u) => ({ ...u, id: u.id + 1 }));
    const servers = (shifted.servers ?? []).map((s) => ({ ...s, id: s.id + 1, user: Number(s['user']) + 1 }));
    const outcome = await mergeHand(database.db, { ...shifted, users, servers });
    expect(outcome).toMatchObject({
      failures: [],
      counts: { servers: { created: 0, updated: count, pruned: 0 }, users: { created: 0, updated: count } },
    });
    expect(
      await rows(
        `select count(*)::int as n from servers s join users u on u.id = s."ownerId" where u."pterodactylId" = s."pterodactylId"`,
      ),
    ).toEqual([{ n: count }]);
  });
});

describe('the owner of a server', () => {
  const transferred = change({
    users: [{ id: 1 }, { id: 2 }, { id: 3 }, { id: 9, email: 'buyer@example.net' }],
    servers: [
      { id: 1, user: 9, node: 1, egg: 1, nest: 1 },
      { id: 2, user: 2, node: 2, egg: 2, nest: 2 },
    ],
  });

  test.each(['with', 'without'])(
    'is none if the panel names a person who has no account here, %s the sync of subusers (1.6, F1)',
    async (subusers) => {
      await mergeHand(database.db, HAND_PANEL);
      await database.db('users').where({ pterodactylId: 1 }).update({ email: 'buyer@example.net', password: 'x' });
      for (let i = 0; i < 2; i += 1) {
        const outcome = await mergeHand(
          database.db,
          transferred,
          subusers === 'with' ? {} : { entities: 'no subusers' },
        );
        expect(outcome.failures).toMatchObject([{ entity: 'users', panelId: '9', code: 'EMAIL_TAKEN' }]);
        expect(outcome.warnings).toMatchObject([{ code: 'SET_ASIDE', entity: 'users' }]);
        expect((await owners())[0]).toEqual({ panelId: 1, owner: null });
        expect(await ownerRows()).toEqual([{ panelId: 2, email: 'u2@example.net' }]);
      }
    },
  );

  test('stays where users were not read, or the panel does not know the person', async () => {
    await mergeHand(database.db, HAND_PANEL);
    await mergeHand(database.db, transferred, { target: 'servers' });
    expect((await owners())[0]).toEqual({ panelId: 1, owner: 'u1@example.net' });
    await mergeHand(database.db, { ...transferred, users: [{ id: 1 }, { id: 2 }, { id: 3 }] });
    expect((await owners())[0]).toEqual({ panelId: 1, owner: 'u1@example.net' });
  });
});

test("the creation time of a new server is the panel's (W7)", async () => {
  const dated = change({
    servers: (HAND_PANEL.servers ?? []).map((s) => ({ ...s, created_at: '2021-03-04T05:06:07+02:00' })),
  });
  await mergeHand(database.db, dated);
  expect(await rows(`select distinct "createdAt"::text as at from servers`)).toEqual([{ at: '2021-03-04 03:06:07' }]);
  await mergeHand(
    database.db,
    change({ servers: (HAND_PANEL.servers ?? []).map((s) => ({ ...s, created_at: '2022-01-01T00:00:00+00:00' })) }),
  );
  expect(await rows(`select distinct "createdAt"::text as at from servers`)).toEqual([{ at: '2021-03-04 03:06:07' }]);
});

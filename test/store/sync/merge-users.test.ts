/** Users and subusers in the merge: which row they get, which address and which rights. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { insertSession } from '../../../src/store/accounts/session-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { change, type HandMerge, mergeHand, query } from '../../support/merge.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const users = () =>
  query(
    database.db,
    `select id, "pterodactylId" as "panelId", email, username, "firstName" as first, "isPterodactylAdmin" as admin from users order by "pterodactylId", id`,
  );
const insertUser = (values: Record<string, unknown>) =>
  database.db('users').insert({ email: 'x@example.net', ...values });
const onlyUsers = (list: { id: number; [key: string]: unknown }[]) => ({ users: list });
const syncUsers = (list: { id: number; [key: string]: unknown }[], options: { incomplete?: string[] } = {}) =>
  mergeHand(database.db, onlyUsers(list), { target: 'users', ...options });

describe('users', () => {
  test('a new user is a member without a password, active and not migrated', async () => {
    await syncUsers([{ id: 7, root_admin: true }]);
    expect(
      await query(
        database.db,
        `select "pterodactylId" as "panelId", email, username, "firstName" as f, "lastName" as l, password, roles, "isActive" as active, "isMigrated" as migrated,
           "isPterodactylAdmin" as admin, "lastSyncedAt" is not null as synced from users`,
      ),
    ).toEqual([
      {
        panelId: 7,
        email: 'u7@example.net',
        username: 'u7',
        f: 'First',
        l: 'Last',
        password: null,
        roles: ['MEMBER'],
        active: true,
        migrated: false,
        admin: true,
        synced: true,
      },
    ]);
  });

  test('a system administrator stays one, whatever the panel says of the user', async () => {
    const rights = { roles: ['SUPER_ADMIN'], isSystemAdmin: true, isActive: true };
    await insertUser({ id: 'root', email: 'root@example.net', pterodactylId: 1, emailVerified: new Date(), ...rights });
    const before = await database.db('users').first('emailVerified', ...Object.keys(rights));
    for (const panel of [[{ id: 1, email: 'other@example.net', root_admin: false }], [{ id: 2 }], []]) {
      await syncUsers(panel);
      expect(
        await database
          .db('users')
          .where({ id: 'root' })
          .first(...Object.keys(before)),
      ).toEqual(before);
    }
  });

  test('an account that was never used follows the panel', async () => {
    await syncUsers([{ id: 1 }]);
    await syncUsers([{ id: 1, email: 'New@example.net', username: 'new', first_name: null, last_name: 'Name' }]);
    expect(await users()).toMatchObject([{ panelId: 1, email: 'New@example.net', username: 'new', first: null }]);
  });

  test.each([
    ['a password', { password: '$2b$' }],
    ['a verified address', { emailVerified: new Date() }],
    ['a login', { lastLoginAt: new Date() }],
  ])('an account with %s keeps its address and names; only nulls are filled', async (_, used) => {
    await syncUsers([{ id: 1 }]);
    await database.db('users').update({ ...used, username: null });
    const outcome = await syncUsers([
      { id: 1, email: 'new@example.net', username: 'filled', first_name: 'Other', root_admin: true },
    ]);
    expect(await users()).toMatchObject([
      { panelId: 1, email: 'u1@example.net', username: 'filled', first: 'First', admin: true },
    ]);
    expect(outcome.counts.users).toMatchObject({ updated: 1 });
    expect(
      (await syncUsers([{ id: 1, email: 'new@example.net', username: 'again', root_admin: true }])).counts.users,
    ).toMatchObject({ updated: 0, unchanged: 1 });
  });

  test('the oldest free account of an address is adopted, whatever its case', async () => {
    await database.db.raw('drop index if exists users_email_lower_key');
    await insertUser({ id: 'new', email: 'Anna@Example.net', createdAt: new Date('2024-01-02') });
    const outcome = await syncUsers([{ id: 1, email: 'anna@example.NET' }]);
    expect(outcome.counts.users).toMatchObject({ created: 0, updated: 1 });
    expect(await users()).toMatchObject([{ id: 'new', panelId: 1, email: 'anna@example.NET' }]);
  });

  test('an account whose stored address has spaces around it is the one of the address', async () => {
    await insertUser({ id: 'ann', email: ' Ann@Example.net ', emailVerified: new Date() });
    await insertUser({ id: 'new', email: ' bob@example.net' });
    const panel = [
      { id: 1, email: 'ann@example.net' },
      { id: 2, email: 'bob@example.net' },
    ];
    const outcome = await syncUsers(panel);
    expect(outcome.counts.users).toMatchObject({ created: 0, updated: 2, failed: 0 });
    // An account that was used keeps its address as it is.
    const matched = [
      { id: 'ann', panelId: 1, email: ' Ann@Example.net ' },
      { id: 'new', panelId: 2, email: 'bob@example.net' },
    ];
    expect(await users()).toMatchObject(matched);
    // The panel user of the address is the account's own, so the account does not move.
    const again = await syncUsers([...panel, { id: 3, email: 'ANN@example.net' }]);
    expect(again.counts.users).toMatchObject({ unchanged: 2, failed: 1 });
    expect(again.failures).toMatchObject([{ entity: 'users', panelId: '3', code: 'EMAIL_TAKEN' }]);
    expect(again.warnings.map(({ code }) => code)).not.toContain('ACCOUNT_MOVED');
    expect(await users()).toMatchObject(matched);
  });

  test('a panel user waits for the proof of an address that is stored with spaces around it', async () => {
    await insertUser({ id: 'ann', email: ' Ann@Example.net ', password: 'hash' });
    const outcome = await syncUsers([{ id: 1, email: 'ann@example.net' }]);
    expect(outcome.failures).toMatchObject([{ entity: 'users', panelId: '1', code: 'EMAIL_TAKEN' }]);
    expect(await query(database.db, 'select user_id, panel_user_id from panel_address_matches')).toEqual([
      { user_id: 'ann', panel_user_id: 1 },
    ]);
  });

  test('two records whose addresses differ in case only: the lower id is stored, the other listed', async () => {
    const outcome = await syncUsers([
      { id: 1, email: 'bob@example.net' },
      { id: 2, email: 'BOB@example.net' },
    ]);
    expect(await users()).toMatchObject([{ panelId: 1, email: 'bob@example.net' }]);
    expect(outcome.failures).toEqual([
      { entity: 'users', panelId: '2', code: 'EMAIL_TAKEN', detail: 'email: held by another account' },
    ]);
    // Again: the same account keeps the address.
    expect(
      (
        await syncUsers([
          { id: 1, email: 'bob@example.net' },
          { id: 2, email: 'BOB@example.net' },
        ])
      ).counts.users,
    ).toMatchObject({ unchanged: 1, failed: 1 });
  });

  test('an account of an existing panel user is never given to another one', async () => {
    await syncUsers([
      { id: 1, email: 'a@example.net' },
      { id: 2, email: 'b@example.net' },
    ]);
    await database.db('users').update({ password: 'x' });
    // User 1 took another address on the panel but keeps the old one here; user 3 has the old one on the panel.
    const outcome = await syncUsers([
      { id: 1, email: 'c@example.net' },
      { id: 2, email: 'b@example.net' },
      { id: 3, email: 'a@example.net' },
    ]);
    expect(outcome.failures).toMatchObject([{ panelId: '3', code: 'EMAIL_TAKEN' }]);
    expect((await users()).map((u) => [u['panelId'], u['email']])).toEqual([
      [1, 'a@example.net'],
      [2, 'b@example.net'],
    ]);
  });

  test('a user who was created again under a new id gets the account back, but only after a complete read', async () => {
    await syncUsers([{ id: 1, email: 'a@example.net' }, { id: 2 }]);
    await database.db('users').update({ password: 'x', emailVerified: new Date() });
    const again = [{ id: 2 }, { id: 9, email: 'a@example.net' }];
    expect((await syncUsers(again, { incomplete: ['users'] })).failures).toMatchObject([
      { panelId: '9', code: 'EMAIL_TAKEN' },
    ]);
    const [before] = await query(database.db, `select id from users where email = 'a@example.net'`);
    expect((await syncUsers(again)).counts.users).toMatchObject({ created: 0, updated: 1, failed: 0 });
    expect(
      await query(database.db, `select id, "pterodactylId" as "panelId" from users where email = 'a@example.net'`),
    ).toEqual([{ id: before?.['id'], panelId: 9 }]);
  });

  test('a rejected record is an existing user too', async () => {
    await syncUsers([{ id: 1, email: 'a@example.net' }]);
    const outcome = await syncUsers([
      { id: 1, email: '' },
      { id: 9, email: 'a@example.net' },
    ]);
    expect(outcome.failures.map((f) => [f.panelId, f.code])).toEqual([
      ['1', 'INVALID_RECORD'],
      ['9', 'EMAIL_TAKEN'],
    ]);
    expect(await users()).toMatchObject([{ panelId: 1, email: 'a@example.net' }]);
  });

  test('users are never deleted; one that is gone from the panel loses the panel id and its rights there (1.1, F8)', async () => {
    await syncUsers([
      { id: 1, root_admin: true },
      { id: 2, root_admin: true },
      { id: 3, root_admin: true },
    ]);
    // An incomplete listing proves nothing.
    await syncUsers([{ id: 2, root_admin: false }, { id: 3 }], { incomplete: ['users'] });
    expect((await users()).map((u) => [u['panelId'], u['admin']])).toEqual([
      [1, true],
      [2, false],
      [3, false],
    ]);
    const outcome = await syncUsers([{ id: 2, root_admin: true }, { id: 3 }]);
    expect(outcome.counts.users).toMatchObject({ updated: 2, unchanged: 1, pruned: 0 });
    expect((await users()).map((u) => [u['email'], u['panelId'], u['admin']])).toEqual([
      ['u2@example.net', 2, true],
      ['u3@example.net', 3, false],
      ['u1@example.net', null, false],
    ]);
    // An empty listing proves nothing either.
    expect((await syncUsers([])).warnings).toMatchObject([{ code: 'PRUNE_REFUSED', entity: 'users' }]);
    expect((await users()).map((u) => u['panelId'])).toEqual([2, 3, null]);
  });

  test('an account used while the plan was being written keeps its address', async () => {
    await syncUsers([{ id: 1, email: 'a@example.net' }]);
    const outcome = await mergeHand(database.db, onlyUsers([{ id: 1, email: 'panel@example.net', root_admin: true }]), {
      target: 'users',
      hooks: {
        // After the plan was made, the person verifies the address and changes it.
        onPlan: async () => {
          await database.db('users').update({ emailVerified: new Date(), email: 'own@example.net', username: 'own' });
        },
      },
    });
    expect(outcome.status).toBe('merged');
    expect(await users()).toMatchObject([{ panelId: 1, email: 'own@example.net', username: 'own', admin: true }]);
  });

  test('an address that a visitor registers while the plan is being written is theirs', async () => {
    let tries = 0;
    const outcome = await mergeHand(database.db, onlyUsers([{ id: 1, email: 'a@example.net' }, { id: 2 }]), {
      target: 'users',
      hooks: {
        onPlan: async () => {
          tries += 1;
          if (tries === 1) await insertUser({ id: 'visitor', email: 'A@example.net', password: 'x' });
        },
      },
    });
    // The merge plans again: the visitor keeps the account, and the panel user waits for the proof of its address.
    expect(tries).toBe(2);
    expect(outcome.counts.users).toMatchObject({ created: 1, updated: 0, failed: 1 });
    expect(
      await query(
        database.db,
        `select u.id, u.email, u.password, u."pterodactylId" as "panelId", a.panel_user_id as waiting
           from users u join panel_address_matches a on a.user_id = u.id`,
      ),
    ).toEqual([{ id: 'visitor', email: 'A@example.net', password: 'x', panelId: null, waiting: 1 }]);
  });

  test.each(['a sign-in', 'a session', 'a password'])(
    'an account with %s gets a panel user’s servers only once its address is proven (S4, 1.14)',
    async (use) => {
      await insertUser({ id: 'visitor', email: 'a@example.net', ...(use === 'a password' ? { password: 'x' } : {}) });
      if (use === 'a sign-in') await database.db('users').update({ lastLoginAt: new Date() });
      if (use === 'a session')
        await insertSession(database.db, {
          userId: 'visitor',
          refreshToken: 'f'.repeat(64),
          familyId: 'family',
          lifetimeSeconds: 60,
          issuedAt: 1,
        });
      const panel = [{ id: 1, email: 'A@example.net' }];
      expect((await syncUsers(panel)).failures).toMatchObject([{ panelId: '1', code: 'EMAIL_TAKEN' }]);
      expect(await query(database.db, `select "pterodactylId" as "panelId" from users`)).toEqual([{ panelId: null }]);
      await database.db('users').update({ emailVerified: new Date() });
      expect((await syncUsers(panel)).counts.users).toMatchObject({ created: 0, updated: 1, failed: 0 });
      expect(await query(database.db, `select id, "pterodactylId" as "panelId" from users`)).toEqual([
        { id: 'visitor', panelId: 1 },
      ]);
    },
  );

  test('panel users that wait for the proof of an address are remembered, and forgotten once they wait no more (S4)', async () => {
    const waiting = async () =>
      (await query(database.db, 'select a.panel_user_id as id from panel_address_matches a')).map((row) => row['id']);
    await insertUser({ id: 'visitor', email: 'a@example.net', password: 'x' });
    for (const incomplete of [[], ['users']]) {
      await syncUsers([{ id: 1, email: 'A@example.net' }], { incomplete });
      expect(await waiting()).toEqual([1]);
    }
    // The panel user took another address; only a complete read proves it.
    await syncUsers([], { incomplete: ['users'] });
    expect(await waiting()).toEqual([1]);
    await syncUsers([{ id: 1, email: 'b@example.net' }]);
    expect(await waiting()).toEqual([]);
  });

  describe('a match by address', () => {
    const matched = async () =>
      (await query(database.db, `select "pterodactylId" as "panelId" from users where id = 'owner'`))[0]?.['panelId'];
    const attacker = { id: 1, email: 'owner@example.net' };
    const back = { id: 1, email: 'attacker@example.net' };
    const victim = { id: 2, email: 'Owner@example.net' };
    beforeEach(() => insertUser({ id: 'owner', email: 'owner@example.net', emailVerified: new Date(), password: 'x' }));

    test('moves to the panel user that has the verified address, and the run warns (S10)', async () => {
      await syncUsers([attacker]);
      expect(await matched()).toBe(1);
      expect((await syncUsers([back])).warnings).toEqual([]);
      expect(await matched()).toBe(1);
      const outcome = await syncUsers([back, victim]);
      expect(await matched()).toBe(2);
      expect(outcome.warnings).toMatchObject([{ code: 'ACCOUNT_MOVED', entity: 'users' }]);
      expect(outcome.counts.users).toMatchObject({ created: 1, updated: 1, failed: 0 });
      expect(await users()).toMatchObject([{ panelId: 1, email: 'attacker@example.net' }, { panelId: 2 }]);
      const again = await syncUsers([back, victim]);
      expect(again.counts.users).toMatchObject({ created: 0, updated: 0, unchanged: 2 });
      expect(again.warnings).toEqual([]);
    });
    test.each([
      ['the present panel user has the address', [attacker, { ...victim, email: 'other@example.net' }]],
      ['the present panel user was not read', [victim]],
      ['the address is not verified', [back, victim]],
      ['it was made before matches by address were remembered', [back, victim]],
      ['the account is an administrator’s by now', [back, victim]],
    ])('stays when %s (S10)', async (reason, panel) => {
      await syncUsers([attacker]);
      const db = database.db;
      if (reason.includes('verified')) await db('users').update({ emailVerified: null });
      if (reason.includes('remembered')) await db('panel_address_matches').delete();
      if (reason.includes('administrator')) await db('users').update({ roles: ['ADMINISTRATOR'] });
      const incomplete = reason.includes('not read') ? ['users'] : [];
      const { warnings } = await syncUsers(panel, { incomplete });
      expect(warnings.map((warning) => warning.code)).not.toContain('ACCOUNT_MOVED');
      expect(await matched()).toBe(1);
    });
    test('is never made for an administrator; a match by id stays (S10)', async () => {
      for (const rights of [
        { roles: ['MEMBER', 'ADMINISTRATOR'] },
        { roles: ['SUPER_ADMIN'] },
        { isSystemAdmin: true },
      ]) {
        await database.db('users').update({ roles: ['MEMBER'], isSystemAdmin: false, ...rights });
        expect((await syncUsers([attacker])).failures).toMatchObject([{ panelId: '1', code: 'EMAIL_TAKEN' }]);
        expect(await matched()).toBeNull();
      }
      await database.db('users').update({ pterodactylId: 1 });
      expect((await syncUsers([back])).counts.users).toMatchObject({ failed: 0 });
      expect(await matched()).toBe(1);
    });
  });

  test('an account used between plan and write keeps its address', async () => {
    await syncUsers([
      { id: 1, email: 'a@example.net' },
      { id: 2, email: 'b@example.net' },
    ]);
    let tries = 0;
    const outcome = await mergeHand(
      database.db,
      onlyUsers([
        { id: 1, email: 'b@example.net' },
        { id: 2, email: 'a@example.net' },
      ]),
      {
        target: 'users',
        hooks: {
          onPlan: async () => {
            tries += 1;
            if (tries === 1) await database.db('users').update({ lastLoginAt: new Date() }).where({ pterodactylId: 1 });
          },
        },
      },
    );
    expect(outcome.failures).toMatchObject([{ panelId: '2', code: 'EMAIL_TAKEN' }]);
    expect((await users()).map((u) => [u['panelId'], u['email']]).sort()).toEqual([
      [1, 'a@example.net'],
      [2, 'b@example.net'],
    ]);
  });
});

describe('owners and subusers', () => {
  const rights = () =>
    query(
      database.db,
      `select s."pterodactylId" as server, u."pterodactylId" as "user", b."isOwner" as owner, b."accessLevel" as level, b.permissions
       from server_subusers b join servers s on s.id = b."serverId" join users u on u.id = b."userId" order by 1, 2`,
    );
  const owner = (server: number, user: number) => ({ server, user, owner: true, level: 'owner', permissions: ['*'] });

  test('every server has its owner row; an owner who is listed as subuser stays the owner', async () => {
    await mergeHand(
      database.db,
      change({
        subusers: [
          { id: 1, server: 1, user_id: 1 },
          { id: 2, server: 1, user_id: 3 },
        ],
      }),
    );
    expect(await rights()).toEqual([
      owner(1, 1),
      { server: 1, user: 3, owner: false, level: 'user', permissions: ['control.start'] },
      owner(2, 2),
    ]);
  });

  test("a server with a new owner: the old owner's row is deleted, or stays as the subuser that the panel lists", async () => {
    const servers = [
      { id: 1, user: 3, node: 1, egg: 1, nest: 1 },
      { id: 2, user: 3, node: 2, egg: 2, nest: 2 },
    ];
    await mergeHand(database.db, change({}));
    await mergeHand(database.db, change({ servers, subusers: [{ id: 5, server: 1, user_id: 1, permissions: ['a'] }] }));
    expect(await rights()).toEqual([
      { server: 1, user: 1, owner: false, level: 'user', permissions: ['a'] },
      owner(1, 3),
      owner(2, 3),
    ]);
  });

  test('an owner who is not mirrored: the stored owner is kept', async () => {
    await mergeHand(database.db, change({}));
    await mergeHand(
      database.db,
      change({
        servers: [
          { id: 1, user: 99, node: 1, egg: 1, nest: 1 },
          { id: 2, user: 2, node: 2, egg: 2, nest: 2 },
        ],
      }),
    );
    expect((await rights()).filter((r) => r['owner'])).toEqual([owner(1, 1), owner(2, 2)]);
  });

  test('subusers that are not listed any more are deleted, those of servers that were not read stay', async () => {
    await mergeHand(
      database.db,
      change({
        subusers: [
          { id: 1, server: 1, user_id: 3 },
          { id: 2, server: 2, user_id: 3 },
        ],
      }),
    );
    await mergeHand(database.db, change({ subusers: [{ id: 2, server: 2, user_id: 3 }] }));
    expect((await rights()).filter((r) => !r['owner'])).toMatchObject([{ server: 2, user: 3 }]);
    const outcome = await mergeHand(database.db, change({ subusers: [] }), { denied: { servers: ['subusers'] } });
    expect((await rights()).filter((r) => !r['owner'])).toMatchObject([{ server: 2, user: 3 }]);
    expect(outcome.counts.subusers).toMatchObject({ created: 0, updated: 0, pruned: 0 });
  });

  const subusersOf = (...ids: number[]) =>
    ids.flatMap((server) => [
      { id: server * 10 + 1, server, user_id: 3 },
      { id: server * 10 + 2, server, user_id: server === 1 ? 2 : 1 },
    ]);

  test.each([
    ['an unreadable user', { user_id: 'x' }, '11'],
    ['an unreadable id', { id: 'x' }, '1/unknown'],
    ['unreadable permissions', { permissions: { first: 'control.console' } }, '11'],
  ])(
    '%s protects the list of its own server only, with a warning that names it (P-1)',
    async (_what, broken, panelId) => {
      await mergeHand(database.db, change({ subusers: subusersOf(1, 2) }));
      const subusers = [{ ...subusersOf(1)[0], ...broken }] as never;
      const outcome = await mergeHand(database.db, change({ subusers }), { allowMassPrune: true });
      expect((await rights()).filter((r) => !r['owner'])).toMatchObject([
        { server: 1, user: 2 },
        { server: 1, user: 3 },
      ]);
      expect(outcome.counts.subusers).toMatchObject({ pruned: 2, failed: 1 });
      expect(outcome.failures).toMatchObject([{ entity: 'subusers', panelId, code: 'INVALID_RECORD' }]);
      expect(outcome.warnings).toEqual([
        expect.objectContaining({ code: 'RECORD_UNREADABLE', message: expect.stringContaining('servers 1 (ids') }),
      ]);
    },
  );

  test('a list with gaps is a list (P-1)', async () => {
    const permissions = { 0: 'control.console', 2: 'control.start' };
    const outcome = await mergeHand(database.db, change({ subusers: [{ id: 1, server: 1, user_id: 3, permissions }] }));
    expect((await rights()).filter((r) => !r['owner'])).toMatchObject([
      { permissions: ['control.console', 'control.start'] },
    ]);
    expect([outcome.failures, outcome.warnings]).toEqual([[], []]);
  });

  const moved = [
    { id: 1, user: 3, node: 1, egg: 1, nest: 1 },
    { id: 2, user: 2, node: 2, egg: 2, nest: 2 },
  ];
  test.each([
    ['a subuser cannot be read', { subusers: [{ id: 11, server: 1, user_id: 'x' }] }, {}],
    ['subusers were not read', {}, { denied: { servers: ['subusers'] } }],
    ['subusers are not synced', {}, { entities: 'no subusers' }],
  ])('a former owner loses the owner row when %s (F1)', async (_when, panel, options) => {
    await mergeHand(database.db, change({ subusers: subusersOf(1, 2) }));
    const outcome = await mergeHand(database.db, change({ servers: moved, ...panel } as never), options as HandMerge);
    expect((await rights()).filter((r) => r['owner'])).toEqual([owner(1, 3), owner(2, 2)]);
    // The former owner has no other row, and the other subusers stay.
    expect(await rights()).not.toContainEqual(expect.objectContaining({ server: 1, user: 1 }));
    expect(await rights()).toContainEqual(expect.objectContaining({ server: 1, user: 2 }));
    expect(outcome.failures.map((failure) => failure.code)).toEqual(
      'subusers' in panel && panel.subusers.length > 0 ? ['INVALID_RECORD'] : [],
    );
  });

  test('the target subusers writes nothing but subusers', async () => {
    await mergeHand(database.db, change({}));
    const outcome = await mergeHand(
      database.db,
      change({ servers: (change({}).servers ?? []).map((s) => ({ ...s, name: 'x' })), subusers: [] }),
      { target: 'subusers' },
    );
    expect(outcome.counts).toEqual({ subusers: { created: 0, updated: 0, unchanged: 2, pruned: 1, failed: 0 } });
    expect(await query(database.db, `select count(*)::int as n from servers where name = 'x'`)).toEqual([{ n: 0 }]);
  });
});

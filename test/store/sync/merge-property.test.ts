/**
 * Laws of the merge over random panels whose ids cannot be relied on: ids are given again, swapped and shifted, values are
 * taken, deletes are refused, listings are missing, and the panel is exchanged for another one. More runs: `MERGE_RUNS=200`.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { HAND_PANEL, type HandPanel, handUuid, mergeHand, query } from '../../support/merge.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const rows = (sql: string) => query(database.db, sql);

/** A person or a server of the panel: `who` is its identity, `id` only where the panel keeps it now. */
interface Person {
  who: number;
  id: number;
  email: string;
}
interface Machine {
  who: number;
  id: number;
  owner: number;
}
interface Panel {
  people: Person[];
  machines: Machine[];
  next: number;
}

/** Servers of these identities cannot be deleted from the database; addresses of this form belong to an account of the site. */
const isKept = (who: number) => who % 5 === 0;
const TAKEN = 'taken@example.net';

type Step = [kind: number, a: number, b: number];

const shift = (list: { id: number }[], by: number): void => {
  for (const one of list) one.id += by;
};

function apply(panel: Panel, [kind, a, b]: Step): void {
  const person = panel.people[a % panel.people.length];
  const machine = panel.machines[a % panel.machines.length];
  const other = panel.people[b % panel.people.length];
  const twin = panel.machines[b % panel.machines.length];
  panel.next += 1;
  const who = panel.next;
  if (person === undefined || machine === undefined || other === undefined || twin === undefined) return;
  const steps: (() => void)[] = [
    // The id of a person, or of a server, is given to another one.
    () => Object.assign(person, { who, email: `p${who}@example.net` }),
    () => Object.assign(machine, { who }),
    // Two ids are swapped; all ids are shifted.
    () => ([person.id, other.id] = [other.id, person.id]),
    () => ([machine.id, twin.id] = [twin.id, machine.id]),
    () => shift(panel.people, 1 + (b % 3)),
    () => shift(panel.machines, 1 + (b % 3)),
    () =>
      panel.people.push({ who, id: Math.max(...panel.people.map((one) => one.id)) + 1, email: `p${who}@example.net` }),
    () => panel.machines.push({ who, id: Math.max(...panel.machines.map((one) => one.id)) + 1, owner: person.who }),
    () => (panel.machines = panel.machines.filter((one) => one !== machine || panel.machines.length < 8)),
    () => (machine.owner = other.who),
    () => (person.email = `p${who}@Example.net`),
    // A value that an account of the site has.
    () => (person.email = panel.people.some((one) => one.email === TAKEN) ? person.email : TAKEN),
  ];
  steps[kind % steps.length]?.();
  for (const one of panel.machines)
    if (!panel.people.some((p) => p.who === one.owner)) one.owner = panel.people[0]?.who ?? 0;
}

/** Permissions as PHP prints a list with gaps. */
const PERMISSIONS = { 0: 'control.start', 2: 'control.stop' };

function asHandPanel({ people, machines }: Panel): HandPanel {
  const idOf = (who: number) => people.find((one) => one.who === who)?.id ?? 0;
  const reader = people[1]?.id ?? 0;
  return {
    ...HAND_PANEL,
    allocations: [],
    databases: [],
    users: people.map(({ who, id, email }) => ({ id, email, uuid: handUuid.user(who) })),
    servers: machines.map(({ who, id, owner }) => ({
      id,
      uuid: handUuid.server(who),
      user: idOf(owner),
      node: 1,
      egg: 1,
      nest: 1,
    })),
    subusers: machines
      .filter(({ owner }) => idOf(owner) !== reader)
      .map(({ who, id }) => ({ id: who, server: id, user_id: reader, permissions: PERMISSIONS })),
  };
}

const OTHERS = `select 'node' as what, n::text as row from nodes n where id >= 9000 union all select 'allocation', a::text from allocations a where id >= 9000
  union all select 'server', s::text from servers s where s.id like 'site%' union all select 'user', u::text from users u where u.id like 'site%' union all
  select 'database', d::text from server_databases d where d.id like 'site%' order by 1, 2`;

async function prepare(): Promise<void> {
  await database.db.raw(`truncate users, servers, nodes, locations, nests, sync_logs, panel_address_matches cascade`);
  await mergeHand(database.db, { ...HAND_PANEL, allocations: [], servers: [], users: [], databases: [], subusers: [] });
  await database.db.raw(
    `insert into locations (id, "shortCode") values (9000, 'site');
     insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId", "panelType") values (9000, 'n', 'vps', 'v', 1, 1, 9000, 'virtfusion');
     insert into allocations (id, ip, port, "nodeId") values (9000, '1.1.1.1', 1, 9000);
     insert into users (id, email, password, "emailVerified") values ('site', '${TAKEN}', 'x', null);
     insert into servers (id, name, "panelType", "ownerId") values ('site', 'vps', 'virtfusion', 'site');
     insert into server_databases (id, "serverId", host, "databaseName", username) values ('site', 'site', 'h', 'd', 'u')`,
  );
  await database.db.raw(
    `create or replace function keep() returns trigger language plpgsql as $$ begin
       if right(old.uuid, 8)::int % 5 = 0 then raise exception 'no'; end if; return old; end $$;
     drop trigger if exists keep on servers;
     create trigger keep before delete on servers for each row when (old.uuid is not null) execute function keep()`,
  );
}

/** Each identity of the panel has one row, under its present id, with its present owner; rows never change identity. */
async function expectLaws(panel: Panel, known: Map<string, unknown>): Promise<void> {
  const stored = await rows(
    `select s.id as row, s.uuid, s."pterodactylId" as "panelId", u."pterodactylUuid" as owner from servers s left join users u on u.id = s."ownerId" where s.id not like 'site%'`,
  );
  const linked = stored.filter((row) => row['panelId'] !== null);
  const accounts = await rows(
    `select id as row, "pterodactylUuid" as uuid, "pterodactylId" as "panelId" from users where "pterodactylId" is not null`,
  );
  const mirrored = new Set(accounts.map((row) => row['uuid']));
  // A person whose address is taken by an account of the site may have no account here; then the servers have no owner.
  const missing = panel.people.filter(({ who }) => !mirrored.has(handUuid.user(who)));
  expect(missing.map(({ email }) => email)).toEqual(missing.map(() => TAKEN));
  const byUuid = (a: { uuid: unknown }, b: { uuid: unknown }) => String(a.uuid).localeCompare(String(b.uuid));
  const gone = linked.filter((row) => !panel.machines.some(({ who }) => handUuid.server(who) === row['uuid']));
  expect(gone.filter((row) => !isKept(Number(String(row['uuid']).slice(-8))))).toEqual([]);
  expect(
    linked
      .filter((row) => !gone.includes(row))
      .map(({ uuid, panelId, owner }) => ({ uuid, panelId, owner }))
      .sort(byUuid),
  ).toEqual(
    panel.machines
      .map(({ who, id, owner }) => {
        const uuid = handUuid.user(owner);
        return { uuid: handUuid.server(who), panelId: id, owner: mirrored.has(uuid) ? uuid : null };
      })
      .sort(byUuid),
  );
  expect(accounts.map(({ uuid, panelId }) => ({ uuid, panelId })).sort(byUuid)).toEqual(
    panel.people
      .filter((one) => !missing.includes(one))
      .map(({ who, id }) => ({ uuid: handUuid.user(who), panelId: id }))
      .sort(byUuid),
  );
  for (const { row, uuid } of [...stored, ...accounts] as { row: unknown; uuid: string }[]) {
    const former = known.get(uuid);
    // A deleted row may come back as a new one; a row that is there is never another one's.
    if (former !== undefined && former !== row) expect([...known.values()].filter((one) => one === row)).toEqual([]);
    known.set(uuid, row);
  }
}

const step: fc.Arbitrary<Step> = fc.tuple(fc.nat({ max: 1_000 }), fc.nat({ max: 1_000 }), fc.nat({ max: 1_000 }));
const missingListing = fc.constantFrom(undefined, 'nests', 'locations');

test('identities, owners, rows of others and kept rows survive whatever the panel does with its ids', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.array(step, { minLength: 1, maxLength: 4 }), missingListing), {
        minLength: 2,
        maxLength: 5,
      }),
      async (runs) => {
        await prepare();
        const panel: Panel = {
          people: Array.from({ length: 6 }, (_, i) => ({ who: i + 1, id: i + 1, email: `p${i + 1}@example.net` })),
          machines: Array.from({ length: 9 }, (_, i) => ({ who: i + 1, id: i + 1, owner: (i % 6) + 1 })),
          next: 100,
        };
        const known = new Map<string, unknown>();
        await mergeHand(database.db, asHandPanel(panel));
        await expectLaws(panel, known);
        const others = await rows(OTHERS);
        for (const [steps, without] of runs) {
          for (const one of steps) apply(panel, one);
          const options = without === undefined ? {} : { without: [without] };
          expect((await mergeHand(database.db, asHandPanel(panel), options)).status).toBe('merged');
          await expectLaws(panel, known);
          expect(await rows(OTHERS)).toEqual(others);
          expect(
            await rows('select count(*)::int as n from nests union all select count(*)::int from locations'),
          ).toEqual([{ n: 2 }, { n: 3 }]);
          const { users, servers, subusers } = (await mergeHand(database.db, asHandPanel(panel))).counts;
          for (const counts of [users, servers, subusers])
            expect(counts).toMatchObject({ created: 0, updated: 0, pruned: 0 });
        }
      },
    ),
    {
      numRuns: Number(process.env['MERGE_RUNS'] ?? 5),
      seed: process.env['MERGE_RUNS'] === undefined ? 42 : Date.now() % 2 ** 31,
      endOnFailure: true,
    },
  );
});

test('an exchanged panel is refused whatever it looks like, and changes nothing', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 22, max: 40 }), fc.nat({ max: 10 }), async (size, same) => {
      await prepare();
      const panel = (offset: number): Panel => ({
        people: Array.from({ length: size }, (_, i) => ({
          who: i < same ? i + 1 : i + 1 + offset,
          id: i + 1,
          email: `p${i + offset}@example.net`,
        })),
        machines: Array.from({ length: size }, (_, i) => ({
          who: i < same ? i + 1 : i + 1 + offset,
          id: i + 1,
          owner: 1 + (same > 0 ? 0 : offset),
        })),
        next: 0,
      });
      await mergeHand(database.db, asHandPanel(panel(0)));
      const before = await rows(
        'select s::text as row from servers s union all select u::text from users u order by 1',
      );
      await expect(mergeHand(database.db, asHandPanel(panel(1_000)))).rejects.toMatchObject({ code: 'PANEL_CHANGED' });
      expect(
        await rows('select s::text as row from servers s union all select u::text from users u order by 1'),
      ).toEqual(before);
    }),
    { numRuns: Number(process.env['MERGE_RUNS'] ?? 3), seed: 7, endOnFailure: true },
  );
});

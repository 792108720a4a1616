/** Random panels, random changes: after a sync the database equals the panel, and no row that the panel has was deleted. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PanelSimulator } from '../../../simulators/panel/contract.ts';
import type { EntityName, ServerStatus } from '../../../simulators/panel/world/rows.ts';
import { expectedMirror, readMirror, sorted, type Tables } from '../../support/mirror.ts';
import { type Stack, startStack } from '../../support/stack.ts';

/** One change: its kind, and three numbers that choose rows and values. */
type Change = [kind: number, a: number, b: number, c: number];

const pick = <T>(list: readonly T[], n: number): T | undefined => list[n % Math.max(1, list.length)];

/** The user of the panel's key: it must stay an administrator, or the panel refuses the key. */
const KEY_OWNER = 1;

/** The last kind deletes one server and creates another. */
const EXCHANGE = -1;
/** Applies one change to the panel. A change that the panel would refuse does nothing. */
function applyChange(sim: PanelSimulator, [kind, a, b, c]: Change): void {
  const rows = <E extends EntityName>(entity: E) => [...sim.world[entity].values()];
  const text = `v${c}`;
  const as = (column: string, value: unknown): object => ({ [column]: value });
  const swap = <E extends EntityName>(entity: E, column: string, same?: string) => {
    const first = pick(rows(entity), a);
    if (first === undefined) return;
    const others = rows(entity).filter(
      (r) => r.id !== first.id && (same === undefined || Reflect.get(r, same) === Reflect.get(first, same)),
    );
    const second = pick(others, b);
    if (second === undefined) return;
    const [x, y] = [Reflect.get(first, column), Reflect.get(second, column)];
    sim.update(entity, first.id, as(column, y));
    sim.update(entity, second.id, as(column, x));
  };
  const id = (entity: EntityName) => pick(rows(entity), a)?.id;
  const remove = (entity: EntityName, from = id(entity)) => {
    if (from === undefined || (entity === 'users' && from === KEY_OWNER)) return;
    try {
      sim.delete(entity, from);
    } catch {
      // The panel refuses to delete what is in use.
    }
  };
  const update = <E extends EntityName>(entity: E, values: object) => {
    const found = id(entity);
    if (found !== undefined) sim.update(entity, found, values);
  };
  const changes: (() => void)[] = [
    () => sim.create('locations', { short: `new-${c}-${sim.world.locations.size}-${a}` }),
    () => sim.create('nodes', { location_id: pick(rows('locations'), a)?.id ?? 1 }),
    () => {
      const node = pick(rows('nodes'), a);
      if (node !== undefined)
        sim.create('allocations', {
          node_id: node.id,
          ip: `10.9.${b % 250}.${c % 250}`,
          port: 40_000 + sim.world.allocations.size + a,
        });
    },
    () => sim.create('nests'),
    () => sim.create('eggs', { nest: pick(rows('nests'), a)?.id ?? 1 }),
    () => sim.create('variables', { egg_id: pick(rows('eggs'), a)?.id ?? 1 }),
    () => sim.create('users', { root_admin: c % 2 === 0 }),
    () => {
      const [node, egg, user] = [pick(rows('nodes'), a), pick(rows('eggs'), b), pick(rows('users'), c)];
      if (node !== undefined && egg !== undefined && user !== undefined)
        sim.create('servers', { node: node.id, egg: egg.id, nest: egg.nest, user: user.id });
    },
    () => {
      const server = pick(rows('servers'), a);
      if (server !== undefined) sim.create('databases', { server: server.id });
    },
    () => {
      const [server, user] = [pick(rows('servers'), a), pick(rows('users'), b)];
      if (server === undefined || user === undefined) return;
      if (rows('subusers').some((s) => s.server_id === server.id && s.user_id === user.id)) return;
      sim.create('subusers', { server_id: server.id, user_id: user.id, permissions: [text] });
    },
    () => update('locations', { long: c % 3 === 0 ? null : text }),
    () =>
      update('nodes', {
        name: text,
        memory: c,
        disk_overallocate: -1,
        maintenance_mode: c % 2 === 0,
        daemon_listen: c % 65_536,
      }),
    () => update('nodes', { location_id: pick(rows('locations'), b)?.id ?? 1 }),
    () => update('allocations', { alias: c % 2 === 0 ? null : text, notes: text }),
    () => update('nests', { name: text, description: null }),
    () => update('eggs', { author: text, description: text }),
    () => update('variables', { default_value: text, user_viewable: c % 2 === 0, rules: 'required' }),
    () =>
      update('users', {
        email: `${text}-${a}-${b}@Example.net`,
        username: text,
        first_name: null,
        root_admin: b % 2 === 0 || id('users') === KEY_OWNER,
      }),
    () => {
      const states: (ServerStatus | null)[] = [null, 'installing', 'suspended', 'install_failed', 'restoring_backup'];
      update('servers', { name: text, external_id: b % 2 === 0 ? null : text, status: pick(states, c) ?? null });
    },
    () => update('servers', { user: pick(rows('users'), b)?.id ?? 1 }),
    () => {
      const egg = pick(rows('eggs'), b);
      if (egg !== undefined) update('servers', { egg: egg.id, nest: egg.nest });
    },
    () => update('databases', { max_connections: c % 2 === 0 ? null : c, username: text }),
    () => update('subusers', { permissions: [text, 'control.start'] }),
    () => {
      const server = pick(rows('servers'), a);
      const free = rows('allocations').filter((x) => x.server_id === null && x.node_id === server?.node);
      const chosen = pick(free, b);
      if (server !== undefined && chosen !== undefined) sim.update('allocations', chosen.id, { server_id: server.id });
    },
    () => {
      const server = pick(rows('servers'), a);
      const own = rows('allocations').filter((x) => x.server_id === server?.id);
      const chosen = pick(own, b);
      if (server !== undefined && chosen !== undefined) sim.update('servers', server.id, { allocation: chosen.id });
    },
    () => {
      const primary = new Set(rows('servers').map((s) => s.allocation));
      const taken = pick(
        rows('allocations').filter((x) => x.server_id !== null && !primary.has(x.id)),
        a,
      );
      if (taken !== undefined) sim.update('allocations', taken.id, { server_id: null });
    },
    () => swap('locations', 'short'),
    () => swap('nodes', 'uuid'),
    () => swap('eggs', 'uuid'),
    () => swap('users', 'email'),
    () => swap('allocations', 'port', 'node_id'),
    () => {
      const old = pick(
        rows('allocations').filter((x) => x.server_id === null),
        a,
      );
      if (old === undefined) return;
      sim.delete('allocations', old.id);
      sim.create('allocations', { node_id: old.node_id, ip: old.ip, port: old.port });
    },
    () => {
      const old = pick(rows('users'), a);
      if (old === undefined || old.id === KEY_OWNER || rows('servers').some((s) => s.user === old.id)) return;
      sim.delete('users', old.id);
      sim.create('users', { email: old.email.toUpperCase() });
    },
    () => remove('servers'),
    () => remove('servers'),
    () => remove('databases'),
    () => remove('subusers'),
    () => remove('variables'),
    () => remove('eggs'),
    () => remove('nests'),
    () => remove('nodes'),
    () => remove('locations'),
    () => remove('users'),
    () =>
      remove(
        'allocations',
        pick(
          rows('allocations').filter((x) => x.server_id === null),
          a,
        )?.id,
      ),
    // One server is deleted and one created: the total stays, so that a count notices nothing.
    () => {
      const [old, egg] = [rows('servers')[a % 8], pick(rows('eggs'), b)];
      if (old === undefined || egg === undefined) return;
      sim.delete('servers', old.id);
      sim.create('servers', { node: old.node, egg: egg.id, nest: egg.nest, user: old.user });
    },
  ];
  (kind === EXCHANGE ? changes.at(-1) : pick(changes, kind))?.();
}

const number = fc.nat({ max: 100_000 });
const exchange: fc.Arbitrary<Change> = fc.tuple(fc.constant(EXCHANGE), number, number, number);
const changeOf: fc.Arbitrary<Change> = fc.tuple(fc.nat({ max: 1_000 }), number, number, number);

/** Users are never pruned, so the comparison leaves out users that the panel does not have any more. */
function living(tables: Tables, panel: Tables): Tables {
  const users = new Set(panel['users']?.map((u) => u['pterodactylId']));
  return { ...tables, users: (tables['users'] ?? []).filter((u) => users.has(u['pterodactylId'])) };
}

async function expectEqual(stack: Stack): Promise<void> {
  const panel = expectedMirror(stack.sim.dump());
  expect(sorted(living(await readMirror(stack.database.db), panel))).toEqual(sorted(panel));
}

const keyOf = (table: string, row: Record<string, unknown>) =>
  table === 'subusers' ? `${row['server']}/${row['user']}` : String(row['id'] ?? row['pterodactylId']);
const keys = (tables: Tables, table: string) => new Set((tables[table] ?? []).map((r) => keyOf(table, r)));

const PANEL = {
  locations: 3,
  nodes: 5,
  allocations: 60,
  nests: 3,
  eggs: 7,
  users: 24,
  servers: 26,
  databases: 12,
  subusers: 14,
  limit: 0,
};
/** Maximum milliseconds per property; runs beyond it are skipped. */
const BUDGET = 45_000;

describe('random panels', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await startStack({ panel: PANEL });
    // The prune guard has its own tests; here every deletion must reach the mirror.
    Object.assign(stack.settings, { allowMassPrune: true });
  });
  afterAll(() => stack?.stop());

  test('a sync makes the database equal to the panel, whatever was changed', async () => {
    await stack.sync();
    await fc.assert(
      fc.asyncProperty(fc.array(changeOf, { minLength: 1, maxLength: 40 }), async (changes) => {
        for (const change of changes) applyChange(stack.sim, change);
        stack.sim.touch();
        const log = await stack.sync();
        expect(log.status).toBe('COMPLETED');
        expect(log.itemsFailed).toBe(0);
        await expectEqual(stack);
      }),
      {
        seed: 1006003441,
        numRuns: 25,
        interruptAfterTimeLimit: BUDGET,
        markInterruptAsFailure: false,
        endOnFailure: true,
      },
    );
  });

  test('changes between pages: no row that the panel has is deleted, and the next undisturbed sync is equal', async () => {
    stack.sim.settings.perPageMax = 7;
    try {
      await stack.sync();
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.nat({ max: 12 }), fc.oneof(exchange, changeOf)), { minLength: 1, maxLength: 12 }),
          async (injected) => {
            const before = await readMirror(stack.database.db);
            let request = 0;
            const off = stack.sim.on('before', () => {
              for (const [at, change] of injected) if (at === request) applyChange(stack.sim, change);
              request += 1;
            });
            const log = await stack.sync().finally(off);
            expect(log.status).toBe('COMPLETED');
            const panel = expectedMirror(stack.sim.dump());
            const after = await readMirror(stack.database.db);
            for (const table of Object.keys(panel)) {
              const [alive, stored] = [keys(panel, table), keys(after, table)];
              const lost = [...keys(before, table)].filter((key) => alive.has(key) && !stored.has(key));
              expect({ table, lost }).toEqual({ table, lost: [] });
            }
            const quiet = await stack.sync();
            expect(quiet.status).toBe('COMPLETED');
            await expectEqual(stack);
          },
        ),
        { numRuns: 15, interruptAfterTimeLimit: BUDGET, markInterruptAsFailure: false, endOnFailure: true },
      );
    } finally {
      stack.sim.settings.perPageMax = undefined;
    }
  });
});

/** Generates servers, databases and subusers. */
import type { Random } from './random.ts';
import type { ServerRow, ServerStatus } from './rows.ts';
import { type PanelSizes, times } from './sizes.ts';
import type { WorldStore } from './world.ts';

const SERVER_NAMES = [
  'srv',
  'Сервер',
  'サーバー',
  'Überleben',
  'Jeu d’été',
  'خادم',
  '🎮 Arena',
  'O\'Brien "PvP"',
  'a<b>&c',
] as const;

const PERMISSIONS: readonly [readonly string[], ...(readonly string[])[]] = [
  ['websocket.connect'],
  ['websocket.connect', 'control.console', 'control.start', 'control.stop', 'control.restart'],
  [
    ...['websocket.connect', 'control.console', 'control.start', 'control.stop', 'control.restart'],
    ...['user.create', 'user.read', 'user.update', 'user.delete', 'file.create', 'file.read', 'file.read-content'],
    ...['file.update', 'file.delete', 'file.archive', 'file.sftp', 'backup.create', 'backup.read', 'backup.delete'],
    ...['backup.download', 'backup.restore', 'allocation.read', 'allocation.create', 'allocation.update'],
    ...['allocation.delete', 'startup.read', 'startup.update', 'startup.docker-image', 'database.create'],
    ...['database.read', 'database.update', 'database.delete', 'database.view_password', 'schedule.create'],
    ...[
      'schedule.read',
      'schedule.update',
      'schedule.delete',
      'settings.rename',
      'settings.reinstall',
      'activity.read',
    ],
  ],
];

/** Status of every server whose number modulo 50 is listed. */
const STATUS_OF: Record<number, ServerStatus> = {
  5: 'suspended',
  17: 'installing',
  23: 'install_failed',
  31: 'reinstall_failed',
  41: 'restoring_backup',
  45: 'suspended',
};

/** The free allocations of one node, the lowest id last. */
interface FreeAllocations {
  node: number;
  ids: number[];
}

/** Takes a free allocation of the node at `index`, or of the next node that has one. */
function takeAllocation(free: readonly FreeAllocations[], index: number): { node: number; id: number } {
  for (let step = 0; step < free.length; step++) {
    const place = free[(index + step) % free.length];
    const id = place?.ids.pop();
    if (place !== undefined && id !== undefined) return { node: place.node, id };
  }
  throw new Error('no allocation left');
}

/** Values of two thirds of the egg's variables; some are empty. */
function variableValues(store: WorldStore, egg: number, i: number): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [n, variable] of store.children('variables', 'egg_id', egg).entries()) {
    const row = store.world.variables.get(variable);
    if (row !== undefined && (i + n) % 3 !== 0)
      values[row.env_variable] = n === 1 && i % 4 === 0 ? '' : row.default_value;
  }
  return values;
}

const limitsOf = (i: number): ServerRow['limits'] => ({
  memory: i % 29 === 0 ? 0 : 1024 * (1 + (i % 8)),
  swap: i % 19 === 0 ? -1 : 0,
  disk: i % 29 === 0 ? 0 : 5_120 * (1 + (i % 4)),
  io: 500,
  cpu: i % 29 === 0 ? 0 : 100 * (1 + (i % 3)),
  threads: i % 21 === 0 ? '0-1,3' : null,
  oom_disabled: i % 2 === 1,
});

/** Gives further allocations to some servers, as long as `left` lasts. */
function giveFurtherAllocations(
  store: WorldStore,
  free: readonly FreeAllocations[],
  servers: number,
  allocationsLeft: number,
): void {
  let left = allocationsLeft;
  for (let i = 1; i <= servers && left > 0; i++) {
    const server = store.world.servers.get(i);
    if (server === undefined) continue;
    const wanted = server.transferring ? 1 : ([0, 1, 2, 0, 1][i % 5] ?? 0);
    for (let n = 0; n < wanted && left > 0; n++) {
      // a server in transfer also has an allocation on its target node
      const index = free.findIndex((place) =>
        server.transferring ? place.node !== server.node : place.node === server.node,
      );
      const id = free[index]?.ids.pop();
      if (id === undefined) break;
      left -= 1;
      store.update('allocations', id, { server_id: i });
    }
  }
}

/** Spreads servers over all nodes. Each has an allocation of its own; some have more. */
export function generateServers(store: WorldStore, sizes: PanelSizes, random: Random) {
  if (sizes.servers === 0) return;
  if (sizes.servers > sizes.allocations || sizes.users === 0 || sizes.eggs === 0 || sizes.nests === 0) {
    throw new Error('servers need users, eggs and at least one allocation each');
  }
  const free: FreeAllocations[] = store
    .ids('nodes')
    .map((node) => ({ node, ids: [...store.children('allocations', 'node_id', node)].reverse() }));
  for (let i = 1; i <= sizes.servers; i++) {
    const { node, id: allocation } = takeAllocation(free, i - 1);
    const egg = store.world.eggs.get(1 + ((i - 1) % sizes.eggs));
    if (egg === undefined) throw new Error('an egg is missing');
    const label = i % 4 === 3 ? random.pick(SERVER_NAMES) : 'srv';
    store.create('servers', {
      external_id: i % 10 === 1 ? `order-${i}` : null,
      name: `${label}-${i}`,
      description: i % 3 === 0 ? `Lab server ${i} – テスト` : '',
      status: STATUS_OF[i % 50] ?? null,
      limits: limitsOf(i),
      feature_limits: {
        databases: i % 15 === 0 ? null : i % 4,
        allocations: i % 12 === 0 ? null : i % 5,
        backups: i % 4,
      },
      user: 1 + random.int(sizes.users),
      node,
      allocation,
      nest: egg.nest,
      egg: egg.id,
      values: variableValues(store, egg.id, i),
      transferring: i % 50 === 12,
      current_state: i % 3 === 0 ? 'offline' : 'running',
      ...times(3_000, i * 11),
    });
  }
  giveFurtherAllocations(store, free, sizes.servers, sizes.allocations - sizes.servers);
}

/** Subusers without duplicates. A third of them is on a twentieth of the servers, so that few servers have many. */
function generateSubusers(store: WorldStore, sizes: PanelSizes, random: Random): void {
  const taken = new Set<string>();
  for (let i = 1; i <= sizes.subusers; i++) {
    for (let attempt = 0; attempt < 50; attempt++) {
      const server =
        i % 3 === 0 ? 1 + random.int(Math.max(1, Math.ceil(sizes.servers / 20))) : 1 + random.int(sizes.servers);
      const user = 1 + random.int(sizes.users);
      const pair = `${server}:${user}`;
      if (taken.has(pair) || store.world.servers.get(server)?.user === user) continue;
      taken.add(pair);
      store.create('subusers', {
        server_id: server,
        user_id: user,
        permissions: [...random.pick(PERMISSIONS)],
        ...times(50_000, i),
      });
      break;
    }
  }
}

/** Database hosts, databases and subusers. */
export function generateAttachments(store: WorldStore, sizes: PanelSizes, random: Random) {
  for (let i = 1; i <= sizes.databaseHosts; i++) {
    store.create('databaseHosts', {
      name: `db-${i}`,
      host: `db-${i}.lab.invalid`,
      node: i % 3 === 0 ? null : Math.min(i, sizes.nodes) || null,
      ...times(300, i),
    });
  }
  if (sizes.servers === 0) return;
  for (let i = 1; i <= sizes.databases && sizes.databaseHosts > 0; i++) {
    const server = 1 + random.int(sizes.servers);
    store.create('databases', {
      server,
      host: 1 + (i % sizes.databaseHosts),
      database: `s${server}_data${i}`,
      username: `u${server}_${random.text(10).toLowerCase()}`,
      remote: i % 5 === 0 ? '10.0.0.%' : '%',
      max_connections: [50, 0, null][i % 3] ?? null,
      ...times(40_000, i),
    });
  }
  generateSubusers(store, sizes, random);
}

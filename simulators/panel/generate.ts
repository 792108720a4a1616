/**
 * Fills a world with a repeatable panel of any size, traps included: names in many scripts, null and empty texts,
 * private addresses repeated across nodes, every server state, several allocations and subusers a server.
 */
import { createRandom, type Random } from './random.ts';
import type { EggRow, ServerRow, ServerStatus, VariableRow } from './rows.ts';
import { panelTime, variableTime, type WorldStore } from './world.ts';

/** How many rows of each kind; `variables` is per egg. */
export interface PanelSizes {
  locations: number;
  nodes: number;
  allocations: number;
  nests: number;
  eggs: number;
  variables: number;
  users: number;
  servers: number;
  databases: number;
  databaseHosts: number;
  subusers: number;
}

/** A small panel, enough to meet every trap. */
export const DEFAULT_SIZES: PanelSizes = {
  locations: 3,
  nodes: 6,
  allocations: 1_200,
  nests: 6,
  eggs: 16,
  variables: 4,
  users: 120,
  servers: 250,
  databases: 60,
  databaseHosts: 3,
  subusers: 80,
};

const EPOCH = Date.UTC(2025, 2, 1, 8);
const MINUTE = 60_000;
const times = (from: number, index: number) => ({
  created_at: panelTime(EPOCH + from * MINUTE + index * MINUTE),
  updated_at: panelTime(EPOCH + from * MINUTE + index * 3 * MINUTE),
});

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
const FIRST_NAMES = ['Hiro', 'Olga', 'Jonas', 'Zoë', 'Łukasz', 'Ngọc', 'Amélie', 'Sam'] as const;
const LAST_NAMES = ['Ito', 'Müller', 'Silva', 'Østergård', "O'Neil", 'Nguyễn', 'Иванов', 'Smith'] as const;
const LOCATIONS = [
  ['eu.fra', 'Frankfurt, DE'],
  ['us.nyc', 'New York City, US'],
  ['ap.sin', null],
] as const;
const NEST_NAMES = ['Hytale', 'Minecraft', 'Source Engine', 'Rust', 'Voice Servers', 'Lab nest'] as const;

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

/** The variables an egg takes its first ones from: value rules of every common kind, one hidden, one read-only. */
const VARIABLES: readonly Pick<
  VariableRow,
  'env_variable' | 'default_value' | 'rules' | 'user_viewable' | 'user_editable'
>[] = [
  {
    env_variable: 'SERVER_JARFILE',
    default_value: 'server.jar',
    rules: 'required|regex:/^([\\w\\d._-]+)(\\.jar)$/',
    user_viewable: true,
    user_editable: true,
  },
  {
    env_variable: 'MINECRAFT_VERSION',
    default_value: 'latest',
    rules: 'nullable|string|max:20',
    user_viewable: true,
    user_editable: true,
  },
  { env_variable: 'DL_PATH', default_value: '', rules: 'nullable|string', user_viewable: false, user_editable: false },
  {
    env_variable: 'BUILD_NUMBER',
    default_value: 'latest',
    rules: 'required|string|max:20',
    user_viewable: true,
    user_editable: false,
  },
  {
    env_variable: 'MAX_PLAYERS',
    default_value: '40',
    rules: 'required|integer|min:1|max:1000',
    user_viewable: true,
    user_editable: true,
  },
  {
    env_variable: 'FRAMEWORK',
    default_value: 'vanilla',
    rules: 'required|in:vanilla,oxide,carbon',
    user_viewable: true,
    user_editable: true,
  },
  {
    env_variable: 'RCON_PASS',
    default_value: '',
    rules: 'nullable|alpha_dash|between:1,64',
    user_viewable: true,
    user_editable: true,
  },
  {
    env_variable: 'AUTO_UPDATE',
    default_value: '0',
    rules: 'required|boolean',
    user_viewable: true,
    user_editable: true,
  },
];
const HYTALE_VARIABLES: typeof VARIABLES = [
  {
    env_variable: 'HYTALE_SESSION_TOKEN',
    default_value: '',
    rules: 'nullable|string',
    user_viewable: true,
    user_editable: true,
  },
  {
    env_variable: 'HYTALE_IDENTITY_TOKEN',
    default_value: '',
    rules: 'nullable|string',
    user_viewable: true,
    user_editable: true,
  },
];

const title = (env: string) =>
  env
    .toLowerCase()
    .split('_')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join(' ');

function places(store: WorldStore, sizes: PanelSizes, random: Random) {
  for (let i = 1; i <= sizes.locations; i++) {
    const [short, long] = LOCATIONS[i - 1] ?? [`loc.${i}`, i % 4 === 0 ? null : `Ort ${i} – Δ`];
    store.create('locations', { short, long, ...times(0, i) });
  }
  for (let i = 1; i <= sizes.nodes; i++) {
    const name = `node-${String(i).padStart(2, '0')}${i % 5 === 0 ? ' private' : ''}`;
    store.create('nodes', {
      name,
      public: i % 5 !== 0,
      description: i % 3 === 0 ? '' : i % 3 === 1 ? 'Main machine «α»' : null,
      location_id: 1 + ((i - 1) % Math.max(sizes.locations, 1)),
      fqdn: `node-${i}.nodes.lab.invalid`,
      scheme: i % 7 === 0 ? 'http' : 'https',
      behind_proxy: i % 4 === 2,
      maintenance_mode: i % 6 === 4,
      memory: 65_536 * (1 + (i % 4)),
      memory_overallocate: [0, 20, -1][i % 3] ?? 0,
      disk: 1_048_576 * (1 + (i % 4)),
      disk_overallocate: [0, 10, -1][i % 3] ?? 0,
      upload_size: i % 2 === 0 ? 256 : 100,
      daemon_token_id: random.text(16),
      ...times(100, i),
    });
  }
  if (sizes.nodes === 0) return;
  for (let i = 0; i < sizes.allocations; i++) {
    const node = 1 + (i % sizes.nodes);
    const nth = Math.floor(i / sizes.nodes);
    // every fourth address is private and the same, with the same ports, on every node
    const block = Math.floor(nth / 40_000);
    const ip = nth % 4 === 3 ? `10.${block}.0.5` : `198.${18 + (block % 2)}.${(node >> 8) & 255}.${node & 255}`;
    store.create('allocations', {
      node_id: node,
      ip,
      alias: nth % 3 === 0 ? `play${node}.lab.invalid` : null,
      port: 25_000 + (nth % 40_000),
      notes: nth % 11 === 5 ? `query port – №${nth}` : null,
    });
  }
}

function games(store: WorldStore, sizes: PanelSizes) {
  for (let i = 1; i <= sizes.nests; i++) {
    store.create('nests', {
      name: NEST_NAMES[i - 1] ?? `Nest ${i}`,
      description: i % 3 === 2 ? null : `Lab description of nest ${i}`,
      ...times(10, i),
    });
  }
  if (sizes.nests === 0) return;
  for (let i = 1; i <= sizes.eggs; i++) {
    const nest = 1 + ((i - 1) % sizes.nests);
    const base = i - sizes.nests;
    const inherits = base >= 1 && i % 5 === 2;
    const config: EggRow['config'] = inherits
      ? { files: {}, startup: null, stop: null, logs: null, file_denylist: null, extends: base }
      : {
          files:
            i % 2 === 0
              ? {}
              : { 'lab.properties': { parser: 'properties', find: { port: '{{server.build.default.port}}' } } },
          startup: i % 4 === 3 ? [] : { done: `ready ${i}` },
          stop: i % 2 === 0 ? 'stop' : '^C',
          logs: [],
          file_denylist: i % 3 === 0 ? null : [],
          extends: null,
        };
    const egg = store.create('eggs', {
      nest,
      name: i === 1 ? 'Hytale' : `Lab egg ${i}`,
      description: i % 3 === 0 ? null : `Lab description of egg ${i}. Größe: ½`,
      docker_images:
        i % 2 === 0
          ? { 'registry.lab.invalid/base:1': 'registry.lab.invalid/base:1' }
          : { 'Java 21': 'registry.lab.invalid/yolks:java_21', 'Java 17': 'registry.lab.invalid/yolks:java_17' },
      config,
      script: {
        privileged: true,
        install: inherits ? null : `#!/bin/sh\necho "lab step egg${i}"\n`,
        entry: i % 2 === 0 ? 'bash' : 'ash',
        container: 'registry.lab.invalid/installers:debian',
        extends: inherits ? base : null,
      },
      features: i % 3 === 0 ? ['steam_disk_space'] : null,
      ...times(40, i),
    });
    const source = i === 1 ? [...HYTALE_VARIABLES, ...VARIABLES] : VARIABLES;
    const envs: string[] = [];
    for (let v = 0; v < sizes.variables; v++) {
      const known = source[v];
      const env = known?.env_variable ?? `EXTRA_${v}`;
      envs.push(env);
      const at = EPOCH + (100 + store.ids('variables').length) * MINUTE;
      store.create('variables', {
        egg_id: egg.id,
        name: title(env),
        description: v % 3 === 0 ? '' : `Lab description of ${env}.`,
        ...(known ?? {}),
        env_variable: env,
        created_at: v % 5 === 4 ? null : variableTime(at),
        updated_at: v % 5 === 4 ? null : variableTime(at + 100 * MINUTE),
      });
    }
    const flags = envs.map((env) => ` --${env.toLowerCase()} "{{${env}}}"`).join('');
    store.update('eggs', egg.id, {
      startup: `./lab-server-${i} --port {{SERVER_PORT}} --memory {{SERVER_MEMORY}}${flags}`,
      updated_at: egg.updated_at,
    });
  }
}

function people(store: WorldStore, sizes: PanelSizes, random: Random) {
  for (let i = 1; i <= sizes.users; i++) {
    const username = i === 1 ? 'labadmin' : i === 2 ? 'labadmin2' : `user${String(i).padStart(3, '0')}`;
    const nameless = i % 37 === 5;
    store.create('users', {
      username,
      email: i % 13 === 6 ? `User${i}.Mixed@Lab.invalid` : `${username}@lab.invalid`,
      external_id: i % 9 === 4 ? `crm-${i}` : null,
      first_name: nameless ? null : random.pick(FIRST_NAMES),
      last_name: nameless ? null : random.pick(LAST_NAMES),
      language: i % 8 === 3 ? 'de' : 'en',
      root_admin: i <= 2 || i % 97 === 0,
      '2fa': i % 6 === 5,
      ...times(1_000, i * 7),
    });
  }
}

const STATUS_OF: Record<number, ServerStatus> = {
  5: 'suspended',
  17: 'installing',
  23: 'install_failed',
  31: 'reinstall_failed',
  41: 'restoring_backup',
  45: 'suspended',
};

function servers(store: WorldStore, sizes: PanelSizes, random: Random) {
  if (sizes.servers === 0) return;
  if (sizes.servers > sizes.allocations || sizes.users === 0 || sizes.eggs === 0 || sizes.nests === 0) {
    throw new Error('servers need users, eggs and at least one allocation each');
  }
  // one free list per node: a server's further allocations are on its own node
  const free = store
    .ids('nodes')
    .map((node) => ({ node, ids: [...store.children('allocations', 'node_id', node)].reverse() }));
  const takeFrom = (index: number) => {
    for (let step = 0; step < free.length; step++) {
      const place = free[(index + step) % free.length];
      const id = place?.ids.pop();
      if (place !== undefined && id !== undefined) return { node: place.node, id };
    }
    throw new Error('no allocation left');
  };
  for (let i = 1; i <= sizes.servers; i++) {
    const { node, id: allocation } = takeFrom(i - 1);
    const egg = store.world.eggs.get(1 + ((i - 1) % sizes.eggs));
    if (egg === undefined) throw new Error('an egg is missing');
    const values: Record<string, string> = {};
    for (const [n, variable] of store.children('variables', 'egg_id', egg.id).entries()) {
      const row = store.world.variables.get(variable);
      if (row !== undefined && (i + n) % 3 !== 0)
        values[row.env_variable] = n === 1 && i % 4 === 0 ? '' : row.default_value;
    }
    const status = STATUS_OF[i % 50] ?? null;
    const label = i % 4 === 3 ? random.pick(SERVER_NAMES) : 'srv';
    const limits: ServerRow['limits'] = {
      memory: i % 29 === 0 ? 0 : 1024 * (1 + (i % 8)),
      swap: i % 19 === 0 ? -1 : 0,
      disk: i % 29 === 0 ? 0 : 5_120 * (1 + (i % 4)),
      io: 500,
      cpu: i % 29 === 0 ? 0 : 100 * (1 + (i % 3)),
      threads: i % 21 === 0 ? '0-1,3' : null,
      oom_disabled: i % 2 === 1,
    };
    store.create('servers', {
      external_id: i % 10 === 1 ? `order-${i}` : null,
      name: `${label}-${i}`,
      description: i % 3 === 0 ? `Lab server ${i} – テスト` : '',
      status,
      limits,
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
      values,
      transferring: i % 50 === 12,
      current_state: i % 3 === 0 ? 'offline' : 'running',
      ...times(3_000, i * 11),
    });
  }
  // further allocations, while some are left
  let left = sizes.allocations - sizes.servers;
  for (let i = 1; i <= sizes.servers && left > 0; i++) {
    const server = store.world.servers.get(i);
    if (server === undefined) continue;
    const wanted = server.transferring ? 1 : ([0, 1, 2, 0, 1][i % 5] ?? 0);
    for (let n = 0; n < wanted && left > 0; n++) {
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

function attachments(store: WorldStore, sizes: PanelSizes, random: Random) {
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
  const taken = new Set<string>();
  // a few servers have many, as in life
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

/** Fills an empty store. The same sizes and seed give the same rows. */
export function generateWorld(store: WorldStore, sizes: PanelSizes, seed: number): void {
  const random = createRandom(seed ^ 0x5eed);
  places(store, sizes, random);
  games(store, sizes);
  people(store, sizes, random);
  servers(store, sizes, random);
  attachments(store, sizes, random);
}

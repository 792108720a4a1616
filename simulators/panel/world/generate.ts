/**
 * Fills a world with a repeatable panel of any size. It contains the cases that break naive code: names in many scripts,
 * null and empty texts, private addresses that several nodes share, every server state, and servers with several
 * allocations and subusers.
 */
import { generateAttachments, generateServers } from './generate-servers.ts';
import { createRandom, type Random } from './random.ts';
import type { EggRow, VariableRow } from './rows.ts';
import { EPOCH, MINUTE, type PanelSizes, times } from './sizes.ts';
import { variableTime, type WorldStore } from './world.ts';

const FIRST_NAMES = ['Hiro', 'Olga', 'Jonas', 'Zoë', 'Łukasz', 'Ngọc', 'Amélie', 'Sam'] as const;
const LAST_NAMES = ['Ito', 'Müller', 'Silva', 'Østergård', "O'Neil", 'Nguyễn', 'Иванов', 'Smith'] as const;
const LOCATIONS = [
  ['eu.fra', 'Frankfurt, DE'],
  ['us.nyc', 'New York City, US'],
  ['ap.sin', null],
] as const;
const NEST_NAMES = ['Hytale', 'Minecraft', 'Source Engine', 'Rust', 'Voice Servers', 'Lab nest'] as const;

/** The first variables of every egg: all common validation rules, one hidden and one read-only variable. */
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

function generateLocations(store: WorldStore, sizes: PanelSizes) {
  for (let i = 1; i <= sizes.locations; i++) {
    const [short, long] = LOCATIONS[i - 1] ?? [`loc.${i}`, i % 4 === 0 ? null : `Ort ${i} – Δ`];
    store.create('locations', { short, long, ...times(0, i) });
  }
}

function generateNodes(store: WorldStore, sizes: PanelSizes, random: Random) {
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
}

function generateAllocations(store: WorldStore, sizes: PanelSizes) {
  if (sizes.nodes === 0) return;
  for (let i = 0; i < sizes.allocations; i++) {
    const node = 1 + (i % sizes.nodes);
    const nth = Math.floor(i / sizes.nodes);
    // every fourth allocation has the same private address and port on every node
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

function generateNests(store: WorldStore, sizes: PanelSizes) {
  for (let i = 1; i <= sizes.nests; i++) {
    store.create('nests', {
      name: NEST_NAMES[i - 1] ?? `Nest ${i}`,
      description: i % 3 === 2 ? null : `Lab description of nest ${i}`,
      ...times(10, i),
    });
  }
}

/** `parent`: the egg whose configuration this one inherits. */
function eggConfig(i: number, parent: number | null): EggRow['config'] {
  if (parent !== null)
    return { files: {}, startup: null, stop: null, logs: null, file_denylist: null, extends: parent };
  const files = { 'lab.properties': { parser: 'properties', find: { port: '{{server.build.default.port}}' } } };
  return {
    files: i % 2 === 0 ? {} : files,
    startup: i % 4 === 3 ? [] : { done: `ready ${i}` },
    stop: i % 2 === 0 ? 'stop' : '^C',
    logs: [],
    file_denylist: i % 3 === 0 ? null : [],
    extends: null,
  };
}

/** Creates `count` variables of an egg; returns their environment names. */
function generateVariables(store: WorldStore, egg: number, source: typeof VARIABLES, count: number): string[] {
  const envs: string[] = [];
  for (let v = 0; v < count; v++) {
    const known = source[v];
    const env = known?.env_variable ?? `EXTRA_${v}`;
    envs.push(env);
    const at = EPOCH + (100 + store.ids('variables').length) * MINUTE;
    store.create('variables', {
      egg_id: egg,
      name: title(env),
      description: v % 3 === 0 ? '' : `Lab description of ${env}.`,
      ...(known ?? {}),
      env_variable: env,
      created_at: v % 5 === 4 ? null : variableTime(at),
      updated_at: v % 5 === 4 ? null : variableTime(at + 100 * MINUTE),
    });
  }
  return envs;
}

function generateEggs(store: WorldStore, sizes: PanelSizes) {
  if (sizes.nests === 0) return;
  for (let i = 1; i <= sizes.eggs; i++) {
    const nest = 1 + ((i - 1) % sizes.nests);
    const base = i - sizes.nests;
    const inherits = base >= 1 && i % 5 === 2;
    const egg = store.create('eggs', {
      nest,
      name: i === 1 ? 'Hytale' : `Lab egg ${i}`,
      description: i % 3 === 0 ? null : `Lab description of egg ${i}. Größe: ½`,
      docker_images:
        i % 2 === 0
          ? { 'registry.lab.invalid/base:1': 'registry.lab.invalid/base:1' }
          : { 'Java 21': 'registry.lab.invalid/yolks:java_21', 'Java 17': 'registry.lab.invalid/yolks:java_17' },
      config: eggConfig(i, inherits ? base : null),
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
    const envs = generateVariables(
      store,
      egg.id,
      i === 1 ? [...HYTALE_VARIABLES, ...VARIABLES] : VARIABLES,
      sizes.variables,
    );
    const flags = envs.map((env) => ` --${env.toLowerCase()} "{{${env}}}"`).join('');
    store.update('eggs', egg.id, {
      startup: `./lab-server-${i} --port {{SERVER_PORT}} --memory {{SERVER_MEMORY}}${flags}`,
      updated_at: egg.updated_at,
    });
  }
}

function generateUsers(store: WorldStore, sizes: PanelSizes, random: Random) {
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

/** Fills an empty store. The same sizes and the same seed give the same rows. */
export function generateWorld(store: WorldStore, sizes: PanelSizes, seed: number): void {
  const random = createRandom(seed ^ 0x5eed);
  generateLocations(store, sizes);
  generateNodes(store, sizes, random);
  generateAllocations(store, sizes);
  generateNests(store, sizes);
  generateEggs(store, sizes);
  generateUsers(store, sizes, random);
  generateServers(store, sizes, random);
  generateAttachments(store, sizes, random);
}

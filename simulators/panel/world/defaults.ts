/** Default values of the rows that a mutation creates. */
import type { Random } from './random.ts';
import type { EntityName, PanelWorld, Rows } from './rows.ts';

/** The parts of a world from which default values are taken. */
export interface DefaultsContext {
  world: PanelWorld;
  random: Random;
  /** The lowest id of an entity; 0 when it has no rows. */
  first(entity: EntityName): number;
  /** The id of a free allocation of `node` (undefined: of any node). Creates an allocation when none is free. */
  freeAllocation(node: number | undefined): number;
}

type RowDefaults = {
  [E in EntityName]: (context: DefaultsContext, id: number, at: string, values: Partial<Rows[E]>) => Rows[E];
};

const DEFAULTS: RowDefaults = {
  locations: (_context, id, at) => ({ id, short: `loc-${id}`, long: null, created_at: at, updated_at: at }),
  nodes: (context, id, at) => ({
    id,
    uuid: context.random.uuid(),
    public: true,
    name: `node-${id}`,
    description: null,
    location_id: context.first('locations'),
    fqdn: `node-${id}.nodes.lab.invalid`,
    scheme: 'https',
    behind_proxy: false,
    maintenance_mode: false,
    memory: 65_536,
    memory_overallocate: 0,
    disk: 1_048_576,
    disk_overallocate: 0,
    upload_size: 100,
    daemon_listen: 8080,
    daemon_sftp: 2022,
    daemon_base: '/var/lib/pterodactyl/volumes',
    created_at: at,
    updated_at: at,
    daemon_token_id: context.random.text(16),
    daemon_down: false,
  }),
  allocations: (context, id) => ({
    id,
    node_id: context.first('nodes'),
    ip: `198.19.${(id >> 8) & 255}.${id & 255}`,
    alias: null,
    port: 30_000 + (id % 30_000),
    notes: null,
    server_id: null,
  }),
  nests: (context, id, at) => ({
    id,
    uuid: context.random.uuid(),
    author: 'eggs@lab.invalid',
    name: `Nest ${id}`,
    description: null,
    created_at: at,
    updated_at: at,
  }),
  eggs: (context, id, at) => ({
    id,
    uuid: context.random.uuid(),
    name: `Egg ${id}`,
    nest: context.first('nests'),
    author: 'eggs@lab.invalid',
    description: null,
    docker_images: { 'Image 1': 'registry.lab.invalid/base:1' },
    config: { files: {}, startup: { done: 'ready' }, stop: '^C', logs: [], file_denylist: [], extends: null },
    startup: './run --port {{SERVER_PORT}}',
    script: {
      privileged: true,
      install: '#!/bin/sh\n',
      entry: 'ash',
      container: 'registry.lab.invalid/installers:alpine',
      extends: null,
    },
    created_at: at,
    updated_at: at,
    features: null,
    broken: false,
  }),
  variables: (context, id, at) => ({
    id,
    egg_id: context.first('eggs'),
    name: `Variable ${id}`,
    description: '',
    env_variable: `VARIABLE_${id}`,
    default_value: '',
    user_viewable: true,
    user_editable: true,
    rules: 'nullable|string|max:64',
    created_at: at.replace('+00:00', '.000000Z'),
    updated_at: at.replace('+00:00', '.000000Z'),
  }),
  users: (context, id, at) => ({
    id,
    external_id: null,
    uuid: context.random.uuid(),
    username: `new${id}`,
    email: `new${id}@lab.invalid`,
    first_name: 'New',
    last_name: `User ${id}`,
    language: 'en',
    root_admin: false,
    '2fa': false,
    created_at: at,
    updated_at: at,
  }),
  databaseHosts: (_context, id, at) => ({
    id,
    name: `db-${id}`,
    host: `db-${id}.lab.invalid`,
    port: 3306,
    username: 'pterodactyluser',
    node: null,
    created_at: at,
    updated_at: at,
  }),
  servers: (context, id, at, values) => {
    const uuid = values.uuid ?? context.random.uuid();
    const egg = context.world.eggs.get(values.egg ?? context.first('eggs'));
    const allocation = context.world.allocations.get(values.allocation ?? context.freeAllocation(values.node));
    return {
      id,
      external_id: null,
      uuid,
      identifier: uuid.slice(0, 8),
      name: `server-${id}`,
      description: '',
      status: null,
      limits: { memory: 1024, swap: 0, disk: 5120, io: 500, cpu: 100, threads: null, oom_disabled: true },
      feature_limits: { databases: 0, allocations: 0, backups: 0 },
      user: context.first('users'),
      node: allocation?.node_id ?? context.first('nodes'),
      allocation: allocation?.id ?? 0,
      nest: egg?.nest ?? context.first('nests'),
      egg: egg?.id ?? 0,
      startup: egg?.startup ?? '',
      image: Object.values(egg?.docker_images ?? {})[0] ?? '',
      created_at: at,
      updated_at: at,
      values: {},
      transferring: false,
      current_state: 'offline',
    };
  },
  databases: (context, id, at, values) => ({
    id,
    server: values.server ?? context.first('servers'),
    host: context.first('databaseHosts'),
    database: `s${values.server ?? context.first('servers')}_new${id}`,
    username: `u${values.server ?? context.first('servers')}_${context.random.text(10)}`,
    remote: '%',
    max_connections: 0,
    created_at: at,
    updated_at: at,
    password: context.random.text(24),
  }),
  subusers: (context, id, at) => ({
    id,
    user_id: context.first('users'),
    server_id: context.first('servers'),
    permissions: ['websocket.connect'],
    created_at: at,
    updated_at: at,
  }),
};

/** A complete row; `at` is its panel time, `values` are the values that the caller sets afterwards. */
export const defaultRow = <E extends EntityName>(
  context: DefaultsContext,
  entity: E,
  id: number,
  at: string,
  values: Partial<Rows[E]>,
): Rows[E] => DEFAULTS[entity](context, id, at, values);

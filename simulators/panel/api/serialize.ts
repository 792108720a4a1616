/**
 * Rows as the panel's JSON. The text of an object without its includes is kept until the object changes, so a page is
 * joined from ready pieces.
 */
import type { EntityName, Json, Rows, ServerRow, VariableRow } from '../world/rows.ts';
import { columnOf, type WorldStore } from '../world/world.ts';

/** Rights of an application key; bit 1 (read) each. */
export const RIGHTS = [
  'locations',
  'nodes',
  'allocations',
  'nests',
  'eggs',
  'users',
  'servers',
  'server_databases',
  'database_hosts',
] as const;
export type Right = (typeof RIGHTS)[number];
/** `all`: a root admin's client key, which passes every check. */
export type Rights = ReadonlySet<Right> | 'all';

/** Names of includes, two levels. */
export type IncludeTree = Map<string, IncludeTree>;

/** Thrown where the panel's PHP fails: status 500 with the exception's name. */
export class PanelBug extends Error {
  constructor(exception: string) {
    super(exception);
    this.name = 'PanelBug';
  }
}

/** Types of objects of the application API. */
export type Kind =
  | 'location'
  | 'node'
  | 'allocation'
  | 'nest'
  | 'egg'
  | 'egg_variable'
  | 'user'
  | 'server'
  | 'server_database'
  | 'database_host'
  | 'subuser';

const ENTITY_OF: Record<Kind, EntityName> = {
  location: 'locations',
  node: 'nodes',
  allocation: 'allocations',
  nest: 'nests',
  egg: 'eggs',
  egg_variable: 'variables',
  user: 'users',
  server: 'servers',
  server_database: 'databases',
  database_host: 'databaseHosts',
  subuser: 'subusers',
};

/** Parses `include` the way the panel does: comma or list, blanks allowed, two levels, a dotted name brings its parent. */
export function parseIncludes(values: readonly string[]): IncludeTree {
  const tree: IncludeTree = new Map();
  for (const name of values.flatMap((value) => value.split(','))) {
    const [first, second] = name.trim().split('.');
    if (first === undefined || first === '') continue;
    const children = tree.get(first) ?? new Map();
    tree.set(first, children);
    if (second !== undefined && second !== '') children.set(second, new Map());
  }
  return tree;
}

const treeNames = (tree: IncludeTree): unknown[] => [...tree].map(([name, children]) => [name, treeNames(children)]);
/** Serialised objects are dropped together beyond this. */
const MAX_VIEW_BYTES = 384 * 1024 * 1024;

const NULL_RESOURCE = '{"object":"null_resource","attributes":null}';
const NONE: IncludeTree = new Map();

/** `environment` of a server: the value of every variable, hidden ones too, and the panel's own. */
export function environment(store: WorldStore, server: ServerRow): Record<string, string | number | null> {
  const result: Record<string, string | number | null> = {};
  for (const id of store.children('variables', 'egg_id', server.egg)) {
    const variable = store.world.variables.get(id);
    if (variable !== undefined)
      result[variable.env_variable] = server.values[variable.env_variable] ?? variable.default_value;
  }
  const node = store.world.nodes.get(server.node);
  result['STARTUP'] = server.startup;
  result['P_SERVER_LOCATION'] = store.world.locations.get(node?.location_id ?? 0)?.short ?? null;
  result['P_SERVER_UUID'] = server.uuid;
  result['P_SERVER_ALLOCATION_LIMIT'] = server.feature_limits.allocations;
  return result;
}

/** An empty JSON object in `startup` or `logs` comes out as `[]`. */
const emptyAsList = (value: Json): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0 ? [] : value;

const variableAttributes = (row: VariableRow) => ({ ...row });

function attributes(store: WorldStore): { [E in EntityName]: (row: Rows[E]) => Record<string, unknown> } {
  return {
    locations: (row) => ({ ...row }),
    nodes: ({ daemon_token_id: _token, daemon_down: _down, ...row }) => {
      const sums = { memory: 0, disk: 0 };
      for (const id of store.children('servers', 'node', row.id)) {
        const limits = store.world.servers.get(id)?.limits;
        sums.memory += limits?.memory ?? 0;
        sums.disk += limits?.disk ?? 0;
      }
      return { ...row, allocated_resources: sums };
    },
    allocations: ({ node_id: _node, server_id, ...row }) => ({ ...row, assigned: server_id !== null }),
    nests: (row) => ({ ...row }),
    eggs: ({ broken: _broken, features: _features, ...row }) => ({
      id: row.id,
      uuid: row.uuid,
      name: row.name,
      nest: row.nest,
      author: row.author,
      description: row.description,
      docker_image: Object.values(row.docker_images)[0] ?? '',
      docker_images: row.docker_images,
      config: { ...row.config, startup: emptyAsList(row.config.startup), logs: emptyAsList(row.config.logs) },
      startup: row.startup,
      script: row.script,
      created_at: row.created_at,
      updated_at: row.updated_at,
    }),
    variables: variableAttributes,
    users: (row) => ({ ...row }),
    servers: (row) => ({
      id: row.id,
      external_id: row.external_id,
      uuid: row.uuid,
      identifier: row.identifier,
      name: row.name,
      description: row.description,
      status: row.status,
      suspended: row.status === 'suspended',
      limits: row.limits,
      feature_limits: row.feature_limits,
      user: row.user,
      node: row.node,
      allocation: row.allocation,
      nest: row.nest,
      egg: row.egg,
      container: {
        startup_command: row.startup,
        image: row.image,
        installed: row.status === 'installing' || row.status === 'install_failed' ? 0 : 1,
        environment: environment(store, row),
      },
      updated_at: row.updated_at,
      created_at: row.created_at,
    }),
    databases: ({ password: _password, ...row }) => ({ ...row }),
    databaseHosts: (row) => ({ ...row }),
    subusers: (row) => ({ ...row }),
  };
}

/** A fault that makes one include come back as if the key lacked the right. */
export interface Tweaks {
  nullResource?: string;
}

export interface Serializer {
  /** JSON text of one object with its includes; undefined when there is no such row. */
  item(kind: Kind, id: number, includes: IncludeTree, rights: Rights, tweaks?: Tweaks): string | undefined;
  /** The same for many objects of one listing, as bytes that are kept until anything in the world changes. */
  view(kind: Kind, includes: IncludeTree, rights: Rights, tweaks?: Tweaks): (id: number) => Buffer | undefined;
}

export function createSerializer(store: WorldStore): Serializer {
  const toAttributes = attributes(store);
  const cache: { [E in EntityName]: Map<number, string> } = {
    locations: new Map(),
    nodes: new Map(),
    allocations: new Map(),
    nests: new Map(),
    eggs: new Map(),
    variables: new Map(),
    users: new Map(),
    servers: new Map(),
    databases: new Map(),
    databaseHosts: new Map(),
    subusers: new Map(),
  };
  store.onChange((entity, before, after) => {
    const id = columnOf(after ?? before, 'id');
    if (typeof id === 'number') cache[entity].delete(id);
    else cache[entity].clear();
    if (entity === 'servers') {
      for (const node of [columnOf(before, 'node'), columnOf(after, 'node')]) {
        if (typeof node === 'number') cache.nodes.delete(node);
      }
      if (id === undefined) cache.nodes.clear();
    }
    // a server shows its egg's variables and its location's name
    if (entity === 'variables' || entity === 'locations' || entity === 'nodes') cache.servers.clear();
  });

  function base<E extends EntityName>(entity: E, id: number): string | undefined {
    const ready = cache[entity].get(id);
    if (ready !== undefined) return ready;
    const row = store.world[entity].get(id);
    if (row === undefined) return undefined;
    // without the closing brace: relationships may follow
    const text = JSON.stringify(toAttributes[entity](row)).slice(0, -1);
    cache[entity].set(id, text);
    return text;
  }

  const has = (rights: Rights, right: Right) => rights === 'all' || rights.has(right);

  function list(
    kind: Kind,
    ids: readonly number[],
    includes: IncludeTree,
    rights: Rights,
    tweaks: Tweaks | undefined,
    as?: string,
  ) {
    const parts: string[] = [];
    for (const id of ids) {
      const text = item(kind, id, includes, rights, tweaks, as);
      if (text !== undefined) parts.push(text);
    }
    return `{"object":"list","data":[${parts.join(',')}]}`;
  }

  type Include = (id: number, tree: IncludeTree, rights: Rights, tweaks: Tweaks | undefined) => string;
  type Includes = Record<string, { right?: Right; make: Include }>;
  const many = (kind: Kind, right: Right, column: string, as?: string) => ({
    right,
    make: ((id, tree, rights, tweaks) =>
      list(kind, store.children(ENTITY_OF[kind], column, id), tree, rights, tweaks, as)) satisfies Include,
  });
  const one = (kind: Kind, right: Right, find: (id: number) => number | null | undefined) => ({
    right,
    make: ((id, tree, rights, tweaks) =>
      item(kind, find(id) ?? 0, tree, rights, tweaks) ?? NULL_RESOURCE) satisfies Include,
  });
  const { world } = store;
  const nodesOf = (location: number) => store.children('nodes', 'location_id', location);
  const inherited = (id: number, part: 'config' | 'script'): string => {
    const egg = world.eggs.get(id);
    const parent = world.eggs.get(egg?.[part].extends ?? 0);
    if (parent === undefined) return NULL_RESOURCE;
    const { config, script } = parent;
    const values =
      part === 'config'
        ? { files: config.files, startup: config.startup, stop: config.stop, logs: config.logs }
        : { privileged: script.privileged, install: script.install, entry: script.entry, container: script.container };
    return JSON.stringify({ object: null, attributes: values });
  };
  const serverVariables: Include = (id) => {
    const server = world.servers.get(id);
    const items = store.children('variables', 'egg_id', server?.egg ?? 0).map((variable) => {
      const row = world.variables.get(variable);
      if (row === undefined) return '';
      const attributes = { ...variableAttributes(row), server_value: server?.values[row.env_variable] ?? null };
      return JSON.stringify({ object: 'server_variable', attributes });
    });
    return `{"object":"list","data":[${items.join(',')}]}`;
  };
  const broken = (exception: string) => ({
    make: (() => {
      throw new PanelBug(exception);
    }) satisfies Include,
  });

  const includesOf: Record<Kind, Includes> = {
    location: {
      nodes: many('node', 'nodes', 'location_id'),
      servers: {
        right: 'servers',
        make: (id, tree, rights, tweaks) =>
          list(
            'server',
            nodesOf(id).flatMap((node) => [...store.children('servers', 'node', node)]),
            tree,
            rights,
            tweaks,
          ),
      },
    },
    node: {
      allocations: many('allocation', 'allocations', 'node_id'),
      location: one('location', 'locations', (id) => world.nodes.get(id)?.location_id),
      servers: many('server', 'servers', 'node'),
    },
    allocation: {
      node: one('node', 'nodes', (id) => world.allocations.get(id)?.node_id),
      server: one('server', 'servers', (id) => world.allocations.get(id)?.server_id),
    },
    nest: { eggs: many('egg', 'eggs', 'nest'), servers: many('server', 'servers', 'nest') },
    egg: {
      nest: one('nest', 'nests', (id) => world.eggs.get(id)?.nest),
      servers: many('server', 'servers', 'egg'),
      config: { make: (id) => inherited(id, 'config') },
      script: { make: (id) => inherited(id, 'script') },
      variables: many('egg_variable', 'eggs', 'egg_id'),
    },
    server: {
      allocations: many('allocation', 'allocations', 'server_id'),
      user: one('user', 'users', (id) => world.servers.get(id)?.user),
      subusers: many('subuser', 'users', 'server_id'),
      nest: one('nest', 'nests', (id) => world.servers.get(id)?.nest),
      egg: one('egg', 'eggs', (id) => world.servers.get(id)?.egg),
      variables: { right: 'servers', make: serverVariables },
      location: one('location', 'locations', (id) => world.nodes.get(world.servers.get(id)?.node ?? 0)?.location_id),
      node: one('node', 'nodes', (id) => world.servers.get(id)?.node),
      databases: many('server_database', 'server_databases', 'server', 'databases'),
      transfer: broken('TypeError'),
    },
    server_database: {
      password: {
        make: (id) =>
          JSON.stringify({ object: 'database_password', attributes: { password: world.databases.get(id)?.password } }),
      },
      host: one('database_host', 'database_hosts', (id) => world.databases.get(id)?.host),
    },
    user: { servers: many('server', 'servers', 'user') },
    subuser: {
      user: one('user', 'users', (id) => world.subusers.get(id)?.user_id),
      server: one('server', 'servers', (id) => world.subusers.get(id)?.server_id),
    },
    egg_variable: {},
    database_host: {},
  };

  function item(
    kind: Kind,
    id: number,
    tree: IncludeTree,
    rights: Rights,
    tweaks?: Tweaks,
    as: string = kind,
  ): string | undefined {
    const text = base(ENTITY_OF[kind], id);
    if (text === undefined) return undefined;
    if (kind === 'egg' && world.eggs.get(id)?.broken === true) throw new PanelBug('JsonException');
    const head = `{"object":"${as}","attributes":${text}`;
    if (tree.size === 0) return `${head}}}`;
    const parts: string[] = [];
    for (const [name, include] of Object.entries(includesOf[kind])) {
      const sub = tree.get(name);
      if (sub === undefined) continue;
      if (kind === 'server' && name === 'variables' && sub.has('parent')) throw new PanelBug('BadMethodCallException');
      const allowed = (include.right === undefined || has(rights, include.right)) && tweaks?.nullResource !== name;
      parts.push(`"${name}":${allowed ? include.make(id, sub ?? NONE, rights, tweaks) : NULL_RESOURCE}`);
    }
    return parts.length === 0 ? `${head}}}` : `${head},"relationships":{${parts.join(',')}}}}`;
  }

  let views = new Map<string, Map<number, Buffer>>();
  let viewBytes = 0;
  store.onChange(() => {
    if (views.size > 0) views = new Map();
    viewBytes = 0;
  });
  function view(kind: Kind, tree: IncludeTree, rights: Rights, tweaks?: Tweaks) {
    const name = JSON.stringify([kind, treeNames(tree), rights === 'all' ? rights : [...rights].sort(), tweaks]);
    return (id: number): Buffer | undefined => {
      const ready = views.get(name)?.get(id);
      if (ready !== undefined) return ready;
      const text = item(kind, id, tree, rights, tweaks);
      if (text === undefined) return undefined;
      const bytes = Buffer.from(text, 'utf8');
      viewBytes += bytes.length;
      if (viewBytes > MAX_VIEW_BYTES) {
        views = new Map();
        viewBytes = bytes.length;
      }
      const kept = views.get(name) ?? new Map<number, Buffer>();
      views.set(name, kept.set(id, bytes));
      return bytes;
    };
  }

  return { item, view };
}

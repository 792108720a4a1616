/** The includes that the panel offers for each object type, and how it writes them. */
import type { WorldStore } from '../world/world.ts';
import { ENTITY_OF, type IncludeTree, type Kind, PanelBug, type Right, type Rights, type View } from './kinds.ts';

/** Writes single objects as JSON text. */
export interface ObjectWriter {
  store: WorldStore;
  /** Undefined when there is no such row. `as` replaces the type name of the object; default: `kind`. */
  object(kind: Kind, id: number, view: View, as?: string): string | undefined;
}

/** JSON text of an include of the object `id`. `view.includes` holds the includes below it. */
type WriteInclude = (writer: ObjectWriter, id: number, view: View) => string;
interface Include {
  /** The key needs this right; undefined = none. */
  right?: Right;
  write: WriteInclude;
}

const NULL_RESOURCE = '{"object":"null_resource","attributes":null}';
const listOf = (objects: readonly string[]) => `{"object":"list","data":[${objects.join(',')}]}`;

function writeList(writer: ObjectWriter, kind: Kind, ids: readonly number[], view: View, as?: string): string {
  return listOf(ids.map((id) => writer.object(kind, id, view, as)).filter((text) => text !== undefined));
}

const many = (kind: Kind, right: Right, column: string, as?: string): Include => ({
  right,
  write: (writer, id, view) => writeList(writer, kind, writer.store.children(ENTITY_OF[kind], column, id), view, as),
});

const one = (
  kind: Kind,
  right: Right,
  find: (world: WorldStore['world'], id: number) => number | null | undefined,
): Include => ({
  right,
  write: (writer, id, view) => writer.object(kind, find(writer.store.world, id) ?? 0, view) ?? NULL_RESOURCE,
});

/** An include at which the panel's PHP code fails. */
const broken = (exception: string): Include => ({
  write: () => {
    throw new PanelBug(exception);
  },
});

const writeServersOfLocation: WriteInclude = (writer, id, view) => {
  const { store } = writer;
  const nodes = store.children('nodes', 'location_id', id);
  const servers = nodes.flatMap((node) => [...store.children('servers', 'node', node)]);
  return writeList(writer, 'server', servers, view);
};

/** The part of an egg that the egg inherits from another one. */
const inherited = (part: 'config' | 'script'): Include => ({
  write({ store: { world } }, id) {
    const egg = world.eggs.get(id);
    const parent = world.eggs.get(egg?.[part].extends ?? 0);
    if (parent === undefined) return NULL_RESOURCE;
    const { config, script } = parent;
    const values =
      part === 'config'
        ? { files: config.files, startup: config.startup, stop: config.stop, logs: config.logs }
        : { privileged: script.privileged, install: script.install, entry: script.entry, container: script.container };
    return JSON.stringify({ object: null, attributes: values });
  },
});

const writeServerVariables: WriteInclude = ({ store }, id) => {
  const server = store.world.servers.get(id);
  const objects = store.children('variables', 'egg_id', server?.egg ?? 0).map((variable) => {
    const row = store.world.variables.get(variable);
    if (row === undefined) return '';
    const attributes = { ...row, server_value: server?.values[row.env_variable] ?? null };
    return JSON.stringify({ object: 'server_variable', attributes });
  });
  return listOf(objects);
};

const writeDatabasePassword: WriteInclude = ({ store }, id) =>
  JSON.stringify({ object: 'database_password', attributes: { password: store.world.databases.get(id)?.password } });

const INCLUDES: Record<Kind, Record<string, Include>> = {
  location: {
    nodes: many('node', 'nodes', 'location_id'),
    servers: { right: 'servers', write: writeServersOfLocation },
  },
  node: {
    allocations: many('allocation', 'allocations', 'node_id'),
    location: one('location', 'locations', (world, id) => world.nodes.get(id)?.location_id),
    servers: many('server', 'servers', 'node'),
  },
  allocation: {
    node: one('node', 'nodes', (world, id) => world.allocations.get(id)?.node_id),
    server: one('server', 'servers', (world, id) => world.allocations.get(id)?.server_id),
  },
  nest: { eggs: many('egg', 'eggs', 'nest'), servers: many('server', 'servers', 'nest') },
  egg: {
    nest: one('nest', 'nests', (world, id) => world.eggs.get(id)?.nest),
    servers: many('server', 'servers', 'egg'),
    config: inherited('config'),
    script: inherited('script'),
    variables: many('egg_variable', 'eggs', 'egg_id'),
  },
  server: {
    allocations: many('allocation', 'allocations', 'server_id'),
    user: one('user', 'users', (world, id) => world.servers.get(id)?.user),
    subusers: many('subuser', 'users', 'server_id'),
    nest: one('nest', 'nests', (world, id) => world.servers.get(id)?.nest),
    egg: one('egg', 'eggs', (world, id) => world.servers.get(id)?.egg),
    variables: { right: 'servers', write: writeServerVariables },
    location: one(
      'location',
      'locations',
      (world, id) => world.nodes.get(world.servers.get(id)?.node ?? 0)?.location_id,
    ),
    node: one('node', 'nodes', (world, id) => world.servers.get(id)?.node),
    databases: many('server_database', 'server_databases', 'server', 'databases'),
    transfer: broken('TypeError'),
  },
  server_database: {
    password: { write: writeDatabasePassword },
    host: one('database_host', 'database_hosts', (world, id) => world.databases.get(id)?.host),
  },
  user: { servers: many('server', 'servers', 'user') },
  subuser: {
    user: one('user', 'users', (world, id) => world.subusers.get(id)?.user_id),
    server: one('server', 'servers', (world, id) => world.subusers.get(id)?.server_id),
  },
  egg_variable: {},
  database_host: {},
};

const hasRight = (rights: Rights, right: Right | undefined) =>
  right === undefined || rights === 'all' || rights.has(right);

/** The requested includes of one object as `"name":JSON` texts. An unknown name is ignored. */
export function writeIncludes(writer: ObjectWriter, kind: Kind, id: number, view: View): string[] {
  const parts: string[] = [];
  for (const [name, include] of Object.entries(INCLUDES[kind])) {
    const below: IncludeTree | undefined = view.includes.get(name);
    if (below === undefined) continue;
    if (kind === 'server' && name === 'variables' && below.has('parent')) throw new PanelBug('BadMethodCallException');
    const allowed = hasRight(view.rights, include.right) && view.nullResource !== name;
    parts.push(`"${name}":${allowed ? include.write(writer, id, { ...view, includes: below }) : NULL_RESOURCE}`);
  }
  return parts;
}

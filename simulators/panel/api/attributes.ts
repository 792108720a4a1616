/** Rows as the `attributes` of the application API's objects. */
import type { EntityName, Json, Rows, ServerRow } from '../world/rows.ts';
import type { WorldStore } from '../world/world.ts';

/** `environment` of a server: the values of all variables, hidden ones included, and the panel's own values. */
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

/** The panel writes an empty JSON object in `startup` or `logs` as `[]`. */
const emptyAsList = (value: Json): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0 ? [] : value;

/** Memory and disk that the node's servers reserve, in MiB. */
function allocatedResources(store: WorldStore, node: number): { memory: number; disk: number } {
  const sums = { memory: 0, disk: 0 };
  for (const id of store.children('servers', 'node', node)) {
    const limits = store.world.servers.get(id)?.limits;
    sums.memory += limits?.memory ?? 0;
    sums.disk += limits?.disk ?? 0;
  }
  return sums;
}

const ATTRIBUTES: { [E in EntityName]: (store: WorldStore, row: Rows[E]) => Record<string, unknown> } = {
  locations: (_store, row) => ({ ...row }),
  nodes: (store, { daemon_token_id: _token, daemon_down: _down, ...row }) => ({
    ...row,
    allocated_resources: allocatedResources(store, row.id),
  }),
  allocations: (_store, { node_id: _node, server_id, ...row }) => ({ ...row, assigned: server_id !== null }),
  nests: (_store, row) => ({ ...row }),
  eggs: (_store, { broken: _broken, features: _features, ...row }) => ({
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
  variables: (_store, row) => ({ ...row }),
  users: (_store, row) => ({ ...row }),
  servers: (store, row) => ({
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
  databases: (_store, { password: _password, ...row }) => ({ ...row }),
  databaseHosts: (_store, row) => ({ ...row }),
  subusers: (_store, row) => ({ ...row }),
};

/** `attributes` of one object. */
export const attributesOf = <E extends EntityName>(store: WorldStore, entity: E, row: Rows[E]) =>
  ATTRIBUTES[entity](store, row);

/**
 * The state of the simulated panel: one map of rows per entity, indexes by parent, and the mutations with the
 * panel's own consequences (a deleted server frees its allocations, an owner of servers cannot be deleted, …).
 */
import { createDefaults } from './defaults.ts';
import { createRandom, type Random } from './random.ts';
import { ENTITY_NAMES, type EntityName, type PanelWorld, type Rows } from './rows.ts';

type Listener = (entity: EntityName, before: object | undefined, after: object | undefined) => void;

/** A column of a row of any entity. */
export const columnOf = (row: object | undefined, column: string): unknown =>
  row === undefined ? undefined : Reflect.get(row, column);

/** Columns by which children are found. */
const PARENT_COLUMNS: { [E in EntityName]: readonly string[] } = {
  locations: [],
  nodes: ['location_id'],
  allocations: ['node_id', 'server_id'],
  nests: [],
  eggs: ['nest'],
  variables: ['egg_id'],
  users: [],
  servers: ['user', 'node', 'nest', 'egg'],
  databases: ['server', 'host'],
  databaseHosts: [],
  subusers: ['server_id', 'user_id'],
};

/** A refusal of the panel's own rules: 400 `DisplayException` on its API. */
export class WorldRefusal extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'WorldRefusal';
  }
}

/** Position of `id` in a sorted array, or where it belongs. */
function position(ids: readonly number[], id: number): number {
  let low = 0;
  let high = ids.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ids[middle] ?? 0) < id) low = middle + 1;
    else high = middle;
  }
  return low;
}
const insert = (ids: number[], id: number) => {
  const at = position(ids, id);
  if (ids[at] !== id) ids.splice(at, 0, id);
};
const remove = (ids: number[], id: number) => {
  const at = position(ids, id);
  if (ids[at] === id) ids.splice(at, 1);
};

export interface WorldStore {
  readonly world: PanelWorld;
  /** Adds a row; missing values get defaults, a missing id the next one. */
  create<E extends EntityName>(entity: E, values?: Partial<Rows[E]>): Rows[E];
  /** Changes a row; `updated_at` moves unless given. Throws when there is no such row. */
  update<E extends EntityName>(entity: E, id: number, values: Partial<Rows[E]>): Rows[E];
  /** Removes a row with what belongs to it; false when there is none. @throws {WorldRefusal} as the panel would. */
  delete(entity: EntityName, id: number): boolean;
  /** Ids in ascending order. */
  ids(entity: EntityName): readonly number[];
  /** Ids of the rows whose `column` is `parent`, ascending. */
  children(entity: EntityName, column: string, parent: number): readonly number[];
  onChange(listener: Listener): void;
  /** Rebuilds indexes and drops caches after direct changes of `world`. */
  touch(): void;
  /** Removes everything; ids start again. */
  clear(seed: number): void;
}

const EMPTY: readonly number[] = [];

/** Panel time: seconds, UTC, written out. */
export const panelTime = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}+00:00`;
/** Time of egg variables: microseconds, `Z`. */
export const variableTime = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}.000000Z`;
const MUTATION_EPOCH = Date.UTC(2026, 0, 1);

/** An empty world. `seed` makes uuids and times repeatable. */
export function createWorldStore(seed: number): WorldStore {
  const world: PanelWorld = {
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
  const listeners: Listener[] = [];
  let random: Random = createRandom(seed);
  let ticks = 0;
  let sorted = new Map<EntityName, number[]>();
  let indexes = new Map<string, Map<number, number[]>>();
  const lastIds = new Map<EntityName, number>();

  const now = () => {
    ticks += 1;
    return MUTATION_EPOCH + ticks * 1_000;
  };

  function idsOf(entity: EntityName): number[] {
    let ids = sorted.get(entity);
    if (ids === undefined) {
      ids = [...world[entity].keys()].sort((a, b) => a - b);
      sorted.set(entity, ids);
    }
    return ids;
  }

  function indexOf(entity: EntityName, column: string): Map<number, number[]> {
    const name = `${entity}.${column}`;
    let index = indexes.get(name);
    if (index === undefined) {
      index = new Map();
      for (const id of idsOf(entity)) {
        const parent = columnOf(world[entity].get(id), column);
        if (typeof parent !== 'number') continue;
        const bucket = index.get(parent);
        if (bucket === undefined) index.set(parent, [id]);
        else bucket.push(id);
      }
      indexes.set(name, index);
    }
    return index;
  }

  function reindex(entity: EntityName, id: number, before: object | undefined, after: object | undefined) {
    for (const column of PARENT_COLUMNS[entity]) {
      const index = indexes.get(`${entity}.${column}`);
      const from = columnOf(before, column);
      const to = columnOf(after, column);
      if (index === undefined || from === to) continue;
      if (typeof from === 'number') remove(index.get(from) ?? [], id);
      if (typeof to === 'number') {
        const bucket = index.get(to);
        if (bucket === undefined) index.set(to, [id]);
        else insert(bucket, id);
      }
    }
    for (const listener of listeners) listener(entity, before, after);
  }

  const defaults = createDefaults({
    world,
    random: () => random,
    first: (entity) => idsOf(entity)[0] ?? 0,
    freeAllocation,
  });

  function freeAllocation(node: number | undefined): number {
    const ids = node === undefined ? idsOf('allocations') : indexOf('allocations', 'node_id').get(node);
    const free = (ids ?? []).find((id) => world.allocations.get(id)?.server_id === null);
    return free ?? create('allocations', node === undefined ? {} : { node_id: node }).id;
  }

  function create<E extends EntityName>(entity: E, values: Partial<Rows[E]> = {}): Rows[E] {
    const last = lastIds.get(entity) ?? 0;
    const id = typeof values.id === 'number' ? values.id : last + 1;
    if (world[entity].has(id)) throw new WorldRefusal(`${entity} ${id} exists`);
    // as auto_increment: an id is never used twice
    lastIds.set(entity, Math.max(last, id));
    const row = Object.assign(defaults[entity](id, panelTime(now()), values), values);
    world[entity].set(id, row);
    insert(idsOf(entity), id);
    reindex(entity, id, undefined, { ...row });
    if (entity === 'servers') {
      const allocation = world.servers.get(id)?.allocation;
      if (allocation !== undefined && world.allocations.has(allocation))
        update('allocations', allocation, { server_id: id });
    }
    return row;
  }

  function update<E extends EntityName>(entity: E, id: number, values: Partial<Rows[E]>): Rows[E] {
    const row = world[entity].get(id);
    if (row === undefined) throw new WorldRefusal(`no ${entity} ${id}`);
    const before = { ...row };
    if ('updated_at' in row && !('updated_at' in values)) {
      const at = now();
      Object.assign(row, { updated_at: entity === 'variables' ? variableTime(at) : panelTime(at) });
    }
    Object.assign(row, values);
    reindex(entity, id, before, { ...row });
    return row;
  }

  const childIds = (entity: EntityName, column: string, parent: number) => [
    ...(indexOf(entity, column).get(parent) ?? EMPTY),
  ];
  const cascade = (entity: EntityName, column: string, parent: number) => {
    for (const id of childIds(entity, column, parent)) removeRow(entity, id);
  };
  const refuse = (entity: EntityName, column: string, parent: number, message: string) => {
    if (childIds(entity, column, parent).length > 0) throw new WorldRefusal(message);
  };

  function removeRow(entity: EntityName, id: number): boolean {
    const row = world[entity].get(id);
    if (row === undefined) return false;
    switch (entity) {
      case 'locations':
        refuse('nodes', 'location_id', id, 'Cannot delete a location that has active nodes attached to it.');
        break;
      case 'nodes':
        refuse('servers', 'node', id, 'A node must have no servers linked to it in order to be deleted.');
        cascade('allocations', 'node_id', id);
        break;
      case 'nests':
        refuse('servers', 'nest', id, 'A Nest with active servers attached to it cannot be deleted from the Panel.');
        cascade('eggs', 'nest', id);
        break;
      case 'eggs':
        refuse('servers', 'egg', id, 'An Egg with active servers attached to it cannot be deleted from the Panel.');
        cascade('variables', 'egg_id', id);
        break;
      case 'users':
        refuse(
          'servers',
          'user',
          id,
          'Cannot delete a user with active servers attached to their account. Please delete their servers before continuing.',
        );
        cascade('subusers', 'user_id', id);
        break;
      case 'databaseHosts':
        refuse('databases', 'host', id, 'Cannot delete a database host that has active databases attached to it.');
        break;
      case 'servers':
        cascade('subusers', 'server_id', id);
        cascade('databases', 'server', id);
        for (const allocation of childIds('allocations', 'server_id', id))
          update('allocations', allocation, { server_id: null, notes: null });
        break;
      default:
    }
    world[entity].delete(id);
    remove(idsOf(entity), id);
    reindex(entity, id, { ...row }, undefined);
    return true;
  }

  function touch() {
    sorted = new Map();
    indexes = new Map();
    for (const entity of ENTITY_NAMES)
      lastIds.set(entity, Math.max(lastIds.get(entity) ?? 0, idsOf(entity).at(-1) ?? 0));
    for (const entity of ENTITY_NAMES) for (const listener of listeners) listener(entity, undefined, undefined);
  }

  return {
    world,
    create,
    update,
    delete: removeRow,
    ids: idsOf,
    children: (entity, column, parent) => indexOf(entity, column).get(parent) ?? EMPTY,
    onChange: (listener) => listeners.push(listener),
    touch,
    clear(newSeed) {
      random = createRandom(newSeed);
      ticks = 0;
      lastIds.clear();
      for (const entity of ENTITY_NAMES) world[entity].clear();
      touch();
    },
  };
}

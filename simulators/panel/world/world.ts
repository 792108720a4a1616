/**
 * The state of the simulated panel: one map of rows per entity, and mutations with the consequences that they have on a
 * panel (deleting a server frees its allocations; a user who owns servers cannot be deleted).
 */
import { type DefaultsContext, defaultRow } from './defaults.ts';
import { createRandom, type Random } from './random.ts';
import { childrenOf, clearRowIndex, createRowIndex, idsOf, indexChange, type RowIndex } from './row-index.ts';
import { ENTITY_NAMES, type EntityName, type PanelWorld, type Rows } from './rows.ts';

/** `before` undefined = a new row; `after` undefined = a deleted row; both undefined = any row may have changed. */
type Listener = (entity: EntityName, before: object | undefined, after: object | undefined) => void;

/** The panel's rules refuse a change. Its API answers 400 `DisplayException`. */
export class WorldRefusal extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'WorldRefusal';
  }
}

export interface WorldStore {
  readonly world: PanelWorld;
  /** Adds a row. A missing value gets a default, a missing id the next free one. */
  create<E extends EntityName>(entity: E, values?: Partial<Rows[E]>): Rows[E];
  /** Changes a row, and its `updated_at` unless `values` has one. @throws {WorldRefusal} when there is no such row. */
  update<E extends EntityName>(entity: E, id: number, values: Partial<Rows[E]>): Rows[E];
  /** Deletes a row with its dependent rows; false when there is no such row. @throws {WorldRefusal} as the panel would. */
  delete(entity: EntityName, id: number): boolean;
  /** Ids in ascending order. */
  ids(entity: EntityName): readonly number[];
  /** Ids of the rows whose `column` is `parent`, in ascending order. */
  children(entity: EntityName, column: string, parent: number): readonly number[];
  onChange(listener: Listener): void;
  /** Rebuilds the indexes and drops the caches after direct changes of `world`. */
  touch(): void;
  /** Deletes all rows; ids start at 1 again. */
  clear(seed: number): void;
}

/** Time as most panel objects show it: UTC, whole seconds, offset `+00:00`. */
export const panelTime = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}+00:00`;
/** Time as egg variables show it: UTC, microseconds, offset `Z`. */
export const variableTime = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}.000000Z`;
/** Time of the first mutation; each mutation is one second later than the one before, so that runs are repeatable. */
const MUTATION_EPOCH = Date.UTC(2026, 0, 1);

interface WorldState {
  world: PanelWorld;
  index: RowIndex;
  listeners: Listener[];
  random: Random;
  /** Number of mutations so far, for their times. */
  ticks: number;
  /** The highest id so far, per entity. */
  lastIds: Map<EntityName, number>;
}

const emptyWorld = (): PanelWorld => ({
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
});

/** Unix milliseconds of the next mutation. */
function nextTime(state: WorldState): number {
  state.ticks += 1;
  return MUTATION_EPOCH + state.ticks * 1_000;
}

function notifyListeners(state: WorldState, ...change: Parameters<Listener>): void {
  for (const listener of state.listeners) listener(...change);
}

function recordChange(
  state: WorldState,
  entity: EntityName,
  id: number,
  before: object | undefined,
  after: object | undefined,
): void {
  indexChange(state.index, entity, id, before, after);
  notifyListeners(state, entity, before, after);
}

function freeAllocation(state: WorldState, node: number | undefined): number {
  const { index, world } = state;
  const ids = node === undefined ? idsOf(index, 'allocations') : childrenOf(index, 'allocations', 'node_id', node);
  const free = ids.find((id) => world.allocations.get(id)?.server_id === null);
  return free ?? createRow(state, 'allocations', node === undefined ? {} : { node_id: node }).id;
}

const defaultsContext = (state: WorldState): DefaultsContext => ({
  world: state.world,
  random: state.random,
  first: (entity) => idsOf(state.index, entity)[0] ?? 0,
  freeAllocation: (node) => freeAllocation(state, node),
});

function createRow<E extends EntityName>(state: WorldState, entity: E, values: Partial<Rows[E]> = {}): Rows[E] {
  const { world, lastIds } = state;
  const last = lastIds.get(entity) ?? 0;
  const id = typeof values.id === 'number' ? values.id : last + 1;
  if (world[entity].has(id)) throw new WorldRefusal(`${entity} ${id} exists`);
  // like auto_increment of MariaDB: an id is never used twice
  lastIds.set(entity, Math.max(last, id));
  const at = panelTime(nextTime(state));
  const row = Object.assign(defaultRow(defaultsContext(state), entity, id, at, values), values);
  world[entity].set(id, row);
  recordChange(state, entity, id, undefined, { ...row });
  if (entity === 'servers') {
    const allocation = world.servers.get(id)?.allocation;
    if (allocation !== undefined && world.allocations.has(allocation))
      updateRow(state, 'allocations', allocation, { server_id: id });
  }
  return row;
}

function updateRow<E extends EntityName>(state: WorldState, entity: E, id: number, values: Partial<Rows[E]>): Rows[E] {
  const row = state.world[entity].get(id);
  if (row === undefined) throw new WorldRefusal(`no ${entity} ${id}`);
  const before = { ...row };
  if ('updated_at' in row && !('updated_at' in values)) {
    const at = nextTime(state);
    Object.assign(row, { updated_at: entity === 'variables' ? variableTime(at) : panelTime(at) });
  }
  Object.assign(row, values);
  recordChange(state, entity, id, before, { ...row });
  return row;
}

/** Deletes the dependent rows of a row, as the panel does. @throws {WorldRefusal} when the row is still in use. */
function deleteDependents(state: WorldState, entity: EntityName, id: number): void {
  // a copy, because the deletions change the list
  const childIds = (child: EntityName, column: string) => [...childrenOf(state.index, child, column, id)];
  const cascade = (child: EntityName, column: string) => {
    for (const childId of childIds(child, column)) deleteRow(state, child, childId);
  };
  const refuse = (child: EntityName, column: string, message: string) => {
    if (childIds(child, column).length > 0) throw new WorldRefusal(message);
  };
  switch (entity) {
    case 'locations':
      refuse('nodes', 'location_id', 'Cannot delete a location that has active nodes attached to it.');
      break;
    case 'nodes':
      refuse('servers', 'node', 'A node must have no servers linked to it in order to be deleted.');
      cascade('allocations', 'node_id');
      break;
    case 'nests':
      refuse('servers', 'nest', 'A Nest with active servers attached to it cannot be deleted from the Panel.');
      cascade('eggs', 'nest');
      break;
    case 'eggs':
      refuse('servers', 'egg', 'An Egg with active servers attached to it cannot be deleted from the Panel.');
      cascade('variables', 'egg_id');
      break;
    case 'users':
      refuse(
        'servers',
        'user',
        'Cannot delete a user with active servers attached to their account. Please delete their servers before continuing.',
      );
      cascade('subusers', 'user_id');
      break;
    case 'databaseHosts':
      refuse('databases', 'host', 'Cannot delete a database host that has active databases attached to it.');
      break;
    case 'servers':
      cascade('subusers', 'server_id');
      cascade('databases', 'server');
      for (const allocation of childIds('allocations', 'server_id'))
        updateRow(state, 'allocations', allocation, { server_id: null, notes: null });
      break;
    default:
  }
}

function deleteRow(state: WorldState, entity: EntityName, id: number): boolean {
  const row = state.world[entity].get(id);
  if (row === undefined) return false;
  deleteDependents(state, entity, id);
  state.world[entity].delete(id);
  recordChange(state, entity, id, { ...row }, undefined);
  return true;
}

function touch(state: WorldState): void {
  const { index, lastIds } = state;
  clearRowIndex(index);
  for (const entity of ENTITY_NAMES)
    lastIds.set(entity, Math.max(lastIds.get(entity) ?? 0, idsOf(index, entity).at(-1) ?? 0));
  for (const entity of ENTITY_NAMES) notifyListeners(state, entity, undefined, undefined);
}

function clear(state: WorldState, seed: number): void {
  state.random = createRandom(seed);
  state.ticks = 0;
  state.lastIds.clear();
  for (const entity of ENTITY_NAMES) state.world[entity].clear();
  touch(state);
}

/** An empty world. The same `seed` gives the same uuids and times. */
export function createWorldStore(seed: number): WorldStore {
  const world = emptyWorld();
  const index = createRowIndex(world);
  const state: WorldState = { world, index, listeners: [], random: createRandom(seed), ticks: 0, lastIds: new Map() };
  return {
    world,
    create: (entity, values) => createRow(state, entity, values),
    update: (entity, id, values) => updateRow(state, entity, id, values),
    delete: (entity, id) => deleteRow(state, entity, id),
    ids: (entity) => idsOf(index, entity),
    children: (entity, column, parent) => childrenOf(index, entity, column, parent),
    onChange: (listener) => state.listeners.push(listener),
    touch: () => touch(state),
    clear: (newSeed) => clear(state, newSeed),
  };
}

/** Ids of the rows in ascending order, per entity and per parent. A list is built at its first use and then kept current. */
import { columnOf, type EntityName, type PanelWorld } from './rows.ts';

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

export interface RowIndex {
  world: PanelWorld;
  /** Ids per entity. */
  ids: Map<EntityName, number[]>;
  /** Ids per parent id, under the name `entity.column`. */
  children: Map<string, Map<number, number[]>>;
}

const EMPTY: readonly number[] = [];

/** The position of `id` in a sorted array, or the position at which it must be inserted. */
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

function add(byParent: Map<number, number[]>, parent: number, id: number): void {
  const ids = byParent.get(parent);
  if (ids === undefined) byParent.set(parent, [id]);
  else insert(ids, id);
}

/** An index of `world` without any list. */
export const createRowIndex = (world: PanelWorld): RowIndex => ({ world, ids: new Map(), children: new Map() });

/** Drops all lists; the next reads build them from the rows. */
export function clearRowIndex(index: RowIndex): void {
  index.ids = new Map();
  index.children = new Map();
}

/** Ids of an entity. */
export function idsOf(index: RowIndex, entity: EntityName): number[] {
  let ids = index.ids.get(entity);
  if (ids === undefined) {
    ids = [...index.world[entity].keys()].sort((a, b) => a - b);
    index.ids.set(entity, ids);
  }
  return ids;
}

function childrenByParent(index: RowIndex, entity: EntityName, column: string): Map<number, number[]> {
  const name = `${entity}.${column}`;
  let byParent = index.children.get(name);
  if (byParent === undefined) {
    byParent = new Map();
    for (const id of idsOf(index, entity)) {
      const parent = columnOf(index.world[entity].get(id), column);
      if (typeof parent !== 'number') continue;
      const ids = byParent.get(parent);
      if (ids === undefined) byParent.set(parent, [id]);
      else ids.push(id);
    }
    index.children.set(name, byParent);
  }
  return byParent;
}

/** Ids of the rows whose `column` is `parent`. */
export const childrenOf = (index: RowIndex, entity: EntityName, column: string, parent: number): readonly number[] =>
  childrenByParent(index, entity, column).get(parent) ?? EMPTY;

/** Records a change of one row; `before` undefined = the row is new, `after` undefined = the row is deleted. */
export function indexChange(
  index: RowIndex,
  entity: EntityName,
  id: number,
  before: object | undefined,
  after: object | undefined,
): void {
  if (before === undefined) insert(idsOf(index, entity), id);
  if (after === undefined) remove(idsOf(index, entity), id);
  for (const column of PARENT_COLUMNS[entity]) {
    const byParent = index.children.get(`${entity}.${column}`);
    const from = columnOf(before, column);
    const to = columnOf(after, column);
    if (byParent === undefined || from === to) continue;
    if (typeof from === 'number') remove(byParent.get(from) ?? [], id);
    if (typeof to === 'number') add(byParent, to, id);
  }
}

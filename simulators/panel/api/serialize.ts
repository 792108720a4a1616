/**
 * Rows as the JSON text of the application API. The text of an object without its includes is cached until the object
 * changes, so that a page is joined from cached texts.
 */
import { columnOf, type EntityName } from '../world/rows.ts';
import type { WorldStore } from '../world/world.ts';
import { attributesOf } from './attributes.ts';
import { type ObjectWriter, writeIncludes } from './includes.ts';
import { ENTITY_OF, type IncludeTree, type Kind, PanelBug, type View } from './kinds.ts';

/** When the listings' cache is larger, all of it is dropped. */
const MAX_LISTING_BYTES = 384 * 1024 * 1024;

export interface Serializer {
  /** JSON text of one object with its includes; undefined when there is no such row. @throws {PanelBug} */
  object(kind: Kind, id: number, view: View): string | undefined;
  /** The same for the objects of a listing, as bytes. They are cached until anything in the world changes. */
  listed(kind: Kind, view: View): (id: number) => Buffer | undefined;
}

interface SerializerState {
  store: WorldStore;
  /** Object texts without includes and without the closing brace, by id. */
  texts: { [E in EntityName]: Map<number, string> };
  /** Bytes of listed objects by id, per kind and view. */
  listings: Map<string, Map<number, Buffer>>;
  listingBytes: number;
}

/** Drops the texts that a change of one row makes wrong; a row without `id` means that any row may have changed. */
function dropTexts(
  { texts }: SerializerState,
  entity: EntityName,
  before: object | undefined,
  after: object | undefined,
): void {
  const id = columnOf(after ?? before, 'id');
  if (typeof id === 'number') texts[entity].delete(id);
  else texts[entity].clear();
  if (entity === 'servers') {
    // a node shows the sums of its servers' limits
    for (const node of [columnOf(before, 'node'), columnOf(after, 'node')]) {
      if (typeof node === 'number') texts.nodes.delete(node);
    }
    if (id === undefined) texts.nodes.clear();
  }
  // a server shows its egg's variables and its location's name
  if (entity === 'variables' || entity === 'locations' || entity === 'nodes') texts.servers.clear();
}

function dropListings(state: SerializerState): void {
  if (state.listings.size > 0) state.listings = new Map();
  state.listingBytes = 0;
}

function textOf<E extends EntityName>({ store, texts }: SerializerState, entity: E, id: number): string | undefined {
  const cached = texts[entity].get(id);
  if (cached !== undefined) return cached;
  const row = store.world[entity].get(id);
  if (row === undefined) return undefined;
  // without the closing brace, because relationships may follow
  const text = JSON.stringify(attributesOf(store, entity, row)).slice(0, -1);
  texts[entity].set(id, text);
  return text;
}

function objectOf(
  state: SerializerState,
  writer: ObjectWriter,
  kind: Kind,
  id: number,
  view: View,
  as: string = kind,
): string | undefined {
  const text = textOf(state, ENTITY_OF[kind], id);
  if (text === undefined) return undefined;
  if (kind === 'egg' && state.store.world.eggs.get(id)?.broken === true) throw new PanelBug('JsonException');
  const head = `{"object":"${as}","attributes":${text}`;
  if (view.includes.size === 0) return `${head}}}`;
  const includes = writeIncludes(writer, kind, id, view);
  return includes.length === 0 ? `${head}}}` : `${head},"relationships":{${includes.join(',')}}}}`;
}

const treeNames = (tree: IncludeTree): unknown[] => [...tree].map(([name, children]) => [name, treeNames(children)]);

const listingName = (kind: Kind, { includes, rights, nullResource }: View) =>
  JSON.stringify([kind, treeNames(includes), rights === 'all' ? rights : [...rights].sort(), nullResource ?? null]);

/** Bytes of one listed object; `name` names its kind and view. */
function listedBytes(
  state: SerializerState,
  name: string,
  id: number,
  write: () => string | undefined,
): Buffer | undefined {
  const cached = state.listings.get(name)?.get(id);
  if (cached !== undefined) return cached;
  const text = write();
  if (text === undefined) return undefined;
  const bytes = Buffer.from(text, 'utf8');
  if (state.listingBytes + bytes.length > MAX_LISTING_BYTES) dropListings(state);
  state.listingBytes += bytes.length;
  const listing = state.listings.get(name) ?? new Map<number, Buffer>();
  state.listings.set(name, listing.set(id, bytes));
  return bytes;
}

export function createSerializer(store: WorldStore): Serializer {
  const state: SerializerState = {
    store,
    texts: {
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
    },
    listings: new Map(),
    listingBytes: 0,
  };
  store.onChange((entity, before, after) => {
    dropTexts(state, entity, before, after);
    dropListings(state);
  });
  const writer: ObjectWriter = {
    store,
    object: (kind, id, view, as) => objectOf(state, writer, kind, id, view, as),
  };
  return {
    object: (kind, id, view) => objectOf(state, writer, kind, id, view),
    listed(kind, view) {
      const name = listingName(kind, view);
      return (id) => listedBytes(state, name, id, () => objectOf(state, writer, kind, id, view));
    },
  };
}

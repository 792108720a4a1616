/** All rows of a world, for comparisons in tests. */
import { environment } from './api/attributes.ts';
import type { DumpedServer, PanelDump } from './contract.ts';
import type { EntityName, Rows, ServerRow } from './world/rows.ts';
import type { WorldStore } from './world/world.ts';

function rowsOf<E extends EntityName>(store: WorldStore, entity: E): Rows[E][] {
  const rows: Rows[E][] = [];
  for (const id of store.ids(entity)) {
    const row = store.world[entity].get(id);
    if (row !== undefined) rows.push(structuredClone(row));
  }
  return rows;
}

const dumpedServer = (store: WorldStore, row: ServerRow): DumpedServer => ({
  ...row,
  suspended: row.status === 'suspended',
  installed: row.status === 'installing' || row.status === 'install_failed' ? 0 : 1,
  environment: environment(store, row),
});

/** Copies of all rows per entity, in id order. */
export const dumpWorld = (store: WorldStore): PanelDump => ({
  locations: rowsOf(store, 'locations'),
  nodes: rowsOf(store, 'nodes'),
  allocations: rowsOf(store, 'allocations'),
  nests: rowsOf(store, 'nests'),
  eggs: rowsOf(store, 'eggs'),
  variables: rowsOf(store, 'variables'),
  users: rowsOf(store, 'users'),
  servers: rowsOf(store, 'servers').map((row) => dumpedServer(store, row)),
  databases: rowsOf(store, 'databases'),
  databaseHosts: rowsOf(store, 'databaseHosts'),
  subusers: rowsOf(store, 'subusers'),
});

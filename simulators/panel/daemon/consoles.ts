/** The consoles of all simulated servers; the state of a server's process is the column `current_state` of its row. */
import type { ServerRow } from '../world/rows.ts';
import type { WorldStore } from '../world/world.ts';
import { createConsole, type DaemonConsole } from './console.ts';

export interface Consoles {
  row(uuid: string): ServerRow | undefined;
  of(row: ServerRow): DaemonConsole;
  /** @throws {Error} when there is no such server. */
  find(uuid: string): DaemonConsole;
  /** Calls `listener` for each server that is deleted or suspended. */
  onEnd(listener: (uuid: string) => void): void;
  clear(): void;
}

/** @param seed of the lines that the servers print. */
export function createConsoles(store: WorldStore, seed: number): Consoles {
  const consoles = new Map<string, DaemonConsole>();
  const listeners: ((uuid: string) => void)[] = [];
  const rowOf = (uuid: string): ServerRow | undefined => {
    for (const row of store.world.servers.values()) if (row.uuid === uuid) return row;
    return undefined;
  };
  function follow(uuid: string): void {
    const console = consoles.get(uuid);
    const row = rowOf(uuid);
    if (row === undefined || row.status === 'suspended') for (const listener of listeners) listener(uuid);
    if (row !== undefined) {
      console?.changed(row.current_state);
      return;
    }
    console?.end();
    consoles.delete(uuid);
  }
  store.onChange((entity, before, after) => {
    if (entity !== 'servers' || consoles.size === 0) return;
    const changed: unknown = Reflect.get(after ?? before ?? {}, 'uuid');
    for (const uuid of typeof changed === 'string' ? [changed] : [...consoles.keys()]) {
      if (consoles.has(uuid)) follow(uuid);
    }
  });
  function of(row: ServerRow): DaemonConsole {
    const known = consoles.get(row.uuid);
    if (known !== undefined) return known;
    const setState = (current_state: ServerRow['current_state']) => {
      store.update('servers', row.id, { current_state, updated_at: row.updated_at });
    };
    const console = createConsole(seed + row.id, row.current_state, setState);
    consoles.set(row.uuid, console);
    return console;
  }
  return {
    row: rowOf,
    of,
    find(uuid) {
      const row = rowOf(uuid);
      if (row === undefined) throw new Error(`no server ${uuid}`);
      return of(row);
    },
    onEnd: (listener) => void listeners.push(listener),
    clear() {
      for (const console of consoles.values()) console.end();
      consoles.clear();
    },
  };
}

/** A game server for tests: at the simulated panel, and in the mirror as a sync would have written it. */
import { randomUUID } from 'node:crypto';
import type { PanelSimulator } from '../../../simulators/panel/contract.ts';
import type { TestDb } from '../database.ts';
import { query } from '../merge.ts';

export const SESSION_VARIABLE = 'HYTALE_SERVER_SESSION_TOKEN';
export const IDENTITY_VARIABLE = 'HYTALE_SERVER_IDENTITY_TOKEN';

/** A panel that is only scenery: tests make their servers themselves. */
export const SCENERY = {
  ...{ locations: 1, nodes: 1, allocations: 40, nests: 1, eggs: 1, variables: 1, users: 4, servers: 1 },
  ...{ databases: 0, databaseHosts: 1, subusers: 0, limit: 0, clientLimit: 0 },
};

export interface GameServer {
  /** Id in the mirror. */
  id: string;
  /** The variables that the panel has now. */
  values(): Record<string, unknown>;
}

/** A server whose egg has a variable for each token. */
export async function addGameServer(panel: PanelSimulator, db: TestDb): Promise<GameServer> {
  const egg = panel.create('eggs', { name: 'Hytale', nest: 1 });
  await query(db, `insert into nests (id, uuid, name) values (1, 'n', 'n') on conflict do nothing`);
  await query(db, `insert into eggs (id, uuid, name, "nestId") values (?, ?, 'Hytale', 1)`, [egg.id, randomUUID()]);
  for (const name of [SESSION_VARIABLE, IDENTITY_VARIABLE]) {
    const flags = { user_viewable: true, user_editable: true, rules: 'nullable|string' };
    const variable = panel.create('variables', { ...flags, env_variable: name, default_value: '', egg_id: egg.id });
    await query(
      db,
      `insert into egg_variables (id, egg_id, name, env_variable, user_viewable, user_editable, rules)
       values (?, ?, ?, ?, true, true, ?)`,
      [variable.id, egg.id, name, name, flags.rules],
    );
  }
  panel.update('nodes', 1, { maintenance_mode: false });
  const server = panel.create('servers', { node: 1, egg: egg.id, current_state: 'running' });
  const id = `server-${server.id}`;
  await query(db, `insert into servers (id, name, uuid, "pterodactylId", "eggId") values (?, ?, ?, ?, ?)`, [
    id,
    id,
    server.uuid,
    server.id,
    egg.id,
  ]);
  return { id, values: () => panel.world.servers.get(server.id)?.values ?? {} };
}

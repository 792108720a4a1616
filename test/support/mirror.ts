/**
 * The rows that the database must hold for a panel: the mapping, written a second time from the contract, so that the
 * product's own mapping is compared with an independent one.
 */
import type { PanelDump } from '../../simulators/panel/contract.ts';
import type { TestDb } from './database.ts';

export type Tables = Record<string, Record<string, unknown>[]>;

/** Owned columns of every mirrored table, in terms that do not depend on local ids. */
export function expectedMirror(panel: PanelDump): Tables {
  const hosts = new Map(panel.databaseHosts.map((h) => [h.id, h]));
  const owner = new Map(panel.servers.map((s) => [s.id, s.user]));
  return {
    locations: panel.locations.map((l) => ({ id: l.id, shortCode: l.short, description: l.long })),
    nodes: panel.nodes.map((n) => ({
      id: n.id,
      uuid: n.uuid,
      name: n.name,
      description: n.description,
      fqdn: n.fqdn,
      scheme: n.scheme,
      behindProxy: n.behind_proxy,
      memory: String(n.memory),
      memoryOverallocate: n.memory_overallocate,
      disk: String(n.disk),
      diskOverallocate: n.disk_overallocate,
      isPublic: n.public,
      isMaintenanceMode: n.maintenance_mode,
      daemonListenPort: n.daemon_listen,
      daemonSftpPort: n.daemon_sftp,
      daemonBase: n.daemon_base,
      locationId: n.location_id,
      panelType: 'pterodactyl',
    })),
    nests: panel.nests.map((n) => ({
      id: n.id,
      uuid: n.uuid,
      name: n.name,
      description: n.description,
      author: n.author,
    })),
    eggs: panel.eggs.map((e) => ({
      id: e.id,
      uuid: e.uuid,
      name: e.name,
      description: e.description,
      author: e.author,
      nestId: e.nest,
      panelType: 'pterodactyl',
    })),
    egg_variables: panel.variables.map((v) => ({
      id: v.id,
      egg_id: v.egg_id,
      name: v.name,
      description: v.description,
      env_variable: v.env_variable,
      default_value: v.default_value,
      user_viewable: v.user_viewable,
      user_editable: v.user_editable,
      rules: v.rules,
    })),
    users: panel.users.map((u) => ({
      pterodactylId: u.id,
      email: u.email,
      username: u.username,
      firstName: u.first_name,
      lastName: u.last_name,
      isPterodactylAdmin: u.root_admin,
    })),
    servers: panel.servers.map((s) => ({
      pterodactylId: s.id,
      uuid: s.uuid,
      uuidShort: s.identifier,
      externalId: s.external_id,
      panelType: 'pterodactyl',
      name: s.name,
      description: s.description,
      status: s.status === null ? 'online' : s.status,
      isSuspended: s.status === 'suspended',
      memory: String(s.limits.memory),
      disk: String(s.limits.disk),
      cpu: String(s.limits.cpu),
      owner: s.user,
      nodeId: s.node,
      eggId: s.egg,
      nestId: s.nest,
      primaryAllocationId: s.allocation,
      serverType: 'game_server',
    })),
    allocations: panel.allocations.map((a) => ({
      id: a.id,
      ip: a.ip,
      port: a.port,
      alias: a.alias,
      notes: a.notes,
      isAssigned: a.server_id !== null,
      nodeId: a.node_id,
      server: a.server_id,
    })),
    databases: panel.databases.map((d) => ({
      pterodactylId: d.id,
      server: d.server,
      databaseName: d.database,
      username: d.username,
      host: hosts.get(d.host)?.host ?? '',
      port: hosts.get(d.host)?.port ?? 3306,
      hostId: d.host,
      maxConnections: d.max_connections ?? 0,
    })),
    subusers: [
      ...panel.subusers
        .filter((s) => owner.get(s.server_id) !== s.user_id)
        .map((s) => ({
          server: s.server_id,
          user: s.user_id,
          permissions: s.permissions,
          isOwner: false,
          accessLevel: 'user',
        })),
      ...panel.servers.map((s) => ({
        server: s.id,
        user: s.user,
        permissions: ['*'],
        isOwner: true,
        accessLevel: 'owner',
      })),
    ],
  };
}

const QUERIES: Record<string, string> = {
  locations: `select id, "shortCode", description from locations order by id`,
  nodes: `select id, uuid, name, description, fqdn, scheme, "behindProxy", memory, "memoryOverallocate", disk, "diskOverallocate", "isPublic",
    "isMaintenanceMode", "daemonListenPort", "daemonSftpPort", "daemonBase", "locationId", "panelType" from nodes order by id`,
  nests: `select id, uuid, name, description, author from nests order by id`,
  eggs: `select id, uuid, name, description, author, "nestId", "panelType" from eggs order by id`,
  egg_variables: `select id, egg_id, name, description, env_variable, default_value, user_viewable, user_editable, rules from egg_variables order by id`,
  users: `select "pterodactylId", email, username, "firstName", "lastName", "isPterodactylAdmin" from users where "pterodactylId" is not null order by "pterodactylId"`,
  servers: `select s."pterodactylId", s.uuid, s."uuidShort", s."externalId", s."panelType", s.name, s.description, s.status, s."isSuspended", s.memory, s.disk, s.cpu,
    u."pterodactylId" as owner, s."nodeId", s."eggId", s."nestId", s."primaryAllocationId", s."serverType" from servers s left join users u on u.id = s."ownerId" order by s."pterodactylId"`,
  allocations: `select a.id, a.ip, a.port, a.alias, a.notes, a."isAssigned", a."nodeId", s."pterodactylId" as server
    from allocations a left join servers s on s.id = a."serverId" order by a.id`,
  databases: `select d."pterodactylId", s."pterodactylId" as server, d."databaseName", d.username, d.host, d.port, d."hostId", d."maxConnections"
    from server_databases d join servers s on s.id = d."serverId" order by d."pterodactylId"`,
  subusers: `select s."pterodactylId" as server, u."pterodactylId" as "user", b.permissions, b."isOwner", b."accessLevel"
    from server_subusers b join servers s on s.id = b."serverId" join users u on u.id = b."userId" order by 1, 2`,
};

/** Owned columns of every mirrored table as they are. */
export async function readMirror(db: TestDb): Promise<Tables> {
  const result: Tables = {};
  for (const [table, sql] of Object.entries(QUERIES))
    result[table] = ((await db.raw(sql)) as { rows: Record<string, unknown>[] }).rows;
  return result;
}

/** Rows without their order. */
export function sorted(tables: Tables): Tables {
  const key = (row: Record<string, unknown>) =>
    JSON.stringify([row['id'] ?? row['pterodactylId'] ?? row['server'], row['user']]);
  return Object.fromEntries(
    Object.entries(tables).map(([table, rows]) => [
      table,
      [...rows].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0)),
    ]),
  );
}

const MIRROR_TABLES = [
  'locations',
  'nodes',
  'nests',
  'eggs',
  'egg_variables',
  'users',
  'servers',
  'allocations',
  'server_databases',
  'server_subusers',
];

/** Physical identity of every mirror row: unchanged means that nothing wrote or locked it. */
export async function rowVersions(db: TestDb): Promise<Record<string, string>> {
  const result: Record<string, string> = {};
  for (const table of MIRROR_TABLES) {
    const { rows } = (await db.raw(
      `select md5(coalesce(string_agg(ctid::text || ':' || xmin::text || ':' || xmax::text, ',' order by ctid), '')) as v from ${table}`,
    )) as { rows: { v: string }[] };
    result[table] = rows[0]?.v ?? '';
  }
  return result;
}

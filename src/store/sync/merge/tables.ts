/**
 * The mirror's tables as data (ADR 7): what is staged of each, which columns the sync owns, what must stay unique. The
 * statements of the merge are built from it.
 *
 * A new mirrored column is named in:
 * - a migration that adds it, and test/fixtures/schema/contract.txt, which lists the columns of the database;
 * - domain/panel/records.ts, in the schema of its record and in what the schema returns;
 * - this file, with its type in STAGED and by name in `owned` of MIRROR;
 * - TARGET of match.ts, for users, servers, databases and subusers (other entities take all staged columns);
 * - test/support/mirror.ts, which compares the mirror with the panel, and the rows of the simulator
 *   (simulators/panel/world) where they do not have the attribute yet.
 */
import type { StagedEntity } from '../../../domain/panel/records.ts';
import type { Entity } from '../../../domain/sync/targets.ts';

interface StagedSpec {
  /** Columns that identify a record: of a record that was read twice, the newest page wins. */
  key: string;
  /** Columns that later statements join on: the planner needs their statistics. */
  joins: string;
  /** Columns of the staged JSON with the SQL types that they are read as. */
  columns: string;
}

export const STAGED: Record<StagedEntity, StagedSpec> = {
  locations: { key: 'id', joins: 'id', columns: 'id int, "shortCode" text, description text' },
  nodes: {
    key: 'id',
    joins: 'id, "locationId"',
    columns: `id int, uuid text, name text, description text, fqdn text, scheme text, "behindProxy" boolean, memory bigint,
      "memoryOverallocate" int, disk bigint, "diskOverallocate" int, "isPublic" boolean, "isMaintenanceMode" boolean,
      "daemonListenPort" int, "daemonSftpPort" int, "daemonBase" text, "locationId" int`,
  },
  nests: { key: 'id', joins: 'id', columns: 'id int, uuid text, name text, description text, author text' },
  eggs: {
    key: 'id',
    joins: 'id, "nestId"',
    columns: 'id int, uuid text, name text, description text, author text, "nestId" int',
  },
  egg_variables: {
    key: 'id',
    joins: 'id, egg_id',
    columns: `id int, egg_id int, name text, description text, env_variable text, default_value text,
      user_viewable boolean, user_editable boolean, rules text`,
  },
  users: {
    key: '"panelId"',
    joins: '"panelId"',
    columns: '"panelId" int, email text, username text, "firstName" text, "lastName" text, admin boolean',
  },
  servers: {
    key: '"panelId"',
    joins: '"panelId"',
    columns: `"panelId" int, uuid text, "uuidShort" text, "externalId" text, name text, description text, status text,
      "isSuspended" boolean, memory int, disk int, cpu int, "user" int, node int, allocation int, egg int, nest int`,
  },
  links: { key: 'id', joins: 'id, server', columns: 'id int, server int' },
  allocations: {
    key: 'id',
    joins: 'id, "nodeId"',
    columns: 'id int, ip text, port int, alias text, notes text, "isAssigned" boolean, "nodeId" int',
  },
  databases: {
    key: '"panelId"',
    joins: '"panelId", server',
    columns: `"panelId" int, server int, "databaseName" text, username text, host text, port int, "hostId" int, "maxConnections" int`,
  },
  subusers: {
    key: `server, coalesce("user"::text, lower(email))`,
    joins: 'server, "user"',
    columns: '"panelId" int, server int, "user" int, email text, permissions text[]',
  },
};

export interface UniqueKey {
  /** SQL of the key's columns over a row alias. */
  columns: (alias: string) => string[];
  code: 'EMAIL_TAKEN' | 'KEY_TAKEN';
  /** Detail of a record that is rejected for this key: columns, never values. */
  detail: string;
  /**
   * Assignment that releases the value while it changes hands. Absent where the value cannot be released (servers.uuid
   * is the target of foreign keys): a record that collides there is rejected.
   */
  release?: string;
  /** Condition over alias t: only values of such rows are released. */
  releaseOnly?: string;
}

export interface MirrorSpec {
  entity: Entity;
  table: string;
  /** Columns that the sync owns, by their names in the table and in `target_x`. */
  owned: string[];
  /**
   * Owned columns whose new value depends on the row at the time of writing (aliases t and change), not of planning: the
   * site may change the row in between.
   */
  assign?: Record<string, string>;
  /** Written on insert only: column and SQL expression. */
  onInsert: [column: string, expression: string][];
  /** Columns that receive the time of writing: `change` with every write, `create` on insert only. */
  stamps: { change: string[]; create: string[] };
  unique: UniqueKey[];
  /** SQL over alias t: the mirrored row belongs to this panel. */
  isPanelRow: string;
  /** SQL over alias t: the row belongs to another panel, although its id may exist on this one. It is never written. */
  isOtherPanelRow?: string;
}

/**
 * SQL: the account was never used. Its address and names follow the panel until its first use; from then on they are the
 * person's own.
 */
export const neverUsed = (alias: string): string =>
  `(${alias}.password is null and ${alias}."emailVerified" is null and ${alias}."lastLoginAt" is null)`;
const nameOfPerson = (column: string) =>
  `case when ${neverUsed('t')} then change.${column} else coalesce(t.${column}, change.${column}) end`;

const q = (name: string) => (/^[a-z_]+$/.test(name) ? name : `"${name}"`);
const over =
  (...names: string[]) =>
  (alias: string) =>
    names.map((n) => `${alias}.${q(n)}`);
const STD = { change: ['"updatedAt"'], create: ['"createdAt"'] };
const SYNCED = { change: ['"updatedAt"', '"lastSyncedAt"'], create: ['"createdAt"'] };

export const MIRROR: Record<Entity, MirrorSpec> = {
  locations: {
    entity: 'locations',
    table: 'locations',
    owned: ['"shortCode"', 'description'],
    onInsert: [],
    stamps: STD,
    unique: [
      {
        columns: over('shortCode'),
        code: 'KEY_TAKEN',
        detail: 'shortCode: held by another location',
        release: `"shortCode" = '~' || t.id`,
      },
    ],
    isPanelRow: 'true',
  },
  nodes: {
    entity: 'nodes',
    table: 'nodes',
    owned: [
      'uuid',
      'name',
      'description',
      'fqdn',
      'scheme',
      '"behindProxy"',
      'memory',
      '"memoryOverallocate"',
      'disk',
      '"diskOverallocate"',
      '"isPublic"',
      '"isMaintenanceMode"',
      '"daemonListenPort"',
      '"daemonSftpPort"',
      '"daemonBase"',
      '"locationId"',
    ],
    onInsert: [['"panelType"', `'pterodactyl'`]],
    stamps: STD,
    unique: [
      { columns: over('uuid'), code: 'KEY_TAKEN', detail: 'uuid: held by another node', release: `uuid = '~' || t.id` },
    ],
    isPanelRow: `t."panelType" = 'pterodactyl'`,
    isOtherPanelRow: `t."panelType" <> 'pterodactyl'`,
  },
  nests: {
    entity: 'nests',
    table: 'nests',
    owned: ['uuid', 'name', 'description', 'author'],
    onInsert: [],
    stamps: STD,
    unique: [
      { columns: over('uuid'), code: 'KEY_TAKEN', detail: 'uuid: held by another nest', release: `uuid = '~' || t.id` },
    ],
    isPanelRow: 'true',
  },
  eggs: {
    entity: 'eggs',
    table: 'eggs',
    owned: ['uuid', 'name', 'description', 'author', '"nestId"'],
    onInsert: [['"panelType"', `'pterodactyl'`]],
    stamps: STD,
    unique: [
      { columns: over('uuid'), code: 'KEY_TAKEN', detail: 'uuid: held by another egg', release: `uuid = '~' || t.id` },
    ],
    isPanelRow: `t."panelType" = 'pterodactyl'`,
    isOtherPanelRow: `t."panelType" <> 'pterodactyl'`,
  },
  egg_variables: {
    entity: 'egg_variables',
    table: 'egg_variables',
    owned: [
      'egg_id',
      'name',
      'description',
      'env_variable',
      'default_value',
      'user_viewable',
      'user_editable',
      'rules',
    ],
    onInsert: [],
    stamps: { change: ['updated_at'], create: ['created_at'] },
    unique: [],
    isPanelRow: 'true',
  },
  users: {
    entity: 'users',
    table: 'users',
    owned: ['email', 'username', '"firstName"', '"lastName"', '"pterodactylId"', '"isPterodactylAdmin"'],
    assign: {
      email: `case when ${neverUsed('t')} then change.email else t.email end`,
      username: nameOfPerson('username'),
      '"firstName"': nameOfPerson('"firstName"'),
      '"lastName"': nameOfPerson('"lastName"'),
    },
    onInsert: [
      ['"isMigrated"', 'false'],
      ['"isActive"', 'true'],
    ],
    stamps: SYNCED,
    unique: [
      {
        columns: (a) => [`lower(${a}.email)`],
        code: 'EMAIL_TAKEN',
        detail: 'email: held by another account',
        release: `email = '~' || t.id`,
        releaseOnly: neverUsed('t'),
      },
    ],
    // Users are never pruned.
    isPanelRow: 'false',
  },
  servers: {
    entity: 'servers',
    table: 'servers',
    owned: [
      '"pterodactylId"',
      'uuid',
      '"uuidShort"',
      '"externalId"',
      'name',
      'description',
      'status',
      '"isSuspended"',
      'memory',
      'disk',
      'cpu',
      '"ownerId"',
      '"nodeId"',
      '"eggId"',
      '"nestId"',
      '"primaryAllocationId"',
      '"panelType"',
    ],
    onInsert: [],
    stamps: SYNCED,
    unique: [{ columns: over('uuid'), code: 'KEY_TAKEN', detail: 'uuid: held by another server' }],
    isPanelRow: `t."panelType" = 'pterodactyl' and t."pterodactylId" is not null`,
  },
  allocations: {
    entity: 'allocations',
    table: 'allocations',
    owned: ['ip', 'port', 'alias', 'notes', '"isAssigned"', '"nodeId"', '"serverId"'],
    onInsert: [],
    stamps: STD,
    unique: [
      {
        columns: over('nodeId', 'ip', 'port'),
        code: 'KEY_TAKEN',
        detail: 'nodeId, ip, port: held by another allocation',
        release: 'port = -t.id',
      },
    ],
    isPanelRow: `exists (select 1 from nodes n where n.id = t."nodeId" and n."panelType" = 'pterodactyl')`,
  },
  databases: {
    entity: 'databases',
    table: 'server_databases',
    owned: [
      '"serverId"',
      '"pterodactylId"',
      '"databaseName"',
      'username',
      'host',
      'port',
      '"hostId"',
      '"maxConnections"',
    ],
    onInsert: [],
    stamps: STD,
    unique: [],
    isPanelRow: 't."pterodactylId" is not null',
  },
  subusers: {
    entity: 'subusers',
    table: 'server_subusers',
    owned: ['"serverId"', '"userId"', 'permissions', '"isOwner"', '"accessLevel"'],
    onInsert: [],
    stamps: { change: ['"lastSyncedAt"'], create: ['"addedAt"'] },
    unique: [],
    isPanelRow: 'true',
  },
};

/**
 * The mirror's tables as data: what is staged of each, which columns sync owns, what must stay unique. The apply is
 * driven by it; a new mirrored column is one line here.
 */
import type { StagedEntity } from '../../../domain/panel/records.ts';
import type { Entity } from '../../../domain/sync/targets.ts';

/** Columns of the staged JSON, with the SQL types they are read as; `joins` are those the planner needs statistics of. */
export const STAGED: Record<StagedEntity, { key: string; joins: string; columns: string }> = {
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
    key: 'pid',
    joins: 'pid',
    columns: 'pid int, email text, username text, "firstName" text, "lastName" text, admin boolean',
  },
  servers: {
    key: 'pid',
    joins: 'pid',
    columns: `pid int, uuid text, "uuidShort" text, "externalId" text, name text, description text, status text,
      "isSuspended" boolean, memory int, disk int, cpu int, "user" int, node int, egg int, nest int`,
  },
  links: { key: 'id', joins: 'id, server', columns: 'id int, server int' },
  allocations: {
    key: 'id',
    joins: 'id, "nodeId"',
    columns: 'id int, ip text, port int, alias text, notes text, "isAssigned" boolean, "nodeId" int',
  },
  databases: {
    key: 'pid',
    joins: 'pid, server',
    columns: `pid int, server int, "databaseName" text, username text, host text, port int, "hostId" int, "maxConnections" int`,
  },
  subusers: {
    key: `server, coalesce("user"::text, lower(email))`,
    joins: 'server, "user"',
    columns: 'pid int, server int, "user" int, email text, permissions text[]',
  },
};

export interface UniqueKey {
  /** SQL of the key's columns over a row alias, always as many. */
  columns: (alias: string) => string[];
  code: 'EMAIL_TAKEN' | 'KEY_TAKEN';
  /** Text of the set-aside record: columns, never values. */
  detail: string;
  /**
   * Assignment that frees the value while it changes hands; absent where the column cannot be parked (servers.uuid is
   * the target of foreign keys): there a collision is set aside.
   */
  park?: string;
  /** Condition over alias t: only such rows are parked. */
  parkOnly?: string;
}

export interface MirrorSpec {
  entity: Entity;
  table: string;
  /** Columns that sync owns, as they are named in the table and in the final rows. */
  owned: string[];
  /**
   * Owned columns whose new value depends on the row as it is when it is written (aliases t and p), not as it was
   * planned: the site may change it in between.
   */
  assign?: Record<string, string>;
  /** Written on insert only: column and SQL expression. */
  onInsert: [column: string, expression: string][];
  /** Columns stamped with a change; the second ones on insert only. */
  stamps: { change: string[]; create: string[] };
  unique: UniqueKey[];
  /** Which mirrored rows are the panel's: a condition over alias t. */
  mine: string;
  /** Rows over alias t that belong to another panel, although their ids could be this one's: never written. */
  foreign?: string;
}

/** An account nobody has used yet follows the panel; afterwards its address and names are the person's. */
export const neverUsed = (alias: string): string =>
  `(${alias}.password is null and ${alias}."emailVerified" is null and ${alias}."lastLoginAt" is null)`;
const nameOfPerson = (column: string) =>
  `case when ${neverUsed('t')} then p.${column} else coalesce(t.${column}, p.${column}) end`;

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
        park: `"shortCode" = '~' || t.id`,
      },
    ],
    mine: 'true',
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
      { columns: over('uuid'), code: 'KEY_TAKEN', detail: 'uuid: held by another node', park: `uuid = '~' || t.id` },
    ],
    mine: `t."panelType" = 'pterodactyl'`,
    foreign: `t."panelType" <> 'pterodactyl'`,
  },
  nests: {
    entity: 'nests',
    table: 'nests',
    owned: ['uuid', 'name', 'description', 'author'],
    onInsert: [],
    stamps: STD,
    unique: [
      { columns: over('uuid'), code: 'KEY_TAKEN', detail: 'uuid: held by another nest', park: `uuid = '~' || t.id` },
    ],
    mine: 'true',
  },
  eggs: {
    entity: 'eggs',
    table: 'eggs',
    owned: ['uuid', 'name', 'description', 'author', '"nestId"'],
    onInsert: [['"panelType"', `'pterodactyl'`]],
    stamps: STD,
    unique: [
      { columns: over('uuid'), code: 'KEY_TAKEN', detail: 'uuid: held by another egg', park: `uuid = '~' || t.id` },
    ],
    mine: `t."panelType" = 'pterodactyl'`,
    foreign: `t."panelType" <> 'pterodactyl'`,
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
    mine: 'true',
  },
  users: {
    entity: 'users',
    table: 'users',
    owned: ['email', 'username', '"firstName"', '"lastName"', '"pterodactylId"', '"isPterodactylAdmin"'],
    assign: {
      email: `case when ${neverUsed('t')} then p.email else t.email end`,
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
        park: `email = '~' || t.id`,
        parkOnly: neverUsed('t'),
      },
    ],
    // Users are never pruned.
    mine: 'false',
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
      '"panelType"',
    ],
    onInsert: [],
    stamps: SYNCED,
    unique: [{ columns: over('uuid'), code: 'KEY_TAKEN', detail: 'uuid: held by another server' }],
    mine: `t."panelType" = 'pterodactyl' and t."pterodactylId" is not null`,
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
        park: 'port = -t.id',
      },
    ],
    mine: `exists (select 1 from nodes n where n.id = t."nodeId" and n."panelType" = 'pterodactyl')`,
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
    mine: 't."pterodactylId" is not null',
  },
  subusers: {
    entity: 'subusers',
    table: 'server_subusers',
    owned: ['"serverId"', '"userId"', 'permissions', '"isOwner"', '"accessLevel"'],
    onInsert: [],
    stamps: { change: ['"lastSyncedAt"'], create: ['"addedAt"'] },
    unique: [],
    mine: 'true',
  },
};

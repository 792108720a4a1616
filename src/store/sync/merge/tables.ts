/**
 * The mirror's tables as data (ADR 7): how a staged record is identified, who owns a row, what must stay unique. The columns
 * stand in domain/sync/columns.ts; the statements of the merge are built from both.
 */
import { COLUMNS, type ColumnType, columnsWith, type StagedEntity } from '../../../domain/sync/columns.ts';
import type { Entity } from '../../../domain/sync/targets.ts';

/** A column's name as SQL needs it. */
export const ident = (name: string): string => (/^[a-z_]+$/.test(name) && name !== 'user' ? name : `"${name}"`);

interface StagedSpec {
  /** SQL over alias x, of what identifies a record: of a record that was read twice, the newest page wins. */
  identity: string;
  /** Columns that later statements join on: the planner needs their statistics. */
  joins: readonly string[];
}

export const STAGED: Record<StagedEntity, StagedSpec> = {
  locations: { identity: 'x.id', joins: ['id'] },
  nodes: { identity: 'x.id', joins: ['id', 'locationId'] },
  nests: { identity: 'x.id', joins: ['id'] },
  eggs: { identity: 'x.id', joins: ['id', 'nestId'] },
  egg_variables: { identity: 'x.id', joins: ['id', 'egg_id'] },
  users: { identity: 'x."panelId"', joins: ['panelId'] },
  servers: { identity: 'x."panelId"', joins: ['panelId'] },
  links: { identity: 'x.id', joins: ['id', 'server'] },
  allocations: { identity: 'x.id', joins: ['id', 'nodeId'] },
  databases: { identity: 'x."panelId"', joins: ['panelId', 'server'] },
  subusers: { identity: 'x.server, coalesce(x."user"::text, lower(x.email))', joins: ['server', 'user'] },
};

/** The staged columns of an entity with their types, as json_to_recordset takes them. */
export const recordColumns = (entity: StagedEntity): string =>
  columnsWith(entity, 'owned', 'staged', 'first')
    .map((name) => `${ident(name)} ${typeOf(entity, name)}`)
    .join(', ');

const typeOf = (entity: StagedEntity, name: string): ColumnType =>
  (COLUMNS[entity] as Record<string, { type: ColumnType }>)[name]?.type ?? 'text';

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

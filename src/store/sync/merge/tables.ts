/**
 * The mirror's tables as data (ADR 7): how a staged record is identified, who owns a row, what must stay unique. The columns
 * stand in domain/sync/columns.ts; the statements of the merge are built from both.
 */
import { COLUMNS, type ColumnType, columnsWith, type StagedEntity } from '../../../domain/sync/columns.ts';
import type { Entity } from '../../../domain/sync/targets.ts';
import { addressOf } from '../../accounts/address.ts';

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
  /** The columns of the key; a row that cannot have the value it wants keeps what it has in all of them. */
  columns: readonly string[];
  /** SQL of the values that must be unique, over a row alias. */
  values: (alias: string) => string[];
  code: 'EMAIL_TAKEN' | 'KEY_TAKEN';
  /** Detail of a record that is rejected for this key: columns, never values. */
  detail: string;
  /**
   * Assignment that releases the value while it changes hands, over alias t. Absent where a value cannot be released
   * (servers.uuid is the target of foreign keys).
   */
  release?: string;
  /** Condition over alias t: only values of such rows are released. */
  releaseOnly?: string;
}

/** SQL: one row differs from the other in an owned column. */
export const differsFrom = ({ owned }: Pick<MirrorSpec, 'owned'>, row: string, other: string): string => {
  const list = (of: string) => owned.map((column) => `${of}.${column}`).join(', ');
  return `(${list(row)}) is distinct from (${list(other)})`;
};

export interface MirrorSpec {
  entity: Entity;
  table: string;
  /** Columns that every change writes, by their SQL names in the table and in `target_x`. */
  owned: readonly string[];
  /**
   * Owned columns whose new value depends on the row at the time of writing (aliases t and change), not of planning: the
   * site may change the row in between.
   */
  assign?: Record<string, string>;
  /** Written on insert only: SQL name of the column, and expression over alias change. */
  onInsert: readonly [column: string, expression: string][];
  /** Columns that get the time of writing: with every write, and on insert only. */
  stamps: { change: readonly string[]; create: readonly string[] };
  unique: readonly UniqueKey[];
  /** SQL over alias t: a sync wrote the row, so a sync may delete it. */
  isPanelRow: string;
}

/**
 * SQL: the account was never used. Its email and names follow the panel until its first use; from then on they are the
 * person's own.
 */
export const neverUsed = (alias: string): string =>
  `(${alias}.password is null and ${alias}."emailVerified" is null and ${alias}."lastLoginAt" is null)`;
const nameOfPerson = (column: string) =>
  `case when ${neverUsed('t')} then change.${column} else coalesce(t.${column}, change.${column}) end`;

/** A query over what was staged and matched, whose rows are those of `target_x`. */
export interface TargetQuery {
  /** Common tables that it is built on. */
  tables?: string;
  /**
   * SQL of each column: `id`, `panel_id`, `found`, the owned columns, and for some entities more. Not a subquery with names of
   * its own: PostgreSQL could not look through it, since new ids are random, and would copy each row of the mirror.
   */
  columns: Readonly<Record<string, string>>;
  from: string;
  /** SQL of the row as the mirror has it; null for a new one. */
  was: string;
}

/** SQL: the id of the row that was found, or a new one. */
export const newOr = (id: string): string => `coalesce(${id}, gen_random_uuid()::text)`;

/**
 * The statements, run without nested loops. The planner's numbers of the mirror may be from before it was filled, and then it
 * would compare each record with each row.
 */
export const withoutLoops = (...statements: string[]): string[] => [
  'set local enable_nestloop = off',
  ...statements,
  'set local enable_nestloop = on',
];

/** The time of writing: the columns are UTC without a zone. */
export const NOW = `now() at time zone 'utc'`;

const STD = { change: ['"updatedAt"'], create: ['"createdAt"'] } as const;
const SYNCED = { change: ['"updatedAt"', '"lastSyncedAt"'], create: ['"createdAt"'] } as const;

/** A unique key of plain columns. */
const key = (entity: string, columns: string[], release?: string): UniqueKey => ({
  columns,
  values: (alias) => columns.map((column) => `${alias}.${ident(column)}`),
  code: 'KEY_TAKEN',
  detail: `${columns.join(', ')}: held by another ${entity}`,
  ...(release === undefined ? {} : { release }),
});

type Rest = Omit<MirrorSpec, 'entity' | 'table' | 'owned' | 'onInsert' | 'stamps' | 'unique'> &
  Partial<Pick<MirrorSpec, 'table' | 'onInsert' | 'stamps' | 'unique'>>;

const mirror = (entity: Entity, rest: Rest): MirrorSpec => ({
  entity,
  table: entity,
  owned: columnsWith(entity, 'owned', 'computed').map(ident),
  onInsert: [],
  stamps: STD,
  unique: [],
  ...rest,
});

const isPterodactyl = (alias: string) => `${alias}."panelType" = 'pterodactyl'`;

export const MIRROR: Record<Entity, MirrorSpec> = {
  locations: mirror('locations', {
    unique: [key('location', ['shortCode'], `"shortCode" = '~' || t.id`)],
    isPanelRow: 'true',
  }),
  nodes: mirror('nodes', { unique: [key('node', ['uuid'], `uuid = '~' || t.id`)], isPanelRow: isPterodactyl('t') }),
  nests: mirror('nests', { unique: [key('nest', ['uuid'], `uuid = '~' || t.id`)], isPanelRow: 'true' }),
  eggs: mirror('eggs', { unique: [key('egg', ['uuid'], `uuid = '~' || t.id`)], isPanelRow: isPterodactyl('t') }),
  egg_variables: mirror('egg_variables', {
    stamps: { change: ['updated_at'], create: ['created_at'] },
    isPanelRow: `exists (select 1 from eggs e where e.id = t.egg_id and ${isPterodactyl('e')})`,
  }),
  users: mirror('users', {
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
        columns: ['email'],
        values: (alias) => [addressOf(alias)],
        code: 'EMAIL_TAKEN',
        detail: 'email: held by another account',
        release: `email = '~' || t.id`,
        releaseOnly: neverUsed('t'),
      },
      key('account', ['pterodactylId'], `"pterodactylId" = null`),
      key('account', ['pterodactylUuid'], `"pterodactylUuid" = null`),
    ],
    // A user is never deleted.
    isPanelRow: 'false',
  }),
  servers: mirror('servers', {
    onInsert: [['"createdAt"', `coalesce(change."createdAt", ${NOW})`]],
    stamps: { change: SYNCED.change, create: [] },
    unique: [key('server', ['uuid']), key('server', ['pterodactylId'], `"pterodactylId" = null`)],
    isPanelRow: `${isPterodactyl('t')} and t."pterodactylId" is not null`,
  }),
  allocations: mirror('allocations', {
    unique: [key('allocation', ['nodeId', 'ip', 'port'], 'port = -t.id')],
    isPanelRow: `exists (select 1 from nodes n where n.id = t."nodeId" and ${isPterodactyl('n')})`,
  }),
  databases: mirror('databases', { table: 'server_databases', isPanelRow: 't."pterodactylId" is not null' }),
  subusers: mirror('subusers', {
    table: 'server_subusers',
    stamps: { change: ['"lastSyncedAt"'], create: ['"addedAt"'] },
    isPanelRow: 't."lastSyncedAt" is not null',
  }),
};

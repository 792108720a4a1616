/**
 * The columns of the mirror (ADR 7), in one typed list per table: what is staged of a record, and what a sync writes of it.
 * Staging, the plan and the statements of the merge are generated from it, and the records of the panel are typed by it.
 *
 * A new mirrored column is named in:
 * - a migration that adds it, and test/fixtures/schema/contract.txt, which lists the columns of the database;
 * - this file;
 * - domain/panel/records.ts, in the function that builds its row: the compiler asks for it;
 * - store/sync/merge/targets, for users, servers, databases and subusers (other tables take all staged columns);
 * - test/support/mirror.ts, which compares the mirror with the panel, and the rows of the simulator
 *   (simulators/panel/world) where they do not have the attribute yet.
 *
 * Pure and without zod.
 */

/** Types of columns, with the values that they have in JSON. A timestamp is an ISO text in UTC. */
interface ValueOf {
  integer: number;
  bigint: number;
  text: string;
  boolean: boolean;
  'text[]': string[];
  timestamp: string;
}
export type ColumnType = keyof ValueOf;

/**
 * What becomes of a column:
 * - `owned`: staged, and written with every change; the panel decides what it holds;
 * - `staged`: staged to find something else by, and not written;
 * - `computed`: not staged; the plan computes it, and every change writes it;
 * - `first`: staged, and written only with a new row.
 */
type ColumnUse = 'owned' | 'staged' | 'computed' | 'first';
interface Column {
  readonly type: ColumnType;
  readonly use: ColumnUse;
}

const owned = <T extends ColumnType>(type: T) => ({ type, use: 'owned' }) as const;
const staged = <T extends ColumnType>(type: T) => ({ type, use: 'staged' }) as const;
const computed = <T extends ColumnType>(type: T) => ({ type, use: 'computed' }) as const;
const first = <T extends ColumnType>(type: T) => ({ type, use: 'first' }) as const;

/** Names are those of the database's columns, except those that are only staged. */
export const COLUMNS = {
  locations: { id: staged('integer'), shortCode: owned('text'), description: owned('text') },
  nodes: {
    id: staged('integer'),
    uuid: owned('text'),
    name: owned('text'),
    description: owned('text'),
    fqdn: owned('text'),
    scheme: owned('text'),
    behindProxy: owned('boolean'),
    memory: owned('bigint'),
    memoryOverallocate: owned('integer'),
    disk: owned('bigint'),
    diskOverallocate: owned('integer'),
    isPublic: owned('boolean'),
    isMaintenanceMode: owned('boolean'),
    daemonListenPort: owned('integer'),
    daemonSftpPort: owned('integer'),
    daemonBase: owned('text'),
    locationId: owned('integer'),
    panelType: computed('text'),
  },
  nests: {
    id: staged('integer'),
    uuid: owned('text'),
    name: owned('text'),
    description: owned('text'),
    author: owned('text'),
  },
  eggs: {
    id: staged('integer'),
    uuid: owned('text'),
    name: owned('text'),
    description: owned('text'),
    author: owned('text'),
    nestId: owned('integer'),
    panelType: computed('text'),
  },
  egg_variables: {
    id: staged('integer'),
    egg_id: owned('integer'),
    name: owned('text'),
    description: owned('text'),
    env_variable: owned('text'),
    default_value: owned('text'),
    user_viewable: owned('boolean'),
    user_editable: owned('boolean'),
    rules: owned('text'),
  },
  users: {
    panelId: staged('integer'),
    uuid: staged('text'),
    admin: staged('boolean'),
    email: owned('text'),
    username: owned('text'),
    firstName: owned('text'),
    lastName: owned('text'),
    pterodactylId: computed('integer'),
    pterodactylUuid: computed('text'),
    isPterodactylAdmin: computed('boolean'),
  },
  servers: {
    panelId: staged('integer'),
    uuid: owned('text'),
    uuidShort: owned('text'),
    externalId: owned('text'),
    name: owned('text'),
    description: owned('text'),
    status: owned('text'),
    isSuspended: owned('boolean'),
    memory: owned('bigint'),
    disk: owned('bigint'),
    cpu: owned('bigint'),
    user: staged('integer'),
    node: staged('integer'),
    allocation: staged('integer'),
    egg: staged('integer'),
    nest: staged('integer'),
    createdAt: first('timestamp'),
    pterodactylId: computed('integer'),
    ownerId: computed('text'),
    nodeId: computed('integer'),
    eggId: computed('integer'),
    nestId: computed('integer'),
    primaryAllocationId: computed('integer'),
    panelType: computed('text'),
  },
  allocations: {
    id: staged('integer'),
    ip: owned('text'),
    port: owned('integer'),
    alias: owned('text'),
    notes: owned('text'),
    isAssigned: owned('boolean'),
    nodeId: owned('integer'),
    serverId: computed('text'),
  },
  databases: {
    panelId: staged('integer'),
    server: staged('integer'),
    databaseName: owned('text'),
    username: owned('text'),
    host: owned('text'),
    port: owned('integer'),
    hostId: owned('integer'),
    maxConnections: owned('integer'),
    serverId: computed('text'),
    pterodactylId: computed('integer'),
  },
  subusers: {
    panelId: staged('integer'),
    server: staged('integer'),
    user: staged('integer'),
    email: staged('text'),
    permissions: owned('text[]'),
    serverId: computed('text'),
    userId: computed('text'),
    isOwner: computed('boolean'),
    accessLevel: computed('text'),
  },
  /** Which allocation belongs to which server; no table of its own. */
  links: { id: staged('integer'), server: staged('integer') },
} as const satisfies Record<string, Record<string, Column>>;

/** Entities as they are staged: those of the mirror, and `links`. */
export type StagedEntity = keyof typeof COLUMNS;

type IsStaged<C> = C extends { use: 'computed' } ? never : unknown;
type Columns<E extends StagedEntity> = (typeof COLUMNS)[E];
type TypeOf<C> = C extends { type: infer T extends ColumnType } ? ValueOf[T] : never;

/** A staged record of an entity. */
export type StagedRow<E extends StagedEntity> = {
  -readonly [C in keyof Columns<E> as IsStaged<Columns<E>[C]> extends never ? never : C]: TypeOf<Columns<E>[C]> | null;
};

/** Names of the columns of an entity with one of these uses, in the order of {@link COLUMNS}. */
export const columnsWith = (entity: StagedEntity, ...uses: ColumnUse[]): string[] =>
  Object.entries<Column>(COLUMNS[entity])
    .filter(([, column]) => uses.includes(column.use))
    .map(([name]) => name);

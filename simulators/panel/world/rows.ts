/**
 * The rows of the simulated panel: the content of its database, under the names that its API uses. "Not shown" marks a
 * column that no answer of the application API contains.
 */

/** A JSON value as the panel stores it in an egg. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export interface LocationRow {
  id: number;
  short: string;
  long: string | null;
  created_at: string;
  updated_at: string;
}

export interface NodeRow {
  id: number;
  uuid: string;
  public: boolean;
  name: string;
  description: string | null;
  location_id: number;
  fqdn: string;
  scheme: 'http' | 'https';
  behind_proxy: boolean;
  maintenance_mode: boolean;
  memory: number;
  memory_overallocate: number;
  disk: number;
  disk_overallocate: number;
  upload_size: number;
  daemon_listen: number;
  daemon_sftp: number;
  daemon_base: string;
  created_at: string;
  updated_at: string;
  /** Not shown, but a filter can name it. */
  daemon_token_id: string;
  /** Not shown: the node's daemon does not answer. */
  daemon_down: boolean;
}

export interface AllocationRow {
  id: number;
  /** Not shown. */
  node_id: number;
  ip: string;
  alias: string | null;
  port: number;
  notes: string | null;
  /** Not shown. `assigned` in an answer says whether this column has a value. */
  server_id: number | null;
}

export interface NestRow {
  id: number;
  uuid: string;
  author: string;
  name: string;
  description: string | null;
  created_at: string;
  updated_at: string;
}

export interface EggRow {
  id: number;
  uuid: string;
  name: string;
  nest: number;
  author: string;
  description: string | null;
  docker_images: Record<string, string>;
  config: {
    files: Json;
    startup: Json;
    stop: string | null;
    logs: Json;
    file_denylist: string[] | null;
    extends: number | null;
  };
  startup: string | null;
  script: { privileged: boolean; install: string | null; entry: string; container: string; extends: number | null };
  created_at: string;
  updated_at: string;
  /** Shown by the client API only. */
  features: string[] | null;
  /** Not shown: every answer with this egg is a 500. */
  broken: boolean;
}

export interface VariableRow {
  id: number;
  egg_id: number;
  name: string;
  description: string;
  env_variable: string;
  default_value: string;
  user_viewable: boolean;
  user_editable: boolean;
  rules: string;
  created_at: string | null;
  updated_at: string | null;
}

export interface UserRow {
  id: number;
  external_id: string | null;
  uuid: string;
  username: string;
  email: string;
  first_name: string | null;
  last_name: string | null;
  language: string;
  root_admin: boolean;
  '2fa': boolean;
  created_at: string;
  updated_at: string;
}

export type ServerStatus = 'installing' | 'install_failed' | 'reinstall_failed' | 'suspended' | 'restoring_backup';

export interface ServerRow {
  id: number;
  external_id: string | null;
  uuid: string;
  identifier: string;
  name: string;
  description: string;
  status: ServerStatus | null;
  limits: {
    memory: number;
    swap: number;
    disk: number;
    io: number;
    cpu: number;
    threads: string | null;
    oom_disabled: boolean;
  };
  feature_limits: { databases: number | null; allocations: number | null; backups: number };
  user: number;
  node: number;
  allocation: number;
  nest: number;
  egg: number;
  startup: string;
  image: string;
  created_at: string;
  updated_at: string;
  /** Values by environment variable. A missing name means that the value was never set. */
  values: Record<string, string>;
  /** Shown by the client API only. */
  transferring: boolean;
  /** The state that the node's daemon reports. Only `/resources` of the client API shows it. */
  current_state: 'running' | 'offline' | 'starting' | 'stopping';
}

export interface DatabaseRow {
  id: number;
  server: number;
  host: number;
  database: string;
  username: string;
  remote: string;
  max_connections: number | null;
  created_at: string;
  updated_at: string;
  /** Shown by the include `password` only. */
  password: string;
}

export interface DatabaseHostRow {
  id: number;
  name: string;
  host: string;
  port: number;
  username: string;
  node: number | null;
  created_at: string;
  updated_at: string;
}

export interface SubuserRow {
  id: number;
  user_id: number;
  server_id: number;
  /**
   * As the panel stored and prints them. An edit with a duplicate leaves a list with gaps, which PHP prints as an object
   * with number keys, for good. Other keys make a record that cannot be read.
   */
  permissions: string[] | Record<string, string>;
  created_at: string;
  updated_at: string;
}

export interface Rows {
  locations: LocationRow;
  nodes: NodeRow;
  allocations: AllocationRow;
  nests: NestRow;
  eggs: EggRow;
  variables: VariableRow;
  users: UserRow;
  servers: ServerRow;
  databases: DatabaseRow;
  databaseHosts: DatabaseHostRow;
  subusers: SubuserRow;
}

export type EntityName = keyof Rows;
/** All rows by id. Change rows with the methods of the world store, or call its `touch` after a direct change. */
export type PanelWorld = { [E in EntityName]: Map<number, Rows[E]> };

/** All entities, parents before children. */
export const ENTITY_NAMES = [
  'locations',
  'nodes',
  'nests',
  'eggs',
  'variables',
  'users',
  'databaseHosts',
  'servers',
  'allocations',
  'databases',
  'subusers',
] as const satisfies readonly EntityName[];

/** The value of a column, for code that handles rows of every entity. */
export const columnOf = (row: object | undefined, column: string): unknown =>
  row === undefined ? undefined : Reflect.get(row, column);

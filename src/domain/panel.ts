/**
 * What the panel sends, turned into rows of our tables. Loose on input (unknown keys are dropped, all but ids, uuids
 * and names may be missing), strict on what reaches the stage: a record that PostgreSQL or `json_to_recordset` would
 * choke on is set aside here, with its id, so that it neither costs its page nor counts as gone.
 */
import { z } from 'zod';
import { type PanelItem, relationship } from './panel-envelope.ts';
import type { Entity } from './sync.ts';

/** Entities as staged: the mirror's tables, and `links` (which allocation belongs to which server). */
export type StagedEntity = Entity | 'links';

/** All rows of one entity from one page; `part` = node id for allocations, nest id for eggs and variables, else 0. */
export interface StagedPart {
  entity: StagedEntity;
  part: number;
  rows: Record<string, unknown>[];
}

export interface Reject {
  entity: Entity;
  id: number;
  code: 'INVALID_RECORD';
  /** Column and rule, never the value. */
  detail: string;
}

export interface MappedPage {
  parts: StagedPart[];
  rejects: Reject[];
  /** Entities with a record whose id could not be read: they are not pruned in this run. */
  unreadable: Entity[];
  /** Includes that were asked for and did not come back as a list: the key lacks the right. */
  missing: string[];
}

/** json_to_recordset dies on `\u0000` and lone surrogates and would take the whole run with it. */
const storable = (value: string) => !value.includes('\0') && value.isWellFormed();
const text = z.string().refine(storable, 'holds a character that cannot be stored');
const name = text.min(1, 'is empty');
const nullableText = text.nullish().transform((v) => v ?? null);
const textOr = (fallback: string) => text.nullish().transform((v) => v ?? fallback);
const INT4_MAX = 2_147_483_647;
const int4 = z
  .number()
  .int()
  .min(-INT4_MAX - 1)
  .max(INT4_MAX);
const id = int4.positive();
/** int8 columns: numbers above 2^53 lost digits in JSON.parse already, so they are refused. */
const int8 = z.number().int().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER);
const or = <T extends z.ZodType<number>>(schema: T, fallback: number) =>
  schema.nullish().transform((v) => v ?? fallback);
/** Old panels send 0 and 1. */
const bool = (fallback: boolean) =>
  z
    .union([z.boolean(), z.number(), z.null()])
    .optional()
    .transform((v) => (v === null || v === undefined ? fallback : Boolean(v)));

const LocationSchema = z
  .object({ id, short: name, long: nullableText })
  .transform((a) => ({ id: a.id, shortCode: a.short, description: a.long }));

const NodeSchema = z
  .object({
    id,
    uuid: name,
    name,
    description: nullableText,
    location_id: id,
    fqdn: textOr(''),
    scheme: textOr('https'),
    behind_proxy: bool(false),
    public: bool(true),
    maintenance_mode: bool(false),
    memory: or(int8, 0),
    memory_overallocate: or(int4, 0),
    disk: or(int8, 0),
    disk_overallocate: or(int4, 0),
    daemon_listen: or(int4, 8080),
    daemon_sftp: or(int4, 2022),
    daemon_base: textOr('/var/lib/pterodactyl/volumes'),
  })
  .transform((a) => ({
    id: a.id,
    uuid: a.uuid,
    name: a.name,
    description: a.description,
    fqdn: a.fqdn,
    scheme: a.scheme,
    behindProxy: a.behind_proxy,
    memory: a.memory,
    memoryOverallocate: a.memory_overallocate,
    disk: a.disk,
    diskOverallocate: a.disk_overallocate,
    isPublic: a.public,
    isMaintenanceMode: a.maintenance_mode,
    daemonListenPort: a.daemon_listen,
    daemonSftpPort: a.daemon_sftp,
    daemonBase: a.daemon_base,
    locationId: a.location_id,
  }));

const AllocationSchema = z.object({
  id,
  ip: name,
  port: int4.nonnegative(),
  alias: nullableText,
  notes: nullableText,
  assigned: bool(false),
});
const toAllocation = (nodeId: number) =>
  AllocationSchema.transform((a) => ({
    id: a.id,
    ip: a.ip,
    port: a.port,
    alias: a.alias,
    notes: a.notes,
    isAssigned: a.assigned,
    nodeId,
  }));

const NestSchema = z
  .object({ id, uuid: name, name, description: nullableText, author: nullableText })
  .transform((a) => ({ id: a.id, uuid: a.uuid, name: a.name, description: a.description, author: a.author }));

const toEgg = (nestId: number) =>
  z
    .object({ id, uuid: name, name, description: nullableText, author: nullableText })
    .transform((a) => ({ id: a.id, uuid: a.uuid, name: a.name, description: a.description, author: a.author, nestId }));

const toVariable = (eggId: number) =>
  z
    .object({
      id,
      name,
      description: nullableText,
      env_variable: name,
      default_value: nullableText,
      user_viewable: bool(true),
      user_editable: bool(true),
      rules: nullableText,
    })
    .transform((a) => ({
      id: a.id,
      egg_id: eggId,
      name: a.name,
      description: a.description,
      env_variable: a.env_variable,
      default_value: a.default_value,
      user_viewable: a.user_viewable,
      user_editable: a.user_editable,
      rules: a.rules,
    }));

const UserSchema = z
  .object({
    id,
    email: name,
    username: nullableText,
    first_name: nullableText,
    last_name: nullableText,
    root_admin: bool(false),
  })
  .transform((a) => ({
    pid: a.id,
    email: a.email,
    username: a.username,
    firstName: a.first_name,
    lastName: a.last_name,
    admin: a.root_admin,
  }));

const limit = or(int4, 0);
const ServerSchema = z
  .object({
    id,
    uuid: name,
    identifier: nullableText,
    external_id: nullableText,
    name,
    description: nullableText,
    status: nullableText,
    suspended: bool(false),
    limits: z
      .object({ memory: limit, disk: limit, cpu: limit })
      .nullish()
      .transform((v) => v ?? { memory: 0, disk: 0, cpu: 0 }),
    user: int4.nullish(),
    node: int4.nullish(),
    egg: int4.nullish(),
    nest: int4.nullish(),
  })
  .transform((a) => ({
    pid: a.id,
    uuid: a.uuid,
    uuidShort: a.identifier,
    externalId: a.external_id,
    name: a.name,
    description: a.description,
    status: serverStatus(a.status, a.suspended),
    isSuspended: a.suspended,
    memory: a.limits.memory,
    disk: a.limits.disk,
    cpu: a.limits.cpu,
    user: a.user ?? null,
    node: a.node ?? null,
    egg: a.egg ?? null,
    nest: a.nest ?? null,
  }));

/** The stored status of a panel server (contract: jobs.md section 4): suspended wins, no status means online. */
export function serverStatus(status: string | null, suspended: boolean): string {
  if (suspended) return 'suspended';
  return status === null || status === '' ? 'online' : status;
}

const toDatabase = (server: number, host: PanelItem | undefined) =>
  z
    .object({ id, host: int4.nullish(), database: name, username: textOr(''), max_connections: or(int4, 0) })
    .transform((a) => {
      const known = HostSchema.safeParse(host?.attributes);
      return {
        pid: a.id,
        server,
        databaseName: a.database,
        username: a.username,
        hostId: a.host ?? null,
        maxConnections: a.max_connections,
        // Where the key may not read hosts, what is stored is kept.
        host: known.success ? known.data.host : null,
        port: known.success ? known.data.port : null,
      };
    });
const HostSchema = z.object({ host: text, port: or(int4, 3306) });

const permissions = z
  .array(text)
  .nullish()
  .transform((v) => v ?? []);
const toSubuser = (server: number) =>
  z
    .object({ id, user_id: id, permissions })
    .transform((a) => ({ pid: a.id, server, user: a.user_id, email: null, permissions: a.permissions }));
/** The client API names subusers by address only. */
const toClientSubuser = (server: number) =>
  z
    .object({ email: name, permissions })
    .transform((a) => ({ pid: 0, server, user: null, email: a.email, permissions: a.permissions }));

/** Collects what one page becomes. */
class Collector {
  readonly parts = new Map<string, StagedPart>();
  readonly rejects: Reject[] = [];
  readonly unreadable = new Set<Entity>();
  readonly missing = new Set<string>();

  part(entity: StagedEntity, part = 0): StagedPart {
    const key = `${entity}/${part}`;
    let found = this.parts.get(key);
    if (found === undefined) {
      found = { entity, part, rows: [] };
      this.parts.set(key, found);
    }
    return found;
  }

  /** Maps one record into its part; false when it was set aside. */
  add(entity: Entity, part: number, schema: z.ZodType<Record<string, unknown>>, item: PanelItem): boolean {
    const target = this.part(entity, part);
    const parsed = schema.safeParse(item.attributes);
    if (parsed.success) {
      target.rows.push(parsed.data);
      return true;
    }
    const readableId = id.safeParse(item.attributes['id']);
    if (!readableId.success) {
      this.unreadable.add(entity);
      return false;
    }
    const issue = parsed.error.issues[0];
    const detail = `${issue?.path.join('.') || 'record'}: ${issue?.message ?? 'invalid'}`;
    this.rejects.push({ entity, id: readableId.data, code: 'INVALID_RECORD', detail });
    return false;
  }

  /** Items of an include; undefined (and noted as missing) when it did not come back as a list. */
  children(item: PanelItem, include: string): PanelItem[] | undefined {
    const found = relationship(item, include);
    if (found.kind === 'list') return found.items;
    this.missing.add(include);
    return undefined;
  }

  done(): MappedPage {
    return {
      parts: [...this.parts.values()],
      rejects: this.rejects,
      unreadable: [...this.unreadable],
      missing: [...this.missing],
    };
  }
}

const numericId = (item: PanelItem): number | undefined => {
  const parsed = id.safeParse(item.attributes['id']);
  return parsed.success ? parsed.data : undefined;
};

function addNode(out: Collector, item: PanelItem, withAllocations: boolean): void {
  out.add('nodes', 0, NodeSchema, item);
  if (!withAllocations) return;
  const nodeId = numericId(item);
  const allocations = out.children(item, 'allocations');
  if (nodeId === undefined || allocations === undefined) return;
  // The part exists even when the list is empty: it says that this node's list is whole.
  out.part('allocations', nodeId);
  const schema = toAllocation(nodeId);
  for (const allocation of allocations) out.add('allocations', nodeId, schema, allocation);
}

function addEgg(out: Collector, item: PanelItem, nestId: number): void {
  out.add('eggs', nestId, toEgg(nestId), item);
  const eggId = numericId(item);
  const variables = out.children(item, 'variables');
  if (eggId === undefined || variables === undefined) return;
  out.part('egg_variables', nestId);
  const schema = toVariable(eggId);
  for (const variable of variables) out.add('egg_variables', nestId, schema, variable);
}

/** Locations, with `nodes.allocations` where asked for. */
export function mapLocations(items: PanelItem[], withNodes: boolean): MappedPage {
  const out = new Collector();
  out.part('locations');
  for (const item of items) {
    out.add('locations', 0, LocationSchema, item);
    if (!withNodes) continue;
    out.part('nodes');
    for (const node of out.children(item, 'nodes') ?? []) addNode(out, node, true);
  }
  return out.done();
}

/** Nodes, with `allocations` where asked for. */
export function mapNodes(items: PanelItem[], withAllocations: boolean): MappedPage {
  const out = new Collector();
  out.part('nodes');
  for (const item of items) addNode(out, item, withAllocations);
  return out.done();
}

/** One page of `/nodes/{id}/allocations`. */
export function mapNodeAllocations(items: PanelItem[], nodeId: number): MappedPage {
  const out = new Collector();
  out.part('allocations', nodeId);
  const schema = toAllocation(nodeId);
  for (const item of items) out.add('allocations', nodeId, schema, item);
  return out.done();
}

/** Nests, with `eggs.variables` where asked for. */
export function mapNests(items: PanelItem[], withEggs: boolean): MappedPage {
  const out = new Collector();
  out.part('nests');
  for (const item of items) {
    out.add('nests', 0, NestSchema, item);
    if (!withEggs) continue;
    const nestId = numericId(item);
    const eggs = out.children(item, 'eggs');
    if (nestId === undefined || eggs === undefined) continue;
    out.part('eggs', nestId);
    out.part('egg_variables', nestId);
    for (const egg of eggs) addEgg(out, egg, nestId);
  }
  return out.done();
}

/** `/nests/{id}/eggs?include=variables`, or single eggs of a nest. */
export function mapEggs(items: PanelItem[], nestId: number): MappedPage {
  const out = new Collector();
  out.part('eggs', nestId);
  out.part('egg_variables', nestId);
  for (const item of items) addEgg(out, item, nestId);
  return out.done();
}

export function mapUsers(items: PanelItem[]): MappedPage {
  const out = new Collector();
  out.part('users');
  for (const item of items) out.add('users', 0, UserSchema, item);
  return out.done();
}

/** Servers with any of `allocations`, `databases` (with `host`) and `subusers`, as asked for. */
export function mapServers(items: PanelItem[], includes: readonly string[]): MappedPage {
  const out = new Collector();
  out.part('servers');
  if (includes.includes('allocations')) out.part('links');
  if (includes.includes('databases')) out.part('databases');
  if (includes.includes('subusers')) out.part('subusers');
  for (const item of items) {
    out.add('servers', 0, ServerSchema, item);
    const server = numericId(item);
    if (server === undefined) continue;
    if (includes.includes('allocations')) {
      for (const allocation of out.children(item, 'allocations') ?? []) {
        const allocationId = numericId(allocation);
        if (allocationId !== undefined) out.part('links').rows.push({ id: allocationId, server });
      }
    }
    if (includes.includes('databases')) {
      for (const database of out.children(item, 'databases') ?? []) {
        const host = relationship(database, 'host');
        out.add('databases', 0, toDatabase(server, host.kind === 'item' ? host.item : undefined), database);
      }
    }
    if (includes.includes('subusers')) {
      const schema = toSubuser(server);
      for (const subuser of out.children(item, 'subusers') ?? []) out.add('subusers', 0, schema, subuser);
    }
  }
  return out.done();
}

/** Subusers of one server as the client API lists them. */
export function mapClientSubusers(items: PanelItem[], server: number): MappedPage {
  const out = new Collector();
  out.part('subusers', server);
  const schema = toClientSubuser(server);
  for (const item of items) out.add('subusers', server, schema, item);
  return out.done();
}

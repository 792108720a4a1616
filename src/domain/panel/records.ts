/**
 * Maps what the panel sends to rows of the mirror. Loose on input: unknown keys are dropped, and everything but ids,
 * uuids and names may be missing. Strict on output: a record that PostgreSQL or `json_to_recordset` would refuse is
 * rejected here, with its id, so that the rest of its page is stored and the mirrored row is not deleted.
 */
import { z } from 'zod';
import type { StagedEntity, StagedRow } from '../sync/columns.ts';
import type { Entity } from '../sync/targets.ts';
import { type PanelItem, phpList, relationship } from './envelope.ts';

/** All rows of one entity and one parent from one page. */
export interface StagedPart {
  entity: StagedEntity;
  /** Node of allocations, nest of eggs and variables, server of subusers of the client API; null: rows of several parents. */
  parent: number | null;
  /** The list of the parent is not whole: what it lacks may still be on the panel. */
  gaps: boolean;
  rows: Record<string, unknown>[];
}

/** A record that cannot be stored. */
export interface RejectedRecord {
  entity: Entity;
  /** Id on the panel; 0 for a subuser whose id cannot be read. */
  id: number;
  /** Of a subuser: panel id of the server that lists it. */
  server?: number;
  code: 'INVALID_RECORD';
  /** Column and rule, never the value. */
  detail: string;
}

export interface MappedPage {
  parts: StagedPart[];
  rejected: RejectedRecord[];
  /** Entities with a rejected record that no id identifies: no row of them is deleted in this run. */
  rejectedWithoutId: Entity[];
  /** Includes that were requested and did not come back as a list: the key lacks the right. */
  missingIncludes: string[];
}

/** json_to_recordset fails on `\u0000` and on lone surrogates, and the whole merge with it. */
const storable = (value: string) => !value.includes('\0') && value.isWellFormed();
const text = z.string().refine(storable, 'holds a character that cannot be stored');
const name = text.min(1, 'is empty');
const optional = text.nullish();
const INT4_MAX = 2_147_483_647;
const int4 = z
  .number()
  .int()
  .min(-INT4_MAX - 1)
  .max(INT4_MAX);
const id = int4.positive();
/** int8 columns. Numbers above 2^53 have lost digits in JSON.parse already, so they are rejected. */
const int8 = z.number().int().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER);
/** Old panels send 0 and 1. */
const flag = z.union([z.boolean(), z.number()]).nullish();
const isSet = (value: boolean | number | null | undefined, fallback: boolean) =>
  value === null || value === undefined ? fallback : Boolean(value);

/** PHP prints an empty map as an empty list. */
const mapOf = <T extends z.ZodType>(map: T) =>
  z.preprocess((value) => (Array.isArray(value) && value.length === 0 ? {} : value), map);

// One transform per record fills in the defaults, and values of the parent are added afterwards: a listing of 100,000
// allocations passes here, and a transform per field or a schema per parent would dominate its cost.

const LocationSchema = z
  .object({ id, short: name, long: optional })
  .transform((a): StagedRow<'locations'> => ({ id: a.id, shortCode: a.short, description: a.long ?? null }));

const NodeSchema = z
  .object({
    id,
    uuid: name,
    name,
    description: optional,
    location_id: id,
    fqdn: optional,
    scheme: optional,
    behind_proxy: flag,
    public: flag,
    maintenance_mode: flag,
    memory: int8.nullish(),
    memory_overallocate: int4.nullish(),
    disk: int8.nullish(),
    disk_overallocate: int4.nullish(),
    daemon_listen: int4.nullish(),
    daemon_sftp: int4.nullish(),
    daemon_base: optional,
  })
  .transform((a) => ({
    id: a.id,
    uuid: a.uuid,
    name: a.name,
    description: a.description ?? null,
    fqdn: a.fqdn ?? '',
    scheme: a.scheme ?? 'https',
    behindProxy: isSet(a.behind_proxy, false),
    memory: a.memory ?? 0,
    memoryOverallocate: a.memory_overallocate ?? 0,
    disk: a.disk ?? 0,
    diskOverallocate: a.disk_overallocate ?? 0,
    isPublic: isSet(a.public, true),
    isMaintenanceMode: isSet(a.maintenance_mode, false),
    daemonListenPort: a.daemon_listen ?? 8080,
    daemonSftpPort: a.daemon_sftp ?? 2022,
    daemonBase: a.daemon_base ?? '/var/lib/pterodactyl/volumes',
    locationId: a.location_id,
  }));

const AllocationSchema = z
  .object({ id, ip: name, port: int4.nonnegative(), alias: optional, notes: optional, assigned: flag })
  .transform((a) => ({
    id: a.id,
    ip: a.ip,
    port: a.port,
    alias: a.alias ?? null,
    notes: a.notes ?? null,
    isAssigned: isSet(a.assigned, false),
  }));

/** Nests and eggs alike. The nest of an egg is the one that listed it. */
const NestSchema = z.object({ id, uuid: name, name, description: optional, author: optional }).transform((a) => ({
  id: a.id,
  uuid: a.uuid,
  name: a.name,
  description: a.description ?? null,
  author: a.author ?? null,
}));

const VariableSchema = z
  .object({
    id,
    name,
    description: optional,
    env_variable: name,
    default_value: optional,
    user_viewable: flag,
    user_editable: flag,
    rules: optional,
  })
  .transform((a) => ({
    id: a.id,
    name: a.name,
    description: a.description ?? null,
    env_variable: a.env_variable,
    default_value: a.default_value ?? null,
    user_viewable: isSet(a.user_viewable, true),
    user_editable: isSet(a.user_editable, true),
    rules: a.rules ?? null,
  }));

const UserSchema = z
  .object({ id, email: name, username: optional, first_name: optional, last_name: optional, root_admin: flag })
  .transform((a) => ({
    panelId: a.id,
    email: a.email,
    username: a.username ?? null,
    firstName: a.first_name ?? null,
    lastName: a.last_name ?? null,
    admin: isSet(a.root_admin, false),
  }));

const ServerSchema = z
  .object({
    id,
    uuid: name,
    identifier: optional,
    external_id: optional,
    name,
    description: optional,
    status: optional,
    suspended: flag,
    limits: mapOf(z.object({ memory: int4.nullish(), disk: int4.nullish(), cpu: int4.nullish() })).nullish(),
    user: int4.nullish(),
    node: int4.nullish(),
    // Only for show: one that cannot be read is unknown, and the record is stored without it.
    allocation: int4.nullish().catch(null),
    egg: int4.nullish(),
    nest: int4.nullish(),
  })
  .transform((a) => ({
    panelId: a.id,
    uuid: a.uuid,
    uuidShort: a.identifier ?? null,
    externalId: a.external_id ?? null,
    name: a.name,
    description: a.description ?? null,
    status: serverStatus(a.status ?? null, isSet(a.suspended, false)),
    isSuspended: isSet(a.suspended, false),
    memory: a.limits?.memory ?? 0,
    disk: a.limits?.disk ?? 0,
    cpu: a.limits?.cpu ?? 0,
    user: a.user ?? null,
    node: a.node ?? null,
    allocation: a.allocation ?? null,
    egg: a.egg ?? null,
    nest: a.nest ?? null,
  }));

/** The stored status of a panel server: suspended wins, no status means online. */
export function serverStatus(status: string | null, suspended: boolean): string {
  if (suspended) return 'suspended';
  return status === null || status === '' ? 'online' : status;
}

const DatabaseSchema = z
  .object({ id, host: int4.nullish(), database: name, username: optional, max_connections: int4.nullish() })
  .transform((a) => ({
    panelId: a.id,
    databaseName: a.database,
    username: a.username ?? '',
    hostId: a.host ?? null,
    maxConnections: a.max_connections ?? 0,
  }));
const HostSchema = z.object({ host: text, port: int4.nullish() });
/** Host and port are null where the key may not read hosts: the merge keeps the stored ones. */
function hostOf(database: PanelItem): { host: string | null; port: number | null } {
  const found = relationship(database, 'host');
  const host = found.kind === 'item' ? HostSchema.safeParse(found.item.attributes) : undefined;
  return host?.success === true ? { host: host.data.host, port: host.data.port ?? 3306 } : { host: null, port: null };
}

const permissions = phpList(text).nullish();
const SubuserSchema = z
  .object({ id, user_id: id, permissions })
  .transform((a) => ({ panelId: a.id, user: a.user_id, email: null, permissions: a.permissions ?? [] }));
/** The client API identifies subusers by their address only. */
const ClientSubuserSchema = z
  .object({ email: name, permissions })
  .transform((a) => ({ panelId: 0, user: null, email: a.email, permissions: a.permissions ?? [] }));

/** Collects the rows and the rejected records of one page. */
class Collector {
  readonly parts = new Map<string, StagedPart>();
  readonly rejected: RejectedRecord[] = [];
  readonly rejectedWithoutId = new Set<Entity>();
  readonly missingIncludes = new Set<string>();

  part(entity: StagedEntity, parent: number | null = null): StagedPart {
    const key = `${entity}/${parent}`;
    let found = this.parts.get(key);
    if (found === undefined) {
      found = { entity, parent, gaps: false, rows: [] };
      this.parts.set(key, found);
    }
    return found;
  }

  /** Maps one record into its part. @returns false when the record was rejected. */
  add(
    entity: Entity,
    list: number | null,
    schema: z.ZodType<Record<string, unknown>>,
    item: PanelItem,
    parent?: Record<string, unknown>,
  ): boolean {
    const target = this.part(entity, list);
    const parsed = schema.safeParse(item.attributes);
    if (parsed.success) {
      target.rows.push(parent === undefined ? parsed.data : Object.assign(parsed.data, parent));
      return true;
    }
    const readableId = numericId(item);
    const issue = parsed.error.issues[0];
    const detail = `${issue?.path.join('.') || 'record'}: ${issue?.message ?? 'invalid'}`;
    // A subuser is known by the server that lists it, so its record protects the list of that server only.
    if (entity === 'subusers' && typeof parent?.['server'] === 'number') {
      const { server } = parent as { server: number };
      this.rejected.push({ entity, id: readableId ?? 0, server, code: 'INVALID_RECORD', detail });
    } else if (readableId === undefined) this.rejectedWithoutId.add(entity);
    else this.rejected.push({ entity, id: readableId, code: 'INVALID_RECORD', detail });
    return false;
  }

  /** Items of an include; undefined, and noted as missing, when it did not come back as a list. */
  children(item: PanelItem, include: string): PanelItem[] | undefined {
    const found = relationship(item, include);
    if (found.kind === 'list') return found.items;
    this.missingIncludes.add(include);
    return undefined;
  }

  done(): MappedPage {
    return {
      parts: [...this.parts.values()],
      rejected: this.rejected,
      rejectedWithoutId: [...this.rejectedWithoutId],
      missingIncludes: [...this.missingIncludes],
    };
  }
}

const numericId = (item: PanelItem): number | undefined => {
  const parsed = id.safeParse(item.attributes['id']);
  return parsed.success ? parsed.data : undefined;
};

function addNode(out: Collector, item: PanelItem, withAllocations: boolean): void {
  out.add('nodes', null, NodeSchema, item);
  if (!withAllocations) return;
  const nodeId = numericId(item);
  const allocations = out.children(item, 'allocations');
  if (nodeId === undefined || allocations === undefined) return;
  // The part exists also for an empty list: it says that the list of this node was read.
  out.part('allocations', nodeId);
  const parent = { nodeId };
  for (const allocation of allocations) out.add('allocations', nodeId, AllocationSchema, allocation, parent);
}

function addEgg(out: Collector, item: PanelItem, nestId: number): void {
  out.add('eggs', nestId, NestSchema, item, { nestId });
  const eggId = numericId(item);
  const variables = out.children(item, 'variables');
  if (eggId === undefined || variables === undefined) return;
  out.part('egg_variables', nestId);
  const parent = { egg_id: eggId };
  for (const variable of variables) out.add('egg_variables', nestId, VariableSchema, variable, parent);
}

/** Locations, with `nodes.allocations` when that was requested. */
export function mapLocations(items: PanelItem[], withNodes: boolean): MappedPage {
  const out = new Collector();
  out.part('locations');
  for (const item of items) {
    out.add('locations', null, LocationSchema, item);
    if (!withNodes) continue;
    out.part('nodes');
    for (const node of out.children(item, 'nodes') ?? []) addNode(out, node, true);
  }
  return out.done();
}

/** Nodes, with `allocations` when that was requested. */
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
  const parent = { nodeId };
  for (const item of items) out.add('allocations', nodeId, AllocationSchema, item, parent);
  return out.done();
}

/** Nests, with `eggs.variables` when that was requested. */
export function mapNests(items: PanelItem[], withEggs: boolean): MappedPage {
  const out = new Collector();
  out.part('nests');
  for (const item of items) {
    out.add('nests', null, NestSchema, item);
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

/** Users. */
export function mapUsers(items: PanelItem[]): MappedPage {
  const out = new Collector();
  out.part('users');
  for (const item of items) out.add('users', null, UserSchema, item);
  return out.done();
}

/** Servers, with those of `allocations`, `databases` (with `host`) and `subusers` that were requested. */
export function mapServers(items: PanelItem[], includes: readonly string[]): MappedPage {
  const out = new Collector();
  out.part('servers');
  if (includes.includes('allocations')) out.part('links');
  if (includes.includes('databases')) out.part('databases');
  if (includes.includes('subusers')) out.part('subusers');
  for (const item of items) {
    out.add('servers', null, ServerSchema, item);
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
        out.add('databases', null, DatabaseSchema, database, { server, ...hostOf(database) });
      }
    }
    if (includes.includes('subusers')) {
      const parent = { server };
      for (const subuser of out.children(item, 'subusers') ?? [])
        out.add('subusers', null, SubuserSchema, subuser, parent);
    }
  }
  return out.done();
}

/** Subusers of one server as the client API lists them. */
export function mapClientSubusers(items: PanelItem[], server: number): MappedPage {
  const out = new Collector();
  out.part('subusers', server);
  const parent = { server };
  for (const item of items) out.add('subusers', server, ClientSubuserSchema, item, parent);
  return out.done();
}

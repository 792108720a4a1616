/**
 * Maps what the panel sends to rows of the mirror. Loose on input: unknown keys are dropped, everything but ids, uuids and
 * names may be missing, and attributes.ts says what becomes of an odd value. Strict on output: a record that PostgreSQL or
 * `json_to_recordset` would refuse is rejected here, with its id, so that the rest of its page is stored and the mirrored
 * row is not deleted.
 */

import type { StagedEntity, StagedRow } from '../sync/columns.ts';
import type { Entity } from '../sync/targets.ts';
import { Attributes, InvalidAttribute, orUnknown } from './attributes.ts';
import { type PanelItem, relationship } from './envelope.ts';

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
  /** The entity of each rejected record that no id identifies: no row of such an entity is deleted in this run. */
  rejectedWithoutId: Entity[];
  /** Includes that were requested and did not come back as a list: the key lacks the right. */
  missingIncludes: string[];
}

// One function per record builds the whole row: a listing of 100,000 allocations passes here.

const location = (a: Attributes): StagedRow<'locations'> => ({
  id: a.id('id'),
  shortCode: a.key('short'),
  description: a.text('long'),
});

const node = (a: Attributes): StagedRow<'nodes'> => ({
  id: a.id('id'),
  uuid: a.key('uuid'),
  name: a.name('name'),
  description: a.text('description'),
  fqdn: a.text('fqdn') ?? '',
  scheme: a.text('scheme') ?? 'https',
  behindProxy: a.flag('behind_proxy', false),
  memory: a.int8('memory') ?? 0,
  memoryOverallocate: a.int4('memory_overallocate') ?? 0,
  disk: a.int8('disk') ?? 0,
  diskOverallocate: a.int4('disk_overallocate') ?? 0,
  isPublic: a.flag('public', true),
  isMaintenanceMode: a.flag('maintenance_mode', false),
  daemonListenPort: a.int4('daemon_listen') ?? 8080,
  daemonSftpPort: a.int4('daemon_sftp') ?? 2022,
  daemonBase: a.text('daemon_base') ?? '/var/lib/pterodactyl/volumes',
  locationId: a.id('location_id'),
});

const allocationOf =
  (nodeId: number) =>
  (a: Attributes): StagedRow<'allocations'> => ({
    id: a.id('id'),
    ip: a.key('ip'),
    port: a.port('port'),
    alias: a.text('alias'),
    notes: a.text('notes'),
    isAssigned: a.flag('assigned', false),
    nodeId,
  });

const nest = (a: Attributes): StagedRow<'nests'> => ({
  id: a.id('id'),
  uuid: a.key('uuid'),
  name: a.name('name'),
  description: a.text('description'),
  author: a.text('author'),
});

/** The nest of an egg is the one that listed it. */
const eggOf =
  (nestId: number) =>
  (a: Attributes): StagedRow<'eggs'> => ({ ...nest(a), nestId });

const variableOf =
  (eggId: number) =>
  (a: Attributes): StagedRow<'egg_variables'> => ({
    id: a.id('id'),
    egg_id: eggId,
    name: a.name('name'),
    description: a.text('description'),
    env_variable: a.key('env_variable'),
    default_value: a.text('default_value'),
    user_viewable: a.flag('user_viewable', true),
    user_editable: a.flag('user_editable', true),
    // Laravel takes the rules of a value as one text or as a list (laravel.com/docs/validation, "Quick Writing").
    rules: a.joined('rules', '|'),
  });

const user = (a: Attributes): StagedRow<'users'> => ({
  panelId: a.id('id'),
  uuid: a.optionalKey('uuid'),
  email: a.key('email'),
  username: a.text('username'),
  firstName: a.text('first_name'),
  lastName: a.text('last_name'),
  admin: a.flag('root_admin', false),
});

function server(a: Attributes): StagedRow<'servers'> {
  const limits = a.map('limits');
  const isSuspended = a.flag('suspended', false);
  return {
    panelId: a.id('id'),
    uuid: a.key('uuid'),
    uuidShort: a.text('identifier'),
    externalId: a.text('external_id'),
    name: a.name('name'),
    description: a.text('description'),
    status: serverStatus(a.text('status'), isSuspended),
    isSuspended,
    memory: limits.int8('memory') ?? 0,
    disk: limits.int8('disk') ?? 0,
    cpu: limits.int8('cpu') ?? 0,
    user: a.int4('user'),
    node: a.int4('node'),
    // May stay unknown: it chooses the address that is shown.
    allocation: orUnknown(() => a.int4('allocation')),
    egg: a.int4('egg'),
    nest: a.int4('nest'),
    createdAt: a.time('created_at'),
  };
}

/** The stored status of a panel server: suspended wins, no status means online. */
export function serverStatus(status: string | null, suspended: boolean): string {
  if (suspended) return 'suspended';
  return status === null || status === '' ? 'online' : status;
}

const databaseOf =
  (serverId: number, { host, port }: DatabaseHost) =>
  (a: Attributes): StagedRow<'databases'> => ({
    panelId: a.id('id'),
    server: serverId,
    databaseName: a.name('database'),
    username: a.text('username') ?? '',
    host,
    port,
    hostId: a.int4('host'),
    maxConnections: a.int4('max_connections') ?? 0,
  });

interface DatabaseHost {
  host: string | null;
  port: number | null;
}
/** May stay unknown: both are null where the key may not read hosts, and the merge keeps the stored ones. */
function hostOf(database: PanelItem): DatabaseHost {
  const found = relationship(database, 'host');
  if (found.kind !== 'item') return { host: null, port: null };
  const a = new Attributes(found.item.attributes);
  const known = orUnknown(() => ({ host: a.name('host'), port: a.int4('port') ?? 3306 }));
  return known ?? { host: null, port: null };
}

const subuserOf =
  (serverId: number) =>
  (a: Attributes): StagedRow<'subusers'> => ({
    panelId: a.id('id'),
    server: serverId,
    user: a.id('user_id'),
    email: null,
    permissions: a.texts('permissions') ?? [],
  });

/** The client API identifies subusers by their address only. */
const clientSubuserOf =
  (serverId: number) =>
  (a: Attributes): StagedRow<'subusers'> => ({
    panelId: 0,
    server: serverId,
    user: null,
    email: a.key('email'),
    permissions: a.texts('permissions') ?? [],
  });

/** Collects the rows and the rejected records of one page. */
class Collector {
  readonly parts = new Map<string, StagedPart>();
  readonly rejected: RejectedRecord[] = [];
  readonly rejectedWithoutId: Entity[] = [];
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

  /**
   * Maps one record into its part.
   * @param server of a subuser: panel id of the server that lists it. It is known by that server, so its record protects
   * the list of that server only.
   */
  add(
    entity: Entity,
    parent: number | null,
    row: (a: Attributes) => Record<string, unknown>,
    item: PanelItem,
    server?: number,
  ): void {
    const target = this.part(entity, parent);
    try {
      target.rows.push(row(new Attributes(item.attributes)));
    } catch (error) {
      if (!(error instanceof InvalidAttribute)) throw error;
      const rejected = { entity, code: 'INVALID_RECORD', detail: error.message } as const;
      const id = idOf(item);
      if (server !== undefined) this.rejected.push({ ...rejected, id: id ?? 0, server });
      else if (id !== undefined) this.rejected.push({ ...rejected, id });
      else this.rejectedWithoutId.push(entity);
    }
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
      rejectedWithoutId: this.rejectedWithoutId,
      missingIncludes: [...this.missingIncludes],
    };
  }
}

/** The id of a record of the panel; undefined when it cannot be read. */
export const idOf = (item: PanelItem): number | undefined =>
  orUnknown(() => new Attributes(item.attributes).id('id')) ?? undefined;

function addNode(out: Collector, item: PanelItem, withAllocations: boolean): void {
  out.add('nodes', null, node, item);
  if (!withAllocations) return;
  const nodeId = idOf(item);
  const allocations = out.children(item, 'allocations');
  if (nodeId === undefined || allocations === undefined) return;
  // The part exists also for an empty list: it says that the list of this node was read.
  out.part('allocations', nodeId);
  const row = allocationOf(nodeId);
  for (const allocation of allocations) out.add('allocations', nodeId, row, allocation);
}

function addEgg(out: Collector, item: PanelItem, nestId: number): void {
  out.add('eggs', nestId, eggOf(nestId), item);
  const eggId = idOf(item);
  const variables = out.children(item, 'variables');
  if (eggId === undefined || variables === undefined) return;
  out.part('egg_variables', nestId);
  const row = variableOf(eggId);
  for (const variable of variables) out.add('egg_variables', nestId, row, variable);
}

/** Locations, with `nodes.allocations` when that was requested. */
export function mapLocations(items: PanelItem[], withNodes: boolean): MappedPage {
  const out = new Collector();
  out.part('locations');
  for (const item of items) {
    out.add('locations', null, location, item);
    if (!withNodes) continue;
    out.part('nodes');
    for (const child of out.children(item, 'nodes') ?? []) addNode(out, child, true);
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
  const row = allocationOf(nodeId);
  for (const item of items) out.add('allocations', nodeId, row, item);
  return out.done();
}

/** Nests, with `eggs.variables` when that was requested. */
export function mapNests(items: PanelItem[], withEggs: boolean): MappedPage {
  const out = new Collector();
  out.part('nests');
  for (const item of items) {
    out.add('nests', null, nest, item);
    if (!withEggs) continue;
    const nestId = idOf(item);
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
  for (const item of items) out.add('users', null, user, item);
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
    out.add('servers', null, server, item);
    const id = idOf(item);
    if (id === undefined) continue;
    if (includes.includes('allocations')) {
      for (const allocation of out.children(item, 'allocations') ?? []) {
        const allocationId = idOf(allocation);
        if (allocationId !== undefined) out.part('links').rows.push({ id: allocationId, server: id });
      }
    }
    if (includes.includes('databases')) {
      for (const database of out.children(item, 'databases') ?? []) {
        out.add('databases', null, databaseOf(id, hostOf(database)), database);
      }
    }
    if (includes.includes('subusers')) {
      const row = subuserOf(id);
      for (const subuser of out.children(item, 'subusers') ?? []) out.add('subusers', null, row, subuser, id);
    }
  }
  return out.done();
}

/** Subusers of one server as the client API lists them. */
export function mapClientSubusers(items: PanelItem[], serverId: number): MappedPage {
  const out = new Collector();
  out.part('subusers', serverId);
  const row = clientSubuserOf(serverId);
  for (const item of items) out.add('subusers', serverId, row, item, serverId);
  return out.done();
}

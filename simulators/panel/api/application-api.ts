/** `/api/application`: listings, single objects, external ids, and the few writes that tests make during a sync. */
import type { PanelAnswer, PanelCall, PanelRoute } from '../http/answer.ts';
import { forbidden, invalid, notFound, panelError } from '../http/answer.ts';
import { applyFilters, applySorts, type Filters, pageAnswer, wholeList } from '../http/paging.ts';
import { columnOf, type EntityName } from '../world/rows.ts';
import { brokenRule } from '../world/rules.ts';
import { WorldRefusal } from '../world/world.ts';
import { type Kind, parseIncludes, type Right, type View } from './kinds.ts';

interface Resource {
  kind: Kind;
  entity: EntityName;
  right: Right;
  /** Undefined: the resource ignores filters. */
  filters?: Filters;
  /** Undefined: the resource ignores sorts. */
  sorts?: readonly string[];
}

const partial = (...columns: string[]): Filters => Object.fromEntries(columns.map((column) => [column, { column }]));

const RESOURCES = {
  locations: {
    kind: 'location',
    entity: 'locations',
    right: 'locations',
    filters: partial('short', 'long'),
    sorts: ['id'],
  },
  nodes: {
    kind: 'node',
    entity: 'nodes',
    right: 'nodes',
    filters: partial('uuid', 'name', 'fqdn', 'daemon_token_id'),
    sorts: ['id', 'uuid', 'memory', 'disk'],
  },
  allocations: {
    kind: 'allocation',
    entity: 'allocations',
    right: 'allocations',
    filters: {
      ip: { column: 'ip' },
      port: { column: 'port', exact: true },
      ip_alias: { column: 'alias' },
      // 0 or a text selects the unassigned allocations
      server_id: {
        test: (row, values) => {
          const wanted = Number.parseInt(values[0] ?? '', 10) || 0;
          return columnOf(row, 'server_id') === (wanted === 0 ? null : wanted);
        },
      },
    },
  },
  nests: { kind: 'nest', entity: 'nests', right: 'nests' },
  eggs: { kind: 'egg', entity: 'eggs', right: 'eggs' },
  servers: {
    kind: 'server',
    entity: 'servers',
    right: 'servers',
    filters: {
      ...partial('uuid'),
      uuidShort: { column: 'identifier' },
      ...partial('name', 'description', 'image', 'external_id'),
    },
    sorts: ['id', 'uuid'],
  },
  databases: { kind: 'server_database', entity: 'databases', right: 'server_databases' },
  users: {
    kind: 'user',
    entity: 'users',
    right: 'users',
    filters: partial('email', 'uuid', 'username', 'external_id'),
    sorts: ['id', 'uuid'],
  },
} as const satisfies Record<string, Resource>;

const viewOf = (call: PanelCall): View => ({
  includes: parseIncludes([...call.query.getAll('include'), ...call.query.getAll('include[]')]),
  rights: call.key.rights,
  nullResource: call.tweaks.nullResource,
});

/** @throws {PanelHttpError} 403 when the key lacks the right. */
function requireRight(call: PanelCall, right: Right, write = false): void {
  const { rights } = call.key;
  if ((rights !== 'all' && !rights.has(right)) || (write && !call.key.write)) throw forbidden();
}

/** The panel hands the text to MariaDB, which compares only its leading digits with the number. */
const idOf = (text: string | undefined): number => Number(/^\d{1,15}/.exec(text ?? '')?.[0] ?? 0);

const objectWriter = (call: PanelCall, kind: Kind) => call.serializer.listed(kind, viewOf(call));

function listPage(call: PanelCall, resource: Resource, all: readonly number[]): PanelAnswer {
  requireRight(call, resource.right);
  let ids = all;
  if (resource.filters !== undefined) ids = applyFilters(call, call.store, resource.entity, ids, resource.filters);
  if (resource.sorts !== undefined) ids = applySorts(call, call.store, resource.entity, ids, resource.sorts);
  return pageAnswer(call, ids, objectWriter(call, resource.kind));
}

function singleObject(call: PanelCall, resource: Resource, id: number): PanelAnswer {
  if (!call.store.world[resource.entity].has(id)) throw notFound();
  requireRight(call, resource.right);
  const body = objectWriter(call, resource.kind)(id);
  if (body === undefined) throw notFound();
  return { body };
}

function objectByExternalId(call: PanelCall, resource: Resource, externalId: string): PanelAnswer {
  for (const [id, row] of call.store.world[resource.entity]) {
    if (columnOf(row, 'external_id') === externalId) return singleObject(call, resource, id);
  }
  throw notFound();
}

const get = (pattern: RegExp, handle: PanelRoute['handle']): PanelRoute => ({ method: 'GET', pattern, handle });

const field = (body: unknown, name: string): unknown =>
  typeof body === 'object' && body !== null && !Array.isArray(body) ? columnOf(body, name) : undefined;

interface Problem {
  field: string;
  rule: string;
  detail: string;
}

function createUser(call: PanelCall): PanelAnswer {
  requireRight(call, 'users', true);
  const problems: Problem[] = [];
  const read = (name: string): string => {
    const value = field(call.body, name);
    if (typeof value === 'string' && value.trim() !== '') return value.trim();
    problems.push({ field: name, rule: 'required', detail: `The ${name.replace('_', ' ')} field is required.` });
    return '';
  };
  const email = read('email');
  if (email !== '' && !/^[^@\s]+@[^@\s]+$/.test(email)) {
    problems.push({ field: 'email', rule: 'email', detail: 'The email must be a valid email address.' });
  }
  const values = {
    email,
    username: read('username').toLowerCase(),
    first_name: read('first_name'),
    last_name: read('last_name'),
  };
  if (problems.length > 0) throw invalid(problems);
  const user = call.store.create('users', values);
  const body = call.serializer.object('user', user.id, { includes: new Map(), rights: call.key.rights });
  return body === undefined ? { status: 201 } : { status: 201, body };
}

/** What is wrong with the fields of `/startup`, without the variables. */
function startupProblems(call: PanelCall): Problem[] {
  const { body } = call;
  const problems: Problem[] = [];
  const demand = (name: string, rule: string, holds: (value: unknown) => boolean) => {
    if (!holds(field(body, name))) problems.push({ field: name, rule, detail: `The ${name} field is invalid.` });
  };
  const isText = (value: unknown) => typeof value === 'string' && value !== '';
  const isGiven = (value: unknown) => value !== undefined;
  demand('startup', 'required', isText);
  demand('environment', isGiven(field(body, 'environment')) ? 'array' : 'present', (value) => isObject(value));
  demand('egg', 'exists', (value) => call.store.world.eggs.has(Number(value)));
  demand('image', 'required', isText);
  const skip = field(body, 'skip_scripts');
  demand('skip_scripts', isGiven(skip) ? 'boolean' : 'present', (value) =>
    [true, false, 0, 1, '0', '1'].some((v) => v === value),
  );
  return problems;
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

/**
 * Sets the startup of a server. The panel checks and stores every variable of the egg, so one that is missing in `environment`
 * becomes empty. An empty text counts as null.
 */
function patchStartup(call: PanelCall, id: number): PanelAnswer {
  const { store, body } = call;
  const server = store.world.servers.get(id);
  if (server === undefined) throw notFound();
  requireRight(call, 'servers', true);
  const problems = startupProblems(call);
  if (problems.length > 0) throw invalid(problems);
  const egg = Number(field(body, 'egg'));
  const environment = field(body, 'environment');
  const values = { ...server.values };
  for (const variableId of store.children('variables', 'egg_id', egg)) {
    const variable = store.world.variables.get(variableId);
    if (variable === undefined) continue;
    const sent = field(environment, variable.env_variable);
    const value = sent === '' || sent === undefined ? null : sent;
    const broken = brokenRule(variable.rules, value);
    if (broken !== undefined) problems.push({ field: `environment.${variable.env_variable}`, ...broken });
    values[variable.env_variable] = value === null ? '' : String(value);
  }
  if (problems.length > 0) throw invalid(problems);
  const startup = String(field(body, 'startup'));
  const image = String(field(body, 'image'));
  store.update('servers', id, { values, startup, image, egg, updated_at: server.updated_at });
  return singleObject(call, RESOURCES.servers, id);
}

/** Routes below `/api/application`. */
export const APPLICATION_ROUTES: readonly PanelRoute[] = [
  get(/^\/locations$/, (call) => listPage(call, RESOURCES.locations, call.store.ids('locations'))),
  get(/^\/locations\/([^/]+)$/, (call, [id]) => singleObject(call, RESOURCES.locations, idOf(id))),
  get(/^\/nodes$/, (call) => listPage(call, RESOURCES.nodes, call.store.ids('nodes'))),
  get(/^\/nodes\/([^/]+)$/, (call, [id]) => singleObject(call, RESOURCES.nodes, idOf(id))),
  get(/^\/nodes\/([^/]+)\/allocations$/, (call, [id]) => {
    const node = idOf(id);
    if (!call.store.world.nodes.has(node)) throw notFound();
    return listPage(call, RESOURCES.allocations, call.store.children('allocations', 'node_id', node));
  }),
  get(/^\/nests$/, (call) => listPage(call, RESOURCES.nests, call.store.ids('nests'))),
  get(/^\/nests\/([^/]+)$/, (call, [id]) => singleObject(call, RESOURCES.nests, idOf(id))),
  get(/^\/nests\/([^/]+)\/eggs$/, (call, [id]) => {
    const nest = idOf(id);
    if (!call.store.world.nests.has(nest)) throw notFound();
    requireRight(call, 'eggs');
    return wholeList(call, call.store.children('eggs', 'nest', nest), objectWriter(call, 'egg'));
  }),
  get(/^\/nests\/([^/]+)\/eggs\/([^/]+)$/, (call, [nest, egg]) => {
    if (call.store.world.eggs.get(idOf(egg))?.nest !== idOf(nest)) throw notFound();
    return singleObject(call, RESOURCES.eggs, idOf(egg));
  }),
  get(/^\/servers$/, (call) => listPage(call, RESOURCES.servers, call.store.ids('servers'))),
  get(/^\/servers\/external\/([^/]+)$/, (call, [id = '']) =>
    objectByExternalId(call, RESOURCES.servers, decodeURIComponent(id)),
  ),
  get(/^\/servers\/([^/]+)$/, (call, [id]) => singleObject(call, RESOURCES.servers, idOf(id))),
  { method: 'PATCH', pattern: /^\/servers\/([^/]+)\/startup$/, handle: (call, [id]) => patchStartup(call, idOf(id)) },
  get(/^\/servers\/([^/]+)\/databases$/, (call, [id]) => {
    const server = idOf(id);
    if (!call.store.world.servers.has(server)) throw notFound();
    requireRight(call, 'server_databases');
    return wholeList(call, call.store.children('databases', 'server', server), objectWriter(call, 'server_database'));
  }),
  get(/^\/servers\/([^/]+)\/databases\/([^/]+)$/, (call, [server, database]) => {
    if (call.store.world.databases.get(idOf(database))?.server !== idOf(server)) throw notFound();
    return singleObject(call, RESOURCES.databases, idOf(database));
  }),
  get(/^\/users$/, (call) => listPage(call, RESOURCES.users, call.store.ids('users'))),
  { method: 'POST', pattern: /^\/users$/, handle: createUser },
  get(/^\/users\/external\/([^/]+)$/, (call, [id = '']) =>
    objectByExternalId(call, RESOURCES.users, decodeURIComponent(id)),
  ),
  get(/^\/users\/([^/]+)$/, (call, [id]) => singleObject(call, RESOURCES.users, idOf(id))),
  {
    method: 'DELETE',
    pattern: /^\/users\/([^/]+)$/,
    handle: (call, [id]) => {
      requireRight(call, 'users', true);
      try {
        if (!call.store.delete('users', idOf(id))) throw notFound();
      } catch (error) {
        if (error instanceof WorldRefusal) throw panelError(400, 'DisplayException', error.message);
        throw error;
      }
      return { status: 204 };
    },
  },
];

/** `/api/client`: the servers that the key's user owns or shares. A root admin's key sees every server. */
import { createHash } from 'node:crypto';
import { signToken } from '../daemon/tokens.ts';
import type { PanelAnswer, PanelCall, PanelRoute } from '../http/answer.ts';
import { daemonUnreachable, forbidden, invalid, notFound, panelError, serverError } from '../http/answer.ts';
import { applyFilters, type Filters, pageAnswer } from '../http/paging.ts';
import { columnOf, type ServerRow, type SubuserRow, type UserRow, type VariableRow } from '../world/rows.ts';
import { brokenRule } from '../world/rules.ts';
import { environment } from './attributes.ts';
import { type IncludeTree, parseIncludes } from './kinds.ts';
import { usageOf } from './usage.ts';

const list = (data: unknown[], meta?: unknown) => ({ object: 'list', data, ...(meta === undefined ? {} : { meta }) });
const json = (value: unknown): PanelAnswer => ({ body: JSON.stringify(value) });

const userOf = (call: PanelCall): UserRow | undefined => call.store.world.users.get(call.key.userId);
const isAdmin = (call: PanelCall) => userOf(call)?.root_admin === true;

function membership(call: PanelCall, server: ServerRow): SubuserRow | undefined {
  for (const id of call.store.children('subusers', 'server_id', server.id)) {
    const row = call.store.world.subusers.get(id);
    if (row?.user_id === call.key.userId) return row;
  }
  return undefined;
}

const hasPermission = (call: PanelCall, server: ServerRow, permission: string) =>
  isAdmin(call) ||
  server.user === call.key.userId ||
  Object.values(membership(call, server)?.permissions ?? []).includes(permission);

function requirePermission(call: PanelCall, server: ServerRow, permission: string): void {
  if (!hasPermission(call, server, permission)) throw forbidden();
}

/** Finds by uuid or 8-character identifier. The answer is 404 also when the key has no access to the server. */
function findServer(call: PanelCall, text: string | undefined): ServerRow {
  for (const row of call.store.world.servers.values()) {
    if (row.uuid !== text && row.identifier !== text) continue;
    if (isAdmin(call) || row.user === call.key.userId || membership(call, row) !== undefined) return row;
    break;
  }
  throw notFound();
}

/**
 * In some states of a server the panel answers only reads of the server object; the console is open to administrators in the
 * states of `except` too (AuthenticateServerAccess.php). @throws {PanelHttpError} 409
 */
function checkState(call: PanelCall, server: ServerRow, except: 'console' | undefined): void {
  const conflict = (detail: string) => panelError(409, 'ServerStateConflictException', detail);
  if (server.status === 'suspended') {
    throw conflict('This server is currently suspended and the functionality requested is unavailable.');
  }
  if (call.store.world.nodes.get(server.node)?.maintenance_mode === true) {
    throw conflict(
      'The node of this server is currently under maintenance and the functionality requested is unavailable.',
    );
  }
  if (except === 'console' && isAdmin(call)) return;
  if (server.status === 'installing' || server.status === 'install_failed') {
    throw conflict('This server has not yet completed its installation process, please try again later.');
  }
  if (server.status === 'restoring_backup') {
    throw conflict('This server is currently restoring from a backup, please try again later.');
  }
  if (server.transferring) {
    throw conflict('This server is currently being transferred to a new machine, please try again later.');
  }
}

const variablesOf = (call: PanelCall, server: ServerRow): VariableRow[] =>
  call.store
    .children('variables', 'egg_id', server.egg)
    .map((id) => call.store.world.variables.get(id))
    .filter((row) => row !== undefined);

const variableItem = (row: VariableRow, value: string | null) => ({
  object: 'egg_variable',
  attributes: {
    name: row.name,
    description: row.description,
    env_variable: row.env_variable,
    default_value: row.default_value,
    server_value: value,
    is_editable: row.user_editable,
    rules: row.rules,
  },
});

const visibleVariables = (call: PanelCall, server: ServerRow) =>
  variablesOf(call, server)
    .filter((row) => row.user_viewable)
    .map((row) => variableItem(row, server.values[row.env_variable] ?? null));

/** The startup command with values in place of its placeholders, `[hidden]` for variables that users may not see. */
function invocation(call: PanelCall, server: ServerRow): string {
  const allocation = call.store.world.allocations.get(server.allocation);
  const values = new Map<string, string>([
    ['SERVER_MEMORY', String(server.limits.memory)],
    ['SERVER_IP', allocation?.ip ?? ''],
    ['SERVER_PORT', String(allocation?.port ?? '')],
  ]);
  for (const row of variablesOf(call, server)) {
    values.set(
      row.env_variable,
      row.user_viewable ? (server.values[row.env_variable] ?? row.default_value) : '[hidden]',
    );
  }
  return server.startup.replace(/\{\{([A-Z0-9_]+)\}\}/g, (whole, name: string) => values.get(name) ?? whole);
}

function subuserItem(call: PanelCall, row: SubuserRow) {
  const person = call.store.world.users.get(row.user_id);
  const email = person?.email ?? '';
  return {
    object: 'server_subuser',
    attributes: {
      uuid: person?.uuid,
      username: person?.username,
      email,
      image: `https://gravatar.com/avatar/${createHash('md5').update(email.toLowerCase()).digest('hex')}`,
      '2fa_enabled': person?.['2fa'] ?? false,
      created_at: person?.created_at,
      permissions: row.permissions,
    },
  };
}

const subuserItems = (call: PanelCall, server: ServerRow) =>
  call.store
    .children('subusers', 'server_id', server.id)
    .map((id) => call.store.world.subusers.get(id))
    .filter((row) => row !== undefined)
    .map((row) => subuserItem(call, row));

function allocationItems(call: PanelCall, server: ServerRow) {
  return call.store.children('allocations', 'server_id', server.id).flatMap((id) => {
    const row = call.store.world.allocations.get(id);
    if (row === undefined) return [];
    const { ip, alias, port, notes } = row;
    return [
      {
        object: 'allocation',
        attributes: { id, ip, ip_alias: alias, port, notes, is_default: id === server.allocation },
      },
    ];
  });
}

function serverItem(call: PanelCall, server: ServerRow, includes: IncludeTree) {
  const { world } = call.store;
  const node = world.nodes.get(server.node);
  const egg = world.eggs.get(server.egg);
  const nothing = { object: 'null_resource', attributes: null };
  return {
    object: 'server',
    attributes: {
      server_owner: server.user === call.key.userId,
      identifier: server.identifier,
      internal_id: server.id,
      uuid: server.uuid,
      name: server.name,
      node: node?.name,
      is_node_under_maintenance: node?.maintenance_mode ?? false,
      sftp_details: { ip: node?.fqdn, port: node?.daemon_sftp },
      description: server.description,
      limits: server.limits,
      invocation: invocation(call, server),
      docker_image: server.image,
      egg_features: egg?.features ?? null,
      feature_limits: server.feature_limits,
      status: server.status,
      is_suspended: server.status === 'suspended',
      is_installing: server.status === 'installing' || server.status === 'install_failed',
      is_transferring: server.transferring,
      relationships: {
        allocations: list(allocationItems(call, server)),
        variables: hasPermission(call, server, 'startup.read') ? list(visibleVariables(call, server)) : nothing,
        ...(includes.has('egg') ? { egg: { object: 'egg', attributes: { uuid: egg?.uuid, name: egg?.name } } } : {}),
        ...(includes.has('subusers')
          ? { subusers: hasPermission(call, server, 'user.read') ? list(subuserItems(call, server)) : nothing }
          : {}),
      },
    },
  };
}

const includesOf = (call: PanelCall) =>
  parseIncludes([...call.query.getAll('include'), ...call.query.getAll('include[]')]);

function serverList(call: PanelCall): PanelAnswer {
  const { store } = call;
  const own = new Set(store.children('servers', 'user', call.key.userId));
  const shared = new Set<number>();
  for (const id of store.children('subusers', 'user_id', call.key.userId)) {
    shared.add(store.world.subusers.get(id)?.server_id ?? 0);
  }
  const type = call.query.get('type');
  const all = store.ids('servers');
  let ids: readonly number[];
  if (type === 'admin' || type === 'admin-all') {
    ids = !isAdmin(call) ? [] : type === 'admin-all' ? all : all.filter((id) => !own.has(id) && !shared.has(id));
  } else if (type === 'owner') ids = [...own];
  else ids = all.filter((id) => own.has(id) || shared.has(id));
  const contains = (value: unknown, part: string) =>
    typeof value === 'string' && value.toLowerCase().includes(part.toLowerCase());
  const filters: Filters = {
    uuid: { column: 'uuid' },
    name: { column: 'name' },
    description: { column: 'description' },
    external_id: { column: 'external_id' },
    '*': {
      test: (row, values) => {
        const allocation = store.world.allocations.get(Number(columnOf(row, 'allocation')));
        const address = `${allocation?.ip}:${allocation?.port}`;
        return values.some(
          (part) =>
            address.startsWith(part) ||
            ['name', 'uuid', 'external_id'].some((column) => contains(columnOf(row, column), part)),
        );
      },
    },
  };
  const includes = includesOf(call);
  return pageAnswer(
    call,
    applyFilters(call, store, 'servers', ids, filters),
    (id) => {
      const row = store.world.servers.get(id);
      return row === undefined ? undefined : JSON.stringify(serverItem(call, row, includes));
    },
    'client',
  );
}

/** GetUserPermissionsService.php */
function permissions(call: PanelCall, server: ServerRow): string[] {
  if (isAdmin(call)) return ['*', 'admin.websocket.errors', 'admin.websocket.install', 'admin.websocket.transfer'];
  if (server.user === call.key.userId) return ['*'];
  return Object.values(membership(call, server)?.permissions ?? []);
}

function resources(call: PanelCall, server: ServerRow): PanelAnswer {
  if (call.store.world.nodes.get(server.node)?.daemon_down === true) throw daemonUnreachable();
  return json({ object: 'stats', attributes: usageOf(server, call.clockMs) });
}

/**
 * A token for the console, and where the console is (WebsocketController.php). The simulated daemon stands in place of the node's
 * own address.
 */
function websocket(call: PanelCall, server: ServerRow): PanelAnswer {
  const refused = (detail: string) => panelError(403, 'HttpForbiddenException', detail);
  const granted = permissions(call, server);
  if (!hasPermission(call, server, 'websocket.connect')) {
    throw refused("You do not have permission to connect to this server's websocket.");
  }
  if (server.transferring && !granted.includes('admin.websocket.transfer')) {
    throw refused('You do not have permission to view server transfer logs.');
  }
  const node = call.store.world.nodes.get(server.node);
  const user = userOf(call);
  if (node === undefined || user === undefined) throw serverError('ErrorException');
  const token = signToken({ panelUrl: call.origin, node, user, server, permissions: granted });
  return json({ data: { token, socket: `${call.daemon.url}/api/servers/${server.uuid}/ws` } });
}

/** Sets one variable. The panel turns an empty text into null before it checks the value. */
function setVariable(call: PanelCall, server: ServerRow): PanelAnswer {
  const body = typeof call.body === 'object' && call.body !== null ? call.body : {};
  const key = columnOf(body, 'key');
  const sent = columnOf(body, 'value');
  const problems: { field: string; rule: string; detail: string }[] = [];
  if (typeof key !== 'string' || key === '') {
    problems.push({ field: 'key', rule: 'required', detail: 'The key field is required.' });
  }
  if (sent === undefined)
    problems.push({ field: 'value', rule: 'present', detail: 'The value field must be present.' });
  if (problems.length > 0) throw invalid(problems);
  const value = sent === '' ? null : sent;
  const wanted = String(key).toLowerCase();
  const variable = variablesOf(call, server).find((row) => row.env_variable.toLowerCase() === wanted);
  if (variable === undefined) throw serverError('ErrorException');
  const refused = (what: string) =>
    panelError(400, 'BadRequestHttpException', `The environment variable you are trying to edit ${what}`);
  if (!variable.user_viewable) throw refused('does not exist.');
  if (!variable.user_editable) throw refused('is read-only.');
  const broken = brokenRule(variable.rules, value);
  if (broken !== undefined) throw invalid([{ field: 'value', ...broken }]);
  const stored = value === null ? '' : String(value);
  const changed = call.store.update('servers', server.id, {
    values: { ...server.values, [variable.env_variable]: stored },
    updated_at: server.updated_at,
  });
  return json({
    ...variableItem(variable, stored === '' ? null : stored),
    meta: { startup_command: invocation(call, changed), raw_startup_command: changed.startup },
  });
}

const POWER: Readonly<Record<string, { permission: string; state: ServerRow['current_state'] }>> = {
  start: { permission: 'control.start', state: 'running' },
  stop: { permission: 'control.stop', state: 'offline' },
  restart: { permission: 'control.restart', state: 'running' },
  kill: { permission: 'control.stop', state: 'offline' },
};

/** Passes a signal to the daemon, which obeys at once: a server that starts reads its variables now. */
function power(call: PanelCall, server: ServerRow): PanelAnswer {
  const signal = columnOf(typeof call.body === 'object' && call.body !== null ? call.body : {}, 'signal');
  const wanted = typeof signal === 'string' && Object.hasOwn(POWER, signal) ? POWER[signal] : undefined;
  if (wanted === undefined) {
    const rule = signal === undefined ? 'required' : 'in';
    throw invalid([{ field: 'signal', rule, detail: 'The selected signal is invalid.' }]);
  }
  requirePermission(call, server, wanted.permission);
  if (call.store.world.nodes.get(server.node)?.daemon_down === true) throw daemonUnreachable();
  const { id, uuid } = server;
  call.powerLog.push({
    at: Date.now(),
    id,
    uuid,
    signal: String(signal),
    environment: environment(call.store, server),
  });
  call.store.update('servers', id, { current_state: wanted.state, updated_at: server.updated_at });
  if (signal === 'restart') call.daemon.restarted(server);
  return { status: 204 };
}

/** A route below a server. It answers 409 in the states that `checkState` refuses. */
const serverRoute = (
  method: string,
  pattern: RegExp,
  permission: string | undefined,
  handle: (call: PanelCall, server: ServerRow) => PanelAnswer,
  except?: 'console',
): PanelRoute => ({
  method,
  pattern,
  handle(call, [id]) {
    const server = findServer(call, id);
    checkState(call, server, except);
    if (permission !== undefined) requirePermission(call, server, permission);
    return handle(call, server);
  },
});

/** Routes below `/api/client`. */
export const CLIENT_ROUTES: readonly PanelRoute[] = [
  { method: 'GET', pattern: /^\/?$/, handle: serverList },
  {
    method: 'GET',
    pattern: /^\/account$/,
    handle(call) {
      const row = userOf(call);
      if (row === undefined) throw notFound();
      const { id, username, email, first_name, last_name, language } = row;
      return json({
        object: 'user',
        attributes: { id, admin: row.root_admin, username, email, first_name, last_name, language },
      });
    },
  },
  {
    method: 'GET',
    pattern: /^\/servers\/([^/]+)$/,
    handle(call, [id]) {
      const server = findServer(call, id);
      const meta = { is_server_owner: server.user === call.key.userId, user_permissions: permissions(call, server) };
      return json({ ...serverItem(call, server, includesOf(call)), meta });
    },
  },
  serverRoute('GET', /^\/servers\/([^/]+)\/users$/, 'user.read', (call, server) =>
    json(list(subuserItems(call, server))),
  ),
  serverRoute('GET', /^\/servers\/([^/]+)\/resources$/, undefined, resources),
  serverRoute('GET', /^\/servers\/([^/]+)\/databases$/, 'database.read', (call, server) =>
    json(
      list(
        call.store.children('databases', 'server', server.id).flatMap((id) => {
          const row = call.store.world.databases.get(id);
          const host = call.store.world.databaseHosts.get(row?.host ?? 0);
          if (row === undefined) return [];
          const { database: name, username, remote: connections_from, max_connections } = row;
          const attributes = {
            id: `db${id}`,
            host: { address: host?.host, port: host?.port },
            name,
            username,
            connections_from,
            max_connections,
          };
          return [{ object: 'server_database', attributes }];
        }),
      ),
    ),
  ),
  serverRoute('GET', /^\/servers\/([^/]+)\/startup$/, 'startup.read', (call, server) =>
    json(
      list(visibleVariables(call, server), {
        startup_command: invocation(call, server),
        docker_images: call.store.world.eggs.get(server.egg)?.docker_images ?? {},
        raw_startup_command: server.startup,
      }),
    ),
  ),
  serverRoute('PUT', /^\/servers\/([^/]+)\/startup\/variable$/, 'startup.update', setVariable),
  serverRoute('POST', /^\/servers\/([^/]+)\/power$/, undefined, power),
  serverRoute('GET', /^\/servers\/([^/]+)\/websocket$/, undefined, websocket, 'console'),
];

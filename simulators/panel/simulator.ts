/**
 * A Pterodactyl panel as a client meets it: a real HTTP server over generated data, with the panel's throttle, errors
 * and oddities, faults on demand, and a log of what was asked.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type Api,
  type ApiKey,
  createKeyRing,
  createThrottler,
  type Hit,
  type NewKey,
  type SimulatorKeys,
} from './access.ts';
import { handleAdmin } from './admin.ts';
import {
  findRoute,
  forbidden,
  notFound,
  type PanelAnswer,
  PanelHttpError,
  panelError,
  serverError,
  unauthenticated,
} from './answer.ts';
import { APPLICATION_ROUTES } from './application-api.ts';
import { CLIENT_ROUTES } from './client-api.ts';
import { createFaults, type FaultAction, type Faults, tweaksOf } from './faults.ts';
import { DEFAULT_SIZES, generateWorld, type PanelSizes } from './generate.ts';
import { pageOf } from './paging.ts';
import type { EntityName, Rows, ServerRow } from './rows.ts';
import { createSerializer, environment, PanelBug } from './serialize.ts';
import { createWorldStore, type PanelWorld } from './world.ts';

/** What may be changed while the simulator runs. */
export interface SimulatorSettings {
  /** Added to every answer, milliseconds. */
  latencyMs: number;
  /** Application requests per window and user; 0 = no throttle, no headers. */
  limit: number;
  /** Client requests per window and user; 0 = none. */
  clientLimit: number;
  /** Length of the throttle window, milliseconds. */
  windowMs: number;
  /** Cap of the application API's `per_page`; undefined = none, as in 1.11. */
  perPageMax: number | undefined;
  /** Maintenance: every call answers 503, with `Retry-After` (seconds) if given. */
  maintenance: { retryAfter?: number } | undefined;
  /** The panel demands two-factor login: every call answers 400. */
  twoFactor: boolean;
}

export interface PanelSimulatorOptions extends Partial<PanelSizes>, Partial<SimulatorSettings> {
  seed?: number;
  /** Default 0: a free one. */
  port?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** Tokens to use instead of generated ones. */
  keys?: Partial<SimulatorKeys>;
}

/** One answered (or abandoned) request. */
export interface LoggedRequest {
  /** Unix milliseconds of its arrival. */
  at: number;
  n: number;
  method: string;
  path: string;
  query: string;
  /** 0: hung or reset. */
  status: number;
  remaining: number | undefined;
  /** Label of the key; undefined without a known one. */
  key: string | undefined;
}

/** What a `before` hook is told. */
export interface BeforeRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  page: number;
  n: number;
}
export type BeforeHook = (request: BeforeRequest, n: number) => void | Promise<void>;

/** The true state, entity by entity, in id order. */
export type PanelDump = { [E in Exclude<EntityName, 'servers'>]: Rows[E][] } & { servers: DumpedServer[] };

/** A server with what its API object derives. */
export interface DumpedServer extends ServerRow {
  suspended: boolean;
  installed: 0 | 1;
  environment: Record<string, string | number | null>;
}

export interface PanelSimulator {
  readonly url: string;
  readonly keys: SimulatorKeys;
  readonly settings: SimulatorSettings;
  /** Rows by id, for reading. After changing a row directly call `touch()`. */
  readonly world: PanelWorld;
  readonly faults: Faults;
  readonly requests: LoggedRequest[];
  clearRequests(): void;
  /** The most requests in flight at once since the last `clearRequests`. */
  peakInFlight(): number;
  addKey(key: NewKey): string;
  create<E extends EntityName>(entity: E, values?: Partial<Rows[E]>): Rows[E];
  update<E extends EntityName>(entity: E, id: number, values: Partial<Rows[E]>): Rows[E];
  /** Deletes as the panel would; throws WorldRefusal where the panel refuses. */
  delete(entity: EntityName, id: number): boolean;
  touch(): void;
  dump(): PanelDump;
  /** Called before each request is answered; gives a function that removes it. */
  on(event: 'before', hook: BeforeHook): () => void;
  /** Spends requests of a user's window, as another program of the same owner would. */
  spend(count: number, options?: { api?: Api | undefined; userId?: number | undefined }): void;
  /** The first state again: data, faults, hooks, log, throttle windows. */
  reset(): void;
  /** Ends every connection, hanging ones too. */
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 1024 * 1024;
const HTML =
  '<!DOCTYPE html>\n<html>\n    <head><title>Panel</title></head>\n    <body>Something went wrong.</body>\n</html>';
const redirectPage = (to: string) =>
  `<!DOCTYPE html>\n<html>\n    <head>\n        <meta charset="UTF-8" />\n        <meta http-equiv="refresh" content="0;url='${to}'" />\n\n        <title>Redirecting to ${to}</title>\n    </head>\n    <body>\n        Redirecting to <a href="${to}">${to}</a>.\n    </body>\n</html>`;

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw panelError(413, 'PostTooLargeException', 'The request is too large.');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const throttleHeaders = (hit: Hit | undefined): Record<string, string> =>
  hit === undefined ? {} : { 'x-ratelimit-limit': String(hit.limit), 'x-ratelimit-remaining': String(hit.remaining) };

function tooMany(limit: number | undefined, seconds: number, reset: number): PanelHttpError {
  return panelError(429, 'ThrottleRequestsException', 'Too Many Attempts.', {
    ...(limit === undefined ? {} : { 'x-ratelimit-limit': String(limit), 'x-ratelimit-remaining': '0' }),
    'retry-after': String(seconds),
    'x-ratelimit-reset': String(reset),
  });
}

function faultError(action: Extract<FaultAction, { kind: 'status' }>, limit: number): PanelHttpError {
  const { status, retryAfter } = action;
  const extra: Record<string, string> = retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) };
  switch (status) {
    case 401:
      return unauthenticated();
    case 403:
      return forbidden();
    case 429:
      return tooMany(
        limit === 0 ? undefined : limit,
        retryAfter ?? 1,
        Math.ceil(Date.now() / 1_000) + (retryAfter ?? 1),
      );
    case 500:
      return serverError('ErrorException');
    case 503:
      return panelError(503, 'HttpException', 'Service Unavailable', extra);
    default:
      return panelError(
        status,
        'DaemonConnectionException',
        'Could not establish a connection to the machine running this server. Please try again.',
        extra,
      );
  }
}

interface Outcome {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** Starts the simulator; it listens when the promise resolves. */
export async function startPanelSimulator(options: PanelSimulatorOptions = {}): Promise<PanelSimulator> {
  const seed = options.seed ?? 1;
  const sizes: PanelSizes = { ...DEFAULT_SIZES };
  const chosen: Partial<Record<string, unknown>> = { ...options };
  for (const name of Object.keys(DEFAULT_SIZES)) {
    const value = chosen[name];
    if (typeof value === 'number') Object.assign(sizes, { [name]: value });
  }
  const settings: SimulatorSettings = {
    latencyMs: options.latencyMs ?? 0,
    limit: options.limit ?? 240,
    clientLimit: options.clientLimit ?? 720,
    windowMs: options.windowMs ?? 60_000,
    perPageMax: options.perPageMax,
    maintenance: options.maintenance,
    twoFactor: options.twoFactor ?? false,
  };
  const store = createWorldStore(seed);
  const serializer = createSerializer(store);
  generateWorld(store, sizes, seed);
  const ring = createKeyRing(seed, options.keys);
  const throttler = createThrottler(() => settings);
  const faults = createFaults();
  const requests: LoggedRequest[] = [];
  let hooks: BeforeHook[] = [];
  let n = 0;
  let inFlight = 0;
  let peak = 0;

  /** The answer of the API, throttle headers included; faults of the list kind apply inside. */
  function respond(
    request: IncomingMessage,
    url: URL,
    bodyText: string,
    actions: FaultAction[],
    entry: LoggedRequest,
  ): Outcome {
    const method = request.method ?? 'GET';
    const wantsJson = /[/+]json/i.test(request.headers.accept ?? '');
    const origin = `http://${request.headers.host ?? '127.0.0.1'}`;
    let hit: Hit | undefined;
    try {
      if (settings.maintenance !== undefined) {
        const { retryAfter } = settings.maintenance;
        throw faultError({ kind: 'status', status: 503, ...(retryAfter === undefined ? {} : { retryAfter }) }, 0);
      }
      const matched = /^\/api\/(application|client)(\/.*)?$/.exec(url.pathname);
      if (matched === null) throw notFound();
      const api: Api = matched[1] === 'client' ? 'client' : 'application';
      const found = findRoute(api === 'client' ? CLIENT_ROUTES : APPLICATION_ROUTES, method, matched[2] ?? '');
      if (found === 'not-found') throw notFound();
      if (found === 'method') {
        throw panelError(405, 'MethodNotAllowedHttpException', `The ${method} method is not supported for this route.`);
      }
      let body: unknown;
      try {
        body = bodyText === '' ? undefined : JSON.parse(bodyText);
      } catch {
        throw panelError(
          400,
          'BadRequestHttpException',
          'The JSON data passed in the request appears to be malformed.',
        );
      }
      const key = ring.find(request.headers.authorization);
      entry.key = key?.label;
      if (key === undefined || key.expired) throw unauthenticated();
      if (key.locked) {
        const address = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
        throw forbidden(
          `This IP address (${address}) does not have permission to access the API using these credentials.`,
        );
      }
      hit = throttler.hit(api, key.userId);
      if (hit?.refused === true) throw tooMany(hit.limit, Math.max(1, Math.ceil(hit.leftMs / 1_000)), hit.reset);
      const status = actions.find((action) => action.kind === 'status');
      if (status !== undefined) throw faultError(status, settings.limit);
      checkOwner(api, key);
      const call = {
        method,
        path: url.pathname,
        query: url.searchParams,
        body,
        origin,
        key,
        store,
        serializer,
        perPageMax: settings.perPageMax,
        tweaks: tweaksOf(actions, entry.n),
      };
      return success(found.route.handle(call, found.params), hit);
    } catch (error) {
      return failure(error, wantsJson, origin, hit);
    } finally {
      entry.remaining = hit?.remaining;
    }
  }

  function checkOwner(api: Api, key: ApiKey): void {
    if (settings.twoFactor) {
      const detail = 'Two-factor authentication is required for this account in order to access this endpoint.';
      throw panelError(400, 'TwoFactorAuthRequiredException', detail);
    }
    if (api === 'client' && key.kind === 'application') {
      throw forbidden(
        'You are attempting to use an application API key on an endpoint that requires a client API key.',
      );
    }
    if (api === 'application' && store.world.users.get(key.userId)?.root_admin !== true) {
      throw forbidden('This account does not have permission to access the API.');
    }
  }

  const COMMON = { 'cache-control': 'no-cache, private' };
  const success = (answer: PanelAnswer, hit: Hit | undefined): Outcome => ({
    status: answer.status ?? 200,
    headers: {
      ...COMMON,
      ...(answer.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...throttleHeaders(hit),
    },
    body: answer.body ?? '',
  });

  function failure(error: unknown, wantsJson: boolean, origin: string, hit: Hit | undefined): Outcome {
    const known =
      error instanceof PanelHttpError ? error : serverError(error instanceof PanelBug ? error.message : 'Exception');
    // 401 and 503 are decided before the throttle
    const counted = known.status === 401 || known.status === 503 ? {} : throttleHeaders(hit);
    const headers = { ...COMMON, ...counted, ...known.headers };
    if (wantsJson) {
      const body = JSON.stringify({ errors: known.errors });
      return { status: known.status, headers: { ...headers, 'content-type': 'application/json' }, body };
    }
    const html = { ...headers, 'content-type': 'text/html; charset=utf-8' };
    if (known.status !== 401) return { status: known.status, headers: html, body: HTML };
    const location = `${origin}/auth/login`;
    return { status: 302, headers: { ...html, location }, body: redirectPage(location) };
  }

  function write(response: ServerResponse, outcome: Outcome, cut: boolean): void {
    const bytes = Buffer.from(outcome.body, 'utf8');
    const headers: Record<string, string> = { ...outcome.headers };
    if (outcome.status !== 204) headers['content-length'] = String(bytes.length);
    response.writeHead(outcome.status, headers);
    if (cut) response.write(bytes.subarray(0, Math.floor(bytes.length / 2)), () => response.destroy());
    else response.end(bytes);
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://panel.invalid');
    const bodyText = await readBody(request);
    if (url.pathname.startsWith('/__sim/')) {
      const { status, body } = handleAdmin(simulator, request.method ?? 'GET', url, bodyText);
      write(response, { status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }, false);
      return;
    }
    n += 1;
    inFlight += 1;
    peak = Math.max(peak, inFlight);
    response.once('close', () => {
      inFlight -= 1;
    });
    const method = request.method ?? 'GET';
    const page = pageOf(url.searchParams);
    const entry: LoggedRequest = {
      at: Date.now(),
      n,
      method,
      path: url.pathname,
      query: url.search,
      status: 0,
      remaining: undefined,
      key: undefined,
    };
    requests.push(entry);
    for (const hook of [...hooks])
      await hook({ method, path: url.pathname, query: url.searchParams, page, n: entry.n }, entry.n);
    const actions = faults.take({ method, path: url.pathname, page });
    const kinds = new Set(actions.map((action) => action.kind));
    if (kinds.has('hang')) return;
    if (kinds.has('reset')) {
      request.socket.resetAndDestroy();
      return;
    }
    let outcome = respond(request, url, bodyText, actions, entry);
    if (kinds.has('html') && outcome.status === 200) {
      outcome = { ...outcome, headers: { ...outcome.headers, 'content-type': 'text/html; charset=utf-8' }, body: HTML };
    }
    entry.status = outcome.status;
    let wait = settings.latencyMs;
    for (const action of actions) if (action.kind === 'slow') wait += action.ms;
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait).unref());
    if (!response.destroyed) write(response, outcome, kinds.has('truncate'));
  }

  const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (response.headersSent || response.destroyed) return;
      const known = error instanceof PanelHttpError ? error : serverError('Exception');
      write(
        response,
        {
          status: known.status,
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ errors: known.errors }),
        },
        false,
      );
    });
  });
  const host = options.host ?? '127.0.0.1';
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, host, resolve);
  });
  const address: AddressInfo | string | null = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;

  const plain = <E extends EntityName>(entity: E): Rows[E][] => {
    const rows: Rows[E][] = [];
    for (const id of store.ids(entity)) {
      const row = store.world[entity].get(id);
      if (row !== undefined) rows.push(structuredClone(row));
    }
    return rows;
  };

  const simulator: PanelSimulator = {
    url: `http://${host}:${port}`,
    keys: ring.keys,
    settings,
    world: store.world,
    faults,
    requests,
    clearRequests() {
      requests.length = 0;
      peak = inFlight;
    },
    peakInFlight: () => peak,
    addKey: (key) => ring.add(key),
    create: (entity, values) => store.create(entity, values),
    update: (entity, id, values) => store.update(entity, id, values),
    delete: (entity, id) => store.delete(entity, id),
    touch: () => store.touch(),
    dump: () => ({
      locations: plain('locations'),
      nodes: plain('nodes'),
      allocations: plain('allocations'),
      nests: plain('nests'),
      eggs: plain('eggs'),
      variables: plain('variables'),
      users: plain('users'),
      servers: plain('servers').map((row) => ({
        ...row,
        suspended: row.status === 'suspended',
        installed: row.status === 'installing' || row.status === 'install_failed' ? 0 : 1,
        environment: environment(store, row),
      })),
      databases: plain('databases'),
      databaseHosts: plain('databaseHosts'),
      subusers: plain('subusers'),
    }),
    on(_event, hook) {
      hooks.push(hook);
      return () => {
        hooks = hooks.filter((other) => other !== hook);
      };
    },
    spend: (count, { api = 'application', userId = 1 } = {}) => throttler.spend(api, userId, count),
    reset() {
      faults.clear();
      hooks = [];
      requests.length = 0;
      peak = inFlight;
      throttler.reset();
      store.clear(seed);
      generateWorld(store, sizes, seed);
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return simulator;
}

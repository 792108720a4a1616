/**
 * A Pterodactyl panel as a client meets it: a real HTTP server over generated data, with the panel's throttle, errors
 * and oddities, faults on demand, and a log of what was asked.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { handleAdmin } from './admin.ts';
import { createSerializer, environment } from './api/serialize.ts';
import type {
  BeforeHook,
  LoggedRequest,
  PanelSimulator,
  PanelSimulatorOptions,
  SimulatorSettings,
} from './contract.ts';
import { createKeyRing, createThrottler } from './http/access.ts';
import { PanelHttpError, panelError, serverError } from './http/answer.ts';
import { createFaults } from './http/faults.ts';
import { pageOf } from './http/paging.ts';
import { createResponder, HTML, type Outcome } from './http/respond.ts';
import { generateWorld } from './world/generate.ts';
import type { EntityName, Rows } from './world/rows.ts';
import { DEFAULT_SIZES, type PanelSizes } from './world/sizes.ts';
import { createWorldStore } from './world/world.ts';

export type { PanelSimulator, PanelSimulatorOptions } from './contract.ts';

const MAX_BODY_BYTES = 1024 * 1024;

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
  const respond = createResponder({ settings, store, serializer, ring, throttler });

  function write(response: ServerResponse, outcome: Outcome, cut: boolean): void {
    const bytes = typeof outcome.body === 'string' ? Buffer.from(outcome.body, 'utf8') : outcome.body;
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

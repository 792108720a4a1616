/**
 * The daemon of the simulated nodes: one WebSocket server for the consoles of all servers, on a port of its own. Before a
 * connection it refuses what router/middleware/middleware.go (ServerExists), router/router_server_ws.go (the number of connections)
 * and the upgrader of router/websocket/websocket.go (`Origin`) of pterodactyl/wings refuse, in this order.
 */
import { createServer, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { NodeRow, ServerRow } from '../world/rows.ts';
import type { WorldStore } from '../world/world.ts';
import { serveConnection } from './connection.ts';
import type { SimulatedConsole } from './console.ts';
import { type Consoles, createConsoles } from './consoles.ts';
import { createDaemonFaults, type DaemonFault, type DaemonFaults, faultOf } from './faults.ts';
import type { DaemonSettings } from './settings.ts';
import { nodeSecret } from './tokens.ts';

export interface SimulatedDaemon {
  /** `ws://host:port` */
  readonly url: string;
  readonly settings: DaemonSettings;
  readonly faults: DaemonFaults;
  /** What clients asked, in order: `connect`, and the event of each message. */
  readonly received: { server: string; event: string }[];
  /** Open connections, and the highest number of them so far. */
  readonly open: number;
  readonly peak: number;
  /**
   * The daemon restarts: all connections end, and tokens that were made before are refused. A token of the same second is one
   * of them, because tokens hold whole seconds.
   * @param at Unix milliseconds; default now.
   */
  reboot(at?: number): void;
}

export interface Daemon extends SimulatedDaemon {
  /** @throws {Error} when there is no such server. */
  console(server: string): SimulatedConsole;
  /** The process of a server was started again by a signal. */
  restarted(server: ServerRow): void;
  /** Drops faults, consoles, connections and what was received. */
  reset(): void;
  close(): Promise<void>;
}

interface State {
  store: WorldStore;
  settings: DaemonSettings;
  faults: DaemonFaults;
  consoles: Consoles;
  received: SimulatedDaemon['received'];
  sockets: Map<WebSocket, { server: string; authenticated: boolean }>;
  peak: number;
  /** Unix milliseconds. */
  bootedAt: number;
}

/** Tokens of the first second are valid: the daemon was started before. */
const STARTED_BEFORE_MS = 3_600_000;
/** SetReadLimit in websocket.go. */
const MAX_RECEIVED_BYTES = 4_096;

const createState = (store: WorldStore, seed: number): State => ({
  store,
  settings: {
    panelLocation: '',
    allowedOrigins: [],
    logCount: 150,
    tickMs: 30_000,
    authTimeoutMs: 30_000,
    maxConnections: 30,
  },
  faults: createDaemonFaults(),
  consoles: createConsoles(store, seed),
  received: [],
  sockets: new Map(),
  peak: 0,
  bootedAt: Date.now() - STARTED_BEFORE_MS,
});

/** Ends the connections of one server, or all. */
function endConnections({ sockets }: State, server?: string): void {
  for (const [socket, about] of sockets) if ((server ?? about.server) === about.server) socket.terminate();
}

const authenticated = ({ sockets }: State, server: string): number =>
  [...sockets.values()].filter((one) => one.server === server && one.authenticated).length;

/** What is answered in place of a connection; undefined: the connection may be made. */
function refusal(state: State, row: ServerRow | undefined, origin: string | undefined): [number, string] | undefined {
  const { panelLocation, allowedOrigins, maxConnections } = state.settings;
  const error = (text: string) => JSON.stringify({ error: text });
  if (row === undefined) return [404, error('The requested resource does not exist on this instance.')];
  if (authenticated(state, row.uuid) >= maxConnections) return [400, error('Too many open websocket connections.')];
  if (origin === panelLocation || allowedOrigins.some((one) => one === '*' || one === origin)) return undefined;
  return [403, 'Forbidden\n'];
}

/** Answers a request for an upgrade with a status in place of one. */
function answer(socket: Duplex, [status, body]: [number, string]): void {
  const type = body.startsWith('{') ? 'application/json; charset=utf-8' : 'text/plain; charset=utf-8';
  const head = [`HTTP/1.1 ${status} Refused`, 'connection: close', `content-type: ${type}`];
  socket.end(`${[...head, `content-length: ${Buffer.byteLength(body)}`].join('\r\n')}\r\n\r\n${body}`);
}

/** Serves a new connection. */
function accept(state: State, socket: WebSocket, row: ServerRow, node: NodeRow, faults: readonly DaemonFault[]): void {
  const about = { server: row.uuid, authenticated: false };
  state.sockets.set(socket, about);
  state.peak = Math.max(state.peak, state.sockets.size);
  socket.once('close', () => state.sockets.delete(socket));
  serveConnection({
    socket,
    server: row.uuid,
    console: state.consoles.of(row),
    secret: nodeSecret(node),
    settings: { ...state.settings },
    faults,
    bootedAt: () => state.bootedAt,
    suspended: () => state.consoles.row(row.uuid)?.status === 'suspended',
    admit() {
      about.authenticated = authenticated(state, row.uuid) < state.settings.maxConnections;
      return about.authenticated;
    },
    note: (event) => state.received.push({ server: row.uuid, event }),
  });
}

/** A server that does not listen yet. */
function createDaemonServer(state: State) {
  const upgrader = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_RECEIVED_BYTES,
    // Wings compresses every message; here only long ones are, because many small ones cost the process more than they prove.
    perMessageDeflate: { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 1_024 },
  });
  // A request without an upgrade is none for gorilla/websocket.
  const server = createServer((_, response) => response.writeHead(400).end('Bad Request\n'));
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    const { pathname } = new URL(request.url ?? '/', 'http://node.invalid');
    const uuid = /^\/api\/servers\/([^/]+)\/ws$/.exec(pathname)?.[1] ?? '';
    const row = state.consoles.row(uuid);
    const node = state.store.world.nodes.get(row?.node ?? 0);
    const faults = state.faults.take(uuid);
    state.received.push({ server: uuid, event: 'connect' });
    if (faultOf(faults, 'reset') !== undefined || node?.daemon_down === true) return void socket.destroy();
    if (faultOf(faults, 'hang') !== undefined) return undefined;
    const status = faultOf(faults, 'status')?.status;
    const instead: [number, string] | undefined =
      status === undefined ? refusal(state, row, request.headers.origin) : [status, '<html></html>'];
    if (instead !== undefined || row === undefined || node === undefined) return answer(socket, instead ?? [404, '']);
    return upgrader.handleUpgrade(request, socket, head, (upgraded) => accept(state, upgraded, row, node, faults));
  });
  return server;
}

/** Starts the daemon; it listens when the promise resolves. */
export async function startDaemon(options: {
  store: WorldStore;
  host: string;
  port: number;
  seed: number;
}): Promise<Daemon> {
  const state = createState(options.store, options.seed);
  const { consoles, settings, faults, received, sockets } = state;
  // A server that is deleted or suspended loses its connections (Websockets().CancelAll of Wings).
  consoles.onEnd((uuid) => endConnections(state, uuid));
  const server = createDaemonServer(state);
  const raw = new Set<Duplex>();
  server.on('connection', (socket) => {
    raw.add(socket);
    socket.once('close', () => raw.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `ws://${options.host}:${port}`,
    settings,
    faults,
    received,
    get open() {
      return sockets.size;
    },
    get peak() {
      return state.peak;
    },
    console: (uuid) => consoles.find(uuid),
    restarted: (row) => consoles.of(row).started(),
    reboot(at = Date.now()) {
      state.bootedAt = at;
      endConnections(state);
    },
    reset() {
      faults.clear();
      endConnections(state);
      consoles.clear();
      received.length = 0;
      state.peak = 0;
    },
    close() {
      consoles.clear();
      return new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of raw) socket.destroy();
      });
    },
  };
}

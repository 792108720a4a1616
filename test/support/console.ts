/** Servers of the simulated panel whose consoles are tested, and a raw connection to the simulated daemon. */
import { inspect } from 'node:util';
import WebSocket from 'ws';
import { signToken } from '../../simulators/panel/daemon/tokens.ts';
import type { PanelSimulator } from '../../simulators/panel/simulator.ts';
import type { ServerRow } from '../../simulators/panel/world/rows.ts';
import { type AppError, isAppError } from '../../src/domain/errors.ts';

/** Gives servers that run and are in no special state, each once. */
export function runningServers(sim: PanelSimulator): () => ServerRow {
  const rows = [...sim.world.servers.values()].filter((row) => {
    const node = sim.world.nodes.get(row.node);
    const usual = row.status === null && !row.transferring && node?.maintenance_mode === false && !node.daemon_down;
    return usual && row.current_state === 'running';
  });
  return () => {
    const row = rows.pop();
    if (row === undefined) throw new Error('too few servers');
    return row;
  };
}

/** A token of user 1 for a server, as the panel makes it. @param options `uuid`: of the server that it names. */
export function tokenOf(
  sim: PanelSimulator,
  server: ServerRow,
  { uuid = server.uuid, ...options }: { uuid?: string; at?: number; permissions?: string[] } = {},
): string {
  const node = sim.world.nodes.get(server.node);
  const user = sim.world.users.get(1);
  if (node === undefined || user === undefined) throw new Error('no node or user');
  return signToken({ panelUrl: sim.url, node, user, server: { ...server, uuid }, permissions: ['*'], ...options });
}

export interface RawConnection {
  /** Messages so far, parsed. */
  messages: { event: string; args?: string[] }[];
  /** Events so far. */
  events(): string[];
  /** Code of the close frame; undefined while the connection is open. */
  code(): number | undefined;
  say(event: string, ...args: string[]): void;
  send(data: string | Buffer): void;
  end(): void;
}

/**
 * Connects to the console of a server as any client could.
 * @param options `origin`: default that of the panel; undefined: none.
 * @throws {Error} with the status of the answer in place of a connection.
 */
export async function connectRaw(
  sim: PanelSimulator,
  uuid: string,
  options: { origin?: string | undefined } = { origin: sim.url },
): Promise<RawConnection> {
  const headers = options.origin === undefined ? {} : { origin: options.origin };
  const socket = new WebSocket(`${sim.daemon.url}/api/servers/${uuid}/ws`, { headers });
  const messages: RawConnection['messages'] = [];
  let code: number | undefined;
  socket.on('message', (data) => messages.push(JSON.parse(String(data))));
  socket.on('close', (closed) => {
    code = closed;
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  socket.on('error', () => {});
  return {
    messages,
    events: () => messages.map(({ event }) => event),
    code: () => code,
    say: (event, ...args) => socket.send(JSON.stringify({ event, args })),
    send: (data) => socket.send(data),
    end: () => socket.terminate(),
  };
}

/** The error of a promise; it must hold no token and no address with a query. */
export async function consoleError(promise: Promise<unknown>): Promise<AppError> {
  const error: unknown = await promise.then(
    () => new Error('no error'),
    (reason: unknown) => reason,
  );
  if (!isAppError(error)) throw error;
  const text = inspect(error, { depth: 10 });
  if (/eyJ|ws:\/\/|\?token|a\.secret\.token/.test(text)) throw new Error(`the error holds a secret: ${text}`);
  return error;
}

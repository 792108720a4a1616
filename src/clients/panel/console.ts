/**
 * The console of a server, through the WebSocket that the panel gives to its users: the daemon of the server's node (Wings)
 * speaks there. Rules of Wings: router/router_server_ws.go, router/websocket/websocket.go and limiter.go of pterodactyl/wings.
 * Errors never hold the token, the query of an address, a line or a text that the daemon sent.
 */
import { z } from 'zod';
import type { Parsed } from '../../domain/panel/envelope.ts';
import { Secret } from '../../domain/secret.ts';
import { createAddressGuard } from '../http/address-guard.ts';
import { openSocket } from '../http/websocket.ts';
import type { Throttle } from './answers.ts';
import { noConnection } from './console-errors.ts';
import { type ConsoleLimits, createSession, type ServerConsole } from './console-session.ts';
import { call, type Panel } from './request.ts';

const LIMITS: ConsoleLimits = {
  openMs: 10_000,
  quietMs: 300,
  leastMs: 500,
  mostMs: 1_500,
  firstMs: 3_000,
  maxLines: 2_000,
  maxCharacters: 4 * 1024 * 1024,
};
/** A line has at most 64 KiB (bufio.Scanner); each of its bytes can take six characters in JSON. */
const MAX_MESSAGE_BYTES = 1024 * 1024;
/** Characters of all messages of one connection: a few readings. */
const MAX_TOTAL = 32 * 1024 * 1024;

export interface ConsoleOptions {
  signal?: AbortSignal;
  /** Default: those of {@link LIMITS}. */
  limits?: Partial<ConsoleLimits>;
}

export interface PanelConsoles {
  /**
   * GET {url}/api/client/servers/{uuid}/websocket with the client key, then the WebSocket that it names. One request of the key's
   * budget; `throttle`: what the panel said of it, in `meta.throttle` of an error that came after it, too.
   * @throws {AppError} PANEL_* of the panel; CONSOLE_REFUSED when the daemon does not let us in (`meta.kind`: `origin`, `server`,
   * `busy`, `token`, `suspended`); CONSOLE_UNAVAILABLE when it cannot be reached, is late, or ends the connection; ADDRESS_REFUSED
   * when the panel names an address that may not be reached.
   */
  openConsole(serverUuid: string, options?: ConsoleOptions): Promise<{ console: ServerConsole; throttle: Throttle }>;
}

/** What the panel hands out. For ten minutes the token allows what the key allows with this server. */
interface Access {
  token: Secret;
  socket: URL;
}

const AccessSchema = z.object({ data: z.object({ token: z.string().min(1).max(16_384), socket: z.string() }) });

function parseAccess(body: unknown): Parsed<Access> {
  const parsed = AccessSchema.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return { ok: false, path: issue?.path.join('.') ?? '', problem: issue?.code ?? 'invalid' };
  }
  const { token, socket } = parsed.data.data;
  const url = URL.canParse(socket) ? new URL(socket) : undefined;
  const usable = url !== undefined && /^wss?:$/.test(url.protocol) && url.username === '' && url.password === '';
  return usable
    ? { ok: true, value: { token: new Secret(token), socket: url } }
    : { ok: false, path: 'data.socket', problem: 'not the address of a WebSocket' };
}

/** @param origin of the panel, which the daemon compares with its own setting. @param clientKey throws without a client key. */
export function createPanelConsoles(panel: Panel, origin: string, clientKey: () => Secret): PanelConsoles {
  return {
    async openConsole(serverUuid, { signal, limits } = {}) {
      const path = `/api/client/servers/${encodeURIComponent(serverUuid)}/websocket`;
      const { value, throttle } = await call(panel, { path, key: clientKey(), parse: parseAccess, signal });
      const about = { throttle, node: value.socket.host };
      const console = await connect(value, { origin, about, signal, limits: { ...LIMITS, ...limits } });
      return { console, throttle };
    },
  };
}

interface Connecting {
  origin: string;
  /** For the `meta` of errors. */
  about: Record<string, unknown>;
  signal: AbortSignal | undefined;
  limits: ConsoleLimits;
}

async function connect(
  { token, socket: url }: Access,
  { origin, about, signal, limits }: Connecting,
): Promise<ServerConsole> {
  const session = createSession({ limits, about, signal });
  const opening = openSocket(url, {
    headers: { origin },
    // The panel names the node, so its address is judged as one of the operator's own networks.
    guard: createAddressGuard({ policy: 'private' }),
    timeoutMs: limits.openMs,
    maxMessageBytes: MAX_MESSAGE_BYTES,
    maxTotal: MAX_TOTAL,
    signal,
    onMessage: session.hear,
    onClosed: session.closed,
  });
  const socket = await opening.catch((error: unknown) => {
    throw signal?.aborted ? error : noConnection(error, about);
  });
  try {
    return await session.open(socket, token);
  } catch (error) {
    socket.end();
    throw error;
  }
}

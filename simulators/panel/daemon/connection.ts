/**
 * One connection to the console of a server, as the daemon of its node keeps it. Rules of pterodactyl/wings:
 * router/websocket/websocket.go (HandleInbound, SendJson, SendErrorJson), router/websocket/listeners.go (what is sent live, and the
 * end of the token), router/websocket/limiter.go, and the loop of router/router_server_ws.go. Commands and power are not simulated.
 */
import { randomUUID } from 'node:crypto';
import type { RawData, WebSocket } from 'ws';
import { z } from 'zod';
import type { DaemonConsole } from './console.ts';
import { type DaemonFault, faultOf } from './faults.ts';
import { createLimiter, type Limiter } from './limiter.ts';
import type { DaemonSettings } from './settings.ts';
import { type Claims, checkClaims, NOT_PRESENT, parseToken, TokenRefusal } from './tokens.ts';

export interface ConnectionParts {
  socket: WebSocket;
  /** Uuid of the server. */
  server: string;
  console: DaemonConsole;
  secret: string;
  settings: DaemonSettings;
  faults: readonly DaemonFault[];
  /** Unix milliseconds of the daemon's start. */
  bootedAt(): number;
  suspended(): boolean;
  /** Takes one of the places for authenticated connections; false when there is none. */
  admit(): boolean;
  /** Notes what the client asked. */
  note(event: string): void;
}

/** Longer messages are passed over (router_server_ws.go); above 4,096 bytes the connection is closed (SetReadLimit). */
const MAX_MESSAGE = 32_768;
const MessageSchema = z.object({ event: z.string().default(''), args: z.array(z.string()).nullable().default([]) });

const wait = (ms: number) => new Promise<void>((resolve) => void setTimeout(resolve, ms).unref());
const turn = () => new Promise<void>((resolve) => void setImmediate(resolve));
/** Close code of a server that is suspended (router_server_ws.go). */
const SUSPENDED = 4_409;
/** Lines of a reading that are sent without a turn of others. */
const LINES_PER_TURN = 20;

/** As encoding/json of Go writes it: no empty list, `<`, `>` and `&` as escapes, a line feed at the end. */
function encode(event: string, args: readonly string[]): string {
  const text = JSON.stringify(args.length === 0 ? { event } : { event, args });
  const escaped = text.replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return `${escaped}\n`;
}

const STATS = JSON.stringify({
  memory_bytes: 0,
  memory_limit_bytes: 0,
  cpu_absolute: 0,
  network: { rx_bytes: 0, tx_bytes: 0 },
  uptime: 0,
  state: 'offline',
  disk_bytes: 0,
});

interface Link extends ConnectionParts {
  limiter: Limiter;
  /** Of the token that was accepted. */
  claims: Claims | undefined;
  /** Ends the wait for a token. */
  admitted: () => void;
}

function write({ socket }: Link, event: string, ...args: string[]): void {
  if (socket.readyState === socket.OPEN) socket.send(encode(event, args));
}

/** Why the token of the connection is not valid now; undefined: it is. */
function problem({ claims, bootedAt, server }: Link): string | undefined {
  if (claims === undefined) return NOT_PRESENT;
  try {
    checkClaims(claims, { bootedAt: bootedAt(), server });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Without a valid token nothing is sent but why it is not valid (SendJson). */
function send(link: Link, event: string, ...args: string[]): void {
  const why = problem(link);
  if (why === undefined) write(link, event, ...args);
  else write(link, 'jwt error', why);
}

/** Only administrators are shown an error that is not one of the token (SendErrorJson). */
function sendError(link: Link, error: unknown): void {
  const named = error instanceof TokenRefusal && error.jwt;
  const admin = link.claims?.permissions.includes('admin.websocket.errors') === true;
  const text = 'an unexpected error was encountered while handling this request';
  const message = error instanceof Error && (named || admin) ? error.message : text;
  write(link, named ? 'jwt error' : 'daemon error', `Error Event [${randomUUID()}]: ${message}`);
}

/** Sends each line and state that comes, and that the token ends (registerListenerEvents in listeners.go). */
function listen(link: Link): void {
  const ticker = setInterval(() => {
    const left = (link.claims?.exp ?? 0) - Math.floor(Date.now() / 1_000);
    if (left <= 0) send(link, 'token expired');
    else if (left <= 60) send(link, 'token expiring');
  }, link.settings.tickMs);
  const deaf = link.console.listen({
    line: (line) => send(link, 'console output', line),
    state: (state) => send(link, 'status', state),
  });
  link.socket.once('close', () => {
    clearInterval(ticker);
    deaf();
  });
}

/** @throws {TokenRefusal} */
function authenticate(link: Link, token: string): void {
  const given = parseToken(token, link.secret);
  checkClaims(given, { bootedAt: link.bootedAt(), server: link.server });
  const first = link.claims === undefined;
  if (first && !link.admit()) {
    setImmediate(() => link.socket.terminate());
    throw new Error('too many open websocket connections');
  }
  link.claims = given;
  write(link, 'auth success');
  if (!first) return;
  link.admitted();
  listen(link);
  send(link, 'status', link.console.state);
  if (link.console.state === 'offline') send(link, 'stats', STATS);
}

async function sendLogs(link: Link): Promise<void> {
  const { console, faults, settings, socket } = link;
  if (console.state === 'offline') return;
  if (faultOf(faults, 'unreadable') !== undefined) throw new Error('Cannot connect to the Docker daemon');
  const huge = faultOf(faults, 'huge');
  const cut = faultOf(faults, 'cut')?.after;
  const every = faultOf(faults, 'interleave')?.every;
  const lines = console.tail(settings.logCount);
  if (huge !== undefined) send(link, 'console output', 'x'.repeat(huge.bytes));
  for (const [i, line] of lines.entries()) {
    if (i === cut) break;
    send(link, 'console output', line);
    if (every !== undefined && (i + 1) % every === 0) console.generate(1);
    // Each message is handled in a goroutine of its own, so live lines come between those of a reading.
    if ((i + 1) % LINES_PER_TURN === 0) await turn();
  }
  if (cut !== undefined) socket.terminate();
}

async function handle(link: Link, event: string, args: readonly string[]): Promise<void> {
  const slow = faultOf(link.faults, 'slow')?.ms ?? 0;
  if (slow > 0) await wait(slow);
  if (link.suspended()) return link.socket.terminate();
  const { allowed, notify } = link.limiter.allow(event);
  if (notify) write(link, 'throttled', event);
  if (!allowed) return;
  if (faultOf(link.faults, 'garbage') !== undefined) for (const junk of GARBAGE) link.socket.send(junk);
  if (event === 'auth') return authenticate(link, args.join(''));
  const why = problem(link);
  if (why !== undefined) return write(link, 'jwt error', why);
  if (event === 'send logs') await sendLogs(link);
  else if (event === 'send stats') send(link, 'stats', STATS);
}

function receive(link: Link, data: RawData, binary: boolean): void {
  const { allowed, notify } = link.limiter.allowMessage();
  if (notify) write(link, 'throttled', 'global');
  const text = String(data);
  if (!allowed || binary || text.length > MAX_MESSAGE) return;
  let message: z.infer<typeof MessageSchema>;
  try {
    message = MessageSchema.parse(JSON.parse(text));
  } catch {
    return;
  }
  link.note(message.event);
  if (faultOf(link.faults, 'mute') !== undefined) return;
  handle(link, message.event, message.args ?? []).catch((error: unknown) => sendError(link, error));
}

/** Serves the connection until it ends. */
export function serveConnection(parts: ConnectionParts): void {
  const { socket, settings, faults } = parts;
  const timer = setTimeout(() => socket.terminate(), settings.authTimeoutMs);
  const admitted = () => clearTimeout(timer);
  const link: Link = { ...parts, limiter: createLimiter(), claims: undefined, admitted };
  socket.once('close', admitted);
  socket.on('error', () => socket.terminate());
  const close = parts.suspended() ? SUSPENDED : faultOf(faults, 'close')?.code;
  if (close === undefined) socket.on('message', (data, binary) => receive(link, data, binary));
  else socket.close(close, close === SUSPENDED ? 'server is suspended' : '');
}

/** Messages that no daemon sends. */
const GARBAGE: readonly (string | Buffer)[] = [
  'no JSON',
  '',
  'null',
  '[]',
  '42',
  '{"event":7}',
  '{"args":["console output"]}',
  '{"event":"console output","args":"text"',
  '{"event":"constructor","args":[{}]}',
  Buffer.from('{"event":"console output","args":["binary"]}'),
];

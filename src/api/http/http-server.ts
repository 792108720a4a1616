/** The HTTP server around the app: limits and timeouts of its connections, and how the server ends. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type Koa from 'koa';
import { ERRORS, type ErrorCode } from '../../domain/errors.ts';
import { networkAround } from '../../services/accounts/networks.ts';

/** Maximum number of bytes of request headers. */
const HEADER_LIMIT_BYTES = 16 * 1024;
/** Milliseconds that a caller has to send a request (contract: read timeout). */
const REQUEST_TIMEOUT_MS = 30_000;
/** Milliseconds for which an idle connection is kept (contract: idle timeout). */
const IDLE_TIMEOUT_MS = 120_000;

/** Limits of connections. A test sets shorter ones. */
export interface ConnectionLimits {
  /** Maximum number of open connections; default: any. */
  maxConnections?: number;
  /** Maximum number of open connections of one address, or one /56 of IPv6; default: any. */
  maxOfClient?: number;
  /**
   * Milliseconds in which a connection that is in use must make progress: an answer that its caller does not read ends its
   * connection. Event streams write more often than that. Node looks twice before it ends a connection
   * that has data to write, so it takes at most double the time. Default 60 s.
   */
  stallMs?: number;
  /** Milliseconds for a whole answer, however slowly it is read; an event stream and a file have no such limit. Default 5 minutes. */
  answerMs?: number;
}

const STALL_TIMEOUT_MS = 60_000;
const ANSWER_TIMEOUT_MS = 5 * 60_000;

/** Makes a server; the caller lets it listen. */
export function createHttpServer(app: Koa, limits: ConnectionLimits = {}): Server {
  const handle = app.callback();
  const answerMs = limits.answerMs ?? ANSWER_TIMEOUT_MS;
  const server = createServer(
    {
      maxHeaderSize: HEADER_LIMIT_BYTES,
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
    },
    (request, response) => {
      const late = setTimeout(() => cutUnlessStream(request.socket, response), answerMs).unref();
      response.once('close', () => clearTimeout(late));
      if (isReadableTarget(request.url ?? '')) return handle(request, response);
      const { status, body } = refusal('BAD_REQUEST');
      response
        .writeHead(status, { 'Content-Type': JSON_TYPE, 'Cache-Control': 'no-store', Connection: 'close' })
        .end(body);
    },
  );
  server.on('clientError', refuse);
  limitConnections(server, limits);
  return server;
}

function cutUnlessStream(socket: Socket, response: ServerResponse): void {
  const isEvents = String(response.getHeader('Content-Type')).startsWith('text/event-stream');
  const isFile = String(response.getHeader('Content-Disposition')).startsWith('attachment');
  if (!isEvents && !isFile) socket.destroy();
}

/** Holds the connections to the limits: a stranger can open them faster than they time out. */
function limitConnections(server: Server, limits: ConnectionLimits): void {
  const { maxConnections = Number.POSITIVE_INFINITY, maxOfClient = maxConnections } = limits;
  // Node closes a connection on which nothing was read or written for so long.
  server.timeout = limits.stallMs ?? STALL_TIMEOUT_MS;
  server.maxConnections = maxConnections;
  // Connections that are only kept for a later request make room for the next callers.
  server.on('drop', () => server.closeIdleConnections());
  const open = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const client = networkAround(socket.remoteAddress ?? '', 56);
    const count = (open.get(client) ?? 0) + 1;
    open.set(client, count);
    socket.once('close', () => {
      const left = (open.get(client) ?? 1) - 1;
      if (left > 0) open.set(client, left);
      else open.delete(client);
    });
    if (count > maxOfClient) socket.destroy();
  });
}

const JSON_TYPE = 'application/json; charset=utf-8';

/** Status and body of a request that is refused before the app. */
function refusal(code: ErrorCode): { status: number; title: string; body: string } {
  const { status, title } = ERRORS[code];
  return { status, title, body: JSON.stringify({ success: false, error: title, code }) };
}

/** Whether Koa can parse the request's target: a path, or a full URL (RFC 9112, section 3.2.2). */
const isReadableTarget = (target: string): boolean => target.startsWith('/') || URL.canParse(target, 'http://host');

/** Answers a request that Node could not parse, which never reaches the app, in the same form. */
function refuse(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const { status, title, body } = refusal(error.code === 'HPE_HEADER_OVERFLOW' ? 'HEADERS_TOO_LARGE' : 'BAD_REQUEST');
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\nContent-Type: ${JSON_TYPE}\r\nCache-Control: no-store\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

/** Accepts no new connection, gives running requests `graceMs` milliseconds to finish, then closes the remaining ones. */
export async function drainServer(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  server.closeIdleConnections();
  // Without this, a connection whose request has just ended would stay open for its idle timeout.
  const sweep = setInterval(() => server.closeIdleConnections(), 100);
  const cut = setTimeout(() => server.closeAllConnections(), graceMs);
  try {
    await closed;
  } finally {
    clearInterval(sweep);
    clearTimeout(cut);
  }
}

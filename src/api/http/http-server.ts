/** The HTTP server around the app: limits and timeouts of the socket, and how the server ends. */
import { createServer, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type Koa from 'koa';
import { ERRORS, type ErrorCode } from '../../domain/errors.ts';

/** Maximum number of bytes of request headers. */
const HEADER_LIMIT_BYTES = 16 * 1024;
/** Milliseconds that a caller has to send a request (contract: read timeout). Answers, and so streams, have no limit. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Milliseconds for which an idle connection is kept (contract: idle timeout). */
const IDLE_TIMEOUT_MS = 120_000;

/** Makes a server; the caller lets it listen. */
export function createHttpServer(app: Koa): Server {
  const handle = app.callback();
  const server = createServer(
    {
      maxHeaderSize: HEADER_LIMIT_BYTES,
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
    },
    (request, response) => {
      if (isReadableTarget(request.url ?? '')) return handle(request, response);
      const { status, body } = refusal('BAD_REQUEST');
      response
        .writeHead(status, { 'Content-Type': JSON_TYPE, 'Cache-Control': 'no-store', Connection: 'close' })
        .end(body);
    },
  );
  server.on('clientError', refuse);
  return server;
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

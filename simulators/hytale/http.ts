/** The HTTP servers of the simulated hosts. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { handleAdmin } from './admin.ts';
import type { ApiAnswer } from './answer.ts';
import { type Arrived, answerCall, type Outcome, type Role } from './calls.ts';
import type { HytaleSimulator } from './contract.ts';
import { pageOf } from './pages.ts';
import type { HytaleState } from './state.ts';

const MAX_BODY_BYTES = 64 * 1024;

/** The server of one host; it does not listen yet. */
export function createHost(state: HytaleState, simulator: HytaleSimulator, role: Role): Server {
  return createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
    handle(state, simulator, role, request, response).catch(() => {
      if (response.headersSent || response.destroyed) return;
      write(state, response, { status: 500, text: { type: 'text/plain', body: 'internal server error' } });
    });
  });
}

/** Begins to listen. @returns the port. */
export async function listen(server: Server, port: number, host: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Closes a server and its connections, also hanging ones. */
export const closeServer = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

async function handle(
  state: HytaleState,
  simulator: HytaleSimulator,
  role: Role,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', state.hosts[role]);
  const body = await readBody(request);
  if (body === undefined) {
    write(state, response, { status: 413, text: { type: 'text/plain', body: 'body too large' } });
    return;
  }
  const method = request.method ?? 'GET';
  if (url.pathname.startsWith('/__sim/')) {
    write(state, response, await handleAdmin(simulator, method, url, body));
    return;
  }
  const page = role === 'oauth' ? pageOf(simulator, method, url, body) : undefined;
  if (page !== undefined) {
    response.writeHead(page.status, page.headers).end(page.body);
    return;
  }
  const { authorization, 'content-type': contentType = '', 'user-agent': userAgent = null } = request.headers;
  const arrived: Arrived = {
    role,
    method,
    path: url.pathname,
    userAgent,
    authorization,
    contentType,
    body,
  };
  await finish(state, request, response, await answerCall(state, arrived));
}

/** Sends what became of a request, and notes in the log and in the book of refresh tokens what left. */
async function finish(
  state: HytaleState,
  request: IncomingMessage,
  response: ServerResponse,
  { answer, ending, waitMs, entry, spent }: Outcome,
): Promise<void> {
  entry.error = answer.error ?? entry.error;
  if (waitMs > 0) await delay(waitMs, undefined, { ref: false });
  if (ending === 'cut') request.socket.resetAndDestroy();
  else if (ending !== 'silence' && !response.destroyed) {
    entry.status = answer.status;
    if (spent !== undefined) {
      // Only of a whole answer.
      response.once('finish', () => {
        spent.facts.answered = true;
      });
    }
    write(state, response, answer, ending);
  }
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    size += chunk.length;
    if (size > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Writes an answer: whole, or half of its body and then the end of the connection. */
function write(
  state: HytaleState,
  response: ServerResponse,
  { status, headers = {}, json, text }: ApiAnswer,
  ending: 'whole' | 'half' = 'whole',
): void {
  const bytes = Buffer.from(json === undefined ? (text?.body ?? '') : JSON.stringify(json), 'utf8');
  const type = json === undefined ? text?.type : 'application/json';
  response.writeHead(status, {
    ...(type === undefined ? {} : { 'content-type': type }),
    ...(status === 204 ? {} : { 'content-length': bytes.length }),
    date: new Date(state.now()).toUTCString(),
    ...headers,
  });
  if (ending === 'half') response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
  else response.end(bytes);
}

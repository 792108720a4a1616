/** Connections of the HTTP server: answers that are not read, streams, and how many may be open. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import Koa from 'koa';
import { afterEach, expect, test } from 'vitest';
import { type ConnectionLimits, createHttpServer } from '../../../src/api/http/http-server.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** More than the buffers of two sockets hold. */
const LARGE = Buffer.alloc(64 * 1024 * 1024, 'x');

/** Serves a large answer, a stream that writes every 20 ms, and an empty one. */
async function serve(limits: ConnectionLimits): Promise<Server> {
  const app = new Koa();
  app.silent = true;
  app.use((ctx) => {
    if (ctx.path === '/large') ctx.body = LARGE;
    else if (ctx.path === '/stream') {
      const out = new PassThrough();
      const ping = setInterval(() => out.write(': ping\n\n'), 20);
      out.on('close', () => clearInterval(ping));
      ctx.type = 'text/event-stream';
      ctx.body = out;
    } else ctx.body = '{}';
  });
  const server = createHttpServer(app, limits);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return server;
}

async function open(server: Server): Promise<Socket> {
  const { port } = server.address() as AddressInfo;
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  cleanups.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}
const request = (socket: Socket, path: string) => socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
/** Resolves when the server has closed its side of a connection, which a caller that does not read cannot see. */
const closedByServer = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.once('connection', (socket: Socket) => socket.once('close', () => resolve()));
  });

test('an answer that its caller does not read ends the connection (S13)', async () => {
  const server = await serve({ stallMs: 200 });
  const closed = closedByServer(server);
  const caller = await open(server);
  caller.pause();
  for (let i = 0; i < 5; i += 1) request(caller, '/large');
  await closed;
});

test('an answer that is read too slowly ends the connection (S13)', async () => {
  const server = await serve({ stallMs: 2000, answerMs: 400 });
  const closed = closedByServer(server);
  const caller = await open(server);
  caller.pause();
  request(caller, '/large');
  const reading = setInterval(() => caller.read(1024), 20);
  cleanups.push(() => clearInterval(reading));
  await closed;
});

test('an event stream that is read outlasts both limits', async () => {
  const server = await serve({ stallMs: 150, answerMs: 150 });
  const caller = await open(server);
  request(caller, '/stream');
  let text = '';
  for await (const chunk of caller) {
    text += String(chunk);
    // At one comment in 20 ms, three times the limits.
    if (text.split(': ping').length > 23) break;
  }
  expect(text).toContain('text/event-stream');
  expect(text.split(': ping').length).toBeGreaterThan(23);
});

test('further connections of one client are refused, and taken again when one has ended (S13)', async () => {
  const server = await serve({ maxOfClient: 2 });
  const [first, second] = [await open(server), await open(server)];
  const refused = await open(server);
  if (!refused.closed) await once(refused, 'close');
  request(second, '/');
  expect(String((await once(second, 'data'))[0])).toContain('200 OK');
  const ended = new Promise((resolve) => server.getConnections((_, count) => resolve(count)));
  expect(await ended).toBe(2);
  first.destroy();
  await expect.poll(() => new Promise((resolve) => server.getConnections((_, n) => resolve(n)))).toBe(1);
  const next = await open(server);
  request(next, '/');
  expect(String((await once(next, 'data'))[0])).toContain('200 OK');
});

test('at the maximum a connection that is only kept makes room (S13)', async () => {
  const server = await serve({ maxConnections: 2 });
  const [kept, waiting] = [await open(server), await open(server)];
  request(kept, '/');
  expect(String((await once(kept, 'data'))[0])).toContain('200 OK');
  const refused = await open(server);
  if (!refused.closed) await once(refused, 'close');
  if (!kept.closed) await once(kept, 'close');
  const next = await open(server);
  request(next, '/');
  expect(String((await once(next, 'data'))[0])).toContain('200 OK');
  expect(waiting.closed).toBe(false);
});

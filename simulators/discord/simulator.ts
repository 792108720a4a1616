/**
 * A simulated Discord that posts nothing anywhere: the API of incoming webhooks on a real HTTP server, with its limits,
 * errors and oddities, with faults on demand, and with a page that shows what arrived.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { handleAdmin } from './admin.ts';
import type { ApiAnswer } from './answer.ts';
import { type ApiParts, answerApi } from './api.ts';
import type { DiscordLimits, DiscordSimulator, DiscordSimulatorOptions } from './contract.ts';
import { createLimits, DOCUMENTED_LIMITS, type Limits } from './limits.ts';
import { pageOf } from './pages.ts';
import { isApiPath } from './routes.ts';
import { createDiscordState, type DiscordState } from './state.ts';

export type { DiscordSimulator, DiscordSimulatorOptions, SimulatedWebhook } from './contract.ts';

/** Starts the simulator; it listens when the promise resolves. */
export async function startDiscordSimulator(options: DiscordSimulatorOptions = {}): Promise<DiscordSimulator> {
  const host = options.host ?? '127.0.0.1';
  const chosen: DiscordLimits = { ...DOCUMENTED_LIMITS, ...options.limits };
  const state = createDiscordState();
  const limits = createLimits(chosen, options.timeScale ?? 1);
  const parts: ApiParts = { state, limits, latencyMs: options.latencyMs ?? 0, banAnswer: { kind: 'ban-json' } };
  const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
    handle(simulator, parts, request, response).catch(() => {
      if (response.headersSent || response.destroyed) return;
      write(response, { status: 500, json: { message: '500: Internal Server Error', code: 0 } });
    });
  });
  const port = await listen(server, options.port ?? 0, host);
  const simulator = createControls(parts, server, `${host}:${port}`);
  return simulator;
}

function createControls(parts: ApiParts, server: Server, address: string): DiscordSimulator {
  const { state, limits }: { state: DiscordState; limits: Limits } = parts;
  const url = `http://${address}`;
  return {
    url,
    host: address,
    createWebhook: (webhook = {}) => state.addWebhook(webhook, url),
    createThread: (channelId, name = 'Thread') => state.addChannel(name, { parentId: channelId }),
    webhooks: () => [...state.webhooks.values()],
    change: (id, settings) => state.change(id, settings),
    fault: (fault, target = {}) => state.addFault(fault, target),
    clearFaults: () => state.clearFaults(),
    ban(ms, fault = { kind: 'ban-json' }) {
      limits.bannedUntil = Date.now() + ms;
      parts.banAnswer = fault;
    },
    channels: () => [...state.channels.values()],
    messages: ({ webhook, channel } = {}) =>
      [...state.messages.values()].filter(
        ({ webhookId, channelId }) =>
          (webhook === undefined || webhookId === webhook) && (channel === undefined || channelId === channel),
      ),
    requests: (webhook) => state.requests.filter(({ webhookId }) => webhook === undefined || webhookId === webhook),
    counts: () => ({ ...structuredClone(state.counts), most: limits.most() }),
    clear() {
      state.clear();
      limits.clear();
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** @returns the port. */
async function listen(server: Server, port: number, host: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function handle(
  simulator: DiscordSimulator,
  parts: ApiParts,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', simulator.url);
  const method = request.method ?? 'GET';
  if (isApiPath(url.pathname)) {
    const { answer, ending, waitMs } = await answerApi(parts, request, url);
    if (waitMs > 0) await delay(waitMs, undefined, { ref: false });
    if (ending === 'cut') request.socket.resetAndDestroy();
    else if (ending !== 'silence' && !response.destroyed) write(response, answer, ending === 'half');
  } else if (url.pathname.startsWith('/__sim/')) {
    const chunks: Buffer[] = await request.toArray();
    write(response, handleAdmin(simulator, method, url, Buffer.concat(chunks).toString('utf8')));
  } else {
    const { status, headers, body } = pageOf(simulator, method, url.pathname);
    response.writeHead(status, headers).end(body);
  }
}

/** @param half sends half of the body, then ends the connection. */
function write(response: ServerResponse, { status, headers = {}, json, text }: ApiAnswer, half = false): void {
  const body = json === undefined ? text?.body : JSON.stringify(json);
  if (body === undefined) {
    response.writeHead(status, headers).end();
    return;
  }
  const bytes = Buffer.from(body, 'utf8');
  const type = json === undefined ? (text?.type ?? '') : 'application/json';
  response.writeHead(status, { 'content-type': type, 'content-length': bytes.length, ...headers });
  if (half) response.write(bytes.subarray(0, Math.floor(bytes.length / 2)), () => response.destroy());
  else response.end(bytes);
}

/** The HTTP server of the simulator: reads requests, logs them, runs hooks and faults, writes answers. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { refuseUnnamed } from '../../support/firewall.ts';
import type { BeforeHook, LoggedRequest } from '../contract.ts';
import { PanelHttpError, panelError, serverError } from './answer.ts';
import { gatewayAnswer, passedOn } from './between.ts';
import type { Faults } from './faults.ts';
import { pageOf, perPageOf } from './paging.ts';
import { type Outcome, type ResponderParts, respond } from './respond.ts';

const MAX_BODY_BYTES = 1024 * 1024;

/** The log of one simulator, its hooks and its counters. */
export interface Traffic {
  requests: LoggedRequest[];
  hooks: BeforeHook[];
  /** Number of requests so far. */
  received: number;
  inFlight: number;
  /** Highest `inFlight` since the last reset of the log. */
  peakInFlight: number;
}

export interface ServerParts {
  responder: ResponderParts;
  faults: Faults;
  traffic: Traffic;
  /** Answers `/__sim/*`. */
  admin(method: string, url: URL, bodyText: string): { status: number; body: unknown };
}

/** A log without requests and hooks. */
export const createTraffic = (): Traffic => ({ requests: [], hooks: [], received: 0, inFlight: 0, peakInFlight: 0 });

export function clearLog(traffic: Traffic): void {
  traffic.requests.length = 0;
  traffic.peakInFlight = traffic.inFlight;
}

/** The body as text. @throws {PanelHttpError} 413 above the limit. */
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

/** Sends an answer. `cut`: ends the connection after half of the body. */
function write(response: ServerResponse, outcome: Outcome, cut = false): void {
  const bytes = typeof outcome.body === 'string' ? Buffer.from(outcome.body, 'utf8') : outcome.body;
  const headers: Record<string, string> = { ...outcome.headers };
  if (outcome.status !== 204) headers['content-length'] = String(bytes.length);
  response.writeHead(outcome.status, headers);
  if (cut) response.write(bytes.subarray(0, Math.floor(bytes.length / 2)), () => response.destroy());
  else response.end(bytes);
}

const jsonOutcome = (status: number, body: unknown): Outcome => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

/** Counts a request until its response is closed and adds it to the log. */
function logRequest(traffic: Traffic, method: string, url: URL, response: ServerResponse): LoggedRequest {
  traffic.received += 1;
  traffic.inFlight += 1;
  traffic.peakInFlight = Math.max(traffic.peakInFlight, traffic.inFlight);
  response.once('close', () => {
    traffic.inFlight -= 1;
  });
  const entry: LoggedRequest = {
    at: Date.now(),
    n: traffic.received,
    method,
    path: url.pathname,
    query: url.search,
    status: 0,
    remaining: undefined,
    key: undefined,
  };
  traffic.requests.push(entry);
  return entry;
}

async function handleApi(
  { responder, faults, traffic }: ServerParts,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  bodyText: string,
): Promise<void> {
  const method = request.method ?? 'GET';
  const path = url.pathname;
  const page = pageOf(url.searchParams);
  const entry = logRequest(traffic, method, url, response);
  for (const hook of [...traffic.hooks])
    await hook({ method, path, query: url.searchParams, page, n: entry.n }, entry.n);
  const actions = faults.take({ method, path, query: url.search, page, perPage: perPageOf(url.searchParams) });
  const kinds = new Set(actions.map((action) => action.kind));
  if (kinds.has('hang')) return;
  if (kinds.has('reset')) {
    request.socket.resetAndDestroy();
    return;
  }
  const before = refuseUnnamed(request) ?? gatewayAnswer(actions);
  const outcome: Outcome = before ?? passedOn(actions, respond(responder, { request, url, bodyText, actions, entry }));
  entry.status = outcome.status;
  let wait = responder.settings.latencyMs;
  for (const action of actions) if (action.kind === 'slow') wait += action.ms;
  if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait).unref());
  if (!response.destroyed) write(response, outcome, kinds.has('truncate'));
}

async function handle(parts: ServerParts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://panel.invalid');
  const bodyText = await readBody(request);
  if (url.pathname.startsWith('/__sim/')) {
    const { status, body } = parts.admin(request.method ?? 'GET', url, bodyText);
    write(response, jsonOutcome(status, body));
    return;
  }
  await handleApi(parts, request, response, url, bodyText);
}

/** A server that does not listen yet. */
export const createPanelServer = (parts: ServerParts): Server =>
  createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
    handle(parts, request, response).catch((error: unknown) => {
      if (response.headersSent || response.destroyed) return;
      const known = error instanceof PanelHttpError ? error : serverError('Exception');
      write(response, jsonOutcome(known.status, { errors: known.errors }));
    });
  });

/**
 * A simulated email provider that delivers no email: Resend's `POST /emails` on a real HTTP server, SMTP if a test asks
 * for it, faults on demand, and a page that shows the accepted emails.
 */

import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { refuseUnnamed } from '../support/firewall.ts';
import { handleAdmin } from './admin.ts';
import type { EmailCatcher, EmailCatcherOptions, HttpFault } from './contract.ts';
import { emailPage, htmlPart, listPage, missingPage, type Page } from './pages.ts';
import {
  type ApiAccount,
  type ApiAnswer,
  apiError,
  checkKey,
  createRateLimit,
  listDomains,
  sendEmail,
} from './resend-api.ts';
import { startSmtpCatcher } from './smtp.ts';
import { createEmailState, type EmailState } from './state.ts';

export type { EmailCatcher, EmailCatcherOptions } from './contract.ts';

const MAX_BODY_BYTES = 4 * 1024 * 1024;
/** Requests in one second (resend.com/docs/api-reference/rate-limit). */
const DOCUMENTED_RATE = 5;

/** What the handlers of one catcher share. */
interface Handling {
  catcher: EmailCatcher;
  state: EmailState;
  account: ApiAccount;
  count: ReturnType<typeof createRateLimit>;
  /** The time between a request and its acceptance. */
  wait: () => Promise<void>;
}

/** Starts the catcher; it listens when the promise resolves. */
export async function startEmailCatcher(options: EmailCatcherOptions = {}): Promise<EmailCatcher> {
  const host = options.host ?? '127.0.0.1';
  const apiKey = options.apiKey ?? `re_${randomBytes(18).toString('hex')}`;
  const latencyMs = options.latencyMs ?? 0;
  const state = createEmailState();
  const account = { apiKey, sendingOnly: options.sendingOnly ?? false, domains: options.domains };
  const count = createRateLimit(options.requestsPerSecond ?? DOCUMENTED_RATE);
  const wait = async () => {
    if (latencyMs > 0) await delay(latencyMs, undefined, { ref: false });
  };
  const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
    handle({ catcher, state, account, count, wait }, request, response).catch(() => {
      if (response.headersSent || response.destroyed) return;
      writeJson(response, apiError(500, 'An unexpected error occurred.'));
    });
  });
  const smtp =
    options.smtpPort === undefined
      ? undefined
      : await startSmtpCatcher(state, {
          host,
          port: options.smtpPort,
          apiKey,
          wait,
          withoutLogin: options.smtpWithoutLogin ?? false,
          utf8: options.smtpUtf8 ?? false,
        });
  const port = await listen(server, options.port ?? 0, host).catch(async (error: unknown) => {
    await smtp?.close();
    throw error;
  });
  const catcher: EmailCatcher = {
    url: `http://${host}:${port}`,
    smtpUrl: smtp?.url ?? null,
    apiKey,
    emails: () => [...state.emails.values()],
    fault: (fault, times = 1) => state.addFault(fault, times),
    clear: () => state.clear(),
    async close() {
      await smtp?.close();
      await closeServer(server);
    },
  };
  return catcher;
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

const closeServer = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

async function handle(handling: Handling, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { catcher, state } = handling;
  const method = request.method ?? 'GET';
  const path = new URL(request.url ?? '/', 'http://email.invalid').pathname;
  const body = await readBody(request);
  if (body === undefined) writeJson(response, apiError(413, 'The request is too large.'));
  else if (path.startsWith('/__sim/')) {
    writeJson(response, handleAdmin(catcher, state.clearFaults, { method, path, body }));
  } else if (path === '/emails' || path === '/domains') {
    await handleApi(handling, request, response, { method, path, body });
  } else if (method === 'GET' && (path === '/' || path.startsWith('/mails/'))) {
    writePage(response, pageOf(handling, path));
  } else writeJson(response, apiError(404, 'The requested endpoint does not exist.'));
}

/** A route of the API: only requests with a name pass, and only a few in a second. */
async function handleApi(
  handling: Handling,
  request: IncomingMessage,
  response: ServerResponse,
  call: { method: string; path: string; body: string },
): Promise<void> {
  const unnamed = refuseUnnamed(request);
  if (unnamed !== undefined) {
    response.writeHead(unnamed.status, unnamed.headers).end(unnamed.body);
    return;
  }
  const { headers, refused } = handling.count();
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  const { method, path, body } = call;
  if (refused !== undefined) writeJson(response, refused);
  else if (method === 'POST' && path === '/emails') await handleSend(handling, request, response, body);
  else if (method === 'GET' && path === '/domains') {
    const { account } = handling;
    writeJson(response, checkKey(request.headers.authorization, account, 'other') ?? listDomains(account));
  } else writeJson(response, apiError(405, 'Method is not allowed for the requested path.'));
}

/** `POST /emails`, with the next fault. */
async function handleSend(
  { state, account, wait }: Handling,
  request: IncomingMessage,
  response: ServerResponse,
  body: string,
): Promise<void> {
  const fault = state.takeHttpFault();
  if (fault?.kind === 'hang') return;
  if (fault?.kind === 'reset') {
    request.socket.resetAndDestroy();
    return;
  }
  if (fault?.kind === 'status') {
    writeJson(response, faultAnswer(fault));
    return;
  }
  if (fault?.kind === 'page') {
    writeHtml(response, fault.status);
    return;
  }
  const header = request.headers['idempotency-key'];
  const key = Array.isArray(header) ? header[0] : header;
  const answer =
    checkKey(request.headers.authorization, account, 'send') ??
    (await sendEmail(state, { body, idempotencyKey: key, domains: account.domains }, wait));
  if (fault?.kind === 'accept-hang' || response.destroyed) return;
  if (fault?.kind === 'accept-reset') request.socket.resetAndDestroy();
  else if (fault?.kind === 'html') writeHtml(response, 200);
  else writeJson(response, answer, fault?.kind === 'truncate');
}

/** A page of something in between: a proxy, a firewall. */
function writeHtml(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'content-type': 'text/html' });
  response.end('<!doctype html><title>A page</title>');
}

function faultAnswer(fault: Extract<HttpFault, { kind: 'status' }>): ApiAnswer {
  const answer = apiError(fault.status, fault.message ?? 'As the fault says.', fault.name);
  const headers = fault.retryAfter === undefined ? {} : { 'retry-after': String(fault.retryAfter) };
  return { ...answer, headers };
}

/** The list, `/mails/<id>` or `/mails/<id>/html`; undefined if the page does not exist. */
function pageOf({ catcher, state }: Handling, path: string): Page | undefined {
  if (path === '/') return listPage(catcher.emails(), catcher.smtpUrl !== null);
  const [, id = '', part] = /^\/mails\/([^/]+)(\/html)?$/.exec(path) ?? [];
  const email = state.emails.get(id);
  if (email === undefined || part === undefined) return email && emailPage(email);
  return email.html === null ? undefined : htmlPart(email.html);
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

function writePage(response: ServerResponse, page: Page | undefined): void {
  const { headers, body } = page ?? missingPage();
  response.writeHead(page === undefined ? 404 : 200, headers);
  response.end(body);
}

/** @param cut sends half of the body, then closes the connection. */
function writeJson(response: ServerResponse, { status, headers = {}, body }: ApiAnswer, cut = false): void {
  const bytes = Buffer.from(JSON.stringify(body), 'utf8');
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length, ...headers });
  if (cut) response.write(bytes.subarray(0, Math.floor(bytes.length / 2)), () => response.destroy());
  else response.end(bytes);
}

/** From a request to its answer: routes, keys, throttle, faults, and the panel's error bodies. */
import type { IncomingMessage } from 'node:http';
import { inspect } from 'node:util';
import { APPLICATION_ROUTES } from '../api/application-api.ts';
import { CLIENT_ROUTES } from '../api/client-api.ts';
import { PanelBug } from '../api/kinds.ts';
import type { Serializer } from '../api/serialize.ts';
import type { LoggedRequest, SimulatorSettings } from '../contract.ts';
import type { Daemon } from '../daemon/daemon.ts';
import type { WorldStore } from '../world/world.ts';
import type { Api, ApiKey, Hit, KeyRing, Throttler } from './access.ts';
import {
  findRoute,
  forbidden,
  notFound,
  type PanelAnswer,
  PanelHttpError,
  type PanelRoute,
  type PowerSignal,
  panelError,
  serverError,
  unauthenticated,
} from './answer.ts';
import { type FaultAction, tweaksOf } from './faults.ts';

/** An HTML page, sent where a client expects JSON. */
export const HTML =
  '<!DOCTYPE html>\n<html>\n    <head><title>Panel</title></head>\n    <body>Something went wrong.</body>\n</html>';
const redirectPage = (to: string) =>
  `<!DOCTYPE html>\n<html>\n    <head>\n        <meta charset="UTF-8" />\n        <meta http-equiv="refresh" content="0;url='${to}'" />\n\n        <title>Redirecting to ${to}</title>\n    </head>\n    <body>\n        Redirecting to <a href="${to}">${to}</a>.\n    </body>\n</html>`;

const throttleHeaders = (hit: Hit | undefined): Record<string, string> =>
  hit === undefined ? {} : { 'x-ratelimit-limit': String(hit.limit), 'x-ratelimit-remaining': String(hit.remaining) };

function tooMany(limit: number | undefined, seconds: number, reset: number): PanelHttpError {
  return panelError(429, 'ThrottleRequestsException', 'Too Many Attempts.', {
    ...(limit === undefined ? {} : { 'x-ratelimit-limit': String(limit), 'x-ratelimit-remaining': '0' }),
    'retry-after': String(seconds),
    'x-ratelimit-reset': String(reset),
  });
}

function faultError(action: Extract<FaultAction, { kind: 'status' }>, limit: number): PanelHttpError {
  const { status, retryAfter } = action;
  const extra: Record<string, string> = retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) };
  switch (status) {
    case 401:
      return unauthenticated();
    case 403:
      return forbidden();
    case 404:
      return notFound();
    case 429:
      return tooMany(
        limit === 0 ? undefined : limit,
        retryAfter ?? 1,
        Math.ceil(Date.now() / 1_000) + (retryAfter ?? 1),
      );
    case 500:
      return serverError('ErrorException');
    case 503:
      return panelError(503, 'HttpException', 'Service Unavailable', extra);
    default:
      return panelError(
        status,
        'DaemonConnectionException',
        'Could not establish a connection to the machine running this server. Please try again.',
        extra,
      );
  }
}

/** Status, headers and body of one answer. */
export interface Outcome {
  status: number;
  headers: Record<string, string>;
  body: string | Buffer;
}

export interface ResponderParts {
  settings: SimulatorSettings;
  store: WorldStore;
  serializer: Serializer;
  ring: KeyRing;
  throttler: Throttler;
  powerLog: PowerSignal[];
  daemon: Daemon;
}

/** One received request, its faults and its log entry. */
export interface ReceivedRequest {
  request: IncomingMessage;
  url: URL;
  bodyText: string;
  actions: FaultAction[];
  entry: LoggedRequest;
}

const COMMON_HEADERS = { 'cache-control': 'no-cache, private' };

const success = (answer: PanelAnswer, hit: Hit | undefined): Outcome => ({
  status: answer.status ?? 200,
  headers: {
    ...COMMON_HEADERS,
    ...(answer.body === undefined ? {} : { 'content-type': 'application/json' }),
    ...throttleHeaders(hit),
  },
  body: answer.body ?? '',
});

function failure(error: unknown, wantsJson: boolean, origin: string, hit: Hit | undefined): Outcome {
  const known =
    error instanceof PanelHttpError
      ? error
      : error instanceof URIError
        ? notFound()
        : serverError(error instanceof PanelBug ? error.message : 'Exception');
  // neither a refusal nor a bug of the panel: the simulator itself has a bug
  if (known.errors[0]?.code === 'Exception') process.stderr.write(`panel simulator: ${inspect(error)}\n`);
  // the panel decides on 401 and 503 before it counts the request
  const counted = known.status === 401 || known.status === 503 ? {} : throttleHeaders(hit);
  const headers = { ...COMMON_HEADERS, ...counted, ...known.headers };
  if (wantsJson) {
    const body = JSON.stringify({ errors: known.errors });
    return { status: known.status, headers: { ...headers, 'content-type': 'application/json' }, body };
  }
  const html = { ...headers, 'content-type': 'text/html; charset=utf-8' };
  if (known.status !== 401) return { status: known.status, headers: html, body: HTML };
  const location = `${origin}/auth/login`;
  return { status: 302, headers: { ...html, location }, body: redirectPage(location) };
}

function checkMaintenance({ maintenance }: SimulatorSettings): void {
  if (maintenance === undefined) return;
  const { retryAfter } = maintenance;
  throw faultError({ kind: 'status', status: 503, ...(retryAfter === undefined ? {} : { retryAfter }) }, 0);
}

function routeOf(method: string, path: string): { api: Api; route: PanelRoute; params: string[] } {
  const matched = /^\/api\/(application|client)(\/.*)?$/.exec(path);
  if (matched === null) throw notFound();
  const api: Api = matched[1] === 'client' ? 'client' : 'application';
  const found = findRoute(api === 'client' ? CLIENT_ROUTES : APPLICATION_ROUTES, method, matched[2] ?? '');
  if (found === 'not-found') throw notFound();
  if (found === 'method') {
    throw panelError(405, 'MethodNotAllowedHttpException', `The ${method} method is not supported for this route.`);
  }
  return { api, ...found };
}

function parseBody(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    throw panelError(400, 'BadRequestHttpException', 'The JSON data passed in the request appears to be malformed.');
  }
}

/** The key of the request; its label goes to the log entry. */
function authenticate(ring: KeyRing, request: IncomingMessage, entry: LoggedRequest): ApiKey {
  const key = ring.find(request.headers.authorization);
  entry.key = key?.label;
  if (key === undefined || key.expired) throw unauthenticated();
  if (key.locked) {
    const address = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
    throw forbidden(`This IP address (${address}) does not have permission to access the API using these credentials.`);
  }
  return key;
}

function checkOwner({ settings, store }: ResponderParts, api: Api, key: ApiKey): void {
  if (settings.twoFactor) {
    const detail = 'Two-factor authentication is required for this account in order to access this endpoint.';
    throw panelError(400, 'TwoFactorAuthRequiredException', detail);
  }
  if (api === 'client' && key.kind === 'application') {
    throw forbidden('You are attempting to use an application API key on an endpoint that requires a client API key.');
  }
  if (api === 'application' && store.world.users.get(key.userId)?.root_admin !== true) {
    throw forbidden('This account does not have permission to access the API.');
  }
}

/** The answer of the API with its throttle headers. Sets `key` and `remaining` of the log entry. */
export function respond(parts: ResponderParts, { request, url, bodyText, actions, entry }: ReceivedRequest): Outcome {
  const { settings, store, serializer, ring, throttler } = parts;
  const method = request.method ?? 'GET';
  const wantsJson = /[/+]json/i.test(request.headers.accept ?? '');
  const origin = `http://${request.headers.host ?? '127.0.0.1'}`;
  let hit: Hit | undefined;
  try {
    // in the order in which the panel checks
    checkMaintenance(settings);
    const { api, route, params } = routeOf(method, url.pathname);
    const body = parseBody(bodyText);
    const key = authenticate(ring, request, entry);
    hit = throttler.hit(api, key.userId);
    if (hit?.refused === true) throw tooMany(hit.limit, Math.max(1, Math.ceil(hit.leftMs / 1_000)), hit.reset);
    const status = actions.find((action) => action.kind === 'status');
    if (status !== undefined) throw faultError(status, settings.limit);
    checkOwner(parts, api, key);
    const call = {
      method,
      path: url.pathname,
      query: url.searchParams,
      body,
      origin,
      key,
      store,
      serializer,
      perPageMax: settings.perPageMax,
      clockMs: settings.clockMs ?? performance.now(),
      tweaks: tweaksOf(actions, entry.n),
      powerLog: parts.powerLog,
      daemon: parts.daemon,
    };
    return success(route.handle(call, params), hit);
  } catch (error) {
    return failure(error, wantsJson, origin, hit);
  } finally {
    entry.remaining = hit?.remaining;
  }
}

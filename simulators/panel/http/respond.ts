/** From a request to its answer: routes, keys, throttle, faults, and the panel's error bodies. */
import type { IncomingMessage } from 'node:http';
import { inspect } from 'node:util';
import { APPLICATION_ROUTES } from '../api/application-api.ts';
import { CLIENT_ROUTES } from '../api/client-api.ts';
import { PanelBug, type Serializer } from '../api/serialize.ts';
import type { LoggedRequest, SimulatorSettings } from '../contract.ts';
import type { WorldStore } from '../world/world.ts';
import type { Api, ApiKey, Hit, KeyRing, Throttler } from './access.ts';
import {
  findRoute,
  forbidden,
  notFound,
  type PanelAnswer,
  PanelHttpError,
  panelError,
  serverError,
  unauthenticated,
} from './answer.ts';
import { type FaultAction, tweaksOf } from './faults.ts';

/** A page where JSON was expected. */
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

/** What goes on the wire. */
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
}

/** Answers requests from what the simulator is made of; fills `key` and `remaining` of the log entry. */
export function createResponder(parts: ResponderParts) {
  /** The answer of the API, throttle headers included; faults of the list kind apply inside. */
  function respond(
    request: IncomingMessage,
    url: URL,
    bodyText: string,
    actions: FaultAction[],
    entry: LoggedRequest,
  ): Outcome {
    const { settings, store, serializer, ring, throttler } = parts;
    const method = request.method ?? 'GET';
    const wantsJson = /[/+]json/i.test(request.headers.accept ?? '');
    const origin = `http://${request.headers.host ?? '127.0.0.1'}`;
    let hit: Hit | undefined;
    try {
      if (settings.maintenance !== undefined) {
        const { retryAfter } = settings.maintenance;
        throw faultError({ kind: 'status', status: 503, ...(retryAfter === undefined ? {} : { retryAfter }) }, 0);
      }
      const matched = /^\/api\/(application|client)(\/.*)?$/.exec(url.pathname);
      if (matched === null) throw notFound();
      const api: Api = matched[1] === 'client' ? 'client' : 'application';
      const found = findRoute(api === 'client' ? CLIENT_ROUTES : APPLICATION_ROUTES, method, matched[2] ?? '');
      if (found === 'not-found') throw notFound();
      if (found === 'method') {
        throw panelError(405, 'MethodNotAllowedHttpException', `The ${method} method is not supported for this route.`);
      }
      let body: unknown;
      try {
        body = bodyText === '' ? undefined : JSON.parse(bodyText);
      } catch {
        throw panelError(
          400,
          'BadRequestHttpException',
          'The JSON data passed in the request appears to be malformed.',
        );
      }
      const key = ring.find(request.headers.authorization);
      entry.key = key?.label;
      if (key === undefined || key.expired) throw unauthenticated();
      if (key.locked) {
        const address = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
        throw forbidden(
          `This IP address (${address}) does not have permission to access the API using these credentials.`,
        );
      }
      hit = throttler.hit(api, key.userId);
      if (hit?.refused === true) throw tooMany(hit.limit, Math.max(1, Math.ceil(hit.leftMs / 1_000)), hit.reset);
      const status = actions.find((action) => action.kind === 'status');
      if (status !== undefined) throw faultError(status, settings.limit);
      checkOwner(api, key);
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
        tweaks: tweaksOf(actions, entry.n),
      };
      return success(found.route.handle(call, found.params), hit);
    } catch (error) {
      return failure(error, wantsJson, origin, hit);
    } finally {
      entry.remaining = hit?.remaining;
    }
  }

  function checkOwner(api: Api, key: ApiKey): void {
    if (parts.settings.twoFactor) {
      const detail = 'Two-factor authentication is required for this account in order to access this endpoint.';
      throw panelError(400, 'TwoFactorAuthRequiredException', detail);
    }
    if (api === 'client' && key.kind === 'application') {
      throw forbidden(
        'You are attempting to use an application API key on an endpoint that requires a client API key.',
      );
    }
    if (api === 'application' && parts.store.world.users.get(key.userId)?.root_admin !== true) {
      throw forbidden('This account does not have permission to access the API.');
    }
  }

  const COMMON = { 'cache-control': 'no-cache, private' };
  const success = (answer: PanelAnswer, hit: Hit | undefined): Outcome => ({
    status: answer.status ?? 200,
    headers: {
      ...COMMON,
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
    // neither the panel's refusal nor its bug, but ours
    if (known.errors[0]?.code === 'Exception') process.stderr.write(`panel simulator: ${inspect(error)}\n`);
    // 401 and 503 are decided before the throttle
    const counted = known.status === 401 || known.status === 503 ? {} : throttleHeaders(hit);
    const headers = { ...COMMON, ...counted, ...known.headers };
    if (wantsJson) {
      const body = JSON.stringify({ errors: known.errors });
      return { status: known.status, headers: { ...headers, 'content-type': 'application/json' }, body };
    }
    const html = { ...headers, 'content-type': 'text/html; charset=utf-8' };
    if (known.status !== 401) return { status: known.status, headers: html, body: HTML };
    const location = `${origin}/auth/login`;
    return { status: 302, headers: { ...html, location }, body: redirectPage(location) };
  }

  return respond;
}

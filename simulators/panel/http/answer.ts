/** Input and output of a route's handler, and the panel's error bodies. */
import type { Serializer } from '../api/serialize.ts';
import type { Daemon } from '../daemon/daemon.ts';
import type { WorldStore } from '../world/world.ts';
import type { ApiKey } from './access.ts';

export interface PanelErrorEntry {
  code: string;
  status: string;
  detail: string;
  meta?: { source_field: string; rule: string };
}

/** An error that the panel answers. */
export class PanelHttpError extends Error {
  readonly status: number;
  readonly errors: PanelErrorEntry[];
  readonly headers: Record<string, string>;
  constructor(status: number, errors: PanelErrorEntry[], headers: Record<string, string> = {}) {
    super(errors[0]?.detail ?? String(status));
    this.name = 'PanelHttpError';
    this.status = status;
    this.errors = errors;
    this.headers = headers;
  }
}

/** One error entry; `code` is the short class name of the panel's exception. */
export const panelError = (status: number, code: string, detail: string, headers: Record<string, string> = {}) =>
  new PanelHttpError(status, [{ code, status: String(status), detail }], headers);

export const notFound = () =>
  panelError(404, 'NotFoundHttpException', 'The requested resource could not be found on the server.');
export const serverError = (exception: string) =>
  panelError(500, exception, 'An unexpected error was encountered while processing this request, please try again.');
export const forbidden = (detail = 'This action is unauthorized.') =>
  panelError(403, 'AccessDeniedHttpException', detail);
export const unauthenticated = () => panelError(401, 'AuthenticationException', 'Unauthenticated.');
export const daemonUnreachable = () =>
  panelError(
    504,
    'DaemonConnectionException',
    'Could not establish a connection to the machine running this server. Please try again.',
  );
export const invalid = (entries: readonly { field: string; rule: string; detail: string }[]) =>
  new PanelHttpError(
    422,
    entries.map(({ field, rule, detail }) => ({
      code: 'ValidationException',
      status: '422',
      detail,
      meta: { source_field: field, rule },
    })),
  );

/** Changes that faults make in a list. */
export interface ListTweaks {
  /** No objects, total 0. */
  empty?: boolean;
  /** Half of the page's objects, the true total. */
  half?: boolean;
  /** Added to `total`. */
  totalDelta?: number;
  /** The include of this name is written as if the key lacked its right. */
  nullResource?: string;
  /** Filters are ignored. */
  noFilters?: boolean;
}

/** A power signal that reached a server's daemon. */
export interface PowerSignal {
  /** Unix milliseconds. */
  at: number;
  /** Number and uuid of the server. */
  id: number;
  uuid: string;
  signal: string;
  /** The variables at that moment: a server reads them when it starts. */
  environment: Record<string, string | number | null>;
}

/** One request after authentication. */
export interface PanelCall {
  method: string;
  path: string;
  query: URLSearchParams;
  body: unknown;
  /** `http://host:port`, for links. */
  origin: string;
  key: ApiKey;
  store: WorldStore;
  serializer: Serializer;
  perPageMax: number | undefined;
  /** Time of the daemons, milliseconds. */
  clockMs: number;
  tweaks: ListTweaks;
  /** Power signals so far; a handler adds to it. */
  powerLog: PowerSignal[];
  /** The daemon of all nodes. */
  daemon: Daemon;
}

/** `status`: 200 when it is missing. */
export interface PanelAnswer {
  status?: number;
  body?: string | Buffer;
}

export interface PanelRoute {
  method: string;
  pattern: RegExp;
  handle(call: PanelCall, params: readonly string[]): PanelAnswer;
}

/** The route, `method` when the path has only routes of other methods, or `not-found`. */
export function findRoute(
  routes: readonly PanelRoute[],
  method: string,
  path: string,
): { route: PanelRoute; params: string[] } | 'not-found' | 'method' {
  let known = false;
  for (const route of routes) {
    const match = route.pattern.exec(path);
    if (match === null) continue;
    known = true;
    if (route.method === method) return { route, params: match.slice(1) };
  }
  return known ? 'method' : 'not-found';
}

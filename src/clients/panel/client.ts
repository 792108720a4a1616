/**
 * The panel's API, read only. Each call is one attempt; the workflow decides what is tried again.
 * Every failure is an `AppError` whose `meta` holds status, code and path, never a key, a query or a body.
 */
import { AppError } from '../../domain/errors.ts';
import {
  type PanelItem,
  type PanelPagination,
  type Parsed,
  parseItemEnvelope,
  parseListEnvelope,
} from '../../domain/panel/envelope.ts';
import type { Secret } from '../../domain/secret.ts';
import { HttpFailure } from '../http/failures.ts';
import { createHttpClient, type HttpClient, type HttpClientOptions } from '../http/http.ts';
import { readAnswer, type Throttle, unreached } from './answers.ts';
import { bearer, type ProxyCredentials, parsePanelUrl, proxyHeaders } from './target.ts';

/** One page, or an unpaged list (then without `pagination`). */
export interface PanelPage {
  items: PanelItem[];
  pagination?: PanelPagination;
  throttle: Throttle;
}

/** Parameters of a listing; keys of `filter` are given without `filter[]` around them. */
export interface ListQuery {
  page?: number;
  perPage?: number;
  include?: string;
  sort?: string;
  filter?: Record<string, string>;
}

export interface PanelClient {
  /** GET {url}/api/application{path}: one page (or an unpaged list). */
  list(path: string, query?: ListQuery, options?: { signal?: AbortSignal }): Promise<PanelPage>;
  /** GET one object of the application API. */
  get(
    path: string,
    query?: Pick<ListQuery, 'include'>,
    options?: { signal?: AbortSignal },
  ): Promise<{ item: PanelItem; throttle: Throttle }>;
  /**
   * GET {url}/api/client{path} with the client key; a path may bring its own parameters (`?type=admin-all`).
   * @throws {AppError} PANEL_NOT_CONFIGURED without a client key: the application key is never used instead.
   */
  clientList(path: string, query?: ListQuery, options?: { signal?: AbortSignal }): Promise<PanelPage>;
  /**
   * GET {url}/api/client/servers/{uuid}/resources with the client key: the live state of a server and what it uses.
   * @throws {AppError} as {@link PanelClient.clientList}; PANEL_CONFLICT when the server's state forbids it.
   */
  resources(serverUuid: string, options?: { signal?: AbortSignal }): Promise<{ item: PanelItem; throttle: Throttle }>;
  /** Waits for requests in flight and ends the pool. */
  close(): Promise<void>;
}

export interface PanelClientOptions extends ProxyCredentials {
  /** Origin of the panel, with the path it is installed under, if any. The API's path at its end is cut. */
  url: string;
  apiKey: Secret;
  clientApiKey?: Secret;
  /** Milliseconds for one whole exchange; default 30,000. */
  timeoutMs?: number;
  /** Bytes of one body; default 64 MiB (100,000 included allocations are about 12 MB). */
  maxBodyBytes?: number;
  /** As of the HTTP client: a refused address fails with ADDRESS_REFUSED. */
  guard: HttpClientOptions['guard'];
}

const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_MAX_BODY_BYTES = 64 * 1024 * 1024;

function buildQuery(query: ListQuery): URLSearchParams {
  const params = new URLSearchParams();
  if (query.page !== undefined) params.set('page', String(query.page));
  if (query.perPage !== undefined) params.set('per_page', String(query.perPage));
  if (query.include !== undefined && query.include !== '') params.set('include', query.include);
  if (query.sort !== undefined && query.sort !== '') params.set('sort', query.sort);
  for (const [name, value] of Object.entries(query.filter ?? {})) params.set(`filter[${name}]`, value);
  return params;
}

/** Path and query of a request; the query of the path itself comes first. */
function pathWith(path: string, query: ListQuery): { bare: string; full: string } {
  const [bare = path, own] = path.split('?', 2);
  const params = new URLSearchParams(own);
  for (const [name, value] of buildQuery(query)) params.set(name, value);
  return { bare, full: params.size === 0 ? bare : `${bare}?${params}` };
}

interface Panel {
  http: HttpClient;
  /** Path under which the panel is installed. */
  base: string;
  proxy: ProxyCredentials;
}

interface Call<T> {
  path: string;
  query: ListQuery;
  key: Secret;
  parse: (body: unknown) => Parsed<T>;
  signal: AbortSignal | undefined;
}

async function call<T>(panel: Panel, request: Call<T>): Promise<{ value: T; throttle: Throttle }> {
  const { bare, full } = pathWith(request.path, request.query);
  const headers = {
    accept: 'application/json',
    'content-type': 'application/json',
    authorization: bearer(request.key),
    ...proxyHeaders(panel.proxy),
  };
  const sent = panel.http.send({ method: 'GET', path: `${panel.base}${full}`, headers, signal: request.signal });
  const answer = await sent.catch((error: unknown) => {
    throw error instanceof HttpFailure ? unreached(error, bare) : error;
  });
  return readAnswer(answer, bare, request.parse);
}

/** @throws {AppError} PANEL_NOT_CONFIGURED without a client key. */
function clientKey({ clientApiKey }: PanelClientOptions): Secret {
  if (clientApiKey !== undefined) return clientApiKey;
  throw new AppError('PANEL_NOT_CONFIGURED', { publicMessage: 'The panel client API key is not configured' });
}

/**
 * A client with a pool of its own; {@link PanelClient.close} it.
 * @throws {AppError} PANEL_NOT_CONFIGURED when the URL or a key cannot be used in a request.
 */
export function createPanelClient(options: PanelClientOptions): PanelClient {
  const { origin, base } = parsePanelUrl(options.url);
  const http = createHttpClient({
    origin,
    guard: options.guard,
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    maxBodyBytes: options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES,
  });
  const panel: Panel = { http, base, proxy: options };
  return {
    async list(path, query = {}, { signal } = {}) {
      const where = { path: `/api/application${path}`, query, signal };
      const { value, throttle } = await call(panel, { ...where, key: options.apiKey, parse: parseListEnvelope });
      return { ...value, throttle };
    },
    async get(path, query = {}, { signal } = {}) {
      const where = { path: `/api/application${path}`, query, signal };
      const { value, throttle } = await call(panel, { ...where, key: options.apiKey, parse: parseItemEnvelope });
      return { item: value, throttle };
    },
    async clientList(path, query = {}, { signal } = {}) {
      const where = { path: `/api/client${path}`, query, signal };
      const { value, throttle } = await call(panel, { ...where, key: clientKey(options), parse: parseListEnvelope });
      return { ...value, throttle };
    },
    async resources(serverUuid, { signal } = {}) {
      const path = `/api/client/servers/${encodeURIComponent(serverUuid)}/resources`;
      const request = { path, query: {}, signal, key: clientKey(options), parse: parseItemEnvelope };
      const { value, throttle } = await call(panel, request);
      return { item: value, throttle };
    },
    close: () => http.close(),
  };
}

/**
 * The panel's API: lists, objects, the few writes of writes.ts, and the consoles of console.ts. Each call is one attempt; the workflow decides what is tried again.
 * Every failure is an `AppError` whose `meta` holds status, code and path, never a key, a query or a body.
 */
import { getHeapStatistics } from 'node:v8';
import { AppError } from '../../domain/errors.ts';
import {
  type PanelItem,
  type PanelPagination,
  parseItemEnvelope,
  parseListEnvelope,
} from '../../domain/panel/envelope.ts';
import type { Secret } from '../../domain/secret.ts';
import { createHttpClient, type HttpClientOptions } from '../http/http.ts';
import type { Throttle } from './answers.ts';
import { createPanelConsoles, type PanelConsoles } from './console.ts';
import { call, type ListQuery, type Panel } from './request.ts';
import { type ProxyCredentials, parsePanelUrl } from './target.ts';
import { createPanelWrites, type PanelWrites } from './writes.ts';

/** One page, or an unpaged list (then without `pagination`). */
export interface PanelPage {
  items: PanelItem[];
  pagination?: PanelPagination;
  throttle: Throttle;
}

export interface PanelClient extends PanelWrites, PanelConsoles {
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
  /** GET {url}/api/client/account: the user to whom the client key belongs. @throws {AppError} as {@link PanelClient.clientList}. */
  account(options?: { signal?: AbortSignal }): Promise<{ item: PanelItem; throttle: Throttle }>;
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
  /** Bytes of one body; default by {@link bodyLimit} (100,000 included allocations are about 12 MB). */
  maxBodyBytes?: number;
  /** As of the HTTP client: a refused address fails with ADDRESS_REFUSED. */
  guard: HttpClientOptions['guard'];
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** An answer, its text and its parsed records must fit beside each other, and several are read at once. */
const HEAP_SHARE = 8;
/** Bytes of one body that a process with this heap limit (bytes) can take: an eighth, at most 64 MiB. */
export const bodyLimit = (heapLimit: number): number => Math.min(64 * 1024 * 1024, Math.floor(heapLimit / HEAP_SHARE));

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
    maxBodyBytes: options.maxBodyBytes ?? bodyLimit(getHeapStatistics().heap_size_limit),
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
      const request = { path, signal, key: clientKey(options), parse: parseItemEnvelope };
      const { value, throttle } = await call(panel, request);
      return { item: value, throttle };
    },
    async account({ signal } = {}) {
      const request = { path: '/api/client/account', signal, key: clientKey(options), parse: parseItemEnvelope };
      const { value, throttle } = await call(panel, request);
      return { item: value, throttle };
    },
    ...createPanelWrites(panel, options.apiKey, () => clientKey(options)),
    ...createPanelConsoles(panel, origin, () => clientKey(options)),
    close: () => http.close(),
  };
}

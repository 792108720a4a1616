/**
 * The panel's API, read only. Each call is one attempt; the workflow decides what is tried again.
 * Every failure is an `AppError` whose `meta` holds status, code and path, never a key, a query or a body.
 */
import { AppError, type AppErrorOptions, type ErrorCode } from '../../domain/errors.ts';
import {
  ErrorEnvelopeSchema,
  type PanelItem,
  type PanelPagination,
  type Parsed,
  parseItemEnvelope,
  parseListEnvelope,
} from '../../domain/panel/envelope.ts';
import type { Secret } from '../../domain/secret.ts';
import type { AddressGuard } from '../http/address-guard.ts';
import { createHttpClient, type HttpAnswer, HttpFailure } from '../http/http.ts';

/** X-RateLimit-* of an answer; a field is absent when the panel sent none. */
export interface Throttle {
  limit?: number;
  remaining?: number;
}

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
  /** Waits for requests in flight and ends the pool. */
  close(): Promise<void>;
}

export interface PanelClientOptions {
  /** Origin of the panel, with the path it is installed under, if any. */
  url: string;
  apiKey: Secret;
  clientApiKey?: Secret;
  /** Cloudflare Access service token; both headers are sent when the id is set. */
  cfAccessClientId?: string;
  cfAccessClientSecret?: Secret;
  /** Milliseconds for one whole exchange; default 30,000. */
  timeoutMs?: number;
  /** Bytes of one body; default 64 MiB (100,000 included allocations are about 12 MB). */
  maxBodyBytes?: number;
  /** For a URL that a person entered: refuses addresses that must not be connected to, with ADDRESS_REFUSED. */
  guard?: AddressGuard;
}

const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_MAX_BODY_BYTES = 64 * 1024 * 1024;
/** The panel's throttle window: the pause after a 429 that names none. */
const WINDOW_MS = 60_000;
/** Maximum pause that an answer of the panel can cause. */
const MAX_RETRY_AFTER_MS = 60 * 60_000;

const count = (value: string | undefined): number | undefined =>
  value !== undefined && /^\d{1,9}$/.test(value.trim()) ? Number(value) : undefined;

const readThrottle = (answer: HttpAnswer): Throttle => {
  const limit = count(answer.header('x-ratelimit-limit'));
  const remaining = count(answer.header('x-ratelimit-remaining'));
  return { ...(limit === undefined ? {} : { limit }), ...(remaining === undefined ? {} : { remaining }) };
};

const clampWait = (ms: number) => Math.min(Math.max(ms, 1_000), MAX_RETRY_AFTER_MS);

/** `Retry-After` in seconds or as an HTTP date, else `X-RateLimit-Reset` (unix seconds). */
function retryAfter(answer: HttpAnswer): number | undefined {
  const header = answer.header('retry-after')?.trim();
  if (header !== undefined && header !== '') {
    if (/^\d+$/.test(header)) return clampWait(Number(header) * 1_000);
    const date = Date.parse(header);
    if (!Number.isNaN(date)) return clampWait(date - Date.now());
  }
  const reset = answer.header('x-ratelimit-reset')?.trim();
  return reset !== undefined && /^\d{1,12}$/.test(reset) ? clampWait(Number(reset) * 1_000 - Date.now()) : undefined;
}

function panelCode(text: string): string | undefined {
  try {
    const parsed = ErrorEnvelopeSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data.errors[0]?.code : undefined;
  } catch {
    return undefined;
  }
}

/** Addresses of the panel's own login page, and of the login page of an access proxy in front of it. */
function pointsToLogin(location: string | undefined): boolean {
  if (location === undefined) return false;
  const path = location.split(/[?#]/, 1)[0] ?? '';
  return /\/(login|signin|sign-in)(\/|$)/i.test(path);
}

function codeOfStatus(answer: HttpAnswer, code: string | undefined): ErrorCode {
  const { status } = answer;
  if (status === 401 || status === 403) return 'PANEL_AUTH';
  if (status === 400 && code === 'TwoFactorAuthRequiredException') return 'PANEL_AUTH';
  if (status === 404) return 'PANEL_NOT_FOUND';
  if (status === 409) return 'PANEL_CONFLICT';
  if (status === 429) return 'PANEL_RATE_LIMITED';
  if (status >= 500 || status === 408) return 'PANEL_UNAVAILABLE';
  if (status >= 300 && status < 400) return pointsToLogin(answer.header('location')) ? 'PANEL_AUTH' : 'PANEL_CONTRACT';
  return 'PANEL_CONTRACT';
}

function httpError(answer: HttpAnswer, path: string): AppError {
  const panel = panelCode(answer.text);
  const code = codeOfStatus(answer, panel);
  const wait = retryAfter(answer) ?? (code === 'PANEL_RATE_LIMITED' ? WINDOW_MS : undefined);
  const options: AppErrorOptions = {
    meta: {
      kind: 'http',
      status: answer.status,
      ...(panel === undefined ? {} : { panelCode: panel }),
      throttle: readThrottle(answer),
      path,
    },
  };
  if (wait !== undefined && (code === 'PANEL_RATE_LIMITED' || code === 'PANEL_UNAVAILABLE'))
    options.retryAfterMs = wait;
  return new AppError(code, options);
}

function buildQuery(query: ListQuery): URLSearchParams {
  const params = new URLSearchParams();
  if (query.page !== undefined) params.set('page', String(query.page));
  if (query.perPage !== undefined) params.set('per_page', String(query.perPage));
  if (query.include !== undefined && query.include !== '') params.set('include', query.include);
  if (query.sort !== undefined && query.sort !== '') params.set('sort', query.sort);
  for (const [name, value] of Object.entries(query.filter ?? {})) params.set(`filter[${name}]`, value);
  return params;
}

const isHeaderValue = (value: string) => /^[\x21-\x7e]+$/.test(value);

function parseUrl(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !['http:', 'https:'].includes(parsed.protocol)) {
    throw new AppError('PANEL_NOT_CONFIGURED', { publicMessage: 'The panel URL is not an http(s) URL' });
  }
  return parsed;
}

/**
 * A client with a pool of its own; {@link PanelClient.close} it.
 * @throws {AppError} PANEL_NOT_CONFIGURED when the URL or a key cannot be used in a request.
 */
export function createPanelClient(options: PanelClientOptions): PanelClient {
  const url = parseUrl(options.url);
  const base = url.pathname.replace(/\/+$/, '');
  const http = createHttpClient({
    origin: url.origin,
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    maxBodyBytes: options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES,
    ...(options.guard === undefined ? {} : { guard: options.guard }),
  });

  /** Made for each call, so that the clear key lives no longer than the request. */
  function headers(key: Secret): Record<string, string> {
    const result: Record<string, string> = {
      accept: 'application/json',
      'content-type': 'application/json',
      authorization: `Bearer ${key.reveal().trim()}`,
    };
    if (options.cfAccessClientId !== undefined) {
      result['cf-access-client-id'] = options.cfAccessClientId.trim();
      result['cf-access-client-secret'] = options.cfAccessClientSecret?.reveal().trim() ?? '';
    }
    const values = Object.entries(result).filter(([name]) => name !== 'authorization');
    if (!isHeaderValue(key.reveal().trim()) || values.some(([, value]) => /[^\x20-\x7e]/.test(value))) {
      throw new AppError('PANEL_NOT_CONFIGURED', {
        publicMessage: 'A panel key holds characters that no header may hold',
      });
    }
    return result;
  }

  async function call<T>(
    path: string,
    query: ListQuery,
    key: Secret,
    parse: (body: unknown) => Parsed<T>,
    signal: AbortSignal | undefined,
  ): Promise<{ value: T; throttle: Throttle }> {
    const [bare = path, own] = path.split('?', 2);
    const params = new URLSearchParams(own);
    for (const [name, value] of buildQuery(query)) params.set(name, value);
    const search = params.size === 0 ? '' : `?${params}`;
    let answer: HttpAnswer;
    try {
      answer = await http.send({ method: 'GET', path: `${base}${bare}${search}`, headers: headers(key), signal });
    } catch (error) {
      if (!(error instanceof HttpFailure)) throw error;
      throw new AppError('PANEL_UNAVAILABLE', {
        meta: {
          kind: error.kind,
          ...(error.status === undefined ? {} : { status: error.status }),
          ...(error.reason === undefined ? {} : { reason: error.reason }),
          path: bare,
        },
      });
    }
    if (answer.status < 200 || answer.status >= 300) throw httpError(answer, bare);
    const throttle = readThrottle(answer);
    const about = { status: answer.status, throttle, path: bare };
    let body: unknown;
    try {
      body = JSON.parse(answer.text);
    } catch {
      // the parser's message quotes the body, so it is not kept as a cause
      throw new AppError('PANEL_UNAVAILABLE', { meta: { kind: 'body', ...about } });
    }
    const parsed = parse(body);
    if (!parsed.ok) {
      throw new AppError('PANEL_CONTRACT', {
        meta: { kind: 'body', ...about, at: parsed.path, problem: parsed.problem },
        details: [{ path: parsed.path, message: parsed.problem }],
      });
    }
    return { value: parsed.value, throttle };
  }

  return {
    async list(path, query = {}, { signal } = {}) {
      const answer = await call(`/api/application${path}`, query, options.apiKey, parseListEnvelope, signal);
      return { ...answer.value, throttle: answer.throttle };
    },
    async get(path, query = {}, { signal } = {}) {
      const answer = await call(`/api/application${path}`, query, options.apiKey, parseItemEnvelope, signal);
      return { item: answer.value, throttle: answer.throttle };
    },
    async clientList(path, query = {}, { signal } = {}) {
      if (options.clientApiKey === undefined) {
        throw new AppError('PANEL_NOT_CONFIGURED', { publicMessage: 'The panel client API key is not configured' });
      }
      const answer = await call(`/api/client${path}`, query, options.clientApiKey, parseListEnvelope, signal);
      return { ...answer.value, throttle: answer.throttle };
    },
    close: () => http.close(),
  };
}

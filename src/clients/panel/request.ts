/** One request of the panel's API: its path and query, its headers, and what its answer means. */
import type { Parsed } from '../../domain/panel/envelope.ts';
import type { Secret } from '../../domain/secret.ts';
import { HttpFailure } from '../http/failures.ts';
import type { HttpAnswer, HttpClient, HttpRequest } from '../http/http.ts';
import { readAnswer, type Throttle, unreached } from './answers.ts';
import { bearer, type ProxyCredentials, proxyHeaders } from './target.ts';

/** Parameters of a listing; keys of `filter` are given without `filter[]` around them. */
export interface ListQuery {
  page?: number;
  perPage?: number;
  include?: string;
  sort?: string;
  filter?: Record<string, string>;
}

/** Where requests go. */
export interface Panel {
  http: HttpClient;
  /** Path under which the panel is installed. */
  base: string;
  proxy: ProxyCredentials;
}

interface Request {
  method?: HttpRequest['method'];
  path: string;
  query?: ListQuery;
  key: Secret;
  /** Sent as JSON. It may hold secrets: no error holds it. */
  body?: unknown;
  signal: AbortSignal | undefined;
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

/** Path and query of a request; the query of the path itself comes first. */
function pathWith(path: string, query: ListQuery): { bare: string; full: string } {
  const [bare = path, own] = path.split('?', 2);
  const params = new URLSearchParams(own);
  for (const [name, value] of buildQuery(query)) params.set(name, value);
  return { bare, full: params.size === 0 ? bare : `${bare}?${params}` };
}

/** Sends once. @returns the answer, whatever its status is, and the path without query, for errors. */
export async function send(panel: Panel, request: Request): Promise<{ answer: HttpAnswer; path: string }> {
  const { method = 'GET', body, signal } = request;
  const { bare, full } = pathWith(request.path, request.query ?? {});
  const headers = {
    accept: 'application/json',
    'content-type': 'application/json',
    authorization: bearer(request.key),
    ...proxyHeaders(panel.proxy),
  };
  const text = body === undefined ? {} : { body: JSON.stringify(body) };
  const sent = panel.http.send({ method, path: `${panel.base}${full}`, headers, signal, ...text });
  const answer = await sent.catch((error: unknown) => {
    throw error instanceof HttpFailure ? unreached(error, bare) : error;
  });
  return { answer, path: bare };
}

/** Sends once and reads the object or list of the answer. @throws {AppError} as {@link readAnswer} and {@link unreached}. */
export async function call<T>(
  panel: Panel,
  { parse, ...request }: Request & { parse: (body: unknown) => Parsed<T> },
): Promise<{ value: T; throttle: Throttle }> {
  const { answer, path } = await send(panel, request);
  return readAnswer(answer, path, parse);
}

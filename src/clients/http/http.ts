/**
 * One attempt of one HTTP request, for every upstream client: keep-alive pool, one deadline over headers and body, a
 * limit on the bytes that are read; no redirect is followed, nothing is retried. Failures carry a word, never a header or
 * a body.
 */
import { Pool } from 'undici';
import { isAppError } from '../../domain/errors.ts';
import type { AddressGuard } from './address-guard.ts';
import { USER_AGENT } from './user-agent.ts';

/** Why no complete answer arrived. `status` is set when the headers did. */
export type HttpFailureKind = 'timeout' | 'network' | 'body' | 'too-large';

/** Thrown by {@link HttpClient.send}; `reason` is the transport's error code, for logs. */
export class HttpFailure extends Error {
  readonly kind: HttpFailureKind;
  readonly status: number | undefined;
  readonly reason: string | undefined;
  constructor(kind: HttpFailureKind, options: { status?: number | undefined; reason?: string | undefined } = {}) {
    super(`the request failed: ${kind}`);
    this.name = 'HttpFailure';
    this.kind = kind;
    this.status = options.status;
    this.reason = options.reason;
  }
}

export interface HttpRequest {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path and query, beginning with `/`. */
  path: string;
  /** Lower-case names. `user-agent` is added, unless the upstream demands a form of its own. */
  headers: Record<string, string>;
  body?: string;
  signal?: AbortSignal | undefined;
}

export interface HttpAnswer {
  status: number;
  /** Lower-case names; of a repeated header the first value. */
  header(name: string): string | undefined;
  text: string;
}

export interface HttpClientOptions {
  /** `https://host:port` without a path. */
  origin: string;
  /** Milliseconds for the whole exchange. */
  timeoutMs: number;
  /** Maximum bytes of a body; a larger answer is refused. */
  maxBodyBytes: number;
  /** Sockets kept to the origin; default 16. */
  connections?: number;
  /** For an origin that a person entered: refuses addresses that must not be connected to. Default: none are refused. */
  guard?: AddressGuard;
}

export interface HttpClient {
  /**
   * Sends once.
   * @throws {HttpFailure} for everything that is not a complete answer.
   * @throws {AppError} ADDRESS_REFUSED when the guard refuses the origin; nothing was sent.
   * @throws the reason of `request.signal` when the caller aborted.
   */
  send(request: HttpRequest): Promise<HttpAnswer>;
  /** Ends idle sockets and waits for requests in flight. */
  close(): Promise<void>;
}

const TIMED_OUT = Symbol('timed out');
/** Of an error page, only an error code is used. */
const MAX_ERROR_BODY_BYTES = 256 * 1024;

const codeOf = (error: unknown): string | undefined =>
  typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined;

/** A pool to one origin. */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const { guard } = options;
  const { hostname } = new URL(options.origin);
  const pool = new Pool(options.origin, {
    connections: options.connections ?? 16,
    pipelining: 1,
    keepAliveTimeout: 10_000,
    // The deadline below decides; these only free the sockets if it ever fails.
    headersTimeout: options.timeoutMs + 5_000,
    bodyTimeout: options.timeoutMs + 5_000,
    connect: { timeout: options.timeoutMs, ...(guard === undefined ? {} : { lookup: guard.lookup }) },
  });

  async function send(request: HttpRequest): Promise<HttpAnswer> {
    const { signal } = request;
    signal?.throwIfAborted();
    guard?.checkHost(hostname);
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(TIMED_OUT), options.timeoutMs);
    const abort = () => deadline.abort(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    let status: number | undefined;
    try {
      const answer = await pool.request({
        method: request.method,
        path: request.path,
        headers: { 'user-agent': USER_AGENT, ...request.headers },
        signal: deadline.signal,
        ...(request.body === undefined ? {} : { body: request.body }),
      });
      status = answer.statusCode;
      const good = status >= 200 && status < 300;
      const limit = good ? options.maxBodyBytes : Math.min(options.maxBodyBytes, MAX_ERROR_BODY_BYTES);
      const header = (name: string) => {
        const value = answer.headers[name];
        return Array.isArray(value) ? value[0] : value;
      };
      // Decoded chunk by chunk, so that the bytes of a large answer and its text are not in memory together.
      const decoder = new TextDecoder();
      let text = '';
      let size = Number(header('content-length') ?? 0) > limit ? Number.POSITIVE_INFINITY : 0;
      if (size === 0) {
        for await (const chunk of answer.body) {
          if (!Buffer.isBuffer(chunk)) continue;
          size += chunk.length;
          if (size > limit) break;
          text += decoder.decode(chunk, { stream: true });
        }
      }
      if (size > limit) {
        // Destroying the body closes the socket, so the rest is never transferred.
        answer.body.on('error', () => {}).destroy();
        if (good) throw new HttpFailure('too-large', { status });
      }
      return { status, header, text: text + decoder.decode() };
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (error instanceof HttpFailure || isAppError(error, 'ADDRESS_REFUSED')) throw error;
      if (deadline.signal.aborted) throw new HttpFailure('timeout', { status });
      const reason = codeOf(error);
      if (reason === 'UND_ERR_CONNECT_TIMEOUT') throw new HttpFailure('timeout', { status, reason });
      throw new HttpFailure(status === undefined ? 'network' : 'body', { status, reason });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }
  }

  return { send, close: () => pool.close() };
}

/**
 * One attempt of one HTTP request, for every upstream client: keep-alive pool, one deadline over headers and body, a
 * limit on the bytes of the decoded body; no redirect is followed, nothing is retried. Failures carry a word, never a
 * header or a body. What a complete answer means is read by answers.ts.
 */
import { type Dispatcher, Pool } from 'undici';
import { isAppError } from '../../domain/errors.ts';
import type { AddressGuard } from './address-guard.ts';
import { decode, decodersOf, isDecodingError } from './decode.ts';
import { codeOf, HttpFailure, UNDECODABLE, whyNotReached } from './failures.ts';
import { USER_AGENT } from './user-agent.ts';

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
  /** What was requested. */
  url: URL;
  /** Lower-case names; of a repeated header the first value. */
  header(name: string): string | undefined;
  /** Decoded. Of an error page, the beginning. */
  text: string;
}

export interface HttpClientOptions {
  /** `https://host:port` without a path. */
  origin: string;
  /** Milliseconds for the whole exchange. */
  timeoutMs: number;
  /**
   * Milliseconds for the connection; default `timeoutMs`. If it is shorter, a host that accepts no connection is distinguished
   * from one that does not answer. undici's timer is exact to about a second.
   */
  connectTimeoutMs?: number;
  /** Maximum bytes of a decoded body; a larger answer is refused. */
  maxBodyBytes: number;
  /** Sockets kept to the origin; default 16. */
  connections?: number;
  /**
   * Refuses addresses that must not be connected to, for an origin that a person entered. `environment`: the origin is
   * the operator's own variable, or a constant; every address may be reached.
   */
  guard: AddressGuard | 'environment';
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

/** Of an error page, only an error code is used. */
const MAX_ERROR_BODY_BYTES = 256 * 1024;
/**
 * Of several addresses of a name, each is tried for this part of the deadline before the next one is. Node's default is
 * 250 ms, which a distant server does not keep; a part leaves time for the others and for the answer.
 */
const ATTEMPTS_PER_DEADLINE = 4;

/** A pool to one origin. */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const guard = options.guard === 'environment' ? undefined : options.guard;
  const pool = createPool(options, guard);
  return {
    async send(request) {
      request.signal?.throwIfAborted();
      guard?.checkHost(new URL(options.origin).hostname);
      return exchange(pool, options, request);
    },
    close: () => pool.close(),
  };
}

function createPool(options: HttpClientOptions, guard: AddressGuard | undefined): Pool {
  const { origin, timeoutMs, connectTimeoutMs = timeoutMs, connections = 16 } = options;
  return new Pool(origin, {
    connections,
    pipelining: 1,
    keepAliveTimeout: 10_000,
    // The deadline of the exchange decides; these only free the sockets if it ever fails.
    headersTimeout: timeoutMs + 5_000,
    bodyTimeout: timeoutMs + 5_000,
    connect: {
      timeout: connectTimeoutMs,
      autoSelectFamilyAttemptTimeout: Math.ceil(connectTimeoutMs / ATTEMPTS_PER_DEADLINE),
      ...(guard === undefined ? {} : { lookup: guard.lookup }),
    },
  });
}

async function exchange(pool: Pool, options: HttpClientOptions, request: HttpRequest): Promise<HttpAnswer> {
  const { method, path, headers, body, signal } = request;
  const deadline = startDeadline(options.timeoutMs, signal);
  let status: number | undefined;
  try {
    const answer = await pool.request({
      method,
      path,
      headers: { 'user-agent': USER_AGENT, ...headers },
      signal: deadline.signal,
      ...(body === undefined ? {} : { body }),
    });
    status = answer.statusCode;
    const header = headerReader(answer);
    const text = await readText(answer, header, options.maxBodyBytes);
    return { status, url: new URL(path, options.origin), header, text };
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (error instanceof HttpFailure || isAppError(error, 'ADDRESS_REFUSED')) throw error;
    const reason = codeOf(error);
    const late = deadline.signal.aborted || (status === undefined && whyNotReached(reason) === 'timeout');
    throw new HttpFailure(late ? 'timeout' : status === undefined ? 'network' : 'body', { status, reason });
  } finally {
    deadline.end();
  }
}

/** A signal that is aborted after `timeoutMs`, or when the caller's signal is. */
function startDeadline(timeoutMs: number, caller: AbortSignal | undefined): { signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const timer = setTimeout(abort, timeoutMs);
  caller?.addEventListener('abort', abort, { once: true });
  return {
    signal: controller.signal,
    end() {
      clearTimeout(timer);
      caller?.removeEventListener('abort', abort);
    },
  };
}

function headerReader({ headers }: Dispatcher.ResponseData): HttpAnswer['header'] {
  return (name) => {
    const value = headers[name];
    return Array.isArray(value) ? value[0] : value;
  };
}

/**
 * The body as text. Of an answer other than 2xx it is cut at the limit.
 * @throws {HttpFailure} `too-large` for a 2xx answer above the limit, `body` for an encoding that cannot be decoded.
 */
async function readText(
  { statusCode: status, body }: Dispatcher.ResponseData,
  header: HttpAnswer['header'],
  maxBodyBytes: number,
): Promise<string> {
  const good = status >= 200 && status < 300;
  const limit = good ? maxBodyBytes : Math.min(maxBodyBytes, MAX_ERROR_BODY_BYTES);
  const decoders = decodersOf(header('content-encoding'));
  // Decoded chunk by chunk, so that the bytes of a large answer and its text are not in memory together.
  const decoder = new TextDecoder();
  let text = '';
  let size = Number(header('content-length') ?? 0) > limit ? Number.POSITIVE_INFINITY : 0;
  try {
    if (decoders === undefined) throw new HttpFailure('body', { status, reason: UNDECODABLE });
    if (size === 0) {
      for await (const chunk of decoders.reduce<AsyncIterable<Buffer>>(decode, body)) {
        size += chunk.length;
        if (size > limit) break;
        text += decoder.decode(chunk, { stream: true });
      }
    }
  } catch (error) {
    if (isDecodingError(codeOf(error))) throw new HttpFailure('body', { status, reason: UNDECODABLE });
    throw error;
  } finally {
    // Destroying a body that was not read to its end closes the socket, so the rest is never transferred.
    if (!body.readableEnded) body.on('error', () => {}).destroy();
  }
  if (size > limit && good) throw new HttpFailure('too-large', { status });
  return text + decoder.decode();
}

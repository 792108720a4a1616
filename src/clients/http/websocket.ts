/**
 * One connection to a WebSocket of an upstream (RFC 6455). Each connection has a socket of its own; its address goes through the
 * guard, its messages have a limit, and it can be ended at once, also when the other side does not take part.
 */
import type { Duplex } from 'node:stream';
import { Client, type Dispatcher, WebSocket } from 'undici';
import { isAppError } from '../../domain/errors.ts';
import type { AddressGuard } from './address-guard.ts';
import { codeOf, HttpFailure, whyNotReached } from './failures.ts';
import { USER_AGENT } from './user-agent.ts';

export interface SocketOptions {
  /** Lower-case names. `user-agent` is added. */
  headers: Record<string, string>;
  /** The address comes from somebody's answer, so it is always judged. */
  guard: AddressGuard;
  /** Milliseconds until the connection must be open. */
  timeoutMs: number;
  /** Bytes of one message, after decompression: a longer one ends the connection. */
  maxMessageBytes: number;
  /** Characters of all messages: more of them end the connection. */
  maxTotal: number;
  signal?: AbortSignal | undefined;
  /** A text message. Binary messages are passed over. */
  onMessage(text: string): void;
  /** Once, when the connection has ended in any other way than by `end`. `code`: of its close frame, 1006 without one. */
  onClosed(code: number): void;
}

export interface Socket {
  /** Sends a text message; nothing happens once the connection has ended. */
  send(text: string): void;
  /** Ends the connection at once. Nothing is heard of it afterwards. */
  end(): void;
}

/** Of several addresses of a name, each is tried for this part of the time. */
const ATTEMPTS = 4;

/** What undici's WebSocket does not tell: the answer to its request, why it failed, and the socket below. */
interface Seen {
  status?: number;
  error?: unknown;
  socket?: Duplex;
}

/** Notes of each request what {@link Seen} holds. */
const observing =
  (seen: Seen): Dispatcher.DispatcherComposeInterceptor =>
  (dispatch) =>
  (options, handler) =>
    dispatch(options, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onRequestUpgrade(controller, status, headers, socket) {
        seen.socket = socket;
        handler.onRequestUpgrade?.(controller, status, headers, socket);
      },
      onResponseStart(controller, status, headers, text) {
        seen.status = status;
        handler.onResponseStart?.(controller, status, headers, text);
      },
      onResponseData: (controller, chunk) => handler.onResponseData?.(controller, chunk),
      onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
      onResponseError(controller, error) {
        seen.error ??= error;
        handler.onResponseError?.(controller, error);
      },
    });

function createClient(url: URL, { guard, timeoutMs, maxMessageBytes }: SocketOptions): Client {
  return new Client(url.origin.replace(/^ws/, 'http'), {
    allowH2: false,
    headersTimeout: timeoutMs + 5_000,
    webSocket: { maxPayloadSize: maxMessageBytes },
    connect: {
      timeout: timeoutMs,
      autoSelectFamilyAttemptTimeout: Math.ceil(timeoutMs / ATTEMPTS),
      lookup: guard.lookup,
    },
  });
}

/** Why there is no connection. */
function failureOf({ status, error }: Seen, late: boolean): unknown {
  if (isAppError(error, 'ADDRESS_REFUSED')) return error;
  const reason = codeOf(error);
  if (status !== undefined) return new HttpFailure('body', { status });
  return new HttpFailure(late || whyNotReached(reason) === 'timeout' ? 'timeout' : 'network', { reason });
}

/** The code of a connection that ended without a close frame (RFC 6455, 7.1.5). */
const NOT_CLOSED = 1006;

/**
 * Opens a connection.
 * @param url `ws:` or `wss:`.
 * @throws {HttpFailure} when there is none; `status` is that of an answer other than 101.
 * @throws {AppError} ADDRESS_REFUSED when the guard refuses the address.
 * @throws the reason of `options.signal` when the caller aborted.
 */
export async function openSocket(url: URL, options: SocketOptions): Promise<Socket> {
  const { signal } = options;
  signal?.throwIfAborted();
  options.guard.checkHost(url.hostname);
  const seen: Seen = {};
  const client = createClient(url, options);
  const dispatcher = client.compose(observing(seen));
  const socket = new WebSocket(url, { dispatcher, headers: { 'user-agent': USER_AGENT, ...options.headers } });
  let ended = false;
  const end = () => {
    ended = true;
    signal?.removeEventListener('abort', end);
    socket.close();
    // A peer that does not answer the close frame would keep the connection.
    seen.socket?.destroy();
    client.destroy().catch(() => undefined);
  };
  const closed = (code: number) => {
    if (ended) return;
    end();
    options.onClosed(code);
  };
  signal?.addEventListener('abort', end, { once: true });
  // Listens before anything can arrive: a close frame may come in the packet of the handshake.
  socket.addEventListener('open', () => listen(socket, options, closed), { once: true });
  await opened(socket, seen, options, end);
  return { send: (text) => socket.send(text), end };
}

/** Passes messages on, as many as are allowed. */
function listen(socket: WebSocket, { maxTotal, onMessage }: SocketOptions, closed: (code: number) => void): void {
  let total = 0;
  socket.addEventListener('message', ({ data }) => {
    if (typeof data !== 'string') return;
    total += data.length;
    if (total <= maxTotal) onMessage(data);
    else closed(NOT_CLOSED);
  });
  socket.addEventListener('close', ({ code }) => closed(code));
}

/** Waits until the connection is open. */
function opened(socket: WebSocket, seen: Seen, { timeoutMs, signal }: SocketOptions, end: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      end();
    }, timeoutMs);
    // A connection that fails before it is open is closed, too.
    const failed = () => {
      clearTimeout(timer);
      end();
      reject(signal?.aborted ? signal.reason : failureOf(seen, late));
    };
    socket.addEventListener('close', failed);
    socket.addEventListener('open', () => {
      clearTimeout(timer);
      socket.removeEventListener('close', failed);
      resolve();
    });
  });
}

/**
 * Emails through Resend's API, one attempt per call: the workflow decides when to try again. The id of the email is the
 * idempotency key, so a repeated call sends nothing twice (Resend remembers a key for 24 hours).
 * Every failure is an `AppError` whose `meta` holds status and name, never a key, an address or a text of the email.
 */
import type { OutgoingEmail } from '../../domain/email.ts';
import { AppError, type AppErrorOptions } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import { HttpFailure } from '../http/failures.ts';
import { createHttpClient, type HttpAnswer, type HttpClient } from '../http/http.ts';

/** A way to send emails. */
export interface EmailTransport {
  readonly name: 'resend' | 'smtp';
  /**
   * Sends one email. @returns the receiver's id of it, null if the receiver gave none.
   * @throws {AppError} EMAIL_UNAVAILABLE (a later attempt can succeed; `retryAfterMs` if the receiver gave it),
   * EMAIL_REJECTED (no attempt can succeed) or EMAIL_NOT_CONFIGURED (the key or login is refused: an administrator must
   * act; `retryAfterMs` 5 minutes).
   * @throws the reason of `options.signal` if the caller aborted.
   */
  send(email: OutgoingEmail, options?: { signal?: AbortSignal }): Promise<{ providerId: string | null }>;
  /** Waits for emails in flight, then closes the connections. */
  close(): Promise<void>;
}

export interface ResendTransportOptions {
  /** `https://api.resend.com`, or a server with the same API. */
  baseUrl: string;
  apiKey: Secret;
  /** Milliseconds for one request and its answer; default 30,000. */
  timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** An answer holds an id or an error: hundreds of bytes. */
const MAX_BODY_BYTES = 64 * 1024;
/** Resend allows a team a few requests per second by default, so further connections would only wait. */
const CONNECTIONS = 4;
/** Pause after a 429 without `Retry-After`, or while an attempt with the same key is in flight: the limit counts requests per second. */
const BUSY_MS = 2_000;
/** Pause after a used up quota. It is renewed after hours; a shorter pause notices that an administrator raised it. */
const QUOTA_MS = 10 * 60_000;
/** Pause after a refused key or login, of both transports. */
export const REFUSED_MS = 5 * 60_000;
/** Maximum pause that an answer can ask for. */
const MAX_RETRY_AFTER_MS = 60 * 60_000;

const QUOTA_NAMES: readonly string[] = ['daily_quota_exceeded', 'monthly_quota_exceeded'];
/** Names of errors about the key (https://resend.com/docs/api-reference/errors, and interfaces.ts of resend-node). */
const KEY_NAMES: readonly string[] = ['missing_api_key', 'invalid_api_key', 'restricted_api_key', 'suspended_api_key'];

const clampWait = (ms: number) => Math.min(Math.max(ms, 1_000), MAX_RETRY_AFTER_MS);

/** `Retry-After` in seconds or as an HTTP date, in milliseconds. */
function retryAfter(answer: HttpAnswer): number | undefined {
  const header = answer.header('retry-after')?.trim() ?? '';
  if (/^\d+$/.test(header)) return clampWait(Number(header) * 1_000);
  const date = header === '' ? Number.NaN : Date.parse(header);
  return Number.isNaN(date) ? undefined : clampWait(date - Date.now());
}

function field(text: string, name: string): string | undefined {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body !== 'object' || body === null || !Object.hasOwn(body, name)) return undefined;
    const value: unknown = Reflect.get(body, name);
    return typeof value === 'string' ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The name of an error, if it is one word. Nothing else of an error body leaves this file. */
function errorName(text: string): string | undefined {
  const name = field(text, 'name');
  return name !== undefined && /^[a-z][a-z_]{0,63}$/i.test(name) ? name : undefined;
}

/**
 * True if the answer is about the key. A malformed key gives 400 `validation_error`, as a malformed email does. Only the
 * text distinguishes them; without this, a mistyped key would reject every email until it is corrected.
 */
const isAboutKey = (answer: HttpAnswer, name: string | undefined): boolean =>
  answer.status === 401 ||
  (answer.status === 403 && name !== undefined && KEY_NAMES.includes(name.toLowerCase())) ||
  (answer.status === 400 && /^API key is invalid\.?$/i.test(field(answer.text, 'message') ?? ''));

/** The error of an answer other than 2xx; undefined if the answer means that the email was accepted before. */
function answerError(answer: HttpAnswer): AppError | undefined {
  const { status } = answer;
  const name = errorName(answer.text);
  const meta = { status, ...(name === undefined ? {} : { name }) };
  const unavailable = (wait: number | undefined) => {
    const options: AppErrorOptions = { meta };
    if (wait !== undefined) options.retryAfterMs = wait;
    return new AppError('EMAIL_UNAVAILABLE', options);
  };
  if (isAboutKey(answer, name)) {
    return new AppError('EMAIL_NOT_CONFIGURED', {
      publicMessage: 'The email provider refuses the API key',
      meta,
      retryAfterMs: REFUSED_MS,
    });
  }
  if (status === 429) {
    const wait = name !== undefined && QUOTA_NAMES.includes(name) ? QUOTA_MS : BUSY_MS;
    return unavailable(retryAfter(answer) ?? wait);
  }
  if (status === 409 && name === 'concurrent_idempotent_requests') return unavailable(retryAfter(answer) ?? BUSY_MS);
  // The key is the id of the email, so an earlier attempt was accepted, with other content (ADR 8).
  if (status === 409 && name === 'invalid_idempotent_request') return undefined;
  if (status < 400 || status === 408 || status >= 500) return unavailable(retryAfter(answer));
  return new AppError('EMAIL_REJECTED', {
    publicMessage: `The email provider refused the email (${name ?? `status ${status}`})`,
    meta,
  });
}

function parseBase(baseUrl: string): URL {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new AppError('EMAIL_NOT_CONFIGURED', {
      publicMessage: 'The address of the email provider is not an http(s) URL',
    });
  }
  return url;
}

/** Built for each request, so that the clear key is not kept longer. */
function authorization(apiKey: Secret): string {
  const key = apiKey.reveal().trim();
  if (/^[\x21-\x7e]+$/.test(key)) return `Bearer ${key}`;
  throw new AppError('EMAIL_NOT_CONFIGURED', {
    publicMessage: 'The email API key is empty or has characters that a header cannot hold',
    retryAfterMs: REFUSED_MS,
  });
}

interface Endpoint {
  http: HttpClient;
  path: string;
  apiKey: Secret;
}

/** One attempt. @returns the provider's id; null if it gave none. */
async function sendOnce(
  { http, path, apiKey }: Endpoint,
  email: OutgoingEmail,
  signal: AbortSignal | undefined,
): Promise<{ providerId: string | null }> {
  const { from, to, subject, html, text } = email;
  let answer: HttpAnswer;
  try {
    answer = await http.send({
      method: 'POST',
      path,
      headers: {
        accept: 'application/json',
        'content-type': 'application/json',
        authorization: authorization(apiKey),
        'idempotency-key': email.id,
      },
      body: JSON.stringify({ from, to: [to], subject, html, text }),
      signal,
    });
  } catch (error) {
    if (!(error instanceof HttpFailure)) throw error;
    // Only a 2xx answer can be too large: the email was accepted.
    if (error.kind === 'too-large') return { providerId: null };
    const status = error.status === undefined ? {} : { status: error.status };
    throw new AppError('EMAIL_UNAVAILABLE', { meta: { name: error.reason ?? error.kind, ...status } });
  }
  if (answer.status < 200 || answer.status >= 300) {
    const error = answerError(answer);
    if (error !== undefined) throw error;
    return { providerId: null };
  }
  const id = field(answer.text, 'id');
  return { providerId: id === undefined || id === '' ? null : id };
}

/**
 * A transport with a connection pool of its own; the caller closes it.
 * @throws {AppError} EMAIL_NOT_CONFIGURED if the base URL is not an http(s) URL.
 */
export function createResendTransport(options: ResendTransportOptions): EmailTransport {
  const url = parseBase(options.baseUrl);
  const http = createHttpClient({
    origin: url.origin,
    guard: 'environment',
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    maxBodyBytes: MAX_BODY_BYTES,
    connections: CONNECTIONS,
  });
  const endpoint = { http, path: `${url.pathname.replace(/\/+$/, '')}/emails`, apiKey: options.apiKey };
  return {
    name: 'resend',
    send: (email, { signal } = {}) => sendOnce(endpoint, email, signal),
    close: () => http.close(),
  };
}

/**
 * Email over Resend's API, one attempt a call: when to try again is the workflow's to decide. The email's id is the
 * idempotency key, so a repeated call sends nothing twice (Resend remembers a key for 24 hours).
 * Every failure is an `AppError` whose `meta` holds status and name, never a key, an address or a text of the email.
 */

import type { OutgoingEmail } from '../../domain/email.ts';
import { AppError, type AppErrorOptions } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import { createHttpClient, type HttpAnswer, HttpFailure } from '../http/http.ts';

/** One way email leaves by. */
export interface EmailTransport {
  readonly name: 'resend' | 'smtp';
  /**
   * Hands one email over; `providerId` is what the receiver calls it, null when it did not say.
   * @throws {AppError} EMAIL_UNAVAILABLE (later may work; `retryAfterMs` when it is known), EMAIL_REJECTED (this email never
   * will) or EMAIL_NOT_CONFIGURED (the key or login is refused: a person must act, `retryAfterMs` 5 minutes).
   * @throws the reason of `options.signal` when the caller aborted.
   */
  send(email: OutgoingEmail, options?: { signal?: AbortSignal }): Promise<{ providerId: string | null }>;
  /** Waits for emails in flight and ends the connections. */
  close(): Promise<void>;
}

export interface ResendTransportOptions {
  /** `https://api.resend.com`, or a server that speaks the same. */
  baseUrl: string;
  apiKey: Secret;
  /** Milliseconds for one whole exchange; default 30,000. */
  timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** An answer is an id or an error: hundreds of bytes. */
const MAX_BODY_BYTES = 64 * 1024;
/** Resend's default limit is a few requests a second for a whole team, more sockets would only wait. */
const CONNECTIONS = 4;
/** What to wait after a 429 or an attempt in flight that does not say: the limit is one of requests per second. */
const BUSY_MS = 2_000;
/** A used up quota comes back after hours; looked at often enough to notice a raised one. */
const QUOTA_MS = 10 * 60_000;
/** How long a refused key or login is left alone. Shared by the transports. */
export const REFUSED_MS = 5 * 60_000;
/** No answer may park an email for longer than this. */
const MAX_RETRY_AFTER_MS = 60 * 60_000;

const QUOTA_NAMES: readonly string[] = ['daily_quota_exceeded', 'monthly_quota_exceeded'];
/** Names (https://resend.com/docs/api-reference/errors and resend-node's interfaces.ts) that speak of the key. */
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

/** The error's name, if it is a word: nothing else of an error body leaves this file. */
function errorName(text: string): string | undefined {
  const name = field(text, 'name');
  return name !== undefined && /^[a-z][a-z_]{0,63}$/i.test(name) ? name : undefined;
}

/**
 * A malformed key is answered 400 `validation_error`, as a malformed email is: only the text tells them apart, and a key
 * that is to be corrected must not cost the emails of the meantime.
 */
const speaksOfKey = (answer: HttpAnswer, name: string | undefined): boolean =>
  answer.status === 401 ||
  (answer.status === 403 && name !== undefined && KEY_NAMES.includes(name.toLowerCase())) ||
  (answer.status === 400 && /^API key is invalid\.?$/i.test(field(answer.text, 'message') ?? ''));

/** The error of an answer other than 2xx; undefined when it says that the email was accepted before. */
function answerError(answer: HttpAnswer): AppError | undefined {
  const { status } = answer;
  const name = errorName(answer.text);
  const meta = { status, ...(name === undefined ? {} : { name }) };
  const unavailable = (wait: number | undefined) => {
    const options: AppErrorOptions = { meta };
    if (wait !== undefined) options.retryAfterMs = wait;
    return new AppError('EMAIL_UNAVAILABLE', options);
  };
  if (speaksOfKey(answer, name)) {
    return new AppError('EMAIL_NOT_CONFIGURED', {
      detail: 'The email provider refuses the API key',
      meta,
      retryAfterMs: REFUSED_MS,
    });
  }
  if (status === 429) {
    const wait = name !== undefined && QUOTA_NAMES.includes(name) ? QUOTA_MS : BUSY_MS;
    return unavailable(retryAfter(answer) ?? wait);
  }
  if (status === 409 && name === 'concurrent_idempotent_requests') return unavailable(retryAfter(answer) ?? BUSY_MS);
  // The key is the email's id: an earlier attempt of this very email was accepted, then made with another content.
  if (status === 409 && name === 'invalid_idempotent_request') return undefined;
  if (status < 400 || status === 408 || status >= 500) return unavailable(retryAfter(answer));
  return new AppError('EMAIL_REJECTED', {
    detail: `The email provider refused the email (${name ?? `status ${status}`})`,
    meta,
  });
}

function parseBase(baseUrl: string): URL {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new AppError('EMAIL_NOT_CONFIGURED', { detail: 'The address of the email provider is not an http(s) URL' });
  }
  return url;
}

/**
 * A transport with a pool of its own; {@link EmailTransport.close} it.
 * @throws {AppError} EMAIL_NOT_CONFIGURED when the address cannot be used.
 */
export function createResendTransport(options: ResendTransportOptions): EmailTransport {
  const url = parseBase(options.baseUrl);
  const path = `${url.pathname.replace(/\/+$/, '')}/emails`;
  const http = createHttpClient({
    origin: url.origin,
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    maxBodyBytes: MAX_BODY_BYTES,
    connections: CONNECTIONS,
  });

  /** Made for each call: the clear key lives no longer than the request. */
  function authorization(): string {
    const key = options.apiKey.reveal().trim();
    if (!/^[\x21-\x7e]+$/.test(key)) {
      throw new AppError('EMAIL_NOT_CONFIGURED', {
        detail: 'The email API key is empty or holds characters that no header may hold',
        retryAfterMs: REFUSED_MS,
      });
    }
    return `Bearer ${key}`;
  }

  return {
    name: 'resend',
    async send(email, { signal } = {}) {
      const { from, to, subject, html, text } = email;
      let answer: HttpAnswer;
      try {
        answer = await http.send({
          method: 'POST',
          path,
          headers: {
            accept: 'application/json',
            'content-type': 'application/json',
            authorization: authorization(),
            'idempotency-key': email.id,
          },
          body: JSON.stringify({ from, to: [to], subject, html, text }),
          signal,
        });
      } catch (error) {
        if (!(error instanceof HttpFailure)) throw error;
        // only 2xx fail for their size: whatever it says at such length, the email was accepted
        if (error.kind === 'too-large') return { providerId: null };
        throw new AppError('EMAIL_UNAVAILABLE', {
          meta: {
            name: error.reason ?? error.kind,
            ...(error.status === undefined ? {} : { status: error.status }),
          },
        });
      }
      if (answer.status < 200 || answer.status >= 300) {
        const error = answerError(answer);
        if (error !== undefined) throw error;
        return { providerId: null };
      }
      const id = field(answer.text, 'id');
      return { providerId: id === undefined || id === '' ? null : id };
    },
    close: () => http.close(),
  };
}

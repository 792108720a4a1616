/**
 * Emails through Resend's API, one attempt per call: the workflow decides when to try again. The key of the email is the
 * idempotency key: within a day a repeated call with the same content sends nothing twice.
 * A failure holds status and name of the answer, never a key, an address or a text of the email.
 */
import type { OutgoingEmail } from '../../domain/email.ts';
import { asciiAddress, type Sender, senderText } from '../../domain/email-sender.ts';
import type { Secret } from '../../domain/secret.ts';
import { foreignAnswer, foreignText, jsonOf } from '../http/answers.ts';
import { failureText, HttpFailure, type NotReached, wasNeverSent, whyNotReached } from '../http/failures.ts';
import { createHttpClient, type HttpAnswer, type HttpClient, type HttpRequest } from '../http/http.ts';
import { firewallFailure, type ResendError, resendFailure, retryAfter } from './resend-answers.ts';
import { type EmailTransport, HOLD_MS, notConfigured, SendFailure, type Verdict } from './transport.ts';

export interface ResendTransportOptions {
  /** `https://api.resend.com`, or a server with the same API. */
  baseUrl: string;
  apiKey: Secret;
  /** Milliseconds for one request and its answer; default 30,000. */
  timeoutMs?: number;
}

const WHO = 'the email provider';
const DEFAULT_TIMEOUT_MS = 30_000;
/** An answer holds an id or an error: hundreds of bytes. The list of domains is longer. */
const MAX_BODY_BYTES = 64 * 1024;
/** Resend allows a team a few requests per second by default, so further connections would only wait. */
const CONNECTIONS = 4;
/** Resend keeps a key for 24 hours after the first request; an hour less, because two clocks are compared. */
const KEY_LIFETIME_MS = 23 * 60 * 60_000;

/** Why a host was not reached, where that lasts until the operator acts. */
const OPERATORS: readonly NotReached[] = ['certificate-untrusted', 'certificate-expired', 'certificate-name', 'tls'];

function parseBase(baseUrl: string): URL {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined;
  if (url !== undefined && ['http:', 'https:'].includes(url.protocol)) return url;
  throw notConfigured('The address of the email provider is not an http(s) URL');
}

/** Built for each request, so that the clear key is not kept longer. */
function authorization(apiKey: Secret): string {
  const key = apiKey.reveal().trim();
  if (/^[\x21-\x7e]+$/.test(key)) return `Bearer ${key}`;
  throw notConfigured('The email API key is empty or has characters that a header cannot hold');
}

function notReached(failure: HttpFailure): SendFailure {
  const { kind, status, reason } = failure;
  const why = kind === 'network' ? whyNotReached(reason) : undefined;
  const verdict: Verdict = {
    outcome: 'retry',
    sentence: failureText(WHO, failure),
    accepted: wasNeverSent(failure) ? 'no' : 'unknown',
  };
  const lasting: Partial<Verdict> =
    why !== undefined && OPERATORS.includes(why) ? { outcome: 'hold', pauseMs: HOLD_MS, all: true } : {};
  const meta = { name: reason ?? kind, ...(status === undefined ? {} : { status }) };
  return new SendFailure({ ...verdict, ...lasting }, meta);
}

/** The failure that an answer means, whatever its status, because it did not come from the API. */
function foreignFailure(answer: HttpAnswer, isOwn: (body: unknown) => boolean): SendFailure | undefined {
  const foreign = foreignAnswer(answer, isOwn);
  if (foreign === undefined) return undefined;
  const { status } = answer;
  if (status === 403 && /\b1010\b/.test(answer.text)) return firewallFailure(status);
  const pauseMs = retryAfter(answer);
  const pause = pauseMs === undefined ? {} : { pauseMs };
  const verdict: Verdict = { outcome: 'retry', sentence: foreignText(WHO, foreign), accepted: 'unknown', ...pause };
  return new SendFailure(verdict, { status, name: foreign.kind });
}

const text = (body: unknown, name: string): string | undefined => {
  if (typeof body !== 'object' || body === null || !Object.hasOwn(body, name)) return undefined;
  const value: unknown = Reflect.get(body, name);
  return typeof value === 'string' && value !== '' ? value : undefined;
};

/** An error body has a name and a message; only one word as a name leaves this file. */
function errorOf(body: unknown): ResendError {
  const name = text(body, 'name');
  const word = name !== undefined && /^[a-z][a-z_]{0,63}$/i.test(name) ? name : undefined;
  return { name: word, message: text(body, 'message') ?? '' };
}
const isErrorBody = (body: unknown): boolean => text(body, 'name') !== undefined && text(body, 'message') !== undefined;

interface Endpoint {
  http: HttpClient;
  /** Path of the base URL, without a slash at its end. */
  base: string;
  apiKey: Secret;
}

async function call({ http, base, apiKey }: Endpoint, request: HttpRequest): Promise<HttpAnswer> {
  const headers = { accept: 'application/json', authorization: authorization(apiKey), ...request.headers };
  try {
    return await http.send({ ...request, path: `${base}${request.path}`, headers });
  } catch (error) {
    throw error instanceof HttpFailure ? notReached(error) : error;
  }
}

const isGood = ({ status }: HttpAnswer): boolean => status >= 200 && status < 300;

/** One attempt. @returns the provider's id. */
async function sendOnce(endpoint: Endpoint, email: OutgoingEmail, signal: AbortSignal | undefined) {
  const { key, subject, html, text: plain } = email;
  const from = senderText(email.from);
  const to = [asciiAddress(email.to) ?? email.to];
  const answer = await call(endpoint, {
    method: 'POST',
    path: '/emails',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    // The provider compares it with the body of the first attempt: another order of fields would be another email.
    body: JSON.stringify({ from, to, subject, html, text: plain }),
    signal,
  });
  // A page with status 200 is no confirmation. A further attempt with the same key finds out.
  const isOwn = isGood(answer) ? (body: unknown) => text(body, 'id') !== undefined : isErrorBody;
  const foreign = foreignFailure(answer, isOwn);
  if (foreign !== undefined) throw foreign;
  const body = jsonOf(answer);
  if (!isGood(answer)) throw resendFailure(answer, errorOf(body));
  return { providerId: text(body, 'id') ?? null };
}

/** Lists the domains, which a key with full access may. */
async function checkOnce(endpoint: Endpoint, from: Sender | undefined): Promise<string> {
  const answer = await call(endpoint, { method: 'GET', path: '/domains', headers: {} });
  const foreign = foreignFailure(answer, isGood(answer) ? hasList : isErrorBody);
  if (foreign !== undefined) throw foreign;
  const body = jsonOf(answer);
  if (!isGood(answer)) {
    const error = errorOf(body);
    // A key that may only send is refused here, and is alive.
    if (answer.status === 401 && error.name === 'restricted_api_key')
      return 'Resend knows the key, which may only send';
    throw resendFailure(answer, error);
  }
  const domain = from?.address.split('@').at(-1)?.toLowerCase();
  if (domain === undefined) return 'Resend accepts the key';
  const own = listOf(body).find((one) => text(one, 'name')?.toLowerCase() === domain);
  if (own !== undefined && text(own, 'status') === 'verified') return `Resend accepts the key and the domain ${domain}`;
  throw new SendFailure({
    outcome: 'hold',
    sentence: `Resend accepts the key, but the domain of the sender is not verified there: ${domain}`,
    accepted: 'no',
  });
}

const listOf = (body: unknown): unknown[] => {
  const list: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, 'data') : undefined;
  return Array.isArray(list) ? list : [];
};
const hasList = (body: unknown): boolean =>
  typeof body === 'object' && body !== null && Array.isArray(Reflect.get(body, 'data'));

/**
 * A transport with a connection pool of its own; the caller closes it.
 * @throws {SendFailure} if the base URL is not an http(s) URL.
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
  const endpoint = { http, base: url.pathname.replace(/\/+$/, ''), apiKey: options.apiKey };
  return {
    name: 'resend',
    keyLifetimeMs: KEY_LIFETIME_MS,
    send: (email, { signal } = {}) => sendOnce(endpoint, email, signal),
    check: (from) => checkOnce(endpoint, from),
    close: () => http.close(),
  };
}

/**
 * What an answer of Resend means for an email. Status and name decide, for `validation_error` the text too: it has four
 * meanings. From https://resend.com/docs/api-reference/errors, dashboard/emails/idempotency-keys,
 * api-reference/rate-limit and the types of the npm package `resend`.
 */
import type { HttpAnswer } from '../http/http.ts';
import { HOLD_MS, QUOTA_MS, SendFailure, type Verdict } from './transport.ts';

/** Pause after a 429 without `Retry-After`, or while an attempt with the same key is in flight: limits are per second. */
const BUSY_MS = 2_000;
/** Maximum pause that an answer can ask for. */
const MAX_PAUSE_MS = 60 * 60_000;

const SENDER_ADVICE = 'verify its domain there, or correct EMAIL_FROM or the setting email_from';

const hold = (sentence: string): Verdict => ({ outcome: 'hold', sentence, accepted: 'no', pauseMs: HOLD_MS });

const MEANINGS = {
  key: { ...hold('The email provider refuses the API key'), all: true },
  suspended: { ...hold('The email provider has suspended the API key or the account'), all: true },
  sender: hold(`The email provider refuses the sender: ${SENDER_ADVICE}`),
  firewall: {
    ...hold('A firewall of the email provider refuses requests of this program (error 1010)'),
    all: true,
  },
  forbidden: hold('The email provider does not allow this account to send the email'),
  'daily-quota': {
    ...hold('The daily quota of the email provider is used up'),
    pauseMs: QUOTA_MS,
    all: true,
  },
  'monthly-quota': {
    ...hold('The monthly quota of the email provider is used up: raise it, or wait for the next month'),
    pauseMs: QUOTA_MS,
    all: true,
  },
  /** This request is wrong, or its recipient is. */
  refused: { outcome: 'final', sentence: 'The email provider refused the email', accepted: 'no' },
  suspect: {
    outcome: 'final',
    sentence: 'The email provider refused the email as dangerous: look at its content and at the account',
    accepted: 'no',
    suspect: true,
  },
  /** An email was accepted under this key. The stored content is the same at each attempt, so it is not known which one. */
  'key-used': {
    outcome: 'final',
    sentence:
      'The email provider accepted an email under this id before, with other content: look there whether it was the right one, and send it again if not',
    accepted: 'unknown',
  },
  'in-flight': {
    outcome: 'retry',
    sentence: 'The email provider is still working on an earlier attempt',
    accepted: 'unknown',
    pauseMs: BUSY_MS,
  },
  rate: { outcome: 'retry', sentence: 'The email provider asks to send more slowly', accepted: 'no', pauseMs: BUSY_MS },
  /** Whether an answer 5xx is kept under the key is not documented, so the key stays. */
  outage: { outcome: 'retry', sentence: 'The email provider has a fault of its own', accepted: 'unknown' },
} as const satisfies Record<string, Verdict>;
export type ResendMeaning = keyof typeof MEANINGS;

interface Row {
  status: number | 'any';
  /** Absent: any name. */
  name?: string;
  /** Absent: any text. */
  text?: RegExp;
  means: ResendMeaning;
}

const ABOUT_KEY = /\bAPI key is invalid\b/i;
const ABOUT_FROM = /[`"']from[`"']|\bfrom field\b/i;
const ABOUT_DOMAIN =
  /\bdomain\b.*\bnot verified\b|\bnot verified\b.*\bdomain\b|\bverify a domain\b|\btesting emails\b/i;

/** The first row that fits decides. */
const ROWS: readonly Row[] = [
  { status: 400, name: 'validation_error', text: ABOUT_KEY, means: 'key' },
  { status: 400, name: 'validation_error', text: ABOUT_FROM, means: 'sender' },
  { status: 400, name: 'validation_error', text: ABOUT_DOMAIN, means: 'sender' },
  { status: 401, means: 'key' },
  { status: 403, name: 'validation_error', text: ABOUT_KEY, means: 'key' },
  { status: 403, name: 'validation_error', means: 'sender' },
  { status: 'any', name: 'invalid_from_address', means: 'sender' },
  { status: 'any', name: 'suspended_api_key', means: 'suspended' },
  { status: 'any', name: 'invalid_api_key', means: 'key' },
  { status: 'any', name: 'missing_api_key', means: 'key' },
  { status: 'any', name: 'restricted_api_key', means: 'key' },
  { status: 403, name: 'invalid_to_address', means: 'refused' },
  { status: 403, means: 'forbidden' },
  { status: 409, name: 'invalid_idempotent_request', means: 'key-used' },
  { status: 409, name: 'concurrent_idempotent_requests', means: 'in-flight' },
  { status: 409, means: 'outage' },
  { status: 422, name: 'validation_error', text: ABOUT_FROM, means: 'sender' },
  { status: 422, name: 'validation_error', text: ABOUT_DOMAIN, means: 'sender' },
  { status: 429, name: 'daily_quota_exceeded', means: 'daily-quota' },
  { status: 429, name: 'monthly_quota_exceeded', means: 'monthly-quota' },
  { status: 429, means: 'rate' },
  { status: 451, means: 'suspect' },
  { status: 408, means: 'outage' },
];

/** What an error of the API itself means. Unknown names count by their status. */
export function resendMeaning(status: number, name: string | undefined, text: string): ResendMeaning {
  const row = ROWS.find(
    (r) =>
      (r.status === 'any' || r.status === status) &&
      (r.name === undefined || r.name === name?.toLowerCase()) &&
      (r.text === undefined || r.text.test(text)),
  );
  return row?.means ?? (status >= 400 && status < 500 ? 'refused' : 'outage');
}

/** An error body of the API: `{ statusCode, name, message }`. */
export interface ResendError {
  name: string | undefined;
  message: string;
}

/** The failure that an error of the API means. */
export function resendFailure(answer: Pick<HttpAnswer, 'status' | 'header'>, error: ResendError): SendFailure {
  const { status } = answer;
  const meaning = resendMeaning(status, error.name, error.message);
  const verdict: Verdict = MEANINGS[meaning];
  const about = error.name ?? `status ${status}`;
  const meta = { status, ...(error.name === undefined ? {} : { name: error.name }) };
  const asked = verdict.outcome === 'final' ? undefined : retryAfter(answer);
  return new SendFailure(
    {
      ...verdict,
      sentence: meaning === 'refused' || meaning === 'forbidden' ? `${verdict.sentence} (${about})` : verdict.sentence,
      ...(asked === undefined ? {} : { pauseMs: asked }),
    },
    meta,
  );
}

/** A refusal of Cloudflare in front of the API, as it is documented for requests without a name. */
export const firewallFailure = (status: number): SendFailure => new SendFailure(MEANINGS.firewall, { status });

const clampPause = (ms: number) => Math.min(Math.max(ms, 1_000), MAX_PAUSE_MS);

/** `Retry-After` in seconds or as an HTTP date, or else `ratelimit-reset` in seconds, in milliseconds. */
export function retryAfter(answer: Pick<HttpAnswer, 'status' | 'header'>): number | undefined {
  const header = answer.header('retry-after')?.trim() ?? '';
  if (/^\d+$/.test(header)) return clampPause(Number(header) * 1_000);
  const date = header === '' ? Number.NaN : Date.parse(header);
  if (!Number.isNaN(date)) return clampPause(date - Date.now());
  const reset = answer.header('ratelimit-reset')?.trim() ?? '';
  return answer.status === 429 && answer.header('ratelimit-remaining')?.trim() === '0' && /^\d+$/.test(reset)
    ? clampPause(Number(reset) * 1_000)
    : undefined;
}

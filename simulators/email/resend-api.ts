/**
 * `POST /emails` and `GET /domains` as Resend documents them: API key, fields, sender's domain, refused recipients,
 * idempotency key, errors, rate limit (resend.com/docs: api-reference/errors, api-reference/rate-limit,
 * api-reference/emails/send-email, dashboard/emails/idempotency-keys, dashboard/emails/send-test-emails).
 */
import { z } from 'zod';
import type { EmailState, KeyUse } from './state.ts';

/** An answer of the API. */
export interface ApiAnswer {
  status: number;
  headers?: Record<string, string>;
  body: unknown;
}

/** Default name of an error, by status (https://resend.com/docs/api-reference/errors). */
const NAMES: Readonly<Record<number, string>> = {
  400: 'validation_error',
  401: 'missing_api_key',
  403: 'invalid_api_key',
  404: 'not_found',
  405: 'method_not_allowed',
  409: 'invalid_idempotent_request',
  422: 'validation_error',
  429: 'rate_limit_exceeded',
  451: 'security_error',
  500: 'internal_server_error',
};
/** Maximum length of an idempotency key, in characters, and milliseconds for which it is kept. */
const MAX_KEY_LENGTH = 256;
const KEY_LIFETIME_MS = 24 * 60 * 60_000;
/** Domains for examples, to which nothing is sent (dashboard/emails/send-test-emails). */
const EXAMPLE_DOMAINS: readonly string[] = ['example.com', 'example.net', 'example.org', 'test.com'];
/** `email@example.com` or `Name <email@example.com>`. */
const ADDRESS = /^(?:[^<>\r\n]*<[^\s<>@,]+@[^\s<>@,]+>|[^\s<>@,]+@[^\s<>@,]+)$/;

/** An error answer; the default name is the documented one of the status. */
export const apiError = (status: number, message: string, name = NAMES[status] ?? 'application_error'): ApiAnswer => ({
  status,
  body: { statusCode: status, name, message },
});

const list = z.union([z.string().transform((one) => [one]), z.array(z.string()).min(1).max(50)]);
const BodySchema = z.object({
  from: z.string(),
  to: list,
  subject: z.string(),
  html: z.string().optional(),
  text: z.string().optional(),
});
type Body = z.infer<typeof BodySchema>;

function parseBody(text: string): Body | ApiAnswer {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return apiError(400, 'The request body is not JSON.');
  }
  const parsed = BodySchema.safeParse(value);
  if (!parsed.success) {
    const field = parsed.error.issues[0]?.path[0];
    const present = typeof value === 'object' && value !== null && typeof field === 'string' && field in value;
    return present
      ? apiError(422, `Invalid \`${field}\` field.`)
      : apiError(422, `Missing \`${String(field ?? 'body')}\` field.`, 'missing_required_field');
  }
  const { from, to, html, text: plain } = parsed.data;
  if (html === undefined && plain === undefined) {
    return apiError(422, 'Missing `html` or `text` field.', 'missing_required_field');
  }
  const bad = [from, ...to].find((address) => !ADDRESS.test(address));
  if (bad !== undefined) {
    const field = bad === from ? 'from' : 'to';
    return apiError(
      422,
      `Invalid \`${field}\` field. The email address needs to follow the \`email@example.com\` or \`Name <email@example.com>\` format. Got ${bad}`,
    );
  }
  const example = to.find((address) => EXAMPLE_DOMAINS.includes(domainOf(address)));
  if (example !== undefined) {
    const message = `Invalid \`to\` field. Please use our testing email address instead of domains like \`${domainOf(example)}\`.`;
    return apiError(422, message);
  }
  return parsed.data;
}

const domainOf = (address: string): string => /@([^\s@<>]+)>?$/.exec(address)?.[1]?.toLowerCase() ?? '';

const isAnswer = (value: Body | ApiAnswer): value is ApiAnswer => 'status' in value;

/** What is true of the simulated account. */
export interface ApiAccount {
  apiKey: string;
  sendingOnly: boolean;
  /** Undefined: every domain is verified. */
  domains: readonly string[] | undefined;
}

/** The answer to a request without the right API key; undefined if the key is right. A wrong one has two statuses. */
export function checkKey(
  authorization: string | undefined,
  { apiKey, sendingOnly }: ApiAccount,
  endpoint: 'send' | 'other',
): ApiAnswer | undefined {
  const given = /^Bearer\s+(\S+)$/i.exec(authorization ?? '')?.[1];
  if (given === undefined) return apiError(401, 'Missing API Key');
  if (given !== apiKey) return apiError(endpoint === 'send' ? 401 : 400, 'API key is invalid', 'validation_error');
  return endpoint === 'other' && sendingOnly
    ? apiError(401, 'This API key is restricted to only send emails', 'restricted_api_key')
    : undefined;
}

/** `GET /domains`. */
export const listDomains = ({ domains = [] }: ApiAccount): ApiAnswer => ({
  status: 200,
  body: { data: domains.map((name, i) => ({ id: String(i), name, status: 'verified', region: 'us-east-1' })) },
});

/** Counts requests by second: headers for every answer, and the answer to one too many. */
export function createRateLimit(limit: number): () => { headers: Record<string, string>; refused?: ApiAnswer } {
  let second = 0;
  let used = 0;
  return () => {
    const now = Math.floor(Date.now() / 1000);
    if (now !== second) {
      second = now;
      used = 0;
    }
    used += 1;
    const headers = {
      'ratelimit-limit': String(limit),
      'ratelimit-remaining': String(Math.max(limit - used, 0)),
      'ratelimit-reset': '1',
    };
    if (used <= limit) return { headers };
    const refused = apiError(429, 'Too many requests. Please limit the number of requests per second.');
    return { headers: { ...headers, 'retry-after': '1' }, refused };
  };
}

/**
 * Answers one request that has the right API key. `wait` passes between its arrival and its acceptance; another request
 * with the same idempotency key is refused meanwhile.
 */
export async function sendEmail(
  state: EmailState,
  request: { body: string; idempotencyKey: string | undefined; domains: readonly string[] | undefined },
  wait: () => Promise<void>,
): Promise<ApiAnswer> {
  const { idempotencyKey: key } = request;
  if (key !== undefined && (key.length < 1 || key.length > MAX_KEY_LENGTH)) {
    return apiError(400, 'The key must be between 1-256 chars.', 'invalid_idempotency_key');
  }
  const body = parseBody(request.body);
  if (isAnswer(body)) return body;
  const domain = domainOf(body.from);
  if (request.domains !== undefined && !request.domains.includes(domain)) {
    const message = `The ${domain} domain is not verified. Please, add and verify your domain on https://resend.com/domains`;
    return apiError(403, message, 'validation_error');
  }
  const known = key === undefined ? undefined : state.keys.get(key);
  const use = known !== undefined && Date.now() - known.at < KEY_LIFETIME_MS ? known : undefined;
  if (use !== undefined) {
    if (use.id === undefined) {
      const message = 'Same idempotency key used while original request is still in progress.';
      return apiError(409, message, 'concurrent_idempotent_requests');
    }
    if (use.body !== request.body) {
      const message = 'Same idempotency key used with a different request payload.';
      return apiError(409, message, 'invalid_idempotent_request');
    }
    return { status: 200, body: { id: use.id } };
  }
  const current: KeyUse = { body: request.body, at: Date.now(), id: undefined };
  if (key !== undefined) state.keys.set(key, current);
  await wait();
  const email = state.accept({
    via: 'resend',
    from: body.from,
    to: body.to,
    subject: body.subject,
    html: body.html ?? null,
    text: body.text ?? null,
    headers: [
      ['From', body.from],
      ['To', body.to.join(', ')],
      ['Subject', body.subject],
    ],
    idempotencyKey: key ?? null,
    raw: null,
  });
  current.id = email.id;
  return { status: 200, body: { id: email.id } };
}

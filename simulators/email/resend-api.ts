/** `POST /emails` as Resend documents it: API key, fields, idempotency key, errors. */
import { z } from 'zod';
import type { EmailState } from './state.ts';

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
/** Maximum length of an idempotency key, in characters. */
const MAX_KEY_LENGTH = 256;
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
  return parsed.data;
}

const isAnswer = (value: Body | ApiAnswer): value is ApiAnswer => 'status' in value;

/** The answer to a request without the right API key; undefined if the key is right. */
export function checkKey(authorization: string | undefined, apiKey: string): ApiAnswer | undefined {
  const given = /^Bearer\s+(\S+)$/i.exec(authorization ?? '')?.[1];
  if (given === undefined) return apiError(401, 'Missing API Key');
  return given === apiKey ? undefined : apiError(403, 'API key is invalid');
}

/**
 * Answers one request that has the right API key. `wait` passes between its arrival and its acceptance; another request
 * with the same idempotency key is refused meanwhile.
 */
export async function sendEmail(
  state: EmailState,
  request: { body: string; idempotencyKey: string | undefined },
  wait: () => Promise<void>,
): Promise<ApiAnswer> {
  const { idempotencyKey: key } = request;
  if (key !== undefined && (key.length < 1 || key.length > MAX_KEY_LENGTH)) {
    return apiError(400, 'The key must be between 1-256 chars.', 'invalid_idempotency_key');
  }
  const body = parseBody(request.body);
  if (isAnswer(body)) return body;
  const use = key === undefined ? undefined : state.keys.get(key);
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
  const current: { body: string; id: string | undefined } = { body: request.body, id: undefined };
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

/**
 * Errors as Discord answers them (docs.discord.com/developers/reference, "Error Messages"; …/topics/opcodes-and-status-codes).
 * From v8 on, the errors of a form are nested as the body is. Below v8, and without a version, they come flat, without
 * `code` and `message` (seen in bugsink/bugsink#280).
 */
import type { ApiAnswer } from './answer.ts';

/** One fault of a body, at a path into it. */
export interface FormIssue {
  path: readonly (string | number)[];
  code: string;
  message: string;
}

/** First version with nested errors and seconds. */
export const FIRST_NESTED = 8;

/** Status and text by code. The statuses marked A in our notes are assumed; a fault can name another one. */
const ERRORS: Readonly<Record<number, readonly [status: number, message: string]>> = {
  10003: [400, 'Unknown Channel'],
  10008: [404, 'Unknown Message'],
  10015: [404, 'Unknown Webhook'],
  20016: [429, 'This action cannot be performed due to slowmode rate limit'],
  20028: [429, 'The channel you are writing has hit the write rate limit'],
  20029: [429, 'The write action you are performing on the server has hit the write rate limit'],
  40004: [503, 'Send messages has been temporarily disabled'],
  40005: [413, 'Request entity too large. Try sending something smaller in size'],
  40006: [503, 'This feature has been temporarily disabled server-side'],
  40062: [429, 'Service resource is being rate limited'],
  40067: [400, 'A tag is required to create a forum post in this channel'],
  40333: [403, 'internal network error'],
  50006: [400, 'Cannot send an empty message'],
  50027: [401, 'Invalid Webhook Token'],
  50035: [400, 'Invalid Form Body'],
  50041: [400, 'Invalid API version provided'],
  50083: [400, 'Tried to perform an operation on an archived thread'],
  50109: [400, 'The request body contains invalid JSON.'],
  130000: [503, 'API resource is currently overloaded. Try again a little later'],
  160005: [400, 'Thread is locked'],
  160006: [400, 'Maximum number of active threads reached'],
  200000: [400, 'Message was blocked by automatic moderation'],
  200001: [400, 'Title was blocked by automatic moderation'],
  220001: [400, 'Webhooks posted to forum channels must have a thread_name or thread_id'],
  220002: [400, 'Webhooks posted to forum channels cannot have both a thread_name and thread_id'],
  220003: [400, 'Webhooks can only create threads in forum channels'],
  220004: [400, 'Webhook services cannot be used in forum channels'],
  240000: [400, 'Message blocked by harmful links filter'],
};

/** An answer that refuses the request. */
export class Refusal extends Error {
  readonly answer: ApiAnswer;
  constructor(answer: ApiAnswer) {
    super(String(answer.status));
    this.name = 'Refusal';
    this.answer = answer;
  }
}

/** The answer for a code of Discord; `given` replaces status, text and `errors`. */
export function errorAnswer(
  code: number,
  given: { status?: number | undefined; message?: string | undefined; errors?: unknown } = {},
): ApiAnswer {
  const [status, message] = ERRORS[code] ?? [400, 'Unknown error'];
  return {
    status: given.status ?? status,
    code,
    json: {
      message: given.message ?? message,
      code,
      ...(given.errors === undefined ? {} : { errors: given.errors }),
    },
  };
}

/** Refuses with a code of Discord. */
export const refuse = (code: number): Refusal => new Refusal(errorAnswer(code));

/** An error without a code of its own: `{"message":"405: Method Not Allowed","code":0}` (seen by mymoomin/RSStoWebhook). */
export const plainError = (status: number, text: string): ApiAnswer => ({
  status,
  code: 0,
  json: { message: `${status}: ${text}`, code: 0 },
});

/** Refuses a body, or a part of the URL, for these issues. */
export function refuseForm(issues: readonly FormIssue[], version: number): Refusal {
  if (version >= FIRST_NESTED) return new Refusal(errorAnswer(50035, { errors: nested(issues) }));
  return new Refusal({ status: 400, code: 50035, json: flat(issues) });
}

interface ErrorNode {
  [key: string]: ErrorNode | { code: string; message: string }[];
}

function nested(issues: readonly FormIssue[]): ErrorNode {
  const root: ErrorNode = {};
  for (const { path, code, message } of issues) {
    let node = root;
    for (const key of path) {
      const next = node[key] ?? {};
      if (Array.isArray(next)) continue;
      node[key] = next;
      node = next;
    }
    const own = node['_errors'];
    node['_errors'] = [...(Array.isArray(own) ? own : []), { code, message }];
  }
  return root;
}

/** `{"embeds":["0"]}`: of what lies deeper, only the next key is named. */
function flat(issues: readonly FormIssue[]): Record<string, string[]> {
  const shown: Record<string, string[]> = {};
  for (const { path, message } of issues) {
    const key = String(path[0] ?? '_misc');
    const text = path.length > 1 ? String(path[1]) : message;
    const list = shown[key] ?? [];
    shown[key] = list.includes(text) ? list : [...list, text];
  }
  return shown;
}

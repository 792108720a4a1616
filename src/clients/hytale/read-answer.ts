/**
 * Tells what an answer of a host of Hytale, or its absence, means for every call. Texts of an answer never leave this folder:
 * they can quote a token.
 */
import type { z } from 'zod';
import { type ForeignAnswer, foreignAnswer, foreignText, jsonOf, retryAfterMs } from '../http/answers.ts';
import { failureText, HttpFailure, sentence, wasNeverSent } from '../http/failures.ts';
import type { HttpAnswer, HttpClient, HttpRequest } from '../http/http.ts';
import type { Refused, Unavailable } from './answers.ts';

export interface Host {
  http: HttpClient;
  /** For the middle of a sentence. */
  who: string;
}

/** Statuses below 500 with which a server asks to come again: request timeout, too early, too many requests. */
const COME_AGAIN = [408, 425, 429];
/** A proxy did not get the answer of its server, which may have carried out the request (520 to 524: Cloudflare). */
const ANSWER_LOST = [502, 504, 520, 521, 522, 523, 524];
/** Texts of Cloudflare: `error code: 1010` (name of the client), 1006 and 1015 (address), 1020 (rule). */
const CLOUDFLARE = /\berror(?: code)?:? ?1\d{3}\b/i;
/** What only something in between sends with a status that refuses: the hosts send JSON, plain text or nothing. */
const IN_BETWEEN: readonly ForeignAnswer['kind'][] = ['challenge', 'login', 'redirect', 'php', 'page'];

export const isGood = ({ status }: HttpAnswer): boolean => status >= 200 && status < 300;

/** Sends one request. A failure is a value, except for an abort of the caller. */
export async function send(host: Host, request: HttpRequest): Promise<HttpAnswer | Unavailable> {
  try {
    return await host.http.send(request);
  } catch (error) {
    if (error instanceof HttpFailure) return unreached(host, error);
    throw error;
  }
}

const unreached = ({ who }: Host, failure: HttpFailure): Unavailable => ({
  outcome: 'unavailable',
  httpStatus: null,
  detail: failureText(who, failure),
  lost: !wasNeverSent(failure),
});

/** Whether a request came to no answer. */
export const isUnavailable = (sent: HttpAnswer | Unavailable): sent is Unavailable => 'outcome' in sent;

/** The outage that a status tells of, whatever the body is; undefined: the body decides. */
export function outageOf({ who }: Host, answer: HttpAnswer): Unavailable | undefined {
  const { status } = answer;
  if (isGood(answer) || (status >= 400 && status < 500 && !COME_AGAIN.includes(status))) return undefined;
  const wait = retryAfterMs(answer);
  return {
    outcome: 'unavailable',
    httpStatus: status,
    detail: outageText(who, status),
    ...(wait === undefined ? {} : { retryAfterMs: wait }),
    lost: ANSWER_LOST.includes(status),
  };
}

function outageText(who: string, status: number): string {
  if (status === 429) return sentence(`${who} limits the requests of this service (status 429)`);
  // The target of a redirect is not named: a hostile one can quote a token.
  if (status < 400) return foreignText(who, { kind: 'redirect', status });
  return sentence(`${who} answered that it cannot serve the request now (status ${status})`);
}

/** An answer in place of the host's own. */
export function notOurs(host: Host, answer: HttpAnswer, kind: ForeignAnswer['kind']): Unavailable {
  const { status } = answer;
  const shown = kind === 'login' ? 'redirect' : kind;
  return {
    outcome: 'unavailable',
    httpStatus: status,
    detail: foreignText(host.who, { kind: shown, status }),
    lost: isGood(answer),
  };
}

/**
 * A refusal that something in between sent. For the hosts that refuse in plain text.
 * @returns undefined for a refusal of the host.
 */
export function refusalInBetween(host: Host, answer: HttpAnswer): Unavailable | undefined {
  const kind = foreignAnswer(answer, () => true)?.kind;
  if (kind !== undefined && IN_BETWEEN.includes(kind)) return notOurs(host, answer, kind);
  return kind === 'text' && CLOUDFLARE.test(answer.text.slice(0, 200)) ? notOurs(host, answer, 'challenge') : undefined;
}

/** A refusal without a code. */
export const refused = ({ who }: Host, { status }: HttpAnswer): Refused => ({
  outcome: 'refused',
  error: null,
  httpStatus: status,
  detail: sentence(`${who} refused the request (status ${status})`),
});

/** The fields of a good answer; an outage if it is not whole: the request was carried out, but its result is lost. */
export function fieldsOf<T extends object>(
  host: Host,
  answer: HttpAnswer,
  schema: z.ZodType<T>,
): { fields: T } | Unavailable {
  const kind = foreignAnswer(answer, isObject)?.kind;
  if (kind !== undefined) return notOurs(host, answer, kind);
  const read = schema.safeParse(jsonOf(answer));
  if (read.success) return { fields: read.data };
  // The first part of a path is a name of the schema, not of the answer.
  const names = [...new Set(read.error.issues.map(({ path }) => String(path[0] ?? 'its form')))];
  return {
    outcome: 'unavailable',
    httpStatus: answer.status,
    detail: sentence(
      `${host.who} sent an answer in which this is missing or cannot be read: ${names.join(', ')} (status ${answer.status})`,
    ),
    lost: true,
  };
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

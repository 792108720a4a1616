/** The account data host: which account a token is of, and its profiles. */
import { z } from 'zod';
import type { Secret } from '../../domain/secret.ts';
import { sentence } from '../http/failures.ts';
import type { HttpAnswer, HttpRequest } from '../http/http.ts';
import type { ProfilesResult, Unauthorized } from './answers.ts';
import { isToken, uuid } from './fields.ts';
import {
  fieldsOf,
  type Host,
  isGood,
  isUnavailable,
  outageOf,
  refusalInBetween,
  refused,
  send,
} from './read-answer.ts';

const PROFILES = z.object({
  owner: uuid,
  // An account without the game has none; an empty list can be sent as null.
  profiles: z
    .array(z.object({ uuid, username: z.string().max(100).catch('') }))
    .nullable()
    .default([])
    .transform((profiles) => profiles ?? []),
});

export async function profiles(host: Host, accessToken: Secret, signal?: AbortSignal): Promise<ProfilesResult> {
  const request = bearerRequest(accessToken, { method: 'GET', path: '/my-account/get-profiles', signal });
  if (request === undefined) return unauthorized(host, null);
  const answer = await send(host, request);
  if (isUnavailable(answer)) return answer;
  const outage = outageOf(host, answer);
  if (outage !== undefined) return outage;
  if (!isGood(answer)) {
    return refusalInBetween(host, answer) ?? (isAuth(answer) ? unauthorized(host, answer) : refused(host, answer));
  }
  const read = fieldsOf(host, answer, PROFILES);
  return 'outcome' in read ? read : { outcome: 'ok', ...read.fields };
}

/** A bad bearer was answered with 403 where it was seen, not with 401. */
const isAuth = ({ status }: HttpAnswer): boolean => status === 401 || status === 403;

/** A request with a token; undefined for a token that cannot stand in a header, which no host can accept. */
export function bearerRequest(bearer: Secret, request: Omit<HttpRequest, 'headers'>): HttpRequest | undefined {
  const clear = bearer.reveal();
  if (!isToken(clear)) return undefined;
  return {
    ...request,
    headers: {
      accept: 'application/json',
      authorization: `Bearer ${clear}`,
      ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
    },
  };
}

/** @param answer null: the token was not sent. */
export const unauthorized = ({ who }: Host, answer: HttpAnswer | null): Unauthorized => ({
  outcome: 'unauthorized',
  httpStatus: answer?.status ?? null,
  detail:
    answer === null
      ? 'The stored token is empty or not readable, so it was not sent to Hytale'
      : sentence(`${who} does not accept the token (status ${answer.status})`),
});

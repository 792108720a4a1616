/** The session host: game sessions, which are begun with the token of an account and renewed and ended with their own. */
import { decodeJwt } from 'jose';
import { z } from 'zod';
import type { Secret } from '../../domain/secret.ts';
import { sentence } from '../http/failures.ts';
import type { HttpAnswer } from '../http/http.ts';
import { bearerRequest, unauthorized } from './account-data.ts';
import type { EndSessionResult, NewSessionResult, RefreshSessionResult, SessionPair, Unavailable } from './answers.ts';
import { optionalToken, token } from './fields.ts';
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

/** The body with which Hytale refuses a session over the limit is not documented. */
const LIMIT_TEXT = /limit|concurren|too many|unlimited_servers/i;
/** Seen: `invalid token`, `invalid authorization header`. */
const AUTH_TEXT = /token|authoriz|authenticat|bearer|credential/i;
/** Of a refusal, this much is read. */
const READ_CHARACTERS = 2_000;
const GONE = [401, 403, 404, 410];

export async function newSession(
  host: Host,
  accessToken: Secret,
  profileUuid: string,
  signal?: AbortSignal,
): Promise<NewSessionResult> {
  const body = JSON.stringify({ uuid: profileUuid });
  const request = bearerRequest(accessToken, { method: 'POST', path: '/game-session/new', body, signal });
  if (request === undefined) return unauthorized(host, null);
  const answer = await send(host, request);
  if (isUnavailable(answer)) return answer;
  const outage = outageOf(host, answer);
  if (outage !== undefined) return outage;
  if (!isGood(answer)) return refusalInBetween(host, answer) ?? readNewRefusal(host, answer);
  const read = readPair(host, answer, token);
  return 'outcome' in read ? read : { outcome: 'ok', pair: read };
}

function readNewRefusal(host: Host, answer: HttpAnswer): NewSessionResult {
  const { status } = answer;
  if (status === 401) return unauthorized(host, answer);
  if (status === 404) {
    const detail = 'Hytale does not know the profile, or it is not one of this account (status 404)';
    return { outcome: 'no_profile', httpStatus: status, detail };
  }
  if (status !== 403) return refused(host, answer);
  const text = answer.text.slice(0, READ_CHARACTERS);
  const limit = LIMIT_TEXT.test(text);
  const auth = !limit && AUTH_TEXT.test(text);
  return { outcome: 'forbidden', limit, auth, httpStatus: status, detail: forbiddenText(host, limit, auth) };
}

function forbiddenText({ who }: Host, limit: boolean, auth: boolean): string {
  if (limit) return sentence(`${who} refused the session: the account has as many as Hytale allows (status 403)`);
  const why = auth ? 'it does not accept the token' : 'it does not say why';
  return sentence(`${who} refused the session: ${why} (status 403)`);
}

export async function refreshSession(
  host: Host,
  sessionToken: Secret,
  signal?: AbortSignal,
): Promise<RefreshSessionResult> {
  const request = bearerRequest(sessionToken, { method: 'POST', path: '/game-session/refresh', signal });
  if (request === undefined) {
    const { httpStatus, detail } = unauthorized(host, null);
    return { outcome: 'rejected', httpStatus, detail };
  }
  const answer = await send(host, request);
  if (isUnavailable(answer)) return answer;
  const outage = outageOf(host, answer) ?? (isGood(answer) ? undefined : refusalInBetween(host, answer));
  if (outage !== undefined) return outage;
  if (!isGood(answer)) {
    const detail = sentence(`${host.who} does not renew the session (status ${answer.status})`);
    return { outcome: 'rejected', httpStatus: answer.status, detail };
  }
  const read = readPair(host, answer, optionalToken);
  return 'outcome' in read ? read : { outcome: 'ok', pair: read };
}

export async function endSession(host: Host, sessionToken: Secret, signal?: AbortSignal): Promise<EndSessionResult> {
  const request = bearerRequest(sessionToken, { method: 'DELETE', path: '/game-session', signal });
  if (request === undefined) return { outcome: 'gone' };
  const answer = await send(host, request);
  if (isUnavailable(answer)) return answer;
  if (isGood(answer)) return { outcome: 'ended' };
  const outage = outageOf(host, answer) ?? refusalInBetween(host, answer);
  if (outage !== undefined) return outage;
  if (GONE.includes(answer.status)) return { outcome: 'gone' };
  const { httpStatus, detail } = refused(host, answer);
  return { outcome: 'unavailable', httpStatus, detail, lost: false };
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,12})?(?:Z|[+-]\d\d:\d\d)$/i;
/** A time outside these years is a mistake: the zero time of Go is of year 1. */
const PLAUSIBLE = { from: Date.UTC(2000, 0), to: Date.UTC(2100, 0) };

/** Undefined for an absent time, and for one that cannot be meant. */
function timeOf(text: unknown): Date | undefined {
  if (typeof text !== 'string' || !TIME.test(text)) return undefined;
  const time = new Date(text);
  return time.getTime() >= PLAUSIBLE.from && time.getTime() < PLAUSIBLE.to ? time : undefined;
}

/** When the token itself says that it ends. It is not verified here: the pair is verified before it is stored. */
function endOf(identityToken: Secret): Date | undefined {
  try {
    const { exp } = decodeJwt(identityToken.reveal());
    return exp === undefined ? undefined : timeOf(new Date(exp * 1_000).toISOString());
  } catch {
    return undefined;
  }
}

function readPair<T extends Secret | null>(
  host: Host,
  answer: HttpAnswer,
  sessionToken: z.ZodType<T>,
): (SessionPair & { sessionToken: T }) | Unavailable {
  const schema = z
    .object({ sessionToken, identityToken: token, expiresAt: z.unknown().optional() })
    .transform((fields, context) => {
      const expiresAt = timeOf(fields.expiresAt) ?? endOf(fields.identityToken);
      if (expiresAt === undefined) {
        context.addIssue({ code: 'custom', path: ['expiresAt'] });
        return z.NEVER;
      }
      return { ...fields, expiresAt };
    });
  const read = fieldsOf(host, answer, schema);
  return 'outcome' in read ? read : read.fields;
}

/**
 * The OAuth host: device login and refresh of tokens. oauth4webapi makes the requests. Its readers of answers are not used,
 * because they refuse what Hytale may send: a device code without `expires_in`, an interval as text, an empty refresh token,
 * an error as another content type or beside a WWW-Authenticate header, and an ID token of an issuer that is not known here.
 * They also keep bodies, which hold tokens, in the cause of their errors.
 */
import {
  type AuthorizationServer,
  allowInsecureRequests,
  type Client,
  customFetch,
  deviceAuthorizationRequest,
  deviceCodeGrantRequest,
  None,
  refreshTokenGrantRequest,
} from 'oauth4webapi';
import { z } from 'zod';
import { HYTALE_CLIENT_ID, HYTALE_SCOPE } from '../../domain/hytale/environment.ts';
import { POLL_SECONDS } from '../../domain/hytale/lifecycle.ts';
import type { Secret } from '../../domain/secret.ts';
import { foreignAnswer, jsonOf } from '../http/answers.ts';
import { sentence } from '../http/failures.ts';
import type { HttpAnswer, HttpRequest } from '../http/http.ts';
import { USER_AGENT } from '../http/user-agent.ts';
import type { DeviceCodeResult, PollResult, RefreshResult, TokenSet, Unavailable } from './answers.ts';
import { optionalToken, seconds, shortText, token } from './fields.ts';
import { fieldsOf, type Host, isGood, isObject, isUnavailable, notOurs, outageOf, send } from './read-answer.ts';

const DEVICE_CODE_SECONDS = 600;
const ACCESS_TOKEN_SECONDS = 3_600;
const DAY_SECONDS = 86_400;
/** Years ahead would be no time that a timer can wait for. */
const YEAR_SECONDS = 365 * DAY_SECONDS;

const CLIENT: Client = { client_id: HYTALE_CLIENT_ID };

/** Errors that say our configuration is wrong: a new login cannot help. */
const MISCONFIGURED = ['invalid_client', 'unauthorized_client', 'unsupported_grant_type', 'invalid_scope'];
/** Errors that pass by themselves, although they come with a status below 500. */
const PASSING = /^(?:server_error|temporarily_unavailable|.*(?:timeout|too_many|limit).*)$/;
/** Codes of OAuth and Hydra have two words or more. These are phrases of HTTP, with which a gateway answers. */
const HTTP_PHRASES = ['bad_request', 'not_found', 'method_not_allowed', 'not_acceptable', 'payment_required'];
const ERROR_CODE = /^[a-z]+(?:_[a-z]+)+$/;
const MAX_ERROR_CODE = 40;

/** The error of OAuth that a body holds; undefined if it has another form. */
function errorIn(body: unknown): string | undefined {
  const error = isObject(body) ? body['error'] : undefined;
  if (typeof error !== 'string' || error.length > MAX_ERROR_CODE || !ERROR_CODE.test(error)) return undefined;
  return HTTP_PHRASES.includes(error) ? undefined : error;
}

/** The OAuth calls. @param base origin of the host. */
export function createOAuth(host: Host, base: string) {
  const server: AuthorizationServer = {
    issuer: base,
    device_authorization_endpoint: `${base}/oauth2/device/auth`,
    token_endpoint: `${base}/oauth2/token`,
  };
  const secure = base.startsWith('https:');
  /** Lets oauth4webapi make a request, which the house's client sends. */
  async function exchange(
    request: (options: Parameters<typeof refreshTokenGrantRequest>[4]) => Promise<Response>,
    signal: AbortSignal | undefined,
  ): Promise<HttpAnswer | Unavailable> {
    let sent: Promise<HttpAnswer | Unavailable> | undefined;
    await request({
      // An address of http can only come from the operator's own variable.
      [allowInsecureRequests]: !secure,
      headers: { 'user-agent': USER_AGENT },
      [customFetch]: async (url, { headers, body }) => {
        sent = send(host, requestTo(url, headers, body, signal));
        await sent;
        return new Response();
      },
    });
    if (sent === undefined) throw new Error('oauth4webapi sent no request');
    return sent;
  }
  return {
    async requestDeviceCode(signal?: AbortSignal): Promise<DeviceCodeResult> {
      const scope = { scope: HYTALE_SCOPE };
      const answer = await exchange((o) => deviceAuthorizationRequest(server, CLIENT, None(), scope, o), signal);
      return isUnavailable(answer) ? answer : readDeviceCode(host, answer, secure);
    },
    async pollToken(deviceCode: Secret, signal?: AbortSignal): Promise<PollResult> {
      const code = deviceCode.reveal();
      if (code === '') return { outcome: 'refused', error: 'invalid_grant', httpStatus: null, detail: NOTHING_TO_SEND };
      const answer = await exchange((o) => deviceCodeGrantRequest(server, CLIENT, None(), code, o), signal);
      return isUnavailable(answer) ? answer : readPoll(host, answer, code);
    },
    async refreshToken(refreshToken: Secret, signal?: AbortSignal): Promise<RefreshResult> {
      const spent = refreshToken.reveal();
      if (spent === '')
        return { outcome: 'rejected', error: 'invalid_grant', httpStatus: null, detail: NOTHING_TO_SEND };
      const answer = await exchange((o) => refreshTokenGrantRequest(server, CLIENT, None(), spent, o), signal);
      return isUnavailable(answer) ? answer : readRefresh(host, answer, spent);
    },
  };
}

/** A row of an earlier service can have an empty token. */
const NOTHING_TO_SEND = 'There is no token to send to Hytale';

function requestTo(
  address: string,
  headers: Record<string, string>,
  body: unknown,
  signal: AbortSignal | undefined,
): HttpRequest {
  const url = new URL(address);
  return { method: 'POST', path: `${url.pathname}${url.search}`, headers, body: String(body), signal };
}

const deviceCode = (secure: boolean) => {
  // The page is opened in a browser: a host with TLS does not lead to one without.
  const page = shortText.refine((text) => {
    const protocol = URL.parse(text)?.protocol;
    return protocol === 'https:' || (protocol === 'http:' && !secure);
  });
  return z.object({
    device_code: token,
    user_code: shortText,
    verification_uri: page,
    verification_uri_complete: page.nullable().catch(null).default(null),
    expires_in: seconds(DEVICE_CODE_SECONDS, DAY_SECONDS),
    interval: seconds(POLL_SECONDS.default, DAY_SECONDS),
  });
};
const ANY_DEVICE_CODE = deviceCode(false);
const SECURE_DEVICE_CODE = deviceCode(true);

function readDeviceCode(host: Host, answer: HttpAnswer, secure: boolean): DeviceCodeResult {
  if (!isGood(answer)) {
    const error = errorOf(host, answer, '');
    return typeof error === 'string' ? { outcome: 'refused', error, ...explained(host, answer, error) } : error;
  }
  const read = fieldsOf(host, answer, secure ? SECURE_DEVICE_CODE : ANY_DEVICE_CODE);
  if ('outcome' in read) return read;
  const { fields } = read;
  return {
    outcome: 'ok',
    deviceCode: fields.device_code,
    userCode: fields.user_code,
    verificationUri: fields.verification_uri,
    verificationUriComplete: fields.verification_uri_complete,
    expiresInSeconds: fields.expires_in,
    intervalSeconds: fields.interval,
  };
}

function readPoll(host: Host, answer: HttpAnswer, sent: string): PollResult {
  if (isGood(answer)) return readTokens(host, answer);
  // A limit of polls can come with 429: the code decides.
  const waiting = answer.status >= 400 && answer.status < 500 ? errorIn(jsonOf(answer)) : undefined;
  if (waiting === 'authorization_pending') return { outcome: 'pending' };
  if (waiting === 'slow_down') return { outcome: 'slow_down' };
  const error = errorOf(host, answer, sent);
  if (typeof error !== 'string') return error;
  const explanation = explained(host, answer, error);
  if (error === 'expired_token') return { outcome: 'expired', ...explanation };
  if (error === 'access_denied') return { outcome: 'denied', ...explanation };
  return { outcome: MISCONFIGURED.includes(error) ? 'misconfigured' : 'refused', error, ...explanation };
}

function readRefresh(host: Host, answer: HttpAnswer, sent: string): RefreshResult {
  if (isGood(answer)) return readTokens(host, answer);
  const error = errorOf(host, answer, sent);
  if (typeof error !== 'string') return error;
  const outcome = MISCONFIGURED.includes(error) ? 'misconfigured' : 'rejected';
  return { outcome, error, ...explained(host, answer, error) };
}

/**
 * The code of a decision. An outage, and every answer of another form: a page of something in between must not cost a refresh
 * token. @param sent a code that quotes it is not passed on.
 */
function errorOf(host: Host, answer: HttpAnswer, sent: string): string | Unavailable {
  const outage = outageOf(host, answer);
  if (outage !== undefined) return outage;
  const foreign = foreignAnswer(answer, (body) => errorIn(body) !== undefined);
  const error = errorIn(jsonOf(answer));
  if (foreign !== undefined || error === undefined) return notOurs(host, answer, foreign?.kind ?? 'json');
  if (PASSING.test(error) || (sent !== '' && error.includes(sent))) return notOurs(host, answer, 'json');
  return error;
}

const explained = ({ who }: Host, { status }: HttpAnswer, error: string) => ({
  httpStatus: status,
  detail: sentence(`${who} refused the request: ${error} (status ${status})`),
});

const TOKENS = z.object({
  access_token: token,
  refresh_token: optionalToken,
  expires_in: seconds(ACCESS_TOKEN_SECONDS, YEAR_SECONDS),
  token_type: z
    .string()
    .regex(/^[A-Za-z]{1,20}$/)
    .transform((type) => (type.toLowerCase() === 'bearer' ? 'Bearer' : type))
    .catch('Bearer'),
  // Absent: as it was asked for (RFC 6749, 5.1).
  scope: shortText.catch(HYTALE_SCOPE),
});

function readTokens(host: Host, answer: HttpAnswer): { outcome: 'ok'; tokens: TokenSet } | Unavailable {
  const read = fieldsOf(host, answer, TOKENS);
  if ('outcome' in read) return read;
  const { access_token, refresh_token, expires_in, token_type, scope } = read.fields;
  return {
    outcome: 'ok',
    tokens: {
      accessToken: access_token,
      refreshToken: refresh_token,
      expiresInSeconds: expires_in,
      tokenType: token_type,
      scope,
    },
  };
}

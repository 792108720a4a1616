/**
 * The OAuth host: device authorization (RFC 8628) and tokens (RFC 6749). Where the RFCs leave a choice it does as Ory
 * Hydra, because the tokens of Hytale bear Hydra's prefixes.
 */
import { type ApiAnswer, oauthAnswer, oauthError } from './answer.ts';
import { signAccessToken } from './keys.ts';
import { digest, type Family, type HytaleState, type Login, type RefreshToken } from './state.ts';

const CLIENT_ID = 'hytale-server';
const KNOWN_SCOPES = new Set(['openid', 'offline', 'auth:server']);
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
/** By which `slow_down` lengthens the interval of a login for good (RFC 8628, 3.5). */
const SLOW_DOWN_SECONDS = 5;
/** How much earlier than the interval a poll may arrive: what timers and the way of a request make of it. */
const EARLY_MS = 100;

export type OauthRequest = { form: URLSearchParams } | { refused: ApiAnswer };

/** Reads the body of a request to this host, and checks its client. */
export function readOauth(contentType: string, authorization: string | undefined, body: string): OauthRequest {
  // RFC 6749, 3.2 and 4: parameters come as a form in the body, and none of them twice.
  if (contentType.split(';')[0]?.trim().toLowerCase() !== 'application/x-www-form-urlencoded')
    return { refused: oauthError(400, 'invalid_request', 'The body must be application/x-www-form-urlencoded.') };
  const form = new URLSearchParams(body);
  const names = [...form.keys()];
  if (new Set(names).size !== names.length)
    return { refused: oauthError(400, 'invalid_request', 'A parameter is given more than once.') };
  const client = form.get('client_id');
  if (client === null && authorization === undefined)
    return { refused: oauthError(400, 'invalid_request', 'Client credentials missing or malformed.') };
  // The client is public: a secret, in the form or as Basic, is not how it is registered (Hydra).
  if (client !== CLIENT_ID || form.has('client_secret') || authorization !== undefined)
    return { refused: oauthError(401, 'invalid_client', 'Client authentication failed.') };
  return { form };
}

/** `POST /oauth2/device/auth` (RFC 8628, 3.1). */
export function authorizeDevice(state: HytaleState, form: URLSearchParams): ApiAnswer {
  const scope = form.get('scope') ?? '';
  const unknown = scope.split(' ').find((one) => one !== '' && !KNOWN_SCOPES.has(one));
  if (unknown !== undefined) return oauthError(400, 'invalid_scope', `The client may not request scope '${unknown}'.`);
  const { lives, switches, random } = state;
  const now = state.now();
  const login: Login = {
    deviceCode: random.token('dc'),
    userCode: random.userCode(),
    scope,
    createdAt: now,
    expiresAt: now + lives.deviceCode * 1000,
    intervalSeconds: lives.interval,
    lastPollAt: now,
    status: 'waiting',
    account: null,
    family: null,
  };
  state.logins.set(login.deviceCode, login);
  state.secrets.add(login.deviceCode);
  const uri = `${state.hosts.oauth}/oauth2/device/verify`;
  return oauthAnswer({
    device_code: login.deviceCode,
    user_code: login.userCode,
    verification_uri: uri,
    ...(switches.completeUri ? { verification_uri_complete: `${uri}?user_code=${login.userCode}` } : {}),
    expires_in: lives.deviceCode,
    ...(switches.sendsInterval ? { interval: lives.interval } : {}),
  });
}

export const isDevicePoll = (form: URLSearchParams): boolean => form.get('grant_type') === DEVICE_GRANT;

/** `POST /oauth2/token`. */
export async function exchange(state: HytaleState, form: URLSearchParams): Promise<ApiAnswer> {
  const type = form.get('grant_type');
  if (type === null || type === '') return oauthError(400, 'invalid_request', 'grant_type is missing.');
  if (type === DEVICE_GRANT) return pollDevice(state, form.get('device_code'));
  if (type === 'refresh_token') return refresh(state, form.get('refresh_token'));
  return oauthError(400, 'unsupported_grant_type', `'${type}' is not a supported grant_type.`);
}

function pollDevice(state: HytaleState, deviceCode: string | null): ApiAnswer | Promise<ApiAnswer> {
  if (deviceCode === null) return oauthError(400, 'invalid_request', 'device_code is missing.');
  const login = state.logins.get(deviceCode);
  if (login === undefined) return oauthError(400, 'invalid_grant', 'The device code is unknown.');
  if (login.status === 'redeemed') {
    // Hydra treats a second redemption as theft, as RFC 6749, 4.1.2 asks for codes.
    if (login.family !== null) login.family.revoked = true;
    return oauthError(400, 'invalid_grant', 'The device code was already redeemed.');
  }
  const now = state.now();
  const early = now < login.lastPollAt + login.intervalSeconds * 1000 - EARLY_MS;
  login.lastPollAt = now;
  if (login.expiresAt <= now) return oauthError(400, 'expired_token', 'The device code has expired.');
  if (early) {
    login.intervalSeconds += SLOW_DOWN_SECONDS;
    return oauthError(state.switches.slowDownStatus, 'slow_down', 'The client polls too often.');
  }
  if (login.status === 'denied')
    return oauthError(state.switches.deniedStatus, 'access_denied', 'The resource owner denied the request.');
  if (login.status === 'waiting' || login.account === null)
    return oauthError(400, 'authorization_pending', 'The authorization request is still pending.');
  login.status = 'redeemed';
  login.family = { account: login.account, scope: login.scope, revoked: false };
  const expiresAt = now + state.lives.refreshToken * 1000;
  // RFC 6749, 1.5: the server decides whether there is a refresh token; with Hydra the scope `offline` yields it.
  return issue(state, login.family, login.scope.split(' ').includes('offline') ? expiresAt : null);
}

function refresh(state: HytaleState, given: string | null): ApiAnswer | Promise<ApiAnswer> {
  if (given === null) return oauthError(400, 'invalid_request', 'refresh_token is missing.');
  const token = state.refreshTokens.get(given);
  if (token === undefined) return invalidGrant('The refresh token is unknown.');
  if (token.spentAt !== null) return reuse(state, token, token.spentAt);
  const now = state.now();
  if (token.family.revoked) return invalidGrant('The refresh token was revoked.');
  if (token.expiresAt <= now) return invalidGrant('The refresh token has expired.');
  const { rotates, sliding } = state.switches;
  if (!rotates) return issue(state, token.family, null);
  token.spentAt = now;
  token.facts.spent += 1;
  token.successor = issue(state, token.family, sliding ? now + state.lives.refreshToken * 1000 : token.expiresAt);
  return token.successor;
}

/** A spent token is presented again (RFC 9700, 4.14.2: a sign of theft). */
function reuse(state: HytaleState, token: RefreshToken, spentAt: number): ApiAnswer | Promise<ApiAnswer> {
  const { graceSeconds, reuseRevokesFamily, reuseError } = state.switches;
  token.facts.reused += 1;
  if (!token.family.revoked && token.successor !== null && state.now() < spentAt + graceSeconds * 1000) {
    token.facts.spent += 1;
    return token.successor;
  }
  if (reuseRevokesFamily) token.family.revoked = true;
  return reuseError === 'invalid_grant'
    ? invalidGrant('The refresh token has already been used.')
    : oauthError(401, 'token_inactive', 'Token is inactive because it is malformed, expired or otherwise invalid.');
}

const invalidGrant = (description: string): ApiAnswer => oauthError(400, 'invalid_grant', description);

/** New tokens. @param refreshExpiresAt null: without a refresh token. */
async function issue(state: HytaleState, family: Family, refreshExpiresAt: number | null): Promise<ApiAnswer> {
  const { random, lives } = state;
  const now = state.now();
  const refreshToken = refreshExpiresAt === null ? null : random.token('rt');
  if (refreshToken !== null && refreshExpiresAt !== null) {
    const facts = { digest: digest(refreshToken), account: family.account, spent: 0, reused: 0, answered: false };
    state.refreshTokens.set(refreshToken, {
      family,
      expiresAt: refreshExpiresAt,
      facts,
      spentAt: null,
      successor: null,
    });
    state.secrets.add(refreshToken);
  }
  const iat = Math.floor(now / 1000);
  const accessToken = await signAccessToken({
    iss: state.hosts.oauth,
    client_id: CLIENT_ID,
    sub: family.account,
    iat,
    exp: iat + lives.accessToken,
    jti: random.uuid(),
    scp: family.scope.split(' '),
  });
  state.accessTokens.set(accessToken, { family, expiresAt: now + lives.accessToken * 1000 });
  state.secrets.add(accessToken);
  return oauthAnswer({
    access_token: accessToken,
    token_type: 'Bearer',
    expires_in: lives.accessToken,
    ...(refreshToken === null ? {} : { refresh_token: refreshToken }),
    scope: family.scope,
  });
}

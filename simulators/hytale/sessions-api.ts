/** The hosts that take bearer tokens: profiles of an account, and game sessions. */
import type { JWTPayload } from 'jose';
import { type ApiAnswer, textError } from './answer.ts';
import type { HytaleFault, SimulatedPair, SimulatedSession } from './contract.ts';
import { tampered, unsigned } from './keys.ts';
import { type AccessToken, type HytaleState, isLive, type SessionToken } from './state.ts';

/** How the tokens of an answer are spoiled; undefined: not at all. */
export type Spoiling = Extract<HytaleFault, { kind: 'spoiled' }>['how'] | undefined;

/** The scope of game server tokens. */
const SERVER_SCOPE = 'hytale:server';
const DAY_SECONDS = 86_400;
const LIMIT_TEXT = 'concurrent server session limit reached, sessions.unlimited_servers required';

/** The token of an `Authorization` header (RFC 6750, 2.1). */
export const bearerOf = (header: string | undefined): string | null =>
  /^Bearer +(\S+)$/i.exec(header ?? '')?.[1] ?? null;

/** Texts as seen: without a token `invalid authorization header`, with a bad one `invalid token`. */
const badBearer = (state: HytaleState, bearer: string | null): ApiAnswer =>
  textError(state.switches.badBearerStatus, bearer === null ? 'invalid authorization header' : 'invalid token');

/** The access token of a request, if it is good. */
function accessOf(state: HytaleState, bearer: string | null): AccessToken | undefined {
  const token = state.accessTokens.get(bearer ?? '');
  return token === undefined || token.family.revoked || token.expiresAt <= state.now() ? undefined : token;
}

/** `GET /my-account/get-profiles`. */
export function getProfiles(state: HytaleState, bearer: string | null): ApiAnswer {
  const account = state.accounts.get(accessOf(state, bearer)?.family.account ?? '');
  if (account === undefined) return badBearer(state, bearer);
  return { status: 200, json: { owner: account.id, profiles: account.profiles.map((profile) => ({ ...profile })) } };
}

/** `POST /game-session/new`. */
export async function newSession(
  state: HytaleState,
  bearer: string | null,
  request: { contentType: string; body: string },
  spoiling: Spoiling,
): Promise<ApiAnswer> {
  const access = accessOf(state, bearer);
  const account = state.accounts.get(access?.family.account ?? '');
  if (access === undefined || account === undefined) return badBearer(state, bearer);
  if (!access.family.scope.split(' ').includes('auth:server')) return textError(403, 'insufficient scope');
  const uuid = profileOf(request.contentType, request.body);
  if (uuid === undefined) return textError(400, 'invalid request body');
  const profile = account.profiles.find((one) => one.uuid === uuid);
  if (profile === undefined) return textError(404, 'profile not found');
  const now = state.now();
  const living = state.sessions.filter((session) => session.account === account.id && isLive(session, now));
  if (!account.unlimited && living.length >= state.sessionLimit) return atLimit(state);
  const session = addSession(state, account.id, uuid, state.lives.session);
  return { status: state.switches.newSessionStatus, json: { ...(await newPair(state, session, spoiling, true)) } };
}

function addSession(state: HytaleState, account: string, profile: string, seconds: number): SimulatedSession {
  const createdAt = state.now();
  const expiresAt = createdAt + seconds * 1000;
  const session = { id: state.random.uuid(), account, profile, createdAt, expiresAt, ended: false, refreshes: 0 };
  state.sessions.push(session);
  return session;
}

/** A session that began earlier, of the account's first profile, and its pair. */
export async function runningSession(state: HytaleState, accountId: string, secondsLeft: number) {
  const profile = state.accounts.get(accountId)?.profiles[0]?.uuid;
  if (profile === undefined) throw new Error(`no account ${accountId}`);
  const session = addSession(state, accountId, profile, secondsLeft);
  return { profile, pair: await newPair(state, session, undefined, true) };
}

/** The profile that a body asks for. */
function profileOf(contentType: string, body: string): string | undefined {
  if (contentType.split(';')[0]?.trim().toLowerCase() !== 'application/json') return undefined;
  try {
    const given: unknown = JSON.parse(body);
    const uuid = typeof given === 'object' && given !== null && 'uuid' in given ? given.uuid : undefined;
    return typeof uuid === 'string' ? uuid.toLowerCase() : undefined;
  } catch {
    return undefined;
  }
}

/** The body of this 403 is published nowhere. */
function atLimit(state: HytaleState): ApiAnswer {
  const error = 'session limit';
  if (state.switches.limitBody === 'text') return { ...textError(403, LIMIT_TEXT), error };
  if (state.switches.limitBody === 'empty') return { status: 403, error };
  return { status: 403, json: { error: 'session_limit_exceeded', message: LIMIT_TEXT }, error };
}

/** `POST /game-session/refresh`. */
export async function refreshSession(
  state: HytaleState,
  bearer: string | null,
  spoiling: Spoiling,
): Promise<ApiAnswer> {
  const { switches, lives } = state;
  const now = state.now();
  const token = state.sessionTokens.get(bearer ?? '');
  if (token === undefined || token.void || token.session.ended) return badBearer(state, bearer);
  if (token.expiresAt <= now && !switches.refreshOfExpired) return badBearer(state, bearer);
  const { session } = token;
  if (switches.refreshEndsEarlierPair && switches.refreshHasSessionToken) voidPairs(state, session);
  session.expiresAt = now + lives.session * 1000;
  session.refreshes += 1;
  const pair = await newPair(state, session, spoiling, switches.refreshHasSessionToken);
  return { status: 200, json: { ...pair } };
}

function voidPairs(state: HytaleState, session: SimulatedSession): void {
  for (const token of state.pairs.get(session.id) ?? []) token.void = true;
  state.pairs.delete(session.id);
}

/** `DELETE /game-session`. */
export function endSession(state: HytaleState, bearer: string | null): ApiAnswer {
  const { switches } = state;
  const token: SessionToken | undefined = state.sessionTokens.get(bearer ?? '');
  if (token === undefined) return badBearer(state, bearer);
  if (token.void || !isLive(token.session, state.now()) || token.expiresAt <= state.now())
    return textError(switches.goneStatus, 'session not found');
  token.session.ended = true;
  return { status: switches.endStatus };
}

/** Signs the tokens of a session. The claims are those that the official server reads. */
async function newPair(
  state: HytaleState,
  session: SimulatedSession,
  spoiling: Spoiling,
  withSessionToken: boolean,
): Promise<SimulatedPair> {
  const { audience } = state.switches;
  const { expiresAt } = session;
  const now = Math.floor(state.now() / 1000);
  const username = state.accounts.get(session.account)?.profiles.find(({ uuid }) => uuid === session.profile)?.username;
  const claims = spoil(state, spoiling, {
    iss: state.issuer,
    sub: session.profile,
    iat: now,
    nbf: now,
    exp: Math.floor(expiresAt / 1000),
    scope: SERVER_SCOPE,
    ...(audience === null ? {} : { aud: audience }),
  });
  const profile = { ...(username === undefined ? {} : { username }), entitlements: ['game.base'] };
  // Each token has an id of its own: two of one second would be the same text otherwise.
  const [sessionToken, identityToken] = await Promise.all([
    sign(state, spoiling, { ...claims, jti: state.random.uuid() }),
    sign(state, spoiling, { ...claims, jti: state.random.uuid(), profile }),
  ]);
  state.secrets.add(sessionToken).add(identityToken);
  if (withSessionToken) {
    const spoiled = spoiling === 'none' || spoiling === 'tampered';
    const token: SessionToken = { session, expiresAt, void: spoiled };
    state.sessionTokens.set(sessionToken, token);
    state.pairs.set(session.id, [...(state.pairs.get(session.id) ?? []), token]);
  }
  // Moments of Hytale have nanoseconds.
  const moment = `${new Date(expiresAt).toISOString().slice(0, -1)}${state.random.digits(6)}Z`;
  return { ...(withSessionToken ? { sessionToken } : {}), identityToken, expiresAt: moment };
}

function spoil(state: HytaleState, spoiling: Spoiling, claims: JWTPayload & { iat: number }): JWTPayload {
  switch (spoiling) {
    case 'issuer':
      return { ...claims, iss: 'https://sessions.invalid' };
    case 'expired':
      return { ...claims, exp: claims.iat - 3600, nbf: claims.iat - 7200, iat: claims.iat - 7200 };
    case 'future':
      return { ...claims, iat: claims.iat + DAY_SECONDS };
    case 'no-exp': {
      const { exp: _, ...others } = claims;
      return others;
    }
    case 'subject':
      return { ...claims, sub: state.random.uuid() };
    case 'scope':
      return { ...claims, scope: 'hytale:client' };
    default:
      return claims;
  }
}

async function sign(state: HytaleState, spoiling: Spoiling, claims: JWTPayload): Promise<string> {
  if (spoiling === 'none') return unsigned(claims);
  const token = await state.keys.sign(claims, state.switches.kid);
  return spoiling === 'tampered' ? tampered(token) : token;
}

/** Authenticates callers. Roles and flags are read from the database at each request, never from a token. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Context } from 'koa';
import { isAdministrator } from '../../../domain/accounts/roles.ts';
import { AppError, type ErrorCode } from '../../../domain/errors.ts';
import type { Secret } from '../../../domain/secret.ts';
import { type CallerProblem, findCaller } from '../../../services/accounts/callers.ts';
import { type EventOrigin, recordRoleRefused } from '../../../services/audit/security-events.ts';
import { setupOpen } from '../../../services/settings/setup.ts';
import type { Caller, Services } from '../../context.ts';
import { isLocalCaller } from '../local-caller.ts';
import type { Route } from '../route.ts';

type Problem = 'missing' | 'scheme' | CallerProblem | 'notAdmin';
/** What a failed bearer is answered with: `base`, except for the problems that have an answer of their own. */
type Refusals = { base: Refusal } & Partial<Record<Problem, Refusal>>;
type Refusal = { code: ErrorCode; publicMessage?: string };

const unauthorized = (publicMessage: string): Refusal => ({ code: 'UNAUTHORIZED', publicMessage });
const BEARER: Refusals = {
  base: unauthorized('Invalid token'),
  missing: unauthorized('Missing Authorization header'),
  scheme: unauthorized('Invalid Authorization header format'),
  segments: unauthorized('Invalid token format'),
  claims: unauthorized('Invalid token claims'),
  noUser: unauthorized('Invalid token: missing user ID'),
  unknownUser: unauthorized('User not found'),
  disabled: unauthorized('Account disabled'),
  notAdmin: { code: 'FORBIDDEN', publicMessage: 'Admin access required' },
};
const STREAM: Refusals = {
  base: unauthorized('invalid token'),
  missing: unauthorized('missing token'),
  scheme: unauthorized('invalid token format'),
  segments: unauthorized('invalid token format'),
  encoding: unauthorized('invalid token encoding'),
  claims: unauthorized('invalid token claims'),
  noUser: unauthorized('missing user ID in token'),
  unknownUser: unauthorized('user not found'),
  disabled: unauthorized('account disabled'),
  notAdmin: { code: 'FORBIDDEN', publicMessage: 'forbidden' },
};
const KEY_OR_ADMIN: Refusals = { ...BEARER, missing: unauthorized('Invalid or missing API key') };
/** Where an API key of a program would do as well, the answer does not tell what is wrong with a token. */
const KEY_OR_USER: Refusals = { base: unauthorized('unauthorized'), disabled: { code: 'ACCOUNT_DISABLED' } };
/** In the sign-in area `error` is a code. */
const SIGN_IN: Refusals = {
  base: { code: 'INVALID_TOKEN' },
  missing: { code: 'MISSING_AUTHORIZATION' },
  unknownUser: { code: 'USER_NOT_FOUND' },
  disabled: { code: 'ACCOUNT_DISABLED' },
};

/**
 * The caller, as the route's authentication mode requires.
 * @throws {AppError} with the text that the contract has for the route's area.
 */
export async function authenticate(
  route: Pick<Route, 'auth' | 'authTexts' | 'operationId'>,
  koa: Context,
  deps: Services,
  origin: EventOrigin,
): Promise<Caller> {
  const call = { deps, origin, operation: route.operationId };
  const authorization = koa.get('Authorization');
  switch (route.auth) {
    case 'public':
      return { kind: 'public' };
    case 'admin':
      return bearer(authorization, call, BEARER, true);
    case 'user':
      return bearer(authorization, call, route.authTexts === 'account' ? SIGN_IN : BEARER, false);
    case 'apiKeyOrAdmin':
      return hasApiKey(koa, deps) ? { kind: 'apiKey' } : bearer(authorization, call, KEY_OR_ADMIN, true);
    case 'hytale':
      if (hasApiKey(koa, deps)) return { kind: 'apiKey' };
      return deps.config.hytale.requireAuth ? bearer(authorization, call, KEY_OR_ADMIN, true) : { kind: 'public' };
    case 'hytaleNode':
      if (hasApiKey(koa, deps) || sameSecret(givenKey(koa), deps.config.hytale.logPushKey)) return { kind: 'apiKey' };
      return deps.config.hytale.requireAuth ? bearer(authorization, call, KEY_OR_ADMIN, true) : { kind: 'public' };
    case 'hytaleReader':
      if (hasApiKey(koa, deps)) return { kind: 'apiKey' };
      return deps.config.hytale.requireAuth ? bearer(authorization, call, KEY_OR_ADMIN, false) : { kind: 'public' };
    case 'apiKeyOrUser':
      return hasApiKey(koa, deps) ? { kind: 'apiKey' } : bearer(authorization, call, KEY_OR_USER, false);
    case 'adminQueryToken': {
      const token = firstOf(koa.query['token']);
      return bearer(token === '' ? authorization : `Bearer ${token}`, call, STREAM, true);
    }
    case 'setup':
      // While the wizard is open, an expired bearer that the site still sends is no reason to refuse.
      return (await setupOpen(deps, { local: isLocalCaller(koa) }))
        ? { kind: 'public' }
        : bearer(authorization, call, BEARER, true);
  }
}

function refuse(refusals: Refusals, problem: Problem): AppError {
  const { code, ...options } = refusals[problem] ?? refusals.base;
  return new AppError(code, options);
}

/** A request, for those who look at its caller. */
interface Call {
  deps: Services;
  origin: EventOrigin;
  operation: string;
}

async function bearer(header: string, call: Call, refusals: Refusals, admin: boolean): Promise<Caller> {
  if (header === '') throw refuse(refusals, 'missing');
  const token = readBearer(header);
  if (token === undefined) throw refuse(refusals, 'scheme');
  const found = await findCaller(call.deps, token);
  if ('problem' in found) throw refuse(refusals, found.problem);
  if (admin && !isAdministrator(found.user)) {
    await recordRoleRefused(call.deps, found.user.id, call.operation, call.origin);
    throw refuse(refusals, 'notAdmin');
  }
  return { kind: 'user', ...found };
}

/** The token of an Authorization header of the scheme Bearer, in any case and with any number of blanks (RFC 9110, 11.4). */
export const readBearer = (header: string): string | undefined => /^bearer +(\S+) *$/i.exec(header)?.[1];

/** The first value of a key of the query, "" when it is absent. */
const firstOf = (value: string | string[] | undefined): string => (Array.isArray(value) ? value[0] : value) ?? '';

/** The key of a request, in its header or else in the query; "" without one. */
const givenKey = (koa: Context): string => koa.get('X-API-Key') || firstOf(koa.query['api_key']);

/** Whether the request carries the API key. Without a configured key no request does. */
const hasApiKey = (koa: Context, deps: Services): boolean => sameSecret(givenKey(koa), deps.config.backendApiKey);

/** Compares digests, which have one length, so that neither content nor length shows in the time taken. */
function sameSecret(given: string, expected: Secret | undefined): boolean {
  if (expected === undefined || given === '') return false;
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected.reveal()));
}

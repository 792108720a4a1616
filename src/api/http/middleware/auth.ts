/** The authentication layers. Roles and flags are read from the database at each request, never from a token. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Context } from 'koa';
import { isAdministrator } from '../../../domain/accounts/account.ts';
import { AppError, type ErrorCode } from '../../../domain/errors.ts';
import type { Secret } from '../../../domain/secret.ts';
import type { TokenProblem } from '../../../services/accounts/access-tokens.ts';
import { findAuthUser } from '../../../store/accounts/user-store.ts';
import type { Caller, Services } from '../../context.ts';
import { setupOpen } from '../../routes/setup/setup-state.ts';
import type { Route } from '../route.ts';

type Problem = 'missing' | 'scheme' | TokenProblem | 'unknownUser' | 'disabled' | 'notAdmin';
type Texts = Record<Problem, { code: ErrorCode; detail?: string }>;

const refused = (detail: string) => ({ code: 'UNAUTHORIZED' as const, detail });
const BEARER: Texts = {
  missing: refused('Missing Authorization header'),
  scheme: refused('Invalid Authorization header format'),
  segments: refused('Invalid token format'),
  encoding: refused('Invalid token'),
  claims: refused('Invalid token claims'),
  noUser: refused('Invalid token: missing user ID'),
  signature: refused('Invalid token'),
  unknownUser: refused('User not found'),
  disabled: refused('Account disabled'),
  notAdmin: { code: 'FORBIDDEN', detail: 'Admin access required' },
};
const STREAM: Texts = {
  missing: refused('missing token'),
  scheme: refused('invalid token format'),
  segments: refused('invalid token format'),
  encoding: refused('invalid token encoding'),
  claims: refused('invalid token claims'),
  noUser: refused('missing user ID in token'),
  signature: refused('invalid token'),
  unknownUser: refused('user not found'),
  disabled: refused('account disabled'),
  notAdmin: { code: 'FORBIDDEN', detail: 'forbidden' },
};
const invalidToken = { code: 'INVALID_TOKEN' as const };
const unauthorized = refused('unauthorized');
/** Where a key would do as well, it is not told what is wrong with a token. */
const UNAUTHORIZED: Texts = {
  missing: unauthorized,
  scheme: unauthorized,
  segments: unauthorized,
  encoding: unauthorized,
  claims: unauthorized,
  noUser: unauthorized,
  signature: unauthorized,
  unknownUser: unauthorized,
  disabled: { code: 'ACCOUNT_DISABLED' },
  notAdmin: { code: 'FORBIDDEN', detail: 'forbidden' },
};
const ACCOUNT: Texts = {
  missing: { code: 'MISSING_AUTHORIZATION' },
  scheme: invalidToken,
  segments: invalidToken,
  encoding: invalidToken,
  claims: invalidToken,
  noUser: invalidToken,
  signature: invalidToken,
  unknownUser: { code: 'USER_NOT_FOUND' },
  disabled: { code: 'ACCOUNT_DISABLED' },
  notAdmin: { code: 'FORBIDDEN' },
};

/**
 * Finds out who calls.
 * @throws {AppError} with the text the route's area is bound to.
 */
export async function authenticate(
  route: Pick<Route, 'auth' | 'authTexts'>,
  koa: Context,
  deps: Services,
): Promise<Caller> {
  switch (route.auth) {
    case 'public':
      return { kind: 'public' };
    case 'apiKey':
      return apiKey(koa, deps.config.backendApiKey);
    case 'apiKeyOrAdmin': {
      const given = givenApiKey(koa);
      if (sameSecret(given, deps.config.backendApiKey)) return { kind: 'apiKey' };
      if (koa.get('Authorization') === '') return apiKey(koa, deps.config.backendApiKey);
      return bearer(koa.get('Authorization'), deps, BEARER, true);
    }
    case 'adminQueryToken': {
      const { token } = koa.query;
      const text = Array.isArray(token) ? token[0] : token;
      return text === undefined || text === ''
        ? bearer(koa.get('Authorization'), deps, STREAM, true)
        : bearer(`Bearer ${text}`, deps, STREAM, true);
    }
    case 'admin':
      return bearer(koa.get('Authorization'), deps, BEARER, true);
    case 'setup':
      // While the wizard is open a stale bearer of the site is no reason to refuse.
      if (!(await setupOpen(deps))) return bearer(koa.get('Authorization'), deps, BEARER, true);
      return { kind: 'public' };
    case 'apiKeyOrUser': {
      const given = givenApiKey(koa);
      if (sameSecret(given, deps.config.backendApiKey)) return { kind: 'apiKey' };
      if (koa.get('Authorization') === '') throw new AppError('UNAUTHORIZED', { detail: 'unauthorized' });
      return bearer(koa.get('Authorization'), deps, UNAUTHORIZED, false);
    }
    case 'user':
      return bearer(koa.get('Authorization'), deps, route.authTexts === 'account' ? ACCOUNT : BEARER, false);
  }
}

async function bearer(header: string, deps: Services, texts: Texts, admin: boolean): Promise<Caller> {
  const fail = (problem: Problem): AppError => {
    const { code, detail } = texts[problem];
    return new AppError(code, detail === undefined ? {} : { detail });
  };
  if (header === '') throw fail('missing');
  const [scheme, token, ...more] = header.split(' ');
  if (scheme !== 'Bearer' || token === undefined || token === '' || more.length > 0) throw fail('scheme');
  const verified = await deps.tokens.verify(token);
  if ('problem' in verified) throw fail(verified.problem);
  const user = await findAuthUser(deps.db, verified.userId);
  if (user === undefined) throw fail('unknownUser');
  if (!user.isActive) throw fail('disabled');
  if (admin && !isAdministrator(user)) throw fail('notAdmin');
  return { kind: 'user', user, tokenIssuedAt: verified.issuedAt };
}

function givenApiKey(koa: Context): string {
  const header = koa.get('X-API-Key');
  if (header !== '') return header;
  const { api_key: query } = koa.query;
  return (Array.isArray(query) ? query[0] : query) ?? '';
}

function apiKey(koa: Context, expected: Secret | undefined): Caller {
  if (!sameSecret(givenApiKey(koa), expected)) {
    throw new AppError('UNAUTHORIZED', { detail: 'Invalid or missing API key' });
  }
  return { kind: 'apiKey' };
}

/** Compares digests, which have one length, so that neither content nor length shows in the time taken. */
function sameSecret(given: string, expected: Secret | undefined): boolean {
  if (expected === undefined || given === '') return false;
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected.reveal()));
}

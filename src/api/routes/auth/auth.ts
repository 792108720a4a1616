/** `/api/v1/auth/*`: sign-in, sessions, registration. Failures carry a snake_case code in `error`. */
import { z } from 'zod';
import { isAdministrator, toWireUser, WireUserSchema } from '../../../domain/accounts/account.ts';
import { AppError } from '../../../domain/errors.ts';
import { readBoolean } from '../../../domain/settings.ts';
import { hashPassword } from '../../../store/accounts/password-hash.ts';
import {
  endFamily,
  endSessions,
  lockSession,
  ownerOfSession,
  rotateSession,
} from '../../../store/accounts/session-store.ts';
import { emailExists, findAuthUser, holdUser, insertUser, lockUsers } from '../../../store/accounts/user-store.ts';
import { inTransaction } from '../../../store/db/db.ts';
import { userOf } from '../../context.ts';
import { BodyText, OptionalText, PathId, queryText } from '../../http/fields.ts';
import { byAddress } from '../../http/limits.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import {
  checkCredentials,
  issuePair,
  MessageSchema,
  NO_STORE,
  openSession,
  PASSWORD_ERRORS,
  PASSWORD_LIMITS,
  PairSchema,
  pairBody,
  readEmail,
  requireGoodPassword,
  SIGN_IN,
  SignedInSchema,
  sessionOf,
  signedInBody,
} from './sign-in.ts';

const CREDENTIAL_ERRORS = [
  'MISSING_FIELDS',
  'INVALID_EMAIL',
  'INVALID_CREDENTIALS',
  'EMAIL_NOT_VERIFIED',
  'ACCOUNT_DISABLED',
] as const;
/** Characters of a name at the most. */
const NAME_LIMIT = 255;

/** A name from a body: trimmed, absent when empty. @throws {AppError} INVALID_REQUEST when it is too long. */
function readName(text: string, field: string): string | undefined {
  const name = text.trim();
  if (name.length > NAME_LIMIT || /\p{Cc}/u.test(name)) {
    const message = `at the most ${NAME_LIMIT} characters, none of them a control character`;
    throw new AppError('INVALID_REQUEST', {
      message: `${field}: ${message}`,
      details: [{ path: `body.${field}`, message }],
    });
  }
  return name === '' ? undefined : name;
}

export const authRoutes: Route[] = [
  defineRoute({
    ...SIGN_IN,
    method: 'post',
    path: '/api/v1/auth/login',
    operationId: 'login',
    summary: 'Sign in with e-mail address and password',
    description: 'With the right password of an address that is not verified, a new verification mail is sent.',
    auth: 'public',
    limits: PASSWORD_LIMITS,
    body: z.object({ email: BodyText, password: BodyText }),
    responses: { 200: SignedInSchema },
    errors: [...CREDENTIAL_ERRORS, 'TOKEN_GENERATION_FAILED', 'SESSION_CREATION_FAILED'],
    async handler({ input: { body }, deps }) {
      const { user, confirm } = await checkCredentials(deps, body);
      const pair = await issuePair(deps, user);
      try {
        await inTransaction(deps.db, async (trx) => {
          await confirm(trx);
          await openSession(trx, user, pair);
        });
      } catch (error) {
        if (error instanceof AppError) throw error;
        throw new AppError('SESSION_CREATION_FAILED', { cause: error });
      }
      return { status: 200, body: signedInBody(deps, user, pair, 'Login successful'), headers: NO_STORE };
    },
  }),
  defineRoute({
    ...SIGN_IN,
    method: 'post',
    path: '/api/v1/auth/validate',
    operationId: 'validateCredentials',
    summary: 'Check credentials without opening a session',
    auth: 'public',
    limits: PASSWORD_LIMITS,
    body: z.object({ email: BodyText, password: BodyText }),
    responses: { 200: z.object({ success: z.literal(true), user: WireUserSchema }) },
    errors: [...CREDENTIAL_ERRORS],
    async handler({ input: { body }, deps }) {
      const { user, confirm } = await checkCredentials(deps, body);
      await inTransaction(deps.db, confirm);
      return { status: 200, body: { success: true, user: toWireUser(user) }, headers: NO_STORE };
    },
  }),
  defineRoute({
    ...SIGN_IN,
    method: 'post',
    path: '/api/v1/auth/register',
    operationId: 'register',
    summary: 'Create an account; a verification mail is sent',
    auth: 'public',
    limits: [
      // The site sends a refused form again when the visitor corrects it: most of these are no accounts.
      { name: 'register', max: 20, windowSeconds: 3600, by: byAddress },
    ],
    body: z.object({
      email: BodyText,
      password: BodyText,
      confirmPassword: BodyText,
      username: OptionalText,
      firstName: OptionalText,
      lastName: OptionalText,
    }),
    responses: { 201: MessageSchema },
    errors: [
      'MISSING_FIELDS',
      'INVALID_EMAIL',
      ...PASSWORD_ERRORS,
      'PASSWORDS_DONT_MATCH',
      'REGISTRATION_DISABLED',
      'EMAIL_EXISTS',
    ],
    async handler({ input: { body }, deps }) {
      const { values } = await deps.settings.stored(['registration_enabled']);
      // Only a stored "no" closes it: the setting may never have been made.
      if (!readBoolean(values.get('registration_enabled'), true)) throw new AppError('REGISTRATION_DISABLED');
      if (body.email.trim() === '' || body.password === '' || body.confirmPassword === '') {
        throw new AppError('MISSING_FIELDS');
      }
      const email = readEmail(body.email, 'MISSING_FIELDS');
      const username = readName(body.username, 'username');
      const firstName = readName(body.firstName, 'firstName');
      const lastName = readName(body.lastName, 'lastName');
      requireGoodPassword(body.password);
      if (body.password !== body.confirmPassword) throw new AppError('PASSWORDS_DONT_MATCH');
      if (await emailExists(deps.db, email)) throw new AppError('EMAIL_EXISTS');
      const passwordHash = await hashPassword(body.password);
      await inTransaction(deps.db, async (trx) => {
        const user = await insertUser(trx, {
          email,
          passwordHash,
          ...(username === undefined ? {} : { username }),
          ...(firstName === undefined ? {} : { firstName }),
          ...(lastName === undefined ? {} : { lastName }),
          roles: ['MEMBER'],
          isSystemAdmin: false,
          emailVerified: false,
        });
        await deps.emails.queue(trx, { template: 'email-verification', to: email, userId: user.id });
      });
      return {
        status: 201,
        body: { success: true, message: 'Registration successful. Please verify your email.' },
        headers: NO_STORE,
      };
    },
  }),
  defineRoute({
    ...SIGN_IN,
    method: 'post',
    path: '/api/v1/auth/refresh',
    operationId: 'refreshTokens',
    summary: 'Exchange a refresh token for a new pair',
    description:
      'A refresh token is spent by its use. For 30 seconds it is still taken, for the slower one of two tabs; used later, it ends every session that followed from the same sign-in.',
    auth: 'public',
    // Wide: a refusal here signs a visitor out.
    limits: [{ name: 'refresh', max: 600, windowSeconds: 900, by: byAddress }],
    body: z.object({ refreshToken: BodyText }),
    responses: { 200: PairSchema },
    errors: [
      'MISSING_REFRESH_TOKEN',
      'INVALID_REFRESH_TOKEN',
      'USER_NOT_FOUND',
      'ACCOUNT_DISABLED',
      'TOKEN_GENERATION_FAILED',
      'SESSION_CREATION_FAILED',
    ],
    async handler({ input: { body }, deps }) {
      const given = body.refreshToken.trim();
      if (given === '') throw new AppError('MISSING_REFRESH_TOKEN');
      // What is refused is thrown after the commit: the end of a family must not be rolled back with it.
      const outcome = await inTransaction(deps.db, async (trx) => {
        const owner = await ownerOfSession(trx, given);
        const user = owner === undefined ? undefined : await holdUser(trx, owner);
        const session = await lockSession(trx, given);
        if (session === undefined) return 'INVALID_REFRESH_TOKEN';
        if (session.state === 'spent') {
          await endFamily(trx, session);
          deps.log.warn({ userId: session.userId }, 'a spent refresh token was used: its sessions were ended');
          return 'INVALID_REFRESH_TOKEN';
        }
        if (user === undefined) return 'USER_NOT_FOUND';
        if (!user.isActive) return 'ACCOUNT_DISABLED';
        const pair = await issuePair(deps, user);
        await rotateSession(trx, session, given, sessionOf(pair));
        return pair;
      });
      if (typeof outcome === 'string') throw new AppError(outcome);
      return { status: 200, body: pairBody(deps, outcome, 'Token refreshed'), headers: NO_STORE };
    },
  }),
  defineRoute({
    ...SIGN_IN,
    method: 'post',
    path: '/api/v1/auth/logout',
    operationId: 'logout',
    summary: 'End a session; with a valid bearer, all sessions of its user',
    auth: 'public',
    lenientBody: true,
    body: z.object({ refreshToken: OptionalText }),
    responses: { 200: MessageSchema },
    errors: [],
    async handler({ input: { body }, deps, koa }) {
      const [scheme, bearer = ''] = koa.get('Authorization').split(' ');
      const verified = scheme === 'Bearer' ? await deps.tokens.verify(bearer) : undefined;
      const signedIn = verified !== undefined && 'userId' in verified ? verified.userId : undefined;
      const given = body.refreshToken.trim();
      await inTransaction(deps.db, async (trx) => {
        const owner = await ownerOfSession(trx, given);
        await lockUsers(
          trx,
          [owner, signedIn].filter((id) => id !== undefined),
        );
        const session = await lockSession(trx, given);
        if (session !== undefined) await endFamily(trx, session);
        if (signedIn !== undefined) await endSessions(trx, signedIn);
      });
      return { status: 200, body: { success: true, message: 'Logged out successfully' }, headers: NO_STORE };
    },
  }),
  defineRoute({
    ...SIGN_IN,
    method: 'get',
    path: '/api/v1/auth/me',
    operationId: 'getMe',
    summary: 'The signed-in user',
    auth: 'user',
    authTexts: 'account',
    responses: { 200: z.object({ success: z.literal(true), user: WireUserSchema }) },
    errors: ['MISSING_AUTHORIZATION', 'INVALID_TOKEN', 'USER_NOT_FOUND', 'ACCOUNT_DISABLED'],
    async handler({ caller }) {
      return { status: 200, body: { success: true, user: toWireUser(userOf(caller)) }, headers: NO_STORE };
    },
  }),
  defineRoute({
    ...SIGN_IN,
    method: 'get',
    path: '/api/v1/auth/check-email',
    operationId: 'checkEmail',
    summary: 'Whether an address has an account, for the registration form',
    auth: 'public',
    limits: [{ name: 'check-email', max: 20, windowSeconds: 900, by: byAddress }],
    query: z.object({ email: queryText({ format: 'email' }) }),
    responses: { 200: z.object({ success: z.literal(true), exists: z.boolean() }) },
    errors: ['MISSING_EMAIL', 'INVALID_EMAIL'],
    async handler({ input: { query }, deps }) {
      const email = readEmail(query.email, 'MISSING_EMAIL');
      return { status: 200, body: { success: true, exists: await emailExists(deps.db, email) }, headers: NO_STORE };
    },
  }),
  defineRoute({
    ...SIGN_IN,
    method: 'get',
    path: '/api/v1/auth/users/:id',
    operationId: 'getAuthUser',
    summary: 'A user, for API clients, administrators and the user',
    auth: 'apiKeyOrUser',
    params: PathId,
    responses: { 200: z.object({ success: z.literal(true), user: WireUserSchema }) },
    errors: ['ACCOUNT_DISABLED', 'NO_SUCH_USER'],
    async handler({ input: { params }, caller, deps }) {
      if (caller.kind === 'user' && caller.user.id !== params.id && !isAdministrator(caller.user)) {
        throw new AppError('FORBIDDEN', { detail: 'forbidden' });
      }
      const user = await findAuthUser(deps.db, params.id);
      if (user === undefined) throw new AppError('NO_SUCH_USER');
      return { status: 200, body: { success: true, user: toWireUser(user) }, headers: NO_STORE };
    },
  }),
];

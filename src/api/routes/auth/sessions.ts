/** `/api/v1/auth/*`: sessions and their users. Failures carry a snake_case code in `error`. */
import { z } from 'zod';
import { toWireUser, WireUserSchema } from '../../../domain/accounts/account.ts';
import { isAdministrator } from '../../../domain/accounts/roles.ts';
import { AppError } from '../../../domain/errors.ts';
import { refreshSession, signOut } from '../../../services/accounts/sessions.ts';
import { ROLE_REFUSED } from '../../../services/audit/security-events.ts';
import { findAuthUser } from '../../../store/accounts/user-store.ts';
import { userOf } from '../../context.ts';
import { BodyText, OptionalText, PathId } from '../../http/fields.ts';
import { byAddress } from '../../http/limits.ts';
import { readBearer } from '../../http/middleware/auth.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { MessageSchema, messageBody, PairSchema, pairBody, SIGN_IN } from './shapes.ts';

export const sessionRoutes: Route[] = [
  defineRoute({
    ...SIGN_IN,
    method: 'post',
    path: '/api/v1/auth/refresh',
    operationId: 'refreshTokens',
    summary: 'Exchange a refresh token for a new pair',
    description:
      'A refresh token can be used once. For 30 seconds after its use it is still accepted, for the slower one of two tabs, which gets the same successor; used later, it ends every session that followed from the same sign-in, with its access tokens.',
    auth: 'public',
    // Wide, because a refusal here signs a visitor out.
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
    async handler({ input: { body }, origin, deps }) {
      const given = body.refreshToken.trim();
      if (given === '') throw new AppError('MISSING_REFRESH_TOKEN');
      return { status: 200, body: pairBody(deps, await refreshSession(deps, given, origin), 'Token refreshed') };
    },
  }),
  defineRoute({
    ...SIGN_IN,
    method: 'post',
    path: '/api/v1/auth/logout',
    operationId: 'logout',
    summary: 'End a session with its access tokens; with a valid bearer, all sessions of its user',
    auth: 'public',
    limits: [{ name: 'logout', max: 600, windowSeconds: 900, by: byAddress }],
    lenientBody: true,
    body: z.object({ refreshToken: OptionalText }),
    responses: { 200: MessageSchema },
    errors: [],
    async handler({ input: { body }, origin, deps, koa }) {
      const accessToken = readBearer(koa.get('Authorization'));
      await signOut(deps, { refreshToken: body.refreshToken.trim(), accessToken }, origin);
      return { status: 200, body: messageBody('Logged out successfully') };
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
      return { status: 200, body: { success: true, user: toWireUser(userOf(caller)) } };
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
        throw new AppError('FORBIDDEN', { publicMessage: 'forbidden', meta: ROLE_REFUSED });
      }
      const user = await findAuthUser(deps.db, params.id);
      if (user === undefined) throw new AppError('NO_SUCH_USER');
      return { status: 200, body: { success: true, user: toWireUser(user) } };
    },
  }),
];

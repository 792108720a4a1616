/** `/api/v1/auth/*`: sign-in. Failures carry a snake_case code in `error`. */
import { z } from 'zod';
import { EMAIL_PATTERN, normalizeEmail, PASSWORD_MAX_BYTES, toWireUser, WireUserSchema } from '../../domain/account.ts';
import { AppError } from '../../domain/errors.ts';
import { findByEmail, insertSession, touchLogin, updatePasswordHash } from '../../store/account-store.ts';
import { inTransaction } from '../../store/db.ts';
import { hashPassword, isWeakHash, verifyPassword } from '../../store/password.ts';
import { userOf } from '../context.ts';
import { defineRoute, type Route } from '../route.ts';
import { shownAs } from '../schemas.ts';
import { newRefreshToken, REFRESH_TTL_SECONDS } from '../tokens.ts';

const tags = ['Sign-in'];

const TokenPairSchema = z
  .object({
    accessToken: z.string(),
    refreshToken: z.string().meta({ description: '64 hex digits' }),
    expiresIn: z.int().meta({ description: 'Seconds the access token lives' }),
    tokenType: z.literal('Bearer'),
  })
  .meta({ id: 'TokenPair' });

/** A text field of a body; absent and null are "". */
const BodyText = z
  .string()
  .nullish()
  .transform((text) => text ?? '')
  .meta(shownAs({ type: 'string', minLength: 1 }));

export const authRoutes: Route[] = [
  defineRoute({
    method: 'post',
    path: '/api/v1/auth/login',
    operationId: 'login',
    summary: 'Sign in with e-mail address and password',
    tags,
    auth: 'public',
    invalid: { code: 'INVALID_REQUEST' },
    body: z.object({ email: BodyText, password: BodyText }),
    responses: {
      200: z.object({
        success: z.literal(true),
        message: z.string(),
        user: WireUserSchema,
        tokens: TokenPairSchema,
        accessToken: z.string(),
        refreshToken: z.string(),
        expiresIn: z.int(),
      }),
    },
    errors: [
      'MISSING_FIELDS',
      'INVALID_EMAIL',
      'INVALID_CREDENTIALS',
      'EMAIL_NOT_VERIFIED',
      'ACCOUNT_DISABLED',
      'TOKEN_GENERATION_FAILED',
      'SESSION_CREATION_FAILED',
    ],
    failureText: 'server_error',
    async handler({ input: { body }, deps }) {
      const { password } = body;
      if (body.email.trim() === '' || password === '') throw new AppError('MISSING_FIELDS');
      const email = normalizeEmail(body.email);
      if (!EMAIL_PATTERN.test(email)) throw new AppError('INVALID_EMAIL');
      const user = await findByEmail(deps.db, body.email);
      const right = await verifyPassword(password, user?.password);
      if (user === undefined || !right) throw new AppError('INVALID_CREDENTIALS');
      if (!user.isActive) throw new AppError('ACCOUNT_DISABLED');
      if (user.emailVerified === null) throw new AppError('EMAIL_NOT_VERIFIED');

      const accessToken = await deps.tokens.sign(user);
      const refreshToken = newRefreshToken();
      const stored = user.password;
      // bcrypt reads 72 bytes: an older, longer password still signs in but cannot be hashed anew as a whole.
      const rehash = stored !== null && isWeakHash(stored) && Buffer.byteLength(password) <= PASSWORD_MAX_BYTES;
      const newHash = rehash ? await hashPassword(password) : undefined;
      try {
        await inTransaction(deps.db, async (trx) => {
          await insertSession(trx, { userId: user.id, refreshToken, lifetimeSeconds: REFRESH_TTL_SECONDS });
          await touchLogin(trx, user.id);
          if (newHash !== undefined && stored !== null) await updatePasswordHash(trx, user.id, newHash, stored);
        });
      } catch (error) {
        throw new AppError('SESSION_CREATION_FAILED', { cause: error });
      }
      const expiresIn = deps.tokens.accessTtlSeconds;
      return {
        status: 200,
        body: {
          success: true,
          message: 'Login successful',
          user: toWireUser(user),
          tokens: { accessToken, refreshToken, expiresIn, tokenType: 'Bearer' },
          accessToken,
          refreshToken,
          expiresIn,
        },
        headers: { 'Cache-Control': 'no-store' },
      };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/auth/me',
    operationId: 'getMe',
    summary: 'The signed-in user',
    tags,
    auth: 'user',
    authTexts: 'account',
    responses: { 200: z.object({ success: z.literal(true), user: WireUserSchema }) },
    errors: ['MISSING_AUTHORIZATION', 'INVALID_TOKEN', 'USER_NOT_FOUND', 'ACCOUNT_DISABLED'],
    failureText: 'server_error',
    async handler({ caller }) {
      return {
        status: 200,
        body: { success: true, user: toWireUser(userOf(caller)) },
        headers: { 'Cache-Control': 'no-store' },
      };
    },
  }),
];

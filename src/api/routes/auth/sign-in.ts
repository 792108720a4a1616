/** `/api/v1/auth/*`: signing in and registering. Failures carry a snake_case code in `error`. */
import { z } from 'zod';
import { toWireUser, WireUserSchema } from '../../../domain/accounts/account.ts';
import { PASSWORD_ERRORS } from '../../../domain/accounts/password-policy.ts';
import { CREDENTIAL_ERRORS, signIn, validateCredentials } from '../../../services/accounts/credentials.ts';
import { readEmail } from '../../../services/accounts/email-address.ts';
import { register } from '../../../services/accounts/register.ts';
import { emailExists } from '../../../store/accounts/user-store.ts';
import { BodyText, OptionalText, queryText } from '../../http/fields.ts';
import { byAddress } from '../../http/limits.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { MessageSchema, messageBody, PASSWORD_LIMITS, SIGN_IN, SignedInSchema, signedInBody } from './shapes.ts';

const area = { ...SIGN_IN, auth: 'public' } as const;
const CredentialsBody = z.object({ email: BodyText, password: BodyText });

export const signInRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'post',
    path: '/api/v1/auth/login',
    operationId: 'login',
    summary: 'Sign in with email address and password',
    description: 'With the right password of an address that is not verified, a new verification email is sent.',
    limits: PASSWORD_LIMITS,
    body: CredentialsBody,
    responses: { 200: SignedInSchema },
    errors: [...CREDENTIAL_ERRORS, 'TOKEN_GENERATION_FAILED', 'SESSION_CREATION_FAILED'],
    async handler({ input: { body }, origin, deps }) {
      return { status: 200, body: signedInBody(deps, await signIn(deps, body, origin), 'Login successful') };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: '/api/v1/auth/validate',
    operationId: 'validateCredentials',
    summary: 'Check credentials without opening a session',
    limits: PASSWORD_LIMITS,
    body: CredentialsBody,
    responses: { 200: z.object({ success: z.literal(true), user: WireUserSchema }) },
    errors: [...CREDENTIAL_ERRORS],
    async handler({ input: { body }, origin, deps }) {
      const user = await validateCredentials(deps, body, origin);
      return { status: 200, body: { success: true, user: toWireUser(user) } };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: '/api/v1/auth/register',
    operationId: 'register',
    summary: 'Create an account; a verification email is sent',
    limits: [
      // The site sends a refused form again when the visitor corrects it, so most of these create no account.
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
    async handler({ input: { body }, origin, deps }) {
      await register(deps, body, origin);
      return { status: 201, body: messageBody('Registration successful. Please verify your email.') };
    },
  }),
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/v1/auth/check-email',
    operationId: 'checkEmail',
    summary: 'Whether an address has an account, for the registration form',
    limits: [{ name: 'check-email', max: 20, windowSeconds: 900, by: byAddress }],
    query: z.object({ email: queryText({ format: 'email' }) }),
    responses: { 200: z.object({ success: z.literal(true), exists: z.boolean() }) },
    errors: ['MISSING_EMAIL', 'INVALID_EMAIL'],
    async handler({ input: { query }, deps }) {
      const email = readEmail(query.email, 'MISSING_EMAIL');
      return { status: 200, body: { success: true, exists: await emailExists(deps.db, email) } };
    },
  }),
];

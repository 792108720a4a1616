/** `/api/v1/auth/*`: links in emails. Asking for one has the same answer whether an account exists or not. */
import { z } from 'zod';
import { PASSWORD_ERRORS } from '../../../domain/accounts/password-policy.ts';
import { AppError } from '../../../domain/errors.ts';
import { redeemMagicLink, requestLink } from '../../../services/accounts/magic-link.ts';
import { resetPassword } from '../../../services/accounts/reset-password.ts';
import { verifyEmail } from '../../../services/accounts/verify-email.ts';
import { BodyText, OptionalText } from '../../http/fields.ts';
import { byAddress, byEmailAndAddress, type LimitRule } from '../../http/limits.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { MessageSchema, messageBody, SIGN_IN, SignedInSchema, signedInBody } from './shapes.ts';

const area = { ...SIGN_IN, method: 'post', auth: 'public' } as const;

/** A token has 256 bits and cannot be guessed; this limits what guesses cost the server. */
const redeemLimit = (name: string, max: number): LimitRule[] => [{ name, max, windowSeconds: 900, by: byAddress }];
/** Emails to one address, asked for from one place, and a limit per place. The service limits those from all places. */
const emailLimits = (name: string): LimitRule[] => [
  { name, max: 5, windowSeconds: 3600, by: byEmailAndAddress },
  { name: `${name}-address`, max: 50, windowSeconds: 3600, by: byAddress },
];
const EmailBody = z.object({ email: BodyText });

export const authLinkRoutes: Route[] = [
  defineRoute({
    ...area,
    path: '/api/v1/auth/verify-email',
    operationId: 'verifyEmail',
    summary: 'Verify an address by the token of an email',
    description: 'The user id is read from `id` or from `userId`. A repeat for a verified user changes nothing.',
    limits: redeemLimit('verify-email', 30),
    body: z.object({ token: BodyText, id: OptionalText, userId: OptionalText }),
    responses: { 200: MessageSchema },
    errors: ['MISSING_FIELDS', 'INVALID_LINK_TOKEN', 'TOKEN_EXPIRED', 'ALREADY_VERIFIED'],
    async handler({ input: { body }, deps }) {
      const token = body.token.trim();
      const userId = (body.id || body.userId).trim();
      if (token === '' || userId === '') throw new AppError('MISSING_FIELDS');
      await verifyEmail(deps, { userId, token });
      return { status: 200, body: messageBody('Email verified successfully') };
    },
  }),
  defineRoute({
    ...area,
    path: '/api/v1/auth/forgot-password',
    operationId: 'forgotPassword',
    summary: 'Ask for an email with a link to set a new password',
    limits: emailLimits('forgot-password'),
    body: EmailBody,
    responses: { 200: MessageSchema },
    errors: ['MISSING_EMAIL', 'INVALID_EMAIL'],
    async handler({ input: { body }, origin, deps }) {
      await requestLink(deps, 'password-reset', body.email, origin);
      const message = 'If an account exists with that email, you will receive a password reset link';
      return { status: 200, body: messageBody(message) };
    },
  }),
  defineRoute({
    ...area,
    path: '/api/v1/auth/reset-password',
    operationId: 'resetPassword',
    summary: 'Set a new password by the token of an email; ends all sessions',
    description: '`id` and `confirmPassword` may be left out; if given, they are checked.',
    limits: redeemLimit('reset-password', 30),
    body: z.object({ token: BodyText, id: OptionalText, password: BodyText, confirmPassword: OptionalText }),
    responses: { 200: MessageSchema },
    errors: ['MISSING_FIELDS', ...PASSWORD_ERRORS, 'PASSWORDS_DONT_MATCH', 'INVALID_LINK_TOKEN', 'TOKEN_EXPIRED'],
    async handler({ input: { body }, origin, deps }) {
      const { password, confirmPassword } = body;
      const token = body.token.trim();
      if (token === '' || password === '') throw new AppError('MISSING_FIELDS');
      if (confirmPassword !== '' && confirmPassword !== password) throw new AppError('PASSWORDS_DONT_MATCH');
      await resetPassword(deps, { token, userId: body.id.trim(), password }, origin);
      return { status: 200, body: messageBody('Password reset successfully') };
    },
  }),
  defineRoute({
    ...area,
    path: '/api/v1/auth/magic-link',
    operationId: 'requestMagicLink',
    summary: 'Ask for an email with a link that signs in',
    limits: emailLimits('magic-link'),
    body: EmailBody,
    responses: { 200: MessageSchema },
    errors: ['MISSING_EMAIL', 'INVALID_EMAIL'],
    async handler({ input: { body }, origin, deps }) {
      await requestLink(deps, 'magic-link', body.email, origin);
      const message = 'If an account exists with that email, a magic link will be sent';
      return { status: 200, body: messageBody(message) };
    },
  }),
  defineRoute({
    ...area,
    path: '/api/v1/auth/magic-link/verify',
    operationId: 'redeemMagicLink',
    summary: 'Sign in by the token of a magic link, once',
    description:
      'The first proof of an address in this way removes the password and the sessions of the person who registered it: a new password is set by a reset link.',
    limits: redeemLimit('magic-link-verify', 30),
    body: z.object({ token: BodyText }),
    responses: { 200: SignedInSchema },
    errors: ['MISSING_TOKEN', 'INVALID_TOKEN', 'ACCOUNT_DISABLED', 'TOKEN_GENERATION_FAILED'],
    async handler({ input: { body }, origin, deps }) {
      const token = body.token.trim();
      if (token === '') throw new AppError('MISSING_TOKEN');
      const signedIn = await redeemMagicLink(deps, token, origin);
      return { status: 200, body: signedInBody(deps, signedIn, 'Magic link verified') };
    },
  }),
];

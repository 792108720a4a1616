/** `/api/v1/auth/*`: what is done by a link from a mail. Asking for one tells nobody whether an account exists. */
import { z } from 'zod';
import type { EmailTemplate } from '../../../domain/email.ts';
import { AppError } from '../../../domain/errors.ts';
import { deleteTokens, lockToken, ownerOfToken } from '../../../store/accounts/one-time-token-store.ts';
import { hashPassword } from '../../../store/accounts/password-hash.ts';
import { endSessions } from '../../../store/accounts/session-store.ts';
import {
  clearPassword,
  findAuthUser,
  lockPassword,
  markEmailVerified,
  setPasswordHash,
  touchLogin,
} from '../../../store/accounts/user-store.ts';
import { inTransaction } from '../../../store/db/db.ts';
import { BodyText, OptionalText } from '../../http/fields.ts';
import { byAddress, byEmail, byEmailAndAddress, type LimitRule } from '../../http/limits.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import {
  issuePair,
  MessageSchema,
  NO_STORE,
  openSession,
  PASSWORD_ERRORS,
  readEmail,
  requireGoodPassword,
  SIGN_IN,
  SignedInSchema,
  signedInBody,
} from './sign-in.ts';

const area = { ...SIGN_IN, method: 'post', auth: 'public' } as const;

/** Guessing 256 bits is hopeless; this bounds what trying costs us. */
const redeemLimit = (name: string, max: number): LimitRule[] => [{ name, max, windowSeconds: 900, by: byAddress }];
/** Mails that one place, or all places together, may have sent to one address; a lid on one place. */
const mailLimits = (name: string): LimitRule[] => [
  { name, max: 5, windowSeconds: 3600, by: byEmailAndAddress },
  { name: `${name}-account`, max: 10, windowSeconds: 3600, by: byEmail },
  { name: `${name}-address`, max: 50, windowSeconds: 3600, by: byAddress },
];

/** A route that queues a mail to whoever has the address; if nobody has it, the worker finds that out. */
const askForLink = (ask: {
  path: string;
  operationId: string;
  summary: string;
  limit: string;
  template: EmailTemplate;
  message: string;
}) =>
  defineRoute({
    ...area,
    path: ask.path,
    operationId: ask.operationId,
    summary: ask.summary,
    limits: mailLimits(ask.limit),
    body: z.object({ email: BodyText }),
    responses: { 200: MessageSchema },
    errors: ['MISSING_EMAIL', 'INVALID_EMAIL'],
    async handler({ input: { body }, deps }) {
      const email = readEmail(body.email, 'MISSING_EMAIL');
      await inTransaction(deps.db, (trx) => deps.emails.queue(trx, { template: ask.template, to: email }));
      return { status: 200, body: { success: true, message: ask.message }, headers: NO_STORE };
    },
  });

export const authLinkRoutes: Route[] = [
  defineRoute({
    ...area,
    path: '/api/v1/auth/verify-email',
    operationId: 'verifyEmail',
    summary: 'Verify an address by the token of a mail',
    description: 'The user id is taken as `id` or as `userId`. A repeat for a verified user changes nothing.',
    limits: redeemLimit('verify-email', 30),
    body: z.object({ token: BodyText, id: OptionalText, userId: OptionalText }),
    responses: { 200: MessageSchema },
    errors: ['MISSING_FIELDS', 'INVALID_MAILED_TOKEN', 'TOKEN_EXPIRED', 'ALREADY_VERIFIED'],
    async handler({ input: { body }, deps }) {
      const token = body.token.trim();
      const userId = (body.id || body.userId).trim();
      if (token === '' || userId === '') throw new AppError('MISSING_FIELDS');
      await inTransaction(deps.db, async (trx) => {
        // The strongest lock at once: the row is written below.
        await lockPassword(trx, userId);
        const user = await findAuthUser(trx, userId);
        const found = await lockToken(trx, token, 'email_verification');
        const good = found !== undefined && found.userId === userId && user !== undefined;
        if (!good || found.expired) {
          // The link was used before: the page runs it again on every load.
          if (user !== undefined && user.emailVerified !== null) throw new AppError('ALREADY_VERIFIED');
          throw new AppError(good ? 'TOKEN_EXPIRED' : 'INVALID_MAILED_TOKEN');
        }
        await markEmailVerified(trx, userId);
        await deleteTokens(trx, userId, ['email_verification']);
      });
      return { status: 200, body: { success: true, message: 'Email verified successfully' }, headers: NO_STORE };
    },
  }),
  askForLink({
    path: '/api/v1/auth/forgot-password',
    operationId: 'forgotPassword',
    summary: 'Ask for a mail with a link to set a new password',
    limit: 'forgot-password',
    template: 'password-reset',
    message: 'If an account exists with that email, you will receive a password reset link',
  }),
  defineRoute({
    ...area,
    path: '/api/v1/auth/reset-password',
    operationId: 'resetPassword',
    summary: 'Set a new password by the token of a mail; ends all sessions',
    description: '`id` and `confirmPassword` may be left out; what is given is checked.',
    limits: redeemLimit('reset-password', 30),
    body: z.object({ token: BodyText, id: OptionalText, password: BodyText, confirmPassword: OptionalText }),
    responses: { 200: MessageSchema },
    errors: ['MISSING_FIELDS', ...PASSWORD_ERRORS, 'PASSWORDS_DONT_MATCH', 'INVALID_MAILED_TOKEN', 'TOKEN_EXPIRED'],
    async handler({ input: { body }, deps }) {
      const token = body.token.trim();
      const id = body.id.trim();
      if (token === '' || body.password === '') throw new AppError('MISSING_FIELDS');
      if (body.confirmPassword !== '' && body.confirmPassword !== body.password) {
        throw new AppError('PASSWORDS_DONT_MATCH');
      }
      requireGoodPassword(body.password);
      const judge = (found: { userId: string; expired: boolean } | undefined): string => {
        if (found === undefined || (id !== '' && id !== found.userId)) throw new AppError('INVALID_MAILED_TOKEN');
        if (found.expired) throw new AppError('TOKEN_EXPIRED');
        return found.userId;
      };
      // Looked at before the costly hash; what counts is the second look, under the lock.
      const owner = await inTransaction(deps.db, async (trx) => judge(await lockToken(trx, token, 'password_reset')));
      const hash = await hashPassword(body.password);
      await inTransaction(deps.db, async (trx) => {
        await setPasswordHash(trx, owner, hash);
        const userId = judge(await lockToken(trx, token, 'password_reset'));
        await deleteTokens(trx, userId, ['password_reset', 'magic_link']);
        await endSessions(trx, userId);
      });
      return { status: 200, body: { success: true, message: 'Password reset successfully' }, headers: NO_STORE };
    },
  }),
  askForLink({
    path: '/api/v1/auth/magic-link',
    operationId: 'requestMagicLink',
    summary: 'Ask for a mail with a link that signs in',
    limit: 'magic-link',
    template: 'magic-link',
    message: 'If an account exists with that email, a magic link will be sent',
  }),
  defineRoute({
    ...area,
    path: '/api/v1/auth/magic-link/verify',
    operationId: 'redeemMagicLink',
    summary: 'Sign in by the token of a magic link, once',
    description:
      'The first proof of an address that way clears the password and the sessions of whoever registered it: a new password is set by a reset link.',
    limits: redeemLimit('magic-link-verify', 30),
    body: z.object({ token: BodyText }),
    responses: { 200: SignedInSchema },
    errors: ['MISSING_TOKEN', 'INVALID_TOKEN', 'ACCOUNT_DISABLED', 'TOKEN_GENERATION_FAILED'],
    async handler({ input: { body }, deps }) {
      const token = body.token.trim();
      if (token === '') throw new AppError('MISSING_TOKEN');
      const { user, pair } = await inTransaction(deps.db, async (trx) => {
        const ownerId = await ownerOfToken(trx, token, 'magic_link');
        if (ownerId === undefined) throw new AppError('INVALID_TOKEN');
        // Written first: two redeemings that both only held the row would wait for each other.
        await touchLogin(trx, ownerId);
        const owner = await findAuthUser(trx, ownerId);
        const found = await lockToken(trx, token, 'magic_link');
        if (owner === undefined || found === undefined || found.expired) throw new AppError('INVALID_TOKEN');
        if (!owner.isActive) throw new AppError('ACCOUNT_DISABLED');
        await deleteTokens(trx, owner.id, ['magic_link']);
        if (owner.emailVerified === null) {
          // The mail arrived, so the address is this person's. Whoever registered it before, with a password of his own,
          // need not be the same person: nothing of his stays.
          await markEmailVerified(trx, owner.id);
          await clearPassword(trx, owner.id);
          await deleteTokens(trx, owner.id, ['email_verification', 'password_reset']);
          await endSessions(trx, owner.id);
        }
        const signedIn = (await findAuthUser(trx, owner.id)) ?? owner;
        const issued = await issuePair(deps, signedIn);
        await openSession(trx, signedIn, issued);
        return { user: signedIn, pair: issued };
      });
      return { status: 200, body: signedInBody(deps, user, pair, 'Magic link verified'), headers: NO_STORE };
    },
  }),
];

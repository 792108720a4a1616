/** `/api/v1/dashboard/account*`: a user's own profile, password and address. */
import { z } from 'zod';
import { isEmail, normalizeEmail, passwordProblem } from '../../../domain/accounts/account.ts';
import { AppError, type ErrorCode } from '../../../domain/errors.ts';
import {
  findProfile,
  PROFILE_FIELDS,
  type Profile,
  type ProfileChanges,
  type ProfileField,
  updateProfile,
} from '../../../store/accounts/dashboard-store.ts';
import { deleteTokens } from '../../../store/accounts/one-time-token-store.ts';
import { hashPassword, verifyPassword } from '../../../store/accounts/password-hash.ts';
import { endSessions } from '../../../store/accounts/session-store.ts';
import { changeEmail, findAuthUser, lockPassword, setPasswordHash } from '../../../store/accounts/user-store.ts';
import { inTransaction } from '../../../store/db/db.ts';
import { takeTokens } from '../../../store/rate-limit-store.ts';
import { type Caller, userOf } from '../../context.ts';
import { envelope, IsoDate, ok } from '../../http/envelopes.ts';
import { BodyText, profileText } from '../../http/fields.ts';
import { byEmailIn, byUser, type LimitRule } from '../../http/limits.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { NO_STORE, PASSWORD_ERRORS, queueVerification, VERIFICATION_LIMIT } from '../auth/sign-in.ts';

/** What the routes of the area have in common. */
const area = {
  tags: ['Account'],
  auth: 'user',
  invalid: { code: 'VALIDATION_ERROR', detail: 'Invalid request body' },
} as const;

/** The same request again within so many seconds is a repeat. */
const REPEAT = { name: 'resend-verification-repeat', capacity: 1, windowSeconds: 5 };
/** Mails that changes of address send: to one address, and by one account. The site may send each request twice. */
const ADDRESS_CHANGES: readonly LimitRule[] = [
  {
    name: 'change-email-target',
    max: 6,
    windowSeconds: 3600,
    by: byEmailIn('newEmail'),
  },
  { name: 'change-email', max: 12, windowSeconds: 3600, by: byUser },
];
/** Ten tries at a password: the site sends each refused request a second time. */
const PASSWORD_CHECK: LimitRule = { name: 'password-check', max: 20, windowSeconds: 900, by: byUser };
/** Characters of a text at the most. */
const TEXT_LIMIT = 255;
const ProfileText = profileText(TEXT_LIMIT);

const ProfileSchema = z
  .object({
    id: z.string(),
    username: z.string().nullable(),
    email: z.string(),
    firstName: z.string().nullable(),
    lastName: z.string().nullable(),
    phoneNumber: z.string().nullable(),
    companyName: z.string().nullable(),
    billingEmail: z.string().nullable(),
    avatarUrl: z.string().nullable(),
    accountBalance: z.number(),
    createdAt: IsoDate,
    emailVerified: z.boolean(),
    lastLoginAt: IsoDate.nullable(),
    roles: z.array(z.string()),
  })
  .meta({ id: 'Profile', description: "A user's own account" });

/** @throws {AppError} UNAUTHORIZED when the user is gone meanwhile. */
function toWireProfile(profile: Profile | undefined): z.input<typeof ProfileSchema> {
  if (profile === undefined) throw new AppError('UNAUTHORIZED', { detail: 'User not found' });
  return {
    ...profile,
    createdAt: profile.createdAt.toISOString(),
    lastLoginAt: profile.lastLoginAt?.toISOString() ?? null,
  };
}

/** What is wrong with a field, as a sentence; undefined when all is well. */
function problemOf(field: ProfileField, text: string): string | undefined {
  if (text.length > TEXT_LIMIT || /\p{Cc}/u.test(text)) {
    return `${field} may have ${TEXT_LIMIT} characters at the most, none of them a control character`;
  }
  return field === 'billingEmail' && text !== '' && !isEmail(text) ? 'Invalid billing email address' : undefined;
}

/** The changes of a body. @throws {AppError} VALIDATION_ERROR that names each field. */
function readChanges(body: Readonly<Partial<Record<ProfileField, string | undefined>>>): ProfileChanges {
  const changes: ProfileChanges = {};
  const details: { path: string; message: string }[] = [];
  for (const field of PROFILE_FIELDS) {
    const text = body[field];
    // A user always has a name to be called by.
    if (text === undefined || (field === 'username' && text === '')) continue;
    const message = problemOf(field, text);
    if (message !== undefined) details.push({ path: `body.${field}`, message });
    changes[field] = text === '' ? null : text;
  }
  const [first] = details;
  if (first !== undefined) throw new AppError('VALIDATION_ERROR', { detail: first.message, details });
  return changes;
}

/** @throws {AppError} VALIDATION_ERROR with this sentence when a field is empty. */
function requireTexts(body: Readonly<Record<string, string>>, sentence: string): void {
  const details = Object.entries(body)
    .filter(([, text]) => text === '')
    .map(([field]) => ({ path: `body.${field}`, message: 'is required' }));
  if (details.length > 0) throw new AppError('VALIDATION_ERROR', { detail: sentence, details });
}

/** The password was changed while it was checked: what was found out is no longer true. */
const overtaken = (): AppError =>
  new AppError('CONFLICT', { detail: 'The account was changed at the same time: try again' });

const tokenIssuedAt = (caller: Caller): number | undefined =>
  caller.kind === 'user' ? caller.tokenIssuedAt : undefined;

/** `j***@example.com`: enough for its owner to know it, too little for whoever reads the old mailbox. */
const masked = (email: string): string => `${email.slice(0, 1)}***${email.slice(email.lastIndexOf('@'))}`;

export const accountRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/v1/dashboard/account',
    operationId: 'getAccount',
    summary: 'The profile of the signed-in user',
    responses: { 200: envelope(ProfileSchema) },
    errors: [],
    failureText: 'Failed to fetch account',
    async handler({ caller, deps }) {
      const profile = await findProfile(deps.db, userOf(caller).id);
      return { status: 200, body: ok(toWireProfile(profile)), headers: NO_STORE };
    },
  }),
  defineRoute({
    ...area,
    method: 'put',
    path: '/api/v1/dashboard/account',
    operationId: 'updateAccount',
    summary: 'Change the profile',
    description:
      'Absent fields stay as they are; an empty text clears a field, but not the username. The address is changed by `change-email` only.',
    body: z.object({
      username: ProfileText,
      email: ProfileText,
      firstName: ProfileText,
      lastName: ProfileText,
      phoneNumber: ProfileText,
      companyName: ProfileText,
      billingEmail: ProfileText,
    }),
    responses: { 200: envelope(ProfileSchema) },
    errors: ['CONFLICT'],
    failureText: 'Failed to update account',
    async handler({ input: { body }, caller, deps }) {
      const user = userOf(caller);
      const { email = '', ...rest } = body;
      if (email !== '' && normalizeEmail(email) !== normalizeEmail(user.email)) {
        const detail = 'Use change-email to update your email address';
        throw new AppError('VALIDATION_ERROR', { detail, details: [{ path: 'body.email', message: detail }] });
      }
      const changes = readChanges(rest);
      if (Object.keys(changes).length === 0 && email === '') {
        throw new AppError('VALIDATION_ERROR', { detail: 'No fields to update' });
      }
      const profile = await inTransaction(deps.db, async (trx) => {
        await updateProfile(trx, user.id, changes);
        return findProfile(trx, user.id);
      });
      return {
        status: 200,
        body: ok(toWireProfile(profile), 'Account updated successfully'),
        headers: NO_STORE,
      };
    },
  }),
  defineRoute({
    ...area,
    method: 'put',
    path: '/api/v1/dashboard/account/password',
    operationId: 'changePassword',
    summary: 'Change the password; ends all other sessions',
    description: 'A repeat of a change that was made is answered as the first.',
    limits: [PASSWORD_CHECK],
    body: z.object({ currentPassword: BodyText, newPassword: BodyText }),
    responses: { 200: envelope(z.null()) },
    errors: ['FORBIDDEN', 'CONFLICT', ...PASSWORD_ERRORS],
    failureText: 'Failed to update password',
    async handler({ input: { body }, caller, deps }) {
      const { id } = userOf(caller);
      const { currentPassword, newPassword } = body;
      requireTexts({ currentPassword, newPassword }, 'Current and new passwords are required');
      const problem = passwordProblem(newPassword);
      if (problem !== undefined) {
        const sentence = `${problem.message.slice(0, 1).toUpperCase()}${problem.message.slice(1)}`;
        throw new AppError(problem.code.toUpperCase() as ErrorCode, {
          detail: sentence,
          details: [{ path: 'body.newPassword', message: sentence }],
        });
      }
      const done = { status: 200, body: ok(null, 'Password changed successfully'), headers: NO_STORE } as const;
      const checked = await lockPassword(deps.db, id);
      if (!(await verifyPassword(currentPassword, checked))) {
        // The site sends a change whose answer was lost again: by then the new password is the stored one.
        if (await verifyPassword(newPassword, checked)) return done;
        throw new AppError('FORBIDDEN', { detail: 'Current password is incorrect' });
      }
      const hash = await hashPassword(newPassword);
      await inTransaction(deps.db, async (trx) => {
        if ((await lockPassword(trx, id)) !== checked) throw overtaken();
        await setPasswordHash(trx, id, hash);
        await endSessions(trx, id, { issuedAt: tokenIssuedAt(caller) });
        await deleteTokens(trx, id, ['password_reset', 'magic_link']);
      });
      return done;
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: '/api/v1/dashboard/account/resend-verification',
    operationId: 'resendVerification',
    summary: 'Send the verification mail again',
    limits: [{ ...VERIFICATION_LIMIT, by: byUser }],
    responses: { 200: envelope(z.null()) },
    errors: ['ALREADY_VERIFIED'],
    failureText: 'Failed to generate verification token',
    async handler({ caller, deps }) {
      const user = userOf(caller);
      if (user.emailVerified !== null) throw new AppError('ALREADY_VERIFIED', { detail: 'Email already verified' });
      // The site repeats a request whose answer was lost, and a second mail would end the first one's link.
      const [first] = await takeTokens(deps.db, [{ ...REPEAT, identity: user.id }]);
      if (first?.allowed === true) await queueVerification(deps, user);
      return { status: 200, body: ok(null, 'Verification email sent'), headers: NO_STORE };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: '/api/v1/dashboard/account/change-email',
    operationId: 'changeEmail',
    summary: 'Change the address; it has to be verified anew, and the old one is told',
    description: 'A repeat of a change that was made is answered as the first, and nothing else happens.',
    limits: [PASSWORD_CHECK, ...ADDRESS_CHANGES],
    body: z.object({ newEmail: BodyText, currentPassword: BodyText }),
    responses: { 200: envelope(z.null()) },
    errors: ['FORBIDDEN', 'CONFLICT'],
    failureText: 'Failed to update email',
    async handler({ input: { body }, caller, deps }) {
      const { id } = userOf(caller);
      const { currentPassword } = body;
      const given = body.newEmail.trim();
      requireTexts({ newEmail: given, currentPassword }, 'newEmail and currentPassword are required');
      // Judged as it was sent: the lower case of a look-alike can be a plain letter.
      if (!isEmail(given)) throw invalidNewEmail('Invalid email address');
      const newEmail = normalizeEmail(given);
      const checked = await lockPassword(deps.db, id);
      if (!(await verifyPassword(currentPassword, checked))) {
        throw new AppError('FORBIDDEN', { detail: 'Current password is incorrect' });
      }
      await inTransaction(deps.db, async (trx) => {
        if ((await lockPassword(trx, id)) !== checked) throw overtaken();
        const user = await findAuthUser(trx, id);
        if (user === undefined) throw new AppError('UNAUTHORIZED', { detail: 'User not found' });
        if (normalizeEmail(user.email) === newEmail) {
          if (user.emailVerified === null) return;
          throw invalidNewEmail('This is your email address already');
        }
        await changeEmail(trx, id, newEmail);
        // Whoever else is signed in may be the one who must not be told of the new address.
        await endSessions(trx, id, { issuedAt: tokenIssuedAt(caller) });
        // A token that was mailed to the old address must not verify the new one.
        await deleteTokens(trx, id, ['email_verification', 'password_reset', 'magic_link']);
        await deps.emails.queue(trx, {
          template: 'email-verification',
          to: newEmail,
          userId: id,
          subject: 'Verify your new email address',
        });
        // Not bound to the account: it no longer has this address. One that was never proven may be a stranger's.
        if (user.emailVerified === null) return;
        await deps.emails.queue(trx, {
          template: 'email-changed',
          to: user.email,
          data: { name: user.firstName ?? '', newEmail: masked(newEmail) },
        });
      });
      return {
        status: 200,
        body: ok(null, 'Email updated. Please check your new email to verify.'),
        headers: NO_STORE,
      };
    },
  }),
];

const invalidNewEmail = (sentence: string): AppError =>
  new AppError('VALIDATION_ERROR', { detail: sentence, details: [{ path: 'body.newEmail', message: sentence }] });

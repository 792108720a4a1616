/** `/api/v1/dashboard/account*`: a user's own profile, password and address. */
import { z } from 'zod';
import { PASSWORD_ERRORS, passwordProblem } from '../../../domain/accounts/password-policy.ts';
import { AppError } from '../../../domain/errors.ts';
import { changeEmail } from '../../../services/accounts/change-email.ts';
import { changePassword } from '../../../services/accounts/passwords.ts';
import { PROFILE_TEXT_LIMIT, readProfile, updateProfile } from '../../../services/accounts/profile.ts';
import { resendVerification, VERIFICATION_LIMIT } from '../../../services/accounts/verify-email.ts';
import type { Profile } from '../../../store/accounts/profile-store.ts';
import type { SessionIdentity } from '../../../store/accounts/session-store.ts';
import { type Caller, signedIn, userOf } from '../../context.ts';
import { envelope, IsoDate, ok } from '../../http/envelopes.ts';
import { BodyText, profileText } from '../../http/fields.ts';
import { byEmailIn, byUser, type LimitRule } from '../../http/limits.ts';
import { defineRoute, type Route } from '../../http/route.ts';

/** Declaration that all routes of the area share. */
const area = {
  tags: ['Account'],
  auth: 'user',
  invalid: { code: 'VALIDATION_ERROR', publicMessage: 'Invalid request body' },
} as const;

/** Emails that changes of address send: to one address, and by one account. The site may send each request twice. */
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
const PASSWORD_CHECK: LimitRule = {
  name: 'password-check',
  max: 20,
  windowSeconds: 900,
  by: byUser,
  guardsPassword: true,
};
const ProfileText = profileText(PROFILE_TEXT_LIMIT);

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

const toWireProfile = (profile: Profile): z.input<typeof ProfileSchema> => ({
  ...profile,
  createdAt: profile.createdAt.toISOString(),
  lastLoginAt: profile.lastLoginAt?.toISOString() ?? null,
});

/** @throws {AppError} VALIDATION_ERROR with this sentence when a field is empty. */
function requireTexts(body: Readonly<Record<string, string>>, sentence: string): void {
  const details = Object.entries(body)
    .filter(([, text]) => text === '')
    .map(([field]) => ({ path: `body.${field}`, message: 'is required' }));
  if (details.length > 0) throw new AppError('VALIDATION_ERROR', { publicMessage: sentence, details });
}

/** @throws {AppError} the first rule that a new password breaks, as a sentence: the page shows `error`. */
function requireNewPassword(password: string): void {
  const problem = passwordProblem(password);
  if (problem === undefined) return;
  const sentence = `${problem.message.slice(0, 1).toUpperCase()}${problem.message.slice(1)}`;
  throw new AppError(problem.code, {
    publicMessage: sentence,
    details: [{ path: 'body.newPassword', message: sentence }],
  });
}

/** The session of the caller's access token. */
const sessionOf = (caller: Caller): SessionIdentity => ({
  sessionId: signedIn(caller).token.sessionId,
});

export const accountRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/v1/dashboard/account',
    operationId: 'getAccount',
    summary: 'The profile of the signed-in user',
    responses: { 200: envelope(ProfileSchema) },
    errors: [],
    failureMessage: 'Failed to fetch account',
    async handler({ caller, deps }) {
      return { status: 200, body: ok(toWireProfile(await readProfile(deps, userOf(caller).id))) };
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
    failureMessage: 'Failed to update account',
    async handler({ input: { body }, caller, deps }) {
      const profile = await updateProfile(deps, userOf(caller), body);
      return { status: 200, body: ok(toWireProfile(profile), 'Account updated successfully') };
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
    failureMessage: 'Failed to update password',
    async handler({ input: { body }, caller, origin, deps }) {
      requireTexts(body, 'Current and new passwords are required');
      requireNewPassword(body.newPassword);
      await changePassword(deps, userOf(caller).id, { ...body, keep: sessionOf(caller) }, origin);
      return { status: 200, body: ok(null, 'Password changed successfully') };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: '/api/v1/dashboard/account/resend-verification',
    operationId: 'resendVerification',
    summary: 'Send the verification email again',
    limits: [{ ...VERIFICATION_LIMIT, by: byUser }],
    responses: { 200: envelope(z.null()) },
    errors: ['ALREADY_VERIFIED'],
    failureMessage: 'Failed to generate verification token',
    async handler({ caller, deps }) {
      await resendVerification(deps, userOf(caller));
      return { status: 200, body: ok(null, 'Verification email sent') };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: '/api/v1/dashboard/account/change-email',
    operationId: 'changeEmail',
    summary: 'Change the address; it has to be verified again, and the old one is notified',
    description: 'A repeat of a change that was made is answered as the first, and nothing else happens.',
    limits: [PASSWORD_CHECK, ...ADDRESS_CHANGES],
    body: z.object({ newEmail: BodyText, currentPassword: BodyText }),
    responses: { 200: envelope(z.null()) },
    errors: ['FORBIDDEN', 'CONFLICT'],
    failureMessage: 'Failed to update email',
    async handler({ input: { body }, caller, origin, deps }) {
      const { currentPassword } = body;
      const newEmail = body.newEmail.trim();
      requireTexts({ newEmail, currentPassword }, 'newEmail and currentPassword are required');
      await changeEmail(deps, userOf(caller).id, { newEmail, currentPassword, keep: sessionOf(caller) }, origin);
      return { status: 200, body: ok(null, 'Email updated. Please check your new email to verify.') };
    },
  }),
];

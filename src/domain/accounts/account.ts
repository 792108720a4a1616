/** Accounts: roles, the user as the wire shows it, who counts as an administrator. */
import { z } from 'zod';

/** The address form that sign-in and registration accept. */
const EMAIL_PATTERN = /^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$/;

/** Characters of an address at the most (RFC 5321: a path of 256 with its brackets). */
const EMAIL_LIMIT = 254;

/** Whether a text, as it stands, is an address. */
export const isEmail = (text: string): boolean => text.length <= EMAIL_LIMIT && EMAIL_PATTERN.test(text);

/** Addresses are stored and looked up trimmed and in lower case. */
export const normalizeEmail = (email: string): string => email.trim().toLowerCase();

/** Roles an account can hold. SUPER_ADMIN goes with `isSystemAdmin`. Old rows may hold other words. */
export const ROLES = [
  'MEMBER',
  'PARTNER',
  'SPONSOR',
  'TECH_TEAM',
  'SUPPORT_TEAM',
  'ADMINISTRATOR',
  'SUPER_ADMIN',
] as const;
export type Role = (typeof ROLES)[number];

/** A user as routes work with it. Never holds the password hash. */
export interface AuthUser {
  id: string;
  email: string;
  username: string | null;
  firstName: string | null;
  lastName: string | null;
  roles: string[];
  isPterodactylAdmin: boolean;
  isVirtfusionAdmin: boolean;
  isSystemAdmin: boolean;
  pterodactylId: number | null;
  emailVerified: Date | null;
  isActive: boolean;
}

/** Whether the user may use the administrator's routes. */
export const isAdministrator = (user: Pick<AuthUser, 'roles' | 'isSystemAdmin'>): boolean =>
  user.isSystemAdmin || user.roles.includes('SUPER_ADMIN') || user.roles.includes('ADMINISTRATOR');

export const WireUserSchema = z
  .object({
    id: z.string(),
    email: z.string(),
    username: z.string(),
    firstName: z.string().nullable(),
    lastName: z.string().nullable(),
    roles: z.array(z.string()),
    isPterodactylAdmin: z.boolean(),
    isVirtfusionAdmin: z.boolean(),
    isSystemAdmin: z.boolean(),
    pterodactylId: z.int().nullable(),
    emailVerified: z.iso.datetime().nullable(),
  })
  .meta({ id: 'User', description: 'A signed-in user' });
export type WireUser = z.infer<typeof WireUserSchema>;

/** The user for an answer: null username becomes "", empty names and panel id 0 become null. */
export function toWireUser(user: AuthUser): WireUser {
  return {
    id: user.id,
    email: user.email,
    username: user.username ?? '',
    firstName: user.firstName || null,
    lastName: user.lastName || null,
    roles: user.roles,
    isPterodactylAdmin: user.isPterodactylAdmin,
    isVirtfusionAdmin: user.isVirtfusionAdmin,
    isSystemAdmin: user.isSystemAdmin,
    pterodactylId: user.pterodactylId || null,
    emailVerified: user.emailVerified?.toISOString() ?? null,
  };
}

/** Bytes of a password at the most: bcrypt reads no further. */
export const PASSWORD_MAX_BYTES = 72;

/** The first rule a new password breaks, as the code of the wire and a sentence. Length counts UTF-8 bytes. */
export function passwordProblem(password: string): { code: string; message: string } | undefined {
  const bytes = new TextEncoder().encode(password).length;
  if (bytes < 8) return { code: 'password_too_short', message: 'the password needs 8 characters or more' };
  if (bytes > PASSWORD_MAX_BYTES) {
    return { code: 'password_too_long', message: `the password may have ${PASSWORD_MAX_BYTES} bytes at the most` };
  }
  if (!/\p{Lu}/u.test(password)) return { code: 'password_needs_uppercase', message: 'the password needs a capital' };
  if (!/\p{Ll}/u.test(password))
    return { code: 'password_needs_lowercase', message: 'the password needs a small letter' };
  if (!/\p{Nd}/u.test(password)) return { code: 'password_needs_digit', message: 'the password needs a digit' };
  return undefined;
}

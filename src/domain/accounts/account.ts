/** Accounts: email addresses, the signed-in user, and the user as the HTTP API shows it. */
import { z } from 'zod';

/**
 * The address form that sign-in and registration accept: what a panel stores and a mail server takes. Before the @ the
 * characters of an atom (RFC 5322 3.2.3); a domain may end in Punycode (`xn--…`). ASCII only: a look-alike in another
 * script must not become an account.
 */
const EMAIL_PATTERN = /^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9.-]+\.(?:[a-zA-Z]{2,}|xn--[a-zA-Z0-9-]+)$/;

/** Maximum characters of an address (RFC 5321: a path of 256 with its brackets). */
const EMAIL_LIMIT = 254;

/** Whether a text, as it stands, is an address. */
export const isEmail = (text: string): boolean => text.length <= EMAIL_LIMIT && EMAIL_PATTERN.test(text);

/** Addresses are stored and looked up trimmed and in lower case. */
export const normalizeEmail = (email: string): string => email.trim().toLowerCase();

/** A user as services and routes know it. Never holds the password hash. */
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

/** The user for an answer: a null username becomes "", empty names and panel id 0 become null. */
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

/** Days after which an account that was registered on the site, and never used, is removed. */
export const PENDING_ACCOUNT_DAYS = 7;

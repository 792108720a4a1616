/** What a new password must be. */
import type { ErrorCode } from '../errors.ts';

/** Maximum bytes of a password: bcrypt reads no further. */
export const PASSWORD_MAX_BYTES = 72;

/** Codes of the rules, in the order in which they are checked. */
export const PASSWORD_ERRORS = [
  'PASSWORD_TOO_SHORT',
  'PASSWORD_TOO_LONG',
  'PASSWORD_NEEDS_UPPERCASE',
  'PASSWORD_NEEDS_LOWERCASE',
  'PASSWORD_NEEDS_DIGIT',
] as const satisfies readonly ErrorCode[];
export type PasswordErrorCode = (typeof PASSWORD_ERRORS)[number];

export interface PasswordProblem {
  code: PasswordErrorCode;
  /** A sentence without its capital and full stop. */
  message: string;
}

/** The first rule that a new password breaks. Length counts UTF-8 bytes. */
export function passwordProblem(password: string): PasswordProblem | undefined {
  const bytes = new TextEncoder().encode(password).length;
  if (bytes < 8) return { code: 'PASSWORD_TOO_SHORT', message: 'the password needs 8 characters or more' };
  if (bytes > PASSWORD_MAX_BYTES) {
    return { code: 'PASSWORD_TOO_LONG', message: `the password may have at most ${PASSWORD_MAX_BYTES} bytes` };
  }
  if (!/\p{Lu}/u.test(password)) return { code: 'PASSWORD_NEEDS_UPPERCASE', message: 'the password needs a capital' };
  if (!/\p{Ll}/u.test(password)) {
    return { code: 'PASSWORD_NEEDS_LOWERCASE', message: 'the password needs a small letter' };
  }
  if (!/\p{Nd}/u.test(password)) return { code: 'PASSWORD_NEEDS_DIGIT', message: 'the password needs a digit' };
  return undefined;
}

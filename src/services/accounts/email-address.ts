/** Email addresses as callers send them. */
import { isEmail, normalizeEmail } from '../../domain/accounts/account.ts';
import { AppError, type ErrorCode } from '../../domain/errors.ts';

/** The address, trimmed and in lower case. @throws {AppError} `missing` when it is empty; INVALID_EMAIL. */
export function readEmail(text: string, missing: ErrorCode): string {
  if (text.trim() === '') throw new AppError(missing);
  // The address is checked as it was sent, because the lower case of a look-alike can be a plain letter (the Kelvin
  // sign becomes k).
  if (!isEmail(text.trim())) throw new AppError('INVALID_EMAIL');
  return normalizeEmail(text);
}

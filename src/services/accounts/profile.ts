/** A user's own profile. */
import { type AuthUser, isEmail, normalizeEmail } from '../../domain/accounts/account.ts';
import { AppError } from '../../domain/errors.ts';
import {
  findProfile,
  PROFILE_FIELDS,
  type Profile,
  type ProfileChanges,
  type ProfileField,
  storeProfile,
} from '../../store/accounts/profile-store.ts';
import { inTransaction } from '../../store/db/db.ts';
import type { AccountDeps } from './deps.ts';

/** Maximum characters of a field. */
export const PROFILE_TEXT_LIMIT = 255;

/** Fields as they were sent, trimmed. Absent fields stay; "" clears a field, but not the username. */
export type ProfileForm = Partial<Record<ProfileField | 'email', string | undefined>>;

/** @throws {AppError} UNAUTHORIZED when the user was deleted meanwhile. */
export async function readProfile(deps: Pick<AccountDeps, 'db'>, userId: string): Promise<Profile> {
  return present(await findProfile(deps.db, userId));
}

/**
 * Changes the profile and returns it as it is then. An `email` may only repeat the present address.
 * @throws {AppError} VALIDATION_ERROR that names each field; CONFLICT when the username is taken; UNAUTHORIZED.
 */
export async function updateProfile(
  deps: Pick<AccountDeps, 'db'>,
  user: AuthUser,
  form: ProfileForm,
): Promise<Profile> {
  const { email = '', ...fields } = form;
  if (email !== '' && normalizeEmail(email) !== normalizeEmail(user.email)) {
    const sentence = 'Use change-email to update your email address';
    throw new AppError('VALIDATION_ERROR', {
      publicMessage: sentence,
      details: [{ path: 'body.email', message: sentence }],
    });
  }
  const changes = readChanges(fields);
  if (Object.keys(changes).length === 0 && email === '') {
    throw new AppError('VALIDATION_ERROR', { publicMessage: 'No fields to update' });
  }
  return inTransaction(deps.db, async (trx) => {
    await storeProfile(trx, user.id, changes);
    return present(await findProfile(trx, user.id));
  });
}

function present(profile: Profile | undefined): Profile {
  if (profile === undefined) throw new AppError('UNAUTHORIZED', { publicMessage: 'User not found' });
  return profile;
}

function readChanges(form: Omit<ProfileForm, 'email'>): ProfileChanges {
  const changes: ProfileChanges = {};
  const details: { path: string; message: string }[] = [];
  for (const field of PROFILE_FIELDS) {
    const text = form[field];
    // A user always has a username.
    if (text === undefined || (field === 'username' && text === '')) continue;
    const message = problemOf(field, text);
    if (message !== undefined) details.push({ path: `body.${field}`, message });
    changes[field] = text === '' ? null : text;
  }
  const [first] = details;
  if (first !== undefined) throw new AppError('VALIDATION_ERROR', { publicMessage: first.message, details });
  return changes;
}

/** What is wrong with a field, as a sentence. */
function problemOf(field: ProfileField, text: string): string | undefined {
  if (text.length > PROFILE_TEXT_LIMIT || /\p{Cc}/u.test(text)) {
    return `${field} may have at most ${PROFILE_TEXT_LIMIT} characters, none of them a control character`;
  }
  return field === 'billingEmail' && text !== '' && !isEmail(text) ? 'Invalid billing email address' : undefined;
}

/** New accounts: by registration on the site, and by an operator. */
import { isSystemAdministrator } from '../../domain/accounts/roles.ts';
import { AppError } from '../../domain/errors.ts';
import { readBoolean, SWITCHES } from '../../domain/settings.ts';
import { insertPending } from '../../store/accounts/pending-account-store.ts';
import { emailExists, insertUser, type NewUser } from '../../store/accounts/user-store.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { closeSetupWindow } from '../../store/settings/setup-window-store.ts';
import { accountEvent, recordSecurityEvent } from '../audit/security-events.ts';
import { emitLimited } from '../webhooks/limited-events.ts';
import type { AccountDeps } from './deps.ts';
import { readEmail } from './email-address.ts';
import type { RequestOrigin } from './networks.ts';
import { hashPassword } from './password-hash.ts';
import { requireGoodPassword } from './passwords.ts';

export interface Registration {
  email: string;
  password: string;
  confirmPassword: string;
  username: string;
  firstName: string;
  lastName: string;
}

/** Maximum characters of a name. */
const NAME_LIMIT = 255;
/** Registrations that are reported one by one in an hour. */
const REPORTED_PER_HOUR = 60;

/**
 * Creates an account that is not verified and queues its verification email.
 * @param form as it was sent; empty names count as absent.
 * @throws {AppError} REGISTRATION_DISABLED, MISSING_FIELDS, INVALID_EMAIL, INVALID_REQUEST for a name, a code of the
 * password policy, PASSWORDS_DONT_MATCH, EMAIL_EXISTS.
 */
export async function register(
  deps: Pick<AccountDeps, 'db' | 'emails' | 'settings' | 'log'>,
  form: Registration,
  origin: RequestOrigin,
): Promise<void> {
  await requireOpenRegistration(deps);
  const { password, confirmPassword } = form;
  if (form.email.trim() === '' || password === '' || confirmPassword === '') throw new AppError('MISSING_FIELDS');
  const email = readEmail(form.email, 'MISSING_FIELDS');
  const names = {
    ...readName(form.username, 'username'),
    ...readName(form.firstName, 'firstName'),
    ...readName(form.lastName, 'lastName'),
  };
  requireGoodPassword(password);
  if (password !== confirmPassword) throw new AppError('PASSWORDS_DONT_MATCH');
  if (await emailExists(deps.db, email)) throw new AppError('EMAIL_EXISTS');
  const passwordHash = await hashPassword(password, origin.network);
  await inTransaction(deps.db, async (trx) => {
    const account = { email, passwordHash, ...names, roles: ['MEMBER'], isSystemAdmin: false, emailVerified: false };
    const user = await insertUser(trx, account);
    await insertPending(trx, user.id);
    const event = accountEvent('account-created', user.id, { actor: { type: 'anonymous' }, origin });
    await recordSecurityEvent({ db: trx, log: deps.log }, event);
    await deps.emails.queue(trx, { template: 'email-verification', to: email, userId: user.id });
    // The address is proven later, or never: what is reported is that somebody has registered. It is read when the event is
    // routed: an account that was denied until then is not named. Last, because all registrations share the limit's row.
    const registered = { event: 'user.registered', key: user.id, data: { user_id: user.id } } as const;
    await emitLimited(trx, registered, REPORTED_PER_HOUR);
  });
}

/** Only a stored "no" closes registration: the setting may never have been made. */
async function requireOpenRegistration({ settings }: Pick<AccountDeps, 'settings'>): Promise<void> {
  const { values } = await settings.stored(['registration_enabled']);
  if (!readBoolean(values.get('registration_enabled'), SWITCHES.registration_enabled))
    throw new AppError('REGISTRATION_DISABLED');
}

/** The name under its field, trimmed; nothing when it is empty. @throws {AppError} INVALID_REQUEST that names the field. */
export function readName(
  text: string,
  field: 'username' | 'firstName' | 'lastName',
): Partial<Record<typeof field, string>> {
  const name = text.trim();
  if (name.length > NAME_LIMIT || /\p{Cc}/u.test(name)) {
    const message = `at most ${NAME_LIMIT} characters, none of them a control character`;
    throw new AppError('INVALID_REQUEST', {
      publicMessage: `${field}: ${message}`,
      details: [{ path: `body.${field}`, message }],
    });
  }
  return name === '' ? {} : { [field]: name };
}

/**
 * Creates an active user with a clear-text password that the password policy allows. A system administrator closes the
 * set-up for good.
 * @throws {AppError} EMAIL_EXISTS when the address, in any case, is taken.
 */
export async function createUser(db: Db, user: NewUser & { password: string }): Promise<{ id: string }> {
  const { password, ...account } = user;
  const passwordHash = await hashPassword(password);
  return inTransaction(db, async (trx) => {
    const created = await insertUser(trx, { ...account, passwordHash });
    const details = { roles: account.roles };
    await recordSecurityEvent(
      { db: trx },
      accountEvent('account-created', created.id, { actor: { type: 'cli' }, details }),
    );
    if (isSystemAdministrator(account)) await closeSetupWindow(trx);
    return created;
  });
}

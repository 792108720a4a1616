/** New accounts by an administrator: the owner chooses the password by a link, which also proves the address. */
import { isEmail, normalizeEmail } from '../../domain/accounts/account.ts';
import { mayChangeRoles } from '../../domain/accounts/roles.ts';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError, isAppError } from '../../domain/errors.ts';
import { findCreated } from '../../store/accounts/user-list.ts';
import { insertUser, type NewUser } from '../../store/accounts/user-store.ts';
import { inTransaction } from '../../store/db/db.ts';
import { closeSetupWindow } from '../../store/settings/setup-window-store.ts';
import { recordChange } from '../audit/record-change.ts';
import type { AccountDeps } from './deps.ts';
import { lockManager } from './managed-user.ts';
import { readName } from './register.ts';
import { administratorRolesRefused, readRoles } from './roles.ts';

/** The fields as they were sent. */
export interface Invitation {
  email: string;
  /** Empty: the part before the @. */
  username: string;
  firstName: string;
  lastName: string;
  /** Absent: MEMBER. */
  roles?: readonly string[] | null | undefined;
}

/** The same creation again within this time is a repeat of the site, whose answer was lost. */
const REPEAT_SECONDS = 300;

/**
 * Creates an account without a password and queues the email with the link to set one. A repeat by the same administrator
 * creates nothing, sends nothing and gives the same user.
 * @returns the id, and whether this call has created the user.
 * @throws {AppError} VALIDATION_ERROR, INVALID_REQUEST for a name; FORBIDDEN for a role above the administrator's own;
 * EMAIL_EXISTS.
 */
export async function inviteUser(
  deps: Pick<AccountDeps, 'db' | 'emails' | 'log'>,
  invitation: Invitation,
  by: AuditOrigin,
): Promise<{ id: string; created: boolean }> {
  const user = readInvitation(invitation);
  try {
    return await inTransaction(deps.db, async (trx) => {
      const manager = await lockManager(trx, by);
      if (!mayChangeRoles(manager, { roles: [], isSystemAdmin: false }, user)) throw administratorRolesRefused();
      const { id } = await insertUser(trx, { ...user, passwordHash: null });
      if (user.isSystemAdmin) await closeSetupWindow(trx);
      const change = {
        action: 'account-created',
        target: { type: 'user', id },
        details: { roles: user.roles },
      } as const;
      await recordChange({ trx, log: deps.log }, by, change);
      await deps.emails.queue(trx, { template: 'set-password', to: user.email, userId: id });
      return { id, created: true };
    });
  } catch (error) {
    if (!isAppError(error, 'EMAIL_EXISTS') || by.actor.type !== 'user') throw error;
    const id = await findCreated(deps.db, user, { creatorId: by.actor.id, withinSeconds: REPEAT_SECONDS });
    if (id === undefined) throw error;
    return { id, created: false };
  }
}

function readInvitation(invitation: Invitation): NewUser {
  // The address is checked as it was sent: the lower case of a look-alike can be a plain letter.
  if (!isEmail(invitation.email.trim())) {
    const message = invitation.email.trim() === '' ? 'email is required' : 'Invalid email address';
    throw new AppError('VALIDATION_ERROR', { publicMessage: message, details: [{ path: 'body.email', message }] });
  }
  const email = normalizeEmail(invitation.email);
  const roles = [...new Set(readRoles(invitation.roles ?? ['MEMBER']))];
  return {
    email,
    username: email.slice(0, email.indexOf('@')),
    ...readName(invitation.username, 'username'),
    ...readName(invitation.firstName, 'firstName'),
    ...readName(invitation.lastName, 'lastName'),
    roles,
    isSystemAdmin: roles.includes('SUPER_ADMIN'),
    emailVerified: false,
  };
}

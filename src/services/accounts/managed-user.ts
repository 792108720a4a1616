/** Changes to the account of another person: who makes them, and whether that person's own roles are enough. */
import { isAdministrator, isSystemAdministrator, mayManage, type RoleHolder } from '../../domain/accounts/roles.ts';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { lockManagedUsers, type ManagedUser } from '../../store/accounts/user-store.ts';
import type { Transaction } from '../../store/db/db.ts';
import { ROLE_REFUSED } from '../audit/security-events.ts';

export interface Managed {
  user: ManagedUser;
  /** With `systemAdministrators`: the other ones who can sign in. */
  others: ManagedUser[];
  /** The roles of the person who makes the change. */
  manager: RoleHolder;
}

/** An operator at the command line holds the database, and so may do what a system administrator may. */
const OPERATOR_ROLES: RoleHolder = { roles: ['SUPER_ADMIN'], isSystemAdmin: true };

/**
 * Locks the user and the administrator who changes it; with `systemAdministrators` also the other system administrators.
 * The roles of all are those at this moment: who has just lost a role does not use it once more.
 * @throws {AppError} NOT_FOUND; FORBIDDEN when the person is no administrator any more.
 */
export async function lockManaged(
  trx: Transaction,
  id: string,
  by: AuditOrigin,
  options: { systemAdministrators: boolean } = { systemAdministrators: false },
): Promise<Managed> {
  const locked = await lockManagedUsers(trx, [id, ...idOf(by)], options);
  const user = locked.find((one) => one.id === id);
  if (user === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'User not found' });
  const others = locked.filter(
    (one) => one.id !== id && one.isActive && one.emailVerified !== null && isSystemAdministrator(one),
  );
  return { user, others, manager: managerAmong(locked, by) };
}

/** Locks the administrator who creates an account. @throws {AppError} FORBIDDEN, as {@link lockManaged} does. */
export async function lockManager(trx: Transaction, by: AuditOrigin): Promise<RoleHolder> {
  return managerAmong(await lockManagedUsers(trx, idOf(by), { systemAdministrators: false }), by);
}

/** @throws {AppError} FORBIDDEN when the account is another administrator's, and the manager is no system administrator. */
export function requireManageable({ user, manager }: Managed, by: AuditOrigin): void {
  if (by.actor.id !== user.id && !mayManage(manager, user)) {
    throw roleRefused('Only a system administrator may do this to an administrator');
  }
}

/** The refusal of what the manager's roles do not allow; the mounted route records it. */
export const roleRefused = (publicMessage: string): AppError =>
  new AppError('FORBIDDEN', { publicMessage, meta: ROLE_REFUSED });

const idOf = ({ actor }: AuditOrigin): string[] => (actor.type === 'user' ? [actor.id] : []);

function managerAmong(locked: readonly ManagedUser[], { actor }: AuditOrigin): RoleHolder {
  if (actor.type === 'cli') return OPERATOR_ROLES;
  const manager = locked.find((one) => one.id === actor.id);
  if (manager === undefined || !manager.isActive || !isAdministrator(manager)) {
    throw roleRefused('Admin access required');
  }
  return manager;
}

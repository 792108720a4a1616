/** Roles and the state of accounts. Whatever is asked for, one system administrator who can sign in remains. */
import {
  changedRoles,
  isRole,
  isSystemAdministrator,
  losesAdministration,
  mayChangeRoles,
  type Role,
  type RoleChange,
  removesSystemAdministrator,
} from '../../domain/accounts/roles.ts';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { type ManagedUser, storeActive, storeRoles } from '../../store/accounts/user-store.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { closeSetupWindow } from '../../store/settings/setup-window-store.ts';
import { recordChange } from '../audit/record-change.ts';
import { endEverything } from './end-everything.ts';
import { lockManaged, requireManageable, roleRefused } from './managed-user.ts';

/**
 * Changes the roles; `isSystemAdmin` follows SUPER_ADMIN. Who loses rights of an administrator has to sign in again. A system
 * administrator closes the set-up for good.
 * @throws {AppError} NOT_FOUND; FORBIDDEN; CONFLICT when it would demote the last system administrator.
 */
export async function setRoles(db: Db, id: string, change: RoleChange, by: AuditOrigin): Promise<ManagedUser> {
  return inTransaction(db, async (trx) => {
    const managed = await lockManaged(trx, id, by, { systemAdministrators: removesSystemAdministrator(change) });
    const { user, others, manager } = managed;
    const roles = changedRoles(user, change);
    const isSystemAdmin = roles.includes('SUPER_ADMIN');
    if (!mayChangeRoles(manager, user, { roles, isSystemAdmin })) throw administratorRolesRefused();
    if (isSystemAdmin) await closeSetupWindow(trx);
    else refuseLast(user, others);
    await storeRoles(trx, id, roles, isSystemAdmin);
    if (isSystemAdmin !== user.isSystemAdmin || roles.join() !== user.roles.join()) {
      const details = { before: user.roles, after: roles };
      await recordChange({ trx }, by, { action: 'roles-changed', target: { type: 'user', id }, details });
    }
    if (losesAdministration(user, { roles, isSystemAdmin })) await endEverything(trx, id);
    return { ...user, roles, isSystemAdmin };
  });
}

/** The refusal of a role above the manager's own. */
export const administratorRolesRefused = (): AppError =>
  roleRefused('Only a system administrator may give or remove ADMINISTRATOR and SUPER_ADMIN');

/** The names as roles. @throws {AppError} VALIDATION_ERROR that names the first one that is none. */
export function readRoles(names: readonly string[]): Role[] {
  return names.map((name) => {
    if (isRole(name)) return name;
    throw new AppError('VALIDATION_ERROR', {
      publicMessage: `Invalid role: ${name.slice(0, 100)}`,
      details: [{ path: 'body.roles', message: 'is not a role' }],
    });
  });
}

/**
 * Disables the user and ends everything that signs in, or enables the user again. A repeat has no effect.
 * @returns the user, and whether the user was in the other state before.
 * @throws {AppError} NOT_FOUND; FORBIDDEN; CONFLICT when it would disable the last system administrator, or the caller.
 */
export async function setActive(
  db: Db,
  id: string,
  active: boolean,
  by: AuditOrigin,
): Promise<ManagedUser & { changed: boolean }> {
  return inTransaction(db, async (trx) => {
    const managed = await lockManaged(trx, id, by, { systemAdministrators: !active });
    const { user, others } = managed;
    requireManageable(managed, by);
    if (!active) {
      if (by.actor.id === id) {
        throw new AppError('CONFLICT', { publicMessage: 'You cannot disable your own account' });
      }
      refuseLast(user, others);
      await endEverything(trx, id);
    }
    const changed = user.isActive !== active;
    if (changed) {
      await storeActive(trx, id, active);
      const action = active ? 'account-enabled' : 'account-disabled';
      await recordChange({ trx }, by, { action, target: { type: 'user', id } });
    }
    return { ...user, isActive: active, changed };
  });
}

/** @throws {AppError} CONFLICT when the user is an active system administrator and `others` is empty. */
function refuseLast(user: ManagedUser, others: readonly ManagedUser[]): void {
  if (!user.isActive || !isSystemAdministrator(user) || others.length > 0) return;
  throw new AppError('CONFLICT', {
    publicMessage: 'This is the last active system administrator with a verified address: make another one first',
  });
}

/** Roles and the state of accounts. Whatever is asked for, one active system administrator remains. */
import {
  changedRoles,
  isSystemAdministrator,
  losesAdministration,
  type RoleChange,
  removesSystemAdministrator,
} from '../../domain/accounts/roles.ts';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { lockManagedUsers, type ManagedUser, storeActive, storeRoles } from '../../store/accounts/user-store.ts';
import { type Db, inTransaction, type Transaction } from '../../store/db/db.ts';
import { closeSetupWindow } from '../../store/settings/setup-window-store.ts';
import { OPERATOR, recordChange } from '../audit/record-change.ts';
import { endEverything } from './end-everything.ts';

/**
 * Changes the roles; `isSystemAdmin` follows SUPER_ADMIN. Who loses rights of an administrator has to sign in again. A system
 * administrator closes the set-up for good.
 * @throws {AppError} NOT_FOUND; CONFLICT when it would demote the last active system administrator.
 */
export async function setRoles(
  db: Db,
  id: string,
  change: RoleChange,
  by: AuditOrigin = OPERATOR,
): Promise<ManagedUser> {
  return inTransaction(db, async (trx) => {
    const { user, others } = await lock(trx, id, removesSystemAdministrator(change));
    const roles = changedRoles(user, change);
    const isSystemAdmin = roles.includes('SUPER_ADMIN');
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

/**
 * Disables the user and ends everything that signs in, or enables the user again. A repeat has no effect.
 * @returns the user, and whether the user was in the other state before.
 * @throws {AppError} NOT_FOUND; CONFLICT when it would disable the last active system administrator.
 */
export async function setActive(
  db: Db,
  id: string,
  active: boolean,
  by: AuditOrigin = OPERATOR,
): Promise<ManagedUser & { changed: boolean }> {
  return inTransaction(db, async (trx) => {
    const { user, others } = await lock(trx, id, !active);
    if (!active) {
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

/** The user and, where the change may remove a system administrator, the other active ones. All rows are locked. */
async function lock(
  trx: Transaction,
  id: string,
  systemAdministrators: boolean,
): Promise<{ user: ManagedUser; others: ManagedUser[] }> {
  const locked = await lockManagedUsers(trx, id, { systemAdministrators });
  const user = locked.find((one) => one.id === id);
  if (user === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'User not found' });
  return { user, others: locked.filter((one) => one.id !== id) };
}

/** @throws {AppError} CONFLICT when the user is an active system administrator and `others` is empty. */
function refuseLast(user: ManagedUser, others: readonly ManagedUser[]): void {
  if (!user.isActive || !isSystemAdministrator(user) || others.length > 0) return;
  throw new AppError('CONFLICT', {
    publicMessage: 'This is the last active system administrator: make another one first',
  });
}

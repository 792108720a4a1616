/** Roles of accounts, and who counts as an administrator. */

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

/** Whether a text is the name of a role, as it is stored. */
export const isRole = (text: string): text is Role => ROLES.some((role) => role === text);

export interface RoleHolder {
  roles: readonly string[];
  isSystemAdmin: boolean;
}

/** Whether the user may use the administrator's routes. */
export const isAdministrator = (user: RoleHolder): boolean =>
  isSystemAdministrator(user) || user.roles.includes('ADMINISTRATOR');

/** Whether the user administers the whole system. */
export const isSystemAdministrator = (user: RoleHolder): boolean =>
  user.isSystemAdmin || user.roles.includes('SUPER_ADMIN');

/** Whether a change takes rights of an administrator away. */
export const losesAdministration = (before: RoleHolder, after: RoleHolder): boolean =>
  (isAdministrator(before) && !isAdministrator(after)) ||
  (isSystemAdministrator(before) && !isSystemAdministrator(after));

/**
 * Whether this administrator may disable, enable or sign out an account, or send it a link: an account of another
 * administrator needs a system administrator.
 */
export const mayManage = (administrator: RoleHolder, user: RoleHolder): boolean =>
  isSystemAdministrator(administrator) || !isAdministrator(user);

/**
 * Whether this administrator may change the roles of an account in this way. Only a system administrator gives or removes
 * ADMINISTRATOR and SUPER_ADMIN, and changes a system administrator at all.
 */
export const mayChangeRoles = (administrator: RoleHolder, before: RoleHolder, after: RoleHolder): boolean =>
  isSystemAdministrator(administrator) ||
  (!isSystemAdministrator(before) &&
    !isSystemAdministrator(after) &&
    isAdministrator(before) === isAdministrator(after));

/** Either the roles to hold from now on, or roles to add and to remove. */
export type RoleChange = { set: readonly Role[] } | { add?: readonly Role[]; remove?: readonly Role[] };

/** Whether the change may take the rights of a system administrator away. */
export const removesSystemAdministrator = (change: RoleChange): boolean =>
  'set' in change ? !change.set.includes('SUPER_ADMIN') : change.remove?.includes('SUPER_ADMIN') === true;

/**
 * The roles after a change. A system administrator by the flag alone counts as holding SUPER_ADMIN, so that adding
 * another role removes nothing.
 */
export function changedRoles(user: RoleHolder, change: RoleChange): string[] {
  if ('set' in change) return [...new Set(change.set)];
  const held = user.isSystemAdmin ? [...user.roles, 'SUPER_ADMIN'] : user.roles;
  const removed = new Set<string>(change.remove);
  return [...new Set([...held, ...(change.add ?? [])])].filter((role) => !removed.has(role));
}

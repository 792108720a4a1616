/** What administrators do to accounts: list them, give and take roles, disable, set a password. */
import { normalizeEmail, type Role } from '../../domain/accounts/account.ts';
import { AppError } from '../../domain/errors.ts';
import { type Db, inTransaction, type Transaction } from '../db/db.ts';
import { contains, execute, query } from '../db/query.ts';
import { deleteTokens } from './one-time-token-store.ts';
import { hashPassword } from './password-hash.ts';
import { endSessions } from './session-store.ts';

export interface ListedUser {
  id: string;
  email: string;
  username: string | null;
  roles: string[];
  isSystemAdmin: boolean;
  isActive: boolean;
  emailVerified: Date | null;
  lastLoginAt: Date | null;
  createdAt: Date;
}

export interface UserQuery {
  /** Part of the e-mail address or the user name, in any case; its `%` and `_` mean themselves. */
  search?: string;
  /** Only holders of this role. */
  role?: Role;
  /** Only those who may use the administrator's routes. */
  admins?: boolean;
  /** Absent: both. */
  active?: boolean;
  limit: number;
  offset: number;
}

/** One page of the users, newest first, and how many there are over all pages. */
export async function listUsers(db: Db, filter: UserQuery): Promise<{ users: ListedUser[]; total: number }> {
  const where: string[] = ['true'];
  const bindings: unknown[] = [];
  const only = (condition: string, ...values: unknown[]): void => {
    where.push(condition);
    bindings.push(...values);
  };
  if (filter.search !== undefined && filter.search !== '') {
    const pattern = contains(filter.search);
    only('(u.email ilike ? or u.username ilike ?)', pattern, pattern);
  }
  if (filter.role !== undefined) only('? = any(u.roles)', filter.role);
  if (filter.admins === true) only(`(u."isSystemAdmin" or u.roles && '{SUPER_ADMIN,ADMINISTRATOR}'::text[])`);
  if (filter.active !== undefined) only('coalesce(u."isActive", true) = ?', filter.active);
  const condition = where.join(' and ');
  const [counted] = await query<{ total: number }>(
    db,
    `select count(*)::int as total from users u where ${condition}`,
    bindings,
  );
  const users = await query<ListedUser>(
    db,
    `select u.id, u.email, u.username, coalesce(u.roles, '{}') as roles,
            coalesce(u."isSystemAdmin", false) as "isSystemAdmin", coalesce(u."isActive", true) as "isActive",
            u."emailVerified", u."lastLoginAt", u."createdAt"
       from users u where ${condition} order by u."createdAt" desc, u.id limit ? offset ?`,
    [...bindings, filter.limit, filter.offset],
  );
  return { users, total: counted?.total ?? 0 };
}

/**
 * Finds a user by id or by e-mail address, in any case.
 * @throws {AppError} NOT_FOUND; CONFLICT, naming the ids, when old rows differ only by the case of this address.
 */
export async function findUserId(db: Db, emailOrId: string): Promise<string> {
  const text = emailOrId.trim();
  const found = await query<{ id: string }>(
    db,
    `select u.id from users u where u.id = ? or lower(u.email) = ? order by u."createdAt", u.id`,
    [text, normalizeEmail(text)],
  );
  const ids = found.map((user) => user.id);
  if (ids.includes(text)) return text;
  const [id, ...others] = ids;
  if (id === undefined) throw new AppError('NOT_FOUND', { detail: 'User not found' });
  if (others.length === 0) return id;
  throw new AppError('CONFLICT', { detail: `Several users have this address, name one by its id: ${ids.join(', ')}` });
}

/** A user as a change leaves it. */
export interface ChangedUser {
  id: string;
  email: string;
  roles: string[];
  isSystemAdmin: boolean;
  isActive: boolean;
  emailVerified: Date | null;
}

/** Either the roles to hold from now on, or those to give and to take away. */
export type RoleChange = { set: readonly Role[] } | { add?: readonly Role[]; remove?: readonly Role[] };

/**
 * Changes the roles; `isSystemAdmin` follows SUPER_ADMIN. A system administrator by the flag alone counts as holding
 * SUPER_ADMIN, so that giving another role takes nothing away.
 * @throws {AppError} NOT_FOUND; CONFLICT when it would demote the last active system administrator.
 */
export async function setRoles(db: Db, id: string, change: RoleChange): Promise<ChangedUser> {
  const takes = 'set' in change ? !change.set.includes('SUPER_ADMIN') : change.remove?.includes('SUPER_ADMIN') === true;
  return inTransaction(db, async (trx) => {
    const { user, others } = await lock(trx, id, takes);
    const roles = changedRoles(user, change);
    const isSystemAdmin = roles.includes('SUPER_ADMIN');
    if (!isSystemAdmin) refuseLast(user, others);
    await execute(
      trx,
      `update users set roles = ?::text[], "isSystemAdmin" = ?, "updatedAt" = now() at time zone 'utc'
        where id = ? and (roles is distinct from ?::text[] or "isSystemAdmin" is distinct from ?)`,
      [roles, isSystemAdmin, id, roles, isSystemAdmin],
    );
    return { ...user, roles, isSystemAdmin };
  });
}

function changedRoles(user: ChangedUser, change: RoleChange): string[] {
  if ('set' in change) return [...new Set(change.set)];
  const held = user.isSystemAdmin ? [...user.roles, 'SUPER_ADMIN'] : user.roles;
  const taken = new Set<string>(change.remove);
  return [...new Set([...held, ...(change.add ?? [])])].filter((role) => !taken.has(role));
}

/**
 * Disables the user and ends its sessions, or enables it again. Repeating it does no harm.
 * @returns the user, and whether it was in the other state before.
 * @throws {AppError} NOT_FOUND; CONFLICT when it would disable the last active system administrator.
 */
export async function setActive(db: Db, id: string, active: boolean): Promise<ChangedUser & { changed: boolean }> {
  return inTransaction(db, async (trx) => {
    const { user, others } = await lock(trx, id, !active);
    if (!active) {
      refuseLast(user, others);
      await endSessions(trx, id);
    }
    const changed = user.isActive !== active;
    if (changed) {
      await execute(trx, `update users set "isActive" = ?, "updatedAt" = now() at time zone 'utc' where id = ?`, [
        active,
        id,
      ]);
    }
    return { ...user, isActive: active, changed };
  });
}

/**
 * Replaces the password, and with it everything that signs in without the new one: sessions, open reset and magic links.
 * @param password clear text that `passwordProblem` has nothing against.
 * @param options `verify`: the address counts as verified from now on.
 * @throws {AppError} NOT_FOUND
 */
export async function setPassword(
  db: Db,
  id: string,
  password: string,
  options: { verify?: boolean } = {},
): Promise<ChangedUser> {
  // Before the transaction: it takes long, and the row would be locked meanwhile.
  const hash = await hashPassword(password);
  return inTransaction(db, async (trx) => {
    const { user } = await lock(trx, id, false);
    const [updated] = await query<{ emailVerified: Date | null }>(
      trx,
      `update users set password = ?, "updatedAt" = now() at time zone 'utc',
              "emailVerified" = case when ?::boolean then coalesce("emailVerified", now() at time zone 'utc')
                                     else "emailVerified" end
        where id = ? returning "emailVerified"`,
      [hash, options.verify === true, id],
    );
    await endSessions(trx, id);
    await deleteTokens(trx, id, ['password_reset', 'magic_link']);
    return { ...user, emailVerified: updated?.emailVerified ?? null };
  });
}

/**
 * Locks the user and, when `withAdministrators`, every active system administrator. Whoever waited sees the rows as the
 * other left them, so the last two cannot demote one another; one statement in the order of ids, so they cannot wait
 * for one another either.
 */
async function lock(
  trx: Transaction,
  id: string,
  withAdministrators: boolean,
): Promise<{ user: ChangedUser; others: ChangedUser[] }> {
  const locked = await query<ChangedUser>(
    trx,
    `select u.id, u.email, coalesce(u.roles, '{}') as roles, coalesce(u."isSystemAdmin", false) as "isSystemAdmin",
            coalesce(u."isActive", true) as "isActive", u."emailVerified"
       from users u
      where u.id = ?
         or (?::boolean and coalesce(u."isActive", true) and (u."isSystemAdmin" or 'SUPER_ADMIN' = any(u.roles)))
      order by u.id for no key update`,
    [id, withAdministrators],
  );
  const user = locked.find((one) => one.id === id);
  if (user === undefined) throw new AppError('NOT_FOUND', { detail: 'User not found' });
  return { user, others: locked.filter((one) => one.id !== id) };
}

/** @throws {AppError} CONFLICT when the user is an active system administrator and `others` is empty. */
function refuseLast(user: ChangedUser, others: readonly ChangedUser[]): void {
  const administrates = user.isActive && (user.isSystemAdmin || user.roles.includes('SUPER_ADMIN'));
  if (!administrates || others.length > 0) return;
  throw new AppError('CONFLICT', { detail: 'This is the last active system administrator: make another one first' });
}

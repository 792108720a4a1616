/** Users as administrators list and find them. Reads only. */
import { normalizeEmail } from '../../domain/accounts/account.ts';
import type { Role } from '../../domain/accounts/roles.ts';
import { AppError } from '../../domain/errors.ts';
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';

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
  if (id === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'User not found' });
  if (others.length === 0) return id;
  throw new AppError('CONFLICT', {
    publicMessage: `Several users have this address, name one by its id: ${ids.join(', ')}`,
  });
}

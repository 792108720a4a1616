/** Users as administrators list and find them. Reads only. */
import { normalizeEmail } from '../../domain/accounts/account.ts';
import type { Role } from '../../domain/accounts/roles.ts';
import { AppError } from '../../domain/errors.ts';
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';
import { addressOf } from './address.ts';
import type { NewUser } from './user-store.ts';

export interface ListedUser {
  id: string;
  email: string;
  username: string | null;
  firstName: string | null;
  lastName: string | null;
  pterodactylId: number | null;
  roles: string[];
  isPterodactylAdmin: boolean;
  isVirtfusionAdmin: boolean;
  isSystemAdmin: boolean;
  isMigrated: boolean;
  isActive: boolean;
  emailVerified: Date | null;
  createdAt: Date;
  updatedAt: Date;
  lastLoginAt: Date | null;
  /** Servers that the user owns. */
  serverCount: number;
  /** Sign-ins that still last. */
  sessionCount: number;
}

/** States that a list of users can be limited to. `admin`: with any flag or role of an administrator, of a panel too. */
export const USER_STATES = ['active', 'inactive', 'admin', 'migrated', 'not-migrated'] as const;
export type UserState = (typeof USER_STATES)[number];

/** SQL over alias u; old rows have null flags. */
const STATES: Readonly<Record<UserState, string>> = {
  active: `coalesce(u."isActive", true)`,
  inactive: `not coalesce(u."isActive", true)`,
  admin: `(u."isSystemAdmin" or u."isPterodactylAdmin" or u."isVirtfusionAdmin"
           or u.roles && '{ADMINISTRATOR,SUPER_ADMIN}'::text[])`,
  migrated: `coalesce(u."isMigrated", false)`,
  'not-migrated': `not coalesce(u."isMigrated", false)`,
};

export interface UserFilter {
  /** Part of the email address or the username, in any case; its `%` and `_` mean themselves. */
  search?: string | undefined;
  /** Absent: all. */
  state?: UserState | undefined;
  /** Only holders of this role. */
  role?: Role | undefined;
  /** Only those who may use the administrator's routes. */
  admins?: boolean;
}

/**
 * The columns of each order. The id breaks ties in the same direction, so one index (column, id) serves both directions of
 * a column without nulls. Users without a value are last in both directions.
 */
const ORDERS = {
  email: { asc: 'u.email, u.id', desc: 'u.email desc, u.id desc' },
  createdAt: { asc: 'u."createdAt", u.id', desc: 'u."createdAt" desc, u.id desc' },
  updatedAt: { asc: 'u."updatedAt", u.id', desc: 'u."updatedAt" desc, u.id desc' },
  username: { asc: 'u.username, u.id', desc: 'u.username desc nulls last, u.id desc' },
  lastLoginAt: { asc: 'u."lastLoginAt", u.id', desc: 'u."lastLoginAt" desc nulls last, u.id desc' },
} as const;
export type UserSort = keyof typeof ORDERS;

export interface UserPage {
  sort: UserSort;
  order: 'asc' | 'desc';
  limit: number;
  offset: number;
}

const COLUMNS = `u.id, u.email, u.username, u."firstName", u."lastName", u."pterodactylId", coalesce(u.roles, '{}') as roles,
  coalesce(u."isPterodactylAdmin", false) as "isPterodactylAdmin", coalesce(u."isVirtfusionAdmin", false) as "isVirtfusionAdmin",
  coalesce(u."isSystemAdmin", false) as "isSystemAdmin", coalesce(u."isMigrated", false) as "isMigrated",
  coalesce(u."isActive", true) as "isActive", u."emailVerified", u."createdAt", u."updatedAt", u."lastLoginAt",
  (select count(*)::int from servers s where s."ownerId" = u.id) as "serverCount",
  (select count(*)::int from sessions s where s."userId" = u.id and s."rotatedAt" is null
      and s.expires > now() at time zone 'utc') as "sessionCount"`;

/**
 * One page of the users. The page is cut first, by ids that an index can give without the rows; only for its users are
 * columns read, and servers and sessions counted.
 */
export async function listUsers(db: Db, filter: UserFilter, page: UserPage): Promise<ListedUser[]> {
  const { condition, bindings } = conditionOf(filter);
  const order = ORDERS[page.sort][page.order];
  return query<ListedUser>(
    db,
    `select ${COLUMNS}
       from (select u.id from users u${condition} order by ${order} limit ? offset ?) page
       join users u on u.id = page.id order by ${order}`,
    [...bindings, page.limit, page.offset],
  );
}

/** Number of users that the filter leaves. */
export async function countUsers(db: Db, filter: UserFilter): Promise<number> {
  const { condition, bindings } = conditionOf(filter);
  const [counted] = await query<{ total: number }>(
    db,
    `select count(*)::int as total from users u${condition}`,
    bindings,
  );
  return counted?.total ?? 0;
}

/** Numbers of all users, and of those in each state. */
export type UserCounts = Readonly<Record<UserState | 'all', number>>;

/** All numbers in one statement, so that they belong together. */
export async function countUsersByState(db: Db): Promise<UserCounts> {
  const counts = USER_STATES.map((state) => `(count(*) filter (where ${STATES[state]}))::int as "${state}"`);
  const [row] = await query<UserCounts>(db, `select count(*)::int as "all", ${counts.join(', ')} from users u`);
  if (row === undefined) throw new Error('a count without rows');
  return row;
}

/** The user with this id, as the list has it. */
export async function findListedUser(db: Db, id: string): Promise<ListedUser | undefined> {
  const [user] = await query<ListedUser>(db, `select ${COLUMNS} from users u where u.id = ?`, [id]);
  return user;
}

/**
 * The user that this administrator has created a moment ago with these fields: found when a creation is repeated.
 * @returns its id.
 */
export async function findCreated(
  db: Db,
  user: NewUser,
  by: { creatorId: string; withinSeconds: number },
): Promise<string | undefined> {
  const [found] = await query<{ id: string }>(
    db,
    `select u.id from users u join audit_events a on a.target_type = 'user' and a.target_id = u.id
      where ${addressOf('u')} = ? and u.username is not distinct from ? and u."firstName" is not distinct from ?
        and u."lastName" is not distinct from ? and u.roles = ?::text[] and a.action = 'account-created'
        and a.actor_type = 'user' and a.actor_id = ? and a.at > now() - make_interval(secs => ?) limit 1`,
    [
      user.email,
      user.username ?? null,
      user.firstName ?? null,
      user.lastName ?? null,
      [...user.roles],
      by.creatorId,
      by.withinSeconds,
    ],
  );
  return found?.id;
}

function conditionOf(filter: UserFilter): { condition: string; bindings: unknown[] } {
  const where: string[] = [];
  const bindings: unknown[] = [];
  if (filter.search !== undefined && filter.search !== '') {
    where.push('(u.email ilike ? or u.username ilike ?)');
    bindings.push(contains(filter.search), contains(filter.search));
  }
  if (filter.state !== undefined) where.push(STATES[filter.state]);
  if (filter.role !== undefined) {
    where.push('? = any(u.roles)');
    bindings.push(filter.role);
  }
  if (filter.admins === true) where.push(`(u."isSystemAdmin" or u.roles && '{SUPER_ADMIN,ADMINISTRATOR}'::text[])`);
  return { condition: where.length === 0 ? '' : ` where ${where.join(' and ')}`, bindings };
}

/**
 * Finds a user by id or by email address, in any case.
 * @throws {AppError} NOT_FOUND; CONFLICT, naming the ids, when several old rows have this address in different spellings.
 */
export async function findUserId(db: Db, emailOrId: string): Promise<string> {
  const text = emailOrId.trim();
  const found = await query<{ id: string }>(
    db,
    `select u.id from users u where u.id = ? or ${addressOf('u')} = ? order by u."createdAt", u.id`,
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

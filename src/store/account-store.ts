/** Users and sessions. Reads qualify and list their columns; the password hash leaves only by {@link findByEmail}. */
import { createHash, randomUUID } from 'node:crypto';
import type { AuthUser } from '../domain/account.ts';
import { normalizeEmail } from '../domain/account.ts';
import { AppError } from '../domain/errors.ts';
import { type Db, rows, sqlState } from './db.ts';
import { hashPassword } from './password.ts';

const AUTH_COLUMNS = `u.id, u.email, u.username, u."firstName", u."lastName", coalesce(u.roles, '{}') as roles,
  coalesce(u."isPterodactylAdmin", false) as "isPterodactylAdmin",
  coalesce(u."isVirtfusionAdmin", false) as "isVirtfusionAdmin",
  coalesce(u."isSystemAdmin", false) as "isSystemAdmin", u."pterodactylId", u."emailVerified",
  coalesce(u."isActive", true) as "isActive"`;

/** The user as the authentication layers need it: read fresh at each request. */
export async function findAuthUser(db: Db, id: string): Promise<AuthUser | undefined> {
  const [user] = await rows<AuthUser>(db, `select ${AUTH_COLUMNS} from users u where u.id = ?`, [id]);
  return user;
}

/**
 * The user of an address, whatever its case, with the password hash. Where old rows differ only by case, the exact
 * spelling wins, then the older row.
 */
export async function findByEmail(
  db: Db,
  email: string,
): Promise<(AuthUser & { password: string | null }) | undefined> {
  const [user] = await rows<AuthUser & { password: string | null }>(
    db,
    `select ${AUTH_COLUMNS}, u.password from users u where lower(u.email) = ?
      order by (u.email = ?) desc, u."createdAt", u.id limit 1`,
    [normalizeEmail(email), email.trim()],
  );
  return user;
}

export interface NewUser {
  email: string;
  /** Clear text, at the most 72 bytes. */
  password: string;
  /** Absent: the part before the @. */
  username?: string;
  firstName?: string;
  lastName?: string;
  roles: readonly string[];
  isSystemAdmin: boolean;
  emailVerified: boolean;
}

/**
 * Creates an active user.
 * @throws {AppError} CONFLICT when the address, in any case, is taken.
 */
export async function createUser(db: Db, user: NewUser): Promise<{ id: string }> {
  const email = normalizeEmail(user.email);
  const id = randomUUID();
  const hash = await hashPassword(user.password);
  try {
    const inserted = await rows<{ id: string }>(
      db,
      `insert into users (id, email, password, username, "firstName", "lastName", roles, "isSystemAdmin", "isActive",
                          "emailVerified", "createdAt", "updatedAt")
       select ?::text, ?::text, ?::text, ?::text, ?::text, ?::text, ?::text[], ?::boolean, true, case when ?::boolean then now() at time zone 'utc' end,
              now() at time zone 'utc', now() at time zone 'utc'
        where not exists (select 1 from users u where lower(u.email) = ?)
       returning users.id`,
      [
        id,
        email,
        hash,
        user.username ?? email.slice(0, email.indexOf('@')),
        user.firstName ?? null,
        user.lastName ?? null,
        [...user.roles],
        user.isSystemAdmin,
        user.emailVerified,
        email,
      ],
    );
    if (inserted[0] !== undefined) return inserted[0];
  } catch (error) {
    if (sqlState(error) !== '23505') throw error;
  }
  throw new AppError('CONFLICT', { detail: 'A user with this e-mail address already exists' });
}

/** Notes a sign-in. */
export async function touchLogin(db: Db, userId: string): Promise<void> {
  await db.raw(`update users set "lastLoginAt" = now() at time zone 'utc' where id = ?`, [userId]);
}

/** Replaces the hash, unless the password was changed meanwhile. */
export async function updatePasswordHash(db: Db, userId: string, hash: string, replaces: string): Promise<void> {
  await db.raw(`update users set password = ?, "updatedAt" = now() at time zone 'utc' where id = ? and password = ?`, [
    hash,
    userId,
    replaces,
  ]);
}

/** How a refresh token is stored: it is never kept in clear. */
export const sessionTokenHash = (refreshToken: string): string =>
  `sha256:${createHash('sha256').update(refreshToken).digest('hex')}`;

/** Opens a session for a refresh token of 64 hex digits, valid for `lifetimeSeconds`. */
export async function insertSession(
  db: Db,
  session: { userId: string; refreshToken: string; lifetimeSeconds: number },
): Promise<{ id: string }> {
  const id = randomUUID();
  await db.raw(
    `insert into sessions (id, "sessionToken", "userId", expires, "createdAt")
     values (?, ?, ?, now() at time zone 'utc' + make_interval(secs => ?), now() at time zone 'utc')`,
    [id, sessionTokenHash(session.refreshToken), session.userId, session.lifetimeSeconds],
  );
  return { id };
}

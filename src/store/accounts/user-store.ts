/** Users and sessions. Reads qualify and list their columns; the password hash leaves only by {@link findByEmail}. */
import { randomUUID } from 'node:crypto';
import type { AuthUser } from '../../domain/accounts/account.ts';
import { normalizeEmail } from '../../domain/accounts/account.ts';
import { AppError } from '../../domain/errors.ts';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { isUniqueViolation } from '../db/sql-errors.ts';
import { hashPassword } from './password-hash.ts';

const AUTH_COLUMNS = `u.id, u.email, u.username, u."firstName", u."lastName", coalesce(u.roles, '{}') as roles,
  coalesce(u."isPterodactylAdmin", false) as "isPterodactylAdmin",
  coalesce(u."isVirtfusionAdmin", false) as "isVirtfusionAdmin",
  coalesce(u."isSystemAdmin", false) as "isSystemAdmin", u."pterodactylId", u."emailVerified",
  coalesce(u."isActive", true) as "isActive"`;

/** The user as the authentication layers need it: read fresh at each request. */
export async function findAuthUser(db: Db, id: string): Promise<AuthUser | undefined> {
  const [user] = await query<AuthUser>(db, `select ${AUTH_COLUMNS} from users u where u.id = ?`, [id]);
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
  const [user] = await query<AuthUser & { password: string | null }>(
    db,
    `select ${AUTH_COLUMNS}, u.password from users u where lower(u.email) = ?
      order by (u.email = ?) desc, u."createdAt", u.id limit 1`,
    [normalizeEmail(email), email.trim()],
  );
  return user;
}

export interface NewUser {
  email: string;
  /** Absent: the part before the @. */
  username?: string;
  firstName?: string;
  lastName?: string;
  roles: readonly string[];
  isSystemAdmin: boolean;
  emailVerified: boolean;
}

/**
 * Creates an active user with a clear-text password of at the most 72 bytes.
 * @throws {AppError} EMAIL_EXISTS when the address, in any case, is taken.
 */
export async function createUser(db: Db, user: NewUser & { password: string }): Promise<{ id: string }> {
  return insertUser(db, { ...user, passwordHash: await hashPassword(user.password) });
}

/**
 * Creates an active user whose password is hashed already.
 * @throws {AppError} EMAIL_EXISTS when the address, in any case, is taken.
 */
export async function insertUser(db: Db, user: NewUser & { passwordHash: string }): Promise<{ id: string }> {
  const email = normalizeEmail(user.email);
  const id = randomUUID();
  try {
    const inserted = await query<{ id: string }>(
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
        user.passwordHash,
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
    if (!isUniqueViolation(error)) throw error;
  }
  throw new AppError('EMAIL_EXISTS', { message: 'A user with this e-mail address already exists' });
}

/** Whether an address, in any case, belongs to an account. */
export async function emailExists(db: Db, email: string, butNot?: string): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(
    db,
    `select exists (select 1 from users u where lower(u.email) = ? and (?::text is null or u.id <> ?)) as found`,
    [normalizeEmail(email), butNot ?? null, butNot ?? null],
  );
  return row?.found === true;
}

/**
 * The user as it is now, locked until the transaction ends. Whoever writes or ends sessions or tokens of a user locks the
 * user first, in a mode that excludes others who do: so nothing is written after the user was disabled or everything was
 * ended, a session cannot have a successor while its family is ended, and locks are taken in one order.
 */
export async function holdUser(trx: Db, userId: string): Promise<(AuthUser & { password: string | null }) | undefined> {
  const [user] = await query<AuthUser & { password: string | null }>(
    trx,
    `select ${AUTH_COLUMNS}, u.password from users u where u.id = ? for no key update`,
    [userId],
  );
  return user;
}

/** Locks users as {@link holdUser} does, in the order of their ids, so that two callers never wait for each other. */
export async function lockUsers(trx: Db, userIds: readonly string[]): Promise<void> {
  await query<{ id: string }>(
    trx,
    `select u.id from users u where u.id = any(?::text[]) order by u.id for no key update`,
    [[...userIds]],
  );
}

/** The password hash of a user, locked until the transaction ends. */
export async function lockPassword(trx: Db, userId: string): Promise<string | null> {
  const [row] = await query<{ password: string | null }>(
    trx,
    `select u.password from users u where u.id = ? for no key update`,
    [userId],
  );
  return row?.password ?? null;
}

/** Stores a new password's hash. */
export async function setPasswordHash(trx: Db, userId: string, hash: string): Promise<void> {
  await execute(trx, `update users set password = ?, "updatedAt" = now() at time zone 'utc' where id = ?`, [
    hash,
    userId,
  ]);
}

/** Takes the password away: there is none to sign in with until a new one is set. */
export async function clearPassword(trx: Db, userId: string): Promise<void> {
  await execute(trx, `update users set password = null, "updatedAt" = now() at time zone 'utc' where id = ?`, [userId]);
}

/** The address is the user's: a mailed token came back. Keeps an earlier date. */
export async function markEmailVerified(trx: Db, userId: string): Promise<void> {
  await execute(
    trx,
    `update users set "emailVerified" = coalesce("emailVerified", now() at time zone 'utc'), "updatedAt" = now() at time zone 'utc' where id = ?`,
    [userId],
  );
}

/**
 * Changes the address; it counts as not verified.
 * @throws {AppError} CONFLICT when the address, in any case, is another user's.
 */
export async function changeEmail(trx: Db, userId: string, email: string): Promise<void> {
  try {
    const changed = await query<{ id: string }>(
      trx,
      `update users set email = ?, "emailVerified" = null, "updatedAt" = now() at time zone 'utc'
       where id = ? and not exists (select 1 from users o where lower(o.email) = ? and o.id <> ?) returning users.id`,
      [normalizeEmail(email), userId, normalizeEmail(email), userId],
    );
    if (changed.length > 0) return;
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
  }
  throw new AppError('CONFLICT', { detail: 'Email already in use' });
}

/** Notes a sign-in. */
export async function touchLogin(db: Db, userId: string): Promise<void> {
  await execute(db, `update users set "lastLoginAt" = now() at time zone 'utc' where id = ?`, [userId]);
}

/** Replaces the hash, unless the password was changed meanwhile. */
export async function updatePasswordHash(db: Db, userId: string, hash: string, replaces: string): Promise<void> {
  await execute(
    db,
    `update users set password = ?, "updatedAt" = now() at time zone 'utc' where id = ? and password = ?`,
    [hash, userId, replaces],
  );
}

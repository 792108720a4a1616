/** A user's own profile. */
import { AppError } from '../../domain/errors.ts';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

export interface Profile {
  id: string;
  username: string | null;
  email: string;
  firstName: string | null;
  lastName: string | null;
  phoneNumber: string | null;
  companyName: string | null;
  billingEmail: string | null;
  avatarUrl: string | null;
  accountBalance: number;
  createdAt: Date;
  emailVerified: boolean;
  lastLoginAt: Date | null;
  roles: string[];
}

/** A user's own profile; empty texts of old rows are null. */
export async function findProfile(db: Db, userId: string): Promise<Profile | undefined> {
  const [profile] = await query<Profile>(
    db,
    `select u.id, nullif(u.username, '') as username, u.email, nullif(u."firstName", '') as "firstName",
       nullif(u."lastName", '') as "lastName", nullif(u."phoneNumber", '') as "phoneNumber",
       nullif(u."companyName", '') as "companyName", nullif(u."billingEmail", '') as "billingEmail",
       nullif(u."avatarUrl", '') as "avatarUrl", coalesce(u."accountBalance", 0)::float8 as "accountBalance",
       u."createdAt", u."emailVerified" is not null as "emailVerified", u."lastLoginAt", coalesce(u.roles, '{}') as roles
     from users u where u.id = ?`,
    [userId],
  );
  return profile;
}

/** Fields that a user may change. */
export const PROFILE_FIELDS = [
  'username',
  'firstName',
  'lastName',
  'phoneNumber',
  'companyName',
  'billingEmail',
] as const;
export type ProfileField = (typeof PROFILE_FIELDS)[number];
/** Absent fields stay as they are. */
export type ProfileChanges = Partial<Record<ProfileField, string | null>>;

/**
 * Changes a profile.
 * @throws {AppError} CONFLICT when the username, in any case, is another user's.
 */
export async function storeProfile(trx: Db, userId: string, changes: ProfileChanges): Promise<void> {
  const fields = PROFILE_FIELDS.filter((field) => changes[field] !== undefined);
  if (fields.length === 0) return;
  if (typeof changes.username === 'string') await claimUsername(trx, userId, changes.username);
  await execute(
    trx,
    `update users set ${fields.map((field) => `"${field}" = ?`).join(', ')}, "updatedAt" = now() at time zone 'utc' where id = ?`,
    [...fields.map((field) => changes[field] ?? null), userId],
  );
}

/**
 * Nothing in the schema makes a username unique, so requests for the same name take a lock in turn. Names that several
 * users have already (from registration and from the panel) may be kept.
 */
async function claimUsername(trx: Db, userId: string, username: string): Promise<void> {
  await execute(trx, `select pg_advisory_xact_lock(hashtextextended('username:' || lower(?), 0))`, [username]);
  const [row] = await query<{ taken: boolean }>(
    trx,
    `select exists (select 1 from users o where lower(o.username) = lower(?) and o.id <> ?)
        and not exists (select 1 from users u where u.id = ? and lower(u.username) = lower(?)) as taken`,
    [username, userId, userId, username],
  );
  if (row?.taken === true) throw new AppError('CONFLICT', { publicMessage: 'Username already in use' });
}

/**
 * Users: reads of one, and every write but those of a sync. The password hash is returned by {@link findByEmail},
 * {@link lockUser} and {@link lockPasswordHash} alone.
 */
import { randomUUID } from 'node:crypto';
import { type AuthUser, normalizeEmail } from '../../domain/accounts/account.ts';
import type { AuditEvent } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { auditInsert } from '../audit/audit-store.ts';
import type { Db } from '../db/db.ts';
import { execute, query, queryPrepared } from '../db/query.ts';
import { isUniqueViolation } from '../db/sql-errors.ts';
import { addressOf, EXACT_FIRST, spelledAs } from './address.ts';

const AUTH_COLUMNS = `u.id, u.email, u.username, u."firstName", u."lastName", coalesce(u.roles, '{}') as roles,
  coalesce(u."isPterodactylAdmin", false) as "isPterodactylAdmin",
  coalesce(u."isVirtfusionAdmin", false) as "isVirtfusionAdmin",
  coalesce(u."isSystemAdmin", false) as "isSystemAdmin", u."pterodactylId", u."emailVerified",
  coalesce(u."isActive", true) as "isActive"`;

/** The user as it is now. */
export async function findAuthUser(db: Db, id: string): Promise<AuthUser | undefined> {
  const [user] = await query<AuthUser>(db, `select ${AUTH_COLUMNS} from users u where u.id = ?`, [id]);
  return user;
}

/** What a token says of its user, its session and its time; see `VerifiedToken`. */
export interface TokenReference {
  userId: string;
  sessionId: string | undefined;
  /** Unix seconds. */
  issuedAt: number;
}

/** A user as a token's reader needs it. */
export interface TokenUser extends AuthUser {
  /** False when the token's session has ended, or for a token without a session, when all older tokens have. */
  tokenLives: boolean;
}

/**
 * The user of a token. Each request asks this, so there is one statement for each kind of token: planning takes most of its
 * time, and a condition on the kind or an `exists` would make it longer.
 */
export async function findTokenUser(db: Db, token: TokenReference): Promise<TokenUser | undefined> {
  const { userId, sessionId, issuedAt } = token;
  const [lives, bindings] =
    sessionId === undefined
      ? [`coalesce(to_timestamp(?::float8) at time zone 'utc' >= u."tokensValidFrom", true)`, [issuedAt, userId]]
      : [
          `coalesce((select true from sessions s where s."familyId" = ? and s."userId" = ?
                       and s.expires > now() at time zone 'utc' limit 1), false)`,
          [sessionId, userId, userId],
        ];
  const [user] = await queryPrepared<TokenUser>(
    db,
    sessionId === undefined ? 'token-user' : 'token-user-of-session',
    `select ${AUTH_COLUMNS}, ${lives} as "tokenLives" from users u where u.id = ?`,
    bindings,
  );
  return user;
}

/** The users of many tokens in one statement, in the order of the tokens; undefined where there is no such user. */
export async function findTokenUsers(db: Db, tokens: readonly TokenReference[]): Promise<(TokenUser | undefined)[]> {
  const found = await query<TokenUser & { position: number }>(
    db,
    `select ${AUTH_COLUMNS}, t.position::integer as position,
       case when t."sessionId" is null then
         coalesce(to_timestamp(t."issuedAt") at time zone 'utc' >= u."tokensValidFrom", true)
       else exists (select 1 from sessions s where s."familyId" = t."sessionId" and s."userId" = u.id
                       and s.expires > now() at time zone 'utc') end as "tokenLives"
     from unnest(?::text[], ?::text[], ?::float8[]) with ordinality as t("userId", "sessionId", "issuedAt", position)
     join users u on u.id = t."userId"`,
    [
      tokens.map((token) => token.userId),
      tokens.map((token) => token.sessionId ?? null),
      tokens.map((token) => token.issuedAt),
    ],
  );
  const users = new Map(found.map(({ position, ...user }) => [position, user]));
  return tokens.map((_token, index) => users.get(index + 1));
}

/**
 * The user of an address, whatever its case and the spaces around it, with the password hash. Of several old rows,
 * {@link EXACT_FIRST} says which.
 */
export async function findByEmail(db: Db, email: string): Promise<UserWithPassword | undefined> {
  const [user] = await query<UserWithPassword>(
    db,
    `select ${AUTH_COLUMNS}, u.password from users u where ${addressOf('u')} = ? order by ${EXACT_FIRST} limit 1`,
    [normalizeEmail(email), ...spelledAs(email)],
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
 * Inserts an active user.
 * @throws {AppError} EMAIL_EXISTS when the address, in any case, is taken.
 */
export async function insertUser(db: Db, user: NewUser & { passwordHash: string | null }): Promise<{ id: string }> {
  const email = normalizeEmail(user.email);
  const id = randomUUID();
  try {
    const inserted = await query<{ id: string }>(
      db,
      `insert into users (id, email, password, username, "firstName", "lastName", roles, "isSystemAdmin", "isActive",
                          "emailVerified", "createdAt", "updatedAt")
       select ?::text, ?::text, ?::text, ?::text, ?::text, ?::text, ?::text[], ?::boolean, true, case when ?::boolean then now() at time zone 'utc' end,
              now() at time zone 'utc', now() at time zone 'utc'
        where not exists (select 1 from users u where ${addressOf('u')} = ?)
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
  throw new AppError('EMAIL_EXISTS', { publicMessage: 'A user with this email address already exists' });
}

/** Whether an address, in any case, belongs to an account. */
export async function emailExists(db: Db, email: string, butNot?: string): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(
    db,
    `select exists (select 1 from users u where ${addressOf('u')} = ? and (?::text is null or u.id <> ?)) as found`,
    [normalizeEmail(email), butNot ?? null, butNot ?? null],
  );
  return row?.found === true;
}

/** A user with the password hash. */
export interface UserWithPassword extends AuthUser {
  password: string | null;
}

/**
 * The user as it is now, locked until the transaction ends. A caller that writes or ends sessions or tokens of a user
 * locks the user first. So nothing is written after the user was disabled, a session gets no successor while its family
 * is being ended, and all callers take their locks in one order.
 */
export async function lockUser(trx: Db, userId: string): Promise<UserWithPassword | undefined> {
  const [user] = await query<UserWithPassword>(
    trx,
    `select ${AUTH_COLUMNS}, u.password from users u where u.id = ? for no key update`,
    [userId],
  );
  return user;
}

/** Locks users as {@link lockUser} does, in the order of their ids, so that two callers never wait for each other. */
export async function lockUsers(trx: Db, userIds: readonly string[]): Promise<void> {
  await query<{ id: string }>(
    trx,
    `select u.id from users u where u.id = any(?::text[]) order by u.id for no key update`,
    [[...userIds]],
  );
}

/** The password hash of a user, locked until the transaction ends. */
export async function lockPasswordHash(trx: Db, userId: string): Promise<string | null> {
  const [row] = await query<{ password: string | null }>(
    trx,
    `select u.password from users u where u.id = ? for no key update`,
    [userId],
  );
  return row?.password ?? null;
}

/** Stores a password hash, or null for no password. Callers go through `setPassword` of services/accounts/passwords.ts. */
export async function storePasswordHash(trx: Db, userId: string, hash: string | null): Promise<void> {
  await execute(trx, `update users set password = ?, "updatedAt" = now() at time zone 'utc' where id = ?`, [
    hash,
    userId,
  ]);
}

/** Marks the address as verified; keeps an earlier date. @returns the date that is stored. */
export async function markEmailVerified(trx: Db, userId: string): Promise<Date | undefined> {
  const [user] = await query<{ emailVerified: Date }>(
    trx,
    `update users set "emailVerified" = coalesce("emailVerified", now() at time zone 'utc'), "updatedAt" = now() at time zone 'utc'
      where id = ? returning users."emailVerified"`,
    [userId],
  );
  return user?.emailVerified;
}

/**
 * Changes the address, which counts as not verified.
 * @throws {AppError} CONFLICT when the address, in any case, is another user's.
 */
export async function storeEmail(trx: Db, userId: string, email: string): Promise<void> {
  try {
    const changed = await query<{ id: string }>(
      trx,
      `update users set email = ?, "emailVerified" = null, "updatedAt" = now() at time zone 'utc'
       where id = ? and not exists (select 1 from users o where ${addressOf('o')} = ? and o.id <> ?) returning users.id`,
      [normalizeEmail(email), userId, normalizeEmail(email), userId],
    );
    if (changed.length > 0) return;
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
  }
  throw new AppError('CONFLICT', { publicMessage: 'Email already in use' });
}

/** Stores the time of a sign-in, and its event, in one statement. Locks the row as a write does. */
export async function recordSignIn(trx: Db, userId: string, event: AuditEvent): Promise<void> {
  const insert = auditInsert(event);
  await execute(
    trx,
    `with event as (${insert.sql}) update users set "lastLoginAt" = now() at time zone 'utc' where id = ?`,
    [...insert.bindings, userId],
  );
}

/** Replaces the hash of the same password by a stronger one, unless the password was changed meanwhile. */
export async function replacePasswordHash(db: Db, userId: string, hash: string, replaces: string): Promise<void> {
  await execute(
    db,
    `update users set password = ?, "updatedAt" = now() at time zone 'utc' where id = ? and password = ?`,
    [hash, userId, replaces],
  );
}

/** A user as an administrator's change reads and leaves it. */
export interface ManagedUser {
  id: string;
  email: string;
  roles: string[];
  isSystemAdmin: boolean;
  isActive: boolean;
  emailVerified: Date | null;
  hasPassword: boolean;
  /** Everything that signs in was ended a moment ago. */
  justSignedOut: boolean;
}

/**
 * Locks users and, with `systemAdministrators`, every active system administrator. A caller that had to wait sees the
 * rows as the other left them, so the last two administrators cannot remove each other. One statement in the order of
 * ids, so two callers cannot wait for each other either.
 */
export async function lockManagedUsers(
  trx: Db,
  ids: readonly string[],
  options: { systemAdministrators: boolean },
): Promise<ManagedUser[]> {
  return query<ManagedUser>(
    trx,
    `select u.id, u.email, coalesce(u.roles, '{}') as roles, coalesce(u."isSystemAdmin", false) as "isSystemAdmin",
            coalesce(u."isActive", true) as "isActive", u."emailVerified", u.password is not null as "hasPassword",
            coalesce(u."tokensValidFrom" > now() at time zone 'utc' - interval '5 seconds', false) as "justSignedOut"
       from users u
      where u.id = any(?::text[])
         or (?::boolean and coalesce(u."isActive", true) and (u."isSystemAdmin" or 'SUPER_ADMIN' = any(u.roles)))
      order by u.id for no key update`,
    [[...ids], options.systemAdministrators],
  );
}

/** Stores roles, if they differ. */
export async function storeRoles(trx: Db, id: string, roles: readonly string[], isSystemAdmin: boolean): Promise<void> {
  await execute(
    trx,
    `update users set roles = ?::text[], "isSystemAdmin" = ?, "updatedAt" = now() at time zone 'utc'
      where id = ? and (roles is distinct from ?::text[] or "isSystemAdmin" is distinct from ?)`,
    [[...roles], isSystemAdmin, id, [...roles], isSystemAdmin],
  );
}

/** Stores whether a user may sign in. */
export async function storeActive(trx: Db, id: string, active: boolean): Promise<void> {
  await execute(trx, `update users set "isActive" = ?, "updatedAt" = now() at time zone 'utc' where id = ?`, [
    active,
    id,
  ]);
}

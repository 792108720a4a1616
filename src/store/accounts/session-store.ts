/**
 * Sessions: one row per refresh token, of which only a digest is stored. Tokens that follow from one sign-in are a
 * family. An access token names its family, and ends with the last row of it.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

/** Seconds in which a token that was just used is still accepted, for the slower one of two tabs of the site. */
const GRACE_SECONDS = 30;
/** The form of a refresh token. Other texts are not looked up, so a stored digest cannot be used as a token. */
const TOKEN = /^[0-9a-f]{64}$/;

/** The digest under which a refresh token is stored. */
export const sessionTokenHash = (refreshToken: string): string =>
  `sha256:${createHash('sha256').update(refreshToken).digest('hex')}`;

export interface NewSession {
  userId: string;
  /** 64 hex digits. */
  refreshToken: string;
  lifetimeSeconds: number;
  /** Unix seconds; the `iat` of the access token that is issued with it. */
  issuedAt: number;
  familyId: string;
}

/** Opens a session. */
export async function insertSession(db: Db, session: NewSession): Promise<void> {
  await execute(
    db,
    `insert into sessions (id, "sessionToken", "userId", expires, "createdAt", "familyId")
     values (?, ?, ?, to_timestamp(?) at time zone 'utc' + make_interval(secs => ?), to_timestamp(?) at time zone 'utc', ?)`,
    [
      randomUUID(),
      sessionTokenHash(session.refreshToken),
      session.userId,
      session.issuedAt,
      session.lifetimeSeconds,
      session.issuedAt,
      session.familyId,
    ],
  );
}

export interface FoundSession {
  id: string;
  userId: string;
  familyId: string;
  /** `fresh`: not used yet. `grace`: used a moment ago. `spent`: used before, so this is an old copy of the token. */
  state: 'fresh' | 'grace' | 'spent';
}

/** The user of a refresh token, without a lock: callers lock the user before the session. */
export async function ownerOfSession(db: Db, refreshToken: string): Promise<string | undefined> {
  if (!TOKEN.test(refreshToken)) return undefined;
  const [found] = await query<{ userId: string }>(
    db,
    `select s."userId" from sessions s where s."sessionToken" in (?, ?)`,
    [sessionTokenHash(refreshToken), refreshToken],
  );
  return found?.userId;
}

/** The unexpired session of a refresh token, locked. Rows of the existing service hold the token in clear. */
export async function lockSession(trx: Db, refreshToken: string): Promise<FoundSession | undefined> {
  if (!TOKEN.test(refreshToken)) return undefined;
  const [found] = await query<FoundSession>(
    trx,
    `select s.id, s."userId", coalesce(s."familyId", s.id) as "familyId",
       case when s."rotatedAt" is null then 'fresh'
         when s."rotatedAt" > (clock_timestamp() at time zone 'utc') - make_interval(secs => ${GRACE_SECONDS}) then 'grace'
         else 'spent' end as state
     from sessions s where s."sessionToken" in (?, ?) and s.expires > now() at time zone 'utc' for update`,
    [sessionTokenHash(refreshToken), refreshToken],
  );
  return found;
}

/** Gives a session its successor. The used row stays, so that a late tab and a stolen token can be distinguished. */
export async function rotateSession(
  trx: Db,
  session: FoundSession,
  refreshToken: string,
  next: Omit<NewSession, 'userId' | 'familyId'>,
): Promise<void> {
  if (session.state === 'fresh') {
    await execute(
      trx,
      `update sessions set "rotatedAt" = clock_timestamp() at time zone 'utc', "familyId" = ?, "sessionToken" = ? where id = ?`,
      [session.familyId, sessionTokenHash(refreshToken), session.id],
    );
  }
  await insertSession(trx, { ...next, userId: session.userId, familyId: session.familyId });
}

/** Ends all sessions that follow from one sign-in. */
export async function endFamily(
  db: Db,
  { userId, familyId }: Pick<FoundSession, 'userId' | 'familyId'>,
): Promise<void> {
  await execute(db, `delete from sessions where "userId" = ? and (id = ? or "familyId" = ?)`, [
    userId,
    familyId,
    familyId,
  ]);
}

/** A caller's own session: the id of its family. Undefined: the caller's token names none. */
export interface SessionIdentity {
  sessionId: string | undefined;
}

/**
 * Ends the sessions of a user, but for the family of `keep`, and with them every access token. Tokens that name no
 * session say only the second in which they were issued: those of the present second end, too. The caller holds the
 * user's lock.
 * @returns number of rows that ended.
 */
export async function endSessions(trx: Db, userId: string, keep?: SessionIdentity): Promise<number> {
  const [row] = await query<{ count: number }>(
    trx,
    `with ended as (
       delete from sessions where "userId" = ? and coalesce("familyId", id) is distinct from ?::text returning id)
     update users set "tokensValidFrom" = date_trunc('second', clock_timestamp() at time zone 'utc') + interval '1 second'
      where id = ? returning (select count(*)::int from ended) as count`,
    [userId, keep?.sessionId ?? null, userId],
  );
  return row?.count ?? 0;
}

/** Deletes expired sessions. @returns how many. */
export async function purgeSessions(db: Db, batch: number): Promise<number> {
  const deleted = await query<{ id: string }>(
    db,
    `delete from sessions where id in (
       select s.id from sessions s where s.expires < now() at time zone 'utc' order by s.expires limit ? for update skip locked) returning id`,
    [batch],
  );
  return deleted.length;
}

/** One-time tokens of links in emails. Only their SHA-256 digest is stored; using one deletes it. */
import { createHash, randomBytes } from 'node:crypto';
import { ONE_TIME_TOKENS, type OneTimeTokenType } from '../../domain/email.ts';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

/** Issues a token of 64 hex digits; older tokens of the same type are deleted. */
export async function issueToken(
  trx: Db,
  userId: string,
  type: OneTimeTokenType,
): Promise<{ token: string; expiresAt: Date }> {
  const token = randomBytes(32).toString('hex');
  await deleteTokens(trx, userId, [type]);
  const [row] = await query<{ expires: Date }>(
    trx,
    `insert into verification_tokens (identifier, token, type, expires, "createdAt")
     values (?, ?, ?, now() at time zone 'utc' + make_interval(secs => ?), now() at time zone 'utc') returning expires`,
    [userId, hashOf(token), type, ONE_TIME_TOKENS[type].lifetimeSeconds],
  );
  return { token, expiresAt: row?.expires ?? new Date(0) };
}

/** The owner of a token, without a lock: callers lock the user before the token. */
export async function ownerOfToken(db: Db, token: string, type: OneTimeTokenType): Promise<string | undefined> {
  const [found] = await query<{ userId: string }>(
    db,
    `select v.identifier as "userId" from verification_tokens v where v.token = ? and v.type = ?`,
    [hashOf(token), type],
  );
  return found?.userId;
}

/** The owner of a token of one of these types, and whether it has expired; locked until the transaction ends, so that it is used once. */
export async function lockToken(
  trx: Db,
  token: string,
  ...types: readonly OneTimeTokenType[]
): Promise<{ userId: string; expired: boolean } | undefined> {
  const [found] = await query<{ userId: string; expired: boolean }>(
    trx,
    `select v.identifier as "userId", v.expires <= now() at time zone 'utc' as expired
     from verification_tokens v where v.token = ? and v.type = any(?::text[]) for update`,
    [hashOf(token), [...types]],
  );
  return found;
}

/** Deletes the tokens of these types that a user has. */
export async function deleteTokens(trx: Db, userId: string, types: readonly OneTimeTokenType[]): Promise<void> {
  await execute(trx, `delete from verification_tokens where identifier = ? and type = any(?::text[])`, [
    userId,
    [...types],
  ]);
}

/** Days for which a used verification link may be sent again. */
const USED_DAYS = 1;

/** Remembers that a verification link was used. */
export async function rememberUsed(trx: Db, userId: string, token: string): Promise<void> {
  await execute(
    trx,
    `insert into used_tokens (token, user_id) values (?, ?) on conflict (token) do update set used_at = excluded.used_at`,
    [hashOf(token), userId],
  );
}

/** Whether the user's verification link was used within a day. */
export async function wasUsed(trx: Db, userId: string, token: string): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(
    trx,
    `select exists (select 1 from used_tokens t where t.token = ? and t.user_id = ?
       and t.used_at > now() - make_interval(days => ${USED_DAYS})) as found`,
    [hashOf(token), userId],
  );
  return row?.found === true;
}

/** Forgets the used links of a user: they were sent to another address. */
export async function forgetUsed(trx: Db, userId: string): Promise<void> {
  await execute(trx, 'delete from used_tokens where user_id = ?', [userId]);
}

/** Deletes what is remembered of links that were used more than a day ago. @returns how many. */
export async function purgeUsed(db: Db, batch: number): Promise<number> {
  const deleted = await query<{ token: string }>(
    db,
    `delete from used_tokens where token in (
       select t.token from used_tokens t where t.used_at <= now() - make_interval(days => ${USED_DAYS}) limit ? for update skip locked) returning token`,
    [batch],
  );
  return deleted.length;
}

/** Deletes tokens that expired a week ago; until then a late click gets a clear answer. @returns how many. */
export async function purgeTokens(db: Db, batch: number): Promise<number> {
  const deleted = await query<{ token: string }>(
    db,
    `delete from verification_tokens where token in (
       select v.token from verification_tokens v where v.expires < now() at time zone 'utc' - interval '7 days' limit ? for update skip locked) returning token`,
    [batch],
  );
  return deleted.length;
}
